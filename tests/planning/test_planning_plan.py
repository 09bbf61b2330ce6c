"""Whole plans: answers that are right, resumed plans, targets that cannot be reached."""

from __future__ import annotations

import json

import numpy as np
import pytest

import simstudy
from simstudy.design.templates import template_text
from simstudy.errors import SimstudyError, StoreError
from simstudy.planning.question import read_cost

SMALL = {"tolerance": 0.03, "reps": 1000, "jobs": 1, "progress": False}


def plan(template="mediation-2-1-1", parameter="ind_b", **options):
    return simstudy.plan(template, parameter, **{**SMALL, "power": 0.8, **options})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan") / "here"
    return plan(out=folder), folder


def files(folder):
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_a_plan_says_what_was_found(done):
    found, folder = done
    assert found.status == "confirmed"
    assert found.analytic.n_clusters < found.answer.n_clusters  # large-J theory is too hopeful here
    assert found.answer.low <= found.answer.n_clusters <= found.answer.high
    assert found.answer.n_obs == 10 * found.answer.n_clusters
    assert set(found.evaluations["role"]) == {"search", "confirm"}
    written = json.loads((folder / "plan.json").read_text())
    assert written["answer"]["n_clusters"] == found.answer.n_clusters
    assert written["confirmed"]["attempted"] == 1000
    assert {"plan.json", "evaluations.csv", "curve.csv", "curve.png", "curve.pdf"} <= set(files(folder))


def test_the_confirming_run_is_of_other_replicates(done):
    _, folder = done
    names = sorted(p.name for p in (folder / "evaluations").iterdir())
    confirm = [name for name in names if "_01000000-" in name]
    assert len(confirm) == 1
    assert all("_0000" in name for name in names if name not in confirm)


@pytest.mark.slow
def test_the_same_command_gives_the_same_bits_resumed_or_not(done, tmp_path):
    found, folder = done
    before = files(folder)
    again = plan(out=folder)
    assert again.replicates == 0
    assert files(folder) == before
    plan(out=tmp_path / "fresh", jobs=2)
    assert files(tmp_path / "fresh") == before
    for name in sorted(p.name for p in (folder / "evaluations").iterdir())[::2]:
        (tmp_path / "fresh" / "evaluations" / name).unlink()  # an interruption
    resumed = plan(out=tmp_path / "fresh")
    assert 0 < resumed.replicates < found.replicates
    assert files(tmp_path / "fresh") == before


@pytest.mark.slow
def test_another_target_uses_what_is_there(done):
    found, folder = done
    plan(out=folder, power=0.75)
    again = plan(out=folder)
    assert (again.replicates, again.answer) == (0, found.answer)


def test_folders_of_something_else_are_refused(done, tmp_path):
    _, folder = done
    with pytest.raises(StoreError, match="a plan for another population"):
        plan(out=folder, settings={"a": 0.3})
    (tmp_path / "thesis.docx").write_text("chapter 1")
    with pytest.raises(StoreError, match="holds other files and no plan"):
        plan(out=tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "plan.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        plan(out=tmp_path / "bad")


@pytest.mark.slow
def test_over_cluster_size():
    found = plan(over="cluster_size", n_clusters=100)
    assert found.status == "confirmed"
    assert (found.answer.n_clusters, found.answer.n_obs) == (100, 100 * found.answer.cluster_size)
    few = plan(over="cluster_size", n_clusters=30)
    assert few.status == "beyond"
    assert "more clusters do; with clusters of 200" in few.why


@pytest.mark.slow
def test_the_cheapest_design_is_that_of_a_full_search():
    """Analytic: against every cluster size from 2 to 25."""
    options = {"analytic": True, "max_size": 25, "parameter": "b_b"}
    found = plan(cost="100*J + 10*J*n", **options)
    best = min(
        (100 * j + 10 * j * n, n)
        for n in range(2, 26)
        if (j := plan(settings={"cluster_size": n}, parameter="b_b", analytic=True).answer.n_clusters)
    )
    assert (found.answer.cost, found.answer.cluster_size) == best
    assert found.grid["cost"].notna().all()


@pytest.mark.slow
def test_a_simulated_cheapest_design(tmp_path):
    found = plan(cost="100*J + 10*N", out=tmp_path / "cost")
    assert found.status == "confirmed"
    assert found.answer.cost == 100 * found.answer.n_clusters + 10 * found.answer.n_obs
    assert found.designs["simulated"].sum() == 3
    assert {"map.png", "map.csv", "designs.csv"} <= set(files(tmp_path / "cost"))


@pytest.mark.parametrize("text", ["J*q", "__import__('os')", "J**", "100 - J", "J/n", "", "n"])
def test_what_is_no_cost_is_refused(text):
    with pytest.raises(SimstudyError, match="cost"):
        read_cost(text)


def test_power_at_a_true_zero_is_the_level():
    found = plan(parameter="b_b", settings={"b_b": 0}, power=0.8)
    assert (found.status, found.answer) == ("impossible", None)
    assert "the true value of b_b is 0" in found.why
    (row,) = found.evaluations.to_dict("records")
    assert abs(row["value"] - 0.05) < 4 * row["mcse"]


def test_coverage_of_a_biased_method_ends_with_an_explanation():
    found = plan(power=None, coverage=0.95, method="disaggregated")
    assert found.status == "impossible"
    assert "coverage falls with more clusters" in found.why
    assert found.evaluations["value"].iloc[0] < 0.1
    assert found.replicates == 2000


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"width": 0.25}, 0.25),
        ({"convergence": 0.99}, 0.99),
        pytest.param({"median_bias": 0.05, "tolerance": 0.3}, 0.05, marks=pytest.mark.slow),
    ],
)
def test_other_measures(options, limit):
    found = plan(parameter="b_b", power=None, settings={"cluster_size": 5}, **options)
    assert found.found
    value = abs(found.confirmed["value"])
    assert value >= limit - 0.02 if "convergence" in options else value <= 1.1 * limit


