"""`two_step`: random-intercept models for level-1 outcomes, least squares on cluster means for level-2 outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.exact_laws import ExactNumber
from simstudy.estimation.result import FitResult
from simstudy.likelihood.mixed.random_intercept import fit_random_intercept
from simstudy.linalg.stacked import FloatArray
from simstudy.methods.checks import judge_data, refuse_constraints
from simstudy.methods.closed_forms import Laws, World, exact_slopes
from simstudy.methods.likelihood_of import LikelihoodOf, of_regressions
from simstudy.methods.look import DASH_DOT_DOT, ORANGE, Look
from simstudy.methods.mixed.equations import (
    Centring,
    Equation,
    combine,
    equation_moments,
    fit_level1,
    fit_level2,
    level1_equations,
    level2_equations,
)
from simstudy.methods.mixed.regression_laws import cluster_mean_laws, random_intercept_laws
from simstudy.methods.protocol import Estimator
from simstudy.methods.registry import register
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population


@register
@dataclass(frozen=True)
class TwoStep(Estimator):
    """MLM for level-1 outcomes and OLS on cluster means for level-2 outcomes, glued together (theory B7).

    Attributes
    ----------
    likelihood : str
        ``reml`` or ``ml``, for the random-intercept models.
    centering : str
        ``none``: predictors of level-1 outcomes as they are (as `mlm`); ``cluster``: centred, with cluster means (as
        `mlm_centered`).
    means : str
        Cluster means that predict level-2 outcomes: ``observed``, or ``eb`` (empirical Bayes, from an empty
        random-intercept model of each predictor).
    """

    name: ClassVar[str] = "two_step"
    title: ClassVar[str] = "MLM for level-1 outcomes, OLS on cluster means for level-2 outcomes"
    reference: ClassVar[str] = "Griffin (1997); Croon & van Veldhoven (2007) on its bias"
    theory: ClassVar[tuple[str, ...]] = ("docs/theory/adjusted-means.md#b7", "docs/theory/mediation.md#b6")
    year: ClassVar[int] = 1997
    look: ClassVar[Look] = Look(ORANGE, "v", True, DASH_DOT_DOT)
    idea: ClassVar[str] = "one regression an outcome: multilevel for level 1, ordinary on cluster means for level 2"
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    can: ClassVar[str] = "outcomes at both levels, with standard software"
    cannot: ClassVar[str] = "take sampling error out of cluster means; carry the first step's error into the second"

    likelihood: Literal["reml", "ml"] = "reml"
    centering: Literal["none", "cluster"] = "none"
    means: Literal["observed", "eb"] = "observed"

    @property
    def needs(self) -> str:
        """Sums suffice."""
        return "statistics"

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """Model-based SEs."""
        return ("expected",)

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """There must be an outcome, and no label across equations."""
        equations = _all_equations(model, self.centering == "cluster")
        if isinstance(equations, str):
            return equations
        first, second = equations
        if not first and not second:
            return "the model has no outcome"
        most = max(len(equation.targets) for equation in first + second)
        spare = layout.n_obs - layout.n_clusters
        if layout.n_clusters <= most or (first and spare <= max(len(equation.targets) for equation in first)):
            return "no more clusters than regressors"
        return refuse_constraints(model)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedTwoStep:
        """Build the equations of both steps."""
        return PreparedTwoStep(self, model)

    def likelihood_of(self, model: TwoLevelModel) -> LikelihoodOf:
        """Of all outcomes given their predictors."""
        return of_regressions(model, reml=self.likelihood == "reml", level2=True)

    def exact_numbers(self, model: TwoLevelModel, population: Population, level: float) -> tuple[ExactNumber, ...]:
        """Slopes of level-1 outcomes as of `mlm` (theory B3), of level-2 outcomes on observed means (theory B7)."""

        def laws(world: World) -> Laws:
            centring: Centring = "cluster" if self.centering == "cluster" else "none"
            yield from random_intercept_laws(world, centring=centring, likelihood=self.likelihood)
            if self.means == "observed":
                yield from cluster_mean_laws(world)

        return exact_slopes(model, population, level, laws)


def _all_equations(model: TwoLevelModel, centred: bool) -> tuple[list[Equation], list[Equation]] | str:
    first = level1_equations(model, centring="cluster" if centred else "none")
    second = level2_equations(model)
    if isinstance(first, str):
        return first
    if isinstance(second, str):
        return second
    used = {i for equation in first for target in equation.targets for i in target}
    for equation in second:
        for index in (i for target in equation.targets for i in target):
            if index in used:
                return f"'{model.names[index]}' ties coefficients of different equations, which are fitted one by one"
    return first, second


class PreparedTwoStep:
    """`TwoStep` for one model."""

    def __init__(self, options: TwoStep, model: TwoLevelModel) -> None:
        equations = _all_equations(model, options.centering == "cluster")
        assert not isinstance(equations, str), equations
        self.options, self.model = options, model
        self.first, self.second = equations
        needed = np.zeros(len(model.variables), dtype=bool)
        for equation in self.second:
            needed |= (equation.between_map[:, :-1] != 0).any(axis=1)
        self.shrunk = [k for k in range(len(model.level1)) if needed[k]]

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        statistics = data.statistics(cluster_wise=False) if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        reml = self.options.likelihood == "reml"
        parts = [fit_level1(equation, statistics, reml=reml) for equation in self.first]
        shrinkage = self._shrinkage(statistics, reml) if self.second and self.options.means == "eb" else None
        parts += [fit_level2(equation, statistics, shrinkage) for equation in self.second]
        within = self.options.centering == "cluster"
        return judge_data(combine(self.model, parts, "expected"), statistics, within=within)

    def _shrinkage(self, statistics: TwoLevelStatistics, reml: bool) -> FloatArray:
        """Reliabilities tau^2 / (tau^2 + sigma^2 / n) (R, S, p) of predictors' cluster means; 1 elsewhere."""
        sizes = statistics.layout.distinct.astype(float)
        p1, p = len(self.model.level1), len(self.model.variables)
        result = np.ones((statistics.n_replicates, len(sizes), p))
        for k in self.shrunk:
            within, between = np.zeros((p1, 2)), np.zeros((p, 2))
            within[k, 1] = between[k, 1] = 1.0
            empty = Equation(self.model.level1[k], ((),), within, between, True, 0.0, -1, -1)
            moments, _ = equation_moments(empty, statistics)
            fit = fit_random_intercept(moments, reml=reml)
            ratio = sizes * (fit.tau2 / fit.sigma2)[:, None]
            result[:, :, k] = ratio / (1.0 + ratio)
        return result
