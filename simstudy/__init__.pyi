# The names of the package, each written once: type checkers read them here, and `__init__.py` loads them on first use.
from simstudy.api.imported import performance_of as performance_of
from simstudy.api.methods import estimators as estimators
from simstudy.api.one_replicate import simulate as simulate
from simstudy.api.reporting import write_report as write_report
from simstudy.api.results import Charts as Charts
from simstudy.api.results import Fit as Fit
from simstudy.api.results import FitComparison as FitComparison
from simstudy.api.results import Plan as Plan
from simstudy.api.results import Replay as Replay
from simstudy.api.results import Replicate as Replicate
from simstudy.api.results import Study as Study
from simstudy.api.results import StudyStatus as StudyStatus
from simstudy.api.results import Theory as Theory
from simstudy.api.starters import init as init
from simstudy.api.study import validate as validate
from simstudy.api.verbs import analyse as analyse
from simstudy.api.verbs import bias as bias
from simstudy.api.verbs import fit as fit
from simstudy.api.verbs import fit_all as fit_all
from simstudy.api.verbs import merge as merge
from simstudy.api.verbs import plan as plan
from simstudy.api.verbs import plot as plot
from simstudy.api.verbs import replay as replay
from simstudy.api.verbs import run as run
from simstudy.api.verbs import status as status
from simstudy.design import Design as Design
from simstudy.errors import SimstudyError as SimstudyError
from simstudy.methods.registry import register as register
from simstudy.model.twolevel import TwoLevelModel as TwoLevelModel

__version__: str
