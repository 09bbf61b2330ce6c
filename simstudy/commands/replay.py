"""`simstudy replay`: one past fit, bit for bit."""

from __future__ import annotations

from typing import Annotated

import typer

from simstudy.commands.shared import FAILED, Cell, Folder, Rep


def replay(
    folder: Folder,
    cell: Cell,
    rep: Rep,
    estimator: Annotated[str, typer.Option(help="Method.", show_default=False)],
) -> None:
    """Fit one replicate again and compare it with what is stored, bit for bit."""
    from simstudy import api

    found = api.replay(folder, cell, rep, estimator)
    print(found.summary())
    if not found.identical:
        raise typer.Exit(FAILED)
