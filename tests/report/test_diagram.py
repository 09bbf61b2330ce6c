"""Path diagrams: what is drawn and how, that nothing covers anything, that files are reproducible."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Ellipse, FancyArrowPatch, Rectangle
from test_fit_summary import fit_by_hand

from simstudy.errors import SimstudyError
from simstudy.estimation.result import Status
from simstudy.model.twolevel import TwoLevelModel
from simstudy.report.figures.diagram.draw import path_diagram, save_diagram
from simstudy.report.figures.diagram.layout import crosses, place_nodes
from simstudy.report.figures.diagram.routes import Arrow, border, route_arrows

MODELS = {
    "1-1-1": "level: within\n m ~ aw*x\n y ~ bw*m + cw*x\nlevel: between\n m ~ ab*x\n y ~ bb*m + cb*x",
    "2-1-1": "level: within\n y ~ bw*m\nlevel: between\n m ~ a*x\n y ~ bb*m + c*x",
    "parallel": (
        "level: within\n talent ~ gse\n effort ~ gse\n perform ~ talent + effort + gse\n talent ~~ effort\n"
        "level: between\n talent ~ gse\n effort ~ gse\n perform ~ talent + effort + gse\n talent ~~ effort"
    ),
    "chain": (
        "level: within\n m1 ~ x\n m2 ~ m1 + x\n y ~ m2 + m1 + x\n"
        "level: between\n m1 ~ x\n m2 ~ m1 + x\n y ~ m2 + m1 + x"
    ),
    "cfa": (
        "level: within\n fw1 =~ y1 + y2 + y3\n fw2 =~ y4 + y5 + y6\nlevel: between\n fb =~ y1 + y2 + y3 + y4 + y5 + y6"
    ),
    "covariates": "level: within\n y ~ x1 + x2 + x3 + x4\nlevel: between\n y ~ x1 + x2 + w1 + w2",
    "sem": (
        "level: within\n fx =~ x1 + x2 + x3\n fm =~ m1 + m2 + m3\n fy =~ y1 + y2 + y3\n fm ~ fx\n fy ~ fm + fx\n"
        "level: between\n bx =~ x1 + x2 + x3\n bm =~ m1 + m2 + m3\n by =~ y1 + y2 + y3\n bm ~ bx\n by ~ bm + bx + w"
    ),
    "mimic": (
        "level: within\n f =~ y1 + y2 + y3 + y4\n f ~ a + b\n y1 ~~ y2\n"
        "level: between\n fb =~ y1 + y2 + y3 + y4\n fb ~ w\n y1 ~~ 0*y1"
    ),
    "two outcomes": (
        "level: within\n y1 ~ x1 + x2\n y2 ~ x1 + x2\nlevel: between\n y1 ~ x1 + w\n y2 ~ x1 + w\n z ~ y1 + y2"
    ),
    "long names": (
        "level: within\n mathematics_achievement ~ self_efficacy_math + socio_economic_status\n"
        "level: between\n mathematics_achievement ~ self_efficacy_math + school_climate_index"
    ),
    "second order": (
        "level: within\n f1 =~ a1 + a2 + a3\n f2 =~ b1 + b2 + b3\n g =~ 1*f1 + 1*f2\n"
        "level: between\n h =~ a1 + b1 + a2 + b2"
    ),
    "slopes": (
        "level: within\n m ~ rv('a')*x\n y ~ rv('b')*m + x\nlevel: between\n m ~ x\n y ~ m + x\n a ~~ b\n z ~ a + w"
    ),
    "no path": "level: within\n y ~~ y\nlevel: between\n y ~~ w",
    "feedback": "level: within\n a ~ x + b\n b ~ z + a\nlevel: between\n a ~ x\n b ~ z",
}


def texts(axes):
    return [text.get_text() for text in axes.texts]


def panels(figure):
    """Axes by level, from the titles above them."""
    titles = [text for text in figure.texts if "level" in text.get_text() and "clusters (" in text.get_text()]
    boxes = {axes: axes.get_position() for axes in figure.axes}
    return {
        text.get_text().split()[0].lower(): min(
            boxes, key=lambda a: (abs(boxes[a].y1 - text.get_position()[1]), abs(boxes[a].x0 - text.get_position()[0]))
        )
        for text in titles
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_no_text_covers_a_text_or_a_variable(name):
    figure = path_diagram(fit_by_hand(MODELS[name]))
    renderer = FigureCanvasAgg(figure).get_renderer()
    frame = figure.bbox
    for axes in figure.axes:
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in axes.texts]
        for (one, a), (other, b) in itertools.combinations(boxes, 2):
            assert not a.shrunk(0.9, 0.9).overlaps(b.shrunk(0.9, 0.9)), f"{one} covers {other}"
        shapes = [patch for patch in axes.patches if isinstance(patch, (Rectangle, Ellipse))]
        names = {text.get_text() for text in axes.texts} & set(name_of_variables(MODELS[name]))
        for (text, box), shape in itertools.product(boxes, shapes):
            if text not in names:
                assert not box.shrunk(0.9, 0.9).overlaps(shape.get_window_extent(renderer)), text
        for text, box in boxes:
            assert min(box.x0, box.y0, frame.x1 - box.x1, frame.y1 - box.y1) >= 0, text
    for text in figure.texts:
        assert text.get_window_extent(renderer).x1 <= frame.x1, text.get_text()


def name_of_variables(model):
    found = TwoLevelModel.from_syntax(model)
    return [name for level in ("within", "between") for name in (*found.observed(level), *found.latents(level))]


@pytest.mark.parametrize("name", MODELS)
def test_variables_do_not_cover_each_other(name):
    model = TwoLevelModel.from_syntax(MODELS[name])
    for level in ("within", "between"):
        nodes = place_nodes(model, level)
        assert set(nodes) == {*model.observed(level), *model.latents(level)}
        for a, b in itertools.combinations(nodes.values(), 2):
            apart = abs(a.x - b.x) >= (a.width + b.width) / 2 or abs(a.y - b.y) >= (a.height + b.height) / 2
            assert apart, (a.name, b.name)


@pytest.mark.parametrize("name", ["1-1-1", "2-1-1", "parallel", "chain", "sem", "two outcomes"])
def test_causes_stand_left_of_outcomes_and_paths_pass_by_variables(name):
    model = TwoLevelModel.from_syntax(MODELS[name])
    for level in ("within", "between"):
        nodes = place_nodes(model, level)
        rows = [row for row in model.table.at(level) if row.op == "~"]
        arrows = [Arrow(row.rhs, row.lhs, False, "0.00 (0.00)", "solid") for row in rows]
        for route in route_arrows(nodes, arrows):
            source, target = nodes[route.arrow.source], nodes[route.arrow.target]
            assert source.x < target.x
            for other in nodes.values():
                if other.name not in (source.name, target.name):
                    inside = [
                        abs(x - other.x) < other.width / 2 and abs(y - other.y) < other.height / 2
                        for x, y in route.points()
                    ]
                    assert not any(inside), (route.arrow, other.name)


def test_the_mediator_stands_off_the_direct_path():
    nodes = place_nodes(TwoLevelModel.from_syntax(MODELS["1-1-1"]), "within")
    assert nodes["x"].y == nodes["y"].y
    assert nodes["x"].x < nodes["m"].x < nodes["y"].x
    assert nodes["m"].y - nodes["x"].y > 0.5  # inches


def test_the_parallel_mediators_stand_on_both_sides_of_the_direct_path():
    nodes = place_nodes(TwoLevelModel.from_syntax(MODELS["parallel"]), "between")
    assert nodes["talent"].y > nodes["gse"].y > nodes["effort"].y
    assert nodes["gse"].y == pytest.approx(nodes["perform"].y)
    assert nodes["talent"].x == nodes["effort"].x


def test_an_arrow_runs_from_outline_to_outline():
    nodes = place_nodes(TwoLevelModel.from_syntax(MODELS["2-1-1"]), "between")
    (route,) = route_arrows(nodes, [Arrow("x", "m", False, "", "solid")])
    square, circle = nodes["x"], nodes["m"]
    on_square = max(
        abs(route.start[0] - square.x) / (square.width / 2), abs(route.start[1] - square.y) / (square.height / 2)
    )
    on_circle = math.hypot(
        (route.end[0] - circle.x) / (circle.width / 2), (route.end[1] - circle.y) / (circle.height / 2)
    )
    assert on_square == pytest.approx(1.0)
    assert on_circle == pytest.approx(1.0)
    assert border(square, (square.x, square.y)) == (square.x, square.y)


def test_crossing_segments():
    assert crosses((0, 0), (1, 1), (0, 1), (1, 0))
    assert not crosses((0, 0), (1, 1), (2, 0), (3, 5))
    assert not crosses((0, 0), (1, 1), (0, 0), (1, 0))


def test_squares_are_observed_circles_are_latent():
    drawn = panels(path_diagram(fit_by_hand(MODELS["2-1-1"])))
    within, between = drawn["within"], drawn["between"]
    assert sum(isinstance(patch, Rectangle) for patch in within.patches) == 2  # m, y
    assert not any(isinstance(patch, Ellipse) for patch in within.patches)
    assert len(within.lines) == 2  # the dots of variables with a between part
    assert sum(isinstance(patch, Rectangle) for patch in between.patches) == 1  # x
    assert sum(isinstance(patch, Ellipse) for patch in between.patches) == 2  # m, y
    assert not between.lines


def test_arrows_and_their_numbers():
    fit = fit_by_hand(MODELS["2-1-1"])
    table = fit.parameters
    table.loc[(table["lhs"] == "y") & (table["rhs"] == "x"), ["est", "se", "ci_lower", "ci_upper"]] = (
        0.1,
        0.2,
        -0.3,
        0.5,
    )
    drawn = panels(path_diagram(fit))
    table = table.set_index(["level", "lhs", "op", "rhs"])
    for level, lhs, rhs in (("within", "y", "m"), ("between", "m", "x"), ("between", "y", "m"), ("between", "y", "x")):
        row = table.loc[(level, lhs, "~", rhs)]
        assert f"{row['est']:.2f} ({row['se']:.2f})" in texts(drawn[level])
    assert f"{table.loc[('within', 'y', '~~', 'y'), 'est']:.2f}" in texts(drawn["within"])
    arrows = [patch for patch in drawn["between"].patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == 6  # three paths, three variances
    assert sum(arrow.get_linestyle() != "-" for arrow in arrows) == 1  # y ~ x, whose interval includes 0


def test_covariances_have_two_heads_and_fixed_parameters_no_standard_error():
    drawn = panels(path_diagram(fit_by_hand(MODELS["cfa"])))
    heads = [
        type(patch.get_arrowstyle()).__name__ for patch in drawn["within"].patches if hasattr(patch, "get_arrowstyle")
    ]
    assert heads.count("CurveFilledAB") == 1  # fw1 ~~ fw2
    assert texts(drawn["within"]).count("1") == 2  # the markers
    mimic = panels(path_diagram(fit_by_hand(MODELS["mimic"])))["between"]
    ellipses = sum(isinstance(patch, Ellipse) for patch in mimic.patches)
    arrows = sum(isinstance(patch, FancyArrowPatch) for patch in mimic.patches)
    assert (ellipses, arrows) == (5, 4 + 1 + 5)  # loadings, w, variances but that of y1, which is fixed at 0


def test_a_small_negative_variance_does_not_look_like_zero():
    fit = fit_by_hand(MODELS["2-1-1"])
    table = fit.parameters
    for level, value in (("within", -0.0028), ("between", 0.0)):
        table.loc[(table["lhs"] == "y") & (table["op"] == "~~") & (table["level"] == level), "est"] = value
    drawn = panels(path_diagram(fit))
    assert "-0.003" in texts(drawn["within"])
    assert "0.00" in texts(drawn["between"])


def test_random_slopes_are_arrows_with_a_dot_and_their_name():
    for labels in ("estimates", "names"):
        drawn = panels(path_diagram(fit_by_hand(MODELS["slopes"]), labels=labels))
        assert {"a", "b"} <= set(texts(drawn["within"]))
        dots = [line.get_xydata()[0] for line in drawn["within"].lines if line.get_markersize() > 4.0]
        assert len(dots) == 2  # not y ~ x
        assert not drawn["between"].lines
        assert "n/a" not in texts(drawn["within"])


def test_names_instead_of_estimates():
    drawn = panels(path_diagram(fit_by_hand(MODELS["1-1-1"]), labels="names"))
    assert {"aw", "bw", "cw", "x", "m", "y"} == set(texts(drawn["within"]))


def test_unknown_labels():
    with pytest.raises(SimstudyError, match=r"found 'estimate'; allowed: estimates, names \(did you mean 'estimates'"):
        path_diagram(fit_by_hand(MODELS["1-1-1"]), labels="estimate")


def test_what_failed_is_written_below():
    fit = fit_by_hand(MODELS["1-1-1"], status=Status.MAX_ITER, improper=("between: m ~~ m = -0.1",))
    fit.parameters.loc[fit.parameters["free"], ["est", "se", "ci_lower", "ci_upper"]] = np.nan
    figure = path_diagram(fit)
    lines = sorted(figure.texts, key=lambda text: -text.get_position()[1])
    words = " ".join(text.get_text() for text in lines)
    assert "DID NOT CONVERGE: no convergence within" in words
    assert "NOT ADMISSIBLE: between: m ~~ m = -0.1" in words
    assert texts(panels(figure)["within"]).count("n/a") == 6


def test_everything_is_grey():
    figure = path_diagram(fit_by_hand(MODELS["sem"]))
    for axes in figure.axes:
        for patch in axes.patches:
            for colour in (patch.get_facecolor(), patch.get_edgecolor()):
                assert colour[0] == colour[1] == colour[2]


def test_tall_panels_stand_side_by_side_and_wide_ones_below_each_other():
    tall, wide = (path_diagram(fit_by_hand(MODELS[name])) for name in ("cfa", "1-1-1"))
    a, b = (panels(tall)[level].get_position() for level in ("within", "between"))
    assert a.x1 <= b.x0 + 1e-9
    a, b = (panels(wide)[level].get_position() for level in ("within", "between"))
    assert a.y1 <= b.y0


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_files_are_reproducible(tmp_path, suffix):
    files = [
        save_diagram(path_diagram(fit_by_hand(MODELS["2-1-1"])), tmp_path / f"sub{k}" / f"diagram.{suffix}")
        for k in range(2)
    ]
    first, second = (path.read_bytes() for path in files)
    assert first == second
    assert len(first) > 2000
    assert [path.name for path in files[0].parent.iterdir()] == [f"diagram.{suffix}"]


def test_text_of_an_svg_stays_text(tmp_path):
    path = save_diagram(path_diagram(fit_by_hand(MODELS["parallel"])), tmp_path / "a.svg")
    assert ">talent<" in path.read_text()


def test_other_formats_are_refused(tmp_path):
    figure = path_diagram(fit_by_hand(MODELS["2-1-1"]))
    with pytest.raises(SimstudyError, match=r"cannot be written as '.jpg'; allowed: .svg, .png, .pdf"):
        save_diagram(figure, tmp_path / "a.jpg")
