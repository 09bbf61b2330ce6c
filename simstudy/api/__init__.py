"""The public Python calls: everything that a command does."""

from simstudy.api.export import export_siman
from simstudy.api.factors import factor_effects
from simstudy.api.figures import charts, figure_parameters, plot, plot_results, replicates
from simstudy.api.imported import Imported, import_results, performance_of
from simstudy.api.methods import describe_estimator, list_estimators, methods_table, plot_methods
from simstudy.api.planning import draw_plan, plan, write_copies
from simstudy.api.reporting import preregister, write_report
from simstudy.api.slopes import plot_caterpillar, random_effects, slope_variance_test
from simstudy.api.starters import init, templates
from simstudy.api.study import (
    Replay,
    Results,
    StudyStatus,
    analyse,
    default_folder,
    merge,
    open_design,
    replay,
    results,
    run,
    run_study,
    simulate,
    status,
    up_to_date,
    validate,
)
from simstudy.api.tables import format_performance, further_tables, table_options
from simstudy.api.theory import best, bias, joined, theory_curve
from simstudy.asymptotics.table import CALCULATIONS
from simstudy.planning.result import Plan
from simstudy.report.figures import (
    plot_bias,
    plot_bland_altman,
    plot_convergence,
    plot_coverage,
    plot_factors,
    plot_heatmap,
    plot_lines,
    plot_lollipop,
    plot_nested_loop,
    plot_power,
    plot_scatter,
    plot_zip,
)

__all__ = [
    "CALCULATIONS",
    "Imported",
    "Plan",
    "Replay",
    "Results",
    "StudyStatus",
    "analyse",
    "best",
    "bias",
    "charts",
    "default_folder",
    "describe_estimator",
    "draw_plan",
    "export_siman",
    "factor_effects",
    "figure_parameters",
    "format_performance",
    "further_tables",
    "import_results",
    "init",
    "joined",
    "list_estimators",
    "merge",
    "methods_table",
    "open_design",
    "performance_of",
    "plan",
    "plot",
    "plot_bias",
    "plot_bland_altman",
    "plot_caterpillar",
    "plot_convergence",
    "plot_coverage",
    "plot_factors",
    "plot_heatmap",
    "plot_lines",
    "plot_lollipop",
    "plot_methods",
    "plot_nested_loop",
    "plot_power",
    "plot_results",
    "plot_scatter",
    "plot_zip",
    "preregister",
    "random_effects",
    "replay",
    "replicates",
    "results",
    "run",
    "run_study",
    "simulate",
    "slope_variance_test",
    "status",
    "table_options",
    "templates",
    "theory_curve",
    "up_to_date",
    "validate",
    "write_copies",
    "write_report",
]
