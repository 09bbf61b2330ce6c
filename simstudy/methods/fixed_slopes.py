"""Methods without random slopes, given a model that has them: they fit its fixed-slope model (theory S6, D2).

Their users would. The estimate of the fixed slope is reported as the mean of the random one; variances and covariances
of slopes are parameters that the method does not speak about. No method has to know: `ask.for_model` puts
`WithFixedSlopes` around every one that does not say ``random_slopes = True`` or choose for itself in ``for_model``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.result import FitResult
from simstudy.linalg.stacked import FloatArray, IntArray
from simstudy.methods.checks import refuse_constraints
from simstudy.methods.likelihood_of import LikelihoodOf
from simstudy.methods.protocol import PreparedEstimator
from simstudy.methods.substitute import Substitute
from simstudy.model.fixed_slopes import FixedSlopes, without_slopes
from simstudy.model.slopes import RandomSlope
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.streams import FitStreams


@dataclass(frozen=True)
class WithFixedSlopes(Substitute):
    """A method as it is used for models with random slopes that it does not know."""

    def caveats(self, model: TwoLevelModel) -> tuple[str, ...]:
        """That slopes are taken as fixed, and what the method has to say of its own."""
        fixed = without_slopes(model)
        named = ", ".join(slope.name for slope in model.slopes)
        ignored = f"it takes {named} as fixed: SEs of the slope's mean are too small if the slope varies over clusters"
        return (ignored, *(self.method.caveats(fixed.model) if isinstance(fixed, FixedSlopes) else ()))

    def slope_meaning(self, model: TwoLevelModel, slope: RandomSlope) -> str:
        """Slopes do not vary."""
        return "fixed"

    def likelihood_of(self, model: TwoLevelModel) -> LikelihoodOf:
        """That of the fixed-slope model."""
        fixed = without_slopes(model)
        return self.method.likelihood_of(fixed.model if isinstance(fixed, FixedSlopes) else model)

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """Why the method cannot fit the fixed-slope model, or None."""
        reason = refuse_constraints(model)
        if reason is not None:
            return reason
        fixed = without_slopes(model)
        return fixed if isinstance(fixed, str) else self.method.supports(fixed.model, layout)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedWithFixedSlopes:
        """Make the method ready for the fixed-slope model."""
        fixed = without_slopes(model)
        assert isinstance(fixed, FixedSlopes), fixed
        return PreparedWithFixedSlopes(self.method.prepare(fixed.model, layout), model, fixed.index)


class PreparedWithFixedSlopes:
    """A method made ready for the fixed-slope model of a model with random slopes."""

    def __init__(self, prepared: PreparedEstimator, model: TwoLevelModel, index: IntArray) -> None:
        self.prepared, self.model, self.index = prepared, model, index

    def fit(self, data: TwoLevelStatistics | Sample, *streams: FitStreams) -> FitResult:
        """Fit R data sets, with streams where the method draws random numbers."""
        return expand(self.prepared.fit(data, *streams), self.model, self.index)


def expand(result: FitResult, model: TwoLevelModel, index: IntArray) -> FitResult:
    """A result in the parameters of another model, NaN for those with ``index`` -1."""
    silent = index < 0
    take = np.where(silent, 0, index)

    def columns(values: FloatArray) -> FloatArray:
        return np.where(silent, np.nan, values[:, take])

    def matrix(cov: FloatArray) -> FloatArray:
        return np.where(silent[:, None] | silent, np.nan, cov[:, take[:, None], take])

    return result.map_parameters(model.names, columns, matrix)
