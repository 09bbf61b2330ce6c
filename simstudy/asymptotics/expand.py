"""A method as a function of the moments: value, first and second derivatives, by its own fit on moved moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simstudy.asymptotics.moments import MEAN, Moments, Points, join
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.inference import with_defined
from simstudy.estimation.result import FitResult, Status
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray
from simstudy.methods.protocol import PreparedEstimator
from simstudy.model.twolevel import TwoLevelModel

STEP = 1e-3
"""In standard deviations of one cluster's moments. Derivatives come from central differences at STEP and STEP / 2, the
leading error taken out (Richardson): truncation (STEP / reliability)^4, rounding 1e-12 / STEP."""
MEAN_STEP = 0.25
"""Share of STEP along directions of means: there every method is nearly linear, and one difference is enough."""
FITS_AT_ONCE = 4_000_000
"""Bytes of statistics that are fitted in one call."""
KINK = 0.375
"""Second differences shrink to 1/4 with half the step where a function is smooth, to 1/2 where it has a kink."""
ROUGH = 1e-3
"""Change of a derivative from STEP to STEP / 2, relative to the largest, above which it is not trusted."""

Feed = Callable[[Points], TwoLevelStatistics | Sample]


@dataclass(frozen=True)
class Method:
    """A method made ready for a layout, and how it is fed.

    Attributes
    ----------
    prepared : PreparedEstimator
    model : TwoLevelModel
    layout : ClusterLayout
    feed : callable
        Moments -> data with exactly these moments.
    size : int
        Numbers in one data set.
    """

    prepared: PreparedEstimator
    model: TwoLevelModel
    layout: ClusterLayout
    feed: Feed
    size: int

    def fit(self, points: Points) -> FitResult:
        """Fit R data sets with these moments."""
        with np.errstate(all="ignore"):
            return self.prepared.fit(self.feed(points))

    def report(self, fit: FitResult, some: IntArray | slice = slice(None)) -> FitResult:
        """Some of the fits with ``:=`` parameters."""
        return with_defined(fit.select(some), self.model.estimands)

    def outputs(self, fit: FitResult) -> FloatArray:
        """Estimates (R, k), and behind them J times the squared SEs of each kind (R, k): (R, m), ``:=`` included."""
        estimands = self.model.estimands
        with np.errstate(all="ignore"):
            parts = [fit.estimate, estimands.evaluate(fit.estimate)]
            gradient = np.nan_to_num(estimands.jacobian(fit.estimate))  # NaN: what the method does not speak about
            for cov in fit.covariance.values():
                parts.append(self.layout.n_clusters * np.diagonal(cov, axis1=-2, axis2=-1))
                defined = (np.matmul(gradient, np.nan_to_num(cov)) * gradient).sum(axis=-1)
                parts.append(self.layout.n_clusters * defined)
            return np.concatenate(parts, axis=-1)


@dataclass(frozen=True)
class Expansion:
    """What a method does near the moments of C populations: m outputs (see `Method.outputs`), D directions.

    Attributes
    ----------
    status : (C,)
        Of the fit to the moments themselves.
    value : (C, m)
    expected : (C, m)
        Value at the expected moments of samples with the layout.
    reported : dict of str to (C, k, k)
        Covariance matrices that the method reports.
    covariance : (C, m, m)
        sum_d w_d g_d g_d': J times the covariance of the outputs.
    curvature : (C, m)
        sum_d w_d g_dd / 2: J times the part of the mean that comes from curvature.
    smooth : (C, m)
        Whether all derivatives settled.
    moved : (C,)
        Whether all fits to moved moments converged.
    """

    status: IntArray
    value: FloatArray
    expected: FloatArray
    reported: dict[str, FloatArray]
    covariance: FloatArray
    curvature: FloatArray
    smooth: BoolArray
    moved: BoolArray

    def put(self, where: IntArray, other: Expansion, which: IntArray) -> Expansion:
        """Take derivatives of populations ``where`` from populations ``which`` of another expansion."""

        def merged(name: str) -> Any:
            mine = getattr(self, name).copy()
            mine[where] = getattr(other, name)[which]
            return mine

        return replace(self, **{name: merged(name) for name in ("covariance", "curvature", "smooth", "moved")})


def expand(method: Method, moments: Moments, step: float = STEP) -> Expansion:
    """Fit at the moments, and at +-step and +-step / 2 along every direction.

    Populations where that is not smooth, or where fits fail, get a second try with a tenth of the step: a kink or a
    pole may be near without being there.
    """
    found = _expand(method, moments, step)
    k = len(method.model.reported)
    doubtful = np.flatnonzero((found.status == int(Status.OK)) & ~(found.moved & found.smooth[:, :k].all(axis=1)))
    if len(doubtful):
        again = _expand(method, moments.select(doubtful), step / 10.0)
        were = np.where(found.moved[doubtful], found.smooth[doubtful, :k].sum(axis=1), 0)
        better = again.moved & (again.smooth[:, :k].sum(axis=1) > were)
        found = found.put(doubtful[better], again, np.flatnonzero(better))
    return found


def _expand(method: Method, moments: Moments, step: float) -> Expansion:
    n, part = len(moments), moments.directions.part
    spread, mean = np.flatnonzero(part != MEAN), np.flatnonzero(part == MEAN)
    short = step * MEAN_STEP
    direction = np.concatenate([np.repeat(spread, 4), np.repeat(mean, 2)])
    size = np.concatenate(
        [np.tile([step, -step, step / 2, -step / 2], len(spread)), np.tile([short, -short], len(mean))]
    )
    first = method.fit(join([moments.exact(), moments.expected(method.layout)]))
    base = method.report(first, slice(0, n))
    value, moved = _fit_all(method, moments, direction, size)
    up, down, half_up, half_down = np.moveaxis(value[:, : 4 * len(spread)].reshape(n, len(spread), 4, -1), 2, 0)
    outputs = method.outputs(first)
    value_here, expected = outputs[:n], outputs[n:]
    centre = 2.0 * value_here[:, None]
    wide, narrow = (up - down) / (2.0 * step), (half_up - half_down) / step
    bend, half_bend = up + down - centre, half_up + half_down - centre
    mean_up, mean_down = np.moveaxis(value[:, 4 * len(spread) :].reshape(n, len(mean), 2, -1), 2, 0)
    slope = np.concatenate([(4.0 * narrow - wide) / 3.0, (mean_up - mean_down) / (2.0 * short)], axis=1)  # (C, D, m)
    second = np.concatenate(
        [(16.0 * half_bend - bend) / (3.0 * step**2), (mean_up + mean_down - centre) / short**2], axis=1
    )
    root = np.sqrt(moments.directions.weight[np.concatenate([spread, mean])])[:, None]
    weighted, r = root * slope, root[: len(spread)]
    return Expansion(
        status=base.status.astype(np.int64),
        value=value_here,
        expected=expected,
        reported=base.covariance,
        covariance=np.matmul(weighted.swapaxes(-1, -2), weighted),
        curvature=0.5 * (root**2 * second).sum(axis=1),
        smooth=_smooth(r * wide, r * narrow, r * bend / step, r * half_bend / step, np.abs(weighted).max(axis=1)),
        moved=moved,
    )


def _fit_all(method: Method, moments: Moments, direction: IntArray, size: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Outputs (C, points, m) at moved moments, some at a time; and whether all fits converged (C,)."""
    n, n_points = len(moments), len(direction)
    at_once = max(1, FITS_AT_ONCE // (8 * method.size))
    values, statuses = [], []
    for start in range(0, n * n_points, at_once):
        some = np.arange(start, min(start + at_once, n * n_points))
        at = some % n_points
        found = method.fit(moments.at(some // n_points, direction[at], size[at]))
        values.append(method.outputs(found))
        statuses.append(found.status)
    moved = np.concatenate(statuses).reshape(n, n_points) == int(Status.OK)
    return np.concatenate(values).reshape(n, n_points, -1), np.asarray(moved.all(axis=1))


def _smooth(
    wide: FloatArray, narrow: FloatArray, bend: FloatArray, half_bend: FloatArray, largest: FloatArray
) -> BoolArray:
    """Whether differences (C, D, m) are those of a smooth function, for every output (C, m).

    A kink (a variance at its boundary) shows in second differences f(h) + f(-h) - 2 f(0) that shrink with the step
    instead of its square; divided by the step they are the jump of the slope. ``largest`` (C, m) is the largest
    derivative: what is small beside it does not matter.
    """
    with np.errstate(invalid="ignore"):
        limit = ROUGH * largest[:, None] + 1e-12
        settled = np.abs(narrow - wide) <= limit
        kink = (np.abs(half_bend) > KINK * np.abs(bend)) & (np.abs(half_bend) > limit)
    found: BoolArray = np.asarray((settled & ~kink).all(axis=1) | ~np.isfinite(largest))
    return found
