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
from simstudy.performance import FIT_MEASURES
from simstudy.performance.choose import choose_parameters, key_parameters
from simstudy.report import figures as drawing
from simstudy.report.figures import FORMATS, Chart, save_chart, save_figure
from simstudy.report.figures.bands import check_band, measures_with
from simstudy.report.figures.chart import check_formats
from simstudy.report.figures.registry import check_kind
from simstudy.report.figures.select import chosen_cells, unknown
from simstudy.runner.pick import pick_replicates
from simstudy.runner.store import FIGURES
from simstudy.runner.tables import Folder, read_folder

__all__ = ["charts", "figure_parameters", "plot", "plot_results", "replicates"]

MAX_FIGURE_PARAMETERS = 4
MAX_CELLS = 12
"""Figures of replicates, one a cell, that are drawn at once."""
DEFAULT_KINDS = ("bias", "coverage")


@dataclass(frozen=True)
class _Wanted:
    """What was asked for; None where nothing was said."""

    found: Results
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

    def band(self, measure: str) -> dict[str, Any]:
        """The band, if it is about the measure."""
        name = self.options.get("band")
        return {"band": name} if name is not None and measure in measures_with(name) else {}


def plot(
    folder: str | Path,
    parameters: Sequence[str] | None = None,
    kind: str | None = None,
    *,
    out: str | Path | None = None,
    formats: Sequence[str] | None = None,
    **options: Any,
) -> list[Path]:
    """Draw figures of a results folder and write them with their data.

    Parameters
    ----------
    folder : path
    parameters : sequence of str, optional
        Names or patterns; by default the study's ``:=`` parameters, or else its labelled ones, at most four.
    kind : str, optional
        A key of `simstudy.report.figures.KINDS`; by default bias and coverage are drawn as lines.
    out : path, optional
        Folder; ``figures/`` of the results folder by default.  A name that ends in .pdf, .png or .svg is one file.
    formats : sequence of str, optional
        ``pdf``, ``png``, ``svg``; by default PDF and PNG.  The data are written as CSV beside them.
    **options
        As for `charts`.

    Returns
    -------
    list of Path
        Files written.

    Raises
    ------
    SimstudyError
        One problem for each name that is unknown and each option that has no use.
    """
    check_formats(formats or ())
    drawn = charts(folder, kind, parameters=parameters, **options)
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


def charts(
    source: str | Path | Results,
    kind: str | None = None,
    *,
    parameters: Sequence[str] | None = None,
    measures: Sequence[str] | None = None,
    x: str | None = None,
    y: str | None = None,
    estimators: Sequence[str] | None = None,
    cells: Sequence[int] | None = None,
    basis: str | None = None,
    se_kind: str | None = None,
    where: Mapping[str, object] | None = None,
    band: str | None = None,
    compare: tuple[str, str] | None = None,
    of: str | None = None,
) -> list[Chart]:
    """Figures of a results folder, each with its title, data and a description in words.

    Parameters
    ----------
    source : path or Results
    kind : str, optional
        A key of `simstudy.report.figures.KINDS`; by default bias and coverage as lines.
    parameters : sequence of str, optional
        Names or patterns; by default the study's ``:=`` parameters, or else its labelled ones, at most four.
    measures : sequence of str, optional
        Bias by default.
    x, y : str, optional
        Factors of the axes.
    estimators, cells : sequence, optional
        Methods and cells; all by default, the first cell where replicates are drawn.
    basis : str, optional
        ``casewise`` (default), ``common``, ...
    se_kind : str, optional
        Kind of SE for the methods that have it; by default each method's first.
    where : mapping, optional
        Factor -> level to keep.
    band : str, optional
        A key of `simstudy.report.figures.BANDS`.
    compare : (str, str), optional
        Two methods of a Bland-Altman plot.
    of : str, optional
        ``estimate`` (default) or ``se``: what a Bland-Altman plot compares.

    Returns
    -------
    list of Chart
        One a parameter, and a measure or a cell where the kind shows one at a time.

    Raises
    ------
    SimstudyError
        One problem for each name that is unknown and each option that has no use.
    """
    options = {
        "parameters": parameters, "measures": measures, "x": x, "y": y, "estimators": estimators, "cells": cells,
        "basis": basis, "se_kind": se_kind, "where": where, "band": band, "compare": compare, "of": of,
    }  # fmt: skip
    options = {name: value for name, value in options.items() if value}
    entry = check_kind(kind or "lines", list(options))
    found = source if isinstance(source, Results) else up_to_date(source)
    if found.performance.empty:
        raise SimstudyError(f"{found.folder}: there are no finished replicates yet")
    wanted = _Wanted(found, parameters, options)
    if entry.source == "replicates":
        return list(_of_replicates(kind or "", wanted))
    if kind is None and not measures:
        wanted = _Wanted(found, parameters, {**options, "measures": DEFAULT_KINDS})
    return list(_of_effects(wanted) if entry.source == "effects" else _of_performance(kind or "lines", wanted))


