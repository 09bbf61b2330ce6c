"""Distribution of fit measures (chi-square, CFI, ...) over the replicates of a cell, as Mplus tabulates them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from simstudy.linalg.tails import chi_square_quantile
from simstudy.performance.moments import FloatArray
from simstudy.performance.pivot import OK, codes, numbers
from simstudy.performance.rates import rate

SUMMARY_COLUMNS = (
    "cell",
    "estimator",
    "measure",
    "n",
    "mean",
    "mean_mcse",
    "sd",
    "p05",
    "p50",
    "p95",
    "rejection",
    "rejection_mcse",
    "df",
)
LEVEL = 0.05
# columns of ``fits`` that are facts about the fit, not measures of it
_FACTS = {"cell", "rep", "estimator", "status", "admissible", "n_iter", "seconds", "npar", "df", "baseline_df"}
_CHI_SQUARES = {"chisq": "pvalue", "chisq_scaled": "pvalue_scaled"}


def summarise_fit_measures(fits: pd.DataFrame, estimators: Sequence[str]) -> pd.DataFrame:
    """Summarise every fit measure of a cell's converged fits.

    Parameters
    ----------
    fits : DataFrame
        Rows of ``fits`` of one cell.
    estimators : sequence of str
        Order of the methods.

    Returns
    -------
    DataFrame
        cell, estimator, measure, n, mean with its Monte Carlo SE (sd / sqrt n), sd, percentiles 5, 50 and 95, and for
        chi-squares the rejection rate at the 5 % level with its Monte Carlo SE, and df. Without measures, no rows.
    """
    names = [name for name in fits.columns if name not in _FACTS | set(_CHI_SQUARES.values())]
    columns = {name: numbers(fits, name) for name in names}
    some = np.zeros(len(fits), dtype=np.bool_)
    for name in names:
        if name != "loglik":
            some |= ~np.isnan(columns[name])
    method, rep = codes(fits["estimator"], estimators), fits["rep"].to_numpy()
    converged = codes(fits["status"], (OK,)) == 0
    rows: list[dict[str, object]] = []
    for place, estimator in enumerate(estimators):
        mine = np.flatnonzero(converged & (method == place))
        if not some[mine].any():
            continue
        mine = mine[np.argsort(rep[mine], kind="stable")]
        for name in names:
            values = columns[name][mine]
            values = values[np.isfinite(values)]
            if len(values):
                row: dict[str, object] = {
                    "cell": fits["cell"].iloc[mine[0]],
                    "estimator": estimator,
                    "measure": name,
                    **_summary(values),
                }
                if name in _CHI_SQUARES:
                    row |= _rejection(numbers(fits, _CHI_SQUARES[name])[mine])
                    row["df"] = fits["df"].iloc[mine[0]]
                rows.append(row)
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def _summary(values: FloatArray) -> dict[str, float]:
    n = len(values)
    sd = float(np.std(values, ddof=1)) if n > 1 else np.nan
    low, middle, high = (float(value) for value in np.quantile(values, (0.05, 0.5, 0.95)))
    mean = float(np.mean(values))
    return {"n": n, "mean": mean, "mean_mcse": sd / np.sqrt(n), "sd": sd, "p05": low, "p50": middle, "p95": high}


def _rejection(pvalues: FloatArray) -> dict[str, float]:
    found = pvalues[np.isfinite(pvalues)]
    if not len(found):
        return {"rejection": np.nan, "rejection_mcse": np.nan}
    share = rate((found < LEVEL)[:, None], np.ones((len(found), 1), dtype=bool))
    return {"rejection": float(share.value[0]), "rejection_mcse": float(share.mcse[0])}


def expected_percentiles(df: float) -> tuple[float, float, float]:
    """Percentiles 5, 50 and 95 of the chi-square distribution that a true model's statistic follows."""
    low, middle, high = (float(chi_square_quantile(p, df)) for p in (0.05, 0.5, 0.95))
    return low, middle, high
