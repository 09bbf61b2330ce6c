"""What a plan is asked for, checked and made ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from simstudy.asymptotics import Asymptotics, approximate_all
from simstudy.asymptotics.large_samples import SAMPLES
from simstudy.design.scenario import Scenario
from simstudy.errors import ModelError, SimstudyError, did_you_mean
from simstudy.estimation.result import Status
from simstudy.model.expressions import Expression, parse_expression
from simstudy.planning.criterion import Criterion
from simstudy.planning.limits import Limits, Target
from simstudy.planning.simulate import SampleSize
from simstudy.planning.uncertain import Draws
from simstudy.population.distributions import NORMAL_POPULATION
from simstudy.population.population import Population

COST_NAMES = {"J": "n_clusters", "n": "cluster_size", "N": "n_obs"}
"""Short names in a cost, beside the long ones."""
DROPPED = 0.1
"""Share of uncertain populations that may lack an analytic curve (at the edge of what is possible derivatives fail)."""
SAMPLED_DRAWS = 8
"""Uncertain populations with random slopes that large samples are drawn of, for a start of the search."""
LAYOUT_CLUSTERS = 1000
"""Number of clusters at which shares of unequal sizes are taken for the analytic curve, which needs no number."""


@dataclass(frozen=True)
class Question:
    """A plan that has been read.

    Attributes
    ----------
    scenario : Scenario
    criterion : Criterion
    target : Target
    over : str
        ``n_clusters`` or ``cluster_size``; ``both`` with a cost.
    low, high : int
        Numbers of clusters that may be answered.
    low_size, high_size : int
        Cluster sizes that may be answered.
    n_clusters : int or None
        Number of clusters where the cluster size is searched.
    cost : Expression or None
        Of n_clusters (J), cluster_size (n) and n_obs (N).
    """

    scenario: Scenario
    criterion: Criterion
    target: Target
    over: str
    low: int
    high: int
    low_size: int
    high_size: int
    n_clusters: int | None = None
    cost: Expression | None = None

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.scenario.entry.name

    def price(self, design: SampleSize, mean_size: float | None = None) -> float:
        """Cost of a design."""
        assert self.cost is not None
        size = float(design.cluster_size or mean_size or np.nan)
        values = {"n_clusters": float(design.n_clusters), "cluster_size": size}
        values["n_obs"] = values["n_clusters"] * size
        found = self.cost.evaluate({name: values[COST_NAMES.get(name, name)] for name in self.cost.names})
        return float(found)


def read_cost(text: str) -> Expression:
    """Parse a cost such as ``100*J + 10*J*n``.

    Raises
    ------
    SimstudyError
        Not an expression of J, n and N, or not growing with both.
    """
    try:
        cost = parse_expression(text, "cost")
    except ModelError as error:
        raise SimstudyError(error.problems) from None
    allowed = [*COST_NAMES, *COST_NAMES.values()]
    unknown = [name for name in cost.names if name not in allowed]
    if unknown:
        raise SimstudyError(
            f"cost: unknown name '{unknown[0]}'{did_you_mean(unknown[0], allowed)}; allowed: J (n_clusters), n "
            "(cluster_size), N (n_obs)"
        )
    prices = []
    for clusters, size in ((20.0, 5.0), (40.0, 5.0), (20.0, 10.0)):
        long = {"n_clusters": clusters, "cluster_size": size, "n_obs": clusters * size}
        prices.append(float(cost.evaluate({name: long[COST_NAMES.get(name, name)] for name in cost.names})))
    if not (np.isfinite(prices).all() and 0.0 < prices[0] < prices[1] and prices[0] <= prices[2]):
        raise SimstudyError(
            f"cost: '{text}' is {prices[0]:g} for J = 20, n = 5, {prices[1]:g} for J = 40, n = 5 and {prices[2]:g} for "
            "J = 20, n = 10; it must be above 0, grow with J and not fall with n"
        )
    return cost


def find_parameter(scenario: Scenario, name: str) -> str:
    """The parameter of that name, or by its path.

    Raises
    ------
    SimstudyError
        If the analysed model has none.
    """
    known = scenario.model.reported
    if name in known:
        return name
    paths = {row.path: scenario.model.names[row.free] for row in scenario.model.table.rows if row.free >= 0}
    if name in paths:
        return paths[name]
    raise SimstudyError(f"parameter: the model has no '{name}'{did_you_mean(name, known)}; it has {', '.join(known)}")


def limits_of(question: Question, draws: Draws, n_clusters: int, cluster_size: int | None) -> tuple[Limits, str]:
    """Analytic curve in J, and why it is a start for a search and no answer (empty where it is one).

    Populations that are not normal, or have missing values, are described by the normal, complete ones with the same
    moments: a start for the simulation, not an answer. With random slopes large samples take the place of moments; of
    many populations with random slopes the first few, spread over all, share as many samples as one has, and that is a
    start, too.
    """
    scenario = question.scenario
    populations, note = [], ""
    chosen, samples = draws.values, SAMPLES
    first = scenario.cell(n_clusters, cluster_size, chosen[0]).population
    sampled = bool(first.model.slopes) and len(chosen) > SAMPLED_DRAWS
    if sampled:
        chosen, samples = chosen[:SAMPLED_DRAWS], SAMPLES // SAMPLED_DRAWS
    for values in chosen:
        population = scenario.cell(n_clusters, cluster_size, values).population
        if population.has_missing or not population.distribution.normal:
            what = "missing values" if population.has_missing else "the distribution"
            note = f"it does not describe {what}, and takes complete normal data with the same moments"
        populations.append(_plain(population))
    if sampled and not note:
        note = f"with random slopes every draw needs large samples, and it takes {len(chosen)} of {len(draws.values)}"
    found = approximate_all(scenario.entry.estimator, scenario.model, populations, large_samples=samples)
    kept = _with_numbers(found, question.target)
    limits = Limits(kept, scenario.model.estimands, question.target, question.criterion, len(found) - len(kept))
    return limits, note


def _with_numbers(found: Sequence[Asymptotics], target: Target) -> tuple[Asymptotics, ...]:
    """Populations that theory has all numbers of; all of them if too many lack some."""
    i = found[0].index(target.parameter)
    whole = tuple(
        one
        for one in found
        if np.isfinite([one.limit[i], one.covariance[i, i], one.reported[target.se_kind][i, i]]).all()
    )
    return whole if len(whole) >= (1.0 - DROPPED) * len(found) else tuple(found)


def _plain(population: Population) -> Population:
    """The same moments, normal and complete."""
    if not population.has_missing and population.distribution.normal:
        return population
    return replace(population, distribution=NORMAL_POPULATION, missing=())


def unusable(limits: Limits, method: str) -> str:
    """Why the method has no limit for the parameter here, or empty."""
    first = limits.populations[0]
    if first.status is Status.NOT_SUPPORTED:
        return f"{method} cannot be used here: {'; '.join(first.notes)}"
    silent = ~np.isfinite(limits.limit)
    if silent.all() and first.status is Status.OK and np.isfinite(first.limit).any():
        return f"{method} says nothing about {limits.target.parameter}"
    if not np.isfinite(limits.truth).any() and limits.criterion.measure.name not in ("power", "width", "convergence"):
        return f"the generating model has no {limits.target.parameter}: there is no truth to compare with"
    return ""
