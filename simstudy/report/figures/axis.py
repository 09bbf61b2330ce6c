"""The axis on which a measure is drawn: limits, ticks, reference line, band."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from simstudy.performance import MEASURES
from simstudy.report.figures.bands import Band, find_band
from simstudy.report.figures.scales import LINEAR_FROM, FloatArray, bias_limits, coverage_ticks, stretched
from simstudy.report.figures.words import measure_words, names_of, percent_level, rejection_words, series_words
from simstudy.report.tables.text import fixed

Z_BAND = 1.959963984540054
"""MCSE bands are 95 % intervals of the number that infinitely many replications would give."""
LOWEST_SHARE = 0.9
"""Axes of convergence and admissibility reach down to here at least, so that two failures do not look like many."""


def identity(values: FloatArray) -> FloatArray:
    """Drawn as they are."""
    return np.asarray(values, dtype=np.float64)


@dataclass(frozen=True)
class Scale:
    """Axis of a measure.

    Parameters
    ----------
    label : str
        Axis label.
    limits : (float, float)
        In drawn coordinates.
    forward : callable
        Value -> drawn coordinate.
    reference : float, optional
        Value of the line across every panel.
    reference_label : str
        Its name in the legend.
    ticks : tuple of float
        Values of the ticks.
    as_percent : bool
        Print ticks as per cent.
    bounds : (float, float)
        Values that MCSE bands do not leave.
    band : Band, optional
        Region to shade.
    by_truth : bool
        The reference is the true value of each cell.
    """

    label: str
    limits: tuple[float, float]
    forward: Callable[[FloatArray], FloatArray] = identity
    reference: float | None = None
    reference_label: str = ""
    ticks: tuple[float, ...] = ()
    as_percent: bool = False
    bounds: tuple[float, float] = (-np.inf, np.inf)
    band: Band | None = None
    by_truth: bool = False

    def place(self, value: float) -> float:
        """Drawn coordinate of one value."""
        return float(self.forward(np.array([value], dtype=np.float64))[0])

    @property
    def shown(self) -> list[tuple[float, str]]:
        """Place and text of the ticks."""
        step = min((b - a for a, b in zip(self.ticks, self.ticks[1:], strict=False)), default=1.0)
        if self.as_percent:
            return [(self.place(tick), f"{tick_text(100 * tick, 100 * step)}%") for tick in self.ticks]
        if self.forward is not identity:
            return [(self.place(tick), f"{tick:g}") for tick in self.ticks]
        return [(tick, tick_text(tick, step)) for tick in self.ticks]

    @property
    def short(self) -> str:
        """Axis label without the explanation of the measure."""
        name, _, rest = self.label.partition(" (")
        return f"{name} ({rest}" if rest.startswith("axis") else name

    @property
    def reference_tick(self) -> int:
        """Place of the tick of the reference, which has room before all others; 0 if there is none."""
        return self.ticks.index(self.reference) if self.reference in self.ticks else 0

    def interval(self, value: FloatArray, mcse: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Drawn ends of the MCSE intervals, inside the bounds."""
        half = half_width(mcse)
        lower = self.forward(np.maximum(value - half, self.bounds[0]))
        return lower, self.forward(np.minimum(value + half, self.bounds[1]))

    def text(self, value: float) -> str:
        """Write a value beside a mark."""
        if not math.isfinite(value):
            return "∞" if value > 0 else "−∞"
        if self.as_percent:
            return f"{100 * value:.3g}%".replace("-", "−")
        text = fixed(value, 2) if abs(value) < 10 else f"{value:.3g}"
        return re.sub(r"e\+?(-?)0*", r"e\1", text).replace("-", "−")


def half_width(mcse: FloatArray) -> FloatArray:
    """Half-widths of MCSE intervals; none where the MCSE is no number."""
    return np.asarray(Z_BAND * np.where(np.isfinite(mcse), mcse, 0.0))


