"""TOML text -> `Design`. Everything that is wrong with a file is reported at once."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

from simstudy.design.cells import SETTINGS, SHARES, Recipe, build_cells
from simstudy.design.design import Cell, Design, EstimatorEntry, Intervals
from simstudy.design.factors import COLUMNS, Factor, Level, grid, read_excludes, read_factors
from simstudy.design.problems import Problems
from simstudy.design.schema import (
    RESERVED,
    DesignFile,
    EstimatorsSection,
    IntervalsSection,
    PopulationSection,
    check_schema,
)
from simstudy.design.situation import read_situation
from simstudy.design.values import Entries, Names, check_names, names_used, read_entry, reference
from simstudy.errors import DesignError, EstimatorError, ModelError, did_you_mean
from simstudy.methods import ask, registry
from simstudy.model.products import factors_of
from simstudy.model.slope_structure import Meaning
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.given import name_problem, resolve, share_problem
from simstudy.population.sizes import ClusterSizes, parse_groups, parse_sizes


def load_design(path: str | FilePath) -> Design:
    """Read a design file.

    Raises
    ------
    DesignError
        One message a problem, each with file, line and key.
    """
    path = FilePath(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        files = [file.name for file in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise DesignError(f"{path}: there is no such file{did_you_mean(path.name, files)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DesignError(f"{path}: cannot be read: {error}") from None
    return parse_design(text, str(path))


@dataclass(frozen=True)
class Reading:
    """A design file that has been read, before its cells are made.

    Attributes
    ----------
    file : DesignFile
    problems : Problems
        What is wrong so far.
    model : TwoLevelModel or None
        The analysed model; None if it cannot be used.
    recipe : Recipe or None
        How populations are made; None if something is wrong.
    factors : tuple of Factor
    excludes : list of dict
        Levels of factors that are taken out.
    estimators : tuple of EstimatorEntry
    intervals : Intervals
    """

    file: DesignFile
    problems: Problems
    model: TwoLevelModel | None
    recipe: Recipe | None
    factors: tuple[Factor, ...]
    excludes: list[dict[str, tuple[Level, ...]]]
    estimators: tuple[EstimatorEntry, ...]
    intervals: Intervals


def read_toml(text: str, source: str) -> dict[str, Any]:
    """Read TOML.

    Raises
    ------
    DesignError
        With line and column.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DesignError(_toml_message(error, text, source)) from None


def parse_design(text: str, source: str = "design") -> Design:
    """Read the text of a design file; ``source`` is what messages call it.

    Raises
    ------
    DesignError
        One message a problem, each with line and key.
    """
    found = read_raw(read_toml(text, source), text, source)
    file, problems, model, factors = found.file, found.problems, found.model, found.factors
    cells: tuple[Cell, ...] = ()
    if found.recipe is not None:
        combinations = grid(factors, found.excludes)
        if not combinations:
            problems.add(("exclude", 0), "no cell is left: the tables exclude every combination of factor values")
        cells = build_cells(found.recipe, factors, combinations, problems)
    problems.raise_if_any()
    assert model is not None
    return Design(
        name=file.study.name,
        aim=" ".join(file.study.aim.split()),
        replications=file.study.replications,
        seed=file.study.seed,
        text=text,
        model=model,
        cells=cells,
        estimators=found.estimators,
        intervals=found.intervals,
        factor_names=tuple(factor.name for factor in factors),
        std_lv=file.model.std_lv,
        timeout=file.run.timeout,
    )


def read_raw(raw: dict[str, Any], text: str, source: str) -> Reading:
    """Read a file's tables; ``text`` tells the lines of its keys."""
    problems = Problems(source, text)
    file, bad = check_schema(raw, problems)
    estimators = () if "estimators" in bad else _estimators(file.estimators, problems)
    intervals = _intervals(file.intervals, problems)
    model = None
    if "model" not in bad:
        model = _model(file.model.syntax, std_lv=file.model.std_lv, path=("model", "syntax"), problems=problems)
    if model is not None:
        estimators = tuple(replace(e, estimator=ask.for_model(e.estimator, model)) for e in estimators)
    generating = model
    if file.population.syntax is not None:
        path = ("population", "syntax")
        generating = _model(file.population.syntax, std_lv=file.model.std_lv, path=path, problems=problems)
    so_far = len(problems)
    factors = read_factors(file.factors, problems)
    excludes = read_excludes(file.exclude, factors, problems) if "factors" not in bad else []
    recipe = None
    if model is not None and generating is not None and bad.isdisjoint(("population", "factors")):
        _check_variables(model, generating, problems)
        recipe = _recipe(file, model, generating, factors, problems)
        recipe = recipe if len(problems) == so_far else None
    return Reading(file, problems, model, recipe, factors, excludes, estimators, intervals)


