"""Every method fed the population's moments returns the limits of docs/theory, without simulation (B1-B4, B6-B8). Fast.

`from_moments` has maximum-likelihood divisors, so methods with ML divisors must hit the limit itself; REML comes within
O(1 / J). The tests' own second implementations (`expansions`) are held to the same limits.
"""

from __future__ import annotations

import closed_forms as cf
import expansions as ex
import monte_carlo as mc
import msem_forms as mf
import numpy as np
import path_forms as pf
import pytest
from closed_forms import Contextual

from simstudy.data.statistics import from_moments
from simstudy.estimation.inference import with_defined
from simstudy.estimation.result import FitResult
from simstudy.methods.mixed.mlm import Mlm, MlmCentered
from simstudy.methods.msem import Msem
from simstudy.methods.one_level.aggregated import Aggregated
from simstudy.methods.one_level.disaggregated import Disaggregated
from simstudy.methods.protocol import Estimator
from simstudy.methods.two_step import TwoStep
from simstudy.population.population import Population

BASE = Contextual()
POPULATIONS = {
    "base": BASE,
    "reversed": Contextual(beta_b=-0.3, beta_w=0.5, tau2=0.2, sigma2=0.8),
    "equal slopes": Contextual(beta_b=0.5, beta_w=0.5, tau2=0.3, sigma2=0.7),
    "low ICC": Contextual(tau2=0.05, sigma2=0.95),
}
LAYOUTS = {"n=5": [5] * 60, "n=2": [2] * 50, "2/5/20": [2, 5, 20] * 20, "1-18": list(range(1, 19)) * 3}
TIGHT = 2e-7
"""Optimisers stop at a relative 1e-8 or so; the pseudo-true values are found by other optimisers."""


def at_population(source: Population, method: Estimator) -> FitResult:
    moments = source.moments
    data = from_moments(
        source.layout, moments.level1, moments.level2, moments.mu, moments.sigma_within, moments.sigma_between
    )
    fit = with_defined(method.prepare(source.model, source.layout).fit(data), source.model.estimands)
    assert fit.converged.all()
    return fit


