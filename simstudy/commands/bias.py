"""``simstudy bias``: theory in place of simulation, or beside it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from simstudy.commands.build import options_of
from simstudy.commands.shared import say
from simstudy.requests.theory import BiasRequest


@options_of(BiasRequest)
def bias(
    request: BiasRequest,
    parameter: Annotated[
        list[str] | None, typer.Option(help="Parameter, or a pattern such as 'within:*'; may be repeated.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the long table to this CSV file.")] = None,
    joined: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Results folder of the design: show simulation beside theory.")
    ] = None,
    timing: Annotated[bool, typer.Option("--timing", help="Say how long the computation took.")] = False,
) -> None:
    """Print bias, true and reported SEs, coverage and power from theory, without simulation."""
    from rich.console import Console

    from simstudy import api
    from simstudy.report import print_lines, width_of, write_csv

    start = time.perf_counter()
    found = api.bias(**vars(replace(request, progress=True)))
    seconds = time.perf_counter() - start
    beside = None if joined is None else api.read_results(joined).performance
    console = Console(highlight=False)
    print_lines(console, found.lines(parameter or None, request.cells, beside=beside, width=width_of(console)))
    if csv is not None:
        write_csv(found.to_frame() if beside is None else found.beside(beside), csv)
        say(f"\nwritten: {csv}")
    if timing:
        n = len(set(request.cells)) if request.cells else len(found.design.cells)
        say(f"theory of {n} cell{'s' * (n != 1)}: {seconds:.2f} s")
