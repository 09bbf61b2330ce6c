"""Figures: what goes into panels and axes, that nothing is hidden silently, that files are reproducible."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simstudy.errors import SimstudyError
from simstudy.performance import COLUMNS
from simstudy.report import figure_data, plot_bias, plot_coverage, save_figure
from simstudy.report.palette import COLOURS, method_styles
from simstudy.report.panels import in_level_order, make_grid
from simstudy.report.scales import bias_limits, coverage_ticks, stretched

METHODS = ["biased", "right", "wild", "silent"]


def performance(
    sizes: tuple[str, ...] = ("5", "10", "uniform(2,18)"), iccs: tuple[float, ...] = (0.05, 0.2)
) -> pd.DataFrame:
    """Performance table of b in J x size x ICC, made up: `wild` explodes at J = 30, `silent` never has a number."""
    rows = []
    for cell, (j, size, icc) in enumerate(itertools.product((30, 100, 200), sizes, iccs)):
        bias = {"biased": -0.4 + icc, "right": 0.001 * (cell % 3 - 1), "wild": 300.0 if j == 30 else 0.02}
        cover = {"biased": 0.02, "right": 0.95, "wild": 0.93}
        for name, kind, basis in itertools.product(METHODS, ("expected", "robust"), ("casewise", "common")):
            for measure, values in (("bias", bias), ("relative_bias", bias), ("coverage", cover)):
                value = values.get(name, np.nan)
                known = np.isfinite(value)
                entries = (cell, basis, name, kind, "b", "between", 0.7, measure, value, 0.01 if known else np.nan)
                rows.append((j, size, icc, *entries, 500 * int(known), 500, "", np.nan))
    return pd.DataFrame(rows, columns=["n_clusters", "cluster_size", "icc", *COLUMNS])


def texts(figure: object) -> list[str]:
    """Every text in the figure."""
    from matplotlib.text import Text

    return [item.get_text() for item in figure.findobj(Text) if item.get_text()]  # type: ignore[attr-defined]


def legend_labels(figure: object) -> list[str]:
    return [item.get_text() for item in figure.legends[0].get_texts()]  # type: ignore[attr-defined]


def test_rows_are_icc_columns_are_sizes_and_x_is_the_number_of_clusters() -> None:
    table = performance()
    grid = make_grid(figure_data(table, "bias", "b"), ["n_clusters", "cluster_size", "icc"])
    assert grid.x.factor == "n_clusters"
    assert grid.x.positions == pytest.approx(np.log([30, 100, 200]))  # 200/30 is a ratio for a logarithmic axis
    assert [title for title, _ in grid.rows] == ["ICC = 0.05", "ICC = 0.2"]
    assert [title for title, _ in grid.columns] == [f"Cluster size = {s}" for s in ("5", "10", "uniform(2,18)")]
    figure = plot_bias(table, "b")
    assert len(figure.axes) == 6
    assert {"Number of clusters (J)", "Bias (mean estimate − truth)", "Bias of b (between), truth 0.7"} <= set(
        texts(figure)
    )


def test_x_falls_back_to_what_varies() -> None:
    factors = ["n_clusters", "cluster_size", "icc"]
    data = figure_data(performance(), "bias", "b", where={"n_clusters": 30})
    grid = make_grid(data, factors)
    assert (grid.x.factor, len(grid.rows), len(grid.columns)) == ("icc", 1, 3)  # the first numeric factor
    grid = make_grid(data, factors, x="cluster_size")
    assert (grid.x.levels, grid.x.positions) == (("5", "10", "uniform(2,18)"), (0.0, 1.0, 2.0))
    one = figure_data(performance(), "bias", "b", where={"n_clusters": 30, "icc": 0.05, "cluster_size": 5})
    grid = make_grid(one, factors)
    assert (grid.x.factor, len(grid.x.levels), len(grid.rows), len(grid.columns)) == ("", 1, 1, 1)
    assert plot_coverage(performance(), "b", where={"n_clusters": 30, "icc": 0.05, "cluster_size": 5}).axes
    with pytest.raises(SimstudyError, match=r"x: there is no 'n_cluster' \(did you mean 'n_clusters'\?\)"):
        make_grid(data, factors, x="n_cluster")


def test_further_factors_are_crossed_with_the_rows_and_too_many_are_announced() -> None:
    table = performance(iccs=tuple(0.01 * k for k in range(1, 11)))
    two = pd.concat([table.assign(skew=0), table.assign(skew=1, cell=table["cell"] + 1000)], ignore_index=True)
    grid = make_grid(figure_data(two, "bias", "b"), ["n_clusters", "cluster_size", "icc", "skew"])
    assert grid.rows[1][0] == "ICC = 0.01, skew = 1"
    assert (len(grid.rows), grid.hidden_rows) == (8, 12)
    assert any("12 more panel rows are not drawn" in text for text in texts(plot_bias(two, "b")))


def test_levels_are_ordered_as_numbers_then_text() -> None:
    assert in_level_order(["30", "mix", "5", "10", "5", "10"]) == ["5", "10", "30", "mix"]


def test_a_method_far_off_the_scale_is_cut_off_and_marked_with_its_value() -> None:
    figure = plot_bias(performance(), "b")
    low, high = figure.axes[0].get_ylim()
    assert -1.0 < low < -0.35
    assert high < 3.0
    found = texts(figure)
    assert found.count("300") == 6  # one a panel
    assert any("Triangles at the edge, with the value: beyond the axis (6)." in text for text in found)
    mild = performance()
    mild["value"] = mild["value"].where(mild["value"] < 100, 0.3)
    assert not any("Triangles" in text for text in texts(plot_bias(mild, "b")))


def test_bias_limits_keep_every_method_that_is_not_far_off() -> None:
    # one of six methods is biased everywhere: that is the message, not an outlier
    values = {f"m{k}": [0.01, -0.01, 0.02] for k in range(5)} | {"conflated": [-0.45, -0.4, -0.35]}
    low, high = bias_limits(values, {name: [0.01] * 3 for name in values}, truth=0.7)
    assert low < -0.45
    assert high > 0.02
    low, high = bias_limits({"a": [0.3], "b": [float("nan")]}, {"a": [0.1], "b": [float("nan")]}, truth=0.0)
    assert (low < 0.0, high > 0.4) == (True, True)
    assert bias_limits({"a": [float("nan")]}, {"a": [float("nan")]}, 0.0) == (-1.0, 1.0)
    low, high = bias_limits({"a": [0.0, 0.0]}, {"a": [0.0, 0.0]}, 0.0)
    assert low < 0.0 < high


def test_methods_without_numbers_are_in_the_legend() -> None:
    figure = plot_bias(performance(), "b")
    assert legend_labels(figure) == ["biased", "right", "wild", "silent (n/a)", "no bias", "± 1.96 MCSE"]
    some = performance()
    some.loc[(some["estimator"] == "wild") & (some["cell"] < 2), "value"] = np.nan
    assert any("No number: wild in 2 of 18 cells." in text for text in texts(plot_bias(some, "b")))


def test_coverage_shows_everything_between_zero_and_one() -> None:
    figure = plot_coverage(performance(), "b", band="muthen2002")
    low, high = figure.axes[0].get_ylim()
    assert low < stretched(0.0) < stretched(1.0) < high
    assert "Coverage of 95% intervals (axis stretched near 1)" in texts(figure)
    assert {"nominal 95%", ".91 to .98 (Muthén & Muthén, 2002)"} <= set(legend_labels(figure))
    good = performance()
    good = good[good["estimator"] != "biased"]
    figure = plot_coverage(good, "b", level=0.9, band="bradley1978")
    assert "Coverage of 90% intervals" in texts(figure)
    assert "0.85 to 0.95 (Bradley, 1978)" in legend_labels(figure)


def test_the_stretched_axis_keeps_order_and_ends() -> None:
    p = np.linspace(0.0, 1.0, 101)
    assert np.all(np.diff(stretched(p)) > 0)
    assert np.isfinite(stretched(p)).all()
    assert coverage_ticks(0.0)[0] == 0.0
    assert coverage_ticks(0.91) == [0.92, 0.94, 0.96, 0.98, 1.0]
    assert coverage_ticks(0.83) == [0.85, 0.9, 0.95, 1.0]


def test_the_kind_of_se_and_the_basis_are_named() -> None:
    assert figure_data(performance(), "coverage", "b")["se_kind"].unique().tolist() == ["expected"]
    assert figure_data(performance(), "coverage", "b", se_kind="robust")["se_kind"].unique().tolist() == ["robust"]
    found = texts(plot_coverage(performance(), "b", se_kind="robust", basis="common"))
    assert any("Only replicates on which every method succeeded. SE: robust." in text for text in found)


def test_relative_bias_in_per_cent_with_a_named_band() -> None:
    figure = plot_bias(performance(), "b", measure="relative_bias", band="hoogland1998")
    assert "within 5% (Hoogland & Boomsma, 1998)" in legend_labels(figure)
    assert plot_bias(performance(), "b", band="muthen2002").axes
    varying = performance()
    varying["truth"] = varying["icc"]
    with pytest.raises(SimstudyError, match="use measure='relative_bias'"):
        plot_bias(varying, "b", band="muthen2002")
    assert any("truth 0.05 to 0.2 by condition" in text for text in texts(plot_bias(varying, "b")))


def test_a_method_looks_the_same_in_every_figure() -> None:
    styles = method_styles([f"m{k}" for k in range(14)])
    assert len({(style.colour, style.marker) for style in styles.values()}) == 14
    assert len({style.marker for style in list(styles.values())[:7]}) == len(COLOURS)
    fewer = performance()
    fewer = fewer[~((fewer["estimator"] == "biased") & (fewer["measure"] == "coverage"))]
    line = next(item for item in plot_coverage(fewer, "b").legends[0].legend_handles if item is not None)
    assert line.get_label() == "right"
    assert line.get_color() == COLOURS[1]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measure": "bais"}, "did you mean 'bias'"),
        ({"basis": "comon"}, "did you mean 'common'"),
        ({"where": {"ic": 1}}, "did you mean 'icc'"),
        ({"where": {"icc": 9}}, "no rows for parameter 'b'"),
        ({"band": "muthen"}, "did you mean 'muthen2002'"),
    ],
)
def test_unknown_names_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SimstudyError, match=message):
        plot_bias(performance(), "b", **options)  # type: ignore[arg-type]
    with pytest.raises(SimstudyError, match="parameter: there is no 'bb'"):
        plot_bias(performance(), "bb")


def test_saving_writes_three_files_with_the_same_bytes_every_time(tmp_path: Path) -> None:
    table = performance(sizes=("5",))
    data = figure_data(table, "bias", "b")
    first = save_figure(plot_bias(table, "b"), data, tmp_path / "one" / "bias.b")
    second = save_figure(plot_bias(table, "b"), data, tmp_path / "two" / "bias.b")
    assert [path.name for path in first] == ["bias.b.pdf", "bias.b.png", "bias.b.csv"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["bias.b.csv", "bias.b.pdf", "bias.b.png"]
    for one, two in zip(first, second, strict=True):
        assert one.stat().st_size > 500
        assert one.read_bytes() == two.read_bytes()
    again = pd.read_csv(first[2])
    np.testing.assert_array_equal(again["value"].to_numpy(), data["value"].to_numpy())  # shortest exact digits


def test_importing_the_report_does_not_import_matplotlib() -> None:
    code = "import sys, simstudy.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
