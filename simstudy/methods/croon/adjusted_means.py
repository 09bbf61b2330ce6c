"""Cluster means adjusted by Croon & van Veldhoven (2007): the best linear predictor of latent means (theory B7).

A latent mean xi_j of level-1 predictors is predicted from all that the equation holds of its cluster, the observed
means xbar_j and the level-2 predictors z_j. With a_j = (xbar_j, z_j), Sigma its between and Sigma_W its within moments,

    xi~_j = mu_x + W_n (a_j - mu),    W_n = [Sigma_xx, Sigma_xz] M_n^-1,    M_n = Sigma + diag(Sigma_W / n_j, 0),

and C_n = Sigma_xx - W_n [Sigma_xx, Sigma_xz]' is what stays unknown of xi_j. The moments come from a first step:
analysis of variance, as proposed, or maximum likelihood. How each cluster moves them (their influence function) and how
they move the adjusted means (derivatives) is what standard errors of the second step need.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.statistics import TwoLevelStatistics, total_scatter
from simstudy.estimation.engine import complete_engine
from simstudy.estimation.inference import covariance
from simstudy.estimation.result import Status
from simstudy.estimation.unrestricted import unrestricted_model
from simstudy.likelihood.normal.two_level import TwoLevelLikelihood
from simstudy.linalg.stacked import (
    BoolArray,
    FloatArray,
    IntArray,
    columns,
    eigh,
    inverse_spd,
    matvec,
    outer,
    transpose,
)
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.tokens import written
from simstudy.model.twolevel import TwoLevelModel

FirstStep = Literal["anova", "ml"]


@dataclass(frozen=True)
class PredictorMoments:
    """First-step moments of k = a + b predictors, a of them measured at level 1 (these first).

    Attributes
    ----------
    mu : (R, k)
    within : (R, a, a)
    between : (R, k, k)
    ok : (R,)
        Where they were found.
    n_iter : (R,)
    influence : (R, J, t) or None
        What every cluster adds to (mu, vech within, vech between), in the order of `MeanAdjuster.moment_derivatives`.
    """

    mu: FloatArray
    within: FloatArray
    between: FloatArray
    ok: BoolArray
    n_iter: IntArray
    influence: FloatArray | None

    @property
    def admissible(self) -> BoolArray:
        """Whether the between moments are positive semidefinite (R,)."""
        values, _, ok = eigh(self.between)
        values = np.where(ok[:, None], values, -1.0)
        return np.asarray(values[:, 0] >= -1e-10 * np.abs(values).max(axis=-1))


@dataclass(frozen=True)
class Adjustment:
    """Adjusted means by size, and what is unknown of the latent ones.

    Attributes
    ----------
    weights : (R, S, a, k)
        W_n.
    unknown : (R, S, a, a)
        C_n.
    inverse : (R, S, k, k)
        M_n^-1.
    ok : (R,)
        Where every M_n is positive definite.
    """

    weights: FloatArray
    unknown: FloatArray
    inverse: FloatArray
    ok: BoolArray


class MeanAdjuster:
    """Adjusts the cluster means of some predictors of a model on one layout.

    Parameters
    ----------
    model : TwoLevelModel
    layout : ClusterLayout
    predictors : (k,)
        Indices in ``model.variables``, those of level-1 variables first.
    """

    def __init__(self, model: TwoLevelModel, layout: ClusterLayout, predictors: IntArray) -> None:
        self.layout, self.columns = layout, predictors
        self.level1 = tuple(model.variables[i] for i in predictors if i < len(model.level1))
        self.level2 = tuple(model.variables[i] for i in predictors if i >= len(model.level1))
        self.a, self.k = len(self.level1), len(predictors)
        names = self.level1 + self.level2
        block = "\n".join(f"  {written(name)} ~~ {written(name)}" for name in names)
        inside = "\n".join(f"  {written(name)} ~~ {written(name)}" for name in self.level1)
        text = f"level: within\n{inside}\nlevel: between\n{block}"
        self.structure = TwoLevelStructure(unrestricted_model(TwoLevelModel.from_syntax(text)))
        self._order = self._saturated_order(names)

    def _saturated_order(self, names: tuple[str, ...]) -> IntArray:
        """Places of (mu, vech within, vech between) among the parameters of the unrestricted model."""
        table = self.structure.model.table
        keys = [("between", name, "~1", "") for name in names]
        for level, many in (("within", self.a), ("between", self.k)):
            keys += [(level, names[i], "~~", names[j]) for i, j in _pairs(many)]
        found = [table.find(*key) or table.find(key[0], key[3], key[2], key[1]) for key in keys]
        return np.array([row.free for row in found if row is not None], dtype=np.int64)

    # ------------------------------------------------------------------ first step

    def moments(self, statistics: TwoLevelStatistics, first_step: FirstStep, *, influence: bool) -> PredictorMoments:
        """First-step moments; ``influence`` needs cluster-wise statistics."""
        own = statistics.arrange(self.level1, self.level2)
        return self._likelihood(own, influence) if first_step == "ml" else self._anova(own, influence)

    def _anova(self, own: TwoLevelStatistics, influence: bool) -> PredictorMoments:
        """Mean squares: E MSW = Sigma_W and E MSB = Sigma_W + c Sigma_xx (theory C3); unweighted moments with z."""
        layout, a = self.layout, self.a
        sizes, counts = layout.distinct.astype(float), layout.counts.astype(float)
        n_clusters, n_obs = layout.n_clusters, float(layout.n_obs)
        within = own.scatter_within / (n_obs - n_clusters)
        plain_mean, plain = total_scatter(own.size_scatter, own.size_means, counts)
        between = plain / (n_clusters - 1)
        weighted_mean, weighted = total_scatter(own.size_scatter * sizes[:, None, None], own.size_means, sizes * counts)
        between[:, :a, :a] = (weighted[:, :a, :a] / (n_clusters - 1) - within) / layout.anova_size
        mu = plain_mean.copy()
        mu[:, :a] = weighted_mean[:, :a]
        ok = np.asarray(np.isfinite(between).all(axis=-1).all(axis=-1))
        found = PredictorMoments(mu, within, between, ok, np.zeros(len(mu), dtype=np.int64), None)
        return replace(found, influence=self._anova_influence(own, found)) if influence else found

    def _anova_influence(self, own: TwoLevelStatistics, m: PredictorMoments) -> FloatArray:
        """Influence of clusters; each mean square is centred at its expectation given the cluster's size."""
        a, n_clusters, n_obs = self.a, self.layout.n_clusters, float(self.layout.n_obs)
        n = np.asarray(self.layout.sizes, dtype=float)[:, None, None]
        means, scatter = own.clusters()
        within = (scatter - (n - 1.0) * m.within[:, None]) / (n_obs - n_clusters)
        offset = means - m.mu[:, None]
        plain_offset = means - means.mean(axis=1, keepdims=True)
        between = outer(plain_offset, plain_offset) / (n_clusters - 1) - m.between[:, None] / n_clusters
        share = 1.0 - 2.0 * n / n_obs + float((n**2).sum()) / n_obs**2
        expected = n * share * m.between[:, None, :a, :a] + (1.0 - n / n_obs) * m.within[:, None]
        square = n * outer(offset[..., :a], offset[..., :a])
        between[..., :a, :a] = ((square - expected) / (n_clusters - 1) - within) / self.layout.anova_size
        mean = offset / n_clusters
        mean[..., :a] = n[..., 0] * offset[..., :a] / n_obs
        return np.concatenate([mean, _vech(within, a), _vech(between, self.k)], axis=-1)

    def _likelihood(self, own: TwoLevelStatistics, influence: bool) -> PredictorMoments:
        """Unrestricted maximum likelihood of the predictors (theory C1, C2)."""
        engine = complete_engine(self.structure, own)
        best = engine.solve()
        mu, within, between = self.structure.moments(best.params)
        ok = np.asarray(best.status == int(Status.OK))
        found = PredictorMoments(mu, within, between, ok, best.n_iter, None)
        if not influence:
            return found
        assert isinstance(engine.likelihood, TwoLevelLikelihood)
        scores = engine.likelihood.cluster_scores(best.params, *own.clusters(), self.layout.group)
        moved = np.matmul(scores, covariance(engine.observed(best.params)))
        return replace(found, influence=columns(moved, self._order))

    # ------------------------------------------------------------------ adjusted means and their derivatives

    def adjustment(self, m: PredictorMoments) -> Adjustment:
        """W_n, C_n and M_n^-1 for every size."""
        a, sizes = self.a, self.layout.distinct.astype(float)
        total = np.repeat(m.between[:, None], len(sizes), axis=1)
        total[..., :a, :a] += m.within[:, None] / sizes[:, None, None]
        inverse, ok = inverse_spd(total)
        link = m.between[:, None, :a, :]
        weights = np.matmul(link, inverse)
        unknown = m.between[:, None, :a, :a] - np.matmul(weights, transpose(link))
        return Adjustment(weights, unknown, inverse, np.asarray(ok.all(axis=-1)))

    def apply(
        self, statistics: TwoLevelStatistics, m: PredictorMoments, adjustment: Adjustment
    ) -> tuple[FloatArray, FloatArray]:
        """Means (R, S, p) and scatter (R, S, p, p) by size, with adjusted means in the place of observed ones."""
        c, a = self.columns, self.a
        turn = self._turn(statistics.size_means, adjustment.weights)
        offset = columns(statistics.size_means, c) - m.mu[:, None]
        means = statistics.size_means.copy()
        means[..., c[:a]] = m.mu[:, None, :a] + matvec(adjustment.weights, offset)
        return means, np.matmul(np.matmul(turn, statistics.size_scatter), transpose(turn))

    def apply_clusters(self, cluster_means: FloatArray, m: PredictorMoments, adjustment: Adjustment) -> FloatArray:
        """Cluster means (R, J, p) with adjusted ones in the place of observed ones."""
        c, a = self.columns, self.a
        weights = np.take(adjustment.weights, self.layout.group, axis=1)
        offset = columns(cluster_means, c) - m.mu[:, None]
        result = cluster_means.copy()
        result[..., c[:a]] = m.mu[:, None, :a] + matvec(weights, offset)
        return result

    def moment_derivatives(
        self, statistics: TwoLevelStatistics, m: PredictorMoments, adjustment: Adjustment
    ) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
        """Derivatives with respect to every first-step moment: mu, then vech within, then vech between.

        Returns
        -------
        list of (means (R, S, p), scatter (R, S, p, p), unknown (R, S, a, a))
        """
        c, a, k = self.columns, self.a, self.k
        w, sizes = adjustment.weights, self.layout.distinct.astype(float)
        offset = columns(statistics.size_means, c) - m.mu[:, None]
        turn, scatter = self._turn(statistics.size_means, w), statistics.size_scatter
        flat, still = np.zeros_like(scatter), np.zeros_like(adjustment.unknown)
        found = []
        for i in range(k):
            means = np.zeros_like(statistics.size_means)
            means[..., c[:a]] = (np.arange(a) == i).astype(float) - w[..., i]
            found.append((means, flat, still))
        units = [(np.zeros((k, k)), unit) for unit in _units(a)] + [(unit, np.zeros((a, a))) for unit in _units(k)]
        for unit_between, unit_within in units:
            total = np.repeat(unit_between[None], len(sizes), axis=0)
            total[:, :a, :a] += unit_within / sizes[:, None, None]
            dw = np.matmul(unit_between[:a] - np.matmul(w, total), adjustment.inverse)
            means = np.zeros_like(statistics.size_means)
            means[..., c[:a]] = matvec(dw, offset)
            half = np.matmul(np.matmul(self._turn(means, dw, base=0.0), scatter), transpose(turn))
            unknown = unit_between[:a, :a] - np.matmul(w, unit_between[:, :a])
            unknown = unknown - np.matmul(dw, transpose(m.between[:, None, :a, :]))
            found.append((means, half + transpose(half), unknown))
        return found

    def _turn(self, like: FloatArray, weights: FloatArray, base: float = 1.0) -> FloatArray:
        """Matrices (R, S, p, p) that put W_n into the rows of the level-1 predictors, ``base`` times I elsewhere."""
        p, c, a = like.shape[-1], self.columns, self.a
        turn = np.broadcast_to(base * np.eye(p), (*like.shape[:-1], p, p)).copy()
        turn[..., c[:a], :] = 0.0
        turn[..., c[:a, None], c] = weights
        return turn


def _pairs(k: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(k) for j in range(i, k)]


def _vech(a: FloatArray, k: int) -> FloatArray:
    """Upper triangles (..., k (k + 1) / 2) of symmetric matrices, by rows."""
    flat = a.reshape(*a.shape[:-2], k * k)
    return columns(flat, np.array([i * k + j for i, j in _pairs(k)], dtype=np.int64))


def _units(k: int) -> list[FloatArray]:
    """Derivatives of a symmetric matrix with respect to its vech."""
    found = []
    for i, j in _pairs(k):
        unit = np.zeros((k, k))
        unit[i, j] = unit[j, i] = 1.0
        found.append(unit)
    return found
