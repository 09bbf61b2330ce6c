"""Tables of theory beside simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from simstudy.performance import MEASURES
from simstudy.performance.choose import choose_parameters, in_order
from simstudy.report.tables.performance import FILE_WIDTH
from simstudy.report.tables.text import Line, TextTable, fixed, narrowed, setting, wrapped
from simstudy.report.tables.theory import MARKS, MAX_LINES, UNKNOWN
from simstudy.report.tables.view import choose_cells

_JOINED = ("bias", "empirical_se", "model_se", "coverage", "rejection")
_JOINED_DROPPED_FIRST = ("rejection", "model_se")


def joined_lines(
    both: pd.DataFrame,
    *,
    parameters: Sequence[str] | None,
    cells: Sequence[int] | None,
    factors: Sequence[str],
    study_name: str,
    width: int = FILE_WIDTH,
) -> list[Line]:
    """Lay out theory beside simulation: every number of a few cells, and how far apart they are over all.

    Raises
    ------
    SimstudyError
        If a parameter or cell is unknown.
    """
    chosen = choose_parameters(parameters, in_order(both["parameter"].unique()))
    shown = choose_cells(cells, [int(cell) for cell in sorted(both["cell"].unique())])
    rows = both[both["parameter"].isin(chosen) & both["cell"].isin(shown)]
    lines = [Line(f"{study_name}: theory beside simulation", "bold"), Line("")]
    groups = rows.groupby(["cell", "parameter"], sort=False)
    n_lines = rows.drop_duplicates(["cell", "parameter", "estimator", "se_kind"]).shape[0] + 4 * groups.ngroups
    if cells is not None or n_lines <= MAX_LINES:
        places = both.drop_duplicates("cell").set_index("cell")
        for (cell, parameter), part in groups:
            place = ", ".join(f"{name} = {setting(places.at[cell, name])}" for name in factors)
            truth = part["truth"].iloc[0]
            said = "no true value" if math.isnan(truth) else f"truth {truth:.6g}"
            lines.append(Line(f"Cell {cell}{': ' if place else ''}{place}; {parameter}, {said}", "bold"))
            lines += [*_joined_table(part, width).lines(), Line("")]
    else:
        lines += [Line("Too many numbers to list: --cell K gives those of a cell.", "dim"), Line("")]
    lines += [Line("Differences in Monte Carlo standard errors, z = (simulation - theory) / MCSE:", "bold")]
    lines += [*_distances(rows).lines(), Line("")]
    said = (
        "z beyond 4 means that theory's approximation is off by more than the simulation's error: with few clusters "
        "the asymptotic numbers are rough, and heavy-tailed ratios (MSEM's between slopes at small ICC and J) have no "
        f"moments to compare. Marks: {', '.join(f'{mark} {name}' for name, mark in MARKS.items() if mark)}."
    )
    return lines + [Line(line, "dim") for line in wrapped(said, width)]


def _joined_table(part: pd.DataFrame, width: int) -> TextTable:
    measures = [name for name in _JOINED if (part["measure"] == name).any()]
    tables, _ = narrowed(measures, _JOINED_DROPPED_FIRST, lambda left: {"": _joined_columns(part, left)}, width)
    return tables[""]


def _joined_columns(part: pd.DataFrame, measures: Sequence[str]) -> TextTable:
    found = {
        (e, k, m): (value, how, simulated, z)
        for e, k, m, value, how, simulated, z in zip(
            *(part[c] for c in ("estimator", "se_kind", "measure", "value", "method_of_calculation", "simulated", "z")),
            strict=True,
        )
    }
    rows = []
    for estimator, kind in dict.fromkeys((e, k) for e, k, _ in found):
        texts: list[str] = []
        for name in measures:
            value, how, simulated, z = found.get((estimator, kind, name), (math.nan, "", math.nan, math.nan))
            decimals = MEASURES[name].decimals
            theory = UNKNOWN if math.isnan(value) else fixed(value, decimals) + MARKS.get(how, "")
            shown = UNKNOWN if math.isnan(simulated) else fixed(simulated, decimals)
            texts += [theory, shown, fixed(z, 1)]
        rows.append((estimator, kind, *texts))
    header = ("Method", "SE", *(["theory", "sim.", "z"] * len(measures)))
    return TextTable(header, tuple(rows), left=2, groups=(("", 2), *((MEASURES[name].label, 3) for name in measures)))


def _distances(rows: pd.DataFrame) -> TextTable:
    """By measure and calculation: how many comparisons, the median and largest |z|, and shares beyond 2 and 4."""
    known = rows[np.isfinite(rows["z"]) & rows["measure"].isin(list(MEASURES))]
    found = []
    for measure in MEASURES:
        for how, part in known[known["measure"] == measure].groupby("method_of_calculation", sort=False):
            size = part["z"].abs().to_numpy(dtype=np.float64)
            top = part.iloc[int(np.argmax(size))]
            found.append(
                (
                    MEASURES[measure].label,
                    str(how),
                    f"{len(size):,}",
                    fixed(float(np.median(size)), 1),
                    f"{100 * np.mean(size > 2):.1f}%",
                    f"{100 * np.mean(size > 4):.1f}%",
                    fixed(float(size.max()), 1),
                    f"{top['estimator']}, {top['parameter']}, cell {top['cell']}",
                )
            )
    header = ("Measure", "calculated", "numbers", "median |z|", "|z| > 2", "|z| > 4", "largest", "where")
    return TextTable(header, tuple(found), left=2)
