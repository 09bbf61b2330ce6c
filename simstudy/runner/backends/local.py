"""Run tasks in this process or in several, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import joblib
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_limits

from simstudy.errors import SimstudyError
from simstudy.methods.protocol import Estimator
from simstudy.methods.registry import innermost
from simstudy.population.data_kinds import DataKind
from simstudy.runner.block import StudyContext
from simstudy.runner.limit import Overrun, read_notes, set_watchdog
from simstudy.runner.parts import FITS
from simstudy.runner.progress import Reporter, State
from simstudy.runner.task import Done, Task, give_up, run_task
from simstudy.runner.todo import n_replicates
from simstudy.runner.worker import kinds_of, prepare_worker

FEW_FITS = 1_000
"""So many fits from statistics are done before a worker process has started."""
MAX_KILLS = 3
"""Workers that a block may cost before it is reported as failed."""


def n_workers(jobs: int | None) -> int:
    """Number of processes: all cores that this process may use if ``jobs`` is None or -1.

    Raises
    ------
    SimstudyError
        If it is not a number of processes.
    """
    if jobs is None or jobs == -1:
        return int(joblib.cpu_count())
    if jobs < 1:
        raise SimstudyError(f"jobs: found {jobs}; allowed: 1 or more, or -1 for all cores")
    return jobs


@dataclass
class _Tally:
    """Counts of a run that is under way."""

    total: float
    open_tasks: Counter[int]
    reporter: Reporter
    start: float = field(default_factory=time.monotonic)
    done: float = 0.0
    failed: int = 0
    cells: int = 0

    def __post_init__(self) -> None:
        self.cells = len(self.open_tasks)

    def add(self, task: Task, done: Done) -> None:
        """Count a finished task."""
        self.done += task.share * len(task.replicates)
        self.failed += done.failed
        self.open_tasks[task.cell.index] -= 1
        self.show()

    def show(self) -> None:
        """Report the counts."""
        finished = self.cells - sum(count > 0 for count in self.open_tasks.values())
        seconds = time.monotonic() - self.start
        self.reporter.update(State(round(self.done, 6), self.total, finished, self.cells, self.failed, seconds))


def execute(study: StudyContext, tasks: Sequence[Task], jobs: int, reporter: Reporter) -> None:
    """Run tasks; each leaves its part in the study's folder.

    Parameters
    ----------
    study : StudyContext
    tasks : sequence of Task
        In the order in which they are started; they may finish in any.
    jobs : int
        Processes; 1 is this one, or with a time limit one other, which can be ended. What takes less time than to start
        another is done in this one.
    reporter : Reporter
    """
    if not tasks:
        return
    tally = _Tally(float(n_replicates(tasks)), Counter(task.cell.index for task in tasks), reporter)
    tally.show()
    if study.timeout is None and (jobs == 1 or _done_at_once(tasks)):
        with threadpool_limits(1):
            for task in tasks:
                tally.add(task, run_task(study, task))
    else:
        try:
            _execute_parallel(study, tasks, jobs, tally)
        finally:  # idle workers would keep their memory for minutes
            get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def _done_at_once(tasks: Sequence[Task]) -> bool:
    """Few fits by methods of this package, which do not take their process with them, from statistics: milliseconds."""
    methods = [innermost(method) for task in tasks for method in _methods(task)]
    return sum(len(task.replicates) * len(task.entries) for task in tasks) <= FEW_FITS and all(
        type(method).__module__.startswith("simstudy.methods.") and method.needs in ("statistics", "clusters")
        for method in methods
    )


def _execute_parallel(study: StudyContext, tasks: Sequence[Task], jobs: int, tally: _Tally) -> None:
    """Run tasks in a pool, which is begun anew when a worker dies.

    Every block that was in the pool then is under suspicion and runs alone, so that an innocent one gets through. A
    block that kills its worker alone is divided into its methods, so that innocent methods get through as well. Where
    a worker was ended because a fit took too long, it is known which one it was: all blocks go on without trying it.
    """
    left, fruitless = list(tasks), 0
    while left:
        broken = _attempt(study, left, jobs, tally)
        if broken.overran:
            left = broken.suspects + broken.never_started
            continue
        left = broken.never_started
        if not broken.suspects and len(left) == broken.given:
            fruitless += 1
            if fruitless == MAX_KILLS:
                raise SimstudyError(f"worker processes do not survive their start: {broken.why}")
        if broken.suspects:
            fruitless = 0
            tally.reporter.say(
                f"a worker process was killed; blocks that run again, one at a time: {len(broken.suspects)}"
            )
        for task in broken.suspects:
            _alone(study, task, jobs, tally, kills=1)


def _alone(study: StudyContext, task: Task, jobs: int, tally: _Tally, kills: int) -> None:
    broken = _attempt(study, [task], jobs, tally)
    if not (broken.suspects or broken.never_started):
        return
    if broken.overran:
        _alone(study, broken.suspects[0], jobs, tally, kills)
        return
    kills += 1
    if len(task.entries) > 1:
        for entry in task.entries:
            piece = replace(task, entries=(entry,), share=task.share / len(task.entries))
            tally.open_tasks[task.cell.index] += 1
            _alone(study, piece, jobs, tally, kills)
        tally.open_tasks[task.cell.index] -= 1
    elif kills < MAX_KILLS:
        _alone(study, task, jobs, tally, kills)
    else:
        why = f"the worker process was killed {kills} times on this block (out of memory, or a crash in the method)"
        tally.reporter.say(f"{task.part(study.design).name}: {why}; its fits are reported as failed")
        tally.add(task, give_up(study, task, why))


@dataclass(frozen=True)
class _Broken:
    """What a pool left undone."""

    given: int
    suspects: list[Task]
    never_started: list[Task]
    why: str = ""
    overran: bool = False


def _attempt(study: StudyContext, tasks: Sequence[Task], jobs: int, tally: _Tally) -> _Broken:
    """Run tasks in a pool until all are done or a worker dies."""
    given = {task.part(study.design).name: task for task in tasks}
    dispatched: list[str] = []
    open_names = dict(given)

    def calls(notes: Path) -> Iterator[object]:
        for name, task in given.items():
            dispatched.append(name)
            yield joblib.delayed(_in_worker)(study, task, kinds_of(_methods(task)), os.getpid(), notes)

    def count(done: Done) -> None:
        tally.add(open_names.pop(done.name), done)

    why = ""
    overruns: dict[str, set[Overrun]] = {}
    with tempfile.TemporaryDirectory(prefix="simstudy-") as folder:
        notes = Path(folder)
        try:
            with closing(_pool(calls(notes), jobs)) as results:
                for done in results:
                    count(done)
        except BrokenProcessPool as error:
            why = str(error).splitlines()[0]
            if not isinstance(error, TerminatedWorkerError):
                raise SimstudyError(f"worker processes cannot run the study: {why} ({error.__cause__})") from error
            for name in [name for name in dispatched if name in open_names]:
                if (study.folder / FITS / name).exists():  # it had just finished
                    count(Done(name, 0, 0))
            for name, overrun in read_notes(notes):
                overruns.setdefault(name, set()).add(overrun)
    suspects = [open_names[name] for name in dispatched if name in open_names]
    never = [task for name, task in open_names.items() if name not in set(dispatched)]
    if overruns:
        tally.reporter.say("a fit was over the time limit and did not react: its worker was ended, the others go on")
        parts = ((task, task.part(study.design).name) for task in suspects)
        suspects = [replace(task, overruns=task.overruns | overruns.get(name, set())) for task, name in parts]
    return _Broken(len(given), suspects, never, why, bool(overruns))


def _pool(calls: Iterable[object], jobs: int) -> Generator[Done]:
    """Results of calls in ``jobs`` processes with one BLAS thread each, as they come."""
    # joblib takes one process to be this one; of two that are given one call at a time, one is always idle
    with joblib.parallel_config(backend="loky", n_jobs=max(jobs, 2), inner_max_num_threads=1):
        ahead = "2*n_jobs" if jobs > 1 else 1
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch=ahead)
        yield from parallel(calls)


def _methods(task: Task) -> list[Estimator]:
    return [entry.estimator for entry in task.entries]


def _in_worker(study: StudyContext, task: Task, kinds: tuple[DataKind, ...], parent: int, notes: Path) -> Done:
    """Run a task in a worker process."""
    _settle_in(parent)
    prepare_worker(_methods(task), kinds)
    if study.timeout is not None:
        set_watchdog(notes, task.part(study.design).name)
    return run_task(study, task)


_settled = False


def _settle_in(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone."""
    global _settled
    if _settled or os.getpid() == parent:
        return
    _settled = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