def estimates(source: Population, method: Estimator) -> dict[str, float]:
    fit = at_population(source, method)
    return dict(zip(fit.labels, fit.estimate[0].tolist(), strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", POPULATIONS)
def test_contextual_limits(which: str, layout: str) -> None:
    c, sizes = POPULATIONS[which], LAYOUTS[layout]
    source = mc.contextual(c, sizes)
    found = estimates(source, Disaggregated(se=("expected",)))
    assert found["bw"] == pytest.approx(cf.disaggregated_limit(c), abs=TIGHT)  # B1
    assert found["bb"] == pytest.approx(cf.disaggregated_limit(c), abs=TIGHT)
    found = estimates(source, Aggregated())
    assert found["bb"] == pytest.approx(cf.aggregated_limit(c, sizes), abs=TIGHT)  # B2
    assert np.isnan(found["bw"])
    assert np.isnan(found["contextual"])
    conflated = cf.conflated_limit(c, sizes)
    for method in (Mlm(likelihood="ml"), TwoStep(likelihood="ml")):
        found = estimates(source, method)  # B4
        assert found["bw"] == pytest.approx(conflated.slope, abs=TIGHT)
        assert found["bb"] == pytest.approx(conflated.slope, abs=TIGHT)
        assert found["within: y ~~ y"] == pytest.approx(conflated.sigma2, abs=TIGHT)
        assert found["between: y ~~ y"] == pytest.approx(conflated.tau2, abs=TIGHT)
    umm = cf.umm_limit(c, sizes)
    for method in (MlmCentered(likelihood="ml"), TwoStep(likelihood="ml", centering="cluster")):
        found = estimates(source, method)  # B3
        assert found["bw"] == pytest.approx(c.beta_w, abs=TIGHT)
        assert found["bb"] == pytest.approx(umm.slope, abs=2e-6)  # the oracle minimises over two parameters, to 1e-6
        assert found["within: y ~~ y"] == pytest.approx(umm.sigma2, abs=2e-6)
        assert found["between: y ~~ y"] == pytest.approx(umm.tau2, abs=2e-6)
    found = estimates(source, Msem())  # B8: consistent
    for name, value in zip(source.model.names, source.values, strict=True):
        assert found[name] == pytest.approx(value, abs=TIGHT), name


@pytest.mark.parametrize("n", [2, 5, 30])
@pytest.mark.parametrize("which", POPULATIONS)
def test_msem_information_is_b8s_asymptotic_variance(which: str, n: int) -> None:
    """Expected information at the truth: SEs of the between slope and the contextual effect, and their covariance."""
    c, n_clusters = POPULATIONS[which], 40
    source = mc.contextual(c, [n] * n_clusters)
    fit = at_population(source, Msem())
    at = {label: i for i, label in enumerate(fit.labels)}
    cov = fit.covariance["expected"][0] * n_clusters
    assert cov[at["bb"], at["bb"]] == pytest.approx(mf.msem_avar(c, n), rel=1e-6)
    assert cov[at["contextual"], at["contextual"]] == pytest.approx(mf.contextual_avar(c, n), rel=1e-6)
    assert cov[at["bb"], at["bw"]] == pytest.approx(mf.msem_covariance(c, n), rel=1e-6)
    assert cov[at["bw"], at["bw"]] == pytest.approx(c.sigma_e2 / (c.sigma2 * (n - 1)), rel=1e-6)


@pytest.mark.parametrize("which", POPULATIONS)
def test_conflated_model_se(which: str) -> None:
    c = POPULATIONS[which]
    fit = at_population(mc.contextual(c, [5] * 60), Mlm(likelihood="ml"))
    se = fit.se["expected"][0, fit.labels.index("bw")]
    assert se == pytest.approx(cf.conflated_model_se(c, 60, 5), rel=1e-6)  # B4


@pytest.mark.parametrize("n", [5, 20])
@pytest.mark.parametrize("case", [pf.CASE_0, pf.CASE_1], ids=["case 0", "case 1"])
def test_mediation_111_limits(case: pf.Mediation, n: int) -> None:
    source = mc.mediation_111(case, [n] * 60)
    expected = [
        (Disaggregated(se=("expected",)), pf.disaggregated(case)),
        (Aggregated(), pf.manifest(case, n)),
        (Mlm(likelihood="ml"), pf.conflated(case, n)),
        (TwoStep(likelihood="ml"), pf.conflated(case, n)),
        (MlmCentered(likelihood="ml"), pf.manifest(case, n)),
        (Msem(), pf.msem(case)),
    ]
    for method, values in expected:
        found = estimates(source, method)
        np.testing.assert_allclose(
            [found["ab"], found["bb"], found["indirect_between"]], values, atol=TIGHT, err_msg=method.name
        )
    for method in (MlmCentered(likelihood="ml"), Msem()):
        found = estimates(source, method)
        values = pf.within(case)
        np.testing.assert_allclose([found["aw"], found["bw"], found["indirect_within"]], values, atol=TIGHT)


@pytest.mark.parametrize("n", [5, 20])
def test_mediation_211_limits(n: int) -> None:
    case = pf.CASE_211
    source = mc.mediation_211(case, [n] * 60)
    for method, values in (
        (Disaggregated(se=("expected",)), pf.disaggregated(case)),
        (Aggregated(), pf.manifest(case, n)),
        (Mlm(likelihood="ml"), pf.conflated(case, n)),
        (MlmCentered(likelihood="ml"), pf.manifest(case, n)),
        (Msem(), pf.msem(case)),
    ):
        found = estimates(source, method)
        np.testing.assert_allclose(
            [found["ab"], found["bb"], found["indirect_between"]], values, atol=TIGHT, err_msg=method.name
        )


@pytest.mark.parametrize("layout", ["n=5", "2/5/20"])
def test_level2_outcome_limits(layout: str) -> None:
    c, sizes = pf.MicroMacro(), LAYOUTS[layout]
    source = mc.micro_macro(c, sizes)
    for method, values in (
        (TwoStep(), pf.micro_macro_limit(c, sizes)),
        (Aggregated(), pf.micro_macro_limit(c, sizes)),
        (TwoStep(means="eb", likelihood="ml"), pf.micro_macro_eb_limit(c, sizes)),
        (Msem(), (c.beta_x, c.beta_z)),
    ):
        found = estimates(source, method)
        np.testing.assert_allclose([found["bx"], found["bz"]], values, atol=TIGHT, err_msg=method.name)


# --- the second implementations ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [[5], [2, 5, 20], [1, 4, 16]])
@pytest.mark.parametrize("which", POPULATIONS)
def test_expansions_have_the_limits(which: str, pattern: list[int]) -> None:
    c = POPULATIONS[which]
    sizes = pattern * 300_000
    conflated = cf.conflated_limit(c, pattern)
    umm = cf.umm_limit(c, pattern)
    expected = {
        "disaggregated": [cf.disaggregated_limit(c)],
        "aggregated": [cf.aggregated_limit(c, pattern)],
        "mlm": [conflated.slope, conflated.sigma2, conflated.tau2],
        "mlm_centered": [umm.slope, umm.sigma2, umm.tau2],
        "msem": [c.beta_b],
    }
    for name, method in ex.contextual_methods().items():
        found = ex.expand(method, sizes, c.sigma_within, c.sigma_between)
        # O(1 / J) is left, J >= 300,000
        np.testing.assert_allclose(found.mean, expected[name], atol=1e-4, err_msg=name)
        if name == "msem" and len(pattern) == 1:
            assert found.covariance[0, 0] * len(sizes) == pytest.approx(mf.msem_avar(c, 5), rel=1e-3)  # B8


def test_expansions_have_the_finite_sample_means() -> None:
    """O(J^-2) is left of B1's exact mean; B8's second-order bias is the same expansion."""
    for sizes in ([5] * 100, [2, 5, 20] * 40):
        for name, rows in (("disaggregated", True), ("aggregated", False)):
            found = ex.expand(ex.contextual_methods()[name], sizes, BASE.sigma_within, BASE.sigma_between)
            exact = cf.exact_slope_mean(BASE, sizes, rows=rows)
            limit = cf.disaggregated_limit(BASE) if rows else cf.aggregated_limit(BASE, sizes)
            assert abs(found.mean[0] - exact) < 3e-5
            assert found.mean[0] - limit == pytest.approx(exact - limit, rel=0.05, abs=2e-6)
    found = ex.expand(ex.contextual_methods()["msem"], [5] * 1500, BASE.sigma_within, BASE.sigma_between)
    assert found.mean[0] - BASE.beta_b == pytest.approx(mf.msem_bias(BASE, 1500, 5, ml=True), rel=0.02)


def test_conflated_model_se_is_too_small_by_the_printed_ratio() -> None:
    """B8's last line: .981 at n = 8, tau^2 = .2."""
    c = Contextual(tau2=0.2, sigma2=0.8)
    found = ex.expand(ex.contextual_methods()["mlm"], [8] * 10_000, c.sigma_within, c.sigma_between)
    assert cf.conflated_model_se(c, 10_000, 8) / np.sqrt(found.covariance[0, 0]) == pytest.approx(0.981, abs=5e-4)
