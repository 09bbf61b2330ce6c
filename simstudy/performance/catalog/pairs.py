"""Differences between a method and the reference method on the same replicates."""

from __future__ import annotations

from simstudy.performance import paired
from simstudy.performance.measure import Measure, Numbers, register_measure
from simstudy.performance.moments import FloatArray


def _limits(x: Numbers) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    return x.lower, x.upper, x.other.lower, x.other.upper


for _measure in (
    Measure(
        "bias_difference",
        "Bias diff.",
        "mean(est - est_ref), ref: the reference method on the same replicates; MCSE sd(est - est_ref)/sqrt(n)",
        "Bias of the method minus that of the method of reference, on the same data sets.",
        "estimate",
        lambda x: paired.bias_difference(x.estimate, x.other.estimate),
        paired=True,
        replicate="mean",
        axis="difference",
        axis_label="Difference in bias",
    ),
    Measure(
        "rmse_difference",
        "RMSE diff.",
        "rmse - rmse_ref; MCSE by the jackknife over replicates",
        "RMSE of the method minus that of the method of reference, on the same data sets.",
        "estimate",
        lambda x: paired.rmse_difference(x.estimate, x.other.estimate, x.truth),
        paired=True,
        axis="difference",
        axis_label="Difference in RMSE",
    ),
    Measure(
        "relative_precision",
        "Rel. precision",
        "(empirical_se_ref/empirical_se)^2 - 1; "
        "MCSE 2 (empirical_se_ref/empirical_se)^2 sqrt((1 - r^2)/(n - 1)), r = cor(est, est_ref)",
        "Gain in precision over the method of reference, as a share of its variance.",
        "estimate",
        lambda x: paired.relative_precision(x.estimate, x.other.estimate),
        paired=True,
        percent=True,
        axis="difference",
        axis_label="Gain in precision (relative)",
        aliases=("relprec",),
    ),
    Measure(
        "coverage_difference",
        "Coverage diff.",
        "coverage - coverage_ref; MCSE sd(covered - covered_ref)/sqrt(n), if they never differ that of a rate of 0",
        "Coverage minus that of the method of reference, on the same data sets.",
        "interval",
        lambda x: paired.coverage_difference(*_limits(x), x.truth),
        paired=True,
        decimals=3,
        axis="difference",
        axis_label="Difference in coverage",
    ),
    Measure(
        "rejection_difference",
        "Rejection diff.",
        "rejection - rejection_ref; MCSE as coverage_difference",
        "Rejection rate minus that of the method of reference, on the same data sets.",
        "interval",
        lambda x: paired.rejection_difference(*_limits(x)),
        paired=True,
        decimals=3,
        axis="difference",
        axis_label="Difference in rejection rates",
    ),
    Measure(
        "ci_width_difference",
        "CI width diff.",
        "mean(width - width_ref); MCSE sd(width - width_ref)/sqrt(n)",
        "Interval width minus that of the method of reference, on the same data sets.",
        "interval",
        lambda x: paired.ci_width_difference(*_limits(x)),
        paired=True,
        replicate="mean",
        axis="difference",
        axis_label="Difference in width of the intervals",
    ),
):
    register_measure(_measure)
