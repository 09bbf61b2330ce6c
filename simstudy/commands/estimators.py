"""`simstudy estimators`: the methods and their story."""

from __future__ import annotations

from typing import Annotated

import typer

from simstudy.commands.shared import print_lines

TEXT_WIDTH = 110
"""Characters a line at most, and where the output is no terminal."""


def estimators(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Methods to tell everything about.", show_default=False),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Tell what every method can and cannot do.")] = False,
) -> None:
    """List the methods in teaching order; with NAME, tell one in full: idea, abilities, options, reference."""
    from rich.console import Console

    from simstudy import api
    from simstudy.report.tables.story import story_lines, story_table_lines
    from simstudy.report.tables.text import Line

    console = Console(highlight=False)
    width = min(console.width, TEXT_WIDTH) if console.is_terminal else TEXT_WIDTH
    lines: list[Line] = []
    if names:
        blocks = [story_lines(api.describe_estimator(name), width) for name in names]
    elif full:
        blocks = [story_lines(told, width) for told in api.story()]
    else:
        more = "`simstudy estimators NAME` tells one in full, `--full` what each can and cannot do."
        blocks = [story_table_lines(api.story(), width), [Line(more, "dim")]]
    for k, block in enumerate(blocks):
        lines += [Line("")] * (k > 0) + block
    print_lines(lines)
