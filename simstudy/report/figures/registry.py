"""A kind of figure as one record: what it draws, from which table, with which options, and its words for readers.

`register_figure` adds one, here (`kinds/`) or in another package; `simstudy plot DIR KIND`, `simstudy.api.charts` and
the functions made by `figure_functions` find it by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from simstudy.errors import SimstudyError, did_you_mean
from simstudy.performance.measure import own_name
from simstudy.performance.registry import Registry
from simstudy.report.figures.chart import Chart, file_stem
from simstudy.report.figures.select import Selection, select
from simstudy.report.figures.style import styled
from simstudy.requests.figures import ChartsRequest
from simstudy.requests.option import declared, help_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPTIONS: Mapping[str, str] = {one.name: help_text(one) for one in declared(ChartsRequest)} | {
    "measure": "The measure to draw; bias by default.",
    "cell": "Cell to draw; by default the only one.",
    "theory": "Numbers of theory (`simstudy.api.theory_curve`): where the x axis is the number of clusters, they are "
    "drawn as lines and the simulated numbers as points.",
    "level": "Nominal level of the intervals, .95 by default.",
}
"""What can be chosen of the built-in kinds, explained."""
PLURALS = ("parameters", "measures", "estimators", "cells")
_SELECTION = tuple(one.name for one in fields(Selection))
CELLS = ("estimators", "cells", "where")
TABLE = ("parameters", *CELLS, "basis", "se_kind", "band")
REPLICATES = ("parameters", *CELLS, "se_kind")
"""Options that kinds share: of all, of those from a performance table, of those from replicates."""


@dataclass(frozen=True)
class Request:
    """What is asked of a figure.

    Attributes
    ----------
    parameter : str or None
        Empty for measures of the fit; None where the table has one only.
    measures : tuple of str
        Empty where nothing was asked for.
    chosen : Selection
        Rows wanted.
    x, y, band : str, optional
    level : float
        Nominal level of the intervals.
    own : mapping
        Options of this kind alone.
    """

    parameter: str | None = None
    measures: tuple[str, ...] = ()
    chosen: Selection = field(default_factory=Selection)
    x: str | None = None
    y: str | None = None
    band: str | None = None
    level: float = 0.95
    own: Mapping[str, Any] = field(default_factory=dict)

    def rows(self, performance: pd.DataFrame) -> pd.DataFrame:
        """Rows of a performance table that are asked for, one a cell, method and measure."""
        return select(performance, self.measures, self.parameter or "", self.chosen)

    def stem(self) -> list[str]:
        """Parts of a file name that say what was chosen."""
        return self.chosen.words(self.x)


@dataclass(frozen=True)
class Drawing:
    """What a kind of figure makes of a table.

    Attributes
    ----------
    figure : Figure
    data : DataFrame
        The numbers drawn.
    title : str
    stem : sequence
        Parts of the file name.
    x : str
        Factor of the x axis, if there is one.
    as_percent : bool
        Whether values are shown as per cent.
    """

    figure: Figure
    data: pd.DataFrame
    title: str
    stem: Sequence[object]
    x: str = ""
    as_percent: bool = False


@dataclass(frozen=True)
class FigureKind:
    """A kind of figure.

    Parameters
    ----------
    name : str
    title : str
        What it shows.
    made_from : str
        ``performance`` (a performance table), ``effects`` (`simstudy.api.factor_effects`) or ``replicates`` (the
        replicate rows of one cell).
    draw : callable
        (table, `Request`) -> `Drawing`; its docstring says what is drawn.
    words : callable
        `Drawing` -> alternative text for readers who do not see it: what it shows, in words and numbers.
    options : tuple of str
        What can be chosen: names of `OPTIONS`, ``parameters``, or names of its own.
    defaults : mapping
        Of options.
    several : bool
        Whether one figure shows several measures.
    in_python : tuple of str
        Options that only the Python functions take.
    in_report : bool
        Whether the report of every study shows it, as it is by default and of the report's first parameters.
    """

    name: str
    title: str
    made_from: Literal["performance", "effects", "replicates"]
    draw: Callable[[pd.DataFrame, Request], Drawing]
    words: Callable[[Drawing], str]
    options: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    several: bool = False
    in_python: tuple[str, ...] = ()
    in_report: bool = False

    @property
    def home(self) -> str:
        """Module of its function."""
        return self.draw.__module__

    @property
    def keywords(self) -> tuple[str, ...]:
        """Options of the function that draws one figure."""
        dropped = {"parameters", *(("where",) if self.made_from == "replicates" else ())}
        single = {} if self.several else {"measures": "measure"}
        single |= {"cells": "cell"} if self.made_from == "replicates" else {}
        names = (single.get(name, name) for name in self.options if name not in dropped)
        return (*names, *self.in_python, "level")


KINDS: Registry[FigureKind] = Registry("figure", "simstudy.figures")
"""Every kind of figure by name."""


def register_figure(kind: FigureKind) -> FigureKind:
    """Add a kind of figure, which `simstudy plot`, `simstudy.api.charts` and `make_chart` then draw by its name."""
    return KINDS.add(kind)


def find_kind(name: str) -> FigureKind:
    """Look up a kind of figure.

    Raises
    ------
    SimstudyError
        If there is none of this name.
    """
    if name not in KINDS:
        known = sorted(KINDS)
        raise SimstudyError(f"kind: there is no '{name}'{did_you_mean(name, known)}; allowed: {', '.join(known)}")
    return KINDS[name]


def check_kind(name: str, given: Sequence[str]) -> FigureKind:
    """Look up a kind, and refuse options that it has no use for.

    Raises
    ------
    SimstudyError
        One problem for each of them.
    """
    found = find_kind(name)
    problems = []
    for option in given:
        if option not in found.options:
            others = sorted(other for other, entry in KINDS.items() if option in entry.options)
            spoken = option.removesuffix("s") if option in PLURALS else option
            has = f"it has {', '.join(found.options) or 'no options'}{did_you_mean(option, found.options)}"
            use = f"it is for {', '.join(others)}" if others else has
            problems.append(f"{spoken}: '{name}' has no use for it; {use}")
    if problems:
        raise SimstudyError(problems)
    return found


@styled
def make_chart(name: str, table: pd.DataFrame, parameter: str | None = None, **options: Any) -> Chart:
    """Draw one figure of a kind.

    Parameters
    ----------
    name : str
        A key of `KINDS`.
    table : DataFrame
        What the kind is made from.
    parameter : str, optional
    **options
        `FigureKind.keywords`.

    Raises
    ------
    SimstudyError
        If a name is unknown, an option has no use, or nothing is left to draw.
    """
    kind = find_kind(name)
    for option in options:
        if option not in kind.keywords:
            hint = did_you_mean(option, kind.keywords)
            raise SimstudyError(f"{option}: '{name}' has no such option{hint}; allowed: {', '.join(kind.keywords)}")
    given = {**kind.defaults, **{option: value for option, value in options.items() if value is not None}}
    measures = [given.pop("measure")] if "measure" in given else given.pop("measures", ())
    chosen = {option: given.pop(option) for option in _SELECTION if option in given}
    if "cell" in given:
        chosen["cells"] = [given.pop("cell")]
    common = {option: given.pop(option) for option in ("x", "y", "band", "level") if option in given}
    request = Request(parameter, tuple(map(own_name, measures)), Selection(**chosen), **common, own=given)
    drawn = kind.draw(table, request)
    return Chart(name, file_stem(*drawn.stem), drawn.title, kind.words(drawn), drawn.data, drawn.figure)


def figure_functions(kind: FigureKind) -> tuple[Callable[..., Chart], Callable[..., Figure]]:
    """Functions that draw one figure of a kind: with its title, words and numbers, and the figure alone."""
    of_parameter = "parameters" in kind.options

    def draw(table: pd.DataFrame, *parameter: str, **options: Any) -> Chart:
        name = options.pop("parameter", None) if of_parameter else ""
        return make_chart(kind.name, table, *(parameter or (name,)), **options)

    def plot(table: pd.DataFrame, *parameter: str, **options: Any) -> Figure:
        return draw(table, *parameter, **options).figure

    name = kind.name.replace("-", "_")
    return _spoken(draw, kind, f"{name}_chart", "Chart"), _spoken(plot, kind, f"plot_{name}", "Figure")


def _spoken(function: Callable[..., Any], kind: FigureKind, name: str, returns: str) -> Callable[..., Any]:
    """Give a function the name, the signature and the docstring of its kind."""
    either = Parameter.POSITIONAL_OR_KEYWORD
    parameters = [Parameter("table", either, annotation="DataFrame")]
    lines = ["table : DataFrame", f"    {_TABLES[kind.made_from]}"]
    if "parameters" in kind.options:
        parameters.append(Parameter("parameter", either, default=None, annotation="str | None"))
        lines += ["parameter : str", "    Parameter to draw; empty for convergence and admissibility."]
    for option in kind.keywords:
        parameters.append(Parameter(option, Parameter.KEYWORD_ONLY, default=kind.defaults.get(option)))
        lines += [f"{option} : optional", f"    {OPTIONS.get(option, 'See above.')}"]
    said = "\n    ".join(["", "Parameters", "----------", *lines, "", "Returns", "-------", returns, ""])
    function.__name__ = function.__qualname__ = name
    function.__signature__ = Signature(parameters, return_annotation=returns)  # type: ignore[attr-defined]
    function.__doc__ = f"{(kind.draw.__doc__ or kind.title).strip()}\n{said}"
    return function


_TABLES = {
    "performance": "Long performance table with its factor columns.",
    "effects": "From `simstudy.api.factor_effects`.",
    "replicates": "Replicate rows (`simstudy.api.replicates`, or any table with estimator, estimate, se, truth).",
}
