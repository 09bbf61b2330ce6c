"""Assurance of models with random slopes: every draw is simulated, a few of them are where the search begins."""

from __future__ import annotations

import numpy as np
import pytest
from planning_cases import CERTAIN

from simstudy.design.scenario import read_scenario
from simstudy.planning import question as questions
from simstudy.planning.criterion import MEASURES, Criterion
from simstudy.planning.limits import Target
from simstudy.planning.question import Question, limits_of
from simstudy.planning.simulate import SampleSize, Simulator
from simstudy.planning.uncertain import draw, parse_uncertain
from simstudy.runner.progress import Silent

DESIGN = """
[study]
name = "slopes"
replications = 10
seed = 3

[model]
syntax = '''
level: within
  y ~ rv("s")*x
level: between
  y ~ w
  s ~ cl*w + m*1
  y ~~ s
'''

[population]
cl = 0.15
m = 0.3
"between: s ~~ s" = 0.1
"between: y ~ w" = 0.3
"within: y ~~ y" = 1.0
"between: y ~~ y" = 0.3
"within: x ~~ x" = 1.0
"between: w ~~ w" = 1.0
n_clusters = 80
cluster_size = 8

[estimators]
use = ["msem"]
"""


def question(*uncertain: str) -> Question:
    scenario = read_scenario(DESIGN, "file", uncertain=uncertain)
    goal = Target("cl", scenario.se_kind, "wald", 0.95)
    return Question(scenario, Criterion(MEASURES["power"], 0.8), goal, "n_clusters", 10, 10_000, 2, 100)


def test_few_draws_stand_for_all_where_the_search_begins(monkeypatch) -> None:
    """They share the samples that one population has."""
    asked = question("cl")
    seen = []

    def spy(estimator, model, populations, *, large_samples):
        seen.append((len(populations), large_samples))
        raise InterruptedError

    monkeypatch.setattr(questions, "approximate_all", spy)
    for uncertain, n in ((["cl=normal(.15,.03)"], 64), (["cl=normal(.15,.03)"], 4)):
        draws = draw(asked.scenario, parse_uncertain(uncertain), n, 100, None)
        with pytest.raises(InterruptedError):
            limits_of(asked, draws, 100, None)
    with pytest.raises(InterruptedError):
        limits_of(question(), CERTAIN, 100, None)
    (few, samples), (all_of_them, whole), (one, alone) = seen
    assert few * samples == alone
    assert (all_of_them, one, whole) == (4, 1, alone)


@pytest.mark.slow
def test_assurance_is_the_mean_of_the_power_of_the_draws() -> None:
    """By two routes with the same seed: all draws at once, and a plan's simulator for each value."""
    asked = question("cl", "between: s ~~ s")
    uncertain = parse_uncertain(["cl=normal(.15,.05)", "between: s ~~ s=uniform(.05,.2)"])
    draws = draw(asked.scenario, uncertain, 8, 80, None)
    target = asked.target
    together = Simulator(asked.scenario, target, draws, None, 1, Silent()).run(SampleSize(80), 0, 200)
    single = []
    for values in draws.values:
        one = type(draws)((values,), 1, {})
        outcome = Simulator(asked.scenario, target, one, None, 1, Silent()).run(SampleSize(80), 0, 200)
        single.append(outcome.measure(asked.criterion).value[0])
    assert together.measure(asked.criterion).value[0] == pytest.approx(np.mean(single), abs=1e-12)
    assert np.ptp(single) > 0.2  # the draws differ


@pytest.mark.slow
def test_a_start_from_few_draws_is_near_the_simulated_assurance() -> None:
    asked = question("cl")
    draws = draw(asked.scenario, parse_uncertain(["cl=normal(.15,.04)"]), 64, 100, None)
    curve, note = limits_of(asked, draws, 1000, None)
    assert "large samples" in note
    assert len(curve.populations) == questions.SAMPLED_DRAWS
    simulated = Simulator(asked.scenario, asked.target, draws, None, 1, Silent()).run(SampleSize(100), 0, 16)
    found = simulated.measure(asked.criterion)
    # 1,024 data sets (MCSE .014), 25 samples a draw, 8 of 64 draws
    assert abs(curve.value(np.array([100.0]))[0] - found.value[0]) < 4 * found.mcse[0] + 0.05
