"""Drawing: the right joint distribution, the same data in every form, and no bit that depends on the batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.calibrate import calibrate
from simstudy.population.draw import (
    draw_cluster_statistics,
    draw_sample,
    draw_statistics,
    generator,
    psd_factor,
)
from simstudy.population.population import Population

Array = NDArray[np.float64]

MODEL = TwoLevelModel.from_syntax(
    """
    level: within
      y ~ bw*x + d*w
    level: between
      y ~ bb*x + g*z
    """
)
VALUES = {"bw": 0.2, "d": 0.3, "bb": 0.7, "g": 0.25, "between: x ~~ z": 0.1, "between: y ~ 1": 2.0}
ONE = TwoLevelModel.from_syntax("level: within\n y ~~ y\nlevel: between\n y ~~ y\n")

BALANCED = ClusterLayout((6,) * 12)
UNBALANCED = ClusterLayout((1, 2, 2, 3, 5, 5, 5, 8, 12, 15))
FEW_ROWS = ClusterLayout((1, 1, 1, 2, 2))  # N - J = 2 < p1 = 3


def population(layout: ClusterLayout, icc: float = 0.2, key: str = "key") -> Population:
    """Variables y, x (both levels), w (within only) and z (between only)."""
    return Population(MODEL, calibrate(MODEL, VALUES | {"bb": 0.7 if icc else 0.0, "g": 0.25 if icc else 0.0,
        "between: x ~~ z": 0.1 if icc else 0.0}, 1.0, icc), layout, key)  # fmt: skip


def univariate(layout: ClusterLayout) -> Population:
    return Population(ONE, calibrate(ONE, {}, 1.0, 0.3), layout, "one")


def naive_rows(pop: Population, n: int, seed: int) -> tuple[Array, Array]:
    """Rows (n, N, p1) and level-2 values (n, J, p2) by the definition: mean + between part + within part."""
    m, layout = pop.moments, pop.layout
    rng = np.random.default_rng(seed)
    p, p1 = len(m.mu), len(m.level1)

    def root(sigma: Array) -> Array:
        values, vectors = np.linalg.eigh(sigma)
        return vectors * np.sqrt(np.clip(values, 0.0, None))

    between = m.mu + rng.standard_normal((n, layout.n_clusters, p)) @ root(m.sigma_between).T
    within = rng.standard_normal((n, layout.n_obs, p1)) @ root(m.sigma_within).T
    ids = np.repeat(np.arange(layout.n_clusters), layout.sizes)
    return between[:, ids, :p1] + within, between[..., p1:]


def naive_statistics(pop: Population, n: int, seed: int) -> tuple[Array, Array]:
    """Pooled scatter (n, p1, p1) and v_j (n, J, p), cluster by cluster."""
    rows, level2 = naive_rows(pop, n, seed)
    scatter = np.zeros((n, rows.shape[-1], rows.shape[-1]))
    means = []
    for start, size in zip(pop.layout.row_starts, pop.layout.sizes, strict=True):
        block = rows[:, start : start + size]
        means.append(block.mean(axis=1))
        scatter += np.einsum("rni,rnj->rij", block - means[-1][:, None], block - means[-1][:, None])
    return scatter, np.concatenate([np.stack(means, axis=1), level2], axis=-1)


def cluster_means(pop: Population, n: int) -> Array:
    found = draw_cluster_statistics(pop, 1, range(n)).cluster_means
    assert found is not None
    return found


def z_scores(sample: Array, expected: Array) -> Array:
    """Of the sample's mean over its first axis."""
    return (sample.mean(axis=0) - expected) / (sample.std(axis=0, ddof=1) / np.sqrt(len(sample)) + 1e-300)


