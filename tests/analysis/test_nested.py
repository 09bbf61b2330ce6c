"""Wald and likelihood-ratio tests of restrictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from simstudy.analysis.fit import fit
from simstudy.analysis.level_fit import level_fit
from simstudy.analysis.nested import likelihood_ratio_test, wald_test
from simstudy.analysis.result import FitRecord
from simstudy.errors import EstimatorError, ModelError

REFERENCE = Path(__file__).parents[1] / "reference" / "data"


def frame(case: str) -> pd.DataFrame:
    owner = json.loads((REFERENCE / case / "result.json").read_text())["data"]
    return pd.read_csv(REFERENCE / owner / "data.csv")


def fitted(case: str, se: str = "observed", text: str | None = None, **options) -> FitRecord:
    found = fit(text or (REFERENCE / case / "model.lav").read_text(), frame(case), cluster="g", se=se, **options)
    assert found.converged
    return found


@pytest.fixture(scope="module")
def mediation() -> FitRecord:
    """`iii_m111_unb`, with defined parameters ind_w, ind_b, ind_diff, ..."""
    return fitted("iii_m111_unb")


def row(found: FitRecord, label: str) -> pd.Series:
    return found.parameters.set_index("label").loc[label]


# ---------------------------------------------------------------------- Wald tests


@pytest.mark.parametrize("label", ["aw", "bb", "cw", "ind_w", "ind_b", "ind_diff"])
def test_one_restriction_is_the_square_of_z(mediation, label) -> None:
    test = wald_test(mediation, f"{label} == 0")
    own = row(mediation, label)
    # one division more: rounding
    assert test.statistic == pytest.approx(own["z"] ** 2, rel=1e-10)
    assert test.pvalue == pytest.approx(own["pvalue"], rel=1e-8)
    assert test.df == 1


@pytest.mark.parametrize("se", ["expected", "robust"])
def test_the_fits_own_covariance_matrix_is_used(se) -> None:
    found = fitted("iii_m111_unb", se)
    assert wald_test(found, "ab == 0").statistic == pytest.approx(row(found, "ab")["z"] ** 2, rel=1e-10)


def test_differences_and_values(mediation) -> None:
    cov, names = mediation.covariance, mediation.model.names
    i, j = names.index("aw"), names.index("ab")
    gap = row(mediation, "aw")["est"] - row(mediation, "ab")["est"]
    expected = gap**2 / (cov[i, i] + cov[j, j] - 2 * cov[i, j])
    for text in ("aw == ab", "ab == aw", "aw - ab == 0", "0 == 2*ab - 2*aw"):
        assert wald_test(mediation, text).statistic == pytest.approx(expected, rel=1e-10)  # rounding
    shifted = wald_test(mediation, "aw == 0.25").statistic
    assert shifted == pytest.approx((row(mediation, "aw")["est"] - 0.25) ** 2 / cov[i, i], rel=1e-10)


def test_several_restrictions_are_a_quadratic_form(mediation) -> None:
    names = [mediation.model.names.index(name) for name in ("ab", "bb", "cb")]
    values = mediation.params[names]
    expected = values @ np.linalg.solve(mediation.covariance[np.ix_(names, names)], values)
    for text in ("ab == 0; bb == 0; cb == 0", "cb == 0\n  ab == 0\n\nbb == ab"):
        test = wald_test(mediation, text)
        assert test.statistic == pytest.approx(expected, rel=1e-9)  # inverses of 3 by 3
        assert test.df == 3
        assert test.pvalue == pytest.approx(stats.chi2.sf(expected, 3), rel=1e-7)
        assert np.isnan(test.scaling)


def test_nonlinear_restrictions_use_the_delta_method(mediation) -> None:
    assert wald_test(mediation, "aw*bw == 0").statistic == pytest.approx(row(mediation, "ind_w")["z"] ** 2, rel=1e-10)
    both = wald_test(mediation, "ind_w == ind_b").statistic
    assert both == pytest.approx(row(mediation, "ind_diff")["z"] ** 2, rel=1e-10)  # the same by definition


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aw == ab; ab == aw", "repeat each other"),
        ("ind_w == aw*bw", "hold by construction"),
        ("aw", "has no '=='"),
        ("awx == 0", "unknown parameter 'awx' (did you mean 'aw'?)"),
        ("", "no restriction"),
        (" ; \n", "no restriction"),
        ("aw == (ab", "(ab"),
    ],
)
def test_messages_of_restrictions_that_cannot_be_tested(mediation, text, message) -> None:
    with pytest.raises(ModelError) as caught:
        wald_test(mediation, text)
    assert message in str(caught.value)


def test_wald_tests_need_a_solution() -> None:
    found = fitted("iii_m111_unb", estimator="aggregated", se="expected")
    with pytest.raises(EstimatorError, match="does not estimate the whole two-level model"):
        wald_test(found, "ab == 0")


# ---------------------------------------------------------------------- likelihood-ratio tests


def lavaan(case: str) -> dict:
    """lavaan's polished fit of all variables."""
    fits = json.loads((REFERENCE / case / "result_tight.json").read_text())["fits"]
    return next(found for found in fits.values() if found["fixed.x"] is False)


