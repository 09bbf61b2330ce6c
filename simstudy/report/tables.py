"""Print and write performance tables.

A style is a function from a `View` to lines; add one to `STYLES` and every caller knows it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pandas as pd
from rich.console import Console
from rich.text import Text

from simstudy.errors import SimstudyError, did_you_mean
from simstudy.report.style_mplus import mplus_lines
from simstudy.report.style_simstudy import simstudy_lines
from simstudy.report.text import Line
from simstudy.report.view import View, make_view

FILE_WIDTH = 160
"""Characters a line where the output is no terminal (a file, a pipe)."""

STYLES: Mapping[str, Callable[[View], list[Line]]] = MappingProxyType(
    {"simstudy": simstudy_lines, "mplus": mplus_lines}
)
"""Name of a style -> function that lays a view out."""


def performance_lines(
    performance: pd.DataFrame,
    failures: pd.DataFrame,
    *,
    style: str = "simstudy",
    parameters: Sequence[str] | None = None,
    cells: Sequence[int] | None = None,
    factors: Sequence[str],
    level: float,
    study_name: str,
    replications: int,
    cell_replications: Mapping[int, int] | None = None,
    width: int = FILE_WIDTH,
) -> list[Line]:
    """Lay out a study's performance as lines of text; see `print_performance`."""
    if style not in STYLES:
        known = ", ".join(STYLES)
        raise SimstudyError(f"style: there is no table style '{style}'{did_you_mean(style, STYLES)}; allowed: {known}")
    view = make_view(
        performance,
        failures,
        parameters=parameters,
        cells=cells,
        factors=factors,
        level=level,
        study_name=study_name,
        replications=replications,
        cell_replications=cell_replications,
        width=width,
    )
    return STYLES[style](view)


def print_performance(
    console: Console,
    performance: pd.DataFrame,
    failures: pd.DataFrame,
    *,
    style: str = "simstudy",
    parameters: Sequence[str] | None = None,
    cells: Sequence[int] | None = None,
    factors: Sequence[str],
    level: float,
    study_name: str,
    replications: int,
    cell_replications: Mapping[int, int] | None = None,
) -> None:
    """Print a study's performance, its failures and the formulas of its measures.

    Parameters
    ----------
    console : rich.console.Console
        Where to print; without a terminal the output is plain text, `FILE_WIDTH` characters wide.
    performance, failures : DataFrame
        From `simstudy.performance.performance_table` and `failures_table`.
    style : str
        A key of `STYLES`.
    parameters : sequence of str, optional
        Names or patterns (``["*"]``: all); by default the labelled and the defined parameters.
    cells : sequence of int, optional
        Cells to show with every measure; by default all, shortened to bias and coverage where that would be long.
    factors : sequence of str
        Factor columns that name a cell.
    level : float
        Level of the intervals.
    study_name : str
        Title.
    replications : int
        Replications asked for in each cell.
    cell_replications : mapping, optional
        Those of the cells for which another number was asked.

    Raises
    ------
    SimstudyError
        If a style, parameter, cell or factor is unknown.
    """
    lines = performance_lines(
        performance,
        failures,
        style=style,
        parameters=parameters,
        cells=cells,
        factors=factors,
        level=level,
        study_name=study_name,
        replications=replications,
        cell_replications=cell_replications,
        width=console.width if console.is_terminal else FILE_WIDTH,
    )
    for line in lines:
        console.print(Text(line.text, style=line.style), soft_wrap=True)


def write_csv(performance: pd.DataFrame, path: str | Path) -> Path:
    """Write a table as CSV with every digit, missing numbers empty; complete or not at all.

    Returns
    -------
    Path
        The file written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    performance.to_csv(unfinished, index=False, lineterminator="\n", encoding="utf-8")
    return unfinished.replace(target)
