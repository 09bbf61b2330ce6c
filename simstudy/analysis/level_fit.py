"""Fit of each level's structure on its own: partially saturated models (Ryu & West 2009; Ryu 2014).

The target model is the whole one. To judge a level's part of it, the other level is left unrestricted and estimated
along with it; chi-square is against the model unrestricted at both levels, and the baseline model is the independence
model of that level with the other one unrestricted. RMSEA counts units of the level that is judged,

    RMSEA_B = sqrt(max(0, chisq - df) / (J df)),    RMSEA_W = sqrt(max(0, chisq - df) / (N df)),

J clusters and N rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from simstudy.analysis.derived import require_solution, saturated_of, solve_on
from simstudy.analysis.rescaled import in_rescaled_units
from simstudy.analysis.result import FitRecord
from simstudy.analysis.slopes import refuse_slopes
from simstudy.analysis.unrestricted import with_intervals
from simstudy.errors import EstimatorError
from simstudy.estimation.fit_measures import Solved, baseline_model, fit_measures
from simstudy.estimation.semidefinite import semidefinite
from simstudy.estimation.unrestricted import unrestricted_model
from simstudy.model.parameters import LEVEL_NAMES, number_rows
from simstudy.model.twolevel import TwoLevelModel

PLAIN = ("chisq", "df", "pvalue", "cfi", "tli", "rmsea", "rmsea_ci_lower", "rmsea_ci_upper", "srmr")
ROBUST = (
    "chisq_scaled", "scaling", "pvalue_scaled", "cfi_robust", "tli_robust", "rmsea_robust", "rmsea_ci_lower_robust",
    "rmsea_ci_upper_robust",
)  # fmt: skip


def level_fit(fit: FitRecord, *, target: bool = False) -> pd.DataFrame:
    """Fit of each level's structure on its own, the other level unrestricted (Ryu & West 2009).

    Parameters
    ----------
    fit : FitRecord
    target : bool
        Add the target model, the whole one, as a first row with level ``both``; its SRMR is there by level only.

    Returns
    -------
    DataFrame
        level, chisq, df, pvalue, cfi, tli, rmsea, rmsea_ci_lower, rmsea_ci_upper, srmr; with robust SEs also
        chisq_scaled, scaling, pvalue_scaled, cfi_robust, tli_robust, rmsea_robust and its limits. RMSEA has clusters
        for units at the between level, rows within. A level whose parameters are tied to the other's by labels has
        NaN.

    Raises
    ------
    EstimatorError
        Without a converged fit by full-information maximum likelihood.
    """
    refuse_slopes(fit, "fit of one level")
    require_solution(fit)
    if not fit.context.method.likelihood_of_model:
        raise EstimatorError(f"fit of one level is that of full-information maximum likelihood, not of {fit.estimator}")
    own, fit = fit.measures, in_rescaled_units(fit)
    saturated = saturated_of(fit)
    scaled = fit.options.get("se") == "robust"
    columns = ["level", *PLAIN, *ROBUST * scaled]
    rows: list[dict[str, Any]] = [{"level": "both", **own, "srmr": np.nan}] if target else []
    for level, n_units in zip(LEVEL_NAMES, (fit.n_obs, fit.n_clusters), strict=True):
        solved = _partially_saturated(fit, fit.model, level, saturated)
        baseline = _partially_saturated(fit, baseline_model(fit.model), level, saturated)
        if solved is None or baseline is None:
            rows.append({"level": level})
            continue
        found = fit_measures(solved, saturated, baseline, n_obs=n_units, scaled=scaled)
        one = with_intervals({name: float(values[0]) for name, values in found.items()}, n_units)
        rows.append({"level": level, **one, "srmr": one[f"srmr_{level}"]})
    return pd.DataFrame(rows).reindex(columns=columns)


def _partially_saturated(fit: FitRecord, model: TwoLevelModel, level: str, saturated: Solved) -> Solved | None:
    """The model fitted with the other level unrestricted; None where labels or constraints tie the levels."""
    if "both" in model.table.levels or model.table.constraints or model.table.bounded:
        return None
    free = unrestricted_model(model)
    rows = [*model.table.at(level), *(row for name in LEVEL_NAMES if name != level for row in free.table.at(name))]
    order = sorted(rows, key=lambda row: LEVEL_NAMES.index(row.level))
    solved = solve_on(fit, replace(model, table=number_rows(order)), saturated)
    return semidefinite(solved) if level == "within" and fit.h1 == "psd" else solved
