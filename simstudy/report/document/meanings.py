"""What each performance measure means, in a sentence for readers who did not run the study."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "mean_estimate": "The average of the estimates over data sets.",
        "bias": "How far the average estimate is from the true value. 0 is no bias.",
        "relative_bias": "Bias as a share of the true value. Without meaning where the true value is 0.",
        "median_bias": (
            "How far the middle estimate is from the true value. Read it where a few data sets decide the mean, as "
            "with estimators that are ratios (the between slope of the two-level model) in small samples."
        ),
        "trimmed_bias": "Bias of the estimates without the smallest and largest ones, which a few data sets decide.",
        "mad_se": "The true standard error as the middle half of the estimates shows it, whatever the tails.",
        "median_se": "The middle one of the standard errors that the method reports.",
        "mse": "The mean squared distance of an estimate from the true value.",
        "median_abs_error": "The distance from the true value that half of the estimates keep.",
        "empirical_se": "How much estimates vary from data set to data set: the true standard error.",
        "mean_se": "The average of the standard errors that the method reports.",
        "model_se": "The standard error that the method reports, averaged as variances.",
        "se_ratio": "Reported over true standard error. Below 1 the method promises more precision than it has.",
        "rmse": "Typical distance of an estimate from the true value: bias and variability together.",
        "coverage": "Share of data sets whose interval contains the true value. It should be the nominal level.",
        "bias_eliminated_coverage": (
            "Share of intervals that contain the average estimate: what coverage would be without bias. It judges "
            "the standard error alone."
        ),
        "rejection": "Share of data sets in which 0 is rejected: power, or type I error if the true value is 0.",
        "miss_below": "Share of intervals that lie entirely below the true value.",
        "miss_above": "Share of intervals that lie entirely above the true value.",
        "bias_difference": "Bias of the method minus that of the method of reference, on the same data sets.",
        "rmse_difference": "RMSE of the method minus that of the method of reference, on the same data sets.",
        "relative_precision": "Gain in precision over the method of reference, as a share of its variance.",
        "coverage_difference": "Coverage minus that of the method of reference, on the same data sets.",
        "rejection_difference": "Rejection rate minus that of the method of reference, on the same data sets.",
        "ci_width_difference": "Interval width minus that of the method of reference, on the same data sets.",
        "ci_width": "Average width of the confidence interval.",
        "convergence": "Share of fits that found a solution.",
        "admissibility": "Share of solutions without a negative variance.",
    }
)
"""Measure -> meaning; a test holds this against the catalogue."""
