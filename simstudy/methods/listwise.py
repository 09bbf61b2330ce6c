"""Fits to data sets with missing values: listwise deletion for methods that need complete rows."""

from __future__ import annotations

import numpy as np

from simstudy.data.sample import Sample
from simstudy.errors import DataError
from simstudy.estimation.result import FitResult, Status, failed
from simstudy.methods import ask
from simstudy.methods.protocol import Estimator
from simstudy.methods.wall import fitter
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import data_kind
from simstudy.population.missing import listwise
from simstudy.population.streams import FitStreams


def fit_listwise(estimator: Estimator, model: TwoLevelModel, sample: Sample, streams: FitStreams) -> FitResult:
    """Fit every data set to its complete rows, one by one: what is left differs in size and layout.

    A data set of which too little is left for the method is `Status.NOT_SUPPORTED`.
    """
    sample = sample.arrange(model.level1, model.level2)
    results = []
    for replicate in range(sample.n_replicates):
        result = failed(model.names, estimator.se_kinds, 1, Status.NOT_SUPPORTED)
        left = _complete_part(sample, replicate)
        if left is not None and ask.supports(estimator, model, left.layout) is None:
            fit = fitter(estimator, ask.prepare(estimator, model, left.layout))
            data = ask.of_sample(data_kind(estimator.needs), left)
            result = fit(data, streams.select(slice(replicate, replicate + 1)))
        results.append(result)
    return FitResult.concat(results)


def _complete_part(sample: Sample, replicate: int) -> Sample | None:
    if not np.isnan(sample.rows[replicate]).any() and not np.isnan(sample.clusters[replicate]).any():
        return sample.select(slice(replicate, replicate + 1))
    try:
        return listwise(sample, replicate)
    except DataError:
        return None
