"""Fit indices as functions of chi-squares: CFI, TLI, RMSEA, plain, scaled and robust, and RMSEA's interval.

With T and T_B the chi-squares of the model and the baseline model, df and df_B their degrees of freedom, c and c_B
their scaling factors (T / c is the scaled chi-square), and N the number of units,

    delta = T - c df,    delta_B = T_B - c_B df_B,
    CFI   = 1 - max(0, delta) / max(0, delta, delta_B),
    TLI   = 1 - (delta / df) / (delta_B / df_B),
    RMSEA = sqrt(G max(0, delta) / (N df)),

G groups. c = c_B = 1 gives the plain indices (Bentler 1990; Tucker & Lewis 1973; Steiger 1990). The scaled ones put
T / c and T_B / c_B in the place of T and T_B, which changes what is estimated; the robust ones estimate what the plain
ones do under normality (Brosseau-Liard, Savalei & Li 2012; Brosseau-Liard & Savalei 2014; Savalei 2018).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simstudy.linalg.stacked import FloatArray
from simstudy.linalg.tails import chi_square_tail, noncentrality


class Indices(NamedTuple):
    """CFI, TLI and RMSEA, (R,) each."""

    cfi: FloatArray
    tli: FloatArray
    rmsea: FloatArray


def indices(
    chisq: FloatArray,
    df: int,
    baseline: FloatArray,
    df_baseline: int,
    n_units: float | FloatArray,
    *,
    scaling: FloatArray | float = 1.0,
    scaling_baseline: FloatArray | float = 1.0,
    n_groups: int = 1,
) -> Indices:
    """CFI, TLI and RMSEA (R,) each; robust ones from unscaled chi-squares with their scaling factors.

    NaN where a number they need is NaN, or a scaling factor is not positive. Without degrees of freedom TLI is 1 and
    RMSEA 0, and so is CFI 1 unless bounds on parameters cost likelihood.

    Parameters
    ----------
    chisq, baseline : (R,)
    df, df_baseline : int
    n_units : float or (R,)
        N: rows, or clusters where the between level alone is tested.
    scaling, scaling_baseline : float or (R,)
    n_groups : int
        G; RMSEA is that of a group (Steiger 1998).

    Examples
    --------
    >>> import numpy as np
    >>> found = indices(np.array([36.220]), 13, np.array([208.103]), 24, 1000)
    >>> [round(float(value[0]), 3) for value in found]
    [0.874, 0.767, 0.042]
    """
    with np.errstate(all="ignore"):
        c = np.where(np.asarray(scaling) > 0, scaling, np.nan) if df > 0 else 1.0
        c_baseline = np.where(np.asarray(scaling_baseline) > 0, scaling_baseline, np.nan)
        excess, excess_baseline = chisq - c * df, baseline - c_baseline * df_baseline
        most = np.maximum(np.maximum(excess, excess_baseline), 0.0)
        cfi = np.where(most > 0, 1.0 - np.maximum(excess, 0.0) / most, 1.0)
        cfi = np.where(np.isnan(most), np.nan, cfi)
        if df <= 0:
            nothing = 0.0 * chisq
            return Indices(np.where(chisq == 0.0, 1.0, cfi), 1.0 + nothing, nothing)
        tli = 1.0 - (excess / df) / (excess_baseline / df_baseline)
        rmsea = np.sqrt(n_groups * np.maximum(excess, 0.0) / (df * n_units))
    return Indices(cfi, tli, rmsea)


def rmsea_interval(
    chisq: float, df: int, n_units: float, level: float = 0.90, *, scaling: float = 1.0, n_groups: int = 1
) -> tuple[float, float]:
    """Confidence limits of RMSEA from the noncentral chi-square distribution (Browne & Cudeck 1993).

    With ``scaling`` c those of the robust RMSEA: limits of the noncentrality of T / c, multiplied by c (Brosseau-Liard,
    Savalei & Li 2012).

    Parameters
    ----------
    chisq : float
        T, unscaled where ``scaling`` is given.
    df : int
    n_units : float
        Rows; clusters where the between level alone is tested.
    level : float
    scaling : float
        c; NaN limits where it is not positive.
    n_groups : int
    """
    if not np.isfinite(chisq) or not scaling > 0:
        return np.nan, np.nan
    if df <= 0:
        return 0.0, 0.0
    tail, statistic = (1.0 - level) / 2.0, chisq / scaling

    factor = n_groups * scaling / (df * n_units)
    low, high = (noncentrality(statistic, df, probability) for probability in (1.0 - tail, tail))
    return float(np.sqrt(factor * low)), float(np.sqrt(factor * high))


def upper_tail(chisq: FloatArray, df: int) -> FloatArray:
    """P-values (R,); NaN without degrees of freedom."""
    if df <= 0:
        return np.full(len(chisq), np.nan)
    return chi_square_tail(chisq, df)
