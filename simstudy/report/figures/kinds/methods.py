"""Many methods at a glance: one row a method, one panel a parameter, and the table beside it.

For a lecture's slide rather than for the study of a factor: methods stand in the order of the study, from top to
bottom, and the levels of one factor (equal and unequal cluster sizes) are told apart by marker, filling and colour.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from simstudy.errors import SimstudyError, did_you_mean
from simstudy.performance import MEASURES
from simstudy.report.tables.text import fixed, setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KEYS = ("estimator", "se_kind", "parameter", "level", "truth", "measure", "value", "mcse", "n", "n_attempted")
MARKS = (("o", True, "#0072B2"), ("D", False, "#D55E00"), ("^", True, "#009E73"), ("s", False, "#000000"))
"""Marker, filling and colour (Okabe & Ito 2008) of up to four levels; each alone tells two neighbours apart."""
Z_BAND = 1.959963984540054
INK, GREY, FAINT = "0.10", "0.42", "0.955"
ROW_INCHES, HEAD_INCHES, PANEL_INCHES, LABEL_INCHES = 0.27, 1.75, 2.55, 2.0
NOTE_LETTERS = 15.0
"""Letters of the note that fit in an inch."""
NEAR = 0.02
"""Bars narrower than this share of a panel would vanish behind their mark, and are left out."""


def methods_data(
    performance: pd.DataFrame,
    parameters: Sequence[str],
    *,
    by: str,
    measure: str = "mean_estimate",
    basis: str = "casewise",
) -> pd.DataFrame:
    """The numbers that `plot_methods` draws: one row a parameter, method and level of a factor.

    Parameters
    ----------
    performance : DataFrame
        Long performance table of a study, or of several, one below the other.
    parameters : sequence of str
    by : str
        Factor whose levels are told apart; no other may vary.
    measure : str
        ``mean_estimate`` or ``median_bias``; with the latter the truth is added.
    basis : str
        ``casewise`` or ``common``.

    Returns
    -------
    DataFrame
        Columns parameter, level, truth, estimator, ``by``, value, mcse, n, n_attempted; methods in their order.

    Raises
    ------
    SimstudyError
        If a name is unknown, or more than one cell has a level of the factor.
    """
    if by not in performance.columns:
        raise SimstudyError(f"by: there is no factor '{by}'{did_you_mean(by, performance.columns)}")
    rows = performance[(performance["measure"] == measure) & (performance["basis"] == basis)]
    for name in parameters:
        if name not in set(rows["parameter"]):
            known = [str(found) for found in rows["parameter"].unique()]
            raise SimstudyError(f"parameters: there is no '{name}'{did_you_mean(name, known)}")
    rows = rows[rows["parameter"].isin(list(parameters))]
    rows = rows.drop_duplicates([*(c for c in rows.columns if c not in KEYS), "estimator", "parameter"])
    repeated = rows.duplicated(["parameter", "estimator", by])
    if repeated.any():
        raise SimstudyError(f"by: other factors vary at one level of '{by}'; choose rows of the table first")
    found = rows[["parameter", "level", "truth", "estimator", by, "value", "mcse", "n", "n_attempted"]].copy()
    if measure == "median_bias":
        found["value"] += found["truth"]
    found["parameter"] = pd.Categorical(found["parameter"], list(parameters), ordered=True)
    return found.sort_values("parameter", kind="stable", ignore_index=True).astype({"parameter": str})


def plot_methods(
    performance: pd.DataFrame,
    parameters: Sequence[str],
    *,
    by: str,
    measure: str = "mean_estimate",
    basis: str = "casewise",
    groups: Mapping[str, Sequence[str]] | None = None,
    share: Sequence[Sequence[str]] = (),
    names: Mapping[str, str] | None = None,
    title: str = "",
    note: str = "",
) -> Figure:
    """Draw what every method reports of some parameters, around a line at the truth.

    Parameters
    ----------
    performance, parameters, by, measure, basis
        As for `methods_data`.
    groups : mapping of str to sequence of str, optional
        Heading -> methods below it; methods of no group come first. By default there are no headings.
    share : sequence of sequences of str
        Parameters that have one axis, so that a number stands in one place in each of their panels; the truths of
        the others are dotted.
    names : mapping of str to str, optional
        Parameter or level of the factor, as the table writes it -> words for it.
    title, note : str
        The note goes on where the explanation of the marks ends.

    Returns
    -------
    Figure
        Points with 95 % Monte Carlo intervals; where a method does not speak about a parameter it says so.
    """
    from matplotlib.figure import Figure

    data = methods_data(performance, parameters, by=by, measure=measure, basis=basis)
    levels = _levels(data, by)
    rows = _rows(list(dict.fromkeys(data["estimator"])), groups)
    width = LABEL_INCHES + PANEL_INCHES * len(parameters)
    height = HEAD_INCHES + ROW_INCHES * len(rows)
    figure = Figure(figsize=(width, height), facecolor="white")
    left, bottom, top = LABEL_INCHES / width, 0.78 / height, 1.0 - (HEAD_INCHES - 0.78) / height
    gap = 0.25 / width
    span = (1.0 - left - 0.15 / width) / len(parameters)
    for k, name in enumerate(parameters):
        axes = figure.add_axes((left + k * span, bottom, span - gap, top - bottom))
        mine = data[data["parameter"] == name]
        family = next((list(members) for members in share if name in members), [name])
        _set_axis(axes, data[data["parameter"].isin(family)], len(rows))
        _draw_panel(axes, mine, rows, by, levels)
        for other in data.loc[data["parameter"].isin(set(family) - {name}), "truth"].unique():
            axes.axvline(other, color=GREY, lw=1.0, ls=(0, (1, 2)), zorder=1)
        first = mine.iloc[0]
        words = (names or {}).get(name, f"{name} ({first['level']})" if first["level"] else name)
        axes.set_title(f"{words}\ntruth {first['truth']:.4g}", fontsize=9.5, color=INK, linespacing=1.35)
        _label_rows(axes, rows, first=k == 0)
    _legend(figure, [(names or {}).get(setting(level), f"{by} {setting(level)}") for level in levels], height)
    what = "Mean estimate" if measure == "mean_estimate" else "Median estimate"
    n = int(data["n_attempted"].max())
    dotted = "; dotted: truth of the panel beside it" if share else ""
    marks = f"{what} of {n:,} replicates; bars, if wider than the mark: 95% Monte Carlo intervals; line: truth{dotted}."
    lines = textwrap.wrap(f"{marks} {note}", int(NOTE_LETTERS * (width - LABEL_INCHES)))
    figure.text(left, 0.06 / height, "\n".join(lines), fontsize=8, color=GREY, va="bottom", linespacing=1.3)
    if title:
        figure.text(0.15 / width, 1.0 - 0.12 / height, title, fontsize=11.5, color=INK, weight="bold", va="top")
    return figure


def _levels(data: pd.DataFrame, by: str) -> list[object]:
    levels = list(dict.fromkeys(data[by]))
    if len(levels) > len(MARKS):
        raise SimstudyError(f"by: found {len(levels)} levels of '{by}'; at most {len(MARKS)} are told apart")
    return levels


def _rows(methods: list[str], groups: Mapping[str, Sequence[str]] | None) -> list[tuple[str, bool]]:
    """Rows from top to bottom: a heading (True) or a method (False)."""
    placed = {name for members in (groups or {}).values() for name in members}
    rows = [(name, False) for name in methods if name not in placed]
    for heading, members in (groups or {}).items():
        inside = [(name, False) for name in methods if name in members]
        rows += [(heading, True), *inside] if inside else []
    return rows


def _set_axis(axes: Axes, data: pd.DataFrame, n_rows: int) -> None:
    """Limits that hold all values, intervals and truths."""
    values, errors = data["value"].to_numpy(dtype=float), Z_BAND * data["mcse"].to_numpy(dtype=float)
    ends = np.concatenate([values - errors, values + errors, data["truth"].to_numpy(dtype=float)])
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    room = 0.08 * (high - low) if high > low else 0.1
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(n_rows - 0.4, -0.6)


def _draw_panel(
    axes: Axes, data: pd.DataFrame, rows: Sequence[tuple[str, bool]], by: str, levels: Sequence[object]
) -> None:
    """Marks and intervals of one parameter; rows count downwards from 0."""
    truth = float(data["truth"].iloc[0])
    low, high = axes.get_xlim()
    for k, (_, heading) in enumerate(rows):
        if not heading and k % 2:
            axes.axhspan(k - 0.5, k + 0.5, color=FAINT, lw=0, zorder=0)
    axes.axvline(truth, color=INK, lw=1.1, zorder=1)
    step = 0.36 / max(len(levels) - 1, 1)
    at = {name: k for k, (name, heading) in enumerate(rows) if not heading}
    for place, level in enumerate(levels):
        marker, filled, colour = MARKS[place]
        mine = data[(data[by] == level) & data["value"].notna()]
        y = np.array([at[name] + step * place - 0.18 * (len(levels) > 1) for name in mine["estimator"]])
        x, bar = mine["value"].to_numpy(dtype=float), Z_BAND * mine["mcse"].to_numpy(dtype=float)
        shown = bar > 0.5 * NEAR * (high - low)
        axes.errorbar(x[shown], y[shown], xerr=bar[shown], fmt="none", ecolor=colour, elinewidth=1.1, zorder=2)
        axes.plot(
            x, y, ls="none", marker=marker, ms=5.0, mew=1.1, mec=colour, mfc=colour if filled else "white", zorder=3
        )
    side = 0.015 if truth > 0.5 * (low + high) else 0.985
    spoken = set(data.loc[data["value"].notna(), "estimator"])
    for name, k in at.items():
        if name in set(data["estimator"]) - spoken:
            shade = {"facecolor": FAINT if k % 2 else "white", "edgecolor": "none", "pad": 0.6}
            axes.text(
                side, k, "says nothing", transform=axes.get_yaxis_transform(), va="center", fontsize=7.5, color=GREY,
                style="italic", ha="left" if side < 0.5 else "right", bbox=shade, zorder=4,
            )  # fmt: skip
    axes.tick_params(axis="x", labelsize=8, color=GREY, labelcolor=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="0.90", lw=0.6)
    axes.set_axisbelow(True)


def _label_rows(axes: Axes, rows: Sequence[tuple[str, bool]], *, first: bool) -> None:
    axes.set_yticks(range(len(rows)), [name if first else "" for name, _ in rows], fontsize=8.5)
    axes.tick_params(axis="y", length=0, pad=4)
    for label, (_, heading) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(GREY if heading else INK)
        if heading:
            label.set_fontsize(8)
            label.set_fontstyle("italic")


def _legend(figure: Figure, labels: Sequence[str], height: float) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], ls="none", marker=marker, ms=6, mew=1.2, mec=colour, mfc=colour if filled else "white")
        for marker, filled, colour in MARKS[: len(labels)]
    ]
    figure.legend(
        handles, labels, loc="upper right", bbox_to_anchor=(1.0, 1.0 - 0.04 / height), ncols=len(labels), fontsize=8.5,
        frameon=False, handletextpad=0.3, columnspacing=1.4,
    )  # fmt: skip


def methods_table(
    performance: pd.DataFrame,
    columns: Sequence[tuple[str, str]],
    *,
    by: str,
    basis: str = "casewise",
    names: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """One row a method and kind of SE, one column a parameter, measure and level of a factor, as text.

    Parameters
    ----------
    performance : DataFrame
        As for `methods_data`.
    columns : sequence of (parameter, measure)
        Measures are those of the performance table; `relative_bias`, rates and coverage are written in per cent.
    by : str
        Factor with a column for each level.
    names : mapping, optional
        Words for parameters and levels, as for `plot_methods`.

    Returns
    -------
    DataFrame
        Index (method, SE); ``n/a`` where a method has no number.
    """
    words = names or {}
    rows = performance[performance["basis"] == basis]
    wanted = rows[[pair in set(columns) for pair in zip(rows["parameter"], rows["measure"], strict=True)]]
    for parameter, measure in columns:
        if not ((wanted["parameter"] == parameter) & (wanted["measure"] == measure)).any():
            raise SimstudyError(f"columns: there is no measure '{measure}' of '{parameter}'")
    kinds = wanted[["estimator", "se_kind"]].drop_duplicates()
    order = {name: k for k, name in enumerate(kinds["estimator"].unique())}
    kinds = kinds.sort_values("estimator", key=lambda names: names.map(order), kind="stable")
    heard = wanted.loc[wanted["value"].notna(), ["estimator", "se_kind"]].apply(tuple, axis=1)
    first = ~kinds.duplicated("estimator")
    kinds = kinds[first | kinds.apply(tuple, axis=1).isin(set(heard))]
    first = ~kinds.duplicated("estimator")
    found: dict[str, list[str]] = {}
    for parameter, measure in columns:
        mine = wanted[(wanted["parameter"] == parameter) & (wanted["measure"] == measure)]
        for level in dict.fromkeys(mine[by]):
            here = mine[mine[by] == level][["estimator", "se_kind", "value", "mcse"]]
            cells = {
                (row[0], row[1]): (float(row[2]), float(row[3])) for row in here.itertuples(index=False, name=None)
            }
            head = measure.replace("_", " ").replace("se ", "SE ")
            if len({name for name, _ in columns}) > 1:
                head = f"{words.get(parameter, parameter)}: {head}"
            found[f"{head}, {words.get(setting(level), setting(level))}"] = [
                "" if MEASURES[measure].of_estimate_alone and not leads else _written(cells, (name, kind), measure)
                for (name, kind), leads in zip(kinds.itertuples(index=False, name=None), first, strict=True)
            ]
    return pd.DataFrame(found, index=pd.MultiIndex.from_frame(kinds.set_axis(["Method", "SE"], axis=1)))


def _written(cells: Mapping[tuple[str, str], tuple[float, float]], key: tuple[str, str], measure: str) -> str:
    """Value and, for what does not depend on the kind of SE, its Monte Carlo SE in parentheses."""
    value, mcse = cells.get(key, (np.nan, np.nan))
    if np.isnan(value):
        return "n/a"
    found = MEASURES[measure]
    factor, unit, decimals = (100.0, "%", 1) if found.percent or found.is_share else (1.0, "", 3)
    error = f" ({fixed(factor * mcse, decimals)})" if found.of_estimate_alone else ""
    return f"{fixed(factor * value, decimals)}{unit}{error}"


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown, its index in front."""
    flat = table.reset_index()
    heads = [str(name) for name in flat.columns]
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join(['---'] * len(heads))}|"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in flat.itertuples(index=False, name=None)]
    return "\n".join(lines) + "\n"
