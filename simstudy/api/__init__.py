"""The public Python calls: everything that a command does."""

from simstudy.api.methods import describe_estimator, list_estimators, methods_table, plot_methods
from simstudy.api.planning import draw_plan, plan, write_copies
from simstudy.api.starters import init, templates
from simstudy.api.study import (
    Replay,
    Results,
    StudyStatus,
    analyse,
    default_folder,
    figure_parameters,
    merge,
    open_design,
    plot,
    plot_bias,
    plot_coverage,
    plot_results,
    replay,
    results,
    run,
    run_study,
    simulate,
    status,
    validate,
)
from simstudy.api.theory import best, bias, joined, theory_curve
from simstudy.api.theory_rows import CALCULATIONS
from simstudy.planning.result import Plan

__all__ = [
    "CALCULATIONS",
    "Plan",
    "Replay",
    "Results",
    "StudyStatus",
    "analyse",
    "best",
    "bias",
    "default_folder",
    "describe_estimator",
    "draw_plan",
    "figure_parameters",
    "init",
    "joined",
    "list_estimators",
    "merge",
    "methods_table",
    "open_design",
    "plan",
    "plot",
    "plot_bias",
    "plot_coverage",
    "plot_methods",
    "plot_results",
    "replay",
    "results",
    "run",
    "run_study",
    "simulate",
    "status",
    "templates",
    "theory_curve",
    "validate",
    "write_copies",
]
