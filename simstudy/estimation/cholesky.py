"""Cholesky parameters of random slopes: covariance matrices that may touch their boundary (theory S4, D1.3).

The likelihood of random slopes has poles where covariance matrices of random elements are indefinite, and its maximum
is often on the boundary, where they are singular. So (residual) covariances of the between level are Psi = L L' with L
lower triangular, as in lme4; Newton's method in L goes onto the boundary quadratically. Of Psi's

- blocks with all variances and covariances free become Cholesky factors;
- in blocks with gaps (covariances that are 0 or fixed) variances become squares, and covariances correlations;
- other variances (shared by a label, or beside fixed ones) become squares.

Within residual variances become logarithms where the within level has no factors. The rest stays as it is, and so do
covariances that a constraint or a bound names, while variances that one names become squares or logarithms. Parameters
that ``==`` constraints make dependent are functions of the others and have no coordinate of their own: theta(xi) is the
constraints' solution at the theta of the others, with the derivatives of both maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simstudy.estimation.optimum import Box
from simstudy.linalg.psd import psd_factor
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, entries, matvec, transpose
from simstudy.model.constraints import ConstraintSet
from simstudy.model.parameters import Parameter
from simstudy.model.twolevel import TwoLevelModel

DIFFERENCE_STEP = 1e-5
"""For the curvature of constraints, relative to parameters above 1."""


@dataclass(frozen=True)
class Block:
    """A covariance matrix that is free: indices of its parameters (n, n), symmetric."""

    index: IntArray

    @property
    def size(self) -> int:
        """Number of variables, n."""
        return len(self.index)

    @property
    def lower(self) -> tuple[IntArray, IntArray]:
        """Rows and columns of the lower triangle."""
        row, column = np.tril_indices(self.size)
        return row.astype(np.int64), column.astype(np.int64)


class CholeskyParameters:
    """Map between free parameters theta and Cholesky parameters xi, both (R, q).

    Parameters
    ----------
    constraints : ConstraintSet, optional
        ``==`` constraints: coordinates of their dependent parameters are without effect.
    bounded : sequence of int
        Parameters that have bounds.

    Attributes
    ----------
    blocks : tuple of Block
    squares, logs : int arrays
    correlations : tuple of (covariance, variance, variance)
        Indices of parameters.
    own : int array
        Parameters that no constraint makes dependent.
    """

    def __init__(
        self, model: TwoLevelModel, constraints: ConstraintSet | None = None, bounded: Sequence[int] = ()
    ) -> None:
        self.q = len(model.names)
        self.constraints = constraints or ConstraintSet(model.table.names, model.table.constants, ())
        named = {name for one in self.constraints.constraints for name in one.names}
        self.named: IntArray = np.array([i for i, name in enumerate(model.names) if name in named], dtype=np.int64)
        dependent = set(self.constraints.dependent.tolist())
        self.own: IntArray = np.array([i for i in range(self.q) if i not in dependent], dtype=np.int64)
        rows = [row for row in model.table.at("between") if row.op == "~~"]
        used: dict[int, int] = {}
        for row in model.table.rows:
            if row.free >= 0:
                used[row.free] = used.get(row.free, 0) + 1
        for index in {*self.named.tolist(), *bounded}:
            used[index] += 1
        blocks, correlations, squares = [], [], set()
        slopes = {slope.name for slope in model.slopes}
        for found in _components(rows):
            names = sorted(found, key=slopes.__contains__)  # the last variable's variance may vanish without harm
            mine = [row for row in rows if row.lhs in names and row.rhs in names]
            alone = all(row.free >= 0 and used[row.free] == 1 for row in mine)
            if alone and len(names) > 1 and len(mine) == len(names) * (len(names) + 1) // 2:
                blocks.append(Block(_indices(names, mine)))
                continue
            variances = {row.lhs: row.free for row in mine if row.lhs == row.rhs and row.free not in dependent}
            squares |= {free for free in variances.values() if free >= 0}
            for row in mine:
                ends = variances.get(row.lhs, -1), variances.get(row.rhs, -1)
                if row.lhs != row.rhs and row.free >= 0 and used[row.free] == 1 and min(ends) >= 0:
                    correlations.append((row.free, *ends))
        within = [row for row in model.table.at("within") if row.op == "~~" and row.lhs == row.rhs and row.free >= 0]
        logs = set() if model.factors("within") else {row.free for row in within} - squares - dependent
        self.blocks, self.correlations = tuple(blocks), tuple(correlations)
        self.squares: IntArray = np.array(sorted(squares), dtype=np.int64)
        self.logs: IntArray = np.array(sorted(logs), dtype=np.int64)

    def natural(self, xi: FloatArray) -> FloatArray:
        """Parameters theta."""
        return self.constraints.fill(self._without_constraints(xi))

    def _without_constraints(self, xi: FloatArray) -> FloatArray:
        theta = xi.copy()
        theta[:, self.squares] = xi[:, self.squares] ** 2
        theta[:, self.logs] = np.exp(xi[:, self.logs])
        for covariance, first, second in self.correlations:
            theta[:, covariance] = xi[:, covariance] * xi[:, first] * xi[:, second]
        for block in self.blocks:
            factor = self._factor(block, xi)
            row, column = block.lower
            theta[:, block.index[row, column]] = entries(np.matmul(factor, transpose(factor)), row, column)
        return theta

    def of_natural(self, theta: FloatArray) -> FloatArray:
        """Cholesky parameters of feasible theta; what is not feasible is moved to the boundary."""
        xi = theta.copy()
        xi[:, self.squares] = np.sqrt(np.maximum(theta[:, self.squares], 0.0))
        xi[:, self.logs] = np.log(theta[:, self.logs])
        for covariance, first, second in self.correlations:
            scale = xi[:, first] * xi[:, second]
            xi[:, covariance] = np.where(scale > 0.0, theta[:, covariance] / np.where(scale > 0.0, scale, 1.0), 0.0)
        for block in self.blocks:
            row, column = block.lower
            xi[:, block.index[row, column]] = entries(psd_factor(theta[:, block.index]), row, column)
        return xi

    def _factor(self, block: Block, xi: FloatArray) -> FloatArray:
        """L (R, n, n) of a block."""
        row, column = block.lower
        factor = np.zeros((len(xi), block.size, block.size))
        factor[:, row, column] = xi[:, block.index[row, column]]
        return factor

    def box(self, lower: FloatArray, upper: FloatArray) -> Box | None:
        """Bounds of theta (q,) as bounds of xi; None where there are none."""
        low, high = lower.copy(), upper.copy()
        at, top = self.squares, np.sqrt(np.maximum(upper[self.squares], 0.0))
        high[at] = top
        low[at] = np.where(lower[at] > 0.0, np.sqrt(np.maximum(lower[at], 0.0)), -top)
        with np.errstate(all="ignore"):
            low[self.logs], high[self.logs] = (np.log(np.maximum(x[self.logs], 0.0)) for x in (lower, upper))
        return Box(low, high) if np.isfinite(low).any() or np.isfinite(high).any() else None

    def jacobian(self, xi: FloatArray) -> FloatArray:
        """Derivatives (R, q, q) of theta with respect to xi."""
        plain = self._plain_jacobian(xi)
        if not self.constraints.constraints:
            return plain
        tied = self.constraints.jacobian(self.natural(xi), self.own)
        found: FloatArray = np.matmul(tied, np.take(plain, self.own, axis=1))
        return found

    def _plain_jacobian(self, xi: FloatArray) -> FloatArray:
        result = np.zeros((*xi.shape, self.q))
        result[:, np.arange(self.q), np.arange(self.q)] = 1.0
        result[:, self.squares, self.squares] = 2.0 * xi[:, self.squares]
        result[:, self.logs, self.logs] = np.exp(xi[:, self.logs])
        for covariance, first, second in self.correlations:
            result[:, covariance, covariance] = xi[:, first] * xi[:, second]
            result[:, covariance, first] += xi[:, covariance] * xi[:, second]
            result[:, covariance, second] += xi[:, covariance] * xi[:, first]
        for block in self.blocks:
            place = block.index
            for i, k in zip(*block.lower, strict=True):  # d Psi_ij / d L_ik = L_jk, twice that for i = j
                result[:, place[i, k], place[i, k]] = 0.0
            for i, k in zip(*block.lower, strict=True):
                for j in range(k, block.size):
                    result[:, place[i, j], place[i, k]] = xi[:, place[j, k]] * (2.0 if i == j else 1.0)
        return result

    def curvature(self, xi: FloatArray, score: FloatArray) -> FloatArray:
        """Sum (R, q, q) of the score, with respect to theta, times second derivatives of theta.

        Those of constraints are differences of their first derivatives.
        """
        if not self.constraints.constraints:
            return self._plain_curvature(xi, score)
        theta = self.natural(xi)
        pulled = np.zeros_like(score)
        pulled[:, self.own] = self._pulled(theta, score)
        bend = np.zeros((*score.shape, self.q))
        for i in np.intersect1d(self.named, self.own):
            step = DIFFERENCE_STEP * np.maximum(1.0, np.abs(theta[:, i]))
            sides = []
            for sign in (1.0, -1.0):
                moved = theta.copy()
                moved[:, i] += sign * step
                sides.append(self._pulled(self.constraints.fill(moved), score))
            bend[:, i, self.own] = (sides[0] - sides[1]) / (2.0 * step[:, None])
        plain = self._plain_jacobian(xi)
        found: FloatArray = np.matmul(np.matmul(transpose(plain), 0.5 * (bend + transpose(bend))), plain)
        return found + self._plain_curvature(xi, pulled)

    def _pulled(self, theta: FloatArray, score: FloatArray) -> FloatArray:
        """Score with respect to the parameters that are not dependent (R, k)."""
        return matvec(transpose(self.constraints.jacobian(theta, self.own)), score)

    def _plain_curvature(self, xi: FloatArray, score: FloatArray) -> FloatArray:
        result = np.zeros((*xi.shape, self.q))
        result[:, self.squares, self.squares] = 2.0 * score[:, self.squares]
        result[:, self.logs, self.logs] = score[:, self.logs] * np.exp(xi[:, self.logs])
        for covariance, first, second in self.correlations:
            for a, b, other in ((covariance, first, second), (covariance, second, first), (first, second, covariance)):
                result[:, a, b] += score[:, covariance] * xi[:, other]
                result[:, b, a] += score[:, covariance] * xi[:, other]
        for block in self.blocks:
            place = block.index
            for k in range(block.size):
                for i in range(k, block.size):
                    for j in range(k, block.size):
                        result[:, place[i, k], place[j, k]] = score[:, place[i, j]] * (2.0 if i == j else 1.0)
        return result

    def boundary(self, xi: FloatArray, small: FloatArray) -> BoolArray:
        """Which of R estimates have a singular covariance matrix of random elements.

        Parameters
        ----------
        small : (R, q)
            Squares of Cholesky diagonals below these are 0.
        """
        found = (xi[:, self.squares] ** 2 <= small[:, self.squares]).any(axis=-1)
        for covariance, *_ in self.correlations:
            found |= np.abs(xi[:, covariance]) >= 1.0 - 1e-8
        for block in self.blocks:
            place = np.diagonal(block.index)
            found |= (xi[:, place] ** 2 <= small[:, place]).any(axis=-1)
        return np.asarray(found)


def _components(rows: Sequence[Parameter]) -> list[list[str]]:
    """Variables that free or fixed covariances connect, in order of appearance."""
    group = {row.lhs: {row.lhs} for row in rows if row.lhs == row.rhs}
    for row in rows:
        if row.lhs != row.rhs and (row.free >= 0 or row.value != 0.0):
            joined = group.setdefault(row.lhs, {row.lhs}) | group.setdefault(row.rhs, {row.rhs})
            for name in joined:
                group[name] = joined
    found: list[list[str]] = []
    for name in group:
        if not any(name in names for names in found):
            found.append([other for other in group if other in group[name]])
    return found


def _indices(names: Sequence[str], rows: Sequence[Parameter]) -> IntArray:
    at = {name: i for i, name in enumerate(names)}
    index = np.zeros((len(names), len(names)), dtype=np.int64)
    for row in rows:
        i, j = at[row.lhs], at[row.rhs]
        index[i, j] = index[j, i] = row.free
    return index
