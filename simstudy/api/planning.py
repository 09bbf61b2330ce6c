"""Sample-size planning."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from simstudy.design.design import digest_of
from simstudy.errors import SimstudyError
from simstudy.planning.axis import Axis, lowest
from simstudy.planning.cost import plan_cost
from simstudy.planning.criterion import MEASURES, Criterion, read_criterion
from simstudy.planning.grid import value_grid
from simstudy.planning.limits import Target
from simstudy.planning.plan import Work, plan_axis
from simstudy.planning.question import Question, find_parameter, read_cost
from simstudy.planning.result import PlanRecord
from simstudy.planning.search import Effort
from simstudy.planning.simulate import Simulator
from simstudy.planning.source import Source, default_folder, plan_folder, plan_json, read_source, write_plan
from simstudy.planning.uncertain import Draws, Uncertain, draw, parse_uncertain
from simstudy.report import plot_plan, plot_plan_map, save_figure, write_csv
from simstudy.requests.option import problems_of, takes
from simstudy.requests.plan import PlanRequest
from simstudy.runner.backends.local import n_workers
from simstudy.runner.files import write_bytes
from simstudy.runner.progress import Lines, Silent

TOLERANCES = {"power": 0.01, "coverage": 0.003, "convergence": 0.002}
"""Default half-width of the 95 % interval of a rate at the answer; of a mean it is `RELATIVE` times the target."""
RELATIVE = 0.05
LOW, HIGH, LOW_SIZE, HIGH_SIZE, HIGH_SIZE_WITH_COST = 10, 10_000, 2, 200, 100
"""Default bounds of the number of clusters and of the cluster size."""


@takes(PlanRequest)
def plan(request: PlanRequest) -> PlanRecord:
    """Find the smallest design that reaches a target: analytic answer, simulation search, confirming run.

    Returns
    -------
    PlanRecord

    Raises
    ------
    SimstudyError
        With one message a problem.

    Examples
    --------
    >>> import simstudy
    >>> plan = simstudy.plan("contextual", "contextual", power=0.8, settings={"icc": 0.1}, analytic=True)
    >>> plan
    <Plan power 0.8 of contextual: 323 clusters of 10, analytic>
    """
    criterion = read_criterion({name: getattr(request, name) for name in MEASURES})
    _check(request)
    unknown = parse_uncertain(request.uncertain)
    source = _source(request)
    question = _question(request, source, criterion, unknown)
    scenario, by_size = question.scenario, request.over == "cluster_size"
    effort = Effort(request.tolerance or TOLERANCES.get(criterion.measure.name, RELATIVE), request.max_reps)
    first = (question.n_clusters or 100, question.high_size) if scenario.open_size else (max(100, question.low), None)
    found = draw(scenario, unknown, request.draws, *first)
    record = _record(question, source, unknown, effort, request)
    target = list(vars(question.target).values())
    record["digest"] = digest_of([scenario.digest, target, record["uncertain"], request.draws])
    folder = Path(request.out) if request.out is not None else default_folder(record) if request.keep else None
    report = Lines(sys.stderr) if request.progress else Silent()
    with plan_folder(folder, record["digest"]):
        simulator = Simulator(scenario, question.target, found, folder, n_workers(request.jobs), report)
        job = _Job(source, question, unknown, found, request.low if not by_size else None)
        work = Work(not request.analytic, effort, request.reps, report.say)
        result = job.make(simulator, work, record)
        wanted = request.cost is not None if request.grid is None else request.grid
        if result.answer is not None and wanted:
            result = replace(result, grid=job.grid(result))
        if folder is not None:
            result = replace(result, folder=folder)
            write_plan(result, folder)
            draw_plan(result, folder)
    return result


def _source(request: PlanRequest) -> Source:
    """The design, with what is given in its place."""
    text, name = read_source(request.design)
    given = {key: str(value) for key, value in (request.settings or {}).items()}
    return Source(text, name, given, request.method, request.ci, request.se, request.level, request.seed)


def _question(request: PlanRequest, source: Source, criterion: Criterion, unknown: Sequence[Uncertain]) -> Question:
    """What is searched, and within which bounds."""
    by_size = request.over == "cluster_size"
    open_size = by_size or request.cost is not None
    scenario = source.scenario(open_size=open_size, uncertain=[value.name for value in unknown])
    parameter = find_parameter(scenario, request.parameter)
    fixed = (request.n_clusters or scenario.n_clusters) if by_size else None
    if by_size and fixed is None:
        raise SimstudyError("over cluster_size: the number of clusters is missing; give it with --n-clusters")
    low, high = request.low, request.high
    question = Question(
        scenario,
        criterion,
        Target(parameter, scenario.se_kind, request.ci, scenario.intervals.level),
        "both" if request.cost is not None else request.over,
        low=LOW if by_size else low or LOW,
        high=HIGH if by_size else high or HIGH,
        low_size=low or LOW_SIZE if by_size else LOW_SIZE,
        high_size=high or HIGH_SIZE if by_size else request.max_size or HIGH_SIZE_WITH_COST,
        n_clusters=fixed,
        cost=None if request.cost is None else read_cost(request.cost),
    )
    _check_bounds(question, by_size)
    return question


def draw_plan(result: PlanRecord, folder: Path) -> list[Path]:
    """Draw a plan's figures into a folder, as PDF, PNG and CSV."""
    written = []
    if len(result.curve):
        figure, data = plot_plan(result)
        written += save_figure(figure, data, folder / "curve")
    if len(result.grid):
        figure, data = plot_plan_map(result)
        written += save_figure(figure, data, folder / "map")
    return written


