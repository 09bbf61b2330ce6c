"""How each measure is written in a cell of a table."""

from __future__ import annotations

from simstudy.performance import MEASURES
from simstudy.report.tables.text import Number, percent, percent_with_mcse, plain, with_mcse


def cell_text(measure: str, number: Number, *, mcse: bool) -> str:
    """Write a number, with its Monte Carlo SE in parentheses if asked for."""
    found = MEASURES[measure]
    if found.percent:
        return percent_with_mcse(number) if mcse else percent(number)
    return with_mcse(number, found.decimals) if mcse else plain(number, found.decimals)


def heading(measure: str, *, mcse: bool) -> str:
    """Heading of a column."""
    return f"{MEASURES[measure].label} (MCSE)" if mcse else MEASURES[measure].label
