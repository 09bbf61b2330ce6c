"""`simstudy init`: a starter design."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from simstudy.commands.shared import say


def init(
    template: Annotated[
        str | None, typer.Argument(metavar="TEMPLATE", help="Name; all are listed without one.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write; TEMPLATE.toml by default, '-' prints it.")
    ] = None,
) -> None:
    """Write a starter design, or list the templates."""
    from simstudy import api

    if template is None:
        told = api.titles()
        width = max(len(name) for name, _ in told)
        for name, title in told:
            print(f"{name:<{width}}  {title}")
        return
    if out is not None and str(out) == "-":
        from simstudy.design.templates import template_text

        sys.stdout.write(template_text(template))
        return
    path = api.init(template, out)
    say(f"written: {path}; next: simstudy validate {path}")
