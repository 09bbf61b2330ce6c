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
    found = api.results(folder, reference)
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

    found = api.status(folder)
    table = found.progress
    missing, there = int(table["missing"].sum()), int(table["done"].sum())
    done = "complete" if found.complete else f"{missing:,} fits are missing"
    asked = table["done"] + table["missing"]
    low, high = int(asked.min()), int(asked.max())
    span = f"{low:,} replications" if low == high else f"{low:,} to {high:,} replications a cell"
    print(f"{found.name}: {there:,} of {there + missing:,} fits ({span}), {done}")
    if found.until:
        targets = ", ".join(f"{name} {value:g}" for name, value in found.until["targets"].items())
        print(f"  replicated until the Monte Carlo SEs are: {targets}; at most {found.until['maximum']:,} a cell")
    facts = [name for name in table.columns[list(table.columns).index("done") :] if name != "missing"]
    by_method = table.groupby("estimator", sort=False)[["done", "missing", *facts[1:]]].sum().reset_index()
    _print_table(by_method, left=1)
    if not found.complete:
        unfinished = table[table["missing"] > 0].groupby("cell")["missing"].sum()
        shown = ", ".join(str(cell) for cell in unfinished.index[:20])
        print(f"\ncells with missing fits: {shown}{', ...' if len(unfinished) > 20 else ''}")
    if len(found.problems):
        print("\nWhat failed and why:")
    columns = ["estimator", "status", "message"]
    for (name, state, message), rows in found.problems.groupby(columns, sort=False):
        first = rows.iloc[0]
        cells = f"{len(rows)} cells" if len(rows) > 1 else f"cell {first['cell']}"
        print(f"  {name}, {state}, {int(rows['count'].sum()):,} fits in {cells}: {message}")
        if state == "EXCEPTION":
            where = f"--cell {first['cell']} --rep {first['replicate']} --estimator {name}"
            print(f"    the first: simstudy replay {folder} {where}")
    for message in found.damaged:
        print(f"{message}; running the design again replaces it")
    print("\nbegun with " + ", ".join(f"{name} {version}" for name, version in found.versions.items()))


@command
def validate(design: DesignFile) -> None:
    """Check a design without running it."""
    from simstudy import api

    found = api.open_design(design)
    table = api.validate(found)
    methods = [entry.name for entry in found.estimators]
    cells, reps = len(found.cells), found.replications
    print(f"{found.name}: the design is valid")
    print(f"  {cells:,} cells x {reps:,} replications x {len(methods)} methods = {cells * reps * len(methods):,} fits")
    print(f"  methods: {', '.join(methods)}")
    print(f"  parameters: {', '.join(found.model.reported)}")
    unsupported = table[table["reason"] != ""]
    for (name, reason), rows in unsupported.groupby(["estimator", "reason"], sort=False):
        where = "all cells" if len(rows) == cells else f"{len(rows)} of {cells} cells"
        print(f"  {name} cannot be used in {where}: {reason}; its fits will be reported as NOT_SUPPORTED")


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
    print(f"cell {cell}, replicate {rep}, {estimator}: stored, and again")
    numbers = ["estimate", "se", "lower", "upper"]
    shown = [name for name in numbers if found.table[[name, f"{name}_again"]].notna().any(axis=None)]
    _print_table(found.table[["se_kind", "param", *(c for name in shown for c in (name, f"{name}_again"))]], left=2)
    _print_table(found.facts.rename_axis("fit").reset_index(), left=1)
    if found.error:
        print(found.error)
    if found.identical:
        print("identical, bit for bit")
    else:
        why = f"versions have changed: {found.changes}" if found.changes else "the versions are the same"
        print(f"DIFFERENT, by {found.largest:.1g} at most (relative); {why}")
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


def _print_table(table: Any, left: int) -> None:
    from simstudy.report.tables.text import TextTable

    rows = tuple(tuple(_shown(value) for value in row) for row in table.itertuples(index=False, name=None))
    for line in TextTable(tuple(map(str, table.columns)), rows, left=left).lines():
        print(f"  {line.text}")


def _shown(value: object) -> str:
    """Write numbers with every digit, so that equal numbers look equal."""
    if isinstance(value, float):
        return "-" if value != value else repr(float(value))
    return str(value)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
