"""Maxima of models with random slopes: in Cholesky parameters, within bounds, under ``==`` and inequalities.

The search runs over the Cholesky parameters that are neither held (moments of given variables) nor made dependent by
constraints (`cholesky`). Bounds of single parameters are bounds of these, too (`scoring.Box`); inequalities, and bounds
of dependent parameters, are imposed by rounds of an active set (`boundary.active_set`), one data set at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from simstudy.estimation.boundary import Round, active_set
from simstudy.estimation.by_nodes import SHORT, TINY, Settled, by_nodes
from simstudy.estimation.constrained import Holding
from simstudy.estimation.optimum import Box, Optimum, inverse_beside
from simstudy.estimation.reduction import AnchoredData, ReducedLikelihood, Reduction
from simstudy.estimation.result import Status
from simstudy.estimation.scaled_paths import ScaledPaths
from simstudy.estimation.scoring import with_fallback
from simstudy.estimation.slope_climb import climb_slopes
from simstudy.likelihood.evaluation import Evaluation, Likelihood, Selectable
from simstudy.likelihood.slopes.latent import LatentSlopes
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, columns, matvec, submatrix, transpose
from simstudy.model.constraints import ConstraintSet
from simstudy.model.twolevel import TwoLevelModel

TOLERANCE = 1e-10
ROUGH, SLACK = 1e-7, 1e-4
"""Newton decrement of a maximum that a finer rule of quadrature looks at; by how much its log-likelihood may fall."""
RIDGE = 1e-10
"""Added to the information, relative to its diagonal: for directions that leave a singular matrix as it is."""
SUSPECT, OPEN = 1e4, 1e8
"""Variance inflation from which a maximum is looked at again, and from which a direction is held by `RIDGE` alone
(which allows 1e10), and by nothing in the data."""
ZERO = 1e-7
"""A random element's standard deviation below sqrt(ZERO) times its start is on the boundary."""

D = TypeVar("D", bound=Selectable)


class CholeskyLikelihood(Likelihood[D]):
    """A log-likelihood of random slopes in Cholesky parameters, as the optimiser takes it."""

    verify_maximum: ClassVar[bool] = False  # evaluations return the observed information: what they accept is a maximum

    def __init__(self, likelihood: Likelihood[D], cholesky: ScaledPaths) -> None:
        self.likelihood, self.cholesky = likelihood, cholesky

    @property
    def move(self) -> Callable[[FloatArray, FloatArray], FloatArray]:
        """Where damped steps lead."""
        return self.cholesky.move

    def turned(self) -> CholeskyLikelihood[D]:
        """The same in the Cholesky parameters of `ScaledPaths.turned`."""
        return CholeskyLikelihood(self.likelihood, self.cholesky.turned())

    def evaluate(self, params: FloatArray, data: D) -> Evaluation:
        """Log-likelihood, score and observed information at Cholesky parameters (R, q)."""
        with np.errstate(all="ignore"):
            found = self.likelihood.evaluate(self.cholesky.natural(params), data)
            information = _in_cholesky(self.cholesky, params, found.score, found.information)
            turned = transpose(self.cholesky.jacobian(params))
            return Evaluation(found.loglik, matvec(turned, found.score), information, found.ok)

    def observed_information(self, params: FloatArray, data: D) -> FloatArray:
        """Observed information (R, q, q) in Cholesky parameters."""
        return self.evaluate(params, data).information


def _in_cholesky(cholesky: ScaledPaths, xi: FloatArray, score: FloatArray, information: FloatArray) -> FloatArray:
    """An information (R, q, q) in Cholesky parameters, where it is negative second derivatives or takes their place."""
    jacobian = cholesky.jacobian(xi)
    found: FloatArray = np.matmul(np.matmul(transpose(jacobian), information), jacobian)
    found -= cholesky.curvature(xi, score)
    diagonal = np.abs(np.diagonal(found, axis1=-2, axis2=-1))
    least = 1e-8 * diagonal.max(axis=-1, keepdims=True)
    place = np.arange(found.shape[-1])
    found[:, place, place] += RIDGE * np.maximum(diagonal, least)
    return found


