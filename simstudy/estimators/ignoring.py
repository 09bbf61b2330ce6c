"""Methods without random slopes, given a model that has them: they fit its fixed-slope model (THEORY S6, D2).

Their users would. The estimate of the fixed slope is reported as the mean of the random one; variances and covariances
of slopes are parameters that the method does not speak about. No method has to know: `registry.for_model` puts
`IgnoringSlopes` around every one that does not say ``random_slopes = True`` or choose for itself in ``for_model``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simstudy.arrays import FloatArray, IntArray
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimators.base import Estimator, FitResult, Needs, PreparedEstimator
from simstudy.model.fixed_slopes import FixedSlopes, without_slopes
from simstudy.model.twolevel import TwoLevelModel


@dataclass(frozen=True)
class IgnoringSlopes:
    """A method as it is used for models with random slopes that it does not know.

    Attributes
    ----------
    method : Estimator
        The method, with its options. What is not said here is said by it.
    """

    method: Estimator

    def __getattr__(self, part: str) -> Any:
        if part.startswith("_") or part == "method":  # not yet there while a copy is being built
            raise AttributeError(part)
        return getattr(self.method, part)

    @property
    def name(self) -> str:
        """Name of the method."""
        return self.method.name

    @property
    def title(self) -> str:
        """What the method is."""
        return self.method.title

    @property
    def reference(self) -> str:
        """Who proposed the method."""
        return self.method.reference

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels whose parameters the method speaks about."""
        return self.method.levels

    @property
    def can(self) -> str:
        """What the method can do."""
        return self.method.can

    @property
    def cannot(self) -> str:
        """What the method cannot do."""
        return self.method.cannot

    @property
    def needs(self) -> Needs:
        """What the method must be given."""
        return self.method.needs

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """Kinds of SE of the method."""
        return self.method.se_kinds

    def for_model(self, model: TwoLevelModel) -> Estimator:
        """The method alone, where there are no random slopes."""
        return self if model.slopes else self.method  # type: ignore[return-value]  # properties serve as class variables

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """Why the method cannot fit the fixed-slope model, or None."""
        if model.table.constraints:
            return "'==' constraints in a model with random slopes, whose slopes this method takes as fixed"
        fixed = without_slopes(model)
        return fixed if isinstance(fixed, str) else self.method.supports(fixed.model, layout)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedIgnoring:
        """Make the method ready for the fixed-slope model."""
        fixed = without_slopes(model)
        assert isinstance(fixed, FixedSlopes), fixed
        return PreparedIgnoring(self.method.prepare(fixed.model, layout), model, fixed.index)


class PreparedIgnoring:
    """A method made ready for the fixed-slope model of a model with random slopes."""

    def __init__(self, prepared: PreparedEstimator, model: TwoLevelModel, index: IntArray) -> None:
        self.prepared, self.model, self.index = prepared, model, index

    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        return expand(self.prepared.fit(data), self.model, self.index)


def expand(result: FitResult, model: TwoLevelModel, index: IntArray) -> FitResult:
    """A result in the parameters of another model, NaN for those with ``index`` -1."""
    silent = index < 0
    take = np.where(silent, 0, index)

    def columns(values: FloatArray) -> FloatArray:
        return np.where(silent, np.nan, values[:, take])

    return replace(
        result,
        labels=model.names,
        estimate=columns(result.estimate),
        covariance={
            kind: np.where(silent[:, None] | silent, np.nan, cov[:, take[:, None], take])
            for kind, cov in result.covariance.items()
        },
        se={kind: columns(se) for kind, se in result.se.items()},
        intervals={kind: (columns(low), columns(high)) for kind, (low, high) in result.intervals.items()},
    )
