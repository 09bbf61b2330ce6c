"""`simstudy export`: the estimates of a study for other software."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simstudy.commands.shared import Folder, say
from simstudy.errors import SimstudyError


def export(
    folder: Folder,
    siman: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Every estimate as CSV in the long-long layout of Stata's siman."),
    ] = None,
) -> None:
    """Write the estimates of a study for other software."""
    from simstudy import api

    if siman is None:
        raise SimstudyError("export: say what to write; allowed: --siman FILE")
    say(f"written: {api.export_siman(folder, siman)}")