def write_copies(result: PlanRecord, json_file: Path | None, csv: Path | None) -> list[Path]:
    """Write a plan as JSON, and what was simulated as CSV, where the user wants them."""
    if json_file is not None:
        write_bytes(json_file, plan_json(result))
    if csv is not None:
        write_csv(result.evaluations, csv)
    return [path for path in (json_file, csv) if path is not None]


@dataclass(frozen=True)
class _Job:
    """A plan that is ready to be made."""

    source: Source
    question: Question
    uncertain: tuple[Uncertain, ...]
    draws: Draws
    low: int | None

    def make(self, simulator: Simulator, work: Work, record: dict[str, Any]) -> PlanRecord:
        if self.question.cost is not None:
            result = plan_cost(self.question, self.draws, simulator, work, record, self.low)
        else:
            result = plan_axis(self._axis(self.question, self.draws), simulator, work, record)
        return replace(result, uncertain=self._uncertain(self._known())) if self.uncertain else result

    def _axis(self, question: Question, draws: Draws) -> Axis:
        if question.over == "cluster_size":
            return Axis(question, draws, "cluster_size", question.n_clusters, question.low_size, question.high_size)
        return Axis(question, draws, "n_clusters", None, lowest(question, draws, None, self.low), question.high)

    def _known(self) -> int | None:
        """The analytic answer if the values of the design were known; None if it gives none, or with a cost."""
        if self.question.cost is not None:
            return None
        try:
            scenario = self.source.scenario(open_size=self.question.scenario.open_size)
            return self._axis(replace(self.question, scenario=scenario), Draws(({},), 1, {})).answer()
        except SimstudyError:
            return None

    def _uncertain(self, known: int | None) -> dict[str, Any]:
        found = self.draws
        facts = {"draws": len(found.values), "tried": found.tried, "left_out": found.left_out}
        return {**facts, "reasons": dict(found.reasons), "known": known}

    def grid(self, result: PlanRecord) -> pd.DataFrame:
        """The map around the answer; empty where cluster sizes are unequal."""
        answer, question = result.answer, self.question
        if answer is None or isinstance(answer.cluster_size, str):
            return pd.DataFrame()
        if not question.scenario.open_size:
            names = [value.name for value in self.uncertain]
            question = replace(question, scenario=self.source.scenario(open_size=True, uncertain=names))
        return value_grid(question, self.draws, answer.n_clusters, answer.cluster_size)


def _check(request: PlanRequest) -> None:
    """Refuse what has no meaning, all at once."""
    problems = problems_of(request)
    by_size, priced = request.over == "cluster_size", request.cost is not None
    if priced and by_size:
        problems.append("cost: it searches number and size of clusters together; leave --over out")
    if request.n_clusters is not None and (not by_size or priced):
        problems.append("n-clusters: it is what the plan looks for; allowed with --over cluster_size")
    if problems:
        raise SimstudyError(problems)


def _check_bounds(question: Question, by_size: bool) -> None:
    low, high = (question.low_size, question.high_size) if by_size else (question.low, question.high)
    if not 2 <= low < high:
        raise SimstudyError(f"min, max: found {low:,} and {high:,}; allowed: 2 <= min < max")
    if question.high_size <= question.low_size:
        raise SimstudyError(f"max-size: found {question.high_size}; allowed: above {question.low_size}")


def _record(
    question: Question, source: Source, uncertain: Sequence[Uncertain], effort: Effort, request: PlanRequest
) -> dict[str, Any]:
    """What was asked for, as plain values."""
    scenario, target = question.scenario, question.target
    i = scenario.model.reported.index(target.parameter)
    return {
        "design": source.name,
        "name": scenario.name,
        "parameter": target.parameter,
        "level_of_parameter": scenario.model.reported_levels[i],
        "measure": question.criterion.measure.name,
        "target": question.criterion.target,
        "over": question.over,
        "method": question.method,
        "se_kind": target.se_kind,
        "interval": target.interval,
        "level": target.level,
        "settings": dict(source.settings),
        "n_clusters": question.n_clusters,
        "cluster_size": scenario.size_label,
        "cost": request.cost,
        "uncertain": [value.text for value in uncertain],
        "seed": scenario.seed,
        "tolerance": effort.tolerance,
        "confirm": request.reps,
        "maximum": effort.maximum,
    }
