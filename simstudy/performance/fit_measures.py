"""Distribution of fit measures (chi-square, CFI, ...) over the replicates of a cell, as Mplus tabulates them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from simstudy.performance.moments import FloatArray
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
    rows: list[dict[str, object]] = []
    for estimator in estimators:
        mine = fits[(fits["estimator"] == estimator) & (fits["status"] == "OK")].sort_values("rep")
        if mine.empty or bool(mine[[name for name in names if name != "loglik"]].isna().to_numpy().all()):
            continue
        for name in names:
            values = mine[name].to_numpy(dtype=float)
            values = values[np.isfinite(values)]
            if len(values):
                row: dict[str, object] = {"cell": mine["cell"].iloc[0], "estimator": estimator, "measure": name}
                row.update(_summary(values))
                if name in _CHI_SQUARES:
                    row.update(_rejection(mine[_CHI_SQUARES[name]].to_numpy(dtype=float)), df=mine["df"].iloc[0])
                rows.append(row)
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def _summary(values: FloatArray) -> dict[str, float]:
    n = len(values)
    sd = float(np.std(values, ddof=1)) if n > 1 else np.nan
    low, middle, high = (float(np.quantile(values, p)) for p in (0.05, 0.5, 0.95))
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
    low, middle, high = (float(stats.chi2.ppf(p, df)) for p in (0.05, 0.5, 0.95))
    return low, middle, high
