"""Factors with equal loadings and uniquenesses as means of their items (Raudenbush, Rowan & Kang 1991; theory D3.2).

With y_h = f + e_h for the k items of a factor, rotate the items: their mean c = f + e, Var(e) = sigma^2 / k, holds
everything about f, and k - 1 orthonormal contrasts are independent errors of variance sigma^2. The model of the means
is an ordinary two-level model in which every factor has one indicator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simstudy.data.statistics import TwoLevelStatistics, between_scatter
from simstudy.linalg.stacked import FloatArray, IntArray
from simstudy.model.parameters import Parameter, number_rows
from simstudy.model.twolevel import TwoLevelModel


@dataclass(frozen=True)
class Composite:
    """A factor's items.

    Attributes
    ----------
    name : str
        Of the items' mean, no name that model text could hold.
    items : tuple of str, length k
    error : int
        Free parameter of the model of means: variance of the mean of the errors, sigma^2 / k.
    mean : int
        Free parameter of the model of means: the mean.
    uniquenesses, intercepts : (m,), (k,)
        Free parameters of the original model: within residual variances and intercepts of the items.
    """

    name: str
    items: tuple[str, ...]
    error: int
    mean: int
    uniquenesses: IntArray
    intercepts: IntArray


@dataclass(frozen=True)
class CompositeModel:
    """The model of the means.

    Attributes
    ----------
    model : TwoLevelModel
    composites : tuple of Composite
    index : (q,)
        Where a free parameter of the original model stands in the model of means, or -1.
    """

    model: TwoLevelModel
    composites: tuple[Composite, ...]
    index: IntArray


def composite_model(model: TwoLevelModel) -> CompositeModel | str:
    """Build the model of means, or say what the measurement model has that this one has not."""
    within, between = _items(model, "within"), _items(model, "between")
    problem = _measurement_problem(model, within, between)
    if problem is not None:
        return problem
    names = {factor: f"mean of {', '.join(items)}" for factor, items in within.items()}
    of = {items: names[factor] for factor, items in within.items()}
    measured = {item for items in within.values() for item in items}
    kept = [(row, row.free) for row in model.table.rows if not ({row.lhs, row.rhs} & measured)]
    places = {}
    for items, name in of.items():
        one = {"op": "=~", "rhs": name, "value": 1.0}
        low = next(f for f in within if within[f] == items)
        high = next(f for f in between if between[f] == items)
        error = Parameter(name, "~~", name, "within", free=0)
        mean = Parameter(name, "~1", "", "between", free=0)
        kept += [(Parameter(low, level="within", **one), -1), (Parameter(high, level="between", **one), -1)]  # type: ignore[arg-type]
        kept += [(Parameter(name, "~~", name, "between", value=0.0), -1)]
        places[name] = (len(kept), len(kept) + 1)
        kept += [(error, -1), (mean, -1)]
    table = number_rows([row for row, _ in kept])
    index = np.full(len(model.names), -1, dtype=np.int64)
    for new, (_, old) in zip(table.rows, kept, strict=True):
        if old >= 0:
            index[old] = new.free
    composites = []
    for items, name in of.items():
        error_at, mean_at = places[name]
        rows = [model.table.find("within", item, "~~", item) for item in items]
        own = sorted({row.free for row in rows if row is not None and row.free >= 0})
        ones = [model.table.find("between", item, "~1", "") for item in items]
        composites.append(
            Composite(
                name,
                items,
                table.rows[error_at].free,
                table.rows[mean_at].free,
                np.array(own, dtype=np.int64),
                np.array([row.free for row in ones if row is not None], dtype=np.int64),
            )
        )
    return CompositeModel(TwoLevelModel(model.syntax, table), tuple(composites), index)


def _items(model: TwoLevelModel, level: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for row in model.table.at(level):
        if row.op == "=~":
            found[row.lhs] = (*found.get(row.lhs, ()), row.rhs)
    return {factor: tuple(sorted(items)) for factor, items in found.items()}


def _measurement_problem(
    model: TwoLevelModel, within: dict[str, tuple[str, ...]], between: dict[str, tuple[str, ...]]
) -> str | None:
    """What cannot be expressed with loadings of 1, one uniqueness a factor, and no residuals of items between."""
    if not within:
        return "the model has no factor within clusters, whose items could be averaged"
    if model.slopes:
        return "random slopes and a measurement model together"
    if sorted(within.values()) != sorted(between.values()):
        return "the factors of both levels must have the same items: an item measures one thing at both"
    every = [item for items in within.values() for item in items]
    if len(set(every)) < len(every):
        return "an item that measures two factors"
    for factor, items in within.items():
        if len(items) < 2:
            return f"the factor '{factor}' has a single item, whose uniqueness is not identified"
    factors = {*within, *between}
    for row in model.table.rows:
        mine = {row.lhs, row.rhs} & set(every)
        if row.op == "=~" and row.rhs in factors:
            return f"'{row.path}': factors of a higher order"
        if row.op == "=~" and row.free < 0 and row.value != 1.0:
            return f"'{row.path}' is fixed at {row.value:g}: all loadings are 1 here"
        if row.op == "~" and mine:
            return f"'{row.path}': an item in a regression; the factors alone are modelled"
        if row.op == "~~" and row.lhs != row.rhs and mine and not (row.free < 0 and row.value == 0.0):
            return f"'{row.path}': a covariance of an item's residual"
        if row.op == "~~" and row.lhs == row.rhs and mine and row.level == "within" and row.free < 0:
            return f"'{row.path}' is fixed: uniquenesses are estimated, one for all items of a factor"
        if row.op == "~1" and mine and row.free < 0 and row.level == "between":
            return f"'{row.path}' is fixed: every item has an intercept of its own here"
        if row.op == "~1" and row.lhs in factors and (row.free >= 0 or row.value != 0.0):
            return f"'{row.path}': means of factors are 0 where items have intercepts"
        if row.op == "~~" and row.lhs == row.rhs and row.lhs in factors and row.free < 0 and row.value > 0.0:
            return f"'{row.path}' is fixed: the loadings, which are all 1, give factors their scale"
    kept = {row.label for row in model.table.rows if row.label and not ({row.lhs, row.rhs} & set(every))}
    for row in model.table.rows:
        if row.label and {row.lhs, row.rhs} & set(every):
            if row.label in kept:
                return f"the label '{row.label}' ties an item's parameter to one that is not"
            if row.op == "~1" or (row.op == "~~" and row.level == "within" and _elsewhere(model, row, within)):
                return f"the label '{row.label}' ties intercepts of items, or uniquenesses of two factors"
    return None


def _elsewhere(model: TwoLevelModel, row: Parameter, within: dict[str, tuple[str, ...]]) -> bool:
    """Whether a label of a uniqueness stands at anything but uniquenesses of the same factor."""
    own = next(items for items in within.values() if row.lhs in items)
    same = [other for other in model.table.rows if other.label == row.label]
    return any(other.op != "~~" or other.level != "within" or other.lhs not in own for other in same)


def average(composites: CompositeModel, statistics: TwoLevelStatistics) -> tuple[TwoLevelStatistics, FloatArray]:
    """Statistics of the means, in the order of their model, and squares of the contrasts (R, F), summed over rows."""
    target = composites.model
    p1, new1 = len(statistics.level1), len(target.level1)
    turn = np.zeros((new1 + len(target.level2), len(statistics.variables)))
    items = {composite.name: composite.items for composite in composites.composites}
    for i, name in enumerate(target.variables):
        sources = items.get(name, (name,))
        turn[i, [statistics.variables.index(source) for source in sources]] = 1.0 / len(sources)
    first = turn[:new1, :p1]
    _, outside = between_scatter(statistics)
    total = statistics.scatter_within + outside[:, :p1, :p1]
    squares = np.empty((len(total), len(composites.composites)))
    for f, composite in enumerate(composites.composites):
        at = [statistics.level1.index(item) for item in composite.items]
        block = total[:, at][:, :, at]
        squares[:, f] = np.trace(block, axis1=1, axis2=2) - block.reshape(len(block), -1).sum(axis=1) / len(at)
    averaged = replace(
        statistics,
        level1=target.level1,
        level2=target.level2,
        scatter_within=np.matmul(np.matmul(first, statistics.scatter_within), first.T),
        size_means=np.matmul(statistics.size_means, turn.T),
        size_scatter=np.matmul(np.matmul(turn, statistics.size_scatter), turn.T),
        cluster_means=None,
        cluster_scatter=None,
    )
    return averaged, squares
