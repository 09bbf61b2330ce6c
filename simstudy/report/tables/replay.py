"""One fit, stored and made again, side by side."""

from __future__ import annotations

import pandas as pd

from simstudy.report.tables.blocks import Block, Heading, Paragraph
from simstudy.report.tables.text import Line, TextTable
from simstudy.runner.replay import NUMBERS, ReplayRecord


def replay_lines(found: ReplayRecord) -> list[Line]:
    """Every number as stored and as made again, and whether they are the same."""
    lines = [Line(_head(found))]
    for table in _tables(found):
        lines += [Line(f"  {line.text}", line.style) for line in table.lines()]
    if found.error:
        lines += [Line(text) for text in found.error.splitlines()]
    return [*lines, Line(verdict(found))]


def replay_blocks(found: ReplayRecord) -> list[Block]:
    """The same as blocks."""
    error = [Paragraph(found.error)] if found.error else []
    return [Heading(_head(found), 1), *_tables(found), *error, Paragraph(verdict(found))]


def verdict(found: ReplayRecord) -> str:
    """Whether the fit is the stored one, to the last bit."""
    if found.identical:
        return "identical, bit for bit"
    why = f"versions have changed: {found.changes}" if found.changes else "the versions are the same"
    return f"DIFFERENT, by {found.largest:.1g} at most (relative); {why}"


def _head(found: ReplayRecord) -> str:
    return f"cell {found.cell}, replicate {found.replicate}, {found.estimator}: stored, and again"


def _tables(found: ReplayRecord) -> tuple[TextTable, TextTable]:
    shown = [name for name in NUMBERS if found.table[[name, f"{name}_again"]].notna().any(axis=None)]
    numbers = found.table[["se_kind", "param", *(c for name in shown for c in (name, f"{name}_again"))]]
    return _text_table(numbers, 2), _text_table(found.facts.rename_axis("fit").reset_index(), 1)


def _text_table(table: pd.DataFrame, left: int) -> TextTable:
    rows = tuple(tuple(_shown(value) for value in row) for row in table.itertuples(index=False, name=None))
    return TextTable(tuple(map(str, table.columns)), rows, left=left)


def _shown(value: object) -> str:
    """Write numbers with every digit, so that equal numbers look equal."""
    if isinstance(value, float):
        return "-" if value != value else repr(float(value))
    return str(value)
