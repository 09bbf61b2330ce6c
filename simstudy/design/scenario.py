"""`Scenario`: one situation of a design with the number of clusters, and perhaps their size, left open.

What a planner varies is not fixed in it; everything else is. It is read from a design file (or a template), in which
settings may replace values: factors with several levels must be fixed, as a plan is about one population at a time.
"""

from __future__ import annotations

import copy
import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from simstudy.design.cells import SHARES, Recipe, one_cell
from simstudy.design.design import Cell, EstimatorEntry, Intervals, digest_of
from simstudy.design.factors import Level
from simstudy.design.load import read_raw, read_toml
from simstudy.design.schema import shown
from simstudy.design.values import names_used
from simstudy.errors import DesignError, EstimatorError, ModelError, did_you_mean
from simstudy.linalg.stacked import FloatArray
from simstudy.methods import ask, registry
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.given import resolve
from simstudy.population.sizes import parse_groups, parse_sizes, run_lengths

SIZES = ("n_clusters", "cluster_size", "clusters")


@dataclass(frozen=True)
class Scenario:
    """A population whose number of clusters is open, and the method to analyse it with.

    Attributes
    ----------
    name : str
        Of the study.
    seed : int
    model : TwoLevelModel
        The analysed model.
    entry : EstimatorEntry
    intervals : Intervals
    recipe : Recipe
        How populations are made.
    levels : dict
        What every population has: values of factors, and the cluster sizes unless they are open too.
    uncertain : tuple of str
        Values that are given anew with each population.
    se_kind : str
        Kind of SE that is looked at.
    digest : str
        Changes with whatever determines data and estimates.
    settings : dict
        Values put in place of the file's, as they were typed.
    n_clusters : int or None
        The design's number of clusters, if it has one number.
    """

    name: str
    seed: int
    model: TwoLevelModel
    entry: EstimatorEntry
    intervals: Intervals
    recipe: Recipe
    levels: Mapping[str, Level]
    uncertain: tuple[str, ...] = ()
    se_kind: str = ""
    digest: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    n_clusters: int | None = None
    _params: dict[tuple[tuple[str, float], ...], FloatArray] = field(default_factory=dict, compare=False, repr=False)

    @property
    def open_size(self) -> bool:
        """Whether the cluster size is open."""
        return self.recipe.sizes is None and "cluster_size" not in self.levels

    @property
    def size_label(self) -> str:
        """Short name of the cluster sizes; empty where they are open."""
        if self.open_size:
            return ""
        sizes = self.recipe.sizes or parse_sizes(self.levels["cluster_size"])
        return sizes.label

    def cell(self, n_clusters: int, cluster_size: int | None = None, values: Mapping[str, float] | None = None) -> Cell:
        """The population at a number of clusters, and at a cluster size where that is open.

        Raises
        ------
        DesignError
            If there is no such population.
        """
        levels: dict[str, Level] = {**self.levels, **(values or {}), "n_clusters": n_clusters}
        if cluster_size is not None:
            levels["cluster_size"] = cluster_size
        if self._depends_on_sizes:
            return one_cell(self.recipe, levels)
        key = tuple(sorted((values or {}).items()))
        cell = one_cell(self.recipe, levels, self._params.get(key))
        self._params[key] = np.asarray(cell.population.values)
        return cell

    @cached_property
    def _depends_on_sizes(self) -> bool:
        """Whether a generating value is an expression of the number or the size of clusters."""
        values = {path: entry for path, entry in self.recipe.entries.items() if path[0] not in SIZES}
        return not names_used(values).isdisjoint(SIZES)


