"""Wide likelihood: score, information and cluster-wise scores of every family, complete and with missing values."""

from __future__ import annotations

import numpy as np
import pytest
from derivative_cases import NAMES, close, differences, family, perturbed, random_rows

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.wide import WideData, wide_data
from simstudy.likelihood.normal.wide import WideLikelihood
from simstudy.model.implied import TwoLevelStructure

LAYOUT = ClusterLayout.of([1, 2, 2, 3, 5])
every = pytest.mark.parametrize("name", NAMES)
gaps = pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])


def sample(name: str, missing: bool) -> Sample:
    found = random_rows(family(name)[0], LAYOUT)
    if not missing:
        return found
    rng = np.random.default_rng(8)
    rows = np.where(rng.random(found.rows.shape) < 0.3, np.nan, found.rows)
    clusters = np.where(rng.random(found.clusters.shape) < 0.3, np.nan, found.clusters)
    return Sample(LAYOUT, found.level1, found.level2, rows, clusters)


def repeat(data: WideData, n: int) -> WideData:
    return data.select(np.zeros(n, dtype=np.int64))


@every
@gaps
def test_score_is_the_derivative_of_the_loglikelihood(name, missing) -> None:
    at, target = perturbed(name), WideLikelihood(TwoLevelStructure(family(name)[0]))
    data = wide_data(sample(name, missing))

    def loglik(params: np.ndarray) -> np.ndarray:
        value, ok = target.loglik(params, repeat(data, len(params)))
        assert ok.all()
        return value

    found = target.evaluate(at, data)
    assert found.ok.all()
    assert np.abs(found.score).max() > 1.0  # far from a maximum
    close(found.score[0], differences(loglik, at))
    assert found.loglik[0] == loglik(at)[0]
    scores = target.cluster_scores(at, data)
    assert scores.shape == (1, LAYOUT.n_clusters, len(at[0]))
    close(scores.sum(axis=1), found.score, 1e-12)  # the same terms in another order: rounding


@every
@gaps
def test_observed_information_is_minus_the_derivative_of_the_score(name, missing) -> None:
    at, target = perturbed(name), WideLikelihood(TwoLevelStructure(family(name)[0]))
    data = wide_data(sample(name, missing))
    numeric = -differences(lambda p: target.evaluate(p, repeat(data, len(p))).score, at)
    analytic = target.observed_information(at, data)[0]
    close(analytic, numeric)
    np.testing.assert_array_equal(analytic, analytic.T)


@pytest.mark.parametrize("name", ["contextual", "within_only", "mediation_112"])
@gaps
def test_expected_information_is_the_mean_of_the_observed_one(name, missing) -> None:
    """Monte Carlo over rows that numpy draws from the model, what is observed held."""
    model, values = family(name)
    pattern = sample(name, missing)
    mu, within, between = TwoLevelStructure(model).moments(values)
    p1, replicates = len(model.level1), 1500
    rng = np.random.default_rng(3)
    low, vectors = np.linalg.eigh(between)
    root = vectors * np.sqrt(np.maximum(low, 0.0))
    clusters = mu + rng.normal(size=(replicates, LAYOUT.n_clusters, len(mu))) @ root.T
    rows = rng.multivariate_normal(np.zeros(p1), within, size=(replicates, LAYOUT.n_obs), method="cholesky")
    rows = rows + np.repeat(clusters[..., :p1], LAYOUT.sizes, axis=1)
    target = WideLikelihood(TwoLevelStructure(model))
    whole = wide_data(pattern).groups
    # the wide vectors of the drawn data, entry by entry where the pattern has one
    complete = wide_data(Sample(LAYOUT, model.level1, model.level2, rows, clusters[..., p1:]))
    drawn = complete if not missing else WideData(tuple(_entries(group, pattern, rows, clusters) for group in whole))
    params = np.broadcast_to(values, (replicates, len(values)))
    expected = target.evaluate(params[:1], drawn.select(slice(0, 1))).information[0]
    observed = target.observed_information(params, drawn)
    z = (observed.mean(axis=0) - expected) / (observed.std(axis=0, ddof=1) / np.sqrt(replicates) + 1e-9)
    # 4.5 Monte Carlo standard errors: about 1e-3 chance that one of a hundred correlated comparisons is beyond
    assert np.abs(z).max() < 4.5


def _entries(group, pattern: Sample, rows: np.ndarray, clusters: np.ndarray):
    """Values of ``group`` in other data sets with the same pattern, found by the values they have in the first."""
    p1 = len(pattern.level1)
    members = []
    for vector in group.values[0]:
        columns = []
        for value, variable in zip(vector, group.variable, strict=True):
            if variable < p1:
                (row,) = np.flatnonzero(pattern.rows[0, :, variable] == value)
                columns.append(rows[:, row, variable])
            else:
                (cluster,) = np.flatnonzero(pattern.clusters[0, :, variable - p1] == value)
                columns.append(clusters[:, cluster, variable])
        members.append(np.stack(columns, axis=-1))
    return type(group)(group.variable, group.person, np.stack(members, axis=1))
