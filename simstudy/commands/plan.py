"""`simstudy plan`: the smallest design that reaches a target."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from simstudy.errors import SimstudyError

NO_ANSWER, INTERRUPTED = 1, 130
_EQUALS = re.compile(r"=(?!~)")  # a path may have =~


def plan(
    design: Annotated[
        str,
        typer.Argument(
            metavar="DESIGN", help="Design file, or template ('simstudy init' lists them).", show_default=False
        ),
    ],
    parameter: Annotated[
        str, typer.Option(metavar="LABEL", help="Parameter that the target is about.", show_default=False)
    ],
    power: Annotated[float | None, typer.Option(help="Target: the least power.")] = None,
    coverage: Annotated[float | None, typer.Option(help="Target: the least coverage.")] = None,
    convergence: Annotated[float | None, typer.Option(help="Target: the least share of converged fits.")] = None,
    width: Annotated[float | None, typer.Option(help="Target: the largest mean width of intervals.")] = None,
    bias: Annotated[float | None, typer.Option(help="Target: the largest absolute bias.")] = None,
    relative_bias: Annotated[float | None, typer.Option(help="Target: the largest absolute relative bias.")] = None,
    median_bias: Annotated[float | None, typer.Option(help="Target: the largest absolute median bias.")] = None,
    over: Annotated[
        str, typer.Option(metavar="WHAT", help="What is searched: n_clusters, or cluster_size with --n-clusters.")
    ] = "n_clusters",
    cost: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="Find the cheapest J and n together: cost such as '100*J + 10*J*n'."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Value in place of the design's; may be repeated."),
    ] = None,
    icc: Annotated[str | None, typer.Option(help="Short for --set icc=...")] = None,
    cluster_size: Annotated[
        str | None, typer.Option(help="Cluster size, such as 10 or '{ uniform = [5, 15] }'; short for --set.")
    ] = None,
    n_clusters: Annotated[int | None, typer.Option(help="With --over cluster_size: the number of clusters.")] = None,
    uncertain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIST",
            help="Average over a value that is not known, such as 'icc=beta(2,18)'; may be repeated.",
        ),
    ] = None,
    method: Annotated[str, typer.Option(metavar="NAME", help="Method.")] = "msem",
    se: Annotated[str | None, typer.Option(metavar="KIND", help="Kind of SE; the method's first by default.")] = None,
    ci: Annotated[
        str, typer.Option(metavar="KIND", help="Intervals: wald or montecarlo (of indirect effects).")
    ] = "wald",
    level: Annotated[float | None, typer.Option(help="Level of the intervals; the design's by default.")] = None,
    analytic: Annotated[bool, typer.Option("--analytic", help="Large-J theory alone, without simulation.")] = False,
    tolerance: Annotated[
        float | None, typer.Option(help="Half-width of the 95% interval of the measure at the answer; .01 for power.")
    ] = None,
    reps: Annotated[int, typer.Option(help="Data sets of the confirming run.")] = 10_000,
    max_reps: Annotated[int, typer.Option(help="Most data sets that a search may spend.")] = 100_000,
    min_: Annotated[int | None, typer.Option("--min", help="Smallest size that may be answered.")] = None,
    max_: Annotated[int | None, typer.Option("--max", help="Largest size that may be answered.")] = None,
    max_size: Annotated[int | None, typer.Option(help="With --cost: the largest cluster size; 100 by default.")] = None,
    draws: Annotated[int, typer.Option(help="Draws of uncertain values.")] = 256,
    grid: Annotated[
        bool | None, typer.Option("--map/--no-map", help="Draw the map over J and n; with --cost by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed instead of the design's.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; all cores by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; results/plan-... by default.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the plan to this file.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the simulated sizes to this file.")
    ] = None,
) -> None:
    """Find the smallest number (or size) of clusters that reaches a target, or the cheapest design.

    Theory answers first; a simulation search around it gives the answer with an interval, and a run with fresh data
    sets confirms it. The same command resumes a plan that was interrupted.

    Exit codes: 0 there is an answer, 1 no design reaches the target, 2 bad input.
    """
    from rich.console import Console
    from rich.text import Text

    from simstudy import api
    from simstudy.report import plan_lines

    settings = _settings(set_ or [], icc, cluster_size)
    try:
        found = api.plan(
            design, parameter, power=power, coverage=coverage, convergence=convergence, width=width, bias=bias,
            relative_bias=relative_bias, median_bias=median_bias, over=over, cost=cost, method=method, se=se, ci=ci,
            level=level, settings=settings, n_clusters=n_clusters, uncertain=uncertain or [], analytic=analytic,
            tolerance=tolerance, reps=reps, max_reps=max_reps, low=min_, high=max_, max_size=max_size, draws=draws,
            seed=seed, jobs=jobs, out=out, keep=True, grid=grid,
        )  # fmt: skip
    except KeyboardInterrupt:
        print("interrupted; what was simulated is kept, and the same command goes on from there", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    console = Console(highlight=False)
    for line in plan_lines(found):
        console.print(Text(line.text, style=line.style), soft_wrap=True)
    for path in api.write_copies(found, json_file, csv):
        print(f"written: {path}", file=sys.stderr)
    print(f"plan: {found.folder}", file=sys.stderr)
    if not found.found:
        raise typer.Exit(NO_ANSWER)


def _settings(pairs: list[str], icc: str | None, cluster_size: str | None) -> dict[str, str]:
    """Settings from ``--set`` and its short forms.

    Raises
    ------
    SimstudyError
        If a pair has no ``=``, or a value is given twice.
    """
    found: dict[str, str] = {}
    problems = []
    short = [("icc", icc), ("cluster_size", cluster_size)]
    for pair in pairs:
        name, *rest = (piece.strip() for piece in _EQUALS.split(pair, maxsplit=1))
        value = rest[0] if rest else ""
        if not (name and value):
            problems.append(f"set: found '{pair}'; allowed: NAME=VALUE, such as a_b=.3")
        elif name in found:
            problems.append(f"set: '{name}' is given twice")
        found[name] = value
    for name, short_value in short:
        if short_value is not None and name in found:
            problems.append(f"set: '{name}' is given twice, as --{name.replace('_', '-')} too")
        if short_value is not None:
            found[name] = short_value
    if problems:
        raise SimstudyError(problems)
    return found
