"""Maxima with a positive semidefinite Sigma_between, where its covariances are all free (`h1 = "psd"`).

The unrestricted likelihood exists wherever every V_n is positive definite, and its maximum often has an indefinite
Sigma_B. EM, by which other software fits the unrestricted model, never leaves the cone of semidefinite matrices. Its
limit is the maximum over the cone, found here without EM: with a basis T of each data set,

    Sigma_B = T L L' T',    L lower triangular,

and all other parameters as they are. Scoring takes J' I J - C for information, where J is the derivative of the
parameters with respect to L, I the expected information and C the curvature of the map: for column k of L,
C_(ik)(jk) = 2 (T' S T)_ij, S the derivative of l with respect to the matrix Sigma_B. On the border, where columns of L
vanish, J' I J is singular and -C is what makes scoring converge. T diagonalises Sigma_B and Sigma_W together, largest
share first, so that the columns that vanish are the last ones; level-2 variables, whose Sigma_zz is never singular,
come first. The maximum is verified by the conditions for one over a cone: the score vanishes along the cone's face, and
T' S T, its derivative in the directions that would leave the face inwards, has no positive eigenvalue.

Where all moments of both levels are free and nothing is missing, coordinates exist in which the information on the
cone's face is diagonal but for pairs (`cone_moments`): O(p^3) a step in place of O(p^6), and one step where clusters
have one size, as in the closed form of Anderson, Anderson & Olkin (1986). What that does not finish, L does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simstudy.estimation.engine import Engine
from simstudy.estimation.fit_measures import Solved
from simstudy.estimation.optimum import Optimum
from simstudy.estimation.result import Status
from simstudy.estimation.scoring import maximise
from simstudy.likelihood.evaluation import Evaluation
from simstudy.likelihood.normal.cone_moments import ConeMoments
from simstudy.linalg.stacked import (
    BoolArray,
    FloatArray,
    IntArray,
    cholesky,
    columns,
    eigh,
    entries,
    inverse,
    matvec,
    submatrix,
    transpose,
)
from simstudy.model.implied import TwoLevelStructure

# Between-to-within ratios below these are raised to them at the start of each round: a start on the border is
# stationary in the directions that leave it. Later rounds begin where the round before stopped.
FLOORS = (0.02, 1e-3, 0.1, 1e-4)
MAX_ITER = 200
# A derivative of l below this, with respect to a between-to-within ratio, can gain no more than its square over J.
INWARDS = 1e-3
# Eigenvalues of Sigma_B that are 0, relative to its largest plus the largest of Sigma_W: Sigma_B may be all 0.
ZERO = 1e-10


def between_eigenvalues(structure: TwoLevelStructure, params: FloatArray) -> FloatArray:
    """Eigenvalues (R, p_b), ascending, of the between variables' Sigma_between at parameters (R, q)."""
    _, _, between = structure.moments(params)
    values, _, _ = eigh(submatrix(between, structure.between.positions, structure.between.positions))
    return values


def is_semidefinite(structure: TwoLevelStructure, params: FloatArray) -> BoolArray:
    """Where Sigma_between is positive semidefinite, but for rounding (R,)."""
    values = between_eigenvalues(structure, params)
    _, within, _ = structure.moments(params)
    largest = np.abs(values).max(axis=-1, initial=0.0) + np.abs(within).max(axis=(-2, -1), initial=0.0)
    return np.asarray(values.min(axis=-1, initial=0.0) >= -ZERO * largest)


def solve_semidefinite(structure: TwoLevelStructure, engine: Engine, best: Optimum) -> Optimum:
    """The maximum over positive semidefinite Sigma_between of R data sets.

    Parameters
    ----------
    structure : TwoLevelStructure
        Of a model whose between block leaves every covariance free.
    engine : Engine
        Of that structure.
    best : Optimum
        The maximum without the restriction; where it is semidefinite, it is returned as it is.

    Returns
    -------
    Optimum
        In the structure's own parameters; ``information`` is the expected one there, which on the border is not that
        of a maximum. `Status.MAX_ITER` where no point passed as a maximum over the cone.
    """
    found = best.status == int(Status.OK)
    outside = np.flatnonzero(~(found & is_semidefinite(structure, np.where(found[:, None], best.params, 1.0))))
    if not len(outside):
        return best
    data, start = engine.data.select(outside), np.where(found[:, None], best.params, engine.starts[-1])[outside]
    if not engine.optimiser.by_pairs:
        return best.put(outside, _Climb(structure, engine.likelihood).run(data, start))
    highest = climb_by_pairs(engine.likelihood, data, start)
    left = np.flatnonzero(highest.status != int(Status.OK))
    if len(left):
        again = _Climb(structure, engine.likelihood).run(data.select(left), highest.params[left])
        highest = highest.put(left, replace(again, n_iter=again.n_iter + highest.n_iter[left]))
    return best.put(outside, highest)


