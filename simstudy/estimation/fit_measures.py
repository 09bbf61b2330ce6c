"""Global fit of a two-level model, batched: chi-square and its MLR scaling, fit indices, SRMR, AIC, BIC."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from simstudy.estimation.engine import Engine
from simstudy.estimation.fit_indices import indices, upper_tail
from simstudy.estimation.optimum import Optimum
from simstudy.estimation.result import Status
from simstudy.linalg.stacked import BoolArray, FloatArray, dot, entries, submatrix
from simstudy.model.exogenous import exogenous_variables
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.tokens import written
from simstudy.model.twolevel import TwoLevelModel

MEASURES = (
    "loglik",
    "unrestricted_loglik",
    "npar",
    "chisq",
    "df",
    "pvalue",
    "scaling",
    "scaling_h0",
    "chisq_scaled",
    "pvalue_scaled",
    "baseline_chisq",
    "baseline_df",
    "baseline_scaling",
    "cfi",
    "tli",
    "rmsea",
    "cfi_scaled",
    "tli_scaled",
    "rmsea_scaled",
    "cfi_robust",
    "tli_robust",
    "rmsea_robust",
    "srmr_within",
    "srmr_between",
    "aic",
    "bic",
)
STORED = (*MEASURES, "boundary", "clusters_dropped", "nodes", "loglik_error")
"""What is kept of a fit: also whether a covariance matrix of random elements is singular, clusters left out, quadrature
nodes a dimension, and how exact they make the log-likelihood."""


@dataclass(frozen=True)
class Solved:
    """A model fitted: engine, optimum, number of free parameters, and all parameters where some are not free."""

    structure: TwoLevelStructure
    engine: Engine
    best: Optimum
    npar: int
    full: FloatArray | None = None
    tight: BoolArray | None = None

    @property
    def at_boundary(self) -> BoolArray:
        """Where a bound or an inequality holds with equality (R,)."""
        found = np.zeros(len(self.best.loglik), dtype=bool) if self.tight is None else self.tight
        return found if self.best.held is None else found | self.best.held.any(axis=-1)

    @cached_property
    def inverse_observed(self) -> FloatArray:
        """Inverse of the observed information of the free parameters (R, k, k), computed once for all who ask."""
        return self.engine.inverse_observed(self.best)

    @cached_property
    def robust(self) -> tuple[FloatArray, FloatArray]:
        """Sandwich covariance of the free parameters, and the scaling factor a parameter of the model (R,)."""
        cov, scaling = self.engine.robust(self.best, self.inverse_observed)
        return cov, scaling * (self.best.params.shape[-1] / self.npar)

    @property
    def params(self) -> FloatArray:
        """All parameters of the model (R, q), those held or tied by constraints included."""
        return self.best.params if self.full is None else self.full

    @property
    def loglik(self) -> FloatArray:
        """Maximised log-likelihood (R,), NaN where the fit failed."""
        return np.where(self.best.status == int(Status.OK), self.best.loglik, np.nan)


@lru_cache(maxsize=64)
def baseline_model(model: TwoLevelModel) -> TwoLevelModel:
    """The independence model: means and variances of both levels; covariances among exogenous variables alone.

    A model says nothing of the moments of a level's exogenous variables: they are as free in the baseline model as in
    the model itself, whether they count as fixed or not (lavaan and Mplus do so, too), and a covariance of theirs that
    the model fixes stays fixed, so that the baseline model is nested in it. Indices that compare with it would
    otherwise reward the model for covariances that it does not explain.
    """
    exogenous = exogenous_variables(model)

    def covariance(level: str, a: str, b: str) -> str:
        row = model.table.find(level, a, "~~", b)
        if a not in exogenous[level] or b not in exogenous[level] or row is None:
            return f"  {written(a)} ~~ 0*{written(b)}"
        return f"  {written(a)} ~~ {'' if row.free >= 0 else f'{row.value!r}*'}{written(b)}"

    def block(level: str, names: tuple[str, ...]) -> list[str]:
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        own = [f"  {written(name)} ~~ {written(name)}" for name in names]
        return [f"level: {level}", *own, *(covariance(level, a, b) for a, b in pairs)]

    between = tuple(name for name in model.variables if name in model.observed("between"))
    return TwoLevelModel.from_syntax("\n".join(block("within", model.level1) + block("between", between)))


def fit_measures(
    model: Solved, unrestricted: Solved, baseline: Solved, *, n_obs: float | FloatArray, scaled: bool
) -> dict[str, FloatArray]:
    """All measures, (R,) each; NaN where a fit they need failed.

    RMSEA and BIC use ``n_obs``, the number of rows, as lavaan and Mplus do. SRMR is the root mean squared difference
    between unrestricted and implied correlations of a level, the zero diagonal counted (Bollen 1989; lavaan's in
    two-level models; Mplus standardises covariances instead); NaN also where a between variance is not positive. Scaled
    versions divide the chi-squares by the MLR factor c = (q1 c1 - q0 c0) / (q1 - q0) (Yuan & Bentler 2000; theory C11),
    robust ones use it as `fit_indices` says; there is none where c is not positive.

    Where the unrestricted model is one over positive semidefinite Sigma_between, a model without that restriction may
    be above it; chi-square is then 0.
    """
    n = len(model.best.loglik)
    l0, l1, lb = model.loglik, unrestricted.loglik, baseline.loglik
    df, df_baseline = unrestricted.npar - model.npar, unrestricted.npar - baseline.npar
    # with df = 0 and no bound reached the two log-likelihoods differ by rounding only
    chisq = np.where(model.at_boundary | (df > 0), np.maximum(2.0 * (l1 - l0), 0.0), 0.0 * (l1 - l0))
    chisq_baseline = 2.0 * (l1 - lb)
    found = {name: np.full(n, np.nan) for name in MEASURES}
    found.update(
        loglik=l0,
        unrestricted_loglik=l1,
        npar=np.full(n, float(model.npar)),
        chisq=chisq,
        df=np.full(n, float(df)),
        pvalue=upper_tail(chisq, df),
        baseline_chisq=chisq_baseline,
        baseline_df=np.full(n, float(df_baseline)),
        aic=-2.0 * l0 + 2.0 * model.npar,
        bic=-2.0 * l0 + np.log(n_obs) * model.npar,
    )
    found["cfi"], found["tli"], found["rmsea"] = indices(chisq, df, chisq_baseline, df_baseline, n_obs)
    if scaled:
        _add_scaled(found, model, unrestricted, baseline, n_obs)
    found["srmr_within"], found["srmr_between"] = srmr(model, unrestricted)
    return found


def _add_scaled(
    found: dict[str, FloatArray], model: Solved, unrestricted: Solved, baseline: Solved, n_obs: float | FloatArray
) -> None:
    """Scaling factors, and scaled and robust measures."""
    n, chisq, chisq_baseline = len(model.best.loglik), found["chisq"], found["baseline_chisq"]
    df, df_baseline = unrestricted.npar - model.npar, unrestricted.npar - baseline.npar
    c0, c1, cb = (solved.robust[1] for solved in (model, unrestricted, baseline))
    nothing = np.full(n, np.nan)
    with np.errstate(all="ignore"):
        factor = (unrestricted.npar * c1 - model.npar * c0) / df if df > 0 else nothing
        factor_baseline = (unrestricted.npar * c1 - baseline.npar * cb) / df_baseline if df_baseline > 0 else nothing
        scaled = np.where(factor > 0, chisq / factor, np.nan) if df > 0 else chisq
        scaled_baseline = np.where(factor_baseline > 0, chisq_baseline / factor_baseline, np.nan)
    found.update(scaling_h0=c0, scaling=factor, baseline_scaling=factor_baseline)
    found.update(chisq_scaled=scaled, pvalue_scaled=upper_tail(scaled, df))
    for name, values in (
        ("scaled", indices(scaled, df, scaled_baseline, df_baseline, n_obs)),
        (
            "robust",
            indices(chisq, df, chisq_baseline, df_baseline, n_obs, scaling=factor, scaling_baseline=factor_baseline),
        ),
    ):
        found[f"cfi_{name}"], found[f"tli_{name}"], found[f"rmsea_{name}"] = values


def srmr(model: Solved, unrestricted: Solved) -> tuple[FloatArray, FloatArray]:
    """SRMR (R,) within and between; NaN where one of the two has no maximum, whose last iterate says nothing."""
    _, w0, b0 = model.structure.moments(model.params)
    _, w1, b1 = unrestricted.structure.moments(unrestricted.params)
    at = model.structure.between.positions
    failed = np.isnan(model.loglik) | np.isnan(unrestricted.loglik)
    found = _srmr(w1, w0), _srmr(submatrix(b1, at, at), submatrix(b0, at, at))
    return np.where(failed, np.nan, found[0]), np.where(failed, np.nan, found[1])


def _srmr(sample: FloatArray, implied: FloatArray) -> FloatArray:
    residual = _correlation(sample) - _correlation(implied)
    row, column = np.tril_indices(sample.shape[-1])
    picked = entries(residual, row.astype(np.int64), column.astype(np.int64))
    result: FloatArray = np.sqrt(dot(picked, picked) / len(row))
    return result


def _correlation(cov: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        scale = 1.0 / np.sqrt(np.diagonal(cov, axis1=-2, axis2=-1))
    return cov * scale[:, :, None] * scale[:, None, :]
