"""Marks that several kinds of figure share, and their keys: background, what lies beyond an axis, methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from simstudy.methods.look import Look
from simstudy.report.figures.axis import Scale
from simstudy.report.figures.style import BAND_GREY, INK, NOTE, REFERENCE_GREY, SMALLEST, text_width

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

FloatArray = npt.NDArray[np.float64]
MARKER = 4.2
BAND_KEY = "± 1.96 MCSE"
MAX_STACKED = 3
"""Values written above each other at one edge; further ones are triangles alone (their values are in the CSV)."""


def draw_background(axes: Axes, scale: Scale, *, across: bool = True) -> None:
    """Band and reference line, along x or (`across` false) along y."""
    span, line = (axes.axhspan, axes.axhline) if across else (axes.axvspan, axes.axvline)
    if scale.band is not None:
        low, high = scale.place(scale.band.low), scale.place(scale.band.high)
        span(low, high, facecolor=BAND_GREY, edgecolor="none", zorder=0)
        for edge in (low, high):
            line(edge, color="0.55", linewidth=0.6, linestyle=(0, (1, 2)), zorder=0.5)
    if scale.reference is not None:
        line(scale.place(scale.reference), color=REFERENCE_GREY, linewidth=0.9, zorder=1)


def say_empty(axes: Axes, text: str = "not in the design") -> None:
    """Say why a panel is empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=NOTE, color="0.45")


def say_beyond(axes: Axes, scale: Scale, value: float, y: float, style: Look) -> None:
    """Mark a value beyond the x axis: a triangle at the edge, the value beside it."""
    right = scale.place(value) > scale.limits[1]
    edge = scale.limits[1 if right else 0]
    axes.plot([edge], [y], marker=">" if right else "<", color=style.colour, markersize=4.0, clip_on=False, zorder=80)
    axes.annotate(
        scale.text(value),
        (edge, y),
        xytext=(-4.0 if right else 4.0, 0.0),
        textcoords="offset points",
        ha="right" if right else "left",
        va="center",
        fontsize=SMALLEST,
        color=INK,
        zorder=90,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )


class Clipped:
    """Marks values beyond the axis: a triangle at the edge, with the value where there is room."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self.written: dict[int, list[tuple[bool, float, float, int]]] = {}

    def beyond(self, values: FloatArray) -> npt.NDArray[np.bool_]:
        """Tell which values lie beyond the axis."""
        y = self.scale.forward(np.asarray(values, dtype=np.float64))
        low, high = self.scale.limits
        return np.asarray((y > high) | (y < low))

    def note(self, data: pd.DataFrame) -> str:
        """Say how many there are."""
        count = int(self.beyond(data["value"].to_numpy(dtype=np.float64)).sum())
        return f"Triangles at the edge: beyond the axis ({count})." if count else ""

    def mark(self, axes: Axes, at: FloatArray, values: FloatArray, style: Look, width: float) -> None:
        """Mark what lies beyond the y axis of a panel of `width` inches."""
        low, high = self.scale.limits
        left, right = axes.get_xlim()
        for k in np.flatnonzero(self.beyond(values)):
            above = self.scale.place(float(values[k])) > high
            edge = high if above else low
            axes.plot(
                [at[k]],
                [edge],
                marker="^" if above else "v",
                color=style.colour,
                markersize=4.5,
                clip_on=False,
                zorder=80,
            )
            text = self.scale.text(float(values[k]))
            x = (float(at[k]) - left) / (right - left) * width
            room = text_width(text, SMALLEST) + 0.06
            start = x + 0.05 if x + 0.05 + room < width else x - 0.05 - room
            level = self._free(id(axes), above, start, start + room)
            if level < MAX_STACKED:
                self._write(axes, start / width, above, level, text)

    def _free(self, panel: int, above: bool, start: float, end: float) -> int:
        """Lowest line at the edge on which no text stands there."""
        written = self.written.setdefault(panel, [])
        taken = {line for side, a, b, line in written if side == above and a < end and b > start}
        line = next(number for number in range(len(written) + 1) if number not in taken)
        written.append((above, start, end, line))
        return line

    def _write(self, axes: Axes, share: float, above: bool, line: int, text: str) -> None:
        from matplotlib.patheffects import withStroke

        down = (4.0 + 6.5 * line) * (-1 if above else 1)
        axes.annotate(
            text,
            (share, 1.0 if above else 0.0),
            xycoords="axes fraction",
            xytext=(0.0, down),
            textcoords="offset points",
            fontsize=SMALLEST,
            color=INK,
            va="center",
            zorder=90,
            path_effects=[withStroke(linewidth=1.8, foreground="white")],
        )


def line_look(style: Look) -> dict[str, Any]:
    """Line and marker of a method, as `Axes.plot` takes them."""
    return {
        "color": style.colour,
        "linestyle": style.line,
        "linewidth": 1.2,
        "marker": style.marker,
        "markersize": MARKER,
        "markerfacecolor": style.face,
        "markeredgecolor": style.colour,
        "markeredgewidth": 0.9,
    }


def method_keys(names: Sequence[str], styles: Mapping[str, Look], data: pd.DataFrame, **look: object) -> list[Artist]:
    """One key a method; ``(n/a)`` behind those without any number."""
    from matplotlib.lines import Line2D

    speaks = set(data.loc[data["value"].notna(), "estimator"])
    return [
        Line2D([], [], **{**line_look(styles[name]), **look}, label=name if name in speaks else f"{name} (n/a)")
        for name in names
    ]


def line_key(label: str, **look: object) -> Artist:
    """Key of a reference line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"color": REFERENCE_GREY, "linewidth": 0.9, **look}, label=label)  # type: ignore[arg-type]


def patch_key(label: str, **look: object) -> Artist:
    """Key of an area."""
    from matplotlib.patches import Patch

    return Patch(**{"facecolor": BAND_GREY, "linewidth": 0.0, **look}, label=label)  # type: ignore[arg-type]


def scale_keys(scale: Scale, mcse: str = BAND_KEY) -> list[Artist]:
    """Keys of the reference line, of what shows the MCSE, and of the named band."""
    keys = [line_key(scale.reference_label)] if scale.reference_label else []
    if mcse:
        keys.append(patch_key(mcse, facecolor="0.72"))
    if scale.band is not None:
        keys.append(patch_key(scale.band.label, edgecolor="0.55", linewidth=0.6, linestyle=":"))
    return keys
