"""`Fit`: everything known about one method fitted to one data set."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from simstudy.estimation.result import Status
from simstudy.linalg.stacked import FloatArray
from simstudy.model.twolevel import TwoLevelModel

PARAMETER_COLUMNS = (
    "lhs",
    "op",
    "rhs",
    "level",
    "label",
    "est",
    "se",
    "z",
    "pvalue",
    "ci_lower",
    "ci_upper",
    "free",
)


@dataclass(frozen=True)
class SlopeFact:
    """What a fit did with a random slope.

    Attributes
    ----------
    name, outcome, predictor : str
    meaning : str
        What it multiplies: ``observed``, ``latent``, ``hybrid``; or ``fixed``: it was not random in the model that was
        fitted. Empty where the method does not say.
    estimates : str
        What this makes its mean and variance estimates of, in plain words.
    """

    name: str
    outcome: str
    predictor: str
    meaning: str
    estimates: str


@dataclass(frozen=True)
class Fit:
    """One method fitted to one data set.

    Attributes
    ----------
    model : TwoLevelModel
    estimator : str
        Name of the method.
    options : dict
        What was asked for: se, ci, ci_level, missing, fixed_x, bounds, ...
    n_obs, n_clusters : int
    sizes : tuple of int
        Cluster sizes, ascending.
    n_patterns : int
        Patterns of missing values used (1 for complete data).
    n_dropped : int
        Rows left out (listwise deletion, or nothing observed).
    status : Status
    admissible : bool
    improper : tuple of str
        What is inadmissible: names of negative variances, or of a level whose covariance matrix is not positive
        semidefinite.
    n_iter : int
    parameters : DataFrame
        Columns lhs, op, rhs, level, label, est, se, z, pvalue, ci_lower, ci_upper, free, in lavaan's terms; level is
        ``within``, ``between`` or empty for ``:=``; se is NaN for fixed parameters. A parameter that the method does
        not speak about is NaN.
    measures : dict
        Fit measures, NaN where there are none: loglik, unrestricted_loglik, npar, chisq, df, pvalue, chisq_scaled,
        scaling, scaling_h0, pvalue_scaled, baseline_chisq, baseline_df, baseline_scaling, cfi, tli, rmsea, the last
        three also with ``_scaled`` and ``_robust``, as have the 90 % limits rmsea_ci_lower, rmsea_ci_upper,
        srmr_within, srmr_between, aic, bic.
    icc : dict
        Between share of each level-1 variable's variance in the unrestricted model.
    params : (q,)
        Free parameters, in the order of ``model.names``.
    covariance : (q, q)
        Their covariance matrix.
    notes : tuple of str
        What the user should know: warnings, reasons.
    slopes : tuple of SlopeFact
        What the fit did with the model's random slopes.
    h1 : str
        What chi-square, CFI and RMSEA compare with: ``unrestricted``, ``psd`` (see `Msem`); empty without chi-square.
    """

    model: TwoLevelModel
    estimator: str
    options: dict[str, Any]
    n_obs: int
    n_clusters: int
    sizes: tuple[int, ...]
    n_patterns: int
    n_dropped: int
    status: Status
    admissible: bool
    improper: tuple[str, ...]
    n_iter: int
    parameters: pd.DataFrame
    measures: dict[str, float]
    icc: dict[str, float]
    params: FloatArray
    covariance: FloatArray
    notes: tuple[str, ...] = ()
    slopes: tuple[SlopeFact, ...] = ()
    h1: str = ""
    seconds: float = np.nan
    context: Any = field(default=None, repr=False, compare=False)

    @property
    def converged(self) -> bool:
        """Whether the method converged."""
        return self.status == Status.OK

    def _moments_of(self, slope: str) -> dict[str, float]:
        """Mean and (residual) variance of a random slope, with SEs; the mean is the intercept where it is explained."""
        found: dict[str, float] = {}
        table = self.parameters
        for key, op, rhs in (("mean", "~1", ""), ("variance", "~~", slope)):
            row = table[(table["lhs"] == slope) & (table["op"] == op) & (table["rhs"] == rhs)]
            found[key], found[f"{key}_se"] = (float(row[c].iloc[0]) if len(row) else np.nan for c in ("est", "se"))
        return found

    def to_json(self) -> dict[str, Any]:
        """The fields of ``simstudy fit --json``; numbers that do not exist are None."""

        def clean(value: Any) -> Any:
            if isinstance(value, (float, np.floating)):
                return None if not np.isfinite(value) else float(value)
            return value

        found: dict[str, Any] = {
            "estimator": self.estimator,
            "converged": self.converged,
            "admissible": bool(self.admissible),
            "status": self.status.name,
            "message": self.status.message,
            "improper": list(self.improper),
            "notes": list(self.notes),
            "options": {key: list(v) if isinstance(v, tuple) else v for key, v in self.options.items()},
            "n_obs": self.n_obs,
            "n_clusters": self.n_clusters,
        }
        found.update({key: clean(value) for key, value in self.measures.items()})
        found["h1"] = self.h1 or None
        if "scaling_h0" in found:
            found["scaling_factor_h0"] = found["scaling_h0"]
        for key in ("npar", "df", "baseline_df"):
            if found.get(key) is not None:
                found[key] = int(found[key])
        if found.get("boundary") is not None:
            found["boundary"] = bool(found["boundary"])
        if self.slopes:
            found["slopes"] = [
                {**asdict(fact), **{key: clean(value) for key, value in self._moments_of(fact.name).items()}}
                for fact in self.slopes
            ]
        found["icc"] = {key: clean(value) for key, value in self.icc.items()}
        found["parameters"] = [
            {str(key): clean(value) for key, value in row.items() if key != "free"}
            for row in self.parameters.to_dict("records")
        ]
        return found
