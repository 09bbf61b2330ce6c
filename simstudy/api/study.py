"""Studies: run, analyse, look at, replay. What is returned are records; `simstudy.api.verbs` makes them speak."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from simstudy.design import Design
from simstudy.design.inputs import DesignLike, as_design
from simstudy.errors import SimstudyError, StoreError
from simstudy.performance import (
    SUMMARY_COLUMNS,
    count_statuses,
    failures_of,
    measure_names,
    performance_table,
    summarise_cell,
    summarise_fit_measures,
)
from simstudy.planning.until import Rounds, read_until
from simstudy.report import write_csv
from simstudy.requests.option import check, takes
from simstudy.requests.run import RunRequest
from simstudy.runner.backends.local import execute, n_workers
from simstudy.runner.block import StudyContext
from simstudy.runner.files import write_table
from simstudy.runner.limit import check_timeout
from simstudy.runner.manifest import MANIFEST, Manifest
from simstudy.runner.parts import FITS, DamagedPartError, set_aside
from simstudy.runner.progress import Reporter, reporter
from simstudy.runner.store import check_folder, locked, open_folder, tidy
from simstudy.runner.tables import iterate_cells, read_folder
from simstudy.runner.todo import BLOCK_SIZE, WHOLE, Shard, coverage, missing_tasks, wanted_replicates

PERFORMANCE = "performance"
UNTIL = "until"
FIT_MEASURES = "fit_measures"
MAX_TRIES = 3


@dataclass(frozen=True)
class Results:
    """What a study came to.

    Attributes
    ----------
    folder : Path
    manifest : Manifest
    performance, failures : DataFrame
    fit_measures : DataFrame
        Distribution of chi-square, CFI, ...; without rows where no method has any.
    until : DataFrame
        What the cells of a study with ``until`` reached: the factors, measure, target, replicates, mcse (the largest,
        with its estimator, se_kind and parameter), met, needed, note. Without rows for other studies.
    """

    folder: Path
    manifest: Manifest
    performance: pd.DataFrame
    failures: pd.DataFrame
    fit_measures: pd.DataFrame
    until: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.manifest.name

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of the factors of the design."""
        return tuple(self.manifest.factors)

    @property
    def level(self) -> float:
        """Level of the intervals."""
        return self.manifest.level

    @property
    def replications(self) -> int:
        """Asked for in each cell; the most of any where cells differ."""
        return self.manifest.replications

    @property
    def failed_everywhere(self) -> list[str]:
        """Methods that converged in no replicate of the study."""
        converged = self.failures.groupby("estimator", sort=False)["converged"].sum()
        return [name for name in self.manifest.methods if name in converged.index and converged[name] == 0]


def validate(design: DesignLike) -> Design:
    """Read and check a design without running it.

    Parameters
    ----------
    design : path, str, dict or Design
        A design file, its text, or a dict of its tables.

    Returns
    -------
    Design
        Its `Design.support` says which method can be used in which cell.

    Raises
    ------
    SimstudyError
        With everything that is wrong with the design.

    Examples
    --------
    >>> import simstudy
    >>> design = simstudy.validate(simstudy.init("contextual"))
    >>> print(design.summary())
    contextual: the design is valid
      3 cells x 1,000 replications x 6 methods = 18,000 fits
      methods: disaggregated, aggregated, mlm, mlm_centered, two_step, msem
      parameters: b_w, within: y ~~ y, within: x ~~ x, b_b, between: y ~~ y, between: x ~~ x, between: y ~ 1, ...
    """
    return as_design(design)


def _design(design: DesignLike, reps: int | None = None, timeout: float | None = None) -> Design:
    found = validate(design)
    if timeout is not None:
        check_timeout(timeout)
        found = dataclasses.replace(found, timeout=timeout)
    return found if reps is None else dataclasses.replace(found, replications=reps)


def default_folder(name: str, shard: Shard) -> Path:
    """``results/<name>``, or with the shard's number behind the name."""
    folder = re.sub(r"[^\w.-]+", "_", name).strip("._") or "study"
    return Path("results") / (folder if shard.count == 1 else f"{folder}-shard-{shard.index}-of-{shard.count}")


@takes(RunRequest, "run")
def run_study(request: RunRequest) -> Results:
    """Run a study, or what is missing of it.

    The same design and number of replications, or the same precision, give the same results, bit for bit, for any
    number of jobs, any block size, and whatever was there before.

    Returns
    -------
    Results

    Raises
    ------
    SimstudyError
        With everything that is wrong with the design or the choices.

    Examples
    --------
    >>> import simstudy
    >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
    >>> study
    <Study contextual: 3 cells, 6 methods, 20 replications, in results/contextual>
    >>> bias = study.performance(parameters="contextual", measures="bias", estimators="msem")
    >>> bool((bias["value"].abs() < 0.2).all())
    True
    """
    check(request)
    until, methods = request.until, request.until_methods
    if until is None and (request.max_reps is not None or request.until_parameters or methods):
        raise SimstudyError("max-reps, until-parameter, until-method: these belong to --until 'coverage=.005'")
    design, reps = _design(request.design, request.reps, request.timeout), request.reps
    precision = None
    if until is not None:
        precision = read_until(design, until, reps, request.max_reps, request.until_parameters, methods)
    share = Shard.parse(request.shard) if request.shard else Shard()
    workers = n_workers(request.jobs)
    root = Path(request.out) if request.out is not None else default_folder(design.name, share)
    check_folder(design, root)
    with locked(root), reporter(request.progress) as report:
        manifest = open_folder(design, root, request.block_size, BLOCK_SIZE, report.say)
        rounds = None if precision is None else Rounds(design, precision, share)
        tries, first = 0, True
        while tries < MAX_TRIES:
            if rounds is not None:
                manifest = rounds.begin(manifest, root)
            _run_missing(design, manifest, root, share, workers, report, first)
            first = False
            damaged = [] if rounds is None else rounds.look(root, report)
            if rounds is not None and rounds.open and not damaged:
                continue
            found, more = _analyse(root)
            damaged += more
            for error in {error.name: error for error in damaged}.values():
                set_aside(root, error.name)
                report.say(f"{error}; moved to {root / 'damaged'}, its replicates are run again")
            if not damaged:
                return found if rounds is None else _with_until(found, rounds.table(read_folder(root)))
            tries += 1
    raise StoreError(f"{root}: parts were damaged again and again while they were written; check the disk")


