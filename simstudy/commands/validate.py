"""`simstudy validate`: a design is checked without running it."""

from __future__ import annotations

from simstudy.commands.shared import DesignFile


def validate(design: DesignFile) -> None:
    """Check a design without running it."""
    from simstudy import api

    print(api.validate(design).summary())
