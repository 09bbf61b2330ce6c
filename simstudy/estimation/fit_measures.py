"""Global fit of a two-level model, batched: chi-square and its MLR scaling, CFI, TLI, RMSEA, SRMR, AIC, BIC."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from simstudy.estimation.engine import Engine
from simstudy.estimation.result import Status
from simstudy.estimation.scoring import Optimum
from simstudy.linalg.stacked import FloatArray, dot, entries, submatrix
from simstudy.model.implied import TwoLevelStructure
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
    "cfi",
    "tli",
    "rmsea",
    "cfi_scaled",
    "tli_scaled",
    "rmsea_scaled",
    "srmr_within",
    "srmr_between",
    "aic",
    "bic",
)
STORED = (*MEASURES, "boundary", "clusters_dropped")
"""What is kept of a fit: also whether a covariance matrix of random elements is singular, and clusters left out."""


@dataclass(frozen=True)
class Solved:
    """A model fitted: engine, optimum, number of free parameters, and all parameters where some are not free."""

    structure: TwoLevelStructure
    engine: Engine
    best: Optimum
    npar: int
    full: FloatArray | None = None

    @property
    def params(self) -> FloatArray:
        """All parameters of the model (R, q), those held or tied by constraints included."""
        return self.best.params if self.full is None else self.full

    @property
    def loglik(self) -> FloatArray:
        """Maximised log-likelihood (R,), NaN where the fit failed."""
        return np.where(self.best.status == int(Status.OK), self.best.loglik, np.nan)


def baseline_model(model: TwoLevelModel, fixed: Mapping[str, Container[str]] | None = None) -> TwoLevelModel:
    """The independence model: means and variances of both levels, no covariances.

    ``fixed`` names each level's fixed x, whose covariances with each other are no part of the model and stay free.
    """

    def block(level: str, names: tuple[str, ...]) -> list[str]:
        lines = [f"level: {level}", *(f"  {name} ~~ {name}" for name in names)]
        free = (fixed or {}).get(level, ())
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        return lines + [f"  {a} ~~ {b}" if a in free and b in free else f"  {a} ~~ 0*{b}" for a, b in pairs]

    between = tuple(name for name in model.variables if name in model.observed("between"))
    return TwoLevelModel.from_syntax("\n".join(block("within", model.level1) + block("between", between)))


def fit_measures(
    model: Solved, unrestricted: Solved, baseline: Solved, *, n_obs: float | FloatArray, scaled: bool
) -> dict[str, FloatArray]:
    """All measures, (R,) each; NaN where a fit they need failed.

    RMSEA and BIC use the number of rows, as lavaan and Mplus do. SRMR is the root mean squared difference between
    unrestricted and implied correlations of a level, the zero diagonal counted (Bollen 1989; lavaan's in two-level
    models; Mplus standardises covariances instead); NaN where a between variance is not positive. Scaled
    versions divide the chi-squares by the MLR factor c = (q0 c0 - q1 c1) / (q0 - q1) (Yuan & Bentler 2000; THEORY C11).
    """
    n = len(model.best.loglik)
    l0, l1, lb = model.loglik, unrestricted.loglik, baseline.loglik
    df, df_baseline = unrestricted.npar - model.npar, unrestricted.npar - baseline.npar
    # with df = 0 the two log-likelihoods differ by rounding only
    chisq = np.where(df > 0, 2.0 * (l1 - l0), 0.0 * (l1 - l0))
    chisq_baseline = 2.0 * (l1 - lb)
    found = {name: np.full(n, np.nan) for name in MEASURES}
    found.update(
        loglik=l0,
        unrestricted_loglik=l1,
        npar=np.full(n, float(model.npar)),
        chisq=chisq,
        df=np.full(n, float(df)),
        pvalue=_upper_tail(chisq, df),
        baseline_chisq=chisq_baseline,
        baseline_df=np.full(n, float(df_baseline)),
        aic=-2.0 * l0 + 2.0 * model.npar,
        bic=-2.0 * l0 + np.log(n_obs) * model.npar,
    )
    found["cfi"], found["tli"], found["rmsea"] = _incremental(chisq, df, chisq_baseline, df_baseline, n_obs)
    if scaled:
        _, c0 = model.engine.robust(model.best.params)
        _, c1 = unrestricted.engine.robust(unrestricted.best.params)
        _, cb = baseline.engine.robust(baseline.best.params)
        with np.errstate(all="ignore"):
            factor = (unrestricted.npar * c1 - model.npar * c0) / df if df > 0 else np.full(n, np.nan)
            factor_baseline = (unrestricted.npar * c1 - baseline.npar * cb) / df_baseline
        found["scaling_h0"] = c0
        scaled_chisq = chisq / factor if df > 0 else chisq
        found.update(scaling=factor, chisq_scaled=scaled_chisq, pvalue_scaled=_upper_tail(scaled_chisq, df))
        found["cfi_scaled"], found["tli_scaled"], found["rmsea_scaled"] = _incremental(
            scaled_chisq, df, chisq_baseline / factor_baseline, df_baseline, n_obs
        )
    found["srmr_within"], found["srmr_between"] = srmr(model, unrestricted)
    return found


def _upper_tail(chisq: FloatArray, df: int) -> FloatArray:
    if df <= 0:
        return np.full(len(chisq), np.nan)
    result: FloatArray = stats.chi2.sf(chisq, df)
    return result


def _incremental(
    chisq: FloatArray, df: int, baseline: FloatArray, df_baseline: int, n_obs: float | FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """CFI, TLI and RMSEA (Bentler 1990; Tucker & Lewis 1973; Steiger 1990)."""
    excess = np.maximum(chisq - df, 0.0)
    excess_baseline = np.maximum(np.maximum(baseline - df_baseline, chisq - df), 0.0)
    with np.errstate(all="ignore"):
        cfi = np.where(excess_baseline > 0, 1.0 - excess / excess_baseline, 1.0)
        cfi = np.where(np.isnan(chisq), np.nan, cfi)
        if df > 0:
            ratio = baseline / df_baseline
            tli = (ratio - chisq / df) / (ratio - 1.0)
            rmsea = np.sqrt(excess / (df * n_obs))
        else:
            tli, rmsea = 1.0 + 0.0 * chisq, 0.0 * chisq
    return cfi, tli, rmsea


def rmsea_interval(chisq: float, df: int, n_obs: int, level: float = 0.90) -> tuple[float, float]:
    """Confidence limits of RMSEA from the noncentral chi-square distribution (Browne & Cudeck 1993)."""
    if not np.isfinite(chisq):
        return np.nan, np.nan
    if df <= 0:
        return 0.0, 0.0
    tail = (1.0 - level) / 2.0

    def limit(probability: float) -> float:
        def gap(nc: float) -> float:
            value = stats.ncx2.cdf(chisq, df, nc) if nc > 0 else stats.chi2.cdf(chisq, df)
            return float(value) - probability

        if gap(0.0) < 0:
            return 0.0
        high = max(chisq, 1.0)
        while gap(high) > 0:
            high *= 2.0
        return float(optimize.brentq(gap, 0.0, high, xtol=1e-12))

    return np.sqrt(limit(1.0 - tail) / (df * n_obs)), np.sqrt(limit(tail) / (df * n_obs))


def srmr(model: Solved, unrestricted: Solved) -> tuple[FloatArray, FloatArray]:
    """SRMR (R,) within and between."""
    _, w0, b0 = model.structure.moments(model.params)
    _, w1, b1 = unrestricted.structure.moments(unrestricted.params)
    at = model.structure.between.positions
    return _srmr(w1, w0), _srmr(submatrix(b1, at, at), submatrix(b0, at, at))


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
