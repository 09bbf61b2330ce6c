"""Crude moments of data with missing values, each from the rows or clusters that have both its variables."""

from __future__ import annotations

import numpy as np

from simstudy.data.incomplete import Block, IncompleteData, Part
from simstudy.linalg.stacked import FloatArray, eigh, transpose

LEAST = 0.05
"""Least share of a variable's variance that either level starts with, and least eigenvalue of its correlations."""


def available_moments(data: IncompleteData) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mu (R, p), Sigma_within (R, p1, p1) and Sigma_between (R, p, p), both positive definite.

    Within covariances are pooled over clusters, between ones those of rows less the within ones, or of the clusters'
    means where a level-2 variable is involved. Correlations are pulled towards zero where those of pairs do not fit
    together.
    """
    p1, p2, n = len(data.level1), len(data.level2), data.n_replicates
    mean, within, between = np.zeros((n, p1 + p2)), np.zeros((n, p1, p1)), np.zeros((n, p1 + p2, p1 + p2))
    for part in data.parts:
        at = part.replicates
        mean[at], within[at], between[at] = _moments(part, p1, p2)
    return mean, within, between


def _moments(part: Part, p1: int, p2: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    sums = [_by_cluster(block) for block in part.blocks]
    count, total, z_seen, z = (np.concatenate(found, axis=-1) for found in zip(*sums, strict=True))  # (R, ., J)
    n, n_z = count.sum(axis=-1), np.maximum(z_seen.sum(axis=-1), 1.0)
    mean, z_mean = total.sum(axis=-1) / n, z.sum(axis=-1) / n_z
    inside, about, pairs, clusters = (
        sum(found) for found in zip(*(_products(block, mean) for block in part.blocks), strict=True)
    )
    variances = about / np.maximum(pairs, 1.0)
    within = inside / np.maximum(pairs - clusters, 1.0)
    index = np.arange(p1)
    diagonal = np.ascontiguousarray(variances[:, index, index])
    own = np.clip(within[:, index, index], LEAST * diagonal, diagonal)
    between = np.zeros((len(n), p1 + p2, p1 + p2))
    between[:, :p1, :p1] = variances - within
    within[:, index, index] = own
    between[:, index, index] = np.maximum(diagonal - own, LEAST * diagonal)
    offset = np.where(count > 0, total / np.maximum(count, 1.0) - mean[..., None], 0.0)
    z_offset = np.where(z_seen > 0, z - z_mean[..., None], 0.0)
    both = np.matmul((count > 0).astype(np.float64), transpose(z_seen))
    between[:, :p1, p1:] = np.matmul(offset, transpose(z_offset)) / np.maximum(both, 1.0)
    between[:, p1:, :p1] = transpose(between[:, :p1, p1:])
    z_both = np.maximum(np.matmul(z_seen, transpose(z_seen)), 1.0)
    between[:, p1:, p1:] = np.matmul(z_offset, transpose(z_offset)) / z_both
    return np.concatenate([mean, z_mean], axis=-1), _fitting(within), _fitting(between)


def _by_cluster(block: Block) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Number of values of each level-1 variable in each cluster, their sum, level-2 values seen, and these."""
    seen = np.ascontiguousarray(transpose(block.patterns.astype(np.float64)))  # (R, p1, P)
    total = (block.count[:, :, None] * block.means).sum(axis=1)
    return np.matmul(seen, block.count), total, block.z_seen.astype(np.float64), block.z


def _products(block: Block, mean: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Sums of products about the clusters' means and about those of all; rows, and clusters, with both (R, p1, p1)."""
    n, n_patterns, p1, n_clusters = block.means.shape
    count, total, _, _ = _by_cluster(block)
    own = total / np.maximum(count, 1.0)
    seen = block.patterns[..., None]

    def about(centre: FloatArray) -> FloatArray:
        offset = np.where(seen, block.means - centre, 0.0)
        weighted = (block.count[:, :, None] * offset).swapaxes(1, 2).reshape(n, p1, n_patterns * n_clusters)
        flat = offset.swapaxes(1, 2).reshape(n, p1, n_patterns * n_clusters)
        found: FloatArray = block.pooled.sum(axis=1) + np.matmul(weighted, transpose(flat))
        return found

    pattern = block.patterns.astype(np.float64)
    rows = np.matmul(transpose(pattern) * block.count.sum(axis=-1)[:, None], pattern)
    pairs = (pattern[..., :, None] * pattern[..., None, :]).reshape(n, n_patterns, p1 * p1)
    with_both = np.matmul(np.ascontiguousarray(transpose(pairs)), block.count) > 0
    return about(own[:, None]), about(mean[:, None, :, None]), rows, with_both.sum(axis=-1).reshape(n, p1, p1)


def _fitting(cov: FloatArray) -> FloatArray:
    """Covariances (R, m, m) with correlations pulled towards 0 as far as their eigenvalues ask for."""
    if not cov.shape[-1]:
        return cov
    with np.errstate(all="ignore"):
        spread = np.sqrt(np.diagonal(cov, axis1=-2, axis2=-1))
        scale = np.where(spread > 0, spread, 1.0)
        outer = scale[:, :, None] * scale[:, None, :]
        index = np.arange(cov.shape[-1])
        correlation = cov / outer
        correlation[:, index, index] = 1.0
        least = eigh(correlation)[0][:, 0]
        pull = np.where(least < LEAST, (1.0 - LEAST) / (1.0 - least), 1.0)
    result = cov * pull[:, None, None]
    result[:, index, index] = cov[:, index, index]
    return result
