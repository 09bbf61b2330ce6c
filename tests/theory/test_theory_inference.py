"""B2-B5, B8: variances, standard errors, coverage and type I error on simulated data equal the closed forms. Slow."""

from __future__ import annotations

import closed_forms as cf
import expansions as ex
import monte_carlo as mc
import msem_forms as mf
import numpy as np
import pytest
from closed_forms import Contextual
from scipy import stats

from simstudy.data.statistics import TwoLevelStatistics
from simstudy.methods.mixed.mlm import Mlm, MlmCentered
from simstudy.methods.msem import Msem
from simstudy.methods.one_level.aggregated import Aggregated
from simstudy.methods.one_level.disaggregated import Disaggregated

pytestmark = pytest.mark.slow

R = 20_000
BASE = Contextual()
NAIVE = Disaggregated(se=("expected",))


def covers(fit: mc.Fits, label: str, target: float, *, factor: float = 1.0, quantile: float = cf.Z) -> np.ndarray:
    """Whether estimate +- quantile * factor * SE holds ``target``."""
    return np.abs(fit.estimate[label] - target) <= quantile * factor * fit.se[label]


# --- B2 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_clusters", "n"), [(10, 5), (30, 5), (30, 10), (100, 5)])
def test_manifest_slope_variance_and_t_interval(n_clusters: int, n: int, check: mc.Checks) -> None:
    """SE_OLS = SE_ML sqrt(J / (J - 2)): unbiased for the variance; the t interval is exact for the slope's limit."""
    name = f"aggregated J={n_clusters} n={n}"
    fit = mc.run(mc.contextual(BASE, [n] * n_clusters), {"aggregated": Aggregated()}, R)["aggregated"]
    factor = np.sqrt(n_clusters / (n_clusters - 2))
    variance = cf.aggregated_variance(BASE, n_clusters, n)
    check.variance("B2", f"{name}: Var", fit.estimate["bb"], variance)
    check.mean("B2", f"{name}: E SE^2", (factor * fit.se["bb"]) ** 2, variance)
    t = stats.t.ppf(0.975, n_clusters - 2)
    own = covers(fit, "bb", cf.manifest_slope(BASE, n), factor=factor, quantile=t)
    check.share("B2", f"{name}: t interval covers its limit", own, 0.95)
    latent = covers(fit, "bb", BASE.beta_b, factor=factor, quantile=t)
    expected = cf.manifest_coverage(BASE, n_clusters, n, BASE.beta_b)
    check.share("B2", f"{name}: t interval covers beta_B", latent, expected)


def test_size_weighted_means_use_the_arithmetic_mean_size(check: mc.Checks) -> None:
    """B2, unbalanced: no method of the package, but a property of the data; unweighted means are `aggregated`."""

    def slope(data: TwoLevelStatistics) -> np.ndarray:
        weights = data.layout.distinct * data.layout.counts
        offset = data.size_means - np.einsum("s,rsi->ri", weights / weights.sum(), data.size_means)[:, None]
        per_size = data.size_scatter + data.layout.counts[:, None, None] * offset[..., None] * offset[..., None, :]
        total = np.einsum("s,rsij->rij", data.layout.distinct, per_size)
        y, x = data.variables.index("y"), data.variables.index("x")
        return total[:, x, y] / total[:, x, x]

    sizes = [2, 5, 20] * 300

    def weighted(t: ex.Statistics) -> np.ndarray:
        return ex.regress(t.pooled(t.sizes), 1, [0])

    found = mc.run(mc.contextual(BASE, sizes), {}, 5000, slope)
    expanded = ex.expand(weighted, sizes, BASE.sigma_within, BASE.sigma_between)
    assert abs(expanded.mean[0] - cf.weighted_aggregated_limit(BASE, sizes)) < 2e-3  # O(1 / J)
    check.mean("B2", "n-weighted means, J=900 n=2/5/20", found.kept, expanded.mean[0])


# --- B3, B4 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_clusters", [10, 20, 30, 50, 100])
def test_z_interval_of_the_manifest_slope(n_clusters: int, check: mc.Checks) -> None:
    """The between variance is far from 0 here: at the boundary the SE is another one."""
    c = Contextual(tau_u2=3.0)
    methods = {"ML": MlmCentered(likelihood="ml"), "REML": MlmCentered()}
    found = mc.run(mc.contextual(c, [20] * n_clusters), methods, R)
    for kind, fit in found.fits.items():
        assert (fit.estimate["between: y ~~ y"] > 0).all()
        hits = covers(fit, "bb", cf.manifest_slope(c, 20))
        expected = cf.z_coverage(n_clusters, reml=kind == "REML")
        check.share("B3", f"mlm_centered {kind} J={n_clusters}: z interval covers its limit", hits, expected)


