"""Variables of the within level given all data of their cluster, in models with random slopes.

Given the random elements u_j, and the latent means t_j that slopes are centred at, a row's within part is

    w_ij = m + sum_l h_l u_lj c_ij,pi(l) + e_ij,    e_ij ~ N(0, C),

with c = (1, v), v less t where slopes multiply latent within parts (`kernel`, `chain`). So a latent variable of the row
is normal with a mean that is linear in u, and its posterior is a mixture over u: in closed form for observed
predictors, over the nodes of t for latent ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.likelihood.slopes.chain import Pieces, SlopeChain
from simstudy.linalg.stacked import FloatArray, IntArray


@dataclass(frozen=True)
class NodePosterior:
    """Random elements of J clusters given their data, at K nodes of t (one without any), for one data set.

    Attributes
    ----------
    weights : (J, K)
    t : (d, J, K)
        Latent means of slopes' predictors.
    mode : (r, J, K)
    spread : (r, r, J, K)
    """

    weights: FloatArray
    t: FloatArray
    mode: FloatArray
    spread: FloatArray


def within_scores(
    chain: SlopeChain, pieces: Pieces, posterior: NodePosterior, rows: FloatArray, codes: IntArray, wanted: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Posterior means and variances (N, m) of variables of the within level, NaN where a slope's predictor is missing.

    Parameters
    ----------
    rows : (N, p1)
        NaN where a value is missing.
    codes : (N,)
        Cluster of each row.
    wanted : (m,)
        Places among the within level's variables.
    """
    mean, variance = (np.full((len(rows), len(wanted)), np.nan) for _ in range(2))
    seen = ~np.isnan(rows)
    for pattern in np.unique(seen, axis=0):
        here = np.flatnonzero((seen == pattern).all(axis=1))
        mean[here], variance[here] = _of_pattern(
            chain, pieces, posterior, rows[here], codes[here], wanted, np.flatnonzero(pattern).astype(np.int64)
        )
    return mean, variance


def _of_pattern(
    chain: SlopeChain,
    pieces: Pieces,
    posterior: NodePosterior,
    rows: FloatArray,
    codes: IntArray,
    wanted: IntArray,
    seen: IntArray,
) -> tuple[FloatArray, FloatArray]:
    within, r = pieces.within, chain.r
    p1 = rows.shape[1]
    centre, cov, loads = within.mean[0], within.cov[0], pieces.spanned[0, :, :r]
    x = chain.base[:, :r] + loads[:p1]
    link = np.linalg.solve(cov[np.ix_(seen, seen)], cov[np.ix_(seen, wanted)]).T
    left = np.diagonal(cov)[wanted] - (link * cov[np.ix_(wanted, seen)]).sum(axis=1)
    columns = chain.structure.both[chain.cover]
    first, second = np.zeros((len(rows), len(wanted))), np.zeros((len(rows), len(wanted)))
    for k in range(posterior.weights.shape[1]):
        v = rows.copy()
        v[:, columns] -= posterior.t[:, codes, k].T
        beside = np.concatenate([np.ones((len(v), 1)), v], axis=1)[:, chain.place]  # (n, r)
        tilt = (loads[wanted] - link @ x[seen]) * beside[:, None]  # (n, m, r)
        u, spread = posterior.mode[:, codes, k].T, np.moveaxis(posterior.spread[:, :, codes, k], -1, 0)
        here = centre[wanted] + (v[:, seen] - centre[seen]) @ link.T + (tilt * u[:, None]).sum(axis=-1)
        share = posterior.weights[codes, k, None]
        first += share * here
        second += share * (here**2 + left + (np.matmul(tilt, spread) * tilt).sum(axis=-1))
    return first, second - first**2
