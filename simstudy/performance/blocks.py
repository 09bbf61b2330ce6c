"""Blocks of a performance table: all measures of one method, kind of SE and basis, in the order of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias

import numpy as np
from scipy.special import ndtri

from simstudy.performance.measure import BASES, MEASURES, PAIRED, Fits, Numbers, measure_names
from simstudy.performance.moments import BoolArray, FloatArray, IntArray, Measured
from simstudy.performance.pivot import CellArrays

NOBODY = -1
"""Number of a parameter or method that a row does not have."""
BATCH_BYTES = 1 << 20
"""Of one array of what is measured at once: small enough for cache, large enough that calls cost nothing."""


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
    fits, names = arrays.fits, measure_names("fit")
    nobody = np.array([NOBODY], dtype=np.int64)
    lost = [_unrecorded(arrays, method, n_attempted) for method in range(n_methods)]
    for count, alike in groupby(range(n_methods), key=lost.__getitem__):
        these = list(alike)
        found = measure_all(names, Fits(fits.ok[these].T, fits.supported[these].T, fits.admissible[these].T, count))
        for place, method in enumerate(these):
            mine = slice(place, place + 1)
            yield Block(BASES[0], method, "", nobody, names, tuple(_take(found[name], mine) for name in names))


def _unrecorded(arrays: CellArrays, method: int, n_attempted: int | None) -> int:
    return 0 if n_attempted is None else n_attempted - int(arrays.fits.attempted[method].sum())


@dataclass(frozen=True)
class Group:
    """One pair of method and kind of SE, and the parameters for which the table has rows.

    Its numbers are put together when they are asked for: only those of the pairs at work are in memory.
    """

    arrays: CellArrays
    place: int
    level: float
    method: int
    se_kind: str
    params: IntArray


Part: TypeAlias = tuple[Group, IntArray]
"""A pair of method and kind of SE, and some of its parameters."""


def beside(parts: Sequence[Part], truth: FloatArray) -> Numbers:
    """Numbers of some pairs beside each other, (R, k) of all parts: a measure is computed once for all of them.

    `truth` is that of all parameters. In memory a parameter's replicates stand next to each other.
    """
    arrays, level = parts[0][0].arrays, parts[0][0].level
    estimate = np.concatenate([arrays.estimate[group.method][params] for group, params in parts])

    def taken(held: Sequence[FloatArray | None]) -> FloatArray:
        """What the pairs hold; NaN where one holds nothing."""
        found = np.full_like(estimate, np.nan)
        start = 0
        for group, params in parts:
            values = held[group.place] if group.place >= 0 else None
            if values is not None:
                found[start : start + len(params)] = values[params]
            start += len(params)
        return found

    explicit = any(group.place >= 0 and arrays.lower[group.place] is not None for group, _ in parts)
    lower, upper = (taken(held).T if explicit else None for held in (arrays.lower, arrays.upper))
    where = np.concatenate([params for _, params in parts])
    return with_limits(estimate.T, taken(arrays.se).T, lower, upper, truth[where], level)


def _batches(sizes: Sequence[int], n_replicates: int) -> Iterator[slice]:
    """Neighbours that are taken at once: as many as keep an array of theirs in cache, one at least."""
    most = max(BATCH_BYTES // (8 * max(n_replicates, 1)), 1)
    first = columns = 0
    for place, size in enumerate(sizes):
        if columns and columns + size > most:
            yield slice(first, place)
            first, columns = place, 0
        columns += size
    if len(sizes) > first:
        yield slice(first, len(sizes))


def _divided(
    found: Mapping[str, Measured], names: Sequence[str], sizes: Sequence[int]
) -> Iterator[dict[str, Measured]]:
    """Results of `beside`, part by part."""
    stop = 0
    for size in sizes:
        start, stop = stop, stop + size
        yield {name: _take(found[name], slice(start, stop)) for name in names}


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
    shared = list(_of_estimates(arrays, of_estimates, keep, truth))
    for batch in _batches([len(group.params) for group in groups], arrays.estimate.shape[-1]):
        these = groups[batch]
        numbers = beside([(group, group.params) for group in these], truth)
        if keep is not None:
            numbers = numbers.only(keep[np.concatenate([group.params for group in these])].T)
        parts = _divided(measure_all(others, numbers), others, [len(group.params) for group in these])
        for group, found in zip(these, parts, strict=True):
            found |= {name: _take(result, group.params) for name, result in shared[group.method].items()}
            results = tuple(found[name] for name in everything)
            yield Block(basis, group.method, group.se_kind, group.params, everything, results)


def _of_estimates(
    arrays: CellArrays, names: Sequence[str], keep: BoolArray | None, truth: FloatArray
) -> Iterator[dict[str, Measured]]:
    """Measures of the estimates alone, of all parameters, a method after another."""
    n_methods, k, n_replicates = arrays.estimate.shape
    for batch in _batches([k] * n_methods, n_replicates):
        estimate = arrays.estimate[batch]
        estimate = estimate if keep is None else np.where(keep, estimate, np.nan)
        numbers = only_estimates(estimate.reshape(-1, n_replicates).T, np.tile(truth, len(estimate)))
        yield from _divided(measure_all(names, numbers), names, [k] * len(estimate))


def _take(result: Measured, params: IntArray | slice) -> Measured:
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
    bounds = {name: both for name in measure_names("parameter") if (both := MEASURES[name].bounds) is not None}
    speaks: BoolArray = np.asarray(np.isfinite(arrays.estimate).any(axis=-1))
    found: list[Block] = []
    for batch in _batches([len(group.params) for group in groups], arrays.estimate.shape[-1]):
        these = groups[batch]
        numbers = beside([(group, group.params) for group in these], truth)
        each = []
        for group in these:
            tried = int(fits.supported[group.method].sum()) + _unrecorded(arrays, group.method, n_attempted)
            silent = fits.ok[group.method].any() & ~speaks[group.method, group.params]
            each.append(np.where(silent, 0, tried).astype(np.int64))
        pairs = {name: both(numbers, np.concatenate(each)) for name, both in bounds.items()}
        for side, basis in enumerate(("lower_bound", "upper_bound")):
            sizes = [len(group.params) for group in these]
            parts = _divided({name: pair[side] for name, pair in pairs.items()}, tuple(bounds), sizes)
            found += [
                Block(basis, group.method, group.se_kind, group.params, tuple(bounds), tuple(part.values()))
                for group, part in zip(these, parts, strict=True)
            ]
    yield from sorted(found, key=lambda block: block.basis)


def paired_blocks(groups: list[Group], reference: int, truth: FloatArray) -> Iterator[Block]:
    """Differences of every other method from the reference, under the same kind of SE or else the reference's first."""
    theirs = [group for group in groups if group.method == reference]
    names = measure_names("pair")
    pairs = [(g, other, params) for g in groups if g.method != reference for other, params in _partners(g, theirs)]
    if not pairs:
        return
    for batch in _batches([len(params) for *_, params in pairs], pairs[0][0].arrays.estimate.shape[-1]):
        these = pairs[batch]
        other = beside([(other, params) for _, other, params in these], truth)
        numbers = replace(beside([(group, params) for group, _, params in these], truth), reference=other)
        parts = _divided(measure_all(names, numbers), names, [len(params) for *_, params in these])
        for (group, _, params), part in zip(these, parts, strict=True):
            yield Block(PAIRED, group.method, group.se_kind, params, names, tuple(part.values()), reference)


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
