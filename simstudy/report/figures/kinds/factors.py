"""Bars of eta squared: which design factors and interactions move a measure, a panel a method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from simstudy.errors import SimstudyError
from simstudy.methods.look import Look
from simstudy.performance.effects import RESIDUAL, WITHIN
from simstudy.report.figures import words as say
from simstudy.report.figures.bands import BANDS, ETA, check_band
from simstudy.report.figures.describe import MAX_METHODS, spoken
from simstudy.report.figures.layout import Page, Panels, Words, make_page
from simstudy.report.figures.marks import line_key, patch_key
from simstudy.report.figures.registry import (
    Drawing,
    FigureKind,
    Request,
    figure_functions,
    register_figure,
)
from simstudy.report.figures.select import Selection, check_name, names_in
from simstudy.report.figures.style import GRID_GREY, INK, SMALLEST, method_looks
from simstudy.report.figures.ticks import LevelTicks, label_ticks, ticks_width

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

BAR = 0.15
"""Inches a term."""
NO_NUMBER = "n/a"
BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}
SHOWN_NOISE = 0.01
"""Smallest share of Monte Carlo error that gets a mark."""


def draw_factors(effects: pd.DataFrame, asked: Request) -> Drawing:
    """Draw eta squared of every design factor and interaction, in panels by method.

    Of the table's columns se_kind, level, noise_share and note are used where they are there. ``cohen1988`` draws lines
    at his small, medium and large effects.
    """
    check_band(asked.band, ["eta_squared"])
    parameter, measure = asked.parameter or "", asked.measures[0]
    data = _select(effects, parameter, measure, asked.chosen)
    of = say.parameter_name(parameter, str(data["level"].iloc[0]) if "level" in data.columns else "")
    what = say.inside(say.measure_title(measure, asked.level))
    title = f"Which factors matter for {what}{f': {of}' if parameter else ''}"
    return Drawing(_draw(data, title, asked.band).figure, data, title, ("factors", measure, parameter))


def _words(drawn: Drawing) -> str:
    """The two largest terms of each method."""
    data = drawn.data
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
    return f"{drawn.title}. Eta squared, the two largest terms of each method: {'; '.join(parts)}{more}."


factors_chart, plot_factors = figure_functions(register_figure(FigureKind(
    "factors", "eta squared of the factors", "effects", draw_factors, _words,
    ("parameters", "measures", "estimators", "basis", "se_kind", "band"), {"measure": "bias"},
)))  # fmt: skip


def _select(effects: pd.DataFrame, parameter: str, measure: str, chosen: Selection) -> pd.DataFrame:
    estimators, se_kind = chosen.estimators, chosen.se_kind
    needed = ("estimator", "parameter", "measure", "term", "eta_squared")
    missing = [name for name in needed if name not in effects.columns]
    if missing:
        raise SimstudyError(f"effects: the table has no column {', '.join(missing)}; factor_effects makes such a table")
    if parameter:
        check_name("parameter", parameter, names_in(effects, "parameter"))
    rows = effects[effects["parameter"] == parameter]
    check_name("measure", measure, names_in(rows, "measure"))
    for name in estimators or ():
        check_name("estimator", name, names_in(effects, "estimator"))
    rows = rows[rows["measure"] == measure]
    rows = rows[~rows["term"].isin([RESIDUAL, WITHIN])]
    if estimators:
        rows = rows[rows["estimator"].isin(list(estimators))]
    if se_kind is not None and "se_kind" in rows.columns:
        check_name("se_kind", se_kind, names_in(effects, "se_kind"))
        rows = rows.iloc[np.argsort((rows["se_kind"] != se_kind).to_numpy(), kind="stable")]
    if rows.empty:
        raise SimstudyError(f"no effects for parameter '{parameter}' and measure '{measure}'")
    return rows.drop_duplicates(["estimator", "term"]).sort_index()


def _draw(data: pd.DataFrame, title: str, band: str | None) -> Page:
    terms, methods = _terms(data), names_in(data, "estimator")
    n_columns = max(1, min(len(methods), 4 if len(methods) > 6 else 3))
    n_rows = -(-len(methods) // n_columns)
    words = Words(title, "", "Eta squared", panels=tuple(methods), notes=_notes(data))
    panels = Panels(
        n_rows,
        n_columns,
        (0.08 + BAR * len(terms),) * n_rows,
        width=(1.2, 3.4),
        n_panels=len(methods),
        left=ticks_width(list(terms.values())),
        below=LevelTicks(()).height,
    )
    page = make_page(words, panels, _keys(data, band))
    largest = [data["eta_squared"].max(), data["noise_share"].max() if "noise_share" in data.columns else 0.0]
    top = max(0.25, 1.2 * float(np.clip(np.nan_to_num(largest), 0.0, 1.0).max()))
    styles = method_looks(methods)
    for axes, name in zip(page.axes, methods, strict=True):
        mine = data[data["estimator"] == name].set_index("term").reindex(list(terms))
        axes.set_xlim(0.0, top)
        axes.set_ylim(len(terms) - 0.4, -0.6)
        for eta in ETA if band is not None else ():
            axes.axvline(eta, color="0.35", linewidth=0.8, linestyle=":", zorder=1)
        _bars(axes, mine, styles[name], top)
        axes.grid(axis="x", color=GRID_GREY, linewidth=0.5)
    step = 0.5 if top > 0.6 else 0.2 if top > 0.3 else 0.1
    ticks = [step * k for k in range(int(min(top, 1.0) / step + 1e-9) + 1)]
    label_ticks(page, LevelTicks(tuple((tick, f"{tick:g}") for tick in ticks)), list(enumerate(terms.values())))
    return page


def _notes(data: pd.DataFrame) -> tuple[str, ...]:
    noise = data["noise_share"] if "noise_share" in data.columns else None
    return say.sentences(
        "Share of the variance between cells that a term explains (type II sums of squares), a method at a time; "
        "what is missing to 1 is in higher interactions and Monte Carlo error.",
        *(f"{name}: {text}." for name, text in (_reasons(data) if "note" in data.columns else [])),
        "Triangles below the bars: the share that Monte Carlo error alone would give, from .01 on."
        if noise is not None
        else "",
        "Triangles at the edge: more than 1." if noise is not None and noise.max() > 1.0 else "",
    )


def _keys(data: pd.DataFrame, band: str | None) -> list[Artist]:
    keys = [
        patch_key("main effect", facecolor="0.55"),
        patch_key("interaction", facecolor="white", edgecolor="0.35", hatch="/////", linewidth=0.7),
    ]
    if "noise_share" in data.columns:
        keys.append(line_key("Monte Carlo error alone", linestyle="", marker="^", color=INK, markersize=3.5))
    if band is not None:
        sizes = ", ".join(f"{eta:.2f}"[1:] for eta in ETA)
        keys.append(line_key(f"{sizes} ({BANDS[band]})", linestyle=":"))
    return keys


def _terms(data: pd.DataFrame) -> dict[str, str]:
    """Terms and their texts, the largest first."""
    largest = data.groupby("term", sort=False)["eta_squared"].max().fillna(-1.0)
    order = largest.index[np.argsort(-largest.to_numpy(dtype=np.float64), kind="stable")]
    return {str(term): " × ".join(say.strip_label(name) for name in str(term).split(":")) for term in order}


def _reasons(data: pd.DataFrame) -> list[tuple[str, str]]:
    """Why a method has no numbers."""
    without = data[data["eta_squared"].isna() & data["note"].astype(str).str.len().gt(0)]
    first = without.drop_duplicates("estimator")
    return [(str(name), str(note)) for name, note in zip(first["estimator"], first["note"], strict=True)]


def _bars(axes: Axes, mine: pd.DataFrame, style: Look, top: float) -> None:
    """Bars of a method with their numbers."""
    noise = mine["noise_share"].astype(float) if "noise_share" in mine.columns else pd.Series(np.nan, mine.index)
    for y, (term, eta, share) in enumerate(zip(mine.index, mine["eta_squared"].astype(float), noise, strict=True)):
        main = ":" not in str(term)
        hatched = {"facecolor": "white", "edgecolor": style.colour, "hatch": "/////"}
        look: dict[str, Any] = {"color": style.colour} if main else hatched
        if np.isfinite(eta):
            axes.barh(y, eta, height=0.66, linewidth=0.7, zorder=2, **look)
        text = NO_NUMBER if not np.isfinite(eta) else f"{eta:.2f}".replace("0.", ".", 1)
        at = max(eta, 0.0) if np.isfinite(eta) else 0.0
        axes.text(
            at + 0.02 * top, y, text, fontsize=SMALLEST + 0.5, va="center_baseline", color=INK, zorder=3, bbox=BOX
        )
        if np.isfinite(share) and share >= SHOWN_NOISE:
            axes.plot([min(share, top)], [y + 0.42], marker="^", color=INK, markersize=2.6, zorder=4, clip_on=False)
