"""Muthén's quasi-likelihood: clusters of unequal sizes as if all had one size (MUML; theory C3).

With v_j the cluster means and level-2 variables of cluster j, c = (N^2 - sum n_j^2) / (N (J - 1)) and S the pooled
within scatter,

    -2 l = (N - J) log|Sigma_W| + tr(Sigma_W^-1 S)
           + J log|Sigma_W + c Sigma_B| + a sum_j n_j (v_j - mu)' (Sigma_W + c Sigma_B)^-1 (v_j - mu) + constant,

where Sigma_W has zero rows for level-2 variables, so that they too enter as c Sigma_zz (loadings of sqrt(c) in the
two-group diagram). The expectation of sum_j n_j (v_j - v)(v_j - v)' about the n-weighted mean v is (J - 1)(Sigma_W +
c Sigma_B) whatever the sizes, hence estimates are consistent. a = 1 makes l the log-likelihood where all sizes are
equal; a = J / (J - 1) puts the unbiased S_B into Muthén's function.

This is the two-level likelihood of J clusters of size c with N - J degrees of freedom within, whose cluster j counts as
a n_j / c clusters. It is a sum over clusters, so that the sandwich applies. Sources: Muthén (1989, 1994), Muthén &
Satorra (1995).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.statistics import TwoLevelStatistics, between_scatter
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.linalg.stacked import FloatArray
from simstudy.model.implied import TwoLevelStructure


@dataclass(frozen=True)
class PseudoBalanced:
    """A layout seen as J clusters of one size.

    Attributes
    ----------
    layout : ClusterLayout
    inflation : float
        The factor a.
    """

    layout: ClusterLayout
    inflation: float = 1.0

    def likelihood(self, structure: TwoLevelStructure) -> TwoLevelLikelihood:
        """Quasi-likelihood of a model."""
        c, layout = self.layout.anova_size, self.layout
        return TwoLevelLikelihood(
            structure,
            np.array([c]),
            np.array([layout.n_clusters], dtype=np.int64),
            n_obs=layout.n_obs,
            mean_counts=np.array([self.inflation * layout.n_obs / c]),
        )

    def data(self, statistics: TwoLevelStatistics) -> Data:
        """Statistics for it, of variables in the model's order."""
        mean, scatter = between_scatter(statistics)
        scatter = scatter * (self.inflation / self.layout.anova_size)
        return Data(statistics.scatter_within, mean[..., None], scatter[..., None])

    def cluster_scores(
        self, likelihood: TwoLevelLikelihood, params: FloatArray, statistics: TwoLevelStatistics
    ) -> FloatArray:
        """Contributions of the clusters to the score (R, J, q), from cluster-wise statistics."""
        rows = np.asarray(self.layout.sizes, dtype=float)
        one_size = np.zeros(len(rows), dtype=np.int64)
        weight = self.inflation * rows / self.layout.anova_size
        return likelihood.cluster_scores(params, *statistics.clusters(), one_size, rows, weight)
