"""`msem`, fed the population's moments, returns the population's parameters; closed forms of the saturated model."""

from __future__ import annotations

import numpy as np
import pytest
from recovery_forms import CONTEXTUAL, FAMILIES, Contextual, fit, population, se, value

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.inference import with_defined
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

LAYOUTS = {"balanced": ClusterLayout.of([5] * 60), "unbalanced": ClusterLayout.of([1, 2, 3, 5, 9, 20] * 10)}
# The last scoring step starts within 1e-6 SE of the maximum and is of second order there: rounding of about 1e-12.
TRUTH = 1e-8


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_msem_returns_the_truth(name, layout) -> None:
    model = TwoLevelModel.from_syntax(FAMILIES[name]["syntax"])
    values = FAMILIES[name]["values"]
    found = fit("msem", model, layout, population(model, values), se=["expected", "observed"])
    assert found.converged.all()
    assert found.admissible.all()
    truth = np.array([values[key] for key in model.names])
    truth = np.concatenate([truth, model.estimands.evaluate(truth)])
    np.testing.assert_allclose(found.estimate[0], truth, rtol=0, atol=TRUTH)
    # at the population's moments observed and expected information are equal
    np.testing.assert_allclose(found.se["observed"], found.se["expected"], rtol=1e-6)  # within 1e-6 SE, see scoring


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_several_populations_at_once(layout) -> None:
    """Each replicate gets its own truth back."""
    model = TwoLevelModel.from_syntax(FAMILIES["mediation_112"]["syntax"])
    values = np.array([FAMILIES["mediation_112"]["values"][key] for key in model.names])
    truths = values * (1.0 + 0.2 * np.random.default_rng(1).uniform(-1, 1, size=(5, len(values))))
    moments = [population(model, dict(zip(model.names, truth, strict=True))) for truth in truths]
    stacked = tuple(np.stack([m[k] for m in moments]) for k in range(3))
    found = fit("msem", model, layout, stacked)
    np.testing.assert_allclose(found.estimate[:, : len(values)], truths, atol=TRUTH)


def random_statistics(model: TwoLevelModel, n: int, clusters: int, seed: int, icc: float) -> TwoLevelStatistics:
    rng = np.random.default_rng(seed)
    layout = ClusterLayout.of([n] * clusters)
    p = len(model.level1)
    mix = np.eye(p) + 0.4 * rng.normal(size=(p, p))
    rows = rng.normal(size=(1, layout.n_obs, p)) @ mix
    rows += np.sqrt(icc) * np.repeat(rng.normal(size=(1, clusters, p)), n, axis=1) @ mix.T
    return Sample(layout, model.level1, (), rows, np.empty((1, clusters, 0))).statistics()


@pytest.mark.parametrize("icc", [0.3, 0.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_balanced_saturated_model_is_the_analysis_of_variance(seed, icc) -> None:
    """C2 and B8: Sigma_W = MW, Sigma_B = (MB - MW) / n with divisor J, definite or not."""
    n, clusters = 4, 25
    statistics = random_statistics(CONTEXTUAL, n, clusters, seed, icc)
    found = with_defined(
        registry.create("msem").prepare(CONTEXTUAL, statistics.layout).fit(statistics), CONTEXTUAL.estimands
    )
    mw = statistics.scatter_within[0] / (clusters * (n - 1))
    between = (n * statistics.size_scatter[0, 0] / clusters - mw) / n
    # explicit solution: rounding
    assert value(found, "bw") == pytest.approx(mw[0, 1] / mw[1, 1], rel=1e-9)
    slope = between[0, 1] / between[1, 1]
    assert value(found, "bb") == pytest.approx(slope, rel=1e-9)
    assert value(found, "between: x ~~ x") == pytest.approx(between[1, 1], rel=1e-9)
    residual = between[0, 0] - slope * between[0, 1]
    assert value(found, "between: y ~~ y") == pytest.approx(residual, rel=1e-9)
    definite = bool(between[1, 1] > 0 and residual > 0)
    assert bool(found.admissible[0]) == definite
    # B8: the latent slope is the manifest one corrected by the estimated reliability
    aggregated = registry.create("aggregated").prepare(CONTEXTUAL, statistics.layout).fit(statistics)
    reliability = between[1, 1] / (between[1, 1] + mw[1, 1] / n)
    corrected = value(found, "bw") + (value(aggregated, "bb") - value(found, "bw")) / reliability
    assert value(found, "bb") == pytest.approx(corrected, rel=1e-9)


@pytest.mark.parametrize("n", [2, 5, 15])
@pytest.mark.parametrize("c", [Contextual(), Contextual(beta_b=-0.3, beta_w=0.5, tau2=0.3, sigma2=0.7)])
def test_standard_errors_are_the_asymptotic_variances(c, n) -> None:
    """B8: J AVar of the between slope, of the contextual effect, and Cov(beta_B, beta_W)."""
    clusters = 40
    found = fit("msem", CONTEXTUAL, ClusterLayout.of([n] * clusters), c.moments())
    lam = c.reliability(n)
    delta, noise = c.beta_b - c.beta_w, (1 - lam) / lam
    v = c.tau_u2 + c.sigma_e2 / n + delta**2 * c.tau2 * (1 - lam)
    within = c.sigma_e2 / (c.sigma2 * (n - 1))
    third = noise**2 * 2 * n * delta**2 / (n - 1)
    # the same quantity by inverting a matrix: rounding
    assert clusters * se(found, "bb") ** 2 == pytest.approx(v / (lam * c.tau2) + noise**2 * within + third, rel=1e-9)
    contextual = v / (lam * c.tau2) + within / lam**2 + third
    assert clusters * se(found, "contextual") ** 2 == pytest.approx(contextual, rel=1e-9)
    at = [found.labels.index(name) for name in ("bb", "bw")]
    covariance = found.covariance["expected"][0, at[0], at[1]]
    assert covariance == pytest.approx(-c.sigma_e2 / (clusters * n * (n - 1) * c.tau2), rel=1e-9)
