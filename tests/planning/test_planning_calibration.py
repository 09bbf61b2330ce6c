"""Plans of real problems against power from large runs: a few of the 50 of ``scripts/check_planning``."""

from __future__ import annotations

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

import simstudy

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_planning"


@pytest.fixture(scope="module")
def script():
    loader = SourceFileLoader("check_planning", str(SCRIPT))
    spec = importlib.util.spec_from_loader("check_planning", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.slow
def test_intervals_cover_and_chosen_designs_have_the_power(script):
    covered, plans = 0, 0
    for number in (1, 2, 4, 7, 8, 9):  # Wald intervals, 26 to 97 clusters
        found = script.problem(number)
        right, power, error = script.truth(found, 10_000)
        given = {name: value for name, value in found.items() if name != "analytic"}
        for seed in (1, 2):
            answer = simstudy.plan(**given, seed=seed, jobs=1, progress=False).answer
            covered += answer.low <= right <= answer.high
            plans += 1
            # the tolerance of the search is .01 (95 %); one cluster of 26 more is .014
            assert abs(float(power(answer.n_clusters)) - found["power"]) < 0.02 + 4 * error
    assert covered >= plans - 3  # P(more than 3 of 12 miss) = .002 at the nominal rate
