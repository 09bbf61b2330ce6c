"""Tables of many cells: one row a cell, or ranges over cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from simstudy.performance import MEASURES
from simstudy.report.tables.blocks import Block
from simstudy.report.tables.text import TextTable, beside, fixed, percent, plain
from simstudy.report.tables.view import View

OVERVIEW_PARAMETERS = 20
_SHORT = {"bias": "bias", "coverage": "cover"}


def compact_blocks(view: View, measures: Sequence[str]) -> list[Block]:
    """One row a cell, a column a method and measure; tables that are too wide go below each other."""
    return [
        table
        for parameter in view.parameters
        for table in beside(view.estimators, partial(_compact_table, view, parameter, measures), view.width)
    ]


def _named(measures: Sequence[str]) -> str:
    """Name measures in a title."""
    return " and ".join(name if name in _SHORT else MEASURES[name].label for name in measures)


def _compact_table(view: View, parameter: str, measures: Sequence[str], methods: Sequence[str]) -> TextTable:
    """Rows are cells; the last row has the largest MCSE of each column."""
    largest = [math.nan] * (len(measures) * len(methods))
    rows = []
    for cell in view.cells:
        texts = []
        for position, method in enumerate(methods):
            kind = view.first_kind(cell, parameter, method)
            for offset, measure in enumerate(measures):
                number = view.number(cell, parameter, method, kind, measure)
                texts.append(percent(number) if MEASURES[measure].percent else plain(number, 3))
                column = len(measures) * position + offset
                largest[column] = float(np.fmax(largest[column], number.mcse))
        truth = fixed(view.truth.get((cell, parameter), math.nan), 3)
        rows.append((str(cell), *view.settings[cell], truth, *texts))
    blank = [""] * (len(view.factors) + 1)
    rows.append(("MCSE <=", *blank, *(_rounded_up(value) for value in largest)))
    names = [_SHORT.get(name, MEASURES[name].label) for name in measures]
    header = ("cell", *view.factors, "truth", *(names * len(methods)))
    groups = (("", len(view.factors) + 2), *((method, len(measures)) for method in methods))
    return TextTable(
        header,
        tuple(rows),
        left=len(view.factors) + 1,
        groups=groups,
        title=f"{view.parameter_title(parameter)}: {_named(measures)}",
    )


def _rounded_up(value: float) -> str:
    """Three decimals, never less than the value: it is a bound."""
    return fixed(math.ceil(value * 1000.0 - 1e-9) / 1000.0, 3) if math.isfinite(value) else ""


def overview_blocks(view: View, measures: Sequence[str]) -> list[Block]:
    """One row a method: smallest, middle and largest values over cells, with the cells of the extremes."""
    range_header = ("lowest", "(cell)", "median", "highest", "(cell)")
    header = ("Method", *(range_header * len(measures)), "cells n/a")
    groups = (("", 1), *((MEASURES[name].label, 5) for name in measures), ("", 1))
    return [
        TextTable(
            header,
            tuple(_ranges(view, parameter, measures)),
            groups=groups,
            title=f"{view.parameter_title(parameter)}: {_named(measures)} over {len(view.cells)} cells",
        )
        for parameter in view.parameters[:OVERVIEW_PARAMETERS]
    ]


def _ranges(view: View, parameter: str, measures: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for method in view.estimators:
        texts: list[str] = []
        silent = 0
        for place, measure in enumerate(measures):
            numbers = [
                (view.number(cell, parameter, method, view.first_kind(cell, parameter, method), measure), cell)
                for cell in view.cells
            ]
            known = sorted((number.value, cell) for number, cell in numbers if not math.isnan(number.value))
            if place == 0:
                silent = sum(number.n == 0 for number, _ in numbers)
            if not known:
                texts += ["n/a", "", "n/a", "n/a", ""]
                continue
            (low, low_cell), (high, high_cell) = known[0], known[-1]
            middle = 0.5 * (known[(len(known) - 1) // 2][0] + known[len(known) // 2][0])
            texts += [fixed(low, 3), f"({low_cell})", fixed(middle, 3), fixed(high, 3), f"({high_cell})"]
        yield (method, *texts, str(silent))
