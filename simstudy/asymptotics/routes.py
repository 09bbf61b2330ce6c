"""Routes to the limit of a method, by what it must be given: sums, clusters, or rows.

- Methods on sums get a layout of ten million clusters (`ManyClusters`); its seventh digit is extrapolated away. One
  that asks for every cluster's size gets finite layouts, and the same extrapolation.
- Methods that need clusters or rows get a finite set of them with exact moments (`ExactClusters`). Where such a method
  has a variant on sums (without robust standard errors), that gives estimates and derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simstudy.asymptotics.clusters import MAX_DIMENSION, ExactClusters
from simstudy.asymptotics.expand import STEP, Method, expand
from simstudy.asymptotics.layouts import MANY, EveryClusterError, ManyClusters, grown, shares
from simstudy.asymptotics.moments import Moments
from simstudy.asymptotics.result import SeLaw
from simstudy.data.layout import ClusterLayout
from simstudy.estimation.result import FitResult, Status
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray
from simstudy.methods import ask
from simstudy.methods.protocol import Estimator
from simstudy.methods.wall import MethodError, describe, fit_walled, fitter
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.streams import FitStreams

SEVERAL = 20_000
"""Clusters written out for a method that asks for each one's size."""
FEW = 2_000
"""Clusters, at least, of methods that need them: extrapolation leaves an error of order 1 / FEW^2."""
FEW_WITH_ROWS = 200
"""The same for methods that need rows, whose fits are slow."""
ROBUST = ("robust", "sandwich", "cluster")
"""SE kinds that look at every cluster: their limit depends on fourth moments."""
MOST = 4_000_000
"""Cells of clusters by variables that are written out."""
COARSE_STEP = 0.003
"""Step where fits are made to finite layouts, whose tolerance is a share of a standard error."""
SAME = 1e-6
"""Estimates of different clusters with the same sums differ by less, relatively, if they depend on sums alone."""


@dataclass(frozen=True)
class Core:
    """What does not depend on J, for C populations.

    Attributes
    ----------
    status : (C,)
    limit, second_order : (C, k)
    covariance : (C, k, k)
    reported : dict of str to (C, k, k)
    laws : dict of str to SeLaw of (C, k)
    smooth : (C, k)
    moved : (C,)
    notes : tuple of str
        About all of them.
    """

    status: IntArray
    limit: FloatArray
    second_order: FloatArray
    covariance: FloatArray
    reported: dict[str, FloatArray]
    laws: dict[str, SeLaw]
    smooth: BoolArray
    moved: BoolArray
    notes: tuple[str, ...] = ()


class _Ready:
    """A method made ready for a layout, behind the wall.

    One that draws random numbers draws the same ones at all moments: differences between them are then derivatives.
    """

    def __init__(self, method: Estimator, model: TwoLevelModel, layout: ClusterLayout) -> None:
        self.method, self.model = method, model
        with _told_apart():
            self.own = fitter(method, ask.prepare(method, model, layout))

    def fit(self, data: Any) -> FitResult:
        """Fit R data sets."""
        streams = FitStreams.of(0, self.method.name, "theory", [0] * data.n_replicates)
        with _told_apart():
            return fit_walled(self.method, self.model, self.own, data, streams)[0]


@contextmanager
def _told_apart() -> Iterator[None]:
    """Let through what a layout of very many clusters tells a method that asks for each one."""
    try:
        yield
    except MethodError as error:
        raise (error.own if isinstance(error.own, EveryClusterError) else error) from None


def find_core(estimator: Estimator, model: TwoLevelModel, moments: Moments) -> Core:
    """Limits of a method in C populations; an error in it becomes a status and a note."""
    try:
        return _core(estimator, model, moments)
    except Exception as error:  # a method's, or of numbers that no method should return
        n, k = len(moments), len(model.reported)
        return Core(
            status=np.full(n, int(Status.EXCEPTION), dtype=np.int64),
            limit=np.full((n, k), np.nan),
            second_order=np.full((n, k), np.nan),
            covariance=np.full((n, k, k), np.nan),
            reported={},
            laws={},
            smooth=np.zeros((n, k), dtype=bool),
            moved=np.zeros(n, dtype=bool),
            notes=(f"the method stopped with an error: {describe(error)}",),
        )


