"""The public Python calls: everything that a command does.

`verbs` has the calls that return results (`results`); the other modules do the work. The names at the top of the
package (`simstudy/__init__.pyi`) are taken from here; what is used less often stays here.
"""

from simstudy.api.export import export_siman
from simstudy.api.factors import factor_effects
from simstudy.api.figures import charts, figure_parameters, plot_results, replicates, write_figures
from simstudy.api.imported import Imported, import_results, performance_of
from simstudy.api.methods import describe_estimator, estimators
from simstudy.api.planning import draw_plan, write_copies
from simstudy.api.reporting import preregister, write_report
from simstudy.api.results import Charts, Fit, FitComparison, Plan, Replay, Replicate, Study, StudyStatus, Theory
from simstudy.api.slopes import plot_caterpillar, random_effects, slope_variance_test
from simstudy.api.starters import init, templates
from simstudy.api.study import Results, default_folder, read_results, run_study, simulate, up_to_date, validate
from simstudy.api.tables import format_performance, further_tables, table_options
from simstudy.api.theory import TheoryRecord, best, joined, theory_curve, theory_of
from simstudy.api.verbs import analyse, bias, fit, fit_all, merge, plan, plot, replay, run, status
from simstudy.asymptotics.table import CALCULATIONS
from simstudy.report import methods_table, plot_methods

__all__ = [
    "CALCULATIONS",
    "Charts",
    "Fit",
    "FitComparison",
    "Imported",
    "Plan",
    "Replay",
    "Replicate",
    "Results",
    "Study",
    "StudyStatus",
    "Theory",
    "TheoryRecord",
    "analyse",
    "best",
    "bias",
    "charts",
    "default_folder",
    "describe_estimator",
    "draw_plan",
    "estimators",
    "export_siman",
    "factor_effects",
    "figure_parameters",
    "fit",
    "fit_all",
    "format_performance",
    "further_tables",
    "import_results",
    "init",
    "joined",
    "merge",
    "methods_table",
    "performance_of",
    "plan",
    "plot",
    "plot_caterpillar",
    "plot_methods",
    "plot_results",
    "preregister",
    "random_effects",
    "read_results",
    "replay",
    "replicates",
    "run",
    "run_study",
    "simulate",
    "slope_variance_test",
    "status",
    "table_options",
    "templates",
    "theory_curve",
    "theory_of",
    "up_to_date",
    "validate",
    "write_copies",
    "write_figures",
    "write_report",
]
