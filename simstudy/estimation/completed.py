"""Data with missing values made complete, for starting values only, by a crude normal model.

Level-1 values are the cluster's mean, shrunken, plus what the row's other values say about the deviation from it;
level-2 values are what cluster means and other level-2 values say. Covariance matrices come from a few steps of EM, and
what they leave open is added with a sign from a fixed table, so that variances are not understated. Nothing that is
reported is computed from such data but whether a variable varies at all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simstudy.data.incomplete import distinct_patterns
from simstudy.data.sample import Sample
from simstudy.linalg.psd import psd_factor
from simstudy.linalg.stacked import FloatArray, IntArray, inverse, matvec, submatrix, transpose

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
    """Values in place of NaN in normal vectors (R, N, p), with the mean 0 or a free one."""
    seen = ~np.isnan(values)
    n, length, p = values.shape
    patterns, which = distinct_patterns(seen)
    counts = np.maximum(seen.sum(axis=1), 1)
    mean = np.where(seen, values, 0.0).sum(axis=1) / counts if free_mean else np.zeros((n, p))
    centred = np.where(seen, values - mean[:, None], 0.0)
    cov = np.eye(p) * ((centred**2).sum(axis=1) / counts)[:, None]
    whole = np.where(seen, values, mean[:, None])
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(length, p))  # the same for all data, as a table would be
    for step in range(ROUNDS):
        left, last = np.zeros((n, p, p)), step == ROUNDS - 1
        for number, pattern in enumerate(patterns):
            at, gone = np.flatnonzero(pattern).astype(np.int64), np.flatnonzero(~pattern).astype(np.int64)
            if not len(gone):
                continue
            slopes, unknown = _regression(cov, at, gone)
            replicate, row = np.nonzero(which == number)
            one, here = replicate[:, None], row[:, None]
            found = mean[one, gone] + matvec(slopes[replicate], values[one, here, at] - mean[one, at])
            if last:
                found += matvec(psd_factor(unknown)[replicate], signs[here, gone])
            whole[one, here, gone] = found
            left[:, gone[:, None], gone] += (which == number).sum(axis=1)[:, None, None] * unknown
        mean = whole.mean(axis=1) if free_mean else mean
        centred = whole - mean[:, None]
        cov = (np.matmul(transpose(centred), centred) + left) / length
    nothing = ~seen.any(axis=1, keepdims=True)
    return np.where(nothing, np.nan, whole)


def _regression(cov: FloatArray, at: IntArray, gone: IntArray) -> tuple[FloatArray, FloatArray]:
    """Slopes of the variables ``gone`` on those ``at``, and what covariance matrix is left; 0 where there is none."""
    link, unknown = submatrix(cov, gone, at), submatrix(cov, gone, gone)
    if not len(at):
        return link, unknown
    ridge = RIDGE * np.diagonal(cov, axis1=-2, axis2=-1)[:, at, None] * np.eye(len(at))
    inner, ok = inverse(submatrix(cov, at, at) + ridge)
    slopes = np.where(ok[:, None, None], np.matmul(link, np.nan_to_num(inner)), 0.0)
    return slopes, unknown - np.matmul(slopes, transpose(link))
