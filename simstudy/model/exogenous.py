"""Which observed variables of a level are exogenous: predictors that nothing in the model explains."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from simstudy.model.parameters import LEVEL_NAMES, Parameter
from simstudy.model.twolevel import TwoLevelModel


def exogenous_variables(model: TwoLevelModel) -> dict[str, frozenset[str]]:
    """Observed predictors of each level without an equation, indicators or residual covariances of their own.

    A predictor of the within block whose slope is random is one, too.
    """
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


@dataclass(frozen=True)
class GivenVariables:
    """Exogenous variables that a likelihood can be conditional on: those that live on one level alone.

    Their density has parameters of its own, means and (co)variances, and is a factor of the joint density. A variable
    in both blocks is another matter: its latent between part is no datum, and what the data say of it depends on its
    moments (theory F1).

    Attributes
    ----------
    level1, level2 : tuple of str
    held : tuple of int
        Free parameters that are moments of these variables alone, ascending.
    """

    level1: tuple[str, ...]
    level2: tuple[str, ...]
    held: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return self.level1 + self.level2

    @classmethod
    def of(cls, model: TwoLevelModel) -> GivenVariables:
        """Those of a model; see `refuse_given` for whether its likelihood can be conditional on them."""
        exogenous = exogenous_variables(model)
        level1 = tuple(v for v in model.level1 if v in exogenous["within"] and v not in model.both)
        level2 = tuple(v for v in model.level2 if v in exogenous["between"])
        held = {row.free for row in _moments(model, level1, level2) if row.free >= 0}
        return cls(level1, level2, tuple(sorted(held)))


def refuse_given(model: TwoLevelModel) -> str | None:
    """Why the likelihood of a model with random slopes cannot be conditional on its exogenous variables, or None."""
    exogenous = exogenous_variables(model)
    for name in model.both:
        if name in exogenous["within"]:
            return (
                f"fixed_x takes exogenous variables as given, but '{name}' stands in both blocks: its latent between "
                f"part needs a model of its own. Leave fixed_x out, or keep '{name}' to the within block and put its "
                "observed cluster means into the between block, as a variable of another name"
            )
    given = GivenVariables.of(model)
    for row in model.table.rows:
        if row.op == "~~" and (row.lhs in given.names) != (row.rhs in given.names):
            inside, other = (row.lhs, row.rhs) if row.lhs in given.names else (row.rhs, row.lhs)
            return (
                f"fixed_x takes '{inside}' as given, but '{inside}' covaries with '{other}', which is modelled: leave "
                f"fixed_x out, or write a path ('{other} ~ {inside}') in place of the covariance"
            )
    mine = Counter(row.free for row in _moments(model, given.level1, given.level2))
    uses = Counter(row.free for row in model.table.rows)
    for row in _moments(model, given.level1, given.level2):
        if row.free >= 0 and uses[row.free] > mine[row.free]:
            return (
                f"fixed_x takes the moments of {', '.join(given.names)} as given, but '{row.label or row.path}' is a "
                "parameter of the model, too: give it a name of its own, or leave fixed_x out"
            )
    names = {model.names[index] for index in given.held}
    restrictions = [(one.text, one.names) for one in model.table.constraints]
    restrictions += [(one.text, one.names) for one in model.table.inequalities]
    for text, labels in restrictions:
        for name in labels:
            if name in names:
                return (
                    f"fixed_x takes the moments of {', '.join(given.names)} as given, but '{text}' restricts one of "
                    f"them, '{name}': take it out, or leave fixed_x out"
                )
    return None


def _moments(model: TwoLevelModel, level1: tuple[str, ...], level2: tuple[str, ...]) -> list[Parameter]:
    """Rows of means and (co)variances of some variables of each level."""
    return [
        row
        for level, x in (("within", level1), ("between", level2))
        for row in model.table.at(level)
        if row.op in ("~~", "~1") and row.lhs in x and row.rhs in (*x, "")
    ]
