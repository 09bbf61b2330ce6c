"""Figures of replicates: zip, scatter and Bland-Altman against numbers worked out another way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from figure_tables import SIX, TRUTH, chart, layout_problems, line, replicates, texts
from matplotlib.collections import LineCollection
from scipy.stats import norm

from simstudy.errors import SimstudyError
from simstudy.report.figures import bland_altman_chart, scatter_chart, zip_chart
from simstudy.report.figures.kinds.bland_altman import ROUNDING
from simstudy.report.figures.kinds.scatter import MAX_POINTS
from simstudy.report.figures.kinds.zips import MAX_LINES
from simstudy.report.figures.replicates import central_limits

Z95 = norm.ppf(0.975)
TWO = ("mlm", "msem")


def segments(axes: object, label: str) -> np.ndarray:
    """Ends of the intervals of one colour, (n, 2, 2)."""
    found = [item for item in axes.collections if isinstance(item, LineCollection) and item.get_label() == label]  # type: ignore[attr-defined]
    return np.array(found[0].get_segments()).reshape(-1, 2, 2)


def note(figure: object) -> str:
    return " ".join(texts(figure))  # type: ignore[arg-type]


# ---------------------------------------------------------------------- zip


def test_zip_intervals_are_those_of_the_replicates_in_order_of_z() -> None:
    table, figure = replicates(), chart("zip").figure
    for axes, name in zip(figure.axes, SIX, strict=True):
        mine = table[table["estimator"] == name]
        z = ((mine["estimate"] - TRUTH).abs() / mine["se"]).sort_values()
        ordered = mine.loc[z.index]
        drawn = np.concatenate([segments(axes, "covers"), segments(axes, "misses")])
        drawn = drawn[np.argsort(drawn[:, 0, 1])]
        np.testing.assert_allclose(drawn[:, 0, 0], ordered["estimate"] - Z95 * ordered["se"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(drawn[:, 1, 0], ordered["estimate"] + Z95 * ordered["se"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(drawn[:, 0, 1], (np.arange(len(z)) + 0.5) / len(z) * 100)
        covers = int((z <= Z95).sum())
        assert len(segments(axes, "covers")) == covers
        assert segments(axes, "covers")[:, 0, 1].max() < segments(axes, "misses")[:, 0, 1].min()
        share = covers / len(z)
        half = 1.96 * np.sqrt(share * (1 - share) / len(z))
        dashes = sorted(item.get_ydata()[0] for item in axes.get_lines() if item.get_linestyle() == "--")
        assert dashes == pytest.approx([100 * (share - half), 100 * min(share + half, 1.0)], abs=0.01)
        assert axes.get_ylim() == (0, 100)
        assert f"{name}: coverage {100 * share:.1f}%" in " ".join(texts(figure))


def test_zip_takes_limits_that_are_given_and_ranks_without_standard_errors() -> None:
    table = replicates(("msem",))
    wide = table.assign(lower=table["estimate"] - 1.0, upper=table["estimate"] + 2.0, se=np.nan, se_kind="montecarlo")
    drawn = zip_chart(wide).data
    np.testing.assert_array_equal(drawn["upper"] - drawn["lower"], np.sort(drawn["upper"] - drawn["lower"]))
    off = (drawn["estimate"] - TRUTH).abs()
    assert off.is_monotonic_increasing  # all intervals are of one width
    assert (drawn["coverage"] == 1.0).all()
    assert "SE: montecarlo." in note(zip_chart(wide).figure)


def test_many_intervals_are_thinned_and_the_figure_says_so() -> None:
    table = replicates(TWO, 5 * MAX_LINES // 2)
    made = zip_chart(table)
    assert len(made.data) <= 2 * MAX_LINES
    assert "Not all intervals are drawn (mlm one in 3, msem one in 3, by rank); coverage is of all." in note(
        made.figure
    )
    full = table[table["estimator"] == "mlm"]
    share = ((full["estimate"] - TRUTH).abs() <= Z95 * full["se"]).mean()
    assert made.data.loc[made.data["estimator"] == "mlm", "coverage"].unique() == pytest.approx([share])  # of all


def test_one_kind_of_standard_error_is_drawn() -> None:
    table = replicates(TWO)
    both = pd.concat([table, table[table["estimator"] == "msem"].assign(se_kind="robust", se=0.2)], ignore_index=True)
    assert set(zip_chart(both).data["se_kind"]) == {"expected"}
    made = zip_chart(both, se_kind="robust")
    assert "SE: mlm expected, msem robust." in note(made.figure)
    assert set(made.data.loc[made.data["estimator"] == "msem", "se"]) == {0.2}


# ---------------------------------------------------------------------- scatter


def test_points_are_the_replicates() -> None:
    table, figure = replicates(), chart("scatter").figure
    for axes, name in zip(figure.axes, SIX, strict=True):
        mine = table[table["estimator"] == name]
        missed = (mine["estimate"] - TRUTH).abs() > Z95 * mine["se"]
        for label, rows in (("covers", mine[~missed]), ("misses", mine[missed])):
            drawn = line(axes, label)
            inside = set(zip(drawn.get_xdata(), drawn.get_ydata(), strict=True))
            assert inside <= set(zip(rows["estimate"], rows["se"], strict=True))
        counts = [len(line(axes, label).get_xdata()) for label in ("covers", "misses", "beyond")]
        assert sum(counts) == len(mine)
    made = chart("scatter").data.groupby("estimator")
    expected = table.groupby("estimator")["estimate"].std()
    pd.testing.assert_series_equal(made["empirical_se"].first(), expected, check_names=False)


def test_points_far_out_are_marked_at_the_edge_and_counted() -> None:
    table = replicates(TWO)
    table.loc[table.index[-3:], "estimate"] = [1e6, -1e9, 50.0]
    made = scatter_chart(table)
    low, high = made.figure.axes[0].get_xlim()
    assert -1.0 < low < high < 3.0
    assert "Crosses at the edge: beyond the axes (3)." in note(made.figure)
    edge = line(made.figure.axes[1], "beyond").get_xdata()
    assert set(edge) == {low, high}
    assert len(made.data) == len(table)


def test_the_first_replicates_are_drawn_if_there_are_many_and_the_figure_says_so() -> None:
    made = scatter_chart(replicates(("mlm",), MAX_POINTS + 5))
    assert len(made.data) == MAX_POINTS
    assert "of the first 2,000: mlm 2,000 of 2,005." in note(made.figure)


# ---------------------------------------------------------------------- Bland-Altman


def test_differences_pair_the_replicates() -> None:
    table = replicates()
    shuffled = table.sample(frac=1.0, random_state=3)
    made = bland_altman_chart(shuffled, compare=("aggregated", "mlm"))
    wide = table.pivot(index="rep", columns="estimator", values="estimate")
    difference = wide["aggregated"] - wide["mlm"]
    np.testing.assert_array_equal(made.data["difference"], difference)
    np.testing.assert_array_equal(made.data["mean"], (wide["aggregated"] + wide["mlm"]) / 2)
    first = made.data.iloc[0]
    expected = difference.mean() + np.array([-1.96, 1.96]) * difference.std()
    assert (first["lower_limit"], first["upper_limit"]) == pytest.approx(expected, abs=1e-5)  # 1.96 has more digits
    axes = made.figure.axes[0]
    dashes = [item.get_ydata()[0] for item in axes.get_lines() if item.get_linestyle() == "--"]
    assert sorted(dashes) == pytest.approx(sorted(expected), abs=1e-5)
    drawn = line(axes, "replicates")
    assert set(zip(drawn.get_xdata(), drawn.get_ydata(), strict=True)) <= set(
        zip(made.data["mean"], made.data["difference"], strict=True)
    )
    assert (made.title, made.stem) == (
        "Agreement of methods, estimate: bb (between)",
        "bland-altman_bb_cell-3_aggregated_mlm",
    )


def test_without_a_pair_every_method_is_compared_with_msem_or_the_first() -> None:
    made = chart("bland-altman")
    assert made.data["reference"].unique().tolist() == ["msem"]
    assert made.data["method"].unique().tolist() == list(SIX[:-1])
    other = bland_altman_chart(replicates(("mlm", "aggregated")))
    assert other.data["reference"].unique().tolist() == ["mlm"]


def test_methods_that_coincide_are_called_identical() -> None:
    table = replicates(("em", "msem"))
    same = table.assign(estimate=np.tile(table["estimate"].to_numpy()[:200], 2))
    assert "em and msem are identical on every replicate." in note(bland_altman_chart(same).figure)
    rounding = same.assign(estimate=same["estimate"] * np.where(same["estimator"] == "em", 1.0 + 1e-15, 1.0))
    made = bland_altman_chart(rounding)
    assert "em and msem agree to rounding" in note(made.figure)
    assert made.figure.axes[0].get_ylim()[1] > 1e3 * ROUNDING  # rounding errors do not fill the panel
    assert layout_problems(made.figure) == []


def test_failed_replicates_are_left_out_of_pairs() -> None:
    table = replicates(TWO)
    table.loc[[0, 5], "estimate"] = np.nan
    made = bland_altman_chart(table)
    assert (len(made.data), made.data["n"].iloc[0]) == (198, 198)
    assert "that both methods have (198)" in note(made.figure)


# ---------------------------------------------------------------------- any table, bad input


def test_a_bare_table_of_estimates_will_do() -> None:
    table = replicates(TWO)[["estimator", "estimate", "se", "truth"]]
    assert len(zip_chart(table).data) == len(table)
    assert len(scatter_chart(table).data) == len(table)
    assert len(bland_altman_chart(table).data) == 200


def test_a_silent_method_is_named() -> None:
    table = replicates()
    table.loc[table["estimator"] == "aggregated", ["estimate", "se"]] = np.nan
    for draw in (zip_chart, scatter_chart, bland_altman_chart):
        made = draw(table)
        assert "Without any estimate: aggregated." in note(made.figure)


def test_limits_of_axes_keep_everything_that_is_not_far_out() -> None:
    values = np.random.default_rng(4).normal(size=500)
    low, high = central_limits([values])
    assert low < values.min()
    assert values.max() < high
    low, high = central_limits([np.append(values, 1e12)], [5.0])
    assert (low < values.min(), 5.0 < high < 6.0) == (True, True)
    squeezed = central_limits([values, 1e-3 * values])
    assert squeezed[1] > values.max()  # a method with more spread is not an outlier
    assert central_limits([values, values, 1e9 * values])[1] < 10.0
    assert central_limits([np.array([np.nan])]) == (0.0, 1.0)
    low, high = central_limits([np.array([2.0])])
    assert low < 2.0 < high


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"parameter": "bw"}, "parameter: there is no 'bw'"),
        ({}, {"estimators": ["mslm"]}, r"estimator: there is no 'mslm' \(did you mean 'mlm'\?\)"),
        ({}, {"cell": 9}, "cell: there is no cell 9; allowed: 3 to 3"),
        ({}, {"se_kind": "robust"}, "se_kind: there is no 'robust'"),
        ({"cell": [3, 4] * 200}, {}, "cell: choose one; the replicates are of 2 cells"),
        ({"parameter": ["bb", "bw"] * 200}, {}, "parameter: choose one of bb, bw"),
        ({"rep": [1] * 400}, {}, "mlm has replicate 1 more than once"),
        ({"estimate": np.nan}, {}, "no method has an estimate"),
    ],
)
def test_bad_replicates_are_refused(change: dict[str, object], options: dict[str, object], message: str) -> None:
    with pytest.raises(SimstudyError, match=message):
        scatter_chart(replicates(TWO).assign(**change), **options)  # type: ignore[arg-type]


def test_what_cannot_be_drawn_is_said() -> None:
    table = replicates(TWO)
    with pytest.raises(SimstudyError, match="has no true value"):
        zip_chart(table.assign(truth=np.nan))
    with pytest.raises(SimstudyError, match="no method has intervals"):
        zip_chart(table.assign(se=np.nan))
    with pytest.raises(SimstudyError, match="no method has standard errors"):
        scatter_chart(table.assign(se=np.nan))
    with pytest.raises(SimstudyError, match="no column estimate"):
        scatter_chart(table.drop(columns="estimate"))
    with pytest.raises(SimstudyError, match="found 'mlm' twice"):
        bland_altman_chart(table, compare=("mlm", "mlm"))
    with pytest.raises(SimstudyError, match="only mlm has estimates"):
        bland_altman_chart(replicates(("mlm",)))
    with pytest.raises(SimstudyError, match="share no replicate"):
        bland_altman_chart(table.assign(rep=np.arange(len(table))))
    with pytest.raises(SimstudyError, match="of: there is no 'est'"):
        bland_altman_chart(table, of="est")
