"""Bootstrap intervals by refitting: parametric (statistics drawn directly, so that it is fast) and by clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from simstudy.analysis.context import Context
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.errors import EstimatorError
from simstudy.estimation.inference import with_defined
from simstudy.estimation.result import FitResult, Status, failed
from simstudy.likelihood.slopes.chain import Treatment
from simstudy.linalg.stacked import FloatArray
from simstudy.methods import ask, registry
from simstudy.methods.wall import MethodError, fit_by_halves, fitter
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import data_kind
from simstudy.population.draw import draw_sample, generator
from simstudy.population.population import Population
from simstudy.population.streams import FitStreams

BATCH = 200
BOOTSTRAP_STREAM = 3


def bootstrap(
    context: Context,
    model: TwoLevelModel,
    *,
    parametric: bool,
    draws: int,
    seed: int,
    progress: Callable[[str, int, int], None] | None,
) -> FloatArray:
    """Refitted parameters (draws, q + d); a row is NaN where the fit failed."""
    step = _parametric if parametric else _clusters
    context = replace(context, method=registry.with_option(context.method, "measures", False))  # refits need none
    units, inner = context.units, model
    if units is not None and context.rescaled is not None:
        sample = units.sample(context.sample)
        context, inner = replace(context, sample=sample, result=context.rescaled), units.model
    found: list[FloatArray] = []
    for first in range(0, draws, BATCH if parametric else 1):
        replicates = range(first, min(first + (BATCH if parametric else 1), draws))
        result = step(context, inner, seed, replicates)
        if units is not None:
            result = replace(result, estimate=units.estimates(result.estimate))
        result = with_defined(result, model.estimands)
        found.append(result.estimate)
        if progress is not None:
            progress("bootstrap", replicates.stop, draws)
    return np.concatenate(found)


def _parametric(context: Context, model: TwoLevelModel, seed: int, replicates: range) -> FitResult:
    """Data drawn from the fitted model, the missing values of the data set blanked again."""
    sample, method = context.sample, context.method
    values = context.result.estimate[0, : len(model.names)]
    if np.isnan(values).any():
        raise EstimatorError(
            f"method '{method.name}' does not estimate the whole model, so no data can be drawn from its fit; "
            "use ci 'cluster_bootstrap'"
        )
    streams = FitStreams.of(seed, method.name, "bootstrap", replicates)
    try:
        prepared = ask.prepare(method, model, sample.layout)
        varying = ask.prepare_slopes(method, model, sample.layout)
    except MethodError:
        return failed(model.names, method.se_kinds, len(streams), Status.EXCEPTION)
    meaning: Treatment = "latent" if varying is None else varying.treatment
    if meaning == "hybrid":
        raise EstimatorError(
            "with slopes = 'hybrid' no data can be drawn from the fit: random slopes multiply what their means do not; "
            "use ci 'cluster_bootstrap'"
        )
    population = Population(model, tuple(values.tolist()), sample.layout, "bootstrap", slopes=meaning)
    if not context.result.admissible[0]:
        raise EstimatorError(
            "the solution is inadmissible, so that no data can be drawn from it; use ci 'cluster_bootstrap', or "
            "bounds 'variances'"
        )
    if method.needs == "sample":
        drawn = draw_sample(population, seed, replicates)
        rows = np.where(np.isnan(sample.rows), np.nan, drawn.rows)
        clusters = np.where(np.isnan(sample.clusters), np.nan, drawn.clusters)
        data: Any = Sample(drawn.layout, drawn.level1, drawn.level2, rows, clusters)
    else:
        try:
            data = ask.draw(data_kind(method.needs), population, seed, replicates)
        except MethodError:
            return failed(model.names, method.se_kinds, len(streams), Status.EXCEPTION)
    return fit_by_halves(method, model, fitter(method, prepared), data, streams)


def _clusters(context: Context, model: TwoLevelModel, seed: int, replicates: range) -> FitResult:
    """Clusters drawn with replacement."""
    sample, method = context.sample, context.method
    sizes = np.asarray(sample.layout.sizes)
    rng = generator(seed, "cluster bootstrap", replicates.start, BOOTSTRAP_STREAM)
    chosen = np.sort(rng.integers(0, len(sizes), len(sizes)))  # sizes ascend, so they do after sorting
    index = np.concatenate(
        [np.arange(s, s + n) for s, n in zip(sample.layout.row_starts[chosen], sizes[chosen], strict=True)]
    )
    again = Sample(
        ClusterLayout.of(sizes[chosen]), sample.level1, sample.level2, sample.rows[:, index], sample.clusters[:, chosen]
    )
    streams = FitStreams.of(seed, method.name, "cluster bootstrap", replicates)
    try:
        fit = fitter(method, ask.prepare(method, model, again.layout))
        data = ask.of_sample(data_kind(method.needs), again)
    except MethodError:
        return failed(model.names, method.se_kinds, 1, Status.EXCEPTION)
    return fit_by_halves(method, model, fit, data, streams)
