"""EM's expectation step against posteriors by brute force; its score is the observed data's (Fisher's identity)."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.likelihood.normal.complete_data import CompleteDataLikelihood
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

FAMILIES = tomllib.loads((Path(__file__).parents[1] / "model" / "families.toml").read_text())
LAYOUT = ClusterLayout.of([1, 2, 2, 5, 5, 8])


def case(name: str) -> tuple[TwoLevelModel, np.ndarray, Sample]:
    """A model, values near its population's, and rows that are not from it."""
    model = TwoLevelModel.from_syntax(FAMILIES[name]["syntax"])
    rng = np.random.default_rng(4)
    values = np.array([FAMILIES[name]["values"][key] for key in model.names])
    values = values + 0.04 * rng.uniform(-1, 1, len(values)) * (0.5 + np.abs(values))
    rows = rng.normal(size=(1, LAYOUT.n_obs, len(model.level1))) + 0.4
    clusters = rng.normal(size=(1, LAYOUT.n_clusters, len(model.level2)))
    return model, values[None], Sample(LAYOUT, model.level1, model.level2, rows, clusters)


def posteriors(sample: Sample, mu: np.ndarray, within: np.ndarray, between: np.ndarray):
    """Mean and covariance of every cluster's v_j = (b_j, z_j), from the joint normal of v_j and all its rows."""
    p1, first = len(sample.level1), 0
    for j, n in enumerate(sample.layout.sizes):
        rows = sample.rows[0, first : first + n]
        first += n
        pick = np.eye(len(mu))[:p1]  # rows of a cluster share b_j
        design = np.vstack([np.tile(pick, (n, 1)), np.eye(len(mu))[p1:]])
        noise = np.zeros((len(design), len(design)))
        noise[: n * p1, : n * p1] = np.kron(np.eye(n), within)
        offset = np.concatenate([(rows - mu[:p1]).ravel(), sample.clusters[0, j] - mu[p1:]])
        cov = design @ between @ design.T + noise
        gain = between @ design.T @ np.linalg.pinv(cov)
        yield rows, gain @ offset, between - gain @ design @ between


@pytest.mark.parametrize("name", ["contextual", "mediation_211", "within_only", "factors"])
def test_expected_moments_are_sums_of_posteriors(name) -> None:
    model, at, sample = case(name)
    structure = TwoLevelStructure(model)
    mu, within, between = (m[0] for m in structure.moments(at))
    mu_within = structure.within.implied(at).mu[0]
    p1 = len(model.level1)
    levels = np.zeros(p1) + mu_within  # the within level's share of the means
    second_w, first_w = np.zeros((p1, p1)), np.zeros(p1)
    vectors, spread = [], np.zeros((len(mu), len(mu)))
    for rows, deviation, cov in posteriors(sample, mu, within, between):
        part = deviation[:p1] + mu[:p1] - levels
        vectors.append(np.concatenate([part, deviation[p1:] + mu[p1:]]))
        spread += cov
        residual = rows - part
        first_w += residual.sum(axis=0)
        second_w += residual.T @ residual + len(rows) * cov[:p1, :p1]
    found = CompleteDataLikelihood(structure, LAYOUT.n_obs, LAYOUT.n_clusters).expect(at, sample.statistics())
    mean = first_w / LAYOUT.n_obs
    # explicit sums: rounding
    np.testing.assert_allclose(found.within.mean[0], mean, atol=1e-12)
    np.testing.assert_allclose(found.within.scatter[0], second_w - LAYOUT.n_obs * np.outer(mean, mean), atol=1e-11)
    v = np.array(vectors)
    scatter = (v - v.mean(axis=0)).T @ (v - v.mean(axis=0)) + spread
    where = structure.between.positions
    np.testing.assert_allclose(found.between.mean[0], v.mean(axis=0)[where], atol=1e-12)
    np.testing.assert_allclose(found.between.scatter[0], scatter[np.ix_(where, where)], atol=1e-11)


@pytest.mark.parametrize("name", FAMILIES)
def test_score_of_the_expected_complete_data_is_that_of_the_observed_data(name) -> None:
    """Fisher's identity, on every family: what makes a fixed point of EM a stationary point of the likelihood."""
    model, at, sample = case(name)
    structure, statistics = TwoLevelStructure(model), sample.statistics()
    complete = CompleteDataLikelihood(structure, LAYOUT.n_obs, LAYOUT.n_clusters)
    ours = complete.evaluate(at, complete.expect(at, statistics))
    theirs = TwoLevelLikelihood(structure, LAYOUT.distinct, LAYOUT.counts).evaluate(at, Data.of(statistics))
    np.testing.assert_allclose(ours.score, theirs.score, rtol=0, atol=1e-11 * np.abs(theirs.score).max())  # rounding
    # missing information (Orchard & Woodbury 1972): the complete data always know more
    assert np.linalg.eigvalsh(ours.information[0] - theirs.information[0])[0] > -1e-9 * np.abs(ours.information).max()


def test_bits_do_not_depend_on_the_batch() -> None:
    model, at, _ = case("mediation_211")
    rng = np.random.default_rng(9)
    many = at + 0.02 * rng.normal(size=(9, at.shape[1]))
    rows = rng.normal(size=(9, LAYOUT.n_obs, len(model.level1)))
    clusters = rng.normal(size=(9, LAYOUT.n_clusters, len(model.level2)))
    statistics = Sample(LAYOUT, model.level1, model.level2, rows, clusters).statistics()
    complete = CompleteDataLikelihood(TwoLevelStructure(model), LAYOUT.n_obs, LAYOUT.n_clusters)
    whole = complete.expect(many, statistics)
    for some in ([0], [3, 4], [5, 6, 7, 8]):
        part = complete.expect(many[some], statistics.select(np.array(some)))
        for level in ("within", "between"):
            for name in ("mean", "scatter"):
                mine = getattr(getattr(whole, level), name)[some]
                assert np.array_equal(mine, getattr(getattr(part, level), name))
