"""Finite sets of clusters with exact moments."""

from __future__ import annotations

import numpy as np
import pytest

from simstudy.asymptotics.clusters import ExactClusters, normal_points
from simstudy.asymptotics.layouts import ManyClusters, grown, shares
from simstudy.asymptotics.moments import Points
from simstudy.data.layout import ClusterLayout

ROUNDING = 1e-12  # sums of a few thousand numbers of order 1 to 10


@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 5, 6, 7, 8, 12, 15, 16, 31, 40])
def test_points_have_normal_moments_up_to_the_fourth(dimension) -> None:
    """Isserlis' theorem for all products of four coordinates; third moments 0."""
    x = normal_points(dimension)
    m, eye = len(x), np.eye(dimension)
    np.testing.assert_allclose(x.mean(axis=0), 0.0, atol=ROUNDING)
    np.testing.assert_allclose(x.T @ x / m, eye, atol=ROUNDING)
    i, j = np.tril_indices(dimension)
    pairs = x[:, i] * x[:, j]
    np.testing.assert_allclose(x.T @ pairs / m, 0.0, atol=ROUNDING)
    fourth = eye[i, j][:, None] * eye[i, j] + eye[i][:, i] * eye[j][:, j] + eye[i][:, j] * eye[j][:, i]
    np.testing.assert_allclose(pairs.T @ pairs / m, fourth, atol=ROUNDING)


def random_points(sizes: int, p1: int, p: int) -> Points:
    random = np.random.default_rng(7)

    def positive(k: int, *shape: int) -> np.ndarray:
        a = random.normal(size=(*shape, k, k + 2))
        return a @ a.swapaxes(-1, -2)

    names = tuple(f"x{k}" for k in range(p))
    return Points(names[:p1], names[p1:], positive(p1, 2), random.normal(size=(2, sizes, p)), positive(p, 2, sizes))


@pytest.mark.parametrize(("rotation", "rows"), [(0, True), (3, True), (0, False)])
@pytest.mark.parametrize(("p1", "p2"), [(1, 0), (2, 1), (3, 0)])
def test_clusters_have_the_moments_asked_for(p1, p2, rotation, rows) -> None:
    """Sums as asked for; within scatter with the mean and covariance of the Wishart, uncorrelated with means."""
    shape, p = ClusterLayout.of([1, 2, 3, 3, 6]), p1 + p2
    exact = ExactClusters(shape, p1, p, at_least=600, rotation=rotation, rows=rows)
    assert shares(exact.layout) == shares(shape)
    points = random_points(4, p1, p)
    found = exact.statistics(points)
    asked = points.statistics(exact.layout)
    for name in ("scatter_within", "size_means", "size_scatter"):
        a, b = getattr(found, name), getattr(asked, name)
        np.testing.assert_allclose(a, b, atol=1e-11 * np.abs(b).max())
    means, scatter = found.clusters()
    for s, n in enumerate(exact.layout.distinct.tolist()):
        here = slice(exact.layout.starts[s], exact.layout.starts[s] + exact.layout.counts[s])
        for r in range(2):
            w, a = points.within[r], scatter[r, here].reshape(-1, p1 * p1)
            np.testing.assert_allclose(a.mean(axis=0), (n - 1) * w.ravel(), atol=1e-11 * np.abs(w).max())
            gamma = np.einsum("ik,jl->ijkl", w, w) + np.einsum("il,jk->ijkl", w, w)
            covariance = (n - 1) * gamma.reshape(p1 * p1, -1)
            np.testing.assert_allclose(np.cov(a.T, bias=True), covariance.squeeze(), atol=1e-10 * np.abs(gamma).max())
            v = means[r, here] - means[r, here].mean(axis=0)
            products = np.column_stack([v, (v[:, :, None] * v[:, None, :]).reshape(len(v), -1)])
            cross = (a - a.mean(axis=0)).T @ products / len(v)
            np.testing.assert_allclose(cross, 0.0, atol=1e-10 * np.abs(products).max() * np.abs(a).max() + 1e-12)


@pytest.mark.parametrize(("p1", "p2"), [(1, 0), (2, 1), (3, 1)])
def test_rows_are_the_same_clusters(p1, p2) -> None:
    exact = ExactClusters(ClusterLayout.of([1, 2, 3, 5, 5]), p1, p1 + p2)
    points = random_points(4, p1, p1 + p2)
    rows, sums = exact.sample(points).statistics(), exact.statistics(points)
    for name in ("scatter_within", "size_means", "size_scatter", "cluster_means", "cluster_scatter"):
        a, b = getattr(rows, name), getattr(sums, name)
        np.testing.assert_allclose(a, b, atol=1e-11 * np.abs(b).max(), err_msg=name)


def test_sums_take_fewer_clusters_than_rows() -> None:
    """Nine variables, sizes 2 to 18: rows need the products of up to 8 vectors a cluster."""
    shape = ClusterLayout.of(range(2, 19))
    assert len(ExactClusters(shape, 9, 9, rows=False).points) == 1156
    assert len(ExactClusters(shape, 9, 9, rows=True).points) > 10_000


def test_very_many_clusters_are_a_layout_like_any_other() -> None:
    written = grown(ClusterLayout.of([2, 2, 5]), 30_000)
    many = ManyClusters.grown(written, 30_000)
    assert isinstance(many, ClusterLayout)
    assert shares(many) == ((2, 5), (2, 1))
    for name in ("n_clusters", "n_obs", "balanced", "mean_size", "anova_size"):
        assert getattr(many, name) == pytest.approx(getattr(written, name), rel=1e-14), name
    np.testing.assert_array_equal(many.distinct, written.distinct)
    np.testing.assert_array_equal(many.counts, written.counts)
    assert many == ManyClusters.grown(written, 29_998)
    assert hash(many) == hash(ManyClusters.grown(written, 30_000))
    with pytest.raises(Exception, match="not written out"):
        _ = many.sizes
    assert ManyClusters.grown(written, 10**7).n_clusters == 10_000_002
