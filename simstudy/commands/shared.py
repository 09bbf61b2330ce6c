"""What several commands have in common."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simstudy.errors import SimstudyError

if TYPE_CHECKING:
    from simstudy.api import Imported, Results

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""
RESUMES = "interrupted; what was {done} is kept, and the same command goes on from there"

DesignFile = Annotated[Path, typer.Argument(metavar="DESIGN", help="Design file (TOML).", show_default=False)]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Results folder.", show_default=False)]
Cell = Annotated[int, typer.Option(help="Number of the cell, from 0.", show_default=False)]
Rep = Annotated[int, typer.Option(help="Number of the replicate, from 0.", show_default=False)]


def say(message: str) -> None:
    """Print to standard error."""
    print(message, file=sys.stderr, flush=True)


def refuse_empty(found: Results) -> None:
    """Refuse results without a finished replicate."""
    if found.performance.empty:
        raise SimstudyError(f"{found.folder}: there are no finished replicates yet")


def exit_for(found: Results | Imported, advice: str = "") -> None:
    """Exit with 1 if a method converged nowhere."""
    for name in found.failed_everywhere:
        say(f"failed: {name} converged in no replicate{advice}")
    if found.failed_everywhere:
        raise typer.Exit(FAILED)


def exit_for_study(found: Results) -> None:
    """Exit with 1 if a method converged nowhere, and say where to look."""
    exit_for(found, f"; `simstudy status {found.folder}` says why")


def print_lines(lines: Sequence[Any]) -> None:
    """Print lines with their styles."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for line in lines:
        console.print(Text(line.text, style=line.style), soft_wrap=True)
