"""The wide form: scipy's multivariate normal of every cluster, and the two reduced likelihoods of the package."""

from __future__ import annotations

import numpy as np
import pytest
from likelihood_oracles import stacked_loglik
from scipy import stats

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.wide import wide_data
from simstudy.likelihood.normal.incomplete import IncompleteLikelihood
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.likelihood.normal.wide import WideLikelihood
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

LAYOUT = ClusterLayout.of([1, 2, 2, 3, 6, 6, 9])
MODEL = TwoLevelModel.from_syntax(
    """
    level: within
      m ~ x + w
      y ~ m + x
    level: between
      m ~ x + z1
      y ~ m
      z2 ~ m + z1
    """
)  # w lives within only, z1 and z2 between only
# The same sums in another order: rounding of 1e2 to 1e3 terms.
SAME = 1e-12


def parameters(replicates: int = 1) -> np.ndarray:
    rng = np.random.default_rng(2)
    base = np.full(len(MODEL.names), 0.3)
    for row in MODEL.table.rows:
        if row.op == "~~" and row.free >= 0:
            base[row.free] = 0.1 if row.lhs != row.rhs else 1.0 if row.level == "within" else 0.4
    return base + 0.05 * rng.uniform(-1, 1, (replicates, len(base)))


def draw(replicates: int = 1, missing: float = 0.0) -> Sample:
    rng = np.random.default_rng(5)
    p1, p2 = len(MODEL.level1), len(MODEL.level2)
    rows = rng.normal(size=(replicates, LAYOUT.n_obs, p1)) + 0.5
    clusters = rng.normal(size=(replicates, LAYOUT.n_clusters, p2))
    rows[rng.random(rows.shape) < missing] = np.nan
    clusters[rng.random(clusters.shape) < missing] = np.nan
    return Sample(LAYOUT, MODEL.level1, MODEL.level2, rows, clusters)


def scipys(sample: Sample, mu: np.ndarray, within: np.ndarray, between: np.ndarray) -> float:
    """Log-density of what is observed of every cluster; the full covariance matrix is built by Kronecker products."""
    p1, total, first = len(sample.level1), 0.0, 0
    for j, n in enumerate(sample.layout.sizes):
        ones = np.ones((n, 1))
        yy = np.kron(np.eye(n), within) + np.kron(ones @ ones.T, between[:p1, :p1])
        yz = np.kron(ones, between[:p1, p1:])
        cov = np.block([[yy, yz], [yz.T, between[p1:, p1:]]])
        mean = np.concatenate([np.tile(mu[:p1], n), mu[p1:]])
        vector = np.concatenate([sample.rows[0, first : first + n].ravel(), sample.clusters[0, j]])
        first += n
        seen = ~np.isnan(vector)
        if seen.any():
            total += stats.multivariate_normal.logpdf(vector[seen], mean[seen], cov[np.ix_(seen, seen)])
    return float(total)


@pytest.mark.parametrize("missing", [0.0, 0.1, 0.5])
def test_loglikelihood_is_scipys(missing) -> None:
    structure, at, sample = TwoLevelStructure(MODEL), parameters(), draw(missing=missing)
    moments = [m[0] for m in structure.moments(at)]
    found, ok = WideLikelihood(structure).loglik(at, wide_data(sample))
    assert ok.all()
    assert found[0] == pytest.approx(scipys(sample, *moments), rel=SAME)
    if not missing:
        assert found[0] == pytest.approx(stacked_loglik(sample, *moments), rel=SAME)


def close(ours: np.ndarray, theirs: np.ndarray, relative: float) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=relative * np.abs(theirs).max())


def test_complete_data_agree_with_the_sufficient_statistics() -> None:
    """Two derivations without a formula in common: log-likelihood, score, three matrices."""
    structure, at, sample = TwoLevelStructure(MODEL), parameters(), draw()
    wide, reduced = WideLikelihood(structure), TwoLevelLikelihood(structure, LAYOUT.distinct, LAYOUT.counts)
    data, statistics = wide_data(sample), sample.statistics()
    ours, theirs = wide.evaluate(at, data), reduced.evaluate(at, Data.of(statistics))
    assert ours.loglik[0] == pytest.approx(theirs.loglik[0], rel=SAME)
    close(ours.score, theirs.score, SAME)
    close(ours.information, theirs.information, SAME)
    close(wide.observed_information(at, data), reduced.observed_information(at, Data.of(statistics)), SAME)
    scores = reduced.cluster_scores(at, *statistics.clusters(), LAYOUT.group)
    close(wide.cluster_scores(at, data), scores, SAME)


