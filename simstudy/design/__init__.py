"""Design files: TOML -> `Design` -> cells, with everything checked before anything runs."""

from simstudy.design.design import Cell, Design, EstimatorEntry, Intervals
from simstudy.design.load import load_design, parse_design

__all__ = ["Cell", "Design", "EstimatorEntry", "Intervals", "load_design", "parse_design"]
