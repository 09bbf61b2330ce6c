"""Figures of a study: `plot_*` take a table and return a figure, `*_chart` return it with its data and words."""

from simstudy.report.figures.bands import BANDS
from simstudy.report.figures.chart import FORMATS, Chart, figure_png, figure_svg, save_chart, save_figure
from simstudy.report.figures.kinds.bland_altman import bland_altman_chart, plot_bland_altman
from simstudy.report.figures.kinds.factors import factors_chart, plot_factors
from simstudy.report.figures.kinds.heatmap import heatmap_chart, plot_heatmap
from simstudy.report.figures.kinds.lines import (
    lines_chart,
    plot_bias,
    plot_coverage,
    plot_lines,
    plot_power,
    power_chart,
)
from simstudy.report.figures.kinds.lollipop import lollipop_chart, plot_lollipop
from simstudy.report.figures.kinds.nested import (
    convergence_chart,
    nested_loop_chart,
    plot_convergence,
    plot_nested_loop,
)
from simstudy.report.figures.kinds.scatter import plot_scatter, scatter_chart
from simstudy.report.figures.kinds.zips import plot_zip, zip_chart
from simstudy.report.figures.registry import KINDS, Drawing, FigureKind, Request, make_chart, register_figure
from simstudy.report.figures.select import figure_data

__all__ = [
    "BANDS",
    "FORMATS",
    "KINDS",
    "Chart",
    "Drawing",
    "FigureKind",
    "Request",
    "bland_altman_chart",
    "convergence_chart",
    "factors_chart",
    "figure_data",
    "figure_png",
    "figure_svg",
    "heatmap_chart",
    "lines_chart",
    "lollipop_chart",
    "make_chart",
    "nested_loop_chart",
    "plot_bias",
    "plot_bland_altman",
    "plot_convergence",
    "plot_coverage",
    "plot_factors",
    "plot_heatmap",
    "plot_lines",
    "plot_lollipop",
    "plot_nested_loop",
    "plot_power",
    "plot_scatter",
    "plot_zip",
    "power_chart",
    "register_figure",
    "save_chart",
    "save_figure",
    "scatter_chart",
    "zip_chart",
]
