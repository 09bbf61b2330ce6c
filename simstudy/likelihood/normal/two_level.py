"""Two-level normal log-likelihood on sufficient statistics, any cluster sizes (theory C1).

With v_j = (ybar_j, z_j) of cluster j, V_n = Sigma_B + diag(Sigma_W / n, 0) and N - J degrees of freedom within,

    -2 l = (N - J) log|Sigma_W| + tr(Sigma_W^-1 S_W)
           + sum_j {log|V_nj| + (v_j - mu)' V_nj^-1 (v_j - mu) + p1 log n_j} + (N p1 + J p2) log 2 pi.

One matrix P diagonalises V_n for every n. With Sigma_B.z = Sigma_yy - Sigma_yz Sigma_zz^-1 Sigma_zy of the between
level, Sigma_W = L L' and L^-1 Sigma_B.z L^-T = U D U',

    P = [[U' L^-1, -U' L^-1 Sigma_yz Sigma_zz^-1], [0, chol(Sigma_zz)^-1]],    P V_n P' = diag(d_k + 1/n, 1),

so that likelihood, score and expected information cost the same for one size or thirty. Sigma_B need not be positive
definite, only every V_n. "Rotated" quantities below are in the basis of P. Sources: McDonald & Goldstein (1989),
Muthen (1990), du Toit & du Toit (2008), Rosseel (2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.data.statistics import TwoLevelStatistics
from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.likelihood.normal.half_vectors import Collapse, HalfVectors
from simstudy.likelihood.normal.second_derivatives import kernels, linear_part
from simstudy.linalg.stacked import (
    BoolArray,
    FloatArray,
    IntArray,
    cholesky,
    eigh,
    inverse,
    matvec,
    submatrix,
    transpose,
)
from simstudy.linalg.stacked import columns as pick
from simstudy.model.implied import LevelImplied, LevelStructure, TwoLevelStructure

# V_n counts as singular where a generalised eigenvalue of n V_n with respect to Sigma_W falls below this. With
# unequal sizes and fewer clusters of the largest size than variables, l rises without bound towards such points.
SINGULAR = 1e-7


@dataclass(frozen=True)
class Data:
    """Statistics laid out for evaluation: distinct sizes run along the last axis.

    Attributes
    ----------
    scatter_within : (R, p1, p1)
    means : (R, p, S)
    scatter : (R, p, p, S)
    """

    scatter_within: FloatArray
    means: FloatArray
    scatter: FloatArray

    @classmethod
    def of(cls, statistics: TwoLevelStatistics) -> Data:
        """Lay out statistics whose variables stand in the model's order."""
        return cls(
            statistics.scatter_within,
            np.ascontiguousarray(statistics.size_means.swapaxes(-1, -2)),
            np.ascontiguousarray(np.moveaxis(statistics.size_scatter, -3, -1)),
        )

    def select(self, replicates: IntArray | BoolArray) -> Data:
        """Some of the replicates."""
        return Data(self.scatter_within[replicates], self.means[replicates], self.scatter[replicates])


@dataclass(frozen=True)
class _Rotation:
    """P, generalised eigenvalues and log-determinants at parameter values."""

    within: LevelImplied
    between: LevelImplied
    mu: FloatArray
    matrix: FloatArray  # P (R, p, p)
    eigenvalues: FloatArray  # d (R, p1)
    variances: FloatArray  # lambda (R, p, S): d_k + 1/n, or 1
    log_det_within: FloatArray
    log_det_z: FloatArray
    ok: BoolArray


