"""Algebra of many small matrices that stand on the last axis: (R, m, n, P) holds P matrices a replicate.

LAPACK and BLAS take longer to be called for a 2 x 2 matrix than to compute with it. Here an entry of all matrices is
one array, and every operation is elementwise, so that no bit of a replicate depends on the others.
"""

from __future__ import annotations

import numpy as np

from simstudy.linalg.stacked import FloatArray


def product(a: FloatArray, b: FloatArray) -> FloatArray:
    """Products (R, m, n, P) of (R, m, k, P) and (R, k, n, P)."""
    result = a[:, :, 0, None] * b[:, None, 0]
    for k in range(1, a.shape[2]):
        result += a[:, :, k, None] * b[:, None, k]
    return result


def square(a: FloatArray) -> FloatArray:
    """A A' (R, m, m, P) of (R, m, k, P)."""
    result = a[:, :, None, 0] * a[:, None, :, 0]
    for k in range(1, a.shape[2]):
        result += a[:, :, None, k] * a[:, None, :, k]
    return result


def times(a: FloatArray, x: FloatArray) -> FloatArray:
    """Products (R, m, P) of matrices (R, m, n, P) and vectors (R, n, P)."""
    result = a[:, :, 0] * x[:, None, 0]
    for k in range(1, a.shape[2]):
        result += a[:, :, k] * x[:, None, k]
    return result


def inner(x: FloatArray, y: FloatArray) -> FloatArray:
    """Inner products (R, P) of vectors (R, n, P)."""
    result = x[:, 0] * y[:, 0]
    for k in range(1, x.shape[1]):
        result += x[:, k] * y[:, k]
    return result


def common_left(a: FloatArray, b: FloatArray) -> FloatArray:
    """Products (R, m, n, P) of one matrix a replicate (R, m, k) and stacks (R, k, n, P)."""
    flat: FloatArray = np.matmul(a, b.reshape(*b.shape[:2], -1))
    return flat.reshape(*flat.shape[:2], *b.shape[2:])


def swap(a: FloatArray) -> FloatArray:
    """Transposes, in C order."""
    return np.ascontiguousarray(a.swapaxes(1, 2))


def lower_factor(a: FloatArray) -> tuple[FloatArray, FloatArray]:
    """L (lower triangular) of L L' = a, and its diagonal (R, m, P); NaN where a is not positive definite."""
    n = a.shape[1]
    left = a.copy()
    factor = np.zeros_like(a)
    pivots = np.empty((len(a), n, a.shape[-1]))
    for k in range(n):
        root = np.sqrt(left[:, k, k])
        pivots[:, k] = root
        factor[:, k:, k] = left[:, k:, k] / root[:, None]
        for i in range(k + 1, n):
            left[:, i:, i] -= factor[:, i:, k] * factor[:, i, k, None]
    return factor, pivots


def inverse_factor(a: FloatArray) -> tuple[FloatArray, FloatArray]:
    """N = L^-1 (lower triangular) of L L' = a, and log|a| (R, P); NaN where a is not positive definite."""
    factor, pivots = lower_factor(a)
    result = np.zeros_like(a)
    for i in range(a.shape[1]):
        result[:, i, i] = 1.0 / pivots[:, i]
        for k in range(i):
            total = factor[:, i, k] * result[:, k, : k + 1].swapaxes(0, 1)
            result[:, i, : k + 1] -= total.swapaxes(0, 1)
        if i:
            result[:, i, :i] /= pivots[:, i, None]
    return result, 2.0 * _total(np.log(pivots))


def paired(sums: FloatArray, r: int) -> FloatArray:
    """Sums of tr(D M E A) as a form (R, r^2, r^2) of D and E.

    ``sums`` are those of A_(da) M_(bc), with rows (d, a) and columns (b, c).
    """
    n = len(sums)
    return np.ascontiguousarray(sums.reshape(n, r, r, r, r).transpose(0, 2, 3, 4, 1)).reshape(n, r * r, r * r)


def _total(x: FloatArray) -> FloatArray:
    """Sum (R, P) over the second axis, in order."""
    result = x[:, 0].copy()
    for k in range(1, x.shape[1]):
        result += x[:, k]
    return result
