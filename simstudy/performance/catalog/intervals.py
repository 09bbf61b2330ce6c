"""Measures of confidence intervals."""

from __future__ import annotations

from simstudy.linalg import wald_intervals as normal
from simstudy.performance import rates
from simstudy.performance.measure import Counterpart, Law, Measure, register_measure
from simstudy.performance.moments import FloatArray

_RATE = "MCSE sqrt(p(1 - p)/n), at p = 0 or 1 the half-width of Wilson's 95% interval / 1.96"


def _misses(law: Law) -> tuple[FloatArray, FloatArray]:
    return normal.misses(law.limit, law.se, law.reported, law.truth, law.level)


def _coverage_around(law: Law, target: FloatArray) -> FloatArray:
    return normal.coverage(law.limit, law.se, law.reported, target, law.level)


for _measure in (
    Measure(
        "coverage",
        "Coverage",
        f"p = share of intervals with lower <= truth <= upper; {_RATE}",
        "Share of data sets whose interval contains the true value. It should be the nominal level.",
        "interval",
        lambda x: rates.coverage(x.lower, x.upper, x.truth),
        bounds=lambda x, tried: rates.coverage_bounds(x.lower, x.upper, x.truth, tried),
        theory=Counterpart(lambda law: _coverage_around(law, law.truth)),
        replicate="rate",
        is_share=True,
        decimals=3,
        axis="coverage",
        bands={"muthen2002": (0.91, 0.98)},
        axis_label="Coverage of {level} intervals",
        aliases=("cover", "ecr"),
    ),
    Measure(
        "bias_eliminated_coverage",
        "BE coverage",
        "p = share of intervals with lower <= mean(est) <= upper; MCSE as coverage",
        "Share of intervals that contain the average estimate: what coverage would be without bias. It judges the "
        "standard error alone.",
        "interval",
        lambda x: rates.bias_eliminated_coverage(x.estimate, x.lower, x.upper),
        theory=Counterpart(lambda law: _coverage_around(law, law.limit)),
        is_share=True,
        decimals=3,
        axis="coverage",
        axis_label="Bias-eliminated coverage",
        aliases=("becover",),
    ),
    Measure(
        "miss_below",
        "Miss below",
        "p = share of intervals that lie below the truth, upper < truth; MCSE as coverage",
        "Share of intervals that lie entirely below the true value.",
        "interval",
        lambda x: rates.miss_below(x.lower, x.upper, x.truth),
        theory=Counterpart(lambda law: _misses(law)[0]),
        replicate="rate",
        is_share=True,
        decimals=3,
        axis="tail",
        axis_label="Intervals below the truth (share)",
    ),
    Measure(
        "miss_above",
        "Miss above",
        "p = share of intervals that lie above the truth, lower > truth; MCSE as coverage",
        "Share of intervals that lie entirely above the true value.",
        "interval",
        lambda x: rates.miss_above(x.lower, x.upper, x.truth),
        theory=Counterpart(lambda law: _misses(law)[1]),
        replicate="rate",
        is_share=True,
        decimals=3,
        axis="tail",
        axis_label="Intervals above the truth (share)",
    ),
    Measure(
        "rejection",
        "Rejection",
        "p = share of intervals that exclude 0 (power, or type I error where truth = 0); MCSE as coverage",
        "Share of data sets in which 0 is rejected: power, or type I error if the true value is 0.",
        "interval",
        lambda x: rates.rejection(x.lower, x.upper),
        bounds=lambda x, tried: rates.rejection_bounds(x.lower, x.upper, tried),
        theory=Counterpart(lambda law: normal.rejection(law.limit, law.se, law.reported, law.level)),
        replicate="rate",
        is_share=True,
        decimals=3,
        axis="rejection",
        aliases=("power", "type_i_error", "edr"),
    ),
    Measure(
        "ci_width",
        "CI width",
        "mean(upper - lower); MCSE sd(upper - lower)/sqrt(n)",
        "Average width of the confidence interval.",
        "interval",
        lambda x: rates.ci_width(x.lower, x.upper),
        theory=Counterpart(lambda law: normal.width(law.reported, law.level), "reported"),
        replicate="mean",
        axis_label="Mean width of the intervals",
    ),
):
    register_measure(_measure)
