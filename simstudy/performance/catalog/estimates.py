"""Measures of estimates and of the standard errors that a method reports."""

from __future__ import annotations

import numpy as np

from simstudy.linalg import wald_intervals as normal
from simstudy.performance import measures, robust
from simstudy.performance.measure import Counterpart, Law, Measure, register_measure
from simstudy.performance.moments import FloatArray

_MEDIAN = (
    "MCSE (x_(n-c+1) - x_(c))/(2z), c = (n+1)/2 - sqrt(n), z from the exact binomial coverage of these order statistics"
)


def _gap(law: Law) -> FloatArray:
    return law.limit - law.truth


def _relative_gap(law: Law) -> FloatArray:
    with np.errstate(all="ignore"):
        return np.where(law.truth == 0.0, np.nan, _gap(law) / law.truth)


def _squared_error(law: Law) -> FloatArray:
    return law.se**2 + _gap(law) ** 2


_BIAS = Counterpart(_gap, "limit")
_SPREAD = Counterpart(lambda law: law.se)
_REPORTED = Counterpart(lambda law: law.reported, "reported")


for _measure in (
    Measure(
        "mean_estimate",
        "Mean",
        "mean(est); MCSE empirical_se/sqrt(n)",
        "The average of the estimates over data sets.",
        "estimate",
        lambda x: measures.mean_estimate(x.estimate),
        theory=Counterpart(lambda law: law.limit, "limit"),
        replicate="mean",
        axis="truth",
        reference_label="truth",
        axis_label="Mean estimate",
        aliases=("thetamean",),
    ),
    Measure(
        "bias",
        "Bias",
        "mean(est) - truth; MCSE empirical_se/sqrt(n)",
        "How far the average estimate is from the true value. 0 is no bias.",
        "estimate",
        lambda x: measures.bias(x.estimate, x.truth),
        theory=_BIAS,
        replicate="mean",
        axis="bias",
        reference=0.0,
        reference_label="no bias",
        axis_label="Bias (mean estimate − truth)",
    ),
    Measure(
        "relative_bias",
        "Rel. bias",
        "(mean(est) - truth)/truth, undefined where truth = 0; MCSE empirical_se/(|truth| sqrt(n))",
        "Bias as a share of the true value. Without meaning where the true value is 0.",
        "estimate",
        lambda x: measures.relative_bias(x.estimate, x.truth),
        theory=Counterpart(_relative_gap, "limit"),
        replicate="mean",
        percent=True,
        axis="ratio",
        reference=0.0,
        reference_label="no bias",
        bands={"muthen2002": (-0.1, 0.1), "hoogland1998": (-0.05, 0.05)},
        axis_label="Relative bias (bias / truth)",
        aliases=("rbias",),
    ),
    Measure(
        "median_bias",
        "Median bias",
        f"median(est) - truth; {_MEDIAN}",
        "How far the middle estimate is from the true value. Read it where a few data sets decide the mean, as with "
        "estimators that are ratios (the between slope of the two-level model) in small samples.",
        "estimate",
        lambda x: robust.median_bias(x.estimate, x.truth),
        theory=_BIAS,
        axis="bias",
        reference=0.0,
        reference_label="no bias",
        axis_label="Median bias (median estimate − truth)",
    ),
    Measure(
        "trimmed_bias",
        "Trimmed bias",
        "mean of the middle 60% of est (20% trimmed at each end) - truth; MCSE sd(winsorised est)/(.6 sqrt(n))",
        "Bias of the estimates without the smallest and largest ones, which a few data sets decide.",
        "estimate",
        lambda x: robust.trimmed_bias(x.estimate, x.truth),
        theory=_BIAS,
        axis="bias",
        reference=0.0,
        reference_label="no bias",
        axis_label="Trimmed bias (20% trimmed mean − truth)",
    ),
    Measure(
        "empirical_se",
        "Emp. SE",
        "sqrt(sum((est - mean(est))^2)/(n - 1)); MCSE empirical_se/sqrt(2(n - 1))",
        "How much estimates vary from data set to data set: the true standard error.",
        "estimate",
        lambda x: measures.empirical_se(x.estimate),
        theory=_SPREAD,
        axis_label="Empirical SE (SD of the estimates)",
        aliases=("empse",),
    ),
    Measure(
        "mad_se",
        "MAD SE",
        "1.4826 median(|est - median(est)|), the empirical SE of normal estimates and blind to outliers; "
        "MCSE as of a median",
        "The true standard error as the middle half of the estimates shows it, whatever the tails.",
        "estimate",
        lambda x: robust.mad_se(x.estimate),
        theory=_SPREAD,
        axis_label="MAD SE (robust SD of the estimates)",
    ),
    Measure(
        "mean_se",
        "Mean SE",
        "mean(SE); MCSE sd(SE)/sqrt(n)",
        "The average of the standard errors that the method reports.",
        "se",
        lambda x: measures.mean_se(x.se),
        theory=_REPORTED,
        replicate="mean",
    ),
    Measure(
        "median_se",
        "Median SE",
        "median(SE); MCSE as of a median",
        "The middle one of the standard errors that the method reports.",
        "se",
        lambda x: robust.median_se(x.se),
        theory=_REPORTED,
    ),
    Measure(
        "model_se",
        "Model SE",
        "sqrt(mean(SE^2)); MCSE sqrt(var(SE^2)/(4 n model_se^2))",
        "The standard error that the method reports, averaged as variances.",
        "se",
        lambda x: measures.model_se(x.se),
        theory=_REPORTED,
        axis_label="Model SE (root mean square)",
        aliases=("modelse",),
    ),
    Measure(
        "se_ratio",
        "SE ratio",
        "model_se/empirical_se, both on the replicates with an SE; "
        "MCSE se_ratio sqrt(var(SE^2)/(4 n model_se^4) + 1/(2(n - 1)))",
        "Reported over true standard error. Below 1 the method promises more precision than it has.",
        "se",
        lambda x: measures.se_ratio(x.estimate, x.se),
        theory=Counterpart(lambda law: law.ratio),
        decimals=3,
        axis="ratio",
        reference=1.0,
        reference_label="model SE = empirical SE",
        bands={"muthen2002": (0.95, 1.05), "hoogland1998": (0.9, 1.1)},
        axis_label="SE ratio (model SE / empirical SE)",
    ),
    Measure(
        "mse",
        "MSE",
        "mean((est - truth)^2); MCSE sqrt(sum(((est - truth)^2 - mse)^2)/(n(n - 1)))",
        "The mean squared distance of an estimate from the true value.",
        "estimate",
        lambda x: measures.mse(x.estimate, x.truth),
        theory=Counterpart(_squared_error),
        replicate="mean",
        axis_label="Mean squared error",
    ),
    Measure(
        "rmse",
        "RMSE",
        "sqrt(mean((est - truth)^2)); MCSE by the jackknife",
        "Typical distance of an estimate from the true value: bias and variability together.",
        "estimate",
        lambda x: measures.rmse(x.estimate, x.truth),
        theory=Counterpart(lambda law: np.sqrt(_squared_error(law))),
    ),
    Measure(
        "median_abs_error",
        "Median |error|",
        "median(|est - truth|); MCSE as of a median",
        "The distance from the true value that half of the estimates keep.",
        "estimate",
        lambda x: robust.median_abs_error(x.estimate, x.truth),
        theory=Counterpart(lambda law: normal.median_distance(law.limit, law.se, law.truth)),
        axis_label="Median absolute error",
    ),
):
    register_measure(_measure)
