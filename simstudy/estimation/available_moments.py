"""Crude moments of data with missing values, from the values observed of each variable."""

from __future__ import annotations

import numpy as np

from simstudy.data.incomplete import Block, IncompleteData, Part
from simstudy.linalg.stacked import FloatArray

LEAST = 0.05
"""Least share of a variable's variance that either level starts with."""


def available_moments(data: IncompleteData) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mu (R, p), Sigma_within (R, p1, p1) and Sigma_between (R, p, p), without covariances."""
    p1, p2, n = len(data.level1), len(data.level2), data.n_replicates
    mean, within, between = np.zeros((n, p1 + p2)), np.zeros((n, p1, p1)), np.zeros((n, p1 + p2, p1 + p2))
    first, second = np.arange(p1), np.arange(p1, p1 + p2)
    for part in data.parts:
        at = part.replicates[:, None]
        mean[at, first], within[at, first, first], between[at, first, first] = _level1(part)
        mean[at, second], between[at, second, second] = _level2(part)
    return mean, within, between


def _level1(part: Part) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Means, variances within and between of level-1 variables, (R, p1) each."""
    sums = [_by_cluster(block) for block in part.blocks]
    count = np.concatenate([found[0] for found in sums], axis=-1)  # (R, p1, J)
    total = np.concatenate([found[1] for found in sums], axis=-1)
    inside = np.concatenate([found[2] for found in sums], axis=-1).sum(axis=-1)  # (R, p1)
    n = count.sum(axis=-1)
    mean = total.sum(axis=-1) / n
    own = total / np.maximum(count, 1.0)
    variance = (inside + (count * (own - mean[..., None]) ** 2).sum(axis=-1)) / n
    within = inside / np.maximum(n - (count > 0).sum(axis=-1), 1.0)
    within = np.clip(within, LEAST * variance, variance)
    return mean, within, np.maximum(variance - within, LEAST * variance)


def _by_cluster(block: Block) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Number of values of each variable in each cluster, their sum, and their scatter: (R, p1, J) each."""
    weight = block.count[:, :, None] * block.patterns[..., None]  # (R, P, p1, J)
    count, total = weight.sum(axis=1), (weight * block.means).sum(axis=1)
    own = total / np.maximum(count, 1.0)
    index = np.arange(block.means.shape[2])
    scatter = np.ascontiguousarray(block.scatter[:, :, index, index]).sum(axis=1)
    return count, total, scatter + (weight * (block.means - own[:, None]) ** 2).sum(axis=1)


def _level2(part: Part) -> tuple[FloatArray, FloatArray]:
    """Means and variances of level-2 variables, (R, p2) each."""
    z = np.concatenate([block.z for block in part.blocks], axis=-1)
    seen = np.concatenate(
        [
            np.take_along_axis(block.z_patterns, block.z_pattern[..., None], axis=1).swapaxes(1, 2)
            for block in part.blocks
        ],
        axis=-1,
    )
    n = np.maximum(seen.sum(axis=-1), 1)
    mean = z.sum(axis=-1) / n
    return mean, (np.where(seen, z - mean[..., None], 0.0) ** 2).sum(axis=-1) / n
