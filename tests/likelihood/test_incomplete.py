"""The likelihood of data with missing values at either level against normal vectors written out cluster by cluster.

`Dense` builds mean and covariance of everything observed in a cluster as one vector, from the model's implied moments
alone, and takes likelihood, information and posteriors from textbook formulas of the multivariate normal.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from simstudy.data.incomplete import IncompleteData, incomplete_data
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample, from_frame
from simstudy.errors import DataError
from simstudy.estimation.available_moments import available_moments
from simstudy.likelihood.normal.incomplete import IncompleteLikelihood
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

FAMILIES = tomllib.loads((Path(__file__).parents[1] / "model" / "families.toml").read_text())
NAMES = tuple(FAMILIES)
SIZES = (1, 2, 2, 3, 5, 5, 7, 9)

# Sums of some 100 terms of order 1 to 10: rounding.
EXACT = 1e-12
# The same information along another route (Cholesky factors of A instead of V): rounding of products of inverses.
ROUNDING = 1e-12
# Central differences of fourth order, step 1e-3: truncation 1e-12 of the fifth derivative, rounding 1e-14 |l| / 1e-3.
STEP, DIFFERENCE = 1e-3, 2e-8


@dataclass(frozen=True)
class Case:
    """A model, a point, and rows with NaN."""

    structure: TwoLevelStructure
    params: np.ndarray
    rows: np.ndarray
    codes: np.ndarray
    z: np.ndarray

    @cached_property
    def item(self) -> IncompleteData:
        model = self.structure.model
        return incomplete_data(self.rows[None], self.codes, self.z[None], model.level1, model.level2)

    @cached_property
    def likelihood(self) -> IncompleteLikelihood:
        return IncompleteLikelihood(self.structure)


def make(name: str, *, missing: float = 0.3, seed: int = 5, sizes: tuple[int, ...] = SIZES) -> Case:
    """Rows that are not from the model, at a point off its population values, with values missing at random places."""
    model = TwoLevelModel.from_syntax(FAMILIES[name]["syntax"])
    values = np.array([FAMILIES[name]["values"][key] for key in model.names])
    rng = np.random.default_rng([seed, len(values)])
    params = values + 0.04 * rng.uniform(-1.0, 1.0, len(values)) * (0.5 + np.abs(values))
    p1, p = len(model.level1), len(model.variables)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    mix = np.eye(p) + 0.3 * rng.normal(size=(p, p))
    between = rng.normal(size=(len(sizes), p)) @ mix + rng.normal(size=p)
    rows = rng.normal(size=(len(codes), p1)) @ mix[:p1, :p1] + 0.6 * between[codes, :p1]
    z = between[:, p1:].copy()
    rows[rng.uniform(size=rows.shape) < missing] = np.nan
    z[rng.uniform(size=z.shape) < missing] = np.nan
    if missing:
        rows[codes == 3] = np.nan  # a cluster without any level-1 value
        rows[-1] = np.nan  # a row without any value
    return Case(TwoLevelStructure(model), params, rows, codes, z)


class Dense:
    """Stacked normal vectors of the observed values of every cluster."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.p1 = case.rows.shape[1]
        self.values, self.seen = [], []
        for j in range(len(case.z)):
            stacked = np.concatenate([case.rows[case.codes == j].ravel(), case.z[j]])
            self.seen.append(~np.isnan(stacked))
            self.values.append(stacked[self.seen[-1]])

    def moments(self, j: int, params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of what is observed in cluster j."""
        mu, within, between = self.case.structure.moments(params)
        p1, n = self.p1, int((self.case.codes == j).sum())
        take = np.concatenate([np.tile(np.arange(p1), n), np.arange(p1, len(mu))])
        cov = between[np.ix_(take, take)].copy()
        for i in range(n):
            cov[i * p1 : (i + 1) * p1, i * p1 : (i + 1) * p1] += within
        at = self.seen[j]
        return mu[take][at], cov[np.ix_(at, at)]

    def cluster_logliks(self, params: np.ndarray) -> np.ndarray:
        return np.array(
            [
                stats.multivariate_normal.logpdf(y, *self.moments(j, params)) if len(y) else 0.0
                for j, y in enumerate(self.values)
            ]
        )

    def expected_information(self, params: np.ndarray) -> np.ndarray:
        """tr(V^-1 V_a V^-1 V_b) / 2 + mu_a' V^-1 mu_b, summed over clusters."""
        q = len(params)
        total = np.zeros((q, q))
        for j in range(len(self.values)):
            if not len(self.values[j]):
                continue
            _, v = self.moments(j, params)
            mu_a = differences(lambda at, j=j: self.moments(j, at)[0], params)
            v_a = differences(lambda at, j=j: self.moments(j, at)[1], params)
            inverse = np.linalg.inv(v)
            turned = inverse @ v_a  # (q, n, n)
            total += 0.5 * np.einsum("aij,bji->ab", turned, turned) + mu_a @ inverse @ mu_a.T
        return total


def differences(f: Callable[[np.ndarray], np.ndarray], at: np.ndarray, step: float = STEP) -> np.ndarray:
    """Fourth-order central differences (q, ...)."""
    found = []
    for k in range(len(at)):
        move = np.zeros(len(at))
        move[k] = step
        found.append((f(at - 2 * move) - 8 * f(at - move) + 8 * f(at + move) - f(at + 2 * move)) / (12 * step))
    return np.stack(found)


def close(found: np.ndarray, expected: np.ndarray, relative: float) -> None:
    """Agreement to a share of the largest element."""
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=0, atol=relative * max(1.0, float(np.abs(expected).max())))


