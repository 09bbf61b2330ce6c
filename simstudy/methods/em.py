"""`em`: maximum likelihood by expectation-maximisation (Raudenbush 1995; Lee & Poon 1998; theory C6)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.errors import EstimatorError
from simstudy.estimation.em_steps import Anderson, EmStep
from simstudy.estimation.em_verdict import NEAR, Cone, interior
from simstudy.estimation.engine import Engine, complete_engine
from simstudy.estimation.optimum import Box, Optimum
from simstudy.estimation.result import FitResult, Status
from simstudy.likelihood.evaluation import Evaluation
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, cholesky, inverse_spd, is_spd, matvec, submatrix
from simstudy.methods.checks import check_kinds, judge_data, refuse_constraints
from simstudy.methods.chosen_errors import ChosenErrors
from simstudy.methods.look import BLACK, DASH, Look
from simstudy.methods.registry import register
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

# Rounding of a log-likelihood, relative to it: a loss smaller than this is none.
NOISE = 1e-13


@register
@dataclass(frozen=True)
class Em(ChosenErrors):
    """Multilevel SEM by EM: the clusters' latent between parts are the missing data.

    Each step fills in the between parts by their posterior (expectation) and fits an ordinary single-level SEM to each
    level (maximisation). The maximum, its log-likelihood and SEs are those of `msem` where that has a positive definite
    Sigma_between. Where it has not, EM creeps towards a singular one and never arrives; such a data set is reported as
    `Status.NON_PD`, and ``msem`` with ``bounds = "variances"`` finds what it would end at. ``n_iter`` counts EM steps.

    Attributes
    ----------
    se : tuple of str
        ``expected`` and ``observed`` information of the observed data at the maximum, ``robust`` (Huber-White by
        cluster). EM itself yields none: these are computed from the two-level likelihood.
    accelerate : str
        ``anderson`` (extrapolates from the last ten steps) or ``none``.
    max_iter : int
        EM steps allowed. Without acceleration thousands may be needed.
    measures : bool
        Compute fit measures too; the unrestricted and the baseline model are then fitted by EM as well.
    """

    name: ClassVar[str] = "em"
    title: ClassVar[str] = "multilevel SEM, maximum likelihood by the EM algorithm"
    reference: ClassVar[str] = "Raudenbush (1995); Lee & Poon (1998); Henderson & Varadhan (2019) on its acceleration"
    theory: ClassVar[tuple[str, ...]] = ("docs/theory/likelihood.md#c6",)
    year: ClassVar[int] = 1995
    look: ClassVar[Look] = Look(BLACK, "X", False, DASH)
    idea: ClassVar[str] = (
        "were the clusters' latent parts known, each level would be an ordinary SEM: fill them in, fit, and repeat"
    )
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    likelihood_of_model: ClassVar[bool] = True
    can: ClassVar[str] = (
        "reach msem's maximum, whatever the cluster sizes, with single-level software; no step lowers the likelihood"
    )
    cannot: ClassVar[str] = (
        "reach a maximum without a positive definite Sigma_between (a negative variance in msem): it fails there; give "
        "SEs by itself; be quick: tens of steps, hundreds to thousands without acceleration"
    )

    se: tuple[Literal["expected", "observed", "robust"], ...] = ("expected",)
    accelerate: Literal["anderson", "none"] = "anderson"
    max_iter: int = 2_000
    measures: bool = False

    def __post_init__(self) -> None:
        check_kinds(self.name, self.se)
        if self.max_iter < 1:
            raise EstimatorError(f"method '{self.name}': option 'max_iter' must be at least 1; found {self.max_iter}")

    @property
    def needs(self) -> str:
        """Robust SEs need cluster-wise scores; the rest only sums."""
        return "clusters" if "robust" in self.se else "statistics"

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """What `msem` supports, with a Sigma_between that can be positive definite, and no ``==`` constraints."""
        from simstudy.methods.msem import Msem  # which registers itself after this method: the teaching order

        reason = refuse_constraints(model) or Msem().supports(model, layout)
        if reason is None and _always_singular(TwoLevelStructure.of(model)):
            return (
                "the model's between covariance matrix is singular whatever the parameters (a variance fixed at 0), so "
                "the complete data have no density"
            )
        return reason

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedEm:
        """Build index maps and constants."""
        return PreparedEm(self, model, layout)


class PreparedEm:
    """`Em` for one model and layout."""

    def __init__(self, options: Em, model: TwoLevelModel, layout: ClusterLayout) -> None:
        from simstudy.methods.msem import Msem, PreparedMsem

        self.options, self.model, self.layout = options, model, layout
        # EM starts from moments of its own, never from the unrestricted maximum
        self.inner = PreparedMsem(Msem(se=options.se, measures=options.measures), model, layout, closed_form=True)
        self.steps: dict[TwoLevelStructure, EmStep] = {}

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        statistics = data.statistics() if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)

        def build(structure: TwoLevelStructure) -> Engine:
            if structure not in self.steps:
                self.steps[structure] = EmStep(structure, self.layout.n_obs, self.layout.n_clusters)
            scoring = complete_engine(structure, statistics)
            return EmEngine(
                scoring.likelihood, scoring.data, scoring.meat, scoring.starts,
                self.steps[structure], statistics, self.options,
            )  # fmt: skip

        return judge_data(self.inner.fit_with(build, self.layout.n_obs), statistics, within=True)


@dataclass(frozen=True)
class EmEngine(Engine):
    """The engine of complete data, whose maximum is found by EM steps."""

    step: EmStep
    statistics: TwoLevelStatistics
    options: Em

    def solve(self, *more: FloatArray, box: Box | None = None) -> Optimum:
        """Climb from moments with a positive definite Sigma_between; EM needs no better start (``more``) and no box."""
        return Climb(self).run()


class Climb:
    """EM on R data sets at once; those that have arrived leave."""

    def __init__(self, engine: EmEngine) -> None:
        self.engine, self.step = engine, engine.step
        self.cone = Cone(engine.step.structure, engine.statistics.layout.mean_size)
        as_they_are, *raised = engine.starts
        self.params: FloatArray = as_they_are
        for start in reversed(raised):  # the first of them that lies inside the cone
            self.params = np.where((self.cone.distance(start) > 0)[:, None], start, self.params)
        n, q = self.params.shape
        self.here: Evaluation = engine.likelihood.evaluate(self.params, engine.data)
        self.distance = self.cone.distance(self.params)
        inside = self.here.ok & (self.distance > 0)
        self.status: IntArray = np.where(inside, int(Status.MAX_ITER), int(Status.NON_PD)).astype(np.int64)
        self.n_iter: IntArray = np.zeros(n, dtype=np.int64)
        self.anderson = Anderson(n, q)

    def run(self) -> Optimum:
        """Climb until every data set has a verdict or its steps are used up."""
        engine, step = self.engine, 0
        while len(active := self._judge(np.flatnonzero(self.status == int(Status.MAX_ITER)), step)):
            if step == engine.options.max_iter:
                break
            self._advance(active)
            self.n_iter[active] += 1
            step += 1
        ok = is_spd(self.here.information)
        moved = np.flatnonzero((self.status == int(Status.OK)) & (self.n_iter > 0))
        if len(moved):  # stationary points that are no maxima, as in scoring
            observed = engine.likelihood.observed_information(self.params[moved], engine.data.select(moved))
            ok[moved] &= is_spd(observed)
        self.status[(self.status == int(Status.OK)) & ~ok] = int(Status.SINGULAR_INFORMATION)
        return Optimum(self.params, self.here.loglik, self.here.information, self.status, self.n_iter)

    def _judge(self, active: IntArray, step: int) -> IntArray:
        """Take out those that have arrived, or never will."""
        here = self.here
        inverse, ok = inverse_spd(here.information[active])
        arrived = here.ok[active] & ok & interior(here.score[active], inverse)
        never = ~here.ok[active]
        if step & (step - 1) == 0:  # at 0, 1, 2, 4, 8, ...: it is a costly look
            for k in np.flatnonzero(~arrived & ~never & (self.distance[active] < NEAR)):
                one = active[k : k + 1]
                never[k] = self.cone.rises_to_border(
                    self.params[one], _select(here, one), partial(self._evaluate, active=one)
                )
        self.status[active[arrived]], self.status[active[never]] = int(Status.OK), int(Status.NON_PD)
        if arrived.any():  # the rest of the way, less than 1e-6 SE, in one step, as scoring takes it
            some = active[arrived]
            last = self.params[some] + matvec(inverse[arrived], here.score[some])
            self._move(some, last, self._evaluate(last, some))
        return active[~arrived & ~never]

    def _advance(self, active: IntArray) -> None:
        """One EM step, extrapolated where asked for and where that is no step down."""
        start = self.params[active]
        step = self.step(start, self.engine.statistics.select(active))
        if self.engine.options.accelerate == "anderson":
            beyond = self.anderson.propose(active, start, step - start, self.here.information[active])
            found, loglik = self._evaluate(beyond, active), self.here.loglik[active]
            with np.errstate(invalid="ignore"):
                accept = found.ok & (self.cone.distance(beyond) > 0)
                accept &= found.loglik >= loglik - NOISE * (1.0 + np.abs(loglik))
            self.anderson.judge(active, accept)
            self._move(active[accept], beyond[accept], _select(found, accept))
            active, step = active[~accept], step[~accept]
        if len(active):
            self._move(active, step, self._evaluate(step, active))

    def _move(self, active: IntArray, params: FloatArray, found: Evaluation) -> None:
        self.params[active], self.distance[active] = params, self.cone.distance(params)
        for mine, theirs in zip(_parts(self.here), _parts(found), strict=True):
            mine[active] = theirs

    def _evaluate(self, params: FloatArray, active: IntArray) -> Evaluation:
        found: Evaluation = self.engine.likelihood.evaluate(params, self.engine.data.select(active))
        return found


def _parts(found: Evaluation) -> tuple[Any, ...]:
    return found.loglik, found.score, found.information, found.ok


def _select(found: Evaluation, some: IntArray | BoolArray) -> Evaluation:
    """The evaluations of some of the replicates."""
    return Evaluation(*(part[some] for part in _parts(found)))


def _always_singular(structure: TwoLevelStructure) -> bool:
    """Whether Sigma_B is singular at parameters drawn at random, with covariances of 0."""
    rng = np.random.default_rng(1998)
    params = rng.uniform(0.2, 0.4, (1, structure.q))
    for level in (structure.within, structure.between):
        covariances = level.maps.covariances
        params[:, covariances.free[covariances.row != covariances.column]] = 0.0
    for level in (structure.within, structure.between):
        covariances = level.maps.covariances
        params[:, covariances.free[covariances.row == covariances.column]] = 1.0
    _, _, between = structure.moments(params)
    at = structure.between.positions
    factor, ok = cholesky(submatrix(between, at, at))
    return not bool(ok[0]) or bool(np.diagonal(factor[0]).min() < 1e-6)
