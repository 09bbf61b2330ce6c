"""Methods, one a file, and what they share. Importing this registers the built-in ones, in teaching order."""

# ruff: noqa: I001  (the order of imports is the order of the registry)
from simstudy.estimators.disaggregated import Disaggregated, DisaggregatedRobust
from simstudy.estimators.aggregated import Aggregated
from simstudy.estimators.mlm import Mlm, MlmCentered, MlmContextual, MlmRescaled
from simstudy.estimators.two_step import TwoStep
from simstudy.estimators.slopes_as_outcomes import SlopesAsOutcomes
from simstudy.estimators.croon import Croon
from simstudy.estimators.schmidt import Schmidt
from simstudy.estimators.haernqvist import Haernqvist
from simstudy.estimators.goldstein import Goldstein
from simstudy.estimators.muml import Muml
from simstudy.estimators.msem import Msem

__all__ = [
    "Aggregated",
    "Croon",
    "Disaggregated",
    "DisaggregatedRobust",
    "Goldstein",
    "Haernqvist",
    "Mlm",
    "MlmCentered",
    "MlmContextual",
    "MlmRescaled",
    "Msem",
    "Muml",
    "Schmidt",
    "SlopesAsOutcomes",
    "TwoStep",
]
