"""CFI, TLI, RMSEA from chi-squares: plain, scaled and robust, against lavaan's numbers for the same chi-squares."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from simstudy.estimation.fit_indices import indices, rmsea_interval


def one(value: float) -> np.ndarray:
    return np.array([value])


# lavaan 0.7-2, two groups of 883 rows together, estimator = "MLR": chi-square, df, scaling factor, plain and scaled CFI
MGCFA = {
    "metric": (28.1929896862, 20, 1.4024923035, 0.99637381294, 0.99994289408, 0.99993641144, 0.0040262954475),
    "scalar": (75.936685847, 23, 1.3703748551, 0.9765704178, 0.98186448471, 0.98026820407, 0.0661379214),
}
BASELINE_DF = 32


@pytest.mark.parametrize("name", MGCFA)
def test_robust_indices_of_two_groups_are_lavaans(name) -> None:
    """The baseline's chi-square and scaling factor, which are not recorded, follow from the plain and scaled CFI."""
    chisq, df, c, cfi, cfi_scaled, cfi_robust, rmsea_robust = MGCFA[name]
    baseline = BASELINE_DF + max(chisq - df, 0.0) / (1.0 - cfi)
    scaled_baseline = BASELINE_DF + max(chisq / c - df, 0.0) / (1.0 - cfi_scaled)
    found = indices(
        one(chisq), df, one(baseline), BASELINE_DF, 883, scaling=c, scaling_baseline=baseline / scaled_baseline,
        n_groups=2,
    )  # fmt: skip
    # 1 - CFI of the metric model is 6e-5, known to 8 digits: its baseline to 5
    assert found.cfi[0] == pytest.approx(cfi_robust, abs=1e-9)
    assert found.rmsea[0] == pytest.approx(rmsea_robust, rel=1e-8)  # digits printed


def test_plain_indices_and_robust_interval_are_lavaans() -> None:
    """lavaan 0.6-14, MLR, of tests/reference: numbers printed with six digits."""
    chisq, df, baseline, df_baseline, c, c_baseline = 36.219242, 13, 208.102471, 24, 0.921770, 0.954989
    plain = indices(one(chisq), df, one(baseline), df_baseline, 1000)
    assert [float(x[0]) for x in plain] == pytest.approx([0.873879, 0.767161, 0.042262], abs=1e-6)
    robust = indices(one(chisq), df, one(baseline), df_baseline, 1000, scaling=c, scaling_baseline=c_baseline)
    assert [float(x[0]) for x in robust] == pytest.approx([0.869123, 0.758380, 0.043178], abs=1e-6)
    assert rmsea_interval(chisq, df, 1000, scaling=c) == pytest.approx((0.028099, 0.058985), abs=1e-6)
    assert rmsea_interval(chisq, df, 1000) == pytest.approx((0.026270, 0.058904), abs=1e-6)


def test_limits_of_rmsea_are_where_the_chi_square_has_the_tail_probability() -> None:
    low, high = rmsea_interval(60.0, 20, 500, 0.90, scaling=1.5)
    for limit, tail in ((low, 0.95), (high, 0.05)):
        noncentrality = limit**2 * 20 * 500 / 1.5
        assert stats.ncx2.cdf(60.0 / 1.5, 20, noncentrality) == pytest.approx(tail, abs=1e-9)  # root to 1e-12


@pytest.mark.parametrize("factor", [0.0, -0.4, np.nan])
def test_a_scaling_factor_that_is_not_positive_gives_no_robust_index(factor) -> None:
    found = indices(one(40.0), 10, one(300.0), 15, 200, scaling=one(factor), scaling_baseline=one(1.2))
    assert all(np.isnan(value).all() for value in found)
    assert np.isnan(rmsea_interval(40.0, 10, 200, scaling=factor)).all()
    found = indices(one(40.0), 10, one(300.0), 15, 200, scaling=one(1.1), scaling_baseline=one(factor))
    assert np.isnan(found.cfi).all()
    assert np.isnan(found.tli).all()
    assert np.isfinite(found.rmsea).all()  # which needs no baseline


def test_indices_without_misfit_and_without_degrees_of_freedom() -> None:
    found = indices(one(8.0), 10, one(300.0), 15, 200)
    assert (found.cfi[0], found.rmsea[0]) == (1.0, 0.0)
    assert found.tli[0] > 1.0
    saturated = indices(np.array([0.0, np.nan]), 0, one(300.0), 15, 200)
    assert [float(value[0]) for value in saturated] == [1.0, 1.0, 0.0]
    assert all(np.isnan(value[1]) for value in saturated)


def test_cfi_of_a_bound_that_costs_likelihood_without_degrees_of_freedom() -> None:
    """lavaan 0.7-2 on an inequality that holds with equality: chi-square .566 on 0 df, CFI .99718, TLI 1, RMSEA 0."""
    found = indices(one(0.566304551178746), 0, one(206.573003472392), 6, 300)
    assert found.cfi[0] == pytest.approx(0.997176566430304, rel=1e-12)  # one division
    assert (found.tli[0], found.rmsea[0]) == (1.0, 0.0)
