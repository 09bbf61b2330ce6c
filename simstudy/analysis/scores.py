"""Factor scores of both levels: posterior means and standard deviations, from complete or incomplete data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from simstudy.analysis.derived import require_solution
from simstudy.analysis.rescaled import in_rescaled_units
from simstudy.analysis.result import FitRecord
from simstudy.analysis.slopes import by_cluster, columns_of, prepared_slopes, products_of, random_effects
from simstudy.likelihood.normal.incomplete import IncompleteLikelihood
from simstudy.likelihood.normal.incomplete_clusters import masked_inverse
from simstudy.linalg.stacked import FloatArray
from simstudy.model.implied import TwoLevelStructure


@dataclass(frozen=True)
class FactorScores:
    """Scores of each level.

    Attributes
    ----------
    between : DataFrame
        A row a cluster, in the order of their appearance in the data, with the cluster's identifier as index: ``name``
        and ``name_se`` for every latent variable and for the latent between part of every decomposed variable.
    within : DataFrame
        A row for every row of the data that was used, in the order of the data and with their index, so that
        ``data.join(scores.within)`` puts scores beside what they are scores of: ``cluster``, then scores of latent
        variables and within parts.
    """

    between: pd.DataFrame
    within: pd.DataFrame


def factor_scores(fit: FitRecord) -> FactorScores:
    """Empirical-Bayes ("regression") scores given all data of a cluster, with posterior standard deviations as SEs.

    Between: E(eta_B | data) = mean + Cov(eta_B, (b, z)) gamma_j, with gamma_j the derivative of the log-likelihood with
    respect to cluster j's mean. Within: E(eta_W | data) = Cov(eta_W, w) Sigma_g^-1 (y_ij - mu - E(b_j | data)).
    Parameters count as known.

    With random slopes, ``between`` is `slopes.random_effects`, and ``within`` holds latent variables of the within
    level, E(eta_ij | data), what slopes add to them included, and the within parts of variables of both blocks,
    y_ij - E(y_Bj | data). Where slopes multiply latent within parts, posteriors are mixtures over the nodes of the
    quadrature.
    """
    if fit.model.slopes:
        return _with_slopes(fit)
    require_solution(fit)
    units, user = fit.context.units, fit
    fit = in_rescaled_units(fit)
    structure = TwoLevelStructure.of(fit.model)
    sample = fit.context.sample.arrange(fit.model.level1, fit.model.level2)
    data, params = sample.incomplete(), fit.params[None]
    likelihood = IncompleteLikelihood(structure)
    posterior = likelihood.posterior(params, data)
    p1 = structure.p1
    # between
    level = structure.between
    implied = level.implied(fit.params)
    k = level.n_observed
    full = np.zeros((len(level.maps.variables), p1 + structure.p2))
    full[:, level.positions] = implied.cov[:, :k]
    means = implied.mean + posterior.gradient[0] @ full.T
    omega = posterior.information[0]
    spread = np.diagonal(implied.cov) - np.einsum("vp,jpq,vq->jv", full, omega, full)
    keep = [i for i, name in enumerate(level.maps.variables) if name not in fit.model.level2]
    names = [level.maps.variables[i] for i in keep]
    means, spread = means[:, keep], spread[:, keep]
    if units is not None:
        scale = units.spread(names)
        means, spread = (means + units.deltas_of(fit.params, names)) * scale, spread * scale**2
    between = by_cluster(user, columns_of(names, means, spread))
    # within
    level = structure.within
    implied_w = level.implied(fit.params)
    link = implied_w.cov[:, :p1]
    mu, sigma_within, _ = structure.moments(fit.params)
    rows = sample.rows[0]
    seen = ~np.isnan(rows)
    codes = np.repeat(np.arange(sample.layout.n_clusters), np.asarray(sample.layout.sizes))
    patterns, pattern = np.unique(seen, axis=0, return_inverse=True)
    inverse = masked_inverse(sigma_within[None], patterns[None])[0][0][pattern.reshape(-1)]
    latent = likelihood.between_means(posterior, params)[0, :, :p1]
    deviation = np.where(seen, rows - mu[:p1] - latent[codes], 0.0)
    weights = np.einsum("vp,npq->nvq", link, inverse)
    scores = np.einsum("nvq,nq->nv", weights, deviation)
    spread_b = posterior.spread[0, codes]
    variance = np.diagonal(implied_w.cov) - np.einsum("nvq,vq->nv", weights, link)
    variance = variance + np.einsum("nvq,nqr,nvr->nv", weights, spread_b, weights)
    if units is not None:
        scale = units.spread(level.maps.variables)
        scores, variance = scores * scale, variance * scale**2
    return FactorScores(between, _by_row(user, columns_of(level.maps.variables, scores, variance)))


def _with_slopes(fit: FitRecord) -> FactorScores:
    """Scores of a model with random slopes."""
    between = random_effects(fit)
    sample = fit.context.sample.arrange(fit.model.level1, fit.model.level2)
    codes = np.repeat(np.arange(sample.layout.n_clusters), np.asarray(sample.layout.sizes))
    names = list(fit.model.both)
    rows = sample.rows[0]
    appearance = np.argsort(np.argsort(fit.context.order[sample.layout.row_starts]))  # (J,), of the sample's clusters
    at = appearance[codes]
    level, error = (between[[f"{name}{end}" for name in names]].to_numpy()[at] for end in ("", "_se"))
    parts = rows[:, [fit.model.level1.index(name) for name in names]] - level
    found = columns_of(names, parts, np.where(np.isnan(parts), np.nan, error**2))  # nothing is said of missing values
    factors = fit.model.factors("within")
    if factors:
        prepared = prepared_slopes(fit, "factor scores")
        place = prepared.structure.within.maps.variables
        wanted = np.array([place.index(name) for name in factors], dtype=np.int64)
        found = columns_of(factors, *prepared.within_scores(fit.params, products_of(fit), rows, wanted)) | found
    return FactorScores(between, _by_row(fit, found))


def _by_row(fit: FitRecord, columns: dict[str, FloatArray]) -> pd.DataFrame:
    """Columns (N,) in the sample's order as a table in that of the data."""
    context = fit.context
    ids = np.repeat(np.arange(context.sample.layout.n_clusters), np.asarray(context.sample.layout.sizes))
    table = pd.DataFrame({"cluster": [context.cluster_ids[c] for c in ids], **columns}, index=context.rows)
    return table.iloc[np.argsort(context.order)]
