"""Sample-size planning."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from simstudy.design import Design
from simstudy.design.design import digest_of
from simstudy.errors import SimstudyError, did_you_mean
from simstudy.planning.axis import Axis, lowest
from simstudy.planning.cost import plan_cost
from simstudy.planning.criterion import read_criterion
from simstudy.planning.grid import value_grid
from simstudy.planning.limits import Target
from simstudy.planning.plan import Work, plan_axis
from simstudy.planning.request import Request, find_parameter, read_cost
from simstudy.planning.result import Plan
from simstudy.planning.search import Effort
from simstudy.planning.simulate import Simulator
from simstudy.planning.source import Source, default_folder, plan_folder, plan_json, read_source, write_plan
from simstudy.planning.uncertain import Draws, Uncertain, draw, parse_uncertain
from simstudy.report import plot_plan, plot_plan_map, save_figure, write_csv
from simstudy.runner.backends.local import n_workers
from simstudy.runner.files import write_bytes
from simstudy.runner.progress import Lines, Silent

TOLERANCES = {"power": 0.01, "coverage": 0.003, "convergence": 0.002}
"""Default half-width of the 95 % interval of a rate at the answer; of a mean it is `RELATIVE` times the target."""
RELATIVE = 0.05
DRAWS = 256
INTERVALS = ("wald", "montecarlo")
OVER = ("n_clusters", "cluster_size")
LOW, HIGH, LOW_SIZE, HIGH_SIZE, HIGH_SIZE_WITH_COST = 10, 10_000, 2, 200, 100
"""Default bounds of the number of clusters and of the cluster size."""


def plan(
    design: Design | str | Path,
    parameter: str,
    *,
    power: float | None = None,
    coverage: float | None = None,
    convergence: float | None = None,
    width: float | None = None,
    bias: float | None = None,
    relative_bias: float | None = None,
    median_bias: float | None = None,
    over: str = "n_clusters",
    cost: str | None = None,
    method: str = "msem",
    se: str | None = None,
    ci: str = "wald",
    level: float | None = None,
    settings: Mapping[str, object] | None = None,
    n_clusters: int | None = None,
    uncertain: Sequence[str] = (),
    analytic: bool = False,
    tolerance: float | None = None,
    reps: int = 10_000,
    max_reps: int = 100_000,
    low: int | None = None,
    high: int | None = None,
    max_size: int | None = None,
    draws: int = DRAWS,
    seed: int | None = None,
    jobs: int | None = None,
    out: str | Path | None = None,
    keep: bool = False,
    grid: bool | None = None,
    progress: bool = True,
) -> Plan:
    """Find the smallest design that reaches a target: analytic answer, simulation search, confirming run.

    Parameters
    ----------
    design : Design, path or str
        A design, or the name of a template such as ``mediation-2-1-1``.
    parameter : str
        Label (or path) of the parameter that the target is about.
    power, coverage, convergence, width, bias, relative_bias, median_bias : float, optional
        The target, one of them: the least power (rejections of 0), coverage, or share of converged fits; the largest
        mean width of intervals, or absolute (relative, median) bias.
    over : str
        ``n_clusters``, or ``cluster_size`` with ``n_clusters`` given.
    cost : str, optional
        Cost of a design as an expression of J, n and N, such as ``100*J + 10*J*n``: both are searched for the cheapest.
    method, se, ci, level
        Method, kind of SE, intervals (``wald``, ``montecarlo``) and their level.
    settings : mapping, optional
        Values in place of the design's: of a factor, ``icc``, ``icc.x``, ``variance``, ``cluster_size``, or of a
        parameter by label or path.
    n_clusters : int, optional
        With ``over="cluster_size"``.
    uncertain : sequence of str
        ``"icc=beta(2,18)"``: the measure is averaged over what is not known (assurance).
    analytic : bool
        Large-J theory alone, nothing is simulated.
    tolerance : float, optional
        Half-width of the 95 % interval of the measure at the answer: of a rate as it is (.01 for power), of a mean
        relative to the target (.05).
    reps, max_reps : int
        Data sets of the confirming run; the most that a search may spend.
    low, high : int, optional
        Sizes that may be answered: 10 (or the smallest possible) to 10,000 clusters; 2 to 200 rows a cluster.
    max_size : int, optional
        With a cost: the largest cluster size; 100 by default.
    draws : int
        Draws of uncertain values.
    seed : int, optional
        Instead of the design's.
    jobs : int, optional
        Processes, once a plan has taken some seconds; all cores by default.
    out : path, optional
        Folder that keeps evaluations as they come, and from which a plan is resumed; it gets the result, figures too.
    keep : bool
        Use ``results/plan-...`` where no ``out`` is given. Without either nothing is written.
    grid : bool, optional
        Compute the map over J and n; by default with a cost.
    progress : bool
        Show progress on standard error.

    Returns
    -------
    Plan
        Its tables are DataFrames; ``plan.answer`` is the design.

    Raises
    ------
    SimstudyError
        With one message a problem.
    """
    criterion = read_criterion(
        {
            "power": power, "coverage": coverage, "convergence": convergence, "width": width, "bias": bias,
            "relative_bias": relative_bias, "median_bias": median_bias,
        }
    )  # fmt: skip
    _check(over=over, ci=ci, cost=cost, n_clusters=n_clusters, draws=draws, reps=reps, max_reps=max_reps)
    unknown = parse_uncertain(uncertain)
    text, name = read_source(design)
    given = {key: str(value) for key, value in (settings or {}).items()}
    source = Source(text, name, given, method, ci, se, level, seed)
    by_size = over == "cluster_size"
    scenario = source.scenario(open_size=by_size or cost is not None, uncertain=[value.name for value in unknown])
    target = Target(find_parameter(scenario, parameter), scenario.se_kind, ci, scenario.intervals.level)
    fixed = (n_clusters or scenario.n_clusters) if by_size else None
    if by_size and fixed is None:
        raise SimstudyError("over cluster_size: the number of clusters is missing; give it with --n-clusters")
    request = Request(
        scenario,
        criterion,
        target,
        "both" if cost is not None else over,
        low=LOW if by_size else low or LOW,
        high=HIGH if by_size else high or HIGH,
        low_size=low or LOW_SIZE if by_size else LOW_SIZE,
        high_size=high or HIGH_SIZE if by_size else max_size or HIGH_SIZE_WITH_COST,
        n_clusters=fixed,
        cost=None if cost is None else read_cost(cost),
    )
    _check_bounds(request, by_size)
    effort = Effort(tolerance or TOLERANCES.get(criterion.measure.name, RELATIVE), max_reps)
    first = (fixed or 100, request.high_size) if scenario.open_size else (max(100, request.low), None)
    found = draw(scenario, unknown, draws, *first)
    record = _record(request, source, unknown, effort, reps, cost)
    record["digest"] = digest_of([scenario.digest, list(vars(target).values()), record["uncertain"], draws])
    folder = Path(out) if out is not None else default_folder(record) if keep else None
    report = Lines(sys.stderr) if progress else Silent()
    with plan_folder(folder, record["digest"]):
        simulator = Simulator(scenario, target, found, folder, n_workers(jobs), report)
        job = _Job(source, request, unknown, found, low if not by_size else None)
        result = job.make(simulator, Work(not analytic, effort, reps, report.say), record)
        if result.answer is not None and (cost is not None if grid is None else grid):
            result = replace(result, grid=job.grid(result))
        if folder is not None:
            result = replace(result, folder=folder)
            write_plan(result, folder)
            draw_plan(result, folder)
    return result


def draw_plan(result: Plan, folder: Path) -> list[Path]:
    """Draw a plan's figures into a folder, as PDF, PNG and CSV."""
    written = []
    if len(result.curve):
        figure, data = plot_plan(result)
        written += save_figure(figure, data, folder / "curve")
    if len(result.grid):
        figure, data = plot_plan_map(result)
        written += save_figure(figure, data, folder / "map")
    return written


