"""A method as a function of the moments: value, first and second derivatives, by its own fit on moved moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simstudy.arrays import BoolArray, FloatArray, IntArray
from simstudy.asymptotics.moments import Moments, Points
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimators.base import FitResult, PreparedEstimator, Status
from simstudy.estimators.inference import with_defined
from simstudy.model.twolevel import TwoLevelModel

STEP = 1e-3
"""In standard deviations of one cluster's moments. Derivatives come from central differences at STEP and STEP / 2, the
leading error taken out (Richardson): truncation (STEP / reliability)^4, rounding 1e-12 / STEP."""
FITS_AT_ONCE = 20_000_000
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
    feed : callable
        Moments -> data with exactly these moments.
    size : int
        Numbers in one data set.
    """

    prepared: PreparedEstimator
    model: TwoLevelModel
    feed: Feed
    size: int

    def fit(self, points: Points) -> FitResult:
        """Fit R data sets with these moments; ``:=`` parameters are appended."""
        with np.errstate(all="ignore"):
            return with_defined(self.prepared.fit(self.feed(points)), self.model.estimands)


@dataclass(frozen=True)
class Expansion:
    """What a method does near the moments of C populations (k reported parameters, D directions).

    Attributes
    ----------
    status : (C,)
        Of the fit to the moments themselves.
    value : (C, k)
    covariance : (C, k, k)
        sum_d w_d g_d g_d': J times the covariance of the estimates.
    curvature : (C, k)
        sum_d w_d g_dd / 2: J times the part of the mean that comes from curvature.
    smooth : (C, k)
        Whether all derivatives settled.
    moved : (C,)
        Whether all fits to moved moments converged.
    """

    status: IntArray
    value: FloatArray
    covariance: FloatArray
    curvature: FloatArray
    smooth: BoolArray
    moved: BoolArray


def expand(method: Method, moments: Moments, step: float = STEP) -> Expansion:
    """Fit at the moments, and at +-step and +-step / 2 along every direction."""
    n_directions = len(moments.directions)
    steps = np.array([step, -step, step / 2, -step / 2])
    n_points = 1 + 4 * n_directions
    direction = np.append(0, np.repeat(np.arange(n_directions), 4))
    size = np.append(0.0, np.tile(steps, n_directions))
    values, statuses = [], []
    at_once = max(n_points, FITS_AT_ONCE // (8 * method.size))
    flat = np.arange(len(moments) * n_points)
    for first in range(0, len(flat), at_once):
        some = flat[first : first + at_once]
        at = some % n_points
        found = method.fit(moments.at(some // n_points, direction[at], size[at]))
        values.append(found.estimate)
        statuses.append(found.status)
    value = np.concatenate(values).reshape(len(moments), n_points, -1)
    status = np.concatenate(statuses).reshape(len(moments), n_points)
    centre = value[:, 0]
    moved = value[:, 1:].reshape(len(moments), n_directions, 4, -1)
    up, down, half_up, half_down = (moved[:, :, k] for k in range(4))
    wide, narrow = (up - down) / (2.0 * step), (half_up - half_down) / step
    slope = (4.0 * narrow - wide) / 3.0  # (C, D, k)
    bend, half_bend = up + down - 2.0 * centre[:, None], half_up + half_down - 2.0 * centre[:, None]
    second = (16.0 * half_bend - bend) / (3.0 * step**2)
    root = np.sqrt(moments.directions.weight)[:, None]
    weighted = root * slope
    return Expansion(
        status=status[:, 0],
        value=centre,
        covariance=np.matmul(weighted.swapaxes(-1, -2), weighted),
        curvature=0.5 * (root**2 * second).sum(axis=1),
        smooth=_smooth(root * wide, root * narrow, root * bend / step, root * half_bend / step),
        moved=(status[:, 1:] == int(Status.OK)).all(axis=1),
    )


def _smooth(wide: FloatArray, narrow: FloatArray, bend: FloatArray, half_bend: FloatArray) -> BoolArray:
    """Whether differences (C, D, k) are those of a smooth function, for every parameter (C, k).

    A kink (a variance at its boundary) shows in second differences f(h) + f(-h) - 2 f(0) that shrink with the step
    instead of its square; divided by the step they are the jump of the slope.
    """
    with np.errstate(invalid="ignore"):
        scale = np.sqrt((narrow**2).sum(axis=1, keepdims=True))
        settled = np.abs(narrow - wide) <= ROUGH * scale + 1e-12
        kink = (np.abs(half_bend) > KINK * np.abs(bend)) & (np.abs(half_bend) > ROUGH * scale)
    found: BoolArray = np.asarray((settled & ~kink | ~np.isfinite(scale)).all(axis=1))
    return found