def tick_text(value: float, step: float) -> str:
    """Write a tick with the decimals that its step needs, and a proper minus."""
    decimals = 0 if step <= 0 or not math.isfinite(step) else max(0, -math.floor(math.log10(step) + 1e-9))
    if decimals < 12 and abs(round(step, decimals) - step) > 0.01 * step:
        decimals += 1
    if abs(value) >= 1e5 or 0 < step < 1e-6:
        return f"{value:.3g}".replace("-", "−")
    text = f"{value:.{decimals}f}"
    return (text.removeprefix("-") if float(text) == 0.0 else text).replace("-", "−")


def linear_ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """Round values inside the limits, about `count` of them."""
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(nbins=count, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    slack = 1e-9 * (high - low)
    return tuple(float(tick) for tick in found if low - slack <= tick <= high + slack)


def measure_scale(data: pd.DataFrame, measure: str, level: float, band: str | None = None, count: int = 5) -> Scale:
    """Axis for the values of a measure.

    Parameters
    ----------
    data : DataFrame
        estimator, value, mcse, truth of that measure.
    measure : str
    level : float
        Nominal level of the intervals.
    band : str, optional
        Source of a band (`find_band`).
    count : int
        About how many ticks.
    """
    words = measure_words(measure, level)
    rows = data[data["measure"] == measure]
    shaded = find_band(band, measure, rows["truth"], level)
    kind = MEASURES[measure].axis if measure in MEASURES else "open"
    scale = _OF_KIND[kind](rows, measure, words, level)
    if not scale.ticks:
        low, high = scale.limits
        ticks = linear_ticks(max(low, scale.bounds[0]), min(high, scale.bounds[1]), count)
        scale = replace(scale, ticks=ticks)
    return replace(scale, band=shaded)


def _lowest(rows: pd.DataFrame, at_most: float) -> float:
    """Low end of the MCSE intervals of rates, `at_most` or below."""
    values, errors = (rows[name].to_numpy(dtype=np.float64) for name in ("value", "mcse"))
    ends = (values - half_width(errors))[np.isfinite(values)]
    return float(np.clip(min(ends.min(initial=1.0), at_most), 0.0, 1.0))


def _coverage_scale(rows: pd.DataFrame, measure: str, words: str, level: float) -> Scale:
    """Where coverage falls below .8 the axis is stretched near 1, and its label says so; nothing is cut off."""
    lowest = _lowest(rows, level - 0.06)
    linear = lowest >= LINEAR_FROM
    forward = identity if linear else stretched
    bottom, top = (float(end) for end in forward(np.array([lowest if linear else 0.0, 1.0])))
    pad = 0.05 * (top - bottom)
    return Scale(
        words if linear else f"{words} (axis stretched near 1)",
        (bottom - pad, top + pad),
        forward,
        level,
        f"nominal {percent_level(level)}",
        ticks=tuple(coverage_ticks(lowest)),
        bounds=(0.0, 1.0),
    )


def _rejection_scale(rows: pd.DataFrame, measure: str, words: str, level: float) -> Scale:
    """Power from 0 to 1; type I error rates from 0 to what occurs, with the nominal rate."""
    name = rejection_words(rows["truth"])
    words = f"{name} (share of {percent_level(level)} intervals without 0)"
    if not name.startswith("Type I"):
        return Scale(words, (-0.04, 1.04), ticks=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0), bounds=(0.0, 1.0))
    return _rate_scale(rows, words, 1.0 - level)


def _tail_scale(rows: pd.DataFrame, measure: str, words: str, level: float) -> Scale:
    """From 0 to what occurs, with half of what misses."""
    return _rate_scale(rows, words, (1.0 - level) / 2.0)


def _rate_scale(rows: pd.DataFrame, words: str, nominal: float) -> Scale:
    """From 0 to what occurs, with the nominal rate."""
    values, errors = (rows[column].to_numpy(dtype=np.float64) for column in ("value", "mcse"))
    ends = (values + half_width(errors))[np.isfinite(values)]
    top = float(min(max(ends.max(initial=0.0), 2.0 * nominal), 1.0))
    label = f"nominal {nominal:.3g}"
    return Scale(words, (-0.04 * top, 1.04 * top), reference=nominal, reference_label=label, bounds=(0.0, 1.0))


