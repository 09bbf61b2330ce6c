"""The tidy layout of rsimsum (Gasparini, 2018) and Stata's simsum (White, 2010): statistic, estimate, mcse."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from simstudy.report.tables.blocks import Block, Definitions, Heading, Paragraph
from simstudy.report.tables.failures import common_lines, failure_blocks, tail_lines
from simstudy.report.tables.text import Number, TextTable, fixed
from simstudy.report.tables.view import View

MAX_ROWS = 300
# statistic: measure, factor by which it is multiplied, what it is
STATISTICS = {
    "nsim": ("mean_estimate", 1.0, "replicates with an estimate"),
    "thetamean": ("mean_estimate", 1.0, "mean(est)"),
    "bias": ("bias", 1.0, "mean(est) - truth"),
    "rbias": ("relative_bias", 1.0, "(mean(est) - truth)/truth"),
    "empse": ("empirical_se", 1.0, "sd(est)"),
    "mse": ("mse", 1.0, "mean((est - truth)^2)"),
    "relprec": (
        "relative_precision",
        100.0,
        "% gain in precision over the reference method, 100((empse_ref/empse)^2 - 1), on common replicates",
    ),
    "modelse": ("model_se", 1.0, "sqrt(mean(SE^2))"),
    "relerror": ("se_ratio", 100.0, "% error of the model SE, 100(modelse/empse - 1)"),
    "cover": ("coverage", 1.0, "share of intervals that contain the truth"),
    "becover": ("bias_eliminated_coverage", 1.0, "share of intervals that contain mean(est)"),
    "power": ("rejection", 1.0, "share of intervals that exclude 0"),
}


def simsum_blocks(view: View) -> list[Block]:
    """One table a cell, as far as a reader would read."""
    one_kind = view.one_kind
    blocks: list[Block] = [Heading(f"{view.study_name}: {view.replications:,} replications", 1)]
    rows = shown = 0
    for cell in view.cells:
        table = _table(view, cell, one_kind)
        if rows and rows + len(table.rows) > MAX_ROWS and not view.cells_chosen:
            break
        blocks.append(table)
        rows += len(table.rows)
        shown += 1
    notes = list(view.left_out)
    if shown < len(view.cells):
        notes.append(f"{len(view.cells) - shown} of {len(view.cells)} cells (--cell K shows the cells you name)")
    if notes:
        blocks.append(Paragraph(f"Not shown: {'; '.join(notes)}; the CSV file has every number.", quiet=True))
    return [*blocks, *failure_blocks(view), *common_lines(view), *tail_lines(view), *_formulas(view)]


def statistics(view: View, cell: int, parameter: str, method: str, kind: str) -> Iterator[tuple[str, Number]]:
    """Every statistic of one method, in rsimsum's order and units."""
    for name, (measure, factor, _) in STATISTICS.items():
        number = view.number(cell, parameter, method, kind, measure)
        if name == "relprec" and not view.reference:
            continue
        if name == "nsim":
            yield name, Number(float(number.n), math.nan, 1)
        elif name == "relerror":
            yield name, Number(factor * (number.value - 1.0), factor * number.mcse, number.n)
        elif name == "relprec" and method == view.reference:
            yield name, Number(0.0, 0.0, view.number(cell, parameter, method, kind, "empirical_se").n)
        else:
            yield name, Number(factor * number.value, factor * number.mcse, number.n)


def _table(view: View, cell: int, one_kind: bool) -> TextTable:
    rows = []
    for parameter in view.parameters:
        for method, kind in view.arms(cell, parameter):
            for name, number in statistics(view, cell, parameter, method, kind):
                value = "n/a" if number.n == 0 else fixed(number.value, 0 if name == "nsim" else 4)
                error = "" if math.isnan(number.mcse) else fixed(number.mcse, 4)
                rows.append((parameter, method, *(() if one_kind else (kind,)), name, value, error))
    header = ("parameter", "method", *(() if one_kind else ("SE",)), "stat", "est", "mcse")
    return TextTable(header, tuple(rows), left=len(header) - 2, title=view.cell_title(cell))


def simsum_frame(view: View) -> pd.DataFrame:
    """One row a cell, parameter, method, kind of SE and statistic, with every digit."""
    rows = [
        {
            **view.labels(cell),
            "parameter": parameter,
            "method": method,
            "se_kind": kind,
            "stat": name,
            "est": number.value,
            "mcse": number.mcse,
        }
        for cell in view.cells
        for parameter in view.parameters
        for method, kind in view.arms(cell, parameter)
        for name, number in statistics(view, cell, parameter, method, kind)
    ]
    return pd.DataFrame(rows)


def _formulas(view: View) -> list[Block]:
    items = tuple((name, meaning) for name, (_, _, meaning) in STATISTICS.items())
    said = f"Reference method: {view.reference}. " if view.reference else ""
    text = (
        f"{said}mcse: Monte Carlo standard errors of Morris, White & Crowther (2019); for rates at 0 or 1 the "
        "half-width of Wilson's interval / 1.96, where simsum prints 0. n/a: no replicate has the number. -: undefined."
    )
    return [Definitions("Statistics (est: estimate, SE: its standard error)", items), Paragraph(text, quiet=True)]
