"""Commands on results: tables of a study made elsewhere, which factors matter, export."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simstudy.errors import SimstudyError

if TYPE_CHECKING:
    from simstudy.api import Imported, Results

FAILED = 1

Column = str | None
StyleOption = Annotated[str, typer.Option(metavar="STYLE", help="Layout: simstudy, mplus, simdesign, simsum.")]
CsvOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the numbers as CSV.")]
LatexOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the table as LaTeX (booktabs).")]
HtmlOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the table as an HTML page.")]
MarkdownOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the table as Markdown.")]
ParameterOption = Annotated[
    list[str] | None, typer.Option("--parameter", help="Parameter, or a pattern such as 'within:*'; may be repeated.")
]
CellOption = Annotated[
    list[int] | None, typer.Option(help="Cell to show with every measure; may be repeated.", show_default=False)
]
MeasuresOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME,...", help="Measures to show, or patterns such as '*bias'; may be repeated."),
]
ReferenceOption = Annotated[
    str | None, typer.Option(metavar="METHOD", help="Method that differences refer to; the first by default.")
]


def show(
    found: Results | Imported,
    style: str = "simstudy",
    parameters: Sequence[str] | None = None,
    cells: Sequence[int] | None = None,
    measures: Sequence[str] | None = None,
) -> None:
    """Print the performance table, and the fit measures if there are any."""
    from rich.console import Console

    from simstudy import api
    from simstudy.report import print_performance

    print_performance(
        Console(highlight=False),
        found.performance,
        found.failures,
        style=style,
        parameters=parameters or None,
        cells=cells or None,
        measures=measures or None,
        more=api.further_tables(found, cells),
        **api.table_options(found),
    )


def write_files(
    found: Results | Imported,
    files: dict[str, Path | None],
    style: str = "simstudy",
    parameters: Sequence[str] | None = None,
    cells: Sequence[int] | None = None,
    measures: Sequence[str] | None = None,
) -> None:
    """Write the table in the formats that were asked for."""
    from simstudy import api
    from simstudy.report import write_text

    for format, path in files.items():
        if path is not None:
            text = api.format_performance(
                found, format, style=style, parameters=parameters, cells=cells, measures=measures
            )
            write_text(text, path)
            _say(f"written: {path}")


def split(names: Sequence[str] | None) -> list[str]:
    """Names that were given one by one or with commas between them."""
    return [part.strip() for name in names or () for part in name.split(",") if part.strip()]


def performance(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="One row an estimate: CSV, Parquet, Stata or SPSS.", show_default=False),
    ],
    estimate: Annotated[Column, typer.Option(metavar="COL", help="Estimates.")] = None,
    se: Annotated[Column, typer.Option(metavar="COL", help="Standard errors.")] = None,
    truth: Annotated[Column, typer.Option(metavar="COL|NUMBER", help="True values, or the one of all rows.")] = None,
    lower: Annotated[Column, typer.Option(metavar="COL", help="Lower limits; Wald limits without.")] = None,
    upper: Annotated[Column, typer.Option(metavar="COL", help="Upper limits.")] = None,
    method: Annotated[Column, typer.Option(metavar="COL", help="Methods.")] = None,
    target: Annotated[Column, typer.Option(metavar="COL", help="Parameters.")] = None,
    rep: Annotated[Column, typer.Option(metavar="COL", help="Replicates.")] = None,
    converged: Annotated[Column, typer.Option(metavar="COL", help="Whether a fit converged.")] = None,
    by: Annotated[
        list[str] | None, typer.Option(metavar="COL,...", help="Design factors; each combination is a cell.")
    ] = None,
    level: Annotated[float, typer.Option(help="Level of the Wald intervals.")] = 0.95,
    replications: Annotated[
        int | None, typer.Option(help="Replicates tried in each cell; missing ones count as failed.")
    ] = None,
    reference: ReferenceOption = None,
    style: StyleOption = "simstudy",
    csv: CsvOption = None,
    latex: LatexOption = None,
    html: HtmlOption = None,
    markdown: MarkdownOption = None,
    parameter: ParameterOption = None,
    cell: CellOption = None,
    measures: MeasuresOption = None,
) -> None:
    """Print the performance table of a simulation study made with other software.

    Columns with usual names (estimate, se, truth, lower, upper, method, parameter, rep, converged) are found by
    themselves.
    """
    from simstudy import api
    from simstudy.report import check_style

    wanted = (style, parameter, cell, split(measures))
    check_style(style, wanted[-1])
    found = api.import_results(
        file,
        estimate=estimate,
        se=se,
        truth=truth,
        lower=lower,
        upper=upper,
        method=method,
        parameter=target,
        rep=rep,
        converged=converged,
        by=split(by) or None,
        level=level,
        replications=replications,
        reference=reference,
    )
    for note in found.notes:
        _say(f"note: {note}")
    write_files(found, {"csv": csv, "latex": latex, "html": html, "markdown": markdown}, *wanted)
    show(found, *wanted)
    exit_for(found)


def factors(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Results folder.", show_default=False)],
    parameter: ParameterOption = None,
    measures: MeasuresOption = None,
    estimator: Annotated[list[str] | None, typer.Option(help="Method; may be repeated.", show_default=False)] = None,
    outcome: Annotated[
        str, typer.Option(help="'cells': the measures of the cells; 'replicates': the numbers they are means of.")
    ] = "cells",
    order: Annotated[int, typer.Option(help="1: main effects; 2: two-way interactions too; ...")] = 2,
    csv: CsvOption = None,
    latex: LatexOption = None,
    html: HtmlOption = None,
    markdown: MarkdownOption = None,
) -> None:
    """Print which design factors matter: eta squared of each factor and interaction on each measure."""
    from rich.console import Console
    from rich.text import Text

    from simstudy import api
    from simstudy.performance.choose import choose_parameters, in_order
    from simstudy.report import effect_blocks, key_parameters, write_csv, write_text
    from simstudy.report.tables.performance import FILE_WIDTH
    from simstudy.report.tables.render import to_html, to_latex, to_lines, to_markdown
    from simstudy.report.tables.view import choose_measures

    found = api.up_to_date(folder)
    known = in_order(found.performance["parameter"].unique())
    chosen = choose_parameters(parameter, known) if parameter else key_parameters(known)
    effects = api.factor_effects(
        found.performance,
        factors=found.manifest.factors,
        parameters=chosen,
        measures=choose_measures(split(measures)) or None,
        estimators=estimator or None,
        outcome=outcome,
        order=order,
    )
    blocks = effect_blocks(effects, title=found.manifest.name, outcome=outcome)
    if csv is not None:
        _say(f"written: {write_csv(effects, csv)}")
    for path, text in (
        (latex, to_latex(blocks)),
        (html, to_html(blocks, found.manifest.name)),
        (markdown, to_markdown(blocks)),
    ):
        if path is not None:
            _say(f"written: {write_text(text, path)}")
    console = Console(highlight=False)
    for line in to_lines(blocks, console.width if console.is_terminal else FILE_WIDTH):
        console.print(Text(line.text, style=line.style), soft_wrap=True)


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Results folder.", show_default=False)],
    siman: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Every estimate as CSV in the long-long layout of Stata's siman."),
    ] = None,
) -> None:
    """Write the estimates of a study for other software."""
    from simstudy import api

    if siman is None:
        raise SimstudyError("export: say what to write; allowed: --siman FILE")
    _say(f"written: {api.export_siman(folder, siman)}")


def exit_for(found: Results | Imported, advice: str = "") -> None:
    """Exit with 1 if a method converged nowhere."""
    for name in found.failed_everywhere:
        _say(f"failed: {name} converged in no replicate{advice}")
    if found.failed_everywhere:
        raise typer.Exit(FAILED)


def _say(message: str) -> None:
    """Print to standard error."""
    print(message, file=sys.stderr, flush=True)
