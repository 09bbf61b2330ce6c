"""Second derivatives of the log-likelihood of data with missing values, from what is known of the clusters.

Let V be the covariance matrix of all that is observed in a cluster, V_a and mu_a the derivatives of V and of the mean,
u = V^-1 times the residuals. The expected information given what is observed, and the observed information but for the
second derivatives of the moments, are sums over clusters of

    E_ab = tr(V^-1 V_a V^-1 V_b) / 2 + mu_a'V^-1 mu_b,
    O_ab = (V_a u + mu_a)'V^-1 (V_b u + mu_b) - tr(V^-1 V_a V^-1 V_b) / 2.

With `incomplete_clusters`' symbols, I = Sigma_g^-1, D_a the derivative of Sigma_W or Sigma_B, C_a = I D_a I by pattern,
A_a = sum_g n_g C_a, alpha_a = sum_g n_g C_a (r_g - b^) and beta_a = D_a gamma + mu_a,

    tr(V^-1 V_a V^-1 V_b) = sum_g {n_g tr(C_a D_b) - 2 n_g tr(C_a D_b I M)} + tr(M A_a M A_b)   (both of Sigma_W)
                          = tr(J'K A_a K'J D_b)                                      (a of Sigma_W, b of Sigma_B)
                          = tr(Omega D_a Omega D_b)                                             (both of Sigma_B),
    (V_a u + mu_a)'V^-1 (V_b u + mu_b) = sum_g tr(C_a D_b I P_g) - alpha_a'M alpha_b + alpha_a'K'J beta_b
                                         + beta_a'J'K alpha_b + beta_a'Omega beta_b,

P_g the scatter of the pattern's rows about mu + b^. Derived for this project; tested against brute force.
"""

from __future__ import annotations

import numpy as np

from simstudy.data.incomplete import Block
from simstudy.likelihood.normal.half_vectors import HalfVectors
from simstudy.likelihood.normal.incomplete_clusters import Clusters
from simstudy.likelihood.normal.moment_derivatives import MomentDerivatives, MomentMaps
from simstudy.linalg.entrywise import paired
from simstudy.linalg.stacked import FloatArray, transpose


def expected_information(block: Block, known: Clusters, d: MomentDerivatives, maps: MomentMaps) -> FloatArray:
    """Expected information (R, q, q) given the patterns of missing values."""
    left, by_pattern = _turned(known, d)
    by_cluster = _information_derivatives(block, by_pattern)
    omega = _flat(known.omega)
    own = 0.5 * _within_traces(known, by_cluster)
    own += _pattern_forms(left, 0.5 * known.rows[..., None, None] * _eye(known) - np.matmul(known.inverse, known.held))
    flat = _flat_derivatives(d.between)
    cross = 0.5 * np.matmul(_pulled_traces(known, by_cluster, maps.half), _halves(d.between, maps.half))
    p = d.between.shape[-1]
    pairs = paired(np.matmul(omega, transpose(omega)), p)
    other = 0.5 * np.matmul(np.matmul(flat, pairs), transpose(flat))
    total = omega.sum(axis=-1).reshape(len(omega), p, p)
    means = np.matmul(np.matmul(d.mean, total), transpose(d.mean))
    return _together(maps, own, cross, other, means)


def observed_forms(block: Block, known: Clusters, d: MomentDerivatives, maps: MomentMaps) -> FloatArray:
    """Observed information (R, q, q) but for the second derivatives of the moments."""
    left, by_pattern = _turned(known, d)
    by_cluster = _information_derivatives(block, by_pattern)
    n, k, p1, n_clusters = *by_cluster.shape[:3], by_cluster.shape[-1]
    p = d.between.shape[-1]
    moments = known.products + known.held
    own = _pattern_forms(left, np.matmul(known.inverse, moments) - 0.5 * known.rows[..., None, None] * _eye(known))
    own -= 0.5 * _within_traces(known, by_cluster)
    alpha = _residual_forms(by_pattern, known)
    seen = _apply(known.spread, alpha)
    own -= np.matmul(seen.reshape(n, k, p1 * n_clusters), transpose(alpha.reshape(n, k, p1 * n_clusters)))
    gamma = known.gradient
    pulled = _apply(known.pull, alpha)  # J'K alpha (R, q_W, p, J)
    moved = np.matmul(pulled.reshape(n, k * p, n_clusters), transpose(gamma)).reshape(n, k, p * p)
    cross = np.matmul(moved, transpose(_flat_derivatives(d.between)))
    cross -= 0.5 * np.matmul(_pulled_traces(known, by_cluster, maps.half), _halves(d.between, maps.half))
    omega, flat = known.omega, _flat_derivatives(d.between)
    outer = _flat(gamma[:, :, None] * gamma[:, None]) - 0.5 * _flat(omega)
    other = np.matmul(np.matmul(flat, paired(np.matmul(outer, transpose(_flat(omega))), p)), transpose(flat))
    # means: with themselves, with Sigma_B, with Sigma_W
    total = omega.sum(axis=-1)
    means = np.matmul(np.matmul(d.mean, total), transpose(d.mean))
    weights = np.matmul(_flat(omega), transpose(gamma)).reshape(n, p, p * p)  # [i, (j, k)] = sum Omega_ij gamma_k
    with_between = np.matmul(d.mean, np.matmul(weights, transpose(flat)))
    with_within = np.matmul(d.mean, transpose(pulled.sum(axis=-1)))
    for free, block_of in ((maps.between, with_between), (maps.within, with_within)):
        means[:, :, free] += block_of
        means[:, free] += transpose(block_of)
    return _together(maps, own, cross, other, means)


