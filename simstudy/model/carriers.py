"""Which variables carry random slopes, and whether their values are known wherever anything that the slope moves is.

A slope s of y on x moves y and whatever y leads to. In a row that has any of these the likelihood given the random
elements needs x itself: without it, the product of s and x is not normal (theory D1.7), and the likelihood is an
integral over the slope (theory D1.8). In a row that has none of them, x may be missing like any other variable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.linalg.stacked import BoolArray
from simstudy.model.slopes import RandomSlope
from simstudy.model.twolevel import TwoLevelModel


@dataclass(frozen=True)
class Carrier:
    """The predictor of a random slope.

    Attributes
    ----------
    slope : RandomSlope
    place : int
        Of the predictor among the level-1 variables.
    moved : (p1,)
        Level-1 variables that the slope moves.
    """

    slope: RandomSlope
    place: int
    moved: BoolArray

    def lacking(self, patterns: BoolArray) -> BoolArray:
        """Patterns of observed variables (..., O, p1) in which the predictor is missing and needed (..., O)."""
        return np.asarray(~patterns[..., self.place] & (patterns & self.moved).any(axis=-1))


def carriers(model: TwoLevelModel) -> tuple[Carrier, ...]:
    """One for every random slope of an observed variable."""
    after: dict[str, set[str]] = {}
    for row in model.table.at("within"):
        if row.op == "=~":
            after.setdefault(row.lhs, set()).add(row.rhs)
        elif row.op == "~":
            after.setdefault(row.rhs, set()).add(row.lhs)
    for slope in model.slopes:
        after.setdefault(slope.predictor, set()).add(slope.outcome)
    found = []
    for slope in model.slopes:
        if slope.predictor not in model.level1:  # a factor, which is never seen
            continue
        reached, front = {slope.outcome}, {slope.outcome}
        while front:
            front = {name for cause in front for name in after.get(cause, ())} - reached
            reached |= front
        moved = np.array([name in reached for name in model.level1], dtype=bool)
        found.append(Carrier(slope, model.level1.index(slope.predictor), moved))
    return tuple(found)


def lacking_slopes(model: TwoLevelModel, patterns: BoolArray) -> BoolArray:
    """Random slopes whose predictors are missing and needed in any of some rows (..., K).

    Parameters
    ----------
    patterns : (..., N, p1)
        What rows have.
    """
    names = [slope.name for slope in model.slopes]
    found = np.zeros((*patterns.shape[:-2], len(names)), dtype=bool)
    for carrier in carriers(model):
        found[..., names.index(carrier.slope.name)] = carrier.lacking(patterns).any(axis=-1)
    return found


def reached_by_slopes(model: TwoLevelModel) -> set[str]:
    """Variables of the within block that random slopes have an effect on."""
    reached = {slope.outcome for slope in model.slopes}
    rows = [row for row in model.table.at("within") if row.op in ("~", "=~")]
    paths = [(row.rhs, row.lhs) if row.op == "~" else (row.lhs, row.rhs) for row in rows]
    size = -1
    while size != len(reached):
        size = len(reached)
        reached |= {effect for cause, effect in paths if cause in reached}
    return reached
