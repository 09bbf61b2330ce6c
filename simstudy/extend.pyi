# The names for authors of extensions, each written once; `extend.py` loads them on first use.
from simstudy.estimation.result import FitResult as FitResult
from simstudy.estimation.result import Status as Status
from simstudy.estimation.scoring import with_fallback as with_fallback
from simstudy.likelihood.evaluation import Evaluation as Evaluation
from simstudy.likelihood.evaluation import Likelihood as Likelihood
from simstudy.methods.chosen_errors import ChosenErrors as ChosenErrors
from simstudy.methods.protocol import Diagnostic as Diagnostic
from simstudy.methods.protocol import Estimator as Estimator
from simstudy.methods.registry import register as register
from simstudy.performance.measure import Measure as Measure
from simstudy.performance.measure import register_measure as register_measure
from simstudy.population.data_kinds import DataKind as DataKind
from simstudy.population.data_kinds import register_data_kind as register_data_kind
from simstudy.report.figures.registry import Drawing as Drawing
from simstudy.report.figures.registry import FigureKind as FigureKind
from simstudy.report.figures.registry import Request as Request
from simstudy.report.figures.registry import register_figure as register_figure
