"""Inequalities among labelled parameters (``a > 0``, ``a*b < 1``): bounds where one label stands alone, else functions.

``<`` and ``>`` include equality, as in lavaan: a maximum may lie on the boundary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simstudy.errors import ModelError
from simstudy.model.equalities import check_labels
from simstudy.model.expressions import Expression, Node
from simstudy.model.rows import Parameter

if TYPE_CHECKING:
    from simstudy.model.syntax import Statement


@dataclass(frozen=True)
class Inequality:
    """An inequality larger - smaller >= 0.

    Attributes
    ----------
    text : str
        As the user wrote it.
    larger, smaller : Expression
    """

    text: str
    larger: Expression
    smaller: Expression

    @property
    def names(self) -> tuple[str, ...]:
        """Labels on either side."""
        return tuple(dict.fromkeys(self.larger.names + self.smaller.names))

    def gap(self, values: Mapping[str, Any]) -> Any:
        """Value of larger - smaller."""
        return self.larger.evaluate(values) - self.smaller.evaluate(values)

    def slopes(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Derivatives of larger - smaller."""
        found = dict(self.larger.gradient(values))
        for name, slope in self.smaller.gradient(values).items():
            found[name] = found.get(name, 0.0) - slope
        return found


def bound_of(name: str, value: float, *, below: bool) -> Inequality:
    """A bound as an inequality: the parameter at least (``below``) or at most ``value``."""
    here, there = Expression(name, Node("name", name=name)), Expression(f"{value:g}", Node("number", value=value))
    return Inequality(f"{name} {'>' if below else '<'} {value:g}", *((here, there) if below else (there, here)))


def impose_inequalities(
    rows: list[Parameter], statements: Sequence[Statement]
) -> tuple[list[Parameter], tuple[Inequality, ...]]:
    """Turn inequalities into bounds of rows as far as they are; return the others, too.

    Raises
    ------
    ModelError
        For unknown labels, and for what fixed values contradict.
    """
    left_over: list[Inequality] = []
    problems: list[str] = []
    labels = {row.label for row in rows if row.label}
    fixed = {row.label: row.value for row in rows if row.label and row.free == -1 and not np.isnan(row.value)}
    for s in statements:
        unknown = check_labels(s, labels)
        if unknown:
            problems += unknown
            continue
        assert s.expression is not None
        assert s.right is not None
        text = f"{s.lhs} {s.op} {s.rhs}"
        sides = (s.expression, s.right) if s.op == ">" else (s.right, s.expression)
        one = Inequality(text, *sides)
        free = [name for name in one.names if name not in fixed]
        if not free:
            if not float(one.gap(fixed)) >= 0.0:
                problems.append(
                    f"model line {s.line}: '{text}' contradicts the values that its parameters are fixed at"
                )
            continue
        larger, smaller = (side.root for side in sides)
        if larger.kind == "name" and larger.name in free and set(sides[1].names) <= set(fixed):
            value = float(sides[1].evaluate(fixed))
            rows = [replace(r, lower=max(r.lower, value)) if r.label == larger.name else r for r in rows]
        elif smaller.kind == "name" and smaller.name in free and set(sides[0].names) <= set(fixed):
            value = float(sides[0].evaluate(fixed))
            rows = [replace(r, upper=min(r.upper, value)) if r.label == smaller.name else r for r in rows]
        else:
            left_over.append(one)
    if problems:
        raise ModelError(problems)
    return rows, tuple(left_over)


def bound_problems(rows: Sequence[Parameter]) -> list[str]:
    """Bounds that leave nothing between them, or that a fixed value breaks."""
    problems = []
    for row in rows:
        if row.lower > row.upper:
            problems.append(
                f"model: '{row.path}' has the lower bound {row.lower:g} above its upper bound {row.upper:g}"
            )
        elif row.free == -1 and not row.slope and not row.lower <= row.value <= row.upper:
            problems.append(
                f"model: '{row.path}' is fixed at {row.value:g}, outside of its bounds ({row.lower:g} to {row.upper:g})"
            )
        elif row.slope and (row.lower > -np.inf or row.upper < np.inf):
            problems.append(f"model: '{row.path}' is a random slope; bounds belong to its mean ('{row.slope} ~ 1')")
    return problems