def evaluate(case: Case, params: np.ndarray | None = None):
    point = case.params if params is None else params
    return case.likelihood.evaluate(point[None], case.item)


# ---------------------------------------------------------------------- brute force


@pytest.mark.parametrize("name", NAMES)
def test_loglikelihood_is_that_of_the_stacked_normal(name) -> None:
    case = make(name)
    ((block,),) = [part.blocks for part in case.item.parts]
    assert block.patterns.shape[1] > 1 or case.rows.shape[1] == 1
    assert block.z_patterns.shape[1] > 1 or not case.z.shape[1]
    found = evaluate(case)
    assert found.ok.all()
    close(found.loglik[0], Dense(case).cluster_logliks(case.params).sum(), EXACT)
    assert case.likelihood.loglik(case.params[None], case.item)[0] == found.loglik[0]


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_derivatives_cluster_by_cluster_and_in_sum(name) -> None:
    case = make(name)
    by_cluster = differences(Dense(case).cluster_logliks, case.params).T
    scores = case.likelihood.cluster_scores(case.params[None], case.item)[0]
    close(scores, by_cluster, DIFFERENCE)
    close(evaluate(case).score[0], by_cluster.sum(axis=0), DIFFERENCE)
    close(evaluate(case).score[0], scores.sum(axis=0), EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_expected_information_is_that_of_the_stacked_normal(name) -> None:
    case = make(name)
    # implied moments are polynomials of low degree: differences of them are good to 1e-12
    close(evaluate(case).information[0], Dense(case).expected_information(case.params), 1e-11)


@pytest.mark.slow
def test_expected_information_is_the_covariance_of_the_score() -> None:
    """Data drawn from the model with the same values missing, 2,000 times."""
    case = make("mediation_211")
    dense = Dense(case)
    rng = np.random.default_rng(3)
    draws = 2000
    n = len(case.rows) * dense.p1
    full_rows, full_z = np.empty((draws, n)), np.empty((draws, *case.z.shape))
    filled = Case(case.structure, case.params, np.zeros_like(case.rows), case.codes, np.zeros_like(case.z))
    complete = Dense(filled)
    for j in range(len(case.z)):
        mean, cov = complete.moments(j, case.params)
        stacked = rng.multivariate_normal(mean, cov, size=draws, method="cholesky")
        at = np.repeat(case.codes == j, dense.p1)
        full_rows[:, at], full_z[:, j] = stacked[:, : at.sum()], stacked[:, at.sum() :]
    blank = np.isnan(case.rows)
    scores = []
    for rows, z in zip(full_rows.reshape(draws, -1, dense.p1), full_z, strict=True):
        one = Case(
            case.structure,
            case.params,
            np.where(blank, np.nan, rows),
            case.codes,
            np.where(np.isnan(case.z), np.nan, z),
        )
        scores.append(one.likelihood.cluster_scores(case.params[None], one.item)[0].sum(axis=0))
    scores = np.array(scores)
    information = evaluate(case).information[0]
    products = scores[:, :, None] * scores[:, None, :]
    mcse = products.std(axis=0, ddof=1) / np.sqrt(draws)
    z_mean = scores.mean(axis=0) / np.sqrt(np.diag(information) / draws)
    assert np.abs(z_mean).max() < 4.0  # 4 Monte Carlo standard errors, 11 means
    z = (products.mean(axis=0) - information) / np.maximum(mcse, 1e-8 * np.abs(information).max())
    assert np.abs(z).max() < 4.5  # 66 comparisons of skewed products


@pytest.mark.parametrize("name", NAMES)
def test_observed_information_is_minus_the_second_derivative(name) -> None:
    case = make(name)
    found = case.likelihood.observed_information(case.params[None], case.item)[0]
    np.testing.assert_array_equal(found, found.T)
    close(found, -differences(lambda at: evaluate(case, at).score[0], case.params), DIFFERENCE)


# ---------------------------------------------------------------------- nothing missing


@pytest.mark.parametrize("name", NAMES)
def test_with_nothing_missing_it_is_the_likelihood_of_complete_data(name) -> None:
    case = make(name, missing=0.0)
    model, layout = case.structure.model, ClusterLayout.of(SIZES)
    sample = Sample(layout, model.level1, model.level2, case.rows[None], case.z[None])
    statistics = sample.statistics()
    complete = TwoLevelLikelihood(case.structure, layout.distinct, layout.counts)
    expected, found = complete.evaluate(case.params[None], Data.of(statistics)), evaluate(case)
    close(found.loglik, expected.loglik, ROUNDING)
    close(found.score, expected.score, ROUNDING)
    close(found.information, expected.information, ROUNDING)
    arrays = (statistics.cluster_means, statistics.cluster_scatter, layout.group)
    close(
        case.likelihood.cluster_scores(case.params[None], case.item)[0],
        complete.cluster_scores(case.params[None], *arrays)[0],
        ROUNDING,
    )
    close(
        case.likelihood.observed_information(case.params[None], case.item),
        complete.observed_information(case.params[None], Data.of(statistics)),
        ROUNDING,
    )


# ---------------------------------------------------------------------- order, empty rows and clusters


@pytest.mark.parametrize("name", ["within_only", "mediation_211", "factors_two_within_one_between"])
def test_rows_and_clusters_may_stand_in_any_order(name) -> None:
    case = make(name)
    rng = np.random.default_rng(8)
    rows = rng.permutation(len(case.rows))
    new_code = rng.permutation(len(case.z))  # new_code[j] is the place of cluster j
    z = np.empty_like(case.z)
    z[new_code] = case.z
    mixed = Case(case.structure, case.params, case.rows[rows], new_code[case.codes[rows]], z)
    first, second = evaluate(case), evaluate(mixed)
    close(second.loglik, first.loglik, EXACT)
    close(second.score, first.score, EXACT)
    close(second.information, first.information, EXACT)
    scores = [c.likelihood.cluster_scores(c.params[None], c.item)[0] for c in (case, mixed)]
    close(scores[1][new_code], scores[0], EXACT)


@pytest.mark.parametrize("name", ["contextual", "mediation_112"])
def test_rows_without_any_value_do_not_count(name) -> None:
    case = make(name)
    empty = np.isnan(case.rows).all(axis=1)
    assert empty.any()
    without = Case(case.structure, case.params, case.rows[~empty], case.codes[~empty], case.z)
    first, second = evaluate(case), evaluate(without)
    for field in ("loglik", "score", "information"):  # the same numbers through the same operations
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))


