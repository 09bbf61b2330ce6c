"""What data with missing values say of every cluster at given moments (theory C14).

Rows of pattern g (n_g of them, mean r_g about mu, Sigma_g the observed part of Sigma_W) inform cluster j's latent
between part b_j through

    A_j = sum_g n_g Sigma_g^-1,    h_j = sum_g n_g Sigma_g^-1 r_g    (padded with zeros),

and level-2 variables, e_j about their mean, through b_j | z_j ~ N(m_j, T_j), m_j = B_j e_j. With A = L L',
S = I + L'T L and K = (I + A T)^-1,

    Q = K A = L S^-1 L',    M = T K (covariance of b_j given all),    g = K (h - A m),    b^ = m + T g,
    -2 l_j = sum_g {n_g log|Sigma_g| + tr Sigma_g^-1 (S_g + n_g (r_g - b^)(r_g - b^)')} + log|S| + g'T g
             + log|Sigma_zz| + e'Sigma_zz^-1 e + (number observed) log 2 pi.

With J = [I, -B], gamma = J'g + (0, Sigma_zz^-1 e) is the derivative of l_j with respect to the mean of (b_j, z_j) and
Omega = J'Q J + diag(0, Sigma_zz^-1) minus the second one. T may be indefinite where S is positive definite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.data.incomplete import Block
from simstudy.linalg.entrywise import inner, inverse_factor, lower_factor, product, square, swap, times
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, transpose

LOG_2_PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class Clusters:
    """R data sets' clusters of a block; J clusters, P patterns. Matrices a cluster have the clusters on the last axis.

    Attributes
    ----------
    inverse : (R, P, p1, p1)
        Sigma_g^-1, padded with zeros.
    link : (R, p1, p2, J)
        B.
    turn : (R, p1, p1, J)
        K.
    precision : (R, p1, p1, J)
        Q.
    spread : (R, p1, p1, J)
        M.
    inverse_z : (R, p2, p2, J)
        Sigma_zz^-1, padded with zeros.
    gradient : (R, p, J)
        gamma.
    means : (R, p1, J)
        b^, about mu.
    residual : (R, P, p1, J)
        r_g - b^, 0 where missing.
    weighted : (R, P, p1, J)
        n_g times that.
    products : (R, P, p1, p1)
        Scatter about mu + b^ of the rows of each pattern.
    held : (R, P, p1, p1)
        Sum over clusters of n_g M.
    rows : (R, P)
    loglik : (R,)
        NaN where there is no density.
    """

    inverse: FloatArray
    link: FloatArray
    turn: FloatArray
    precision: FloatArray
    spread: FloatArray
    inverse_z: FloatArray
    gradient: FloatArray
    means: FloatArray
    residual: FloatArray
    weighted: FloatArray
    products: FloatArray
    held: FloatArray
    rows: FloatArray
    loglik: FloatArray

    @property
    def omega(self) -> FloatArray:
        """Information of each cluster about its between vector (R, p, p, J)."""
        q, p1 = self.precision, self.precision.shape[1]
        if not self.link.shape[2]:
            return q
        result = np.empty((len(q), p1 + self.link.shape[2], p1 + self.link.shape[2], q.shape[-1]))
        back = product(q, self.link)
        result[:, :p1, :p1], result[:, :p1, p1:], result[:, p1:, :p1] = q, -back, -swap(back)
        result[:, p1:, p1:] = product(swap(self.link), back) + self.inverse_z
        return result

    @property
    def pull(self) -> FloatArray:
        """J'K (R, p, p1, J)."""
        if not self.link.shape[2]:
            return self.turn
        return np.concatenate([self.turn, -product(swap(self.link), self.turn)], axis=1)


