"""Log-likelihood of slopes on latent within parts, by adaptive Gauss-Hermite quadrature (theory S2, D1.4).

A random slope multiplies x_ij - x_Bj. Given the latent means t of its predictors (and no others) the model is that of
`observed` with t among the level-2 variables and rows x_ij - t: one dimension a predictor, whatever the number of
slopes and equations. The score is the mean of the scores given t (Fisher's identity), the information is Louis' (1982).
Nodes move with the parameters; derivatives take them as given, which is right up to the error of the rule.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simstudy.data.products import Products
from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.likelihood.slopes.chain import Pieces, SlopeChain
from simstudy.likelihood.slopes.derivatives import blocks, curvature, features, gradient
from simstudy.likelihood.slopes.kernel import Integral, Points, integrate, log_integral
from simstudy.likelihood.slopes.nodes import Centre, hermite
from simstudy.likelihood.slopes.scores import NodePosterior
from simstudy.linalg.stacked import BoolArray, FloatArray, added, matvec, transpose
from simstudy.model.slope_structure import SlopeStructure

MULTIPLES, MOST_NODES, MOST_POINTS = (2, 3, 4, 6, 8, 12, 16), 65, 5000
"""Of n - 1, for finer rules; nodes a dimension at most, and a cluster."""
AT_ONCE = 10_000
"""Points (clusters times nodes) that are worked on together: more leave the cache, fewer pay for calls."""


class LatentSlopes(Likelihood[Products]):
    """As `observed.ObservedSlopes`, for slopes on latent within parts.

    Parameters
    ----------
    nodes : int
        A dimension.
    """

    def __init__(self, structure: SlopeStructure, nodes: int) -> None:
        self.structure, self.nodes = structure, nodes
        self.chain = SlopeChain(structure, "latent")
        self.centre = Centre(self.chain)
        self.dimension = len(self.chain.cover)
        self.grid, self.log_weights = hermite(nodes, self.dimension)

    def finer(self) -> tuple[LatentSlopes, ...]:
        """The same with more and more nodes: once at least."""
        least = max(self.nodes, 2)
        more = [multiple * (least - 1) + 1 for multiple in MULTIPLES]
        kept = [n for n in more if n <= MOST_NODES and n**self.dimension <= MOST_POINTS]
        return tuple(LatentSlopes(self.structure, n) for n in kept or more[:1])

    @property
    def n_nodes(self) -> int:
        """Nodes a cluster."""
        return len(self.log_weights)

    def _parts(
        self,
        function: Callable[[FloatArray, Products], tuple[FloatArray, ...]],
        params: FloatArray,
        data: Products,
    ) -> tuple[FloatArray, ...]:
        """What ``function`` gives for all replicates, a few at a time."""
        size = max(1, AT_ONCE // (data.layout.n_clusters * self.n_nodes))
        if len(params) <= size:
            return function(params, data)
        parts = [
            function(params[first : first + size], data.select(slice(first, first + size)))
            for first in range(0, len(params), size)
        ]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    def _at_nodes(self, params: FloatArray, data: Products) -> tuple[tuple[Pieces, ...], Points, FloatArray]:
        """Pieces of every pattern, every node's data, and log weights (R, J n)."""
        pieces = self.chain.under(params, data.patterns)
        clusters = Points.of(self.chain.place, data)
        t, root = self.centre.locate(pieces, clusters)
        n, (j, k) = len(t), (t.shape[-1], self.n_nodes)
        points = t[..., None] + sum(root[:, :, d, :, None] * self.grid[d] for d in range(self.dimension))
        points = points.reshape(n, self.dimension, j * k)
        log_weights = self.log_weights + sum(np.log(root[:, d, d, :, None]) for d in range(self.dimension))
        at_nodes = clusters.given(self.centre.covariates, points)
        return pieces, at_nodes, np.asarray(log_weights).reshape(n, j * k)

    def integral(self, params: FloatArray, data: Products) -> tuple[tuple[Pieces, ...], Integral, FloatArray]:
        """Pieces of every pattern, integrals given every node's t, and log weights (R, J n)."""
        pieces, at_nodes, log_weights = self._at_nodes(params, data)
        return pieces, integrate([one.reduced for one in pieces], at_nodes), log_weights

    def _weigh(self, logliks: FloatArray, log_weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Log-likelihood of every cluster (R, J), and posterior weights of its nodes (R, J n)."""
        value = (logliks + log_weights).reshape(len(log_weights), -1, self.n_nodes)
        top = value.max(axis=-1, keepdims=True)
        share = np.exp(value - top)
        total = share.sum(axis=-1, keepdims=True)
        return (np.log(total) + top)[..., 0], (share / total).reshape(log_weights.shape)

    def cluster_logliks(self, params: FloatArray, data: Products) -> FloatArray:
        """Log-likelihood of every cluster (R, J)."""
        return self._parts(self._cluster_logliks, params, data)[0]

    def _cluster_logliks(self, params: FloatArray, data: Products) -> tuple[FloatArray, ...]:
        with np.errstate(all="ignore"):
            pieces, at_nodes, log_weights = self._at_nodes(params, data)
            value, ok = log_integral([one.reduced for one in pieces], at_nodes)
            return (np.where(ok[:, None], self._weigh(value, log_weights)[0], np.nan),)

    def loglik(self, params: FloatArray, data: Products) -> FloatArray:
        """Log-likelihood (R,); NaN where the moments are not feasible."""
        value = self.cluster_logliks(params, data).sum(axis=-1)
        return np.where(np.isfinite(value), value, np.nan)

    def evaluate(self, params: FloatArray, data: Products) -> Evaluation:
        """Log-likelihood, score and observed information."""
        loglik, score, information, ok = self._parts(self._evaluate, params, data)
        return Evaluation(loglik, score, information, ok.astype(bool))

    def _evaluate(self, params: FloatArray, data: Products) -> tuple[FloatArray, ...]:
        with np.errstate(all="ignore"):
            pieces, found, log_weights = self.integral(params, data)
            loglik, weights = self._weigh(found.loglik, log_weights)
            jacobian = self.chain.jacobian(pieces)
            slopes = features(found)
            several = blocks(found, complete=data.complete)
            total_slope = np.concatenate([matvec(slopes[:, one], weights) for one in several], axis=1)
            score = added(matvec(transpose(jacobian[:, one]), total_slope[:, one]) for one in several)
            inner = curvature(found, jacobian, self.chain.inner, complete=data.complete, weights=weights)
            inner += self.chain.curvature(pieces, total_slope)
            scores = added(np.matmul(transpose(jacobian[:, one]), slopes[:, one]) for one in several)  # (R, q, J n)
            weighted = scores * weights[:, None]
            inner += np.matmul(weighted, transpose(scores))
            means = weighted.reshape(*scores.shape[:2], -1, self.n_nodes).sum(axis=-1)
            inner -= np.matmul(means, transpose(means))
            information = -0.5 * (inner + transpose(inner))
            total = loglik.sum(axis=-1)
            ok = found.ok & np.isfinite(score).all(axis=-1) & np.isfinite(information).all(axis=(-2, -1))
            ok = ok & np.isfinite(total)
            return np.where(ok, total, np.nan), score, information, ok.astype(np.float64)

    def slope(self, params: FloatArray, data: Products) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Log-likelihood (R,), score (R, q), and where they exist (R,): half the work of `evaluate`."""
        loglik, score, ok = self._parts(self._slope, params, data)
        return loglik, score, ok.astype(bool)

    def _slope(self, params: FloatArray, data: Products) -> tuple[FloatArray, ...]:
        with np.errstate(all="ignore"):
            pieces, found, log_weights = self.integral(params, data)
            loglik, weights = self._weigh(found.loglik, log_weights)
            jacobian, slopes = self.chain.jacobian(pieces), gradient(found, weights)
            several = blocks(found, complete=data.complete)
            score = added(matvec(transpose(jacobian[:, one]), slopes[:, one]) for one in several)
            total = loglik.sum(axis=-1)
            ok = found.ok & np.isfinite(total) & np.isfinite(score).all(axis=-1)
            return total, score, ok.astype(np.float64)

    def observed_information(self, params: FloatArray, data: Products) -> FloatArray:
        """Minus the second derivatives of the log-likelihood (R, q, q)."""
        return self.evaluate(params, data).information

    def elements(self, params: FloatArray, data: Products) -> tuple[FloatArray, FloatArray]:
        """Posterior means (R, J, r) and covariances (R, J, r, r) of u, in the order of ``SlopeStructure.elements``.

        Those of normal distributions given the latent means, mixed over the nodes.
        """
        with np.errstate(all="ignore"):
            _, found, log_weights = self.integral(params, data)
            _, weights = self._weigh(found.loglik, log_weights)
            n, inner, k = len(weights), self.chain.r, self.n_nodes
            values = np.concatenate([found.mode, found.z[:, -self.dimension :]], axis=1)
            r = values.shape[1]
            values = values.reshape(n, r, -1, k)
            share = weights.reshape(n, 1, -1, k)
            mean = (share * values).sum(axis=-1)
            centred = values - mean[..., None]
            cov = (share[:, None] * centred[:, :, None] * centred[:, None]).sum(axis=-1)
            spread = found.spread.reshape(n, inner, inner, -1, k)
            cov[:, :inner, :inner] += (share[:, None] * spread).sum(axis=-1)
        order = np.argsort(np.concatenate([self.chain.order[:inner], self.chain.cover]))
        return np.moveaxis(mean[:, order], -1, 1), np.moveaxis(cov[:, order][:, :, order], -1, 1)

    def by_node(self, params: FloatArray, data: Products) -> NodePosterior:
        """Random elements at every node, for one data set (R = 1)."""
        with np.errstate(all="ignore"):
            _, found, log_weights = self.integral(params, data)
            _, weights = self._weigh(found.loglik, log_weights)
        k, r = self.n_nodes, self.chain.r
        t = found.z[0, -self.dimension :].reshape(self.dimension, -1, k)
        return NodePosterior(
            weights.reshape(-1, k), t, found.mode[0].reshape(r, -1, k), found.spread[0].reshape(r, r, -1, k)
        )

    def cluster_scores(self, params: FloatArray, data: Products) -> FloatArray:
        """Score of every cluster (R, J, q); they add up to the score."""
        with np.errstate(all="ignore"):
            pieces, found, log_weights = self.integral(params, data)
            _, weights = self._weigh(found.loglik, log_weights)
            own, jacobian = features(found), self.chain.jacobian(pieces)
            several = blocks(found, complete=data.complete)
            scores = added(np.matmul(transpose(jacobian[:, one]), own[:, one]) for one in several) * weights[:, None]
            by_cluster = scores.reshape(*scores.shape[:2], -1, self.n_nodes).sum(axis=-1)
            return np.ascontiguousarray(transpose(by_cluster))
