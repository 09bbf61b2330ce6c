"""Blocks of a performance table: all measures of one method, kind of SE and basis, in the order of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from simstudy.performance.measure import BASES, MEASURES, PAIRED, Fits, Numbers, measure_names
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


def with_limits(
    estimate: FloatArray,
    se: FloatArray,
    lower: FloatArray | None,
    upper: FloatArray | None,
    truth: FloatArray,
    level: float,
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
    return Numbers(estimate, se, lower, upper, truth)


def only_estimates(estimate: FloatArray, truth: FloatArray) -> Numbers:
    """Numbers of a method without standard errors and intervals."""
    nothing = np.full_like(estimate, np.nan)
    return Numbers(estimate, nothing, nothing, nothing, truth)


def measure_all(names: Sequence[str], numbers: Numbers | Fits) -> dict[str, Measured]:
    """Measures by name."""
    return {name: MEASURES[name].of(numbers) for name in names}


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
        found = measure_all(measure_names("fit"), Fits(ok, fits.supported[method][:, None], admissible, lost))
        yield Block(BASES[0], method, "", nobody, tuple(found), tuple(found.values()))


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

    def numbers(self, params: IntArray, truth: FloatArray) -> Numbers:
        """Numbers of some parameters, (R, k), with the truth of all parameters."""
        estimate = self.arrays.estimate[self.method][params].T
        if self.place < 0:
            return only_estimates(estimate, truth[params])
        lower, upper = (None if x is None else x[params].T for x in self._limits())
        return with_limits(estimate, self.arrays.se[self.place][params].T, lower, upper, truth[params], self.level)

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
    everything = measure_names("parameter")
    of_estimates = [name for name in everything if MEASURES[name].of_estimate_alone]
    others = [name for name in everything if name not in of_estimates]
    shared: dict[int, Mapping[str, Measured]] = {}
    for group in groups:
        params = group.params
        if group.method not in shared:
            estimate = arrays.estimate[group.method]
            estimate = estimate if keep is None else np.where(keep, estimate, np.nan)
            shared[group.method] = measure_all(of_estimates, only_estimates(estimate.T, truth))
        numbers = group.numbers(params, truth)
        numbers = numbers if keep is None else numbers.only(keep[params].T)
        found = {name: _take(result, params) for name, result in shared[group.method].items()}
        found |= measure_all(others, numbers)
        yield Block(basis, group.method, group.se_kind, params, everything, tuple(found[name] for name in everything))


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
    bounds = {name: MEASURES[name].bounds for name in measure_names("parameter")}
    found: list[Block] = []
    for group in groups:
        method, params = group.method, group.params
        tried = int(fits.supported[method].sum()) + _unrecorded(arrays, method, n_attempted)
        silent = fits.ok[method].any() & ~np.isfinite(arrays.estimate[method]).any(axis=-1)
        each = np.where(silent, 0, tried).astype(np.int64)[params]
        numbers = group.numbers(params, truth)
        pairs = {name: both(numbers, each) for name, both in bounds.items() if both is not None}
        found += [
            Block(basis, method, group.se_kind, params, tuple(pairs), tuple(pair[side] for pair in pairs.values()))
            for side, basis in enumerate(("lower_bound", "upper_bound"))
        ]
    yield from sorted(found, key=lambda block: block.basis)


def paired_blocks(groups: list[Group], reference: int, truth: FloatArray) -> Iterator[Block]:
    """Differences of every other method from the reference, under the same kind of SE or else the reference's first."""
    theirs = [group for group in groups if group.method == reference]
    for group in groups:
        if group.method == reference:
            continue
        for other, params in _partners(group, theirs):
            numbers = replace(group.numbers(params, truth), reference=other.numbers(params, truth))
            found = measure_all(measure_names("pair"), numbers)
            yield Block(PAIRED, group.method, group.se_kind, params, tuple(found), tuple(found.values()), reference)


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
