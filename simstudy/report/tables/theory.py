"""Tables of theory: limits, true and reported SEs, coverage and power."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
from rich.console import Console
from rich.text import Text

from simstudy.report.tables.performance import FILE_WIDTH
from simstudy.report.tables.text import Line, TextTable, beside, fixed, narrowed, wrapped
from simstudy.report.tables.view import Shown, facts_shown, rows_shown

MAX_FULL_CELLS = 8
MAX_LINES = 250
MARKS: Mapping[str, str] = {
    "exact": "*",
    "second_order": "'",
    "normal_draws": "+",
    "asymptotic": "",
    "large_samples": "~",
}
"""Mark behind a number, by how it was found."""
FIRST_ORDER = ("asymptotic", "large_samples")
"""Calculations of normal estimates around the limit: every number has one of them."""
UNKNOWN = "n/a"
PAGES = "docs/theory/"
"""Where this project explains formulas."""
NEGATIVE_FROM = 0.0005
"""Probability of a negative variance from which it is printed."""

# Headings; the first to go on a narrow terminal last. Limit and asymptotic bias are asymptotic by definition.
_DROPPED_FIRST = ("relative_bias", "bias_at_j", "rejection", "limit")
_HEADINGS = {
    "limit": "Limit",
    "bias": "Asy. bias",
    "relative_bias": "Rel. bias",
    "bias_at_j": "Bias at J",
    "empirical_se": "True SE",
    "model_se": "Rep. SE",
    "se_ratio": "SE ratio",
    "coverage": "Coverage",
    "rejection": "Power",
}
Key = tuple[int, str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class _Theory(Shown):
    """A table of theory, looked up by (cell, parameter, method, SE kind, measure)."""

    first_order: Mapping[Key, tuple[float, str]]
    reported: Mapping[Key, float]
    best: Mapping[Key, tuple[float, str]]
    notes: Mapping[str, tuple[str, int]]
    negative: Mapping[int, tuple[str, ...]]


def print_lines(console: Console, lines: Sequence[Line]) -> None:
    """Print lines of a report."""
    for line in lines:
        console.print(Text(line.text, style=line.style), soft_wrap=True)


def width_of(console: Console) -> int:
    """Characters a line: the terminal's, or those of a file."""
    return console.width if console.is_terminal else FILE_WIDTH


def formula_lines(places: Mapping[str, str], width: int) -> list[Line]:
    """Where the formulas of each method are explained; ``places`` as in `estimators`, by method."""
    told = [f"{method} {place.replace('; ', ', ').replace(PAGES, '')}" for method, place in places.items() if place]
    if not told:
        return []
    return [Line(line, "dim") for line in wrapped(f"Formulas, in {PAGES}: {'; '.join(told)}.", width)]


def theory_lines(
    table: pd.DataFrame,
    best: pd.DataFrame,
    *,
    parameters: Sequence[str] | None,
    cells: Sequence[int] | None,
    factors: Sequence[str],
    level: float,
    study_name: str,
    calculations: Mapping[str, str],
    width: int = FILE_WIDTH,
) -> list[Line]:
    """Lay out `simstudy.bias`: every measure for a few cells, bias and coverage for many, ranges for very many.

    Parameters
    ----------
    table, best : DataFrame
        From `simstudy.bias`, and its most exact rows.
    parameters : sequence of str, optional
        Names or patterns; by default the labelled and the defined parameters.
    cells : sequence of int, optional
        Cells to show with every measure.
    calculations : mapping
        Ways of calculation, explained.

    Raises
    ------
    SimstudyError
        If a parameter or cell is unknown.
    """
    view = _view(table, best, parameters, cells, factors, level, study_name, width)
    n, m = len(view.settings), len(view.estimators)
    title = f"{study_name}: theory, no simulation; {n} cell{'s' * (n != 1)}, {m} method{'s' * (m != 1)}"
    lines = [Line(f"{title}, {100 * level:g}% intervals", "bold"), Line("")]
    rows = sum(len(kinds) for kinds in view.kinds.values()) + 3 * n * len(view.parameters)
    if view.cells_chosen or (n <= MAX_FULL_CELLS and rows <= MAX_LINES):
        lines += _full(view)
    elif len(view.parameters) * (n + 5) <= MAX_LINES:
        lines += _compact(view)
    else:
        lines += _overview(view)
    said = [f"Not shown: {'; '.join(view.left_out)}."] if view.left_out else []
    lines += [Line(line, "dim") for text in said for line in wrapped(text, width)]
    return lines + _note_lines(view) + _legend(calculations, width)