def cluster_scores(block: Block, known: Clusters, d: MomentDerivatives, maps: MomentMaps) -> FloatArray:
    """Scores of the block's clusters (R, q, J).

    With A_a and C_a as above, sum_g {tr C_a (S_g + n_g (r_g - b^)(r_g - b^)' + n_g M) - n_g tr(I D_a)} / 2 for
    Sigma_W, tr D_a (gamma gamma' - Omega) / 2 for Sigma_B, and mu_a'gamma.
    """
    left, by_pattern = _turned(known, d)
    n, n_patterns, p1, n_clusters = block.means.shape
    k = d.within.shape[1]
    gamma = known.gradient
    result: FloatArray = np.matmul(d.mean, gamma)
    outer = _flat(gamma[:, :, None] * gamma[:, None] - known.omega)
    result[:, maps.between] += 0.5 * np.matmul(_flat_derivatives(d.between), outer)
    moments = block.scatter + known.weighted[:, :, :, None] * known.residual[:, :, None]
    by_row = np.ascontiguousarray(by_pattern.swapaxes(1, 2)).reshape(n, k, n_patterns * p1 * p1)
    found = np.matmul(by_row, moments.reshape(n, n_patterns * p1 * p1, n_clusters))
    by_cluster = _information_derivatives(block, by_pattern)
    found += (by_cluster * known.spread[:, None]).reshape(n, k, p1 * p1, n_clusters).sum(axis=2)
    traces = np.trace(left, axis1=-2, axis2=-1).swapaxes(1, 2)
    result[:, maps.within] += 0.5 * (found - np.matmul(np.ascontiguousarray(traces), block.count))
    return result


# ---------------------------------------------------------------------- pieces


def _turned(known: Clusters, d: MomentDerivatives) -> tuple[FloatArray, FloatArray]:
    """I D_a and C_a = I D_a I (R, P, q_W, p1, p1)."""
    n, n_patterns, p1, _ = known.inverse.shape
    k = d.within.shape[1]
    beside = np.ascontiguousarray(d.within.swapaxes(1, 2)).reshape(n, p1, k * p1)
    left = np.matmul(known.inverse.reshape(n, n_patterns * p1, p1), beside).reshape(n, n_patterns, p1, k, p1)
    left = np.ascontiguousarray(left.swapaxes(2, 3))
    both = np.matmul(left.reshape(n, n_patterns, k * p1, p1), known.inverse)
    return left, both.reshape(n, n_patterns, k, p1, p1)


def _information_derivatives(block: Block, by_pattern: FloatArray) -> FloatArray:
    """A_a = sum_g n_g C_a (R, q_W, p1, p1, J)."""
    n, n_patterns, k, p1, _ = by_pattern.shape
    flat = np.ascontiguousarray(by_pattern.reshape(n, n_patterns, k * p1 * p1).swapaxes(1, 2))
    found: FloatArray = np.matmul(flat, block.count)
    return found.reshape(n, k, p1, p1, block.count.shape[-1])


def _residual_forms(by_pattern: FloatArray, known: Clusters) -> FloatArray:
    """Sum over patterns of n_g C_a (r_g - b^): alpha (R, q_W, p1, J)."""
    n, n_patterns, k, p1, _ = by_pattern.shape
    flat = np.ascontiguousarray(by_pattern.transpose(0, 2, 3, 1, 4)).reshape(n, k * p1, n_patterns * p1)
    found: FloatArray = np.matmul(flat, known.weighted.reshape(n, n_patterns * p1, -1))
    return found.reshape(n, k, p1, -1)


