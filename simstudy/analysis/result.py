"""`FitRecord`: everything known about one method fitted to one data set.

A record: it neither prints nor draws. `simstudy.Fit` is this record with methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from simstudy.estimation.result import Status
from simstudy.linalg.stacked import FloatArray
from simstudy.methods.likelihood_of import UNSAID, LikelihoodOf
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
    alternatives : dict of str
        What other choices of ``slopes`` would estimate, by their names; empty where the method has no such choice.
    """

    name: str
    outcome: str
    predictor: str
    meaning: str
    estimates: str
    alternatives: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FitRecord:
    """One method fitted to one data set.

    Attributes
    ----------
    model : TwoLevelModel
    estimator : str
        Name of the method.
    options : dict
        What was asked for: se, ci, ci_level, missing, na, fixed_x, bounds, auto, h1, ...; of slopes and nodes what was
        used. None where nothing was chosen; auto is None too for a model that was read beforehand.
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
        Between share of each level-1 variable's variance in the unrestricted model of ``icc_h1``.
    params : (q,)
        Free parameters, in the order of ``model.names``.
    covariance : (q, q)
        Their covariance matrix.
    notes : tuple of str
        What the user should know: reasons and warnings about the fit, then about model text and data.
    why : tuple of str
        Why there is no result, the first of the notes; empty where there is one.
    slopes : tuple of SlopeFact
        What the fit did with the model's random slopes.
    likelihood : LikelihoodOf
        What log-likelihood, AIC and BIC are of, joint or given which variables; ``likelihood.sentence`` says it.
    h1 : str
        What chi-square, CFI and RMSEA compare with: ``unrestricted``, ``psd`` (see `Msem`); empty without chi-square.
    icc_h1 : str
        Unrestricted model of the ICCs: ``unrestricted``, or ``psd`` where that has no maximum.
    seconds : float
        Time that the fit took.
    cluster : str
        Column of the clusters.
    context : object
        What further questions about the fit need; see `analysis.context.Context`.
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
    why: tuple[str, ...] = ()
    slopes: tuple[SlopeFact, ...] = ()
    likelihood: LikelihoodOf = UNSAID
    h1: str = ""
    icc_h1: str = "unrestricted"
    seconds: float = np.nan
    cluster: str = "cluster"
    context: Any = field(default=None, repr=False, compare=False)

    @property
    def converged(self) -> bool:
        """Whether the method converged."""
        return self.status == Status.OK
