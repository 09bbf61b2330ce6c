"""`multigroup`: brute force over J groups, its two divisors, what invariant means do, and how bad its chi-square is."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_data import BALANCED, CONTEXTUAL, MEDIATION, OUTCOME_2, UNBALANCED, draw, fit, se, value
from scipy import optimize, special, stats

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.estimation.result import Status
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

FULL = TwoLevelModel.from_syntax("level: 1\n m ~ aw*x\n y ~ bw*m\nlevel: 2\n m ~ ab*x\n y ~ bb*m\nind := aw*bw")
LARGE = ClusterLayout.of([5, 6, 8, 9, 12])
# Explicit solutions or Newton's last step: rounding and a little more.
EXACT = 1e-9


def groups(sample: Sample, names: tuple[str, ...]) -> list[np.ndarray]:
    """Rows of every cluster, of some variables."""
    columns = [sample.level1.index(name) for name in names]
    return [
        sample.rows[0, start : start + n, columns].T
        for n, start in zip(sample.layout.sizes, sample.layout.row_starts, strict=True)
    ]


def full_mediation(theta: np.ndarray) -> np.ndarray:
    """Covariances of (x, m, y) with m = a x, y = b m."""
    a, b, vx, vm, vy = theta
    total = np.linalg.inv(np.eye(3) - np.array([[0, 0, 0], [a, 0, 0], [0, b, 0]]))
    return total @ np.diag([vx, vm, vy]) @ total.T


@pytest.mark.parametrize("means", ["free", "equal"])
def test_brute_force_over_groups(means) -> None:
    """scipy maximises the sum of multivariate normal densities of the rows, group means profiled out."""
    sample = draw(FULL, LARGE, 1, seed=3)
    rows = groups(sample, ("x", "m", "y"))
    centre = [g.mean(axis=0) for g in rows] if means == "free" else [np.vstack(rows).mean(axis=0)] * len(rows)

    def loglik(theta: np.ndarray) -> float:
        if (theta[2:] <= 0).any():
            return -np.inf
        cov = full_mediation(theta)
        return sum(stats.multivariate_normal.logpdf(g, m, cov).sum() for g, m in zip(rows, centre, strict=True))

    found = optimize.minimize(lambda t: -loglik(t), [0.3, 0.3, 1, 1, 1], method="Nelder-Mead", options={
        "xatol": 1e-10, "fatol": 1e-12, "maxiter": 5000, "maxfev": 5000,
    })  # fmt: skip
    ours = fit("multigroup", FULL, sample, means=means, measures=True)
    names = ("aw", "bw", "within: x ~~ x", "within: m ~~ m", "within: y ~~ y")
    np.testing.assert_allclose([value(ours, n) for n in names], found.x, atol=1e-6)  # scipy's simplex
    assert ours.loglik[0] == pytest.approx(-found.fun, abs=1e-9)
    # every group with its own means and covariance matrix
    own = sum(stats.multivariate_normal.logpdf(g, g.mean(axis=0), np.cov(g.T, bias=True)).sum() for g in rows)
    assert ours.measures["unrestricted_loglik"][0] == pytest.approx(own, rel=1e-12)
    assert ours.measures["chisq"][0] == pytest.approx(2 * (own + found.fun), abs=1e-8)
    df = 5 * 6 - 5 + (0 if means == "free" else 4 * 3)
    assert ours.measures["df"][0] == df
    assert ours.measures["pvalue"][0] == pytest.approx(stats.chi2.sf(ours.measures["chisq"][0], df))
    assert ours.measures["npar"][0] == 5 + (15 if means == "free" else 3)
    # it says nothing about the other level
    assert np.isnan([value(ours, "ab"), value(ours, "bb"), value(ours, "between: x ~~ x")]).all()
    assert value(ours, "ind") == pytest.approx(value(ours, "aw") * value(ours, "bw"), rel=1e-12)


@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
def test_wishart_is_the_pooled_within_matrix_and_normal_is_smaller(layout) -> None:
    sample = draw(CONTEXTUAL, layout, 3, seed=5)
    pooled = sample.statistics().scatter_within / (layout.n_obs - layout.n_clusters)
    wishart = fit("multigroup", CONTEXTUAL, sample, likelihood="wishart", se=["expected", "observed"])
    normal = fit("multigroup", CONTEXTUAL, sample)
    share = (layout.n_obs - layout.n_clusters) / layout.n_obs
    for r in range(3):
        y, x = pooled[r]
        slope = y[1] / x[1]
        assert value(wishart, "bw", r) == pytest.approx(slope, rel=EXACT)
        assert value(wishart, "within: x ~~ x", r) == pytest.approx(x[1], rel=EXACT)
        assert value(wishart, "within: y ~~ y", r) == pytest.approx(y[0] - slope * y[1], rel=EXACT)
        assert value(normal, "bw", r) == pytest.approx(slope, rel=EXACT)
        assert value(normal, "within: x ~~ x", r) == pytest.approx(share * x[1], rel=EXACT)
        assert value(normal, "within: y ~~ y", r) == pytest.approx(share * (y[0] - slope * y[1]), rel=EXACT)
        # the slope's SE forgets that J means were estimated
        assert se(normal, "bw", r=r) == pytest.approx(np.sqrt(share) * se(wishart, "bw", r=r), rel=EXACT)
    assert np.isnan(wishart.loglik).all()
    balanced = fit("msem", CONTEXTUAL, sample)
    if layout is BALANCED:  # the within part of balanced saturated msem is the same matrix
        np.testing.assert_allclose(wishart.estimate[:, :3], balanced.estimate[:, :3], rtol=1e-7)


def test_invariant_means_leave_the_total_covariances() -> None:
    """Structure and means invariant: the clusters might as well not be there."""
    sample = draw(MEDIATION, UNBALANCED, 2, seed=6)
    kinds = ["expected", "observed", "robust"]
    ours = fit("multigroup", MEDIATION, sample, means="equal", se=kinds)
    theirs = fit("disaggregated", MEDIATION, sample, se=kinds)
    for name in ("aw", "bw", "cw"):
        for r in range(2):
            assert value(ours, name, r) == pytest.approx(value(theirs, name, r), rel=EXACT)
            for kind in kinds:
                assert se(ours, name, kind, r) == pytest.approx(se(theirs, name, kind, r), rel=EXACT)
    np.testing.assert_allclose(ours.loglik, theirs.loglik, rtol=1e-12)


def test_equality_of_means_is_tested_by_the_difference_of_chi_squares() -> None:
    """All that it knows of the between level: that clusters differ. Brute force: Wilks' lambda."""
    sample = draw(CONTEXTUAL, LARGE, 1, seed=7)
    free, equal = (fit("multigroup", CONTEXTUAL, sample, means=m, measures=True).measures for m in ("free", "equal"))
    rows = groups(sample, CONTEXTUAL.level1)
    within = sum((g - g.mean(axis=0)).T @ (g - g.mean(axis=0)) for g in rows)
    every = np.vstack(rows)
    total = (every - every.mean(axis=0)).T @ (every - every.mean(axis=0))
    wilks = len(every) * np.log(np.linalg.det(total) / np.linalg.det(within))
    assert equal["chisq"][0] - free["chisq"][0] == pytest.approx(wilks, rel=EXACT)
    assert equal["df"][0] - free["df"][0] == 4 * 2


