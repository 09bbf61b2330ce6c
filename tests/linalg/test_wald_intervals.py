"""Probabilities of normal estimates against scipy's distributions and simulated draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import foldnorm

from simstudy.linalg.wald_intervals import coverage, median_distance, misses


def test_median_distance_is_that_of_a_folded_normal() -> None:
    gap = np.array([0.0, 0.001, 0.1, -0.5, 1.0, 2.0, -5.0, 30.0])
    se = np.array([1.0, 4.0, 0.5, 2.0, 1.0, 1.0, 0.1, 1.0])
    expected = foldnorm.ppf(0.5, np.abs(gap) / se) * se
    # scipy's root finder stops at about 1e-15
    assert median_distance(gap, se, np.zeros(len(gap))) == pytest.approx(expected, rel=1e-12)


def test_without_spread_the_distance_is_the_gap() -> None:
    found = median_distance(np.array([1.0, np.nan]), np.array([0.0, 1.0]), np.zeros(2))
    assert found[0] == 1.0
    assert np.isnan(found[1])


def test_misses_and_coverage_are_everything() -> None:
    limit, se, reported = np.array([0.1, -0.3]), np.array([0.2, 0.1]), np.array([0.15, 0.2])
    below, above = misses(limit, se, reported, 0.05, 0.95)
    assert below + above + coverage(limit, se, reported, np.full(2, 0.05), 0.95) == pytest.approx(1.0, abs=1e-15)
    draws = np.random.default_rng(7).normal(limit, se, (200_000, 2))
    simulated = (draws + 1.959963984540054 * reported < 0.05).mean(axis=0)
    assert np.abs(simulated - below).max() < 4 * 0.5 / np.sqrt(200_000)  # 4 MCSE at most
