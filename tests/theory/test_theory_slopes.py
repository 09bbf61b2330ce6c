"""B1-B4, B8: mean slopes of the six methods on simulated data equal the closed forms. Slow.

Means are exact at every J for `disaggregated`, `aggregated`, the within slopes, and balanced `mlm_centered`. Elsewhere
the limit comes with the O(1 / J) term of `expansions`. MSEM's between slope has no mean: when balanced its exact
distribution function is tested, and its mean (to second order) only where a between variance near 0 is out of reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import closed_forms as cf
import expansions as ex
import monte_carlo as mc
import msem_forms as mf
import numpy as np
import pytest
from closed_forms import Contextual

from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.result import Status
from simstudy.methods.mixed.mlm import Mlm, MlmCentered
from simstudy.methods.msem import Msem
from simstudy.methods.one_level.aggregated import Aggregated
from simstudy.methods.one_level.disaggregated import Disaggregated
from simstudy.methods.two_step import TwoStep

pytestmark = pytest.mark.slow

R = 20_000
METHODS = {
    "disaggregated": Disaggregated(se=("expected",)),
    "aggregated": Aggregated(),
    "mlm": Mlm(),
    "mlm ml": Mlm(likelihood="ml"),
    "mlm_centered": MlmCentered(),
    "mlm_centered ml": MlmCentered(likelihood="ml"),
    "two_step": TwoStep(),
    "two_step centered": TwoStep(centering="cluster"),
    "msem": Msem(),
}


@dataclass(frozen=True)
class Setting:
    """A population and a layout."""

    c: Contextual
    sizes: Sequence[int]

    @property
    def balanced(self) -> bool:
        return len(set(self.sizes)) == 1

    @property
    def n_clusters(self) -> int:
        return len(self.sizes)

    @property
    def msem_has_a_mean(self) -> bool:
        """The between variance estimate is 6 SDs from 0: what is left of the ratio's tail cannot be seen."""
        precision = np.mean([self.c.reliability(n) ** 2 for n in self.sizes])
        return bool(np.sqrt(2 / (self.n_clusters * precision)) < 1 / 6)


def icc(rho: float, beta_b: float = 0.7, beta_w: float = 0.2) -> Contextual:
    return Contextual(beta_b, beta_w, rho, 1 - rho)


LARGE = {
    "J=100 n=5 icc=.3": Setting(icc(0.3), [5] * 100),
    "J=100 n=20 icc=.2 betas -.3 .5": Setting(icc(0.2, -0.3, 0.5), [20] * 100),
    "J=200 n=5 icc=.1 betas -.3 .5": Setting(icc(0.1, -0.3, 0.5), [5] * 200),
    "J=200 n=30 icc=.05": Setting(icc(0.05), [30] * 200),
    "J=400 n=15 icc=.3 betas .5 .5": Setting(icc(0.3, 0.5, 0.5), [15] * 400),
    "J=500 n=10 icc=.1 betas 1.2 0": Setting(icc(0.1, 1.2, 0.0), [10] * 500),
    "J=1000 n=2 icc=.1": Setting(icc(0.1), [2] * 1000),
    "J=1000 n=5 icc=.1": Setting(icc(0.1), [5] * 1000),
    "J=100 n=3/30 icc=.2 betas -.3 .5": Setting(icc(0.2, -0.3, 0.5), [3, 30] * 50),
    "J=204 n=2-18 icc=.05": Setting(icc(0.05), list(range(2, 19)) * 12),
    "J=300 n=2/5/20 icc=.1": Setting(icc(0.1), [2, 5, 20] * 100),
    "J=501 n=1/4/16 icc=.3 betas 0 .4": Setting(icc(0.3, 0.0, 0.4), [1, 4, 16] * 167),
    "J=999 n=2/5/20 icc=.1": Setting(icc(0.1), [2, 5, 20] * 333),
}
SMALL = {
    "J=10 n=5 icc=.1": Setting(icc(0.1), [5] * 10),
    "J=30 n=5 icc=.05": Setting(icc(0.05), [5] * 30),
    "J=30 n=10 icc=.1": Setting(icc(0.1), [10] * 30),
    "J=50 n=3 icc=.2 betas -.3 .5": Setting(icc(0.2, -0.3, 0.5), [3] * 50),
    "J=12 n=2/5/20 icc=.1": Setting(icc(0.1), [2, 5, 20] * 4),
    "J=40 n=1/4/16/40 icc=.2 betas -.3 .5": Setting(icc(0.2, -0.3, 0.5), [1, 4, 16, 40] * 10),
}


def schmidt(data: TwoLevelStatistics) -> np.ndarray:
    """Balanced: ML estimates (R, 3) of within slope, between slope and between variance of x in closed form (C2)."""
    within, means = mc.moments(data)
    between = means - within / data.layout.sizes[0]
    y, x = data.variables.index("y"), data.variables.index("x")
    columns = within[:, x, y] / within[:, x, x], between[:, x, y] / between[:, x, x], between[:, x, x]
    return np.stack(columns, axis=1)


