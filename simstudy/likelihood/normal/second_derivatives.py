"""Second derivatives of the two-level log-likelihood without a loop over cluster sizes.

D_a is the rotated derivative of V_n by parameter a, mu_a that of the mean. As far as Sigma and mu are linear in the
parameters, the second derivatives of -2 l are sums over clusters of forms in D_a and D_b, and in mu_a and D_b,

    sum_jkl D_a[jk] D_b[kl] T_k[jl],   T_k[jl] = sum_n w_k w_j w_l (scatter_jl - c_n / 2 [j = l] / w_j),
    sum_kl mu_a[k] D_b[kl] M[kl],      M[kl] = sum_n c_n w_k w_l r_l,

with w_k = 1 / (d_k + 1/n). A derivative of Sigma_W counts 1/n, so that T has three powers of 1/n and M two.
"""

from __future__ import annotations

import numpy as np

from simstudy.likelihood.normal.half_vectors import HalfVectors, frobenius
from simstudy.linalg.stacked import FloatArray, IntArray, transpose


def kernels(
    w: FloatArray,
    r: FloatArray,
    scatter: FloatArray,
    counts: FloatArray,
    mean_counts: FloatArray,
    powers: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """T (R, p, p, p, 3) with axes k, j, l, and M (R, p, p, 2); the last axis is the power of 1/n.

    Parameters
    ----------
    w, r : (R, p, S)
    scatter : (R, p, p, S)
    counts, mean_counts : (S,)
    powers : (S, 3)
        1/n to the powers 0, 1, 2.
    """
    p, n_sizes = w.shape[-2:]
    ww = w[:, :, None, :] * w[:, None, :, :]
    kernel = ww * scatter
    index = np.arange(p)
    kernel[:, index, index] -= 0.5 * counts * w
    flat = kernel.reshape(-1, 1, p * p, n_sizes)
    sums = [np.matmul(flat, (w * powers[:, k])[..., None])[..., 0] for k in range(3)]
    triple = np.stack(sums, axis=-1).reshape(-1, p, p, p, 3)
    cross = np.matmul(ww * (mean_counts * r)[:, None], powers[:, :2])
    return triple, cross


def linear_part(
    triple: FloatArray,
    cross: FloatArray,
    within: FloatArray,
    half: HalfVectors,
    moment_derivatives: tuple[FloatArray, FloatArray, FloatArray],
    free: tuple[IntArray, IntArray],
) -> FloatArray:
    """Halved second derivatives (R, q, q) of -2 l, but for those of two means.

    Parameters
    ----------
    triple, cross
        As from `kernels`.
    within : (R, p1, p1)
        Rotated within scatter less half of its degrees of freedom on the diagonal.
    moment_derivatives : (R, p1*, q_W), (R, p*, q_B), (R, p, q)
        Rotated half-vectorised derivatives of Sigma_W, Sigma_B, and of mu.
    free : (q_W,), (q_B,)
        Parameters of the columns of the first two.
    """
    x_within, x_between, x_mean = moment_derivatives
    f, g = free
    p, p1, q = cross.shape[1], within.shape[-1], x_mean.shape[-1]
    d_within, d_between = half.full(x_within, p1), half.full(x_between, p)  # (R, q_l, p_l, p_l)
    rows_within, rows_between = _middle(d_within), _middle(d_between)
    result = np.zeros((len(cross), q, q))
    own = frobenius(np.matmul(d_within, within[:, None]), d_within)
    result[:, f[:, None], f] += own + _contract(rows_within, triple[:, :p1, :p1, :p1, 2], rows_within)
    result[:, g[:, None], g] += _contract(rows_between, triple[..., 0], rows_between)
    both = _contract(rows_within, triple[:, :p1, :p1, :, 1], np.ascontiguousarray(rows_between[:, :p1]))
    result[:, f[:, None], g] += both
    result[:, g[:, None], f] += transpose(both)
    turned = transpose(x_mean)
    for columns, d, kind in ((f, d_within, cross[:, :p1, :p1, 1]), (g, d_between, cross[..., 0])):
        m = d.shape[-1]
        pulled = np.matmul(d * kind[:, None], np.ones((m, 1)))[..., 0]  # (R, q_l, m)
        block = np.matmul(np.ascontiguousarray(turned[..., :m]), transpose(pulled))
        result[:, :, columns] += block
        result[:, columns] += transpose(block)
    return result


def _middle(d: FloatArray) -> FloatArray:
    """Stacks of symmetric matrices (R, q, p, p), one row of all of them at a time: (R, p, q, p)."""
    return np.ascontiguousarray(np.swapaxes(d, 1, 2))


def _contract(left: FloatArray, kernel: FloatArray, right: FloatArray) -> FloatArray:
    """Sum over k of left_k kernel_k right_k' (R, q, q') for (R, k, q, j), (R, k, j, l), (R, k, q', l)."""
    bent = np.matmul(left, np.ascontiguousarray(kernel))
    n, k, q, j = bent.shape
    flat_left = np.swapaxes(bent, 1, 2).reshape(n, q, k * j)  # sizes said: a level may have no free parameter
    flat_right = np.swapaxes(right, 1, 2).reshape(n, right.shape[2], k * j)
    result: FloatArray = np.matmul(flat_left, transpose(flat_right))
    return result
