"""`simstudy report`: the report of a study, or the preregistration of a design."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from simstudy.errors import SimstudyError


def report(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|DESIGN", help="Results folder; with --adempprereg a design file.", show_default=False
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="File to write; DIR/report.html by default.")] = None,
    theory: Annotated[bool, typer.Option(help="Draw theory's curves through the simulated points.")] = True,
    adempprereg: Annotated[
        bool,
        typer.Option(
            "--adempprereg",
            help="Before any run: fill in the preregistration headings of Siepe et al. (2024) from a design file.",
        ),
    ] = False,
) -> None:
    """Write one self-contained HTML file on a study: aims, data, estimands, methods, performance, failures."""
    from simstudy import api

    if not adempprereg:
        if source.is_file():
            raise SimstudyError(
                f"{source}: found a file; allowed: a results folder (run the design first), or a design file with "
                "--adempprereg"
            )
        print(api.write_report(source, out, theory=theory))
        return
    if source.is_dir():
        raise SimstudyError(f"{source}: found a folder; allowed with --adempprereg: a design file")
    text = api.preregister(source, out)
    if out is None:
        sys.stdout.write(text)
    else:
        print(out)
