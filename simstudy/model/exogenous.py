"""Which observed variables of a level are exogenous: predictors that nothing in the model explains."""

from __future__ import annotations

from simstudy.model.parameters import LEVEL_NAMES
from simstudy.model.twolevel import TwoLevelModel


def exogenous_variables(model: TwoLevelModel) -> dict[str, frozenset[str]]:
    """Observed predictors of each level without an equation, indicators or residual covariances of their own."""
    found = {}
    for level in LEVEL_NAMES:
        rows = model.table.at(level)
        caused = {row.lhs for row in rows if row.op == "~"} | {row.rhs for row in rows if row.op == "=~"}
        inside = caused | set(model.latents(level))
        linked = {
            name
            for row in rows
            if row.op == "~~" and row.lhs != row.rhs and {row.lhs, row.rhs} & inside
            for name in (row.lhs, row.rhs)
        }
        causes = {row.rhs for row in rows if row.op == "~"}
        found[level] = frozenset(n for n in model.observed(level) if n in causes and n not in caused | linked)
    return found
