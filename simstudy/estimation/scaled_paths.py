"""Cholesky parameters in which paths between clusters stand as effects of a standard deviation (theory S4, D1.3).

A predictor whose variance v between clusters is small leaves beta v and beta^2 v to the data, not beta: the likelihood
is a narrow curved valley about beta sqrt(v) = constant, and Newton's method in (beta, sqrt(v)) needs hundreds of steps
through it, or stops at the saddle v = 0. In

    eta = beta sqrt(v)

the valley is straighter, (sqrt(v), eta) being what a Cholesky factor of the predictor's and the outcome's joint
covariance matrix consists of. With beta the intercept alpha = mean - beta mean(x) would run through the valley,
too: the mean stands in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np

from simstudy.estimation.cholesky import Block, CholeskyParameters
from simstudy.estimation.optimum import Box
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, transpose
from simstudy.model.constraints import ConstraintSet
from simstudy.model.twolevel import TwoLevelModel

VANISHED = 1e-4
"""Of the variance that a predictor starts with: as good as none."""
LEAST = 0.1
"""No step takes a Cholesky diagonal nearer to 0 than this share of it: what is 0 stays 0."""


class ScaledPaths:
    """Map between free parameters theta and working parameters, both (R, q).

    Working parameters are those of `CholeskyParameters`, but for paths from random elements and factors that nothing
    predicts: these are multiplied by the predictor's standard deviation. Paths from level-2 variables stay as they are
    (their variances are known well), and all do beside bounds and constraints.

    Attributes
    ----------
    cholesky : CholeskyParameters
    constraints : ConstraintSet
    paths, variances : int arrays
        Indices of the scaled paths, and of their predictors' variances.
    centred : list of (int, int, int)
        Scaled paths, by their place among ``paths``, whose outcome's intercept is replaced by its mean at the
        predictor's: the intercept, and the predictor's mean.
    """

    def __init__(
        self, model: TwoLevelModel, constraints: ConstraintSet | None = None, bounded: Sequence[int] = ()
    ) -> None:
        self.cholesky = CholeskyParameters(model, constraints, bounded)
        self.constraints = self.cholesky.constraints
        rows = model.table.at("between")
        used = np.bincount([row.free for row in model.table.rows if row.free >= 0], minlength=len(model.names))
        caused = {row.lhs for row in rows if row.op == "~"} | {row.rhs for row in rows if row.op == "=~"}
        variance = {row.lhs: row.free for row in rows if row.op == "~~" and row.lhs == row.rhs and row.free >= 0}
        mean = {row.lhs: row.free for row in rows if row.op == "~1" and row.free >= 0}
        tied = (
            len(bounded) > 0 or len(self.constraints.constraints) > 0
        )  # both speak of paths and variances as they are
        found = [
            row
            for row in rows
            if not tied
            if row.op == "~" and row.free >= 0 and used[row.free] == 1 and row.rhs in variance
            if row.rhs not in caused and row.rhs not in model.level2
        ]
        self.paths: IntArray = np.array([row.free for row in found], dtype=np.int64)
        self.variances: IntArray = np.array([variance[row.rhs] for row in found], dtype=np.int64)
        covariance = {
            frozenset((r.lhs, r.rhs)): r.free for r in rows if r.op == "~~" and r.free >= 0 and used[r.free] == 1
        }
        self.joined = [
            (k, m, covariance[frozenset((one.lhs, other.lhs))])
            for k, one in enumerate(found)
            for m, other in enumerate(found[: k + 1])
            if one.rhs == other.rhs and frozenset((one.lhs, other.lhs)) in covariance
        ]
        self.centred = [
            (k, mean[row.lhs], mean[row.rhs])
            for k, row in enumerate(found)
            if row.lhs in mean and row.rhs in mean and used[mean[row.lhs]] == 1
        ]

    def turned(self) -> ScaledPaths:
        """The same with the variables of every block in reverse.

        A variable that varies little leaves the rest of its row undetermined, unless it is its block's last.
        """
        found = copy(self)
        found.cholesky = copy(self.cholesky)
        found.cholesky.blocks = tuple(Block(block.index[::-1, ::-1]) for block in self.cholesky.blocks)
        return found

    def natural(self, xi: FloatArray) -> FloatArray:
        """Parameters theta."""
        theta = self.cholesky.natural(xi)
        theta[:, self.paths] /= np.sqrt(theta[:, self.variances])
        for k, intercept, mean in self.centred:
            theta[:, intercept] -= theta[:, self.paths[k]] * theta[:, mean]
        return theta

    def of_natural(self, theta: FloatArray) -> FloatArray:
        """Working parameters of feasible theta; what is not feasible is moved to the boundary."""
        xi = self.cholesky.of_natural(theta)
        for k, intercept, mean in self.centred:
            xi[:, intercept] += theta[:, self.paths[k]] * theta[:, mean]
        xi[:, self.paths] *= np.sqrt(np.maximum(theta[:, self.variances], 0.0))
        return xi

    def _outer(self, xi: FloatArray, inner: FloatArray) -> FloatArray:
        """Derivatives (R, q, q) of theta with respect to Cholesky's theta with eta and y's mean in it."""
        v, eta = inner[:, self.variances], xi[:, self.paths]
        result = np.broadcast_to(np.eye(xi.shape[-1]), (*xi.shape, xi.shape[-1])).copy()
        result[:, self.paths, self.paths] = v**-0.5
        result[:, self.paths, self.variances] = -0.5 * eta * v**-1.5
        for k, intercept, mean in self.centred:
            path = self.paths[k]
            result[:, intercept] -= xi[:, mean, None] * result[:, path]
            result[:, intercept, mean] -= eta[:, k] * v[:, k] ** -0.5
        return result

    def jacobian(self, xi: FloatArray) -> FloatArray:
        """Derivatives (R, q, q) of theta with respect to xi."""
        inner = self.cholesky.jacobian(xi)
        if not len(self.paths):
            return inner
        result: FloatArray = np.matmul(self._outer(xi, self.cholesky.natural(xi)), inner)
        return result

    def curvature(self, xi: FloatArray, score: FloatArray) -> FloatArray:
        """Sum (R, q, q) of the score, with respect to theta, times second derivatives of theta."""
        if not len(self.paths):
            return self.cholesky.curvature(xi, score)
        theta, jacobian = self.cholesky.natural(xi), self.cholesky.jacobian(xi)
        v, eta, pull = theta[:, self.variances], xi[:, self.paths], score[:, self.paths].copy()
        bend = np.zeros_like(jacobian)
        for k, intercept, mean in self.centred:
            mine = score[:, intercept]
            pull[:, k] -= xi[:, mean] * mine
            for place, slope in (
                (self.paths[k], v[:, k] ** -0.5),
                (self.variances[k], -0.5 * eta[:, k] * v[:, k] ** -1.5),
            ):
                bend[:, place, mean] -= mine * slope
                bend[:, mean, place] -= mine * slope
        for k, (path, place) in enumerate(zip(self.paths.tolist(), self.variances.tolist(), strict=True)):
            mixed = -0.5 * pull[:, k] * v[:, k] ** -1.5
            bend[:, path, place] += mixed
            bend[:, place, path] += mixed
            bend[:, place, place] += 0.75 * pull[:, k] * eta[:, k] * v[:, k] ** -2.5
        moved = np.matmul(score[:, None], self._outer(xi, theta))[:, 0]
        bent = np.matmul(np.matmul(transpose(jacobian), bend), jacobian)
        result: FloatArray = bent + self.cholesky.curvature(xi, moved)
        return result

    def vanished(self, xi: FloatArray, start: FloatArray) -> BoolArray:
        """Where (R,) the predictor of a scaled path has next to no variance left of what it started with."""
        left, before = (self.cholesky.natural(x)[:, self.variances] for x in (xi, start))
        return np.asarray((left < VANISHED * before).any(axis=-1))

    def with_paths(self, xi: FloatArray, sign: float) -> FloatArray:
        """The same with all scaled paths multiplied by ``sign``."""
        found = xi.copy()
        found[:, self.paths] *= sign
        return found

    @np.errstate(all="ignore")  # where the straight line is not feasible
    def move(self, xi: FloatArray, step: FloatArray) -> FloatArray:
        """Where steps (R, q) lead: straight on in the moments of the between level, where that is feasible.

        The likelihood is nearly quadratic in these: variances v, covariances beta v, total (co)variances of outcomes;
        in any coordinates that keep covariance matrices feasible its valleys are bent. Both ways agree up to the square
        of the step, so that Newton's method keeps its speed.
        """
        straight = xi + step
        theta = self.cholesky.natural(xi)
        slope = np.matmul(self.cholesky.jacobian(xi), step[..., None])[..., 0]
        root, eta = np.sqrt(theta[:, self.variances]), xi[:, self.paths]
        d_eta = step[:, self.paths]
        target = theta + slope
        v = target[:, self.variances]
        product = eta * root + d_eta * root + 0.5 * eta * slope[:, self.variances] / root
        new = product / np.sqrt(v)
        for k, m, place in self.joined:
            target[:, place] += eta[:, k] * eta[:, m] + d_eta[:, k] * eta[:, m] + eta[:, k] * d_eta[:, m]
            target[:, place] -= new[:, k] * new[:, m]
        target[:, self.paths] = new
        target[:, self.cholesky.logs] = np.exp(straight[:, self.cholesky.logs])
        found = self._feasible(xi, target)
        missed = np.abs(self.cholesky.natural(found) - target)
        near = missed <= 0.5 * np.abs(target - theta) + 1e-9 * np.abs(theta)
        return np.where(near.all(axis=-1, keepdims=True), found, straight)

    def _feasible(self, xi: FloatArray, target: FloatArray) -> FloatArray:
        """Working parameters of ``target``, Cholesky diagonals being left a tenth at least of what they are at xi."""
        cholesky = self.cholesky
        found = cholesky.of_natural(target)
        found[:, cholesky.squares] = np.maximum(found[:, cholesky.squares], LEAST * np.abs(xi[:, cholesky.squares]))
        for block in cholesky.blocks:
            place = block.index
            for k in range(block.size):
                for i in range(k, block.size):
                    left = target[:, place[i, k]]
                    for m in range(k):
                        left = left - found[:, place[i, m]] * found[:, place[k, m]]
                    if i == k:
                        pivot = np.sqrt(np.maximum(left, (LEAST * xi[:, place[k, k]]) ** 2))
                        found[:, place[k, k]] = pivot
                    else:
                        found[:, place[i, k]] = left / pivot
        return found

    def box(self, lower: FloatArray, upper: FloatArray) -> Box | None:
        """As `CholeskyParameters.box`."""
        return self.cholesky.box(lower, upper)

    def boundary(self, xi: FloatArray, small: FloatArray) -> BoolArray:
        """As `CholeskyParameters.boundary`."""
        return self.cholesky.boundary(xi, small)
