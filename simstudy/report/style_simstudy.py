"""The default table: every measure for a few cells, bias and coverage for many, ranges for very many."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from simstudy.performance import LABELS, MEASURES
from simstudy.report.failures import common_lines, failure_lines, tail_lines
from simstudy.report.text import Line, Number, TextTable, fixed, percent, plain, with_mcse, wrapped
from simstudy.report.view import View

MAX_FULL_CELLS = 12
MAX_LINES = 250
OVERVIEW_PARAMETERS = 20

# Columns of the full table, the first to be left out on a narrow terminal last.
_FULL = (
    "bias",
    "median_bias",
    "relative_bias",
    "empirical_se",
    "model_se",
    "se_ratio",
    "rmse",
    "coverage",
    "rejection",
)
_DROPPED_FIRST = ("median_bias", "rmse", "model_se", "empirical_se", "rejection", "relative_bias")


def simstudy_lines(view: View) -> list[Line]:
    """Lay out the whole report: title, tables, what is left out, failures, formulas."""
    body, notes = _body(view)
    lines = [Line(_title(view), "bold"), Line(""), *body]
    if notes:
        lines += [Line(line, "dim") for note in notes for line in wrapped(note, view.width)] + [Line("")]
    lines += [*failure_lines(view), *common_lines(view), *tail_lines(view), Line("")]
    return lines + formula_lines(view.width)


def formula_lines(width: int) -> list[Line]:
    """Every measure with its formula and the formula of its Monte Carlo standard error."""
    lines = [Line("Measures (est: estimate, SE: its standard error, n: replicates that entered, MCSE in parentheses)")]
    name_width = max(len(label) for label in LABELS.values()) + 2
    for name, formula in MEASURES.items():
        text = f"  {LABELS[name]:<{name_width}}{formula}"
        lines += [Line(line, "dim") for line in wrapped(text, width, " " * (name_width + 2))]
    explained = (
        "n/a: no replicate has the number (never counted as 0). -: undefined. n: converged replicates with an "
        "estimate; a second number counts those with an interval."
    )
    return [*lines, *(Line(line, "dim") for line in wrapped(explained, width))]


def _title(view: View) -> str:
    cells, methods = len(view.cells), len(view.estimators)
    return (
        f"{view.study_name}: {_replications(view)}, {cells} cell{'s' * (cells != 1)}, "
        f"{methods} method{'s' * (methods != 1)}, {100 * view.level:g}% intervals"
    )


def _replications(view: View) -> str:
    numbers = {view.asked(cell) for cell in view.cells} or {view.replications}
    low, high = min(numbers), max(numbers)
    return f"{low:,} replications" if low == high else f"{low:,} to {high:,} replications a cell"


def _body(view: View) -> tuple[list[Line], list[str]]:
    """Choose the longest form that stays readable; tell what it leaves out."""
    left_out = f"Not shown: {'; '.join(view.left_out)}; the CSV file has every number." if view.left_out else ""
    notes = [left_out] if left_out else []
    full_rows = sum(len(kinds) for kinds in view.kinds.values()) + 3 * len(view.cells) * len(view.parameters)
    if view.cells_chosen or (len(view.cells) <= MAX_FULL_CELLS and full_rows <= MAX_LINES):
        lines, dropped = _full(view)
        if dropped:
            names = ", ".join(LABELS[name] for name in dropped)
            notes.append(f"Columns left out to fit {view.width} characters: {names}; a wider terminal has them.")
        return lines, notes
    if len(view.parameters) * (len(view.cells) + 5) <= MAX_LINES:
        notes.append("Only bias and coverage are shown; --cell K gives every measure of a cell.")
        return _compact(view), notes
    notes.append(
        f"{len(view.cells)} cells x {len(view.parameters)} parameters are too many to list: ranges over cells are "
        "shown. --cell K or --parameter NAME gives every measure of those."
    )
    if len(view.parameters) > OVERVIEW_PARAMETERS:
        notes.append(f"Only the first {OVERVIEW_PARAMETERS} of {len(view.parameters)} parameters are shown.")
    return _overview(view), notes


def _full(view: View) -> tuple[list[Line], list[str]]:
    """One block a cell, one table a parameter; also the columns that did not fit."""
    pairs = [(cell, parameter) for cell in view.cells for parameter in view.parameters]
    one_kind = len({kind for kinds in view.kinds.values() for kind in kinds if kind}) <= 1
    columns = list(_FULL)
    dropped: list[str] = []
    for candidate in (None, *_DROPPED_FIRST):
        if candidate is not None:
            columns.remove(candidate)
            dropped.append(candidate)
        tables = {pair: _parameter_table(view, *pair, columns, one_kind) for pair in pairs}
        if max((table.width() for table in tables.values()), default=0) <= view.width:
            break
    lines: list[Line] = []
    for cell in view.cells:
        lines += [Line(view.cell_title(cell), "bold underline"), Line("")]
        for parameter in view.parameters:
            truth = view.truth.get((cell, parameter), math.nan)
            said = "no true value" if math.isnan(truth) else f"truth {truth:.6g}"
            lines += [Line(f"{view.parameter_title(parameter)}, {said}"), *tables[cell, parameter].lines(), Line("")]
    return lines, dropped


def _parameter_table(view: View, cell: int, parameter: str, columns: Sequence[str], one_kind: bool) -> TextTable:
    """Rows are methods and kinds of SE; what does not depend on the SE is printed once a method."""
    headings = [f"{LABELS[name]} (MCSE)" if name in ("bias", "coverage") else LABELS[name] for name in columns]
    header = ("Method", *(() if one_kind else ("SE",)), *headings, "n")
    rows = []
    for estimator in view.estimators:
        for position, kind in enumerate(view.kinds.get((cell, parameter, estimator), ())):
            numbers = {name: view.number(cell, parameter, estimator, kind, name) for name in _FULL}
            same = position > 0
            texts = [_cell_text(name, numbers[name], same) for name in columns]
            n, n_interval = numbers["bias"].n, numbers["coverage"].n
            count = f"{n}" if n == n_interval else f"{n}/{n_interval}"
            name = "" if same else estimator
            rows.append((name, *(() if one_kind else (kind,)), *texts, count))
    return TextTable(header, tuple(rows), left=1 if one_kind else 2)


def _cell_text(name: str, number: Number, same_as_above: bool) -> str:
    if same_as_above and name in ("bias", "median_bias", "relative_bias", "empirical_se", "rmse"):
        return ""
    if name == "relative_bias":
        return percent(number)
    if name in ("bias", "coverage"):
        return with_mcse(number, 4 if name == "bias" else 3)
    return plain(number, 3 if name in ("se_ratio", "rejection") else 4)


def _compact(view: View) -> list[Line]:
    """One row a cell, two columns a method; several tables side by side become several tables below each other."""
    lines: list[Line] = []
    for parameter in view.parameters:
        lines.append(Line(f"{view.parameter_title(parameter)}: bias and coverage", "bold underline"))
        methods = list(view.estimators)
        while methods:
            count = len(methods)
            while count > 1 and _compact_table(view, parameter, methods[:count]).width() > view.width:
                count -= 1
            lines += [*_compact_table(view, parameter, methods[:count]).lines(), Line("")]
            methods = methods[count:]
    return lines


def _compact_table(view: View, parameter: str, methods: Sequence[str]) -> TextTable:
    """Rows are cells; the last row has the largest MCSE of each column."""
    largest = [math.nan] * (2 * len(methods))
    rows = []
    for cell in view.cells:
        texts = []
        for position, method in enumerate(methods):
            kind = view.first_kind(cell, parameter, method)
            for offset, measure in enumerate(("bias", "coverage")):
                number = view.number(cell, parameter, method, kind, measure)
                texts.append(plain(number, 3))
                column = 2 * position + offset
                largest[column] = float(np.fmax(largest[column], number.mcse))
        truth = fixed(view.truth.get((cell, parameter), math.nan), 3)
        rows.append((str(cell), *view.settings[cell], truth, *texts))
    blank = [""] * (len(view.factors) + 1)
    rows.append(("MCSE <=", *blank, *(_rounded_up(value) for value in largest)))
    header = ("cell", *view.factors, "truth", *(["bias", "cover"] * len(methods)))
    groups = (("", len(view.factors) + 2), *((method, 2) for method in methods))
    return TextTable(header, tuple(rows), left=len(view.factors) + 1, groups=groups)


def _rounded_up(value: float) -> str:
    """Three decimals, never less than the value: it is a bound."""
    return fixed(math.ceil(value * 1000.0 - 1e-9) / 1000.0, 3) if math.isfinite(value) else ""


def _overview(view: View) -> list[Line]:
    """One row a method: smallest, middle and largest bias and coverage over cells, with the cells of the extremes."""
    lines: list[Line] = []
    range_header = ("lowest", "(cell)", "median", "highest", "(cell)")
    header = ("Method", *range_header, *range_header, "cells n/a")
    for parameter in view.parameters[:OVERVIEW_PARAMETERS]:
        title = f"{view.parameter_title(parameter)}: bias and coverage over {len(view.cells)} cells"
        lines.append(Line(title, "bold underline"))
        rows = tuple(_ranges(view, parameter))
        table = TextTable(header, rows, groups=(("", 1), ("Bias", 5), ("Coverage", 5), ("", 1)))
        lines += [*table.lines(), Line("")]
    return lines


def _ranges(view: View, parameter: str) -> Iterator[tuple[str, ...]]:
    for method in view.estimators:
        texts: list[str] = []
        silent = 0
        for measure in ("bias", "coverage"):
            numbers = [
                (view.number(cell, parameter, method, view.first_kind(cell, parameter, method), measure), cell)
                for cell in view.cells
            ]
            known = sorted((number.value, cell) for number, cell in numbers if not math.isnan(number.value))
            if measure == "bias":
                silent = sum(number.n == 0 for number, _ in numbers)
            if not known:
                texts += ["n/a", "", "n/a", "n/a", ""]
                continue
            (low, low_cell), (high, high_cell) = known[0], known[-1]
            middle = 0.5 * (known[(len(known) - 1) // 2][0] + known[len(known) // 2][0])
            texts += [fixed(low, 3), f"({low_cell})", fixed(middle, 3), fixed(high, 3), f"({high_cell})"]
        yield (method, *texts, str(silent))
