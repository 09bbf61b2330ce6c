"""Performance of methods in a simulation study: measures, Monte Carlo standard errors, failures.

Works on any tables in the schema of `replicates`, `fits` and `truth`; it knows nothing of estimators.
"""

from simstudy.performance import catalog as _catalog  # noqa: F401  (registers the built-in measures)
from simstudy.performance.cell import COLUMNS, summarise_cell
from simstudy.performance.effects import EFFECT_COLUMNS, EFFECT_MEASURES, OUTCOMES, factor_effects
from simstudy.performance.fit_measures import SUMMARY_COLUMNS, expected_percentiles, summarise_fit_measures
from simstudy.performance.foreign import Foreign, read_foreign
from simstudy.performance.foreign_columns import USUAL_NAMES, Columns, find_columns
from simstudy.performance.measure import (
    BASES,
    MEASURES,
    PAIRED,
    Counterpart,
    Fits,
    Law,
    Measure,
    Numbers,
    measure_names,
    own_name,
    register_measure,
)
from simstudy.performance.moments import Measured
from simstudy.performance.pivot import kind_order
from simstudy.performance.table import (
    FAILURE_COLUMNS,
    STATUSES,
    count_statuses,
    failures_of,
    failures_table,
    performance_table,
)

__all__ = [
    "BASES",
    "COLUMNS",
    "EFFECT_COLUMNS",
    "EFFECT_MEASURES",
    "FAILURE_COLUMNS",
    "MEASURES",
    "OUTCOMES",
    "PAIRED",
    "STATUSES",
    "SUMMARY_COLUMNS",
    "USUAL_NAMES",
    "Columns",
    "Counterpart",
    "Fits",
    "Foreign",
    "Law",
    "Measure",
    "Measured",
    "Numbers",
    "count_statuses",
    "expected_percentiles",
    "factor_effects",
    "failures_of",
    "failures_table",
    "find_columns",
    "kind_order",
    "measure_names",
    "own_name",
    "performance_table",
    "read_foreign",
    "register_measure",
    "summarise_cell",
    "summarise_fit_measures",
]
