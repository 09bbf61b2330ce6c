"""Tables and figures of a study's performance."""

from simstudy.report.effects import effect_blocks, effect_lines
from simstudy.report.figures import (
    BANDS,
    figure_data,
    plot_bias,
    plot_coverage,
    save_figure,
)
from simstudy.report.fit_measures import fit_measure_blocks, fit_measure_tables
from simstudy.report.joined import joined_lines
from simstudy.report.methods import markdown, methods_data, methods_table, plot_methods
from simstudy.report.tables import (
    FORMATS,
    STYLES,
    check_style,
    format_performance,
    performance_lines,
    print_performance,
    write_csv,
    write_text,
)
from simstudy.report.theory import print_lines, theory_lines, width_of
from simstudy.report.view import key_parameters

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
    "joined_lines",
    "key_parameters",
    "markdown",
    "methods_data",
    "methods_table",
    "performance_lines",
    "plot_bias",
    "plot_coverage",
    "plot_methods",
    "print_lines",
    "print_performance",
    "save_figure",
    "theory_lines",
    "width_of",
    "write_csv",
    "write_text",
]
