"""What a study with a target of precision reached, cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from simstudy.report.tables.text import TextTable, setting

MAX_ROWS = 60


def until_lines(table: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """One line a cell, or only the cells that did not reach every target where there are many; the CSV file has all.

    Parameters
    ----------
    table : DataFrame
        From `simstudy.api.Results.until`.
    factors : sequence of str
        Factor columns.
    """
    silent = table["needed"].isna() & (table["estimator"] == "")
    missed = table.loc[~table["met"] & ~silent, "cell"].unique()
    cells = table.drop_duplicates("cell")
    low, high = int(cells["replicates"].min()), int(cells["replicates"].max())
    span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    pairs = dict(zip(table["measure"], table["target"], strict=True))
    targets = ", ".join(f"{name} {value:g}" for name, value in pairs.items())
    title = f"Precision ({targets}): reached in {len(cells) - len(missed)} of {len(cells)} cells"
    lines = ["", f"{title}; {span} replicates a cell, {int(cells['replicates'].sum()):,} in all"]
    shown = list(cells["cell"]) if len(cells) <= MAX_ROWS else list(missed)
    if shown:
        some = table[table["cell"].isin(shown[:MAX_ROWS])]
        lines += [f"  {line.text}" for line in _table(some, factors).lines()]
    if len(shown) > MAX_ROWS:
        lines.append(f"  and {len(shown) - MAX_ROWS} more; until.csv has every cell")
    for note in dict.fromkeys(
        table.loc[table["note"] != "", "measure"] + ": " + table.loc[table["note"] != "", "note"]
    ):
        lines.append(f"  {note}")
    if len(missed):
        lines.append(
            f"  NOT reached in {len(missed)} of {len(cells)} cells, as they are at the maximum; with a larger "
            "--max-reps the same command goes on from here"
        )
    return lines


def _table(rows: pd.DataFrame, factors: Sequence[str]) -> TextTable:
    """Largest Monte Carlo SE of each target, and the method and parameter that asks for most replicates."""
    measures = list(dict.fromkeys(rows["measure"]))
    body = []
    for cell, group in rows.groupby("cell", sort=False):
        first = group.iloc[0]
        errors = {row["measure"]: "-" if np.isnan(row["mcse"]) else f"{row['mcse']:.3g}" for row in _records(group)}
        levels = (setting(first[name]) for name in factors)
        body.append((str(cell), *levels, f"{first['replicates']:,}", *(errors[m] for m in measures), *_binding(group)))
    header = ("cell", *factors, "replicates", *(f"MCSE {name}" for name in measures), "decided by", "")
    return TextTable(header, tuple(body), left=len(factors) + 1)


def _binding(group: pd.DataFrame) -> tuple[str, str]:
    """Where the most replicates are needed, and whether that was reached."""
    waited = group[group["estimator"] != ""]
    if waited.empty:
        return "-", "nothing to measure"
    unmet = waited[~waited["met"]]
    row = (unmet if len(unmet) else waited).sort_values("needed", ascending=False, na_position="first").iloc[0]
    where = ", ".join(str(row[name]) for name in ("estimator", "parameter", "se_kind") if row[name])
    if row["met"]:
        return where, "reached"
    if np.isnan(row["needed"]):
        return where, "not reached: nothing converged"
    two_digits = float(f"{row['needed']:.2g}")  # a projection says no more
    return where, f"not reached: it would need about {two_digits:,.0f}"


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