class CholeskyRung(CholeskyLikelihood[Any]):
    """One that is integrated by quadrature."""

    likelihood: LatentSlopes

    @property
    def nodes(self) -> int:
        """A dimension."""
        return self.likelihood.nodes

    def slope(self, params: FloatArray, data: Any) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Log-likelihood (R,), score (R, q), and where they exist (R,)."""
        with np.errstate(all="ignore"):
            loglik, score, ok = self.likelihood.slope(self.cholesky.natural(params), data)
            return loglik, matvec(transpose(self.cholesky.jacobian(params)), score), ok

    def loglik(self, params: FloatArray, data: Any) -> FloatArray:
        """Log-likelihood (R,)."""
        return self.likelihood.loglik(self.cholesky.natural(params), data)


class SomeParameters(ReducedLikelihood):
    """The same as a function of some of the parameters, the others held."""

    verify_maximum: ClassVar[bool] = False


class SomeOfRung(SomeParameters):
    """The same of a `CholeskyRung`."""

    inner: CholeskyRung

    @property
    def nodes(self) -> int:
        """A dimension."""
        return self.inner.nodes

    def slope(self, params: FloatArray, data: AnchoredData) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Log-likelihood (R,), score (R, k), and where they exist (R,)."""
        loglik, score, ok = self.inner.slope(self.reduction.expand(params, data.anchor), data.inner)
        return loglik, columns(score, self.reduction.free), ok

    def loglik(self, params: FloatArray, data: AnchoredData) -> FloatArray:
        """Log-likelihood (R,)."""
        return self.inner.loglik(self.reduction.expand(params, data.anchor), data.inner)


@dataclass(frozen=True)
class Found:
    """Where the search stopped.

    Attributes
    ----------
    best : Optimum
        Over the k Cholesky parameters that are free.
    cholesky : ScaledPaths
    free : (k,)
        Places of these among all.
    xi : (R, q)
        All Cholesky parameters.
    params : (R, q)
    jacobian : (R, q, k)
        Derivatives of ``params`` with respect to the free Cholesky parameters.
    singular : (R,)
        Whether a covariance matrix of random elements is singular.
    at_bound : (R, q)
        Parameters that a bound holds.
    tight : (R,)
        Whether an inequality holds with equality.
    quadrature : dict
        ``nodes`` of the log-likelihood, and ``loglik_error`` (see `by_nodes.Settled`), where it is an integral.
    """

    best: Optimum
    cholesky: ScaledPaths
    free: IntArray
    xi: FloatArray
    params: FloatArray
    jacobian: FloatArray
    singular: BoolArray
    at_bound: BoolArray
    tight: BoolArray
    quadrature: dict[str, FloatArray] = field(default_factory=dict)

    def of_free(self, scores: FloatArray) -> FloatArray:
        """Scores (R, J, q) as those of the free Cholesky parameters (R, J, k)."""
        result: FloatArray = np.matmul(scores, self.jacobian)
        return result

    def inverse(self, score: FloatArray, information: FloatArray) -> FloatArray:
        """Inverse (R, k, k) of an information (R, q, q) in the model's parameters as one of the free Cholesky ones."""
        turned = _in_cholesky(self.cholesky, self.xi, score, information)
        found, ok = inverse_beside(submatrix(turned, self.free, self.free), self.best.held)
        return np.where(ok[:, None, None], found, np.nan)

    def covariance(self, inner: FloatArray) -> FloatArray:
        """Covariance of all parameters (R, q, q) from one of the free Cholesky parameters (R, k, k).

        On the boundary this is the covariance on the face that the estimate lies on, and a variance that is 0 has none.
        """
        size = np.abs(self.jacobian).max(axis=-1, initial=0.0)
        flat = size < np.sqrt(ZERO) * np.abs(self.params).max(axis=-1)[:, None]
        flat &= self.singular[:, None] & ~self.at_bound
        cov = np.matmul(np.matmul(self.jacobian, inner), transpose(self.jacobian))
        return np.where(flat[:, :, None] | flat[:, None, :], np.nan, cov)


