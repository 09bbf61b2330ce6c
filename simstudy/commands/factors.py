"""`simstudy factors`: which design factors matter."""

from __future__ import annotations

from simstudy.commands.build import options_of
from simstudy.commands.shared import print_lines, say
from simstudy.commands.table import CsvOption, HtmlOption, LatexOption, MarkdownOption
from simstudy.requests.effects import EffectsRequest


@options_of(EffectsRequest)
def factors(
    request: EffectsRequest,
    csv: CsvOption = None,
    latex: LatexOption = None,
    html: HtmlOption = None,
    markdown: MarkdownOption = None,
) -> None:
    """Print which design factors matter: eta squared of each factor and interaction on each measure."""
    from rich.console import Console

    from simstudy import api
    from simstudy.performance.choose import in_order
    from simstudy.report import effect_blocks, key_parameters, write_csv, write_text
    from simstudy.report.tables.performance import FILE_WIDTH
    from simstudy.report.tables.render import to_html, to_latex, to_lines, to_markdown

    found = api.up_to_date(str(request.source))
    parameters = request.parameters or key_parameters(in_order(found.performance["parameter"].unique()))
    options = vars(request) | {"source": found.performance, "factors": found.manifest.factors, "parameters": parameters}
    effects = api.factor_effects(**options)
    blocks = effect_blocks(effects, title=found.manifest.name, outcome=request.outcome)
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