class TwoLevelLikelihood(Likelihood[Data]):
    """Log-likelihood of a model on the statistics of one layout.

    Parameters
    ----------
    structure : TwoLevelStructure
    sizes, counts : (S,)
        Distinct cluster sizes and how many clusters have each.
    n_obs : float, optional
        Rows, where they are not the sum of the sizes (`pseudo_balanced`).
    mean_counts : (S,), optional
        How many clusters of each size the mean of the size weighs as much as, where that is not ``counts``.
    """

    def __init__(
        self,
        structure: TwoLevelStructure,
        sizes: IntArray | FloatArray,
        counts: IntArray,
        *,
        n_obs: float | None = None,
        mean_counts: FloatArray | None = None,
    ) -> None:
        self.structure = structure
        self.sizes: FloatArray = sizes.astype(float)
        self.counts: FloatArray = counts.astype(float)
        self.n_clusters = float(self.counts.sum())
        self.n_obs = float((self.sizes * self.counts).sum()) if n_obs is None else float(n_obs)
        self.mean_counts: FloatArray = self.counts if mean_counts is None else mean_counts
        p1, p2 = structure.p1, structure.p2
        self.half = HalfVectors(p1, p1 + p2)
        self._within = Collapse(structure.within.cov_free)
        self._between = Collapse(structure.between.cov_free)
        self._mean_within = Collapse(structure.within.mean_free)
        self._mean_between = Collapse(structure.between.mean_free)
        self.constant = (self.n_obs * p1 + self.n_clusters * p2) * np.log(2 * np.pi)
        self.constant += p1 * float((self.counts * np.log(self.sizes)).sum())
        share = np.zeros((p1 + p2, len(self.sizes)))
        share[:p1] = 1.0 / self.sizes
        self._share: FloatArray = share
        self._powers: FloatArray = np.stack([np.ones_like(self.sizes), 1.0 / self.sizes, self.sizes**-2.0], axis=1)

    # ------------------------------------------------------------------ moments and rotation

    def rotate(self, params: FloatArray) -> _Rotation:
        """Diagonalise every V_n at parameters (R, q)."""
        s = self.structure
        within, between = s.within.implied(params), s.between.implied(params)
        mu, sigma_within, sigma_between = s.assemble(within, between)
        p1, p = s.p1, s.p1 + s.p2
        factor, ok = cholesky(sigma_within)
        ok = ok & within.ok & between.ok
        lower, _ = inverse(factor)
        log_det_within = 2.0 * np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=-1)
        log_det_z = np.zeros_like(log_det_within)
        conditional = sigma_between[..., :p1, :p1]
        if s.p2:
            factor_z, ok_z = cholesky(sigma_between[..., p1:, p1:])
            ok = ok & ok_z
            lower_z, _ = inverse(factor_z)
            log_det_z = 2.0 * np.log(np.diagonal(factor_z, axis1=-2, axis2=-1)).sum(axis=-1)
            link = np.matmul(sigma_between[..., :p1, p1:], transpose(lower_z))
            conditional = conditional - np.matmul(link, transpose(link))
        eigenvalues, vectors, ok_eigen = eigh(np.matmul(np.matmul(lower, conditional), transpose(lower)))
        ok = ok & ok_eigen
        basis = np.matmul(transpose(vectors), lower)
        if s.p2:
            matrix = np.zeros((*basis.shape[:-2], p, p))
            matrix[..., :p1, :p1] = basis
            matrix[..., :p1, p1:] = -np.matmul(np.matmul(basis, link), lower_z)
            matrix[..., p1:, p1:] = lower_z
            padded = np.concatenate([eigenvalues, np.ones((*eigenvalues.shape[:-1], s.p2))], axis=-1)
        else:
            matrix, padded = basis, eigenvalues
        variances = padded[..., :, None] + self._share
        with np.errstate(invalid="ignore"):
            ok = ok & ((variances[..., :p1, :] * self.sizes).min(axis=(-2, -1)) > SINGULAR)
        return _Rotation(within, between, mu, matrix, eigenvalues, variances, log_det_within, log_det_z, ok)

    def rotated_scatter(self, rotation: _Rotation, data: Data) -> tuple[FloatArray, FloatArray]:
        """Rotated means r = P (m_s - mu) (R, p, S) and rotated scatter about mu (R, p, p, S)."""
        p, n_sizes = data.means.shape[-2:]
        matrix = rotation.matrix
        r: FloatArray = np.matmul(matrix, data.means - rotation.mu[..., :, None])
        half = np.matmul(matrix, data.scatter.reshape(-1, p, p * n_sizes)).reshape(-1, p, p, n_sizes)
        full = np.matmul(matrix[:, None], half)
        return r, full + self.mean_counts * r[:, :, None, :] * r[:, None, :, :]

    # ------------------------------------------------------------------ likelihood, score, expected information

    def loglik(self, params: FloatArray, data: Data) -> tuple[FloatArray, BoolArray]:
        """Log-likelihood (R,) alone, and where it exists."""
        with np.errstate(all="ignore"):
            rotation = self.rotate(params)
            _, scatter = self.rotated_scatter(rotation, data)
            return self.loglik_of(rotation, scatter, self.within_scatter(rotation, data)), rotation.ok

    def margin(self, params: FloatArray) -> FloatArray:
        """Smallest eigenvalue of any n V_n relative to Sigma_W (R,): `SINGULAR` where the likelihood ends."""
        with np.errstate(all="ignore"):
            rotation = self.rotate(params)
            return np.asarray((rotation.variances[..., : self.structure.p1, :] * self.sizes).min(axis=(-2, -1)))

    def within_scatter(self, rotation: _Rotation, data: Data) -> FloatArray:
        """Rotated within scatter (R, p1, p1)."""
        p1 = self.structure.p1
        basis = rotation.matrix[..., :p1, :p1]
        rotated: FloatArray = np.matmul(np.matmul(basis, data.scatter_within), transpose(basis))
        return rotated

    def loglik_of(self, rotation: _Rotation, scatter: FloatArray, within: FloatArray) -> FloatArray:
        """Log-likelihood (R,) of rotated scatter."""
        squares = np.moveaxis(np.diagonal(scatter, axis1=1, axis2=2), -1, 1) / rotation.variances
        between = (self.counts * np.log(rotation.variances) + squares).sum(axis=-1).sum(axis=-1)
        trace = np.diagonal(within, axis1=-2, axis2=-1).sum(axis=-1)
        deviance = self.n_obs * rotation.log_det_within + self.n_clusters * rotation.log_det_z + trace + between
        return np.where(rotation.ok, -0.5 * (deviance + self.constant), -np.inf)

    def evaluate(self, params: FloatArray, data: Data) -> Evaluation:
        """Log-likelihood, score and expected information at parameters (R, q)."""
        with np.errstate(all="ignore"):
            rotation = self.rotate(params)
            r, scatter = self.rotated_scatter(rotation, data)
            within = self.within_scatter(rotation, data)
            loglik = self.loglik_of(rotation, scatter, within)
            grad_within, grad_between, grad_mean, weights = self.gradients(rotation, r, scatter, within)
            x_within, x_between, x_mean = self._moment_derivatives(rotation)
            half, n = self.half, self.half.n_within
            score = np.zeros(params.shape)
            score[..., self._within.free] -= matvec(transpose(x_within), half.weight[:n] * half.of(grad_within, n))
            n_all = len(half.row)
            score[..., self._between.free] -= matvec(transpose(x_between), half.weight * half.of(grad_between, n_all))
            score += matvec(transpose(x_mean), grad_mean)
            information = self._information(rotation, weights, x_within, x_between, x_mean)
        ok = rotation.ok & np.isfinite(loglik) & np.isfinite(score).all(axis=-1)
        return Evaluation(loglik, score, information, ok)

    def value_and_score(self, params: FloatArray, data: Data) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Log-likelihood (R,), score (R, q) and where they exist (R,), at a third of the cost of `evaluate`."""
        with np.errstate(all="ignore"):
            rotation = self.rotate(params)
            r, scatter = self.rotated_scatter(rotation, data)
            within = self.within_scatter(rotation, data)
            loglik = self.loglik_of(rotation, scatter, within)
            score = self._score(rotation, self.back_rotated(rotation, self.gradients(rotation, r, scatter, within)))
        return loglik, score, rotation.ok & np.isfinite(loglik) & np.isfinite(score).all(axis=-1)

    def back_rotated(
        self, rotation: _Rotation, gradients: tuple[FloatArray, FloatArray, FloatArray, FloatArray]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Derivatives of -2 l by Sigma_W (R, p1, p1) and Sigma_B (R, p, p), of l by mu (R, p), from rotated ones."""
        grad_within, grad_between, grad_mean, _ = gradients
        p1, basis = self.structure.p1, rotation.matrix
        small = basis[..., :p1, :p1]
        return (
            np.matmul(np.matmul(transpose(small), grad_within), small),
            np.matmul(np.matmul(transpose(basis), grad_between), basis),
            matvec(transpose(basis), grad_mean),
        )

    def _score(self, rotation: _Rotation, gradients: tuple[FloatArray, FloatArray, FloatArray]) -> FloatArray:
        """Score (R, q) from `back_rotated` derivatives, without those of the moments."""
        s = self.structure
        grad_within, grad_between, grad_mu = gradients
        at = s.between.positions
        if len(at) < s.p1 + s.p2:
            grad_between = submatrix(grad_between, at, at)
        score = np.zeros((len(grad_mu), s.q))
        for level, implied, grad_sigma, by_cov, by_mean in (
            (s.within, rotation.within, grad_within, self._within, self._mean_within),
            (s.between, rotation.between, grad_between, self._between, self._mean_between),
        ):
            score[:, by_cov.free] -= by_cov(level.cov_gradient(implied, grad_sigma)[:, None])[:, 0]
            if level is s.between or level.has_means:
                grad = pick(grad_mu, at) if level is s.between else np.ascontiguousarray(grad_mu[:, : s.p1])
                score[:, by_mean.free] += by_mean(level.mean_gradient(implied, grad)[:, None])[:, 0]
        return score

    def gradients(
        self, rotation: _Rotation, r: FloatArray, scatter: FloatArray, within: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Rotated derivatives of -2 l: Sigma_W (R, p1, p1), Sigma_B (R, p, p); of l: mu (R, p); precisions."""
        p1 = self.structure.p1
        w = 1.0 / rotation.variances
        p, n_sizes = w.shape[-2:]
        ww = w[:, :, None, :] * w[:, None, :, :]
        sums = np.matmul((scatter * ww).reshape(-1, p * p, n_sizes), self._powers[:, :2]).reshape(-1, p, p, 2)
        diagonal = np.matmul(w, self.counts[:, None] * self._powers[:, :2])
        index = np.arange(p)
        grad_between = -sums[..., 0]
        grad_between[..., index, index] += diagonal[..., 0]
        grad_within = -sums[..., :p1, :p1, 1] - within
        index = index[:p1]
        grad_within[..., index, index] += diagonal[..., :p1, 1] + (self.n_obs - self.n_clusters)
        grad_mean = (self.mean_counts * w * r).sum(axis=-1)
        return grad_within, grad_between, grad_mean, ww

    def _moment_derivatives(self, rotation: _Rotation) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Rotated half-vectorised derivatives of Sigma_W (R, p1*, q_W), Sigma_B (R, p*, q_B), and of mu (R, p, q)."""
        s = self.structure
        basis = rotation.matrix[..., : s.p1, : s.p1]
        at = s.between.positions
        columns = rotation.matrix if len(at) == s.p1 + s.p2 else pick(rotation.matrix, at)
        result = []
        for level, implied, matrix, n, collapse in (
            (s.within, rotation.within, basis, self.half.n_within, self._within),
            (s.between, rotation.between, columns, len(self.half.row), self._between),
        ):
            t = level.moment_derivatives(implied)
            both = np.matmul(matrix, np.concatenate([t.left, t.right], axis=-1))
            k = t.left.shape[-1]
            result.append(collapse(self.half.moment_derivatives(both[..., :k], both[..., k:], n)))
        mean = np.zeros((*rotation.mu.shape[:-1], s.p1 + s.p2, s.q))
        parts = [(s.between, rotation.between, columns, self._mean_between)]
        if s.within.has_means:
            parts.append((s.within, rotation.within, rotation.matrix[..., : s.p1], self._mean_within))
        for level, implied, matrix, collapse in parts:
            mean[..., collapse.free] += collapse(np.matmul(matrix, level.mean_derivatives(implied)))
        return result[0], result[1], mean

    def pair_weights(self, ww: FloatArray) -> FloatArray:
        """Sums over clusters of w_k w_l n^-power for the pairs (R, p*, 3), halved on the diagonal."""
        half = self.half
        p, n_sizes = ww.shape[-2:]
        flat = np.take(ww.reshape(-1, p * p, n_sizes), half.row * p + half.column, axis=1)  # (R, p*, S)
        result: FloatArray = np.matmul(flat, self.counts[:, None] * self._powers) * half.weight[:, None]
        return result

    def _information(
        self, rotation: _Rotation, ww: FloatArray, x_within: FloatArray, x_between: FloatArray, x_mean: FloatArray
    ) -> FloatArray:
        """Expected information (R, q, q) from rotated derivatives."""
        half, n = self.half, self.half.n_within
        omega = self.pair_weights(ww)
        omega_within = omega[:, :n, 2] + (self.n_obs - self.n_clusters) * half.weight[:n]
        weighted = omega[:, :, 0, None] * x_between
        cross = np.matmul(transpose(x_within), omega[:, :n, 1, None] * x_between[:, :n])
        f, g = self._within.free, self._between.free
        mean_weight = np.matmul(1.0 / rotation.variances, self.mean_counts[:, None])
        information: FloatArray = np.matmul(transpose(x_mean), mean_weight * x_mean)
        information[:, f[:, None], f] += np.matmul(transpose(x_within), omega_within[..., None] * x_within)
        information[:, g[:, None], g] += np.matmul(transpose(x_between), weighted)
        information[:, f[:, None], g] += cross
        information[:, g[:, None], f] += transpose(cross)
        return information

    # ------------------------------------------------------------------ observed information and cluster-wise scores

    def observed_information(self, params: FloatArray, data: Data) -> FloatArray:
        """Observed information (R, q, q): minus the exact second derivatives of l."""
        return self.with_observed(params, data).information

    def with_observed(self, params: FloatArray, data: Data) -> Evaluation:
        """Log-likelihood, score and observed information at (R, q)."""
        s, p1 = self.structure, self.structure.p1
        with np.errstate(all="ignore"):
            rotation = self.rotate(params)
            r, scatter = self.rotated_scatter(rotation, data)
            within = self.within_scatter(rotation, data)
            loglik = self.loglik_of(rotation, scatter, within)
            full_within, full_between, grad_mu = gradients = self.back_rotated(
                rotation, self.gradients(rotation, r, scatter, within)
            )
            score = self._score(rotation, gradients)
            x_within, x_between, x_mean = self._moment_derivatives(rotation)
            w = 1.0 / rotation.variances
            kernel = within - 0.5 * (self.n_obs - self.n_clusters) * np.eye(p1)
            triple, cross = self.second_kernels(w, r, scatter)
            result = linear_part(
                triple, cross, kernel, self.half, (x_within, x_between, x_mean), (self._within.free, self._between.free)
            )
            mean_weight = np.matmul(w, self.mean_counts[:, None])
            result += np.matmul(transpose(x_mean), mean_weight * x_mean)
            at = s.between.positions
            pairs: tuple[tuple[LevelStructure, LevelImplied, FloatArray, FloatArray], ...] = (
                (s.within, rotation.within, full_within, grad_mu[..., :p1]),
                (s.between, rotation.between, submatrix(full_between, at, at), pick(grad_mu, at)),
            )
            for level, implied, grad_sigma, grad in pairs:
                result += level.curvature(implied, 0.5 * grad_sigma, -grad, s.q)
        ok = rotation.ok & np.isfinite(loglik) & np.isfinite(score).all(axis=-1)
        return Evaluation(loglik, score, 0.5 * (result + transpose(result)), ok)

    def second_kernels(self, w: FloatArray, r: FloatArray, scatter: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`second_derivatives.kernels` at precisions w, rotated means r (R, p, S) and scatter (R, p, p, S)."""
        return kernels(w, r, scatter, self.counts, self.mean_counts, self._powers)

    def cluster_scores(
        self,
        params: FloatArray,
        cluster_means: FloatArray,
        cluster_scatter: FloatArray,
        group: IntArray,
        rows: FloatArray | None = None,
        weight: FloatArray | None = None,
    ) -> FloatArray:
        """Score of every cluster (R, J, q); they add up to the score.

        Parameters
        ----------
        cluster_means : (R, J, p)
        cluster_scatter : (R, J, p1, p1)
        group : (J,)
            Index of each cluster's size.
        rows, weight : (J,), optional
            Rows of each cluster, where they are not its size, and how many clusters its means count as, where that is
            not 1 (`pseudo_balanced`).
        """
        s, half, n = self.structure, self.half, self.half.n_within
        with np.errstate(all="ignore"):
            rotation = self.rotate(params)
            x_within, x_between, x_mean = self._moment_derivatives(rotation)
            basis = rotation.matrix
            t = np.matmul(cluster_means - rotation.mu[:, None, :], transpose(basis))  # (R, J, p)
            w = np.take(np.ascontiguousarray(transpose(1.0 / rotation.variances)), group, axis=1)  # (R, J, p)
            tw = t * w
            weighted = tw if weight is None else weight[:, None] * tw
            grad = -pick(weighted, half.row) * pick(tw, half.column)
            diagonal = np.flatnonzero(half.row == half.column)
            grad[..., diagonal] += pick(w, half.row[diagonal])
            small = basis[..., : s.p1, : s.p1][:, None]
            sizes = self.sizes[group][:, None]
            rotated = np.matmul(np.matmul(small, cluster_scatter), transpose(small))
            grad_within = grad[..., :n] / sizes - half.of(rotated, n)
            diagonal = diagonal[diagonal < n]
            grad_within[..., diagonal] += (sizes if rows is None else rows[:, None]) - 1.0
            scores: FloatArray = np.matmul(weighted, x_mean)
            scores[..., self._within.free] -= np.matmul(grad_within * half.weight[:n], x_within)
            scores[..., self._between.free] -= np.matmul(grad * half.weight, x_between)
        return scores