def test_incomplete_data_agree_with_the_latent_between_parts() -> None:
    structure, at, sample = TwoLevelStructure(MODEL), parameters(), draw(missing=0.25)
    wide, other = WideLikelihood(structure), IncompleteLikelihood(structure)
    data, items = wide_data(sample), sample.incomplete()
    ours, theirs = wide.evaluate(at, data), other.evaluate(at, items)
    assert ours.loglik[0] == pytest.approx(theirs.loglik[0], rel=SAME)
    close(ours.score, theirs.score, SAME)
    close(ours.information, theirs.information, SAME)
    # that one differences its score: step 1e-4, truncation 1e-8 of the third derivatives
    close(wide.observed_information(at, data), other.observed_information(at, items), 1e-6)


def test_clusters_alike_share_a_vector_and_persons_are_exchangeable() -> None:
    complete = wide_data(draw())
    assert [group.length for group in complete.groups] == [4 * n + 2 for n in LAYOUT.distinct]
    assert [group.values.shape[1] for group in complete.groups] == list(LAYOUT.counts)
    sample = draw(missing=0.3)
    rows, clusters = sample.rows.copy(), sample.clusters.copy()
    first = LAYOUT.row_starts[-1]
    rows[:, first:] = rows[:, first:][:, ::-1]  # the persons of the largest cluster in another order
    clusters[:, 0], rows[:, 0] = np.nan, np.nan  # and a cluster of which nothing is known
    other = Sample(LAYOUT, sample.level1, sample.level2, rows, clusters)
    likelihood, at = WideLikelihood(TwoLevelStructure(MODEL)), parameters()
    ours = sum(group.values.shape[1] for group in wide_data(other).groups)
    assert ours == LAYOUT.n_clusters - 1
    alone = wide_data(Sample(ClusterLayout.of([1]), *sample_parts(sample, 0)))
    whole = likelihood.loglik(at, wide_data(sample))[0][0]
    lost = likelihood.loglik(at, alone)[0][0]
    assert likelihood.loglik(at, wide_data(other))[0][0] == pytest.approx(whole - lost, rel=SAME)


def sample_parts(sample: Sample, j: int) -> tuple:
    """Cluster ``j`` of one row."""
    row = sample.layout.row_starts[j]
    return sample.level1, sample.level2, sample.rows[:, row : row + 1], sample.clusters[:, j : j + 1]


def test_a_singular_covariance_matrix_is_no_point_of_the_domain() -> None:
    likelihood, at = WideLikelihood(TwoLevelStructure(MODEL)), parameters(3)
    at[1, MODEL.names.index("within: x ~~ x")] = -1.0
    found = likelihood.evaluate(at, wide_data(draw(3)))
    assert found.ok.tolist() == [True, False, True]
    assert found.loglik[1] == -np.inf


@pytest.mark.parametrize("method", ["evaluate", "observed_information", "cluster_scores"])
def test_bits_do_not_depend_on_the_batch(method) -> None:
    """Batches of 1, 2 and many, in data made of as many samples."""
    replicates = 40  # more than a chunk
    sample, at = draw(replicates), parameters(replicates)
    call = getattr(WideLikelihood(TwoLevelStructure(MODEL)), method)

    def parts(found: object) -> list[np.ndarray]:
        return [found] if isinstance(found, np.ndarray) else [found.loglik, found.score, found.information, found.ok]

    whole = parts(call(at, wide_data(sample)))
    for size in (1, 2, 13):
        for start in range(0, replicates, size):
            some = np.arange(start, min(start + size, replicates))
            for a, b in zip(whole, parts(call(at[some], wide_data(sample.select(some)))), strict=True):
                assert np.array_equal(a[some], b)
