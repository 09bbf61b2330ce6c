"""Missing values: by which mechanism they go missing, and what is left for methods that need complete rows.

- ``mcar = 0.2``: a value is missing completely at random, with probability .2.
- ``mar = { y = { on = "x", rate = 0.3, slope = 1.5 } }``: y is missing at random, with logit P(y missing) = a + 1.5 x,
  where x is never missing and a is such that .3 of y's values are missing in the population.

What x means depends on where the two variables live: for a level-1 variable, the x of its row, or of its cluster where
x is a level-2 variable; for a level-2 variable, the x of its cluster, or the mean of x over the cluster's rows where x
is a level-1 variable. The intercept a is exact for normal populations; others have nearly the same rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.errors import DataError, DesignError, did_you_mean
from simstudy.lazy import special
from simstudy.linalg.stacked import BoolArray, FloatArray
from simstudy.population.streams import MISSING, Streams

# Nodes of the trapezoid rule over a normal density; for these smooth integrands exact to the last digits.
_NODES = np.linspace(-9.0, 9.0, 1801)
_WEIGHTS = np.exp(-0.5 * _NODES**2) / np.exp(-0.5 * _NODES**2).sum()


@dataclass(frozen=True)
class MissingRule:
    """Missing values of one variable.

    Attributes
    ----------
    variable : str
    rate : float
        Expected share of missing values, at least 0 and below 1.
    on : str
        Variable that the probability depends on; empty: completely at random.
    slope : float
        Change of the log odds for each unit of ``on``.
    """

    variable: str
    rate: float
    on: str = ""
    slope: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate < 1.0:
            raise DesignError(f"rate: found {self.rate:g}; allowed: at least 0 and below 1")
        if not math.isfinite(self.slope):
            raise DesignError(f"slope: found {self.slope:g}; allowed: a finite number")


@dataclass(frozen=True)
class Rates:
    """Rules with the numbers that they need to be applied; rules that never apply are left out.

    Attributes
    ----------
    rules : tuple of MissingRule
    intercepts : tuple of float
        Of the log odds, in the order of the rules.
    """

    rules: tuple[MissingRule, ...]
    intercepts: tuple[float, ...]


def check_rules(rules: Sequence[MissingRule], level1: Sequence[str], level2: Sequence[str]) -> None:
    """Check that rules name observed variables, each once, and depend on variables that are never missing.

    Raises
    ------
    DesignError
    """
    variables, problems = (*level1, *level2), []
    targets = [rule.variable for rule in rules]
    for rule in rules:
        for name in {rule.variable, rule.on or rule.variable}:
            if name not in variables:
                hint = did_you_mean(name, variables)
                problems.append(f"unknown variable '{name}'{hint}; allowed: {', '.join(variables)}")
        if targets.count(rule.variable) > 1:
            problems.append(f"'{rule.variable}' has more than one rule; allowed: one (mcar or mar)")
        if rule.on == rule.variable:
            problems.append(f"'{rule.on}' cannot depend on itself: its missing values would not be missing at random")
        elif any(other.rate > 0.0 for other in rules if other.variable == rule.on):
            problems.append(
                f"'{rule.variable}' depends on '{rule.on}', which has missing values itself; allowed: a variable that "
                "is never missing"
            )
    if problems:
        raise DesignError(list(dict.fromkeys(problems)))


def rates(
    rules: Sequence[MissingRule],
    level1: Sequence[str],
    level2: Sequence[str],
    mu: FloatArray,
    sigma_within: FloatArray,
    sigma_between: FloatArray,
    layout: ClusterLayout,
) -> Rates:
    """Intercepts that give every rule its rate in the population.

    Parameters
    ----------
    level1, level2 : sequence of str
        Variables in the order of the moments.
    mu : (p,)
    sigma_within : (p1, p1)
    sigma_between : (p, p)

    Raises
    ------
    DesignError
        As `check_rules`.
    """
    check_rules(rules, level1, level2)
    variables = [*level1, *level2]
    used = tuple(rule for rule in rules if rule.rate > 0.0)
    intercepts = []
    for rule in used:
        if not rule.on or rule.slope == 0.0:
            intercepts.append(math.log(rule.rate / (1.0 - rule.rate)))
            continue
        k = variables.index(rule.on)
        variances, weights = sigma_between[k, k, None], np.ones(1)
        if rule.on in level1 and rule.variable in level1:
            variances = variances + sigma_within[k, k]
        elif rule.on in level1:  # means of clusters
            variances = variances + sigma_within[k, k] / layout.distinct
            weights = layout.counts / layout.n_clusters
        intercepts.append(_intercept(rule, float(mu[k]), np.sqrt(variances), weights))
    return Rates(used, tuple(intercepts))


def _intercept(rule: MissingRule, mean: float, sd: FloatArray, weights: FloatArray) -> float:
    """Solve E expit(a + slope x) = rate, x a mixture of normals with this mean."""
    log_odds = rule.slope * (sd[:, None] * _NODES)
    share = weights[:, None] * _WEIGHTS

    from scipy.optimize import brentq  # slow to import

    def excess(a: float) -> float:
        return float((share * special.expit(a + log_odds)).sum()) - rule.rate

    middle, reach = math.log(rule.rate / (1.0 - rule.rate)), float(np.abs(log_odds).max())
    root: float = brentq(excess, middle - reach - 1.0, middle + reach + 1.0, xtol=1e-13, rtol=1e-14)
    return root - rule.slope * mean


def remove(sample: Sample, found: Rates, seed: int, key: str, replicates: Sequence[int]) -> Sample:
    """Put NaN for missing values of complete data sets.

    Stream MISSING holds uniform numbers for all values of all variables, rows and then clusters, variable by variable:
    which values are missing depends on nothing but the variable's own rule, and values missing at a lower rate are
    among those missing at a higher one.
    """
    layout = sample.layout
    sizes = np.asarray(layout.sizes)
    names = sample.level1 + sample.level2
    places = np.cumsum([0] + [layout.n_obs] * len(sample.level1) + [layout.n_clusters] * len(sample.level2))
    rows, clusters = sample.rows.copy(), sample.clusters.copy()
    streams = Streams(seed, key, MISSING)
    for r, replicate in enumerate(replicates):
        uniform = streams.at(replicate).random(int(places[-1]))
        for rule, intercept in zip(found.rules, found.intercepts, strict=True):
            k = names.index(rule.variable)
            at_level1 = rule.variable in sample.level1
            log_odds = np.full(1, intercept)
            if rule.on in sample.level1:
                x = np.ascontiguousarray(sample.rows[r, :, names.index(rule.on)])
                log_odds = intercept + rule.slope * (x if at_level1 else np.add.reduceat(x, layout.row_starts) / sizes)
            elif rule.on:
                x = np.ascontiguousarray(sample.clusters[r, :, names.index(rule.on) - len(sample.level1)])
                log_odds = intercept + rule.slope * (np.repeat(x, sizes) if at_level1 else x)
            gone = uniform[places[k] : places[k + 1]] < special.expit(log_odds)
            if at_level1:
                rows[r, gone, k] = np.nan
            else:
                clusters[r, gone, k - len(sample.level1)] = np.nan
    return Sample(layout, sample.level1, sample.level2, rows, clusters)


def complete_rows(sample: Sample) -> BoolArray:
    """Which rows (R, N) have every value, those of their cluster's level-2 variables included."""
    whole = ~np.isnan(sample.clusters).any(axis=-1)
    found: BoolArray = ~np.isnan(sample.rows).any(axis=-1) & np.repeat(whole, np.asarray(sample.layout.sizes), axis=-1)
    return found