def msem_complete(found: mc.Run) -> np.ndarray:
    """MSEM's estimates (3, R), balanced, those of failed fits from the closed form.

    A fit may fail for one reason: a between variance of x so near 0 that the slope is in the hundreds, and the
    information numerically singular. Leaving those out would cut the distribution's tails.
    """
    fit = found["msem"]
    labels = ("bw", "bb", "between: x ~~ x")
    mine, closed = np.stack([fit.estimate[k] for k in labels]), found.kept.T
    failed = fit.status != 0
    np.testing.assert_allclose(mine[:, ~failed], closed[:, ~failed], rtol=1e-6, atol=1e-8)
    assert (np.abs(closed[1, failed]) > 300).all()
    assert (fit.status[failed] == Status.SINGULAR_INFORMATION).all()
    return np.where(failed, closed, mine)


def simulate(at: Setting) -> mc.Run:
    found = mc.run(mc.contextual(at.c, at.sizes), METHODS, R, schmidt if at.balanced else None)
    assert all(fit.all_converged for name, fit in found.fits.items() if name != "msem")
    assert (found["msem"].status == Status.OK).mean() > 0.998  # balanced: `msem_complete` says which may fail
    return found


def exact_checks(check: mc.Checks, name: str, at: Setting, found: mc.Run) -> None:
    """What holds at every J."""
    c, sizes = at.c, at.sizes
    rows = found["disaggregated"]
    expected = cf.exact_slope_mean(c, sizes, rows=True)
    check.mean("B1", f"disaggregated, {name}", rows.estimate["bb"], expected)
    np.testing.assert_array_equal(rows.estimate["bw"], rows.estimate["bb"])
    means = found["aggregated"].estimate
    expected = cf.exact_slope_mean(c, sizes, rows=False)
    check.mean("B2", f"aggregated, {name}", means["bb"], expected)
    assert np.isnan(means["bw"]).all()
    for method in ("mlm_centered", "mlm_centered ml", "two_step centered"):
        check.mean("B3", f"{method} within, {name}", found[method].estimate["bw"], c.beta_w)
        check.variance(
            "B3", f"{method} within, {name}: Var", found[method].estimate["bw"], cf.within_variance(c, sizes)
        )
    if not at.balanced:
        return
    n, n_clusters = sizes[0], at.n_clusters
    lam = c.reliability(n)
    for method in ("mlm_centered", "mlm_centered ml", "two_step centered"):
        fit = found[method].estimate
        check.mean("B3", f"{method} between, {name}", fit["bb"], cf.manifest_slope(c, n))
        check.mean("B3", f"{method} contextual, {name}", fit["contextual"], lam * c.delta)
    within, between, tau_x2 = msem_complete(found)
    check.mean("B8", f"msem within, {name}", within, c.beta_w)
    expected = ((n_clusters - 1) / n_clusters * (n * c.tau2 + c.sigma2) - c.sigma2) / n
    check.mean("B8", f"msem between variance of x, {name}", tau_x2, expected)
    negative = mf.negative_variance(c.rho, n_clusters, n, ml=True)
    check.share("B8", f"msem P(tau_x^2 <= 0), {name}", tau_x2 <= 0, negative)
    sd = np.sqrt(mf.msem_avar(c, n) / n_clusters)
    for shift in (-2.0, -1.0, 0.0, 1.0, 2.0):
        point = c.beta_b + shift * sd
        probability = mf.msem_cdf(c, n_clusters, n, point)
        check.share("B8", f"msem P(between slope <= truth {shift:+g} SD), {name}", between <= point, probability)


def expanded_checks(check: mc.Checks, name: str, at: Setting, found: mc.Run) -> None:
    """Limits with their O(1 / J) terms."""
    c = at.c
    for suffix, reml in (("", True), (" ml", False)):
        for method, section in (("mlm", "B4"), ("mlm_centered", "B3")):
            theory = ex.expand(ex.contextual_methods(reml=reml)[method], at.sizes, c.sigma_within, c.sigma_between).mean
            users = [method + suffix] + ([{"mlm": "two_step", "mlm_centered": "two_step centered"}[method]] * reml)
            for user in users:
                fit = found[user].estimate
                check.mean(section, f"{user} between, {name}", fit["bb"], theory[0])
                check.mean(section, f"{user} sigma_c^2, {name}", fit["within: y ~~ y"], theory[1])
                check.mean(section, f"{user} tau_c^2, {name}", fit["between: y ~~ y"], theory[2])
                if method == "mlm":
                    np.testing.assert_array_equal(fit["bw"], fit["bb"])
    if at.msem_has_a_mean:
        theory = ex.expand(ex.contextual_methods()["msem"], at.sizes, c.sigma_within, c.sigma_between).mean
        check.mean("B8", f"msem between, {name}", found["msem"].estimate["bb"], theory[0])
        check.mean("B8", f"msem within, {name}", found["msem"].estimate["bw"], c.beta_w)


@pytest.mark.parametrize("name", SMALL)
def test_few_clusters(name: str, check: mc.Checks) -> None:
    at = SMALL[name]
    exact_checks(check, name, at, simulate(at))


@pytest.mark.parametrize("name", LARGE)
def test_many_clusters(name: str, check: mc.Checks) -> None:
    at = LARGE[name]
    found = simulate(at)
    assert found["msem"].all_converged
    exact_checks(check, name, at, found)
    expanded_checks(check, name, at, found)
