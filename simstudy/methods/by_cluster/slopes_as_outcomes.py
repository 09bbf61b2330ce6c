"""`slopes_as_outcomes`: regressions in every cluster, then a model of their coefficients (theory B7, C8, D3.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.optimum import Optimum
from simstudy.estimation.result import FitResult, Status
from simstudy.estimation.scoring import with_fallback
from simstudy.estimation.starts import add_level_starts
from simstudy.likelihood.normal.level_with_noise import LevelWithNoise, UnitsWithNoise
from simstudy.linalg.stacked import BoolArray, FloatArray, eigh, inverse_spd, matvec, outer, transpose
from simstudy.methods.by_cluster.per_cluster import FirstStage, cluster_equations, first_stage, usable
from simstudy.methods.checks import check_kinds, judge_data, refuse_constraints, refuse_ties_of_levels
from simstudy.methods.look import DOT, ORANGE, Look
from simstudy.methods.protocol import Estimator
from simstudy.methods.registry import register
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.slopes import RandomSlope
from simstudy.model.twolevel import TwoLevelModel

AT_ONCE = 5_000
"""Clusters that are worked on together."""


@register
@dataclass(frozen=True)
class SlopesAsOutcomes(Estimator):
    """Intercepts and slopes of every cluster by least squares, analysed like observed level-2 variables.

    Predictors that stand in both blocks are centred at cluster means, whose own between part is then a level-2 variable
    too; those of the within block alone enter as they are. Coefficients carry sampling error. As outcomes that costs
    precision only, but it goes into their variances, and attenuates what a slope predicts. Clusters with no more rows
    than coefficients cannot be fitted and are left out: how many is the fit measure ``clusters_dropped``.

    Attributes
    ----------
    correction : str
        ``none``: coefficients as if observed; ``sampling``: their mean sampling covariance is taken off, so that
        variances may come out negative (inadmissible); ``weighted``: maximum likelihood with every cluster's sampling
        covariance taken for known, which weights clusters by precision.
    se : tuple of str
        ``robust``, from the influence of clusters on both steps; ``expected``, which takes the first step for known.
    """

    name: ClassVar[str] = "slopes_as_outcomes"
    title: ClassVar[str] = "regressions in every cluster, then a level-2 model of intercepts and slopes"
    reference: ClassVar[str] = "Burstein, Linn & Capell (1978); Chou, Bentler & Pentz (2000)"
    theory: ClassVar[tuple[str, ...]] = (
        "docs/theory/slopes-as-outcomes.md#c8",
        "docs/theory/slopes-as-outcomes.md#d3-1",
    )
    year: ClassVar[int] = 1978
    look: ClassVar[Look] = Look(ORANGE, "d", True, DOT)
    idea: ClassVar[str] = "run the regression in each cluster, and make its coefficients the data of the next level"
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    can: ClassVar[str] = "random slopes with predictors and outcomes of their own, with single-level software"
    cannot: ClassVar[str] = (
        "use clusters with no more rows than coefficients; see sampling error in slopes unless corrected; models "
        "without random slopes; within factors"
    )
    random_slopes: ClassVar[bool] = True

    correction: Literal["none", "sampling", "weighted"] = "sampling"
    se: tuple[Literal["robust", "expected"], ...] = ("robust",)

    def __post_init__(self) -> None:
        check_kinds(self.name, self.se)

    @property
    def needs(self) -> str:
        """Every cluster's scatter and means."""
        return "clusters"

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """As asked for."""
        return self.se

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """Within equations must be regressions with an intercept, and enough clusters large enough for them."""
        equations = cluster_equations(model)
        if isinstance(equations, str):
            return equations
        kept = int(usable(equations, layout).sum())
        if kept <= len(model.observed("between")) + len(model.slopes):
            return f"no more clusters than between variables and slopes that have more rows than coefficients: {kept}"
        return refuse_constraints(model) or refuse_ties_of_levels(model)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedOutcomes:
        """Build the equations of both steps."""
        return PreparedOutcomes(self, model, layout)

    def slope_meaning(self, model: TwoLevelModel, slope: RandomSlope) -> str:
        """Regressions in a cluster centre its rows."""
        return "centred" if slope.predictor in model.both else "observed"


