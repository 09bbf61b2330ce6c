"""No text overlaps another or leaves the figure, at the size of the largest study that comes along and beyond it."""

from __future__ import annotations

import numpy as np
import pytest
from figure_tables import KINDS, SIX, chart, layout_problems, legend_labels, performance, replicates, texts

from simstudy.methods import registry
from simstudy.report.figures import heatmap_chart, lines_chart, lollipop_chart, nested_loop_chart, zip_chart
from simstudy.report.figures.style import NOTE, SMALLEST, TICK, text_width, wrap
from simstudy.report.figures.ticks import fit_ticks

LONG = ("somebodys_method_with_a_very_long_name", "another_method_with_a_long_name:robust", "msem")
PARAMETER = "between: school_belonging_factor ~ perceived_teacher_support_factor"
LEVELS = ("5", "10", "mix of 40% clusters of 5 and 60% of 20", "uniform(2,180)")


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_overlaps_at_six_methods_four_iccs_and_five_sizes(kind: str) -> None:
    figure = chart(kind).figure
    assert layout_problems(figure) == []


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_large_enough_to_read_in_print(kind: str) -> None:
    from matplotlib.text import Text

    figure = chart(kind).figure
    sizes = [item.get_fontsize() for item in figure.findobj(Text) if item.get_text().strip()]
    assert min(sizes) >= SMALLEST  # points, and figures are drawn at the width of a page:
    assert figure.get_figwidth() <= 7.21
    outer = [item.get_fontsize() for item in figure.texts]
    assert min(outer) >= NOTE
    assert TICK >= 7.0


@pytest.mark.parametrize("draw", [lines_chart, nested_loop_chart, lollipop_chart, heatmap_chart])
def test_long_names_neither_overlap_nor_leave_the_figure(draw) -> None:
    table = performance(LONG, js=(30, 200), sizes=LEVELS, iccs=(0.1,), parameter=PARAMETER)
    figure = draw(table, PARAMETER).figure
    assert layout_problems(figure) == []
    across = lines_chart(table, PARAMETER, x="cluster_size").figure
    assert layout_problems(across) == []


@pytest.mark.parametrize("draw", [lines_chart, nested_loop_chart, lollipop_chart, heatmap_chart])
def test_all_built_in_methods_fit(draw) -> None:
    figure = draw(performance(list(registry.names()), js=(30, 200), sizes=("5",), iccs=(0.1,)), "bb").figure
    assert layout_problems(figure) == []
    written = "".join(texts(figure))  # long names are broken into lines
    assert all(name in written for name in registry.names())


def test_zips_of_all_built_in_methods_fit() -> None:
    figure = zip_chart(replicates(list(registry.names()), 40)).figure
    assert layout_problems(figure) == []
    assert len(figure.axes) == len(registry.names())


@pytest.mark.parametrize("draw", [lines_chart, nested_loop_chart, lollipop_chart, heatmap_chart])
@pytest.mark.parametrize("methods", [("msem",), SIX])
def test_one_cell_is_drawn_too(draw, methods) -> None:
    figure = draw(performance(methods, js=(30,), sizes=("5",), iccs=(0.1,)), "bb").figure
    assert layout_problems(figure) == []
    assert any("J = 30, n = 5, ICC = 0.1" in text for text in texts(figure))


def test_the_legend_stands_below_the_panels() -> None:
    figure = chart("lines").figure
    assert legend_labels(figure)[:6] == list(SIX)
    figure.draw_without_rendering()
    lowest = min(axes.get_window_extent().y0 for axes in figure.axes)
    assert figure.legends[0].get_window_extent().y1 < lowest


def test_lines_are_wrapped_by_measured_width() -> None:
    lines = wrap("a rather long sentence about nothing", 1.0, 8.0)
    assert " ".join(lines) == "a rather long sentence about nothing"
    assert all(text_width(line, 8.0) <= 1.0 for line in lines)
    assert wrap("a_word_that_is_too_long", 0.6, 8.0)[0].endswith("_")
    assert "".join(wrap("x" * 50, 0.5, 8.0)) == "x" * 50
    assert wrap("", 1.0, 8.0) == []


def test_ticks_are_thinned_if_they_are_numbers_and_turned_if_not() -> None:
    places = [0.0, 1.0, 2.0, 3.0]
    assert len(fit_ticks(places, ["1", "2", "3", "4"], (-0.5, 3.5), 2.0, numeric=True).ticks) == 4
    numbers = fit_ticks(places, ["1000000"] * 4, (-0.5, 3.5), 1.0, numeric=True, first=2)
    assert 1 <= len(numbers.ticks) < 4
    assert (2.0, "1000000") in numbers.ticks
    words = fit_ticks(places, ["uniform(2,18)"] * 4, (-0.5, 3.5), 1.0, numeric=False)
    assert (len(words.ticks), words.angle) == (4, 40)
    assert words.height > 0.4
    assert fit_ticks(places, ["uniform(2,18)"] * 4, (-0.5, 3.5), 0.6, numeric=False).angle == 90


def test_the_check_finds_what_it_looks_for() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3, 3))
    for text, x, y, angle in [
        ("one", 0.5, 0.5, 0),
        ("two", 0.52, 0.5, 40),
        ("out", 0.99, 0.2, 0),
        ("free", 0.1, 0.1, 0),
    ]:
        figure.text(x, y, text, rotation=angle)
    for k in range(3):
        figure.text(0.1 + 0.11 * k, 0.7, "side by side", rotation=40)  # their outer boxes meet, they do not
    assert layout_problems(figure) == ["'one' meets 'two'", "'out' leaves the figure"]


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["bias", "relative_bias", "coverage", "rejection", "se_ratio", "rmse"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_methods_without_numbers_and_infinite_ones_are_drawn_too(measure: str, value: float) -> None:
    table = performance(("mlm", "msem"), js=(30, 200), sizes=("5",), iccs=(0.1,))
    table.loc[table["estimator"] == "msem", ["value", "mcse"]] = value
    with np.errstate(all="raise"):
        made = [draw(table, "bb", measure=measure) for draw in (lines_chart, heatmap_chart)]
        made += [draw(table, "bb", measures=[measure]) for draw in (nested_loop_chart, lollipop_chart)]
    assert [layout_problems(one.figure) for one in made] == [[]] * 4
    assert all("msem no number" in one.alt for one in made)
    nothing = table.assign(value=np.nan, mcse=np.nan)
    assert layout_problems(lines_chart(nothing, "bb", measure=measure).figure) == []
