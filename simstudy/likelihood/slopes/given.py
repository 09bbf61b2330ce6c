"""Log-likelihood where slopes are integrated over (theory D1.8; Rockwood 2020).

Given the slopes of factors, and of predictors with missing values, a cluster is normal, and other slopes, intercepts
and level-2 variables are integrated in closed form (`kernel`). What is left is an integral over the given slopes, taken
by the trapezoidal rule on nodes that all clusters of a replicate share (`grid`), so that matrices are inverted and
derivatives formed once a node:

    L_j = sum_k h N(e_kj; 0, I) p(y_j, w_j | s_k),
    s_k = m + Lambda zeta_k,    e_kj = zeta_k - Lambda^-1 B (w_j - m_w).

The score is the mean of the scores given s (Fisher's identity), the information is Louis' (1982). Nodes move with the
parameters; derivatives take them as given, which is right up to the error of the rule. That error is measured by the
rule of twice the step, and the step is refined until it is small.

Where level-2 variables tell nearly all of the slopes, clusters have no place in common: each then has its own nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from simstudy.data.products import Products
from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.likelihood.slopes.chain import Treatment
from simstudy.likelihood.slopes.derivatives import blocks, curvature, features
from simstudy.likelihood.slopes.given_chain import GivenChain, Prior
from simstudy.likelihood.slopes.given_nodes import Integrated, NodeSums
from simstudy.likelihood.slopes.scores import NodePosterior, within_scores
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, added, matvec, transpose
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.twolevel import TwoLevelModel

SPREAD = 25.0
"""Clusters whose slopes are expected further apart, in standard deviations given level-2 variables, share no nodes."""
Want = Literal["loglik", "scores", "information", "elements"]


@dataclass(frozen=True)
class Found:
    """What was asked for; the rest is empty.

    Attributes
    ----------
    loglik, coarse : (R, J)
        Log-likelihoods of clusters, and by the rule of twice the step.
    nodes : (R,)
    ok : (R,)
    scores : (R, J, q)
    information : (R, q, q)
    mean, cov : (R, J, r), (R, J, r, r)
        Of random elements, given the data.
    """

    loglik: FloatArray
    coarse: FloatArray
    nodes: IntArray
    ok: BoolArray
    scores: FloatArray
    information: FloatArray
    mean: FloatArray
    cov: FloatArray


class GivenSlopes(Likelihood[Products]):
    """As `observed.ObservedSlopes`, where some slopes are integrated over by quadrature.

    Parameters
    ----------
    given : sequence of str
        Names of those slopes.
    treatment : str
        What becomes of predictors that have between parts.
    nodes : int or None
        Nodes a dimension; by default as many as the error asks for.
    halvings : int
        How often the step is halved beyond that.
    """

    def __init__(
        self,
        model: TwoLevelModel,
        given: Sequence[str],
        treatment: Treatment = "observed",
        nodes: int | None = None,
        halvings: int = 0,
    ) -> None:
        self.structure = SlopeStructure(model, given)
        self.chain = GivenChain(self.structure, treatment)
        self.whole = SlopeStructure(model)
        self.sums = NodeSums(self.chain, nodes, halvings)
        self.d, self.q = len(self.structure.given), len(model.names)
        self.inner = self.chain.inner[self.chain.inner < self.q]

    def finer(self, halvings: int) -> GivenSlopes:
        """The same with a step that is halved so often."""
        model, given = self.structure.model, self.structure.given
        return GivenSlopes(model, given, self.chain.treatment, self.sums.nodes, halvings)

    # ------------------------------------------------------------------------------------------------------ derivatives

    def _derive(self, found: Integrated, data: Products, *, information: bool) -> tuple[FloatArray, FloatArray]:
        """Scores of clusters (R, J, q), and the information, over the nodes that weigh anything."""
        rows, starts = found.kept()
        q, j = self.q, data.layout.n_clusters
        scores = np.empty((len(rows), q, j))
        inner = np.empty((len(rows), q, q)) if information else np.empty((0, q, q))
        for part, integral, pieces in self.sums.again(found, data, rows):
            weights = found.weights[rows[part]]
            jacobian = self.chain.jacobian(pieces)[:, :, :q]
            slopes, several = features(integral), blocks(integral, complete=data.complete)
            plain = added(np.matmul(transpose(jacobian[:, one]), slopes[:, one]) for one in several)
            scores[part] = plain * weights[:, None]
            if information:
                gradient = np.concatenate([matvec(slopes[:, one], weights) for one in several], axis=1)
                inner[part] = np.matmul(scores[part], transpose(plain))
                inner[part] += curvature(integral, jacobian, self.inner, complete=data.complete, weights=weights)
                inner[part] += self.chain.curvature(pieces, gradient)[:, :q, :q]
        means = np.add.reduceat(scores, starts, axis=0)
        by_cluster = np.ascontiguousarray(transpose(means))
        if not information:
            return by_cluster, inner
        total = np.matmul(means, transpose(means)) - np.add.reduceat(inner, starts, axis=0)
        return by_cluster, 0.5 * (total + transpose(total))

    def _predict(self, found: Integrated, data: Products) -> tuple[FloatArray, FloatArray]:
        """Means (R, J, r) and covariances (R, J, r, r) of random elements: normal ones, mixed over the nodes."""
        rows, starts = found.kept()
        inner, j = self.chain.r, data.layout.n_clusters
        r = inner + self.d
        values, squares = np.empty((len(rows), r, j)), np.empty((len(rows), r, r, j))
        for part, integral, _ in self.sums.again(found, data, rows):
            slopes = found.params[rows[part], self.q :, None]
            values[part, :inner], values[part, inner:] = integral.mode, slopes
            squares[part] = values[part, :, None] * values[part, None]
            squares[part, :inner, :inner] += integral.spread
        weights = found.weights[rows]
        mean = np.add.reduceat(values * weights[:, None], starts, axis=0)
        centred = values - np.repeat(mean, np.diff(np.append(starts, len(rows))), axis=0)
        squares += centred[:, :, None] * centred[:, None] - values[:, :, None] * values[:, None]
        cov = np.add.reduceat(squares * weights[:, None, None], starts, axis=0)
        names = [self.structure.elements[k] for k in self.chain.order[:inner]] + list(self.structure.given)
        order = np.array([names.index(name) for name in self.whole.elements[: self.whole.r]], dtype=np.int64)
        return np.moveaxis(mean[:, order], -1, 1), np.moveaxis(cov[:, order][:, :, order], -1, 1)

    # ------------------------------------------------------------------------------------- clusters together, or apart

    def find(self, params: FloatArray, data: Products, want: Want = "loglik") -> Found:
        """The log-likelihood at (R, q), and what else is wanted."""
        with np.errstate(all="ignore"):
            prior, offset = self._before(params, data)
            apart = ((offset.max(axis=-1) - offset.min(axis=-1)) > SPREAD).any(axis=-1)
            if data.layout.n_clusters == 1 or not apart.any():
                return self._together(params, data, prior, offset, want)
            parts = []
            for some, find in ((~apart, self.find), (apart, self._one_by_one)):
                if some.any():
                    parts.append((np.flatnonzero(some), find(params[some], data.select(some), want)))
            return _merged(parts, len(params))

    def _before(self, params: FloatArray, data: Products) -> tuple[Prior, FloatArray]:
        """What is known of slopes before level-1 data, and where that puts clusters (R, d, J)."""
        known: BoolArray = np.asarray(data.z_patterns[data.z_pattern].all(axis=(1, 2)))
        prior = self.chain.prior(np.concatenate([params, np.zeros((len(params), self.d))], axis=1), known)
        return prior, prior.offset(data.clusters)

    def _together(self, params: FloatArray, data: Products, prior: Prior, offset: FloatArray, want: Want) -> Found:
        n, j = len(params), data.layout.n_clusters
        found = self.sums.integral(params, data, prior, offset)
        scores, information = np.zeros((n, j, 0)), np.zeros((n, 0, 0))
        mean, cov = np.zeros((n, j, 0)), np.zeros((n, j, 0, 0))
        if want in ("scores", "information"):
            scores, inner = self._derive(found, data, information=want == "information")
            information = inner if want == "information" else information
        if want == "elements":
            mean, cov = self._predict(found, data)
        return Found(found.loglik, found.coarse, found.grid.n_nodes, found.ok, scores, information, mean, cov)

    def _one_by_one(self, params: FloatArray, data: Products, want: Want) -> Found:
        """Every cluster as a data set of its own, with its own nodes."""
        n, sizes = len(params), np.asarray(data.layout.sizes)
        parts, places = [], []
        for size in np.unique(sizes):
            at = np.flatnonzero(sizes == size).astype(np.int64)
            alone = data.one_by_one(at)
            parts.append(self.find(np.repeat(params, len(at), axis=0), alone, want))
            places.append(at)
        order = np.argsort(np.concatenate(places))

        def clusters(name: str) -> FloatArray:
            values = [getattr(part, name) for part in parts]
            whole = np.concatenate([x.reshape(n, len(x) // n, *x.shape[2:]) for x in values], axis=1)
            return np.ascontiguousarray(whole[:, order])

        nodes = np.concatenate([part.nodes.reshape(n, -1) for part in parts], axis=1)
        ok = np.concatenate([part.ok.reshape(n, -1) for part in parts], axis=1)
        each = np.concatenate(
            [x.information.reshape(n, len(x.nodes) // n, *x.information.shape[1:]) for x in parts], axis=1
        )
        flat = each.reshape(n * each.shape[1], *each.shape[2:])
        information = np.add.reduceat(flat, np.arange(n) * each.shape[1], axis=0)
        return Found(
            clusters("loglik"), clusters("coarse"), nodes.max(axis=1), ok.min(axis=1), clusters("scores"), information,
            clusters("mean"), clusters("cov"),
        )  # fmt: skip

    # --------------------------------------------------------------------------------------------------- what is public

    def loglik(self, params: FloatArray, data: Products) -> FloatArray:
        """Log-likelihood (R,); NaN where the moments are not feasible."""
        return self.measured(params, data)[0]

    def measured(self, params: FloatArray, data: Products) -> tuple[FloatArray, FloatArray, IntArray]:
        """Log-likelihood (R,), what half the nodes would change in it (R,), and the number of nodes (R,)."""
        found = self.find(params, data)
        total = np.where(found.ok, found.loglik.sum(axis=-1), np.nan)
        return total, np.abs(total - found.coarse.sum(axis=-1)), found.nodes

    def cluster_logliks(self, params: FloatArray, data: Products) -> FloatArray:
        """Log-likelihood of every cluster (R, J)."""
        return self.find(params, data).loglik

    def evaluate(self, params: FloatArray, data: Products) -> Evaluation:
        """Log-likelihood, score and observed information."""
        with np.errstate(all="ignore"):
            found = self.find(params, data, "information")
            score, total = np.ascontiguousarray(transpose(found.scores)).sum(axis=-1), found.loglik.sum(axis=-1)
            ok = found.ok & np.isfinite(score).all(axis=-1) & np.isfinite(found.information).all(axis=(-2, -1))
            return Evaluation(np.where(ok, total, np.nan), score, found.information, ok)

    def observed_information(self, params: FloatArray, data: Products) -> FloatArray:
        """Minus the second derivatives of the log-likelihood (R, q, q)."""
        return self.evaluate(params, data).information

    def cluster_scores(self, params: FloatArray, data: Products) -> FloatArray:
        """Score of every cluster (R, J, q); they add up to the score."""
        return self.find(params, data, "scores").scores

    def within_scores(
        self, params: FloatArray, data: Products, rows: FloatArray, codes: IntArray, wanted: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """As `scores.within_scores`, for one data set (R = 1): those given the slopes, mixed over the nodes."""
        with np.errstate(all="ignore"):
            prior, offset = self._before(params, data)
            found = self.sums.integral(params, data, prior, offset)
            kept, _ = found.kept()
            mean, square = np.zeros((len(rows), len(wanted))), np.zeros((len(rows), len(wanted)))
            everything = np.ones((1, self.structure.p1), dtype=bool)
            for part, integral, _ in self.sums.again(found, data, kept):
                for k, node in enumerate(kept[part].tolist()):
                    one = np.array([node])
                    (pieces,) = self.chain.at(found.params[one], found.prior.take(one), everything)
                    mode, spread = integral.mode[k][..., None], integral.spread[k][..., None]
                    weights = found.weights[node, :, None]
                    posterior = NodePosterior(np.ones_like(weights), np.zeros((0, *weights.shape)), mode, spread)
                    here, variance = within_scores(self.chain, pieces, posterior, rows, codes, wanted)
                    mean += weights[codes] * here
                    square += weights[codes] * (variance + here**2)
        return mean, square - mean**2

    def elements(self, params: FloatArray, data: Products) -> tuple[FloatArray, FloatArray]:
        """Posterior means (R, J, r) and covariances (R, J, r, r) of u, in the order of ``SlopeStructure.elements``."""
        found = self.find(params, data, "elements")
        return found.mean, found.cov


def _merged(parts: Sequence[tuple[IntArray, Found]], n: int) -> Found:
    """Results of some replicates each, put in order."""
    if len(parts) == 1:
        return parts[0][1]
    order = np.argsort(np.concatenate([at for at, _ in parts]))
    names = [f.name for f in fields(Found)]
    arrays = {name: np.concatenate([getattr(found, name) for _, found in parts])[order] for name in names}
    return Found(**arrays)
