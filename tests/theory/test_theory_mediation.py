"""B6 (1-1-1 and 2-1-1 mediation) and B7 (level-2 outcomes): means of every method equal the closed forms. Slow.

Between a, b and a * b of unweighted cluster means are unbiased for their limits at every J when balanced. Elsewhere the
limit (held to `path_forms` by test_theory_limits) comes with the O(1 / J) term of `expansions`.
"""

from __future__ import annotations

import expansions as ex
import monte_carlo as mc
import numpy as np
import path_forms as pf
import pytest

from simstudy.methods.mixed.mlm import Mlm, MlmCentered
from simstudy.methods.msem import Msem
from simstudy.methods.one_level.aggregated import Aggregated
from simstudy.methods.one_level.disaggregated import Disaggregated
from simstudy.methods.two_step import TwoStep

pytestmark = pytest.mark.slow

R = 10_000
METHODS = {
    "disaggregated": Disaggregated(se=("expected",)),
    "aggregated": Aggregated(),
    "mlm": Mlm(),
    "mlm_centered": MlmCentered(),
    "two_step": TwoStep(),
    "two_step centered": TwoStep(centering="cluster"),
    "msem": Msem(),
}
SAME_AS = {"two_step": "mlm", "two_step centered": "mlm_centered"}
BETWEEN = ("ab", "bb", "indirect_between")
CASES = {"case 0": pf.CASE_0, "case 1": pf.CASE_1, "2-1-1": pf.CASE_211}
LAYOUTS = {"J=1000 n=5": [5] * 1000, "J=300 n=20": [20] * 300, "J=900 n=2/5/20": [2, 5, 20] * 300}


def balanced_limits(k: pf.Mediation, n: int) -> dict[str, np.ndarray]:
    return {
        "disaggregated": pf.disaggregated(k), "aggregated": pf.manifest(k, n), "mlm": pf.conflated(k, n),
        "mlm_centered": pf.manifest(k, n), "msem": pf.msem(k),
    }  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES)
def test_paths_and_indirect_effects(case: str, layout: str, check: mc.Checks) -> None:
    k, sizes = CASES[case], LAYOUTS[layout]
    level2_x = case == "2-1-1"
    source = (mc.mediation_211 if level2_x else mc.mediation_111)(k, sizes)
    found = mc.run(source, METHODS, R)
    theory = {}
    for name, method in ex.mediation_methods(level2_x=level2_x).items():
        theory[name] = ex.expand(method, sizes, k.within.sigma, k.between.sigma).mean
        if len(set(sizes)) == 1:  # O(1 / J) from B6's limit
            np.testing.assert_allclose(theory[name], balanced_limits(k, sizes[0])[name], atol=0.02, err_msg=name)
    for name, fit in found.fits.items():
        assert fit.all_converged, name
        expected = theory[SAME_AS.get(name, name)]
        for label, value in zip(BETWEEN, expected, strict=True):
            check.mean("B6", f"{name} {label}, {case} {layout}", fit.estimate[label], value)
    if level2_x:
        return
    for name in ("mlm_centered", "two_step centered", "msem"):
        estimate = found[name].estimate
        # ab of independent unbiased estimates is unbiased: E(b | x, m) = b
        for label, value in zip(("aw", "bw", "indirect_within"), pf.within(k), strict=True):
            check.mean("B6", f"{name} {label}, {case} {layout}", estimate[label], value)


@pytest.mark.parametrize("case", CASES)
def test_manifest_means_with_few_clusters(case: str, check: mc.Checks) -> None:
    """Balanced: the indirect effect of manifest means is unbiased for its limit at J = 15 too."""
    k = CASES[case]
    source = (mc.mediation_211 if case == "2-1-1" else mc.mediation_111)(k, [5] * 15)
    methods = {name: METHODS[name] for name in ("aggregated", "mlm_centered", "two_step centered")}
    for name, fit in mc.run(source, methods, 2 * R).fits.items():
        assert fit.all_converged
        for label, value in zip(BETWEEN, pf.manifest(k, 5), strict=True):
            check.mean("B6", f"{name} {label}, {case} J=15 n=5", fit.estimate[label], value)


def test_the_sign_of_an_indirect_effect_can_be_wrong() -> None:
    """F5, case 1: true .09, manifest means say -.026 (n = 5)."""
    found = mc.run(mc.mediation_111(pf.CASE_1, [5] * 1000), {k: METHODS[k] for k in ("aggregated", "msem")}, 1000)
    assert (found["aggregated"].estimate["indirect_between"] < 0).mean() > 0.95
    assert (found["msem"].estimate["indirect_between"] > 0).mean() > 0.95


# --- B7 ---------------------------------------------------------------------------------------------------------------

OUTCOME_LAYOUTS = {"J=40 n=5": [5] * 40, "J=1000 n=5": [5] * 1000, "J=900 n=2/5/20": [2, 5, 20] * 300}


def shrunken_slopes(t: ex.Statistics) -> np.ndarray:
    """OLS of y (2) on EB(x) (0) and z (1)."""
    return ex.regress(ex.cluster_means(ex.empirical_bayes(t, 0)), 2, [0, 1])


@pytest.mark.parametrize("layout", OUTCOME_LAYOUTS)
def test_level2_outcome(layout: str, check: mc.Checks) -> None:
    c, sizes = pf.MicroMacro(), OUTCOME_LAYOUTS[layout]
    balanced, few = len(set(sizes)) == 1, len(sizes) < 100
    within = np.diag([c.sigma2, 0.0, 0.0])
    between = np.array([[c.tau2, c.cov_xz, 0.0], [c.cov_xz, c.var_z, 0.0], [0.0, 0.0, c.residual]])
    slopes = np.array([c.beta_x, c.beta_z])
    between[2, :2] = between[:2, 2] = between[:2, :2] @ slopes
    between[2, 2] += slopes @ between[:2, 2]
    source = mc.micro_macro(c, sizes)
    assert Mlm().supports(source.model, source.layout) is not None  # no level-1 outcome
    methods = {"two_step": TwoStep(), "aggregated": Aggregated()}
    if not few:
        methods |= {"two_step eb": TwoStep(means="eb"), "msem": Msem()}
    found = mc.run(source, methods, R)

    def compare(name: str, expected: np.ndarray) -> None:
        assert found[name].all_converged
        for label, value in zip(("bx", "bz"), expected, strict=True):
            check.mean("B7", f"{name} {label}, {layout}", found[name].estimate[label], value)

    def observed_slopes(t: ex.Statistics) -> np.ndarray:
        return ex.regress(ex.cluster_means(t), 2, [0, 1])

    observed = np.array(pf.micro_macro_limit(c, sizes))
    if not balanced:  # unbiased for the limit at every J when balanced
        expansion = ex.expand(observed_slopes, sizes, within, between).mean
        np.testing.assert_allclose(expansion, observed, atol=1e-3)
        observed = expansion
    compare("two_step", observed)
    compare("aggregated", observed)
    for label in ("bx", "bz"):
        np.testing.assert_allclose(
            found["two_step"].estimate[label], found["aggregated"].estimate[label], rtol=1e-8, atol=1e-10
        )
    if few:
        return
    shrunken = ex.expand(shrunken_slopes, sizes, within, between).mean
    np.testing.assert_allclose(shrunken, pf.micro_macro_eb_limit(c, sizes), atol=5e-3)
    compare("two_step eb", shrunken)
    theory = ex.expand(lambda t: ex.regress(ex.sigma_between_ml(t), 2, [0, 1]), sizes, within, between).mean
    np.testing.assert_allclose(theory, slopes, atol=5e-3)
    compare("msem", theory)
