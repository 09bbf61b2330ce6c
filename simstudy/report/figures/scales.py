"""Vertical axes: robust limits for bias, a stretched scale for coverage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

FAR = 5.0
"""A method whose typical size exceeds this many times the reference does not set the scale."""
WIDE = 3.0
"""The axis reaches at least this many typical sizes of the largest method that sets it."""
SHARE_OF_TRUTH = 0.5
"""Bias up to this share of the truth is never cut off."""
SMALLEST_SHARE = 0.05
"""The axis shows at least this share of the truth, so that noise does not fill it."""
WORTH_CLIPPING = 1.5
"""Nothing is clipped unless the data reach this many times beyond the robust limit."""
STRETCH = 0.02
LINEAR_FROM = 0.8
"""Coverage axes that start here or above need no stretching."""

FloatArray = npt.NDArray[np.float64]


def bias_limits(
    values: Mapping[str, Sequence[float]], errors: Mapping[str, Sequence[float]], truth: float
) -> tuple[float, float]:
    """Limits of a bias axis that one method far off the scale cannot take from the others.

    The typical size of a method is the median of its absolute values.  A method that is biased everywhere is the
    message of a figure, so it does set the scale, unless its typical size is `FAR` times that of the middle method and
    of the truth.  Values beyond `WIDE` typical sizes of the largest method that sets the scale are cut off; the figure
    marks them.

    Parameters
    ----------
    values, errors : mapping of method to sequence of float
        Values and half-widths of their MCSE bands; NaN for missing.
    truth : float
        Typical absolute truth on the scale of the values; 0 if there is none.
    """
    size = {name: _typical(found) for name, found in values.items()}
    known = [value for value in size.values() if math.isfinite(value)]
    if not known:
        return (-1.0, 1.0)
    reference = max(truth, float(np.median(known)))
    scale = max((value for value in known if value <= FAR * reference), default=max(known))
    limit = max(WIDE * scale, SHARE_OF_TRUTH * truth)
    everything = np.concatenate([np.asarray(found, dtype=np.float64) for found in values.values()])
    bands = np.concatenate([np.asarray(found, dtype=np.float64) for found in errors.values()])
    finite = np.isfinite(everything)
    bands = np.where(np.isfinite(bands), bands, 0.0)[finite]
    low, high = everything[finite] - bands, everything[finite] + bands
    bottom = max(_end(-everything[finite], -low, limit), SMALLEST_SHARE * truth)
    top = max(_end(everything[finite], high, limit), SMALLEST_SHARE * truth)
    pad = 0.06 * (top + bottom) or 1.0
    return (-bottom - pad, top + pad)


def _typical(values: Sequence[float]) -> float:
    finite = [abs(value) for value in values if math.isfinite(value)]
    return float(np.median(finite)) if finite else math.nan


def _end(values: FloatArray, ends: FloatArray, limit: float) -> float:
    """Distance of the axis end from 0 in one direction; bands may be cut, values only if they are far."""
    furthest = float(values.max(initial=0.0))
    if limit > 0.0 and furthest > WORTH_CLIPPING * limit:
        inside = values <= limit
        return min(max(float(ends[inside].max(initial=0.0)), float(values[inside].max(initial=0.0))), limit)
    band = float(ends.max(initial=0.0))
    return max(furthest, min(band, 1.5 * furthest if furthest > 0 else band))


def stretched(p: npt.ArrayLike) -> FloatArray:
    """Coverage -> -log(1 + s - p), s = `STRETCH`: a quarter of the axis for .91 to .98, and 1 stays finite."""
    return np.asarray(-np.log1p(STRETCH - np.clip(np.asarray(p, dtype=np.float64), 0.0, 1.0)))


def coverage_ticks(lowest: float) -> list[float]:
    """Ticks of a coverage axis that starts at `lowest`."""
    if lowest >= LINEAR_FROM:
        step = 0.05 if lowest < 0.9 else 0.02
        first = math.ceil(round(lowest / step, 6))
        return [round(step * tick, 4) for tick in range(first, math.floor(1.0 / step + 1e-9) + 1)]
    return [0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0]
