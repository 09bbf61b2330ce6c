"""The two-level model with the clusters' between parts as missing data: what EM expects, and what it then maximises.

Were the between parts v_j = (b_j, z_j) known, the levels would be two single-level models: v_j ~ N(mu_B, Sigma_B) on J
clusters and y_ij - b_j ~ N(mu_W, Sigma_W) on N rows. The expectation step replaces the unknown by posterior means and
covariances (Raudenbush 1995; Lee & Poon 1998; theory C6). With T = Sigma_yy - Sigma_yz Sigma_zz^-1 Sigma_zy and
L = Sigma_yz Sigma_zz^-1 of the between level, K_n = T (T + Sigma_W / n)^-1, o_j = (ybar_j, z_j) and total means mu,

    E v_j = mu_B + H_n (o_j - mu),    H_n = [[K_n, (I - K_n) L], [0, I]],    Cov b_j = C_n = (I - K_n) T,
    E(ybar_j - b_j) = mu_W + R_n (o_j - mu),    R_n = (I - K_n) [I, -L].

Both are linear in o_j, so the moments of all clusters follow from the statistics of each size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.data.statistics import TwoLevelStatistics, total_scatter
from simstudy.likelihood.evaluation import Evaluation
from simstudy.likelihood.normal import single_level
from simstudy.likelihood.normal.single_level import SingleLevelLikelihood
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, columns, inverse, matvec, submatrix, transpose
from simstudy.model.implied import TwoLevelStructure


@dataclass(frozen=True)
class CompleteMoments:
    """Expected mean and scatter about it of the within parts (N rows) and of the between parts (J clusters)."""

    within: single_level.Data
    between: single_level.Data

    def select(self, replicates: IntArray | BoolArray) -> CompleteMoments:
        """Some of the replicates."""
        return CompleteMoments(self.within.select(replicates), self.between.select(replicates))


class CompleteDataLikelihood:
    """Expected log-likelihood of the complete data, Q, of a model.

    Parameters
    ----------
    structure : TwoLevelStructure
    n_obs, n_clusters : int
    """

    def __init__(self, structure: TwoLevelStructure, n_obs: int, n_clusters: int) -> None:
        self.structure = structure
        self.within = SingleLevelLikelihood(structure.within, n_obs, structure.q)
        self.between = SingleLevelLikelihood(structure.between, n_clusters, structure.q)

    def evaluate(self, params: FloatArray, data: CompleteMoments) -> Evaluation:
        """Q, its score and its expected information at parameters (R, q).

        At the parameters with which the moments were expected, the score is that of the observed data (Fisher's
        identity; Dempster, Laird & Rubin 1977, section 3).
        """
        w, b = self.within.evaluate(params, data.within), self.between.evaluate(params, data.between)
        return Evaluation(w.loglik + b.loglik, w.score + b.score, w.information + b.information, w.ok & b.ok)

    def expect(self, params: FloatArray, statistics: TwoLevelStatistics) -> CompleteMoments:
        """Moments that the complete data are expected to have at parameters (R, q): the expectation step."""
        s, layout = self.structure, statistics.layout
        p1 = s.p1
        within, between = s.within.implied(params), s.between.implied(params)
        mu, sigma_within, sigma_between = s.assemble(within, between)
        link = np.zeros((len(params), p1, s.p2))
        if s.p2:
            inner, _ = inverse(sigma_between[:, p1:, p1:])
            link = np.matmul(sigma_between[:, :p1, p1:], inner)
        conditional = sigma_between[:, :p1, :p1] - np.matmul(link, sigma_between[:, p1:, :p1])
        sizes, counts = layout.distinct.astype(float), layout.counts.astype(float)
        total, _ = inverse(conditional[:, None] + sigma_within[:, None] / sizes[:, None, None])  # (R, S, p1, p1)
        gain = np.matmul(conditional[:, None], total)  # K_n
        kept = np.eye(p1) - gain
        left_over = np.matmul(kept, conditional[:, None])  # C_n
        left_over = 0.5 * (left_over + transpose(left_over))
        offset = statistics.size_means - mu[:, None]
        on_within = np.concatenate([kept, -np.matmul(kept, link[:, None])], axis=-1)  # R_n
        on_between = np.zeros((*gain.shape[:2], p1 + s.p2, p1 + s.p2))  # H_n
        on_between[:, :, :p1, :p1] = gain
        on_between[:, :, :p1, p1:] = np.matmul(kept, link[:, None])
        on_between[:, :, p1:, p1:] = np.eye(s.p2)
        mean, scatter = _carried(on_within, offset, statistics.size_scatter)
        weighted = sizes[:, None, None] * (scatter + counts[:, None, None] * left_over)
        mean, scatter = total_scatter(weighted, mean, sizes * counts)
        within_data = single_level.Data(mean + within.mu, scatter + statistics.scatter_within)
        mean, scatter = _carried(on_between, offset, statistics.size_scatter)
        scatter[:, :, :p1, :p1] += counts[:, None, None] * left_over
        mean, scatter = total_scatter(scatter, mean, counts)
        at = s.between.positions
        return CompleteMoments(
            within_data, single_level.Data(columns(mean, at) + between.mu, submatrix(scatter, at, at))
        )


def _carried(matrix: FloatArray, offset: FloatArray, scatter: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means (R, S, k) and scatter (R, S, k, k) of a linear function of what has ``offset`` and ``scatter``."""
    return matvec(matrix, offset), np.matmul(np.matmul(matrix, scatter), transpose(matrix))