def write_copies(result: Plan, json_file: Path | None, csv: Path | None) -> list[Path]:
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
    request: Request
    uncertain: tuple[Uncertain, ...]
    draws: Draws
    low: int | None

    def make(self, simulator: Simulator, work: Work, record: dict[str, Any]) -> Plan:
        if self.request.cost is not None:
            result = plan_cost(self.request, self.draws, simulator, work, record, self.low)
        else:
            result = plan_axis(self._axis(self.request, self.draws), simulator, work, record)
        return replace(result, uncertain=self._uncertain(self._known())) if self.uncertain else result

    def _axis(self, request: Request, draws: Draws) -> Axis:
        if request.over == "cluster_size":
            return Axis(request, draws, "cluster_size", request.n_clusters, request.low_size, request.high_size)
        return Axis(request, draws, "n_clusters", None, lowest(request, draws, None, self.low), request.high)

    def _known(self) -> int | None:
        """The analytic answer if the values of the design were known; None if it gives none, or with a cost."""
        if self.request.cost is not None:
            return None
        try:
            scenario = self.source.scenario(open_size=self.request.scenario.open_size)
            return self._axis(replace(self.request, scenario=scenario), Draws(({},), 1, {})).answer()
        except SimstudyError:
            return None

    def _uncertain(self, known: int | None) -> dict[str, Any]:
        found = self.draws
        facts = {"draws": len(found.values), "tried": found.tried, "left_out": found.left_out}
        return {**facts, "reasons": dict(found.reasons), "known": known}

    def grid(self, result: Plan) -> pd.DataFrame:
        """The map around the answer; empty where cluster sizes are unequal."""
        answer, request = result.answer, self.request
        if answer is None or isinstance(answer.cluster_size, str):
            return pd.DataFrame()
        if not request.scenario.open_size:
            names = [value.name for value in self.uncertain]
            request = replace(request, scenario=self.source.scenario(open_size=True, uncertain=names))
        return value_grid(request, self.draws, answer.n_clusters, answer.cluster_size)