class SlopeSearch:
    """The search for one model and likelihood.

    Parameters
    ----------
    likelihood : Likelihood
        In the model's parameters, with the observed information.
    finer : tuple of LatentSlopes
        The same with more and more nodes, if it is one.
    held : int array
        Parameters that are not searched over.
    variances : bool
        Keep variances that nothing keeps positive (beside factors of the within level) from falling below 0.
    """

    def __init__(
        self,
        model: TwoLevelModel,
        likelihood: Likelihood[Any],
        held: IntArray,
        *,
        finer: tuple[LatentSlopes, ...] = (),
        variances: bool = False,
    ) -> None:
        self.finer, self.variances = finer, variances
        self.model, self.likelihood, self.held = model, likelihood, held
        self.holding = Holding.of(model, {}, variances=variances)
        self.lower, self.upper = self.holding.boundary.lower.copy(), self.holding.boundary.upper.copy()
        positive = _kept_positive(model)
        self.lower[positive] = np.where(self.lower[positive] > 0.0, self.lower[positive], -np.inf)
        self.lower[held], self.upper[held] = -np.inf, np.inf
        self.cholesky = self._cholesky(self.holding.constraints)
        self.problem = CholeskyLikelihood(likelihood, self.cholesky)

    def beside(self, likelihood: Likelihood[Any]) -> SlopeSearch:
        """The same for another likelihood of the model."""
        return SlopeSearch(self.model, likelihood, self.held, variances=self.variances)

    @property
    def one_by_one(self) -> bool:
        """Whether data sets are fitted one at a time: which inequalities are active differs between them."""
        return self.holding.boundary.general

    @property
    def n_free(self) -> int:
        """Number of parameters; it does not depend on which bounds and inequalities hold with equality."""
        return len(self._free(self.holding.constraints))

    def _cholesky(self, constraints: ConstraintSet) -> ScaledPaths:
        bounded = np.flatnonzero(np.isfinite(self.lower) | np.isfinite(self.upper))
        return ScaledPaths(self.model, constraints, bounded.tolist())

    def _free(self, constraints: ConstraintSet) -> IntArray:
        out = np.concatenate([self.held, constraints.dependent])
        return np.setdiff1d(np.arange(len(self.model.names)), out).astype(np.int64)

    def solve(self, data: Any, starts: tuple[FloatArray, ...], anchor: FloatArray) -> Found:
        """The maximum for R data sets from starts (R, q), held parameters at those of ``anchor`` (R, q)."""
        if self.one_by_one:
            assert len(anchor) == 1, "inequalities are imposed on one data set at a time"
            return self._identified(self._under_inequalities(data, starts, anchor), data)
        return self._identified(self._solve(self.cholesky, data, starts, anchor), data)

    def _identified(self, found: Found, data: Any) -> Found:
        """Take the verdict OK from points where the data leave a direction open, which the ridge hides.

        The information is that of the final point: the search's own is of the point before its last step, where a small
        score bends directions that are flat. On the boundary directions may be open that move no parameter (those of L
        where a row of it is 0).
        """
        best = found.best
        with np.errstate(all="ignore"):
            suspect = _inflation(best.information, best.held) > SUSPECT
            where = np.flatnonzero(suspect & (best.status == int(Status.OK)) & ~found.singular)
            if not len(where):
                return found
            problem: CholeskyLikelihood[Any] = CholeskyLikelihood(self.likelihood, found.cholesky)
            there = problem.evaluate(found.xi[where], data.select(where)).information
            held = None if best.held is None else best.held[where]
            bad = where[_inflation(submatrix(there, found.free, found.free), held) > OPEN]
        status = best.status.copy()
        status[bad] = int(Status.SINGULAR_INFORMATION)
        return replace(found, best=replace(best, status=status))

    def _solve(self, cholesky: ScaledPaths, data: Any, starts: tuple[FloatArray, ...], anchor: FloatArray) -> Found:
        constraints = cholesky.constraints
        free = self._free(constraints)
        begin = tuple(cholesky.of_natural(start) for start in starts)
        box = cholesky.box(self.lower, self.upper)
        q = len(self.model.names)
        at_bound = np.zeros((len(anchor), q), dtype=bool)
        if len(free) == q:
            settled = self._climb(cholesky, None, data, begin, box)
            xi = settled.best.params
        else:
            reduction = Reduction(free, ConstraintSet(constraints.names, constraints.constants, ()))
            still = cholesky.of_natural(anchor)
            inside = None if box is None else replace(box, lower=box.lower[free], upper=box.upper[free])
            reduced = tuple(columns(start, free) for start in begin)
            settled = self._climb(cholesky, reduction, AnchoredData(data, still), reduced, inside)
            xi = reduction.expand(settled.best.params, still)
        best = settled.best
        params = cholesky.natural(xi)
        if best.held is not None:
            at_bound[:, free] = best.held
            upper = np.abs(params - self.upper) < np.abs(params - self.lower)
            params = np.where(at_bound, np.where(upper, self.upper, self.lower), params)  # not off by rounding
        singular = cholesky.boundary(xi, ZERO * begin[0] ** 2)
        jacobian = columns(cholesky.jacobian(xi), free)
        no = np.zeros(len(xi), dtype=bool)
        return Found(best, cholesky, free, xi, params, jacobian, singular, at_bound, no, settled.measures)

    def _climb(
        self,
        cholesky: ScaledPaths,
        reduction: Reduction | None,
        data: Any,
        starts: tuple[FloatArray, ...],
        box: Box | None,
    ) -> Settled:
        """The maximum over all Cholesky parameters, or over those of a reduction, with as many nodes as it takes."""
        if not self.finer:
            plain: CholeskyLikelihood[Any] = CholeskyLikelihood(self.likelihood, cholesky)
            return Settled.plain(self._maximise(plain, reduction, data, starts, box, TOLERANCE))
        rungs = [CholeskyRung(likelihood, cholesky) for likelihood in (self.likelihood, *self.finer)]

        def climb(k: int, subset: Any, begin: tuple[FloatArray, ...]) -> Optimum:
            tolerance = TOLERANCE if k == len(rungs) - 1 else ROUGH
            return self._maximise(rungs[k], reduction, subset, begin, box, tolerance, SLACK)

        looked = rungs if reduction is None else [SomeOfRung(rung, reduction) for rung in rungs]
        return by_nodes(looked, data, starts, climb, TINY if self.finer[0].dimension == 1 else SHORT)

    def _maximise(
        self,
        problem: CholeskyLikelihood[Any],
        reduction: Reduction | None,
        data: Any,
        starts: tuple[FloatArray, ...],
        box: Box | None,
        tolerance: float,
        slack: float = 0.0,
    ) -> Optimum:
        if reduction is None and box is None:
            return climb_slopes(problem, data, starts, tolerance=tolerance, slack=slack)
        some = problem if reduction is None else SomeParameters(problem, reduction)
        return with_fallback(some, data, starts, tolerance=tolerance, box=box)

    def _under_inequalities(self, data: Any, starts: tuple[FloatArray, ...], anchor: FloatArray) -> Found:
        last: list[Found] = []

        def refit(constraints: ConstraintSet, start: FloatArray | None) -> Round:
            begin = starts if start is None else (start[None], *starts)
            found = self._solve(self._cholesky(constraints), data, begin, anchor)
            last[:] = [found]
            there = self.likelihood.evaluate(found.params, data)
            still = found.at_bound[0].copy()
            still[self.held] = True
            return Round(found.params[0], there.score[0], there.information[0], still)

        active, settled = active_set(self.holding.boundary, refit)
        found = last[0]
        if not settled:  # the rounds went in a circle, or met no fit: no verdict
            status = found.best.status
            status = np.where(status == int(Status.OK), int(Status.MAX_ITER), status)
            found = replace(found, best=replace(found.best, status=status))
        return replace(found, tight=np.array([bool(active)]))