def test_clusters_of_one_row_are_no_groups_and_small_ones_have_no_chi_square() -> None:
    layout = ClusterLayout.of([1, 1, 2, 4, 6])
    sample = draw(CONTEXTUAL, layout, 1, seed=8)
    bigger = Sample(ClusterLayout.of([2, 4, 6]), sample.level1, (), sample.rows[:, 2:], sample.clusters[:, 2:])
    for options in ({}, {"likelihood": "wishart"}, {"means": "equal"}):
        ours = fit("multigroup", CONTEXTUAL, sample, measures=True, **options)
        theirs = fit("multigroup", CONTEXTUAL, bigger, measures=True, **options)
        np.testing.assert_array_equal(ours.estimate, theirs.estimate)
        np.testing.assert_array_equal(ours.se["expected"], theirs.se["expected"])
        assert ours.measures["df"][0] == theirs.measures["df"][0]
        assert np.isnan(ours.measures["chisq"][0])  # two variables in a group of two rows
        assert np.isnan(ours.measures["pvalue"][0])


def test_what_it_does_not_do() -> None:
    method = registry.create("multigroup")
    tied = TwoLevelModel.from_syntax("level: 1\n y ~ a*x\nlevel: 2\n y ~ b*x\na == 2*b")
    fixed = TwoLevelModel.from_syntax("level: 1\n y ~ 0.5*x\n y ~~ 1*y\n x ~~ 1*x\nlevel: 2\n y ~ x")
    assert "'=='" in str(method.supports(tied, BALANCED))
    assert "no free parameters" in str(method.supports(fixed, BALANCED))
    assert "degrees of freedom" in str(method.supports(MEDIATION, ClusterLayout.of([1] * 50 + [2])))
    found = fit("multigroup", OUTCOME_2, draw(OUTCOME_2, BALANCED, 1))
    spoken = ~np.isnan(found.estimate[0, : len(OUTCOME_2.names)])
    assert {n for n, s in zip(OUTCOME_2.names, spoken, strict=True) if s} == {"aw", "within: m ~~ m", "within: x ~~ x"}