def _check(
    *, over: str, ci: str, cost: str | None, n_clusters: int | None, draws: int, reps: int, max_reps: int
) -> None:
    """Refuse what has no meaning, all at once."""
    problems = []
    if over not in OVER:
        problems.append(f"over: found '{over}'{did_you_mean(over, OVER)}; allowed: {', '.join(OVER)}")
    if ci not in INTERVALS:
        problems.append(f"ci: found '{ci}'{did_you_mean(ci, INTERVALS)}; allowed: {', '.join(INTERVALS)}")
    if cost is not None and over == "cluster_size":
        problems.append("cost: it searches number and size of clusters together; leave --over out")
    if n_clusters is not None and (over != "cluster_size" or cost is not None):
        problems.append("n-clusters: it is what the plan looks for; allowed with --over cluster_size")
    if n_clusters is not None and n_clusters < 2:
        problems.append(f"n-clusters: found {n_clusters}; allowed: 2 or more")
    for name, value, least in (("draws", draws, 16), ("reps", reps, 100), ("max-reps", max_reps, 1000)):
        if value < least:
            problems.append(f"{name}: found {value}; allowed: {least:,} or more")
    if problems:
        raise SimstudyError(problems)


def _check_bounds(request: Request, by_size: bool) -> None:
    low, high = (request.low_size, request.high_size) if by_size else (request.low, request.high)
    if not 2 <= low < high:
        raise SimstudyError(f"min, max: found {low:,} and {high:,}; allowed: 2 <= min < max")
    if request.high_size <= request.low_size:
        raise SimstudyError(f"max-size: found {request.high_size}; allowed: above {request.low_size}")


def _record(
    request: Request, source: Source, uncertain: Sequence[Uncertain], effort: Effort, reps: int, cost: str | None
) -> dict[str, Any]:
    """What was asked for, as plain values."""
    scenario, target = request.scenario, request.target
    i = scenario.model.reported.index(target.parameter)
    return {
        "design": source.name,
        "name": scenario.name,
        "parameter": target.parameter,
        "level_of_parameter": scenario.model.reported_levels[i],
        "measure": request.criterion.measure.name,
        "target": request.criterion.target,
        "over": request.over,
        "method": request.method,
        "se_kind": target.se_kind,
        "interval": target.interval,
        "level": target.level,
        "settings": dict(source.settings),
        "n_clusters": request.n_clusters,
        "cluster_size": scenario.size_label,
        "cost": cost,
        "uncertain": [value.text for value in uncertain],
        "seed": scenario.seed,
        "tolerance": effort.tolerance,
        "confirm": reps,
        "maximum": effort.maximum,
    }