def _core(estimator: Estimator, model: TwoLevelModel, moments: Moments) -> Core:
    plain = ask.on_sums(estimator)
    if plain is None:
        return _core_of_clusters(estimator, model, moments)
    core = _core_of_sums(plain, model, moments)
    missing = [kind for kind in estimator.se_kinds if kind not in core.reported]
    if missing:
        more, note = _reported_of_clusters(estimator, model, moments, core)
        found = core.reported | more
        core = replace(
            core,
            reported={kind: found[kind] for kind in estimator.se_kinds},
            notes=core.notes + ((note,) if note else ()),
        )
    return replace(core, reported={kind: core.reported[kind] for kind in estimator.se_kinds})


# ---------------------------------------------------------------------------------------------------- methods on sums


def _core_of_sums(estimator: Estimator, model: TwoLevelModel, moments: Moments) -> Core:
    """Limits of a method that needs sums alone."""
    shape = moments.layout
    try:
        layouts: list[ClusterLayout] = [ManyClusters.grown(shape, MANY), ManyClusters.grown(shape, 2 * MANY)]
        return _extrapolated(lambda layout: _sums(estimator, model, layout), layouts, moments, STEP, exact=True)
    except EveryClusterError:
        layouts = [grown(shape, SEVERAL), grown(shape, 2 * SEVERAL)]
        return _extrapolated(lambda layout: _sums(estimator, model, layout), layouts, moments, STEP, exact=False)


def _sums(estimator: Estimator, model: TwoLevelModel, layout: ClusterLayout) -> Method:
    p = len(model.variables)
    size = len(layout.distinct) * (p * p + p) + p * p + len(model.names) ** 2
    return Method(_Ready(estimator, model, layout), model, layout, lambda points: points.statistics(layout), size)


def _extrapolated(
    make: Callable[[ClusterLayout], Method],
    layouts: list[ClusterLayout],
    moments: Moments,
    step: float,
    *,
    exact: bool,
) -> Core:
    """From layouts of J and 2 J clusters to infinitely many: 2 f(2 J) - f(J).

    Parameters
    ----------
    exact : bool
        J is so large that only the limit itself needs the extrapolation.
    """
    first, second = (make(layout) for layout in layouts)
    j = [layout.n_clusters for layout in layouts]
    here = expand(first, moments, step)
    if exact:
        again = second.fit(moments.exact())
        limit = _towards(j, here.value, second.outputs(again))
        there, status = here, again.status
    else:
        there = expand(second, moments, step)
        limit, status = _towards(j, here.value, there.value), there.status
    # what finite divisors do: J (g_J(E T_J) - limit)
    shift = [count * (found.expected - limit) for count, found in zip(j, (here, there), strict=True)]
    reported = [
        {kind: count * cov for kind, cov in found.reported.items()}
        for count, found in zip(j, (here, there), strict=True)
    ]
    if exact:
        shift[1], reported[1] = shift[0], reported[0]
    mean = _towards(j, *shift) + _towards(j, here.curvature, there.curvature)
    covariance = _towards(j, here.covariance, there.covariance)
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    smooth, k = here.smooth & there.smooth, len(first.model.reported)
    laws = {
        kind: SeLaw(_known(mean, smooth, (i + 1) * k, k), _known(variance, smooth, (i + 1) * k, k))
        for i, kind in enumerate(reported[0])
        if kind not in ROBUST
    }
    return Core(
        status=np.where(here.status == int(Status.OK), status, here.status).astype(np.int64),
        limit=limit[:, :k],
        second_order=mean[:, :k],
        covariance=covariance[:, :k, :k],
        reported={kind: _towards(j, cov, reported[1][kind]) for kind, cov in reported[0].items()},
        laws=laws,
        smooth=smooth[:, :k],
        moved=here.moved & there.moved,
    )


def _known(values: FloatArray, smooth: BoolArray, first: int, k: int) -> FloatArray:
    """Outputs first, ..., first + k - 1 (C, k); NaN where derivatives did not settle."""
    return np.where(smooth[:, first : first + k], values[:, first : first + k], np.nan)


