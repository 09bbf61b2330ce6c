"""What of a study's performance is to be printed, looked up by cell, parameter, method and kind of SE."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd

from simstudy.errors import SimstudyError, did_you_mean
from simstudy.performance import MEASURES, PAIRED, own_name
from simstudy.performance.choose import LEVEL_PREFIXES, choose_parameters, in_order
from simstudy.report.tables.text import NOTHING, Number, setting

SIDE_MEASURES = ("bias", "coverage", "rejection")
"""Measures that are shown on every basis side by side."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What of a study a table shows.

    Parameters
    ----------
    study_name, level, width
        Name of the study, level of the intervals, characters a line.
    factors : tuple of str
        Names of the design factors.
    settings : mapping of cell to tuple of str
        Levels of the factors of each cell; its keys are the cells, in order.
    estimators, parameters : tuple of str
        In the study's order.
    parameter_levels : mapping of parameter to str
        within, between, both, or empty.
    truth : mapping of (cell, parameter) to float
        NaN where there is none.
    kinds : mapping of (cell, parameter, method) to tuple of str
        Kinds of SE that the method has for the parameter.
    left_out : tuple of str
        What is not shown, and how to see it.
    cells_chosen : bool
        The reader asked for these very cells.
    """

    study_name: str
    level: float
    width: int
    factors: tuple[str, ...]
    settings: Mapping[int, tuple[str, ...]]
    estimators: tuple[str, ...]
    parameters: tuple[str, ...]
    parameter_levels: Mapping[str, str]
    truth: Mapping[tuple[int, str], float]
    kinds: Mapping[tuple[int, str, str], tuple[str, ...]]
    left_out: tuple[str, ...]
    cells_chosen: bool

    @property
    def cells(self) -> tuple[int, ...]:
        """Cells shown, in order."""
        return tuple(self.settings)

    @property
    def one_kind(self) -> bool:
        """Whether no more than one kind of SE is shown."""
        return len({kind for kinds in self.kinds.values() for kind in kinds if kind}) <= 1

    def first_kind(self, cell: int, parameter: str, estimator: str) -> str:
        """Kind of SE that stands for the method where there is room for one only."""
        return self.kinds.get((cell, parameter, estimator), ("",))[0]

    def arms(self, cell: int, parameter: str) -> list[tuple[str, str]]:
        """Pairs of method and kind of SE."""
        methods = ((name, self.kinds.get((cell, parameter, name), ())) for name in self.estimators)
        return [(name, kind) for name, kinds in methods for kind in kinds]

    def cell_title(self, cell: int) -> str:
        """Return e.g. ``Cell 3: n_clusters = 50, icc = 0.1``."""
        pairs = zip(self.factors, self.settings[cell], strict=True)
        text = ", ".join(f"{factor} = {level}" for factor, level in pairs)
        return f"Cell {cell}: {text}" if text else f"Cell {cell}"

    def labels(self, cell: int) -> dict[str, object]:
        """Levels of the factors and the number of a cell, as the columns of a table."""
        return {**dict(zip(self.factors, self.settings[cell], strict=True)), "cell": cell}

    def parameter_title(self, parameter: str, cell: int | None = None) -> str:
        """Name and level of a parameter, and its truth in a cell."""
        level = self.parameter_levels.get(parameter, "")
        text = f"{parameter} ({level})" if level and not parameter.startswith(LEVEL_PREFIXES) else parameter
        if cell is None:
            return text
        truth = self.truth.get((cell, parameter), math.nan)
        return f"{text}, {'no true value' if math.isnan(truth) else f'truth {truth:.6g}'}"


@dataclass(frozen=True, kw_only=True)
class View(Shown):
    """The part of a performance table that is printed, and what the printing needs to know.

    Parameters
    ----------
    replications : int
        Asked for.
    numbers : mapping of (basis, cell, parameter, method, kind of SE, measure) to Number
        Every measure case-wise and paired; on the other bases those of `SIDE_MEASURES`.
    measures : tuple of str
        Measures that the reader asked for; empty for the style's own choice.
    reference : str
        Method that differences refer to.
    failures : DataFrame
        Failures of the cells shown.
    common : DataFrame
        Case-wise and common values side by side: cell, estimator, parameter, measure, value, value_common, n_common.
    cell_replications : mapping of cell to int
        Replications asked for of each cell, where they differ.
    """

    replications: int
    numbers: Mapping[tuple[str, int, str, str, str, str], Number]
    measures: tuple[str, ...]
    reference: str
    failures: pd.DataFrame
    common: pd.DataFrame
    cell_replications: Mapping[int, int] = field(default_factory=dict)

    def asked(self, cell: int) -> int:
        """Replications asked for of a cell."""
        return self.cell_replications.get(cell, self.replications)

    def number(
        self, cell: int, parameter: str, estimator: str, se_kind: str, measure: str, basis: str = "casewise"
    ) -> Number:
        """Return a number; nothing with n = 0 if the table has no such row."""
        about = MEASURES[measure].about
        if about == "fit":
            parameter, se_kind = "", ""
        if about == "pair":
            basis = PAIRED
        return self.numbers.get((basis, cell, parameter, estimator, se_kind, measure), NOTHING)


def choose_measures(wanted: Sequence[str] | None) -> list[str]:
    """Resolve names and patterns into measures, in the order asked for; none are asked for by default.

    Raises
    ------
    SimstudyError
        One problem for each name or pattern that is no measure's.
    """
    chosen: dict[str, None] = {}
    problems = []
    for name in map(own_name, wanted or ()):
        found = [name] if name in MEASURES else [known for known in MEASURES if fnmatchcase(known, name)]
        chosen.update(dict.fromkeys(found))
        if not found:
            allowed = ", ".join(MEASURES)
            problems.append(f"measures: there is no '{name}'{did_you_mean(name, MEASURES)}; allowed: {allowed}")
    if problems:
        raise SimstudyError(problems)
    return list(chosen)


def choose_cells(wanted: Sequence[int] | None, available: Sequence[int]) -> list[int]:
    """Check the cells asked for; all cells if none are.

    Raises
    ------
    SimstudyError
        If a cell is not in the study.
    """
    if wanted is None:
        return list(available)
    unknown = [cell for cell in wanted if cell not in set(available)]
    if unknown:
        numbers = f"{min(available)} to {max(available)}" if available else "none"
        raise SimstudyError([f"cells: the study has no cell {cell}; it has {numbers}" for cell in unknown])
    return [cell for cell in available if cell in set(wanted)]


def _common(rows: pd.DataFrame) -> pd.DataFrame:
    """Case-wise and common values of bias and coverage side by side."""
    keys = ["cell", "estimator", "se_kind", "parameter", "measure"]
    some = rows[rows["measure"].isin(["bias", "coverage"])]
    casewise = some[some["basis"] == "casewise"][[*keys, "value", "n"]]
    common = some[some["basis"] == "common"][[*keys, "value", "n"]]
    return casewise.merge(common, on=keys, suffixes=("", "_common"))


def _numbers(rows: pd.DataFrame) -> dict[tuple[str, int, str, str, str, str], Number]:
    """Index the rows that a table may print."""
    wanted = rows["basis"].isin(["casewise", PAIRED]) | rows["measure"].isin(SIDE_MEASURES)
    columns = ("basis", "cell", "parameter", "estimator", "se_kind", "measure", "value", "mcse", "n")
    return {
        (basis, int(cell), parameter, estimator, kind, measure): Number(float(value), float(mcse), int(n))
        for basis, cell, parameter, estimator, kind, measure, value, mcse, n in zip(
            *(rows.loc[wanted, name].tolist() for name in columns), strict=True
        )
    }


def _reference(rows: pd.DataFrame) -> str:
    """Name the reference method; empty where nothing is compared."""
    found = rows.loc[rows["basis"] == PAIRED, "reference"] if "reference" in rows.columns else pd.Series(dtype="str")
    return str(found.iloc[0]) if len(found) else ""


def make_view(
    performance: pd.DataFrame,
    failures: pd.DataFrame,
    *,
    parameters: Sequence[str] | None,
    cells: Sequence[int] | None,
    factors: Sequence[str],
    level: float,
    study_name: str,
    replications: int,
    width: int,
    measures: Sequence[str] | None = None,
    cell_replications: Mapping[int, int] | None = None,
) -> View:
    """Choose the rows to print and index them.

    Raises
    ------
    SimstudyError
        If a parameter, cell or factor is not in the table.
    """
    missing = [name for name in factors if name not in performance.columns]
    if missing:
        raise SimstudyError([f"factors: the performance table has no column '{name}'" for name in missing])
    shown = facts_shown(performance, parameters, cells, factors)
    rows = performance[
        performance["parameter"].isin([*shown["parameters"], ""]) & performance["cell"].isin(shown["settings"])
    ]
    n_cells = performance["cell"].nunique()
    hidden = n_cells - len(shown["settings"])
    if hidden:
        shown["left_out"] += (f"{hidden} of {n_cells} cells (without --cell all are shown)",)
    return View(
        **shown,
        **rows_shown(rows[(rows["basis"] == "casewise") & (rows["parameter"] != "")]),
        study_name=study_name,
        replications=replications,
        level=level,
        width=width,
        numbers=_numbers(rows),
        measures=tuple(choose_measures(measures)),
        reference=_reference(rows),
        failures=failures[failures["cell"].isin(shown["settings"])],
        common=_common(rows),
        cell_replications=cell_replications or {},
    )


def facts_shown(
    table: pd.DataFrame, parameters: Sequence[str] | None, cells: Sequence[int] | None, factors: Sequence[str]
) -> dict[str, Any]:
    """Fields of `Shown` about the cells and parameters of a long table that are asked for.

    Raises
    ------
    SimstudyError
        If a parameter or cell is not in the table.
    """
    available = in_order(table["parameter"].unique())
    chosen = choose_parameters(parameters, available)
    shown = choose_cells(cells, [int(cell) for cell in sorted(table["cell"].unique())])
    places = table.drop_duplicates("cell").set_index("cell")
    hidden = len(available) - len(chosen)
    said = f"{hidden} of {len(available)} parameters (--parameter '*' shows all)"
    return {
        "factors": tuple(factors),
        "settings": {cell: tuple(setting(places.at[cell, name]) for name in factors) for cell in shown},
        "estimators": tuple(in_order(table["estimator"].unique())),
        "parameters": tuple(chosen),
        "left_out": (said,) if hidden else (),
        "cells_chosen": cells is not None,
    }


def rows_shown(rows: pd.DataFrame) -> dict[str, Any]:
    """Fields of `Shown` about the rows of parameters that are printed: levels, truths, kinds of SE."""
    keys = ["cell", "parameter", "estimator", "se_kind"]
    kinds: dict[tuple[int, str, str], tuple[str, ...]] = {}
    for cell, parameter, estimator, kind in rows[keys].drop_duplicates().itertuples(index=False, name=None):
        place = (int(cell), parameter, estimator)
        kinds[place] = (*kinds.get(place, ()), kind)
    first = rows.drop_duplicates(["cell", "parameter"])
    truths = zip(first["cell"], first["parameter"], first["truth"], strict=True)
    return {
        "kinds": kinds,
        "parameter_levels": dict(zip(first["parameter"], first["level"], strict=True)),
        "truth": {(int(cell), parameter): float(value) for cell, parameter, value in truths},
    }