# ---- in distribution ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED, FEW_ROWS])
def test_first_and_second_moments_are_those_of_theory_b10(layout: ClusterLayout) -> None:
    """E W = (N - J) S, Cov(W_ij, W_kl) = (N - J)(S_ik S_jl + S_il S_jk), Cov v_j = Sigma_B + Sigma_W / n_j."""
    pop, n = population(layout), 20_000
    m, df = pop.moments, layout.n_obs - layout.n_clusters
    s, p1 = m.sigma_within, 3
    scatter = draw_statistics(pop, 1, range(n)).scatter_within
    centred = scatter - df * s
    products = centred[:, :, :, None, None] * centred[:, None, None]
    expected = df * (np.einsum("ik,jl->ijkl", s, s) + np.einsum("il,jk->ijkl", s, s))
    v = cluster_means(pop, n) - m.mu
    cov = np.repeat(m.sigma_between[None], layout.n_clusters, axis=0)
    cov[:, :p1, :p1] += s / np.asarray(layout.sizes)[:, None, None]
    # 4.5 Monte Carlo standard errors: a few hundred entries are looked at
    assert np.abs(z_scores(scatter, df * s)).max() < 4.5
    assert np.abs(z_scores(products, expected)).max() < 4.5
    assert np.abs(z_scores(v, np.zeros_like(v[0]))).max() < 4.5
    assert np.abs(z_scores(v[..., :, None] * v[..., None, :], cov)).max() < 4.5


def test_means_of_different_clusters_and_the_scatter_are_independent() -> None:
    pop, n = population(UNBALANCED), 20_000
    v = cluster_means(pop, n).reshape(n, -1)
    scatter = draw_statistics(pop, 1, range(n)).scatter_within.reshape(n, -1)
    r = np.corrcoef(np.concatenate([v, v**2, scatter], axis=1).T)
    k = v.shape[1]
    same = np.kron(np.eye(10), np.ones((4, 4)))  # entries of one cluster's v_j are correlated
    assert np.abs(r[:k, :k][same == 0]).max() < 5 / np.sqrt(n)  # 1,400 correlations
    assert np.abs(r[: 2 * k, 2 * k :]).max() < 5 / np.sqrt(n)


@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED, FEW_ROWS])
def test_functions_of_the_statistics_are_distributed_as_with_naive_rows(layout: ClusterLayout) -> None:
    """Two-sample Kolmogorov-Smirnov tests; a right generator fails one of these 18 with probability .002."""
    pop, n = population(layout), 8_000
    scatter, v = naive_statistics(pop, n, seed=5)
    ours, means = draw_statistics(pop, 1, range(n)).scatter_within, cluster_means(pop, n)
    sizes = np.asarray(layout.sizes)[:, None]

    def ols(w: Array, v: Array) -> Array:
        centred = v - (sizes * v).sum(axis=1, keepdims=True) / sizes.sum()
        between = (sizes * centred * centred[..., 1:2]).sum(axis=1)
        return (w[:, 0, 1] + between[:, 0]) / (w[:, 1, 1] + between[:, 1])

    def level2(w: Array, v: Array) -> Array:
        centred = v - v.mean(axis=1, keepdims=True)
        return (centred[..., 0] * centred[..., 3]).sum(axis=1) / (centred[..., 3] ** 2).sum(axis=1)

    functions: list[Callable[[Array, Array], Array]] = [
        ols,
        level2,
        lambda w, v: np.trace(w, axis1=1, axis2=2),
        lambda w, v: w[:, 0, 1] / w[:, 1, 1],
        lambda w, v: v[:, -1, 0] + v[:, 0, 3],
        lambda w, v: (v[..., 0] * v[..., 1]).sum(axis=1),
    ]
    for function in functions:
        assert stats.ks_2samp(function(scatter, v), function(ours, means)).pvalue > 1e-4


def test_rows_are_distributed_as_naive_rows() -> None:
    """Functions that need the rows: extremes, single rows, products of rows of one and of two clusters."""
    pop, n = population(UNBALANCED), 8_000
    rows, level2 = naive_rows(pop, n, seed=6)
    sample = draw_sample(pop, 1, range(n))
    functions: list[Callable[[Array, Array], Array]] = [
        lambda y, z: y[..., 0].max(axis=1),
        lambda y, z: y[:, 0, 0],
        lambda y, z: y[:, -1, 1],
        lambda y, z: y[:, -1, 0] - y[:, -2, 0],
        lambda y, z: y[:, -1, 0] * y[:, -3, 1],
        lambda y, z: y[:, 0, 0] * y[:, -1, 0],
        lambda y, z: np.abs(y[:, 20:30, 2]).min(axis=1),
        lambda y, z: z[:, -1, 0] * y[:, -1, 0],
    ]
    for function in functions:
        assert stats.ks_2samp(function(rows, level2), function(sample.rows, sample.clusters)).pvalue > 1e-4


