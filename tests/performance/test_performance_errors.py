"""Monte Carlo standard errors: the jackknife by brute force, against formulas, and against repeated studies."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from simstudy.performance import measures, paired, rates, robust
from simstudy.performance.moments import Measured

Arrays = tuple[np.ndarray, ...]
# measure of (estimate, se, reference's estimate), truth 0
MEASURES: dict[str, Callable[..., Measured]] = {
    "empirical_se": lambda b, se, ref: measures.empirical_se(b),
    "model_se": lambda b, se, ref: measures.model_se(se),
    "se_ratio": lambda b, se, ref: measures.se_ratio(b, se),
    "rmse": lambda b, se, ref: measures.rmse(b, np.zeros(1)),
    "relative_precision": lambda b, se, ref: paired.relative_precision(b, ref),
    "rmse_difference": lambda b, se, ref: paired.rmse_difference(b, ref, np.zeros(1)),
}


def made_up(n: int, studies: int, seed: int, tails: float = np.inf) -> Arrays:
    """Estimates, SEs and the estimates of a second method, correlated .8; t distributed with `tails` df."""
    rng = np.random.default_rng(seed)
    scale = 1.0 if np.isinf(tails) else np.sqrt(tails / rng.chisquare(tails, size=(n, studies)))
    shared = rng.normal(size=(n, studies))
    first = 0.1 + 0.5 * scale * shared
    second = 0.6 * scale * (0.8 * shared + 0.6 * rng.normal(size=(n, studies)))
    se = 0.45 * np.sqrt(rng.chisquare(30, size=(n, studies)) / 30)
    return first, se, second


@pytest.mark.parametrize("name", list(MEASURES))
def test_the_jackknife_is_leaving_each_replicate_out_in_turn(name: str) -> None:
    columns = made_up(60, 1, seed=3)
    for column, gap in zip(columns, (5, 11, 17), strict=True):
        column[gap] = np.nan
    result = MEASURES[name](*columns)
    used = [np.isfinite(columns[0]), np.isfinite(columns[1]), np.isfinite(columns[2])]
    need = {"empirical_se": [0], "rmse": [0], "model_se": [1], "se_ratio": [0, 1]}.get(name, [0, 2])
    rows = np.flatnonzero(np.logical_and.reduce([used[k][:, 0] for k in need]))
    left_out = [MEASURES[name](*(np.delete(x, row, axis=0) for x in columns)).value[0] for row in rows]
    n = len(rows)
    assert result.n[0] == n
    brute = math.sqrt((n - 1) / n * np.sum((left_out - np.mean(left_out)) ** 2))
    assert result.jackknife is not None
    assert result.jackknife[0] == pytest.approx(brute, rel=1e-8)  # differences of size 1/n of nearly equal numbers


@pytest.mark.parametrize("name", list(MEASURES))
def test_jackknife_and_formula_agree_for_normal_estimates(name: str) -> None:
    result = MEASURES[name](*made_up(2000, 20, seed=5))
    assert result.jackknife is not None
    ratio = np.mean(result.jackknife) / np.mean(result.mcse)
    # sampling error of an MCSE at n = 2,000 is 1/sqrt(2 n) sqrt(1 + kurtosis/2), 2 %; of the mean of 20 it is .5 %
    assert ratio == pytest.approx(1.0, abs=0.02)


def test_only_measures_with_assumptions_have_a_jackknife() -> None:
    b, se, _ = made_up(50, 2, seed=1)
    truth = np.zeros(1)
    for result in (measures.bias(b, truth), measures.mse(b, truth), measures.mean_se(se), robust.mad_se(b)):
        assert result.jackknife is None


@pytest.mark.slow
def test_heavy_tails_break_the_formula_and_not_the_jackknife() -> None:
    """t with 10 df has kurtosis 4: the empirical SE's true error is sqrt(1.5) times the normal formula's."""
    studies = made_up(400, 4000, seed=8, tails=10.0)
    result = measures.empirical_se(studies[0])
    actual = float(np.std(result.value, ddof=1))
    assert result.jackknife is not None
    # 4,000 studies know an SD to 1.1 %, and the jackknife of a heavy-tailed sample is a few % too small at n = 400
    assert math.sqrt(np.mean(result.jackknife**2)) / actual == pytest.approx(1.0, abs=0.06)
    assert math.sqrt(np.mean(result.mcse**2)) / actual == pytest.approx(math.sqrt(1 / 1.5), abs=0.05)


@pytest.mark.slow
def test_mcses_are_the_standard_deviations_over_eight_thousand_studies() -> None:
    """Theory B9: 8,000 studies of 500 replicates at once, studies are columns."""
    rng = np.random.default_rng(20190519)
    n, studies, truth = 500, 8000, np.array([0.3])
    shared = rng.normal(size=(n, studies))
    estimate = 0.35 + 1.0 * shared
    reference = 0.30 + 1.1 * (0.8 * shared + 0.6 * rng.normal(size=(n, studies)))
    se, se_ref = (scale * np.sqrt(rng.chisquare(30, size=(n, studies)) / 30) for scale in (0.9, 1.1))
    lower, upper = estimate - 1.96 * se, estimate + 1.96 * se
    other = (reference - 1.96 * se_ref, reference + 1.96 * se_ref)
    results = {
        "mean_estimate": measures.mean_estimate(estimate),
        "bias": measures.bias(estimate, truth),
        "relative_bias": measures.relative_bias(estimate, truth),
        "median_bias": robust.median_bias(estimate, truth),
        "trimmed_bias": robust.trimmed_bias(estimate, truth),
        "empirical_se": measures.empirical_se(estimate),
        "mad_se": robust.mad_se(estimate),
        "mean_se": measures.mean_se(se),
        "median_se": robust.median_se(se),
        "model_se": measures.model_se(se),
        "se_ratio": measures.se_ratio(estimate, se),
        "mse": measures.mse(estimate, truth),
        "rmse": measures.rmse(estimate, truth),
        "median_abs_error": robust.median_abs_error(estimate, truth),
        "coverage": rates.coverage(lower, upper, truth),
        "bias_eliminated_coverage": rates.bias_eliminated_coverage(estimate, lower, upper),
        "miss_below": rates.miss_below(lower, upper, truth),
        "miss_above": rates.miss_above(lower, upper, truth),
        "rejection": rates.rejection(lower, upper),
        "ci_width": rates.ci_width(lower, upper),
        "bias_difference": paired.bias_difference(estimate, reference),
        "rmse_difference": paired.rmse_difference(estimate, reference, truth),
        "relative_precision": paired.relative_precision(estimate, reference),
        "coverage_difference": paired.coverage_difference(lower, upper, *other, truth),
        "rejection_difference": paired.rejection_difference(lower, upper, *other),
        "ci_width_difference": paired.ci_width_difference(lower, upper, *other),
    }
    medians = {"median_bias", "mad_se", "median_se", "median_abs_error"}
    for name, result in results.items():
        actual = float(np.std(result.value, ddof=1))
        # an SD over 8,000 studies has MCSE .8 %, 4 of them 3.2 %; order statistics are a little wide at n = 500
        tolerance = 0.06 if name in medians else 0.032
        assert math.sqrt(float(np.mean(result.mcse**2))) / actual == pytest.approx(1.0, abs=tolerance), name
        if result.jackknife is not None:
            found = math.sqrt(float(np.mean(result.jackknife**2))) / actual
            assert found == pytest.approx(1.0, abs=0.032), f"{name}, jackknife"
