"""One random-intercept model for every level-1 outcome, by four ways of centring (theory B3, B4, B6, C10).

| method | enters | within slope | between slope |
|---|---|---|---|
| `mlm` | x | conflated (theory B4) | the same number |
| `mlm_rescaled` | x - xbar_j | beta_W | silent |
| `mlm_centered` | x - xbar_j, xbar_j | beta_W | lambda beta_B + (1 - lambda) beta_W |
| `mlm_contextual` | x, xbar_j | beta_W | the same, as within slope plus contextual coefficient |

The last two are one model in two coordinate systems: x w + xbar c = (x - xbar) w + xbar (w + c).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.exact_laws import ExactNumber
from simstudy.estimation.result import FitResult
from simstudy.methods.checks import judge_data, refuse_constraints
from simstudy.methods.closed_forms import Laws, World, exact_slopes
from simstudy.methods.fixed_slopes import WithFixedSlopes
from simstudy.methods.likelihood_of import LikelihoodOf, of_regressions
from simstudy.methods.look import DASH_DOT, DASH_DOT_DOT, DOT, GREEN, PURPLE, SOLID, Look
from simstudy.methods.mixed.equations import Centring, combine, fit_level1, level1_equations
from simstudy.methods.mixed.mlm_slopes import RandomSlopes
from simstudy.methods.mixed.regression_laws import random_intercept_laws
from simstudy.methods.protocol import Estimator
from simstudy.methods.registry import register
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population


def unsupported(model: TwoLevelModel, layout: ClusterLayout, *, centring: Centring) -> str | None:
    """Why random-intercept regressions of the level-1 outcomes cannot be run, or None."""
    equations = level1_equations(model, centring=centring)
    if isinstance(equations, str):
        return equations
    if not equations:
        return "the model has no level-1 outcome"
    most = max(len(equation.targets) for equation in equations)
    if layout.n_clusters <= most or layout.n_obs - layout.n_clusters <= most:
        return "no more clusters than regressors"
    return refuse_constraints(model)


@dataclass(frozen=True)
class RandomIntercepts(Estimator):
    """What the methods of this file share."""

    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    centring: ClassVar[Centring]

    likelihood: Literal["reml", "ml"] = "reml"
    slopes: Literal["random", "fixed"] = "random"

    @property
    def needs(self) -> str:
        """Sums suffice."""
        return "statistics"

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """Model-based SEs."""
        return ("expected",)

    def for_model(self, model: TwoLevelModel) -> Estimator:
        """Random-intercept regressions, or those with random slopes too."""
        if not model.slopes:
            return self
        if self.slopes == "fixed":
            return WithFixedSlopes(self)
        return RandomSlopes(self, self.centring, self.likelihood == "reml")

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """There must be a level-1 outcome, and no label across equations."""
        return unsupported(model, layout, centring=self.centring)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedRegressions:
        """Build the equations."""
        return PreparedRegressions(model, centring=self.centring, reml=self.likelihood == "reml")

    def likelihood_of(self, model: TwoLevelModel) -> LikelihoodOf:
        """Of the level-1 outcomes given their predictors."""
        return of_regressions(model, reml=self.likelihood == "reml", level2=False)

    def exact_numbers(self, model: TwoLevelModel, population: Population, level: float) -> tuple[ExactNumber, ...]:
        """Slopes of predictors that vary at one level (theory B3)."""

        def laws(world: World) -> Laws:
            return random_intercept_laws(world, centring=self.centring, likelihood=self.likelihood)

        return exact_slopes(model, population, level, laws)


@register
@dataclass(frozen=True)
class Mlm(RandomIntercepts):
    """Random-intercept models with predictors as they are: one conflated slope, reported for both levels.

    Attributes
    ----------
    likelihood : str
        ``reml`` (restricted) or ``ml``.
    slopes : str
        What becomes of random slopes in the model: ``random``, estimated with their variances; ``fixed``, ignored.
    """

    name: ClassVar[str] = "mlm"
    title: ClassVar[str] = "random-intercept models, predictors uncentred"
    reference: ClassVar[str] = "Raudenbush & Bryk (1986; 2002, ch. 5); Krull & MacKinnon (2001) on mediation"
    theory: ClassVar[tuple[str, ...]] = (
        "docs/theory/mixed-models.md#b4",
        "docs/theory/mixed-models.md#c10",
        "docs/theory/mediation.md#b6",
    )
    year: ClassVar[int] = 1986
    look: ClassVar[Look] = Look(GREEN, "^", True, DOT)
    idea: ClassVar[str] = "let every cluster have an intercept of its own, and one slope serve for both levels"
    can: ClassVar[str] = "level-1 outcomes, predictors of both levels, slopes that vary; SEs that respect the clusters"
    cannot: ClassVar[str] = "separate within from between effects; level-2 outcomes; residual covariances"
    centring: ClassVar[Centring] = "none"


@register
@dataclass(frozen=True)
class MlmRescaled(RandomIntercepts):
    """Random-intercept models with cluster-mean-centred predictors and no cluster means: within slopes alone.

    Level-2 predictors are kept; their slopes, and the intercept variance, are not adjusted for the cluster means that
    are left out. Between slopes of level-1 predictors are not reported.

    Attributes
    ----------
    likelihood : str
        ``reml`` (restricted) or ``ml``.
    slopes : str
        What becomes of random slopes in the model: ``random``, estimated with their variances; ``fixed``, ignored.
    """

    name: ClassVar[str] = "mlm_rescaled"
    title: ClassVar[str] = "random-intercept models, predictors centred, no cluster means"
    reference: ClassVar[str] = "Kreft, de Leeuw & Aiken (1995); Enders & Tofighi (2007)"
    theory: ClassVar[tuple[str, ...]] = ("docs/theory/mixed-models.md#b3", "docs/theory/mixed-models.md#c10")
    year: ClassVar[int] = 1995
    look: ClassVar[Look] = Look(PURPLE, "P", True, SOLID)
    idea: ClassVar[str] = (
        "subtract cluster means from the predictors and leave the means out: what is left varies within"
    )
    can: ClassVar[str] = "give unbiased within slopes, whatever happens between clusters"
    cannot: ClassVar[str] = (
        "speak about between slopes of level-1 predictors; adjust slopes of level-2 predictors for cluster means; "
        "level-2 outcomes; residual covariances"
    )
    centring: ClassVar[Centring] = "within"


@register
@dataclass(frozen=True)
class MlmCentered(RandomIntercepts):
    """Random-intercept models with cluster-mean-centred predictors plus manifest cluster means.

    The within slope is unbiased; the between slope is that of observed cluster means, which contain within noise.

    Attributes
    ----------
    likelihood : str
        ``reml`` (restricted) or ``ml``.
    slopes : str
        What becomes of random slopes in the model: ``random``, estimated with their variances; ``fixed``, ignored.
    """

    name: ClassVar[str] = "mlm_centered"
    title: ClassVar[str] = "random-intercept models, predictors centred, cluster means added"
    reference: ClassVar[str] = "Zhang, Zyphur & Preacher (2009); Lüdtke et al. (2008) on its bias"
    theory: ClassVar[tuple[str, ...]] = (
        "docs/theory/mixed-models.md#b3",
        "docs/theory/mixed-models.md#c10",
        "docs/theory/mediation.md#b6",
    )
    year: ClassVar[int] = 2009
    look: ClassVar[Look] = Look(PURPLE, "D", False, DASH_DOT)
    idea: ClassVar[str] = "split each predictor into its cluster mean and the deviation from it, and use both"
    can: ClassVar[str] = "separate within and between effects of level-1 outcomes; let slopes vary"
    cannot: ClassVar[str] = "take sampling error out of cluster means; level-2 outcomes; residual covariances"
    centring: ClassVar[Centring] = "cluster"


@register
@dataclass(frozen=True)
class MlmContextual(RandomIntercepts):
    """Random-intercept models with predictors as they are plus manifest cluster means: contextual coefficients.

    The coefficient of a cluster mean is the contextual effect, between minus within slope. Its reader gets the between
    slope by adding the two, as reported here. The model is that of `mlm_centered` in other coordinates, with the same
    numbers, wherever predictors of the within block stand in the between block too. One that does not enters as it is,
    and its slope is conflated as by `mlm`. Grand-mean centring moves the intercept alone.

    Attributes
    ----------
    likelihood : str
        ``reml`` (restricted) or ``ml``.
    slopes : str
        What becomes of random slopes in the model: ``random``, estimated with their variances; ``fixed``, ignored.
    """

    name: ClassVar[str] = "mlm_contextual"
    title: ClassVar[str] = "random-intercept models, predictors uncentred, cluster means added"
    reference: ClassVar[str] = "Boyd & Iversen (1979); Kreft, de Leeuw & Aiken (1995); Lüdtke et al. (2008) on its bias"
    theory: ClassVar[tuple[str, ...]] = ("docs/theory/mixed-models.md#b3", "docs/theory/mixed-models.md#c10")
    year: ClassVar[int] = 1979
    look: ClassVar[Look] = Look(GREEN, ">", False, DASH_DOT_DOT)
    idea: ClassVar[str] = "add cluster means beside the predictors: their coefficient is between minus within slope"
    can: ClassVar[str] = "separate within and contextual effects of level-1 outcomes; test a contextual effect directly"
    cannot: ClassVar[str] = "take sampling error out of cluster means; level-2 outcomes; residual covariances"
    same_as: ClassVar[str] = "mlm_centered in other coordinates, where no slope varies"
    centring: ClassVar[Centring] = "contextual"


class PreparedRegressions:
    """Random-intercept regressions of one model."""

    def __init__(self, model: TwoLevelModel, *, centring: Centring, reml: bool) -> None:
        equations = level1_equations(model, centring=centring)
        assert not isinstance(equations, str), equations
        self.model, self.equations, self.reml = model, equations, reml
        self.within = centring != "none"  # slopes on deviations need them

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        statistics = data.statistics(cluster_wise=False) if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        parts = [fit_level1(equation, statistics, reml=self.reml) for equation in self.equations]
        return judge_data(combine(self.model, parts, "expected"), statistics, within=self.within)