def test_all_rows_have_the_right_covariance_matrix() -> None:
    """Every pair of rows: Sigma_B + Sigma_W on the diagonal, Sigma_B within clusters, 0 between them."""
    pop, n = univariate(ClusterLayout((1, 2, 3, 5))), 40_000
    y = draw_sample(pop, 1, range(n)).rows[..., 0]
    ids = np.repeat(np.arange(4), (1, 2, 3, 5))
    expected = 0.3 * (ids[:, None] == ids) + 0.7 * np.eye(11)
    assert np.abs(z_scores(y[:, :, None] * y[:, None, :], expected)).max() < 4.5


def test_scatter_of_single_clusters() -> None:
    """Independent Wishart matrices with n_j - 1 degrees of freedom."""
    pop, n = population(UNBALANCED), 10_000
    found = draw_cluster_statistics(pop, 1, range(n)).cluster_scatter
    assert found is not None
    df = np.asarray(UNBALANCED.sizes) - 1.0
    variances = found[..., 0, 0]
    assert np.abs(z_scores(found, df[:, None, None] * pop.moments.sigma_within)).max() < 4.5
    assert not found[:, 0].any()  # one row
    r = np.corrcoef(variances[:, 1:].T)
    assert np.abs(r[np.triu_indices(9, 1)]).max() < 4 / np.sqrt(n)
    scaled = variances[:, -1] / pop.moments.sigma_within[0, 0]
    assert stats.kstest(scaled, stats.chi2(14).cdf).pvalue > 1e-4


def test_anova_slope_of_raw_and_direct_draws() -> None:
    """Theory B10's check, on different replicates of the same population."""
    pop, n = population(UNBALANCED), 8_000
    direct = draw_statistics(pop, 1, range(n)).scatter_within
    raw = draw_sample(pop, 1, range(n, 2 * n)).statistics(cluster_wise=False).scatter_within
    slopes = [w[:, 0, 1] / w[:, 1, 1] for w in (direct, raw)]
    assert stats.ks_2samp(*slopes).pvalue > 1e-4


# ---- one data set in three forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED, FEW_ROWS, ClusterLayout((2, 3)), ClusterLayout((40,) * 3)])
@pytest.mark.parametrize("icc", [0.2, 0.0])
def test_sample_and_statistics_are_the_same_data(layout: ClusterLayout, icc: float) -> None:
    pop, replicates = population(layout, icc), range(20)
    direct = draw_statistics(pop, 7, replicates)
    clusters = draw_cluster_statistics(pop, 7, replicates)
    rows = draw_sample(pop, 7, replicates).statistics(cluster_wise=True)
    for name in ("scatter_within", "size_means", "size_scatter"):
        assert np.array_equal(getattr(direct, name), getattr(clusters, name))
    assert direct.cluster_means is None
    assert clusters.has_clusters
    for field in dataclasses.fields(TwoLevelStatistics)[3:]:
        # rounding errors of sums over up to 120 rows of order 1
        np.testing.assert_allclose(getattr(rows, field.name), getattr(clusters, field.name), rtol=0, atol=1e-12)
    assert (rows.level1, rows.level2) == (("y", "x", "w"), ("z",))


def test_conditioning_of_few_rows() -> None:
    """With N - J = p1 the projection is badly conditioned in some of many replicates."""
    pop, replicates = population(ClusterLayout((1, 2, 3))), range(3_000)
    direct = draw_statistics(pop, 7, replicates)
    rows = draw_sample(pop, 7, replicates).statistics()
    np.testing.assert_allclose(rows.scatter_within, direct.scatter_within, rtol=0, atol=1e-11)


# ---- bits -----------------------------------------------------------------------------------------------------------


