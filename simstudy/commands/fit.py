"""`simstudy fit`: one real data set."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from simstudy.commands.build import options_of
from simstudy.commands.fit_input import ALL, read_inputs
from simstudy.commands.fit_slopes import check_slope_choices, print_slope_tests
from simstudy.commands.shared import FAILED, say
from simstudy.errors import EstimatorError, SimstudyError, SimstudyWarning
from simstudy.requests.fit import FitRequest

if TYPE_CHECKING:
    import pandas as pd

    from simstudy.analysis.result import FitRecord

QUIET_SECONDS, LINE_SECONDS = 1.0, 5.0
"""Without a terminal: progress is printed from so many seconds on, and then so often."""
Progress = Callable[[str, int, int], None]


@options_of(FitRequest)
def fit(
    request: FitRequest,
    standardized: Annotated[bool, typer.Option("--standardized", help="Add standardised estimates.")] = False,
    rsquare: Annotated[bool, typer.Option("--rsquare", help="Add R-squares.")] = False,
    residuals: Annotated[bool, typer.Option("--residuals", help="Add observed minus implied moments.")] = False,
    lrt_slope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SLOPE", help="Test the variance of this random slope; may be repeated.", show_default=False
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the method; may be repeated.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything to this JSON file.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the parameters to this CSV file.")] = None,
    level_fit: Annotated[bool, typer.Option("--level-fit", help="Fit of each level's structure on its own.")] = False,
    reliability: Annotated[
        bool, typer.Option("--reliability", help="Add reliabilities (omega) of each level's composites.")
    ] = False,
    wald: Annotated[
        str | None,
        typer.Option(metavar="EQUATIONS", help="Wald test, such as 'bb == bw; ind == 0'.", show_default=False),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write factor scores and each cluster's slopes: FILE-between.csv, FILE-within.csv.",
            show_default=False,
        ),
    ] = None,
    caterpillar: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw each cluster's own slopes: .png, .pdf or .svg, and a .csv beside it."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the path diagram: .svg, .png or .pdf.")
    ] = None,
    all_parameters: Annotated[
        bool, typer.Option("--all-parameters", help="With 'all': every parameter, not only labelled ones.")
    ] = False,
) -> None:
    """Fit a two-level model to one data set and print the result as lavaan does.

    Exit codes: 0 converged, 1 did not converge, 2 bad input.
    """
    from rich.console import Console

    from simstudy.analysis.fit import fit as fit_one
    from simstudy.analysis.fit import fit_all
    from simstudy.report.tables.fit_summary import print_fit, print_side_by_side

    path, rule = Path(str(request.data)), request.auto
    request = read_inputs(request, option or [], plot)
    problems = check_slope_choices(request, lrt_slope or [], caterpillar)
    tables = {
        "standardized": standardized, "r_squared": rsquare, "residuals": residuals, "level_fit": level_fit,
        "reliability": reliability,
    }  # fmt: skip
    problems += _check_further(request, wald, scores, tables, all_parameters)
    if problems:
        raise SimstudyError(problems)
    estimator, asked = request.estimator, vars(request)
    console = Console(highlight=False)
    with _named(path), _progress(sys.stderr) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore", SimstudyWarning)  # the summary and the exit code say the same
        if estimator == ALL:
            fits = fit_all(**{**asked, "progress": progress})
        else:
            fits = {estimator: fit_one(**{**asked, "progress": progress})}
    fits = {name: replace(found, options={**found.options, "auto": rule}) for name, found in fits.items()}
    one = next(iter(fits.values()))
    extra: dict[str, pd.DataFrame] = {}
    tests: list[dict[str, Any]] = []
    tested: dict[str, Any] | None = None
    if estimator == ALL:
        print_side_by_side(console, fits, ["*"] if all_parameters else None)
    else:
        extra = _extra(one, tables)
        print_fit(console, one, **extra)
        tests = print_slope_tests(one, lrt_slope or []) if one.converged else []
        tested = _wald(one, wald) if wald is not None else None
    _write(fits, extra, tests, tested, json_file, csv)
    if scores is not None:
        _write_scores(one, scores)
    if caterpillar is not None and one.converged:
        from simstudy.report.figures.kinds.caterpillar import save_caterpillar

        for written in save_caterpillar(one, caterpillar):
            say(f"written: {written}")
    if plot is not None:
        from simstudy.report.figures.diagram.draw import path_diagram, save_diagram

        drawn = fits["msem"] if "msem" in fits else next(iter(fits.values()))
        say(f"written: {save_diagram(path_diagram(drawn), plot)}")
    if _failed(fits):
        raise typer.Exit(FAILED)


_OPTION_OF = {"r_squared": "--rsquare"}


def _check_further(
    request: FitRequest, wald: str | None, scores: Path | None, tables: Mapping[str, bool], all_parameters: bool
) -> list[str]:
    """Problems of what is asked beyond the summary, found before anything is fitted."""
    from simstudy.model.twolevel import TwoLevelModel

    named = {_OPTION_OF.get(name, f"--{name.replace('_', '-')}"): on for name, on in tables.items()}
    asked = {"--wald": wald is not None, "--scores": scores is not None, **named}
    if request.estimator == ALL:
        return [f"{name}: it is about one fit; name the method with --estimator" for name, on in asked.items() if on]
    if all_parameters:
        return [f"--all-parameters: it is about the table of --estimator {ALL}; one method shows all of them"]
    assert isinstance(request.model, TwoLevelModel)  # read already
    try:
        if wald is not None:
            from simstudy.analysis.nested import parse_restrictions

            parse_restrictions(request.model, wald)
    except SimstudyError as error:
        return [f"--wald: {problem}" for problem in error.problems]
    return []


def _wald(fit: FitRecord, restrictions: str) -> dict[str, Any] | None:
    """Print a Wald test; returns what the JSON file holds. A test that there is not for this fit is said."""
    from simstudy.analysis.nested import wald_test

    try:
        test = wald_test(fit, restrictions)
    except SimstudyError as error:
        say(f"note: no Wald test: {'; '.join(error.problems)}")
        return None
    print(f"\nWald test of {restrictions}: chi-square {test.statistic:.3f}, df {test.df}, p {test.pvalue:.4f}")
    return {"restrictions": restrictions, "statistic": test.statistic, "df": test.df, "pvalue": test.pvalue}


def _write_scores(fit: FitRecord, target: Path) -> None:
    """Write factor scores, a file a level. Where the fit has none, that is said."""
    from simstudy.analysis.scores import factor_scores

    try:
        found = factor_scores(fit)
    except SimstudyError as error:
        say(f"note: no factor scores: {'; '.join(error.problems)}")
        return
    stem = target.with_suffix("")
    stem.parent.mkdir(parents=True, exist_ok=True)
    rows = found.within.set_axis(found.within.index + 1).rename_axis("row")  # as messages count them
    for level, table in (("between", found.between), ("within", rows)):
        path = stem.with_name(f"{stem.name}-{level}.csv")
        table.to_csv(path)
        say(f"written: {path}")


def _failed(fits: Mapping[str, FitRecord]) -> bool:
    """Whether a fit did not converge; among all methods, those that cannot fit the model do not count."""
    tried = [one for one in fits.values() if len(fits) == 1 or one.status.name != "NOT_SUPPORTED"]
    return not all(one.converged for one in tried) or not tried


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give problems of the data the name of their file."""
    try:
        yield
    except SimstudyError as error:
        problems = [
            f"{path}: {text.removeprefix('data: ')}" if text.startswith("data: ") else text for text in error.problems
        ]
        raise type(error)(problems) from error


