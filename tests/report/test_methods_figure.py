"""Many methods at a glance: the numbers drawn, where the marks stand, and the table."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from simstudy.errors import SimstudyError
from simstudy.report import markdown, methods_data, methods_table, plot_methods, save_figure

METHODS = ("first", "second", "third")
TRUTH = {"bw": 0.2, "bb": 0.7}


def performance() -> pd.DataFrame:
    """Two parameters, two cells; the second of three methods is silent about bb, the third has two kinds of SE."""
    rows = []
    for (cell, size), name, parameter in itertools.product(enumerate((10, "2:50% 18:50%")), METHODS, TRUTH):
        silent = name == "second" and parameter == "bb"
        centre = TRUTH[parameter] + 0.1 * METHODS.index(name) + 0.01 * cell
        for kind in ("expected", "robust") if name == "third" else ("expected",):
            numbers = {
                "mean_estimate": (centre, 0.01),
                "bias": (centre - TRUTH[parameter], 0.01),
                "median_bias": (centre - TRUTH[parameter] + 0.002, 0.01),
                "relative_bias": ((centre - TRUTH[parameter]) / TRUTH[parameter], 0.01 / TRUTH[parameter]),
                "se_ratio": (0.9 if kind == "expected" else 1.0, 0.02),
                "coverage": (0.93, 0.011),
            }
            for measure, (value, mcse) in numbers.items():
                value, mcse = (np.nan, np.nan) if silent else (value, mcse)
                level = "within" if parameter == "bw" else "between"
                n = 0 if silent else 500
                rows.append(
                    (
                        size,
                        cell,
                        "casewise",
                        name,
                        kind,
                        parameter,
                        level,
                        TRUTH[parameter],
                        measure,
                        value,
                        mcse,
                        n,
                        500,
                    )
                )
    columns = ["cluster_size", "cell", "basis", "estimator", "se_kind", "parameter", "level", "truth", "measure"]
    return pd.DataFrame(rows, columns=[*columns, "value", "mcse", "n", "n_attempted"])


def test_one_row_a_parameter_method_and_level() -> None:
    data = methods_data(performance(), ["bb", "bw"], by="cluster_size")
    assert len(data) == 2 * 3 * 2
    assert list(dict.fromkeys(data["parameter"])) == ["bb", "bw"]  # in the order asked for
    assert list(dict.fromkeys(data["estimator"])) == list(METHODS)
    row = data[(data["parameter"] == "bb") & (data["estimator"] == "third") & (data["cluster_size"] == 10)]
    assert row["value"].item() == pytest.approx(0.9)
    median = methods_data(performance(), ["bb"], by="cluster_size", measure="median_bias")
    same = median[(median["estimator"] == "third") & (median["cluster_size"] == 10)]
    assert same["value"].item() == pytest.approx(0.902)  # bias plus truth: an estimate


def test_what_cannot_be_drawn_is_said() -> None:
    table = performance()
    with pytest.raises(SimstudyError, match=r"there is no factor 'cluster_sise' \(did you mean 'cluster_size'\?\)"):
        methods_data(table, ["bb"], by="cluster_sise")
    with pytest.raises(SimstudyError, match="there is no 'b'"):
        methods_data(table, ["b"], by="cluster_size")
    twice = pd.concat([table.assign(icc=0.1), table.assign(icc=0.2)])
    with pytest.raises(SimstudyError, match="other factors vary"):
        methods_data(twice, ["bb"], by="cluster_size")
    five = pd.concat([table[table["cell"] == 0].assign(cluster_size=n) for n in range(5)])
    with pytest.raises(SimstudyError, match="found 5 levels of 'cluster_size'; at most 4"):
        plot_methods(five, ["bb"], by="cluster_size")
    with pytest.raises(SimstudyError, match="no measure 'power' of 'bb'"):
        methods_table(table, [("bb", "power")], by="cluster_size")


def drawn(**options: object):
    return plot_methods(performance(), ["bw", "bb"], by="cluster_size", **options)


def test_marks_stand_at_the_estimates_in_the_rows_of_the_methods() -> None:
    figure = drawn()
    assert len(figure.axes) == 2
    for axes, name in zip(figure.axes, ("bw", "bb"), strict=True):
        assert f"truth {TRUTH[name]:g}" in axes.get_title()
        assert [text.get_text() for text in axes.get_yticklabels()] == (list(METHODS) if name == "bw" else [""] * 3)
        assert axes.get_ylim()[0] > axes.get_ylim()[1]  # downwards
        marks = {line.get_marker(): line for line in axes.lines if line.get_marker() in ("o", "D")}
        equal, unequal = marks["o"], marks["D"]
        silent = name == "bb"
        steps = np.array([0, 2] if silent else [0, 1, 2])
        np.testing.assert_allclose(equal.get_xdata(), TRUTH[name] + 0.1 * steps)
        np.testing.assert_allclose(unequal.get_xdata(), TRUTH[name] + 0.1 * steps + 0.01)
        np.testing.assert_array_equal(np.round(equal.get_ydata()), steps)
        assert (np.asarray(equal.get_ydata()) < np.asarray(unequal.get_ydata())).all()
        # filled and open, blue and orange: each tells them apart in grey print
        assert equal.get_markerfacecolor() == equal.get_markeredgecolor()
        assert unequal.get_markerfacecolor() == "white"
        assert ["says nothing"] * silent == [text.get_text() for text in axes.texts]


def test_intervals_are_95_percent_and_inside_the_panel() -> None:
    for axes in drawn().axes:
        low, high = axes.get_xlim()
        segments = [segment for bars in axes.collections for segment in bars.get_segments()]
        assert segments
        for (x0, _), (x1, _) in segments:
            assert x1 - x0 == pytest.approx(2 * 1.959964 * 0.01, rel=1e-5)
            assert low < x0 < x1 < high


def test_panels_that_share_an_axis_show_both_truths() -> None:
    first, second = drawn(share=[("bw", "bb")]).axes
    assert first.get_xlim() == second.get_xlim()
    for axes in (first, second):
        lines = {line.get_xdata()[0]: line.get_linestyle() for line in axes.lines if line.get_marker() == "None"}
        assert set(lines) == {0.2, 0.7}
    assert drawn().axes[0].get_xlim() != drawn().axes[1].get_xlim()


def test_groups_have_headings_and_keep_every_method() -> None:
    axes = drawn(groups={"some": ["second", "third"], "nobody": ["fourth"]}).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["first", "some", "second", "third"]


def test_words_and_notes() -> None:
    figure = drawn(names={"bb": "between slope", "10": "equal"}, title="A title", note="A note.")
    assert figure.axes[1].get_title().startswith("between slope")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["equal", "cluster_size 2:50% 18:50%"]
    texts = [text.get_text() for text in figure.texts]
    assert "A title" in texts
    assert any(text.startswith("Mean estimate of 500 replicates") and text.endswith("A note.") for text in texts)


def test_the_same_figure_gives_the_same_bytes(tmp_path) -> None:
    data = methods_data(performance(), ["bw", "bb"], by="cluster_size")
    files = [save_figure(drawn(), data, tmp_path / name / "figure") for name in ("a", "b")]
    for one, other in zip(*files, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_table_has_a_row_a_method_and_kind_of_se() -> None:
    columns = [("bb", "relative_bias"), ("bb", "se_ratio"), ("bb", "coverage")]
    table = methods_table(performance(), columns, by="cluster_size", names={"10": "equal", "2:50% 18:50%": "unequal"})
    assert list(table.index) == [
        ("first", "expected"), ("second", "expected"), ("third", "expected"), ("third", "robust")
    ]  # fmt: skip
    assert list(table.columns)[:2] == ["relative bias, equal", "relative bias, unequal"]
    assert table.loc[("third", "expected"), "relative bias, equal"] == "28.6% (1.4)"
    assert table.loc[("third", "robust"), "relative bias, equal"] == ""  # bias has no kind of SE
    assert table.loc[("third", "robust"), "SE ratio, unequal"] == "1.000"
    assert table.loc[("third", "robust"), "coverage, unequal"] == "93.0%"
    assert set(table.loc[("second", "expected")]) == {"n/a"}
    both = methods_table(performance(), [("bw", "bias"), ("bb", "bias")], by="cluster_size", names={"bw": "within"})
    assert list(both.columns)[::2] == ["within: bias, 10", "bb: bias, 10"]
    lines = markdown(table).splitlines()
    assert lines[0].startswith("| Method | SE | relative bias, equal |")
    assert len(lines) == 2 + 4
    assert lines[2].startswith("| first | expected | 0.0% (1.4) |")