@pytest.mark.parametrize("name", ["contextual", "mediation_112"])
def test_clusters_without_any_value_do_not_count(name) -> None:
    case = make(name)
    rows = np.concatenate([case.rows, np.full((3, case.rows.shape[1]), np.nan)])
    codes = np.concatenate([case.codes, np.full(3, len(case.z))])
    z = np.concatenate([case.z, np.full((1, case.z.shape[1]), np.nan)])
    more = Case(case.structure, case.params, rows, codes, z)
    first, second = evaluate(case), evaluate(more)
    close(second.loglik, first.loglik, EXACT)
    close(second.score, first.score, EXACT)
    close(second.information, first.information, EXACT)
    scores = more.likelihood.cluster_scores(case.params[None], more.item)[0]
    close(scores[-1], np.zeros(len(case.params)), EXACT)


def test_a_cluster_may_have_level_2_values_alone() -> None:
    case = make("mediation_211")
    z = case.z.copy()
    z[3] = 1.7  # cluster 3 has no level-1 value (see `make`)
    other = Case(case.structure, case.params, case.rows, case.codes, z)
    mu, _, between = case.structure.moments(case.params)
    alone = stats.norm.logpdf(1.7, mu[-1], np.sqrt(between[-1, -1]))
    before = Dense(case).cluster_logliks(case.params)
    close(evaluate(other).loglik[0], before.sum() - before[3] + alone, EXACT)


