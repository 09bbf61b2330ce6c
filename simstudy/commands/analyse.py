"""`simstudy analyse`: the performance table of a results folder."""

from __future__ import annotations

from simstudy.commands.shared import Folder, exit_for_study, refuse_empty
from simstudy.commands.table import (
    CellOption,
    CsvOption,
    HtmlOption,
    LatexOption,
    MarkdownOption,
    MeasuresOption,
    ParameterOption,
    ReferenceOption,
    StyleOption,
    show,
    write_files,
)
from simstudy.requests.values import split


def analyse(
    folder: Folder,
    style: StyleOption = "simstudy",
    csv: CsvOption = None,
    latex: LatexOption = None,
    html: HtmlOption = None,
    markdown: MarkdownOption = None,
    parameter: ParameterOption = None,
    cell: CellOption = None,
    measures: MeasuresOption = None,
    reference: ReferenceOption = None,
) -> None:
    """Print the performance table of a results folder."""
    from simstudy import api
    from simstudy.report import check_style

    wanted = (style, parameter, cell, split(measures))
    check_style(style, wanted[-1])
    found = api.read_results(folder, reference)
    refuse_empty(found)
    files = {"csv": csv, "latex": latex, "html": html, "markdown": markdown}
    write_files(found, files, *wanted)
    show(found, *wanted)
    exit_for_study(found)
