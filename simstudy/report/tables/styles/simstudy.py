"""The default table: every measure for a few cells, bias and coverage for many, ranges for very many."""

from __future__ import annotations

from simstudy.performance import MEASURES
from simstudy.report.tables.blocks import Block, Definitions, Heading, Paragraph
from simstudy.report.tables.failures import common_lines, failure_blocks, tail_lines
from simstudy.report.tables.styles.compact import OVERVIEW_PARAMETERS, compact_blocks, overview_blocks
from simstudy.report.tables.styles.full import FULL, full_blocks
from simstudy.report.tables.view import View

MAX_FULL_CELLS = 12
MAX_LINES = 250
SUMMARY = ("bias", "coverage")


def simstudy_blocks(view: View) -> list[Block]:
    """Lay out the whole report: title, tables, what is left out, failures, formulas."""
    body, notes, shown = _body(view)
    return [
        Heading(title(view), 1),
        *body,
        *(Paragraph(note, quiet=True) for note in notes),
        *failure_blocks(view),
        *common_lines(view),
        *tail_lines(view),
        *formula_blocks(view, shown),
    ]


def brief_blocks(view: View) -> list[Block]:
    """Bias and coverage alone, and what failed: what a notebook shows of a study."""
    fits = len(view.parameters) * (len(view.cells) + 5) <= MAX_LINES
    body = compact_blocks(view, SUMMARY) if fits else overview_blocks(view, SUMMARY)
    return [Heading(title(view), 1), *body, *failure_blocks(view)]


def formula_blocks(view: View, shown: tuple[str, ...]) -> list[Block]:
    """Each measure shown, with its formula and that of its Monte Carlo standard error; the names of the others."""
    title = "Measures (est: estimate, SE: its standard error, n: replicates that entered, MCSE in parentheses)"
    named = [name for name in MEASURES if name in shown]
    explained = (
        "n/a: no replicate has the number (never counted as 0). -: undefined. n: converged replicates with an "
        "estimate; a second number counts those with an interval."
    )
    if view.reference and any(MEASURES[name].paired for name in named):
        explained += f" ref: {view.reference}, the reference method (--reference NAME chooses another)."
    others = ", ".join(name for name in MEASURES if name not in named)
    found: list[Block] = [Definitions(title, tuple((MEASURES[name].label, MEASURES[name].formula) for name in named))]
    found.append(Paragraph(explained, quiet=True))
    if others:
        found.append(Paragraph(f"Further measures (--measures NAME, and the CSV file): {others}.", quiet=True))
    return found


def title(view: View) -> str:
    """Name and size of the study."""
    cells, methods = len(view.cells), len(view.estimators)
    return (
        f"{view.study_name}: {_replications(view)}, {cells} cell{'s' * (cells != 1)}, "
        f"{methods} method{'s' * (methods != 1)}, {100 * view.level:g}% intervals"
    )


def _replications(view: View) -> str:
    numbers = {view.asked(cell) for cell in view.cells} or {view.replications}
    low, high = min(numbers), max(numbers)
    return f"{low:,} replications" if low == high else f"{low:,} to {high:,} replications a cell"


def _body(view: View) -> tuple[list[Block], list[str], tuple[str, ...]]:
    """Choose the longest form that stays readable; tell what it leaves out, and which measures it shows."""
    left_out = f"Not shown: {'; '.join(view.left_out)}; the CSV file has every number." if view.left_out else ""
    notes = [left_out] if left_out else []
    full_rows = sum(len(kinds) for kinds in view.kinds.values()) + 3 * len(view.cells) * len(view.parameters)
    if view.cells_chosen or (len(view.cells) <= MAX_FULL_CELLS and full_rows <= MAX_LINES):
        blocks, dropped = full_blocks(view)
        if dropped:
            names = ", ".join(MEASURES[name].label for name in dropped)
            notes.append(f"Columns left out to fit {view.width} characters: {names}; --measures chooses columns.")
        return blocks, notes, tuple(name for name in view.measures or FULL if name not in dropped)
    measures = view.measures or SUMMARY
    said = " and ".join(MEASURES[name].label.lower() if name in SUMMARY else MEASURES[name].label for name in measures)
    if len(view.parameters) * (len(view.cells) + 5) <= MAX_LINES:
        notes.append(f"Only {said} are shown; --cell K gives every measure of a cell.")
        return compact_blocks(view, measures), notes, measures
    notes.append(
        f"{len(view.cells)} cells x {len(view.parameters)} parameters are too many to list: ranges over cells are "
        "shown. --cell K or --parameter NAME gives every measure of those."
    )
    if len(view.parameters) > OVERVIEW_PARAMETERS:
        notes.append(f"Only the first {OVERVIEW_PARAMETERS} of {len(view.parameters)} parameters are shown.")
    return overview_blocks(view, measures), notes, measures
