"""Tables and figures of a study's performance."""

from simstudy.performance.choose import key_parameters
from simstudy.report.figures import (
    BANDS,
    figure_data,
    plot_bias,
    plot_coverage,
    save_figure,
)
from simstudy.report.figures.kinds.methods import markdown, methods_data, methods_table, plot_methods
from simstudy.report.figures.kinds.plan import plot_plan, plot_plan_map
from simstudy.report.tables.effects import effect_blocks, effect_lines
from simstudy.report.tables.fit_measures import fit_measure_blocks, fit_measure_tables
from simstudy.report.tables.joined import joined_lines
from simstudy.report.tables.performance import (
    FORMATS,
    STYLES,
    check_style,
    format_performance,
    performance_lines,
    print_performance,
    write_csv,
    write_text,
)
from simstudy.report.tables.plan_text import plan_lines
from simstudy.report.tables.theory import formula_lines, print_lines, theory_lines, width_of
from simstudy.report.tables.until import until_lines

__all__ = [
    "BANDS",
    "FORMATS",
    "STYLES",
    "check_style",
    "effect_blocks",
    "effect_lines",
    "figure_data",
    "fit_measure_blocks",
    "fit_measure_tables",
    "format_performance",
    "formula_lines",
    "joined_lines",
    "key_parameters",
    "markdown",
    "methods_data",
    "methods_table",
    "performance_lines",
    "plan_lines",
    "plot_bias",
    "plot_coverage",
    "plot_methods",
    "plot_plan",
    "plot_plan_map",
    "print_lines",
    "print_performance",
    "save_figure",
    "theory_lines",
    "until_lines",
    "width_of",
    "write_csv",
    "write_text",
]
