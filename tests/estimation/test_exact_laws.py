"""Exact finite-sample numbers: against printed values and against simulation of the regressions themselves."""

from __future__ import annotations

import numpy as np
import pytest
from asymptotics_cases import MODEL, population
from scipy import stats

from simstudy.data.layout import ClusterLayout
from simstudy.estimation.exact_laws import Components, Regression, chi_square_grid, mean_slope, residual_spread
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population

BASE = {
    "bw": 0.2, "bb": 0.7, "within:_x_~~_x": 0.9, "within:_y_~~_y": 0.8, "between:_x_~~_x": 0.1,
    "between:_y_~~_y": 0.15,
}  # fmt: skip
"""The base values of docs/theory/single-level.md."""


def numbers(method: str, sizes, level: float = 0.95, **options: object) -> dict[tuple[str, str], float]:
    found = registry.create(method, options).exact_numbers(MODEL, population(sizes, **BASE), level)
    return {(n.parameter, n.measure): n.value for n in found}


def test_b1_b2_means() -> None:
    """Theory B1 and B2, as printed."""
    assert numbers("disaggregated", [5] * 10)["bb", "mean_estimate"] == pytest.approx(0.245631, abs=0.52e-6)
    assert numbers("disaggregated", [10] * 30)["bw", "mean_estimate"] == pytest.approx(0.248379, abs=0.52e-6)
    assert numbers("aggregated", [5] * 10)["bb", "mean_estimate"] == pytest.approx(0.378571, abs=0.52e-6)
    for n_clusters, variance in ((10, 0.166363), (100, 0.012006)):
        found = numbers("aggregated", [5] * n_clusters)["bb", "empirical_se"]
        assert found**2 == pytest.approx(variance, abs=0.52e-6)


def test_b3_within_slope_and_coverage() -> None:
    """Theory B3; its coverages leave out boundary estimates, which have probability .003 at J = 50, n = 30."""
    found = numbers("mlm_centered", [5] * 30)
    assert found["bw", "empirical_se"] ** 2 == pytest.approx(0.007533, abs=0.52e-6)
    for likelihood, printed in (("ml", 0.9392), ("reml", 0.9442)):
        coverage = numbers("mlm_centered", [30] * 50, likelihood=likelihood)["bb", "bias_eliminated_coverage"]
        assert coverage == pytest.approx(printed, abs=1e-4)


def test_f6_negative_variance() -> None:
    found = registry.create("msem").exact_numbers(MODEL, population([5] * 30, **BASE), 0.95)
    assert [(n.parameter, n.measure) for n in found] == [("between: x ~~ x", "negative_variance")]
    assert found[0].value == pytest.approx(0.102, abs=0.52e-3)  # the table of theory F6, ICC .10, n = 5, J = 30


def test_f6_with_divisor_j_minus_1() -> None:
    """Theory B8: the analysis-of-variance estimator, J = 10 and 30, n = 5."""
    for n_clusters, printed in ((10, 0.2463), (30, 0.0844)):
        where = population([5] * n_clusters, **BASE)
        found = registry.create("schmidt", {"divisor": "J-1"}).exact_numbers(MODEL, where, 0.95)
        assert found[0].value == pytest.approx(printed, abs=0.52e-4)


@pytest.mark.parametrize(
    ("method", "options"), [("schmidt", {"between": "raw"}), ("msem", {"bounds": "variances"}), ("haernqvist", {})]
)
def test_a_variance_that_cannot_be_negative_has_no_probability_of_it(method, options) -> None:
    """S_B as it stands is positive definite, and a bound is a bound."""
    found = registry.create(method, options).exact_numbers(MODEL, population([5] * 30, **BASE), 0.95)
    assert "negative_variance" not in {number.measure for number in found}


@pytest.mark.parametrize(
    ("syntax", "method"),
    [
        ("level: within\n y =~ a + b + c\nlevel: between\n z =~ a + b + c", "aggregated"),
        ("level: within\n y ~ s*x\nlevel: between\n y ~ s*x", "mlm_centered"),  # one slope for both: not decoupled
        ("level: within\n y ~ x + m\n m ~~ x\nlevel: between\n y ~ x\n m ~ y\n x ~~ m", "aggregated"),
    ],
)
def test_models_without_closed_forms_have_none(syntax, method) -> None:
    model = TwoLevelModel.from_syntax(syntax)
    values = [1.0 if "~~" in name and name.split(" ~~ ")[0][-1] == name[-1] else 0.1 for name in model.names]
    where = Population(model, tuple(values), ClusterLayout.of([5] * 20), "key")
    assert registry.create(method).exact_numbers(model, where, 0.95) == ()


@pytest.mark.parametrize("df", [1, 2, 3, 5, 9, 30, 400])
def test_chi_square_grid(df) -> None:
    nodes, weight = chi_square_grid(df)
    tolerance = 1e-7 if df < 5 else 1e-9  # as documented
    assert weight @ nodes == pytest.approx(df, rel=tolerance)
    assert weight @ stats.norm.cdf(1.3 * np.sqrt(nodes / df)) == pytest.approx(stats.t.cdf(1.3, df), abs=tolerance)


def test_slope_law_against_noncentral_t() -> None:
    """Coverage of a value off the centre: a noncentral t mixed over SS, as in theory B2."""
    law = Regression(np.array([[1.0, 0.3], [0.3, 1.0]])).law(0, 14, residual_spread(13, 13))
    q = stats.chi2.ppf((np.arange(20_000) + 0.5) / 20_000, 14)
    shift = (law.centre - 0.7) * np.sqrt(q / law.ratio)
    z = stats.norm.ppf(0.975)
    inside = stats.nct.cdf(z, 13, shift) - stats.nct.cdf(-z, 13, shift)
    assert law.holds(0.7, 0.95) == pytest.approx(inside.mean(), abs=2e-4)  # the oracle's midpoints


def test_boundary_probability() -> None:
    """P(F < 1) of the mean squares; both divisors."""
    reml = Components(1.5, 1.0, 8, 40, 8, 40)
    assert reml.at_boundary == pytest.approx(stats.f.cdf(1 / 1.5, 8, 40), abs=1e-12)
    ml = Components(1.5, 1.0, 8, 40, 10, 42)
    assert ml.at_boundary == pytest.approx(stats.f.cdf((40 / 42) * (10 / 8) / 1.5, 8, 40), abs=1e-12)


def test_mean_slope_without_differences_is_that_slope() -> None:
    counts, weights = np.array([3.0, 4.0]), np.array([2.0, 7.0])
    found = mean_slope(counts, weights, np.array([0.7, 0.4]), np.array([0.3, 0.3]), (0.9, 0.3, 20))
    assert found == pytest.approx(0.3, abs=1e-10)
