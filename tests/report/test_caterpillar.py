"""Caterpillar plots: order, intervals, marks, and what is written."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection

sys.path.insert(0, str(Path(__file__).parents[1] / "analysis"))
from slope_data import WITHIN, school_data

import simstudy
from simstudy.analysis.result import FitRecord
from simstudy.analysis.slopes import random_effects
from simstudy.errors import SimstudyError
from simstudy.report.figures.kinds.caterpillar import NAMED, caterpillar_data, plot_caterpillar, save_caterpillar


@cache
def fitted(n_clusters: int = 30) -> FitRecord:
    return simstudy.fit(WITHIN, school_data(n_clusters), cluster="school")


def test_data_are_ordered_and_complete() -> None:
    data = caterpillar_data(fitted(), ["s", "y"], level=0.9)
    effects = random_effects(fitted())
    for name in ("s", "y"):
        mine = data[data["name"] == name]
        assert mine["rank"].tolist() == list(range(1, 31))
        assert mine["estimate"].is_monotonic_increasing
        found = mine.set_index("cluster")
        pd.testing.assert_series_equal(found["estimate"].sort_index(), effects[name].sort_index(), check_names=False)
        np.testing.assert_allclose(found["upper"] - found["lower"], 2 * 1.6448536 * found["se"], rtol=1e-7)
        outside = (found["mean"] < found["lower"]) | (found["mean"] > found["upper"])
        assert (found["apart"] == outside).all()
    mean = fitted().parameters.query("lhs == 's' and op == '~1'")["est"].iloc[0]
    np.testing.assert_allclose(data.loc[data["name"] == "s", "mean"], mean)


@pytest.mark.parametrize("n_clusters", [30, 200])
def test_every_cluster_has_an_interval(n_clusters: int) -> None:
    figure = plot_caterpillar(fitted(n_clusters))
    (axes,) = figure.axes
    drawn = [c for c in axes.collections if isinstance(c, LineCollection)]
    assert sum(len(c.get_segments()) for c in drawn) == n_clusters
    assert axes.get_ylabel() == "s: slope of y on x"
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert ("s3" in names) == (n_clusters <= NAMED)
    assert any(text.get_text().startswith("mean ") for text in axes.get_legend().get_texts())


def test_one_panel_a_name() -> None:
    assert len(plot_caterpillar(fitted(), ["s", "y"]).axes) == 2


def test_files(tmp_path: Path) -> None:
    image, table = save_caterpillar(fitted(), tmp_path / "new" / "slopes.png")
    assert image.read_bytes().startswith(b"\x89PNG")
    assert table == tmp_path / "new" / "slopes.csv"
    assert list(pd.read_csv(table).columns) == list(caterpillar_data(fitted()).columns)
    with pytest.raises(SimstudyError, match=r"a figure is written as .pdf, .png, .svg"):
        save_caterpillar(fitted(), tmp_path / "slopes.jpeg")


def test_unknown_names() -> None:
    with pytest.raises(SimstudyError) as caught:
        plot_caterpillar(fitted(), ["t", "yy"])
    assert caught.value.problems == (
        "caterpillar plot: no random element 't'; there are s, y",
        "caterpillar plot: no random element 'yy' (did you mean 'y'?); there are s, y",
    )
    with pytest.raises(SimstudyError, match="level: found 95"):
        plot_caterpillar(fitted(), level=95)
