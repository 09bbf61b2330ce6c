"""The performance measures in their order, with the formulas that are printed under every table.

Sources: Morris, White & Crowther (2019, Statistics in Medicine 38:2074, Table 6) for the measures and their Monte Carlo
standard errors (MCSE); Price & Bonett (2001, Journal of Statistical Computation and Simulation 68:295) for the median;
Wilson (1927, JASA 22:209) for rates at exactly 0 or 1.  THEORY.md B9 compares each MCSE with simulated truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

BASES: tuple[str, ...] = ("casewise", "common")
"""`casewise`: each method on its own converged replicates; `common`: on those on which every method succeeded."""

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
        ``interval`` (confidence limits) or ``fit`` (statuses, no parameter).
    """

    name: str
    label: str
    formula: str
    scope: str


CATALOG: tuple[Measure, ...] = (
    Measure("mean_estimate", "Mean", "mean(est); MCSE empirical_se/sqrt(n)", "estimate"),
    Measure("bias", "Bias", "mean(est) - truth; MCSE empirical_se/sqrt(n)", "estimate"),
    Measure(
        "relative_bias",
        "Rel. bias",
        "(mean(est) - truth)/truth, undefined where truth = 0; MCSE empirical_se/(|truth| sqrt(n))",
        "estimate",
    ),
    Measure(
        "median_bias",
        "Median bias",
        "median(est) - truth; MCSE (est_(n-c+1) - est_(c))/(2z), c = (n+1)/2 - sqrt(n), "
        "z from the exact binomial coverage of these order statistics",
        "estimate",
    ),
    Measure(
        "empirical_se",
        "Emp. SE",
        "sqrt(sum((est - mean(est))^2)/(n - 1)); MCSE empirical_se/sqrt(2(n - 1))",
        "estimate",
    ),
    Measure("mean_se", "Mean SE", "mean(SE); MCSE sd(SE)/sqrt(n)", "se"),
    Measure("model_se", "Model SE", "sqrt(mean(SE^2)); MCSE sqrt(var(SE^2)/(4 n model_se^2))", "se"),
    Measure(
        "se_ratio",
        "SE ratio",
        "model_se/empirical_se, both on the replicates with an SE; "
        "MCSE se_ratio sqrt(var(SE^2)/(4 n model_se^4) + 1/(2(n - 1)))",
        "se",
    ),
    Measure("rmse", "RMSE", "sqrt(mean((est - truth)^2)); MCSE by the jackknife", "estimate"),
    Measure("coverage", "Coverage", f"p = share of intervals with lower <= truth <= upper; {_RATE}", "interval"),
    Measure(
        "bias_eliminated_coverage",
        "BE coverage",
        "p = share of intervals with lower <= mean(est) <= upper; MCSE as coverage",
        "interval",
    ),
    Measure(
        "rejection",
        "Rejection",
        "p = share of intervals that exclude 0 (power, or type I error where truth = 0); MCSE as coverage",
        "interval",
    ),
    Measure("ci_width", "CI width", "mean(upper - lower); MCSE sd(upper - lower)/sqrt(n)", "interval"),
    Measure(
        "convergence",
        "Convergence",
        "p = share of status OK among the replicates the method supports; MCSE as coverage",
        "fit",
    ),
    Measure(
        "admissibility",
        "Admissibility",
        "p = share of admissible solutions among status OK; MCSE as coverage",
        "fit",
    ),
)
"""Every measure, in the order of the rows of a performance table."""

MEASURES: Mapping[str, str] = MappingProxyType({measure.name: measure.formula for measure in CATALOG})
"""Measure -> formula, in the order of the performance table."""

LABELS: Mapping[str, str] = MappingProxyType({measure.name: measure.label for measure in CATALOG})
"""Measure -> heading."""

PARAMETER_MEASURES: tuple[str, ...] = tuple(measure.name for measure in CATALOG if measure.scope != "fit")
"""The measures that belong to a parameter."""

FIT_MEASURES: tuple[str, ...] = tuple(measure.name for measure in CATALOG if measure.scope == "fit")
"""The measures that belong to a fit; their rows have `parameter` and `se_kind` empty."""
