"""The oracle itself: closed forms give the numbers printed in docs/theory. Fast, no simulation."""

from __future__ import annotations

import closed_forms as cf
import msem_forms as mf
import numpy as np
import path_forms as pf
import pytest
from closed_forms import Contextual

BASE = Contextual()
REVERSED = Contextual(beta_b=-0.3, beta_w=0.5)
ICC3 = Contextual(tau2=0.3, sigma2=0.7)
UNBALANCED = [2, 5, 20]


def rounds_to(value: float, printed: str) -> None:
    """``value`` agrees with a number as printed, half a unit in its last place (and 2 % of one for ties)."""
    digits = len(printed.split(".")[1])
    assert abs(value - float(printed)) <= 0.52 * 10.0**-digits, f"{value:.10f} is not {printed}"


def test_b1() -> None:
    rounds_to(cf.disaggregated_limit(BASE), ".250000")
    rounds_to(cf.disaggregated_mean(BASE, 10, 5), ".245631")
    rounds_to(cf.disaggregated_mean(BASE, 30, 10), ".248379")


@pytest.mark.parametrize(("n_clusters", "n", "c"), [(10, 5, BASE), (30, 10, BASE), (20, 3, REVERSED), (6, 2, ICC3)])
def test_b1_beta_integral_is_the_balanced_case_of_the_ratio_of_quadratic_forms(n_clusters, n, c) -> None:
    sizes = [n] * n_clusters
    assert cf.exact_slope_mean(c, sizes, rows=True) == pytest.approx(cf.disaggregated_mean(c, n_clusters, n), abs=1e-8)
    assert cf.exact_slope_mean(c, sizes, rows=False) == pytest.approx(cf.manifest_slope(c, n), abs=1e-8)


def test_b2() -> None:
    rounds_to(cf.aggregated_limit(BASE, UNBALANCED), ".353846")
    rounds_to(cf.weighted_aggregated_limit(BASE, UNBALANCED), ".450000")
    rounds_to(cf.manifest_slope(BASE, 5), ".378571")
    rounds_to(cf.aggregated_variance(BASE, 10, 5), ".166363")
    rounds_to(cf.aggregated_variance(BASE, 100, 5), ".012006")
    for n_clusters, n, printed in ((10, 5, ".8757"), (30, 5, ".6609"), (30, 10, ".8062"), (100, 5, ".1719")):
        rounds_to(cf.manifest_coverage(BASE, n_clusters, n, BASE.beta_b), printed)


def test_b3() -> None:
    rounds_to(cf.within_variance(BASE, [5] * 30), ".007533")
    rounds_to(cf.umm_limit(BASE, UNBALANCED).slope, ".391448")
    printed = {10: (".8823", ".9143"), 20: (".9206", ".9343"), 30: (".9313", ".9400"), 50: (".9392", ".9442"),
               100: (".9448", ".9472")}  # fmt: skip
    for n_clusters, (ml, reml) in printed.items():
        rounds_to(cf.z_coverage(n_clusters, reml=False), ml)
        rounds_to(cf.z_coverage(n_clusters, reml=True), reml)
    found = cf.umm_limit(BASE, [5])
    assert found.slope == pytest.approx(cf.manifest_slope(BASE, 5), abs=1e-8)
    assert found.sigma2 == pytest.approx(BASE.sigma_e2, abs=1e-6)
    assert found.tau2 == pytest.approx(cf.umm_residual(BASE, 5), abs=1e-6)


def test_b4() -> None:
    for c, n, printed in (
        (BASE, 2, ".241947"), (BASE, 5, ".228177"), (ICC3, 5, ".288330"), (REVERSED, 5, ".458596")
    ):  # fmt: skip
        rounds_to(cf.conflated_cubic(c, n).slope, printed)
        assert cf.conflated_limit(c, [n]).slope == pytest.approx(cf.conflated_cubic(c, n).slope, abs=1e-8)
    rounds_to(cf.conflated_cubic(BASE, 5).tau2, ".172262")
    rounds_to(cf.conflated_cubic(BASE, 5).sigma2, ".800715")
    rounds_to(cf.conflated_limit(BASE, UNBALANCED).slope, ".215995")


def test_b5() -> None:
    rounds_to(cf.level2_type1(10, 10, 0.1), ".1572")
    rounds_to(cf.level2_type1(30, 5, 0.2), ".1454")
    rounds_to(cf.level2_type1_limit(10, 0.1), ".1550")
    rounds_to(cf.level2_type1_limit(5, 0.2), ".1440")
    # both variances at one z, .020947 and .010822: their ratio is free of SS_z
    ratio = cf.level2_naive_variance(10, 10, 0.1) / cf.level2_deff(10, 0.1)
    assert ratio == pytest.approx(0.010822 / 0.020947, abs=5e-5)
    rounds_to(cf.barcikowski(10, 0.2), ".276198")
    assert cf.level2_type1(2, 10, 0.2) == pytest.approx(cf.barcikowski(10, 0.2), abs=1e-8)
    rounds_to(cf.level1_deff(10, 0.1, 0.2), "1.18")
    rounds_to(cf.level1_deff(10, 0.2, 0.2), "1.36")
    rounds_to(cf.level1_deff(20, 0.05, 0.1), "1.095")
    for c, n, printed in (
        (BASE, 5, "1.0784"), (BASE, 15, "1.2742"), (Contextual(-0.5, 0.5, 0.3, 0.7, tau_u2=0.1), 15, "2.4908")
    ):  # fmt: skip
        true, naive = cf.naive_variances(c, n)
        rounds_to(true / naive, printed)


