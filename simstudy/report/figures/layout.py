"""Where panels, titles, legend and notes stand on a figure, in inches, so that no text can meet another.

From the top: title, what it is about, titles of the columns, panels with titles of the rows at their right, ticks, axis
label, legend, notes. Every text is measured and wrapped first; the figure is as high as they need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simstudy.report.figures.style import (
    COLUMN,
    INK,
    KEY,
    LABEL,
    LANDSCAPE,
    NOTE,
    PAGE,
    SAFETY,
    STRIP,
    TITLE,
    line_height,
    text_width,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

MARGIN = 0.10
"""Inches around everything."""
APART = 0.07
"""Inches between blocks of text."""
HANDLE, HANDLE_GAP, KEY_GAP = 3.0, 0.6, 1.6
"""Legend: length of a handle, distance to its text, distance of columns; in font sizes."""


@dataclass(frozen=True)
class Words:
    """All texts of a figure outside the panels.

    Parameters
    ----------
    title, subtitle : str
        What is drawn, and of what.
    x, y : str
        Axis labels; `y` may be one a row of panels.
    columns, rows : tuple of str
        Titles of panel columns and rows; empty for none.
    panels : tuple of str
        Titles of single panels, row by row, instead of those of columns.
    notes : tuple of str
        Sentences below the legend.
    """

    title: str
    subtitle: str = ""
    x: str = ""
    y: str | tuple[str, ...] = ""
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    panels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panels:
    """Measures of the grid of panels, in inches.

    Parameters
    ----------
    n_rows, n_columns : int
    heights : tuple of float
        One a row.
    width : (float, float)
        Smallest and largest width of a panel.
    n_panels : int, optional
        Fewer than rows times columns: the last row is not full.
    left, below : float
        Room for the tick labels.
    gap, gaps : float, tuple of float
        Between columns, and below each row but the last.
    target : float, optional
        Width of the figure that is aimed at.
    footer : float
        Room for a colour bar between axis label and legend.
    """

    n_rows: int
    n_columns: int
    heights: tuple[float, ...]
    width: tuple[float, float] = (1.0, 3.6)
    n_panels: int | None = None
    left: float = 0.35
    below: float = 0.2
    gap: float = 0.1
    gaps: tuple[float, ...] | float = 0.1
    target: float | None = None
    footer: float = 0.0

    @property
    def count(self) -> int:
        """Panels drawn."""
        return self.n_rows * self.n_columns if self.n_panels is None else self.n_panels

    def gaps_below(self) -> list[float]:
        """Gap below each row but the last."""
        return [self.gaps] * (self.n_rows - 1) if isinstance(self.gaps, float) else list(self.gaps)


@dataclass(frozen=True)
class Page:
    """A figure with its panels.

    Attributes
    ----------
    figure : Figure
    axes : list of Axes
        Row by row.
    n_columns : int
    width : float
        Of a panel, in inches.
    heights : tuple of float
        Of each row of panels, in inches.
    footer : (float, float, float, float)
        Left, bottom, width and height of the room for a colour bar, in shares of the figure.
    """

    figure: Figure
    axes: list[Axes]
    n_columns: int
    width: float
    heights: tuple[float, ...]
    footer: tuple[float, float, float, float]

    def at(self, row: int, column: int) -> Axes:
        """Panel in the grid."""
        return self.axes[row * self.n_columns + column]

    def is_left(self, place: int) -> bool:
        """Whether a panel is the first of its row."""
        return place % self.n_columns == 0

    def is_bottom(self, place: int) -> bool:
        """Whether no panel stands below."""
        return place + self.n_columns >= len(self.axes)


def make_page(words: Words, panels: Panels, legend: Sequence[Artist] = ()) -> Page:
    """Make a figure with empty panels and all texts around them."""
    from matplotlib.figure import Figure

    side = _beside(words, panels)
    width, panel = _widths(panels, side.left + side.right)
    inner = width - 2 * MARGIN
    figure = Figure(figsize=(width, 1.0))
    key = _legend(figure, legend, inner)
    around = _around(words, panels, inner, panel, width - side.left - side.right)
    key_height = _height(figure, key)
    top = around.top
    tops = np.cumsum([top, *(h + g for h, g in zip(panels.heights[:-1], around.gaps, strict=True))]).tolist()
    bottom = tops[-1] + panels.heights[-1]
    key_top = bottom + panels.below + line_height(LABEL) * len(around.x) + panels.footer + (APART if key else 0.0)
    notes_top = key_top + key_height + APART
    height = notes_top + (line_height(NOTE) * len(around.notes) if around.notes else -APART) + MARGIN
    figure.set_size_inches(width, height)

    write = _Writer(figure, width, height)
    write.block(MARGIN, MARGIN, around.title, TITLE, weight="bold")
    write.block(MARGIN, MARGIN + line_height(TITLE) * len(around.title), around.subtitle, LABEL)
    axes = []
    for place in range(panels.count):
        row, column = divmod(place, panels.n_columns)
        x, y, h = side.left + column * (panel + panels.gap), tops[row], panels.heights[row]
        axes.append(figure.add_axes((x / width, 1.0 - (y + h) / height, panel / width, h / height)))
        over = around.over_panels[place] if around.over_panels else []
        if around.over_columns and row == 0:
            over = around.over_columns[column]
        write.block(x + panel / 2, y - 0.04 - line_height(STRIP) * len(over), over, STRIP, ha="center")
    for row, lines in enumerate(side.rows):
        write.turned(width - MARGIN - side.row_room / 2, tops[row] + panels.heights[row] / 2, lines, STRIP, 270)
    middles = [t + h / 2 for t, h in zip(tops, panels.heights, strict=True)]
    for lines, middle in zip(side.y, [(top + bottom) / 2] if isinstance(words.y, str) else middles, strict=False):
        write.turned(MARGIN + side.label_room / 2, middle, lines, LABEL, 90)
    across = panel * panels.n_columns + panels.gap * (panels.n_columns - 1)
    write.block(side.left + across / 2, bottom + panels.below, around.x, LABEL, ha="center")
    if key:
        key.set_bbox_to_anchor((MARGIN / width, 1.0 - key_top / height), transform=figure.transFigure)
    write.block(MARGIN, notes_top, around.notes, NOTE, color="0.25")
    low = key_top - (APART if key else 0.0)
    footer = (side.left / width, 1.0 - low / height, across / width, panels.footer / height)
    return Page(figure, axes, panels.n_columns, panel, panels.heights, footer)


@dataclass(frozen=True)
class _Beside:
    """Wrapped texts at the left and the right of the panels, and the room that they take."""

    y: list[list[str]]
    rows: list[list[str]]
    label_room: float
    row_room: float
    left: float
    right: float


def _beside(words: Words, panels: Panels) -> _Beside:
    total = sum(panels.heights) + sum(panels.gaps_below())
    pairs = [(words.y, total)] if isinstance(words.y, str) else list(zip(words.y, panels.heights, strict=True))
    y = [wrap(text, max(height, _longest_word(text)), LABEL) for text, height in pairs]
    label_room = max(len(lines) for lines in y) * line_height(LABEL)
    rows = [wrap(text, height, STRIP) for text, height in zip(words.rows, panels.heights, strict=False)]
    row_room = max((len(lines) for lines in rows), default=0) * line_height(STRIP)
    right = MARGIN + (row_room + 0.04 if row_room else 0.06)
    return _Beside(y, rows, label_room, row_room, MARGIN + label_room + panels.left, right)


def _longest_word(text: str) -> float:
    """Inches of the longest word of an axis label, which is never cut."""
    return max(text_width(word, LABEL) for word in text.split(" "))


@dataclass(frozen=True)
class _Around:
    """Wrapped texts above and below the panels; where these begin, and the gaps between them."""

    title: list[str]
    subtitle: list[str]
    over_columns: list[list[str]]
    over_panels: list[list[str]]
    x: list[str]
    notes: list[str]
    top: float
    gaps: list[float]


def _around(words: Words, panels: Panels, inner: float, panel: float, across: float) -> _Around:
    title = wrap(words.title, inner, TITLE, bold=True)
    subtitle = wrap(words.subtitle, inner, LABEL)
    over_columns = [wrap(text, panel, STRIP) for text in words.columns]
    over_panels = [wrap(text, panel, STRIP) for text in words.panels]
    strip = max((len(lines) for lines in [*over_columns, *over_panels]), default=0) * line_height(STRIP)
    notes = [line for note in words.notes if note for line in wrap(note, inner / SAFETY, NOTE)]
    top = MARGIN + line_height(TITLE) * len(title) + line_height(LABEL) * len(subtitle) + APART
    top += strip + 0.04 if strip else 0.0
    gaps = [gap + (strip + 0.03 if over_panels else 0.0) for gap in panels.gaps_below()]
    x = wrap(words.x, max(across, 1.0), LABEL)
    return _Around(title, subtitle, over_columns, over_panels, x, notes, top, gaps)


def _height(figure: Figure, key: Legend | None) -> float:
    """Height of a legend in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if key is None:
        return 0.0
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    return float(key.get_window_extent(renderer).height) / figure.dpi


