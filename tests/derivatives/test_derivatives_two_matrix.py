"""Two-group and pseudo-balanced likelihoods: score, information and cluster-wise scores of every family of models."""

from __future__ import annotations

import numpy as np
import pytest
from derivative_cases import LAYOUTS, NAMES, close, differences, family, perturbed, random_rows, statistics
from scipy import stats

from simstudy.data.layout import ClusterLayout
from simstudy.estimation.starts import starts_from_moments
from simstudy.estimation.unrestricted import unrestricted_model
from simstudy.likelihood.normal import two_group
from simstudy.likelihood.normal.pseudo_balanced import PseudoBalanced
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.model.implied import TwoLevelStructure

every = pytest.mark.parametrize("name", NAMES)
UNEQUAL = LAYOUTS["unbalanced"]
N_WITHIN, N_BETWEEN = 31, 8
# Sigma_B alone is inverted here, with variances of .03: truncation (step / .03)^4, 1e-6 with the usual step.
STEP = 2e-4


def structure(name: str) -> TwoLevelStructure:
    return TwoLevelStructure(family(name)[0])


def repeat(data, n: int):
    return data.select(np.zeros(n, dtype=np.int64))


def random_matrices(name: str) -> two_group.Data:
    """Positive definite matrices and means, not from the model."""
    model, _ = family(name)
    p1, p = len(model.level1), len(model.variables)
    rng = np.random.default_rng([3, p])

    def matrix(k: int) -> np.ndarray:
        root = np.eye(k) + 0.3 * rng.normal(size=(k, k))
        return (root @ root.T)[None]

    return two_group.Data(matrix(p1), matrix(p), rng.normal(size=(1, p)), 7.0 * matrix(p))


# ---------------------------------------------------------------------------------------------------- two groups


@every
def test_two_groups_are_two_wishart_densities_and_normal_means(name) -> None:
    """Brute force: scipy's densities, up to what does not depend on the parameters."""
    s, data, model = structure(name), random_matrices(name), family(name)[0]
    likelihood = two_group.TwoGroupLikelihood(s, N_WITHIN, N_BETWEEN)
    at = [model.variables.index(v) for v in model.variables if v in model.observed("between")]

    def oracle(params: np.ndarray) -> float:
        mu, within, between = s.moments(params)
        between = between[np.ix_(at, at)]
        observed = data.between[0][np.ix_(at, at)]
        # the log-density of the scatter under n degrees of freedom has n log|Sigma| and the trace
        value = stats.wishart.logpdf(N_WITHIN * data.within[0], N_WITHIN, within)
        value += stats.wishart.logpdf(N_BETWEEN * observed, N_BETWEEN, between)
        return value + stats.multivariate_normal.logpdf(data.mean[0], mu, np.linalg.inv(data.precision[0]))

    here, there = perturbed(name), perturbed(name, seed=8)
    ours = likelihood.evaluate(there, data).loglik - likelihood.evaluate(here, data).loglik
    # differences of log-densities of size 1e2: rounding
    assert ours[0] == pytest.approx(oracle(there[0]) - oracle(here[0]), rel=1e-9, abs=1e-9)


@every
def test_two_group_score_and_observed_information_are_derivatives(name) -> None:
    at, data = perturbed(name), random_matrices(name)
    target = two_group.TwoGroupLikelihood(structure(name), N_WITHIN, N_BETWEEN)
    found = target.evaluate(at, data)
    assert found.ok.all()
    assert np.abs(found.score).max() > 1.0  # far from a maximum
    close(found.score[0], differences(lambda p: target.evaluate(p, repeat(data, len(p))).loglik, at, STEP))
    numeric = -differences(lambda p: target.evaluate(p, repeat(data, len(p))).score, at, STEP)
    close(target.observed_information(at, data)[0], numeric)


@every
def test_two_group_expected_information_is_the_observed_one_where_the_model_fits(name) -> None:
    s, at = structure(name), perturbed(name)
    mu, within, between = s.moments(at)
    data = two_group.Data(within, between, mu, random_matrices(name).precision)
    target = two_group.TwoGroupLikelihood(s, N_WITHIN, N_BETWEEN)
    found = target.evaluate(at, data)
    np.testing.assert_allclose(found.score, 0, atol=1e-10)  # rounding of terms of 1e2
    close(target.observed_information(at, data)[0], found.information[0], 1e-12)  # the same sums: rounding


@every
def test_two_group_sensitivity_is_the_derivative_of_the_score_by_the_moments(name) -> None:
    """The matrices and means as functions of the unrestricted model's parameters; A stays what it is."""
    s, at, fixed = structure(name), perturbed(name), random_matrices(name)
    free = TwoLevelStructure(unrestricted_model(family(name)[0]))
    start = starts_from_moments(free, fixed.mean, fixed.within, fixed.between)
    target = two_group.TwoGroupLikelihood(s, N_WITHIN, N_BETWEEN)

    def score(moments: np.ndarray) -> np.ndarray:
        mu, within, between = free.moments(moments)
        precision = np.repeat(fixed.precision, len(moments), axis=0)
        data = two_group.Data(within, between, mu, precision)
        return target.evaluate(np.repeat(at, len(moments), axis=0), data).score

    unrestricted = two_group.TwoGroupLikelihood(free, N_WITHIN, N_BETWEEN)
    found = target.sensitivity(at, fixed, unrestricted, start)[0]
    close(found.T, differences(score, start))  # linear in the moments: rounding


