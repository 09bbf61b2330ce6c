"""Random-intercept regression by profile likelihood against a mixed model with a dense covariance matrix."""

from __future__ import annotations

import numpy as np
import pytest
from likelihood_oracles import DenseMixedModel
from scipy import optimize

from simstudy.likelihood.mixed.random_intercept import Moments, _derivatives, fit_random_intercept

LAYOUTS = {
    "balanced": [4] * 8,
    "unbalanced": [1, 1, 2, 3, 3, 5, 8, 12],
    "one large": [25, 1, 1, 1, 2, 2],
}
reml_or_ml = pytest.mark.parametrize("reml", [False, True], ids=["ml", "reml"])
layouts = pytest.mark.parametrize("sizes", LAYOUTS.values(), ids=LAYOUTS)


def draw(sizes: list[int], seed: int, tau: float = 0.6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Regressors (constant, level 1, level 2), outcome and cluster of every row."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.normal(size=len(groups)) + 0.5 * rng.normal(size=len(sizes))[groups]
    z = rng.normal(size=len(sizes))[groups]
    y = 1.0 + 0.5 * x - 0.4 * z + tau * rng.normal(size=len(sizes))[groups] + rng.normal(size=len(groups))
    return np.column_stack([np.ones(len(groups)), x, z]), y, groups


def moments(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> Moments:
    """Sums over clusters, a size a cluster at a time."""
    full = np.column_stack([x, y])
    sizes = np.bincount(groups)
    distinct, counts = np.unique(sizes, return_counts=True)
    means = np.array([full[groups == j].mean(axis=0) for j in range(len(sizes))])
    deviations = full - means[groups]
    between = [sum(np.outer(m, m) for m in means[sizes == n]) for n in distinct]
    return Moments((deviations.T @ deviations)[None], np.array(between)[None], distinct * 1.0, counts * 1.0)


@layouts
@reml_or_ml
def test_reported_numbers_are_those_of_the_dense_model(sizes, reml) -> None:
    x, y, groups = draw(sizes, seed=1)
    dense, found = DenseMixedModel(x, y, groups), fit_random_intercept(moments(x, y, groups), reml=reml)
    assert found.ok.all()
    assert found.converged.all()
    s, t = float(found.sigma2[0]), float(found.tau2[0])
    beta, cov = dense.beta(s, t)
    # the same formulas through a dense solve of 30 equations: rounding
    np.testing.assert_allclose(found.beta[0], beta, rtol=1e-10)
    np.testing.assert_allclose(found.beta_cov[0], cov, rtol=1e-10, atol=1e-14)
    assert found.loglik[0] == pytest.approx(dense.loglik(s, t, reml=reml), rel=1e-12)
    information = dense.variance_information(s, t, reml=reml)
    np.testing.assert_allclose(np.linalg.inv(found.variance_cov[0]), information, rtol=1e-9)


@pytest.mark.parametrize("seed", [1, 2, 3])
@reml_or_ml
@pytest.mark.parametrize("sizes", [LAYOUTS["balanced"], LAYOUTS["unbalanced"]], ids=["balanced", "unbalanced"])
def test_the_maximum_is_scipys(sizes, reml, seed) -> None:
    x, y, groups = draw(sizes, seed)
    dense, found = DenseMixedModel(x, y, groups), fit_random_intercept(moments(x, y, groups), reml=reml)

    def objective(v: np.ndarray) -> float:
        return -dense.loglik(np.exp(v[0]), v[1] * np.exp(v[0]), reml=reml)

    best = optimize.minimize(objective, [0.0, 0.3], method="L-BFGS-B", bounds=[(None, None), (0.0, None)],
                             options={"ftol": 1e-14, "gtol": 1e-8})  # fmt: skip
    assert found.loglik[0] >= -best.fun - 1e-10  # rounding of 1e2
    assert found.loglik[0] == pytest.approx(-best.fun, abs=1e-7)  # numerical gradients stop there
    sigma2, theta = np.exp(best.x[0]), best.x[1]
    np.testing.assert_allclose([found.sigma2[0], found.tau2[0]], [sigma2, theta * sigma2], atol=2e-4)


@pytest.mark.parametrize(
    ("sizes", "reml"),
    [
        (LAYOUTS["balanced"], False),
        (LAYOUTS["balanced"], True),
        (LAYOUTS["unbalanced"], False),
        (LAYOUTS["unbalanced"], True),
        (LAYOUTS["one large"], False),
        (LAYOUTS["one large"], True),
    ],
)
def test_no_other_variance_ratio_is_better(sizes, reml) -> None:
    """Profile likelihoods of unbalanced data may have two maxima; the reported one is the highest of a fine grid."""
    grid = np.concatenate([[0.0], np.geomspace(1e-3, 1e2, 40)])
    for seed in range(12):
        x, y, groups = draw(sizes, seed, tau=0.3)
        dense, found = DenseMixedModel(x, y, groups), fit_random_intercept(moments(x, y, groups), reml=reml)
        best = max(dense.profile(theta, reml=reml) for theta in grid)
        assert found.loglik[0] >= best - 1e-9, f"seed {seed}"  # rounding


@layouts
@reml_or_ml
def test_derivatives_are_those_of_the_dense_profile(sizes, reml) -> None:
    x, y, groups = draw(sizes, seed=5)
    dense, sums = DenseMixedModel(x, y, groups), moments(x, y, groups)
    nbar = len(y) / len(sizes)

    def deviance(position: float) -> float:
        return -2.0 * dense.profile(float(np.expm1(position) / nbar), reml=reml)

    step = 3e-3
    for position in (0.1, 0.7, 2.5):
        first, second, ok = _derivatives(sums, np.array([position]), nbar, reml)
        assert ok.all()
        low2, low, here, high, high2 = (deviance(position + k * step) for k in (-2, -1, 0, 1, 2))
        # fourth-order differences of a dense solve, good to 1e-11: rounding 1e-11 / step and 1e-11 / step^2
        assert first[0] == pytest.approx((low2 - 8 * low + 8 * high - high2) / (12 * step), abs=1e-7)
        numeric = (-low2 + 16 * low - 30 * here + 16 * high - high2) / (12 * step**2)
        assert second[0] == pytest.approx(numeric, abs=1e-5)


@layouts
@reml_or_ml
def test_boundary_is_ordinary_least_squares(sizes, reml) -> None:
    """Cluster means of the outcome are equal given the regressors: tau^2 is 0 exactly."""
    x, y, groups = draw(sizes, seed=8)
    y = y - np.bincount(groups, y)[groups] / np.bincount(groups)[groups]  # no between variation at all
    x[:, 1] -= np.bincount(groups, x[:, 1])[groups] / np.bincount(groups)[groups]
    found = fit_random_intercept(moments(x, y, groups), reml=reml)
    assert found.converged.all()
    assert found.tau2[0] == 0.0
    assert found.n_iter[0] == 0
    ols, rss, *_ = np.linalg.lstsq(x, y, rcond=None)
    np.testing.assert_allclose(found.beta[0], ols, atol=1e-12)  # rounding
    assert found.sigma2[0] == pytest.approx(rss[0] / (len(y) - (3 if reml else 0)), rel=1e-12)
    assert found.loglik[0] == pytest.approx(DenseMixedModel(x, y, groups).loglik(found.sigma2[0], 0.0, reml=reml))


@reml_or_ml
def test_tau_fixed_at_zero_is_ordinary_least_squares(reml) -> None:
    x, y, groups = draw(LAYOUTS["unbalanced"], seed=1)
    free = fit_random_intercept(moments(x, y, groups), reml=reml)
    found = fit_random_intercept(moments(x, y, groups), reml=reml, tau_free=False)
    assert free.tau2[0] > 0.1
    assert found.tau2[0] == 0.0
    np.testing.assert_allclose(found.beta[0], np.linalg.lstsq(x, y, rcond=None)[0], rtol=1e-11)  # rounding


def test_balanced_empty_model_is_the_analysis_of_variance() -> None:
    """REML: tau^2 = (MSB - MSW) / n, sigma^2 = MSW."""
    sizes = LAYOUTS["balanced"]
    _, y, groups = draw(sizes, seed=1)
    found = fit_random_intercept(moments(np.ones((len(y), 1)), y, groups), reml=True)
    n, j = sizes[0], len(sizes)
    means = y.reshape(j, n).mean(axis=1)
    between = n * means.var(ddof=1)
    within = ((y.reshape(j, n) - means[:, None]) ** 2).sum() / (j * (n - 1))
    assert between > within
    assert found.tau2[0] == pytest.approx((between - within) / n, rel=1e-9)  # Newton stops within 1e-10 SE
    assert found.sigma2[0] == pytest.approx(within, rel=1e-9)


def test_data_that_cannot_be_fitted_are_not_ok_and_leave_their_neighbours_alone() -> None:
    x, y, groups = draw(LAYOUTS["unbalanced"], seed=1)
    constant = x.copy()
    constant[:, 1] = 2.0  # collinear with the intercept
    double = x.copy()
    double[:, 2] = 3.0 * x[:, 1]
    nan = y.copy()
    nan[0] = np.nan
    sets = [
        (x, y),
        (constant, y),
        (double, y),
        (x, x @ [1.0, 2.0, 3.0]),
        (x, nan),
        (np.full_like(x, np.nan), y),
        (x, y),
    ]
    parts = [moments(a, b, groups) for a, b in sets]
    stack = Moments(
        np.concatenate([m.within for m in parts]),
        np.concatenate([m.between for m in parts]),
        parts[0].sizes,
        parts[0].counts,
    )
    for reml in (False, True):
        found = fit_random_intercept(stack, reml=reml)
        np.testing.assert_array_equal(found.ok & found.converged, [True, False, False, False, False, False, True])
        alone = fit_random_intercept(parts[0], reml=reml)
        for name in ("beta", "beta_cov", "sigma2", "tau2", "variance_cov", "loglik", "n_iter"):
            for k in (0, 6):
                np.testing.assert_array_equal(getattr(found, name)[k], getattr(alone, name)[0])
