"""A fit as plain values: what ``simstudy fit --json`` writes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from simstudy.analysis.result import FitRecord

COUNTS = ("npar", "df", "baseline_df")


def fit_as_dict(fit: FitRecord) -> dict[str, Any]:
    """Facts, fit measures, ICCs and parameters of a fit; numbers that do not exist are None."""
    found: dict[str, Any] = {
        "estimator": fit.estimator,
        "converged": fit.converged,
        "admissible": bool(fit.admissible),
        "status": fit.status.name,
        "message": fit.status.message,
        "improper": list(fit.improper),
        "notes": list(fit.notes),
        "options": {key: list(v) if isinstance(v, tuple) else v for key, v in fit.options.items()},
        "n_obs": fit.n_obs,
        "n_clusters": fit.n_clusters,
    }
    found.update({key: _clean(value) for key, value in fit.measures.items()})
    found |= _likelihood(fit)
    found["h1"] = fit.h1 or None
    if "scaling_h0" in found:
        found["scaling_factor_h0"] = found["scaling_h0"]
    for key in COUNTS:
        if found.get(key) is not None:
            found[key] = int(found[key])
    if found.get("boundary") is not None:
        found["boundary"] = bool(found["boundary"])
    if fit.slopes:
        found["slopes"] = [
            {**asdict(fact), **{key: _clean(value) for key, value in _moments_of(fit, fact.name).items()}}
            for fact in fit.slopes
        ]
    found["icc_h1"] = fit.icc_h1 if fit.icc else None
    found["icc"] = {key: _clean(value) for key, value in fit.icc.items()}
    found["parameters"] = [
        {str(key): _clean(value) for key, value in row.items() if key != "free"}
        for row in fit.parameters.to_dict("records")
    ]
    return found


def _likelihood(fit: FitRecord) -> dict[str, Any]:
    """What the log-likelihood is of; None where there is none."""
    there, said = _clean(fit.measures.get("loglik", np.nan)) is not None, fit.likelihood
    return {
        "likelihood": said.kind if there else None,
        "likelihood_of": list(said.variables) if there else None,
        "likelihood_given": list(said.given) if there else None,
        "likelihood_text": said.sentence if there else None,
    }


def _clean(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return None if not np.isfinite(value) else float(value)
    return value


def _moments_of(fit: FitRecord, slope: str) -> dict[str, float]:
    """Mean and (residual) variance of a random slope, with SEs; the mean is the intercept where it is explained."""
    found: dict[str, float] = {}
    table = fit.parameters
    for key, op, rhs in (("mean", "~1", ""), ("variance", "~~", slope)):
        row = table[(table["lhs"] == slope) & (table["op"] == op) & (table["rhs"] == rhs)]
        found[key], found[f"{key}_se"] = (float(row[c].iloc[0]) if len(row) else np.nan for c in ("est", "se"))
    return found
