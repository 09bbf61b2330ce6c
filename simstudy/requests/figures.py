"""What figures are asked for: which rows of a study, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from simstudy.requests.option import Argument, Keyword, Option, placeholder
from simstudy.requests.values import read_levels

if TYPE_CHECKING:
    from pandas import DataFrame

    from simstudy.api.study import Results
else:
    DataFrame = placeholder("DataFrame", "pandas")
    Results = placeholder("Results", "simstudy.api")


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """What can be chosen about any figure."""

    estimators: Annotated[
        Sequence[str] | None, Option("Method to draw; may be repeated.", flag="--estimator", more="All by default.")
    ] = None
    cells: Annotated[
        Sequence[int] | None,
        Option(
            "Cell to draw; may be repeated.",
            flag="--cell",
            more="All by default, the first where replicates are drawn.",
        ),
    ] = None
    where: Annotated[
        Mapping[str, object] | None,
        Option(
            "Keep the cells of a level; may be repeated.",
            metavar="FACTOR=LEVEL",
            type=list[str] | None,
            read=read_levels,
            more="Factor -> level.",
        ),
    ] = None
    basis: Annotated[str | None, Option("casewise (default), common, lower_bound, upper_bound.")] = None
    se_kind: Annotated[str | None, Option("Kind of SE for the methods that have it; the first by default.")] = None
    measures: Annotated[
        Sequence[str] | None,
        Option("Measure, such as rmse; may be repeated.", flag="--measure", more="Bias by default."),
    ] = None
    x: Annotated[str | None, Option("Factor of the x axis.", metavar="FACTOR")] = None
    y: Annotated[str | None, Option("Factor of a heat map's y axis.", metavar="FACTOR")] = None
    band: Annotated[str | None, Option("Convention to show: muthen2002, hoogland1998, bradley1978, cohen1988.")] = None
    compare: Annotated[tuple[str, str] | None, Option("Two methods of a bland-altman figure.", metavar="A B")] = None
    of: Annotated[str | None, Option("What bland-altman compares: estimate (default), se.")] = None
    own: Annotated[Mapping[str, Any] | None, Keyword("Options of a kind of figure from another package.")] = None


_Parameters = Annotated[
    Sequence[str] | None,
    Option(
        "Parameter, or a pattern such as 'within:*'; may be repeated.",
        flag="--parameter",
        more="By default the study's := parameters, or else its labelled ones, at most four.",
    ),
]
_Kind = Annotated[
    str | None,
    Argument(
        "lines, power, nested-loop, lollipop, heatmap, convergence, factors, zip, scatter or bland-altman; by default "
        "bias and coverage are drawn as lines.",
        metavar="KIND",
    ),
]


@dataclass(frozen=True)
class ChartsRequest(_Drawn):
    """Options of `simstudy.api.charts`."""

    source: Annotated[
        str | Path | Results | DataFrame,
        Argument(
            "Results folder, or the results.",
            metavar="DIR",
            more="Or a performance table; for zip, scatter and bland-altman a table of replicates.",
        ),
    ]
    kind: _Kind = None
    _: KW_ONLY
    parameters: _Parameters = None
    level: Annotated[float | None, Keyword("Of the intervals in a table; .95 by default. A study has its own.")] = None


@dataclass(frozen=True)
class PlotRequest(_Drawn):
    """Options of `simstudy.plot` and of ``simstudy plot``."""

    folder: Annotated[str | Path, Argument("Results folder.", metavar="DIR")]
    parameters: _Parameters = None
    kind: _Kind = None
    _: KW_ONLY
    out: Annotated[str | Path | None, Option("Folder, or one file (.pdf, .png, .svg); DIR/figures by default.")] = None
    formats: Annotated[
        Sequence[str] | None, Option("pdf, png, svg; may be repeated; PDF and PNG by default.", flag="--format")
    ] = None
