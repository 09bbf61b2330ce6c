"""Factor scores of both levels: posterior means and standard deviations, from complete or incomplete data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from simstudy.analysis.derived import require_solution
from simstudy.analysis.result import FitRecord
from simstudy.analysis.slopes import random_effects
from simstudy.likelihood.normal.incomplete import IncompleteLikelihood
from simstudy.linalg.stacked import FloatArray
from simstudy.model.implied import TwoLevelStructure


@dataclass(frozen=True)
class FactorScores:
    """Scores of each level.

    Attributes
    ----------
    between : DataFrame
        A row a cluster: its identifier, then ``name`` and ``name_se`` for every latent variable and for the latent
        between part of every decomposed variable.
    within : DataFrame
        A row an individual, in the order of ``between`` and then of the data: the cluster, then scores of latent
        variables and within parts.
    """

    between: pd.DataFrame
    within: pd.DataFrame


def factor_scores(fit: FitRecord) -> FactorScores:
    """Empirical-Bayes ("regression") scores given all data of a cluster, with posterior standard deviations as SEs.

    Between: E(eta_B | data) = mean + Cov(eta_B, (b, z)) gamma_j, with gamma_j the derivative of the log-likelihood with
    respect to cluster j's mean. Within: E(eta_W | data) = Cov(eta_W, w) Sigma_g^-1 (y_ij - mu - E(b_j | data)).
    Parameters count as known.

    With random slopes, ``between`` is `slopes.random_effects`, and ``within`` holds the within parts of variables of
    both blocks, y_ij - E(y_Bj | data).
    """
    if fit.model.slopes:
        return _with_slopes(fit)
    require_solution(fit)
    structure = TwoLevelStructure(fit.model)
    sample = fit.context.sample.arrange(fit.model.level1, fit.model.level2)
    item = sample.incomplete()[0]
    likelihood = IncompleteLikelihood(structure)
    posterior = likelihood.posterior(fit.params, item)
    p1 = structure.p1
    # between
    level = structure.between
    implied = level.implied(fit.params)
    k = level.n_observed
    full = np.zeros((len(level.maps.variables), p1 + structure.p2))
    full[:, level.positions] = implied.cov[:, :k]
    means = implied.mean + posterior.gradient @ full.T
    omega = likelihood.between_information(posterior, item)[item.kind]
    spread = np.diagonal(implied.cov) - np.einsum("vp,jpq,vq->jv", full, omega, full)
    keep = [i for i, name in enumerate(level.maps.variables) if name not in fit.model.level2]
    names = [level.maps.variables[i] for i in keep]
    between = _table(fit.context.cluster_ids, names, means[:, keep], spread[:, keep])
    # within
    level = structure.within
    implied_w = level.implied(fit.params)
    link = implied_w.cov[:, :p1]
    mu, _, _ = structure.moments(fit.params)
    rows = sample.rows[0]
    seen = ~np.isnan(rows)
    codes = np.repeat(np.arange(sample.layout.n_clusters), np.asarray(sample.layout.sizes))
    lookup = {tuple(pattern): i for i, pattern in enumerate(item.patterns.tolist())}
    pattern = np.array([lookup.get(tuple(row), -1) for row in seen.tolist()])
    inverse = np.concatenate([posterior.within.inverse, np.zeros((1, p1, p1))])[pattern]
    latent = likelihood.between_means(posterior, item, fit.params)[:, :p1]
    deviation = np.where(seen, rows - mu[:p1] - latent[codes], 0.0)
    weights = np.einsum("vp,npq->nvq", link, inverse)
    scores = np.einsum("nvq,nq->nv", weights, deviation)
    spread_b = posterior.spread[item.kind][codes]
    variance = np.diagonal(implied_w.cov) - np.einsum("nvq,vq->nv", weights, link)
    variance = variance + np.einsum("nvq,nqr,nvr->nv", weights, spread_b, weights)
    ids = tuple(fit.context.cluster_ids[c] for c in codes)
    within = _table(ids, list(level.maps.variables), scores, variance)
    return FactorScores(between, within)


def _with_slopes(fit: FitRecord) -> FactorScores:
    """Scores of a model with random slopes."""
    between = random_effects(fit)
    sample = fit.context.sample.arrange(fit.model.level1, fit.model.level2)
    codes = np.repeat(np.arange(sample.layout.n_clusters), np.asarray(sample.layout.sizes))
    names = list(fit.model.both)
    rows = sample.rows[0][:, [fit.model.level1.index(name) for name in names]]
    level, error = (between[[f"{name}{end}" for name in names]].to_numpy()[codes] for end in ("", "_se"))
    ids = tuple(fit.context.cluster_ids[c] for c in codes)
    return FactorScores(between, _table(ids, names, rows - level, error**2))


def _table(ids: tuple[object, ...], names: list[str], scores: FloatArray, variance: FloatArray) -> pd.DataFrame:
    columns: dict[str, object] = {"cluster": list(ids)}
    for k, name in enumerate(names):
        columns[name] = scores[:, k]
        columns[f"{name}_se"] = np.sqrt(np.maximum(variance[:, k], 0.0))
    return pd.DataFrame(columns)
