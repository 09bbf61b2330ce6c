"""The public Python calls: everything that a command does.

`verbs` has the calls that return results (`results`); the other modules do the work. The names at the top of the
package (`simstudy/__init__.pyi`) are taken from here; what is used less often stays here. Names imported ``as``
themselves are for the commands.
"""

from simstudy.api.export import export_siman
from simstudy.api.factors import factor_effects
from simstudy.api.figures import charts, plot_results, replicates, write_figures
from simstudy.api.figures import figure_parameters as figure_parameters
from simstudy.api.imported import Imported as Imported
from simstudy.api.imported import import_results, performance_of
from simstudy.api.methods import describe_estimator, estimators
from simstudy.api.one_replicate import simulate
from simstudy.api.planning import draw_plan as draw_plan
from simstudy.api.planning import write_copies as write_copies
from simstudy.api.reporting import preregister, write_report
from simstudy.api.results import Charts, Fit, FitComparison, Plan, Replay, Replicate, Study, StudyStatus, Theory
from simstudy.api.slopes import plot_caterpillar, random_effects, slope_variance_test
from simstudy.api.starters import init, templates
from simstudy.api.study import Results as Results
from simstudy.api.study import default_folder as default_folder
from simstudy.api.study import read_results, run_study, validate
from simstudy.api.study import up_to_date as up_to_date
from simstudy.api.tables import format_performance
from simstudy.api.tables import further_tables as further_tables
from simstudy.api.tables import table_options as table_options
from simstudy.api.theory import TheoryRecord, best, joined, theory_curve, theory_of
from simstudy.api.verbs import analyse, bias, fit, fit_all, merge, plan, plot, replay, run, status
from simstudy.asymptotics.table import CALCULATIONS as CALCULATIONS
from simstudy.report import methods_table, plot_methods

__all__ = [
    "Charts",
    "Fit",
    "FitComparison",
    "Plan",
    "Replay",
    "Replicate",
    "Study",
    "StudyStatus",
    "Theory",
    "TheoryRecord",
    "analyse",
    "best",
    "bias",
    "charts",
    "describe_estimator",
    "estimators",
    "export_siman",
    "factor_effects",
    "fit",
    "fit_all",
    "format_performance",
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
    "templates",
    "theory_curve",
    "theory_of",
    "validate",
    "write_figures",
    "write_report",
]