def _towards(j: list[int], first: FloatArray, second: FloatArray) -> FloatArray:
    """Linear extrapolation in 1 / J to 0, from values at two J."""
    return (j[1] * second - j[0] * first) / (j[1] - j[0])


# -------------------------------------------------------------------------------------- methods on clusters and on rows


def _clusters(estimator: Estimator, model: TwoLevelModel, exact: ExactClusters) -> Method:
    prepared = _Ready(estimator, model, exact.layout)
    if estimator.needs == "sample":
        return Method(prepared, model, exact.layout, exact.sample, 2 * exact.p * exact.layout.n_obs)
    return Method(prepared, model, exact.layout, exact.statistics, 3 * exact.p**2 * exact.layout.n_clusters)


def _exact_clusters(estimator: Estimator, moments: Moments, at_least: int, rotation: int = 0) -> ExactClusters:
    p1, p = moments.within.shape[-1], moments.mu.shape[-1]
    return ExactClusters(moments.layout, p1, p, at_least, rotation, rows=estimator.needs == "sample")


def _too_many(estimator: Estimator, moments: Moments) -> str:
    """Why no exact clusters can be made, or empty."""
    p1, p = moments.within.shape[-1], moments.mu.shape[-1]
    _, counts = shares(moments.layout)
    most = p1 * max(p1 - 1, 1) if estimator.needs == "sample" else p1
    if p + most > MAX_DIMENSION:
        return "too many variables for clusters with exact fourth moments"
    exact = _exact_clusters(estimator, moments, 0)
    needed = len(exact.points) * sum(counts) * p
    if needed > MOST:
        return f"clusters with exact fourth moments would be {needed // p:,}: cluster sizes have no simple shares"
    return ""


def _reported_of_clusters(
    estimator: Estimator, model: TwoLevelModel, moments: Moments, core: Core
) -> tuple[dict[str, FloatArray], str]:
    """Limits of the SEs of a method on clusters, and a note if there are none."""
    k = len(model.reported)
    blank = {kind: np.full((len(moments), k, k), np.nan) for kind in estimator.se_kinds if kind not in core.reported}
    why = _too_many(estimator, moments)
    if why:
        return blank, why
    first = _exact_clusters(estimator, moments, FEW)
    both = [first, _exact_clusters(estimator, moments, 2 * first.layout.n_clusters)]
    methods = [_clusters(estimator, model, exact) for exact in both]
    fits = [method.report(method.fit(moments.exact())) for method in methods]
    j = [exact.layout.n_clusters for exact in both]
    gap = np.abs(_towards(j, fits[0].estimate, fits[1].estimate) - core.limit) / (1.0 + np.abs(core.limit))
    if np.nanmax(gap, initial=0.0) > SAME:
        return blank, "estimates depend on more than the sufficient statistics: no limit for robust standard errors"
    return {
        kind: _towards(j, *(n * fit.covariance[kind] for n, fit in zip(j, fits, strict=True))) for kind in blank
    }, ""


def _core_of_clusters(estimator: Estimator, model: TwoLevelModel, moments: Moments) -> Core:
    """Limits of a method that must be given clusters or rows."""
    why = _too_many(estimator, moments)
    if why:
        raise EveryClusterError(why)
    few = FEW_WITH_ROWS if estimator.needs == "sample" else FEW
    first = _exact_clusters(estimator, moments, few)
    sets = {exact.layout: exact for exact in (first, _exact_clusters(estimator, moments, 2 * first.layout.n_clusters))}
    core = _extrapolated(
        lambda layout: _clusters(estimator, model, sets[layout]), list(sets), moments, COARSE_STEP, exact=False
    )
    other = (
        _clusters(estimator, model, _exact_clusters(estimator, moments, few, rotation=1)).fit(moments.exact()).estimate
    )
    here = _clusters(estimator, model, first).fit(moments.exact()).estimate
    if np.nanmax(np.abs(other - here) / (1.0 + np.abs(here)), initial=0.0) > SAME:
        raise EveryClusterError("its estimates depend on more than the sufficient statistics")
    return core
