"""``==`` constraints among labelled parameters, linear or not, imposed by solving each for one parameter.

A constraint left == right must be affine in some label (``a*b == c*d``, ``a + b == 1``, ``a == exp(b)``). That label
becomes dependent: a function of the others, with derivatives from the implicit function theorem. The likelihood is then
maximised over the remaining parameters, so that constraints hold exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simstudy.errors import ModelError
from simstudy.linalg.stacked import FloatArray, IntArray, inverse
from simstudy.model.expressions import Expression
from simstudy.model.syntax import Statement


@dataclass(frozen=True)
class Equation:
    """left == right, not yet solved for a parameter.

    Attributes
    ----------
    text : str
    left, right : Expression
    where : str
        For messages.
    """

    text: str
    left: Expression
    right: Expression
    where: str


@dataclass(frozen=True)
class Constraint:
    """An equation left - right = 0, solved for ``dependent``.

    Attributes
    ----------
    text : str
    left, right : Expression
    dependent : str
        Label that it is solved for.
    index : int
        Its place among the free parameters.
    """

    text: str
    left: Expression
    right: Expression
    dependent: str
    index: int

    @property
    def names(self) -> tuple[str, ...]:
        """Labels on either side."""
        return tuple(dict.fromkeys(self.left.names + self.right.names))

    def gap(self, values: Mapping[str, Any]) -> Any:
        """Value of left - right."""
        return self.left.evaluate(values) - self.right.evaluate(values)

    def slopes(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Derivatives of left - right."""
        found = dict(self.left.gradient(values))
        for name, slope in self.right.gradient(values).items():
            found[name] = found.get(name, 0.0) - slope
        return found


@dataclass(frozen=True)
class ConstraintSet:
    """All constraints of a model over its named parameters (q)."""

    names: tuple[str, ...]
    constants: Mapping[str, float]
    constraints: tuple[Constraint, ...]

    @property
    def dependent(self) -> IntArray:
        """Indices of the dependent parameters."""
        return np.array([c.index for c in self.constraints], dtype=np.int64)

    def _environment(self, params: FloatArray) -> dict[str, Any]:
        return {**self.constants, **{name: params[..., i] for i, name in enumerate(self.names)}}

    def fill(self, params: FloatArray) -> FloatArray:
        """Parameters (..., q) with the dependent ones computed from the others."""
        with np.errstate(all="ignore"):
            return self._fill(params, len(self.constraints))

    def _fill(self, params: FloatArray, count: int) -> FloatArray:
        """Solve the first ``count`` constraints, the last of them first.

        A constraint is affine in its dependent label once the ones before it hold, so two trial values give its root.
        """
        if not count:
            return params
        c, earlier = self.constraints[count - 1], self.constraints[: count - 1]
        linked = any(c.dependent in other.names for other in earlier)
        gaps = []
        for trial in (0.0, 1.0):
            tried = params.copy()
            tried[..., c.index] = trial
            if linked:
                tried = self._fill(tried, count - 1)
            gaps.append(c.gap(self._environment(tried)))
        if not linked:  # the ones before do not use it, and it may use them
            params = self._fill(params, count - 1)
            gaps = []
            for trial in (0.0, 1.0):
                tried = params.copy()
                tried[..., c.index] = trial
                gaps.append(c.gap(self._environment(tried)))
        solved = params.copy()
        solved[..., c.index] = -gaps[0] / (gaps[1] - gaps[0])
        return self._fill(solved, count - 1) if linked else solved

    def jacobian(self, params: FloatArray, free: IntArray) -> FloatArray:
        """Derivatives (..., q, len(free)) of all parameters with respect to the free ones.

        By the implicit function theorem, from the derivatives of the constraints at parameters that satisfy them.
        """
        q, m = len(self.names), len(self.constraints)
        result = np.zeros((*params.shape[:-1], q, len(free)))
        result[..., free, np.arange(len(free))] = 1.0
        if not m:
            return result
        place = {name: i for i, name in enumerate(self.names)}
        slopes = np.zeros((*params.shape[:-1], m, q))
        with np.errstate(all="ignore"):
            env = self._environment(params)
            for k, c in enumerate(self.constraints):
                for name, slope in c.slopes(env).items():
                    if name in place:
                        slopes[..., k, place[name]] = slope
            own, _ = inverse(np.ascontiguousarray(slopes[..., self.dependent]))
            result[..., self.dependent, :] = -np.matmul(own, np.ascontiguousarray(slopes[..., free]))
        return result


def equations_of(statements: Sequence[Statement]) -> tuple[Equation, ...]:
    """``==`` statements as equations."""
    found = []
    for s in statements:
        assert s.expression is not None
        assert s.right is not None
        text = f"{s.lhs} == {s.rhs}"
        found.append(Equation(text, s.expression, s.right, f"model line {s.line}: '{text}'"))
    return tuple(found)


def build_constraints(
    equations: Sequence[Equation],
    names: Sequence[str],
    constants: Mapping[str, float],
    solved: Sequence[Constraint] = (),
) -> tuple[Constraint, ...]:
    """Choose a dependent label for every equation, and order them so that each uses only what is known.

    ``solved`` are constraints that stand before them.

    Raises
    ------
    ModelError
        If an equation has no label that it is affine in, or the equations depend on each other in a circle.
    """
    chosen: list[Constraint] = list(solved)
    for equation in equations:
        mentioned = tuple(dict.fromkeys(equation.left.names + equation.right.names))
        taken = {c.dependent for c in chosen}
        used_before = {name for c in chosen for name in c.names}
        candidates = [n for n in mentioned if n in names and n not in taken]
        # a label alone on one side is what the user would read as dependent
        alone = {side.root.name for side in (equation.left, equation.right) if side.root.kind == "name"}
        candidates.sort(key=lambda n: (n in used_before, n not in alone))
        for name in candidates:
            constraint = Constraint(equation.text, equation.left, equation.right, name, list(names).index(name))
            if _affine((*chosen, constraint), names, constants):
                chosen.append(constraint)
                break
        else:
            if not candidates:
                raise ModelError(f"{equation.where} constrains no parameter that is still free")
            raise ModelError(
                f"{equation.where} cannot be solved for one of its parameters: it must be linear in one of them, given "
                "the constraints before it"
            )
    return tuple(chosen)


def _affine(constraints: tuple[Constraint, ...], names: Sequence[str], constants: Mapping[str, float]) -> bool:
    """Whether the last constraint is affine, and not constant, in its dependent label once the others hold."""
    last = constraints[-1]
    others = ConstraintSet(tuple(names), constants, constraints[:-1])
    for trial in range(3):
        values = []
        for x in (0.3, 0.9, 1.5):
            params = 0.37 + 0.61 * trial + 0.23 * np.arange(len(names), dtype=np.float64)
            params[last.index] = x
            params = others.fill(params)
            values.append(float(last.gap({**constants, **dict(zip(names, params.tolist(), strict=True))})))
        if not np.isfinite(values).all():
            return False
        bend = values[0] - 2.0 * values[1] + values[2]
        slope = values[2] - values[0]
        if abs(bend) > 1e-9 * (1.0 + max(abs(v) for v in values)) or abs(slope) < 1e-9:
            return False
    return True