def test_within_means_belong_to_the_groups() -> None:
    """A variable of level 1 alone has an intercept in the within block: here every group has its own."""
    model = TwoLevelModel.from_syntax("level: 1\n y ~ bw*x + d*w\nlevel: 2\n y ~ bb*x")
    sample = draw(model, UNBALANCED, 1, seed=9)
    found = fit("multigroup", model, sample, likelihood="wishart")
    assert np.isnan(value(found, "within: w ~ 1"))
    names = [model.level1.index(n) for n in ("y", "x", "w")]
    pooled = sample.statistics().scatter_within[0][np.ix_(names, names)]
    np.testing.assert_allclose([value(found, "bw"), value(found, "d")], np.linalg.solve(pooled[1:, 1:], pooled[1:, 0]))


def test_data_that_cannot_be_fitted_leave_their_neighbours_alone() -> None:
    sample = draw(CONTEXTUAL, UNBALANCED, 4, seed=4)
    good = fit("multigroup", CONTEXTUAL, sample.select(np.array([0])), measures=True)
    sample.rows[1, 5, 0] = np.nan
    sample.rows[2] = 0.0
    sample.rows[3, :, 0] = sample.rows[3, :, 1]
    found = fit("multigroup", CONTEXTUAL, sample, measures=True)
    assert found.status[0] == Status.OK
    assert found.status[1] == Status.NONFINITE
    assert (found.status[2:] != Status.OK).all()
    assert np.isnan(found.estimate[1:]).all()
    assert np.isnan(found.measures["loglik"][1:]).all()
    np.testing.assert_array_equal(found.estimate[0], good.estimate[0])


def expected_chi_square(layout: ClusterLayout, p: int) -> float:
    """Of a saturated within model, exact: E log|W| of a Wishart matrix on m degrees of freedom is a sum of digammas."""

    def log_det(m: float) -> float:
        return float(special.digamma((m - np.arange(p)) / 2).sum() + p * np.log(2.0))

    n = np.array(layout.sizes, dtype=float)
    pooled = log_det(n.sum() - len(n)) - p * np.log(n.sum())
    return float(n.sum() * pooled - sum(m * (log_det(m - 1) - p * np.log(m)) for m in n))


@pytest.mark.parametrize("layout", [ClusterLayout.of([6] * 20), ClusterLayout.of([4, 5, 10, 20, 40])])
def test_chi_square_has_its_exact_mean_which_is_not_its_df(layout) -> None:
    """20 clusters of 6: mean 81.2 at 57 df."""
    replicates = 400
    found = fit("multigroup", CONTEXTUAL, draw(CONTEXTUAL, layout, replicates, seed=10), measures=True)
    chisq, df = found.measures["chisq"], found.measures["df"][0]
    mean = expected_chi_square(layout, 2)
    assert df == 3 * (layout.n_clusters - 1)
    assert mean > 1.2 * df
    mcse = chisq.std(ddof=1) / np.sqrt(replicates)
    assert abs(chisq.mean() - mean) < 4 * mcse
    assert (found.measures["pvalue"] < 0.05).mean() > 0.15


@pytest.mark.slow
def test_standard_errors_forget_the_means() -> None:
    """Neyman & Scott (1948): more clusters do not help. Theory B3: Var = sigma_e^2 / [sigma^2 (J (n - 1) - 2)]."""
    n, replicates = 3, 4000
    for clusters in (20, 80):
        layout = ClusterLayout.of([n] * clusters)
        sample = draw(CONTEXTUAL, layout, replicates, seed=11)
        found = fit("multigroup", CONTEXTUAL, sample)
        slopes, ses = found.estimate[:, 0], found.se["expected"][:, 0]
        spare = clusters * (n - 1)
        # E[SE^2] = (spare / N)-shrunken residual over shrunken x, over N: the shares cancel but for the count
        ratio = np.sqrt(np.mean(ses**2)) / slopes.std(ddof=1)
        expected = np.sqrt((spare - 1) / (clusters * n))
        assert ratio == pytest.approx(expected, abs=4 * expected / np.sqrt(2 * replicates))
        assert np.mean(found.estimate[:, 2]) / 0.7 == pytest.approx(
            spare / (clusters * n), abs=4 * np.std(found.estimate[:, 2]) / 0.7 / np.sqrt(replicates)
        )
