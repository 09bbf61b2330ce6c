"""The part of every table that says what failed: counts by status, inadmissible solutions, common replicates.

Failures are always reported, also when there are none (Pawel, Bartos, Siepe & Lohmann, 2026: 23 % of 482 simulation
studies mention missing results).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from simstudy.performance import FAILURE_COLUMNS
from simstudy.report.tables.blocks import Block, Paragraph
from simstudy.report.tables.text import TextTable, fixed
from simstudy.report.tables.view import View

MAX_ROWS = 24
MIN_REPLICATES_FOR_TAILS = 50


def counted(failures: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return failures with a column `failed`, missing counts as 0, and the statuses other than OK that occur."""
    counts = failures.fillna(0)
    statuses = [name for name in counts.columns if name not in (*FAILURE_COLUMNS, "OK")]
    occurring = [name for name in statuses if counts[name].sum() > 0]
    return counts.assign(failed=counts["attempted"] - counts["converged"]), occurring


def failure_blocks(view: View) -> list[Block]:
    """Failures and inadmissible solutions per method and cell; per method where that would be a long table."""
    if view.failures.empty:
        return [Paragraph("Failures: none recorded; the table of fits is empty.")]
    counts, statuses = counted(view.failures)
    n_cells = counts["cell"].nunique()
    attempted = f"{int(counts['attempted'].sum()):,} fits, {n_cells} cell{'s' * (n_cells != 1)}"
    if counts["failed"].sum() == 0 and counts["inadmissible"].sum() == 0:
        return [Paragraph(f"Failures: none ({attempted}); every solution is admissible.")]
    if counts["failed"].sum() == 0:
        title = f"Failures: none ({attempted}). Inadmissible solutions, which count as converged:"
    else:
        title = f"Failures ({int(counts['failed'].sum()):,} of {attempted}) and inadmissible solutions:"
    affected = counts[(counts["failed"] > 0) | (counts["inadmissible"] > 0)]
    if len(affected) <= MAX_ROWS:
        return [replace(by_cell(view, affected, statuses), title=title)]
    note = f"By method; {len(affected)} pairs of cell and method are affected (--cell K shows them cell by cell)."
    return [replace(by_method(view, counts, statuses), title=title), Paragraph(note, quiet=True)]


def by_cell(view: View, affected: pd.DataFrame, statuses: list[str]) -> TextTable:
    """One row a cell and method."""
    rows = []
    for row in affected.sort_values("cell", kind="stable").to_dict("records"):
        cell = int(row["cell"])
        facts = [row["attempted"], row["converged"], *(row[name] for name in statuses), row["inadmissible"]]
        rows.append((str(cell), *view.settings[cell], str(row["estimator"]), *(f"{int(fact)}" for fact in facts)))
    header = ("cell", *view.factors, "method", "attempted", "converged", *statuses, "inadmissible")
    return TextTable(header, tuple(rows), left=len(view.factors) + 2)


def by_method(view: View, counts: pd.DataFrame, statuses: list[str]) -> TextTable:
    """One row a method, with its worst cell."""
    rows = []
    for method in view.estimators:
        mine = counts[counts["estimator"] == method]
        if mine.empty:
            continue
        share = (mine["failed"] / mine["attempted"]).to_numpy(dtype=np.float64)
        worst = int(np.argmax(share))
        where = f"{fixed(100 * share[worst], 1)}% in cell {int(mine['cell'].iloc[worst])}" if share[worst] > 0 else "-"
        names = ["attempted", "converged", *statuses, "inadmissible"]
        rows.append((method, *(f"{int(mine[name].sum())}" for name in names), where))
    header = ("method", "attempted", "converged", *statuses, "inadmissible", "most failures")
    return TextTable(header, tuple(rows))


def common_lines(view: View) -> list[Paragraph]:
    """How much changes on the replicates on which every method succeeded; nothing to say if no method failed."""
    both = view.common[(view.common["n"] > 0) & view.common["value"].notna()]
    changed = both[both["n_common"] < both["n"]]
    if changed.empty:
        return []
    low, high = int(changed["n_common"].min()), int(changed["n_common"].max())
    span = f"{low}" if low == high else f"{low} to {high}"
    text = (
        "Common replicates: numbers above are case-wise, each method on its own converged replicates. "
        f"On the replicates where every method succeeded ({span} a cell)"
    )
    parts = []
    for measure in ("bias", "coverage"):
        rows = changed[(changed["measure"] == measure) & changed["value_common"].notna()]
        if len(rows):
            size = (rows["value_common"] - rows["value"]).abs().to_numpy(dtype=np.float64)
            top = rows.iloc[int(np.argmax(size))]
            parts.append(
                f"{measure} changes by at most {fixed(float(size.max()), 4)} "
                f"({top['estimator']}, {top['parameter']}, cell {int(top['cell'])})"
            )
    said = " and ".join(parts) if parts else "nothing can be computed"
    text = f"{text} {said}. Rows with basis 'common' in the CSV file have every number."
    return [Paragraph(text)]


def tail_lines(view: View) -> list[Paragraph]:
    """Name the methods whose mean is decided by few replicates, as that of a ratio without moments (theory B8).

    For normal estimates the mean's MCSE is .8 of the median's; more than twice the median's means tails so heavy that
    bias, empirical SE and RMSE do not settle down with more replications.
    """
    found: dict[tuple[str, str], list[int]] = {}
    for (cell, parameter, method), kinds in view.kinds.items():
        mean = view.number(cell, parameter, method, kinds[0], "bias")
        median = view.number(cell, parameter, method, kinds[0], "median_bias")
        if mean.n >= MIN_REPLICATES_FOR_TAILS and mean.mcse > 2.0 * median.mcse:
            found.setdefault((method, parameter), []).append(cell)
    if not found:
        return []
    parts = []
    for (method, parameter), cells in found.items():
        some = ", ".join(str(cell) for cell in cells[:6]) + (", ..." if len(cells) > 6 else "")
        parts.append(f"{method}, {parameter} in cell{'s' * (len(cells) > 1)} {some}")
    shown = "; ".join(parts[:6]) + (f"; and {len(parts) - 6} more" if len(parts) > 6 else "")
    text = (
        f"Heavy tails: {shown}. A few replicates decide the mean there (its MCSE is more than twice the median's): "
        "read median bias, not bias, empirical SE or RMSE."
    )
    return [Paragraph(text)]
