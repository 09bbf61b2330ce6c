"""Factors of covariance matrices that may be singular."""

from __future__ import annotations

import numpy as np

from simstudy.linalg.stacked import FloatArray


def psd_factor(a: FloatArray, tolerance: float = 1e-13) -> FloatArray:
    """Lower triangular L (..., p, p) with L L' = a, for positive semidefinite matrices.

    Cholesky's factor, where a pivot below ``tolerance`` times its diagonal element counts as zero and leaves a zero
    column. In plain arithmetic: singular matrices (no between variance, a variable without residual) are the same case,
    and there is no choice of sign or order that could differ between LAPACK libraries.
    """
    left = a.copy()
    result = np.zeros_like(a)
    scale = np.diagonal(a, axis1=-2, axis2=-1)
    for k in range(a.shape[-1]):
        pivot = left[..., k, k]
        used = pivot > tolerance * scale[..., k]
        root = np.sqrt(np.where(used, pivot, 1.0))
        column = np.where(used[..., None], left[..., k:, k] / root[..., None], 0.0)
        result[..., k:, k] = column
        left[..., k:, k:] -= column[..., :, None] * column[..., None, :]
    return result
