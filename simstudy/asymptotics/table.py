"""Theory as a long table with the columns of a performance table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from simstudy.asymptotics import Asymptotics
from simstudy.asymptotics.draws import montecarlo_by_draws, wald_by_draws
from simstudy.design import Cell, Design, EstimatorEntry
from simstudy.estimation.exact_laws import NEGATIVE, ExactNumber
from simstudy.estimation.result import Status
from simstudy.linalg.stacked import FloatArray
from simstudy.linalg.wald_intervals import negative, width
from simstudy.methods import ask
from simstudy.methods.wall import MethodError
from simstudy.performance import COLUMNS, MEASURES, Law, Measure
from simstudy.runner.rows import MONTECARLO

LARGE_SAMPLES = "large_samples"
ASYMPTOTIC, DRAWS, SECOND_ORDER, EXACT = "asymptotic", "normal_draws", "second_order", "exact"
CALCULATIONS: Mapping[str, str] = {
    LARGE_SAMPLES: "as asymptotic, with means and spreads of estimates from samples with very many clusters, where "
    "moments are not enough (random slopes, data not normal or missing): with 200 samples, SEs are known to about 5 %; "
    "the long table has the Monte Carlo error of every number",
    ASYMPTOTIC: "normal estimates around the limit, delta-method spread, constant SE: right for many clusters",
    DRAWS: "`:=` parameters: normal estimates of the parameters they are functions of, the function itself exact",
    SECOND_ORDER: "means of estimates and squared SEs to order 1/J (curvature of the method, finite divisors)",
    EXACT: "exact at this J for normal data and least-squares estimates (docs/theory: B1, B2, B3, B5, F6)",
}
"""How a number was found, the less exact first."""
SECOND = ("mean_estimate", "bias", "relative_bias", "mse", "rmse")
"""Measures of the estimates that are known to second order: those of their mean, the spread as it is to first."""
THEORY_COLUMNS = (*COLUMNS, "method_of_calculation", "note")
THEORY = "theory"
"""Basis of the rows; simulated ones are casewise or common."""
SILENT = "the method does not speak about it"
OF_SAMPLES = "the covariance of the estimates is from large samples; its Monte Carlo error is not counted"
FLAT = "a constant, or a function that is flat at the limit: to first order it does not vary"


@dataclass(frozen=True)
class Place:
    """A cell, a method, what was found, and the number of clusters to tell it for."""

    cell: Cell
    entry: EstimatorEntry
    found: Asymptotics
    n_clusters: int
    exact: bool = True


@dataclass(frozen=True)
class _Block:
    """Rows of one cell, method, SE kind and method of calculation: values (parameters, measures)."""

    place: Place
    kind: str
    calculation: str
    parameters: tuple[int, ...]
    measures: tuple[str, ...]
    values: FloatArray
    notes: tuple[str, ...]
    errors: FloatArray | None = None


def theory_table(design: Design, places: Sequence[Place]) -> pd.DataFrame:
    """All rows of cells and methods; factors in front."""
    blocks = [block for place in places for block in _blocks(design, place)]
    blocks.sort(key=lambda block: block.place.cell.index)
    labels, levels = np.array(design.model.reported, dtype=object), np.array(design.model.reported_levels, dtype=object)
    sizes = [block.values.size for block in blocks]

    def spread(values: Sequence[object]) -> np.ndarray[tuple[int], np.dtype[np.generic]]:
        return np.repeat(np.array(values, dtype=object), sizes)

    def by_parameter(values: Sequence[Sequence[object]]) -> np.ndarray[tuple[int], np.dtype[np.generic]]:
        parts = [np.repeat(np.array(v, dtype=object), len(b.measures)) for b, v in zip(blocks, values, strict=True)]
        return np.concatenate(parts) if parts else np.empty(0, dtype=object)

    at = [np.array(block.parameters, dtype=np.int64) for block in blocks]
    columns: dict[str, object] = {
        name: spread([block.place.cell.factors[name] for block in blocks]) for name in design.factor_names
    }
    columns |= {
        "cell": spread([block.place.cell.index for block in blocks]).astype(np.int32),
        "basis": THEORY,
        "estimator": spread([block.place.entry.name for block in blocks]),
        "se_kind": spread([block.kind for block in blocks]),
        "parameter": by_parameter([list(labels[i]) for i in at]),
        "level": by_parameter([list(levels[i]) for i in at]),
        "truth": by_parameter([b.place.found.truth[i].tolist() for b, i in zip(blocks, at, strict=True)]).astype(
            np.float64
        ),
        "measure": np.concatenate([np.tile(np.array(b.measures, dtype=object), len(b.parameters)) for b in blocks]),
        "value": np.concatenate([block.values.ravel() for block in blocks]),
        "mcse": np.concatenate(
            [np.full(b.values.size, np.nan) if b.errors is None else b.errors.ravel() for b in blocks]
        ),
        "n": spread([_samples(block)[0] for block in blocks]).astype(np.int64),
        "n_attempted": spread([_samples(block)[1] for block in blocks]).astype(np.int64),
        "reference": "",
        "mcse_jackknife": np.nan,
        "method_of_calculation": spread([block.calculation for block in blocks]),
        "note": by_parameter([block.notes for block in blocks]),
    }
    text = dict.fromkeys(
        (
            "basis",
            "estimator",
            "se_kind",
            "parameter",
            "level",
            "measure",
            "reference",
            "method_of_calculation",
            "note",
        ),
        "str",
    )
    return pd.DataFrame(columns, columns=[*design.factor_names, *THEORY_COLUMNS]).astype(text).infer_objects()


def _blocks(design: Design, place: Place) -> Iterator[_Block]:
    """All rows of a cell and method: SE kinds, then within each the ways of calculation."""
    model, found, j = design.model, place.found, place.n_clusters
    level = design.intervals.level
    everything = tuple(range(len(model.reported)))
    notes = _notes(found)
    variances = np.isin(np.arange(len(everything)), model.table.variance_indices)
    exact, problem = _exact_numbers(design, place)
    notes = tuple("; ".join(filter(None, (note, problem))) for note in notes)
    second = _second_order(found, j, level)
    kinds = list(place.entry.estimator.se_kinds)
    with_montecarlo = MONTECARLO in design.intervals.kinds and bool(model.estimands.definitions)
    for kind in kinds:
        measures = _known("estimate", "se", "interval")
        every = partial(_measures, measures=measures, variances=variances, kind=kind, j=j, level=level)
        yield from _first_order(place, kind, everything, notes, (*measures, NEGATIVE), every)
        yield from _second_order_block(place, kind, second | _second_order_se(found, kind, j, level), everything)
        yield from _single_rows(place, kind, DRAWS, wald_by_draws(found, model.estimands, kind, level, j))
        numbers: dict[str, dict[str, float]] = {}
        for number in exact:
            if number.se_kind in ("", kind):
                numbers.setdefault(number.parameter, {})[number.measure] = number.value
        yield from _single_rows(place, kind, EXACT, numbers)
    if with_montecarlo:
        defined = everything[len(model.names) :]
        measures = _known("estimate")
        every = partial(_measures, measures=measures, variances=variances, kind=kinds[0], j=j, level=level)
        yield from _first_order(place, MONTECARLO, defined, notes, (*measures, NEGATIVE), every)
        yield from _second_order_block(place, MONTECARLO, second, defined)
        intervals = montecarlo_by_draws(found, model.estimands, kinds[0], level, j)
        yield from _single_rows(place, MONTECARLO, DRAWS, intervals)


def _exact_numbers(design: Design, place: Place) -> tuple[tuple[ExactNumber, ...], str]:
    """What the method knows exactly, and why there is nothing where it stopped."""
    if not place.exact or place.found.status is Status.EXCEPTION:
        return (), ""
    try:
        population, level = place.cell.population, design.intervals.level
        return ask.exact_numbers(place.entry.estimator, design.model, population, level), ""
    except MethodError as error:
        return (), f"no exact numbers, the method stopped with an error: {error.text}"


def _first_order(
    place: Place,
    kind: str,
    parameters: tuple[int, ...],
    notes: tuple[str, ...],
    measures: Sequence[str],
    compute: Callable[[Asymptotics], Mapping[str, FloatArray]],
) -> Iterator[_Block]:
    """Rows of normal estimates around the limit: what is from samples, and the rest."""
    found, at = place.found, list(parameters)
    said = tuple(notes[i] for i in at)
    parts = {how: [m for m in measures if _source(found, kind, m) == how] for how in (ASYMPTOTIC, LARGE_SAMPLES)}
    for how, names in parts.items():
        if not names:
            continue
        values, errors = _stack(compute(found), names)[at], None
        if how == LARGE_SAMPLES:
            of = kind if kind in found.kinds else None
            errors = found.mcse(partial(_table_of, compute=compute, names=names), of).T[at]
            errors = np.where(np.isnan(values), np.nan, errors)
        yield _Block(place, kind, how, parameters, tuple(names), values, said, errors)


def _table_of(
    found: Asymptotics, compute: Callable[[Asymptotics], Mapping[str, FloatArray]], names: Sequence[str]
) -> FloatArray:
    """Measures by parameters."""
    return _stack(compute(found), names).T


def _source(found: Asymptotics, kind: str, measure: str) -> str:
    """Whether a measure comes from samples."""
    errors = found.errors
    if errors is None:
        return ASYMPTOTIC
    theory = MEASURES[measure].theory if measure != NEGATIVE else None
    if theory is not None and theory.reads == "limit":
        return LARGE_SAMPLES if errors.limit else ASYMPTOTIC
    if theory is not None and theory.reads == "reported":
        return LARGE_SAMPLES if kind in errors.kinds else ASYMPTOTIC
    return LARGE_SAMPLES


def _samples(block: _Block) -> tuple[int, int]:
    """Large samples with estimates, and drawn."""
    errors = block.place.found.errors
    if errors is None or block.calculation not in (LARGE_SAMPLES, DRAWS):
        return 0, 0
    return errors.n_samples - errors.n_failed, errors.n_samples


def _notes(found: Asymptotics) -> tuple[str, ...]:
    """Why numbers of each parameter are missing."""
    said = "; ".join(found.notes)
    if said:
        return (said,) * len(found.labels)
    variance = np.diagonal(found.covariance)
    return tuple(
        SILENT if np.isnan(value) else FLAT if v == 0.0 else "" for value, v in zip(found.limit, variance, strict=True)
    )


def _stack(values: Mapping[str, FloatArray], measures: Sequence[str]) -> FloatArray:
    return np.stack([values[name] for name in measures], axis=-1)


def _law(found: Asymptotics, kind: str, j: int, level: float) -> Law:
    return Law(
        found.limit, found.se(j), found.reported_se(kind or None, j), found.se_ratio(kind or None), found.truth, level
    )


def _known(*reads: str) -> dict[str, Measure]:
    """Measures that theory has a counterpart of, by what they read."""
    return {name: m for name, m in MEASURES.items() if m.theory is not None and m.reads in reads and not m.paired}


def _measures(
    found: Asymptotics,
    measures: Mapping[str, Measure],
    variances: np.ndarray[tuple[int], np.dtype[np.bool_]],
    kind: str,
    j: int,
    level: float,
) -> dict[str, FloatArray]:
    """Theory's values of some measures, and the probability of a negative variance."""
    law = _law(found, kind, j, level)
    values = {name: m.theory.formula(law) for name, m in measures.items() if m.theory is not None}
    return values | {NEGATIVE: np.where(variances, negative(law.limit, law.se), np.nan)}


