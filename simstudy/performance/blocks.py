"""Blocks of a performance table: all measures of one method, kind of SE and basis, in the order of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from simstudy.performance import measures, paired, rates, robust
from simstudy.performance.catalog import (
    BASES,
    BOUNDED_MEASURES,
    ESTIMATE_MEASURES,
    FIT_MEASURES,
    PAIR_MEASURES,
    PAIRED,
    PARAMETER_MEASURES,
)
from simstudy.performance.moments import BoolArray, FloatArray, IntArray, Measured
from simstudy.performance.pivot import CellArrays

NOBODY = -1
"""Number of a parameter or method that a row does not have."""


@dataclass(frozen=True)
class Block:
    """Rows of one method, kind of SE and basis.

    Parameters
    ----------
    basis : str
    estimator : int
    se_kind : str
    params : ndarray of int, (k,)
        `NOBODY` for measures of the fit.
    names : tuple of str
        The M measures.
    results : tuple of Measured
        M results of shape (k,).
    reference : int
        Method that a difference refers to.
    """

    basis: str
    estimator: int
    se_kind: str
    params: IntArray
    names: tuple[str, ...]
    results: tuple[Measured, ...]
    reference: int = NOBODY


@dataclass(frozen=True)
class Numbers:
    """Numbers of one method and kind of SE, each (R, k) with NaN for what is missing; limits are filled in."""

    estimate: FloatArray
    se: FloatArray
    lower: FloatArray
    upper: FloatArray

    def only(self, keep: BoolArray) -> Numbers:
        """Blank replicates: `keep` (k, R) tells which stay."""
        return Numbers(*(np.where(keep.T, x, np.nan) for x in (self.estimate, self.se, self.lower, self.upper)))


def with_limits(
    estimate: FloatArray, se: FloatArray, lower: FloatArray | None, upper: FloatArray | None, level: float
) -> Numbers:
    """Fill Wald limits in, estimate -+ z SE, where there are none; nothing counts without an estimate."""
    z = float(ndtri(0.5 * (1.0 + level)))
    with np.errstate(over="ignore", invalid="ignore"):
        wald_lower, wald_upper = estimate - z * se, estimate + z * se
    if lower is None or upper is None:
        lower, upper = wald_lower, wald_upper
    else:
        wald = np.isnan(lower) | np.isnan(upper)
        lower, upper = np.where(wald, wald_lower, lower), np.where(wald, wald_upper, upper)
    missing = ~np.isfinite(estimate)
    se, lower, upper = (np.where(missing, np.nan, x) for x in (se, lower, upper))
    return Numbers(estimate, se, lower, upper)


def estimate_measures(estimate: FloatArray, truth: FloatArray) -> Mapping[str, Measured]:
    """Measures that need no SE."""
    return {
        "mean_estimate": measures.mean_estimate(estimate),
        "bias": measures.bias(estimate, truth),
        "relative_bias": measures.relative_bias(estimate, truth),
        "median_bias": robust.median_bias(estimate, truth),
        "trimmed_bias": robust.trimmed_bias(estimate, truth),
        "empirical_se": measures.empirical_se(estimate),
        "mad_se": robust.mad_se(estimate),
        "mse": measures.mse(estimate, truth),
        "rmse": measures.rmse(estimate, truth),
        "median_abs_error": robust.median_abs_error(estimate, truth),
    }


def inference_measures(numbers: Numbers, truth: FloatArray) -> Mapping[str, Measured]:
    """Measures of standard errors and intervals."""
    estimate, se, lower, upper = numbers.estimate, numbers.se, numbers.lower, numbers.upper
    return {
        "mean_se": measures.mean_se(se),
        "median_se": robust.median_se(se),
        "model_se": measures.model_se(se),
        "se_ratio": measures.se_ratio(estimate, se),
        "coverage": rates.coverage(lower, upper, truth),
        "bias_eliminated_coverage": rates.bias_eliminated_coverage(estimate, lower, upper),
        "miss_below": rates.miss_below(lower, upper, truth),
        "miss_above": rates.miss_above(lower, upper, truth),
        "rejection": rates.rejection(lower, upper),
        "ci_width": rates.ci_width(lower, upper),
    }


def pair_measures(mine: Numbers, theirs: Numbers, truth: FloatArray) -> tuple[Measured, ...]:
    """Differences from the reference, in the order of `PAIR_MEASURES`."""
    limits = (mine.lower, mine.upper, theirs.lower, theirs.upper)
    found = {
        "bias_difference": paired.bias_difference(mine.estimate, theirs.estimate),
        "rmse_difference": paired.rmse_difference(mine.estimate, theirs.estimate, truth),
        "relative_precision": paired.relative_precision(mine.estimate, theirs.estimate),
        "coverage_difference": paired.coverage_difference(*limits, truth),
        "rejection_difference": paired.rejection_difference(*limits),
        "ci_width_difference": paired.ci_width_difference(*limits),
    }
    return tuple(found[name] for name in PAIR_MEASURES)


def bound_measures(numbers: Numbers, truth: FloatArray, tried: IntArray) -> tuple[tuple[Measured, ...], ...]:
    """Lower and upper bounds of the rates in `BOUNDED_MEASURES`."""
    lower, upper = numbers.lower, numbers.upper
    valid = rates.has_interval(lower, upper)
    with np.errstate(invalid="ignore"):
        hits = {"coverage": (lower <= truth) & (truth <= upper), "rejection": (lower > 0.0) | (upper < 0.0)}
    pairs = [rates.rate_bounds(hits[name], valid, tried) for name in BOUNDED_MEASURES]
    known = np.isfinite(truth)
    bounds = []
    for side in (0, 1):
        found = [pair[side] for pair in pairs]
        found[0] = found[0]._replace(
            value=np.where(known, found[0].value, np.nan), mcse=np.where(known, found[0].mcse, np.nan)
        )
        bounds.append(tuple(found))
    return tuple(bounds)


def common_replicates(estimate: FloatArray) -> BoolArray:
    """Replicates on which every method that ever has an estimate of the parameter has one, (E, k, R) -> (k, R)."""
    success = np.isfinite(estimate)
    speaks = success.any(axis=-1, keepdims=True)
    return np.asarray((success | ~speaks).all(axis=0))


def fit_blocks(arrays: CellArrays, n_methods: int, n_attempted: int | None) -> Iterator[Block]:
    """Convergence and admissibility of every method, case-wise: on common replicates both are 1 by construction."""
    fits = arrays.fits
    nobody = np.array([NOBODY], dtype=np.int64)
    for method in range(n_methods):
        lost = _unrecorded(arrays, method, n_attempted)
        ok, admissible = fits.ok[method][:, None], fits.admissible[method][:, None]
        results = (
            rates.convergence(ok, fits.supported[method][:, None], lost),
            rates.admissibility(ok, admissible),
        )
        yield Block(BASES[0], method, "", nobody, FIT_MEASURES, results)


def _unrecorded(arrays: CellArrays, method: int, n_attempted: int | None) -> int:
    return 0 if n_attempted is None else n_attempted - int(arrays.fits.attempted[method].sum())


@dataclass(frozen=True)
class Group:
    """One pair of method and kind of SE, and the parameters for which the table has rows.

    Its numbers are put together when they are asked for: only those of the pair at work are in memory.
    """

    arrays: CellArrays
    place: int
    level: float
    method: int
    se_kind: str
    params: IntArray

    def numbers(self, params: IntArray) -> Numbers:
        """Numbers of some parameters, (R, k)."""
        estimate = self.arrays.estimate[self.method][params].T
        if self.place < 0:
            nothing = np.full_like(estimate, np.nan)
            return Numbers(estimate, nothing, nothing, nothing)
        lower, upper = (None if x is None else x[params].T for x in self._limits())
        return with_limits(estimate, self.arrays.se[self.place][params].T, lower, upper, self.level)

    def _limits(self) -> tuple[FloatArray | None, FloatArray | None]:
        return self.arrays.lower[self.place], self.arrays.upper[self.place]


def method_groups(arrays: CellArrays, level: float) -> list[Group]:
    """Every pair of method and kind of SE; what no row speaks about goes under the first kind."""
    found = []
    for method in range(len(arrays.estimate)):
        mine = [place for place, pair in enumerate(arrays.pairs) if pair[0] == method]
        spoken = arrays.present[mine].any(axis=0)
        for position, place in enumerate(mine or [NOBODY]):
            se_kind, rows = "", ~spoken
            if place >= 0:
                se_kind = arrays.pairs[place][1]
                rows = arrays.present[place] | (~spoken if position == 0 else False)
            found.append(Group(arrays, place, level, method, se_kind, np.flatnonzero(rows)))
    return found


def parameter_blocks(arrays: CellArrays, groups: list[Group], basis: str, truth: FloatArray) -> Iterator[Block]:
    """Measures of every pair of method and kind of SE, on their own or on the common replicates."""
    keep = common_replicates(arrays.estimate) if basis == "common" else None
    of_estimates: dict[int, Mapping[str, Measured]] = {}
    for group in groups:
        params = group.params
        if group.method not in of_estimates:
            estimate = arrays.estimate[group.method]
            estimate = estimate if keep is None else np.where(keep, estimate, np.nan)
            of_estimates[group.method] = estimate_measures(estimate.T, truth)
        numbers = group.numbers(params)
        numbers = numbers if keep is None else numbers.only(keep[params])
        found = {name: _take(of_estimates[group.method][name], params) for name in ESTIMATE_MEASURES}
        found |= inference_measures(numbers, truth[params])
        results = tuple(found[name] for name in PARAMETER_MEASURES)
        yield Block(basis, group.method, group.se_kind, params, PARAMETER_MEASURES, results)


def _take(result: Measured, params: IntArray) -> Measured:
    jackknife = None if result.jackknife is None else result.jackknife[params]
    return Measured(result.value[params], result.mcse[params], result.n[params], jackknife)


def bound_blocks(
    arrays: CellArrays, groups: list[Group], truth: FloatArray, n_attempted: int | None
) -> Iterator[Block]:
    """Bounds of coverage and rejection over every replicate tried, the failed ones included.

    A method that converges and never has an estimate of a parameter does not speak about it: that is no failure, and
    there is nothing to bound.
    """
    fits = arrays.fits
    found: list[Block] = []
    for group in groups:
        method, params = group.method, group.params
        tried = int(fits.supported[method].sum()) + _unrecorded(arrays, method, n_attempted)
        silent = fits.ok[method].any() & ~np.isfinite(arrays.estimate[method]).any(axis=-1)
        each = np.where(silent, 0, tried).astype(np.int64)[params]
        bounds = bound_measures(group.numbers(params), truth[params], each)
        found += [
            Block(basis, method, group.se_kind, params, BOUNDED_MEASURES, results)
            for basis, results in zip(("lower_bound", "upper_bound"), bounds, strict=True)
        ]
    yield from sorted(found, key=lambda block: block.basis)


def paired_blocks(groups: list[Group], reference: int, truth: FloatArray) -> Iterator[Block]:
    """Differences of every other method from the reference, under the same kind of SE or else the reference's first."""
    theirs = [group for group in groups if group.method == reference]
    for group in groups:
        if group.method == reference:
            continue
        for other, params in _partners(group, theirs):
            results = pair_measures(group.numbers(params), other.numbers(params), truth[params])
            yield Block(PAIRED, group.method, group.se_kind, params, PAIR_MEASURES, results, reference)


def _partners(group: Group, theirs: list[Group]) -> Iterator[tuple[Group, IntArray]]:
    """Yield groups of the reference and the parameters for which each is the partner; together all of `group`'s."""
    ordered = sorted(theirs, key=lambda other: other.se_kind != group.se_kind)
    left = group.params
    for other in ordered:
        here = np.isin(left, other.params)
        if here.any():
            yield other, left[here]
        left = left[~here]
    if len(left) and ordered:
        yield ordered[0], left
