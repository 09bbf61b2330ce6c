"""Heat maps: a measure over two design factors, such as number of clusters by cluster size, a panel a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from simstudy.errors import SimstudyError
from simstudy.methods.look import BLUE, VERMILLION
from simstudy.report.figures import words as say
from simstudy.report.figures.axis import Scale, measure_scale
from simstudy.report.figures.bands import check_band
from simstudy.report.figures.describe import by_cell
from simstudy.report.figures.layout import Page, Panels, Words, make_page
from simstudy.report.figures.marks import patch_key
from simstudy.report.figures.panels import (
    Axis,
    Strip,
    condition,
    in_level_order,
    make_axis,
    make_strips,
    rows_at,
    x_factor,
)
from simstudy.report.figures.registry import (
    TABLE,
    Drawing,
    FigureKind,
    Request,
    figure_functions,
    register_figure,
)
from simstudy.report.figures.select import check_name, factor_columns, names_in
from simstudy.report.figures.style import (
    INK,
    KEY,
    LANDSCAPE,
    SAFETY,
    SMALLEST,
    STRIP,
    TICK,
    line_height,
    text_width,
)
from simstudy.report.figures.ticks import LevelTicks, fit_ticks, label_ticks, ticks_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

CELL_WIDTH, WIDEST_CELL, CELL_HEIGHT = 0.33, 0.62, 0.185
"""Inches."""
BAR_HEIGHT, TALLEST_TITLE, SMALLEST_PANEL = 0.10, 1.2, 0.45
DARK = 0.45
"""Relative luminance below which numbers are white."""


@dataclass(frozen=True)
class Layout:
    """Axes of a map and what its panels stand for: pairs of method and levels of the other factors."""

    x: Axis
    y: Axis
    rows: tuple[tuple[str, str, Mapping[str, object]], ...]
    columns: tuple[tuple[str, str, Mapping[str, object]], ...]

    def panels(self) -> list[tuple[str, Mapping[str, object]]]:
        """Method and levels of each panel, row by row."""
        return [(a or b, {**one, **two}) for _, a, one in self.rows for _, b, two in self.columns]


def draw_heatmap(performance: pd.DataFrame, asked: Request) -> Drawing:
    """Draw a measure as colour and number over two factors, in panels by method and the other factors.

    Cells inside the band of a source get a frame.
    """
    check_band(asked.band, asked.measures)
    data, factors, measure = asked.rows(performance), factor_columns(performance), asked.measures[0]
    layout = _lay_out(data, factors, asked.x, asked.y)
    scale = measure_scale(data, measure, asked.level, asked.band)
    title = say.figure_title(data, asked.measures, asked.parameter, asked.level)
    page = _draw(data, layout, scale, title, say.about_words(data, condition(data, factors)))
    stem = ("heatmap", measure, asked.parameter, *asked.stem())
    return Drawing(page.figure, data, title, stem, layout.x.factor, scale.as_percent)


heatmap_chart, plot_heatmap = figure_functions(register_figure(FigureKind(
    "heatmap", "a measure over two factors", "performance", draw_heatmap, by_cell,
    ("measures", "x", "y", *TABLE), {"measure": "bias"},
)))  # fmt: skip


def _lay_out(data: pd.DataFrame, factors: Sequence[str], x: str | None, y: str | None) -> Layout:
    for what, name in (("x", x), ("y", y)):
        if name is not None:
            check_name(what, name, factors)
    if x is not None and x == y:
        raise SimstudyError(f"y: found '{y}', which is x; allowed: another factor")
    levels = {factor: in_level_order(data[factor].tolist()) for factor in factors}
    varying = [name for name in factors if len(levels[name]) > 1]
    across = x or x_factor({name: found for name, found in levels.items() if name != y})
    free = [name for name in varying if name != across]
    up = y or ("cluster_size" if "cluster_size" in free else free[0] if free else "")
    strips: list[Strip] = make_strips([name for name in free if name != up], data, levels)
    methods: list[Strip] = [(name, {}) for name in names_in(data, "estimator")]
    axis_x, axis_y = (make_axis(name, levels.get(name, [""])) for name in (across, up))
    as_methods = [(name, name, levels) for name, levels in methods]
    as_strips = [(text, "", levels) for text, levels in strips]
    width = CELL_WIDTH * len(axis_x.levels)
    if len(strips) > 1 and len(strips) * width > LANDSCAPE - 1.5 and len(methods) < len(strips):
        return Layout(axis_x, axis_y, tuple(as_strips), tuple(as_methods))
    return Layout(axis_x, axis_y, tuple(as_methods), tuple(as_strips))


def _draw(data: pd.DataFrame, layout: Layout, scale: Scale, title: str, about: str) -> Page:
    panels, ragged = layout.panels(), len(layout.columns) == 1
    nx, ny = len(layout.x.levels), len(layout.y.levels)
    across = fit_ticks(range(nx), layout.x.texts, (-0.5, nx - 0.5), nx * CELL_WIDTH, numeric=False)
    blank = any(rows_at(data, levels).empty for _, levels in panels) or len(panels) * nx * ny > len(data)
    words = Words(
        title,
        about,
        layout.x.label,
        layout.y.label,
        columns=() if ragged or not layout.columns[0][0] else tuple(text for text, _, _ in layout.columns),
        rows=() if ragged else tuple(text for text, _, _ in layout.rows),
        panels=tuple(name for name, _ in panels) if ragged else (),
        notes=_notes(data, scale, blank),
    )
    keys = []
    if scale.band is not None:
        keys.append(patch_key(f"framed: {scale.band.label}", facecolor="white", edgecolor=INK, linewidth=1.2))
    page = make_page(words, _measured(layout, words, across), keys)
    colours = _Colours(scale)
    largest = float(data.loc[np.isfinite(data["value"]), "value"].abs().max())
    decimals = (1 if largest < 0.0995 else 0) if scale.as_percent else cell_decimals(largest)
    for axes, (method, levels) in zip(page.axes, panels, strict=True):
        _draw_panel(axes, rows_at(data[data["estimator"] == method], levels), layout, scale, colours, decimals)
    label_ticks(page, across, list(zip(range(ny), layout.y.texts if layout.y.factor else [""], strict=True)))
    for axes in page.axes:
        axes.tick_params(length=0, pad=3.0)
        axes.spines[:].set_visible(False)
    _colour_bar(page, scale, colours)
    return page


def _measured(layout: Layout, words: Words, across: LevelTicks) -> Panels:
    """Panels: cells of a readable size; methods side by side, as many as fit, where nothing else spans columns."""
    nx, ny = len(layout.x.levels), len(layout.y.levels)
    count, n_columns = len(layout.panels()), len(layout.columns)
    if n_columns == 1:
        n_columns = max(1, min(count, int(6.2 / (nx * CELL_WIDTH + 0.1)), 6))
        n_columns = -(-count // -(-count // n_columns))
    n_rows = -(-count // n_columns)
    widest = min(max(text_width(text, STRIP) for text in ("", *words.panels)) + 0.04, TALLEST_TITLE)
    longest = min(max(text_width(text, STRIP) for text in ("", *words.rows)) + 0.06, TALLEST_TITLE)
    return Panels(
        n_rows,
        n_columns,
        (max(ny * CELL_HEIGHT, SMALLEST_PANEL, longest),) * n_rows,
        width=(max(nx * CELL_WIDTH, widest), max(nx * WIDEST_CELL, widest)),
        n_panels=count,
        left=max(ticks_width(layout.y.texts), across.reach - 0.1) if layout.y.factor else 0.0,
        below=across.height if layout.x.factor else 0.08,
        footer=0.62,
    )


def _notes(data: pd.DataFrame, scale: Scale, blank: bool) -> tuple[str, ...]:
    mcse = data["mcse"].to_numpy(dtype=np.float64)
    mcse = mcse[np.isfinite(mcse)]
    shown = [f"{value:.2g}" for value in (np.median(mcse), mcse.max())] if len(mcse) else []
    at = scale.forward(data["value"].to_numpy(dtype=np.float64))
    beyond = bool(np.any((at < scale.limits[0]) | (at > scale.limits[1])))
    return say.sentences(
        say.basis_note(data),
        say.kind_note(data),
        f"Monte Carlo SE: median {shown[0]}, at most {shown[1]}." if shown else "",
        "Beyond the ends of the scale the colour stays the same." if beyond else "",
        say.missing_note(data),
        "Numbers are per cent." if scale.as_percent else "",
        "Blank: not in the design." if blank else "",
    )


class _Colours:
    """Value -> colour: around the reference where there is one, otherwise from light to dark."""

    def __init__(self, scale: Scale) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        self.scale = scale
        low, high = scale.limits
        if scale.reference is None:
            self.low, self.high = max(low, scale.place(scale.bounds[0])) if np.isfinite(scale.bounds[0]) else low, high
            self.map: Colormap = LinearSegmentedColormap.from_list("from white", ["#ffffff", "#7fb2d6", "#00395c"])
        else:
            middle = scale.place(scale.reference)
            reach = max(high - middle, middle - low)
            self.low, self.high = middle - reach, middle + reach
            self.map = LinearSegmentedColormap.from_list("around", [BLUE, "#ffffff", VERMILLION])

    def share(self, value: float) -> float:
        """Place between the ends of the colours, 0 to 1."""
        return float(np.clip((self.scale.place(value) - self.low) / (self.high - self.low), 0.0, 1.0))

    def colour(self, value: float) -> tuple[float, float, float]:
        """Red, green, blue."""
        red, green, blue, _ = self.map(self.share(value))
        return red, green, blue


def compact(value: float, decimals: int = 2) -> str:
    """Write a number in a cell: so many decimals and no leading zero, fewer from 10 on."""
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 99.5:
        text = f"{value:.0f}" if abs(value) < 9999.5 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    else:
        text = f"{value:.{decimals}f}" if abs(value) < 9.95 else f"{value:.{min(decimals, 1)}f}"
    if float(text) == 0.0:
        return "0"
    text = text.replace("-", "−")
    return text.replace("0.", ".", 1) if text.startswith(("0.", "−0.")) else text


def cell_decimals(largest: float) -> int:
    """Decimals of the numbers in cells: two significant digits of the largest, at least two and at most four."""
    return 2 if not largest > 0.0 else int(np.clip(2 - np.floor(np.log10(largest) + 1.0), 2, 4))


def _draw_panel(axes: Axes, rows: pd.DataFrame, layout: Layout, scale: Scale, colours: _Colours, decimals: int) -> None:
    from matplotlib.patches import Rectangle

    places_x = {level: place for place, level in enumerate(layout.x.levels)}
    places_y = {level: place for place, level in enumerate(layout.y.levels)}
    axes.set_xlim(-0.5, len(places_x) - 0.5)
    axes.set_ylim(-0.5, len(places_y) - 0.5)
    xs = [places_x[level] for level in rows[layout.x.factor]] if layout.x.factor else [0] * len(rows)
    ys = [places_y[level] for level in rows[layout.y.factor]] if layout.y.factor else [0] * len(rows)
    for x, y, value in zip(xs, ys, rows["value"].astype(float), strict=True):
        if np.isnan(value):
            look: dict[str, Any] = {"facecolor": "white", "edgecolor": "0.75", "hatch": "//////", "linewidth": 0.4}
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, **look))
            continue
        colour = colours.colour(value)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="0.75", linewidth=0.4))
        text = compact(100.0 * value if scale.as_percent else value, decimals)
        ink = "white" if _luminance(colour) < DARK else "black"
        axes.text(x, y, text, ha="center", va="center_baseline", fontsize=SMALLEST + 0.5, color=ink)
    if scale.band is not None:
        values = rows["value"].to_numpy(dtype=np.float64)
        for k in np.flatnonzero((values >= scale.band.low) & (values <= scale.band.high)):
            box = Rectangle((xs[k] - 0.44, ys[k] - 0.42), 0.88, 0.84, fill=False, edgecolor="black", linewidth=1.1)
            axes.add_patch(box)


def _luminance(colour: tuple[float, float, float]) -> float:
    """Relative luminance of an sRGB colour, with the lightness that the eye sees (a square root)."""
    linear: npt.NDArray[np.float64] = np.asarray(colour) ** 2.2
    return float(np.sqrt(linear @ np.array([0.2126, 0.7152, 0.0722])))


def _colour_bar(page: Page, scale: Scale, colours: _Colours) -> None:
    """Colours of the values, below the panels."""
    left, bottom, width, height = page.footer
    inches = page.figure.get_figheight()
    share = min(1.0, 3.4 / (width * page.figure.get_figwidth()))
    middle = left + width * (1 - share) / 2
    top = bottom + height - 0.10 / inches
    low, high = max(scale.limits[0], colours.low), min(scale.limits[1], colours.high)
    axes = page.figure.add_axes((middle, top - BAR_HEIGHT / inches, width * share, BAR_HEIGHT / inches))
    axes.imshow(
        (np.linspace(low, high, 256)[None, :] - colours.low) / (colours.high - colours.low),
        cmap=colours.map,
        vmin=0.0,
        vmax=1.0,
        aspect="auto",
        extent=(low, high, 0.0, 1.0),
        interpolation="nearest",
    )
    axes.set_yticks([])
    shown = [(at, text) for at, text in scale.shown if low <= at <= high]
    room = width * share * page.figure.get_figwidth()
    ticks = fit_ticks(
        [at for at, _ in shown], [text for _, text in shown], (low, high), room, numeric=True,
        first=min(scale.reference_tick, len(shown) - 1),
    )  # fmt: skip
    axes.set_xticks([at for at, _ in ticks.ticks], [text for _, text in ticks.ticks])
    axes.tick_params(labelsize=TICK, length=2.0, pad=1.5)
    axes.spines[:].set_linewidth(0.4)
    below = (BAR_HEIGHT + line_height(TICK) + 0.16) / inches
    room = page.figure.get_figwidth() * 2 * min(middle + width * share / 2, 1 - middle - width * share / 2)
    label = scale.label if SAFETY * text_width(scale.label, KEY) + 0.1 < room else scale.short
    page.figure.text(middle + width * share / 2, top - below, label, fontsize=KEY, ha="center", va="center")