def _view(
    table: pd.DataFrame,
    best: pd.DataFrame,
    parameters: Sequence[str] | None,
    cells: Sequence[int] | None,
    factors: Sequence[str],
    level: float,
    study_name: str,
    width: int,
) -> _Theory:
    shown = facts_shown(table, parameters, cells, factors)
    keys = ["cell", "parameter", "estimator", "se_kind", "measure"]

    def pick(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[rows["parameter"].isin(shown["parameters"]) & rows["cell"].isin(shown["settings"])]

    def indexed(rows: pd.DataFrame) -> dict[Key, tuple[float, str]]:
        found = zip(rows["value"], rows["method_of_calculation"], strict=True)
        return dict(zip(zip(*(rows[k] for k in keys), strict=True), found, strict=True))

    rows = pick(table[table["method_of_calculation"].isin(FIRST_ORDER)])
    errors = pick(table[table["measure"] == "model_se"])
    places_of = zip(*(errors[k] for k in (*keys[:4], "method_of_calculation")), strict=True)
    noted = rows[(rows["note"] != "") & (rows["measure"] == "empirical_se")]
    return _Theory(
        **shown,
        **rows_shown(rows),
        study_name=study_name,
        level=level,
        width=width,
        first_order=indexed(rows),
        reported=dict(zip(places_of, errors["value"], strict=True)),
        best=indexed(pick(best)),
        notes={
            (f"{estimator}: {note}"): (str(part["cell"].iloc[0]), int(part["cell"].nunique()))
            for (estimator, note), part in noted.groupby(["estimator", "note"], sort=False)
        },
        negative=_negative(best[best["cell"].isin(shown["settings"])]),
    )


def _negative(best: pd.DataFrame) -> dict[int, tuple[str, ...]]:
    """Variances that are estimated as negative or 0 with a probability worth printing, by cell."""
    rows = best[(best["measure"] == "negative_variance") & (best["value"] >= NEGATIVE_FROM)]
    rows = rows.drop_duplicates(["cell", "estimator", "parameter"])
    found: dict[int, list[str]] = {}
    for cell, method, name, value, how in zip(
        *(rows[k] for k in ("cell", "estimator", "parameter", "value", "method_of_calculation")), strict=True
    ):
        found.setdefault(int(cell), []).append(f"{method}, {name} {fixed(value, 3)}{MARKS.get(how, '')}")
    return {cell: tuple(texts) for cell, texts in found.items()}


def _text(view: _Theory, key: tuple[int, str, str, str], column: str) -> str:
    """A number with the mark of its calculation."""
    if column in ("limit", "bias", "relative_bias"):
        value, how = view.first_order.get((*key, "mean_estimate" if column == "limit" else column), (math.nan, ""))
        if math.isnan(value):
            return UNKNOWN
        return (f"{fixed(100.0 * value, 1)}%" if column == "relative_bias" else fixed(value, 4)) + MARKS.get(how, "")
    value, how = view.best.get((*key, "bias" if column == "bias_at_j" else column), (math.nan, ""))
    if column == "model_se":  # calculated as the true one beside it, so that the ratio is theirs
        _, how = view.best.get((*key, "empirical_se"), (math.nan, ""))
        if (*key, how) not in view.reported:
            how = next((name for name in FIRST_ORDER if (*key, name) in view.reported), "")
        value = view.reported.get((*key, how), math.nan)
    if math.isnan(value) or (column == "bias_at_j" and how in FIRST_ORDER):
        return UNKNOWN
    return fixed(value, 3 if column in ("se_ratio", "coverage", "rejection") else 4) + MARKS.get(how, "")


def _full(view: _Theory) -> list[Line]:
    """One block a cell, one table a parameter."""
    one_kind = view.one_kind
    pairs = [(cell, parameter) for cell in view.settings for parameter in view.parameters]

    def make(columns: Sequence[str]) -> dict[tuple[int, str], TextTable]:
        return {pair: _parameter_table(view, *pair, columns, one_kind) for pair in pairs}

    tables, _ = narrowed(tuple(_HEADINGS), _DROPPED_FIRST, make, view.width)
    lines: list[Line] = []
    for cell in view.settings:
        lines += [Line(view.cell_title(cell), "bold underline"), Line("")]
        for parameter in view.parameters:
            lines += [Line(view.parameter_title(parameter, cell)), *tables[cell, parameter].lines(), Line("")]
        if cell in view.negative:
            text = f"P(variance estimated as negative or 0): {'; '.join(view.negative[cell])}"
            lines += [*(Line(line) for line in wrapped(text, view.width)), Line("")]
    return lines


def _parameter_table(view: _Theory, cell: int, parameter: str, columns: Sequence[str], one_kind: bool) -> TextTable:
    header = ("Method", *(() if one_kind else ("SE",)), *(_HEADINGS[name] for name in columns))
    shared = ("limit", "bias", "relative_bias", "bias_at_j", "empirical_se")
    rows = []
    for estimator in view.estimators:
        for position, kind in enumerate(view.kinds.get((cell, parameter, estimator), ())):
            texts = [
                "" if position and name in shared else _text(view, (cell, parameter, estimator, kind), name)
                for name in columns
            ]
            rows.append(("" if position else estimator, *(() if one_kind else (kind,)), *texts))
    return TextTable(header, tuple(rows), left=1 if one_kind else 2)


def _compact(view: _Theory) -> list[Line]:
    """One row a cell, asymptotic bias and coverage of every method."""
    lines: list[Line] = []
    for parameter in view.parameters:
        lines.append(Line(f"{view.parameter_title(parameter)}: asymptotic bias, and coverage at J", "bold underline"))
        for found in beside(view.estimators, partial(_compact_table, view, parameter), view.width):
            lines += [*found.lines(), Line("")]
    return [*lines, Line("Only bias and coverage are shown; --cell K gives every measure of a cell.", "dim")]


def _compact_table(view: _Theory, parameter: str, methods: Sequence[str]) -> TextTable:
    rows = []
    for cell in view.settings:
        texts = []
        for method in methods:
            kind = view.first_kind(cell, parameter, method)
            key = (cell, parameter, method, kind)
            bias, _ = view.first_order.get((*key, "bias"), (math.nan, ""))
            texts += [UNKNOWN if math.isnan(bias) else fixed(bias, 3), _text(view, key, "coverage")]
        rows.append((str(cell), *view.settings[cell], fixed(view.truth.get((cell, parameter), math.nan), 3), *texts))
    header = ("cell", *view.factors, "truth", *(["bias", "cover"] * len(methods)))
    groups = (("", len(view.factors) + 2), *((method, 2) for method in methods))
    return TextTable(header, tuple(rows), left=len(view.factors) + 1, groups=groups)


def _overview(view: _Theory) -> list[Line]:
    """One row a method: smallest and largest bias and coverage over cells."""
    lines: list[Line] = []
    header = ("Method", "lowest", "(cell)", "highest", "(cell)", "lowest", "(cell)", "highest", "(cell)")
    for parameter in view.parameters[:20]:
        heading = f"{view.parameter_title(parameter)}: asymptotic bias, and coverage, over {len(view.settings)} cells"
        lines.append(Line(heading, "bold underline"))
        rows = []
        for method in view.estimators:
            texts: list[str] = []
            for measure in ("bias", "coverage"):
                known = []
                for cell in view.settings:
                    kind = view.first_kind(cell, parameter, method)
                    key = (cell, parameter, method, kind, measure)
                    value, _ = (view.first_order if measure == "bias" else view.best).get(key, (math.nan, ""))
                    if not math.isnan(value):
                        known.append((value, cell))
                ends = (min(known), max(known)) if known else ()
                texts += [t for value, cell in ends for t in (fixed(value, 3), f"({cell})")] or [
                    UNKNOWN,
                    "",
                    UNKNOWN,
                    "",
                ]
            rows.append((method, *texts))
        table = TextTable(header, tuple(rows), groups=(("", 1), ("Bias", 4), ("Coverage", 4)))
        lines += [*table.lines(), Line("")]
    return [*lines, Line("--cell K or --parameter NAME gives every measure of those.", "dim")]


def _note_lines(view: _Theory) -> list[Line]:
    """Why numbers are missing, or doubtful."""
    if not view.notes:
        return []
    lines = [Line(""), Line("Missing or doubtful numbers:")]
    for note, (cell, count) in view.notes.items():
        where = f" (cell {cell}{f' and {count - 1} more' if count > 1 else ''})"
        lines += [Line(line) for line in wrapped(f"  {note}{where}", view.width, "    ")]
    return lines


def _legend(calculations: Mapping[str, str], width: int) -> list[Line]:
    """What the columns and the marks mean."""
    texts = [
        "Limit: what the estimates converge to as J grows. Asy. bias: limit - truth. Bias at J: mean estimate - truth "
        "with the cell's J. True SE: standard deviation of the estimates. Rep. SE: what the method reports, "
        "sqrt(mean SE^2). SE ratio: reported / true. Power: P(the interval excludes 0).",
        "Numbers are those of the most exact calculation there is:",
    ]
    lines = [Line(""), *(Line(line, "dim") for text in texts for line in wrapped(text, width))]
    for name, text in calculations.items():
        mark = f"{MARKS[name]} " if MARKS.get(name) else "  "
        lines += [Line(line, "dim") for line in wrapped(f"  {mark}{name}: {text}", width, "      ")]
    return lines
