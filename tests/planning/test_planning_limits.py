"""Analytic curves: against brute-force simulation of their own assumptions, and their inversion."""

from __future__ import annotations

import numpy as np
import pytest
from planning_cases import CERTAIN, request

from simstudy.asymptotics import approximate
from simstudy.asymptotics.draws import montecarlo_by_draws, wald_by_draws
from simstudy.design.scenario import read_scenario
from simstudy.design.templates import template_text
from simstudy.model.twolevel import TwoLevelModel
from simstudy.planning.limits import lattice, needed, smallest
from simstudy.planning.question import limits_of
from simstudy.planning.uncertain import Draws
from simstudy.planning.verdict import cautions, impossible


def limits(**options):
    found = request(**options)
    return limits_of(found, CERTAIN, 1000, None)[0]


def test_a_free_parameter_has_the_power_of_its_normal_approximation():
    found = request(parameter="b_b")
    a = approximate(found.scenario.entry.estimator, found.scenario.model, found.scenario.cell(80).population)
    curve = limits(parameter="b_b")
    i = a.index("b_b")
    assert curve.value(np.array([80.0]))[0] == pytest.approx(a.rejection(0.95, None, 80)[i], rel=1e-9)


def test_a_linear_definition_is_normal_too():
    curve = limits(template="contextual", parameter="contextual")
    assert curve.function is None
    found = request(template="contextual", parameter="contextual")
    a = approximate(found.scenario.entry.estimator, found.scenario.model, found.scenario.cell(80).population)
    assert curve.value(np.array([80.0]))[0] == pytest.approx(
        a.rejection(0.95, None, 80)[a.index("contextual")], rel=1e-9
    )


def brute(curve, j, ci, n=20_000, inner=1000, seed=1):
    """Rejections of a*b, (a, b) normal, by simulation: written for a product, without the package's expressions."""
    found = curve.populations[0]
    at = [found.index("a"), found.index("b_b")]
    true, own = (m[np.ix_(at, at)] / j for m in (found.covariance, found.reported["expected"]))
    rng = np.random.default_rng(seed)
    a, b = rng.multivariate_normal(found.limit[at], true, n).T
    if ci == "wald":
        se = np.sqrt(b**2 * own[0, 0] + a**2 * own[1, 1] + 2 * a * b * own[0, 1])
        return float(np.mean(np.abs(a * b) > 1.959964 * se))
    hits = 0
    for x, y in zip(a[:4000], b[:4000], strict=True):
        draws = rng.multivariate_normal([x, y], own, inner)
        low, high = np.quantile(draws[:, 0] * draws[:, 1], [0.025, 0.975])
        hits += low > 0 or high < 0
    return hits / 4000


@pytest.mark.parametrize("j", [40, 90])
def test_the_power_of_a_product_is_that_of_the_product(j):
    value = limits().value(np.array([float(j)]))[0]
    p = brute(limits(), j, "wald")
    assert abs(value - p) < 4 * np.sqrt(p * (1 - p) / 20_000) + 0.001  # the lattice's own error


@pytest.mark.slow
def test_the_power_of_a_products_monte_carlo_interval():
    value = limits(ci="montecarlo").value(np.array([76.0]))[0]
    p = brute(limits(ci="montecarlo"), 76, "montecarlo")
    assert abs(value - p) < 4 * np.sqrt(p * (1 - p) / 4000) + 0.005  # the lattice's own error, in the tails


def test_a_product_with_a_zero_path_is_rejected_below_the_level():
    curve = limits(settings={"b_b": "0"})
    value = curve.value(np.array([60.0, 1e6]))
    assert value[0] < 0.045  # conservative in small samples
    assert value[1] == pytest.approx(0.05, abs=0.003)  # the level in the limit, as a is not 0; lattice error


def test_smallest_is_the_first_that_reaches_the_target():
    for options in ({}, {"parameter": "b_b"}, {"ci": "montecarlo"}):
        curve = limits(**options)
        answer = smallest(curve.criterion, curve.value, 10, 10_000)
        before, at = curve.value(np.array([answer - 1.0, float(answer)]))
        assert before < 0.8 <= at
        for guess in (answer, 15, 3000):
            assert smallest(curve.criterion, curve.value, 10, 10_000, guess) == answer
        assert smallest(curve.criterion, curve.value, 10, answer - 1) is None
        assert smallest(curve.criterion, curve.value, answer + 5, 10_000) == answer + 5


