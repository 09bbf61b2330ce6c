"""The legend below a figure, and the sentences that say what the figure cannot show."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from simstudy.report.palette import MethodStyle
from simstudy.report.panels import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL, MEDIUM = 7.0, 8.5
REFERENCE_GREY, BAND_GREY = "0.15", "0.90"


def missing_notes(data: pd.DataFrame, drawn: Sequence[str]) -> list[str]:
    """Name the methods that lack a number in some cells."""
    parts = []
    for name in drawn:
        mine = data[data["estimator"] == name]
        silent = int(mine["value"].isna().sum())
        if 0 < silent < len(mine):
            parts.append(f"{name} in {silent} of {len(mine)} cells")
    return [f"No number: {', '.join(parts)}."] if parts else []


def hidden_notes(grid: Grid) -> list[str]:
    """Say how many panels are not drawn."""
    hidden = [(grid.hidden_rows, "rows"), (grid.hidden_columns, "columns")]
    return [
        f"{count} more panel {what} are not drawn; where={{...}} chooses levels." for count, what in hidden if count
    ]


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """Return the largest number of columns whose labels and handles fit into `width` points."""
    for count in range(len(labels), 1, -1):
        chunks = np.array_split(np.array([len(label) for label in labels]), count)
        if sum(0.55 * MEDIUM * float(chunk.max()) + 42.0 for chunk in chunks) <= width:
            return count
    return 1


def add_legend(
    figure: Figure,
    data: pd.DataFrame,
    drawn: Sequence[str],
    styles: Mapping[str, MethodStyle],
    reference_label: str,
    band_label: str,
    notes: Sequence[str],
) -> None:
    """Put methods, reference line and bands below the panels, and the notes above them."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Line2D | Patch] = []
    for name in drawn:
        style = styles[name]
        speaks = data.loc[data["estimator"] == name, "value"].notna().any()
        handles.append(
            Line2D(
                [],
                [],
                color=style.colour,
                linestyle=style.line,
                marker=style.marker,
                markersize=4.5,
                markerfacecolor=style.colour if style.filled else "white",
                label=name if speaks else f"{name} (n/a)",
            )
        )
    handles.append(Line2D([], [], color=REFERENCE_GREY, linewidth=0.9, label=reference_label))
    handles.append(Patch(color="0.55", alpha=0.35, linewidth=0, label="± 1.96 MCSE"))
    if band_label:
        handles.append(Patch(color=BAND_GREY, linewidth=0, label=band_label))
    width = figure.get_figwidth()
    legend = figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=_legend_columns([str(handle.get_label()) for handle in handles], 72.0 * width - 20.0),
        fontsize=MEDIUM - 0.5,
        frameon=False,
        handlelength=3.2,
        columnspacing=1.6,
    )
    if notes:
        legend.set_title("\n".join(textwrap.wrap(" ".join(notes), int(width * 72.0 / (0.5 * SMALL)))))
        legend.get_title().set_fontsize(SMALL)
