"""The model that users of methods without random slopes fit: every slope fixed, and what its parameters stand for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simstudy.linalg.stacked import IntArray
from simstudy.model.parameters import Parameter, number_rows
from simstudy.model.twolevel import TwoLevelModel


@dataclass(frozen=True)
class FixedSlopes:
    """A model without random slopes in place of one with them.

    Attributes
    ----------
    model : TwoLevelModel
        ``y ~ rv("s")*x`` has become ``y ~ x``; what else was said about ``s`` is gone. It has no ``:=`` and no ``==``.
    index : (q,)
        For every free parameter of the model with random slopes, the one that a user would read off: the path for the
        mean of ``s``; -1 for variances and covariances of slopes, which are ignored.
    """

    model: TwoLevelModel
    index: IntArray


def without_slopes(model: TwoLevelModel) -> FixedSlopes | str:
    """Replace random slopes by fixed ones, or say why their mean alone does not do.

    A slope with predictors (cross-level interactions) or outcomes of its own cannot be replaced by its mean.
    """
    names = {slope.name for slope in model.slopes}
    for row in model.table.at("between"):
        if row.op in ("~", "=~") and names & {row.lhs, row.rhs}:
            name = row.lhs if row.lhs in names else row.rhs
            return f"the random slope '{name}' has paths of its own ('{row.path}'), which a fixed slope cannot express"
    return fixed_part(model)


def fixed_part(model: TwoLevelModel) -> FixedSlopes:
    """Replace random slopes by fixed ones and leave out whatever else is said about them."""
    names = {slope.name for slope in model.slopes}
    means = {row.lhs: row for row in model.table.at("between") if row.op == "~1" and row.lhs in names}
    kept: list[tuple[Parameter, int]] = []
    for row in model.table.rows:
        if row.slope:
            mean = means[row.slope]
            path = replace(mean, lhs=row.lhs, op="~", rhs=row.rhs, level="within", user=True)
            kept.append((path, mean.free))
        elif not names & {row.lhs, row.rhs}:
            kept.append((row, row.free))
    table = number_rows([row for row, _ in kept])
    index = np.full(len(model.names), -1, dtype=np.int64)
    for new, (_, old) in zip(table.rows, kept, strict=True):
        if old >= 0:
            index[old] = new.free
    return FixedSlopes(TwoLevelModel(model.syntax, table), index)
