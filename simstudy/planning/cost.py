"""The cheapest design: number and size of clusters together, for a cost of both.

Theory gives, for every cluster size, the smallest number of clusters that reaches the target, and so the cost as a
function of the size alone. How far theory is off is simulated at three sizes, around its cheapest; the ratio of the
simulated to the analytic number of clusters, interpolated over log size, corrects all the others. The cheapest design
by the corrected numbers is then searched and confirmed as any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from simstudy.errors import DesignError, SimstudyError
from simstudy.planning.axis import Axis, lowest
from simstudy.planning.plan import Work, plan_axis, search_axis
from simstudy.planning.question import Question, unusable
from simstudy.planning.result import BEYOND, IMPOSSIBLE, PlanRecord
from simstudy.planning.simulate import SampleSize, Simulator
from simstudy.planning.uncertain import Draws
from simstudy.planning.verdict import impossible

COARSE = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 70, 100, 150, 200, 300, 500)
"""Cluster sizes looked at first; then every whole size between the neighbours of the cheapest."""
APART = 1.6
"""Factor between the cheapest size and those at which theory is checked beside it."""
ROUGH = 2.5
"""Tolerance of the checks, in tolerances of the final search."""
REFINED = 24
"""At most so many sizes are added between the neighbours of the cheapest."""


@dataclass(frozen=True)
class Frontier:
    """For each cluster size the line of numbers of clusters at it, and the analytic answer (None: none reaches)."""

    axes: Mapping[int, Axis]
    answers: Mapping[int, int | None]

    def numbers(self, ratios: Mapping[int, float]) -> dict[int, int]:
        """Numbers of clusters, corrected by ratios known at some sizes."""
        known = sorted(ratios)
        found = {}
        for size, answer in self.answers.items():
            if answer is None:
                continue
            factor = 1.0
            if known:
                logs = np.interp(math.log(size), np.log(known), np.log([ratios[k] for k in known]))
                factor = float(np.exp(logs))
            found[size] = math.ceil(answer * factor - 1e-9)
        return found


def plan_cost(
    question: Question, draws: Draws, simulator: Simulator, work: Work, record: dict[str, Any], wanted_low: int | None
) -> PlanRecord:
    """Find the cheapest design that reaches the target.

    Raises
    ------
    SimstudyError
        If the method cannot be used here, or the measure has no analytic curve to begin with.
    """
    first = _axis(question, draws, wanted_low, min(max(10, question.low_size), question.high_size))
    limits = first.limits(first.high)
    if reason := unusable(limits, question.method):
        raise SimstudyError(f"method: {reason}")
    if not first.analytic:
        words = question.criterion.measure.words
        raise SimstudyError(
            f"cost: theory has no curve of {words} to begin with; plan over n_clusters for several sizes"
        )
    if impossible(limits, question.method, first.low, first.high):
        return plan_axis(first, simulator, work, record)
    frontier = _frontier(question, draws, wanted_low)
    numbers = frontier.numbers({})
    if not numbers:
        why = f"no number of clusters up to {question.high:,} (--max) reaches {question.criterion.target:g} at any size"
        return PlanRecord(BEYOND, why, record)
    best = _cheapest(question, numbers)
    work.say(f"analytic: J = {numbers[best]:,}, n = {best:,}, cost {_price(question, numbers, best):,.6g}")
    analytic = plan_axis(frontier.axes[best], simulator, replace(work, simulate=False), record).answer
    ratios: dict[int, float] = {}
    if work.simulate:
        ratios = _ratios(frontier, best, simulator, work)
        corrected = frontier.numbers(ratios)
        best = _cheapest(question, corrected)
    plan = plan_axis(frontier.axes[best], simulator, work, record)
    if plan.status == IMPOSSIBLE:
        return plan
    theory = frontier.answers[best]
    if work.simulate and plan.answer is not None and theory:
        ratios[best] = plan.answer.n_clusters / theory
    return replace(plan, analytic=analytic, designs=_designs(question, frontier, ratios))


def _axis(question: Question, draws: Draws, wanted_low: int | None, size: int) -> Axis:
    return Axis(question, draws, "n_clusters", size, lowest(question, draws, size, wanted_low), question.high)


def _frontier(question: Question, draws: Draws, wanted_low: int | None) -> Frontier:
    """Analytic answers at coarse sizes, then around the cheapest of them."""
    coarse = sorted({question.low_size, question.high_size, *COARSE})
    axes: dict[int, Axis] = {}
    answers: dict[int, int | None] = {}

    def look(sizes: Sequence[int]) -> None:
        guess = None
        for size in sizes:
            if size not in axes and question.low_size <= size <= question.high_size:
                try:
                    axes[size] = _axis(question, draws, wanted_low, size)
                except DesignError:
                    continue
                answers[size] = axes[size].answer(guess)
                guess = answers[size]

    look(coarse)
    numbers = {size: answer for size, answer in answers.items() if answer is not None}
    if numbers:
        best = _cheapest(question, numbers)
        known = sorted(numbers)
        at = known.index(best)
        low, high = known[max(at - 1, 0)], known[min(at + 1, len(known) - 1)]
        look(np.unique(np.rint(np.linspace(low, high, min(high - low, REFINED) + 1)).astype(int)).tolist())
    return Frontier(dict(sorted(axes.items())), dict(sorted(answers.items())))


def _price(question: Question, numbers: Mapping[int, int], size: int) -> float:
    return question.price(SampleSize(numbers[size], size))


def _cheapest(question: Question, numbers: Mapping[int, int]) -> int:
    """Size of the cheapest design; of several, the one with the fewest rows."""
    return min(numbers, key=lambda size: (_price(question, numbers, size), numbers[size] * size))


def _ratios(frontier: Frontier, best: int, simulator: Simulator, work: Work) -> dict[int, float]:
    """Simulated over analytic number of clusters at three sizes."""
    sizes = sorted(size for size, answer in frontier.answers.items() if answer is not None)
    wanted = (best / APART, float(best), best * APART)
    chosen = sorted({min(sizes, key=lambda size: abs(math.log(size / goal))) for goal in wanted})
    rough = replace(work, effort=replace(work.effort, tolerance=ROUGH * work.effort.tolerance))
    ratios = {}
    for size in chosen:
        answer = frontier.answers[size]
        work.say(f"simulating at n = {size}")
        found = search_axis(frontier.axes[size], simulator, rough, answer)
        if found.answer is not None and answer:
            ratios[size] = found.answer / answer
    return ratios


def _designs(question: Question, frontier: Frontier, ratios: Mapping[int, float]) -> pd.DataFrame:
    """One row a cluster size: analytic and corrected number of clusters, and what the latter costs."""
    corrected = frontier.numbers(ratios)
    rows = [
        {
            "cluster_size": size,
            "n_clusters_analytic": frontier.answers[size],
            "n_clusters": number,
            "n_obs": number * size,
            "cost": question.price(SampleSize(number, size)),
            "simulated": size in ratios,
        }
        for size, number in corrected.items()
    ]
    return pd.DataFrame(rows)
