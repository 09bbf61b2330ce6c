"""What a figure shows, in one to three sentences: the alternative text for readers who do not see it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from simstudy.report.figures.panels import as_number, in_level_order
from simstudy.report.figures.registry import Drawing
from simstudy.report.figures.select import factor_columns
from simstudy.report.figures.words import FACTOR_LABELS, factor_label, measure_title, series_words, truth_words
from simstudy.report.tables.text import setting

MAX_METHODS = 8
"""Methods of which a description gives the numbers one by one."""


def number(value: float, as_percent: bool = False) -> str:
    """Three significant digits, with a proper minus."""
    if not np.isfinite(value):
        return "n/a"
    text = f"{100 * value:.3g}%" if as_percent else f"{value:.3g}"
    return text.replace("-", "−").replace("−0 ", "0 ")


def _measures(data: pd.DataFrame) -> list[str]:
    return [str(name) for name in data["measure"].unique()]


def _ranges(data: pd.DataFrame, as_percent: bool) -> str:
    """Median and range of every method."""
    parts = []
    cells = data["cell"].nunique()
    groups = list(data.groupby("estimator", sort=False))
    for name, mine in groups[:MAX_METHODS]:
        values = mine["value"].to_numpy(dtype=np.float64)
        values = values[np.isfinite(values)]
        if not len(values):
            parts.append(f"{name} no number")
        elif cells == 1:
            parts.append(f"{name} {number(values[0], as_percent)}")
        else:
            low, middle, high = (number(float(value), as_percent) for value in np.quantile(values, (0.0, 0.5, 1.0)))
            parts.append(f"{name} {middle} ({low} to {high})")
    more = len(groups) - MAX_METHODS
    if more > 0:
        parts.append(f"and {more} further methods")
    return "; ".join(parts)


def _crossed(data: pd.DataFrame, x: str) -> str:
    """Name what the values depend on."""
    varying = [name for name in factor_columns(data) if data[name].nunique() > 1]
    others = [spoken(name) for name in varying if name != x]
    text = f", against {spoken(x)} ({_levels(data[x])})" if x in varying else ""
    return text + (f", by {series_words(others)}" if others else "")


def spoken(factor: str) -> str:
    """Name of a factor inside a sentence."""
    label = factor_label(factor)
    return label[0].lower() + label[1:] if factor in FACTOR_LABELS else label


def _levels(column: pd.Series) -> str:
    levels = in_level_order(column.tolist())
    if not any(np.isnan(as_number(level)) for level in levels):
        return f"{setting(levels[0])} to {setting(levels[-1])}"
    return ", ".join(setting(level) for level in levels)


def by_cell(drawn: Drawing) -> str:
    """Median and range over cells of each method, a measure at a time."""
    data = drawn.data
    cells = data["cell"].nunique()
    about = "" if cells == 1 else f"Median over {cells} cells and range: "
    texts = []
    for measure in _measures(data):
        rows = data[data["measure"] == measure]
        name = f"{measure_title(measure, 0.95)}: " if len(_measures(data)) > 1 else ""
        texts.append(f"{name}{_ranges(rows, drawn.as_percent)}.")
    truth = f", {truth_words(data['truth'])}" if str(data["parameter"].iloc[0]) else ""
    return f"{drawn.title}{truth}{_crossed(data, drawn.x)}. {about}{' '.join(texts)}"
