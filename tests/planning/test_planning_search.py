"""The search finds the smallest size of a known curve, and its interval covers it at its rate."""

from __future__ import annotations

import numpy as np
import pytest
from planning_cases import bernoulli, outcome
from scipy.stats import norm

from simstudy.planning.criterion import MEASURES, Criterion
from simstudy.planning.curve import Observed, fit_curve
from simstudy.planning.search import Bounds, Effort, no_offset, offset_of, search

POWER = Criterion(MEASURES["power"], 0.8)


def curve(delta, z=1.96, wave=0.0):
    """Power of a two-sided test, with a smooth departure from the normal one."""

    def power(size):
        size = np.asarray(size, dtype=float)
        eta = delta * np.sqrt(size) - z + wave * np.sin(size / 40.0)
        return norm.cdf(eta)

    return power


def smallest(power, target=0.8, high=5000):
    sizes = np.arange(2, high)
    return int(sizes[np.argmax(power(sizes) >= target)])


def run(power, seed, *, theory=None, start=150, tolerance=0.01, criterion=POWER, low=10, high=5000, maximum=100_000):
    offset = no_offset if theory is None else offset_of(criterion, theory)
    return search(
        criterion, offset, bernoulli(power, seed), Bounds(low, high, start), Effort(tolerance, maximum),
        lambda message: None, analytic=theory is not None, anchored=False,
    )  # fmt: skip


def test_intervals_cover_at_their_rate():
    """120 searches of curves that theory is wrong about by up to 30 % in J: coverage within 3 binomial SEs of .95."""
    covered, chosen = [], []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        power = curve(rng.uniform(0.12, 0.5))
        theory = curve(rng.uniform(0.12, 0.5))
        right = smallest(power)
        theory = curve((0.8416 + 1.96) / np.sqrt(right * rng.uniform(0.7, 1.3)))
        found = run(power, seed, theory=theory, start=smallest(theory), tolerance=0.02)
        covered.append(found.low <= right <= found.high)
        chosen.append(float(power(found.answer)))
    assert np.mean(covered) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 120)
    assert np.abs(np.array(chosen) - 0.8).max() < 0.05  # small sizes: one cluster more is .03


def test_without_theory_the_target_is_bracketed_first():
    power = curve(0.2)
    found = run(power, 1, start=100)
    right = smallest(power)
    assert found.stop == "tolerance"
    assert abs(found.answer - right) <= 0.06 * right  # three times the tolerance
    assert found.low <= right <= found.high


def test_theory_that_is_off_by_a_factor_of_four_is_left_behind():
    power = curve(0.15)
    right = smallest(power)
    for factor in (0.25, 4.0):
        theory = curve(0.15 / np.sqrt(factor))
        found = run(power, 2, theory=theory, start=smallest(theory))
        assert found.low <= right <= found.high


def test_tolerance_decides_the_effort():
    power = curve(0.2)
    spent = [sum(p.attempted for p in run(power, 3, theory=power, start=196, tolerance=t).points) for t in (0.02, 0.01)]
    assert 2.5 < spent[1] / spent[0] < 6.0  # a half-width of one half takes four times as much


def test_a_target_beyond_the_bounds_ends_the_search():
    found = run(curve(0.05), 4, theory=curve(0.05), start=300, high=300)
    assert (found.answer, found.stop) == (None, "beyond")
    assert sum(p.attempted for p in found.points) <= 2000
    found = run(curve(0.05), 4, start=100, high=300)
    assert (found.answer, found.stop) == (None, "beyond")


def test_a_target_that_the_smallest_size_reaches():
    found = run(curve(2.0), 5, start=100)
    assert (found.answer, found.stop) == (10, "always")
    found = run(curve(2.0), 5, theory=curve(2.0), start=10)
    assert found.answer == 10


