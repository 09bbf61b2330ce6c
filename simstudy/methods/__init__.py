"""Methods, one a file, and what they share. Importing this registers the built-in ones, in teaching order."""

# ruff: noqa: I001  (the order of imports is the order of the registry)
from simstudy.methods.one_level.disaggregated import Disaggregated, DisaggregatedRobust
from simstudy.methods.one_level.aggregated import Aggregated
from simstudy.methods.mixed.mlm import Mlm, MlmCentered, MlmContextual, MlmRescaled
from simstudy.methods.two_step import TwoStep
from simstudy.methods.by_cluster.slopes_as_outcomes import SlopesAsOutcomes
from simstudy.methods.croon.croon import Croon
from simstudy.methods.two_matrices.schmidt import Schmidt
from simstudy.methods.two_matrices.haernqvist import Haernqvist
from simstudy.methods.two_matrices.goldstein import Goldstein
from simstudy.methods.raudenbush.raudenbush_measurement import RaudenbushMeasurement
from simstudy.methods.two_matrices.muml import Muml
from simstudy.methods.multigroup import Multigroup
from simstudy.methods.em import Em
from simstudy.methods.fiml_wide import FimlWide
from simstudy.methods.msem import Msem

__all__ = [
    "Aggregated",
    "Croon",
    "Disaggregated",
    "DisaggregatedRobust",
    "Em",
    "FimlWide",
    "Goldstein",
    "Haernqvist",
    "Mlm",
    "MlmCentered",
    "MlmContextual",
    "MlmRescaled",
    "Msem",
    "Multigroup",
    "Muml",
    "RaudenbushMeasurement",
    "Schmidt",
    "SlopesAsOutcomes",
    "TwoStep",
]
