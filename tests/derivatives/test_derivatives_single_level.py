"""Single-level likelihood of the merged and the between models: score, information, scores by cluster."""

from __future__ import annotations

import numpy as np
import pytest
from derivative_cases import LAYOUTS, NAMES, close, differences, family, random_rows

from simstudy.likelihood.normal.single_level import Data, SingleLevelLikelihood
from simstudy.model.collapse import SingleLevelModel, between_model, merged_model

MERGED = tuple(name for name in NAMES if isinstance(merged_model(family(name)[0]), SingleLevelModel))
CASES = [(name, "rows") for name in MERGED] + [(name, "means") for name in NAMES]
LAYOUT = LAYOUTS["unbalanced"]


def prepared(name: str, units: str) -> tuple[SingleLevelLikelihood, np.ndarray, Data, tuple]:
    """Likelihood, a feasible point (1, q), data, and statistics by cluster."""
    model, values = family(name)
    single = merged_model(model) if units == "rows" else between_model(model)
    assert isinstance(single, SingleLevelModel)
    rng = np.random.default_rng([17, single.n_free])
    at = np.empty((1, single.n_free))
    for old, new in enumerate(single.index):
        if new >= 0:
            at[0, new] = values[old]
    at[0, single.variances] += 0.3
    at += 0.02 * rng.uniform(-1.0, 1.0, at.shape)
    sample = random_rows(model, LAYOUT)
    z = np.repeat(sample.clusters, LAYOUT.sizes, axis=1)
    rows = np.concatenate([sample.rows, z], axis=-1)
    rows = rows[..., [model.variables.index(name) for name in single.variables]]
    sizes = np.asarray(LAYOUT.sizes, dtype=float)
    means = np.add.reduceat(rows, LAYOUT.row_starts, axis=1) / sizes[:, None]
    if units == "rows":
        deviations = rows - np.repeat(means, LAYOUT.sizes, axis=1)
        parts = np.split(deviations[0], LAYOUT.row_starts[1:])
        clusters = (sizes, means, np.stack([part.T @ part for part in parts])[None])
    else:
        rows, clusters = means, (np.ones(len(sizes)), means, None)
    centred = rows - rows.mean(axis=1, keepdims=True)
    data = Data(rows.mean(axis=1), centred.swapaxes(-1, -2) @ centred)
    likelihood = SingleLevelLikelihood(single.level, rows.shape[1], single.n_free)
    assert likelihood.evaluate(at, data).ok.all()
    return likelihood, at, data, clusters


@pytest.mark.parametrize(("name", "units"), CASES)
def test_score_and_observed_information_are_derivatives(name, units) -> None:
    likelihood, at, data, _ = prepared(name, units)

    def repeat(n: int) -> Data:
        return data.select(np.zeros(n, dtype=np.int64))

    found = likelihood.evaluate(at, data)
    assert np.abs(found.score).max() > 0.1  # far from a maximum
    close(found.score[0], differences(lambda p: likelihood.evaluate(p, repeat(len(p))).loglik, at))
    numeric = -differences(lambda p: likelihood.evaluate(p, repeat(len(p))).score, at)
    close(likelihood.observed_information(at, data)[0], numeric)


@pytest.mark.parametrize(("name", "units"), CASES)
def test_expected_information_is_the_observed_one_at_implied_moments(name, units) -> None:
    likelihood, at, _, _ = prepared(name, units)
    implied = likelihood.level.implied(at)
    data = Data(implied.mu, likelihood.n * implied.sigma)
    found = likelihood.evaluate(at, data)
    np.testing.assert_allclose(found.score, 0, atol=1e-11)  # rounding of terms of 1e1
    close(likelihood.observed_information(at, data)[0], found.information[0], 1e-12)  # the same sums: rounding


@pytest.mark.parametrize(("name", "units"), CASES)
def test_cluster_scores_add_up_and_are_each_clusters_own(name, units) -> None:
    likelihood, at, data, clusters = prepared(name, units)
    scores = likelihood.cluster_scores(at, *clusters)
    close(scores.sum(axis=1), likelihood.evaluate(at, data).score, 1e-12)  # rounding
    sizes, means, scatter = clusters
    j = len(sizes) - 1
    own = Data(means[:, j], np.zeros_like(data.scatter) if scatter is None else scatter[:, j])
    alone = SingleLevelLikelihood(likelihood.level, int(sizes[j]), likelihood.q)
    close(scores[:, j], alone.evaluate(at, own).score, 1e-12)