def read_scenario(
    text: str,
    source: str,
    *,
    settings: Mapping[str, str] | None = None,
    method: str = "msem",
    se: str | None = None,
    interval: str = "wald",
    level: float | None = None,
    open_size: bool = False,
    uncertain: Sequence[str] = (),
    seed: int | None = None,
) -> Scenario:
    """Read a design file as a scenario.

    Parameters
    ----------
    text, source : str
        Design file, and what messages call it.
    settings : mapping, optional
        Values to put in place of the file's, as text: of a factor, of ``icc``, ``icc.x``, ``variance``,
        ``cluster_size``, or of a parameter by label or path.
    method : str
        Method of the design, or of the registry.
    se : str, optional
        Kind of SE; the method's first by default.
    interval : str
        ``wald`` or ``montecarlo``.
    level : float, optional
        Of the intervals; the design's by default.
    open_size : bool
        Leave the cluster size open too.
    uncertain : sequence of str
        Values that are given with each population.
    seed : int, optional
        Instead of the design's.

    Raises
    ------
    DesignError
        One message a problem.
    """
    raw = copy.deepcopy(read_toml(text, source))
    problems: list[str] = []
    clusters = _n_clusters(raw)
    if seed is not None and isinstance(raw.get("study"), dict):
        raw["study"]["seed"] = seed
    for name, value in (settings or {}).items():
        _set(raw, name, read_value(value), problems)
    _open(raw, open_size, problems)
    for name in uncertain:
        _set_free(raw, name, problems)
    _settle_factors(raw, set(uncertain), problems)
    _intervals(raw, interval, level)
    entry = _method(raw, method, se, problems)
    raw.pop("exclude", None)
    found = read_raw(raw, text, source)
    if len(found.problems) or problems:
        found.problems.note(problems)
        found.problems.raise_if_any()
    assert found.recipe is not None
    assert found.model is not None
    assert entry is not None
    # with random slopes some methods are used otherwise, and then "expected" SEs are observed ones
    entry = dataclasses.replace(entry, estimator=ask.for_model(entry.estimator, found.model))
    kinds = entry.estimator.se_kinds
    levels = {factor.name: factor.levels[0] for factor in found.factors}
    free = {"n_clusters", *uncertain, *(("cluster_size",) if open_size else ())}
    relevant = {name: table for name, table in raw.items() if name not in ("study", "estimators", "run")}
    return Scenario(
        name=found.file.study.name,
        seed=found.file.study.seed,
        model=found.model,
        entry=entry,
        intervals=found.intervals,
        recipe=found.recipe,
        levels={name: value for name, value in levels.items() if name not in free},
        uncertain=tuple(uncertain),
        se_kind=se if se in kinds else kinds[0],
        digest=digest_of({"version": 1, "seed": found.file.study.seed, "file": relevant, "method": entry.digest}),
        settings=dict(settings or {}),
        n_clusters=clusters,
    )


def read_value(text: str) -> Any:
    """A value as it is typed: a number, TOML, or the text itself (an expression)."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _tables(raw: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``[population]`` and ``[factors]``, made where they are missing; what is no table is left for the reader."""
    found = []
    for name in ("population", "factors"):
        table = raw.setdefault(name, {})
        found.append(table if isinstance(table, dict) else {})
    return found[0], found[1]


def _n_clusters(raw: dict[str, Any]) -> int | None:
    """The design's number of clusters; None if it has several, or none."""
    population, factors = _tables(raw)
    value = population.get("n_clusters")
    levels = factors.get("n_clusters")
    if value is None and isinstance(levels, list) and len(levels) == 1:
        value = levels[0]
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _set(raw: dict[str, Any], name: str, value: Any, problems: list[str]) -> None:
    """Put a value in place of the file's."""
    population, factors = _tables(raw)
    share, dot, variable = name.partition(".")
    if name == "n_clusters":
        problems.append("set n_clusters: give it with --n-clusters where --over cluster_size searches the size")
    elif name in factors:
        factors[name] = [value]
    elif name in SIZES:
        for key in SIZES[1:]:
            population.pop(key, None)
            factors.pop(key, None)
        population[name] = value
    elif dot and share in SHARES:
        _by_variable(raw, share)[variable] = value
    else:
        population[name] = value


def _set_free(raw: dict[str, Any], name: str, problems: list[str]) -> None:
    """Make a value one that is given with each population: a factor of that name."""
    population, factors = _tables(raw)
    share, dot, variable = name.partition(".")
    if name in SIZES:
        problems.append(f"uncertain {name}: sizes are what the plan looks for; allowed: parameters, icc, variance")
        return
    if dot and share in SHARES:
        _by_variable(raw, share)[variable] = name
    elif name in SHARES and isinstance(population.get(name), dict) and name not in factors:
        names = ", ".join(f"'{name}.{key}'" for key in population[name])
        problems.append(f"uncertain {name}: the design has a table of it by variable; name one of {names}")
        return
    elif name not in factors:
        model = _generating(raw)
        problem = resolve(model, name) if model is not None and name not in SHARES else ""
        if isinstance(problem, str) and problem:
            problems.append(f"uncertain {name}: {problem}")
            return
        population.pop(name, None)
    factors[name] = [0.5]  # any number: it is replaced in every population


