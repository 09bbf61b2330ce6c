"""Medians and trimmed means against SciPy, and where the ordinary measures have nothing to say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from simstudy.performance import measures, robust

EXACT = 1e-12  # sums of < 1,000 terms in another order


def gaps(seed: int = 4, n: int = 211) -> np.ndarray:
    """A full column, one with gaps and infinities, one with one value, one empty."""
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, 0.3, size=(n, 4))
    x[rng.random(n) < 0.3, 1] = np.nan
    x[::19, 1] = np.inf
    x[1:, 2] = np.nan
    x[:, 3] = np.nan
    return x


def kept(column: np.ndarray) -> np.ndarray:
    return column[np.isfinite(column)]


def test_values_are_scipys() -> None:
    x, truth = gaps(), np.full(4, 0.4)
    trimmed, mad = robust.trimmed_bias(x, truth), robust.mad_se(x)
    distance, middle = robust.median_abs_error(x, truth), robust.median_se(x)
    for k in (0, 1):
        mine = kept(x[:, k])
        np.testing.assert_allclose(trimmed.value[k], stats.trim_mean(mine, 0.2) - 0.4, rtol=EXACT)
        np.testing.assert_allclose(mad.value[k], stats.median_abs_deviation(mine, scale="normal"), rtol=EXACT)
        np.testing.assert_allclose(distance.value[k], np.median(np.abs(mine - 0.4)), rtol=EXACT)
        np.testing.assert_allclose(middle.value[k], np.median(mine), rtol=EXACT)
        assert {r.n[k] for r in (trimmed, mad, distance, middle)} == {len(mine)}


def test_error_of_the_trimmed_mean_is_that_of_the_winsorised_sample() -> None:
    x = gaps()
    for k in (0, 1):
        mine = kept(x[:, k])
        g, n = int(0.2 * len(mine)), len(mine)
        winsorised = np.asarray(stats.mstats.winsorize(mine, limits=(g / n, g / n)))
        expected = winsorised.std(ddof=1) / ((1 - 2 * g / n) * math.sqrt(n))
        np.testing.assert_allclose(robust.trimmed_bias(x, np.zeros(4)).mcse[k], expected, rtol=EXACT)


def test_one_value_has_no_error_and_none_has_no_value() -> None:
    x, truth = gaps(), np.zeros(4)
    for result in (robust.trimmed_bias(x, truth), robust.median_abs_error(x, truth), robust.median_se(x)):
        assert (result.n[2], result.n[3]) == (1, 0)
        assert np.isfinite(result.value[2])
        assert np.isnan(result.mcse[2])
        assert np.isnan(result.value[3])
    assert np.isnan(robust.mad_se(x).value[2])  # a single estimate has no spread, as with the empirical SE
    none = np.empty((0, 2))
    for result in (robust.trimmed_bias(none, np.zeros(2)), robust.mad_se(none), robust.median_se(none)):
        assert result.n.tolist() == [0, 0]
        assert np.isnan(result.value).all()


def test_a_parameter_does_not_depend_on_its_neighbours() -> None:
    x = np.random.default_rng(3).normal(size=(1001, 5))
    together = robust.trimmed_bias(x, np.zeros(5))
    for k in range(5):
        alone = robust.trimmed_bias(x[:, [k]], np.zeros(1))
        assert (alone.value[0], alone.mcse[0]) == (together.value[k], together.mcse[k])


def test_a_cauchy_estimate_has_trimmed_and_median_measures_only() -> None:
    """Four times the replicates halve the errors of medians and trimmed means; the mean's does not settle."""
    rng = np.random.default_rng(11)
    small, large = (rng.standard_cauchy(size=(n, 400)) for n in (250, 1000))
    truth = np.zeros(1)
    for measure in (robust.trimmed_bias, robust.median_bias, robust.median_abs_error):
        ratio = np.mean(measure(small, truth).mcse) / np.mean(measure(large, truth).mcse)
        assert ratio == pytest.approx(2.0, rel=0.05), measure.__name__  # 400 studies: the mean MCSE is known to 1 %
    ratio = np.median(measures.bias(small, truth).mcse) / np.median(measures.bias(large, truth).mcse)
    assert ratio == pytest.approx(1.0, abs=0.25)  # the standard error of a Cauchy mean does not shrink at all
