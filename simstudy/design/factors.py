"""``[factors]`` and ``[[exclude]]`` -> the grid: full factorial in the order of the file, first factor slowest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from simstudy.design.problems import Problems
from simstudy.design.schema import shown
from simstudy.errors import DesignError, did_you_mean
from simstudy.population.sizes import ClusterSizes, parse_groups, parse_sizes

Level = float | ClusterSizes
"""A value of a factor: a number (int or float), or cluster sizes."""

SIZES = ("cluster_size", "clusters")
"""Factors whose values may be specifications of cluster sizes."""

# fmt: off
COLUMNS = frozenset((
    "cell", "rep", "replicate", "key", "estimator", "se_kind", "param", "parameter", "level", "truth", "measure",
    "value", "mcse", "n", "n_attempted", "n_obs", "status", "admissible", "n_iter", "seconds",
    "estimate", "se", "lower", "upper", "loglik", "converged",
))
# fmt: on
"""Columns of the results, which a factor cannot be called."""


@dataclass(frozen=True)
class Factor:
    """A factor and its levels, in the order of the file."""

    name: str
    levels: tuple[Level, ...]

    @property
    def numeric(self) -> bool:
        """Whether every level is a number."""
        return not any(isinstance(level, ClusterSizes) for level in self.levels)

    def display(self, level: Level) -> float | str:
        """A level as tables show it: a number where all levels are numbers, otherwise text."""
        if isinstance(level, ClusterSizes):
            return level.label
        if not self.numeric:
            return str(level)
        return float(level) if any(isinstance(other, float) for other in self.levels) else level


def read_factors(raw: Mapping[str, Sequence[Any]], problems: Problems) -> tuple[Factor, ...]:
    """Read ``[factors]``; levels that cannot be used are noted and left out."""
    factors = []
    for name, values in raw.items():
        path = ("factors", name)
        if name in COLUMNS:
            problems.add(path, f"'{name}' is the name of a column of the results; give the factor another name")
        if not values:
            problems.add(path, "the list is empty; allowed: one value or more")
        levels: list[Level] = []
        for value in values:
            try:
                level = _level(name, value)
            except DesignError as error:
                for message in error.problems:
                    problems.add(path, message.removeprefix("value: "))
                continue
            if level in levels:
                problems.add(path, f"the value {_text(level)} stands in the list twice")
            else:
                levels.append(level)
        factors.append(Factor(name, tuple(levels)))
    return tuple(factors)


def _level(name: str, value: object) -> Level:
    if name == "clusters":
        return parse_groups(value, "value")
    if name == "cluster_size":
        sizes = parse_sizes(value, "value")
        return sizes.sizes[0] if sizes.kind == "constant" else sizes
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    raise DesignError(
        f"found {shown(value)}; allowed: numbers (specifications of cluster sizes: in 'cluster_size' alone)"
    )


def _text(level: Level) -> str:
    return f"'{level.label}'" if isinstance(level, ClusterSizes) else f"{level}"


def read_excludes(
    raw: Sequence[Mapping[str, Any]], factors: Sequence[Factor], problems: Problems
) -> list[dict[str, tuple[Level, ...]]]:
    """Read ``[[exclude]]`` tables: for each factor named, the levels that it takes out."""
    by_name = {factor.name: factor for factor in factors}
    excludes = []
    for k, table in enumerate(raw):
        rule: dict[str, tuple[Level, ...]] = {}
        if not table:
            problems.add(("exclude", k), "the table is empty; allowed: one factor value or more")
        for name, value in table.items():
            if name not in by_name:
                hint = (
                    f"{did_you_mean(name, by_name)}; allowed: {', '.join(by_name) or 'nothing, as there is no factor'}"
                )
                problems.add(("exclude", k, name), f"unknown factor '{name}'{hint}")
                continue
            try:
                rule[name] = _excluded(by_name[name], value)
            except DesignError as error:
                problems.add(("exclude", k, name), error.problems[0])
        excludes.append(rule)
    return excludes


def _excluded(factor: Factor, value: object) -> tuple[Level, ...]:
    """Levels that an exclude's value stands for: one, or any of a list."""
    level = _match(factor, value)
    if level is not None:
        return (level,)
    found = [_match(factor, item) for item in value] if isinstance(value, list) and value else [None]
    if any(level is None for level in found):
        wrong = value[found.index(None)] if isinstance(value, list) and value else value
        labels = [str(factor.display(level)) for level in factor.levels]
        hint = did_you_mean(wrong, labels) if isinstance(wrong, str) else ""
        raise DesignError(
            f"{shown(wrong)} is no value of the factor '{factor.name}'{hint}; allowed: {', '.join(labels)}"
        )
    return tuple(level for level in found if level is not None)


def _match(factor: Factor, value: object) -> Level | None:
    """The level that a value, or a label, stands for."""
    if isinstance(value, str):
        return next((level for level in factor.levels if value == str(factor.display(level))), None)
    try:
        wanted = _level(factor.name, value)
    except DesignError:
        return None
    return next((level for level in factor.levels if level == wanted), None)


def grid(factors: Sequence[Factor], excludes: Sequence[Mapping[str, tuple[Level, ...]]]) -> list[dict[str, Level]]:
    """Combinations of levels that are left."""
    cells = []
    for levels in product(*(factor.levels for factor in factors)):
        cell = dict(zip((factor.name for factor in factors), levels, strict=True))
        if not any(all(cell[name] in gone for name, gone in rule.items()) for rule in excludes):
            cells.append(cell)
    return cells
