"""Random slopes: ``rv("s")*x`` in the within block makes the slope of x a variable ``s`` of the between block.

In the terms of Muthen & Asparouhov (2008), y_ij = nu_j + Lambda_j eta_ij + K_j x_ij + eps_ij and
eta_ij = alpha_j + B_j eta_ij + Gamma_j x_ij + zeta_ij, the entries that may vary over clusters are nu_j and alpha_j
(any variable that stands in both blocks), and those of K_j, Gamma_j and B_j: paths from a level-1 variable or a factor
of the within block. What varies over clusters is a level-2 variable with a mean, residual variance, predictors and
outcomes of its own. Loadings that vary (Lambda_j) are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simstudy.model.syntax import Statement

_NOT_SLOPES = {
    "=~": "random loadings (rv() on =~) are not supported; a random slope is written y ~ rv(...)*x",
    "~~": "random variances and covariances (rv() on ~~) are not supported; a random slope is written y ~ rv(...)*x",
    "~1": "a random intercept needs no rv(): every variable that stands in both blocks has one",
}


@dataclass(frozen=True)
class RandomSlope:
    """A slope that varies over clusters: ``outcome ~ rv("name")*predictor``.

    Attributes
    ----------
    name : str
        The variable of the between block that it is.
    outcome : str
        Observed or latent variable of the within block.
    predictor : str
        Level-1 variable, or factor of the within block.
    """

    name: str
    outcome: str
    predictor: str


def slope_problems(statements: Sequence[Statement]) -> list[str]:
    """Everything that is wrong with the random slopes of a model text."""
    asked = [s for s in statements if s.random_slope]
    if not asked:
        return []
    problems: list[str] = []
    taken = _names(statements, "within") | {s.lhs for s in statements if s.level == "between" and s.op == "=~"}
    factors = {s.lhs for s in statements if s.level == "within" and s.op == "=~"}
    outer = {s.lhs for s in statements if s.level == "between" and s.op == "=~"}
    seen: dict[str, Statement] = {}
    for s in asked:
        where, term = f"model line {s.line}, column {s.column}", f'rv("{s.random_slope}")*{s.rhs or 1}'
        wrong = ""
        if s.op != "~":
            wrong = _NOT_SLOPES[s.op]
        elif s.level != "within":
            wrong = f"'{term}' stands in the between block; a random slope is a path of the within block"
        elif not s.random_slope.replace(".", "_").isidentifier():
            wrong = f"'{s.random_slope}' is not a name for a random slope"
        elif s.random_slope in taken:
            wrong = f"the random slope '{s.random_slope}' has the name of another variable; give it another"
        elif s.random_slope in seen:
            first = seen[s.random_slope].line
            wrong = f"the random slope '{s.random_slope}' is that of another path already (line {first})"
        elif s.rhs in outer - factors:
            wrong = (
                f"'{term}': '{s.rhs}' is measured in the between block; a random slope is that of a variable within "
                f"clusters: give the within block its own factor ('f =~ ...') and write rv(\"{s.random_slope}\")*f"
            )
        elif s.label or s.fixed is not None or s.start is not None or s.freed:
            wrong = (
                f"'{term}' takes no further modifier; its mean is '{s.random_slope} ~ 1' of the between block, where a "
                f"label, value or start may stand ('{s.random_slope} ~ a*1')"
            )
        if wrong:
            problems.append(f"{where}: {wrong}")
        seen.setdefault(s.random_slope, s)
    return problems or _double_paths(statements, asked) or _loops(statements)


def _names(statements: Iterable[Statement], level: str) -> set[str]:
    """Variables of a level's block."""
    return {name for s in statements if s.level == level for name in (s.lhs, s.rhs) if name}


def _double_paths(statements: Sequence[Statement], asked: Sequence[Statement]) -> list[str]:
    """Paths that are written as random slopes and once more."""
    counts: dict[tuple[str, str], int] = {}
    for s in statements:
        if s.level == "within" and s.op == "~":
            counts[s.lhs, s.rhs] = counts.get((s.lhs, s.rhs), 0) + 1
    return [
        f"model line {s.line}, column {s.column}: the path '{s.lhs} ~ {s.rhs}' is written twice, and once as the "
        f"random slope '{s.random_slope}'; its mean is '{s.random_slope} ~ 1' of the between block"
        for s in asked
        if counts[s.lhs, s.rhs] > 1
    ]


def _loops(statements: Sequence[Statement]) -> list[str]:
    """Feedback loops of the within block: with random slopes, I - B_j would be another matrix in every cluster."""
    after: dict[str, set[str]] = {}
    for s in statements:
        if s.level == "within" and s.op in ("~", "=~"):
            cause, effect = (s.rhs, s.lhs) if s.op == "~" else (s.lhs, s.rhs)
            after.setdefault(cause, set()).add(effect)
    for start in after:
        reached: set[str] = set()
        front = {start}
        while front:
            front = {name for cause in front for name in after.get(cause, ())} - reached
            reached |= front
        if start in reached:
            return [
                f"model: the paths of the within block form a loop through '{start}'; with random slopes it must be "
                "recursive"
            ]
    return []