def _share_scale(rows: pd.DataFrame, measure: str, words: str, level: float) -> Scale:
    """From what occurs, and .9 at least, to 1."""
    lowest = _lowest(rows, LOWEST_SHARE)
    pad = 0.04 * (1.0 - lowest)
    return Scale(words, (lowest - pad, 1.0 + pad), bounds=(0.0, 1.0))


def _bias_scale(rows: pd.DataFrame, measure: str, words: str, level: float) -> Scale:
    """Around 0, as wide as the true values suggest."""
    return _robust(rows, Scale(words, (0.0, 1.0)), measure, typical=_typical(np.abs(_truths(rows))))


def _ratio_scale(rows: pd.DataFrame, measure: str, words: str, level: float) -> Scale:
    """Around the reference, on the scale of 1."""
    return _robust(rows, Scale(words, (0.0, 1.0)), measure, centre=MEASURES[measure].reference or 0.0, typical=1.0)


def _difference_scale(rows: pd.DataFrame, measure: str, words: str, level: float) -> Scale:
    """Around 0, which is what the reference method has."""
    label = f"as {series_words(names_of(rows['reference']))}" if "reference" in rows.columns else "no difference"
    return _robust(rows, Scale(words, (0.0, 1.0), reference=0.0, reference_label=label), measure)


def _truth_scale(rows: pd.DataFrame, measure: str, words: str, level: float) -> Scale:
    """Around the true values, which are the reference."""
    truths = _truths(rows)
    scale = Scale(words, (0.0, 1.0), by_truth=True)
    return _robust(rows, scale, measure, centre=_typical(truths), typical=_typical(np.abs(truths)))


def _open_scale(rows: pd.DataFrame, measure: str, words: str, level: float) -> Scale:
    """Where the values are; from 0 up if none is below."""
    never_negative = float(rows["value"].min()) >= 0.0
    return _robust(rows, Scale(words, (0.0, 1.0), bounds=(0.0 if never_negative else -np.inf, np.inf)), measure)


def _truths(rows: pd.DataFrame) -> FloatArray:
    truths: FloatArray = rows["truth"].to_numpy(dtype=np.float64)
    return np.asarray(truths[np.isfinite(truths)])


def _typical(values: FloatArray) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _robust(rows: pd.DataFrame, scale: Scale, measure: str, *, centre: float = 0.0, typical: float = 0.0) -> Scale:
    """Axis with robust limits: a few values far off are marked at its edge."""
    if measure in MEASURES:
        found = MEASURES[measure]
        scale = replace(
            scale,
            reference=scale.reference if found.reference is None else found.reference,
            reference_label=found.reference_label or scale.reference_label,
            as_percent=found.percent,
        )
    groups = {str(name): mine for name, mine in rows.groupby("estimator", sort=False)}
    values = {name: (mine["value"].to_numpy(dtype=np.float64) - centre).tolist() for name, mine in groups.items()}
    errors = {name: (Z_BAND * mine["mcse"].to_numpy(dtype=np.float64)).tolist() for name, mine in groups.items()}
    low, high = bias_limits(values, errors, typical)
    low = max(low, -0.04 * high) if scale.bounds[0] == 0.0 else low
    return replace(scale, limits=(low + centre, high + centre))


_OF_KIND: Mapping[str, Callable[[pd.DataFrame, str, str, float], Scale]] = {
    "bias": _bias_scale,
    "coverage": _coverage_scale,
    "difference": _difference_scale,
    "open": _open_scale,
    "ratio": _ratio_scale,
    "rejection": _rejection_scale,
    "share": _share_scale,
    "tail": _tail_scale,
    "truth": _truth_scale,
}
"""`Measure.axis` -> axis of the rows of a measure."""
