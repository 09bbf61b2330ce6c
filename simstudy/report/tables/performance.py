"""Print and write performance tables.

A style turns a `View` into blocks, and into a data frame of the same numbers; add one to `STYLES` and every caller and
every format knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from simstudy.errors import SimstudyError, did_you_mean
from simstudy.report.tables.as_csv import csv_text
from simstudy.report.tables.blocks import Block
from simstudy.report.tables.render import to_html, to_latex, to_lines, to_markdown
from simstudy.report.tables.styles.mplus import mplus_blocks, mplus_frame
from simstudy.report.tables.styles.simdesign import simdesign_blocks, simdesign_frame
from simstudy.report.tables.styles.simstudy import brief_blocks, simstudy_blocks
from simstudy.report.tables.styles.simsum import simsum_blocks, simsum_frame
from simstudy.report.tables.text import Line
from simstudy.report.tables.view import View, choose_measures, make_view
from simstudy.runner.files import write_bytes

FILE_WIDTH = 160
"""Characters a line where the output is no terminal (a file, a pipe)."""
PAGE_WIDTH = 110
"""Characters a line of a LaTeX table: what fits across a page in its small type with margins of 2.5 cm."""
SCREEN_WIDTH = 200
"""Characters a line of an HTML or Markdown table; wider ones scroll, which paper cannot."""
WIDE = 10_000
"""Width where nothing is read by people."""


@dataclass(frozen=True)
class Style:
    """A layout.

    Parameters
    ----------
    blocks : callable
        View -> blocks to render.
    frame : callable or None
        View -> the same numbers with every digit; None: the long performance table.
    """

    blocks: Callable[[View], list[Block]]
    frame: Callable[[View], pd.DataFrame] | None = None


STYLES: Mapping[str, Style] = MappingProxyType(
    {
        "simstudy": Style(simstudy_blocks),
        "mplus": Style(mplus_blocks, mplus_frame),
        "simdesign": Style(simdesign_blocks, simdesign_frame),
        "simsum": Style(simsum_blocks, simsum_frame),
    }
)
"""Name of a style -> how it lays a view out."""

FORMATS = ("text", "latex", "html", "markdown", "csv")


def check_style(style: str, measures: Sequence[str] | None = None) -> None:
    """Refuse an unknown style, unknown measures, and measures for a style that has its own.

    Raises
    ------
    SimstudyError
    """
    if style not in STYLES:
        known = ", ".join(STYLES)
        raise SimstudyError(f"style: there is no table style '{style}'{did_you_mean(style, STYLES)}; allowed: {known}")
    if choose_measures(measures) and style != "simstudy":
        raise SimstudyError(f"measures: the style '{style}' has its own; choose measures with the style 'simstudy'")


def _view(performance: pd.DataFrame, failures: pd.DataFrame, style: str, width: int, options: dict[str, Any]) -> View:
    check_style(style, options.get("measures"))
    return make_view(
        performance,
        failures,
        **{"parameters": None, "cells": None, "measures": None, **options},
        width=width,
    )


def performance_lines(
    performance: pd.DataFrame,
    failures: pd.DataFrame,
    *,
    style: str = "simstudy",
    width: int = FILE_WIDTH,
    more: Sequence[Block] = (),
    **options: Any,
) -> list[Line]:
    """Lay out a study's performance as lines of text; see `print_performance`."""
    view = _view(performance, failures, style, width, options)
    return to_lines([*STYLES[style].blocks(view), *more], width)


def performance_blocks(performance: pd.DataFrame, failures: pd.DataFrame, **options: Any) -> list[Block]:
    """Lay out bias, coverage and failures of a study in brief; options as in `format_performance`."""
    return brief_blocks(_view(performance, failures, "simstudy", SCREEN_WIDTH, options))


def print_performance(
    console: Console, performance: pd.DataFrame, failures: pd.DataFrame, *, style: str = "simstudy", **options: Any
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
    **options
        As in `format_performance`.

    Raises
    ------
    SimstudyError
        If a style, parameter, cell, measure or factor is unknown.
    """
    width = console.width if console.is_terminal else FILE_WIDTH
    for line in performance_lines(performance, failures, style=style, width=width, **options):
        console.print(Text(line.text, style=line.style), soft_wrap=True)


def format_performance(
    performance: pd.DataFrame,
    failures: pd.DataFrame,
    format: str,
    *,
    style: str = "simstudy",
    more: Sequence[Block] = (),
    **options: Any,
) -> str:
    """Write a study's performance as text in one of `FORMATS`.

    Parameters
    ----------
    performance, failures : DataFrame
        From `simstudy.performance.performance_table` and `failures_table`.
    format : str
        ``text``; ``latex``: a fragment with booktabs tables; ``html``: a whole page; ``markdown``: pipe tables;
        ``csv``: the long performance table, or that of the style, with every digit.
    style : str
        A key of `STYLES`.
    more : sequence of Block
        What follows the tables, not in ``csv``.
    **options
        parameters : names or patterns (``["*"]``: all); by default the labelled and the defined parameters, in ``csv``
        all.  cells : cells to show with every measure; by default all, shortened where that would be long.  measures :
        names or patterns of measures instead of the usual columns (style ``simstudy``).  factors : factor columns that
        name a cell.  level : level of the intervals.  study_name : title.  replications : asked for in each cell.

    Raises
    ------
    SimstudyError
        If a format, style, parameter, cell, measure or factor is unknown.
    """
    if format not in FORMATS:
        allowed = ", ".join(FORMATS)
        raise SimstudyError(f"format: there is no '{format}'{did_you_mean(format, FORMATS)}; allowed: {allowed}")
    if format == "csv":
        return csv_text(_frame(performance, failures, style, options))
    widths = {"text": FILE_WIDTH, "latex": PAGE_WIDTH, "html": SCREEN_WIDTH, "markdown": SCREEN_WIDTH}
    view = _view(performance, failures, style, widths[format], options)
    blocks = [*STYLES[style].blocks(view), *more]
    if format == "text":
        return "\n".join(line.text for line in to_lines(blocks, FILE_WIDTH)) + "\n"
    if format == "latex":
        return to_latex(blocks)
    return to_html(blocks, view.study_name) if format == "html" else to_markdown(blocks)


def _frame(performance: pd.DataFrame, failures: pd.DataFrame, style: str, options: dict[str, Any]) -> pd.DataFrame:
    """Numbers of a style with every digit; the rows asked for, by default all."""
    chosen = {**options, "parameters": options.get("parameters") or ["*"]}
    view = _view(performance, failures, style, WIDE, chosen)
    frame = STYLES[style].frame
    if frame is not None:
        return frame(view)
    keep = performance["cell"].isin(view.cells)
    if options.get("parameters"):
        keep &= performance["parameter"].isin(view.parameters)
    if options.get("measures"):
        keep &= performance["measure"].isin(choose_measures(options["measures"]))
    return performance[keep]


def write_text(text: str, path: str | Path) -> Path:
    """Write a text file, complete or not at all, making its folder if need be."""
    target = Path(path)
    write_bytes(target, text.encode())
    return target


def write_csv(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a table as CSV with every digit, missing numbers empty; complete or not at all."""
    return write_text(csv_text(table), path)
