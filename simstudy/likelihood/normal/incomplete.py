"""Two-level normal log-likelihood of data with missing values at either level (full-information ML under MAR).

`incomplete_clusters` holds the log-likelihood of a cluster and what follows from it for the cluster's means,
`incomplete_information` the second derivatives. Here they are summed over blocks of clusters and carried to a model's
parameters: with gamma_j and Omega_j the derivatives with respect to the mean of the cluster's between vector,

    dl/dmu = sum_j gamma_j,    dl/dSigma_B = sum_j (gamma_j gamma_j' - Omega_j) / 2,
    dl/dSigma_W = sum_g {Sigma_g^-1 (P_g + sum_j n_jg M_j) Sigma_g^-1 - n_g Sigma_g^-1} / 2,

P_g the scatter of a pattern's rows about their posterior means. Scoring uses the expected information given what is
observed; the observed information is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simstudy.data.incomplete import IncompleteData, Part
from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.likelihood.normal.incomplete_clusters import Clusters, clusters_of
from simstudy.likelihood.normal.incomplete_information import cluster_scores, expected_information, observed_forms
from simstudy.likelihood.normal.moment_derivatives import MomentDerivatives, MomentMaps
from simstudy.linalg.stacked import BoolArray, FloatArray, matvec, transpose
from simstudy.model.implied import LevelImplied, TwoLevelStructure


@dataclass(frozen=True)
class BetweenPosterior:
    """What is known of the between parts of R data sets' clusters at parameter values.

    Attributes
    ----------
    gradient : (R, J, p)
        gamma, the derivative of the log-likelihood with respect to each cluster's mean.
    information : (R, J, p, p)
        Omega, minus its second derivative.
    spread : (R, J, p1, p1)
        Posterior covariance of the level-1 variables' between parts.
    """

    gradient: FloatArray
    information: FloatArray
    spread: FloatArray


@dataclass(frozen=True)
class _Point:
    """Moments at parameters of a part's data sets, and the clusters of its blocks."""

    within: LevelImplied
    between: LevelImplied
    clusters: tuple[Clusters, ...]
    ok: BoolArray

    @property
    def loglik(self) -> FloatArray:
        """Log-likelihood (R,), minus infinity where it does not exist."""
        total = self.clusters[0].loglik.copy()
        for known in self.clusters[1:]:
            total += known.loglik
        return np.where(self.ok & np.isfinite(total), total, -np.inf)


Information = Callable[[Part, _Point, MomentDerivatives], FloatArray]