def _by_variable(raw: dict[str, Any], share: str) -> dict[str, Any]:
    """The table of ICCs or variances by variable; one number for all becomes a table."""
    population, _ = _tables(raw)
    table = population.get(share)
    if isinstance(table, dict):
        return table
    model = _generating(raw)
    names = () if model is None else model.both if share == "icc" else model.variables
    found = dict.fromkeys(names, table) if table is not None else {}
    population[share] = found
    return found


def _generating(raw: dict[str, Any]) -> TwoLevelModel | None:
    """The generating model; None where the reader will say what is wrong with it."""
    sections = [section for name in ("population", "model") if isinstance(section := raw.get(name), dict)]
    syntax = next((section["syntax"] for section in sections if isinstance(section.get("syntax"), str)), "")
    try:
        return TwoLevelModel.from_syntax(syntax)
    except ModelError:
        return None


def _open(raw: dict[str, Any], open_size: bool, problems: list[str]) -> None:
    """Leave the number of clusters open, and the size if asked; a list of every cluster's size becomes its shares."""
    population, factors = _tables(raw)
    for table in (population, factors):
        table.pop("n_clusters", None)
        for key in SIZES[1:]:
            if open_size:
                table.pop(key, None)
                continue
            levels = table.get(key) if table is factors else [table[key]] if key in table else None
            if not isinstance(levels, list) or not levels:
                continue
            if len(levels) > 1:
                problems.append(
                    f"cluster_size: the design has {len(levels)} ({_some(levels)}); a plan is about one: give it with "
                    "--cluster-size, or search it with --over cluster_size"
                )
            shares = _shares(key, levels[0])
            if shares is not None:
                table.pop(key)
                population["cluster_size"] = shares
            elif table is factors:
                factors[key] = levels[:1]
    factors["n_clusters"] = [100]  # any number: it is replaced in every population
    if open_size:
        factors["cluster_size"] = [10]


def _shares(key: str, value: Any) -> dict[str, Any] | None:
    """Shares of the sizes where every cluster's size is listed, so that they hold for any number of clusters."""
    try:
        sizes = parse_groups(value) if key == "clusters" else parse_sizes(value)
    except DesignError:
        return None  # the reader says what is wrong
    if sizes.kind != "explicit":
        return None
    counts = run_lengths(sizes.layout())
    total = len(sizes.sizes)
    return {"mix": {str(size): count / total for size, count in counts}}


def _settle_factors(raw: dict[str, Any], uncertain: set[str], problems: list[str]) -> None:
    """Every other factor must have one level."""
    _, factors = _tables(raw)
    for name, levels in factors.items():
        if name in (*SIZES, *uncertain) or not isinstance(levels, list) or len(levels) < 2:
            continue
        problems.append(
            f"factor {name}: the design has {len(levels)} levels ({_some(levels)}); a plan is about one: "
            f"--set '{name}={_plain(levels[0])}'"
        )
        factors[name] = levels[:1]


def _some(levels: Sequence[Any]) -> str:
    return ", ".join(_plain(level) for level in levels[:6]) + (", ..." if len(levels) > 6 else "")


def _plain(level: Any) -> str:
    try:
        return parse_sizes(level).label if isinstance(level, (dict, list)) else f"{level}"
    except DesignError:
        return shown(level)


def _intervals(raw: dict[str, Any], interval: str, level: float | None) -> None:
    section = raw.setdefault("intervals", {})
    if isinstance(section, dict):
        section["kinds"] = [interval]
        if interval == "wald":
            section.pop("draws", None)  # another number of them is no other plan
        if level is not None:
            section["level"] = level


def _method(raw: dict[str, Any], method: str, se: str | None, problems: list[str]) -> EstimatorEntry | None:
    """The method with the design's options, made to return the one kind of SE that is needed."""
    section = raw.get("estimators")
    section = section if isinstance(section, dict) else {}
    options = section.get(method, {})
    options = dict(options) if isinstance(options, dict) else {}
    registered = str(options.pop("estimator", method))
    options.pop("measures", None)  # fit measures are of no use here
    raw["estimators"] = {"use": ["msem"]}
    try:
        found = registry.create(registered, options)
        kind = se or found.se_kinds[0]
        if found.se_kinds != (kind,) and "se" in registry.options(registered):
            found = registry.create(registered, {**options, "se": [kind]})
    except EstimatorError as error:
        problems += [f"method: {problem}" for problem in error.problems]
        return None
    if kind not in found.se_kinds:
        allowed = f"; allowed: {', '.join(found.se_kinds)}"
        problems.append(f"se: {method} has no SE of the kind '{se}'{did_you_mean(kind, found.se_kinds)}{allowed}")
        return None
    return EstimatorEntry(method, registered, found)
