"""Cluster layouts: sizes, what is derived from them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from simstudy.data.layout import ClusterLayout
from simstudy.errors import DataError


def test_sizes_are_sorted_and_counted() -> None:
    layout = ClusterLayout.of(np.array([5, 2, 9, 2, 5, 5]))
    assert layout.sizes == (2, 2, 5, 5, 5, 9)
    assert ClusterLayout((5, 2, 9, 2, 5, 5)) == layout
    assert layout.n_clusters == 6
    assert layout.n_obs == 28
    assert layout.mean_size == 28 / 6
    np.testing.assert_array_equal(layout.distinct, [2, 5, 9])
    np.testing.assert_array_equal(layout.counts, [2, 3, 1])
    np.testing.assert_array_equal(layout.starts, [0, 2, 5])
    np.testing.assert_array_equal(layout.group, [0, 0, 1, 1, 1, 2])
    np.testing.assert_array_equal(layout.row_starts, [0, 2, 4, 9, 14, 19])
    assert not layout.balanced
    assert all(type(n) is int for n in layout.sizes)


def test_balanced_layouts() -> None:
    layout = ClusterLayout.of([4] * 7)
    assert layout.balanced
    assert layout.anova_size == pytest.approx(4.0, rel=1e-15)
    np.testing.assert_array_equal(layout.distinct, [4])
    np.testing.assert_array_equal(layout.group, np.zeros(7))


@pytest.mark.parametrize("sizes", [[2, 5, 20], [1, 1, 2, 8, 8, 3]])
def test_anova_size_makes_the_between_mean_square_unbiased(sizes) -> None:
    """Theory C3: E S_B = Sigma_W + c Sigma_B, here by the quadratic form's trace for between variance alone."""
    layout = ClusterLayout.of(sizes)
    n = np.asarray(layout.sizes, dtype=float)
    # sum n_j (u_j - ubar)^2 / (J - 1) = u' A u with E u'Au = trace A
    a = np.diag(n) - np.outer(n, n) / n.sum()
    assert layout.anova_size == pytest.approx(np.trace(a) / (len(n) - 1), rel=1e-14)  # rounding


def test_layouts_are_values() -> None:
    a, b = ClusterLayout.of([3, 4]), ClusterLayout.of([4, 3])
    assert a == b
    assert hash(a) == hash(b)
    assert a != ClusterLayout.of([3, 5])


@pytest.mark.parametrize(
    ("sizes", "message"), [([], "there is no cluster"), ([3, 0], "found 0; every cluster needs"), ([-1, 2], "found -1")]
)
def test_impossible_sizes_are_refused(sizes, message) -> None:
    with pytest.raises(DataError, match=message):
        ClusterLayout.of(sizes)