def _widths(panels: Panels, beside: float) -> tuple[float, float]:
    """Width of the figure and of a panel: a page, wider only if the panels would become too small."""
    smallest, largest = panels.width
    between = beside + panels.gap * (panels.n_columns - 1)
    target = panels.target or (COLUMN if panels.n_columns == 1 else PAGE)
    panel = (target - between) / panels.n_columns
    if panel < smallest:
        panel = min(smallest, max((LANDSCAPE - between) / panels.n_columns, 0.8 * smallest))
    panel = min(panel, largest)
    return max(between + panel * panels.n_columns, COLUMN), panel


def _legend(figure: Figure, handles: Sequence[Artist], width: float) -> Legend | None:
    """Legend with as many columns as fit."""
    if not handles:
        return None
    each = [
        (HANDLE + HANDLE_GAP + KEY_GAP) * KEY / 72.0 + SAFETY * text_width(str(handle.get_label()), KEY)
        for handle in handles
    ]
    columns = next(
        count
        for count in range(len(each), 0, -1)
        if count == 1 or sum(float(chunk.max()) for chunk in np.array_split(np.array(each), count)) <= width
    )
    rows = -(-len(each) // columns)
    columns = -(-len(each) // rows)
    return figure.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        fontsize=KEY,
        frameon=False,
        borderpad=0.0,
        borderaxespad=0.0,
        handlelength=HANDLE,
        handletextpad=HANDLE_GAP,
        columnspacing=KEY_GAP,
        labelspacing=0.45,
    )


class _Writer:
    """Writes blocks of lines on a figure; places are inches from the left and from the top."""

    def __init__(self, figure: Figure, width: float, height: float) -> None:
        self.figure, self.width, self.height = figure, width, height

    def block(self, x: float, y: float, lines: Sequence[str], size: float, **look: Any) -> None:
        """Lines below each other, the first one's top at `y`."""
        look = {"color": INK, **look}
        for place, line in enumerate(lines):
            middle = y + (place + 0.5) * line_height(size)
            at = (x / self.width, 1.0 - middle / self.height)
            self.figure.text(*at, line, fontsize=size, va="center_baseline", **look)

    def turned(self, x: float, y: float, lines: Sequence[str], size: float, angle: int) -> None:
        """Lines turned by 90 or 270 degrees, around the point."""
        step = line_height(size) * (1 if angle == 90 else -1)
        for place, line in enumerate(lines):
            across = x + (place - (len(lines) - 1) / 2) * step
            at = (across / self.width, 1.0 - y / self.height)
            self.figure.text(*at, line, fontsize=size, rotation=angle, ha="center", va="center", color=INK)
