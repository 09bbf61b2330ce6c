"""From parameters of a model with random slopes to what the Gaussian integral depends on, with two derivatives.

With E = (I - A)^-1 of the within level and F picking its observed variables, X = X_0 + F E Z, where X_0 has the columns
of random intercepts and of the observed variables themselves, and Z has a column e_o(k) for the slope of outcome o(k),
and -m for the means. A derivative of X with respect to a path A_ij, an intercept m_i or a mean slope has rank one,

    dX = left right',    left = column i of F E,    right = row j of E Z (path), -e_mean (intercept),

and those of Sigma_W have rank two (`implied`), so everything is products of small matrices.

Rows of which only some variables are observed know X and Sigma_W by the rows and columns of these: with
W = Sigma_W^-1 of what is observed, 0 elsewhere, all formulas hold, once for every pattern.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from simstudy.likelihood.slopes.kernel import Reduced
from simstudy.linalg.entrywise import inverse_factor
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, added, columns, inverse, submatrix, transpose
from simstudy.model.implied import CovDerivatives, LevelImplied
from simstudy.model.slope_structure import SlopeStructure

Treatment = Literal["observed", "latent", "hybrid"]


@dataclass(frozen=True)
class Pieces:
    """Matrices of one evaluation, for rows of one pattern of observed variables.

    Attributes
    ----------
    within, between : LevelImplied
    precision : (R, p1, p1)
        W = Sigma_W^-1.
    spanned : (R, v, c)
        E Z.
    x : (R, p1, c)
        X.
    weighted : (R, p1, c)
        Y = W X.
    reduced : Reduced
    """

    within: LevelImplied
    between: LevelImplied
    precision: FloatArray
    spanned: FloatArray
    x: FloatArray
    weighted: FloatArray
    reduced: Reduced


class SlopeChain:
    """Index arrays of a model under one treatment of its slopes' predictors.

    Attributes
    ----------
    place : (r,)
        Covariate that each random element multiplies: 0 for intercepts.
    order : (f,)
        Random elements, then observed level-2 variables, among `SlopeStructure.elements`.
    inner : int array
        Free parameters that Phi depends on: those of the within level, and mean slopes where X holds them.
    cover : int array
        Between parts of predictors that the integral takes as given (latent treatment): the last of ``order``.
    """

    def __init__(self, structure: SlopeStructure, treatment: Treatment) -> None:
        self.structure, self.treatment = structure, treatment
        b, shared = len(structure.both), structure.shared
        self.cover: IntArray = np.unique(shared[shared >= 0]) if treatment == "latent" else np.zeros(0, dtype=np.int64)
        self.intercepts: IntArray = np.setdiff1d(np.arange(b), self.cover)
        self.slopes: IntArray = np.arange(b, structure.r)
        between = np.arange(structure.r, structure.r + structure.p2)
        self.order: IntArray = np.concatenate([self.intercepts, self.slopes, between, self.cover]).astype(np.int64)
        self.place: IntArray = np.concatenate([np.zeros(len(self.intercepts), dtype=np.int64), structure.predictor + 1])
        self.r, self.k = len(self.place), structure.p1 + 1
        self.c, self.f = self.r + self.k, len(self.order)
        first = len(self.intercepts)
        self.at_slope: IntArray = np.arange(first, self.r)  # columns of X
        self.at_mean = self.r
        links, self.lifts = self._links(), self._lifts()
        self.linked: IntArray = links[:, 0]  # outcomes of slopes whose means multiply between parts of predictors
        self.at_linked: IntArray = links[:, 1]  # the columns of these
        self.linked_mean: IntArray = links[:, 2]  # the slopes' places among the variables of the between level
        self.base = np.zeros((structure.p1, self.c))
        self.base[structure.both[self.intercepts], np.arange(first)] = 1.0
        self.base[np.arange(structure.p1), self.r + 1 + np.arange(structure.p1)] = 1.0
        maps = structure.within.maps
        self.paths, self.covariances, self.means = maps.paths, maps.covariances, maps.means
        self.n_paths, self.n_cov, self.n_means = len(self.paths.row), len(self.covariances.row), len(self.means.row)
        self.half = np.where(self.covariances.row == self.covariances.column, 0.5, 1.0)
        free = np.concatenate([self.paths.free, self.covariances.free, self.means.free])
        self.scatter = np.zeros((len(free), structure.q))
        self.scatter[np.arange(len(free)), free] = 1.0
        level = structure.between
        moved = [free, level.mean_free] if len(self.linked) else [free]
        self.inner: IntArray = np.unique(np.concatenate(moved)).astype(np.int64)
        self.scatter_cov = np.zeros((len(level.cov_free), structure.q))
        self.scatter_cov[np.arange(len(level.cov_free)), level.cov_free] = 1.0
        self.scatter_mean = np.zeros((len(level.mean_free), structure.q))
        self.scatter_mean[np.arange(len(level.mean_free)), level.mean_free] = 1.0

    def _links(self) -> IntArray:
        """Outcome, column and mean (h, 3) of slopes that, as hybrids, leave their means to within parts."""
        shared = self.structure.shared
        at = np.flatnonzero(shared >= 0) if self.treatment == "hybrid" else np.zeros(0, dtype=np.int64)
        return np.stack([self.structure.outcome[at], shared[at], self.slopes[at]], axis=-1).astype(np.int64)

    def _lifts(self) -> IntArray:
        """Outcome, column and parameter (n, 3) of given slopes that multiply between parts of predictors, too."""
        return np.zeros((0, 3), dtype=np.int64)

    def reduce(self, params: FloatArray) -> Pieces:
        """Everything at free parameters (R, q)."""
        s = self.structure
        within, between = s.within.implied(params), s.between.implied(params)
        precision, _ = inverse(within.sigma)
        _, log_det = inverse_factor(within.sigma[..., None])
        spanned = np.zeros((len(params), within.total.shape[-1], self.c))
        outcomes = columns(within.total, s.outcome)
        spanned[:, :, self.at_slope] = outcomes
        spanned[:, :, self.at_mean] = -within.mean
        for outcome, column, mean in zip(self.linked, self.at_linked, self.linked_mean, strict=True):
            spanned[:, :, column] -= between.mu[:, mean, None] * within.total[:, :, outcome]
        for outcome, column, place in self.lifts:
            spanned[:, :, column] += params[:, place, None] * within.total[:, :, outcome]
        x = self.base + spanned[:, : s.p1]
        weighted = np.matmul(precision, x)
        phi = np.matmul(transpose(x), weighted)
        ok = within.ok & between.ok & np.isfinite(log_det[:, 0])
        cov = submatrix(between.sigma, self.order, self.order)
        reduced = Reduced(phi, log_det[:, 0], columns(between.mu, self.order), cov, ok)
        return Pieces(within, between, precision, spanned, x, weighted, reduced)

    def under(self, params: FloatArray, patterns: BoolArray) -> tuple[Pieces, ...]:
        """`reduce` for rows of each pattern (O, p1)."""
        whole = self.reduce(params)
        return tuple(whole if pattern.all() else self._cut(whole, pattern) for pattern in patterns)

    def _cut(self, whole: Pieces, pattern: BoolArray) -> Pieces:
        """What is left of X and Sigma_W where only the variables of a pattern (p1,) are observed."""
        at = np.flatnonzero(pattern).astype(np.int64)
        sigma = submatrix(whole.within.sigma, at, at)
        precision = np.zeros_like(whole.precision)
        precision[:, at[:, None], at] = inverse(sigma)[0]
        _, log_det = inverse_factor(sigma[..., None])
        weighted = np.matmul(precision, whole.x)
        phi = np.matmul(transpose(whole.x), weighted)
        reduced = replace(whole.reduced, phi=phi, log_det=log_det[:, 0])
        return replace(whole, precision=precision, weighted=weighted, reduced=reduced)

    def arrange(self, pieces: Pieces, x: FloatArray) -> FloatArray:
        """Rows of between variables (R, ., n) as the integral takes them (R, f, n)."""
        return np.take(x, self.order, axis=1)

    def pull_back(self, pieces: Pieces, mean: FloatArray, cov: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives with respect to means (R, f) and covariances (R, f, f) of ``order``, given the integral's."""
        return mean, cov

    # ------------------------------------------------------------------------------------------------------ derivatives

    def _entries(self, pieces: Pieces) -> tuple[FloatArray, FloatArray, CovDerivatives]:
        """Left and right (R, p1, n), (R, c, n) of dX of paths, intercepts, slopes; dSigma of paths, covariances."""
        s, e = self.structure, pieces.within.total
        g = e[:, : s.p1]
        n = len(e)
        unit = np.zeros((n, self.c, self.n_means + len(self.linked)))
        unit[:, self.at_mean, : self.n_means] = -1.0
        unit[:, self.at_linked, self.n_means + np.arange(len(self.linked))] = -1.0
        lefts = np.concatenate([self.paths.row, self.means.row, self.linked])
        right = np.concatenate([transpose(np.take(pieces.spanned, self.paths.column, axis=1)), unit], axis=-1)
        return columns(g, lefts), right, s.within.moment_derivatives(pieces.within)

    def _linked_means(self, pieces: Pieces) -> FloatArray:
        """Derivatives (R, h, q) of the mean slopes that are entries of X."""
        mean = self.structure.between.mean_derivatives(pieces.between)
        mean = np.take(mean, self.linked_mean, axis=1)
        result: FloatArray = np.matmul(mean, self.scatter_mean)
        return result

    def jacobian(self, pieces: Sequence[Pieces]) -> FloatArray:
        """Derivatives (R, d, q) of the coordinates of `kernel.features` with respect to the free parameters.

        Parameters
        ----------
        pieces : sequence of Pieces
            One a pattern.
        """
        return np.concatenate([*(self.inside(one) for one in pieces), self.outside(pieces[0])], axis=1)

    def inside(self, pieces: Pieces) -> FloatArray:
        """Derivatives (R, r c + k^2 + 1, q) of the first rows of Phi, of Q, and of log|Sigma_W|, of one pattern."""
        left, right, sigma = self._entries(pieces)
        n = len(left)
        y = transpose(pieces.weighted)
        d_x = _pairs(np.matmul(y, left), right)  # (R, c, c, n)
        d_sigma = _pairs(np.matmul(y, sigma.left), np.matmul(y, sigma.right))
        log_det = 2.0 * (np.matmul(pieces.precision, sigma.left) * sigma.right).sum(axis=1)
        a, b, m = self.n_paths, self.n_cov, self.n_means
        by_entry = np.concatenate([d_x[..., :a] - d_sigma[..., :a], -d_sigma[..., a:], d_x[..., a : a + m]], axis=-1)
        by_entry = by_entry.reshape(n, self.c, self.c, a + b + m)
        det_entry = np.concatenate([log_det, np.zeros((n, m))], axis=-1)
        parts = [by_entry[:, : self.r].reshape(n, self.r * self.c, -1), by_entry[:, self.r :, self.r :].reshape(
            n, self.k * self.k, -1), det_entry[:, None]]  # fmt: skip
        inside = np.matmul(np.concatenate(parts, axis=1), self.scatter)
        if len(self.linked):
            linked = d_x[:, : self.r, :, a + m :].reshape(n, self.r * self.c, -1)
            inside[:, : self.r * self.c] += np.matmul(linked, self._linked_means(pieces))
        return np.asarray(inside)

    def outside(self, pieces: Pieces) -> FloatArray:
        """Derivatives (R, f^2 + f, q) of cov and mean."""
        s, n = self.structure, len(pieces.precision)
        t = s.between.moment_derivatives(pieces.between)
        cov = _pairs(self.arrange(pieces, t.left), self.arrange(pieces, t.right))
        mean = self.arrange(pieces, s.between.mean_derivatives(pieces.between))
        parts = [np.matmul(cov.reshape(n, self.f**2, -1), self.scatter_cov), np.matmul(mean, self.scatter_mean)]
        return np.concatenate(parts, axis=1)

    @property
    def width(self) -> int:
        """Coordinates of one pattern: r c + k^2 + 1."""
        return self.r * self.c + self.k * self.k + 1

    def curvature(self, several: Sequence[Pieces], gradient: FloatArray) -> FloatArray:
        """Sum (R, q, q) of the derivatives of the log-likelihood times second derivatives of the coordinates.

        Parameters
        ----------
        several : sequence of Pieces
            One a pattern.
        gradient : (R, d)
            Derivatives with respect to the coordinates of `kernel.features`, summed over points.
        """
        s, n, pieces = self.structure, len(gradient), several[0]
        ff, first = self.f * self.f, self.width * len(several)
        parts = [
            self._of_pattern(one, gradient[:, o * self.width : (o + 1) * self.width]) for o, one in enumerate(several)
        ]
        grad_x, grad_sigma, bilinear = (added(x) for x in zip(*parts, strict=True))
        result = s.within.curvature(pieces.within, grad_sigma, np.zeros((n, s.p1)), s.q)
        result += bilinear
        grad_mean = np.zeros_like(pieces.between.mu)
        grad_cov = np.zeros_like(pieces.between.sigma)
        grad_mean[:, self.order], grad_cov[:, self.order[:, None], self.order] = self.pull_back(
            pieces, gradient[:, first + ff :], gradient[:, first : first + ff].reshape(n, self.f, self.f)
        )
        back = np.matmul(transpose(pieces.within.total[:, : s.p1]), grad_x)  # (R, v, c)
        for outcome, column, mean in zip(self.linked, self.at_linked, self.linked_mean, strict=True):
            grad_mean[:, mean] -= back[:, outcome, column]
        result += self._path_curvature(pieces, back)
        result += s.between.curvature(pieces.between, grad_cov, grad_mean, s.q)
        return result

    def _of_pattern(self, pieces: Pieces, gradient: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Derivatives with respect to X and Sigma_W, and what pairs of their first derivatives come to (R, q, q)."""
        xi = self._moments_of_residuals(gradient)  # -2 times the derivative with respect to Phi
        total_n = -2.0 * gradient[:, -1]
        y, w = pieces.weighted, pieces.precision
        y_xi = np.matmul(y, xi)
        spread = np.matmul(y_xi, transpose(y))
        grad_sigma = 0.5 * (spread - total_n[:, None, None] * w)
        return -y_xi, grad_sigma, self._bilinear(pieces, xi, y_xi, 0.5 * total_n[:, None, None] * w - spread)

    def _moments_of_residuals(self, gradient: FloatArray) -> FloatArray:
        """Xi = sum E(xi xi' | data) (R, c, c), from the derivatives with respect to Phi."""
        n, rc = len(gradient), self.r * self.c
        xi = np.empty((n, self.c, self.c))
        rows = gradient[:, :rc].reshape(n, self.r, self.c)
        xi[:, : self.r, : self.r] = -2.0 * rows[..., : self.r]
        xi[:, : self.r, self.r :] = -rows[..., self.r :]
        xi[:, self.r :, : self.r] = transpose(xi[:, : self.r, self.r :])
        xi[:, self.r :, self.r :] = -2.0 * gradient[:, rc : rc + self.k * self.k].reshape(n, self.k, self.k)
        return xi

    def _bilinear(self, pieces: Pieces, xi: FloatArray, y_xi: FloatArray, z: FloatArray) -> FloatArray:
        """What comes from pairs of first derivatives of X and Sigma_W in -tr(W X Xi X')/2 - N log|Sigma_W|/2."""
        left, right, sigma = self._entries(pieces)
        w, a, m = pieces.precision, self.n_paths, self.n_means
        wl = np.matmul(w, left)
        xx = -np.matmul(transpose(left), wl) * np.matmul(np.matmul(transpose(right), xi), right)
        pulled = np.matmul(y_xi, right)
        one, two = transpose(sigma.left), transpose(sigma.right)  # dSigma_a = one_a two_a' + two_a one_a'
        xs = transpose(np.matmul(two, pulled) * np.matmul(one, wl) + np.matmul(one, pulled) * np.matmul(two, wl))
        w1, w2, z1, z2 = (np.matmul(x, y) for x in (w, z) for y in (sigma.left, sigma.right))
        ss = np.matmul(two, w1) * np.matmul(one, z2) + np.matmul(two, w2) * np.matmul(one, z1)
        ss += np.matmul(one, w1) * np.matmul(two, z2) + np.matmul(one, w2) * np.matmul(two, z1)
        n_entries = a + self.n_cov + m + len(self.linked)
        full = np.zeros((len(left), n_entries, n_entries))
        at_x = np.concatenate([np.arange(a), a + self.n_cov + np.arange(m + len(self.linked))])
        at_s = np.arange(a + self.n_cov)
        full[:, at_x[:, None], at_x] += xx
        full[:, at_x[:, None], at_s] += xs
        full[:, at_s[:, None], at_x] += transpose(xs)
        full[:, at_s[:, None], at_s] += ss
        return self._gather(pieces, full)

    def _path_curvature(self, pieces: Pieces, back: FloatArray) -> FloatArray:
        """Derivatives with respect to X times its second derivatives; ``back`` is (F E)' dl/dX (R, v, c)."""
        e = pieces.within.total
        a, m = self.n_paths, self.n_means
        i, j = self.paths.row, self.paths.column
        across = np.matmul(back, transpose(pieces.spanned))  # (R, v, v)
        n_entries = a + self.n_cov + m + len(self.linked)
        full = np.zeros((len(e), n_entries, n_entries))
        block = e[:, j[:, None], i[None, :]] * across[:, i[:, None], j[None, :]]
        full[:, :a, :a] = block + transpose(block)
        first = a + self.n_cov
        means = -e[:, j[:, None], self.means.row[None, :]] * back[:, i, self.at_mean, None]
        full[:, :a, first : first + m] = means
        full[:, first : first + m, :a] = transpose(means)
        for h, (outcome, column) in enumerate(zip(self.linked, self.at_linked, strict=True)):
            mixed = -e[:, j, outcome] * back[:, i, column]
            full[:, :a, first + m + h] = full[:, first + m + h, :a] = mixed
        return self._gather(pieces, full)

    def _gather(self, pieces: Pieces, full: FloatArray) -> FloatArray:
        """From pairs of entries to pairs of free parameters."""
        known = len(self.scatter)
        chain = np.broadcast_to(self.scatter, (len(full), *self.scatter.shape))
        if len(self.linked):
            chain = np.concatenate([chain, self._linked_means(pieces)], axis=1)
        assert chain.shape[1] == full.shape[1], known
        result: FloatArray = np.matmul(np.matmul(transpose(chain), full), chain)
        return result


def _pairs(left: FloatArray, right: FloatArray) -> FloatArray:
    """Left right' + right left' of columns (R, c, n): (R, c, c, n)."""
    first = left[:, :, None] * right[:, None]
    return first + first.swapaxes(1, 2)
