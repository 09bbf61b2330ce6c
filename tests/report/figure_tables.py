"""Made-up tables for the tests of figures, and what can be read off a figure: texts with their boxes, lines by name."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from simstudy.performance import COLUMNS
from simstudy.report.figures import (
    Chart,
    bland_altman_chart,
    convergence_chart,
    factors_chart,
    heatmap_chart,
    lines_chart,
    lollipop_chart,
    nested_loop_chart,
    power_chart,
    scatter_chart,
    zip_chart,
)

FACTORS = ("n_clusters", "cluster_size", "icc")
SIX = ("disaggregated", "aggregated", "mlm", "mlm_centered", "two_step", "msem")
JS, SIZES, ICCS = (30, 50, 100, 200), ("5", "10", "30", "2-18", "5:40% 20:60%"), (0.05, 0.1, 0.2, 0.3)
KINDS = (
    "lines",
    "power",
    "nested-loop",
    "lollipop",
    "heatmap",
    "convergence",
    "factors",
    "zip",
    "scatter",
    "bland-altman",
)
TRUTH = 0.7


def performance(
    methods: Sequence[str] = SIX,
    js: Sequence[int] = JS,
    sizes: Sequence[str] = SIZES,
    iccs: Sequence[float] = ICCS,
    *,
    truth: float = TRUTH,
    parameter: str = "bb",
    far: str = "",
    silent: str = "",
) -> pd.DataFrame:
    """Performance of a parameter in J x size x ICC; `far` explodes at the smallest J, `silent` has no number."""
    rng = np.random.default_rng(20140306)
    rows = []
    for cell, (j, size, icc) in enumerate(itertools.product(js, sizes, iccs)):
        for place, name in enumerate(methods):
            bias = -0.08 * place + 0.3 * icc + 2.0 / j + rng.normal(scale=0.01)
            bias += 300.0 if name == far and j == min(js) else 0.0
            values = {
                "mean_estimate": truth + bias,
                "bias": bias,
                "relative_bias": bias / truth if truth else np.nan,
                "empirical_se": 2.0 / np.sqrt(j),
                "se_ratio": 1.0 - 0.01 * place,
                "rmse": float(np.hypot(bias, 2.0 / np.sqrt(j))),
                "coverage": float(np.clip(0.96 - 0.1 * place, 0.0, 1.0)),
                "rejection": min(1.0, j / 120 + 0.02 * place) if truth else 0.05 + 0.01 * place,
            }
            for kind, basis in itertools.product(("expected", "robust"), ("casewise", "common")):
                for measure, value in values.items():
                    known = name != silent
                    entries = (
                        cell,
                        basis,
                        name,
                        kind,
                        parameter,
                        "between",
                        truth,
                        measure,
                        value if known else np.nan,
                    )
                    rows.append((j, size, icc, *entries, 0.02 if known else np.nan, 500 * int(known), 500, "", np.nan))
            for measure, value in (("convergence", 1.0 - 0.01 * place), ("admissibility", 1.0 - icc / 10)):
                rows.append(
                    (
                        j,
                        size,
                        icc,
                        cell,
                        "casewise",
                        name,
                        "",
                        "",
                        "",
                        np.nan,
                        measure,
                        value,
                        0.004,
                        500,
                        500,
                        "",
                        np.nan,
                    )
                )
    return pd.DataFrame(rows, columns=[*FACTORS, *COLUMNS])


def replicates(methods: Sequence[str] = SIX, n: int = 200, *, truth: float = TRUTH) -> pd.DataFrame:
    """Replicates of one cell: estimates that share most of their error."""
    rng = np.random.default_rng(20190707)
    shared = rng.normal(scale=0.1, size=n)
    tables = []
    for place, name in enumerate(methods):
        estimate = truth - 0.03 * place + shared + rng.normal(scale=0.03, size=n)
        columns = {"n_clusters": 50, "icc": 0.1, "cell": 3, "rep": np.arange(n), "estimator": name}
        columns |= {"se_kind": "expected", "parameter": "bb", "level": "between", "truth": truth, "estimate": estimate}
        columns |= {"se": 0.1 + rng.normal(scale=0.01, size=n), "lower": np.nan, "upper": np.nan}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def effects(methods: Sequence[str] = SIX) -> pd.DataFrame:
    """Eta squared of three factors and their two-way interactions."""
    terms = [*FACTORS, *(":".join(pair) for pair in itertools.combinations(FACTORS, 2)), "Residual"]
    rows = []
    for place, name in enumerate(methods):
        shares = np.array([5.0, 4.0, 3.0 + place, 2.0, 1.0, 0.5, 0.1])
        for term, share in zip(terms, shares / shares.sum(), strict=True):
            order = 0 if term == "Residual" else 1 + (":" in term)
            rows.append((name, "expected", "bb", "between", "bias", term, order, share, 0.02, ""))
    names = ["estimator", "se_kind", "parameter", "level", "measure", "term", "order"]
    return pd.DataFrame(rows, columns=[*names, "eta_squared", "noise_share", "note"])


@cache
def chart(kind: str) -> Chart:
    """A figure of every kind, at 6 methods x 4 ICCs x 5 sizes x 4 numbers of clusters."""
    table = performance(far="msem")
    made = {
        "lines": lambda: lines_chart(table, "bb"),
        "power": lambda: power_chart(table, "bb", band="muthen2002", x="cluster_size"),
        "nested-loop": lambda: nested_loop_chart(table, "bb", measures=("bias", "coverage"), band="muthen2002"),
        "lollipop": lambda: lollipop_chart(table, "bb"),
        "heatmap": lambda: heatmap_chart(table, "bb"),
        "convergence": lambda: convergence_chart(table),
        "factors": lambda: factors_chart(effects(), "bb", band="cohen1988"),
        "zip": lambda: zip_chart(replicates()),
        "scatter": lambda: scatter_chart(replicates()),
        "bland-altman": lambda: bland_altman_chart(replicates()),
    }
    return made[kind]()


def texts(figure: Figure) -> list[str]:
    """Every text in the figure."""
    return [item.get_text() for item in figure.findobj(Text) if item.get_text()]


def legend_labels(figure: Figure) -> list[str]:
    """Texts of the legend."""
    return [item.get_text() for item in figure.legends[0].get_texts()]


def line(axes: Axes, name: str) -> Line2D:
    """The line of a method in a panel."""
    return next(item for item in axes.get_lines() if item.get_label() == name)


def boxes(figure: Figure) -> list[tuple[str, np.ndarray]]:
    """Every visible text and the corners of its box in pixels, turned with the text."""
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    renderer = canvas.get_renderer()
    found = []
    for item in figure.findobj(Text):
        if not item.get_text().strip() or not item.get_visible():
            continue
        angle = np.deg2rad(item.get_rotation())
        box = item.get_window_extent(renderer)
        if item.get_rotation() % 90 == 0:
            corners = np.array([[box.x0, box.y0], [box.x1, box.y0], [box.x1, box.y1], [box.x0, box.y1]])
        else:
            c, s = abs(np.cos(angle)), abs(np.sin(angle))
            # the outer box of a w x h rectangle is (w c + h s, w s + h c)
            w, h = np.linalg.solve([[c, s], [s, c]], [box.width, box.height])
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            half = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
            corners = half @ turn.T + [(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2]
        found.append((item.get_text(), corners))
    return found


def overlap(one: np.ndarray, two: np.ndarray, slack: float) -> bool:
    """Whether two turned boxes meet, by the separating axis theorem; `slack` pixels of contact are none."""
    for corners in (one, two):
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            edge = b - a
            normal = np.array([-edge[1], edge[0]]) / max(np.hypot(*edge), 1e-9)
            first, second = one @ normal, two @ normal
            if min(first.max(), second.max()) - max(first.min(), second.min()) <= slack:
                return False
    return True


def layout_problems(figure: Figure, slack: float = 0.6) -> list[str]:
    """Pairs of texts that overlap, and texts that leave the figure."""
    found = boxes(figure)
    assert len(found) > 5  # there is something to look at
    low = np.array([corners.min(axis=0) for _, corners in found])
    high = np.array([corners.max(axis=0) for _, corners in found])
    near = np.all((low[:, None] < high[None]) & (low[None] < high[:, None]), axis=-1)
    pairs = [(found[a], found[b]) for a, b in zip(*np.nonzero(np.triu(near, 1)), strict=True)]
    problems = [f"'{one}' meets '{two}'" for (one, first), (two, second) in pairs if overlap(first, second, slack)]
    out = (low < -slack).any(axis=1) | (high > figure.get_size_inches() * figure.dpi + slack).any(axis=1)
    return [*problems, *(f"'{found[k][0]}' leaves the figure" for k in np.flatnonzero(out))]