def test_two_group_likelihood_does_not_exist_where_a_level_is_not_positive_definite() -> None:
    target = two_group.TwoGroupLikelihood(structure("contextual"), N_WITHIN, N_BETWEEN)
    at = perturbed("contextual")
    at[0, family("contextual")[0].names.index("tx")] = -0.1
    found = target.evaluate(at, random_matrices("contextual"))
    assert not found.ok[0]
    assert found.loglik[0] == -np.inf


# ------------------------------------------------------------------------------------------------ pseudo-balanced


def pseudo(name: str, layout: ClusterLayout, inflation: float = 1.0) -> tuple[TwoLevelLikelihood, Data, PseudoBalanced]:
    found = PseudoBalanced(layout, inflation)
    return found.likelihood(structure(name)), found.data(statistics(family(name)[0], layout)), found


@every
@pytest.mark.parametrize("inflation", [1.0, 8 / 7])
def test_muthens_function_written_out(name, inflation) -> None:
    """Theory C3's F from the rows, with numpy's determinants and inverses: the same up to a constant."""
    model, s = family(name)[0], structure(name)
    sample = random_rows(model, UNEQUAL)
    likelihood, data, _ = pseudo(name, UNEQUAL, inflation)
    n, p1, p = np.asarray(UNEQUAL.sizes), len(model.level1), len(model.variables)
    total, clusters = n.sum(), len(n)
    c = (total**2 - (n**2).sum()) / (total * (clusters - 1))
    groups = np.split(sample.rows[0], np.cumsum(n)[:-1])
    v = np.array([np.concatenate([rows.mean(axis=0), z]) for rows, z in zip(groups, sample.clusters[0], strict=True)])
    pooled = sum((rows - rows.mean(axis=0)).T @ (rows - rows.mean(axis=0)) for rows in groups) / (total - clusters)

    def oracle(params: np.ndarray) -> float:
        mu, within, between = s.moments(params)
        whole = c * between
        whole[:p1, :p1] += within
        spread = inflation / clusters * sum(k * np.outer(d, d) for k, d in zip(n, v - mu, strict=True))
        value = (total - clusters) * (np.linalg.slogdet(within)[1] + np.trace(np.linalg.solve(within, pooled)))
        return value + clusters * (np.linalg.slogdet(whole)[1] + np.trace(np.linalg.solve(whole, spread)))

    here, there = perturbed(name), perturbed(name, seed=8)
    ours = -2.0 * (likelihood.loglik(there, data)[0] - likelihood.loglik(here, data)[0])
    assert ours[0] == pytest.approx(oracle(there[0]) - oracle(here[0]), rel=1e-9, abs=1e-9)  # rounding of 1e2
    assert p == s.p1 + s.p2


@every
@pytest.mark.parametrize("inflation", [1.0, 8 / 7])
def test_pseudo_balanced_score_and_observed_information_are_derivatives(name, inflation) -> None:
    at = perturbed(name)
    target, data, _ = pseudo(name, UNEQUAL, inflation)
    found = target.evaluate(at, data)
    assert found.ok.all()
    close(found.score[0], differences(lambda p: target.loglik(p, repeat(data, len(p)))[0], at))
    numeric = -differences(lambda p: target.evaluate(p, repeat(data, len(p))).score, at)
    close(target.observed_information(at, data)[0], numeric)


@every
def test_pseudo_balanced_cluster_scores_are_each_clusters_own_and_add_up(name) -> None:
    model, at, s = family(name)[0], perturbed(name), structure(name)
    sample = random_rows(model, UNEQUAL)
    target, data, found = pseudo(name, UNEQUAL, 8 / 7)
    scores = found.cluster_scores(target, at, sample.statistics())
    close(scores.sum(axis=1), target.evaluate(at, data).score, 1e-12)  # the same terms in another order: rounding
    # one cluster's contribution to Muthén's function, written out and differenced
    j, p1, c = 5, len(model.level1), UNEQUAL.anova_size
    n = UNEQUAL.sizes[j]
    rows = sample.rows[0, UNEQUAL.row_starts[j] : UNEQUAL.row_starts[j] + n]
    v = np.concatenate([rows.mean(axis=0), sample.clusters[0, j]])
    inside = (rows - rows.mean(axis=0)).T @ (rows - rows.mean(axis=0))

    def own(points: np.ndarray) -> np.ndarray:
        values = []
        for mu, within, between in zip(*s.moments(points), strict=True):
            whole = c * between
            whole[:p1, :p1] += within
            deviance = (n - 1) * np.linalg.slogdet(within)[1] + np.trace(np.linalg.solve(within, inside))
            d = v - mu
            deviance += np.linalg.slogdet(whole)[1] + 8 / 7 * n * d @ np.linalg.solve(whole, d)
            values.append(-0.5 * deviance)
        return np.array(values)

    close(scores[0, j], differences(own, at))


@every
def test_pseudo_balanced_likelihood_of_equal_sizes_is_the_likelihood(name) -> None:
    layout, model, at = LAYOUTS["balanced"], family(name)[0], perturbed(name)
    ours, data, found = pseudo(name, layout)
    theirs = TwoLevelLikelihood(structure(name), layout.distinct, layout.counts)
    every_cluster = random_rows(model, layout).statistics()
    a, b = ours.evaluate(at, data), theirs.evaluate(at, Data.of(every_cluster))
    for part in ("loglik", "score", "information"):
        close(getattr(a, part), getattr(b, part), 1e-13)  # the same numbers in another order: rounding
    scores = theirs.cluster_scores(at, every_cluster.cluster_means, every_cluster.cluster_scatter, layout.group)
    close(found.cluster_scores(ours, at, every_cluster), scores, 1e-13)
