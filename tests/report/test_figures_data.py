"""What is drawn is what the table says, what is written as CSV is what is drawn, and the words agree with both."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_tables import ICCS, JS, KINDS, SIX, SIZES, TRUTH, chart, effects, legend_labels, line, performance, texts

from simstudy.report import plot_bias, plot_coverage
from simstudy.report.figures import (
    convergence_chart,
    factors_chart,
    figure_png,
    figure_svg,
    heatmap_chart,
    lines_chart,
    lollipop_chart,
    make_chart,
    nested_loop_chart,
    plot_lines,
    save_chart,
)
from simstudy.report.figures.kinds.heatmap import cell_decimals, compact
from simstudy.report.figures.panels import in_level_order, make_grid
from simstudy.report.figures.scales import bias_limits, coverage_ticks, stretched
from simstudy.report.figures.select import figure_data

Z = 1.96  # of the MCSE bands; a tolerance of 1e-4 MCSE allows for its further digits
SMALL = {"js": (30, 200), "sizes": ("5", "10"), "iccs": (0.1,)}


@cache
def known(measure: str = "bias") -> dict[tuple[str, float, str, int], float]:
    """Case-wise values of the large table by method, ICC, cluster size and J."""
    table = performance(far="msem")
    rows = table[(table["measure"] == measure) & (table["basis"] == "casewise") & (table["se_kind"] == "expected")]
    names = ("estimator", "icc", "cluster_size", "n_clusters", "value")
    return {(name, icc, size, j): value for name, icc, size, j, value in zip(*(rows[n] for n in names), strict=True)}


def values(table: pd.DataFrame, method: str, measure: str = "bias", **levels: object) -> pd.DataFrame:
    """Case-wise rows of a method, first kind of SE, in the order of J."""
    rows = table[(table["estimator"] == method) & (table["measure"] == measure) & (table["basis"] == "casewise")]
    rows = rows[rows["se_kind"].isin(["expected", ""])]
    for name, level in levels.items():
        rows = rows[rows[name] == level]
    return rows.sort_values("n_clusters")


# ---------------------------------------------------------------------- lines


def test_lines_and_their_bands_are_the_table() -> None:
    table, figure = performance(far="msem"), chart("lines").figure
    assert len(figure.axes) == len(ICCS) * len(SIZES)
    for place, (icc, size) in enumerate(itertools.product(ICCS, SIZES)):
        axes = figure.axes[place]
        for name in SIX:
            rows = values(table, name, icc=icc, cluster_size=size)
            drawn = line(axes, name)
            np.testing.assert_array_equal(drawn.get_ydata(), rows["value"])
            shift = drawn.get_xdata() - np.log(rows["n_clusters"])
            assert np.ptp(shift) < 1e-12  # methods are moved as a whole; rounding of logarithms
            assert abs(shift.iloc[0]) < 0.35 * np.log(50 / 30)  # and stay nearer to their level than to the next
        bands = [item for item in axes.collections if len(item.get_paths()[0].vertices) > 6]
        rows = values(table, "mlm", icc=icc, cluster_size=size)
        heights = bands[SIX.index("mlm")].get_paths()[0].vertices[:, 1]
        assert heights.min() == pytest.approx((rows["value"] - Z * rows["mcse"]).min(), abs=1e-6)
        assert heights.max() == pytest.approx((rows["value"] + Z * rows["mcse"]).max(), abs=1e-6)


def test_rows_are_icc_columns_are_sizes_and_x_is_the_number_of_clusters() -> None:
    grid = make_grid(figure_data(performance(), "bias", "bb"), ["n_clusters", "cluster_size", "icc"])
    assert (grid.x.factor, grid.x.positions) == ("n_clusters", pytest.approx(np.log(JS)))
    assert [title for title, _ in grid.rows] == [f"ICC =\u00a0{icc}" for icc in ICCS]
    assert [title for title, _ in grid.columns][3:] == [
        "Cluster size =\u00a02-18",
        "Cluster size =\u00a05:40%\u00a020:60%",
    ]
    found = texts(chart("lines").figure)
    assert {"Number of clusters (J)", "Bias (mean estimate − truth)", "Bias: bb (between)", "truth 0.7"} <= set(found)


def test_x_falls_back_to_what_varies() -> None:
    factors = ["n_clusters", "cluster_size", "icc"]
    data = figure_data(performance(), "bias", "bb", where={"n_clusters": 30})
    assert make_grid(data, factors).x.factor == "icc"  # the first numeric factor
    grid = make_grid(data, factors, x="cluster_size")
    assert (grid.x.levels, grid.x.numeric) == (SIZES, False)
    one = figure_data(performance(), "bias", "bb", where={"n_clusters": 30, "icc": 0.05, "cluster_size": 5})
    grid = make_grid(one, factors)
    assert (grid.x.factor, len(grid.rows), len(grid.columns)) == ("", 1, 1)


def test_further_factors_are_crossed_with_the_rows_and_too_many_are_announced() -> None:
    table = performance(("mlm",), js=(30, 50), sizes=("5",), iccs=tuple(0.01 * k for k in range(1, 11)))
    two = pd.concat([table.assign(skew=0), table.assign(skew=1, cell=table["cell"] + 1000)], ignore_index=True)
    factors = ["n_clusters", "cluster_size", "icc", "skew"]
    data = figure_data(two, "bias", "bb")
    assert [title for title, _ in make_grid(data, factors).columns] == ["skew =\u00a00", "skew =\u00a01"]
    one = lines_chart(two.assign(cluster_size=np.where(two["skew"] == 1, "5", "10")), "bb")
    assert any("12 more panel rows are not drawn" in text for text in texts(one.figure))
    assert len(one.data[["icc", "skew"]].drop_duplicates()) == 8  # the CSV has what is drawn, and no more


def test_levels_are_ordered_as_numbers_then_text() -> None:
    assert in_level_order(["30", "mix", "5", "10", "5", "10"]) == ["5", "10", "30", "mix"]


def test_a_method_far_off_the_scale_is_marked_with_its_value() -> None:
    figure = chart("lines").figure
    low, high = figure.axes[0].get_ylim()
    assert -1.5 < low < -0.3
    assert high < 3.0
    found = texts(figure)
    assert found.count("300") == 20  # one a panel
    assert any("Triangles at the edge: beyond the axis (20)." in text for text in found)
    mild = lines_chart(performance(**SMALL), "bb").figure
    assert not any("Triangles" in text for text in texts(mild))


def test_bias_limits_keep_every_method_that_is_not_far_off() -> None:
    # one of six methods is biased everywhere: that is the message, not an outlier
    numbers = {f"m{k}": [0.01, -0.01, 0.02] for k in range(5)} | {"conflated": [-0.45, -0.4, -0.35]}
    low, high = bias_limits(numbers, {name: [0.01] * 3 for name in numbers}, truth=0.7)
    assert low < -0.45
    assert high > 0.02
    low, high = bias_limits({"a": [0.3], "b": [float("nan")]}, {"a": [0.1], "b": [float("nan")]}, truth=0.0)
    assert (low < 0.0, high > 0.4) == (True, True)
    assert bias_limits({"a": [float("nan")]}, {"a": [float("nan")]}, 0.0) == (-1.0, 1.0)
    low, high = bias_limits({"a": [0.0, 0.0]}, {"a": [0.0, 0.0]}, 0.0)
    assert low < 0.0 < high


def test_methods_without_numbers_are_in_the_legend_and_the_notes() -> None:
    table = performance(**SMALL, silent="two_step")
    figure = plot_bias(table, "bb")
    assert legend_labels(figure) == [*SIX[:4], "two_step (n/a)", "msem", "no bias", "± 1.96 MCSE"]
    assert any("Without any number (n/a): two_step." in text for text in texts(figure))
    table.loc[(table["estimator"] == "mlm") & (table["cell"] < 1), "value"] = np.nan
    assert any("No number: mlm in 1 of 4 cells." in text for text in texts(plot_bias(table, "bb")))


def test_coverage_shows_everything_between_zero_and_one() -> None:
    figure = lines_chart(performance(**SMALL), "bb", measure="coverage", band="muthen2002").figure
    low, high = figure.axes[0].get_ylim()
    assert low < stretched(0.0) < stretched(1.0) < high
    assert "Coverage of 95% intervals (axis stretched near 1)" in " ".join(texts(figure))
    assert {"nominal 95%", ".91 to .98 (Muthén & Muthén, 2002)"} <= set(legend_labels(figure))
    good = performance(("disaggregated",), **SMALL)
    figure = plot_coverage(good, "bb", level=0.9, band="bradley1978")
    assert "0.85 to 0.95 (Bradley, 1978, liberal)" in legend_labels(figure)
    p = np.linspace(0.0, 1.0, 101)
    assert np.all(np.diff(stretched(p)) > 0)
    assert [coverage_ticks(lowest)[0] for lowest in (0.0, 0.91, 0.83)] == [0.0, 0.92, 0.85]


def test_power_and_type_one_error_are_called_by_their_names() -> None:
    power = chart("power")
    assert (power.title, power.kind, power.stem) == ("Power: bb (between)", "power", "power_bb_by-cluster_size")
    assert "power of .80 or more (Muthén & Muthén, 2002)" in legend_labels(power.figure)
    null = lines_chart(performance(**SMALL, truth=0.0), "bb", measure="rejection", band="bradley1978")
    assert null.title == "Type I error rate: bb (between)"
    assert {"nominal 0.05", "0.025 to 0.075 (Bradley, 1978, liberal)"} <= set(legend_labels(null.figure))


def test_the_truth_is_a_line_where_estimates_are_drawn() -> None:
    table = performance(**SMALL)
    axes = lines_chart(table, "bb", measure="mean_estimate").figure.axes[0]
    assert any(np.all(np.asarray(item.get_ydata()) == TRUTH) for item in axes.get_lines())
    table["truth"] = np.where(table["n_clusters"] == 30, 0.5, 0.9)
    axes = lines_chart(table, "bb", measure="mean_estimate").figure.axes[0]
    assert any(list(item.get_ydata()) == [0.5, 0.9] for item in axes.get_lines())


def test_the_kind_of_se_and_the_basis_are_named() -> None:
    table = performance(**SMALL)
    found = texts(plot_coverage(table, "bb", se_kind="robust", basis="common"))
    assert any("Replicates on which every method succeeded, 500 a cell. SE: robust." in text for text in found)
    assert not any("SE: " in text for text in texts(plot_bias(table, "bb")))  # bias depends on no SE


def test_bands_of_relative_bias() -> None:
    figure = lines_chart(performance(**SMALL), "bb", measure="relative_bias", band="hoogland1998").figure
    assert "within 5% (Hoogland & Boomsma, 1998)" in legend_labels(figure)
    absolute = plot_bias(performance(**SMALL), "bb", band="muthen2002")
    assert "within 10% of the truth (Muthén & Muthén, 2002)" in legend_labels(absolute)
    band = absolute.axes[0].patches[0]
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((-0.07, 0.07))


# ---------------------------------------------------------------------- nested loop, convergence


def test_nested_loop_steps_are_the_cells_in_order() -> None:
    made = chart("nested-loop")
    bias, coverage, *strips = made.figure.axes
    assert [axes.get_lines()[0].get_label() for axes in strips] == ["cluster_size", "icc", "n_clusters"]
    order = pd.DataFrame(list(itertools.product(SIZES, ICCS, JS)), columns=["cluster_size", "icc", "n_clusters"])
    cells = list(order.itertuples(index=False, name=None))
    for name in SIX:
        expected = [known()[name, icc, size, j] for size, icc, j in cells]
        np.testing.assert_array_equal(line(bias, name).get_ydata()[:-1], expected)
        expected = stretched([known("coverage")[name, icc, size, j] for size, icc, j in cells])
        np.testing.assert_array_equal(line(coverage, name).get_ydata()[:-1], expected)
    step = strips[2].get_lines()[0].get_ydata()[:-1]
    ranks = np.array([JS.index(j) for j in order["n_clusters"]])
    assert np.corrcoef(step, ranks)[0, 1] == pytest.approx(1.0)  # as high as the level's place
    first = made.data.drop_duplicates("cell")[["cluster_size", "icc", "n_clusters"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, order, check_dtype=False)


def test_methods_that_coincide_in_a_nested_loop_have_markers_at_places_of_their_own() -> None:
    table = performance(**SMALL)
    table["value"] = np.where(table["measure"] == "bias", 0.1, table["value"])
    axes = nested_loop_chart(table, "bb").figure.axes[0]
    at = [line(axes, f"{name} markers").get_xdata() for name in SIX]
    everything = np.concatenate(at)
    assert len(np.unique(everything)) == len(everything) > len(SIX) - 1
    widths = [line(axes, name).get_linewidth() for name in SIX]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == len(SIX)


def test_convergence_and_admissibility_have_a_panel_each() -> None:
    made = convergence_chart(performance(**SMALL))
    first, second = made.figure.axes[:2]
    assert set(line(first, "mlm").get_ydata()) == {0.98}
    assert set(line(second, "mlm").get_ydata()) == {0.99}
    assert made.title == "Convergence and admissibility"
    assert first.get_ylim()[0] < 0.9  # two failures in a thousand must not look like many


# ---------------------------------------------------------------------- lollipop, heat map, factors


def test_lollipops_and_the_ends_of_their_intervals_are_the_table() -> None:
    figure = chart("lollipop").figure
    for place, (icc, size) in enumerate(itertools.product(ICCS, SIZES)):
        axes = figure.axes[place]
        for name in SIX:
            drawn = line(axes, name)
            np.testing.assert_array_equal(drawn.get_xdata(), [known()[name, icc, size, j] for j in JS])
            assert np.all(np.diff(drawn.get_ydata()) > 0)  # J grows from top to bottom: y points down
        caps = axes.get_lines()[1 + 2 * SIX.index("mlm")]
        middle = np.array([known()["mlm", icc, size, j] for j in JS])
        ends = [*(middle - Z * 0.02), *(middle + Z * 0.02)]  # .02 is the MCSE of everything
        np.testing.assert_allclose(caps.get_xdata(), ends, atol=1e-5)  # 1.96 has further digits


def test_lollipops_of_one_cell_show_several_measures() -> None:
    table = performance(**SMALL)
    made = lollipop_chart(table, "bb", cells=[2])
    assert made.data["measure"].unique().tolist() == ["bias", "empirical_se", "rmse", "coverage"]
    for axes, measure in zip(made.figure.axes, ("bias", "empirical_se", "rmse"), strict=False):
        assert line(axes, "msem").get_xdata()[0] == values(table, "msem", measure, cell=2)["value"].iloc[0]
    assert [label.get_text() for label in made.figure.axes[0].get_yticklabels()] == list(SIX)


def test_heat_maps_write_the_numbers_and_colour_by_them() -> None:
    made = chart("heatmap")
    for row, name in enumerate(SIX):
        for column, icc in enumerate(ICCS):
            axes = made.figure.axes[row * len(ICCS) + column]
            shown = {(text.get_position()): text.get_text() for text in axes.texts}
            for x, j in enumerate(JS):
                for y, size in enumerate(SIZES):
                    assert shown[x, y] == compact(known()[name, icc, size, j])
    places = [(j, size) for j in JS for size in SIZES]
    drawn = made.data[(made.data["estimator"] == "mlm") & (made.data["icc"] == 0.1)]
    assert list(zip(drawn["n_clusters"], drawn["cluster_size"], strict=True)) == places
    patches = made.figure.axes[SIX.index("mlm") * len(ICCS) + 1].patches
    reds = [
        (known()["mlm", 0.1, size, j], patch.get_facecolor()[0])
        for (j, size), patch in zip(places, patches, strict=True)
    ]
    reds.sort()
    assert np.all(np.diff([red for value, red in reds if value < 0]) >= 0)  # the more negative, the bluer


def test_heat_maps_say_what_is_missing() -> None:
    table = performance(silent="mlm", **SMALL)
    table = table[~((table["n_clusters"] == 30) & (table["cluster_size"] == "5"))]
    made = heatmap_chart(table, "bb")
    hatched = [patch for axes in made.figure.axes for patch in axes.patches if patch.get_hatch()]
    assert len(hatched) == 3
    assert "Blank: not in the design." in " ".join(texts(made.figure))
    framed = heatmap_chart(performance(**SMALL), "bb", measure="coverage", band="muthen2002")
    assert sum(not patch.get_fill() for axes in framed.figure.axes for patch in axes.patches) == 4  # .96, one method


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.451, "−.45"), (0.001, "0"), (1.0, "1.00"), (0.999, "1.00"), (12.34, "12.3"), (1234.0, "1234"), (3e8, "3e8")],
)
def test_numbers_in_cells_are_short(value: float, text: str) -> None:
    assert compact(value) == text


def test_small_numbers_in_cells_are_not_zero() -> None:
    assert [cell_decimals(largest) for largest in (3.0, 0.3, 0.1, 0.05, 0.004, 1e-9, 0.0)] == [2, 2, 2, 3, 4, 4, 2]
    assert compact(-0.0021, 4) == "−.0021"
    made = heatmap_chart(performance(**SMALL).assign(value=0.0021), "bb")
    assert texts(made.figure).count(".0021") == 4 * len(SIX)


def test_bars_are_eta_squared_the_largest_first() -> None:
    made = chart("factors")
    names = [label.get_text() for label in made.figure.axes[0].get_yticklabels()]
    assert names[0] == "ICC"
    assert "Cluster size × ICC" in names
    for axes, name in zip(made.figure.axes, SIX, strict=True):
        widths = [patch.get_width() for patch in axes.patches]
        mine = effects()[lambda table, name=name: (table["estimator"] == name) & (table["order"] > 0)]
        assert sorted(widths) == pytest.approx(sorted(mine["eta_squared"]))
        assert sum(bool(patch.get_hatch()) for patch in axes.patches) == 3  # interactions
    assert "Residual" not in set(made.data["term"])


def test_effects_without_numbers_say_why() -> None:
    table = effects(("mlm",)).assign(eta_squared=np.nan, note="the measure does not vary")
    made = factors_chart(table, "bb")
    assert "mlm: the measure does not vary." in " ".join(texts(made.figure))
    assert "n/a" in texts(made.figure)
    bare = effects(("mlm",))[["estimator", "parameter", "measure", "term", "eta_squared"]]
    assert len(factors_chart(bare, "bb").data) == 6  # a table of the five columns will do


# ---------------------------------------------------------------------- files and words


@pytest.mark.parametrize("kind", KINDS)
def test_the_csv_holds_what_is_drawn(kind: str, tmp_path: Path) -> None:
    made = chart(kind)
    written = save_chart(made, tmp_path, formats=())
    assert [path.name for path in written] == [f"{made.stem}.csv"]
    again = pd.read_csv(written[0], dtype={"cluster_size": "str"}, keep_default_na=True)
    assert list(again.columns) == list(made.data.columns)
    for name in made.data.columns:
        if pd.api.types.is_numeric_dtype(made.data[name]) and made.data[name].notna().any():
            np.testing.assert_array_equal(again[name].to_numpy(), made.data[name].to_numpy())  # every digit
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_says_in_words_what_it_shows(kind: str) -> None:
    made = chart(kind)
    assert made.alt.startswith(made.title)
    assert 60 < len(made.alt) < 900
    assert "msem" in made.alt
    assert "bb" in made.alt or kind == "convergence"
    assert "nan" not in made.alt


def test_words_hold_the_numbers() -> None:
    table = performance(**SMALL)
    medians = values(table, "msem")["value"].median()
    assert f"msem {medians:.3g}".replace("-", "−") in lines_chart(table, "bb").alt
    one = lines_chart(table, "bb", cells=[0]).alt
    assert one == f"Bias: bb (between), truth 0.7. {'; '.join(_each(table))}."


def _each(table: pd.DataFrame) -> list[str]:
    return [f"{name} {values(table, name, cell=0)['value'].iloc[0]:.3g}".replace("-", "−") for name in SIX]


def test_saving_writes_the_same_bytes_every_time(tmp_path: Path) -> None:
    formats = ("pdf", "png", "svg")
    first, second = (
        save_chart(lines_chart(performance(("mlm",), **SMALL), "bb"), tmp_path / name, formats)
        for name in ("one", "two")
    )
    assert [path.name for path in first] == ["bias_bb.pdf", "bias_bb.png", "bias_bb.svg", "bias_bb.csv"]
    for one, two in zip(first, second, strict=True):
        assert one.stat().st_size > 300
        assert one.read_bytes() == two.read_bytes()


def test_inline_svg_is_well_formed_described_and_fits_beside_others() -> None:
    made = chart("factors")
    text = figure_svg(made)
    root = ET.fromstring(text)
    assert root.get("role") == "img"
    assert root.get("aria-label") == made.alt
    assert "http" not in text.replace("http://www.w3.org/", "")  # nothing is loaded from anywhere
    ids = [item.get("id") for item in root.iter() if item.get("id")]
    assert ids
    assert all(name.startswith(f"{made.stem}-") for name in ids)
    assert set(re.findall(r"(?:url\(|href=\")#([^\")]+)", text)) <= set(ids)
    assert figure_png(made, dpi=50).startswith(b"\x89PNG")


def test_plot_functions_keep_the_signature_and_the_words_of_their_charts() -> None:
    import inspect

    assert list(inspect.signature(plot_lines).parameters) == list(inspect.signature(lines_chart).parameters)
    assert plot_lines.__name__ == "plot_lines"
    assert "Monte Carlo" not in (plot_lines.__doc__ or "")[:20]
    assert "Figure" in (plot_lines.__doc__ or "")


def test_importing_the_report_does_not_import_matplotlib() -> None:
    code = "import sys, simstudy.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measure": "bais"}, r"measure: there is no 'bais' \(did you mean 'bias'\?\)"),
        ({"basis": "comon"}, "did you mean 'common'"),
        ({"basis": "lower_bound"}, "there is no 'lower_bound' of bias"),
        ({"x": "n_cluster"}, "did you mean 'n_clusters'"),
        ({"where": {"ic": 1}}, "did you mean 'icc'"),
        ({"where": {"icc": 9}}, "where icc: there is no '9'; allowed: 0.1"),
        ({"estimators": ["mlmm"]}, "did you mean 'mlm'"),
        ({"cells": [7]}, "cell: there is no cell 7; allowed: 0 to 3"),
        ({"se_kind": "robst"}, "did you mean 'robust'"),
        ({"band": "muthen"}, "did you mean 'muthen2002'"),
        ({"band": "bradley1978"}, "says nothing about bias; it is about coverage, rejection"),
    ],
)
def test_unknown_names_are_refused(options: dict[str, object], message: str) -> None:
    from simstudy.errors import SimstudyError

    with pytest.raises(SimstudyError, match=message):
        plot_lines(performance(**SMALL), "bb", **options)  # type: ignore[arg-type]


def test_other_bad_input_is_refused() -> None:
    from simstudy.errors import SimstudyError

    table = performance(**SMALL)
    with pytest.raises(SimstudyError, match="parameter: there is no 'bw'"):
        plot_bias(table, "bw")
    with pytest.raises(SimstudyError, match="plot_lines draws others"):
        plot_bias(table, "bb", measure="rmse")
    with pytest.raises(SimstudyError, match="y: found 'icc', which is x"):
        heatmap_chart(table, "bb", x="icc", y="icc")
    with pytest.raises(SimstudyError, match="no column term"):
        factors_chart(effects().drop(columns="term"), "bb")
    with pytest.raises(SimstudyError, match="measure: there is no 'bais'"):
        factors_chart(effects(), "bb", measure="bais")
    with pytest.raises(SimstudyError, match="kind: there is no 'line'"):
        make_chart("line", table)
    with pytest.raises(SimstudyError, match="mesure: 'lines' has no such option"):
        lines_chart(table, "bb", mesure="rmse")
    with pytest.raises(SimstudyError, match="use the measure relative_bias"):
        plot_bias(table.assign(truth=table["n_clusters"] / 100), "bb", band="muthen2002")
    with pytest.raises(SimstudyError, match="there are no finished replicates"):
        plot_bias(table.iloc[:0], "bb")
