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

P_g the scatter of the pattern's rows about mu + b^ (theory C14). Derived for this project; tested against brute force.
"""

from __future__ import annotations

import numpy as np

from simstudy.data.incomplete import Block
from simstudy.likelihood.normal.incomplete_clusters import Clusters
from simstudy.likelihood.normal.moment_derivatives import MomentDerivatives, MomentMaps
from simstudy.linalg.entrywise import paired
from simstudy.linalg.stacked import FloatArray, transpose


def expected_information(block: Block, known: Clusters, d: MomentDerivatives, maps: MomentMaps) -> FloatArray:
    """Expected information (R, q, q) given the patterns of missing values."""
    by_cluster = _information_derivatives(block, _turned(known, d))
    omega = _flat(known.omega)
    own = 0.5 * _within_traces(known, by_cluster)
    own += _pattern_forms(known, d, 0.5 * _counted(known) - _between_inverses(known, known.held))
    flat = _flat_derivatives(d.between)
    cross = 0.5 * np.matmul(_pulled_traces(known, by_cluster), transpose(flat))
    p = d.between.shape[-1]
    pairs = paired(np.matmul(omega, transpose(omega)), p)
    other = 0.5 * np.matmul(np.matmul(flat, pairs), transpose(flat))
    total = omega.sum(axis=-1).reshape(len(omega), p, p)
    means = np.matmul(np.matmul(d.mean, total), transpose(d.mean))
    return _together(maps, own, cross, other, means)


def observed_forms(block: Block, known: Clusters, d: MomentDerivatives, maps: MomentMaps) -> FloatArray:
    """Observed information (R, q, q) but for the second derivatives of the moments."""
    by_pattern = _turned(known, d)
    by_cluster = _information_derivatives(block, by_pattern)
    n, n_clusters, p1, k, _ = by_cluster.shape
    p = d.between.shape[-1]
    moments = _between_inverses(known, known.products + known.held)
    own = _pattern_forms(known, d, moments - 0.5 * _counted(known))
    own -= 0.5 * _within_traces(known, by_cluster)
    alpha = _residual_forms(by_pattern, known)
    seen = _apply(known.spread, alpha)
    own -= np.matmul(seen.reshape(n, k, p1 * n_clusters), transpose(alpha.reshape(n, k, p1 * n_clusters)))
    gamma = known.gradient
    pulled = _apply(known.pull, alpha)  # J'K alpha (R, q_W, p, J)
    moved = np.matmul(pulled.reshape(n, k * p, n_clusters), transpose(gamma)).reshape(n, k, p * p)
    moved -= 0.5 * _pulled_traces(known, by_cluster)
    cross = np.matmul(moved, transpose(_flat_derivatives(d.between)))
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
    by_pattern = _turned(known, d)
    n, n_patterns, p1, n_clusters = block.means.shape
    k = d.within.shape[1]
    gamma = known.gradient
    result: FloatArray = np.matmul(d.mean, gamma)
    outer = _flat(gamma[:, :, None] * gamma[:, None] - known.omega)
    result[:, maps.between] += 0.5 * np.matmul(_flat_derivatives(d.between), outer)
    moments = block.scatter + known.weighted[:, :, :, None] * known.residual[:, :, None]
    by_row = np.ascontiguousarray(by_pattern.transpose(0, 3, 1, 2, 4)).reshape(n, k, n_patterns * p1 * p1)
    found = np.matmul(by_row, moments.reshape(n, n_patterns * p1 * p1, n_clusters))
    by_cluster = _information_derivatives(block, by_pattern)
    spread = np.moveaxis(known.spread, -1, 1)[:, :, :, None]  # (R, J, p1, 1, p1)
    held = np.ascontiguousarray((by_cluster * spread).transpose(0, 3, 1, 2, 4)).reshape(n, k, n_clusters, p1 * p1)
    found += held.sum(axis=-1)
    inverses = known.inverse.reshape(n, n_patterns, p1 * p1)
    traces = np.matmul(_flat_derivatives(d.within), transpose(inverses))  # tr(I D_a)
    result[:, maps.within] += 0.5 * (found - np.matmul(traces, block.count))
    return result


# ---------------------------------------------------------------------- pieces


def _turned(known: Clusters, d: MomentDerivatives) -> FloatArray:
    """C_a = I D_a I: entries i, l of that of parameter a at (R, P, i, a, l)."""
    n, n_patterns, p1, _ = known.inverse.shape
    k = d.within.shape[1]
    beside = np.ascontiguousarray(d.within.swapaxes(1, 2)).reshape(n, p1, k * p1)
    left = np.matmul(known.inverse.reshape(n, n_patterns * p1, p1), beside)
    both: FloatArray = np.matmul(left.reshape(n, n_patterns, p1 * k, p1), known.inverse)
    return both.reshape(n, n_patterns, p1, k, p1)


def _counted(known: Clusters) -> FloatArray:
    """n_g I (R, P, p1, p1)."""
    return known.rows[..., None, None] * known.inverse


def _between_inverses(known: Clusters, moments: FloatArray) -> FloatArray:
    """I X I (R, P, p1, p1)."""
    found: FloatArray = np.matmul(np.matmul(known.inverse, moments), known.inverse)
    return found


def _information_derivatives(block: Block, by_pattern: FloatArray) -> FloatArray:
    """A_a = sum_g n_g C_a, laid out as those: (R, J, p1, q_W, p1)."""
    n, n_patterns, p1, k, _ = by_pattern.shape
    found: FloatArray = np.matmul(transpose(block.count), by_pattern.reshape(n, n_patterns, p1 * k * p1))
    return found.reshape(n, -1, p1, k, p1)


def _residual_forms(by_pattern: FloatArray, known: Clusters) -> FloatArray:
    """Sum over patterns of n_g C_a (r_g - b^): alpha (R, q_W, p1, J)."""
    n, n_patterns, p1, k, _ = by_pattern.shape
    flat = by_pattern.reshape(n, n_patterns * p1, k * p1)
    found: FloatArray = np.matmul(transpose(flat), known.weighted.reshape(n, n_patterns * p1, -1))
    return found.reshape(n, k, p1, -1)


def _pattern_forms(known: Clusters, d: MomentDerivatives, weight: FloatArray) -> FloatArray:
    """Sum over patterns of tr(D_a I D_b X_g), made symmetric (R, q_W, q_W), for symmetric X (R, P, p1, p1)."""
    n, n_patterns, p1, _ = weight.shape
    flat = _flat_derivatives(d.within)
    shape = (n, n_patterns, p1 * p1)
    sums = np.matmul(transpose(weight.reshape(shape)), known.inverse.reshape(shape))
    found: FloatArray = np.matmul(np.matmul(flat, paired(sums, p1)), transpose(flat))
    return 0.5 * (found + transpose(found))


def _within_traces(known: Clusters, by_cluster: FloatArray) -> FloatArray:
    """Sum over clusters of tr(M A_a M A_b) (R, q_W, q_W)."""
    n, n_clusters, p1, k, _ = by_cluster.shape
    spread = np.ascontiguousarray(np.moveaxis(known.spread, -1, 1))
    moved = np.matmul(by_cluster.reshape(n, n_clusters, p1 * k, p1), spread).reshape(by_cluster.shape)  # A_a M
    left = np.ascontiguousarray(moved.transpose(0, 1, 3, 2, 4)).reshape(n, n_clusters, k, p1 * p1)
    right = np.ascontiguousarray(moved.transpose(0, 1, 3, 4, 2)).reshape(n, n_clusters, k, p1 * p1)
    found: FloatArray = np.matmul(left, transpose(right)).sum(axis=1)
    return found


def _pulled_traces(known: Clusters, by_cluster: FloatArray) -> FloatArray:
    """Sum over clusters of G A_a G', G = J'K (R, q_W, p^2)."""
    n, n_clusters, p1, k, _ = by_cluster.shape
    pull = np.ascontiguousarray(np.moveaxis(known.pull, -1, 1))  # (R, J, p, p1)
    p = pull.shape[2]
    moved = np.matmul(by_cluster.reshape(n, n_clusters, p1 * k, p1), transpose(pull))  # A_a G'
    beside = np.ascontiguousarray(pull.swapaxes(1, 2)).reshape(n, p, n_clusters * p1)
    found = np.matmul(beside, moved.reshape(n, n_clusters * p1, k * p)).reshape(n, p, k, p)
    return np.ascontiguousarray(found.swapaxes(1, 2)).reshape(n, k, p * p)


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


def _together(maps: MomentMaps, own: FloatArray, cross: FloatArray, other: FloatArray, rest: FloatArray) -> FloatArray:
    """Put blocks (q_W, q_W), (q_W, q_B), (q_B, q_B) onto ``rest`` (R, q, q)."""
    f, g = maps.within, maps.between
    rest[:, f[:, None], f] += own
    rest[:, g[:, None], g] += other
    rest[:, f[:, None], g] += cross
    rest[:, g[:, None], f] += transpose(cross)
    return 0.5 * (rest + transpose(rest))
