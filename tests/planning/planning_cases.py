"""Requests for tests, and outcomes made from a known curve."""

from __future__ import annotations

import numpy as np

from simstudy.design.scenario import read_scenario
from simstudy.design.templates import template_text
from simstudy.planning.criterion import MEASURES, Criterion
from simstudy.planning.limits import Target
from simstudy.planning.question import Question
from simstudy.planning.simulate import Outcome, Simulator
from simstudy.planning.uncertain import Draws
from simstudy.runner.progress import Silent

CERTAIN = Draws(({},), 1, {})


def request(
    template="mediation-2-1-1", parameter="ind_b", measure="power", target=0.8, ci="wald", over="n_clusters", **options
):
    """A request, as `simstudy.plan` makes it."""
    scenario = read_scenario(template_text(template), template, interval=ci, open_size=over != "n_clusters", **options)
    goal = Target(parameter, scenario.se_kind, ci, scenario.intervals.level)
    return Question(scenario, Criterion(MEASURES[measure], target), goal, over, 10, 10_000, 2, 100)


def simulator(found, folder=None, draws=CERTAIN, jobs=1):
    return Simulator(found.scenario, found.target, draws, folder, jobs, Silent())


def outcome(rejected):
    """Outcomes whose intervals exclude 0 or not."""
    rejected = np.asarray(rejected)
    estimate = np.where(rejected, 3.0, 1.0)
    return Outcome(estimate, estimate - 1.96, estimate + 1.96, np.ones(len(estimate), bool), np.ones(len(estimate)))


def bernoulli(power, seed):
    """A `run` whose rejections have a known probability at every size, addressed as real ones are."""

    def run(size, first, stop):
        draws = [
            np.random.default_rng([seed, size, block]).random(1000) for block in range(first // 1000, stop // 1000 + 1)
        ]
        start = first - first % 1000
        return outcome(np.concatenate(draws)[first - start : stop - start] < power(size))

    return run
