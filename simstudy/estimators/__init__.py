"""Methods, one a file, and what they share. Importing this registers the built-in ones, in teaching order."""

# ruff: noqa: I001  (the order of imports is the order of the registry)
from simstudy.estimators.disaggregated import Disaggregated
from simstudy.estimators.aggregated import Aggregated
from simstudy.estimators.mlm import Mlm, MlmCentered
from simstudy.estimators.two_step import TwoStep
from simstudy.estimators.multigroup import Multigroup
from simstudy.estimators.em import Em
from simstudy.estimators.fiml_wide import FimlWide
from simstudy.estimators.msem import Msem

__all__ = ["Aggregated", "Disaggregated", "Em", "FimlWide", "Mlm", "MlmCentered", "Msem", "Multigroup", "TwoStep"]
