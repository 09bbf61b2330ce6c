"""Performance of methods in a simulation study: measures, Monte Carlo standard errors, failures.

Works on any tables in the schema of `replicates`, `fits` and `truth`; it knows nothing of estimators.
"""

from simstudy.performance.catalog import (
    BASES,
    CATALOG,
    FIT_MEASURES,
    LABELS,
    MEASURES,
    PARAMETER_MEASURES,
    Measure,
)
from simstudy.performance.cell import COLUMNS, summarise_cell
from simstudy.performance.fit_measures import SUMMARY_COLUMNS, expected_percentiles, summarise_fit_measures
from simstudy.performance.moments import Measured
from simstudy.performance.pivot import kind_order
from simstudy.performance.table import FAILURE_COLUMNS, STATUSES, failures_table, performance_table

__all__ = [
    "BASES",
    "CATALOG",
    "COLUMNS",
    "FAILURE_COLUMNS",
    "FIT_MEASURES",
    "LABELS",
    "MEASURES",
    "PARAMETER_MEASURES",
    "STATUSES",
    "SUMMARY_COLUMNS",
    "Measure",
    "Measured",
    "expected_percentiles",
    "failures_table",
    "kind_order",
    "performance_table",
    "summarise_cell",
    "summarise_fit_measures",
]