def test_the_most_that_may_be_spent_is_not_exceeded_by_more_than_a_round():
    found = run(curve(0.2), 6, theory=curve(0.2), start=196, tolerance=0.0005, maximum=5000)
    assert found.stop == "maximum"
    assert sum(p.attempted for p in found.points) <= 5150
    assert found.low < found.answer < found.high


def test_more_replicates_of_a_size_move_the_answer():
    power = curve(0.2)
    found = run(power, 7, theory=power, start=196)
    less = found.with_outcome(found.answer, outcome(np.arange(4000) % 100 < 70))
    assert less.answer > found.answer
    assert sum(p.attempted for p in less.points) == sum(p.attempted for p in found.points) + 4000
    same = found.with_outcome(found.answer, outcome(np.arange(4000) % 1000 < 801))
    assert abs(same.answer - found.answer) <= 3
    assert same.high - same.low < found.high - found.low


def test_nothing_is_found_where_nothing_has_a_number():
    def run_nothing(size, first, stop):
        nothing = np.full(stop - first, np.nan)
        from simstudy.planning.simulate import Outcome

        return Outcome(nothing, nothing, nothing, np.zeros(stop - first, bool), nothing, "ValueError: no")

    for analytic in (True, False):
        offset = offset_of(POWER, curve(0.2)) if analytic else no_offset
        found = search(
            POWER,
            offset,
            run_nothing,
            Bounds(10, 300, 100),
            Effort(0.01, 10_000),
            print,
            analytic=analytic,
            anchored=False,
        )
        assert (found.answer, found.stop, found.error) == (None, "nothing", "ValueError: no")


def test_a_rate_is_fitted_by_maximum_likelihood():
    """Against scipy's optimiser on the binomial likelihood (the prior is worth less than a replicate)."""
    from scipy.optimize import minimize

    sizes, hits, n = np.array([80, 100, 130]), np.array([310, 420, 455]), 500
    points = [Observed(int(s), h / n, 0.02, n, n, n) for s, h in zip(sizes, hits, strict=True)]
    fitted = fit_curve(POWER, no_offset, points, 100.0)

    def minus(beta):
        p = norm.cdf(beta[0] + beta[1] * np.sqrt(sizes))
        return -(hits * np.log(p) + (n - hits) * np.log1p(-p)).sum()

    best = minimize(minus, [0.0, 0.1], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9, "maxiter": 4000})
    ours = fitted.value(sizes.astype(float))
    np.testing.assert_allclose(ours, norm.cdf(best.x[0] + best.x[1] * np.sqrt(sizes)), atol=2e-4)  # the prior


def test_points_off_the_curve_widen_the_band():
    points = [Observed(s, p, 0.01, 2000, 2000, 2000) for s, p in ((80, 0.6), (100, 0.9), (125, 0.7), (150, 0.95))]
    fitted = fit_curve(POWER, no_offset, points, 100.0)
    assert fitted.misfit > 10
    assert fit_curve(POWER, no_offset, points[:2], 100.0).misfit == 1.0


@pytest.mark.parametrize("n", [1, 40])
def test_rates_of_one_give_finite_curves(n):
    fitted = fit_curve(POWER, no_offset, [Observed(100, 1.0, 0.01, n, n, n)], 100.0)
    assert np.isfinite(fitted.value(np.array([50.0, 100.0]), -1.96)).all()


def test_an_anchored_curve_tends_to_its_limit():
    bias = Criterion(MEASURES["bias"], 0.05)
    points = [Observed(s, 0.01 + 3.0 / s, 0.001, 1000, 1000, 1000) for s in (40, 60, 80)]
    fitted = fit_curve(bias, lambda size: np.full(np.shape(size), 0.01), points, 60.0, anchored=True)
    np.testing.assert_allclose(fitted.value(np.array([1e9])), 0.01, atol=1e-6)
    np.testing.assert_allclose(fitted.value(np.array([50.0])), 0.07, rtol=1e-6)  # 3/50 + .01, the points' own curve
