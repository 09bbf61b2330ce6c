"""`croon`: regressions on adjusted cluster means (Croon & van Veldhoven 2007; theory B7, F4).

Ordinary least squares of a level-2 outcome on adjusted means and level-2 predictors is consistent: E(y | xbar, z) is
linear in E(xi | xbar, z) and z. A level-1 outcome is another matter. Its cluster mean shares the sampling error of
xbar_j, which the adjusted mean does not take out: the slope tends to beta_B + beta_W (1 - lambda) / lambda. Users who
put adjusted means into a multilevel regression get that, and so does this method; `caveats` says where.

Standard errors come from stacked estimating equations: of the first-step moments m, then of slopes and variances theta.
With g_j a cluster's part of the second step's equations and psi_j its influence on m,

    influence_j(theta) = A^-1 (g_j + D psi_j),   A = -sum dg_j/dtheta',   D = sum dg_j/dm',

and the covariance is the sum of outer products over clusters. ``robust`` takes the adjusted means as given (D = 0).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.result import FitResult, Status
from simstudy.linalg.stacked import BoolArray, FloatArray, columns, inverse, matvec, submatrix, transpose
from simstudy.methods.checks import check_kinds, judge_data, refuse_constraints
from simstudy.methods.chosen_errors import ChosenErrors
from simstudy.methods.croon.adjusted_means import Adjustment, FirstStep, MeanAdjuster, PredictorMoments
from simstudy.methods.croon.second_step import ClusterRows, Drift, Mixing, OnClusters, OnRows, drift_of_products
from simstudy.methods.look import ORANGE, SOLID, Look
from simstudy.methods.mixed.equations import (
    Equation,
    Regression,
    combine,
    equation_moments,
    level1_equations,
    level2_equations,
    uncentring,
)
from simstudy.methods.registry import register
from simstudy.model.twolevel import TwoLevelModel

SeKind = Literal["expected", "robust", "corrected"]


@register
@dataclass(frozen=True)
class Croon(ChosenErrors):
    """Least squares of level-2 outcomes on cluster means adjusted for their sampling error.

    Attributes
    ----------
    se : tuple of str
        ``robust``: against heteroscedasticity, which unequal cluster sizes bring with them; ``corrected``: robust, with
        the sampling error of the first step; ``expected``: ordinary least squares.
    first_step : str
        ``anova`` (mean squares, as proposed; the second step then divides by J - k, and residuals by the
        square root of 1 - leverage, MacKinnon & White 1985) or ``ml`` (unrestricted maximum likelihood of the
        predictors; divisors J).
    """

    name: ClassVar[str] = "croon"
    title: ClassVar[str] = "level-2 outcomes regressed on adjusted cluster means"
    reference: ClassVar[str] = "Croon & van Veldhoven (2007)"
    theory: ClassVar[tuple[str, ...]] = ("docs/theory/adjusted-means.md#b7", "docs/theory/adjusted-means.md#f4")
    year: ClassVar[int] = 2007
    look: ClassVar[Look] = Look(ORANGE, "h", True, SOLID)
    idea: ClassVar[str] = "replace cluster means by the best predictor of the latent means, then regress at level 2"
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    can: ClassVar[str] = "level-2 outcomes without bias, with unequal cluster sizes, by two steps of least squares"
    cannot: ClassVar[str] = (
        "give consistent between slopes of level-1 outcomes on level-1 predictors (they overshoot); latent variables"
    )

    se: tuple[SeKind, ...] = ("robust",)
    first_step: FirstStep = "anova"

    def __post_init__(self) -> None:
        check_kinds(self.name, self.se)

    @property
    def needs(self) -> str:
        """Robust SEs need cluster-wise means and scatter."""
        return "statistics" if set(self.se) == {"expected"} else "clusters"

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """There must be an outcome, enough clusters and rows, and no label across equations."""
        equations = _all_equations(model)
        if isinstance(equations, str):
            return equations
        if not equations:
            return "the model has no outcome"
        most = max(len(equation.targets) for equation in equations)
        if layout.n_clusters <= most + 1:
            return "no more clusters than regressors"
        if layout.n_obs - layout.n_clusters <= max(most, len(model.level1)):
            return "no more rows within clusters than regressors"
        return refuse_constraints(model)

    def caveats(self, model: TwoLevelModel) -> tuple[str, ...]:
        """Which slopes of this model are not consistent, and why."""
        rows = [row for row in model.table.at("between") if row.op == "~" and row.free >= 0]
        found = [row for row in rows if row.lhs in model.level1 and row.rhs in model.level1]
        return tuple(
            f"'{row.label or row.path}' is not consistent: the outcome '{row.lhs}' is measured at level 1, and its "
            f"cluster means share the sampling error of those of '{row.rhs}'; with one predictor the slope tends to "
            "b + w (1 - r)/r, where b and w are the between and within slopes and r the reliability of cluster means"
            for row in found
        )

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedCroon:
        """Build the equations, and what adjusts the means of each."""
        return PreparedCroon(self, model, layout)


def _all_equations(model: TwoLevelModel) -> list[Equation] | str:
    first = level1_equations(model, centring="cluster")
    if isinstance(first, str):
        return first
    second = level2_equations(model)
    if isinstance(second, str):
        return second
    seen: dict[int, str] = {}
    for equation in first + second:
        for index in (i for target in equation.targets for i in target):
            if seen.setdefault(index, equation.outcome) != equation.outcome:
                return f"'{model.names[index]}' ties coefficients of different equations, which are fitted one by one"
    return first + second


class PreparedCroon:
    """`Croon` for one model and layout."""

    def __init__(self, options: Croon, model: TwoLevelModel, layout: ClusterLayout) -> None:
        equations = _all_equations(model)
        assert not isinstance(equations, str), equations
        self.options, self.model = options, model
        self.steps = [TwoSteps(options, model, layout, equation) for equation in equations]
        self.within = any(step.level1 or step.adjuster is not None for step in self.steps)

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        statistics = data.statistics() if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        parts = [step.fit(statistics) for step in self.steps]
        result = combine(self.model, [part.regression for part in parts], "expected")
        result = replace(
            result,
            covariance={kind: self._covariance(result, parts, kind) for kind in self.options.se},
            se={},
            admissible=np.logical_and.reduce([part.admissible for part in parts]),
        )
        return judge_data(result.blank_failures(), statistics, within=self.within)

    @staticmethod
    def _covariance(result: FitResult, parts: list[Part], kind: str) -> FloatArray:
        """Covariance (R, q, q); by clusters (``robust``, ``corrected``) also between equations."""
        if kind == "expected":
            return result.covariance[kind]
        n, q = result.estimate.shape
        influence = np.zeros((n, parts[0].influence[kind].shape[1], q))
        spoken = np.zeros(q, dtype=bool)
        for part in parts:
            influence[..., part.regression.index] = part.influence[kind]
            spoken[part.regression.index] = True
        return np.where(spoken[:, None] & spoken, np.matmul(transpose(influence), influence), np.nan)


@dataclass(frozen=True)
class Part:
    """What one equation gives: estimates, and by SE kind what every cluster adds to them (R, J, len(index))."""

    regression: Regression
    influence: dict[str, FloatArray]
    admissible: BoolArray


@dataclass(frozen=True)
class Adjusted:
    """First step of one equation: the statistics as the second step sees them (no moments: nothing to adjust)."""

    means: FloatArray
    scatter: FloatArray
    moments: PredictorMoments | None = None
    adjustment: Adjustment | None = None


class TwoSteps:
    """Both steps of one equation."""

    def __init__(self, options: Croon, model: TwoLevelModel, layout: ClusterLayout, equation: Equation) -> None:
        self.options, self.equation, self.layout = options, equation, layout
        self.level1 = equation.outcome in model.level1
        used = (equation.between_map != 0).any(axis=1)
        used[model.variables.index(equation.outcome)] = False
        predictors = np.flatnonzero(used).astype(np.int64)
        adjusted = predictors[predictors < len(model.level1)]
        self.adjuster = MeanAdjuster(model, layout, predictors) if len(adjusted) else None
        self.loading = equation.between_map[adjusted]
        index = [i for target in equation.targets for i in target]
        places = [i for i, target in enumerate(equation.targets) for _ in target]
        variances = [equation.between_variance]
        if self.level1:
            variances.insert(0, equation.within_variance)
        for place, free in enumerate(variances, start=len(equation.targets)):
            if free >= 0:
                index.append(free)
                places.append(place)
        self.index, self.places = np.array(index, dtype=np.int64), np.array(places, dtype=np.int64)

    def fit(self, statistics: TwoLevelStatistics) -> Part:
        """Fit R data sets."""
        first = self._first_step(statistics)
        moments, shift = equation_moments(self.equation, statistics, first.means, first.scatter)
        mixing = Mixing(self._unknown(first), self.loading)
        unbiased = self.options.first_step == "anova"
        second: OnRows | OnClusters
        if self.level1:
            second = OnRows.solve(moments, self.layout, self.equation, reml=unbiased)
        else:
            second = OnClusters.solve(moments, self.layout, mixing, unbiased=unbiased)
        status, n_iter = second.status, second.n_iter
        admissible = np.asarray((second.variances >= -1e-10).all(axis=-1))
        if first.moments is not None and first.adjustment is not None:
            status = np.where(first.moments.ok & first.adjustment.ok, status, int(Status.NON_PD))
            n_iter = n_iter + first.moments.n_iter
            admissible = admissible & first.moments.admissible
        move = self._move(shift, second.covariance.shape[-1])
        theta = matvec(move, np.concatenate([-second.contrast[:, :-1], second.variances], axis=-1))
        if self.equation.intercept:
            theta[:, 0] += shift[:, -1]
        covariance = np.matmul(np.matmul(move, second.covariance), transpose(move))
        regression = Regression(
            index=self.index,
            estimate=columns(theta, self.places),
            covariance=submatrix(covariance, self.places, self.places),
            status=status.astype(np.int64),
            loglik=np.full(len(theta), np.nan),
            n_iter=n_iter,
        )
        return Part(regression, self._influence(statistics, first, second, shift, move, mixing), admissible)

    def _influence(
        self,
        statistics: TwoLevelStatistics,
        first: Adjusted,
        second: OnRows | OnClusters,
        shift: FloatArray,
        move: FloatArray,
        mixing: Mixing,
    ) -> dict[str, FloatArray]:
        """What every cluster adds to the estimates (R, J, len(index)), by SE kind."""
        kinds = [kind for kind in self.options.se if kind != "expected"]
        if not kinds:
            return {}
        equations = second.equations(self._rows(statistics, first, shift))
        bread = transpose(np.matmul(move, inverse(second.jacobian())[0]))
        found: dict[str, FloatArray] = {}
        for kind in kinds:
            total = equations
            if kind == "corrected" and first.moments is not None:
                total = total + self._first_step_error(statistics, first, second, shift, mixing)
            found[kind] = columns(np.matmul(total, bread), self.places)
        return found

    def _first_step(self, statistics: TwoLevelStatistics) -> Adjusted:
        if self.adjuster is None:
            return Adjusted(statistics.size_means, statistics.size_scatter)
        influence = "corrected" in self.options.se
        moments = self.adjuster.moments(statistics, self.options.first_step, influence=influence)
        adjustment = self.adjuster.adjustment(moments)
        return Adjusted(*self.adjuster.apply(statistics, moments, adjustment), moments, adjustment)

    def _unknown(self, first: Adjusted) -> FloatArray:
        if first.adjustment is not None:
            return first.adjustment.unknown
        return np.zeros((*first.means.shape[:-1], 0, 0))

    def _move(self, shift: FloatArray, size: int) -> FloatArray:
        """Matrices (R, size, size) that move the intercept from the grand means to the origin."""
        k = len(self.equation.targets)
        result = np.broadcast_to(np.eye(size), (len(shift), size, size)).copy()
        result[:, :k, :k] = uncentring(self.equation, shift)
        return result

    def _rows(self, statistics: TwoLevelStatistics, first: Adjusted, shift: FloatArray) -> ClusterRows:
        """(Regressors, outcome) of every cluster."""
        means, scatter = statistics.clusters()
        if self.adjuster is not None and first.moments is not None and first.adjustment is not None:
            means = self.adjuster.apply_clusters(means, first.moments, first.adjustment)
        rows = self._centred(np.matmul(means, self.equation.between_map), shift)
        w = self.equation.within_map
        return ClusterRows(rows, np.matmul(np.matmul(w.T, scatter), w))

    def _centred(self, means: FloatArray, shift: FloatArray) -> FloatArray:
        """Means (R, ., k + 1) of (regressors, outcome) about the grand means, with the constant."""
        result = means.copy()
        result[..., -1] -= self.equation.offset
        result -= shift[:, None]
        if self.equation.intercept:
            result[..., 0] = 1.0
        return result

    def _first_step_error(
        self,
        statistics: TwoLevelStatistics,
        first: Adjusted,
        second: OnClusters | OnRows,
        shift: FloatArray,
        mixing: Mixing,
    ) -> FloatArray:
        """What the clusters' influence on the first step adds to the equations of the second (R, J, k + v)."""
        assert self.adjuster is not None
        assert first.moments is not None
        assert first.adjustment is not None
        assert first.moments.influence is not None
        t, counts = self.equation.between_map, self.layout.counts.astype(float)
        means = self._centred(np.matmul(first.means, t), shift)
        drifts = []
        for d_means, d_scatter, d_unknown in self.adjuster.moment_derivatives(
            statistics, first.moments, first.adjustment
        ):
            products = drift_of_products(means, np.matmul(d_means, t), np.matmul(np.matmul(t.T, d_scatter), t), counts)
            drifts.append(second.drift(Drift(products, mixing.along(second.contrast, d_unknown))))
        result: FloatArray = np.matmul(first.moments.influence, np.stack(drifts, axis=1))
        return result
