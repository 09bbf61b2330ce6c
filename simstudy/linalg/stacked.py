"""Batched linear algebra that never raises: the only caller of LAPACK.

Every function takes stacks of matrices ``(..., p, p)`` and returns ``(result, ok)`` where ``ok`` has the leading shape.
Matrices that fail come back as NaN. Results of a matrix do not depend, to the last bit, on its neighbours in the stack:
only stacked (per-matrix) routines and elementwise operations are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

# Smallest squared pivot, after scaling to a unit diagonal, of a matrix that counts as positive definite.
RCOND = 1e-14


def _finite(a: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Replace matrices with a non-finite entry by the identity; say which were finite."""
    ok: BoolArray = np.asarray(np.isfinite(a).all(axis=(-2, -1)))
    if not ok.all():
        a = np.where(ok[..., None, None], a, np.eye(a.shape[-1]))
    return a, ok


def _blank(a: FloatArray, ok: BoolArray) -> FloatArray:
    return a if ok.all() else np.where(ok[..., None, None], a, np.nan)


def cholesky(a: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Lower Cholesky factors of ``a`` (..., p, p); ``ok`` is False where a matrix is not positive definite."""
    return _guarded(np.linalg.cholesky, a)


def inverse(a: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Inverses of general square matrices; ``ok`` is False where a matrix is exactly singular or not finite."""
    return _guarded(np.linalg.inv, a)


def _guarded(function: Callable[..., FloatArray], a: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Apply a routine that raises for the whole stack when one matrix fails; find the culprits only then."""
    a, ok = _finite(a)
    try:
        return _blank(np.asarray(function(a), dtype=np.float64), ok), ok
    except np.linalg.LinAlgError:
        pass
    good = np.ones(ok.size, dtype=bool)
    for i, matrix in enumerate(a.reshape(-1, *a.shape[-2:])):
        try:
            function(matrix)
        except np.linalg.LinAlgError:
            good[i] = False
    ok = ok & good.reshape(ok.shape)
    return _blank(function(np.where(ok[..., None, None], a, np.eye(a.shape[-1]))), ok), ok


def eigh(a: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Eigenvalues (..., p), ascending, and eigenvectors (..., p, p) in columns of symmetric matrices."""
    a, ok = _finite(a)
    values, vectors = np.linalg.eigh(a)
    if not ok.all():
        values = np.where(ok[..., None], values, np.nan)
    return values, _blank(vectors, ok), ok


def inverse_spd(a: FloatArray, *, rcond: float = RCOND) -> tuple[FloatArray, BoolArray]:
    """Inverses of symmetric positive definite matrices, by Cholesky after scaling to a unit diagonal.

    ``ok`` is False where a matrix is not positive definite, or so nearly singular after scaling that a pivot falls
    below ``sqrt(rcond)``: an information matrix of that kind says that the parameters are not identified.
    """
    with np.errstate(all="ignore"):
        _, scale, factor, ok = _scaled_factor(a, rcond)
        half, _ = inverse(_blank(factor, ok))
        result = np.matmul(half.swapaxes(-1, -2), half)
        result *= scale[..., :, None]
        result *= scale[..., None, :]
    return result, ok


def solve_spd(a: FloatArray, x: FloatArray, *, rcond: float = RCOND) -> tuple[FloatArray, BoolArray]:
    """Solutions (..., p) of a s = x for matrices of which `inverse_spd` says that they are positive definite."""
    with np.errstate(all="ignore"):
        scaled, scale, _, ok = _scaled_factor(a, rcond)
        if not ok.all():
            scaled = np.where(ok[..., None, None], scaled, np.eye(a.shape[-1]))
        result = np.linalg.solve(scaled, (scale * x)[..., None])[..., 0] * scale
    return (result if ok.all() else np.where(ok[..., None], result, np.nan)), ok


def is_spd(a: FloatArray, *, rcond: float = RCOND) -> BoolArray:
    """Which matrices are positive definite, as `inverse_spd` judges it."""
    with np.errstate(all="ignore"):
        return _scaled_factor(a, rcond)[3]


def _scaled_factor(a: FloatArray, rcond: float) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """The matrix scaled to a unit diagonal, the scale, its Cholesky factor, and whether the pivots are large enough."""
    scale = 1.0 / np.sqrt(np.diagonal(a, axis1=-2, axis2=-1))
    scaled = a * scale[..., :, None]
    scaled *= scale[..., None, :]
    factor, ok = cholesky(scaled)
    pivots = np.diagonal(factor, axis1=-2, axis2=-1)
    return scaled, scale, factor, ok & ~(pivots.min(axis=-1, initial=1.0) < np.sqrt(rcond))


def matvec(a: FloatArray, x: FloatArray) -> FloatArray:
    """Matrix times vector over stacks: (..., m, n) and (..., n) give (..., m)."""
    result: FloatArray = np.matmul(a, x[..., None])[..., 0]
    return result


def columns(a: FloatArray, index: IntArray) -> FloatArray:
    """Entries ``index`` of the last axis, in C order.

    Plain fancy indexing lays its result out in an order that depends on the leading shape; later sums and products
    would then round differently in batches of different size.
    """
    result: FloatArray = np.take(a, index, axis=-1)
    return result


def entries(a: FloatArray, row: IntArray, column: IntArray) -> FloatArray:
    """Entries (row, column) of stacks of matrices (..., m, n), in C order: (..., k)."""
    result: FloatArray = np.take(
        a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1]), row * a.shape[-1] + column, axis=-1
    )
    return result


def submatrix(a: FloatArray, row: IntArray, column: IntArray) -> FloatArray:
    """Rows and columns of stacks of matrices, in C order: (..., len(row), len(column))."""
    result: FloatArray = np.take(np.take(a, row, axis=-2), column, axis=-1)
    return result


def outer(x: FloatArray, y: FloatArray) -> FloatArray:
    """Outer products over stacks: (..., m) and (..., n) give (..., m, n)."""
    return x[..., :, None] * y[..., None, :]


def transpose(a: FloatArray) -> FloatArray:
    """Transposes of a stack of matrices."""
    return a.swapaxes(-1, -2)


def added(parts: Iterable[FloatArray]) -> FloatArray:
    """The sum of at least one array, in order; the first one itself is changed."""
    first, *others = parts
    for part in others:
        first += part
    return first


def dot(x: FloatArray, y: FloatArray) -> FloatArray:
    """Inner products over the last axis, with the same bits for any leading shape."""
    result: FloatArray = np.matmul(x[..., None, :], y[..., :, None])[..., 0, 0]
    return result
