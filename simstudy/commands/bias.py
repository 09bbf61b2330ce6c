"""``simstudy bias``: theory in place of simulation, or beside it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer


def bias(
    design: Annotated[Path, typer.Argument(metavar="DESIGN", help="Design file (TOML).", show_default=False)],
    cell: Annotated[list[int] | None, typer.Option(help="Cell to show with every measure; may be repeated.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(help="Parameter, or a pattern such as 'within:*'; may be repeated.")
    ] = None,
    estimator: Annotated[list[str] | None, typer.Option(help="Method of the design; may be repeated.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the long table to this CSV file.")] = None,
    joined: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Results folder of the design: show simulation beside theory.")
    ] = None,
    large_samples: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Samples of very many clusters for what moments do not tell (random slopes, other distributions, "
            "missing values); 0: none.",
        ),
    ] = 200,
    timing: Annotated[bool, typer.Option("--timing", help="Say how long the computation took.")] = False,
) -> None:
    """Print bias, true and reported SEs, coverage and power from theory, without simulation."""
    from rich.console import Console

    from simstudy import api
    from simstudy.report import formula_lines, joined_lines, print_lines, theory_lines, width_of, write_csv

    found = api.open_design(design)
    start = time.perf_counter()
    table = api.bias(
        found, cells=cell or None, estimators=estimator or None, large_samples=large_samples, progress=True
    )
    seconds = time.perf_counter() - start
    console = Console(highlight=False)
    width = width_of(console)
    if joined is None:
        lines = theory_lines(
            table,
            api.best(table),
            parameters=parameter or None,
            cells=cell or None,
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
            cells=cell or None,
            factors=found.factor_names,
            study_name=found.name,
            width=width,
        )
    chosen = [entry for entry in found.estimators if not estimator or entry.name in estimator]
    places = {entry.name: api.describe_estimator(entry.method)["theory"] for entry in chosen}
    print_lines(console, [*lines, *formula_lines(places, width)])
    if csv is not None:
        write_csv(table, csv)
        print(f"\nwritten: {csv}", file=sys.stderr)
    if timing:
        n = len(set(cell)) if cell else len(found.cells)
        print(f"theory of {n} cell{'s' * (n != 1)}: {seconds:.2f} s", file=sys.stderr)