class IncompleteLikelihood(Likelihood[IncompleteData]):
    """Log-likelihood of a model for data with missing values.

    Parameters
    ----------
    structure : TwoLevelStructure
    """

    def __init__(self, structure: TwoLevelStructure) -> None:
        self.structure = structure
        self.maps = MomentMaps(structure)

    def evaluate(self, params: FloatArray, data: IncompleteData) -> Evaluation:
        """Log-likelihood (R,), score (R, q) and expected information given the patterns (R, q, q)."""
        return self._evaluate(params, data, self._expected)

    def with_observed(self, params: FloatArray, data: IncompleteData) -> Evaluation:
        """Log-likelihood, score and exact observed information."""
        return self._evaluate(params, data, self._observed)

    def _evaluate(self, params: FloatArray, data: IncompleteData, how: Information) -> Evaluation:
        n, q = params.shape
        loglik, score, information = np.empty(n), np.empty((n, q)), np.empty((n, q, q))
        with np.errstate(all="ignore"):
            for part in data.chunks():
                at, point = part.replicates, self._point(params[part.replicates], part)
                d = self.maps.at(point.within, point.between)
                loglik[at], score[at] = point.loglik, self._score(point, d)
                information[at] = how(part, point, d)
        ok = np.isfinite(loglik) & np.isfinite(score).all(axis=-1)
        score[~ok], information[~ok] = np.nan, np.nan
        return Evaluation(loglik, score, information, ok)

    def value_and_score(self, params: FloatArray, data: IncompleteData) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Log-likelihood (R,), score (R, q) and where they exist (R,)."""
        loglik, score = np.empty(len(params)), np.empty(params.shape)
        with np.errstate(all="ignore"):
            for part in data.chunks():
                at, point = part.replicates, self._point(params[part.replicates], part)
                d = self.maps.at(point.within, point.between)
                loglik[at], score[at] = point.loglik, self._score(point, d)
        return loglik, score, np.isfinite(loglik) & np.isfinite(score).all(axis=-1)

    def loglik(self, params: FloatArray, data: IncompleteData) -> FloatArray:
        """Log-likelihood (R,), minus infinity where it does not exist."""
        result = np.empty(len(params))
        with np.errstate(all="ignore"):
            for part in data.chunks():
                result[part.replicates] = self._point(params[part.replicates], part).loglik
        return result

    def observed_information(self, params: FloatArray, data: IncompleteData) -> FloatArray:
        """Minus the exact second derivatives of l (R, q, q)."""
        result = np.empty((*params.shape, params.shape[1]))
        with np.errstate(all="ignore"):
            for part in data.chunks():
                point = self._point(params[part.replicates], part)
                d = self.maps.at(point.within, point.between)
                result[part.replicates] = self._observed(part, point, d)
        return result

    def cluster_scores(self, params: FloatArray, data: IncompleteData) -> FloatArray:
        """Score of every cluster (R, J, q); they add up to the score."""
        result = np.empty((len(params), data.n_clusters, params.shape[1]))
        with np.errstate(all="ignore"):
            for part in data.chunks():
                point = self._point(params[part.replicates], part)
                d = self.maps.at(point.within, point.between)
                pairs = zip(part.blocks, point.clusters, strict=True)
                found = np.concatenate([cluster_scores(b, k, d, self.maps) for b, k in pairs], axis=-1)
                result[part.replicates] = transpose(found)
        return result

    def posterior(self, params: FloatArray, data: IncompleteData) -> BetweenPosterior:
        """What is known of the latent between parts at parameters (R, q)."""
        p1, p = self.structure.p1, self.structure.p1 + self.structure.p2
        shape = (len(params), data.n_clusters)
        found = BetweenPosterior(np.empty((*shape, p)), np.empty((*shape, p, p)), np.empty((*shape, p1, p1)))
        with np.errstate(all="ignore"):
            for part in data.chunks():
                clusters = self._point(params[part.replicates], part).clusters
                at = part.replicates
                for target, parts in (
                    (found.gradient, [known.gradient for known in clusters]),
                    (found.information, [known.omega for known in clusters]),
                    (found.spread, [known.spread for known in clusters]),
                ):
                    target[at] = np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)
        return found

    def between_means(self, posterior: BetweenPosterior, params: FloatArray) -> FloatArray:
        """Posterior means of the between parts minus mu (R, J, p): Sigma_B gamma_j."""
        _, _, sigma_between = self.structure.moments(params)
        result: FloatArray = np.matmul(posterior.gradient, sigma_between)
        return result

    # ------------------------------------------------------------------ pieces

    def _point(self, params: FloatArray, part: Part) -> _Point:
        s = self.structure
        within, between = s.within.implied(params), s.between.implied(params)
        moments = s.assemble(within, between)
        clusters = tuple(clusters_of(block, *moments) for block in part.blocks)
        return _Point(within, between, clusters, within.ok & between.ok)

    def _expected(self, part: Part, point: _Point, d: MomentDerivatives) -> FloatArray:
        pairs = zip(part.blocks, point.clusters, strict=True)
        return _sum_up([expected_information(block, known, d, self.maps) for block, known in pairs])

    def _observed(self, part: Part, point: _Point, d: MomentDerivatives) -> FloatArray:
        pairs = zip(part.blocks, point.clusters, strict=True)
        forms = _sum_up([observed_forms(block, known, d, self.maps) for block, known in pairs])
        found = forms - self._curvature(point)
        return 0.5 * (found + transpose(found))

    def _gradients(self, point: _Point) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Derivatives of l with respect to Sigma_W (R, p1, p1), Sigma_B (R, p, p) and mu (R, p)."""
        within, between, mean = [], [], []
        for known in point.clusters:
            i, gamma, rows = known.inverse, known.gradient, known.rows[..., None, None]
            both = np.matmul(np.matmul(i, known.products + known.held), i)
            within.append(0.5 * (both - rows * i).sum(axis=1))
            between.append(0.5 * (np.matmul(gamma, transpose(gamma)) - known.omega.sum(axis=-1)))
            mean.append(gamma.sum(axis=-1))
        return _sum_up(within), _sum_up(between), _sum_up(mean)

    def _score(self, point: _Point, d: MomentDerivatives) -> FloatArray:
        within, between, mean = self._gradients(point)
        n = len(mean)
        score = matvec(d.mean, mean)
        for free, derivative, gradient in (
            (self.maps.within, d.within, within),
            (self.maps.between, d.between, between),
        ):
            score[:, free] += matvec(derivative.reshape(n, len(free), -1), gradient.reshape(n, -1))
        return score

    def _curvature(self, point: _Point) -> FloatArray:
        """What second derivatives of the moments add to those of l (R, q, q)."""
        s = self.structure
        within, between, mean = self._gradients(point)
        at = s.between.positions
        found = s.between.curvature(
            point.between,
            np.ascontiguousarray(between[:, at[:, None], at]),
            np.ascontiguousarray(mean[:, at]),
            s.q,
        )
        return found + s.within.curvature(point.within, within, np.ascontiguousarray(mean[:, : s.p1]), s.q)


def _sum_up(parts: list[FloatArray]) -> FloatArray:
    """The sum of arrays of one shape, in order."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
