"""Fits to data sets with missing values: listwise deletion for methods that need complete rows."""

from __future__ import annotations

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.errors import DataError
from simstudy.estimation.result import FitResult, Status, failed
from simstudy.linalg.stacked import BoolArray, IntArray
from simstudy.methods import ask
from simstudy.methods.protocol import Estimator
from simstudy.methods.wall import fitter
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import data_kind
from simstudy.population.missing import complete_rows, listwise
from simstudy.population.streams import FitStreams

FLAT = 1e-10
"""Share of a variable's sum of squares that is too little variance to fit a data set among others."""


def fit_listwise(estimator: Estimator, model: TwoLevelModel, sample: Sample, streams: FitStreams) -> FitResult:
    """Fit every data set to its complete rows.

    What is left differs in size and layout. A method that takes missing values by another option (`on_rows_left`) fits
    the complete rows of many data sets at once; others, and data sets that it does not finish, go one by one. A data
    set of which too little is left for the method is `Status.NOT_SUPPORTED`.
    """
    sample = sample.arrange(model.level1, model.level2)
    left = np.arange(sample.n_replicates)
    at, parts = left[:0], list[FitResult]()
    twin = ask.on_rows_left(estimator, model)
    if twin is not None:
        at, found = _fit_together(estimator, twin, model, sample, streams)
        left = np.setdiff1d(left, at)
        parts = [found] if len(at) else []
    parts += [_fit_one(estimator, model, sample, streams, int(replicate)) for replicate in left]
    return FitResult.concat(parts).select(np.argsort(np.concatenate([at, left])))


def _fit_one(
    estimator: Estimator, model: TwoLevelModel, sample: Sample, streams: FitStreams, replicate: int
) -> FitResult:
    left = _complete_part(sample, replicate)
    if left is None or ask.supports(estimator, model, left.layout) is not None:
        return failed(model.names, estimator.se_kinds, 1, Status.NOT_SUPPORTED)
    fit = fitter(estimator, ask.prepare(estimator, model, left.layout))
    return fit(ask.of_sample(data_kind(estimator.needs), left), streams.select(slice(replicate, replicate + 1)))


def _fit_together(
    estimator: Estimator, twin: Estimator, model: TwoLevelModel, sample: Sample, streams: FitStreams
) -> tuple[IntArray, FitResult]:
    """Data sets (n,) that a method finishes all at once, and what it finds."""
    kept = complete_rows(sample)
    sizes = np.add.reduceat(kept, sample.layout.row_starts, axis=-1, dtype=np.int64)  # (R, J)
    rows = np.where(kept[..., None], sample.rows, np.nan)
    clusters = np.where(sizes[..., None] > 0, sample.clusters, np.nan)
    usable = _varied(Sample(sample.layout, sample.level1, sample.level2, rows, clusters), sizes)
    for replicate in np.flatnonzero(usable):
        own = sizes[replicate][sizes[replicate] > 0]
        usable[replicate] = ask.supports(estimator, model, ClusterLayout.of(own)) is None
    which = np.flatnonzero(usable)
    if not len(which):
        return which, failed(model.names, estimator.se_kinds, 0, Status.NOT_SUPPORTED)
    data = Sample(sample.layout, sample.level1, sample.level2, rows[which], clusters[which])
    found = fitter(twin, ask.prepare(twin, model, sample.layout))(data, streams.select(which))
    done = np.flatnonzero(found.converged)
    return which[done], found.select(done)


def _varied(sample: Sample, sizes: IntArray) -> BoolArray:
    """Data sets (R,) with finite values whose variables vary, those of level 1 within clusters too."""
    rows = np.nan_to_num(sample.rows, nan=0.0, posinf=np.inf, neginf=-np.inf)
    with np.errstate(all="ignore"):
        squares = np.add.reduceat(rows**2, sample.layout.row_starts, axis=1)
        sums = np.add.reduceat(rows, sample.layout.row_starts, axis=1)
        inside = (squares - sums**2 / np.maximum(sizes, 1)[..., None]).sum(axis=1)  # (R, p1)
        varied = (inside > FLAT * squares.sum(axis=1)).all(axis=-1)
        n = np.maximum((sizes > 0).sum(axis=-1), 1)[:, None]
        z = np.nan_to_num(sample.clusters, nan=0.0, posinf=np.inf, neginf=-np.inf)
        spread = (z**2).sum(axis=1) - z.sum(axis=1) ** 2 / n
        return np.asarray(varied & (spread > FLAT * (z**2).sum(axis=1)).all(axis=-1))


def _complete_part(sample: Sample, replicate: int) -> Sample | None:
    if not np.isnan(sample.rows[replicate]).any() and not np.isnan(sample.clusters[replicate]).any():
        return sample.select(slice(replicate, replicate + 1))
    try:
        return listwise(sample, replicate)
    except DataError:
        return None
