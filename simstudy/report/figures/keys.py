"""Keys of a legend: methods, reference lines, bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from simstudy.methods.look import Look
from simstudy.report.figures.axis import Scale
from simstudy.report.figures.style import BAND_GREY, REFERENCE_GREY

if TYPE_CHECKING:
    from matplotlib.artist import Artist

MARKER = 4.2
BAND_KEY = "± 1.96 MCSE"


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
