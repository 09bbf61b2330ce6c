"""Closed-form starting values of a level with latent variables: its variables' covariances with factors filled in.

A factor's loadings on its indicators are the leading eigenvector of their correlations, the diagonal replaced by the
largest correlation of the row (Thurstone 1947; one step of principal axes); its scale is that of the fixed loading or
variance. Covariances of a factor with other variables follow by projection on the loadings. Factors of factors come
after those that they stand on. With the covariances of all variables, latent ones too, paths are least squares as among
observed variables (`starts`).
"""

from __future__ import annotations

import numpy as np

from simstudy.linalg.stacked import FloatArray, IntArray, dot, eigh, matvec, outer, submatrix
from simstudy.model.representation import LevelMatrices

# Residual variances start from at least this share of a variable's variance, loadings from at most this factor of the
# largest: no start is a Heywood case.
SHARE = 0.1
# A fixed loading below this share of the factor's largest does not set its scale.
WEAK = 0.2


def indicators(maps: LevelMatrices) -> dict[int, IntArray]:
    """Variables that each latent variable is measured by: observed ones with a path from it, each of one factor.

    Where a latent variable has none of its own, they are shared with others; where it has none at all, they are latent.
    """
    k, v = maps.n_observed, len(maps.variables)
    pattern = maps.base_paths != 0
    pattern[maps.paths.row, maps.paths.column] = True
    taken, observed = np.zeros(v, dtype=bool), np.arange(v) < k
    found = {}
    for f in range(k, v):
        rows = pattern[:, f] & observed
        if not rows.any():
            rows = pattern[:, f]
        mine = np.flatnonzero(rows & ~taken)
        taken[mine] = True
        found[f] = mine if len(mine) else np.flatnonzero(rows)
    return found


def extended_moments(maps: LevelMatrices, cov: FloatArray, variances: FloatArray) -> FloatArray:
    """Covariances (R, v, v) of a level's observed and latent variables, from those of the observed ones (R, k, k).

    Parameters
    ----------
    variances : (R, k)
        Positive variances that scale the observed variables.
    """
    n, k, v = len(cov), maps.n_observed, len(maps.variables)
    full = np.zeros((n, v, v))
    full[:, :k, :k] = cov
    at = np.arange(k)
    full[:, at, at] = variances
    done = list(range(k))
    waiting = indicators(maps)
    while waiting:
        ready = [f for f, rows in waiting.items() if set(rows.tolist()) <= set(done)] or [min(waiting)]
        for f in ready:
            rows = np.array([i for i in waiting.pop(f) if i in done], dtype=np.int64)
            _add_factor(maps, full, f, rows, np.array(done, dtype=np.int64))
            done.append(f)
    return full


def _add_factor(maps: LevelMatrices, full: FloatArray, f: int, rows: IntArray, known: IntArray) -> None:
    """Write the covariances of factor ``f`` with the variables ``known`` and itself."""
    if not len(rows):
        full[:, f, f] = np.diagonal(full, axis1=-2, axis2=-1)[:, : maps.n_observed].mean(axis=-1)
        return
    block = submatrix(full, rows, rows)
    root = np.sqrt(np.diagonal(block, axis1=-2, axis2=-1))
    loadings = _loadings(block / outer(root, root)) * root  # of the factor with variance 1
    scale = _scale(maps, f, rows, loadings)  # standard deviation of the factor
    weight = loadings / dot(loadings, loadings)[:, None]
    link = matvec(full[:, known[:, None], rows].copy(), weight)
    limit = 0.95 * np.sqrt(full[:, known, known])
    link = np.clip(link, -limit, limit)
    own = (
        np.searchsorted(known, rows)
        if (np.diff(known) > 0).all()
        else np.array([known.tolist().index(i) for i in rows])
    )
    link[:, own] = loadings
    full[:, f, known] = full[:, known, f] = scale[:, None] * link
    full[:, f, f] = scale**2


def _loadings(correlation: FloatArray) -> FloatArray:
    """Standardised loadings (R, i) of one factor."""
    count = correlation.shape[-1]
    if count == 1:
        return np.full(correlation.shape[:-1], np.sqrt(0.5))
    reduced = correlation.copy()
    at = np.arange(count)
    reduced[:, at, at] = 0.0
    reduced[:, at, at] = np.minimum(np.abs(reduced).max(axis=-1), 1.0 - SHARE)
    values, vectors, ok = eigh(reduced)
    found = vectors[:, :, -1] * np.sqrt(np.maximum(values[:, -1:], SHARE))
    found = np.where(ok[:, None], found, np.sqrt(0.5))
    found = found * np.where(dot(found, np.ones_like(found)) < 0, -1.0, 1.0)[:, None]
    limit = np.sqrt(1.0 - SHARE)
    return np.clip(found, -limit, limit)


def _scale(maps: LevelMatrices, f: int, rows: IntArray, loadings: FloatArray) -> FloatArray:
    """Standard deviation (R,) of a factor, negative where its fixed loading and the others differ in sign."""
    fixed = maps.base_paths[rows, f]
    strong = np.abs(loadings).max(axis=-1)
    if (fixed != 0).any():
        marker = int(np.flatnonzero(fixed)[0])
        value = loadings[:, marker] / fixed[marker]
        least = WEAK * strong / abs(fixed[marker])
        scale: FloatArray = np.where(np.abs(value) < least, np.where(value < 0, -least, least), value)
        return scale
    own = (maps.covariances.row == f) & (maps.covariances.column == f)
    if own.any():  # neither is fixed: the scale is not identified here, any will do
        return np.asarray(strong)
    return np.full(len(loadings), np.sqrt(maps.base_covariances[f, f]) if maps.base_covariances[f, f] > 0 else 1.0)