def test_b6() -> None:
    case = pf.CASE_0
    rounds_to(pf.disaggregated(case)[2], ".061287")
    rounds_to(pf.manifest(case, 5)[2], ".111338")
    rounds_to(pf.manifest(case, 20)[2], ".162875")
    rounds_to(pf.conflated(case, 5)[2], ".052308")
    rounds_to(pf.conflated(case, 20)[2], ".044713")
    rounds_to(pf.msem(case)[2], ".20")
    rounds_to(pf.within(case)[2], ".04")
    rounds_to(pf.disaggregated(pf.CASE_1)[2], "-.072")
    rounds_to(pf.manifest(pf.CASE_1, 5)[2], "-.025714")
    rounds_to(pf.conflated(pf.CASE_1, 5)[2], "-.078355")
    rounds_to(pf.msem(pf.CASE_1)[2], ".09")
    rounds_to(pf.preacher_211(pf.CASE_211, 5), ".188889")
    assert pf.manifest(pf.CASE_211, 5)[2] == pytest.approx(pf.preacher_211(pf.CASE_211, 5), abs=1e-14)
    for k, n in ((pf.CASE_0, 5), (pf.CASE_1, 8)):
        np.testing.assert_allclose(pf.manifest(k, n), pf.manifest_weighted_mean(k, n), atol=1e-14)


def test_b7() -> None:
    c = pf.MicroMacro()
    x, z = pf.micro_macro_limit(c, [5])
    rounds_to(x, ".150829")
    rounds_to(z, ".344751")
    eb_x, eb_z = pf.micro_macro_eb_limit(c, [5])
    rounds_to(eb_x, ".286575")
    assert eb_z == pytest.approx(z, abs=1e-14)
    assert eb_x == pytest.approx(x / c.reliability(5), abs=1e-14)
    rounds_to(pf.eb_predictor_slope(BASE, 5), "1.06")
    rounds_to(pf.eb_predictor_slope(BASE, 15), ".82")
    rounds_to(pf.eb_both_slope(BASE, 5), ".576024")
    rounds_to(pf.bivariate_blup_slope(BASE, 5), "1.080282")


def test_b8() -> None:
    c = Contextual(tau2=0.2, sigma2=0.8)
    assert mf.msem_avar(c, 5) == pytest.approx(3.55, rel=1e-12)  # .001775 at J = 2000
    rounds_to(mf.msem_avar(c, 15) / 2000, ".000699")
    for d in (c, BASE, REVERSED, ICC3):
        for n in (2, 5, 30):
            assert mf.msem_avar(d, n) == pytest.approx(mf.msem_avar_equivalent(d, n), rel=1e-12)
            within = d.sigma_e2 / (d.sigma2 * (n - 1))
            difference = mf.msem_avar(d, n) + within - 2 * mf.msem_covariance(d, n)
            assert mf.contextual_avar(d, n) == pytest.approx(difference, rel=1e-12)
    rounds_to(mf.msem_bias(c, 1500, 5, ml=False), ".001067")
    rounds_to(mf.msem_bias(c, 1500, 5, ml=True), ".001334")
    rounds_to(mf.msem_bias(c, 400, 5, ml=False), ".004009")
    rounds_to(mf.negative_variance(0.1, 10, 5, ml=False), ".2463")
    rounds_to(mf.negative_variance(0.1, 30, 5, ml=False), ".0844")
    rounds_to(mf.negative_variance(0.1, 30, 10, ml=False), ".0089")


@pytest.mark.parametrize(
    ("icc", "n", "printed"),
    [
        (0.05, 5, (".338", ".272", ".190", ".090", ".024")),
        (0.05, 10, (".174", ".104", ".041", ".005", ".000")),
        (0.10, 5, (".169", ".102", ".041", ".005", ".000")),
    ],
)
def test_b8_table_of_inadmissible_variances(icc, n, printed) -> None:
    for n_clusters, value in zip((20, 30, 50, 100, 200), printed, strict=True):
        rounds_to(mf.negative_variance(icc, n_clusters, n, ml=True), value)


def test_b8_exact_distribution_of_the_msem_slope_has_the_asymptotic_spread() -> None:
    """At J = 5000 the exact cdf is the normal of B8 at +-1 SD (Edgeworth terms are of the order 1 / sqrt(J))."""
    c = Contextual(tau2=0.3, sigma2=0.7)
    sd = np.sqrt(mf.msem_avar(c, 10) / 5000)
    inside = mf.msem_cdf(c, 5000, 10, c.beta_b + sd) - mf.msem_cdf(c, 5000, 10, c.beta_b - sd)
    assert inside == pytest.approx(0.682689, abs=2e-3)