def test_equal_paths_across_levels_against_lavaan() -> None:
    """The larger model is saturated, so the scaled difference is lavaan's scaled chi-square of the smaller one."""
    full, restricted = fitted("iii_m111_unb", "robust"), fitted("iii_m111_unb_eq", "robust")
    test, theirs = likelihood_ratio_test(restricted, full), lavaan("iii_m111_unb_eq")
    plain = 2.0 * (lavaan("iii_m111_unb")["logl"] - theirs["logl"])
    assert test.df == theirs["df"] == 2
    # differences of log-likelihoods of 5e3, rounding 1e-12; scaling by the polished unrestricted moments, 3e-8
    assert test.scaling == pytest.approx(theirs["mlr_scaling"], rel=1e-6)
    assert test.statistic == pytest.approx(plain / theirs["mlr_scaling"], rel=1e-6)
    stored = json.loads((REFERENCE / "xii_fit" / "iii_m111_unb_eq.json").read_text())["fits"]["mlr"]["measures"]
    assert test.statistic == pytest.approx(stored["chisq.scaled"], rel=5e-5)  # lavaan's default stop
    assert test.pvalue == pytest.approx(stored["pvalue.scaled"], abs=5e-5)


def test_equal_loadings_against_lavaan() -> None:
    """Neither model is saturated: Satorra & Bentler (2001) from lavaan's two scaling factors and df."""
    full, restricted = fitted("viii_cfa_2w1b", "robust"), fitted("viii_cfa_2w1b_eq", "robust")
    test = likelihood_ratio_test(restricted, full)
    large, small = lavaan("viii_cfa_2w1b"), lavaan("viii_cfa_2w1b_eq")
    df = small["df"] - large["df"]
    scaling = (small["df"] * small["mlr_scaling"] - large["df"] * large["mlr_scaling"]) / df
    assert test.df == df == 5
    assert test.scaling == pytest.approx(scaling, rel=1e-6)  # as above
    assert test.statistic == pytest.approx(2.0 * (large["logl"] - small["logl"]) / scaling, rel=1e-6)


def test_without_robust_ses_the_statistic_is_not_scaled() -> None:
    full, restricted = fitted("iii_m111_unb"), fitted("iii_m111_unb_eq")
    test = likelihood_ratio_test(restricted, full)
    assert np.isnan(test.scaling)
    assert test.statistic == pytest.approx(restricted.measures["chisq"], rel=1e-9)  # the larger model is saturated
    assert test.pvalue == pytest.approx(restricted.measures["pvalue"], rel=1e-9)
    mixed = likelihood_ratio_test(restricted, fitted("iii_m111_unb", "robust"))
    assert np.isnan(mixed.scaling)


def test_wald_and_likelihood_ratio_are_near(mediation) -> None:
    ratio = likelihood_ratio_test(fitted("iii_m111_unb_eq"), mediation)
    assert wald_test(mediation, "aw == ab; cw == cb").statistic == pytest.approx(ratio.statistic, rel=0.1)  # O(1/J)


def test_messages_of_likelihood_ratio_tests_that_cannot_be_made(mediation) -> None:
    restricted = fitted("iii_m111_unb_eq")
    with pytest.raises(EstimatorError, match="same number of free parameters"):
        likelihood_ratio_test(mediation, mediation)
    with pytest.raises(EstimatorError, match="different data"):
        likelihood_ratio_test(restricted, fitted("ii_m111_bal"))
    smaller = fitted("iii_m111_unb", text="level: 1\n y ~ x\nlevel: 2\n y ~ x")
    with pytest.raises(EstimatorError, match="different data"):
        likelihood_ratio_test(smaller, mediation)
    other = fitted("iii_m111_unb", "expected", estimator="mlm")
    with pytest.raises(EstimatorError, match="msem"):
        likelihood_ratio_test(other, mediation)


@pytest.mark.parametrize("name", ["fiml_wide", "em"])
def test_methods_with_the_same_likelihood_have_the_same_tests(name) -> None:
    """Other algorithms for msem's maximum, and both in one test; fit of each level as well."""
    text = "level: 1\n y ~ bw*x\nlevel: 2\n y ~ bb*x"
    equal = "level: 1\n y ~ b*x\nlevel: 2\n y ~ b*x"
    expected = likelihood_ratio_test(*(fitted("iii_m111_unb", text=model) for model in (equal, text)))
    fits = [fitted("iii_m111_unb", text=model, estimator=name) for model in (equal, text)]
    for pair in (fits, fits[::-1], (fits[0], fitted("iii_m111_unb", text=text))):
        found = likelihood_ratio_test(*pair)
        assert found.df == expected.df == 1
        # twice a difference of log-likelihoods, each a maximum within 1e-9 of it
        assert found.statistic == pytest.approx(expected.statistic, rel=1e-6, abs=1e-7)
    levels, msem = (level_fit(fitted("iii_m111_unb", text=equal, **own)) for own in ({"estimator": name}, {}))
    pd.testing.assert_frame_equal(levels, msem, check_exact=False, rtol=1e-4, atol=1e-6)  # as the maxima


def test_other_values_in_clusters_of_the_same_sizes_are_different_data(mediation) -> None:
    text = (REFERENCE / "iii_m111_unb_eq" / "model.lav").read_text()
    data = frame("iii_m111_unb_eq")
    data["y"] = np.random.default_rng(1).permutation(data["y"].to_numpy())
    with pytest.raises(EstimatorError, match="different data"):
        likelihood_ratio_test(fit(text, data, cluster="g"), mediation)
