"""Tick labels: as many as fit below a panel, thinned or turned where they would meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from simstudy.report.figures.style import SAFETY, TICK, line_height, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simstudy.report.figures.layout import Page

TICK_GAP = 0.07
"""Inches between a panel and the text of its ticks, the tick included."""
OVERHANG = 0.04
"""Inches by which the text of a tick may reach beyond its panel."""


def ticks_width(texts: Sequence[str]) -> float:
    """Room that tick labels need beside a panel."""
    return TICK_GAP + SAFETY * max((text_width(text, TICK) for text in texts), default=0.0)


def label_ticks(page: Page, across: LevelTicks, up: Sequence[tuple[float, str]]) -> None:
    """Put the same ticks on every panel, with text at the left and at the bottom only."""
    turn: dict[str, Any] = {"rotation": across.angle, "ha": "right", "va": "center", "rotation_mode": "anchor"}
    for place, axes in enumerate(page.axes):
        texts = [text if page.is_bottom(place) else "" for _, text in across.ticks]
        axes.set_xticks([at for at, _ in across.ticks], texts, **(turn if across.angle else {}))
        if across.minor:
            axes.set_xticks(list(across.minor), minor=True)
        axes.set_yticks([at for at, _ in up], [text if page.is_left(place) else "" for _, text in up])
        clean(axes)


def clean(axes: Axes) -> None:
    """Small ticks, no upper and right edge."""
    axes.tick_params(labelsize=TICK, length=2.5, pad=2.0)
    axes.tick_params(which="minor", length=1.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


@dataclass(frozen=True)
class LevelTicks:
    """Tick labels of a factor, as they fit below a panel.

    Attributes
    ----------
    ticks : tuple of (float, str)
        Places and texts; numbers are thinned where they would meet.
    minor : tuple of float
        Places without text.
    angle : int
        Degrees by which the texts are turned.
    height, reach : float
        Room below the panel, and to the left of it, in inches.
    """

    ticks: tuple[tuple[float, str], ...]
    minor: tuple[float, ...] = ()
    angle: int = 0
    height: float = TICK_GAP + line_height(TICK)
    reach: float = 0.0


def fit_ticks(
    positions: Sequence[float],
    texts: Sequence[str],
    span: tuple[float, float],
    width: float,
    *,
    numeric: bool,
    first: int = 0,
) -> LevelTicks:
    """Find out how tick labels fit below a panel of `width` inches whose axis reaches over `span`.

    Texts of numbers are thinned if need be, beginning at the one at place `first`; other texts are turned.
    """
    at = (np.asarray(positions, dtype=np.float64) - span[0]) / max(span[1] - span[0], 1e-300) * width
    widths = [SAFETY * text_width(text, TICK) for text in texts]
    if numeric and len(texts) > 2:  # no text reaches into the next panel
        room = zip(at, widths, strict=True)
        inner = [k for k, (x, w) in enumerate(room) if x - w / 2 >= -OVERHANG and x + w / 2 <= width + OVERHANG]
        if 0 < len(inner) < len(texts):
            first = inner.index(first) if first in inner else 0
            kept_ticks = ([positions[k] for k in inner], [texts[k] for k in inner])
            return fit_ticks(*kept_ticks, span, width, numeric=True, first=first)
    pairs = list(zip(map(float, positions), texts, strict=True))
    if _fit(at, widths, range(len(texts))):
        return LevelTicks(tuple(pairs))
    apart = float(np.diff(at).min())
    angle = 40 if apart * np.sin(np.deg2rad(40)) >= line_height(TICK) else 90
    if numeric or apart < line_height(TICK):
        widths = widths if numeric else [line_height(TICK)] * len(widths)
        kept = [first]
        for place in (*range(first + 1, len(texts)), *range(first - 1, -1, -1)):
            if all(_fit(at, widths, sorted((known, place))) for known in kept):
                kept.append(place)
        pairs = [pairs[k] for k in sorted(kept)]
        if numeric:
            return LevelTicks(tuple(pairs), tuple(map(float, positions)))
    longest, turn = SAFETY * max(text_width(text, TICK) for _, text in pairs), np.deg2rad(angle)
    height = TICK_GAP + longest * np.sin(turn) + line_height(TICK) * np.cos(turn)
    reach = max(
        (SAFETY * text_width(text, TICK) * np.cos(turn) - place for (_, text), place in zip(pairs, at, strict=False))
    )
    return LevelTicks(tuple(pairs), tuple(map(float, positions)), angle, float(height), max(float(reach), 0.0))


def _fit(at: npt.NDArray[np.float64], widths: Sequence[float], places: Sequence[int]) -> bool:
    """Whether texts centred at these places stay apart."""
    pairs = zip(list(places)[:-1], list(places)[1:], strict=True)
    return all(at[b] - at[a] >= (widths[a] + widths[b]) / 2 + 0.045 for a, b in pairs)