def _second_order(found: Asymptotics, j: int, level: float) -> dict[str, FloatArray]:
    law = replace(_law(found, "", j, level), limit=found.mean(j))
    known = _known("estimate")
    return {name: m.theory.formula(law) for name, m in known.items() if m.theory is not None and name in SECOND}


def _second_order_se(found: Asymptotics, kind: str, j: int, level: float) -> dict[str, FloatArray]:
    if kind not in found.laws:
        return {}
    root, mean = found.mean_se(kind, j)
    return {"mean_se": mean, "model_se": root, "ci_width": width(mean, level)}


def _second_order_block(
    place: Place, kind: str, second: Mapping[str, FloatArray], parameters: tuple[int, ...]
) -> Iterator[_Block]:
    kept = tuple(i for i in parameters if np.isfinite(second["mean_estimate"][i]))
    if kept:
        measures = tuple(second)
        values = _stack(second, measures)[list(kept)]
        yield _Block(place, kind, SECOND_ORDER, kept, measures, values, ("",) * len(kept))


def _single_rows(
    place: Place, kind: str, calculation: str, numbers: Mapping[str, Mapping[str, float]]
) -> Iterator[_Block]:
    for name, found in numbers.items():
        values = np.array([list(found.values())], dtype=np.float64)
        note = OF_SAMPLES if calculation == DRAWS and place.found.errors is not None else ""
        yield _Block(place, kind, calculation, (place.found.index(name),), tuple(found), values, (note,))
