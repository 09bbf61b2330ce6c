"""`simstudy plan`: the smallest design that reaches a target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from simstudy.commands.build import options_of
from simstudy.commands.shared import FAILED, INTERRUPTED, RESUMES, print_lines, say
from simstudy.requests.plan import PlanRequest
from simstudy.requests.values import read_settings


@options_of(PlanRequest)
def plan(
    request: PlanRequest,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Value in place of the design's; may be repeated."),
    ] = None,
    icc: Annotated[str | None, typer.Option(help="Short for --set icc=...")] = None,
    cluster_size: Annotated[
        str | None, typer.Option(help="Cluster size, such as 10 or '{ uniform = [5, 15] }'; short for --set.")
    ] = None,
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
    from simstudy import api
    from simstudy.report import plan_lines

    settings = read_settings(set_ or [], icc=icc, cluster_size=cluster_size)
    try:
        found = api.plan(**vars(replace(request, settings=settings, keep=True)))
    except KeyboardInterrupt:
        say(RESUMES.format(done="simulated"))
        raise typer.Exit(INTERRUPTED) from None
    print_lines(plan_lines(found))
    for path in api.write_copies(found, json_file, csv):
        say(f"written: {path}")
    say(f"plan: {found.folder}")
    if not found.found:
        raise typer.Exit(FAILED)
