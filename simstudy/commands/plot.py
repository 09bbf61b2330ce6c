"""`simstudy plot`: figures of a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simstudy.errors import SimstudyError


def plot(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Results folder.", show_default=False)],
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="lines, power, nested-loop, lollipop, heatmap, convergence, factors, zip, scatter or bland-altman; "
            "by default bias and coverage are drawn as lines.",
            show_default=False,
        ),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", help="Parameter, or a pattern such as 'within:*'; may be repeated."),
    ] = None,
    measure: Annotated[list[str] | None, typer.Option(help="Measure, such as rmse; may be repeated.")] = None,
    x: Annotated[str | None, typer.Option("--x", metavar="FACTOR", help="Factor of the x axis.")] = None,
    y: Annotated[str | None, typer.Option("--y", metavar="FACTOR", help="Factor of a heat map's y axis.")] = None,
    estimator: Annotated[list[str] | None, typer.Option(help="Method to draw; may be repeated.")] = None,
    cell: Annotated[list[int] | None, typer.Option(help="Cell to draw; may be repeated.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="FACTOR=LEVEL", help="Keep the cells of a level; may be repeated.")
    ] = None,
    basis: Annotated[str | None, typer.Option(help="casewise (default), common, lower_bound, upper_bound.")] = None,
    se_kind: Annotated[
        str | None, typer.Option("--se-kind", help="Kind of SE for the methods that have it; the first by default.")
    ] = None,
    band: Annotated[
        str | None, typer.Option(help="Convention to show: muthen2002, hoogland1998, bradley1978, cohen1988.")
    ] = None,
    compare: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="Two methods of a bland-altman figure.")
    ] = None,
    of: Annotated[str | None, typer.Option("--of", help="What bland-altman compares: estimate (default), se.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder, or one file (.pdf, .png, .svg); DIR/figures by default.")
    ] = None,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="pdf, png, svg; may be repeated; PDF and PNG by default.")
    ] = None,
) -> None:
    """Draw figures of a study, each with its data as CSV.

    Bias and coverage of each method by default.
    """
    from simstudy import api
    from simstudy.report.figures.chart import check_formats
    from simstudy.runner.store import FIGURES

    check_formats(formats or ())
    drawn = api.plot(
        folder,
        kind,
        parameters=parameter,
        measures=measure,
        x=x,
        y=y,
        estimators=estimator,
        cells=cell,
        where=_levels(where or []),
        basis=basis,
        se_kind=se_kind,
        band=band,
        compare=compare,
        of=of,
    )
    for path in drawn.save(out if out is not None else folder / FIGURES, formats):
        print(path)


def _levels(texts: list[str]) -> dict[str, object]:
    """Read ``FACTOR=LEVEL``."""
    problems = [f"where: found '{text}'; allowed: FACTOR=LEVEL, such as icc=0.1" for text in texts if "=" not in text]
    if problems:
        raise SimstudyError(problems)
    found: dict[str, object] = {}
    for text in texts:
        factor, _, level = text.partition("=")
        number = _number(level.strip())
        found[factor.strip()] = level.strip() if number is None else number
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
