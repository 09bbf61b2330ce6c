"""What every likelihood returns at a point, and what the optimiser asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self, TypeVar

from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class Evaluation:
    """Log-likelihood (R,), score (R, q) and information (R, q, q); ``ok`` (R,) where the moments are feasible."""

    loglik: FloatArray
    score: FloatArray
    information: FloatArray
    ok: BoolArray


class Selectable(Protocol):
    """Data of R replicates, some of which can be picked."""

    def select(self, replicates: IntArray | BoolArray) -> Self:
        """Some of the replicates."""
        ...


D = TypeVar("D", bound=Selectable, contravariant=True)


class Likelihood(Protocol[D]):
    """A log-likelihood with score and information, batched over replicates.

    Attributes
    ----------
    verify_maximum : bool
        Whether the optimiser asks `observed_information` before it takes a stationary point for a maximum. Not where
        the information of `evaluate` is the observed one already, nor where asking costs as much as the fit.
    """

    verify_maximum: ClassVar[bool] = True

    def evaluate(self, params: FloatArray, data: D) -> Evaluation:
        """Log-likelihood, score and expected information at (R, q)."""
        ...

    def observed_information(self, params: FloatArray, data: D) -> FloatArray:
        """Minus the second derivatives of the log-likelihood (R, q, q)."""
        ...

    def value_and_score(self, params: FloatArray, data: D) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Log-likelihood (R,), score (R, q) and where they exist (R,), for steps that need no information."""
        found = self.evaluate(params, data)
        return found.loglik, found.score, found.ok

    def with_observed(self, params: FloatArray, data: D) -> Evaluation:
        """Log-likelihood, score and observed information at (R, q)."""
        loglik, score, ok = self.value_and_score(params, data)
        return Evaluation(loglik, score, self.observed_information(params, data), ok)