def listwise(sample: Sample, replicate: int = 0) -> Sample:
    """One data set (R = 1) without its incomplete rows.

    Clusters whose level-2 variables are incomplete go with all their rows, and so do clusters without a complete row.
    What is left is ordered by cluster size, as a layout wants it; clusters of one size, and rows of a cluster, keep
    their order. Variables that a method does not use should be taken out first (``sample.arrange``): their missing
    values would cost rows.

    Raises
    ------
    DataError
        If nothing is left.
    """
    one = sample.select(slice(replicate, replicate + 1))
    kept = complete_rows(one)[0]
    if kept.all():
        return one
    if not kept.any():
        raise DataError("listwise deletion: no row is complete")
    codes = np.repeat(np.arange(one.layout.n_clusters), np.asarray(one.layout.sizes))[kept]
    sizes = np.bincount(codes, minlength=one.layout.n_clusters)
    order = np.argsort(sizes, kind="stable")
    order = order[sizes[order] > 0]
    rank = np.empty(one.layout.n_clusters, dtype=np.int64)
    rank[order] = np.arange(len(order))
    rows = one.rows[:, kept][:, np.argsort(rank[codes], kind="stable")]
    return Sample(ClusterLayout.of(sizes[order]), one.level1, one.level2, rows, one.clusters[:, order])
