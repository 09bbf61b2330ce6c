"""Performance of methods in a simulation study: measures, Monte Carlo standard errors, failures.

Works on any tables in the schema of `replicates`, `fits` and `truth`; it knows nothing of estimators.
"""

from simstudy.performance.catalog import (
    BASES,
    BOUNDED_MEASURES,
    CATALOG,
    FIT_MEASURES,
    LABELS,
    MEASURES,
    PAIR_MEASURES,
    PAIRED,
    PARAMETER_MEASURES,
    Measure,
)
from simstudy.performance.cell import COLUMNS, summarise_cell
from simstudy.performance.effects import EFFECT_COLUMNS, EFFECT_MEASURES, OUTCOMES, factor_effects
from simstudy.performance.fit_measures import SUMMARY_COLUMNS, expected_percentiles, summarise_fit_measures
from simstudy.performance.foreign import Foreign, read_foreign
from simstudy.performance.foreign_columns import USUAL_NAMES, Columns, find_columns
from simstudy.performance.moments import Measured
from simstudy.performance.pivot import kind_order
from simstudy.performance.table import FAILURE_COLUMNS, STATUSES, failures_table, performance_table

__all__ = [
    "BASES",
    "BOUNDED_MEASURES",
    "CATALOG",
    "COLUMNS",
    "EFFECT_COLUMNS",
    "EFFECT_MEASURES",
    "FAILURE_COLUMNS",
    "FIT_MEASURES",
    "LABELS",
    "MEASURES",
    "OUTCOMES",
    "PAIRED",
    "PAIR_MEASURES",
    "PARAMETER_MEASURES",
    "STATUSES",
    "SUMMARY_COLUMNS",
    "USUAL_NAMES",
    "Columns",
    "Foreign",
    "Measure",
    "Measured",
    "expected_percentiles",
    "factor_effects",
    "failures_table",
    "find_columns",
    "kind_order",
    "performance_table",
    "read_foreign",
    "summarise_cell",
    "summarise_fit_measures",
]
