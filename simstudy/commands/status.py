"""`simstudy status`: what is done, what failed and why."""

from __future__ import annotations

from simstudy.commands.shared import Folder


def status(folder: Folder) -> None:
    """Print what is done, what failed and why."""
    from simstudy import api

    print(api.status(folder).summary())
