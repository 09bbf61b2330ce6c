"""Log-likelihood of slopes on latent within parts, by adaptive Gauss-Hermite quadrature (theory S2, D1.4).

A random slope multiplies x_ij - x_Bj. Given the latent means t of its predictors (and no others) the model is that of
`random_slopes` with t among the level-2 variables and rows x_ij - t: one dimension a predictor, whatever the number of
slopes and equations. The score is the mean of the scores given t (Fisher's identity), the information is Louis' (1982).
Nodes move with the parameters; derivatives take them as given, which is right up to the error of the rule.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simstudy.data.products import ClusterProducts
from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.likelihood.slopes.chain import Pieces, SlopeChain
from simstudy.likelihood.slopes.kernel import Integral, Points, features, gradient, integrate, second_derivatives
from simstudy.likelihood.slopes.nodes import Centre, hermite, shift
from simstudy.linalg.stacked import BoolArray, FloatArray, matvec, transpose
from simstudy.model.slope_structure import SlopeStructure

MULTIPLES, MOST_NODES, MOST_POINTS = (2, 3, 4, 6, 8, 12, 16), 65, 5000
"""Of n - 1, for finer rules; nodes a dimension at most, and a cluster."""
AT_ONCE = 10_000
"""Points (clusters times nodes) that are worked on together: more leave the cache, fewer pay for calls."""


class LatentSlopes(Likelihood[ClusterProducts]):
    """As `random_slopes.ObservedSlopes`, for slopes on latent within parts.

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
        function: Callable[[FloatArray, ClusterProducts], tuple[FloatArray, ...]],
        params: FloatArray,
        data: ClusterProducts,
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

    def integral(self, params: FloatArray, data: ClusterProducts) -> tuple[Pieces, Integral, FloatArray]:
        """Integrals given every node's t, and log weights (R, J n)."""
        pieces = self.chain.reduce(params)
        t, root = self.centre.locate(pieces, data.products, data.clusters)
        n, (j, k) = len(t), (t.shape[-1], self.n_nodes)
        points = t[..., None] + sum(root[:, :, d, :, None] * self.grid[d] for d in range(self.dimension))
        points = points.reshape(n, self.dimension, j * k)
        log_weights = self.log_weights + sum(np.log(root[:, d, d, :, None]) for d in range(self.dimension))
        products = shift(np.repeat(data.products, k, axis=-1), self.centre.covariates, points)
        z = np.concatenate([np.repeat(data.clusters, k, axis=-1), points], axis=1)
        sizes = np.repeat(np.asarray(data.layout.sizes, dtype=np.float64), k)
        found = integrate(pieces.reduced, Points(self.chain.place, products, sizes, z))
        return pieces, found, np.asarray(log_weights).reshape(n, j * k)

    def _weigh(self, found: Integral, log_weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Log-likelihood of every cluster (R, J), and posterior weights of its nodes (R, J n)."""
        value = (found.loglik + log_weights).reshape(len(log_weights), -1, self.n_nodes)
        top = value.max(axis=-1, keepdims=True)
        share = np.exp(value - top)
        total = share.sum(axis=-1, keepdims=True)
        return (np.log(total) + top)[..., 0], (share / total).reshape(log_weights.shape)

    def cluster_logliks(self, params: FloatArray, data: ClusterProducts) -> FloatArray:
        """Log-likelihood of every cluster (R, J)."""
        with np.errstate(all="ignore"):
            _, found, log_weights = self.integral(params, data)
            return self._weigh(found, log_weights)[0]

    def loglik(self, params: FloatArray, data: ClusterProducts) -> FloatArray:
        """Log-likelihood (R,); NaN where the moments are not feasible."""
        return self._parts(self._loglik, params, data)[0]

    def _loglik(self, params: FloatArray, data: ClusterProducts) -> tuple[FloatArray, ...]:
        with np.errstate(all="ignore"):
            _, found, log_weights = self.integral(params, data)
            value = self._weigh(found, log_weights)[0].sum(axis=-1)
            return (np.where(found.ok & np.isfinite(value), value, np.nan),)

    def evaluate(self, params: FloatArray, data: ClusterProducts) -> Evaluation:
        """Log-likelihood, score and observed information."""
        loglik, score, information, ok = self._parts(self._evaluate, params, data)
        return Evaluation(loglik, score, information, ok.astype(bool))

    def _evaluate(self, params: FloatArray, data: ClusterProducts) -> tuple[FloatArray, ...]:
        with np.errstate(all="ignore"):
            pieces, found, log_weights = self.integral(params, data)
            loglik, weights = self._weigh(found, log_weights)
            jacobian = self.chain.jacobian(pieces)
            slopes = features(found)
            total_slope = matvec(slopes, weights)
            score = matvec(transpose(jacobian), total_slope)
            j = np.take(jacobian, self.chain.curved, axis=1)
            inner = np.matmul(np.matmul(transpose(j), second_derivatives(found, weights)), j)
            inner += self.chain.curvature(pieces, total_slope)
            scores = np.matmul(transpose(jacobian), slopes)  # (R, q, J n)
            weighted = scores * weights[:, None]
            inner += np.matmul(weighted, transpose(scores))
            means = weighted.reshape(*scores.shape[:2], -1, self.n_nodes).sum(axis=-1)
            inner -= np.matmul(means, transpose(means))
            information = -0.5 * (inner + transpose(inner))
            total = loglik.sum(axis=-1)
            ok = found.ok & np.isfinite(score).all(axis=-1) & np.isfinite(information).all(axis=(-2, -1))
            ok = ok & np.isfinite(total)
            return np.where(ok, total, np.nan), score, information, ok.astype(np.float64)

    def slope(self, params: FloatArray, data: ClusterProducts) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Log-likelihood (R,), score (R, q), and where they exist (R,): half the work of `evaluate`."""
        loglik, score, ok = self._parts(self._slope, params, data)
        return loglik, score, ok.astype(bool)

    def _slope(self, params: FloatArray, data: ClusterProducts) -> tuple[FloatArray, ...]:
        with np.errstate(all="ignore"):
            pieces, found, log_weights = self.integral(params, data)
            loglik, weights = self._weigh(found, log_weights)
            score = matvec(transpose(self.chain.jacobian(pieces)), gradient(found, weights))
            total = loglik.sum(axis=-1)
            ok = found.ok & np.isfinite(total) & np.isfinite(score).all(axis=-1)
            return total, score, ok.astype(np.float64)

    def observed_information(self, params: FloatArray, data: ClusterProducts) -> FloatArray:
        """Minus the second derivatives of the log-likelihood (R, q, q)."""
        return self.evaluate(params, data).information

    def elements(self, params: FloatArray, data: ClusterProducts) -> tuple[FloatArray, FloatArray]:
        """Posterior means (R, J, r) and covariances (R, J, r, r) of u, in the order of ``SlopeStructure.elements``.

        Those of normal distributions given the latent means, mixed over the nodes.
        """
        with np.errstate(all="ignore"):
            _, found, log_weights = self.integral(params, data)
            _, weights = self._weigh(found, log_weights)
            n, inner, k = len(weights), self.chain.r, self.n_nodes
            values = np.concatenate([found.mode, found.points.z[:, -self.dimension :]], axis=1)
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

    def cluster_scores(self, params: FloatArray, data: ClusterProducts) -> FloatArray:
        """Score of every cluster (R, J, q); they add up to the score."""
        with np.errstate(all="ignore"):
            pieces, found, log_weights = self.integral(params, data)
            _, weights = self._weigh(found, log_weights)
            scores = np.matmul(transpose(self.chain.jacobian(pieces)), features(found)) * weights[:, None]
            by_cluster = scores.reshape(*scores.shape[:2], -1, self.n_nodes).sum(axis=-1)
            return np.ascontiguousarray(transpose(by_cluster))
