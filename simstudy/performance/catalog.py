"""The performance measures in their order, with the formulas that are printed under every table.

Sources: Morris, White & Crowther (2019, Statistics in Medicine 38:2074, Table 6) for the measures and their Monte Carlo
standard errors (MCSE); Price & Bonett (2001, Journal of Statistical Computation and Simulation 68:295) for medians;
Tukey & McLaughlin (1963, Sankhya A 25:331) for the trimmed mean; Wilson (1927, JASA 22:209) for rates at 0 or 1; Manski
(2003, Partial Identification of Probability Distributions) for the bounds.  theory B9 compares MCSEs with simulated
truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

BASES: tuple[str, ...] = ("casewise", "common", "lower_bound", "upper_bound", "paired")
"""Which replicates a number is about.

`casewise`: each method on its own converged replicates; `common`: on those on which every method succeeded;
`lower_bound` and `upper_bound`: rates over all replicates tried, with every failed one counted as a miss or as a hit;
`paired`: the replicates on which both the method and the reference method succeeded.
"""

PAIRED = "paired"

_MEDIAN = (
    "MCSE (x_(n-c+1) - x_(c))/(2z), c = (n+1)/2 - sqrt(n), z from the exact binomial coverage of these order statistics"
)
_RATE = "MCSE sqrt(p(1 - p)/n), at p = 0 or 1 the half-width of Wilson's 95% interval / 1.96"


@dataclass(frozen=True)
class Measure:
    """One performance measure as it is named, printed and explained.

    Parameters
    ----------
    name : str
        Name in the column `measure`.
    label : str
        Heading in tables and axes.
    formula : str
        Definition and Monte Carlo standard error, in plain text.
    scope : str
        What it is computed from: ``estimate`` (the same for every kind of SE), ``se`` (standard errors),
        ``interval`` (confidence limits), ``pair`` (a method and the reference method on the same replicates) or
        ``fit`` (statuses, no parameter).
    replicate : str
        What the measure is over replicates: a ``mean`` of numbers, a ``rate``, or empty (a root, a ratio, a median).
    """

    name: str
    label: str
    formula: str
    scope: str
    replicate: str = ""


CATALOG: tuple[Measure, ...] = (
    Measure("mean_estimate", "Mean", "mean(est); MCSE empirical_se/sqrt(n)", "estimate", "mean"),
    Measure("bias", "Bias", "mean(est) - truth; MCSE empirical_se/sqrt(n)", "estimate", "mean"),
    Measure(
        "relative_bias",
        "Rel. bias",
        "(mean(est) - truth)/truth, undefined where truth = 0; MCSE empirical_se/(|truth| sqrt(n))",
        "estimate",
        "mean",
    ),
    Measure("median_bias", "Median bias", f"median(est) - truth; {_MEDIAN}", "estimate"),
    Measure(
        "trimmed_bias",
        "Trimmed bias",
        "mean of the middle 60% of est (20% trimmed at each end) - truth; MCSE sd(winsorised est)/(.6 sqrt(n))",
        "estimate",
    ),
    Measure(
        "empirical_se",
        "Emp. SE",
        "sqrt(sum((est - mean(est))^2)/(n - 1)); MCSE empirical_se/sqrt(2(n - 1))",
        "estimate",
    ),
    Measure(
        "mad_se",
        "MAD SE",
        "1.4826 median(|est - median(est)|), the empirical SE of normal estimates and blind to outliers; "
        "MCSE as of a median",
        "estimate",
    ),
    Measure("mean_se", "Mean SE", "mean(SE); MCSE sd(SE)/sqrt(n)", "se", "mean"),
    Measure("median_se", "Median SE", "median(SE); MCSE as of a median", "se"),
    Measure("model_se", "Model SE", "sqrt(mean(SE^2)); MCSE sqrt(var(SE^2)/(4 n model_se^2))", "se"),
    Measure(
        "se_ratio",
        "SE ratio",
        "model_se/empirical_se, both on the replicates with an SE; "
        "MCSE se_ratio sqrt(var(SE^2)/(4 n model_se^4) + 1/(2(n - 1)))",
        "se",
    ),
    Measure(
        "mse", "MSE", "mean((est - truth)^2); MCSE sqrt(sum(((est - truth)^2 - mse)^2)/(n(n - 1)))", "estimate", "mean"
    ),
    Measure("rmse", "RMSE", "sqrt(mean((est - truth)^2)); MCSE by the jackknife", "estimate"),
    Measure("median_abs_error", "Median |error|", "median(|est - truth|); MCSE as of a median", "estimate"),
    Measure(
        "coverage", "Coverage", f"p = share of intervals with lower <= truth <= upper; {_RATE}", "interval", "rate"
    ),
    Measure(
        "bias_eliminated_coverage",
        "BE coverage",
        "p = share of intervals with lower <= mean(est) <= upper; MCSE as coverage",
        "interval",
    ),
    Measure(
        "miss_below",
        "Miss below",
        "p = share of intervals that lie below the truth, upper < truth; MCSE as coverage",
        "interval",
        "rate",
    ),
    Measure(
        "miss_above",
        "Miss above",
        "p = share of intervals that lie above the truth, lower > truth; MCSE as coverage",
        "interval",
        "rate",
    ),
    Measure(
        "rejection",
        "Rejection",
        "p = share of intervals that exclude 0 (power, or type I error where truth = 0); MCSE as coverage",
        "interval",
        "rate",
    ),
    Measure("ci_width", "CI width", "mean(upper - lower); MCSE sd(upper - lower)/sqrt(n)", "interval", "mean"),
    Measure(
        "bias_difference",
        "Bias diff.",
        "mean(est - est_ref), ref: the reference method on the same replicates; MCSE sd(est - est_ref)/sqrt(n)",
        "pair",
        "mean",
    ),
    Measure("rmse_difference", "RMSE diff.", "rmse - rmse_ref; MCSE by the jackknife over replicates", "pair"),
    Measure(
        "relative_precision",
        "Rel. precision",
        "(empirical_se_ref/empirical_se)^2 - 1; "
        "MCSE 2 (empirical_se_ref/empirical_se)^2 sqrt((1 - r^2)/(n - 1)), r = cor(est, est_ref)",
        "pair",
    ),
    Measure(
        "coverage_difference",
        "Coverage diff.",
        "coverage - coverage_ref; MCSE sd(covered - covered_ref)/sqrt(n), if they never differ that of a rate of 0",
        "pair",
    ),
    Measure(
        "rejection_difference",
        "Rejection diff.",
        "rejection - rejection_ref; MCSE as coverage_difference",
        "pair",
    ),
    Measure(
        "ci_width_difference",
        "CI width diff.",
        "mean(width - width_ref); MCSE sd(width - width_ref)/sqrt(n)",
        "pair",
        "mean",
    ),
    Measure(
        "convergence",
        "Convergence",
        "p = share of status OK among the replicates the method supports; MCSE as coverage",
        "fit",
        "rate",
    ),
    Measure(
        "admissibility",
        "Admissibility",
        "p = share of admissible solutions among status OK; MCSE as coverage",
        "fit",
        "rate",
    ),
)
"""Every measure, in the order of the rows of a performance table."""

MEASURES: Mapping[str, str] = MappingProxyType({measure.name: measure.formula for measure in CATALOG})
"""Measure -> formula, in the order of the performance table."""

LABELS: Mapping[str, str] = MappingProxyType({measure.name: measure.label for measure in CATALOG})
"""Measure -> heading."""


def _of_scope(*scopes: str) -> tuple[str, ...]:
    return tuple(measure.name for measure in CATALOG if measure.scope in scopes)


ESTIMATE_MEASURES: tuple[str, ...] = _of_scope("estimate")
"""The measures of the estimates alone, the same under every kind of SE."""

PARAMETER_MEASURES: tuple[str, ...] = _of_scope("estimate", "se", "interval")
"""The measures of one method's numbers for a parameter; on the bases `casewise` and `common`."""

BOUNDED_MEASURES: tuple[str, ...] = ("coverage", "rejection")
"""The rates with rows on the bases `lower_bound` and `upper_bound`."""

PAIR_MEASURES: tuple[str, ...] = _of_scope("pair")
"""The differences from the reference method; on the basis `paired`."""

FIT_MEASURES: tuple[str, ...] = _of_scope("fit")
"""The measures that belong to a fit; their rows have `parameter` and `se_kind` empty."""
