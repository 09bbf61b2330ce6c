"""How each measure is written in a cell of a table."""

from __future__ import annotations

from simstudy.performance import CATALOG, LABELS
from simstudy.report.tables.text import Number, percent, percent_with_mcse, plain, with_mcse

PERCENT = frozenset({"relative_bias", "relative_precision"})
_SCOPES = {measure.name: measure.scope for measure in CATALOG}
_RATES = frozenset(measure.name for measure in CATALOG if measure.replicate == "rate")
_THREE_DECIMALS = _RATES | {"se_ratio", "bias_eliminated_coverage", "coverage_difference", "rejection_difference"}


def decimals(measure: str) -> int:
    """Decimals of a measure: 3 for rates and ratios, 4 on the scale of the estimates."""
    return 3 if measure in _THREE_DECIMALS else 4


def of_estimate_alone(measure: str) -> bool:
    """Whether a measure is the same under every kind of SE."""
    return _SCOPES[measure] in ("estimate", "fit") or measure in (
        "bias_difference",
        "rmse_difference",
        "relative_precision",
    )


def cell_text(measure: str, number: Number, *, mcse: bool) -> str:
    """Write a number, with its Monte Carlo SE in parentheses if asked for."""
    if measure in PERCENT:
        return percent_with_mcse(number) if mcse else percent(number)
    places = decimals(measure)
    return with_mcse(number, places) if mcse else plain(number, places)


def heading(measure: str, *, mcse: bool) -> str:
    """Heading of a column."""
    return f"{LABELS[measure]} (MCSE)" if mcse else LABELS[measure]
