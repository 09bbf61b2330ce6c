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
    from simstudy.report import formula_lines, joined_lines, print_lines, theory_lines, width_of, write_csv

    found = api.open_design(str(request.design))
    start = time.perf_counter()
    table = api.bias(**vars(replace(request, design=found, progress=True)))
    seconds = time.perf_counter() - start
    console = Console(highlight=False)
    width = width_of(console)
    if joined is None:
        lines = theory_lines(
            table,
            api.best(table),
            parameters=parameter or None,
            cells=request.cells,
            factors=found.factor_names,
            level=found.intervals.level,
            study_name=found.name,
            calculations=api.CALCULATIONS,
            width=width,
        )
    else:
        table = api.joined(table, joined)
        lines = joined_lines(
            table,
            parameters=parameter or None,
            cells=request.cells,
            factors=found.factor_names,
            study_name=found.name,
            width=width,
        )
    chosen = [entry for entry in found.estimators if not request.estimators or entry.name in request.estimators]
    places = {entry.name: api.describe_estimator(entry.method)["theory"] for entry in chosen}
    print_lines(console, [*lines, *formula_lines(places, width)])
    if csv is not None:
        write_csv(table, csv)
        say(f"\nwritten: {csv}")
    if timing:
        n = len(set(request.cells)) if request.cells else len(found.cells)
        say(f"theory of {n} cell{'s' * (n != 1)}: {seconds:.2f} s")