def masked_inverse(sigma: FloatArray, patterns: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Inverses (R, P, p, p), padded with zeros, and log-determinants (R, P) of the observed parts of a matrix.

    Parameters
    ----------
    sigma : (R, p, p)
    patterns : (R, P, p)

    Returns
    -------
    tuple
        NaN where an observed part is not positive definite.
    """
    both = patterns[..., :, None] & patterns[..., None, :]
    if not patterns.shape[-1]:
        return np.zeros(both.shape), np.zeros(both.shape[:2])
    padded = np.where(both, sigma[:, None], np.eye(sigma.shape[-1]))
    lower, log_det = inverse_factor(np.ascontiguousarray(np.moveaxis(padded, 1, -1)))
    found = np.ascontiguousarray(np.moveaxis(square(swap(lower)), -1, 1))
    return np.where(both, found, 0.0), log_det


def clusters_of(block: Block, mu: FloatArray, within: FloatArray, between: FloatArray) -> Clusters:
    """What is known of the clusters at moments mu (R, p), Sigma_W (R, p1, p1) and Sigma_B (R, p, p)."""
    n, n_patterns, p1, n_clusters = block.means.shape
    inverse, log_det = masked_inverse(within, block.patterns)
    inverse_z, log_det_z = masked_inverse(between[:, p1:, p1:], block.z_patterns)
    b = np.matmul(between[:, None, :p1, p1:], inverse_z)  # (R, Z, p1, p2)
    t = between[:, None, :p1, :p1] - np.matmul(b, between[:, None, p1:, :p1])
    link, conditional, z_weight = (by_cluster(x, block.z_pattern) for x in (b, t, inverse_z))
    flat = np.ascontiguousarray(inverse.reshape(n, n_patterns, p1 * p1).swapaxes(1, 2))
    information = np.matmul(flat, block.count).reshape(n, p1, p1, n_clusters)  # A
    precision, turn, log_det_b = _pulled_in(information, conditional, block.seen)
    spread = product(conditional, turn)
    # values
    seen = block.patterns[..., None]
    r = block.means - mu[:, None, :p1, None] * seen
    weighted = block.count[:, :, None] * r
    beside = np.ascontiguousarray(inverse.swapaxes(1, 2)).reshape(n, p1, n_patterns * p1)
    h = np.matmul(beside, weighted.reshape(n, n_patterns * p1, n_clusters))
    e, we, m = _level2(block, mu[:, p1:], z_weight, link)
    g = times(turn, h - times(information, m))
    t_g = times(conditional, g)
    means = m + t_g
    r = r - means[:, None] * seen
    weighted = block.count[:, :, None] * r
    products = block.pooled + np.matmul(weighted, transpose(r))
    rows = block.count.sum(axis=-1)
    held = np.matmul(spread.reshape(n, p1 * p1, n_clusters), transpose(block.count))
    held = np.ascontiguousarray(held.swapaxes(1, 2)).reshape(n, n_patterns, p1, p1)
    gamma = np.concatenate([g, we - times(swap(link), g) if link.shape[2] else we], axis=1)
    by_row = (rows * (log_det + block.patterns.sum(axis=-1) * LOG_2_PI)).sum(axis=-1)
    by_pattern = (inverse * products).reshape(n, -1).sum(axis=-1)
    z_constant = log_det_z + block.z_patterns.sum(axis=-1) * LOG_2_PI
    alone = log_det_b + np.take_along_axis(z_constant, block.z_pattern, axis=1) + inner(g, t_g)
    if link.shape[2]:
        alone = alone + inner(e, we)
    deviance = by_row + by_pattern + alone.sum(axis=-1)
    return Clusters(
        inverse=inverse,
        link=link,
        turn=turn,
        precision=precision,
        spread=spread,
        inverse_z=z_weight,
        gradient=gamma,
        means=means,
        residual=r,
        weighted=weighted,
        products=products,
        held=held,
        rows=rows,
        loglik=-0.5 * deviance,
    )


def by_cluster(x: FloatArray, index: IntArray) -> FloatArray:
    """Matrices (R, Z, a, b) of patterns as those of clusters with pattern ``index`` (R, J): (R, a, b, J)."""
    n, n_z, a, b = x.shape
    picked = np.take_along_axis(x.reshape(n, n_z, a * b), index[..., None], axis=1)
    return np.ascontiguousarray(picked.swapaxes(1, 2)).reshape(n, a, b, index.shape[1])


def _pulled_in(a: FloatArray, t: FloatArray, seen: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Q = L S^-1 L', K = I - Q T, and log|S| (R, J); variables without a value in a cluster have zeros in L."""
    index = np.arange(a.shape[1])
    padded = a.copy()
    padded[:, index, index] += ~seen
    factor, _ = lower_factor(padded)
    factor[:, index, index] *= seen
    s = product(swap(factor), product(t, factor))
    s[:, index, index] += 1.0
    lower, log_det = inverse_factor(s)
    precision = square(product(factor, swap(lower)))
    turn = -product(precision, t)
    turn[:, index, index] += 1.0
    return precision, turn, log_det


def _level2(
    block: Block, mean: FloatArray, weight: FloatArray, link: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """E (R, p2, J), 0 where missing, Sigma_zz^-1 e, and m = B e (R, p1, J)."""
    n, p1, p2, n_clusters = link.shape
    if not p2:
        nothing = np.zeros((n, 0, n_clusters))
        return nothing, nothing, np.zeros((n, p1, n_clusters))
    e = np.where(block.z_seen, block.z - mean[..., None], 0.0)
    return e, times(weight, e), times(link, e)