# ---------------------------------------------------------------------- progress


@contextmanager
def _progress(stream: TextIO) -> Iterator[Progress]:
    """What goes on: a bar on a terminal, a line now and then elsewhere; nothing if it is over at once."""
    if not stream.isatty():
        yield _Lines(stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=stream)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("fitting", total=1, visible=False)

        def update(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=max(total, 1), visible=True)

        yield update


class _Lines:
    """Plain lines; the first after a while, the last when it is done."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._start = self._last = time.monotonic()
        self._shown = False

    def __call__(self, what: str, done: int, total: int) -> None:
        """Print a line if it is time to."""
        now = time.monotonic()
        waited = now - self._last if self._shown else now - self._start
        if waited >= (LINE_SECONDS if self._shown else QUIET_SECONDS) or (self._shown and done >= total):
            self._last, self._shown = now, True
            print(f"{what}: {done:,}/{total:,}, {now - self._start:.0f} s", file=self._stream, flush=True)


# ---------------------------------------------------------------------- output


def _extra(fit: FitRecord, wanted: Mapping[str, bool]) -> dict[str, pd.DataFrame]:
    """Tables that were asked for; what does not exist for this fit is said."""
    if not any(wanted.values()):
        return {}
    from simstudy.analysis import derived
    from simstudy.analysis.level_fit import level_fit
    from simstudy.analysis.reliability import reliability

    makers: dict[str, Callable[[FitRecord], pd.DataFrame]] = {
        "standardized": derived.standardized,
        "r_squared": derived.r_squared,
        "residuals": derived.residuals,
        "level_fit": lambda one: level_fit(one, target=True),
        "reliability": reliability,
    }
    found: dict[str, pd.DataFrame] = {}
    for name, asked in wanted.items():
        if asked:
            try:
                found[name] = makers[name](fit)
            except EstimatorError as error:
                say(f"note: no {name.replace('_', '-')} values: {'; '.join(error.problems)}")
    return found


def _write(
    fits: Mapping[str, FitRecord],
    extra: Mapping[str, pd.DataFrame],
    tests: list[dict[str, Any]],
    tested: dict[str, Any] | None,
    json_file: Path | None,
    csv: Path | None,
) -> None:
    """JSON with everything, CSV with the parameters."""
    if json_file is not None:
        from simstudy.analysis.as_dict import fit_as_dict

        records = [fit_as_dict(one) for one in fits.values()]
        content: dict[str, Any] = records[0] if len(records) == 1 else {"estimator": ALL, "fits": records}
        if tests:
            content["slope_tests"] = tests
        if tested is not None:
            content["wald_test"] = tested
        for name, table in extra.items():
            plain = table.astype(object).where(table.notna(), None)
            content[name] = plain.to_dict("records")
        text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False, default=_plain)
        json_file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = json_file.with_name(f".{json_file.name}.{os.getpid()}.tmp")
        unfinished.write_text(text + "\n", encoding="utf-8")
        unfinished.replace(json_file)
        say(f"written: {json_file}")
    if csv is not None:
        import pandas as pd

        from simstudy.report.tables.performance import write_csv

        tables = [one.parameters.assign(estimator=name) for name, one in fits.items()]
        table = pd.concat(tables, ignore_index=True)
        if "standardized" in extra:
            table["std_all"] = extra["standardized"]["est"].to_numpy()
        leading = ["estimator"] if len(fits) > 1 else []
        columns = leading + [name for name in table.columns if name not in ("estimator", "free")]
        say(f"written: {write_csv(table[columns], csv)}")


def _plain(value: Any) -> Any:
    """NumPy scalars as Python ones."""
    return value.item() if hasattr(value, "item") else str(value)
