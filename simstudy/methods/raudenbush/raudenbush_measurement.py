"""`raudenbush_measurement`: factors as latent means of items with equal loadings and uniquenesses (theory C7, D3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics, between_scatter
from simstudy.estimation.engine import complete_engine
from simstudy.estimation.inference import covariance
from simstudy.estimation.result import FitResult
from simstudy.estimation.scoring import with_fallback
from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, transpose
from simstudy.methods.checks import admissible, check_kinds, judge_data, refuse_constraints, refuse_few
from simstudy.methods.likelihood_of import LikelihoodOf, joint
from simstudy.methods.look import DASH_DOT, SKY, Look
from simstudy.methods.protocol import Estimator
from simstudy.methods.raudenbush.composites import CompositeModel, average, composite_model
from simstudy.methods.registry import register
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel


@register
@dataclass(frozen=True)
class RaudenbushMeasurement(Estimator):
    """A three-level model of items in persons in clusters: what multilevel software can say about a factor.

    All loadings are 1 at both levels, items of a factor share one uniqueness, and items have no residual between
    clusters. Where that is false, the factors' variances take up the difference: with k items the one within tends to
    1'S_W 1/k^2 - sigma^2/k, that between to 1'S_B 1/k^2. Loadings and items' between residuals are assumed, not
    estimated, and are not reported. The likelihood is that of the items, and compares with that of `msem`.

    Attributes
    ----------
    uniquenesses : str
        ``factor``, one a factor; ``common``, one for all items of all factors.
    se : tuple of str
        ``expected``, ``observed``.
    """

    name: ClassVar[str] = "raudenbush_measurement"
    title: ClassVar[str] = "multilevel model of items with equal loadings and uniquenesses, maximum likelihood"
    reference: ClassVar[str] = "Raudenbush, Rowan & Kang (1991)"
    theory: ClassVar[tuple[str, ...]] = ("docs/theory/measurement.md#c7", "docs/theory/measurement.md#d3-2")
    year: ClassVar[int] = 1991
    look: ClassVar[Look] = Look(SKY, ">", True, DASH_DOT)
    idea: ClassVar[str] = "take items for repeated measures of a person: one more level of a multilevel model"
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    averages_items: ClassVar[bool] = True
    can: ClassVar[str] = (
        "latent factors at both levels, and structural models of them, as far as items are exchangeable"
    )
    cannot: ClassVar[str] = (
        "loadings or uniquenesses that differ; between residuals of items; models without factors; items of two factors"
    )

    uniquenesses: Literal["factor", "common"] = "factor"
    se: tuple[Literal["expected", "observed"], ...] = ("expected",)

    def __post_init__(self) -> None:
        check_kinds(self.name, self.se)

    @property
    def needs(self) -> str:
        """Sums suffice."""
        return "statistics"

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """As asked for."""
        return self.se

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """The measurement model must be of the restricted kind, or become so with equal loadings."""
        reason = refuse_constraints(model)
        if reason is not None:
            return reason
        found = composite_model(model)
        return found if isinstance(found, str) else refuse_few(found.model, layout)

    def likelihood_of(self, model: TwoLevelModel) -> LikelihoodOf:
        """That of the items, as of `msem`."""
        return joint(model)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedMeasurement:
        """Build the model of means."""
        return PreparedMeasurement(self, model, layout)


@dataclass(frozen=True)
class _Data:
    means: object  # two_level.Data
    squares: FloatArray  # (R, F)

    def select(self, replicates: IntArray | BoolArray) -> _Data:
        return _Data(self.means.select(replicates), self.squares[replicates])  # type: ignore[attr-defined]


class _ItemLikelihood(Likelihood[_Data]):
    """Log-likelihood of the items: that of the means plus that of the contrasts.

    Parameters are those of the model of means, with sigma^2 in place of sigma^2 / k.
    """

    def __init__(self, likelihood: object, turn: FloatArray, errors: IntArray, sizes: IntArray, n_obs: int) -> None:
        self.likelihood, self.turn, self.errors, self.sizes, self.n = likelihood, turn, errors, sizes, n_obs

    def evaluate(self, params: FloatArray, data: _Data) -> Evaluation:
        """Log-likelihood, score and expected information at (R, t)."""
        found: Evaluation = self.likelihood.evaluate(np.matmul(params, self.turn.T), data.means)  # type: ignore[attr-defined]
        loglik, score = found.loglik.copy(), np.matmul(found.score, self.turn)
        information = np.matmul(np.matmul(self.turn.T, found.information), self.turn)
        fine = found.ok.copy()
        with np.errstate(all="ignore"):
            for f, (at, k) in enumerate(zip(self.errors, self.sizes, strict=True)):
                sigma2, free = params[:, at], self.n * (k - 1)
                fine &= sigma2 > 0
                loglik -= 0.5 * (free * np.log(2.0 * np.pi * sigma2) + data.squares[:, f] / sigma2 + self.n * np.log(k))
                score[:, at] += 0.5 * (data.squares[:, f] / sigma2 - free) / sigma2
                information[:, at, at] += 0.5 * free / sigma2**2
        return Evaluation(np.where(fine, loglik, -np.inf), score, information, fine)

    def observed_information(self, params: FloatArray, data: _Data) -> FloatArray:
        """Minus the exact second derivatives (R, t, t)."""
        inner = self.likelihood.observed_information(np.matmul(params, self.turn.T), data.means)  # type: ignore[attr-defined]
        information = np.matmul(np.matmul(self.turn.T, inner), self.turn)
        with np.errstate(all="ignore"):
            for f, (at, k) in enumerate(zip(self.errors, self.sizes, strict=True)):
                sigma2 = params[:, at]
                information[:, at, at] += (data.squares[:, f] / sigma2 - 0.5 * self.n * (k - 1)) / sigma2**2
        return np.asarray(information)


class PreparedMeasurement:
    """`RaudenbushMeasurement` for one model and layout."""

    def __init__(self, options: RaudenbushMeasurement, model: TwoLevelModel, layout: ClusterLayout) -> None:
        built = composite_model(model)
        assert isinstance(built, CompositeModel), built
        self.options, self.model, self.layout, self.built = options, model, layout, built
        self.structure = TwoLevelStructure(built.model)
        self.sizes: IntArray = np.array([len(c.items) for c in built.composites], dtype=np.int64)
        q = len(built.model.names)
        full = np.eye(q)
        errors = [c.error for c in built.composites]
        keep = list(range(q))
        for error, k in zip(errors, self.sizes, strict=True):
            full[error, error] = 1.0 / k
            if options.uniquenesses == "common" and error != errors[0]:
                full[error, errors[0]] = 1.0 / k
                keep.remove(error)
        self.turn: FloatArray = full[:, keep]
        self.at = {old: new for new, old in enumerate(keep)}
        common = options.uniquenesses == "common"
        self.errors: IntArray = np.array([self.at[errors[0] if common else e] for e in errors], dtype=np.int64)
        self.report = self._report()

    def _report(self) -> FloatArray:
        """Derivatives (q, t) of what is reported; rows of NaN for what the method does not speak about."""
        report = np.full((len(self.model.names), self.turn.shape[1]), np.nan)

        def put(index: int, place: int) -> None:
            report[index] = 0.0
            report[index, place] = 1.0

        for old, new in enumerate(self.built.index):
            if new >= 0:
                put(old, self.at[int(new)])
        for composite, error in zip(self.built.composites, self.errors, strict=True):
            for index in composite.uniquenesses:
                put(int(index), int(error))
            for index in composite.intercepts:
                put(int(index), self.at[composite.mean])
        return report

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        statistics = data.statistics(cluster_wise=False) if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        averaged, squares = average(self.built, statistics)
        engine = complete_engine(self.structure, averaged)
        items = _Data(engine.data, squares)
        problem = _ItemLikelihood(engine.likelihood, self.turn, self.errors, self.sizes, self.layout.n_obs)
        best = with_fallback(problem, items, tuple(self._start(start, squares) for start in engine.starts))
        found: dict[str, FloatArray] = {}
        for kind in self.options.se:
            inverse = best.inverse
            if kind == "observed":
                inverse = covariance(problem.observed_information(best.params, items))
            found[kind] = np.matmul(np.matmul(self.report, inverse), transpose(self.report))
        estimate = np.matmul(best.params, self.report.T)
        self._add_contrasts(estimate, found, best.params, statistics)
        result = FitResult(
            labels=self.model.names,
            estimate=estimate,
            covariance=found,
            status=best.status,
            admissible=admissible(self.structure, np.matmul(best.params, self.turn.T)),
            n_iter=best.n_iter,
            loglik=best.loglik,
        )
        return judge_data(result.blank_failures(), statistics, within=True)

    def _start(self, start: FloatArray, squares: FloatArray) -> FloatArray:
        """Starting values: uniquenesses from the contrasts."""
        result = np.zeros((len(start), self.turn.shape[1]))
        for old, new in self.at.items():
            result[:, new] = start[:, old]
        for error in np.unique(self.errors):
            mine = self.errors == error
            free = self.layout.n_obs * (self.sizes[mine] - 1).sum()
            result[:, error] = squares[:, mine].sum(axis=1) / free
        return result

    def _add_contrasts(
        self, estimate: FloatArray, found: dict[str, FloatArray], params: FloatArray, statistics: TwoLevelStatistics
    ) -> None:
        """Intercepts of items: the factor's, plus the item's distance from the items' mean, which is independent."""
        mean, _ = between_scatter(statistics)
        for composite, error in zip(self.built.composites, self.errors, strict=True):
            at = [statistics.level1.index(item) for item in composite.items]
            own = mean[:, at]
            index = composite.intercepts
            estimate[:, index] += own - own.mean(axis=1, keepdims=True)
            k = len(at)
            spread = (params[:, error] / self.layout.n_obs)[:, None, None] * (np.eye(k) - 1.0 / k)
            for cov in found.values():
                cov[:, index[:, None], index] += spread