def _with_until(found: Results, table: pd.DataFrame) -> Results:
    """Add what the cells reached, and write it beside the other tables."""
    write_csv(table, found.folder / f"{UNTIL}.csv")
    return dataclasses.replace(found, until=table)


def _run_missing(
    design: Design, manifest: Manifest, root: Path, shard: Shard, workers: int, report: Reporter, first: bool
) -> None:
    parts = tidy(root, design.digest, report.say, design.timeout, retry=True)
    numbers = manifest.cell_replications
    if manifest.until:  # the cells are shared, not the blocks: those of other shards are left alone
        numbers, shard = {cell.index: numbers.get(cell.index, 0) for cell in design.cells}, WHOLE
    there = coverage(parts, wanted_replicates(design, numbers), manifest.methods)
    tasks = missing_tasks(design, there, manifest.block_size, shard)
    fits, wanted = (sum(count) for count in zip(*((int(x.sum()), len(x)) for x in there.values()), strict=True))
    if fits and first:
        report.say(f"{root}: {fits:,} of {wanted:,} fits are there already")
    study = StudyContext(root, design.digest, design.seed, design.model, design.intervals, design.timeout)
    execute(study, tasks, workers, report)


def read_results(folder: str | Path, reference: str | None = None) -> Results:
    """Performance, failures and fit measures of a results folder, from its replicate rows.

    Written to the folder as Parquet and CSV.

    Parameters
    ----------
    folder : path
    reference : str, optional
        Method that the others are compared with on the same replicates; by default the design's first.

    Returns
    -------
    Results

    Raises
    ------
    StoreError
        If it is not a results folder, or parts of it are damaged.

    Examples
    --------
    >>> import simstudy
    >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
    >>> simstudy.analyse(study.folder)
    <Study contextual: 3 cells, 6 methods, 20 replications, in results/contextual>
    """
    found, damaged = _analyse(Path(folder), reference)
    if damaged:
        raise StoreError([f"{folder}: {error}; run the design again to replace it" for error in damaged])
    return found


def _analyse(root: Path, reference: str | None = None) -> tuple[Results, list[DamagedPartError]]:
    """Performance and failures, cell by cell; written only if no part is damaged."""
    folder = read_folder(root)
    damaged = list(folder.contents.damaged)
    summaries, counted, measures = [], [], []
    for rows in iterate_cells(folder, damaged):
        summaries.append(
            summarise_cell(
                rows.parts(),
                rows.fits,
                folder.truth[folder.truth["cell"] == rows.cell],
                estimators=folder.methods,
                params=folder.params,
                level=folder.manifest.level,
                reference=reference,
            )
        )
        counted.append(count_statuses(rows.fits, folder.methods))
        measures.append(summarise_fit_measures(rows.fits, folder.methods))
    performance = performance_table(summaries, folder.cells, folder.manifest.factors)
    failed = failures_of(counted, folder.methods)
    filled = [table for table in measures if len(table)]
    fit_measures = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(SUMMARY_COLUMNS))
    fit_measures = fit_measures.sort_values("cell", kind="stable", ignore_index=True)
    if not damaged and len(fit_measures):
        write_table(root / f"{FIT_MEASURES}.parquet", pa.Table.from_pandas(fit_measures, preserve_index=False))
        write_csv(fit_measures, root / f"{FIT_MEASURES}.csv")
    if not damaged:
        write_table(root / f"{PERFORMANCE}.parquet", pa.Table.from_pandas(performance, preserve_index=False))
        write_csv(performance, root / f"{PERFORMANCE}.csv")
    return Results(root, folder.manifest, performance, failed, fit_measures), damaged


def up_to_date(folder: str | Path) -> Results:
    """Results from ``performance.parquet`` if no part is newer and no measure is missing, otherwise analysed."""
    root = Path(folder)
    saved = root / f"{PERFORMANCE}.parquet"
    try:
        newest = max((root / name).stat().st_mtime_ns for name in (FITS, MANIFEST))
        if saved.stat().st_mtime_ns >= newest:
            manifest, table = read_folder(root).manifest, pd.read_parquet(saved)
            if set(measure_names("parameter", "fit")) <= set(table["measure"].unique()):
                return Results(root, manifest, table, pd.DataFrame(), pd.DataFrame())
    except (OSError, ValueError):
        pass
    return read_results(root)
