"""What the exact finite-sample numbers of several methods share: the population, and how a slope's law becomes numbers.

Complete normal data, and estimates that are least squares, equation by equation. Each method says which of its slopes
have a law (`Estimator.exact_numbers`): `aggregated` and `disaggregated` in `one_level/path_laws.py`, the mixed models
and `two_step` in `mixed/regression_laws.py`. For methods that take Sigma_within / n out of the cluster means, saturated
and balanced: P(negative between variance) of exogenous variables (theory F6).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from simstudy.estimation.exact_laws import NEGATIVE, ExactNumber, Regression, SlopeLaw, negative_variance
from simstudy.linalg.stacked import FloatArray
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population

EXPECTED = "expected"


class World:
    """A population in the order of the analysed model's variables."""

    def __init__(self, model: TwoLevelModel, population: Population) -> None:
        self.model, self.layout = model, population.layout
        m = population.moments
        names = m.level1 + m.level2
        at = np.array([names.index(name) for name in model.variables])
        self.p1 = len(model.level1)
        self.between: FloatArray = m.sigma_between[np.ix_(at, at)]
        self.within: FloatArray = np.zeros_like(self.between)
        first = np.array([m.level1.index(name) if name in m.level1 else -1 for name in model.level1])
        self.same_levels = bool((first >= 0).all()) and all(name in m.level2 for name in model.level2)
        if self.same_levels:
            self.within[: self.p1, : self.p1] = m.sigma_within[np.ix_(first, first)]

    @property
    def n(self) -> int:
        """Cluster size, if balanced."""
        return int(self.layout.distinct[0])

    def of_means(self, n: float) -> FloatArray:
        """Covariance matrix of cluster means and level-2 variables (p, p)."""
        return self.between + self.within / n


Laws: TypeAlias = Iterator[tuple[Sequence[int], SlopeLaw | float]]
"""Free parameters, and the law of their estimate, or its mean alone."""


def world_of(model: TwoLevelModel, population: Population) -> World | None:
    """The population as a method with observed variables sees it; None where there are no closed forms."""
    if not population.normal or population.has_missing or model.table.constraints or model.table.bounded:
        return None
    if model.latents("within") or model.latents("between"):
        return None
    return World(model, population) if set(model.variables) <= set(population.model.variables) else None


def exact_slopes(
    model: TwoLevelModel,
    population: Population,
    level: float,
    laws: Callable[[World], Laws],
    kinds: Collection[str] = (EXPECTED,),
) -> tuple[ExactNumber, ...]:
    """Every number that follows from the laws of a method's slopes, of the ``kinds`` of SE that it has."""
    world = world_of(model, population)
    if world is None:
        return ()
    truth = population.truth(model)
    return tuple(
        number
        for free, law in laws(world)
        for i in free
        for number in numbers_of(model.names[i], law, truth[i], level)
        if number.se_kind in ("", *kinds)
    )


def numbers_of(name: str, law: SlopeLaw | float, truth: float, level: float) -> Iterator[ExactNumber]:
    """What a law says of the estimates and intervals of a parameter."""
    if isinstance(law, float):  # a mean alone
        law = SlopeLaw(law, np.nan, 0)
        kept = ("mean_estimate", "bias", "relative_bias")
        yield from (ExactNumber(name, "", k, v) for k, v in law.of_estimate(truth).items() if k in kept)
        return
    yield from (ExactNumber(name, "", measure, value) for measure, value in law.of_estimate(truth).items())
    yield from (ExactNumber(name, EXPECTED, k, value) for k, value in law.of_interval(truth, level).items())


def regression_of(cov: FloatArray, predictors: Sequence[int], outcome: int) -> Regression:
    """Least squares of one variable on others, given their covariance matrix (p, p)."""
    at = np.array([*predictors, outcome])
    return Regression(cov[np.ix_(at, at)])


def negative_variances(
    model: TwoLevelModel, population: Population, *, unbiased: bool = False
) -> tuple[ExactNumber, ...]:
    """P(between variance <= 0) of exogenous variables of both levels, where the model is saturated and balanced.

    ``unbiased``: S_B has the divisor J - 1.
    """
    world = world_of(model, population)
    if world is None or not (world.layout.balanced and world.same_levels):
        return ()
    p, p1 = len(model.variables), world.p1
    free = {row.free for row in model.table.rows if row.op in ("~", "~~") and row.free >= 0}
    if len(free) != p1 * (p1 + 1) // 2 + p * (p + 1) // 2:
        return ()
    outcomes, found = model.outcomes("between"), []
    for name in model.both:
        row = model.table.find("between", name, "~~", name)
        if name in outcomes or row is None or row.free < 0:
            continue
        at = model.variables.index(name)
        between, within = float(world.between[at, at]), float(world.within[at, at])
        value = negative_variance(between, within, world.n, world.layout.n_clusters, unbiased=unbiased)
        found.append(ExactNumber(model.names[row.free], "", NEGATIVE, value))
    return tuple(found)
