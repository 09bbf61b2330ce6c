"""What of a study's performance is to be printed, looked up by cell, parameter, method and kind of SE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import pandas as pd

from simstudy.errors import SimstudyError, did_you_mean
from simstudy.performance import MEASURES, PAIRED, own_name
from simstudy.performance.choose import LEVEL_PREFIXES, choose_parameters, in_order
from simstudy.report.tables.text import NOTHING, Number, setting

SIDE_MEASURES = ("bias", "coverage", "rejection")
"""Measures that are shown on every basis side by side."""


@dataclass(frozen=True)
class View:
    """The part of a performance table that is printed, and what the printing needs to know.

    Parameters
    ----------
    study_name, replications, level, width
        Name of the study, replications asked for, level of the intervals, characters a line.
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
    left_out : tuple of str
        What is not shown, and how to see it.
    cells_chosen : bool
        The reader asked for these very cells.
    cell_replications : mapping of cell to int
        Replications asked for of each cell, where they differ.
    """

    study_name: str
    replications: int
    level: float
    width: int
    factors: tuple[str, ...]
    settings: Mapping[int, tuple[str, ...]]
    estimators: tuple[str, ...]
    parameters: tuple[str, ...]
    parameter_levels: Mapping[str, str]
    truth: Mapping[tuple[int, str], float]
    kinds: Mapping[tuple[int, str, str], tuple[str, ...]]
    numbers: Mapping[tuple[str, int, str, str, str, str], Number]
    measures: tuple[str, ...]
    reference: str
    failures: pd.DataFrame
    common: pd.DataFrame
    left_out: tuple[str, ...]
    cells_chosen: bool
    cell_replications: Mapping[int, int] = field(default_factory=dict)

    def asked(self, cell: int) -> int:
        """Replications asked for of a cell."""
        return self.cell_replications.get(cell, self.replications)

    @property
    def cells(self) -> tuple[int, ...]:
        """Cells shown, in order."""
        return tuple(self.settings)

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

    def first_kind(self, cell: int, parameter: str, estimator: str) -> str:
        """Kind of SE that stands for the method where there is room for one only."""
        return self.kinds.get((cell, parameter, estimator), ("",))[0]

    def cell_title(self, cell: int) -> str:
        """Return e.g. ``Cell 3: n_clusters = 50, icc = 0.1``."""
        pairs = zip(self.factors, self.settings[cell], strict=True)
        text = ", ".join(f"{factor} = {level}" for factor, level in pairs)
        return f"Cell {cell}: {text}" if text else f"Cell {cell}"

    def labels(self, cell: int) -> dict[str, object]:
        """Levels of the factors and the number of a cell, as the columns of a table."""
        return {**dict(zip(self.factors, self.settings[cell], strict=True)), "cell": cell}

    def parameter_title(self, parameter: str) -> str:
        """Name and level of a parameter."""
        level = self.parameter_levels.get(parameter, "")
        return f"{parameter} ({level})" if level and not parameter.startswith(LEVEL_PREFIXES) else parameter


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
    all_parameters = in_order(performance["parameter"].unique())
    all_cells = [int(cell) for cell in sorted(performance["cell"].unique())]
    chosen = choose_parameters(parameters, all_parameters)
    shown = choose_cells(cells, all_cells)
    rows = performance[performance["parameter"].isin([*chosen, ""]) & performance["cell"].isin(shown)]
    casewise = rows[(rows["basis"] == "casewise") & (rows["parameter"] != "")]
    kinds: dict[tuple[int, str, str], dict[str, None]] = {}
    for cell, parameter, estimator, kind in (
        casewise[["cell", "parameter", "estimator", "se_kind"]].drop_duplicates().itertuples(index=False, name=None)
    ):
        kinds.setdefault((int(cell), parameter, estimator), {})[kind] = None
    first = casewise.drop_duplicates(["cell", "parameter"])
    places = performance.drop_duplicates("cell").set_index("cell")
    left_out = []
    if len(chosen) < len(all_parameters):
        left_out.append(
            f"{len(all_parameters) - len(chosen)} of {len(all_parameters)} parameters (--parameter '*' shows all)"
        )
    if len(shown) < len(all_cells):
        left_out.append(f"{len(all_cells) - len(shown)} of {len(all_cells)} cells (without --cell all are shown)")
    return View(
        study_name=study_name,
        replications=replications,
        level=level,
        width=width,
        factors=tuple(factors),
        settings={cell: tuple(setting(places.at[cell, name]) for name in factors) for cell in shown},
        estimators=tuple(in_order(performance["estimator"].unique())),
        parameters=tuple(chosen),
        parameter_levels=dict(zip(first["parameter"], first["level"], strict=True)),
        truth={
            (int(cell), parameter): float(value)
            for cell, parameter, value in zip(first["cell"], first["parameter"], first["truth"], strict=True)
        },
        kinds={key: tuple(found) for key, found in kinds.items()},
        numbers=_numbers(rows),
        measures=tuple(choose_measures(measures)),
        reference=_reference(rows),
        failures=failures[failures["cell"].isin(shown)],
        common=_common(rows),
        left_out=tuple(left_out),
        cells_chosen=cells is not None,
        cell_replications=cell_replications or {},
    )
