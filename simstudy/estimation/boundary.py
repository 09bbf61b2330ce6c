"""Maxima under inequalities among parameters: which of them hold with equality, and the fit in which they do.

A maximum of l(theta) under c_k(theta) >= 0 has multipliers lambda_k >= 0 of the c_k that are 0 there, with
l'(theta) + sum_k lambda_k c_k'(theta) = 0 (Karush, Kuhn & Tucker). Rounds of an active set: fit with the active c_k as
equations; take in the one that is violated most; where none is, let go the one whose multiplier is most negative.
Bounds of single parameters are the optimiser's own (`scoring.Box`), but those of parameters that an equation makes
dependent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simstudy.errors import ModelError
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray
from simstudy.model.constraints import ConstraintSet, Equation, build_constraints
from simstudy.model.inequalities import Inequality, bound_of

MAX_ROUNDS = 50
VIOLATED = 1e-9
"""Relative to the sides of an inequality."""
GAIN = 1e-9
"""In log-likelihood: what letting go an inequality must promise."""


@dataclass(frozen=True)
class Boundary:
    """Inequalities of a model with its constraints.

    Attributes
    ----------
    constraints : ConstraintSet
        The equations that always hold.
    inequalities : tuple of Inequality
        Those that are no bounds of a parameter.
    lower, upper : (q,)
        Bounds.
    """

    constraints: ConstraintSet
    inequalities: tuple[Inequality, ...]
    lower: FloatArray
    upper: FloatArray

    @property
    def asked(self) -> bool:
        """Whether there are any bounds or inequalities."""
        bounds = np.isfinite(self.lower).any() or np.isfinite(self.upper).any()
        return bool(self.inequalities) or bool(bounds)

    @property
    def general(self) -> bool:
        """Whether anything beyond bounds of free parameters is asked for."""
        return bool(self.inequalities) or bool(self._bounds_of(self.constraints.dependent))

    def _bounds_of(self, index: IntArray) -> tuple[Inequality, ...]:
        names = self.constraints.names
        found = [bound_of(names[i], float(self.lower[i]), below=True) for i in index if np.isfinite(self.lower[i])]
        found += [bound_of(names[i], float(self.upper[i]), below=False) for i in index if np.isfinite(self.upper[i])]
        return tuple(found)

    def with_active(self, active: Sequence[Inequality]) -> tuple[ConstraintSet, tuple[Inequality, ...]] | None:
        """The constraints with ``active`` as equations, and all inequalities to watch then; None if unsolvable."""
        base = self.constraints
        equations = [Equation(one.text, one.larger, one.smaller, one.text) for one in active]
        try:
            solved = build_constraints(equations, base.names, base.constants, base.constraints)
        except ModelError:
            return None
        now = ConstraintSet(base.names, base.constants, solved)
        return now, tuple(dict.fromkeys((*self.inequalities, *self._bounds_of(now.dependent), *active)))

    def values(self, params: FloatArray) -> dict[str, Any]:
        """Values by name at one vector of parameters (q,)."""
        names = self.constraints.names
        return {**self.constraints.constants, **dict(zip(names, params.tolist(), strict=True))}

    def gradient(self, one: Inequality, values: Mapping[str, Any]) -> FloatArray:
        """Derivatives (q,) of larger - smaller."""
        names = self.constraints.names
        slopes = one.slopes(values)
        return np.array([float(slopes.get(name, 0.0)) for name in names])


@dataclass(frozen=True)
class Round:
    """What a fit of one data set tells the next round.

    Attributes
    ----------
    params, score : (q,)
    information : (q, q)
    still : (q,)
        Parameters that are held: by a bound, or with their value given.
    """

    params: FloatArray
    score: FloatArray
    information: FloatArray
    still: BoolArray


def violation(one: Inequality, values: Mapping[str, Any]) -> float:
    """How far an inequality is from holding, relative to its sides; 0 where it holds."""
    with np.errstate(all="ignore"):
        larger, smaller = float(one.larger.evaluate(values)), float(one.smaller.evaluate(values))
    if not (np.isfinite(larger) and np.isfinite(smaller)):
        return 0.0
    return max(0.0, smaller - larger) / (1.0 + max(abs(larger), abs(smaller)))


def active_set(
    boundary: Boundary, refit: Callable[[ConstraintSet, FloatArray | None], Round]
) -> tuple[tuple[Inequality, ...], bool]:
    """Rounds for one data set.

    Parameters
    ----------
    refit : callable
        Constraints and a start (q,), None for the usual ones -> the fit under them.

    Returns
    -------
    active : tuple of Inequality
        Those that the last fit took as equations.
    settled : bool
        Whether it fulfils all inequalities with multipliers of the right sign.
    """
    active: tuple[Inequality, ...] = ()
    seen: set[frozenset[Inequality]] = set()
    start: FloatArray | None = None
    for _ in range(MAX_ROUNDS):
        built = boundary.with_active(active)
        if built is None or frozenset(active) in seen:
            return active, False
        seen.add(frozenset(active))
        constraints, watched = built
        found = refit(constraints, start)
        if not np.isfinite(found.params).all():
            return active, False
        values = boundary.values(found.params)
        broken = [(violation(one, values), one) for one in watched if one not in active]
        worst = max(broken, key=lambda pair: pair[0], default=(0.0, None))
        if worst[1] is not None and worst[0] > VIOLATED:
            active = _taken_in(boundary, active, worst[1], seen)
        else:
            let_go = _outward(boundary, constraints, active, found, values)
            if let_go is None:
                return active, True
            active = tuple(one for one in active if one is not let_go)
        start = found.params
    return active, False


def _taken_in(
    boundary: Boundary, active: tuple[Inequality, ...], new: Inequality, seen: set[frozenset[Inequality]]
) -> tuple[Inequality, ...]:
    """The active set with one more; without one of the others where not all can be solved together."""
    whole = (*active, new)
    choices = [whole, (new, *active), *(tuple(one for one in whole if one is not old) for old in active), (new,)]
    for choice in choices:
        if frozenset(choice) not in seen and boundary.with_active(choice) is not None:
            return choice
    return whole


def _outward(
    boundary: Boundary,
    constraints: ConstraintSet,
    active: Sequence[Inequality],
    found: Round,
    values: Mapping[str, Any],
) -> Inequality | None:
    """The active inequality with the most negative multiplier, if letting it go promises a gain."""
    if not active:
        return None
    q = len(found.params)
    always = boundary.constraints.constraints
    equations = [np.array([float(c.slopes(values).get(n, 0.0)) for n in constraints.names]) for c in always]
    own = [boundary.gradient(one, values) for one in active]
    rows = np.array([*own, *equations, *np.eye(q)[found.still]])
    multipliers = np.linalg.lstsq(rows.T, -found.score, rcond=None)[0][: len(own)]
    worst = int(np.argmin(multipliers))
    if multipliers[worst] >= 0.0:
        return None
    direction = own[worst] / float(own[worst] @ own[worst])
    gain = multipliers[worst] ** 2 / (2.0 * max(float(direction @ found.information @ direction), 1e-300))
    return active[worst] if gain > GAIN else None
