"""One method on several populations with the same clusters: their data are fitted as one stack.

The fit of a data set does not depend on its neighbours, so the numbers are those of `fit_block`, cell by cell, to the
last bit; the price of the calls is paid once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simstudy.data.statistics import TwoLevelStatistics
from simstudy.design import Cell, EstimatorEntry
from simstudy.estimation.inference import montecarlo, with_defined
from simstudy.estimation.result import FitResult
from simstudy.methods import ask
from simstudy.methods.wall import MethodError, fit_walled, fitter
from simstudy.population.streams import FitStreams
from simstudy.runner.block import Batch, StudyContext, batch_size, fit_block
from simstudy.runner.rows import slim

STACKED = ("statistics", "clusters")
"""Kinds of data that are stacked."""


def fit_cells(
    study: StudyContext, cells: Sequence[Cell], entry: EstimatorEntry, replicates: range
) -> tuple[list[FitResult], str]:
    """Fits of one method to the same replicates of several cells that share a layout, and the first error met.

    Parameters
    ----------
    study : StudyContext
        Its ``design`` must tell these cells from those of other studies.
    cells : sequence of Cell
    entry : EstimatorEntry
    replicates : range

    Returns
    -------
    list of FitResult
        One a cell, over ``model.reported``, without covariance matrices.
    str
        Empty if the method stopped with no error.
    """
    needs = entry.estimator.needs
    stackable = needs in STACKED and not any(cell.population.has_missing for cell in cells)
    results: list[FitResult] = []
    error = ""
    some = max(1, batch_size(study, cells[0], (needs,)) // max(len(replicates), 1))
    for first in range(0, len(cells), some):
        part = cells[first : first + some]
        stacked = _stacked(study, part, entry, replicates) if stackable and len(part) > 1 else None
        if stacked is None:
            for cell in part:
                own = replace(study, design=f"{study.design} {cell.key}")
                (fits,), failures, _ = fit_block(own, cell, (entry,), replicates)
                results.append(fits.fit)
                error = error or (failures[0].error if failures else "")
        else:
            results += stacked
    return results, error


def _stacked(
    study: StudyContext, cells: Sequence[Cell], entry: EstimatorEntry, replicates: range
) -> list[FitResult] | None:
    """Fits of the stack, divided into cells; None if the method does not support them, or stops with an error."""
    model, estimator = study.model, entry.estimator
    n, needs = len(replicates), estimator.needs
    try:
        layout = cells[0].population.layout
        if ask.supports(estimator, model, layout) is not None:
            return None
        with np.errstate(all="ignore"):
            fit = fitter(estimator, ask.prepare(estimator, model, layout))
            batches = [Batch(cell.population, study.seed, replicates, frozenset((needs,))) for cell in cells]
            data = _joined([batch.of(needs) for batch in batches])
            addresses = tuple((cell.population.key, replicate) for cell in cells for replicate in replicates)
            streams = FitStreams(study.seed, estimator.name, addresses)
            result, _ = fit_walled(estimator, model, fit, data, streams, study.intervals.level)
            result = with_defined(result, model.estimands)
            parts = [result.select(slice(k * n, (k + 1) * n)) for k in range(len(cells))]
            if study.montecarlo:
                settings = (study.intervals.draws, study.intervals.level)
                parts = [
                    montecarlo(part, model.estimands, study.seed, cell.population.key, replicates, *settings)
                    for part, cell in zip(parts, cells, strict=True)
                ]
    except MethodError:  # fit_block finds out on which replicates
        return None
    return [slim(part) for part in parts]


def _joined(parts: Sequence[TwoLevelStatistics]) -> TwoLevelStatistics:
    """Statistics of one layout, one after another."""
    arrays = ("scatter_within", "size_means", "size_scatter", "cluster_means", "cluster_scatter")
    joined = {
        name: None if getattr(parts[0], name) is None else np.concatenate([getattr(part, name) for part in parts])
        for name in arrays
    }
    return replace(parts[0], **joined)  # type: ignore[arg-type]
