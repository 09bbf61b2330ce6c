"""`simstudy run`: a study, or what is missing of it."""

from __future__ import annotations

import typer

from simstudy.commands import table
from simstudy.commands.build import options_of
from simstudy.commands.shared import INTERRUPTED, RESUMES, exit_for_study, refuse_empty, say
from simstudy.errors import SimstudyError
from simstudy.requests.run import RunRequest


@options_of(RunRequest)
def run(request: RunRequest) -> None:
    """Run a study, or what is missing of it, and print its performance table."""
    from simstudy import api

    try:
        found = api.run_study(**vars(request))
    except KeyboardInterrupt:
        say(RESUMES.format(done="finished"))
        raise typer.Exit(INTERRUPTED) from None
    if len(found.until):
        from simstudy.report import until_lines

        for line in until_lines(found.until, found.manifest.factors):
            say(line)
    if request.shard:
        say(f"shard {request.shard} is finished: {found.folder}; `simstudy merge` joins the shards")
        return
    refuse_empty(found)
    table.show(found)
    try:
        figures = api.plot_results(found)
    except SimstudyError as error:
        say(f"note: no figures were drawn: {error}")
        figures = []
    say(f"\nresults: {found.folder} (performance.csv, performance.parquet, {len(figures) // 3} figures)")
    exit_for_study(found)
