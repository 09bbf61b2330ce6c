"""The commands: read arguments, call `simstudy.api`, print."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from simstudy.commands import performance
from simstudy.commands.bias import bias as bias_command
from simstudy.commands.estimators import estimators as estimators_command
from simstudy.commands.fit import fit as fit_command
from simstudy.commands.init import init as init_command
from simstudy.commands.plan import plan as plan_command
from simstudy.commands.plot import plot as plot_command
from simstudy.commands.report import report as report_command
from simstudy.errors import SimstudyError

if TYPE_CHECKING:
    from simstudy.api import Results

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="simstudy",
    help="Monte Carlo studies of multilevel structural equation modelling.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Command = TypeVar("Command", bound=Callable[..., Any])


def command(function: Command) -> Command:
    """Add a command; what is wrong with the input is printed, a message a problem, and the exit code is 2."""

    @functools.wraps(function)
    def guarded(*args: Any, **options: Any) -> None:
        try:
            function(*args, **options)
        except SimstudyError as error:
            for problem in error.problems:
                say(f"error: {problem}")
            raise typer.Exit(BAD_INPUT) from None
        except BrokenPipeError:  # the reader, `head` say, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(DONE) from None
        except OSError as error:
            say(f"error: {error}")
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(INTERRUPTED) from None

    app.command()(guarded)
    return function


def say(message: str) -> None:
    """Print to standard error."""
    print(message, file=sys.stderr, flush=True)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"simstudy {vars(sys.modules['simstudy'])['__version__']}")
        raise typer.Exit(DONE)


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


DesignFile = Annotated[Path, typer.Argument(metavar="DESIGN", help="Design file (TOML).", show_default=False)]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Results folder.", show_default=False)]
Cell = Annotated[int, typer.Option(help="Number of the cell, from 0.", show_default=False)]
Rep = Annotated[int, typer.Option(help="Number of the replicate, from 0.", show_default=False)]
Parameters = Annotated[
    list[str] | None, typer.Option("--parameter", help="Parameter, or a pattern such as 'within:*'; may be repeated.")
]


@command
def run(
    design: DesignFile,
    jobs: Annotated[int | None, typer.Option(help="Processes; all cores by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Results folder; results/<study name> by default.")] = None,
    reps: Annotated[int | None, typer.Option(help="Replications instead of the design's.")] = None,
    block_size: Annotated[int | None, typer.Option(help="Replicates a task; results do not depend on it.")] = None,
    shard: Annotated[str | None, typer.Option(metavar="I/K", help="Run one of K shares, for `merge`.")] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TARGETS",
            help="Replicate each cell until its Monte Carlo SEs are as small, such as 'coverage=.005,bias=.01'.",
        ),
    ] = None,
    max_reps: Annotated[
        int | None, typer.Option(help="With --until: the most replicates a cell; 10,000 by default.")
    ] = None,
    until_parameter: Annotated[
        list[str] | None,
        typer.Option(help="With --until: parameter or pattern that counts; labelled and := ones by default."),
    ] = None,
    until_method: Annotated[
        list[str] | None, typer.Option(help="With --until: method that counts; all by default.")
    ] = None,
) -> None:
    """Run a study, or what is missing of it, and print its performance table."""
    from simstudy import api

    try:
        found = api.run_study(
            design,
            out,
            jobs=jobs,
            reps=reps,
            block_size=block_size,
            shard=shard,
            until=until,
            max_reps=max_reps,
            until_parameters=until_parameter,
            until_methods=until_method,
        )
    except KeyboardInterrupt:
        say("interrupted; what was finished is kept, and the same command goes on from there")
        raise typer.Exit(INTERRUPTED) from None
    if len(found.until):
        from simstudy.report import until_lines

        for line in until_lines(found.until, found.manifest.factors):
            say(line)
    if shard:
        say(f"shard {shard} is finished: {found.folder}; `simstudy merge` joins the shards")
        return
    _refuse_empty(found)
    performance.show(found)
    try:
        figures = api.plot_results(found)
    except SimstudyError as error:
        say(f"note: no figures were drawn: {error}")
        figures = []
    say(f"\nresults: {found.folder} (performance.csv, performance.parquet, {len(figures) // 3} figures)")
    _exit_for(found)


@command
def analyse(
    folder: Folder,
    style: performance.StyleOption = "simstudy",
    csv: performance.CsvOption = None,
    latex: performance.LatexOption = None,
    html: performance.HtmlOption = None,
    markdown: performance.MarkdownOption = None,
    parameter: performance.ParameterOption = None,
    cell: performance.CellOption = None,
    measures: performance.MeasuresOption = None,
    reference: performance.ReferenceOption = None,
) -> None:
    """Print the performance table of a results folder."""
    from simstudy import api
    from simstudy.report import check_style

    wanted = (style, parameter, cell, performance.split(measures))
    check_style(style, wanted[-1])
    found = api.read_results(folder, reference)
    _refuse_empty(found)
    files = {"csv": csv, "latex": latex, "html": html, "markdown": markdown}
    performance.write_files(found, files, *wanted)
    performance.show(found, *wanted)
    _exit_for(found)


def _refuse_empty(found: Results) -> None:
    if found.performance.empty:
        raise SimstudyError(f"{found.folder}: there are no finished replicates yet")


def _exit_for(found: Results) -> None:
    """Exit with 1 if a method converged nowhere."""
    performance.exit_for(found, f"; `simstudy status {found.folder}` says why")


@command
def status(folder: Folder) -> None:
    """Print what is done, what failed and why."""
    from simstudy import api

    print(api.status(folder).summary())


@command
def validate(design: DesignFile) -> None:
    """Check a design without running it."""
    from simstudy import api

    print(api.validate(design).summary())


@command
def simulate(
    design: DesignFile,
    cell: Cell,
    rep: Rep,
    out: Annotated[Path | None, typer.Option(help="CSV or Parquet file; CSV to the terminal by default.")] = None,
) -> None:
    """Write one data set of a study, as every method gets it."""
    from simstudy import api

    data = api.simulate(design, cell, rep, out)
    if out is None:
        data.to_csv(sys.stdout, index=False, lineterminator="\n")
    else:
        say(f"written: {out} ({len(data):,} rows)")


@command
def replay(
    folder: Folder,
    cell: Cell,
    rep: Rep,
    estimator: Annotated[str, typer.Option(help="Method.", show_default=False)],
) -> None:
    """Fit one replicate again and compare it with what is stored, bit for bit."""
    from simstudy import api

    found = api.replay(folder, cell, rep, estimator)
    print(found.summary())
    if not found.identical:
        raise typer.Exit(FAILED)


@command
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Results folders.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Joint folder; results/<study name> by default.")] = None,
) -> None:
    """Join results folders of one design, such as shards."""
    from simstudy import api

    found = api.merge(list(folders), out)
    missing = int(found.progress["missing"].sum())
    print(f"{found.name}: {'complete' if found.complete else f'{missing:,} fits are missing'}")


command(plot_command)
command(bias_command)
command(estimators_command)
command(fit_command)
command(report_command)
command(performance.performance)
command(performance.factors)
command(performance.export)
command(init_command)
command(plan_command)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
