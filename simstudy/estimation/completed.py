"""Data with missing values made complete, for starting values only: conditional means of a crude normal model.

Level-1 values are the cluster's mean, shrunken, plus what the row's other values say about the deviation from it;
level-2 values are what cluster means and other level-2 values say. Covariance matrices come from a few steps of EM.
Nothing that is reported is computed from such data but whether a variable varies at all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simstudy.data.sample import Sample
from simstudy.linalg.stacked import FloatArray, inverse, matvec, submatrix, transpose

ROUNDS = 4
RIDGE = 1e-8
"""Share of a variance that is added to it: columns may be combinations of others."""


def completed(sample: Sample) -> Sample:
    """R data sets without missing values; a variable without any value stays missing."""
    layout = sample.layout
    sizes = np.asarray(layout.sizes)
    seen = ~np.isnan(sample.rows)
    rows = np.where(seen, sample.rows, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        overall = rows.sum(axis=1) / seen.sum(axis=1)  # NaN without any value
        count = np.add.reduceat(seen.astype(np.float64), layout.row_starts, axis=1)
        departures = np.where(seen, rows - overall[:, None], 0.0)
        own = np.add.reduceat(departures, layout.row_starts, axis=1) / np.maximum(count, 1.0)
        inside = np.where(seen, departures - np.repeat(own, sizes, axis=1), 0.0)
        freedom = np.maximum((count - (count > 0.0)).sum(axis=1), 1.0)
        within = (inside**2).sum(axis=1) / freedom
        between = np.maximum((departures**2).sum(axis=1) / seen.sum(axis=1) - within, 0.0)
        share = between[:, None] / (between[:, None] + within[:, None] / np.maximum(count, 1.0))
        centre = overall[:, None] + np.where(count > 0.0, np.nan_to_num(share) * own, 0.0)
        means = np.repeat(centre, sizes, axis=1)
        whole = means + _filled(np.where(seen, sample.rows - means, np.nan), free_mean=False)
        of_clusters = np.add.reduceat(whole, layout.row_starts, axis=1) / sizes[:, None]
        beside = _filled(np.concatenate([of_clusters, sample.clusters], axis=-1), free_mean=True)
    return replace(sample, rows=whole, clusters=np.ascontiguousarray(beside[..., len(sample.level1) :]))


def _filled(values: FloatArray, *, free_mean: bool) -> FloatArray:
    """Conditional means in place of NaN in normal vectors (R, N, p), with the mean 0 or a free one."""
    seen = ~np.isnan(values)
    n, length, p = values.shape
    patterns, which = np.unique(seen.reshape(n * length, p), axis=0, return_inverse=True)
    which = which.reshape(n, length)
    counts = np.maximum(seen.sum(axis=1), 1)
    some = np.where(seen, values, 0.0)
    mean = some.sum(axis=1) / counts if free_mean else np.zeros((n, p))
    centred = np.where(seen, values - mean[:, None], 0.0)
    cov = np.eye(p) * ((centred**2).sum(axis=1) / counts)[:, None]
    whole = np.where(seen, values, mean[:, None])
    for _ in range(ROUNDS):
        left = np.zeros((n, p, p))
        for number, pattern in enumerate(patterns):
            at, gone = np.flatnonzero(pattern).astype(np.int64), np.flatnonzero(~pattern).astype(np.int64)
            if not len(gone):
                continue
            link, unknown = submatrix(cov, gone, at), submatrix(cov, gone, gone)
            slopes = np.zeros_like(link)
            if len(at):
                ridge = RIDGE * np.diagonal(cov, axis1=-2, axis2=-1)[:, at, None] * np.eye(len(at))
                inner, ok = inverse(submatrix(cov, at, at) + ridge)
                slopes = np.where(ok[:, None, None], np.matmul(link, np.nan_to_num(inner)), 0.0)
                unknown = unknown - np.matmul(slopes, transpose(link))
            replicate, row = np.nonzero(which == number)
            known = values[replicate[:, None], row[:, None], at] - mean[replicate[:, None], at]
            whole[replicate[:, None], row[:, None], gone] = mean[replicate[:, None], gone] + matvec(
                slopes[replicate], known
            )
            left[:, gone[:, None], gone] += (which == number).sum(axis=1)[:, None, None] * unknown
        mean = whole.mean(axis=1) if free_mean else mean
        centred = whole - mean[:, None]
        cov = (np.matmul(transpose(centred), centred) + left) / length
    nothing = ~seen.any(axis=1, keepdims=True)
    return np.where(nothing, np.nan, whole)