def arrays(data: TwoLevelStatistics | Sample) -> dict[str, Array]:
    return {name: value for name, value in vars(data).items() if isinstance(value, np.ndarray)}


@pytest.mark.parametrize("draw", [draw_statistics, draw_cluster_statistics, draw_sample])
@pytest.mark.parametrize("pop", [population(BALANCED), population(UNBALANCED), population(FEW_ROWS),
                                 univariate(BALANCED), univariate(UNBALANCED)])  # fmt: skip
def test_no_bit_depends_on_the_batch(
    draw: Callable[[Population, int, range | list[int]], TwoLevelStatistics | Sample], pop: Population
) -> None:
    together = arrays(draw(pop, 3, range(64)))
    for part in ([0], [5, 6, 7], [63, 2, 9]):
        alone = arrays(draw(pop, 3, part))
        assert alone.keys() == together.keys()
        for name, value in alone.items():
            assert np.array_equal(value, together[name][part]), name


def test_numbers_are_addressed() -> None:
    def first(seed: int, key: str, replicate: int, stream: int) -> float:
        return float(generator(seed, key, replicate, stream).standard_normal())

    base = first(1, "a", 2, 0)
    assert base == first(1, "a", 2, 0)
    others = [first(2, "a", 2, 0), first(1, "b", 2, 0), first(1, "a", 3, 0), first(1, "a", 2, 1), first(12, "a", 0, 2)]
    assert len({base, *others}) == 6
    assert isinstance(first(-(10**30), "a", 2**63, 1), float)  # any seed, any number of replicates


def test_draws_use_the_documented_streams() -> None:
    """Stream 0 begins with the normals of the cluster means, variable by variable."""
    pop = univariate(BALANCED)
    z = generator(5, "one", 8, 0).standard_normal(12)
    expected = np.sqrt(0.3 + 0.7 / 6) * z
    found = draw_sample(pop, 5, [8]).rows[0, :, 0].reshape(12, 6).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_the_numbers_are_those_of_earlier_versions() -> None:
    """If this fails, published studies cannot be replayed any more. Recorded with numpy 2.4.6, 2025-11."""
    found = draw_statistics(population(UNBALANCED), 20090306, [0, 999])
    np.testing.assert_allclose(found.scatter_within[:, 0, 1], RECORDED_SCATTER, rtol=1e-12)  # last digits of libm
    np.testing.assert_allclose(found.size_means[:, -1, 3], RECORDED_MEANS, rtol=1e-12)
    rows = draw_sample(population(UNBALANCED), 20090306, [999]).rows
    np.testing.assert_allclose(rows[0, -1], RECORDED_ROW, rtol=1e-12)


RECORDED_SCATTER = [8.521491633987733, 16.035958522603956]
RECORDED_MEANS = [0.8301972037201968, -2.506348581499727]
RECORDED_ROW = [2.5320460493259915, 0.8246002963596633, 1.8133062558400805]


# ---- singular matrices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 1, 2, 4])
def test_psd_factor(rank: int) -> None:
    rng = np.random.default_rng(rank)
    half = rng.standard_normal((7, 4, rank))
    a = half @ half.swapaxes(-1, -2)
    factor = psd_factor(a)
    np.testing.assert_allclose(factor @ factor.swapaxes(-1, -2), a, atol=1e-12 * max(np.abs(a).max(), 1.0))
    assert not np.triu(factor, 1).any()
    if rank == 4:
        np.testing.assert_allclose(factor, np.linalg.cholesky(a), rtol=1e-9)  # condition numbers up to 1e4


def test_a_variable_without_residual() -> None:
    """All of y from x between clusters: Sigma_B is singular, and so is its draw."""
    model = TwoLevelModel.from_syntax("level: within\n y ~~ y\nlevel: between\n z ~ 2*w + 0*y\n")
    pop = Population(model, calibrate(model, {"between: z ~~ z": 0.0}, 1.0, 0.1), BALANCED, "singular")
    sample = draw_sample(pop, 1, range(5))
    np.testing.assert_allclose(sample.clusters[..., 0], 2 * sample.clusters[..., 1], atol=1e-14)
