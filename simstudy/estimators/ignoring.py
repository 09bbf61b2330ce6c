"""Methods without random slopes, given a model that has them: they fit its fixed-slope model (THEORY S6, D2).

Their users would. The estimate of the fixed slope is reported as the mean of the random one; variances and covariances
of slopes are parameters that the method does not speak about.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from simstudy.arrays import FloatArray, IntArray
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimators.base import FitResult, PreparedEstimator
from simstudy.model.fixed_slopes import FixedSlopes, without_slopes
from simstudy.model.twolevel import TwoLevelModel


class Method(Protocol):
    """What is needed of a method."""

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """None, or the reason why it cannot be used."""
        ...

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedEstimator:
        """Make ready."""
        ...


def ignoring_supports(method: Method, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
    """Why a method cannot fit the fixed-slope model of a model with random slopes, or None."""
    if model.table.constraints:
        return "'==' constraints in a model with random slopes, whose slopes this method takes as fixed"
    fixed = without_slopes(model)
    return fixed if isinstance(fixed, str) else method.supports(fixed.model, layout)


class IgnoringSlopes:
    """A method made ready for the fixed-slope model of a model with random slopes."""

    def __init__(self, method: Method, model: TwoLevelModel, layout: ClusterLayout) -> None:
        fixed = without_slopes(model)
        assert isinstance(fixed, FixedSlopes), fixed
        self.model, self.index = model, fixed.index
        self.prepared = method.prepare(fixed.model, layout)

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