@pytest.mark.slow
def test_unequal_clusters_and_monte_carlo_intervals():
    found = plan(settings={"cluster_size": "{ uniform = [5, 15] }"}, ci="montecarlo")
    assert found.status == "confirmed"
    assert found.answer.cluster_size == "5-15"
    assert found.answer.n_clusters < plan(settings={"cluster_size": "{ uniform = [5, 15] }"}).answer.n_clusters


@pytest.mark.slow
def test_missing_values_are_planned_by_simulation(tmp_path):
    path = tmp_path / "design.toml"
    path.write_text(template_text("contextual").replace("[factors]", "missing = { mcar = 0.1 }\n\n[factors]"))
    options = {"settings": {"cluster_size": 5, "b_b": 0.8}, "tolerance": 0.1, "reps": 100}
    found = plan(path, "b_b", **options)
    assert found.found
    assert found.analytic is None
    assert any("missing values" in note for note in found.notes)
    with pytest.raises(SimstudyError, match="theory has no answer here"):
        plan(path, "b_b", analytic=True)


def test_assurance_needs_more_than_certainty():
    found = plan(parameter="b_b", uncertain=["b_b=normal(.5,.1)"], draws=32)
    assert found.status == "confirmed"
    assert found.uncertain["draws"] == 32
    assert found.uncertain["known"] < found.answer.n_clusters
    certain = plan(parameter="b_b")
    assert found.uncertain["known"] == certain.analytic.n_clusters


@pytest.mark.slow
def test_assurance_is_the_average_of_powers():
    """At the answer: against the power of each draw, analytic, averaged by hand."""
    found = plan(parameter="b_b", uncertain=["b_b=uniform(.3,.6)"], draws=32, analytic=True)
    j = found.answer.n_clusters
    values = np.linspace(0.3, 0.6, 61)
    each = [
        plan(parameter="b_b", settings={"b_b": v}, analytic=True, low=j, high=j + 1, power=1e-6).answer.value
        for v in values
    ]
    weights = np.ones(61)
    weights[[0, -1]] = 0.5
    assert found.answer.value == pytest.approx(np.average(each, weights=weights), abs=0.01)  # 32 points


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"power": None}, "found none; give one of --power"),
        ({"coverage": 0.9}, "found --power, --coverage"),
        ({"power": 80}, "allowed: above 0 and below 1"),
        ({"parameter": "ind"}, "did you mean 'ind_b'"),
        ({"method": "mesm"}, "did you mean 'msem'"),
        ({"se": "robus"}, "expected', 'observed' or 'robust'"),
        ({"over": "clusters"}, "did you mean 'n_clusters'"),
        ({"over": "cluster_size"}, "give it with --n-clusters"),
        ({"n_clusters": 50}, "allowed with --over cluster_size"),
        ({"cost": "J", "over": "cluster_size"}, "leave --over out"),
        ({"low": 50, "high": 40}, "found 50 and 40"),
        ({"settings": {"n_clusters": 50}}, "give it with --n-clusters"),
        ({"settings": {"b": 50}}, "the generating model has no such parameter"),
        ({"settings": {"icc": 0.02}}, "impossible between variance"),
        ({"uncertain": ["zz=beta(1,2)"]}, "uncertain zz: the generating model has no such parameter"),
        ({"uncertain": ["cluster_size=uniform(5,10)"]}, "sizes are what the plan looks for"),
        ({"template": "mediation-211"}, "did you mean 'mediation-2-1-1'"),
        ({"template": "mediation-1-1-2", "method": "mlm"}, "says nothing about ind_b"),
        ({"template": "contextual", "parameter": "b_w", "method": "aggregated"}, "says nothing about b_w"),
        ({"reps": 5, "draws": 2}, "reps: found 5; allowed: 100 or more"),
    ],
)
def test_wrong_requests(options, message):
    with pytest.raises(SimstudyError, match=message):
        plan(**options)


@pytest.mark.slow
def test_random_slopes_are_planned_with_large_samples(tmp_path):
    """Theory by samples and simulation agree, and the error of the samples is not taken for bias."""
    design = tmp_path / "school.toml"
    design.write_text(SLOPES, encoding="utf-8")
    found = simstudy.plan(design, "cross", power=0.8, out=tmp_path / "plan", tolerance=0.03, reps=1500, progress=False)
    first = found.evaluations[found.evaluations["role"] == "search"]["n_clusters"]
    assert found.answer is not None
    assert found.answer.n_clusters == pytest.approx(first.median(), rel=0.25)  # the search starts at theory's answer
    assert not any("biased" in note for note in found.notes)


SLOPES = """
[study]
name = "school"
replications = 1
seed = 7

[model]
syntax = '''
level: within
  y ~ rv("s")*x
level: between
  y ~ w
  s ~ cross*w
'''

[population]
"between: s ~ 1" = 0.3
cross = 0.2
"between: s ~~ s" = 0.05
"between: y ~ w" = 0.2
"within: y ~~ y" = 0.6
"between: y ~~ y" = 0.15
variance = { x = 1.0, w = 1.0 }
n_clusters = 60
cluster_size = 10

[estimators]
use = ["msem"]
"""
