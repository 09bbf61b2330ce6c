"""What a plan asks for: a measure, its target, and the scale on which it is close to linear in the sample size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri

from simstudy.errors import SimstudyError
from simstudy.linalg.stacked import FloatArray

Kind = Literal["at_least", "at_most", "within"]
"""The measure must be at least the target, at most the target, or its absolute value at most the target."""
Basis = Literal["root", "inverse", "log"]
"""Function of the sample size in which the transformed measure departs linearly from its analytic curve."""
Link = Literal["probit", "log", "identity"]

LARGEST_PROBIT = 8.0
"""Rates closer to 0 or 1 than a double can tell are kept finite."""


@dataclass(frozen=True)
class PlannedMeasure:
    """A performance measure that can be planned for.

    Attributes
    ----------
    name : str
        As options and results call it.
    words : str
        In a sentence.
    row : str
        The measure of the performance table.
    kind, link, basis
        See `Kind`, `Link`, `Basis`.
    """

    name: str
    words: str
    row: str
    kind: Kind
    link: Link
    basis: Basis

    @property
    def is_rate(self) -> bool:
        """Whether it is a share of replicates."""
        return self.link == "probit"


MEASURES: Mapping[str, PlannedMeasure] = MappingProxyType(
    {
        measure.name: measure
        for measure in (
            PlannedMeasure("power", "power", "rejection", "at_least", "probit", "root"),
            PlannedMeasure("coverage", "coverage", "coverage", "at_least", "probit", "inverse"),
            PlannedMeasure("convergence", "convergence", "convergence", "at_least", "probit", "root"),
            PlannedMeasure("width", "interval width", "ci_width", "at_most", "log", "log"),
            PlannedMeasure("bias", "absolute bias", "bias", "within", "identity", "inverse"),
            PlannedMeasure("relative_bias", "absolute relative bias", "relative_bias", "within", "identity", "inverse"),
            PlannedMeasure("median_bias", "absolute median bias", "median_bias", "within", "identity", "inverse"),
        )
    }
)


@dataclass(frozen=True)
class Criterion:
    """A measure and its target."""

    measure: PlannedMeasure
    target: float

    @property
    def text(self) -> str:
        """E.g. ``power of at least 0.8``."""
        word = "at least" if self.measure.kind == "at_least" else "at most"
        return f"{self.measure.words} of {word} {self.target:g}"

    def margin(self, eta: FloatArray) -> FloatArray:
        """How far transformed values are beyond the target; not negative where it is reached."""
        goal = float(link(self.measure.link)(np.array(self.target)))
        if self.measure.kind == "at_least":
            return np.asarray(eta - goal)
        return np.asarray(goal - (np.abs(eta) if self.measure.kind == "within" else eta))

    def reached(self, value: float) -> bool:
        """Whether a value reaches the target."""
        return bool(self.margin(link(self.measure.link)(np.array(value))) >= 0.0)


def read_criterion(wanted: Mapping[str, float | None]) -> Criterion:
    """The one target that is given.

    Raises
    ------
    SimstudyError
        If none or several are, or it is out of range.
    """
    given = {name: target for name, target in wanted.items() if target is not None}
    options = ", ".join(f"--{name.replace('_', '-')}" for name in MEASURES)
    if len(given) != 1:
        found = ", ".join(f"--{name.replace('_', '-')}" for name in given) or "none"
        raise SimstudyError(f"target: found {found}; give one of {options}, such as --power .80")
    ((name, target),) = given.items()
    measure = MEASURES[name]
    fine = 0.0 < target < 1.0 if measure.is_rate else 0.0 < target < math.inf
    if not fine:
        allowed = "above 0 and below 1" if measure.is_rate else "a number above 0"
        raise SimstudyError(f"{name}: found {target:g}; allowed: {allowed}")
    return Criterion(measure, float(target))


def link(kind: Link) -> Callable[[FloatArray], FloatArray]:
    """Value -> transformed value."""
    if kind == "probit":
        return lambda p: np.asarray(np.clip(ndtri(np.clip(p, 0.0, 1.0)), -LARGEST_PROBIT, LARGEST_PROBIT))
    if kind == "log":
        return _log
    return lambda x: np.asarray(x, dtype=np.float64)


def inverse_link(kind: Link) -> Callable[[FloatArray], FloatArray]:
    """Transformed value -> value."""
    if kind == "probit":
        return lambda eta: np.asarray(ndtr(eta))
    if kind == "log":
        return lambda eta: np.asarray(np.exp(eta))
    return lambda eta: np.asarray(eta, dtype=np.float64)


def basis(kind: Basis) -> Callable[[FloatArray], FloatArray]:
    """Sample size -> regressor."""
    if kind == "root":
        return lambda x: np.sqrt(x)
    if kind == "inverse":
        return lambda x: 1.0 / np.asarray(x, dtype=np.float64)
    return _log


def _log(x: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(x))
