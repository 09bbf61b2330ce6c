"""Conventions of the literature about what is acceptable: named bands for figures, never verdicts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from simstudy.errors import SimstudyError, did_you_mean
from simstudy.performance import MEASURES

BANDS: Mapping[str, str] = {
    "muthen2002": "Muthén & Muthén, 2002",
    "hoogland1998": "Hoogland & Boomsma, 1998",
    "bradley1978": "Bradley, 1978, liberal",
    "cohen1988": "Cohen, 1988",
}
"""Name -> source."""
POWER = 0.80
ETA = (0.01, 0.06, 0.14)
"""Small, medium and large share of variance (Cohen, 1988, pp. 285-287)."""


@dataclass(frozen=True)
class Band:
    """A named region of a measure; where `low` equals `high`, a line.

    Parameters
    ----------
    label : str
        For the legend.
    low, high : float
        Values of the measure.
    """

    label: str
    low: float
    high: float


def measures_with(name: str) -> list[str]:
    """Measures about which a source says something."""
    found = [measure for measure, record in MEASURES.items() if name in record.bands]
    if "relative_bias" in found:
        found.insert(found.index("relative_bias") + 1, "bias")
    further = {"muthen2002": ["rejection"], "bradley1978": ["coverage", "rejection"], "cohen1988": ["eta_squared"]}
    return [*found, *further.get(name, [])]


def sources() -> list[str]:
    """Names of all sources: those known here, and those of single measures."""
    return list(dict.fromkeys([*BANDS, *(name for record in MEASURES.values() for name in record.bands)]))


def check_band(name: str | None, measures: Iterable[str]) -> None:
    """Refuse a band that is unknown or says nothing about any of the measures.

    Raises
    ------
    SimstudyError
    """
    if name is None:
        return
    if name not in sources():
        allowed = sources()
        raise SimstudyError(f"band: there is no '{name}'{did_you_mean(name, allowed)}; allowed: {', '.join(allowed)}")
    wanted, about = list(measures), measures_with(name)
    if not set(wanted) & set(about):
        said = f"it is about {', '.join(about)}"
        raise SimstudyError(f"band: '{name}' ({BANDS.get(name, name)}) says nothing about {', '.join(wanted)}; {said}")


def find_band(name: str | None, measure: str, truth: pd.Series, level: float) -> Band | None:
    """Band of a source for a measure; None if it has none.

    Parameters
    ----------
    name : str, optional
        A key of `BANDS`.
    measure : str
    truth : Series
        True values in the figure: a band of relative bias becomes one of bias where they are one number.
    level : float
        Level of the intervals; alpha is 1 - `level`.

    Raises
    ------
    SimstudyError
        If the band has a meaning for the measure, but not for these true values.
    """
    if name is None or measure not in measures_with(name):
        return None
    source, alpha = BANDS.get(name, name), 1.0 - level
    values = np.unique(truth.to_numpy(dtype=np.float64))
    null = bool(np.all(values == 0.0))
    if measure == "bias":
        if len(values) != 1 or not np.isfinite(values[0]) or null:
            raise SimstudyError(
                f"band: '{name}' is about relative bias, and the truth is not one number other than 0; "
                "use the measure relative_bias"
            )
        share = MEASURES["relative_bias"].bands[name][1]
        width = share * abs(float(values[0]))
        return Band(f"within {100 * share:.3g}% of the truth ({source})", -width, width)
    record = MEASURES[measure]
    if name in record.bands:
        low, high = record.bands[name]
        relative = record.axis == "ratio" and record.reference is not None
        said = f"within {100 * (high - (record.reference or 0.0)):.3g}%" if relative else f"{low:g} to {high:g}"
        return Band(f"{re.sub(r'(?<![0-9])0[.]', '.', said)} ({source})", low, high)
    if measure == "coverage":
        low, high = 1.0 - 1.5 * alpha, 1.0 - 0.5 * alpha
        return Band(f"{low:.4g} to {high:.4g} ({source})", low, high)
    if name == "bradley1978":
        if not null:
            raise SimstudyError(f"band: '{name}' is about type I errors, and the truth is not 0")
        return Band(f"{0.5 * alpha:.4g} to {1.5 * alpha:.4g} ({source})", 0.5 * alpha, 1.5 * alpha)
    if null:
        raise SimstudyError(f"band: '{name}' is about power, and the truth is 0: these are type I errors")
    return Band(f"power of {POWER:.2f} or more ({source})".replace("0.", "."), POWER, 1.0)
