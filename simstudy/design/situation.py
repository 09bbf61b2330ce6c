"""``distribution`` and ``missing`` of ``[population]``: how data depart from complete normal ones.

Words (kinds, variables) are read here once; numbers become entries like any other, so that they may be expressions of
factors, and meet the words again in each cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from simstudy.design.problems import Path, Problems
from simstudy.design.schema import ENTRY, shown
from simstudy.design.values import Entries, read_entry
from simstudy.errors import DesignError, did_you_mean
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.distributions import NORMAL_LEVEL, Distribution, Kind, LevelDistribution, Unit
from simstudy.population.given import LEVELS, Problem
from simstudy.population.missing import MissingRule, check_rules

KINDS: tuple[Kind, ...] = get_args(Kind)
UNITS: tuple[Unit, ...] = get_args(Unit)
_OPTIONS = {"normal": (), "vale_maurelli": ("skewness", "kurtosis"), "t": ("df", "kurtosis", "per")}
_DISTRIBUTION = (
    'a table such as { kind = "vale_maurelli", skewness = 1, kurtosis = 3 } or { kind = "t", df = 6 }, or '
    "{ within = ..., between = ... } of such tables"
)
_MISSING = '{ mcar = 0.2 }, { mcar = { y = 0.2 } } or { mar = { y = { on = "x", rate = 0.3, slope = 1.5 } } }'
_QUOTED = re.compile(r"'([^']+)'")
_MAR = ("on", "rate", "slope")


@dataclass(frozen=True)
class LevelPlan:
    """Distribution of a level, without its numbers.

    Attributes
    ----------
    kind : str
    path : tuple of str
        Where the numbers stand in the entries.
    per : str
    """

    kind: Kind
    path: tuple[str, ...]
    per: Unit = "row"


@dataclass(frozen=True)
class Situation:
    """How the data of a design depart from complete normal ones, without the numbers.

    Attributes
    ----------
    levels : dict
        Distributions of levels that are not normal.
    missing : tuple of (variable, on)
        Rules; ``on`` is empty where values are missing completely at random.
    """

    levels: Mapping[str, LevelPlan]
    missing: tuple[tuple[str, str], ...] = ()

    def distribution(self, model: TwoLevelModel, found: Mapping[Path, float]) -> tuple[Distribution, list[Problem]]:
        """Distribution in a cell whose numbers are ``found``."""
        levels: dict[str, LevelDistribution] = {}
        problems = []
        for level, plan in self.levels.items():
            try:
                levels[level] = _level(plan, level, model.observed(level), found)
            except DesignError as error:
                problems += [Problem(".".join(plan.path), problem) for problem in error.problems]
        problems = list(dict.fromkeys(problems))  # one table may stand for both levels
        within, between = (levels.get(level, NORMAL_LEVEL) for level in LEVELS)
        return Distribution(within, between), problems

    def rules(self, model: TwoLevelModel, found: Mapping[Path, float]) -> tuple[tuple[MissingRule, ...], list[Problem]]:
        """Rules of missing values in a cell whose numbers are ``found``; those of rate 0 are left out."""
        rules, problems = [], []
        for variable, on in self.missing:
            path = ("missing", "mar" if on else "mcar", variable)
            where = ".".join(path) if on or path in found else "missing.mcar"
            try:
                if on:
                    rule = MissingRule(variable, found[*path, "rate"], on, found[*path, "slope"])
                else:
                    rule = MissingRule(variable, found.get(path, found.get(("missing", "mcar"), 0.0)))
            except DesignError as error:
                problems += [Problem(where, problem) for problem in error.problems]
                continue
            if rule.rate > 0.0:
                rules.append(rule if rule.slope else MissingRule(variable, rule.rate))
        try:
            check_rules(rules, model.level1, model.level2)
        except DesignError as error:
            problems += [Problem("missing", problem) for problem in error.problems]
        return tuple(rules), problems

    def problem(self, text: str) -> Problem:
        """A problem of the moments, whose text begins with its level, at the table it is about.

        Behind the key, its topic names the variables: each has its own problem.
        """
        plan = self.levels.get(text.split()[0])
        return Problem(" ".join([".".join(plan.path) if plan else "missing", *_QUOTED.findall(text)]), text)


COMPLETE_NORMAL = Situation({})


def _level(plan: LevelPlan, level: str, names: Sequence[str], found: Mapping[Path, float]) -> LevelDistribution:
    def of(what: str) -> dict[str, float]:
        """By variable: an entry of the table, or the one number for all."""
        path = (*plan.path, what)
        return {name: found.get((*path, name), found.get(path, 0.0)) for name in names}

    if plan.kind == "t":
        per = plan.per if level == "within" else "row"  # a cluster has one vector
        if (*plan.path, "df") in found:
            return LevelDistribution.t(found[*plan.path, "df"], per)
        kurtosis = found[*plan.path, "kurtosis"]
        if not kurtosis >= 0.0:
            raise DesignError(f"kurtosis: found {kurtosis:g}; allowed: at least 0 for a t distribution")
        return LevelDistribution.t(4.0 + 6.0 / kurtosis, per) if kurtosis else NORMAL_LEVEL
    return LevelDistribution.vale_maurelli(of("skewness"), of("kurtosis"))


def read_situation(
    distribution: object, missing: object, model: TwoLevelModel, entries: Entries, problems: Problems
) -> Situation:
    """Read both keys; numbers go into ``entries``, and what is wrong into ``problems``."""
    levels = {} if distribution is None else _read_distribution(distribution, model, entries, problems)
    return Situation(levels, () if missing is None else _read_missing(missing, model, entries, problems))


def _read_distribution(
    value: object, model: TwoLevelModel, entries: Entries, problems: Problems
) -> dict[str, LevelPlan]:
    path: Path = ("population", "distribution")
    if not isinstance(value, Mapping) or not value:
        problems.add(path, f"found {shown(value)}; allowed: {_DISTRIBUTION}")
        return {}
    plans: dict[str, LevelPlan] = {}
    by_level = set(value) & set(LEVELS) or ("kind" not in value and any(isinstance(v, Mapping) for v in value.values()))
    if not by_level:
        plan = _read_level(value, path, model.variables, "", entries, problems)
        return dict.fromkeys(LEVELS, plan) if plan else {}
    for level, table in value.items():
        if level not in LEVELS:
            problems.add((*path, level), f"unknown level{did_you_mean(level, LEVELS)}; allowed: {', '.join(LEVELS)}")
            continue
        plan = _read_level(table, (*path, level), model.observed(level), f" {level}", entries, problems)
        if plan:
            plans[level] = plan
    return plans


def _read_level(
    value: object, path: Path, names: Sequence[str], where: str, entries: Entries, problems: Problems
) -> LevelPlan | None:
    """Read the table of a level, or of both; None where it is normal or cannot be used."""
    if not isinstance(value, Mapping):
        problems.add(path, f"found {shown(value)}; allowed: {_DISTRIBUTION}")
        return None
    kind = value.get("kind")
    if kind not in KINDS:
        hint = did_you_mean(str(kind), KINDS) if kind is not None else ""
        what = "the kind is missing" if kind is None else f"unknown kind {shown(kind)}{hint}"
        problems.add(path, f"{what}; allowed: {', '.join(KINDS)}")
        return None
    allowed = _OPTIONS[kind]
    unknown = [key for key in value if key not in ("kind", *allowed)]
    for key in unknown:
        hint = f"{did_you_mean(key, allowed)}; allowed: {', '.join(('kind', *allowed))}"
        problems.add((*path, key), f"unknown key of the kind '{kind}'{hint}")
    numbers = [key for key in allowed if key in value and key != "per"]
    if kind == "normal":
        return None
    if (not numbers and not unknown) or (kind == "t" and len(numbers) > 1):
        needed = "either df or kurtosis" if kind == "t" else "skewness, kurtosis, or both"
        problems.add(path, f"the kind '{kind}' needs {needed}")
    for key in numbers:
        _read_numbers(value[key], (*path, key), names if kind == "vale_maurelli" else (), where, entries, problems)
    per = value.get("per", "row")
    if per not in UNITS:
        problems.add((*path, "per"), f"found {shown(per)}; allowed: {' or '.join(UNITS)}")
        per = "row"
    return LevelPlan(kind, tuple(str(part) for part in path[1:]), per)


def _read_numbers(
    value: object, path: Path, names: Iterable[str], where: str, entries: Entries, problems: Problems
) -> None:
    """Read one number, or a table of numbers by variable."""
    names = tuple(names)
    table = value if isinstance(value, Mapping) and names else None
    for name, item in (table or {}).items():
        if name not in names:
            hint = f"{did_you_mean(name, names)}; allowed: {', '.join(names)}"
            problems.add((*path, name), f"no{where} variable '{name}'{hint}")
        else:
            _read_number(item, (*path, name), entries, problems)
    if table is None:
        _read_number(value, path, entries, problems, f"{ENTRY}{', or a table of such by variable' if names else ''}")


def _read_number(value: object, path: Path, entries: Entries, problems: Problems, allowed: str = ENTRY) -> None:
    entry = read_entry(value, path, problems, allowed)
    if entry is not None:
        entries[tuple(str(part) for part in path[1:])] = entry


def _read_missing(
    value: object, model: TwoLevelModel, entries: Entries, problems: Problems
) -> tuple[tuple[str, str], ...]:
    path: Path = ("population", "missing")
    if not isinstance(value, Mapping) or not value:
        problems.add(path, f"found {shown(value)}; allowed: {_MISSING}")
        return ()
    for key in value:
        if key not in ("mcar", "mar"):
            problems.add((*path, key), f"unknown mechanism{did_you_mean(key, ('mcar', 'mar'))}; allowed: {_MISSING}")
    mar = value.get("mar", {})
    if not isinstance(mar, Mapping):
        problems.add((*path, "mar"), f"found {shown(mar)}; allowed: {_MISSING}")
        mar = {}
    rules = [(name, on) for name, rule in mar.items() if (on := _read_mar(name, rule, model, entries, problems))]
    mcar = value.get("mcar")
    if mcar is None:
        return tuple(rules)
    _read_numbers(mcar, (*path, "mcar"), model.variables, "", entries, problems)
    if isinstance(mcar, Mapping):
        twice = [name for name in mcar if name in mar]
        for name in twice:
            problems.add((*path, "mcar", name), f"'{name}' is under mar, too; leave one of them out")
    names = [name for name in model.variables if name not in mar and (not isinstance(mcar, Mapping) or name in mcar)]
    return (*rules, *((name, "") for name in names))


def _read_mar(name: str, rule: Any, model: TwoLevelModel, entries: Entries, problems: Problems) -> str:
    """Read a rule; returns the variable that missing values depend on, or an empty string."""
    path: Path = ("population", "missing", "mar", name)
    if not isinstance(rule, Mapping):
        problems.add(path, f'found {shown(rule)}; allowed: {{ on = "x", rate = 0.3, slope = 1.5 }}')
        return ""
    so_far = len(problems)
    for key in rule:
        if key not in _MAR:
            problems.add((*path, key), f"unknown key{did_you_mean(key, _MAR)}; allowed: {', '.join(_MAR)}")
    lacking = [key for key in _MAR if key not in rule]
    if lacking:
        problems.add(path, f"missing: {', '.join(lacking)}")
    for variable in (name, rule.get("on", name)):
        if variable not in model.variables:
            hint = did_you_mean(str(variable), model.variables)
            allowed = ", ".join(model.variables)
            problems.add(path, f"unknown variable {shown(variable)}{hint}; allowed: {allowed}")
    if rule.get("on") == name:
        problems.add(path, f"'{name}' cannot depend on itself: its missing values would not be missing at random")
    for key in ("rate", "slope"):
        if key in rule:
            _read_number(rule[key], (*path, key), entries, problems)
    return str(rule["on"]) if len(problems) == so_far else ""