def semidefinite(solved: Solved) -> Solved:
    """A fit of a model whose between covariances are all free, with Sigma_between positive semidefinite instead."""
    return replace(solved, best=solve_semidefinite(solved.structure, solved.engine, solved.best))


def scored_once(structure: TwoLevelStructure, engine: Engine) -> Solved:
    """What plain scoring makes of a model, without the slower tries that follow where it fails.

    It is enough to start `semidefinite` from, whose maximum always exists.
    """
    return Solved(structure, engine, engine.solve_once(), structure.q)


def climb_by_pairs(likelihood: Any, data: Any, start: FloatArray) -> Optimum:
    """The maximum over the cone where all moments are free and nothing is missing: `ConeMoments`.

    From parameters ``start`` (R, q) with the negative between-to-within ratios set to 0, then, for what did not arrive,
    from where it stopped with small ratios raised.
    """
    cone = ConeMoments(likelihood)

    def climb(subset: Any, where: FloatArray, floor: float) -> Optimum:
        found = maximise(cone.evaluate, subset, cone.raised(where, floor), max_iter=MAX_ITER, metric=cone)
        maximum = (found.status == int(Status.OK)) & (cone.inwards(found.params, subset) < INWARDS)
        return replace(found, status=np.where(maximum, int(Status.OK), int(Status.MAX_ITER)).astype(np.int64))

    with np.errstate(all="ignore"):
        best = climb(data, start, 0.0)
        for floor in FLOORS[:2]:
            left = np.flatnonzero(best.status != int(Status.OK))
            if not len(left):
                break
            usable = np.isfinite(best.loglik[left])[:, None]
            again = climb(data.select(left), np.where(usable, best.params[left], start[left]), floor)
            best = best.put(left, replace(again, n_iter=again.n_iter + best.n_iter[left]))
        found = likelihood.evaluate(best.params, data)
    status = np.where(found.ok, best.status, int(Status.MAX_ITER)).astype(np.int64)
    return Optimum(best.params, found.loglik, found.information, status, best.n_iter)


class _Cone:
    """The map between parameters theta and working parameters xi, both (R, q): L stands where Sigma_B stood."""

    def __init__(self, structure: TwoLevelStructure) -> None:
        self.structure = structure
        maps = structure.between.maps
        size = maps.n_observed
        self.index: IntArray = np.full((size, size), -1, dtype=np.int64)
        own = maps.covariances
        self.index[own.row, own.column] = self.index[own.column, own.row] = own.free
        if (self.index < 0).any() or len(maps.variables) > size:
            raise ValueError("the between block does not leave every covariance free")
        row, column = np.tril_indices(size)
        self.size, self.row, self.column = size, row.astype(np.int64), column.astype(np.int64)
        self.place: IntArray = self.index[row, column]
        self.n_both = int((structure.between.positions < structure.p1).sum())

    def basis(self, theta: FloatArray, floor: float) -> tuple[FloatArray, FloatArray]:
        """T (R, p_b, p_b), and xi whose L is diagonal: between-to-within ratios raised to ``floor``."""
        at, y = self.structure.between.positions, self.n_both
        _, within, between = self.structure.moments(theta)
        own, between = submatrix(within, at[:y], at[:y]), submatrix(between, at, at)
        nz = self.size - y
        factor_z, _ = cholesky(between[:, y:, y:])
        lower_z, _ = inverse(factor_z)
        link = np.matmul(between[:, :y, y:], transpose(lower_z))
        factor, _ = cholesky(own)
        lower, _ = inverse(factor)
        conditional = np.ascontiguousarray(between[:, :y, :y]) - np.matmul(link, transpose(link))
        ratios, vectors, _ = eigh(np.matmul(np.matmul(lower, conditional), transpose(lower)))
        order = np.arange(y - 1, -1, -1)
        basis = np.zeros((len(theta), self.size, self.size))
        basis[:, :y, :nz], basis[:, y:, :nz] = link, factor_z
        basis[:, :y, nz:] = columns(np.matmul(factor, vectors), order)
        roots = np.ones((len(theta), self.size))
        roots[:, nz:] = np.sqrt(np.maximum(columns(ratios, order), floor))
        xi = theta.copy()
        xi[:, self.place] = 0.0
        xi[:, np.diagonal(self.index)] = roots
        return basis, xi

    def _columns(self, xi: FloatArray, basis: FloatArray) -> FloatArray:
        """T L (R, p_b, p_b)."""
        lower = np.zeros_like(basis)
        lower[:, self.row, self.column] = columns(xi, self.place)
        result: FloatArray = np.matmul(basis, lower)
        return result

    def natural(self, xi: FloatArray, basis: FloatArray) -> FloatArray:
        """Parameters theta."""
        half = self._columns(xi, basis)
        theta = xi.copy()
        theta[:, self.place] = entries(np.matmul(half, transpose(half)), self.row, self.column)
        return theta

    def jacobian(self, xi: FloatArray, basis: FloatArray) -> FloatArray:
        """Derivatives (R, q, q): dSigma_B / dL_ik = t_i b_k' + b_k t_i', with t and b the columns of T and T L."""
        half = self._columns(xi, basis)
        p, q, i, k = self.row[:, None], self.column[:, None], self.row[None, :], self.column[None, :]

        def pick(matrix: FloatArray, row: IntArray, column: IntArray) -> FloatArray:
            flat: FloatArray = np.take(matrix.reshape(len(matrix), -1), row * self.size + column, axis=-1)
            return flat

        block = pick(basis, p, i) * pick(half, q, k) + pick(half, p, k) * pick(basis, q, i)
        result = np.zeros((*xi.shape, xi.shape[-1]))
        everything = np.arange(xi.shape[-1])
        result[:, everything, everything] = 1.0
        result[:, self.place[:, None], self.place] = block
        return result

    def slope(self, score: FloatArray, basis: FloatArray) -> FloatArray:
        """T' S T (R, p_b, p_b), S the derivative of l with respect to the full matrix Sigma_B."""
        own = columns(score, self.place) * np.where(self.row == self.column, 1.0, 0.5)
        full = np.zeros_like(basis)
        full[:, self.row, self.column] = own
        full[:, self.column, self.row] = own
        result: FloatArray = np.matmul(np.matmul(transpose(basis), full), basis)
        return result

    def curvature(self, score: FloatArray, basis: FloatArray) -> FloatArray:
        """C (R, q, q)."""
        slope = self.slope(score, basis)
        result = np.zeros((*score.shape, score.shape[-1]))
        for k in range(self.size):
            mine = self.index[k:, k]
            result[:, mine[:, None], mine] = 2.0 * slope[:, k:, k:]
        return result


