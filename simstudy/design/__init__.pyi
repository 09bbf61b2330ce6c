# The names of the package, each written once: type checkers read them here, and `__init__.py` loads them on first use.
from simstudy.design.design import Cell as Cell
from simstudy.design.design import Design as Design
from simstudy.design.design import EstimatorEntry as EstimatorEntry
from simstudy.design.design import Intervals as Intervals
from simstudy.design.load import load_design as load_design
from simstudy.design.load import parse_design as parse_design
