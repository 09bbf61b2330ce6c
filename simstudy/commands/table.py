"""Performance tables as commands print and write them, and the options of that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simstudy.commands.shared import say

if TYPE_CHECKING:
    from simstudy.api import Imported, Results

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
            say(f"written: {path}")
