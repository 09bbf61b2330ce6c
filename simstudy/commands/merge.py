"""`simstudy merge`: shards are joined."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Results folders.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Joint folder; results/<study name> by default.")] = None,
) -> None:
    """Join results folders of one design, such as shards."""
    from simstudy import api

    found = api.merge(list(folders), out)
    missing = int(found.progress["missing"].sum())
    print(f"{found.name}: {'complete' if found.complete else f'{missing:,} fits are missing'}")
