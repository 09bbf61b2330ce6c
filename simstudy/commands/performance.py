"""`simstudy performance`: the performance table of a study made with other software."""

from __future__ import annotations

from simstudy.commands.build import options_of
from simstudy.commands.shared import exit_for, say
from simstudy.commands.table import (
    CellOption,
    CsvOption,
    HtmlOption,
    LatexOption,
    MarkdownOption,
    MeasuresOption,
    ParameterOption,
    StyleOption,
    show,
    write_files,
)
from simstudy.requests.foreign import ForeignRequest
from simstudy.requests.values import split


@options_of(ForeignRequest)
def performance(
    request: ForeignRequest,
    style: StyleOption = "simstudy",
    csv: CsvOption = None,
    latex: LatexOption = None,
    html: HtmlOption = None,
    markdown: MarkdownOption = None,
    parameter_shown: ParameterOption = None,
    cell: CellOption = None,
    measures: MeasuresOption = None,
) -> None:
    """Print the performance table of a simulation study made with other software.

    Columns with usual names (estimate, se, truth, lower, upper, method, parameter, rep, converged) are found by
    themselves.
    """
    from simstudy import api
    from simstudy.report import check_style

    wanted = (style, parameter_shown, cell, split(measures))
    check_style(style, wanted[-1])
    found = api.import_results(**vars(request))
    for note in found.notes:
        say(f"note: {note}")
    write_files(found, {"csv": csv, "latex": latex, "html": html, "markdown": markdown}, *wanted)
    show(found, *wanted)
    exit_for(found)
