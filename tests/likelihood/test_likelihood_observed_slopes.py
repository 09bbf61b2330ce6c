"""Closed-form likelihood of random slopes: brute force, derivatives, singular and small cases, bits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from slope_cases import CASES, LAYOUT, brute_force, gentle, products, sample, values

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.likelihood.slopes.observed import ObservedSlopes
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.twolevel import TwoLevelModel

CLOSED = [name for name, case in CASES.items() if case.treatment != "latent"]
closed = pytest.mark.parametrize("name", CLOSED)


def likelihood(name: str) -> ObservedSlopes:
    case = CASES[name]
    return ObservedSlopes(SlopeStructure(case.model), case.treatment)


@closed
def test_loglikelihood_is_the_normal_density_integrated_over_the_slopes(name) -> None:
    case = CASES[name]
    model, data = case.model, sample(case.model)
    params = gentle(model)
    _, found = likelihood(name).integral(params[None], products(data))
    exact = brute_force(model, params, data, case.treatment, case.nodes)
    np.testing.assert_allclose(found.loglik[0], exact, rtol=0, atol=1e-10)  # the rule's error


@closed
def test_score_and_information_are_derivatives(name) -> None:
    target, model = likelihood(name), CASES[name].model
    at, data, q, h = values(model), products(sample(model)), len(model.names), 1e-5
    points = np.repeat(at[None], 2 * q, axis=0)
    points[np.arange(2 * q), np.tile(np.arange(q), 2)] += np.repeat([h, -h], q)
    moved = target.evaluate(points, data.select(np.zeros(2 * q, dtype=np.int64)))
    found = target.evaluate(at[None], data)
    assert found.ok.all()
    assert np.abs(found.score).max() > 1.0  # far from a maximum
    slope = (moved.loglik[:q] - moved.loglik[q:]) / (2 * h)
    np.testing.assert_allclose(found.score[0], slope, rtol=1e-7, atol=1e-7)  # h^2 and rounding / h
    bend = -(moved.score[:q] - moved.score[q:]) / (2 * h)
    np.testing.assert_allclose(found.information[0], bend, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found.information[0], found.information[0].T)
    assert target.loglik(at[None], data)[0] == found.loglik[0]


@closed
def test_cluster_scores_are_each_clusters_own_and_add_up(name) -> None:
    target, model = likelihood(name), CASES[name].model
    at, rows = values(model)[None], sample(model)
    scores = target.cluster_scores(at, products(rows))
    np.testing.assert_allclose(scores.sum(axis=1), target.evaluate(at, products(rows)).score, atol=1e-12)  # rounding
    last = ClusterLayout.of(LAYOUT.sizes[-1:])
    alone = Sample(last, model.level1, model.level2, rows.rows[:, -last.n_obs :], rows.clusters[:, -1:])
    np.testing.assert_allclose(target.evaluate(at, products(alone)).score, scores[:, -1], atol=1e-12)


@closed
def test_no_bit_depends_on_the_batch(name) -> None:
    target, model = likelihood(name), CASES[name].model
    data = products(sample(model, ClusterLayout.of([2, 5, 5, 7, 9, 9, 30]), replicates=5))
    points = values(model) * np.linspace(0.9, 1.1, 5)[:, None]
    whole = target.evaluate(points, data)
    scores = target.cluster_scores(points, data)
    for part in ([0], [3, 4], [4, 1, 2]):
        some = target.evaluate(points[part], data.select(np.array(part)))
        np.testing.assert_array_equal(some.loglik, whole.loglik[part])
        np.testing.assert_array_equal(some.score, whole.score[part])
        np.testing.assert_array_equal(some.information, whole.information[part])
        np.testing.assert_array_equal(target.cluster_scores(points[part], data.select(np.array(part))), scores[part])


def stacked(params: np.ndarray, rows: np.ndarray) -> float:
    """y = s x + b v + .. of one cluster: the dense normal density of y given x and v, times that of x and v."""
    model = CASES["no level-2 variable"].model
    p = dict(zip(model.names, params, strict=True))
    y, x, v = (rows[:, model.level1.index(name)] for name in "yxv")
    n, design = len(y), np.column_stack([np.ones(len(y)), x])
    t01 = p.get("between: y ~~ s", p.get("between: s ~~ y"))
    t = np.array([[p["between: y ~~ y"], t01], [t01, p["between: s ~~ s"]]])
    mean = design @ [p["between: y ~ 1"], p["between: s ~ 1"]] + p["b"] * v
    cov = design @ t @ design.T + p["within: y ~~ y"] * np.eye(n)
    found = stats.multivariate_normal.logpdf(y, mean, cov)
    xv = p["within: x ~~ v"] if "within: x ~~ v" in p else p["within: v ~~ x"]
    cov = [[p["within: x ~~ x"], xv], [xv, p["within: v ~~ v"]]]
    centre = [p["within: x ~ 1"], p["within: v ~ 1"]]
    return float(
        found + stats.multivariate_normal.logpdf(rows[:, [model.level1.index(n) for n in "xv"]], centre, cov).sum()
    )


@pytest.mark.parametrize("t", [(0.6, 0.2, 0.3), (0.6, 0.0, 0.0), (0.0, 0.0, 0.4), (0.4, 0.2, 0.1), (0.0, 0.0, 0.0)])
def test_singular_covariance_matrices_and_small_clusters(t) -> None:
    """Slope or intercept variance 0, correlation 1: the dense density needs no inverse of T either."""
    model = CASES["no level-2 variable"].model
    params = values(model)
    for row in model.table.at("between"):
        if row.op == "~~":
            params[row.free] = {("y", "y"): t[0], ("s", "y"): t[1], ("s", "s"): t[2]}[tuple(sorted((row.lhs, row.rhs)))]
    data = sample(model)
    target = likelihood("no level-2 variable")
    found = target.evaluate(params[None], products(data))
    starts = data.layout.row_starts
    exact = sum(stacked(params, data.rows[0, a : a + n]) for a, n in zip(starts, data.layout.sizes, strict=True))
    assert found.ok.all()
    assert found.loglik[0] == pytest.approx(exact, abs=1e-11)  # rounding
    assert np.isfinite(found.information).all()


def test_a_slope_without_variance_is_a_fixed_slope() -> None:
    """The two-level likelihood of the model with fixed slopes, latent centring included."""
    fixed = TwoLevelModel.from_syntax("level: 1\n y ~ x\nlevel: 2\n y ~ bb*x + w\n")
    random = TwoLevelModel.from_syntax("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ bb*x + w\n")
    data = sample(fixed)
    params = values(fixed)
    named = dict(zip(fixed.names, params, strict=True))
    named |= {"between: s ~ 1": named["within: y ~ x"], "between: s ~~ s": 0.0}
    other = np.array([named[name] for name in random.names])
    layout = data.layout
    plain = TwoLevelLikelihood(TwoLevelStructure(fixed), layout.distinct, layout.counts)
    expected, _ = plain.loglik(params[None], Data.of(data.statistics()))
    found = ObservedSlopes(SlopeStructure(random), "hybrid").loglik(other[None], products(data))
    assert found[0] == pytest.approx(expected[0], abs=1e-11)  # rounding


def test_infeasible_moments_are_no_number() -> None:
    model = CASES["one slope"].model
    params = np.repeat(values(model)[None], 3, axis=0)
    params[0, model.names.index("within: y ~~ y")] = -0.1
    params[1, model.names.index("between: s ~~ s")] = -0.1
    found = likelihood("one slope").evaluate(params, products(sample(model)).select(np.zeros(3, dtype=np.int64)))
    np.testing.assert_array_equal(found.ok, [False, False, True])
    assert np.isnan(found.loglik[:2]).all()


def test_empirical_bayes_is_the_regression_on_the_data() -> None:
    """Slopes and intercepts given the data: the posterior of the dense normal model."""
    model = CASES["no level-2 variable"].model
    params, data = values(model), sample(model)
    p = dict(zip(model.names, params, strict=True))
    means, spreads = likelihood("no level-2 variable").elements(params[None], products(data))
    rows = data.rows[0, -LAYOUT.sizes[-1] :]
    y, x, v = (rows[:, model.level1.index(name)] for name in "yxv")
    t01 = p.get("between: y ~~ s", p.get("between: s ~~ y"))
    t = np.array([[p["between: y ~~ y"], t01], [t01, p["between: s ~~ s"]]])
    design = np.column_stack([np.ones(len(y)), x])
    solve = t @ design.T @ np.linalg.inv(design @ t @ design.T + p["within: y ~~ y"] * np.eye(len(y)))
    mean = np.array([p["between: y ~ 1"], p["between: s ~ 1"]])
    np.testing.assert_allclose(means[0, -1], mean + solve @ (y - p["b"] * v - design @ mean), atol=1e-12)  # rounding
    np.testing.assert_allclose(spreads[0, -1], t - solve @ design @ t, atol=1e-12)