class PreparedOutcomes:
    """`SlopesAsOutcomes` for one model and layout."""

    def __init__(self, options: SlopesAsOutcomes, model: TwoLevelModel, layout: ClusterLayout) -> None:
        equations = cluster_equations(model)
        assert not isinstance(equations, str), equations
        self.options, self.model, self.layout, self.equations = options, model, layout, equations
        structure = SlopeStructure(model)
        self.level = structure.between
        self.problem = LevelWithNoise(structure.between, len(model.names))
        self.p = structure.r + structure.p2
        self.residuals = [(i, e.residual) for i, e in enumerate(equations) if e.residual >= 0]
        self.fixed = [int(i) for e in equations for i in e.fixed if i >= 0]
        self.variances = model.table.variance_indices

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        statistics = data.statistics() if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        size, n = max(1, AT_ONCE // self.layout.n_clusters), statistics.n_replicates
        parts = [self._fit(statistics.select(slice(first, first + size))) for first in range(0, n, size)]
        return judge_data(FitResult.concat(parts), statistics, within=True)

    def _fit(self, statistics: TwoLevelStatistics) -> FitResult:
        stage = first_stage(self.equations, self.p, statistics)
        pooled, about = self.moments(stage)
        best = with_fallback(self.problem, pooled, self.starts(pooled))
        if self.options.correction == "weighted":
            best, units = self._weighted(stage, pooled, best)
            scores = self._weighted_influence(stage, units, best.params)
        else:
            units, scores = pooled, self._influence(stage, pooled, about, best.params)
        inverse, ok = inverse_spd(self.problem.observed_information(best.params, units))
        best = replace(
            best, status=np.where(ok, best.status, np.maximum(best.status, int(Status.SINGULAR_INFORMATION)))
        )
        return self._result(stage, best, matvec(inverse[:, None], scores))

    def moments(self, stage: FirstStage) -> tuple[UnitsWithNoise, FloatArray]:
        """Moments of the coefficients and their noise, as one group; and deviations from the mean (R, J, p)."""
        w = stage.weight
        n = w.sum(axis=1)
        mean = (w[..., None] * stage.values).sum(axis=1) / n[:, None]
        about = w[..., None] * (stage.values - mean[:, None])
        scatter = np.matmul(transpose(about), about) * (n / (n - 1.0))[:, None, None]
        noise = np.zeros_like(scatter)
        if self.options.correction != "none":
            for sigma2, spread in zip(stage.sigma2, stage.spread, strict=True):
                noise += (sigma2 / n)[:, None, None] * spread.sum(axis=1)
        return UnitsWithNoise(n[:, None], mean[:, None], scatter[:, None], noise[:, None]), about

    def starts(self, pooled: UnitsWithNoise) -> tuple[FloatArray, ...]:
        """Least squares on the corrected, and on the raw, covariance matrix."""
        raw = pooled.scatter[:, 0] / pooled.n[..., None]
        found = []
        for cov in (raw - pooled.noise[:, 0], raw):
            sums = np.zeros((len(raw), len(self.model.names)))
            counts = np.zeros(len(self.model.names))
            add_level_starts(self.level, cov, pooled.mean[:, 0], sums, counts)
            found.append((sums / np.maximum(counts, 1.0))[:, self.problem.used])
        return tuple(found)

    def _influence(
        self, stage: FirstStage, pooled: UnitsWithNoise, about: FloatArray, params: FloatArray
    ) -> FloatArray:
        """Every cluster's part (R, J, t) of the estimating equations, with what it does to the noise taken off."""
        w, n = stage.weight, pooled.n
        scatter = outer(about, about) / (n - 1.0)[..., None, None]
        if self.options.correction != "none":
            for sigma2, spread, drift in zip(stage.sigma2, stage.spread, stage.drift, strict=True):
                mean = spread.sum(axis=1, keepdims=True) / n[..., None, None]
                own = sigma2[:, None, None, None] * (spread - w[..., None, None] * mean)
                scatter -= own + (n * drift)[..., None, None] * mean
        return self.problem.unit_scores(params, UnitsWithNoise(w, stage.values, scatter, pooled.noise))

    def _weighted(self, stage: FirstStage, pooled: UnitsWithNoise, best: Optimum) -> tuple[Optimum, UnitsWithNoise]:
        """Maximum of the likelihood with every cluster's own noise, and the data that it is of."""
        noise = np.zeros_like(stage.spread[0])
        for sigma2, spread in zip(stage.sigma2, stage.spread, strict=True):
            noise += sigma2[:, None, None, None] * spread
        noise = np.where(stage.weight[..., None, None] > 0, noise, pooled.noise)
        units = UnitsWithNoise(stage.weight, stage.values, np.zeros_like(noise), noise)
        found = with_fallback(self.problem, units, (best.params, self.starts(pooled)[1]))
        return replace(found, n_iter=best.n_iter + found.n_iter), units

    def _weighted_influence(self, stage: FirstStage, units: UnitsWithNoise, params: FloatArray) -> FloatArray:
        """Every cluster's part (R, J, t) of the estimating equations, and what it does to the residual variances."""
        scores = self.problem.unit_scores(params, units)
        for spread, drift in zip(stage.spread, stage.drift, strict=True):
            scores = scores + drift[..., None] * self.problem.noise_slope(params, units, spread)[:, None]
        return scores

    def _result(self, stage: FirstStage, best: Optimum, influence: FloatArray) -> FitResult:
        """Put between parameters, residual variances and fixed slopes together."""
        names, (r, j) = self.model.names, stage.weight.shape
        n = stage.weight.sum(axis=1)
        index = [*self.problem.used.tolist(), *(i for _, i in self.residuals), *self.fixed]
        at = np.array(index, dtype=np.int64)
        sigma2 = np.stack([stage.sigma2[q] for q, _ in self.residuals], axis=-1) if self.residuals else np.zeros((r, 0))
        drift = [stage.drift[q][..., None] for q, _ in self.residuals]
        slopes = stage.fixed.sum(axis=1) / n[:, None]
        moved = stage.weight[..., None] * (stage.fixed - slopes[:, None]) / n[:, None, None]
        estimate = np.full((r, len(names)), np.nan)
        estimate[:, at] = np.concatenate([best.params, sigma2, slopes], axis=-1)
        every = np.ascontiguousarray(np.concatenate([influence, *drift, moved], axis=-1))
        covariance: dict[str, FloatArray] = {}
        for kind in self.options.se:
            cov = np.matmul(transpose(every), every) * (n / (n - 1.0))[:, None, None]
            if kind == "expected":
                t = len(self.problem.used)
                cov = cov * np.eye(len(index))
                cov[:, :t, :t] = best.inverse
                for place, (q, _) in enumerate(self.residuals, t):
                    cov[:, place, place] = 2.0 * stage.sigma2[q] ** 2 / stage.df[q]
            full = np.full((r, len(names), len(names)), np.nan)
            full[:, at[:, None], at] = cov
            covariance[kind] = full
        good = np.isfinite(estimate[:, at]).all(axis=-1)
        status = np.where(good | (best.status != int(Status.OK)), best.status, int(Status.NON_PD))
        result = FitResult(
            labels=names,
            estimate=estimate,
            covariance=covariance,
            status=status.astype(np.int64),
            admissible=self._admissible(estimate, best.params),
            n_iter=best.n_iter,
            loglik=np.full(r, np.nan),
            measures={"clusters_dropped": j - n},
        )
        return result.blank_failures()

    def _admissible(self, estimate: FloatArray, params: FloatArray) -> BoolArray:
        """No negative variance, and a positive semidefinite covariance matrix of the level-2 variables (R,)."""
        values, _, fine = eigh(self.problem.implied(params).sigma)
        low = (estimate[:, self.variances] < 0.0).any(axis=-1)
        return np.asarray(fine & ~low & (values[:, 0] >= -1e-10 * values[:, -1]))