def _inflation(information: FloatArray, held: BoolArray | None) -> FloatArray:
    """Largest variance inflation of R informations (R,)."""
    inverse, ok = inverse_beside(information, held)
    found = np.diagonal(inverse, axis1=-2, axis2=-1) * np.diagonal(information, axis1=-2, axis2=-1)
    return np.where(ok, found.max(axis=-1, initial=0.0), np.inf)


def _kept_positive(model: TwoLevelModel) -> IntArray:
    """Variances that squares and logarithms keep from being negative, whatever bounds say."""
    levels = ("between",) if model.factors("within") else ("between", "within")
    rows = [row for level in levels for row in model.table.at(level) if row.op == "~~" and row.lhs == row.rhs]
    return np.array(sorted({row.free for row in rows if row.free >= 0}), dtype=np.int64)


def refuse_bounds_of_variances(model: TwoLevelModel) -> str | None:
    """Bounds of variances that no covariance matrix fulfils, in words, or None."""
    upper, within = model.table.upper, {row.free for row in model.table.at("within")}
    for index in _kept_positive(model).tolist():
        if upper[index] < 0.0 or (upper[index] == 0.0 and index in within):
            return (
                f"the upper bound {upper[index]:g} of '{model.names[index]}' lets no variance be: with random slopes "
                "residual variances within clusters are positive, and variances between clusters are not negative"
            )
    return None
