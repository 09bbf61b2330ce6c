"""What is done in a results folder, what failed and why."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from simstudy.report.tables.blocks import Block, Heading, Paragraph
from simstudy.report.tables.text import Line, TextTable
from simstudy.runner.status import StatusRecord

MAX_UNFINISHED = 20


def status_lines(found: StatusRecord) -> list[Line]:
    """Counts of fits by method, cells with missing fits, reasons of failures, damaged parts, versions."""
    lines = [Line(text) for text in _head(found)]
    lines += [Line(f"  {line.text}", line.style) for line in _by_method(found).lines()]
    if unfinished := _unfinished(found):
        lines += [Line(""), Line(unfinished)]
    failures = _failures(found)
    if failures:
        lines += [Line(""), Line("What failed and why:"), *(Line(text) for text in failures)]
    lines += [Line(f"{message}; running the design again replaces it") for message in found.damaged]
    return [*lines, Line(""), Line(_versions(found))]


def status_blocks(found: StatusRecord) -> list[Block]:
    """The same as blocks."""
    head, *more = _head(found)
    blocks: list[Block] = [Heading(head, 1), *(Paragraph(text.strip()) for text in more), _by_method(found)]
    if unfinished := _unfinished(found):
        blocks.append(Paragraph(unfinished))
    failures = _failures(found)
    if failures:
        blocks += [Heading("What failed and why"), *(Paragraph(text.strip()) for text in failures)]
    blocks += [Paragraph(f"{message}; running the design again replaces it") for message in found.damaged]
    return [*blocks, Paragraph(_versions(found), quiet=True)]


def _head(found: StatusRecord) -> list[str]:
    table = found.progress
    missing, there = int(table["missing"].sum()), int(table["done"].sum())
    done = "complete" if found.complete else f"{missing:,} fits are missing"
    asked = table["done"] + table["missing"]
    low, high = int(asked.min()), int(asked.max())
    span = f"{low:,} replications" if low == high else f"{low:,} to {high:,} replications a cell"
    lines = [f"{found.name}: {there:,} of {there + missing:,} fits ({span}), {done}"]
    if found.until:
        targets = ", ".join(f"{name} {value:g}" for name, value in found.until["targets"].items())
        lines.append(
            f"  replicated until the Monte Carlo SEs are: {targets}; at most {found.until['maximum']:,} a cell"
        )
    return lines


def _by_method(found: StatusRecord) -> TextTable:
    table = found.progress
    facts = [name for name in table.columns[list(table.columns).index("done") :] if name != "missing"]
    counts = table.groupby("estimator", sort=False)[["done", "missing", *facts[1:]]].sum().reset_index()
    rows = tuple(tuple(map(str, row)) for row in counts.itertuples(index=False, name=None))
    return TextTable(tuple(map(str, counts.columns)), rows, left=1)


def _unfinished(found: StatusRecord) -> str:
    table = found.progress
    cells = table[table["missing"] > 0].groupby("cell")["missing"].sum().index
    if not len(cells):
        return ""
    shown = ", ".join(str(cell) for cell in cells[:MAX_UNFINISHED])
    return f"cells with missing fits: {shown}{', ...' if len(cells) > MAX_UNFINISHED else ''}"


def _failures(found: StatusRecord) -> list[str]:
    """A line a message, and how to look at the first fit that stopped with an error."""
    lines = []
    for (name, state, message), rows in found.problems.groupby(["estimator", "status", "message"], sort=False):
        first = rows.iloc[0]
        cells = f"{len(rows)} cells" if len(rows) > 1 else f"cell {first['cell']}"
        lines.append(f"  {name}, {state}, {int(rows['count'].sum()):,} fits in {cells}: {message}")
        if state in ("EXCEPTION", "NONFINITE"):
            lines.append(f"    the first: {_replay(found.folder, first, str(name))}")
    return lines


def _replay(folder: Path, first: pd.Series, name: str) -> str:
    return f"simstudy replay {folder} --cell {first['cell']} --rep {first['replicate']} --estimator {name}"


def _versions(found: StatusRecord) -> str:
    return "begun with " + ", ".join(f"{name} {version}" for name, version in found.versions.items())
