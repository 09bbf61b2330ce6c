"""Bias, standard errors, coverage and power of every method of a design from theory, without simulation."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from simstudy.api.study import read_results
from simstudy.asymptotics import approximate_all
from simstudy.asymptotics.approximate import needs_samples
from simstudy.asymptotics.large_samples import Tick, address
from simstudy.asymptotics.layouts import grown
from simstudy.asymptotics.table import CALCULATIONS, Place, theory_table
from simstudy.design import Cell, Design, EstimatorEntry
from simstudy.design.inputs import DesignLike, as_design
from simstudy.errors import SimstudyError, StoreError, did_you_mean
from simstudy.requests.option import check, takes
from simstudy.requests.theory import BiasRequest
from simstudy.runner.progress import Reporter, State, reporter

KEYS = ("cell", "estimator", "se_kind", "parameter", "measure")


SILENT_SECONDS = 3.0
"""Until then nothing is said about progress."""


@dataclass(frozen=True)
class TheoryRecord:
    """What theory says about the methods of a design.

    Attributes
    ----------
    table : DataFrame
        The columns of a performance table, so that both can be joined on cell, estimator, se_kind, parameter and
        measure, and ``method_of_calculation`` (see `CALCULATIONS`) and ``note`` (why a number is missing). A measure
        may have several rows, one a method of calculation; `best` keeps the most exact. ``mcse`` is NaN, ``n`` 0.
    design : Design
    """

    table: pd.DataFrame
    design: Design


@takes(BiasRequest, "bias")
def theory_of(request: BiasRequest) -> TheoryRecord:
    """Pseudo-true values, bias, true and reported SEs, coverage and power of every method: theory, no simulation.

    Returns
    -------
    TheoryRecord

    Raises
    ------
    SimstudyError
        If there is no such cell or method.

    Examples
    --------
    >>> import simstudy
    >>> theory = simstudy.bias(simstudy.init("contextual"))
    >>> print(theory.summary(parameters=["contextual"], cells=[0]).splitlines()[0])
    contextual: theory, no simulation; 1 cell, 6 methods, 95% intervals
    """
    check(request)
    large_samples, progress = request.large_samples, request.progress
    design = as_design(request.design)
    chosen, entries = _chosen_cells(design, request.cells), _chosen_entries(design, request.estimators)
    start, places = time.perf_counter(), []
    sampled = {
        address(cell.population)
        for cell in chosen
        if any(needs_samples(entry.estimator, cell.population) for entry in entries)
    }
    with reporter(progress and large_samples > 0 and bool(sampled)) as shown:
        tally = _Tally(shown, large_samples * len(sampled), len(entries))
        for number, entry in enumerate(entries, start=1):
            places += _places(design, chosen, entry, large_samples, tally.add)
            tally.finish(number)
            quick = not progress or tally.per_method or number == len(entries)
            if not quick and time.perf_counter() - start > SILENT_SECONDS:
                print(f"{number} of {len(entries)} methods: {entry.name} is done", file=sys.stderr, flush=True)
    return TheoryRecord(theory_table(design, places), design)


class _Tally:
    """Samples fitted so far, told to a reporter."""

    def __init__(self, shown: Reporter, per_method: int, methods: int) -> None:
        self.shown, self.per_method, self.methods = shown, per_method, methods
        self.done, self.finished, self.failed, self.start = 0, 0, 0, time.perf_counter()

    def add(self, samples: int, failed: int) -> None:
        """So many more."""
        self.done, self.failed = self.done + samples, self.failed + failed
        self._show()

    def finish(self, methods: int) -> None:
        """So many methods are finished, whether they had anything to fit or not."""
        done, self.finished = self.per_method * methods, methods
        if done != self.done:
            self.done = done
            self._show()

    def _show(self) -> None:
        seconds = time.perf_counter() - self.start
        if self.per_method and seconds > SILENT_SECONDS:
            total = float(self.per_method * self.methods)
            state = State(float(self.done), total, self.finished, self.methods, self.failed, seconds, "methods")
            self.shown.update(state)


def _places(
    design: Design,
    cells: Sequence[Cell],
    entry: EstimatorEntry,
    large_samples: int = 0,
    tick: Tick | None = None,
) -> list[Place]:
    """One method in every cell."""
    found = approximate_all(
        entry.estimator, design.model, [cell.population for cell in cells], large_samples=large_samples, tick=tick
    )
    return [Place(cell, entry, result, cell.n_clusters) for cell, result in zip(cells, found, strict=True)]


def theory_curve(
    design: DesignLike, n_clusters: Sequence[int] | None = None, *, large_samples: int = 0
) -> pd.DataFrame:
    """`theory_of` on a grid of numbers of clusters, for curves through simulated points.

    Every other setting of the design has one curve, with the shares of cluster sizes of its largest cell; that is the
    cell the rows name. The factor ``n_clusters`` holds the grid.

    Parameters
    ----------
    design : Design, path, str or dict
    n_clusters : sequence of int, optional
        By default 25 numbers from the design's smallest to its largest.
    large_samples : int
        As in `theory_of`; none by default, so that a report has not to wait.

    Raises
    ------
    SimstudyError
        If the number of clusters is no factor of the design.

    Examples
    --------
    >>> import simstudy
    >>> from simstudy import api
    >>> curve = api.theory_curve(simstudy.init("contextual"), [20, 80])
    >>> chosen = curve.query("estimator == 'aggregated' and parameter == 'b_b' and measure == 'bias'")
    >>> chosen["value"].round(3).unique().tolist()  # more clusters do not help
    [-0.086]
    """
    design = as_design(design)
    if "n_clusters" not in design.factor_names:
        raise SimstudyError("theory curve: n_clusters is no factor of the design, so that there is no curve to draw")
    found = sorted({cell.n_clusters for cell in design.cells})
    grid = n_clusters or sorted({round(x) for x in np.geomspace(found[0], found[-1], 25).tolist()})
    largest: dict[tuple[object, ...], Cell] = {}
    for cell in design.cells:
        others = tuple(value for name, value in cell.factors.items() if name != "n_clusters")
        if others not in largest or cell.n_clusters > largest[others].n_clusters:
            largest[others] = cell
    chosen = list(largest.values())
    places = [place for entry in design.estimators for place in _places(design, chosen, entry, large_samples)]
    return theory_table(design, [_grid_place(place, j) for place in places for j in grid])


def _grid_place(place: Place, n_clusters: int) -> Place:
    cell, layout = place.cell, place.cell.population.layout
    other = replace(cell, factors=cell.factors | {"n_clusters": n_clusters})
    if layout.balanced:  # exact numbers need a whole layout
        other = replace(other, population=replace(cell.population, layout=grown(layout, n_clusters)))
    return replace(place, cell=other, n_clusters=n_clusters, exact=layout.balanced)


def best(table: pd.DataFrame) -> pd.DataFrame:
    """The most exact row of every cell, method, SE kind, parameter and measure that has a number."""
    rank = table["method_of_calculation"].map({name: i for i, name in enumerate(CALCULATIONS)})
    order = table.assign(rank=rank.where(table["value"].notna(), -1)).sort_values("rank", kind="stable")
    factor = [name for name in ("n_clusters",) if name in table.columns]
    kept = order.drop_duplicates([*factor, *KEYS], keep="last").index
    return table.loc[sorted(kept)].reset_index(drop=True)


def joined(theory: pd.DataFrame, performance: pd.DataFrame | str | Path) -> pd.DataFrame:
    """Theory beside simulation.

    Parameters
    ----------
    theory : DataFrame
        Of `theory_of`.
    performance : DataFrame or path
        From a study, or a results folder of the same design.

    Returns
    -------
    DataFrame
        One row a casewise number of the simulation that theory has too: the theory's columns with ``simulated``,
        ``mcse`` and ``n`` of the simulation, and ``z`` = (simulated - value) / mcse, where that of numbers from large
        samples (``theory_mcse``) is added in squares.

    Raises
    ------
    StoreError
        If they have no row in common: the folder is another design's.
    """
    simulated = performance if isinstance(performance, pd.DataFrame) else read_results(performance).performance
    casewise = simulated[simulated["basis"] == "casewise"]
    keys = list(KEYS)
    right = casewise[[*keys, "truth", "value", "mcse", "n", "n_attempted"]].rename(
        columns={"value": "simulated", "truth": "simulated_truth"}
    )
    left = best(theory).drop(columns=["n", "n_attempted"]).rename(columns={"mcse": "theory_mcse"})
    both = left.merge(right, on=keys)
    if both.empty:
        raise StoreError("the results folder and the design have no cell, method and parameter in common")
    apart = (both["truth"] - both.pop("simulated_truth")).abs() > 1e-9 * (1.0 + both["truth"].abs())
    if apart.any():
        cell = int(both.loc[apart, "cell"].iloc[0])
        raise StoreError(f"the results folder is another design's: cell {cell} has other true values")
    with np.errstate(all="ignore"):
        error = np.hypot(both["mcse"], both["theory_mcse"].fillna(0.0))
        both["z"] = (both["simulated"] - both["value"]) / error
    return both


def _chosen_cells(design: Design, wanted: Sequence[int] | None) -> list[Cell]:
    if wanted is None:
        return list(design.cells)
    unknown = [number for number in wanted if not 0 <= number < len(design.cells)]
    if unknown:
        allowed = f"0 to {len(design.cells) - 1}"
        raise SimstudyError([f"cell: found {number}; allowed: {allowed}" for number in unknown])
    return [cell for cell in design.cells if cell.index in set(wanted)]


def _chosen_entries(design: Design, wanted: Sequence[str] | None) -> list[EstimatorEntry]:
    names = [entry.name for entry in design.estimators]
    unknown = [name for name in wanted or () if name not in names]
    if unknown:
        raise SimstudyError(
            [
                f"estimator: the design has no method '{name}'{did_you_mean(name, names)}; it has {', '.join(names)}"
                for name in unknown
            ]
        )
    return [entry for entry in design.estimators if wanted is None or entry.name in wanted]
