"""What a figure shows, in one to three sentences: the alternative text for readers who do not see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from simstudy.errors import SimstudyError, did_you_mean
from simstudy.report.figures.panels import as_number, in_level_order
from simstudy.report.figures.select import factor_columns
from simstudy.report.figures.words import FACTOR_LABELS, factor_label, measure_title, series_words, truth_words
from simstudy.report.tables.text import setting

MAX_METHODS = 8
"""Methods of which a description gives the numbers one by one."""


def describe(kind: str, data: pd.DataFrame, *, title: str = "", x: str = "", as_percent: bool = False) -> str:
    """Say in words and numbers what a figure shows.

    Parameters
    ----------
    kind : str
        Kind of figure.
    data : DataFrame
        The numbers drawn (its CSV).
    title : str
        Title of the figure; by default made of the data.
    x : str
        Factor of the x axis, if there is one.
    as_percent : bool
        Write values as per cent.

    Raises
    ------
    SimstudyError
        If there is no such kind.
    """
    if kind not in _DESCRIBE:
        raise SimstudyError(
            f"kind: there is no '{kind}'{did_you_mean(kind, _DESCRIBE)}; allowed: {', '.join(_DESCRIBE)}"
        )
    return _DESCRIBE[kind](data, title, x, as_percent)


def number(value: float, as_percent: bool = False) -> str:
    """Three significant digits, with a proper minus."""
    if not np.isfinite(value):
        return "n/a"
    text = f"{100 * value:.3g}%" if as_percent else f"{value:.3g}"
    return text.replace("-", "−").replace("−0 ", "0 ")


def _measures(data: pd.DataFrame) -> list[str]:
    return [str(name) for name in data["measure"].unique()]


def _title(data: pd.DataFrame, title: str) -> str:
    if title:
        return title
    parameter = str(data["parameter"].iloc[0]) if "parameter" in data.columns else ""
    words = " and ".join(measure_title(name, 0.95) for name in _measures(data)) if "measure" in data.columns else ""
    return ": ".join(text for text in (words, parameter) if text)


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


def _by_cell(data: pd.DataFrame, title: str, x: str, as_percent: bool) -> str:
    cells = data["cell"].nunique()
    about = "" if cells == 1 else f"Median over {cells} cells and range: "
    texts = []
    for measure in _measures(data):
        rows = data[data["measure"] == measure]
        name = f"{measure_title(measure, 0.95)}: " if len(_measures(data)) > 1 else ""
        texts.append(f"{name}{_ranges(rows, as_percent)}.")
    truth = f", {truth_words(data['truth'])}" if str(data["parameter"].iloc[0]) else ""
    return f"{_title(data, title)}{truth}{_crossed(data, x)}. {about}{' '.join(texts)}"


def _factors(data: pd.DataFrame, title: str, x: str, as_percent: bool) -> str:
    parts = []
    groups = list(data.groupby("estimator", sort=False))
    for name, mine in groups[:MAX_METHODS]:
        known = mine[mine["eta_squared"].notna()].sort_values("eta_squared", ascending=False, kind="stable").head(2)
        terms = (
            f"{' × '.join(spoken(part) for part in str(term).split(':'))} {value:.2f}"
            for term, value in zip(known["term"], known["eta_squared"], strict=True)
        )
        parts.append(f"{name}: {', '.join(terms) or 'no number'}")
    more = f"; and {len(groups) - MAX_METHODS} further methods" if len(groups) > MAX_METHODS else ""
    return f"{_title(data, title)}. Eta squared, the two largest terms of each method: {'; '.join(parts)}{more}."


def _zip(data: pd.DataFrame, title: str, x: str, as_percent: bool) -> str:
    first = data.drop_duplicates("estimator")
    rows = zip(first["estimator"], first["coverage"], first["coverage_mcse"], first["n"], strict=True)
    parts = [f"{name} {100 * share:.1f}% (MCSE {100 * mcse:.1f}) of {n:,}" for name, share, mcse, n in rows]
    return f"{_title(data, title)}, {truth_words(data['truth'])}, ranked by |z|. Coverage: {'; '.join(parts)}."


def _scatter(data: pd.DataFrame, title: str, x: str, as_percent: bool) -> str:
    first = data.drop_duplicates("estimator")
    rows = zip(
        first["estimator"],
        *(first[name].to_numpy(dtype=np.float64).tolist() for name in ("empirical_se", "model_se")),
        strict=True,
    )
    parts = [f"{name} {number(empirical)} and {number(model)}" for name, empirical, model in rows]
    return f"{_title(data, title)}, {truth_words(data['truth'])}. Empirical and model SE: {'; '.join(parts)}."


def _bland_altman(data: pd.DataFrame, title: str, x: str, as_percent: bool) -> str:
    first = data.drop_duplicates(["method", "reference"])
    parts = [
        f"{row['method']} − {row['reference']} {number(float(row['mean_difference']))} "
        f"({number(float(row['lower_limit']))} to {number(float(row['upper_limit']))}, n = {row['n']:,})"
        for row in first.to_dict("records")
    ]
    return f"{_title(data, title)}. Mean difference and limits of agreement: {'; '.join(parts)}."


_Describe = Callable[[pd.DataFrame, str, str, bool], str]
_DESCRIBE: Mapping[str, _Describe] = {
    "lines": _by_cell,
    "power": _by_cell,
    "nested-loop": _by_cell,
    "lollipop": _by_cell,
    "heatmap": _by_cell,
    "convergence": _by_cell,
    "factors": _factors,
    "zip": _zip,
    "scatter": _scatter,
    "bland-altman": _bland_altman,
}
