"""Figures of a results folder: what `simstudy plot` draws, and the replicate rows that some of them need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from simstudy import performance as measuring
from simstudy.api.study import Results, up_to_date
from simstudy.errors import SimstudyError
from simstudy.performance import measure_names, own_name
from simstudy.performance.choose import choose_parameters, key_parameters
from simstudy.report import figures as drawing
from simstudy.report.figures import FORMATS, Chart, save_chart, save_figure
from simstudy.report.figures.bands import check_band, measures_with
from simstudy.report.figures.chart import check_formats
from simstudy.report.figures.registry import FigureKind, check_kind
from simstudy.report.figures.select import chosen_cells, unknown
from simstudy.requests.figures import ChartsRequest, PlotRequest
from simstudy.requests.option import declared, takes
from simstudy.runner.pick import pick_replicates
from simstudy.runner.store import FIGURES
from simstudy.runner.tables import Folder, read_folder

MAX_FIGURE_PARAMETERS = 4
MAX_CELLS = 12
"""Figures of replicates, one a cell, that are drawn at once."""
CHOICES = tuple(one.name for one in declared(ChartsRequest) if one.keyword_only and one.name not in ("own", "level"))
DEFAULT_KINDS = ("bias", "coverage")


@dataclass(frozen=True)
class Numbers:
    """What figures are drawn from.

    Attributes
    ----------
    performance : DataFrame
        Empty where there are only replicates.
    factors : tuple of str
    level : float
    folder : Path or None
        Where replicates are; None for a table.
    replicates : DataFrame or None
        Replicates at hand.
    """

    performance: pd.DataFrame
    factors: tuple[str, ...]
    level: float
    folder: Path | None = None
    replicates: pd.DataFrame | None = None

    @classmethod
    def of(cls, source: Results | pd.DataFrame | str | Path, level: float | None) -> Numbers:
        """The numbers of a study, its folder, or a table of either kind.

        Raises
        ------
        SimstudyError
            If there is nothing to draw, or the table is neither of performance nor of replicates.
        """
        if isinstance(source, pd.DataFrame):
            return cls._of_table(source, 0.95 if level is None else level)
        if level is not None:
            raise SimstudyError("level: it is that of the study; it can be chosen for a table only")
        found = source if isinstance(source, Results) else up_to_date(source)
        if found.performance.empty:
            raise SimstudyError(f"{found.folder}: there are no finished replicates yet")
        return cls(found.performance, found.factors, found.level, found.folder)

    @classmethod
    def _of_table(cls, table: pd.DataFrame, level: float) -> Numbers:
        if {"measure", "value", "estimator"} <= set(table.columns):
            names = tuple(str(name) for name in table.columns if name not in measuring.COLUMNS)
            return cls(table, names, level)
        if {"estimate", "estimator"} <= set(table.columns):
            return cls(pd.DataFrame(), (), level, replicates=table)
        raise SimstudyError(
            "table: it is neither a performance table (estimator, measure, value, ...) nor one of replicates "
            "(estimator, estimate, se, ...)"
        )


@dataclass(frozen=True)
class _Wanted:
    """What was asked for; None where nothing was said."""

    found: Numbers
    parameters: Sequence[str] | None
    options: Mapping[str, Any] = field(default_factory=dict)

    def given(self, *names: str) -> dict[str, Any]:
        """Options of these names that were given."""
        return {name: self.options[name] for name in names if self.options.get(name) is not None}

    def names(self) -> list[str]:
        """Parameters to draw."""
        table = self.found.performance
        if self.parameters:
            return choose_parameters(self.parameters, [name for name in table["parameter"].unique() if name])
        return figure_parameters(table)

    def measures(self, kind: FigureKind) -> list[str]:
        """Measures to draw one by one."""
        return list(map(own_name, self.options.get("measures") or (kind.defaults.get("measure", "bias"),)))

    def own(self, kind: FigureKind) -> dict[str, Any]:
        """Level of the intervals, and options that only this kind has."""
        return {"level": self.found.level} | self.given(*(set(kind.options) - _COMMON))

    def band(self, measure: str) -> dict[str, Any]:
        """The band, if it is about the measure."""
        name = self.options.get("band")
        return {"band": name} if name is not None and measure in measures_with(name) else {}


@takes(PlotRequest)
def write_figures(request: PlotRequest) -> list[Path]:
    """Draw figures of a results folder and write them with their data, as CSV beside them.

    Returns
    -------
    list of Path
        Files written.

    Raises
    ------
    SimstudyError
        One problem for each name that is unknown and each option that has no use.
    """
    formats, out, folder = request.formats, request.out, request.folder
    check_formats(formats or ())
    drawn = charts(folder, **{name: getattr(request, name) for name in CHOICES}, kind=request.kind, own=request.own)
    target = Path(out) if out is not None else Path(folder) / FIGURES
    if target.suffix.removeprefix(".") in FORMATS:
        if formats:
            raise SimstudyError(f"format: '{target}' is one file and says its format; give a folder, or no format")
        if len(drawn) != 1:
            names = ", ".join(chart.stem for chart in drawn)
            raise SimstudyError(f"out: '{target}' is one file, and there are {len(drawn)} figures ({names})")
        return save_figure(drawn[0].figure, drawn[0].data, target.with_suffix(""), [target.suffix.removeprefix(".")])
    return [path for chart in drawn for path in save_chart(chart, target, formats or ("pdf", "png"))]


def plot_results(found: Results, parameters: Sequence[str] | None = None) -> list[Path]:
    """Bias and coverage of results at hand, into their folder."""
    return [
        path
        for chart in charts(found, None, parameters=parameters)
        for path in save_chart(chart, found.folder / FIGURES)
    ]


@takes(ChartsRequest)
def charts(request: ChartsRequest) -> list[Chart]:
    """Figures of a results folder, each with its title, data and a description in words.

    Returns
    -------
    list of Chart
        One a parameter, and a measure or a cell where the kind shows one at a time.

    Raises
    ------
    SimstudyError
        One problem for each name that is unknown and each option that has no use.
    """
    options = {name: getattr(request, name) for name in CHOICES} | dict(request.own or {})
    options = {name: value for name, value in options.items() if value}
    kind, source = request.kind, request.source
    entry = check_kind(kind or "lines", list(options))
    found = Numbers.of(source, request.level)
    if found.performance.empty and entry.made_from != "replicates":
        raise SimstudyError(f"kind: '{entry.name}' is drawn from a performance table, not from replicates")
    wanted = _Wanted(found, request.parameters, options)
    if kind is None and not request.measures:
        wanted = _Wanted(found, request.parameters, {**options, "measures": DEFAULT_KINDS})
    return list((_MAKE[entry.made_from] if found.replicates is None else _of_table)(entry, wanted))


def _of_performance(kind: FigureKind, wanted: _Wanted) -> Iterator[Chart]:
    """Figures made from the performance table."""
    table, own = wanted.found.performance, wanted.own(kind)
    shared = wanted.given("x", "y", "estimators", "cells", "where", "basis", "se_kind") | own
    if "parameters" not in kind.options:
        yield drawing.make_chart(kind.name, table, "", **shared)
        return
    if kind.several or "measures" not in kind.options:
        several = wanted.given("measures", "band")
        fits = bool(several.get("measures")) and set(several["measures"]) <= set(measure_names("fit"))
        for name in [""] if fits else wanted.names():
            yield drawing.make_chart(kind.name, table, name, **shared, **several)
        return
    measures = wanted.measures(kind)
    check_band(wanted.options.get("band"), measures)
    names = wanted.names()
    for measure in measures:
        for name in [""] if measure in measure_names("fit") else names:
            yield drawing.make_chart(kind.name, table, name, measure=measure, **shared, **wanted.band(measure))


def _of_effects(kind: FigureKind, wanted: _Wanted) -> Iterator[Chart]:
    """Figures made from the analysis of variance of the design factors."""
    measures = wanted.measures(kind)
    methods = list(wanted.found.performance["estimator"].unique())
    problems = [
        unknown("estimator", name, methods) for name in wanted.options.get("estimators") or () if name not in methods
    ]
    if problems:
        raise SimstudyError(problems)
    names = wanted.names()
    effects = measuring.factor_effects(
        wanted.found.performance,
        wanted.found.factors,
        measures=measures,
        parameters=names,
        **wanted.given("estimators", "basis"),
    )
    shared = wanted.given("se_kind", "estimators", "band") | wanted.own(kind)
    for measure in measures:
        for name in [""] if measure in measure_names("fit") else names:
            yield drawing.make_chart(kind.name, effects, name, measure=measure, **shared)


def _of_table(kind: FigureKind, wanted: _Wanted) -> Iterator[Chart]:
    """Figures of replicates at hand, a cell at a time."""
    rows = wanted.found.replicates
    assert rows is not None
    options = wanted.given("se_kind") | wanted.own(kind)
    if "compare" not in options:
        options |= wanted.given("estimators")
    cells = wanted.options.get("cells") or (rows["cell"].unique()[:1].tolist() if "cell" in rows.columns else [None])
    known = [str(name) for name in rows["parameter"].unique()] if "parameter" in rows.columns else []
    names = choose_parameters(wanted.parameters, known) if wanted.parameters else known
    for cell in cells:
        for name in names or (None,):
            yield drawing.make_chart(kind.name, rows, name, cell=cell, **options)


def _of_replicates(kind: FigureKind, wanted: _Wanted) -> Iterator[Chart]:
    """Figures made from replicate rows, a cell at a time."""
    table = wanted.found.performance
    places = chosen_cells(table.drop_duplicates("cell"), wanted.options.get("cells"), wanted.options.get("where") or {})
    cells = [int(cell) for cell in places["cell"]]
    if not {"cells", "where"} & set(wanted.options):
        cells = cells[:1]
    if len(cells) > MAX_CELLS:
        raise SimstudyError(
            f"{len(cells)} cells are chosen, and '{kind.name}' draws a figure for each; choose at most {MAX_CELLS} "
            "(--cell, --where)"
        )
    methods = list(table["estimator"].unique())
    compare, estimators = wanted.options.get("compare"), wanted.options.get("estimators")
    problems = [unknown("estimator", name, methods) for name in estimators or () if name not in methods]
    problems += [unknown("compare", name, methods) for name in compare or () if name not in methods]
    if problems:
        raise SimstudyError(problems)
    options = wanted.given("se_kind") | wanted.own(kind)
    if wanted.found.folder is None:
        raise SimstudyError(
            f"kind: '{kind.name}' is drawn from replicates; give a results folder, or the table of "
            "`simstudy.api.replicates`"
        )
    names, folder = wanted.names(), read_folder(wanted.found.folder)
    for cell in cells:
        rows = pick_replicates(folder, cell, names, list(compare) if compare else estimators)
        for name in names:
            yield drawing.make_chart(kind.name, rows, name, **options)


_COMMON = {"parameters", "measures", "x", "y", "estimators", "cells", "where", "basis", "se_kind", "band"}
_MAKE = {"performance": _of_performance, "effects": _of_effects, "replicates": _of_replicates}
"""What a kind is made from -> its figures of a study."""


def replicates(
    folder: str | Path,
    cell: int = 0,
    *,
    parameters: Sequence[str] | None = None,
    estimators: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Converged replicates of one cell, one row a replicate, method, kind of SE and parameter.

    Parameters
    ----------
    folder : path
        Results folder.
    cell : int
    parameters : sequence of str, optional
        Names or patterns; all by default.
    estimators : sequence of str, optional
        Methods; all by default.

    Returns
    -------
    DataFrame
        Factors, cell, rep, estimator, se_kind, parameter, level, truth, estimate, se, lower, upper; limits are missing
        where they are those of Wald intervals.

    Examples
    --------
    >>> import simstudy
    >>> from simstudy import api
    >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
    >>> table = api.replicates(study.folder, cell=0, parameters=["contextual"], estimators=["two_step"])
    >>> len(table), float(table["truth"].iloc[0])
    (20, 0.3)
    """
    opened: Folder = read_folder(Path(folder))
    problems = [unknown("estimator", name, opened.methods) for name in estimators or () if name not in opened.methods]
    if problems:
        raise SimstudyError(problems)
    names = choose_parameters(parameters, opened.params) if parameters else opened.params
    return pick_replicates(opened, cell, names, estimators)


def figure_parameters(performance: pd.DataFrame) -> list[str]:
    """The parameters that a study is about."""
    rows = performance.loc[performance["parameter"] != "", ["parameter", "level"]].drop_duplicates()
    defined = rows.loc[rows["level"] == "", "parameter"].tolist()
    return (defined or key_parameters(rows["parameter"].tolist()))[:MAX_FIGURE_PARAMETERS]
