"""The `mlm` methods for models with random slopes: a random-coefficient regression for every level-1 outcome.

What a slope multiplies follows the centring: `mlm` and `mlm_contextual` x as it is, `mlm_centered` and `mlm_rescaled`
x - xbar_j. With random slopes `mlm_contextual` and `mlm_centered` are different models (Kreft, de Leeuw & Aiken 1995).
Under latent means the between slope of both stays what it is with fixed slopes, and the intercept variance of
`mlm_centered` absorbs T11 sigma^2 / n (theory D2.2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.result import FitResult
from simstudy.methods.checks import judge_data, refuse_constraints
from simstudy.methods.mixed.coefficients import AT_ONCE, fit_random_equation, random_equations
from simstudy.methods.mixed.equations import Centring, combine
from simstudy.methods.substitute import Substitute
from simstudy.model.slopes import RandomSlope
from simstudy.model.twolevel import TwoLevelModel

_MEANING = {"none": "uncentred", "contextual": "contextual", "cluster": "centred", "within": "centred"}
"""What slopes multiply, by the way of centring."""


@dataclass(frozen=True)
class RandomSlopes(Substitute):
    """One of the `mlm` methods, for models with random slopes.

    Attributes
    ----------
    centring : str
        What becomes of predictors.
    reml : bool
        Restricted maximum likelihood.
    """

    centring: Centring
    reml: bool

    @property
    def needs(self) -> str:
        """Cross-products of every cluster."""
        return "clusters"

    def slope_meaning(self, model: TwoLevelModel, slope: RandomSlope) -> str:
        """By the way of centring."""
        meaning = _MEANING[self.centring]
        return meaning if meaning == "centred" or slope.predictor in model.both else "observed"

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """Each equation must be a mixed model of its own, with fewer coefficients than clusters."""
        equations = random_equations(model, centring=self.centring)
        if isinstance(equations, str):
            return equations
        most = max(len(equation.targets) + equation.r for equation in equations)
        if layout.n_clusters <= most or layout.n_obs - layout.n_clusters <= most:
            return "no more clusters than coefficients"
        return refuse_constraints(model)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedCoefficients:
        """Build the equations."""
        return PreparedCoefficients(model, layout, centring=self.centring, reml=self.reml)


class PreparedCoefficients:
    """Random-coefficient regressions of one model."""

    def __init__(self, model: TwoLevelModel, layout: ClusterLayout, *, centring: Centring, reml: bool) -> None:
        equations = random_equations(model, centring=centring)
        assert not isinstance(equations, str), equations
        self.model, self.layout, self.equations, self.reml = model, layout, equations, reml
        self.centring = centring

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        statistics = data.statistics() if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        size, n = max(1, AT_ONCE // self.layout.n_clusters), statistics.n_replicates
        parts = [self._fit(statistics.select(slice(first, first + size))) for first in range(0, n, size)]
        return judge_data(FitResult.concat(parts), statistics, within=True)

    def _fit(self, statistics: TwoLevelStatistics) -> FitResult:
        fits = [fit_random_equation(equation, statistics, reml=self.reml) for equation in self.equations]
        boundary = np.max(np.stack([low for _, low in fits]), axis=0)
        result = combine(self.model, [part for part, _ in fits], "expected")
        return replace(result, measures={"boundary": boundary}).blank_failures()
