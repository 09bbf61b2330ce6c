"""Values that are not known: their distributions, and draws from them (assurance).

The assurance of a study is its power averaged over what is not known of the population (O'Hagan, Stevens & Campbell,
2005, Pharmaceutical Statistics 4:187). Draw k is a function of the study's seed and of k alone: point k of a
low-discrepancy sequence, shifted by a random amount that the seed decides, sent through the quantile functions.

A draw that no population can have (an ICC above 1, paths that explain more than the variance) is left out and counted:
the distribution is truncated to what is possible, and the output says by how much.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simstudy.design.scenario import Scenario
from simstudy.errors import DesignError, ModelError, SimstudyError, did_you_mean
from simstudy.lazy import stats
from simstudy.model.expressions import parse_expression
from simstudy.planning.limits import lattice
from simstudy.population.streams import generator

MOST_TRIES = 20
"""Draws tried for each one needed, before a plan gives up."""

_FORM = re.compile(r"\s*(?P<name>.+?)\s*=\s*(?P<kind>[A-Za-z_]\w*)\s*\((?P<arguments>[^()]*)\)\s*")


@dataclass(frozen=True)
class Family:
    """A family of distributions.

    Attributes
    ----------
    arguments : tuple of str
        What its arguments are.
    check : callable
        Whether arguments are possible.
    allowed : str
        What is possible, in words.
    quantile : callable
        Probability and arguments -> quantile.
    """

    arguments: tuple[str, ...]
    check: Callable[..., bool]
    allowed: str
    quantile: Callable[..., float]


FAMILIES: Mapping[str, Family] = {
    "normal": Family(
        ("mean", "sd"), lambda m, s: s > 0, "an SD above 0", lambda u, m, s: float(stats.norm.ppf(u, m, s))
    ),
    "uniform": Family(
        ("low", "high"), lambda a, b: a < b, "low < high", lambda u, a, b: float(stats.uniform.ppf(u, a, b - a))
    ),
    "beta": Family(
        ("a", "b"), lambda a, b: a > 0 and b > 0, "a and b above 0", lambda u, a, b: float(stats.beta.ppf(u, a, b))
    ),
    "lognormal": Family(
        ("meanlog", "sdlog"),
        lambda m, s: s > 0,
        "an SD above 0",
        lambda u, m, s: float(stats.lognorm.ppf(u, s, 0, math.exp(m))),
    ),
    "triangular": Family(
        ("low", "mode", "high"),
        lambda a, m, b: a <= m <= b and a < b,
        "low <= mode <= high",
        lambda u, a, m, b: float(stats.triang.ppf(u, (m - a) / (b - a), a, b - a)),
    ),
}


@dataclass(frozen=True)
class Uncertain:
    """A value with a distribution.

    Attributes
    ----------
    name : str
        As `Scenario` knows it.
    family : str
        A key of `FAMILIES`.
    arguments : tuple of float
    """

    name: str
    family: str
    arguments: tuple[float, ...]

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.name}={self.family}({', '.join(f'{value:g}' for value in self.arguments)})"

    def quantile(self, u: float) -> float:
        """Quantile at a probability."""
        return FAMILIES[self.family].quantile(u, *self.arguments)


def parse_uncertain(texts: Sequence[str]) -> tuple[Uncertain, ...]:
    """Read ``icc=beta(2,18)``, ``b_b=normal(.3,.1)``.

    Raises
    ------
    SimstudyError
        One message a problem.
    """
    found: dict[str, Uncertain] = {}
    problems = []
    for text in texts:
        try:
            value = _parse(text)
        except (SimstudyError, ModelError) as error:
            problems += [f"uncertain: {problem}" for problem in error.problems]
            continue
        if value.name in found:
            problems.append(f"uncertain: '{value.name}' is given twice")
        found[value.name] = value
    if problems:
        raise SimstudyError(problems)
    return tuple(found.values())


def _parse(text: str) -> Uncertain:
    match = _FORM.fullmatch(text)
    if match is None:
        raise SimstudyError(f"found '{text}'; allowed: NAME=DISTRIBUTION(...), such as 'icc=beta(2,18)'")
    kind, family = match["kind"], FAMILIES.get(match["kind"])
    if family is None:
        forms = ", ".join(f"{name}({', '.join(known.arguments)})" for name, known in FAMILIES.items())
        raise SimstudyError(f"unknown distribution '{kind}'{did_you_mean(kind, FAMILIES)}; allowed: {forms}")
    pieces = [piece for piece in match["arguments"].split(",") if piece.strip()]
    if len(pieces) != len(family.arguments):
        raise SimstudyError(f"'{text}' has {len(pieces)} arguments; allowed: {kind}({', '.join(family.arguments)})")
    values = []
    for piece in pieces:
        expression = parse_expression(piece, kind)
        if expression.names:
            raise SimstudyError(f"'{text}': found '{piece.strip()}'; allowed: numbers")
        values.append(float(expression.evaluate({})))
    if not (all(map(math.isfinite, values)) and family.check(*values)):
        raise SimstudyError(f"'{text}': allowed: {kind}({', '.join(family.arguments)}) with {family.allowed}")
    return Uncertain(match["name"], kind, tuple(values))


@dataclass(frozen=True)
class Draws:
    """Draws from the distributions that populations can have.

    Attributes
    ----------
    values : tuple of dict
        Values of each draw.
    tried : int
        Draws made to find them.
    reasons : dict of str to int
        Why the others were left out, and how many.
    """

    values: tuple[Mapping[str, float], ...]
    tried: int
    reasons: Mapping[str, int]

    @property
    def left_out(self) -> int:
        """Draws that no population can have."""
        return self.tried - len(self.values)


def draw(
    scenario: Scenario, uncertain: Sequence[Uncertain], n: int, n_clusters: int, cluster_size: int | None
) -> Draws:
    """The first ``n`` draws that populations can have; whether they can does not depend on J and n.

    Raises
    ------
    SimstudyError
        If hardly any draw is possible, with the reason that is most frequent.
    """
    if not uncertain:
        return Draws(({},), 1, {})
    key = " ".join(value.text for value in uncertain)
    shift = generator(scenario.seed, f"uncertain {key}", 0, 0).random(len(uncertain))
    values: list[Mapping[str, float]] = []
    reasons: dict[str, int] = {}
    for k in range(MOST_TRIES * n):
        if len(values) == n:
            return Draws(tuple(values), k, reasons)
        point = lattice(np.array([float(k)]), len(uncertain), shift)[0]
        drawn = {value.name: value.quantile(float(u)) for value, u in zip(uncertain, point, strict=True)}
        try:
            scenario.cell(n_clusters, cluster_size, drawn)
        except DesignError as error:
            reason = _general(error.problems[0])
            reasons[reason] = reasons.get(reason, 0) + 1
        else:
            values.append(drawn)
    if len(values) == n:
        return Draws(tuple(values), MOST_TRIES * n, reasons)
    why = max(reasons, key=lambda reason: reasons[reason])
    raise SimstudyError(
        f"uncertain: {len(values)} of {MOST_TRIES * n:,} draws are populations that can be ({why}); give narrower "
        "distributions"
    )


def _general(problem: str) -> str:
    """The part of a message that does not depend on the numbers of the draw."""
    return problem.split(";")[0].split(":")[0]
