"""A fit's estimates as labelled tables: one row a parameter, by its label or path."""

from __future__ import annotations

import numpy as np
import pandas as pd

from simstudy.analysis.result import FitRecord
from simstudy.errors import EstimatorError
from simstudy.linalg.stacked import FloatArray
from simstudy.linalg.wald_intervals import quantile

COLUMNS = ("est", "se", "z", "pvalue", "ci_lower", "ci_upper")


def estimates(fit: FitRecord) -> pd.DataFrame:
    """Free parameters, then ``:=`` parameters (q + d rows), by label, or path where there is none.

    Returns
    -------
    DataFrame
        est, se, z, pvalue, ci_lower, ci_upper; the index is named ``parameter``.
    """
    rows, names = fit.model.table.rows, fit.model.names
    places: dict[str, int] = {}
    for k, row in enumerate(rows):
        if row.free >= 0 and not row.slope:  # the path of a random slope is no number
            places.setdefault(names[row.free], k)
    for k, name in enumerate(fit.model.estimands.defined_names):
        places[name] = len(rows) + k
    ordered = [places[name] for name in fit.model.reported]
    table = fit.parameters[list(COLUMNS)].iloc[ordered]
    return table.set_axis(pd.Index(fit.model.reported, name="parameter"), axis=0)


def covariance(fit: FitRecord) -> pd.DataFrame:
    """Covariance matrix of `estimates` (q + d, q + d); that of ``:=`` parameters by the delta method, J V J'.

    Rows of parameters that the method does not speak about, and of ``:=`` parameters made of them, are NaN.
    """
    estimands, names = fit.model.estimands, list(fit.model.reported)
    missing = np.isnan(np.diagonal(fit.covariance))
    jacobian = np.concatenate([np.eye(len(fit.params)), np.nan_to_num(estimands.jacobian(fit.params[None])[0])])
    full = jacobian @ np.where(np.isnan(fit.covariance), 0.0, fit.covariance) @ jacobian.T
    blank = (jacobian != 0.0) @ missing
    full[blank, :] = np.nan
    full[:, blank] = np.nan
    return pd.DataFrame(full, index=names, columns=names)


def wald_limits(fit: FitRecord, level: float) -> FloatArray:
    """Limits (q + d, 2) of Wald intervals of another level.

    Raises
    ------
    EstimatorError
        If the level is none, or the fit has simulated intervals, whose draws are not kept.
    """
    if not 0.0 < level < 1.0:
        raise EstimatorError(f"level: found {level:g}; it must lie between 0 and 1, such as 0.95")
    kind = fit.options.get("ci", "wald")
    if kind != "wald":
        raise EstimatorError(f"level: the intervals of this fit are simulated ({kind}); fit with ci_level={level:g}")
    table = estimates(fit)
    reach = quantile(level) * table["se"].to_numpy()
    return np.stack([table["est"].to_numpy() - reach, table["est"].to_numpy() + reach], axis=1)
