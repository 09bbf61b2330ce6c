"""Reading a data frame: any order and type of clusters, and one clear message a problem."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from simstudy.data.sample import from_frame
from simstudy.errors import DataError


def frame(n_clusters: int = 6, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sizes = rng.permutation(np.arange(n_clusters) // 2 + 2)
    g = np.repeat(np.arange(n_clusters), sizes)
    data = pd.DataFrame({"g": g, "y": rng.normal(size=len(g)), "x": rng.normal(size=len(g))})
    data["z"] = rng.normal(size=n_clusters)[g]
    return data


def problems(data: pd.DataFrame, *arguments: object, **options: object) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        from_frame(data, *arguments, **options)
    return caught.value.problems


def test_clusters_are_ordered_by_size_and_keep_their_rows() -> None:
    data = frame()
    sample = from_frame(data, "g", ["y", "x"], ["z"])
    assert sample.rows.shape == (1, len(data), 2)
    assert sample.clusters.shape == (1, 6, 1)
    assert list(sample.layout.sizes) == sorted(data.groupby("g").size())
    order = data.groupby("g").size().sort_values(kind="stable").index
    expected = pd.concat([data[data["g"] == g] for g in order])
    np.testing.assert_array_equal(sample.rows[0], expected[["y", "x"]])
    np.testing.assert_array_equal(sample.clusters[0, :, 0], [data.loc[data["g"] == g, "z"].iloc[0] for g in order])


@pytest.mark.parametrize("shuffle", [0, 1, 2])
def test_unsorted_rows_give_the_same_statistics(shuffle) -> None:
    data = frame()
    plain = from_frame(data, "g", ["y", "x"], ["z"]).statistics()
    found = from_frame(data.sample(frac=1, random_state=shuffle), "g", ["y", "x"], ["z"]).statistics()
    # rows and clusters of one size are summed in another order: rounding
    np.testing.assert_allclose(found.scatter_within, plain.scatter_within, rtol=1e-12)
    np.testing.assert_allclose(found.size_means, plain.size_means, rtol=1e-12)
    np.testing.assert_allclose(found.size_scatter, plain.size_scatter, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "convert",
    [
        lambda g: g.map(lambda v: f"school {9 - v}"),
        lambda g: g.astype("category"),
        lambda g: g * 1000.5,
        lambda g: pd.to_datetime("2009-03-06") + pd.to_timedelta(g, unit="D"),
        lambda g: g.map(lambda v: (v, "a")),
        lambda g: g.astype("Int64"),
    ],
    ids=["text", "category", "float", "date", "tuple", "Int64"],
)
def test_cluster_identifiers_of_any_type(convert) -> None:
    data = frame()
    plain = from_frame(data, "g", ["y", "x"], ["z"])
    found = from_frame(data.assign(g=convert(data["g"])), "g", ["y", "x"], ["z"])
    np.testing.assert_array_equal(found.rows, plain.rows)
    np.testing.assert_array_equal(found.clusters, plain.clusters)


def test_integers_booleans_and_nullable_columns_are_numbers() -> None:
    data = frame()
    data["y"] = np.arange(len(data))
    data["x"] = pd.array(np.arange(len(data)) * 0.5, dtype="Float64")
    data["z"] = data["g"] > 2
    sample = from_frame(data, "g", ["y", "x"], ["z"])
    assert sample.rows.dtype == np.float64
    assert set(np.unique(sample.clusters)) == {0.0, 1.0}


def test_level2_variables_must_not_vary_within_clusters() -> None:
    data = frame()
    data.loc[data["g"] == 3, "z"] = np.arange((data["g"] == 3).sum())
    assert problems(data, "g", ["y"], ["z"]) == ("data: level-2 variable 'z' varies within clusters",)
    assert len(problems(data, "g", ["y"], ["z", "x"])) == 2


def test_missing_columns_are_named_with_the_closest_one() -> None:
    data = frame().rename(columns={"y": "achievement"})
    found = problems(data, "school", ["achievment", "x"], ["motivation"])
    assert found == (
        "data: there is no column 'school'",
        "data: there is no column 'achievment' (did you mean 'achievement'?)",
        "data: there is no column 'motivation'",
    )


def test_missing_values_and_text_are_told_with_their_number() -> None:
    data = frame()
    data.loc[[0, 3], "y"] = np.nan
    data["x"] = "high"
    found = problems(data, "g", ["y", "x"], ["z"])
    assert found[0] == "data: column 'y' has 2 missing values"
    assert found[1].startswith("data: column 'x' is not numeric (it is ")
    assert len(found) == 2
    gaps = data.assign(g=data["g"].where(data["g"] != 1))
    assert "data: cluster column 'g' has missing values" in problems(gaps, "g", ["y", "x"], ["z"])


def test_missing_values_may_be_allowed() -> None:
    data = frame()
    data.loc[[0, 3], "y"] = np.nan
    data.loc[data["g"] == 2, "z"] = np.nan
    first_of_3 = data.index[data["g"] == 3][0]
    data.loc[first_of_3, "z"] = np.nan
    sample = from_frame(data, "g", ["y", "x"], ["z"], missing=True)
    assert int(np.isnan(sample.rows).sum()) == 2
    assert int(np.isnan(sample.clusters).sum()) == 1  # cluster 3 has the value in another row


def test_doubled_columns_are_refused() -> None:
    data = frame()
    data = pd.concat([data, data[["y"]]], axis=1)
    assert problems(data, "g", ["y"]) == ("data: 2 columns are named 'y'",)


def test_no_rows() -> None:
    assert problems(frame().iloc[:0], "g", ["y"]) == ("cluster sizes: there is no cluster",)


def test_infinite_values_are_refused() -> None:
    data = frame()
    data.loc[2, "y"] = np.inf
    assert "'y'" in problems(data, "g", ["y", "x"], ["z"])[0]


def test_no_level2_variables() -> None:
    sample = from_frame(frame(), "g", ["y"])
    assert sample.clusters.shape == (1, 6, 0)
    assert sample.statistics().size_means.shape == (1, 3, 1)