@dataclass(frozen=True)
class _ConeData:
    """Data together with each data set's basis T."""

    inner: Any
    basis: FloatArray

    def select(self, replicates: IntArray | BoolArray) -> _ConeData:
        """Some of the replicates."""
        return _ConeData(self.inner.select(replicates), self.basis[replicates])


class _Climb:
    """Scoring over the cone, again with another basis for what did not arrive."""

    def __init__(self, structure: TwoLevelStructure, likelihood: Any) -> None:
        self.cone, self.likelihood = _Cone(structure), likelihood

    def run(self, data: Any, start: FloatArray) -> Optimum:
        """Climb from parameters ``start`` (R, q)."""
        theta = start.copy()
        best: Optimum | None = None
        left = np.arange(len(start))
        for floor in FLOORS:
            again = self._round(data.select(left), theta[left], floor)
            n_iter = again.n_iter if best is None else again.n_iter + best.n_iter[left]
            again = replace(again, n_iter=n_iter)
            best = again if best is None else best.put(left, again)
            theta[left] = np.where(np.isfinite(again.loglik)[:, None], again.params, theta[left])
            left = left[again.status != int(Status.OK)]
            if not len(left):
                break
        assert best is not None
        return best

    def _round(self, data: Any, theta: FloatArray, floor: float) -> Optimum:
        with np.errstate(all="ignore"):
            basis, xi = self.cone.basis(theta, floor)
            best = maximise(self._evaluate, _ConeData(data, basis), xi, max_iter=MAX_ITER)
            theta = self.cone.natural(best.params, basis)
            found = self.likelihood.evaluate(theta, data)
            inwards, _, _ = eigh(self.cone.slope(found.score, basis))
            maximum = (best.status == int(Status.OK)) & (inwards[:, -1] < INWARDS)
        status = np.where(maximum & found.ok, int(Status.OK), int(Status.MAX_ITER)).astype(np.int64)
        return Optimum(theta, found.loglik, found.information, status, best.n_iter)

    def _evaluate(self, xi: FloatArray, data: _ConeData) -> Evaluation:
        """Log-likelihood, score and information in working parameters, the latter's eigenvalues made positive."""
        with np.errstate(all="ignore"):
            found = self.likelihood.evaluate(self.cone.natural(xi, data.basis), data.inner)
            jacobian = self.cone.jacobian(xi, data.basis)
            turned = transpose(jacobian)
            information = np.matmul(np.matmul(turned, found.information), jacobian)
            information = information - self.cone.curvature(found.score, data.basis)
            diagonal = np.abs(np.diagonal(information, axis1=-2, axis2=-1))
            scale = 1.0 / np.sqrt(np.maximum(diagonal, 1e-10 * diagonal.max(axis=-1, keepdims=True)))
            values, vectors, ok = eigh(information * scale[:, :, None] * scale[:, None, :])
            floored = np.maximum(np.abs(values), 1e-8)
            rebuilt = np.matmul(vectors * floored[:, None, :], transpose(vectors))
            rebuilt = rebuilt / scale[:, :, None] / scale[:, None, :]
            score = matvec(turned, found.score)
        return Evaluation(found.loglik, score, rebuilt, found.ok & ok & np.isfinite(score).all(axis=-1))
