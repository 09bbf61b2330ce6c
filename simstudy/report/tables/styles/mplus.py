"""Mplus' Monte Carlo table, which readers of Muthén & Muthén (2002) look for first."""

from __future__ import annotations

import math

import pandas as pd

from simstudy.report.tables.blocks import Block, Heading, Paragraph
from simstudy.report.tables.failures import common_lines, failure_blocks, tail_lines
from simstudy.report.tables.text import NOTHING, Number, TextTable, plain
from simstudy.report.tables.view import View

MAX_LINES = 400
_SECTIONS = {
    "within": "Within Level",
    "between": "Between Level",
    "both": "Within and Between Level",
    "": "New/Additional Parameters",
}
_LINES_A_BLOCK = 10  # besides the parameters


def mplus_blocks(view: View) -> list[Block]:
    """One part a cell, method and kind of SE, as far as a reader would read; then failures and formulas."""
    parts = [
        (cell, method, kind) for cell in view.cells for method in view.estimators for kind in _kinds(view, cell, method)
    ]
    shown = parts
    if not view.cells_chosen:
        shown = parts[: max(1, MAX_LINES // (_LINES_A_BLOCK + len(view.parameters)))]
    blocks: list[Block] = [Heading(f"MONTE CARLO RESULTS  {view.study_name}", 1)]
    for part in shown:
        blocks += _part(view, *part)
    notes = list(view.left_out)
    if len(shown) < len(parts):
        last = shown[-1]
        rest = f"{len(parts) - len(shown)} of {len(parts)} blocks, all after cell {last[0]}, {last[1]}, SE {last[2]}"
        notes.append(f"{rest} (--cell K shows the cells you name)")
    if notes:
        blocks.append(Paragraph(f"Not shown: {'; '.join(notes)}; the CSV file has every number.", quiet=True))
    return [*blocks, *failure_blocks(view), *common_lines(view), *tail_lines(view), *_formulas(view)]


def _kinds(view: View, cell: int, method: str) -> list[str]:
    """Kinds of SE that the method has for any parameter shown."""
    found = dict.fromkeys(kind for name in view.parameters for kind in view.kinds.get((cell, name, method), ()))
    return list(found)


def _completed(view: View, cell: int, method: str) -> int:
    fits = view.failures[(view.failures["cell"] == cell) & (view.failures["estimator"] == method)]
    return int(fits["converged"].sum())


def _part(view: View, cell: int, method: str, kind: str) -> list[Block]:
    """Replications requested and completed, then the parameters by level."""
    title = f"{view.cell_title(cell)}; method {method}{f', SE {kind}' if kind else ''}"
    counts = (("    Requested", str(view.asked(cell))), ("    Completed", str(_completed(view, cell, method))))
    rows: list[tuple[str, ...]] = []
    for level, heading in _SECTIONS.items():
        names = [name for name in view.parameters if view.parameter_levels.get(name, "") == level]
        names = [name for name in names if kind in view.kinds.get((cell, name, method), ())]
        if names:
            rows.append((heading, *([""] * 7)))
            rows += [(f"  {name}", *_texts(view, cell, name, method, kind)) for name in names]
    percent = f"{100 * view.level:g}%"
    groups = (("", 1), ("ESTIMATES", 3), ("S. E.", 1), ("M. S. E.", 1), (percent, 1), ("% Sig", 1))
    header = ("", "Population", "Average", "Std. Dev.", "Average", "", "Cover", "Coeff")
    return [
        Heading(title),
        TextTable((), counts, title="Number of replications"),
        TextTable(header, tuple(rows), groups=groups, context=title),
    ]


def mplus_numbers(view: View, cell: int, parameter: str, method: str, kind: str) -> dict[str, Number]:
    """Numbers of one row by Mplus' headings."""

    def number(measure: str) -> Number:
        return view.number(cell, parameter, method, kind, measure)

    truth = view.truth.get((cell, parameter), math.nan)
    bias, deviation = number("bias"), number("empirical_se")
    square = Number(deviation.value**2 + bias.value**2, math.nan, bias.n) if bias.n else NOTHING
    return {
        "Population": Number(truth, math.nan, 1),
        "Average": number("mean_estimate"),
        "Std. Dev.": deviation,
        "S.E. Average": number("mean_se"),
        "M.S.E.": square,
        f"{100 * view.level:g}% Cover": number("coverage"),
        "% Sig Coeff": number("rejection"),
    }


def _texts(view: View, cell: int, parameter: str, method: str, kind: str) -> list[str]:
    """Numbers with Mplus' decimals: 3 for the population, cover and % sig, 4 for the others."""
    numbers = mplus_numbers(view, cell, parameter, method, kind).values()
    return [plain(number, places) for number, places in zip(numbers, (3, 4, 4, 4, 4, 3, 3), strict=True)]


def mplus_frame(view: View) -> pd.DataFrame:
    """The same numbers with every digit, one row a cell, method, kind of SE and parameter."""
    rows = [
        {
            **view.labels(cell),
            "estimator": method,
            "se_kind": kind,
            "parameter": parameter,
            "level": view.parameter_levels.get(parameter, ""),
            "Requested": view.replications,
            "Completed": _completed(view, cell, method),
            **{name: number.value for name, number in mplus_numbers(view, cell, parameter, method, kind).items()},
        }
        for cell in view.cells
        for method in view.estimators
        for parameter in view.parameters
        for kind in view.kinds.get((cell, parameter, method), ())
    ]
    return pd.DataFrame(rows)


def _formulas(view: View) -> list[Block]:
    """Definitions as in the Mplus User's Guide, chapter 12."""
    texts = (
        "Population: true value. Average: mean(est). Std. Dev.: sqrt(sum((est - mean(est))^2)/(n - 1)). "
        "S.E. Average: mean(SE). M.S.E.: Std. Dev.^2 + (Average - Population)^2. "
        f"{100 * view.level:g}% Cover: share of intervals with lower <= Population <= upper. "
        "% Sig Coeff: share of intervals that exclude 0 (power; type I error where Population = 0).",
        "Completed: replications that converged; the numbers are theirs. n/a: no replication has the number. "
        "-: undefined. Monte Carlo standard errors: style 'simstudy', or the CSV file.",
    )
    return [Paragraph(text, quiet=True) for text in texts]
