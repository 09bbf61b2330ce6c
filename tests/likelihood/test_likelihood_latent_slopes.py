"""Slopes on latent within parts: brute force over the slopes, convergence of the rule, derivatives, bits."""

from __future__ import annotations

import numpy as np
import pytest
from slope_cases import CASES, brute_force, gentle, products, sample, values

from simstudy.data.layout import ClusterLayout
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.likelihood.slopes.latent import LatentSlopes
from simstudy.likelihood.slopes.observed import ObservedSlopes
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.twolevel import TwoLevelModel

LATENT = [name for name, case in CASES.items() if case.treatment == "latent"]
latent = pytest.mark.parametrize("name", LATENT)


def likelihood(name: str, nodes: int) -> LatentSlopes:
    return LatentSlopes(SlopeStructure(CASES[name].model), nodes)


@latent
def test_loglikelihood_is_the_normal_density_integrated_over_the_slopes(name) -> None:
    """The other way round: ours integrates over latent means, brute force over slopes."""
    case = CASES[name]
    model, data, params = case.model, sample(case.model), gentle(case.model)
    found = likelihood(name, 25).cluster_logliks(params[None], products(data))[0]
    exact = brute_force(model, params, data, "latent", 60 if len(model.slopes) == 1 else case.nodes)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-10)  # the rules' errors


@pytest.mark.parametrize(("nodes", "limit"), [(5, 1e-5), (7, 1e-6), (9, 1e-8), (15, 1e-12)])
@pytest.mark.parametrize("name", ["latent", "latent mediation"])
def test_few_nodes_do(name, nodes, limit) -> None:
    """Errors of a cluster's log-likelihood, of the size of theory D1.4's table, in clusters of 1 to 6 rows."""
    model = CASES[name].model
    params, data = gentle(model)[None], products(sample(model))
    exact = likelihood(name, 25).cluster_logliks(params, data)
    assert np.abs(likelihood(name, nodes).cluster_logliks(params, data) - exact).max() < limit


@latent
def test_score_and_information_are_derivatives(name) -> None:
    target, model = likelihood(name, 25), CASES[name].model
    at, data, q, h = gentle(model), products(sample(model)), len(model.names), 1e-5
    points = np.repeat(at[None], 2 * q, axis=0)
    points[np.arange(2 * q), np.tile(np.arange(q), 2)] += np.repeat([h, -h], q)
    moved = target.evaluate(points, data.select(np.zeros(2 * q, dtype=np.int64)))
    found = target.evaluate(at[None], data)
    assert found.ok.all()
    slope = (moved.loglik[:q] - moved.loglik[q:]) / (2 * h)
    np.testing.assert_allclose(found.score[0], slope, rtol=1e-6, atol=1e-6)  # h^2, rounding / h, the rule
    bend = -(moved.score[:q] - moved.score[q:]) / (2 * h)
    np.testing.assert_allclose(found.information[0], bend, rtol=1e-5, atol=1e-4)
    scores = target.cluster_scores(at[None], data)
    np.testing.assert_allclose(scores.sum(axis=1), found.score, atol=1e-11)  # rounding


@latent
def test_no_bit_depends_on_the_batch(name) -> None:
    target, model = likelihood(name, 5), CASES[name].model
    data = products(sample(model, ClusterLayout.of([2, 5, 5, 7, 9, 9, 30]), replicates=5))
    points = values(model) * np.linspace(0.9, 1.1, 5)[:, None]
    whole, scores = target.evaluate(points, data), target.cluster_scores(points, data)
    for part in ([0], [3, 4], [4, 1, 2]):
        some = target.evaluate(points[part], data.select(np.array(part)))
        np.testing.assert_array_equal(some.loglik, whole.loglik[part])
        np.testing.assert_array_equal(some.score, whole.score[part])
        np.testing.assert_array_equal(some.information, whole.information[part])
        np.testing.assert_array_equal(target.cluster_scores(points[part], data.select(np.array(part))), scores[part])


def test_without_slope_variance_it_is_the_likelihood_of_fixed_slopes() -> None:
    fixed = TwoLevelModel.from_syntax("level: 1\n y ~ x\nlevel: 2\n y ~ bb*x + w\n")
    random = TwoLevelModel.from_syntax("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ bb*x + w\n")
    data, params = sample(fixed), values(fixed)
    named = dict(zip(fixed.names, params, strict=True))
    named |= {"between: s ~ 1": named["within: y ~ x"], "between: s ~~ s": 0.0}
    other = np.array([named[name] for name in random.names])
    layout = data.layout
    plain = TwoLevelLikelihood(TwoLevelStructure(fixed), layout.distinct, layout.counts)
    expected, _ = plain.loglik(params[None], Data.of(data.statistics()))
    found = LatentSlopes(SlopeStructure(random), 7).loglik(other[None], products(data))
    assert found[0] == pytest.approx(expected[0], abs=1e-11)  # the integrand is normal, and the nodes are at its place


def test_it_differs_from_the_hybrid_in_a_random_slope_only() -> None:
    """Both have the same mean structure: with slope variance 0 they agree, else they do not."""
    model = CASES["latent"].model
    params, data = gentle(model), products(sample(model))
    hybrid, latent_ = ObservedSlopes(SlopeStructure(model), "hybrid"), likelihood("latent", 15)
    assert abs(hybrid.loglik(params[None], data) - latent_.loglik(params[None], data))[0] > 1e-2
    for row in model.table.at("between"):
        if row.op == "~~" and "s" in (row.lhs, row.rhs):
            params[row.free] = 0.0
    params[model.table.find("between", "s", "~", "w").free] = 0.0
    gap = hybrid.loglik(params[None], data) - latent_.loglik(params[None], data)
    assert abs(gap[0]) < 1e-11  # rounding