@pytest.mark.parametrize("level", [1, 2])
def test_a_variable_without_any_value_is_an_error(level) -> None:
    case = make("mediation_211")
    rows, z = case.rows.copy(), case.z.copy()
    if level == 1:
        rows[:, case.structure.model.level1.index("m")] = np.nan
    else:
        z[:] = np.nan
    with pytest.raises(DataError, match=f"every value of '{'m' if level == 1 else 'x'}' is missing"):
        incomplete_data(rows[None], case.codes, z[None], ("y", "m"), ("x",))


def test_level_2_values_count_where_any_row_has_them() -> None:
    frame = pd.DataFrame(
        {
            "g": ["a", "b", "a", "c", "b", "c", "c"],
            "y": [1.0, 2.0, np.nan, 3.0, 4.0, 5.0, 6.0],
            "z": [np.nan, 5.0, 7.0, np.nan, 5.0, np.nan, np.nan],
        }
    )
    sample = from_frame(frame, "g", ["y"], ["z"], missing=True)
    np.testing.assert_array_equal(sample.clusters[0, :, 0], [7.0, 5.0, np.nan])
    data = sample.incomplete()
    assert (data.n_clusters, data.n_rows.tolist()) == (3, [6.0])
    np.testing.assert_array_equal(data.parts[0].blocks[0].z[0, 0], [7.0, 5.0, 0.0])


# ---------------------------------------------------------------------- statistics, failures, batches


def test_statistics_reproduce_the_moments_of_every_pattern_in_every_cluster() -> None:
    case = make("parallel_mediators", sizes=(4,) * 30, missing=0.1)
    (block,) = case.item.parts[0].blocks
    seen = ~np.isnan(case.rows)
    assert block.count.sum() == case.item.n_rows[0] == seen.any(axis=1).sum()
    for p, pattern in enumerate(block.patterns[0]):
        for j in range(len(case.z)):
            here = case.rows[(case.codes == j) & (seen == pattern).all(axis=1)][:, pattern]
            count = len(here) if pattern.any() else 0
            assert block.count[0, p, j] == count
            if count:
                close(block.means[0, p, pattern, j], here.mean(axis=0), EXACT)
                found = block.scatter[0, p][pattern][:, pattern][..., j]
                close(found, count * np.cov(here.T, bias=True).reshape(found.shape), EXACT)
    close(block.pooled, block.scatter.sum(axis=-1), EXACT)


@pytest.mark.parametrize("limit", [1, 1_000])
def test_a_data_set_in_blocks_is_the_same_data_set(monkeypatch, limit) -> None:
    """Down to one cluster a block; means of blocks are summed in another order."""
    case = make("mediation_211", sizes=(4,) * 20)
    whole = evaluate(case), case.likelihood.cluster_scores(case.params[None], case.item)
    observed = case.likelihood.observed_information(case.params[None], case.item)
    monkeypatch.setattr("simstudy.data.incomplete.BLOCK", limit)
    again = Case(case.structure, case.params, case.rows, case.codes, case.z)
    blocks = again.item.parts[0].blocks
    assert len(blocks) == (20 if limit == 1 else len(blocks)) > 1
    for field in ("loglik", "score", "information"):
        close(getattr(evaluate(again), field), getattr(whole[0], field), EXACT)
    close(again.likelihood.cluster_scores(case.params[None], again.item), whole[1], EXACT)
    close(again.likelihood.observed_information(case.params[None], again.item), observed, EXACT)
    for ours, theirs in zip(available_moments(again.item), available_moments(case.item), strict=True):
        close(ours, theirs, EXACT)


def test_more_variables_than_a_word_has_bits() -> None:
    """Patterns of 70 variables are told apart, and lists of patterns are those of the data set alone."""
    rng = np.random.default_rng(6)
    rows = np.where(rng.uniform(size=(2, 12, 70)) < 0.1, np.nan, 1.0)
    rows[:, 1], rows[0, 2], rows[:, 3] = rows[:, 0], rows[0, 0], np.nan
    names = tuple(f"v{k}" for k in range(70))
    codes, z = np.repeat(np.arange(3), 4), np.empty((2, 3, 0))
    both = incomplete_data(rows, codes, z, names, ())
    found = {int(r): part.select(np.array([i])).blocks for part in both.parts for i, r in enumerate(part.replicates)}
    for r in range(2):
        assert sum((block.count > 0).sum() for block in found[r]) == len(
            {(j, *seen) for j, seen in zip(codes, ~np.isnan(rows[r]), strict=True) if seen.any()}
        )
        (alone,) = incomplete_data(rows[r : r + 1], codes, z, names, ()).parts
        for ours, theirs in zip(alone.blocks, found[r], strict=True):
            np.testing.assert_array_equal(ours.patterns, theirs.patterns)
            np.testing.assert_array_equal(ours.count, theirs.count)


