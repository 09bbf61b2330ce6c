"""`em` and `fiml_wide`, fed the population's moments, return the truth; what `multigroup` makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from recovery_forms import CONTEXTUAL, FAMILIES, Contextual, fit, population, se, value

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import from_moments
from simstudy.estimation.inference import with_defined
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

LAYOUTS = {"balanced": ClusterLayout.of([5] * 60), "unbalanced": ClusterLayout.of([1, 2, 3, 5, 9, 20] * 10)}
# Both stop within 1e-6 SE and take one more step, which is of second order there: rounding of about 1e-12.
TRUTH = 1e-8


def truth_of(name: str) -> tuple[TwoLevelModel, np.ndarray]:
    model = TwoLevelModel.from_syntax(FAMILIES[name]["syntax"])
    values = np.array([FAMILIES[name]["values"][key] for key in model.names])
    return model, np.concatenate([values, model.estimands.evaluate(values)])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_em_returns_the_truth(name, layout) -> None:
    model, truth = truth_of(name)
    if model.table.constraints:
        assert "'=='" in str(registry.create("em").supports(model, layout))
        return
    found = fit("em", model, layout, population(model, FAMILIES[name]["values"]), se=["expected", "observed"])
    assert found.converged.all()
    assert found.admissible.all()
    np.testing.assert_allclose(found.estimate[0], truth, rtol=0, atol=TRUTH)
    # at the population's moments observed and expected information are equal
    np.testing.assert_allclose(found.se["observed"], found.se["expected"], rtol=1e-6)


def rows_with_moments(
    model: TwoLevelModel, layout: ClusterLayout, moments: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> Sample:
    """Rows whose statistics are the population's moments: random numbers made exactly uncorrelated, then coloured."""
    mu, within, between = moments
    p1, p = len(model.level1), len(model.variables)
    rng = np.random.default_rng(12)
    means = np.empty((layout.n_clusters, p))
    for n, count, start in zip(layout.distinct, layout.counts, layout.starts, strict=True):
        cov = between.copy()
        cov[:p1, :p1] += within / n
        means[start : start + count] = mu + whitened(rng.normal(size=(count, p))) @ np.linalg.cholesky(cov).T
    codes = np.repeat(np.arange(layout.n_clusters), layout.sizes)
    noise = rng.normal(size=(layout.n_obs, p1))
    noise -= (np.add.reduceat(noise, layout.row_starts) / np.array(layout.sizes)[:, None])[codes]
    scatter = np.linalg.cholesky(noise.T @ noise)
    noise = noise @ np.linalg.inv(scatter).T * np.sqrt(layout.n_obs - layout.n_clusters)
    rows = means[codes, :p1] + noise @ np.linalg.cholesky(within).T
    return Sample(layout, model.level1, model.level2, rows[None], means[None, :, p1:])


def whitened(x: np.ndarray) -> np.ndarray:
    """Mean 0 and covariance matrix I, with divisor n."""
    x = x - x.mean(axis=0)
    return x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / len(x))).T


WIDE_LAYOUTS = {"balanced": ClusterLayout.of([3] * 30), "unbalanced": ClusterLayout.of([1, 2, 4] * 12)}


@pytest.mark.parametrize("layout", WIDE_LAYOUTS.values(), ids=WIDE_LAYOUTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_fiml_wide_returns_the_truth(name, layout) -> None:
    model, truth = truth_of(name)
    moments = population(model, FAMILIES[name]["values"])
    sample = rows_with_moments(model, layout, moments)
    theirs, ours = from_moments(layout, model.level1, model.level2, *moments), sample.statistics()
    np.testing.assert_allclose(ours.size_scatter, theirs.size_scatter, atol=1e-9)  # rounding
    np.testing.assert_allclose(ours.scatter_within, theirs.scatter_within, atol=1e-9)
    method = registry.create("fiml_wide", {"se": ["expected", "observed"]})
    assert method.supports(model, layout) is None
    found = with_defined(method.prepare(model, layout).fit(sample), model.estimands)
    assert found.converged.all()
    np.testing.assert_allclose(found.estimate[0], truth, rtol=0, atol=TRUTH)
    np.testing.assert_allclose(found.se["observed"], found.se["expected"], rtol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_multigroup_is_right_about_within_slopes_and_short_of_within_variances(layout) -> None:
    """Groups of one row are left out; the others' variances are (N - J) / N of the truth, or the truth (wishart)."""
    c = Contextual()
    kept = np.array([n for n in layout.sizes if n > 1], dtype=float)
    share = (kept.sum() - len(kept)) / kept.sum()
    normal = fit("multigroup", CONTEXTUAL, layout, c.moments())
    wishart = fit("multigroup", CONTEXTUAL, layout, c.moments(), likelihood="wishart")
    for found, factor in ((normal, share), (wishart, 1.0)):
        assert value(found, "bw") == pytest.approx(c.beta_w, abs=1e-10)
        assert value(found, "within: x ~~ x") == pytest.approx(factor * c.sigma2, rel=1e-10)
        assert value(found, "within: y ~~ y") == pytest.approx(factor * c.sigma_e2, rel=1e-10)
    # B3's asymptotic SE with N - J degrees of freedom, and with the N that forgets the means
    spare = kept.sum() - len(kept)
    assert se(wishart, "bw") == pytest.approx(np.sqrt(c.sigma_e2 / (c.sigma2 * spare)), rel=1e-10)
    assert se(normal, "bw") == pytest.approx(np.sqrt(c.sigma_e2 / (c.sigma2 * kept.sum())), rel=1e-10)


@pytest.mark.parametrize("c", [Contextual(), Contextual(tau2=0.3, sigma2=0.7)])
def test_multigroup_with_invariant_means_conflates(c) -> None:
    """B1: the slope of the total covariances, exactly as `disaggregated` in data of this layout."""
    layout = LAYOUTS["balanced"]
    found = fit("multigroup", CONTEXTUAL, layout, c.moments(), means="equal")
    theirs = fit("disaggregated", CONTEXTUAL, layout, c.moments(), se=["expected"])
    assert value(found, "bw") == pytest.approx(value(theirs, "bw"), rel=1e-10)
    rho = c.tau2 / (c.tau2 + c.sigma2)
    assert value(found, "bw") == pytest.approx(rho * c.beta_b + (1 - rho) * c.beta_w, abs=1e-10)