def _of_performance(kind: str, wanted: _Wanted) -> Iterator[Chart]:
    """Figures made from the performance table."""
    table, level = wanted.found.performance, wanted.found.manifest.level
    shared = wanted.given("x", "y", "estimators", "cells", "where")
    if kind == "convergence":
        yield drawing.convergence_chart(table, **shared)
        return
    shared |= wanted.given("basis", "se_kind") | {"level": level}
    measures: Sequence[str] = wanted.options.get("measures") or ("bias",)
    if kind in ("power", "nested-loop", "lollipop"):
        chart = {
            "power": drawing.power_chart,
            "nested-loop": drawing.nested_loop_chart,
            "lollipop": drawing.lollipop_chart,
        }[kind]
        several = wanted.given("measures", "band")
        fits = bool(several.get("measures")) and set(several["measures"]) <= set(FIT_MEASURES)
        for name in [""] if fits else wanted.names():
            yield chart(table, name, **shared, **several)
        return
    check_band(wanted.options.get("band"), measures)
    draw = drawing.lines_chart if kind == "lines" else drawing.heatmap_chart
    names = wanted.names()
    for measure in measures:
        for name in [""] if measure in FIT_MEASURES else names:
            yield draw(table, name, measure=measure, **shared, **wanted.band(measure))


def _of_effects(wanted: _Wanted) -> Iterator[Chart]:
    """Figures made from the analysis of variance of the design factors."""
    measures: Sequence[str] = wanted.options.get("measures") or ("bias",)
    methods = list(wanted.found.performance["estimator"].unique())
    problems = [
        unknown("estimator", name, methods) for name in wanted.options.get("estimators") or () if name not in methods
    ]
    if problems:
        raise SimstudyError(problems)
    names = wanted.names()
    effects = measuring.factor_effects(
        wanted.found.performance,
        wanted.found.manifest.factors,
        measures=measures,
        parameters=names,
        **wanted.given("estimators", "basis"),
    )
    shared = wanted.given("se_kind", "estimators", "band") | {"level": wanted.found.manifest.level}
    for measure in measures:
        for name in [""] if measure in FIT_MEASURES else names:
            yield drawing.factors_chart(effects, name, measure=measure, **shared)


def _of_replicates(kind: str, wanted: _Wanted) -> Iterator[Chart]:
    """Figures made from replicate rows, a cell at a time."""
    table = wanted.found.performance
    places = chosen_cells(table.drop_duplicates("cell"), wanted.options.get("cells"), wanted.options.get("where") or {})
    cells = [int(cell) for cell in places["cell"]]
    if not {"cells", "where"} & set(wanted.options):
        cells = cells[:1]
    if len(cells) > MAX_CELLS:
        raise SimstudyError(
            f"{len(cells)} cells are chosen, and '{kind}' draws a figure for each; choose at most {MAX_CELLS} "
            "(--cell, --where)"
        )
    methods = list(table["estimator"].unique())
    compare, estimators = wanted.options.get("compare"), wanted.options.get("estimators")
    problems = [unknown("estimator", name, methods) for name in estimators or () if name not in methods]
    problems += [unknown("compare", name, methods) for name in compare or () if name not in methods]
    if problems:
        raise SimstudyError(problems)
    draw: Any = {"zip": drawing.zip_chart, "scatter": drawing.scatter_chart, "bland-altman": drawing.bland_altman_chart}
    options = wanted.given("se_kind", "compare", "of") | {"level": wanted.found.manifest.level}
    names, folder = wanted.names(), read_folder(wanted.found.folder)
    for cell in cells:
        rows = pick_replicates(folder, cell, names, list(compare) if compare else estimators)
        for name in names:
            yield draw[kind](rows, name, **options)


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
