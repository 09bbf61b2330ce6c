"""Looks of methods: the same everywhere, and told apart in grey print and by colour-blind readers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from figure_tables import performance
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simstudy.methods import registry
from simstudy.methods.look import COLOURS, Look
from simstudy.report import plot_bias, plot_coverage
from simstudy.report.figures.marks import line_look
from simstudy.report.figures.style import method_looks

# Machado, Oliveira & Fernandes (2009, IEEE TVCG 15:1291), Table 1, severity 1: linear RGB as the colour-blind see it.
BLIND = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


BUILT_IN = {name: look for name in registry.names() if (look := registry.look_of(name)) is not None}


def lab(colour: str, seen_by: str) -> np.ndarray:
    """CIELAB (D65) of a colour."""
    rgb = np.asarray(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(BLIND[seen_by]) @ linear, 0.0, 1.0)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    xyz = np.asarray(to_xyz) @ linear / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("seen_by", BLIND)
def test_colours_differ_for_colour_blind_readers(seen_by: str) -> None:
    pairs = itertools.combinations([lab(colour, seen_by) for colour in COLOURS], 2)
    # a difference of 2.3 is just noticeable (CIE 1976); 15 is seen at a glance
    assert min(np.linalg.norm(a - b) for a, b in pairs) > 15.0


def grey_key(style: Look) -> np.ndarray:
    """The key of a method in grey, 1 for ink and 0 for paper, as printed at 300 dpi."""
    figure = Figure(figsize=(0.35, 0.1), dpi=300)
    figure.add_artist(Line2D([0.02, 0.98], [0.5, 0.5], **line_look(style)))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return 1.0 - np.asarray(canvas.buffer_rgba())[..., :3] @ [0.299, 0.587, 0.114] / 255.0


def test_every_built_in_method_has_a_key_of_its_own_in_grey_print() -> None:
    assert len({(style.marker, style.filled) for style in BUILT_IN.values()}) == len(BUILT_IN)
    assert len({(style.colour, style.line) for style in BUILT_IN.values()}) == len(BUILT_IN)
    shapes = {name: grey_key(style) for name, style in BUILT_IN.items()}
    same = [
        (one, two)
        for (one, a), (two, b) in itertools.combinations(shapes.items(), 2)
        # ink that is at another place, as a share of all ink: below a tenth two keys look alike
        if np.abs(a - b).sum() < 0.1 * (a.sum() + b.sum())
    ]
    assert same == []


def test_every_registered_method_has_its_look() -> None:
    assert set(registry.names()) <= set(BUILT_IN)


def test_a_method_looks_the_same_in_every_study() -> None:
    assert method_looks(["msem", "mlm"])["msem"] == method_looks(["other", "msem"])["msem"] == BUILT_IN["msem"]
    few, many = method_looks(["croon_b"]), method_looks(["zeta", "croon_b"])
    assert few["croon_b"] == many["croon_b"]
    assert list(method_looks(["b", "a"])) == ["b", "a"]
    assert method_looks(["b", "a"]) == method_looks(["a", "b"])


def test_methods_from_outside_differ_from_each_other_and_from_the_built_in_ones() -> None:
    names = [f"plugin_{k}" for k in range(9)]
    styles = method_looks([*names, *BUILT_IN])
    looks = {(style.marker, style.filled) for style in styles.values()}
    assert len(looks) == len(names) + len(BUILT_IN)
    assert len({styles[name].colour for name in names[:5]}) == 5
    crowd = method_looks([f"plugin_{k}" for k in range(40)])
    assert len(set(crowd.values())) == 40


def test_a_method_looks_the_same_in_every_figure_of_a_study() -> None:
    table = performance(("disaggregated", "mlm", "somebodys"), js=(30, 100), sizes=("5",), iccs=(0.1,))
    fewer = table[~((table["estimator"] == "disaggregated") & (table["measure"] == "coverage"))]
    both = (plot_bias(table, "bb"), plot_coverage(fewer, "bb"))
    keys = [{key.get_label(): key for key in figure.legends[0].legend_handles} for figure in both]
    for name in ("mlm", "somebodys"):
        looks = [(key[name].get_color(), key[name].get_marker(), key[name].get_markerfacecolor()) for key in keys]
        assert looks[0] == looks[1]
    assert "disaggregated" not in keys[1]
