"""Cluster sizes: what is written, what it becomes, what is refused."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simstudy.errors import DesignError
from simstudy.population.sizes import ClusterSizes, parse_groups, parse_sizes, run_lengths


def counts(value: object, n_clusters: int | None) -> dict[int, int]:
    return dict(Counter(parse_sizes(value).layout(n_clusters).sizes))


def test_constant() -> None:
    assert counts(10, 4) == {10: 4}
    assert parse_sizes(10).label == "10"


def test_uniform_has_every_size_equally_often_where_the_number_of_clusters_allows() -> None:
    assert counts({"uniform": [2, 4]}, 9) == {2: 3, 3: 3, 4: 3}
    assert parse_sizes({"uniform": [2, 18]}).label == "2-18"


def test_uniform_with_few_clusters_spreads_them_evenly() -> None:
    """Quantiles (j - 1/2)/J of 2..18: J = 1 is the median, J = 3 the 1/6, 1/2 and 5/6 quantiles."""
    assert parse_sizes({"uniform": [2, 18]}).layout(3).sizes == (4, 10, 16)
    assert parse_sizes({"uniform": [2, 18]}).layout(1).sizes == (10,)


@given(low=st.integers(1, 20), width=st.integers(1, 30), n=st.integers(2, 200))
def test_uniform_is_symmetric_and_within_its_range(low: int, width: int, n: int) -> None:
    sizes = parse_sizes({"uniform": [low, low + width]}).layout(n).sizes if low + width > 1 else (low,)
    assert low <= sizes[0] <= sizes[-1] <= low + width
    frequencies = Counter(sizes)
    if n % (width + 1) == 0:
        assert set(frequencies.values()) == {n // (width + 1)}
    assert max(frequencies.values()) - min(frequencies.values()) <= 1  # as even as whole numbers allow


def test_mix_by_largest_remainder() -> None:
    assert counts({"mix": {"5": 0.4, "20": 0.6}}, 50) == {5: 20, 20: 30}
    assert counts({"mix": {"5": 0.4, "20": 0.6}}, 3) == {5: 1, 20: 2}  # 1.2 and 1.8
    assert counts({"mix": {"5": 0.5, "20": 0.5}}, 3) == {5: 2, 20: 1}  # a tie goes to the smaller size
    assert parse_sizes({"mix": {"20": 0.6, "5": 0.4}}).label == "5:40% 20:60%"


def test_mix_does_not_depend_on_binary_fractions() -> None:
    """0.29 * 100 is 28.999999999999996 in floating point."""
    assert counts({"mix": {"5": 0.29, "20": 0.71}}, 100) == {5: 29, 20: 71}


@given(n=st.integers(1, 300), share=st.integers(1, 99))
def test_mix_allocates_every_cluster(n: int, share: int) -> None:
    found = counts({"mix": {"5": share / 100, "20": 1 - share / 100}}, n)
    assert sum(found.values()) == n
    assert abs(found.get(5, 0) - n * share / 100) < 1


def test_explicit_sizes_fix_the_number_of_clusters() -> None:
    for value in ([3, 5, 4], {"sizes": [3, 5, 4]}):
        assert parse_sizes(value).layout().sizes == (3, 4, 5)
        assert parse_sizes(value).n_clusters == 3
    with pytest.raises(DesignError, match=r"3 sizes are listed, but n_clusters is 4"):
        parse_sizes([3, 5, 4]).layout(4)


def test_mplus_groups() -> None:
    sizes = parse_groups("40 (5) 50 (10) 20 (15)")
    assert run_lengths(sizes.layout()) == [(5, 40), (10, 50), (15, 20)]
    assert sizes.label == "40(5) 50(10) 20(15)"
    assert parse_groups("40(5), 50 (10)").layout().n_clusters == 90


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "at least 1"),
        (-3, "at least 1"),
        (5.0, "whole number"),
        (True, "whole number"),
        ("ten", "allowed: a whole number"),
        ({"unifrom": [2, 3]}, r"did you mean 'uniform'\?"),
        ({"uniform": [2]}, "lowest and highest"),
        ({"uniform": [5, 2]}, "lowest size comes first"),
        ({"uniform": [2, 3], "mix": {"5": 1.0}}, "allowed: a whole number"),
        ({"mix": {"5": 0.4, "20": 0.5}}, "add up to 0.9; they must add up to 1"),
        ({"mix": {"five": 1.0}}, "has the size 'five'"),
        ({"mix": {"5": -0.5, "6": 1.5}}, "share -0.5"),
        ({"mix": {"5": 0.5, "05": 0.5}}, "size 5 twice"),
        ({"mix": {}}, "share by size"),
        ([], "list of cluster sizes"),
        ([5, "a"], "'a'"),
    ],
)
def test_refused(value: object, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        parse_sizes(value, "population.cluster_size")


@pytest.mark.parametrize("text", ["", "40", "40 x 5", "(5) 40", "40 (0)", 7])
def test_groups_refused(text: object) -> None:
    with pytest.raises(DesignError, match="clusters: found"):
        parse_groups(text)


def test_one_row_in_every_cluster_is_refused() -> None:
    with pytest.raises(DesignError, match="every cluster has 1 row, so within-cluster variances are not identified"):
        parse_sizes(1).layout(30)
    assert parse_sizes([1, 1, 2]).layout().n_obs == 4


def test_number_of_clusters_is_needed() -> None:
    with pytest.raises(DesignError, match="number of clusters is missing"):
        parse_sizes(10).layout()


def test_specifications_are_values() -> None:
    assert parse_sizes({"mix": {"5": 0.4, "20": 0.6}}) == parse_sizes({"mix": {"20": 0.6, "5": 0.4}})
    spec = parse_sizes(10)
    assert isinstance(spec, ClusterSizes)
    assert parse_sizes(spec) is spec