def _toml_message(error: tomllib.TOMLDecodeError, text: str, source: str) -> str:
    """Message of a TOML syntax error with line and column in front."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), flags=re.DOTALL)
    if match is None:
        return f"{source}: TOML syntax error: {error}"
    line, column = (match.group(2), match.group(3)) if match.group(2) else (len(text.splitlines()), "end")
    rest = text.splitlines()[int(line) - 1][int(column) - 1 :] if column != "end" else ""
    hint = f" (a number begins with a digit: 0{rest.split(',')[0].strip(' ]}')})" if re.match(r"\.\d", rest) else ""
    return f"{source}:{line}:{column}: TOML syntax error: {match.group(1)}{hint}"


def _model(syntax: str, *, std_lv: bool, path: tuple[str, ...], problems: Problems) -> TwoLevelModel | None:
    try:
        model = TwoLevelModel.from_syntax(syntax, std_lv=std_lv)
    except ModelError as error:
        problems.add_model(path, error.problems)
        return None
    products = [name for name in model.variables if factors_of(name)]
    for name in products:
        problems.add(path, f"'{name}' is a product of columns; data are drawn for models without products only")
    return None if products else model


def _check_variables(model: TwoLevelModel, generating: TwoLevelModel, problems: Problems) -> None:
    """Note variables that the analysed model has and the generating model lacks, or has at another level."""
    for level, mine, theirs in (
        (1, model.level1, generating.level2),
        (2, model.level2, generating.level1),
    ):
        for name in mine:
            if name in theirs:
                problems.add(
                    ("population", "syntax"),
                    f"variable '{name}' is measured at level {level} in the analysed model, but at level {3 - level} "
                    "in the generating model",
                )
            elif name not in generating.variables:
                hint = did_you_mean(name, generating.variables)
                problems.add(
                    ("population", "syntax"),
                    f"the generating model has no variable '{name}', which the analysed model has{hint}; it has: "
                    f"{', '.join(generating.variables)}",
                )


def _recipe(
    file: DesignFile,
    model: TwoLevelModel,
    generating: TwoLevelModel,
    factors: Sequence[Factor],
    problems: Problems,
) -> Recipe:
    """Read ``[population]`` together with the factors that stand for its entries."""
    section, so_far = file.population, len(problems)
    entries: Entries = {}
    for key, value in (section.model_extra or {}).items():
        entry = read_entry(value, ("population", key), problems)
        named = resolve(generating, key)
        if isinstance(named, str):
            setting = did_you_mean(key, RESERVED)
            problems.add(("population", key), named.split(";")[0] + setting if setting else named)
        elif entry is not None:
            entries[key,] = entry
    for what in SHARES:
        _read_shares(what, getattr(section, what), generating, entries, problems)
    situation = read_situation(section.distribution, section.missing, generating, entries, problems)
    direct = _direct(factors, section, generating)
    sizes, sizes_key = _read_sizes(section, direct, entries, problems)
    entries |= {(factor.name,): reference(factor.name) for factor in direct if factor.numeric}
    names = Names(
        factors=tuple(factor.name for factor in factors if factor.numeric),
        words={
            factor.name: f"'{label}'"
            for factor in factors
            if not factor.numeric
            for label in [next(level.label for level in factor.levels if isinstance(level, ClusterSizes))]
        },
        constants=generating.table.constants,
    )
    check_names(entries, names, problems)
    used = names_used(entries) | {factor.name for factor in direct}
    for factor in factors if len(problems) == so_far else ():  # a misspelt name is not an unused factor, too
        if factor.name not in used and factor.name not in COLUMNS:
            problems.add(("factors", factor.name), _unused(factor.name, section, generating))
    n_between = len(model.observed("between"))
    slopes = _slopes(section, generating, problems)
    return Recipe(generating, entries, sizes, sizes_key, n_between, file.model.std_lv, situation, slopes)


def _slopes(section: PopulationSection, generating: TwoLevelModel, problems: Problems) -> Meaning:
    """What random slopes multiply; a choice that no slope is there for is a mistake."""
    if section.slopes is not None and not generating.slopes:
        problems.add(
            ("population", "slopes"),
            f"found '{section.slopes}', but the generating model has no random slope; write one as y ~ rv(\"s\")*x",
        )
    return section.slopes or "latent"


def _read_shares(what: str, value: object, model: TwoLevelModel, entries: Entries, problems: Problems) -> None:
    """Read ``variance`` or ``icc``: one entry, or a table by variable."""
    if value is None:
        return
    path = ("population", what)
    if not isinstance(value, dict):
        entry = read_entry(value, path, problems, "a number or an expression in quotes, or a table of such by variable")
        if isinstance(entry, float) and (wrong := share_problem(what, entry)):
            problems.add(path, wrong)
        elif entry is not None:
            entries[what,] = entry
        return
    for name, item in value.items():
        entry = read_entry(item, (*path, name), problems)
        wrong = name_problem(model, what, name)
        if isinstance(entry, float) and not wrong:
            wrong = share_problem(what, entry)
        if wrong:
            problems.add((*path, name), wrong)
        elif entry is not None:
            entries[what, name] = entry


def _direct(factors: Iterable[Factor], section: PopulationSection, model: TwoLevelModel) -> list[Factor]:
    """Factors that stand for the entry of ``[population]`` whose name they have, as that is not given there."""
    given = section.model_fields_set | set(section.model_extra or {})
    return [
        factor
        for factor in factors
        if factor.name not in given and (factor.name in SETTINGS or not isinstance(resolve(model, factor.name), str))
    ]


def _read_sizes(
    section: PopulationSection, direct: Sequence[Factor], entries: Entries, problems: Problems
) -> tuple[ClusterSizes | None, str]:
    """Cluster sizes that are the same in every cell, if so; what is missing or said twice."""
    varied = {factor.name for factor in direct}
    have = {name for name in ("n_clusters", "cluster_size", "clusters") if getattr(section, name) is not None} | varied
    sizes: ClusterSizes | None = None
    key = "clusters" if "clusters" in have else "cluster_size"
    try:
        if section.clusters is not None:
            sizes = parse_groups(section.clusters, "clusters")
        elif section.cluster_size is not None and not isinstance(section.cluster_size, str):
            sizes = parse_sizes(section.cluster_size, "cluster_size")
    except DesignError as error:
        for message in error.problems:
            problems.add(("population", key), message.removeprefix(f"{key}: "))
        return None, key
    for name in ("n_clusters", "cluster_size"):
        value = getattr(section, name)
        if value is not None and (name == "n_clusters" or isinstance(value, str)):
            entry = read_entry(value, ("population", name), problems)
            if entry is not None:
                entries[name,] = entry
    if sizes is not None and sizes.kind == "constant":
        entries["cluster_size",] = float(sizes.sizes[0])  # expressions may refer to it
    if "clusters" in have:
        for name in sorted(have & {"n_clusters", "cluster_size"}):
            where = "factors" if name in varied else "population"
            problems.add((where, name), "'clusters' fixes number and sizes of clusters at once; leave one of them out")
        return sizes, key
    if "cluster_size" not in have:
        problems.add(
            ("population",),
            'cluster sizes are missing: give cluster_size (here or as a factor), or clusters such as "40 (5) 50 (10)"',
        )
    if "n_clusters" not in have and not (sizes is not None and sizes.n_clusters) and not _listed(direct):
        problems.add(("population",), "n_clusters is missing: give it here or as a factor")
    return sizes, key


def _listed(direct: Iterable[Factor]) -> bool:
    """Whether all levels of a factor of cluster sizes list every cluster."""
    return any(
        all(isinstance(level, ClusterSizes) and level.n_clusters for level in factor.levels)
        for factor in direct
        if factor.name == "cluster_size"
    )


def _unused(name: str, section: PopulationSection, model: TwoLevelModel) -> str:
    """Why a factor has no effect."""
    if name in section.model_fields_set or name in (section.model_extra or {}):
        return (
            f"the factor has no effect: [population] gives '{name}' without using it; use it in an expression there, "
            "or leave one of them out"
        )
    labels = [row.label for row in model.table.rows if row.label]
    hint = did_you_mean(name, [*SETTINGS, *labels])
    return f'the factor is used nowhere{hint}; use it in an expression of [population], such as icc = "{name}"'


def _estimators(section: EstimatorsSection, problems: Problems) -> tuple[EstimatorEntry, ...]:
    """Make the methods, each with its options."""
    tables = dict(section.model_extra or {})
    entries = []
    for k, name in enumerate(section.use):
        if name in section.use[:k]:
            problems.add(("estimators", "use"), f"'{name}' stands in the list twice")
            continue
        options = tables.pop(name, {})
        if not isinstance(options, dict):
            problems.add(("estimators", name), f"found {options!r}; allowed: a table of options")
            continue
        options = dict(options)
        method = str(options.pop("estimator", name))  # another name: one method with several sets of options
        path = ("estimators", name) if options or method != name else ("estimators", "use")
        try:
            entries.append(EstimatorEntry(name, method, registry.create(method, options)))
        except EstimatorError as error:
            for message in error.problems:
                problems.add(path, message)
    for name in tables:
        hint = "; add it there, or leave them out"
        if name not in registry.names():
            hint = did_you_mean(name, ["use", *section.use, *registry.names()])
        problems.add(("estimators", name), f"options of a method that is not in 'use'{hint}")
    return tuple(entries)


def _intervals(section: IntervalsSection, problems: Problems) -> Intervals:
    kinds = tuple(dict.fromkeys(section.kinds))
    if len(kinds) < len(section.kinds):
        problems.add(("intervals", "kinds"), "a kind stands in the list twice")
    return Intervals(section.level, kinds, section.draws)


def find_modules_beside(path: str | FilePath) -> None:
    """Put a file's folder at the end of ``sys.path``."""
    folder = str(FilePath(path).resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
