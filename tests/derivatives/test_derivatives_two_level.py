"""Two-level likelihood: score, information matrices and cluster-wise scores of every family of models."""

from __future__ import annotations

import numpy as np
import pytest
from derivative_cases import LAYOUTS, NAMES, close, differences, family, perturbed, random_rows, statistics

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import from_moments
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

every = pytest.mark.parametrize("name", NAMES)
sizes = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def likelihood(name: str, layout: ClusterLayout) -> TwoLevelLikelihood:
    return TwoLevelLikelihood(TwoLevelStructure(family(name)[0]), layout.distinct, layout.counts)


def repeat(data: Data, n: int) -> Data:
    return data.select(np.zeros(n, dtype=np.int64))


@every
@sizes
def test_score_is_the_derivative_of_the_loglikelihood(name, layout) -> None:
    at, target = perturbed(name), likelihood(name, layout)
    data = Data.of(statistics(family(name)[0], layout))

    def loglik(params: np.ndarray) -> np.ndarray:
        value, ok = target.loglik(params, repeat(data, len(params)))
        assert ok.all()
        return value

    found = target.evaluate(at, data)
    assert found.ok.all()
    assert np.abs(found.score).max() > 1.0  # far from a maximum
    close(found.score[0], differences(loglik, at))
    assert found.loglik[0] == loglik(at)[0]


@every
@sizes
def test_score_without_information_is_the_same_score(name, layout) -> None:
    at, target = perturbed(name), likelihood(name, layout)
    data = Data.of(statistics(family(name)[0], layout))
    found, observed = target.evaluate(at, data), target.with_observed(at, data)
    loglik, score, ok = target.value_and_score(at, data)
    assert ok.all()
    assert loglik[0] == observed.loglik[0] == found.loglik[0]  # the same operations
    close(score, found.score, 1e-12)  # the same terms in another order: rounding
    np.testing.assert_array_equal(score, observed.score)
    several, many = repeat(data, 5), np.repeat(at.reshape(1, -1), 5, axis=0)
    np.testing.assert_array_equal(target.value_and_score(many, several)[1], np.repeat(score, 5, axis=0))


@every
@sizes
def test_observed_information_is_minus_the_derivative_of_the_score(name, layout) -> None:
    at, target = perturbed(name), likelihood(name, layout)
    data = Data.of(statistics(family(name)[0], layout))
    numeric = -differences(lambda p: target.evaluate(p, repeat(data, len(p))).score, at)
    analytic = target.observed_information(at, data)[0]
    close(analytic, numeric)
    np.testing.assert_array_equal(analytic, analytic.T)


@every
@sizes
def test_expected_information_is_the_observed_one_at_the_populations_moments(name, layout) -> None:
    """The observed information is linear in the statistics, so its expectation is its value at their expectation."""
    model, _ = family(name)
    at, target = perturbed(name), likelihood(name, layout)
    mu, within, between = TwoLevelStructure(model).moments(at)
    data = Data.of(from_moments(layout, model.level1, model.level2, mu, within, between))
    found = target.evaluate(at, data)
    np.testing.assert_allclose(found.score, 0, atol=1e-10)  # rounding of terms of 1e2
    close(target.observed_information(at, data)[0], found.information[0], 1e-12)  # the same sums: rounding
    assert np.linalg.eigvalsh(found.information[0])[0] > 0


@every
@sizes
def test_cluster_scores_are_each_clusters_own_and_add_up(name, layout) -> None:
    model, _ = family(name)
    at, target = perturbed(name), likelihood(name, layout)
    sample = random_rows(model, layout)
    all_of_them = sample.statistics()
    scores = target.cluster_scores(at, all_of_them.cluster_means, all_of_them.cluster_scatter, layout.group)
    assert scores.shape == (1, layout.n_clusters, len(model.names))
    total = target.evaluate(at, Data.of(all_of_them)).score
    close(scores.sum(axis=1), total, 1e-12)  # the same terms in another order: rounding
    for j in (0, layout.n_clusters - 1):
        own = ClusterLayout.of([layout.sizes[j]])
        first = layout.row_starts[j]
        rows = sample.rows[:, first : first + layout.sizes[j]]
        alone = Sample(own, model.level1, model.level2, rows, sample.clusters[:, j : j + 1]).statistics()
        close(scores[:, j], likelihood(name, own).evaluate(at, Data.of(alone)).score, 1e-12)


@pytest.mark.parametrize("name", ["contextual", "within_only", "mediation_112"])
def test_expected_information_is_the_covariance_of_the_score(name) -> None:
    """Monte Carlo over raw rows drawn from the model by numpy."""
    model, values = family(name)
    layout = ClusterLayout.of([1, 2, 2, 3, 4])
    mu, within, between = TwoLevelStructure(model).moments(values)
    p1, replicates = len(model.level1), 6000
    rng = np.random.default_rng(3)
    z = mu + rng.normal(size=(replicates, layout.n_clusters, len(mu))) @ root(between)
    rows = rng.multivariate_normal(np.zeros(p1), within, size=(replicates, layout.n_obs), method="cholesky")
    rows = rows + np.repeat(z[..., :p1], layout.sizes, axis=1)
    data = Data.of(Sample(layout, model.level1, model.level2, rows, z[..., p1:]).statistics(cluster_wise=False))
    target = likelihood(name, layout)
    found = target.evaluate(np.broadcast_to(values, (replicates, len(values))), data)
    products = found.score[:, :, None] * found.score[:, None, :]
    mcse = products.std(axis=0, ddof=1) / np.sqrt(replicates)
    z_values = (products.mean(axis=0) - found.information[0]) / mcse
    # 4.5 Monte Carlo standard errors: about 1e-3 chance that one of a hundred correlated comparisons is beyond
    assert np.abs(z_values).max() < 4.5
    mean = found.score.mean(axis=0) / (found.score.std(axis=0, ddof=1) / np.sqrt(replicates))
    assert np.abs(mean).max() < 4.0


def root(a: np.ndarray) -> np.ndarray:
    """A symmetric square root, also of singular matrices."""
    values, vectors = np.linalg.eigh(a)
    return vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T


def test_a_level_without_free_parameters_has_second_derivatives_too() -> None:
    model = TwoLevelModel.from_syntax(
        "level: within\n y ~ x\nlevel: between\n y ~~ .3*y + .1*x\n x ~~ .2*x\n y ~ 0*1\n x ~ 0*1"
    )
    structure, layout = TwoLevelStructure(model), ClusterLayout.of([2, 3, 3, 5])
    target, data = TwoLevelLikelihood(structure, layout.distinct, layout.counts), Data.of(statistics(model, layout))
    at = np.full((1, structure.q), 0.7)
    numeric = -differences(lambda p: target.evaluate(p, repeat(data, len(p))).score, at)
    assert not len(structure.between.cov_free)
    close(target.observed_information(at, data)[0], numeric)
