"""Sufficient statistics: against pandas, selection, arrangement, and the population's moments as data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics, from_cluster_means, from_moments, total_scatter
from simstudy.errors import DataError

LAYOUT = ClusterLayout.of([1, 3, 3, 3, 6, 6, 10])
NAMES = (("y", "x", "w"), ("z", "v"))


def draw(replicates: int = 3, layout: ClusterLayout = LAYOUT) -> Sample:
    rng = np.random.default_rng(7)
    rows = rng.normal(2.0, 1.5, size=(replicates, layout.n_obs, 3)) @ rng.normal(size=(3, 3))
    return Sample(layout, *NAMES, rows, rng.normal(size=(replicates, layout.n_clusters, 2)))


def test_statistics_are_pandas_group_sums() -> None:
    sample = draw()
    found = sample.statistics()
    assert found.n_replicates == 3
    assert found.variables == ("y", "x", "w", "z", "v")
    assert found.has_clusters
    for r in range(3):
        frame = sample.to_frame(r, cluster="school")
        groups = frame.groupby("school")
        level1 = list(NAMES[0])
        deviations = frame[level1] - groups[level1].transform("mean")
        # sums of at most 32 terms: rounding
        np.testing.assert_allclose(found.scatter_within[r], deviations.T @ deviations, rtol=1e-12)
        means = groups[[*level1, *NAMES[1]]].mean()
        np.testing.assert_allclose(found.cluster_means[r], means, rtol=1e-12)
        sizes = groups.size().to_numpy()
        for s, n in enumerate(found.layout.distinct):
            mine = means[sizes == n]
            np.testing.assert_allclose(found.size_means[r, s], mine.mean(), rtol=1e-12)
            centred = mine - mine.mean()
            np.testing.assert_allclose(found.size_scatter[r, s], centred.T @ centred, rtol=1e-12, atol=1e-12)
        for j, (_, part) in enumerate(groups):
            own = part[level1] - part[level1].mean()
            np.testing.assert_allclose(found.cluster_scatter[r, j], own.T @ own, rtol=1e-12, atol=1e-12)


def test_statistics_without_clusters_are_the_same_but_for_them() -> None:
    sample = draw()
    full, small = sample.statistics(), sample.statistics(cluster_wise=False)
    assert not small.has_clusters
    assert small.cluster_means is None
    for name in ("scatter_within", "size_means", "size_scatter"):
        np.testing.assert_array_equal(getattr(full, name), getattr(small, name))


def test_large_means_do_not_cost_digits() -> None:
    sample = draw(1)
    shifted = Sample(sample.layout, *NAMES, sample.rows + 1e6, sample.clusters)
    plain, found = sample.statistics(), shifted.statistics()
    # means of 1e6 are good to 1e-10; deviations from them are taken before squaring
    np.testing.assert_allclose(found.scatter_within, plain.scatter_within, rtol=1e-8)
    np.testing.assert_allclose(found.size_scatter, plain.size_scatter, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("which", [np.array([2, 0]), slice(1, 3), slice(0, 1), np.array([1])])
def test_select_takes_replicates_of_everything(which) -> None:
    found = draw().statistics()
    part = found.select(which)
    for name in ("scatter_within", "size_means", "size_scatter", "cluster_means", "cluster_scatter"):
        np.testing.assert_array_equal(getattr(part, name), getattr(found, name)[which])
    assert part.layout is found.layout
    sample = draw()
    np.testing.assert_array_equal(sample.select(which).rows, sample.rows[which])


def test_select_works_without_clusters() -> None:
    part = draw().statistics(cluster_wise=False).select(np.array([1]))
    assert part.n_replicates == 1
    assert part.cluster_scatter is None


def test_arrange_reorders_and_drops_variables() -> None:
    sample = draw()
    found = sample.statistics()
    arranged = found.arrange(("w", "y"), ("v",))
    expected = Sample(
        sample.layout, ("w", "y"), ("v",), sample.rows[..., [2, 0]], sample.clusters[..., [1]]
    ).statistics()
    assert (arranged.level1, arranged.level2) == (("w", "y"), ("v",))
    for name in ("scatter_within", "size_means", "size_scatter", "cluster_means", "cluster_scatter"):
        # the same sums; products of other columns may be grouped differently: last digits
        np.testing.assert_allclose(getattr(arranged, name), getattr(expected, name), rtol=1e-12, atol=1e-12)
        assert getattr(arranged, name).flags["C_CONTIGUOUS"]
    assert found.arrange(*NAMES) is found
    without = found.arrange(("x",), ())
    assert without.size_means.shape == (3, 4, 1)


@pytest.mark.parametrize(
    ("level1", "level2", "message"),
    [
        (("y", "q"), ("z",), "variable 'q' of the model's level 1 is not in the data"),
        (("y", "z"), (), "variable 'z' of the model's level 1 is measured at level 2"),
        (("y",), ("x",), "variable 'x' of the model's level 2 is measured at level 1"),
        (("y",), ("q",), "variable 'q' of the model's level 2 is not in the data"),
    ],
)
def test_arrange_says_what_is_not_there(level1, level2, message) -> None:
    with pytest.raises(DataError, match=message):
        draw().statistics().arrange(level1, level2)


def test_from_moments_reproduces_the_moments_with_ml_divisors() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(3, 3)), rng.normal(size=(5, 5))
    mu, within, between = rng.normal(size=5), a @ a.T, b @ b.T
    found = from_moments(LAYOUT, *NAMES, mu, within, between)
    assert found.n_replicates == 1
    np.testing.assert_allclose(found.scatter_within[0], within * (LAYOUT.n_obs - LAYOUT.n_clusters), rtol=1e-15)
    for s, (n, count) in enumerate(zip(LAYOUT.distinct, LAYOUT.counts, strict=True)):
        np.testing.assert_array_equal(found.size_means[0, s], mu)
        expected = between.copy()
        expected[:3, :3] += within / n
        np.testing.assert_allclose(found.size_scatter[0, s], count * expected, rtol=1e-14)  # rounding
    several = from_moments(LAYOUT, *NAMES, np.stack([mu, 2 * mu]), np.stack([within] * 2), np.stack([between] * 2))
    assert several.n_replicates == 2
    np.testing.assert_array_equal(several.size_scatter[1], found.size_scatter[0])
    np.testing.assert_array_equal(several.size_means[1, 0], 2 * mu)


def test_total_scatter_pools_groups() -> None:
    """Scatter of all cluster means, and of all rows, from that within groups of clusters."""
    sample = draw(2)
    found = sample.statistics()
    mean, scatter = total_scatter(found.size_scatter, found.size_means, found.layout.counts.astype(float))
    centred = found.cluster_means - found.cluster_means.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(mean, found.cluster_means.mean(axis=1), rtol=1e-12)  # rounding
    np.testing.assert_allclose(scatter, centred.swapaxes(-1, -2) @ centred, rtol=1e-11)
    sizes = found.layout.distinct.astype(float)
    mean, between = total_scatter(
        found.size_scatter * sizes[:, None, None], found.size_means, sizes * found.layout.counts
    )
    rows = sample.rows - sample.rows.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(mean[:, :3], sample.rows.mean(axis=1), rtol=1e-12)
    total = between[:, :3, :3] + found.scatter_within
    np.testing.assert_allclose(total, rows.swapaxes(-1, -2) @ rows, rtol=1e-11)


def test_from_cluster_means_keeps_clusters_only_with_their_scatter() -> None:
    found = draw().statistics()
    again = from_cluster_means(LAYOUT, *NAMES, found.scatter_within, found.cluster_means)
    assert again.cluster_means is None
    np.testing.assert_array_equal(again.size_scatter, found.size_scatter)
    assert isinstance(again, TwoLevelStatistics)


def test_to_frame_repeats_level2_variables() -> None:
    sample = draw(2)
    frame = sample.to_frame(1)
    assert list(frame.columns) == ["cluster", "y", "x", "w", "z", "v"]
    assert (frame.groupby("cluster")["z"].nunique() == 1).all()
    assert frame.groupby("cluster").size().tolist() == list(LAYOUT.sizes)
    pd.testing.assert_series_equal(frame.groupby("cluster")["v"].first().reset_index(drop=True),
                                   pd.Series(sample.clusters[1, :, 1], name="v"))  # fmt: skip