def test_only_what_a_definition_needs_enters():
    model = TwoLevelModel.from_syntax(
        "level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x\nd := bb - bw\n e := d*bb\n f := bw^2"
    )
    found = needed(model.estimands, "e")
    assert (found.names, found.defined_names) == (("bw", "bb"), ("d", "e"))
    assert needed(model.estimands, "f").names == ("bw",)
    values = np.array([[0.2, 0.7]])
    assert found.evaluate(values)[0, -1] == pytest.approx(0.5 * 0.7)


def test_the_lattice_is_addressed_and_even():
    points = lattice(np.arange(1000.0), 2)
    assert np.array_equal(points[17], lattice(np.array([17.0]), 2)[0])
    counts, _, _ = np.histogram2d(*points.T, bins=5, range=[[0, 1], [0, 1]])
    assert counts.min() >= 36  # 40 each; random points would have an SD of 6
    assert counts.max() <= 44


def test_assurance_is_the_mean_over_populations():
    found = request(uncertain=["b_b"])
    draws = Draws(({"b_b": 0.3}, {"b_b": 0.6}), 2, {})
    curve = limits_of(found, draws, 1000, None)[0]
    each = [limits(settings={"b_b": value}).value(np.array([80.0]))[0] for value in ("0.3", "0.6")]
    assert curve.value(np.array([80.0]))[0] == pytest.approx(np.mean(each), abs=0.004)  # half the points each


@pytest.mark.slow
def test_impossible_targets_are_told_by_the_limit():
    def why(**options):
        curve = limits(**options)
        return impossible(curve, "m", 10, 1000)

    assert "the true value of ind_b is 0" in why(settings={"a": "0"})
    assert "is biased" in why(measure="coverage", target=0.95, method="disaggregated")
    assert "tends to 0.9500" in why(measure="coverage", target=0.95)
    assert why(measure="coverage", target=0.94) == ""
    assert "stays near" in why(measure="bias", target=0.01, method="aggregated")
    assert why(measure="bias", target=0.01) == ""
    assert "relative bias is not defined" in why(measure="relative_bias", target=0.05, settings={"b_b": "0"})
    assert why() == ""


def test_the_coverage_that_too_small_standard_errors_tend_to():
    """Disaggregated least squares with equal slopes is unbiased, and its naive SEs are too small."""
    settings = {"b_w": "0.4", "b_b": "0.4", "cluster_size": "20"}
    curve = limits(template="contextual", parameter="b_b", measure="coverage", target=0.94, method="disaggregated",
                   settings=settings)  # fmt: skip
    text = impossible(curve, "disaggregated", 10, 1000)
    assert "of the true ones" in text
    assert "is biased" not in text


def test_the_wrong_sign_is_pointed_out():
    """Theory B6, case 1: the between indirect effect by manifest means has the wrong sign."""
    settings = {
        "a_b": "0.3",
        "a_w": "-0.3",
        "b_b": "0.3",
        "b_w": "0.3",
        "icc": "0.1",
        "cluster_size": "5",
        "c_b": "0.1",
    }
    curve = limits(template="mediation-1-1-1", settings=settings, method="aggregated")
    assert "the wrong sign" in cautions(curve, "aggregated")[0]
    assert cautions(limits(template="mediation-1-1-1", settings=settings), "msem") == []


def test_standard_errors_that_are_too_small_are_pointed_out():
    (text,) = cautions(limits(method="goldstein"), "goldstein")  # consistent, with the SEs of a second step alone
    assert "of the true ones: where there is no effect it rejects more often" in text


def test_scenarios_of_missing_values_begin_at_complete_data():
    text = template_text("mediation-2-1-1").replace("[factors]", "missing = { mcar = { y = 0.2 } }\n\n[factors]")
    scenario = read_scenario(text, "file")
    found = request()
    other = type(found)(**{**vars(found), "scenario": scenario})
    curve, note = limits_of(other, CERTAIN, 1000, None)
    assert "missing values" in note
    assert curve.value(np.array([80.0]))[0] == limits().value(np.array([80.0]))[0]


@pytest.mark.parametrize(("ci", "law"), [("wald", wald_by_draws), ("montecarlo", montecarlo_by_draws)])
def test_curves_agree_with_the_numbers_of_simstudy_bias(ci, law):
    """The same integral on another point set, for all definitions of one population."""
    for measure, name in (("power", "rejection"), ("coverage", "coverage")):
        curve = limits(ci=ci, measure=measure)
        found = law(curve.populations[0], curve.estimands, "expected", 0.95, 80)["ind_b"]
        assert curve.value(np.array([80.0]))[0] == pytest.approx(found[name], abs=0.008)  # 1,024 points each