def test_balanced_identities() -> None:
    """B3: generalised equals ordinary least squares on means, with its SEs; B4: at the boundary, slope of the rows."""
    n_clusters = 20
    methods = {
        "aggregated": Aggregated(), "rows": NAIVE,
        "ml": MlmCentered(likelihood="ml"), "reml": MlmCentered(), "conflated": Mlm(likelihood="ml"),
    }  # fmt: skip
    found = mc.run(mc.contextual(Contextual(tau_u2=0.02), [4] * n_clusters), methods, 4000)
    means = found["aggregated"]
    for kind, factor in (("ml", 1.0), ("reml", np.sqrt(n_clusters / (n_clusters - 2)))):
        fit = found[kind]
        inner = fit.estimate["between: y ~~ y"] > 1e-6
        assert 0.1 < inner.mean() < 0.9  # both cases occur
        np.testing.assert_allclose(fit.estimate["bb"], means.estimate["bb"], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(fit.se["bb"][inner], factor * means.se["bb"][inner], rtol=1e-6)
    at_zero = found["conflated"].estimate["between: y ~~ y"] == 0
    assert 0.1 < at_zero.mean() < 0.9
    for label in ("bw", "bb"):
        slopes = (fit.estimate[label][at_zero] for fit in (found["conflated"], found["rows"]))
        np.testing.assert_allclose(*slopes, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [5, 8])
def test_model_se_of_the_conflated_slope(n: int, check: mc.Checks) -> None:
    """B4's model SE; relative to the truth it is a little too small (B8's last line: .981 at n = 8)."""
    c, n_clusters = Contextual(tau2=0.2, sigma2=0.8), 400
    found = mc.run(mc.contextual(c, [n] * n_clusters), {"ml": Mlm(likelihood="ml")}, 2 * R)["ml"]
    model = cf.conflated_model_se(c, n_clusters, n)
    true = ex.expand(ex.contextual_methods(reml=False)["mlm"], [n] * n_clusters, c.sigma_within, c.sigma_between)
    name = f"mlm J={n_clusters} n={n}"
    assert found.se["bb"].mean() == pytest.approx(model, rel=2e-3)  # O(1 / J)
    check.se_ratio(
        "B4", f"{name}: SE ratio", found.estimate["bb"], found.se["bb"], model / true.covariance[0, 0] ** 0.5
    )


# --- B5 ---------------------------------------------------------------------------------------------------------------


def z_scatter(data: TwoLevelStatistics) -> np.ndarray:
    """SS of a level-2 predictor over individuals (R,)."""
    at = data.variables.index("z")
    return data.size_scatter[:, 0, at, at] * data.layout.sizes[0]


@pytest.mark.parametrize(
    ("n_clusters", "n", "icc"), [(10, 10, 0.1), (30, 5, 0.2), (20, 25, 0.05), (2, 10, 0.2), (2, 30, 0.05)]
)
def test_naive_test_of_a_level2_predictor(n_clusters: int, n: int, icc: float, check: mc.Checks) -> None:
    """Type I error of the naive t test, exact at every J; J = 2 is one cluster an arm (Barcikowski)."""
    name = f"disaggregated J={n_clusters} n={n} icc={icc}"
    rows = n_clusters * n
    found = mc.run(mc.level2_predictor(icc, [n] * n_clusters), {"naive": NAIVE}, R, z_scatter)
    fit, ss = found["naive"], found.kept
    assert fit.all_converged
    factor = np.sqrt(rows / (rows - 2))  # OLS: s^2 with N - 2
    estimate, se = fit.estimate["b"], factor * fit.se["b"]
    check.mean("B5", f"{name}: slope", estimate * np.sqrt(ss), 0.0)
    check.variance("B5", f"{name}: Var * SS", estimate * np.sqrt(ss), cf.level2_deff(n, icc))
    check.mean("B5", f"{name}: E SE^2 * SS", se**2 * ss, cf.level2_naive_variance(n_clusters, n, icc))
    rejected = np.abs(estimate / se) > stats.t.ppf(0.975, rows - 2)
    check.share("B5", f"{name}: type I error", rejected, cf.level2_type1(n_clusters, n, icc))
    if n_clusters == 2:
        assert cf.level2_type1(n_clusters, n, icc) == pytest.approx(cf.barcikowski(n, icc), abs=1e-8)


def test_naive_se_ratio_of_a_level2_predictor(check: mc.Checks) -> None:
    """SE ratio -> 1 / sqrt(deff), type I error -> 2 Phi(-1.96 / sqrt(deff))."""
    n_clusters, n, icc = 1000, 10, 0.1
    name = f"disaggregated J={n_clusters} n={n} icc={icc}"
    fit = mc.run(mc.level2_predictor(icc, [n] * n_clusters), {"naive": NAIVE}, R)["naive"]
    check.se_ratio("B5", f"{name}: SE ratio", fit.estimate["b"], fit.se["b"], cf.level2_deff(n, icc) ** -0.5)
    rejected = np.abs(fit.estimate["b"]) > cf.Z * fit.se["b"]
    check.share("B5", f"{name}: type I error", rejected, cf.level2_type1_limit(n, icc))


def residual_icc(rho_x: float, rho_e: float) -> Contextual:
    return Contextual(0.3, 0.3, rho_x, 1 - rho_x, rho_e, 1 - rho_e)


@pytest.mark.parametrize(
    ("c", "n"),
    [
        (residual_icc(0.1, 0.2), 10), (residual_icc(0.2, 0.2), 10), (residual_icc(0.05, 0.1), 20),
        (BASE, 5), (BASE, 15), (Contextual(-0.5, 0.5, 0.3, 0.7, tau_u2=0.1), 15),
    ],
    ids=["b 1.18", "b 1.36", "b 1.095", "c 1.078", "c 1.274", "c 2.491"],
)  # fmt: skip
def test_naive_se_of_a_level1_predictor(c: Contextual, n: int, check: mc.Checks, request) -> None:
    """B5b (equal slopes: Moulton) and B5c: true variance, naive variance, and their ratio."""
    n_clusters = 500
    name = f"disaggregated {request.node.callspec.id} J={n_clusters} n={n}"
    true, naive = cf.naive_variances(c, n)
    if c.delta == 0:
        icc_e = c.tau_u2 / (c.tau_u2 + c.sigma_e2)
        assert true / naive == pytest.approx(cf.level1_deff(n, c.rho, icc_e), rel=1e-12)
    fit = mc.run(mc.contextual(c, [n] * n_clusters), {"naive": NAIVE}, R)["naive"]
    check.variance("B5", f"{name}: J Var", fit.estimate["bb"] * np.sqrt(n_clusters), true)
    assert (fit.se["bb"] ** 2).mean() * n_clusters == pytest.approx(naive, rel=5e-3)  # O(1 / J)
    check.se_ratio("B5", f"{name}: SE ratio", fit.estimate["bb"], fit.se["bb"], np.sqrt(naive / true))


# --- B8 ---------------------------------------------------------------------------------------------------------------

RELIABLE = Contextual(tau2=0.2, sigma2=0.8)


@pytest.mark.parametrize(("n", "n_clusters"), [(5, 4000), (15, 2000)])
def test_asymptotic_variance_of_msem(n: int, n_clusters: int, check: mc.Checks) -> None:
    """Var of the between slope and the contextual effect, and the SEs; the O(1 / J) term is below 1 % (1 MCSE) here."""
    fit = mc.run(mc.contextual(RELIABLE, [n] * n_clusters), {"msem": Msem()}, R // 2)["msem"]
    name = f"msem J={n_clusters} n={n}"
    root = np.sqrt(n_clusters)
    between, within = fit.estimate["bb"] * root, fit.estimate["bw"] * root
    check.variance("B8", f"{name}: J Var between", between, mf.msem_avar(RELIABLE, n))
    check.variance(
        "B8", f"{name}: J Var contextual", fit.estimate["contextual"] * root, mf.contextual_avar(RELIABLE, n)
    )
    check.covariance("B8", f"{name}: J Cov", between, within, mf.msem_covariance(RELIABLE, n))
    check.variance("B8", f"{name}: J Var within", within, RELIABLE.sigma_e2 / (RELIABLE.sigma2 * (n - 1)))
    for label in ("bb", "contextual", "bw"):
        check.se_ratio("B8", f"{name}: SE ratio {label}", fit.estimate[label], fit.se[label])


@pytest.mark.parametrize(("n_clusters", "n"), [(400, 5), (1500, 5)])
def test_second_order_bias_of_msem(n_clusters: int, n: int, check: mc.Checks) -> None:
    """The estimate minus its first-order term, whose mean is exactly 0: a tenth of the spread, the same mean."""
    c = RELIABLE

    def linear(data: TwoLevelStatistics) -> np.ndarray:
        within, means = mc.moments(data)
        y, x = data.variables.index("y"), data.variables.index("x")
        unbiased = n * means * n_clusters / (n_clusters - 1) - within
        return (unbiased[:, x, y] - c.beta_b * unbiased[:, x, x]) / (n * c.tau2)

    found = mc.run(mc.contextual(c, [n] * n_clusters), {"msem": Msem()}, R, linear)
    expected = mf.msem_bias(c, n_clusters, n, ml=True)
    left = found["msem"].estimate["bb"] - c.beta_b - found.kept
    check.mean("B8", f"msem J={n_clusters} n={n}: first-order term", found.kept, 0.0)
    # the rest is O(J^-2) (B8); relative to the bias it is some 20 / J
    excess = left.mean() / expected - 1
    assert abs(excess) < 4 * left.std() / np.sqrt(R) / abs(expected) + 30 / n_clusters, f"{excess:+.3f}"
    if n_clusters >= 1000:
        check.mean("B8", f"msem J={n_clusters} n={n}: second-order bias", left, expected)
    assert left.mean() > 5 * left.std() / np.sqrt(R)  # there is a bias, and it has the sign of Delta


@pytest.mark.parametrize(
    ("icc", "n_clusters", "n"),
    [(0.1, 10, 5), (0.1, 30, 5), (0.1, 30, 10), (0.05, 20, 5), (0.05, 50, 10), (0.05, 100, 5), (0.05, 200, 5)],
)
def test_inadmissible_solutions_of_msem(icc: float, n_clusters: int, n: int, check: mc.Checks) -> None:
    """P(between variance of x <= 0) is exact; ``admissible`` says that all of Sigma_B is positive semidefinite."""
    c = Contextual(tau2=icc, sigma2=1 - icc)

    def between(data: TwoLevelStatistics) -> np.ndarray:
        within, means = mc.moments(data)
        return means - within / n

    found = mc.run(mc.contextual(c, [n] * n_clusters), {"msem": Msem()}, R, between)
    fit = found["msem"]
    ok = fit.status == 0
    assert ok.mean() > 0.998
    expected = mf.negative_variance(icc, n_clusters, n, ml=True)
    closed = found.kept[:, 1, 1]  # order y, x
    np.testing.assert_allclose(fit.estimate["between: x ~~ x"][ok], closed[ok], rtol=1e-6, atol=1e-8)
    negative = np.where(ok, fit.estimate["between: x ~~ x"], closed) <= 0
    check.share("B8", f"msem icc={icc} J={n_clusters} n={n}: P(tau_x^2 <= 0)", negative, expected)
    semidefinite = np.linalg.eigvalsh(found.kept)[:, 0] >= 0
    np.testing.assert_array_equal(fit.admissible[ok], semidefinite[ok])
    assert not (fit.admissible & negative).any()


PRECISE = {
    "J=200 n=15 icc=.2": (RELIABLE, [15] * 200),
    "J=200 n=30 icc=.1 betas -.3 .5": (Contextual(-0.3, 0.5), [30] * 200),
    "J=400 n=10 icc=.3 betas .5 .5": (Contextual(0.5, 0.5, 0.3, 0.7), [10] * 400),
    "J=600 n=5 icc=.2": (RELIABLE, [5] * 600),
    "J=204 n=2-35 icc=.2": (RELIABLE, list(range(2, 36)) * 6),
    "J=600 n=2/5/20 icc=.2 betas -.3 .5": (Contextual(-0.3, 0.5, 0.2, 0.8), [2, 5, 20] * 200),
}


@pytest.mark.parametrize("name", PRECISE)
def test_se_ratio_and_coverage_of_msem(name: str, check: mc.Checks) -> None:
    """At J >= 200 the SE ratio is 1 and z intervals cover 95 %, within the error of a study of 4,000 replicates.

    With 20,000 replicates SE ratios of the between slope are .989 to 1.002, coverages .946 to .951.
    """
    c, sizes = PRECISE[name]
    source = mc.contextual(c, sizes)
    fit = mc.run(source, {"msem": Msem()}, 4000)["msem"]
    assert fit.all_converged
    truth = dict(zip(source.model.reported, source.truth(source.model), strict=True))
    for label in ("bw", "bb", "contextual"):
        check.se_ratio("B8", f"msem {name}: SE ratio {label}", fit.estimate[label], fit.se[label])
        check.share("B8", f"msem {name}: coverage {label}", covers(fit, label, truth[label]), 0.95)


@pytest.mark.parametrize("sizes", [[5] * 200, [2, 5, 20] * 67], ids=["J=200 n=5", "J=201 n=2/5/20"])
def test_coverage_of_msem_where_its_slope_has_no_mean(sizes: list[int]) -> None:
    """ICC .1: robust measures in place of moments. The median SE is that of the middle half of the estimates.

    Intervals of a ratio are lopsided here: with 20,000 replicates, balanced, .964 (misses .001 and .035).
    """
    source = mc.contextual(BASE, sizes)
    fit = mc.run(source, {"msem": Msem()}, 4000)["msem"]
    assert (fit.status == 0).mean() > 0.998
    assert covers(fit, "bb", BASE.beta_b).mean() == pytest.approx(0.95, abs=0.03)
    low, high = np.nanquantile(fit.estimate["bb"], [0.25, 0.75])
    ratio = np.nanmedian(fit.se["bb"]) / ((high - low) / (2 * stats.norm.ppf(0.75)))
    assert ratio == pytest.approx(1.0, abs=0.10), ratio  # MCSE of the quartiles' distance 1.8 %, and O(1 / J)