def _pattern_forms(left: FloatArray, weight: FloatArray) -> FloatArray:
    """Sum over patterns of tr(I D_a I D_b W_g), made symmetric: (R, q_W, q_W).

    Parameters
    ----------
    left : (R, P, q_W, p1, p1)
        I D_a.
    weight : (R, P, p1, p1)
    """
    n, n_patterns, k, p1, _ = left.shape
    right = np.matmul(left.reshape(n, n_patterns, k * p1, p1), weight).reshape(left.shape)
    rows = np.ascontiguousarray(left.swapaxes(1, 2)).reshape(n, k, -1)
    columns = np.ascontiguousarray(right.transpose(0, 2, 1, 4, 3)).reshape(n, k, -1)
    found: FloatArray = np.matmul(rows, transpose(columns))
    return 0.5 * (found + transpose(found))


def _within_traces(known: Clusters, by_cluster: FloatArray) -> FloatArray:
    """Sum over clusters of tr(M A_a M A_b) (R, q_W, q_W)."""
    n, k = by_cluster.shape[:2]
    moved = known.spread[:, None, :, 0, None] * by_cluster[:, :, None, 0]
    for i in range(1, by_cluster.shape[2]):
        moved += known.spread[:, None, :, i, None] * by_cluster[:, :, None, i]
    turned = np.ascontiguousarray(moved.swapaxes(2, 3)).reshape(n, k, -1)
    found: FloatArray = np.matmul(moved.reshape(n, k, -1), transpose(turned))
    return found


def _pulled_traces(known: Clusters, by_cluster: FloatArray, half: HalfVectors) -> FloatArray:
    """Sum over clusters of G A_a G', G = J'K: its pairs (R, q_W, p*)."""
    n, k, p1 = by_cluster.shape[:3]
    pull, w = known.pull, half.n_within
    # G_ik G_lm + G_im G_lk for the pairs (i, l) of G and (k, m) of A_a
    upper, lower = np.take(pull, half.row, axis=1), np.take(pull, half.column, axis=1)
    first, second = half.row[:w], half.column[:w]
    kernel = np.take(upper, first, axis=2) * np.take(lower, second, axis=2)
    kernel += np.take(upper, second, axis=2) * np.take(lower, first, axis=2)
    kernel *= half.weight[:w, None]  # pairs of the diagonal count once
    halves = np.take(by_cluster.reshape(n, k, p1 * p1, -1), first * p1 + second, axis=2)
    found: FloatArray = np.matmul(halves.reshape(n, k, -1), transpose(kernel.reshape(n, len(half.row), -1)))
    return found


def _halves(d: FloatArray, half: HalfVectors) -> FloatArray:
    """Half vectors of symmetric matrices in columns (R, p*, q), such that sums over pairs are those over entries."""
    n, q, p, _ = d.shape
    picked = np.take(d.reshape(n, q, p * p), half.row * p + half.column, axis=-1)
    return np.ascontiguousarray(transpose(picked * (2.0 * half.weight)))


def _apply(matrix: FloatArray, vectors: FloatArray) -> FloatArray:
    """Matrices (R, m, k, J) times several vectors each (R, q, k, J): (R, q, m, J)."""
    result = matrix[:, None, :, 0] * vectors[:, :, None, 0]
    for i in range(1, vectors.shape[2]):
        result += matrix[:, None, :, i] * vectors[:, :, None, i]
    return result


def _flat(matrices: FloatArray) -> FloatArray:
    """Matrices (R, m, m, J) as (R, m^2, J)."""
    return matrices.reshape(len(matrices), -1, matrices.shape[-1])


def _flat_derivatives(d: FloatArray) -> FloatArray:
    return d.reshape(*d.shape[:2], d.shape[-1] ** 2)


def _eye(known: Clusters) -> FloatArray:
    return np.eye(known.inverse.shape[-1])


def _together(maps: MomentMaps, own: FloatArray, cross: FloatArray, other: FloatArray, rest: FloatArray) -> FloatArray:
    """Put blocks (q_W, q_W), (q_W, q_B), (q_B, q_B) onto ``rest`` (R, q, q)."""
    f, g = maps.within, maps.between
    rest[:, f[:, None], f] += own
    rest[:, g[:, None], g] += other
    rest[:, f[:, None], g] += cross
    rest[:, g[:, None], f] += transpose(cross)
    return 0.5 * (rest + transpose(rest))
