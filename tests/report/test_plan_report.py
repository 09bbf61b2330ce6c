"""A plan in words and figures: what is said of each outcome, and that figures carry their data."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from simstudy.planning.result import BEYOND, CONFIRMED, NOT_CONFIRMED, Answer, PlanRecord
from simstudy.report import plan_lines, plot_plan, plot_plan_map, save_figure

REQUEST = {
    "name": "study", "parameter": "b", "level_of_parameter": "between", "measure": "power", "target": 0.8,
    "over": "n_clusters", "method": "msem", "se_kind": "expected", "interval": "wald", "level": 0.95, "settings": {},
    "n_clusters": None, "cluster_size": "10", "cost": None, "uncertain": [],
}  # fmt: skip


def plan(**changes):
    sizes = np.array([80, 100, 125])
    curve = pd.DataFrame({"n_clusters": np.arange(60, 161, 20), "analytic": np.linspace(0.5, 0.95, 6)})
    curve = curve.assign(
        fitted=curve["analytic"] - 0.02, fitted_low=curve["analytic"] - 0.04, fitted_high=curve["analytic"]
    )
    rows = pd.DataFrame({"n_clusters": [*sizes, 104], "cluster_size": 10, "role": ["search"] * 3 + ["confirm"],
                         "value": [0.7, 0.79, 0.88, 0.805], "mcse": 0.01, "n": 1000, "attempted": 1000,
                         "converged": 990})  # fmt: skip
    found = PlanRecord(
        status=CONFIRMED,
        why="",
        request=REQUEST,
        analytic=Answer(98, 10, 980, 0.801),
        answer=Answer(104, 10, 1040, 0.805, 0.004, 100, 108),
        confirmed={
            "value": 0.805,
            "mcse": 0.004,
            "low": 0.797,
            "high": 0.813,
            "attempted": 10_000,
            "converged": 10_000,
        },
        evaluations=rows,
        curve=curve,
        seconds=3.21,
        replicates=4000,
    )
    return replace(found, **changes)


def text(found):
    return "\n".join(line.text for line in plan_lines(found))


def test_the_answer_comes_with_its_interval():
    said = text(plan())
    assert "How many clusters for power of at least 0.8 of b (between)?" in said
    assert "104 [100, 108]" in said
    assert "Confirmed by 10,000 fresh data sets at the answer: power 0.8050 (MCSE 0.0040)" in said
    assert "4,000 data sets simulated in 3.2 s" in said


def test_an_interval_without_an_end_and_a_refuted_answer():
    assert "104 [100 or more]" in text(plan(answer=Answer(104, 10, 1040, 0.805, 0.004, 100, None)))
    assert "NOT confirmed: it is .70." in text(plan(status=NOT_CONFIRMED, why="it is .70"))


def test_no_answer_is_explained():
    said = text(plan(status=BEYOND, why="power is 0.5 at J = 200", answer=None, confirmed=None))
    assert "Not reached: power is 0.5 at J = 200" in said
    assert "simulated  " not in said


def test_draws_that_were_left_out_are_reported():
    facts = {"draws": 256, "tried": 300, "left_out": 44, "reasons": {"impossible icc": 44}, "known": 80}
    said = text(plan(uncertain=facts, request={**REQUEST, "uncertain": ["icc=beta(2, 18)"]})).replace("\n  ", " ")
    assert "assurance (average power)" in said
    assert "44 of 300 draws (14.7%) were left out" in said
    assert "truncated" in said
    assert "J = 80" in said


def test_designs_near_the_cheapest():
    designs = pd.DataFrame({"cluster_size": [5, 10, 20], "n_clusters_analytic": [150, 98, 80]})
    designs = designs.assign(n_clusters=[160, 104, 85], n_obs=[800, 1040, 1700], cost=[20_100.0, 20_000.0, 30_000.0])
    answer = Answer(104, 10, 1040, 0.805, 0.004, 100, 108, 20_000.0)
    said = text(plan(designs=designs, answer=answer, request={**REQUEST, "over": "both", "cost": "100*J"}))
    assert "+0.5%" in said
    assert "30,000" not in said


@pytest.mark.parametrize("curve", ["both", "no theory", "no simulation"])
def test_the_curve_has_its_data(tmp_path, curve):
    found = plan()
    if curve == "no theory":
        found = replace(found, curve=found.curve.assign(analytic=math.nan))
    if curve == "no simulation":
        nothing = dict.fromkeys(("fitted", "fitted_low", "fitted_high"), math.nan)
        found = replace(found, curve=found.curve.assign(**nothing), evaluations=pd.DataFrame())
    figure, data = plot_plan(found)
    assert set(data["kind"]) >= {"curve"}
    assert (len(data) == 10) == (curve != "no simulation")
    names = [item.get_text() for item in figure.axes[0].get_legend().get_texts()]
    assert ("analytic (large J)" in names) == (curve != "no theory")
    assert ("fitted to simulations" in names) == (curve != "no simulation")
    written = save_figure(figure, data, tmp_path / "curve")
    assert [path.suffix for path in written] == [".pdf", ".png", ".csv"]


def test_the_map_has_lines_of_measure_and_cost(tmp_path):
    j, n = np.meshgrid(np.arange(20, 200, 20), [2, 5, 10, 20, 40])
    grid = pd.DataFrame({"n_clusters": j.ravel(), "cluster_size": n.ravel()})
    grid["value"] = 1 - np.exp(-(j * np.sqrt(n) / 200.0)).ravel()
    grid["cost"] = (100.0 * j + 10.0 * j * n).ravel()
    found = plan(grid=grid, request={**REQUEST, "over": "both", "cost": "100*J + 10*J*n"},
                 answer=Answer(104, 10, 1040, 0.805, 0.004, 100, 108, 20_800.0))  # fmt: skip
    figure, data = plot_plan_map(found)
    assert len(data) == len(grid)
    labels = [t.get_text() for t in figure.axes[0].texts]
    assert {"0.8", "0.9"} <= set(labels)
    assert any(label in ("20,800", "31,200") for label in labels)
    assert len(save_figure(figure, data, tmp_path / "map")) == 3
    without = replace(found, grid=grid.assign(cost=math.nan), request=REQUEST)
    assert "cost" not in plot_plan_map(without)[0].get_supxlabel()
