"""Implied mu, Sigma_within and Sigma_between of a two-level model, and their first and second derivatives.

With G = F E and H = F E S E' of a level (see `representation`), every derivative of Sigma has rank two,

    dSigma / dA_ij = g_i h_j' + h_j g_i',    dSigma / dS_ij = g_i g_j' + g_j g_i'   (half of it on the diagonal),

so derivatives travel as pairs of vectors and never as (..., q, p, p).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, columns, entries, inverse, matvec
from simstudy.model.representation import LevelMatrices, fill, level_matrices
from simstudy.model.twolevel import TwoLevelModel


@dataclass(frozen=True)
class LevelImplied:
    """Implied moments of a level and the pieces that its derivatives need.

    Attributes
    ----------
    total : (..., v, v)
        E = (I - A)^-1.
    cov : (..., v, v)
        C = E S E', covariances of all variables of the level.
    mean : (..., v)
        E m.
    mu, sigma : (..., p_l), (..., p_l, p_l)
        Moments of the observed variables.
    ok : (...)
        False where I - A is singular.
    """

    total: FloatArray
    cov: FloatArray
    mean: FloatArray
    mu: FloatArray
    sigma: FloatArray
    ok: BoolArray


@dataclass(frozen=True)
class CovDerivatives:
    """First derivatives of a level's moments with respect to the free parameters in ``free`` (n,).

    dSigma_a = left_a right_a' + right_a left_a', with ``left`` and ``right`` (..., p_l, n), where several entries may
    share a parameter (their contributions add up).
    """

    left: FloatArray
    right: FloatArray


class LevelStructure:
    """Index arrays of a level, made once and used at every evaluation."""

    def __init__(self, maps: LevelMatrices) -> None:
        self.maps = maps
        v = len(maps.variables)
        self.cov_free: IntArray = np.concatenate([maps.paths.free, maps.covariances.free])
        # columns of [G | H]: paths take g_i and h_j, covariances g_i and g_j
        self._left: IntArray = np.concatenate([maps.paths.row, maps.covariances.row])
        self._right: IntArray = np.concatenate([maps.paths.column + v, maps.covariances.column])
        half = np.where(maps.covariances.row == maps.covariances.column, 0.5, 1.0)
        self._scale: FloatArray = np.concatenate([np.ones(len(maps.paths.row)), half])
        self.has_means = bool(len(maps.means.row) or maps.base_means.any())
        self.mean_free: IntArray = np.concatenate([maps.paths.free, maps.means.free])
        self.recursive = _is_recursive(maps)

    @property
    def n_observed(self) -> int:
        """p_l."""
        return self.maps.n_observed

    @property
    def positions(self) -> IntArray:
        """Places of the level's observed variables among all."""
        return self.maps.positions

    def implied(self, params: FloatArray) -> LevelImplied:
        """Moments at free parameters (..., q)."""
        filled = fill(self.maps, params)
        eye = np.eye(len(self.maps.variables))
        if self.recursive:  # A is nilpotent: E = I + A + A^2 + ...
            total = filled.paths + eye
            for _ in range(self.recursive - 1):  # Horner's rule
                total = np.matmul(total, filled.paths) + eye
            ok: BoolArray = np.asarray(np.isfinite(total).all(axis=(-2, -1)))
        else:
            total, ok = inverse(eye - filled.paths)
        cov = np.matmul(np.matmul(total, filled.covariances), total.swapaxes(-1, -2))
        mean = matvec(total, filled.means)
        k = self.maps.n_observed
        return LevelImplied(total, cov, mean, mean[..., :k], cov[..., :k, :k], ok)

    def moment_derivatives(self, implied: LevelImplied) -> CovDerivatives:
        """First derivatives of Sigma, one column an entry of ``cov_free``."""
        k = self.maps.n_observed
        both = np.concatenate([implied.total[..., :k, :], implied.cov[..., :k, :]], axis=-1)
        return CovDerivatives(columns(both, self._left), columns(both, self._right) * self._scale)

    def mean_derivatives(self, implied: LevelImplied) -> FloatArray:
        """First derivatives (..., p_l, n) of mu, one column an entry of ``mean_free``."""
        k = self.maps.n_observed
        g = implied.total[..., :k, :]
        paths = columns(g, self.maps.paths.row) * columns(implied.mean, self.maps.paths.column)[..., None, :]
        return np.concatenate([paths, columns(g, self.maps.means.row)], axis=-1)

    def cov_gradient(self, implied: LevelImplied, grad_sigma: FloatArray) -> FloatArray:
        """tr(M dSigma) / 2 (..., n) by every entry of ``cov_free``, for a symmetric M (..., p_l, p_l)."""
        k = self.maps.n_observed
        g = implied.total[..., :k, :]
        both = np.concatenate([g, implied.cov[..., :k, :]], axis=-1)
        product = np.matmul(np.matmul(g.swapaxes(-1, -2), grad_sigma), both)
        return entries(product, self._left, self._right) * self._scale

    def mean_gradient(self, implied: LevelImplied, grad_mu: FloatArray) -> FloatArray:
        """Derivatives c' dmu (..., n) by every entry of ``mean_free``."""
        g = implied.total[..., : self.maps.n_observed, :]
        b = matvec(g.swapaxes(-1, -2), grad_mu)
        paths = columns(b, self.maps.paths.row) * columns(implied.mean, self.maps.paths.column)
        return np.concatenate([paths, columns(b, self.maps.means.row)], axis=-1)

    def curvature(self, implied: LevelImplied, grad_sigma: FloatArray, grad_mu: FloatArray, q: int) -> FloatArray:
        """Sum of second derivatives (..., q, q): tr(M d2 Sigma) + c' d2 mu.

        Parameters
        ----------
        grad_sigma : (..., p_l, p_l)
            Symmetric M, the derivative of the objective with respect to the full matrix Sigma.
        grad_mu : (..., p_l)
            c, its derivative with respect to mu.
        q : int
            Number of free parameters.
        """
        k = self.maps.n_observed
        e, c, tau = implied.total, implied.cov, implied.mean
        g, h = e[..., :k, :], c[..., :k, :]
        mg = np.matmul(grad_sigma, g)
        x = np.matmul(g.swapaxes(-1, -2), mg)
        y = np.matmul(h.swapaxes(-1, -2), mg)
        b = matvec(g.swapaxes(-1, -2), grad_mu)
        a, s, m = self.maps.paths, self.maps.covariances, self.maps.means
        i, j = a.row[:, None], a.column[:, None]
        result = np.zeros((*e.shape[:-2], q, q))
        r, cc = a.row[None, :], a.column[None, :]
        block = 2.0 * (e[..., j, r] * y[..., cc, i] + c[..., j, cc] * x[..., r, i] + y[..., j, r] * e[..., cc, i])
        block = block + b[..., r] * e[..., cc, i] * tau[..., j] + b[..., i] * e[..., j, r] * tau[..., cc]
        _add(result, a.free, a.free, block)
        if len(s.row):
            r, cc = s.row[None, :], s.column[None, :]
            scale = np.where(s.row == s.column, 0.5, 1.0)
            block = 2.0 * scale * (e[..., j, r] * x[..., cc, i] + e[..., j, cc] * x[..., r, i])
            _add(result, a.free, s.free, block)
            _add(result, s.free, a.free, block.swapaxes(-1, -2))
        if len(m.row):
            block = b[..., i] * e[..., j, m.row[None, :]]
            _add(result, a.free, m.free, block)
            _add(result, m.free, a.free, block.swapaxes(-1, -2))
        return result


