"""Slopes of factors, integrated over: brute force, derivatives, nodes by error, limits, bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from slope_cases import brute_force, gentle, products, sample

from simstudy.data.layout import ClusterLayout
from simstudy.data.products import PatternProducts
from simstudy.data.sample import Sample
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.likelihood.slopes import given as given_module
from simstudy.likelihood.slopes import given_nodes
from simstudy.likelihood.slopes.given import GivenSlopes
from simstudy.likelihood.slopes.integrals import integrated, treatment
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.draw import draw_sample
from simstudy.population.population import Population

FACTOR = "f =~ x1 + x2 + x3\n"
CASES = {  # text, what slopes of observed variables multiply, nodes a slope of the brute-force integral
    "outcome observed": (f"level: 1\n {FACTOR} y ~ rv('s')*f\nlevel: 2\n x1 ~~ x2\n y ~~ s\n s ~ w\n", "observed", 40),
    "outcome a factor": (
        f"level: 1\n {FACTOR} h =~ y1 + y2 + y3\n h ~ rv('s')*f\n"
        "level: 2\n g =~ x1 + x2 + x3\n k =~ y1 + y2 + y3\n k ~ g\n k ~~ s\n z ~ s\n",
        "observed", 40,
    ),
    "two slopes": (
        f"level: 1\n {FACTOR} y ~ rv('s')*f\n v ~ rv('t')*f + y\nlevel: 2\n y ~~ v\n y ~~ s\n s ~~ t\n", "observed", 24
    ),
    "one after the other": (
        f"level: 1\n {FACTOR} h =~ y1 + y2 + y3\n h ~ rv('s')*f\n v ~ rv('t')*h\nlevel: 2\n v ~~ t\n s ~~ t\n",
        "observed", 24,
    ),
    "beside an observed one": (
        f"level: 1\n {FACTOR} y ~ rv('s')*f + rv('t')*v\nlevel: 2\n y ~~ s\n y ~~ t\n s ~~ t\n", "observed", 24
    ),
    "beside a latent one": (
        f"level: 1\n {FACTOR} y ~ rv('s')*f + rv('t')*v\nlevel: 2\n y ~ v\n y ~~ s\n y ~~ t\n", "auto", 24
    ),
    "beside a hybrid one": (
        f"level: 1\n {FACTOR} y ~ rv('s')*f + rv('t')*v\nlevel: 2\n y ~ v\n y ~~ s\n y ~~ t\n", "hybrid", 24
    ),
}  # fmt: skip
SLOW = ("outcome a factor", "two slopes", "one after the other", "beside a latent one")
each = pytest.mark.parametrize("name", [pytest.param(x, marks=[pytest.mark.slow] * (x in SLOW)) for x in CASES])


def likelihood(name: str, nodes: int | None = None) -> GivenSlopes:
    text, choice, _ = CASES[name]
    model = TwoLevelModel.from_syntax(text)
    return GivenSlopes(model, integrated(model, choice), treatment(model, choice), nodes)


def drawn(model: TwoLevelModel, params: np.ndarray, layout: ClusterLayout) -> Sample:
    return draw_sample(Population(model, tuple(params.tolist()), layout, "given slopes"), 4, [0])


def model_of(name: str) -> TwoLevelModel:
    return TwoLevelModel.from_syntax(CASES[name][0])


@each
def test_loglikelihood_is_the_normal_density_integrated_over_the_slopes(name) -> None:
    model, (_, choice, nodes) = model_of(name), CASES[name]
    data, params = sample(model, ClusterLayout.of([1, 2, 4])), gentle(model)
    found = likelihood(name).cluster_logliks(params[None], products(data))[0]
    exact = brute_force(model, params, data, treatment(model, choice), nodes)
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-9)  # nodes end at 6.5 standard deviations


@each
def test_score_and_information_are_derivatives(name) -> None:
    target, model = likelihood(name), model_of(name)
    at, data, q, h = gentle(model), products(sample(model)), len(model.names), 1e-5
    points = np.repeat(at[None], 2 * q, axis=0)
    points[np.arange(2 * q), np.tile(np.arange(q), 2)] += np.repeat([h, -h], q)
    moved = target.evaluate(points, data.select(np.zeros(2 * q, dtype=np.int64)))
    found = target.evaluate(at[None], data)
    assert found.ok.all()
    slope = (moved.loglik[:q] - moved.loglik[q:]) / (2 * h)
    np.testing.assert_allclose(found.score[0], slope, rtol=1e-6, atol=1e-5)  # h^2, the rule / h
    bend = -(moved.score[:q] - moved.score[q:]) / (2 * h)
    np.testing.assert_allclose(found.information[0], bend, rtol=1e-5, atol=1e-4)
    scores = target.cluster_scores(at[None], data)
    np.testing.assert_allclose(scores.sum(axis=1), found.score, atol=1e-10)  # rounding


@pytest.mark.parametrize(
    "name", ["outcome observed", pytest.param("beside a latent one", marks=pytest.mark.slow), "beside an observed one"]
)
def test_no_bit_depends_on_the_batch(name, monkeypatch) -> None:
    """Replicates with other numbers of nodes beside them, and blocks of another size."""
    target, model = likelihood(name), model_of(name)
    data = products(sample(model, ClusterLayout.of([2, 5, 7, 30]), replicates=4))
    points = gentle(model) * np.linspace(0.6, 1.4, 4)[:, None]
    whole, scores = target.evaluate(points, data), target.cluster_scores(points, data)
    assert whole.ok.all()
    means, covs = target.elements(points, data)
    for part, at_once in (([0], 10_000), ([3, 1], 10_000), ([2, 0, 1], 50)):
        monkeypatch.setattr(given_nodes, "AT_ONCE", at_once)
        some = target.evaluate(points[part], data.select(np.array(part)))
        np.testing.assert_array_equal(some.loglik, whole.loglik[part])
        np.testing.assert_array_equal(some.score, whole.score[part])
        np.testing.assert_array_equal(some.information, whole.information[part])
        np.testing.assert_array_equal(target.cluster_scores(points[part], data.select(np.array(part))), scores[part])
        mean, cov = target.elements(points[part], data.select(np.array(part)))
        np.testing.assert_array_equal(mean, means[part])
        np.testing.assert_array_equal(cov, covs[part])


def test_clusters_with_nodes_of_their_own_give_the_same(monkeypatch) -> None:
    """What level-2 variables tell of slopes puts clusters apart; together they need more nodes, not another value."""
    target, model = likelihood("outcome observed"), model_of("outcome observed")
    data, params = products(sample(model, replicates=2)), np.repeat(gentle(model)[None], 2, axis=0)
    params[:, model.table.find("between", "s", "~~", "s").free] = 0.002
    params[:, model.table.find("between", "y", "~~", "s").free] = 0.01
    together, means = target.evaluate(params, data), target.elements(params, data)
    monkeypatch.setattr(given_module, "SPREAD", 0.0)
    apart, others = target.evaluate(params, data), target.elements(params, data)
    np.testing.assert_allclose(apart.loglik, together.loglik, rtol=0, atol=1e-8)  # the rule
    np.testing.assert_allclose(apart.score, together.score, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(apart.information, together.information, rtol=1e-5, atol=1e-3)
    for mine, theirs in zip(others, means, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-7)
    alone = target.evaluate(params[1:], data.select(np.array([1])))
    np.testing.assert_array_equal(alone.information, apart.information[1:])


@pytest.mark.parametrize("variance", [0.0, 1e-16, 1e-9])
def test_without_slope_variance_it_is_the_likelihood_of_fixed_slopes(variance) -> None:
    """And its derivatives are finite: estimates may stand there. Here slopes have a predictor, too."""
    text = f"level: 1\n {FACTOR} y ~ {{}}f\nlevel: 2\n x1 ~~ x2\n y ~ w\n"
    fixed = TwoLevelModel.from_syntax(text.format(""))
    random = TwoLevelModel.from_syntax(text.format("rv('s')*") + " s ~ w\n")
    data, params = sample(fixed), gentle(fixed)
    named = dict(zip(fixed.names, params, strict=True))
    named |= {
        "between: s ~ 1": named["within: y ~ f"],
        "between: s ~~ s": variance,
        "between: s ~ w": 0.0,
        "between: s ~~ y": 0.0,
    }
    other = np.array([named[name] for name in random.names])
    plain = TwoLevelLikelihood(TwoLevelStructure(fixed), data.layout.distinct, data.layout.counts)
    expected, _ = plain.loglik(params[None], Data.of(data.statistics()))
    target = GivenSlopes(random, ("s",))
    found = target.evaluate(other[None], products(data))
    assert found.loglik[0] == pytest.approx(expected[0], abs=1e-8 + 100.0 * variance)  # the rule; the variance's part
    at = random.names.index("between: s ~~ s")
    other[at] = 1e-4
    up = target.evaluate(other[None], products(data))
    assert found.score[0, at] == pytest.approx(up.score[0, at], abs=0.1)  # of 15; rounding / 1e-12 is some 1e-3
    keep = np.arange(len(other)) != at  # information about the others does not feel that either
    np.testing.assert_allclose(
        found.information[0][keep][:, keep], up.information[0][keep][:, keep], rtol=0.01, atol=0.05
    )
    assert np.isfinite(found.information).all()


def test_more_nodes_only_where_they_are_needed() -> None:
    """The same data with large clusters have narrow peaks: more nodes; the error by half the step stays small."""
    model = model_of("outcome observed")
    target, params = likelihood("outcome observed"), gentle(model)[None]
    counts = []
    for size in (5, 50, 500):
        data = products(drawn(model, params[0], ClusterLayout.of([size] * 6)))
        value, _, nodes = target.measured(params, data)
        finer, _, more = target.finer(1).measured(params, data)
        assert abs(finer - value)[0] < 1e-7  # what a fit asks for
        assert more[0] == 2 * nodes[0] - 1
        counts.append(int(nodes[0]))
    assert counts == sorted(counts)


def test_nodes_by_hand() -> None:
    target, model = likelihood("outcome observed", 9), model_of("outcome observed")
    value, _, nodes = target.measured(gentle(model)[None], products(sample(model)))
    exact = likelihood("outcome observed").loglik(gentle(model)[None], products(sample(model)))
    assert nodes[0] == 9
    assert 1e-12 < abs(value - exact)[0] < 0.05  # few nodes: not right, and not far off


MISSING = {  # text, what slopes multiply, slopes whose predictors have missing values
    "within only": ("level: 1\n y ~ rv('s')*x + v\nlevel: 2\n y ~~ s\n s ~ w\n z ~ s\n", "observed", ("s",)),
    "latent": ("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ x + w\n s ~ w\n y ~~ s\n", "latent", ("s",)),
    "hybrid": ("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ x + w\n s ~ w\n y ~~ s\n", "hybrid", ("s",)),
    "mediator observed": (
        "level: 1\n m ~ rv('a')*x\n y ~ rv('b')*m + x\nlevel: 2\n m ~~ y\n y ~~ a\n a ~~ b\n", "observed", ("b",)
    ),
    "mediation hybrid": (
        "level: 1\n m ~ rv('a')*x\n y ~ rv('b')*m\nlevel: 2\n m ~ x\n y ~ m\n a ~~ b\n", "hybrid", ("a", "b")
    ),
    "factor": (CASES["outcome observed"][0], "observed", ()),
}  # fmt: skip
missing = pytest.mark.parametrize(
    "name", [pytest.param(x, marks=[pytest.mark.slow] * (x == "mediation hybrid")) for x in MISSING]
)


def with_gaps(name: str, replicates: int = 1) -> tuple[GivenSlopes, TwoLevelModel, Sample]:
    """Rows and clusters without some of their values, and one row and one cluster without any."""
    text, choice, lacking = MISSING[name]
    model = TwoLevelModel.from_syntax(text)
    data = sample(model, ClusterLayout.of([1, 2, 4, 5]), replicates)
    gone = np.random.default_rng(8).random(data.rows.shape) < 0.3
    if name == "mediator observed":
        gone[..., model.level1.index("x")] = False  # of the slope that stays in closed form
    rows = np.where(gone, np.nan, data.rows)
    rows[:, 4] = np.nan
    clusters = data.clusters.copy()
    clusters[:, 2] = np.nan
    kind = treatment(model, choice)
    return (
        GivenSlopes(model, integrated(model, choice, lacking), kind),
        model,
        replace(data, rows=rows, clusters=clusters),
    )


@missing
def test_with_missing_values_it_is_the_density_of_what_is_seen(name) -> None:
    target, model, data = with_gaps(name)
    params = gentle(model)
    found = target.cluster_logliks(params[None], PatternProducts.of(data))[0]
    kind, nodes = treatment(model, MISSING[name][1]), 40 if len(model.slopes) == 1 else 24
    exact = brute_force(model, params, data, kind, nodes)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-8)  # ends of nodes; 1e-9 of a slope's variance


@missing
def test_with_missing_values_score_and_information_are_derivatives(name) -> None:
    target, model, data = with_gaps(name)
    products_, at, q, h = PatternProducts.of(data), gentle(model), len(model.names), 1e-5
    points = np.repeat(at[None], 2 * q, axis=0)
    points[np.arange(2 * q), np.tile(np.arange(q), 2)] += np.repeat([h, -h], q)
    moved = target.evaluate(points, products_.select(np.zeros(2 * q, dtype=np.int64)))
    found = target.evaluate(at[None], products_)
    assert found.ok.all()
    slope = (moved.loglik[:q] - moved.loglik[q:]) / (2 * h)
    np.testing.assert_allclose(found.score[0], slope, rtol=1e-6, atol=1e-5)  # h^2, the rule / h
    bend = -(moved.score[:q] - moved.score[q:]) / (2 * h)
    np.testing.assert_allclose(found.information[0], bend, rtol=1e-5, atol=1e-4)


def test_no_bit_depends_on_the_patterns_of_others() -> None:
    target, model, data = with_gaps("latent", 3)
    rows = data.rows.copy()
    rows[1, ::2, 0] = np.nan  # patterns that the others lack
    rows[2] = np.where(np.isnan(rows[2]), 0.5, rows[2])
    rows[2, 3, 0] = np.nan
    data, points = replace(data, rows=rows), gentle(model) * np.array([[0.9], [1.0], [1.1]])
    whole = target.evaluate(points, PatternProducts.of(data))
    assert whole.ok.all()
    for part in ([0], [2, 1]):
        some = target.evaluate(points[part], PatternProducts.of(data.select(np.array(part))))
        np.testing.assert_array_equal(some.loglik, whole.loglik[part])
        np.testing.assert_array_equal(some.score, whole.score[part])
        np.testing.assert_array_equal(some.information, whole.information[part])
