"""Mplus' Monte Carlo table, which readers of Muthén & Muthén (2002) look for first."""

from __future__ import annotations

import math

from simstudy.report.failures import common_lines, failure_lines, tail_lines
from simstudy.report.text import NOTHING, Line, Number, plain, wrapped
from simstudy.report.view import View

MAX_LINES = 400
_SECTIONS = {
    "within": "Within Level",
    "between": "Between Level",
    "both": "Within and Between Level",
    "": "New/Additional Parameters",
}
_WIDTHS = (12, 11, 12, 10, 12, 7, 7)


def mplus_lines(view: View) -> list[Line]:
    """One block a cell, method and kind of SE, as far as a reader would read; then failures and formulas."""
    lines = [Line(f"MONTE CARLO RESULTS  {view.study_name}", "bold"), Line("")]
    blocks = [
        (cell, method, kind) for cell in view.cells for method in view.estimators for kind in _kinds(view, cell, method)
    ]
    shown = 0
    for block in blocks:
        lines += [*_block(view, *block), Line("")]
        shown += 1
        if not view.cells_chosen and len(lines) > MAX_LINES:
            break
    notes = list(view.left_out)
    if shown < len(blocks):
        last = blocks[shown - 1]
        rest = f"{len(blocks) - shown} of {len(blocks)} blocks, all after cell {last[0]}, {last[1]}, SE {last[2]}"
        notes.append(f"{rest} (--cell K shows the cells you name)")
    if notes:
        text = f"Not shown: {'; '.join(notes)}; the CSV file has every number."
        lines += [*(Line(line, "dim") for line in wrapped(text, view.width)), Line("")]
    return [*lines, *failure_lines(view), *common_lines(view), *tail_lines(view), Line(""), *_formulas(view)]


def _kinds(view: View, cell: int, method: str) -> list[str]:
    """Kinds of SE that the method has for any parameter shown."""
    found = dict.fromkeys(kind for name in view.parameters for kind in view.kinds.get((cell, name, method), ()))
    return list(found)


def _columns(texts: tuple[str, ...]) -> str:
    return "".join(text.rjust(width) for text, width in zip(texts, _WIDTHS, strict=True))


def _block(view: View, cell: int, method: str, kind: str) -> list[Line]:
    """Replications requested and completed, then the parameters by level."""
    fits = view.failures[(view.failures["cell"] == cell) & (view.failures["estimator"] == method)]
    completed = int(fits["converged"].sum())
    name_width = max(16, *(len(name) + 4 for name in view.parameters))
    percent = f"{100 * view.level:g}%"
    lines = [
        Line(f"{view.cell_title(cell)}; method {method}{f', SE {kind}' if kind else ''}", "bold underline"),
        Line("Number of replications"),
        Line(f"    Requested {view.asked(cell):>12}"),
        Line(f"    Completed {completed:>12}"),
        Line(""),
        Line(" " * name_width + _columns(("", "ESTIMATES", "", "S. E.", "M. S. E.", percent, "% Sig"))),
        Line(" " * name_width + _columns(("Population", "Average", "Std. Dev.", "Average", "", "Cover", "Coeff"))),
    ]
    for level, heading in _SECTIONS.items():
        names = [name for name in view.parameters if view.parameter_levels.get(name, "") == level]
        names = [name for name in names if kind in view.kinds.get((cell, name, method), ())]
        if names:
            lines += [Line(f"{heading}")]
            lines += [Line(f"  {name}".ljust(name_width) + _row(view, cell, name, method, kind)) for name in names]
    return lines


def _row(view: View, cell: int, parameter: str, method: str, kind: str) -> str:
    """Numbers with Mplus' decimals: 3 for the population, cover and % sig, 4 for the others."""

    def number(measure: str) -> Number:
        return view.number(cell, parameter, method, kind, measure)

    truth = view.truth.get((cell, parameter), math.nan)
    bias, deviation = number("bias"), number("empirical_se")
    square = Number(deviation.value**2 + bias.value**2, math.nan, bias.n) if bias.n else NOTHING
    texts = (
        plain(Number(truth, math.nan, 1), 3),
        plain(number("mean_estimate"), 4),
        plain(deviation, 4),
        plain(number("mean_se"), 4),
        plain(square, 4),
        plain(number("coverage"), 3),
        plain(number("rejection"), 3),
    )
    return _columns(texts)


def _formulas(view: View) -> list[Line]:
    """Definitions as in the Mplus User's Guide, chapter 12."""
    texts = (
        "Population: true value. Average: mean(est). Std. Dev.: sqrt(sum((est - mean(est))^2)/(n - 1)). "
        "S.E. Average: mean(SE). M.S.E.: Std. Dev.^2 + (Average - Population)^2. "
        f"{100 * view.level:g}% Cover: share of intervals with lower <= Population <= upper. "
        "% Sig Coeff: share of intervals that exclude 0 (power; type I error where Population = 0).",
        "Completed: replications that converged; the numbers are theirs. n/a: no replication has the number. "
        "-: undefined. Monte Carlo standard errors: style 'simstudy', or the CSV file.",
    )
    return [Line(line, "dim") for text in texts for line in wrapped(text, view.width)]
