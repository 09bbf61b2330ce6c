"""`Engine`: a likelihood together with R data sets, complete or not, behind one face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from simstudy.data.incomplete import IncompleteData
from simstudy.data.layout import ClusterLayout
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.available_moments import available_moments
from simstudy.estimation.free_moments import two_level_optimiser
from simstudy.estimation.inference import covariance
from simstudy.estimation.optimum import Box, Optimum
from simstudy.estimation.scoring import SCORING, Optimiser, try_again
from simstudy.estimation.starts import Starts, feasible_between, starts_from_moments, two_level_starts
from simstudy.likelihood.evaluation import Likelihood, Selectable
from simstudy.likelihood.normal import two_group
from simstudy.likelihood.normal.incomplete import IncompleteLikelihood
from simstudy.likelihood.normal.pseudo_balanced import PseudoBalanced
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.linalg.stacked import FloatArray, IntArray, dot, entries, transpose
from simstudy.model.implied import TwoLevelStructure


@dataclass(frozen=True)
class Engine:
    """What is needed to fit a model to R data sets and to judge the fit.

    Attributes
    ----------
    likelihood, data
        As `scoring.maximise` takes them.
    meat : callable
        params (R, q) -> sum over clusters of outer products of their scores (R, q, q).
    starts : Starts
        Starting points (R, q).
    quick : (R, q) or None
        A start that is climbed from by plain scoring first, so that ``starts`` need not be known where that succeeds.
    optimiser : Optimiser
    """

    likelihood: Likelihood[Any]
    data: Selectable
    meat: Callable[[FloatArray], FloatArray]
    starts: Starts
    optimiser: Optimiser[Any, Any] = field(default=SCORING, kw_only=True)
    quick: FloatArray | None = field(default=None, kw_only=True)

    def solve(self, *more: FloatArray, box: Box | None = None) -> Optimum:
        """Maximise the likelihood within a box; ``more`` starts are tried first."""
        starts = Starts.of(*more).before(self.starts)
        if self.quick is None:
            return self.optimiser.fully(self.likelihood, self.data, starts, box)

        def climb(data: Selectable, which: IntArray) -> Optimum:
            return self.optimiser.fully(self.likelihood, data, starts.map(lambda start: start[which]), box)

        best = self.optimiser.once(self.likelihood, self.data, self.quick, box)
        return try_again(best, self.data, np.arange(len(self.quick)), climb)

    @property
    def n_replicates(self) -> int:
        """Number of data sets, R."""
        return len(self.starts[0] if self.quick is None else self.quick)

    def solve_once(self) -> Optimum:
        """Scoring from the first start, without the slower tries that follow where it fails."""
        return self.optimiser.once(self.likelihood, self.data, self.starts[0])

    def observed(self, params: FloatArray) -> FloatArray:
        """Observed information (R, q, q)."""
        result: FloatArray = self.likelihood.observed_information(params, self.data)
        return result

    def inverse_observed(self, best: Optimum) -> FloatArray:
        """Inverse of the observed information at an optimum (R, q, q), 0 for parameters that a bound holds."""
        return covariance(self.observed(best.params), best.held)

    def robust(self, best: Optimum, bread: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Sandwich covariance (R, q, q), and the scaling factor tr(H^-1 meat) / q (R,) of theory C11.

        ``bread`` is `inverse_observed`. Parameters that a bound holds have covariances of 0 and add nothing to the
        trace.
        """
        product = np.matmul(bread, self.meat(best.params))
        q = best.params.shape[-1]
        diagonal = entries(product, np.arange(q), np.arange(q))
        scaling = dot(diagonal, np.ones_like(diagonal)) / q
        return np.matmul(product, bread), scaling


@dataclass(frozen=True)
class FirstStep:
    """Unrestricted moments that were estimated, and how well.

    Attributes
    ----------
    structure : TwoLevelStructure
        Of the unrestricted model.
    params : (R, q1)
    covariance : (R, q1, q1)
        Gamma, their sampling covariance.
    """

    structure: TwoLevelStructure
    params: FloatArray
    covariance: FloatArray


@lru_cache(maxsize=64)
def _complete_likelihood(structure: TwoLevelStructure, layout: ClusterLayout) -> TwoLevelLikelihood:
    """Its index maps are the same for every data set of a layout."""
    return TwoLevelLikelihood(structure, layout.distinct, layout.counts)


def complete_engine(structure: TwoLevelStructure, statistics: TwoLevelStatistics) -> Engine:
    """Engine of complete data whose variables stand in the model's order."""
    layout = statistics.layout
    likelihood = _complete_likelihood(structure, layout)

    def meat(params: FloatArray) -> FloatArray:
        scores = likelihood.cluster_scores(params, *statistics.clusters(), layout.group)
        result: FloatArray = np.matmul(transpose(scores), scores)
        return result

    starts = two_level_starts(structure, statistics)
    return Engine(likelihood, Data.of(statistics), meat, starts, optimiser=two_level_optimiser(structure))


def pseudo_balanced_engine(
    structure: TwoLevelStructure, statistics: TwoLevelStatistics, pseudo: PseudoBalanced
) -> Engine:
    """Engine of Muthén's quasi-likelihood; it starts from its closed-form maximum of saturated path models."""
    likelihood, data = pseudo.likelihood(structure), pseudo.data(statistics)
    c, layout, p1 = pseudo.layout.anova_size, pseudo.layout, structure.p1
    within = statistics.scatter_within / (layout.n_obs - layout.n_clusters)
    between = data.scatter[..., 0] / layout.n_clusters
    between[:, :p1, :p1] -= within / c
    mean = data.means[..., 0]
    raised = feasible_between(within, between, p1, 0.3 / c)

    def meat(params: FloatArray) -> FloatArray:
        scores = pseudo.cluster_scores(likelihood, params, statistics)
        result: FloatArray = np.matmul(transpose(scores), scores)
        return result

    starts = Starts.of(*(starts_from_moments(structure, mean, within, found) for found in (between, raised)))
    return Engine(likelihood, data, meat, starts)


def two_group_engine(
    structure: TwoLevelStructure, data: two_group.Data, sizes: tuple[int, int], first: FirstStep | None = None
) -> Engine:
    """Engine of a within and a between matrix on ``sizes`` degrees of freedom.

    With the first step that estimated the matrices, robust covariances carry its uncertainty: the score's derivative
    with respect to the moments, K, gives the covariance of the score K Gamma K'. Without, they are NaN.
    """
    likelihood = two_group.TwoGroupLikelihood(structure, *sizes)

    def meat(params: FloatArray) -> FloatArray:
        if first is None:
            return np.full((*params.shape, params.shape[-1]), np.nan)
        unrestricted = two_group.TwoGroupLikelihood(first.structure, *sizes)
        slopes = likelihood.sensitivity(params, data, unrestricted, first.params)
        result: FloatArray = np.matmul(np.matmul(slopes, first.covariance), transpose(slopes))
        return result

    start = starts_from_moments(structure, data.mean, data.within, data.between)
    return Engine(likelihood, data, meat, Starts.of(start))


def incomplete_engine(structure: TwoLevelStructure, data: IncompleteData) -> Engine:
    """Engine of data sets with missing values whose variables stand in the model's order."""
    likelihood = IncompleteLikelihood(structure)

    def meat(params: FloatArray) -> FloatArray:
        scores = likelihood.cluster_scores(params, data)
        result: FloatArray = np.matmul(transpose(scores), scores)
        return result

    start = starts_from_moments(structure, *available_moments(data))
    return Engine(likelihood, data, meat, Starts.of(start))
