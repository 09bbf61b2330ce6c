"""Helpers of the likelihoods: half-vectorised derivatives of moment matrices, and shared parameters."""

from __future__ import annotations

import numpy as np

from simstudy.linalg.stacked import FloatArray, IntArray, entries, transpose


class HalfVectors:
    """Half-vectorisation of the rotated matrices: pairs k <= l, those of level-1 coordinates first."""

    def __init__(self, p1: int, p: int) -> None:
        pairs = [(k, m) for m in range(p) for k in range(m + 1)]
        self.row: IntArray = np.array([k for k, _ in pairs], dtype=np.int64)
        self.column: IntArray = np.array([m for _, m in pairs], dtype=np.int64)
        self.n_within = p1 * (p1 + 1) // 2
        # full double sums count off-diagonal pairs twice, and every term of -2 l halves
        self.weight: FloatArray = np.where(self.row == self.column, 0.5, 1.0)

    def of(self, matrix: FloatArray, n: int) -> FloatArray:
        """First ``n`` pairs of symmetric matrices (..., p, p): (..., n)."""
        return entries(matrix, self.row[:n], self.column[:n])

    def moment_derivatives(self, left: FloatArray, right: FloatArray, n: int) -> FloatArray:
        """First ``n`` pairs of left right' + right left' for vectors in columns (..., p, k): (..., n, k)."""
        row, column = self.row[:n], self.column[:n]
        first = np.take(left, row, axis=-2) * np.take(right, column, axis=-2)
        return first + np.take(left, column, axis=-2) * np.take(right, row, axis=-2)

    def full(self, columns: FloatArray, p: int) -> FloatArray:
        """Symmetric matrices (..., q, p, p) of half vectors in columns (..., n, q) over p coordinates."""
        place = np.zeros((p, p), dtype=np.int64)
        n = columns.shape[-2]
        place[self.row[:n], self.column[:n]] = place[self.column[:n], self.row[:n]] = np.arange(n)
        picked = np.take(np.ascontiguousarray(transpose(columns)), place.ravel(), axis=-1)
        return picked.reshape(*picked.shape[:-1], p, p)


class Collapse:
    """Adds up the entries that share a free parameter."""

    def __init__(self, free: IntArray) -> None:
        self.free, place = np.unique(free, return_inverse=True)
        self.order: IntArray = np.argsort(free, kind="stable").astype(np.int64)
        self.matrix: FloatArray | None = None
        if len(self.free) < len(free):
            self.matrix = np.zeros((len(free), len(self.free)))
            self.matrix[np.arange(len(free)), place] = 1.0

    def __call__(self, columns: FloatArray) -> FloatArray:
        """Columns (..., k) of entries, summed into columns of distinct parameters."""
        if self.matrix is None:
            return np.take(columns, self.order, axis=-1)
        summed: FloatArray = np.matmul(columns, self.matrix)
        return summed


def frobenius(a: FloatArray, b: FloatArray) -> FloatArray:
    """All inner products of two stacks of matrices: (R, q, p, p) twice gives (R, q, q) of tr(A_a' B_b)."""
    shape = (*a.shape[:-2], a.shape[-1] * a.shape[-2])
    products: FloatArray = np.matmul(a.reshape(shape), transpose(b.reshape(shape)))
    return products
