"""Which likelihood a method's log-likelihood is: of what, given what. The one place that puts it into words.

Numbers that are densities of different things cannot be compared, and software differs in what it takes as given:
lme4 and Mplus predictors, lavaan (``fixed.x``) some of them, a full-information method nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from simstudy.model.twolevel import TwoLevelModel

Kind = Literal[
    "joint", "joint_fixed_x", "given_x", "restricted", "rows", "cluster_means", "within_clusters", "quasi", "own"
]
KINDS: tuple[str, ...] = get_args(Kind)

_WORDS: dict[str, str] = {
    "joint": "joint, of {of}",
    "joint_fixed_x": "joint, of {of}, with the moments of {given} held at those of the unrestricted model (fixed_x)",
    "given_x": "of {of} given {given}",
    "restricted": "restricted (REML), of {of} given {given}: models with other fixed effects are not comparable by it",
    "rows": "joint, of {of}, as if rows were independent",
    "cluster_means": "joint, of the cluster means of {of}",
    "within_clusters": "of {of} within clusters, each of which has means of its own",
    "quasi": "a quasi-likelihood, of {of} as if all clusters had one size",
    "own": "the method's own; it does not say of what",
}


@dataclass(frozen=True)
class LikelihoodOf:
    """What a log-likelihood is of.

    Attributes
    ----------
    kind : str
        ``joint``: of all variables; ``joint_fixed_x``: the same, with moments of exogenous variables held;
        ``given_x``: conditional on exogenous variables; ``restricted``: REML; ``rows``: of rows as if independent;
        ``cluster_means``; ``within_clusters``; ``quasi``; ``own``: a method that does not say.
    variables : tuple of str
        Whose density it is.
    given : tuple of str
        Variables that are taken as given, or whose moments are held.
    separate : tuple of str
        Variables whose density is a factor of a joint one, so that `fixed_x` would take them as given.
    """

    kind: Kind
    variables: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    separate: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """In words, to follow on "log-likelihood: "."""
        words = _WORDS[self.kind]
        if not self.given:
            words = words.replace(" given {given}", "")
        return words.format(of=listed(self.variables), given=listed(self.given))

    @property
    def hint(self) -> str:
        """How to have the number that other software prints; empty where this is it, or where there is none."""
        if not self.separate:
            return ""
        return f"fixed_x (--fixed-x) takes {listed(self.separate)} as given, as lme4 and Mplus do"

    @property
    def brief(self) -> str:
        """What must stand beside the number: empty for the joint one of all variables."""
        if self.kind == "given_x":
            return f"given {listed(self.given)}" if self.given else ""
        return {"restricted": "REML", "joint_fixed_x": "fixed x", "quasi": "quasi"}.get(self.kind, "")


UNSAID = LikelihoodOf("own")
"""Of a method that does not say."""


def joint(model: TwoLevelModel) -> LikelihoodOf:
    """Of all variables."""
    return LikelihoodOf("joint", model.variables)


def given_x(model: TwoLevelModel, given: Sequence[str]) -> LikelihoodOf:
    """Conditional on some variables."""
    if not given:
        return joint(model)
    return LikelihoodOf("given_x", tuple(v for v in model.variables if v not in given), tuple(given))


def of_regressions(model: TwoLevelModel, *, reml: bool, level2: bool) -> LikelihoodOf:
    """Of regressions one by one, whose log-likelihoods add up; ``level2``: of level-2 outcomes, too."""
    known = model.variables if level2 else model.level1
    paths = [row for row in model.table.rows if row.op == "~"]
    outcomes = tuple(v for v in known if any(row.lhs == v for row in paths) or (v in model.both and not paths))
    predictors = {row.rhs for row in paths if row.lhs in outcomes or row.lhs in {s.name for s in model.slopes}}
    given = tuple(v for v in model.variables if v in predictors and v not in outcomes)
    return LikelihoodOf("restricted" if reml else "given_x", outcomes, given)


def listed(names: Sequence[str]) -> str:
    """Names as they stand in a sentence."""
    *others, last = names or ("nothing",)
    return f"{', '.join(others)} and {last}" if others else last
