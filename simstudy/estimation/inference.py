"""From information matrices to standard errors and intervals."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from simstudy.estimation.optimum import inverse_beside
from simstudy.estimation.result import FitResult
from simstudy.linalg.stacked import BoolArray, FloatArray, cholesky, eigh, submatrix, transpose
from simstudy.model.estimands import Estimands
from simstudy.population.draw import generator

MONTE_CARLO_STREAM = 2


def covariance(information: FloatArray, held: BoolArray | None = None) -> FloatArray:
    """Inverse information (R, q, q); NaN where it is not positive definite, 0 for parameters that a bound holds."""
    result, ok = inverse_beside(information, held)
    return np.where(ok[:, None, None], result, np.nan)


def sandwich(bread: FloatArray, cluster_scores: FloatArray) -> FloatArray:
    """Cluster-robust covariance H^-1 (sum_j s_j s_j') H^-1 (theory C11; Huber 1967, White 1982).

    Parameters
    ----------
    bread : (R, q, q)
        Inverse of the observed information.
    cluster_scores : (R, J, q)
    """
    meat = np.matmul(transpose(cluster_scores), cluster_scores)
    robust: FloatArray = np.matmul(np.matmul(bread, meat), bread)
    return robust


def with_defined(fit: FitResult, estimands: Estimands) -> FitResult:
    """Append ``:=`` parameters with delta-method covariances for every SE kind.

    A defined parameter is NaN where it uses a parameter that the method does not speak about. SEs and limits that the
    method gave stay as they are. A parameter at a bound has no SE and covariances of 0: it counts as known for what
    others define, too; what such parameters alone define has no SE either.
    """
    if not estimands.definitions:
        return fit
    with np.errstate(all="ignore"):
        values = estimands.evaluate(fit.estimate)
        jacobian = estimands.jacobian(fit.estimate)
    q = len(fit.labels)
    depends = _dependence(estimands)
    extended, errors = {}, {}
    for kind, cov in fit.covariance.items():
        missing = np.isnan(np.diagonal(cov, axis1=-2, axis2=-1))
        bad = np.matmul(missing[:, None, :], depends.T.astype(float))[:, 0] > 0
        whole = np.concatenate([np.broadcast_to(np.eye(q), cov.shape), np.nan_to_num(jacobian)], axis=-2)
        full = np.matmul(np.matmul(whole, np.where(np.isnan(cov), 0.0, cov)), transpose(whole))
        blank = np.concatenate([missing, bad], axis=-1)
        extended[kind] = np.where(blank[:, :, None] | blank[:, None, :], np.nan, full)
        with np.errstate(invalid="ignore"):
            own = np.sqrt(np.diagonal(extended[kind], axis1=-2, axis2=-1)[:, q:])
        held = np.isnan(fit.se[kind]) & ~missing
        known = (own == 0.0) & (np.matmul(held[:, None, :], depends.T.astype(float))[:, 0] > 0)
        errors[kind] = np.concatenate([fit.se[kind], np.where(known, np.nan, own)], axis=-1)
    return FitResult(
        labels=fit.labels + estimands.defined_names,
        estimate=np.concatenate([fit.estimate, values], axis=-1),
        covariance=extended,
        status=fit.status,
        admissible=fit.admissible,
        n_iter=fit.n_iter,
        loglik=fit.loglik,
        se=errors,
        intervals={
            kind: (_with_nothing(low, values.shape[1] + q), _with_nothing(high, values.shape[1] + q))
            for kind, (low, high) in fit.intervals.items()
        },
        measures=fit.measures,
    )


def _with_nothing(limits: FloatArray, width: int) -> FloatArray:
    """Limits of the first parameters (R, k), NaN for those behind: (R, width)."""
    return np.concatenate([limits, np.full((len(limits), width - limits.shape[1]), np.nan)], axis=-1)


def _dependence(estimands: Estimands) -> BoolArray:
    """Which free parameters (q) each defined parameter (d) uses, directly or through another."""
    position = {name: i for i, name in enumerate(estimands.names)}
    rows: dict[str, BoolArray] = {}
    for name, expression in estimands.definitions:
        row = np.zeros(len(position), dtype=bool)
        for used in expression.names:
            if used in position:
                row[position[used]] = True
            elif used in rows:
                row |= rows[used]
        rows[name] = row
    return np.array(list(rows.values()))


def montecarlo(
    fit: FitResult, estimands: Estimands, seed: int, key: str, replicates: range | list[int], draws: int, level: float
) -> FitResult:
    """Monte Carlo intervals of the ``:=`` parameters: the parametric bootstrap of MacKinnon et al. (2004), theory C12.

    Parameters are drawn from their estimated normal distribution (first SE kind), the definitions evaluated, and
    quantiles taken. Draws are addressed by (seed, key, replicate), so they do not depend on the batch, and are the same
    for every method.

    Parameters
    ----------
    fit : FitResult
        As returned by `with_defined`.
    """
    names = estimands.defined_names
    if not names:
        return fit
    n, q = fit.n_replicates, len(estimands.names)
    used = estimands.used
    kind = next(iter(fit.covariance))
    cov = submatrix(fit.covariance[kind], used, used)
    cov = np.where(np.isnan(cov), 0.0, cov)
    factor = _factor(cov)
    normals = _normals(seed, key, tuple(replicates), draws, len(used))
    points = np.broadcast_to(fit.estimate[:, None, :q], (n, draws, q)).copy()
    points[..., used] += np.matmul(normals, transpose(factor))
    with np.errstate(all="ignore"):
        values = np.sort(estimands.evaluate(points), axis=1)
    missing = np.isnan(fit.se[kind][:, q:])
    lower = np.full((n, len(fit.labels)), np.nan)
    upper = lower.copy()
    tail = (1.0 - level) / 2.0
    lower[:, q:] = np.where(missing, np.nan, _quantile(values, tail))
    upper[:, q:] = np.where(missing, np.nan, _quantile(values, 1.0 - tail))
    return replace(fit, intervals={**fit.intervals, "montecarlo": (lower, upper)})


def normal_draws(estimate: FloatArray, cov: FloatArray, draws: int, seed: int, key: str) -> FloatArray:
    """Parameters (draws, q) from the normal distribution of one estimate (q,) with covariance (q, q)."""
    normals = _normals(seed, key, (0,), draws, len(estimate))[0]
    result: FloatArray = estimate + np.matmul(normals, _factor(cov[None])[0].T)
    return result


@lru_cache(maxsize=1)
def _normals(seed: int, key: str, replicates: tuple[int, ...], draws: int, k: int) -> FloatArray:
    """Standard normals (R, draws, k); the methods of a study ask for the same ones, one after another."""
    return np.stack([generator(seed, key, r, MONTE_CARLO_STREAM).standard_normal((draws, k)) for r in replicates])


def _factor(cov: FloatArray) -> FloatArray:
    """A square root of covariance matrices, which may be singular (parameters fixed or not spoken about)."""
    factor, ok = cholesky(cov)
    if not ok.all():
        values, vectors, _ = eigh(cov[~ok])
        factor[~ok] = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    return factor


def _quantile(ordered: FloatArray, probability: float) -> FloatArray:
    """Quantiles along axis 1 of sorted values, by linear interpolation (type 7)."""
    at = probability * (ordered.shape[1] - 1)
    low = int(np.floor(at))
    high = min(low + 1, ordered.shape[1] - 1)
    result: FloatArray = ordered[:, low] + (at - low) * (ordered[:, high] - ordered[:, low])
    return result
