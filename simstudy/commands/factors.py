"""`simstudy factors`: which design factors matter."""

from __future__ import annotations

from typing import Annotated

import typer

from simstudy.commands.shared import Folder, print_lines, say
from simstudy.commands.table import (
    CsvOption,
    HtmlOption,
    LatexOption,
    MarkdownOption,
    MeasuresOption,
    ParameterOption,
)
from simstudy.requests.values import split


def factors(
    folder: Folder,
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
        say(f"written: {write_csv(effects, csv)}")
    for path, text in (
        (latex, to_latex(blocks)),
        (html, to_html(blocks, found.manifest.name)),
        (markdown, to_markdown(blocks)),
    ):
        if path is not None:
            say(f"written: {write_text(text, path)}")
    console = Console(highlight=False)
    print_lines(to_lines(blocks, console.width if console.is_terminal else FILE_WIDTH))