def _add(result: FloatArray, rows: IntArray, columns: IntArray, block: FloatArray) -> None:
    """Add a block at (rows, columns), where indices may repeat."""
    if len(set(rows.tolist())) == len(rows) and len(set(columns.tolist())) == len(columns):
        result[..., rows[:, None], columns] += block
        return
    for k, row in enumerate(rows):
        for m, column in enumerate(columns):
            result[..., row, column] += block[..., k, m]


def _is_recursive(maps: LevelMatrices) -> int:
    """Length of the longest chain of paths, or 0 where there is a cycle."""
    v = len(maps.variables)
    pattern = (maps.base_paths != 0).astype(np.int64)
    pattern[maps.paths.row, maps.paths.column] = 1
    power = np.eye(v, dtype=np.int64)
    for length in range(v + 1):
        power = np.minimum(power @ pattern, 1)
        if not power.any():
            return max(length, 1)
    return 0


class TwoLevelStructure:
    """Index arrays of both levels of a model.

    Attributes
    ----------
    p1, p2, q : int
        Level-1 variables, level-2 variables, free parameters.
    within, between : LevelStructure
    """

    def __init__(self, model: TwoLevelModel) -> None:
        self.model = model
        self.within = LevelStructure(level_matrices(model, "within"))
        self.between = LevelStructure(level_matrices(model, "between"))
        self.p1, self.p2, self.q = len(model.level1), len(model.level2), len(model.names)

    @staticmethod
    @lru_cache(maxsize=64)
    def of(model: TwoLevelModel) -> TwoLevelStructure:
        """The structure of a model, made once for models that come again and again."""
        return TwoLevelStructure(model)

    def moments(self, params: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Implied mu (..., p), Sigma_within (..., p1, p1) and Sigma_between (..., p, p).

        Level-1 variables that live within only have zero rows in Sigma_between.
        """
        within, between = self.within.implied(params), self.between.implied(params)
        return self.assemble(within, between)

    def assemble(self, within: LevelImplied, between: LevelImplied) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Put the levels' moments in the order of ``model.variables``."""
        p = self.p1 + self.p2
        at = self.between.positions
        if len(at) == p:
            mu, sigma_between = between.mu.copy(), between.sigma
        else:
            shape = between.mu.shape[:-1]
            mu, sigma_between = np.zeros((*shape, p)), np.zeros((*shape, p, p))
            mu[..., at] = between.mu
            sigma_between[..., at[:, None], at] = between.sigma
        if self.within.has_means:
            mu[..., : self.p1] += within.mu
        return mu, within.sigma, sigma_between
