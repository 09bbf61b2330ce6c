"""Where an optimiser stopped, the box that it may not leave, and the metric of its steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, dot, inverse_spd, matvec, solve_spd


@dataclass(frozen=True)
class Box:
    """Bounds of parameters.

    Attributes
    ----------
    lower, upper : (q,)
        Infinite where there are none.
    """

    lower: FloatArray
    upper: FloatArray

    def clip(self, params: FloatArray) -> FloatArray:
        """The nearest parameters (R, q) within the bounds."""
        return np.clip(params, self.lower, self.upper)

    def contains(self, params: FloatArray) -> BoolArray:
        """Which parameters (R, q) lie within the bounds (R,)."""
        return np.asarray(((params >= self.lower) & (params <= self.upper)).all(axis=-1))

    def holds(self, params: FloatArray, score: FloatArray) -> BoolArray:
        """Which parameters (R, q) lie at a bound that the score would have them cross."""
        return np.asarray((params <= self.lower) & (score <= 0) | (params >= self.upper) & (score >= 0))


def beside(information: FloatArray, held: BoolArray) -> FloatArray:
    """Information (R, q, q) with the rows and columns of held parameters (R, q) those of the identity."""
    apart = held[:, :, None] | held[:, None, :]
    return np.where(apart, np.eye(information.shape[-1]), information)


def inverse_beside(information: FloatArray, held: BoolArray | None) -> tuple[FloatArray, BoolArray]:
    """Inverse information (R, q, q) of the parameters that are not held, 0 for those that are (R, q).

    Returns it, and where the information beside the held parameters is positive definite.
    """
    if held is None:
        return inverse_spd(information)
    inverse, ok = inverse_spd(beside(information, held))
    return np.where(held[:, :, None] | held[:, None, :], 0.0, inverse), ok


@dataclass(frozen=True)
class Optimum:
    """Where the optimiser stopped.

    Attributes
    ----------
    params : (R, q)
    loglik : (R,)
    information : (R, q, q)
        As evaluated within 1e-6 standard errors of ``params``.
    status, n_iter : (R,)
    held : (R, q) or None
        Parameters that a bound holds; None without bounds.
    """

    params: FloatArray
    loglik: FloatArray
    information: FloatArray
    status: IntArray
    n_iter: IntArray
    held: BoolArray | None = None

    @cached_property
    def inverse(self) -> FloatArray:
        """Inverse information (R, q, q), computed when asked for: NaN if not positive definite, 0 for what is held."""
        found, ok = inverse_beside(self.information, self.held)
        return np.where(ok[:, None, None], found, np.nan)

    def put(self, where: IntArray, other: Optimum) -> Optimum:
        """Replace the replicates ``where`` by those of another optimum."""

        def merge(mine: Any, theirs: Any) -> Any:
            mine = mine.copy()
            mine[where] = theirs
            return mine

        return Optimum(
            merge(self.params, other.params),
            merge(self.loglik, other.loglik),
            merge(self.information, other.information),
            merge(self.status, other.status),
            merge(self.n_iter, other.n_iter),
            None if self.held is None else merge(self.held, other.held),
        )

    def pick(self, which: IntArray) -> Optimum:
        """Some of the replicates."""
        return Optimum(
            self.params[which],
            self.loglik[which],
            self.information[which],
            self.status[which],
            self.n_iter[which],
            None if self.held is None else self.held[which],
        )


class Metric(Protocol):
    """How an information is solved for a step, where it is not a plain matrix in the parameters."""

    def solve(self, information: FloatArray, score: FloatArray) -> tuple[FloatArray, BoolArray]:
        """I^-1 g (R, q), and where I is positive definite (R,)."""
        ...

    def damped(self, information: FloatArray, score: FloatArray, damping: FloatArray) -> FloatArray:
        """(I + lambda diag|I|)^-1 g (R, q)."""
        ...

    def curvature(self, information: FloatArray, step: FloatArray) -> FloatArray:
        """S' I s (R,)."""
        ...

    def move(self, information: FloatArray, step: FloatArray) -> FloatArray:
        """The parameters' change (R, q) that a step is."""
        ...


class Dense:
    """The metric of an information matrix (R, q, q) in the parameters themselves."""

    def solve(self, information: FloatArray, score: FloatArray) -> tuple[FloatArray, BoolArray]:
        """I^-1 g (R, q), and where I is positive definite (R,)."""
        return solve_spd(information, score)

    def damped(self, information: FloatArray, score: FloatArray, damping: FloatArray) -> FloatArray:
        """Solve (I + lambda diag|I|) s = g; where even that is singular, take a short step along the gradient."""
        diagonal = np.abs(np.diagonal(information, axis1=-2, axis2=-1))
        diagonal = np.maximum(diagonal, 1e-10 * diagonal.max(axis=-1, keepdims=True) + 1e-300)
        raised = information + damping[:, None, None] * diagonal[:, :, None] * np.eye(information.shape[-1])
        step, ok = solve_spd(raised, score)
        plain = score / (diagonal * (1.0 + damping[:, None]))
        return np.where(ok[:, None], step, plain)

    def curvature(self, information: FloatArray, step: FloatArray) -> FloatArray:
        """S' I s (R,)."""
        return dot(step, matvec(information, step))

    def move(self, information: FloatArray, step: FloatArray) -> FloatArray:
        """The step itself."""
        return step


DENSE = Dense()