def test_where_there_is_no_density_the_loglikelihood_is_minus_infinity() -> None:
    case = make("contextual")
    params = case.params.copy()
    params[case.structure.model.names.index("within: y ~~ y")] = -5.0
    data, both = case.item.select(np.array([0, 0])), np.stack([params, case.params])
    found = case.likelihood.evaluate(both, data)
    np.testing.assert_array_equal(found.ok, [False, True])
    assert found.loglik[0] == -np.inf
    assert np.isnan(found.score[0]).all()
    np.testing.assert_array_equal(case.likelihood.loglik(both, data), found.loglik)


def test_an_indefinite_between_matrix_has_a_density_while_clusters_do() -> None:
    case = make("contextual")
    params = case.params.copy()
    params[case.structure.model.names.index("tx")] = -0.02
    _, _, between = case.structure.moments(params)
    assert np.linalg.eigvalsh(between)[0] < 0
    found = evaluate(case, params)
    assert found.ok.all()
    close(found.loglik[0], Dense(case).cluster_logliks(params).sum(), EXACT)


@pytest.mark.parametrize(("name", "chunk"), [("mediation_112", 1), ("mediation_211", 10**9), ("within_only", 60_000)])
def test_data_sets_of_a_batch_do_not_touch_each_other(monkeypatch, name, chunk) -> None:
    """To the bit, alone, in pairs and in a batch, whatever is evaluated at once; their patterns differ."""
    monkeypatch.setattr("simstudy.data.incomplete.CHUNK", chunk)
    cases = [make(name, seed=seed, missing=rate) for seed, rate in enumerate((0.3, 0.3, 0.05, 0.3, 0.5, 0.3, 0.0))]
    first = cases[0]
    model, codes = first.structure.model, first.codes
    rows, z = np.stack([case.rows for case in cases]), np.stack([case.z for case in cases])
    batch = incomplete_data(rows, codes, z, model.level1, model.level2)
    assert len(batch.parts) > 1
    params, likelihood = np.stack([case.params for case in cases]), first.likelihood

    def numbers(at: np.ndarray, data: IncompleteData) -> list[np.ndarray]:
        found = likelihood.evaluate(at, data)
        assert found.ok.all()
        observed, scores = likelihood.observed_information(at, data), likelihood.cluster_scores(at, data)
        return [found.loglik, found.score, found.information, observed, scores, *available_moments(data)]

    together = numbers(params, batch)
    for some in ([2], [5, 0], [6, 1, 4], list(range(7))):
        which = np.array(some)
        again = incomplete_data(rows[which], codes, z[which], model.level1, model.level2)
        for data in (again, batch.select(which)):
            for ours, theirs in zip(numbers(params[which], data), together, strict=True):
                np.testing.assert_array_equal(ours, theirs[which])
    kept = batch.select(np.array([False, True] + [False] * 5))
    assert (kept.n_replicates, kept.n_rows[0]) == (1, batch.n_rows[1])


# ---------------------------------------------------------------------- what is known of the between parts


@pytest.mark.parametrize("name", ["contextual", "mediation_211", "within_only"])
def test_posterior_of_the_between_parts_is_the_conditional_normal(name) -> None:
    case = make(name)
    dense = Dense(case)
    mu, _, between = case.structure.moments(case.params)
    posterior = case.likelihood.posterior(case.params[None], case.item)
    means = case.likelihood.between_means(posterior, case.params[None])[0]
    information = posterior.information[0]
    p1 = dense.p1
    for j, y in enumerate(dense.values):
        mean, cov = dense.moments(j, case.params)
        n = int((case.codes == j).sum())
        take = np.concatenate([np.tile(np.arange(p1), n), np.arange(p1, len(mu))])[dense.seen[j]]
        weights = np.linalg.solve(cov, between[take]).T  # Cov(b, y) Cov(y)^-1
        close(means[j], weights @ (y - mean), ROUNDING)
        spread = between - weights @ between[take]
        close(between - between @ information[j] @ between, spread, ROUNDING)
