"""What every method takes and returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray
from simstudy.model.twolevel import TwoLevelModel

Needs = Literal["statistics", "clusters", "sample"]
NEEDS: tuple[Needs, ...] = ("statistics", "clusters", "sample")


LATER: Mapping[str, bool] = {"later": True}
"""Metadata of an option (a dataclass field) that a method got after studies may have been run with it.

At its default the method must do what it did without the option; then it is no part of what identifies stored
estimates, and a folder begun before can be resumed. Its default must never change.
"""


class Status(IntEnum):
    """What became of a fit. Converged, admissible and SE-available are separate facts."""

    OK = 0
    MAX_ITER = 1
    SINGULAR_INFORMATION = 2
    NON_PD = 3
    NONFINITE = 4
    EXCEPTION = 5
    NOT_SUPPORTED = 6

    @property
    def message(self) -> str:
        """What the user reads."""
        return _MESSAGES[self]


_MESSAGES = {
    Status.OK: "converged",
    Status.MAX_ITER: "no convergence within the allowed iterations",
    Status.SINGULAR_INFORMATION: "the information matrix is singular: the parameters are not identified by these data",
    Status.NON_PD: (
        "no maximum: a covariance matrix to be analysed is not positive definite, the likelihood rises towards a "
        "singular one, or no start was feasible"
    ),
    Status.NONFINITE: "the computation met a number that is not finite",
    Status.EXCEPTION: "the method stopped with an error",
    Status.NOT_SUPPORTED: "the method cannot fit this model",
}


@dataclass(frozen=True)
class FitResult:
    """Estimates of R data sets.

    Attributes
    ----------
    labels : tuple of str, length q
        Parameters reported: ``model.names`` (after `inference.with_defined`: ``model.reported``). A parameter that the
        method does not speak about is NaN.
    estimate : (R, q)
    covariance : dict of str to (R, q, q)
        Covariance matrix of the estimates by SE kind, most usual kind first; NaN rows where not available.
    status : (R,) of int
        `Status` values.
    admissible : (R,) of bool
        No negative variance and Sigma_between positive semidefinite, as far as the method estimates them.
    n_iter : (R,) of int
    loglik : (R,)
        Maximised log-likelihood, NaN where the method has none.
    se : dict of str to (R, q)
        Standard errors by kind; filled from ``covariance`` when not given.
    intervals : dict of str to (lower (R, q), upper (R, q))
        Intervals that are not estimate +- z se.
    measures : dict of str to (R,)
        Fit measures (chi-square, CFI, ...), where the method has any and was asked for them.
    """

    labels: tuple[str, ...]
    estimate: FloatArray
    covariance: dict[str, FloatArray]
    status: IntArray
    admissible: BoolArray
    n_iter: IntArray
    loglik: FloatArray
    se: dict[str, FloatArray] = field(default_factory=dict)
    intervals: dict[str, tuple[FloatArray, FloatArray]] = field(default_factory=dict)
    measures: dict[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.se:
            with np.errstate(invalid="ignore"):
                found = {kind: np.sqrt(np.diagonal(cov, axis1=-2, axis2=-1)) for kind, cov in self.covariance.items()}
            object.__setattr__(self, "se", found)

    @property
    def n_replicates(self) -> int:
        """Number of data sets, R."""
        return int(self.estimate.shape[0])

    @property
    def converged(self) -> BoolArray:
        """Which fits converged (R,)."""
        return np.asarray(self.status == Status.OK)

    def blank_failures(self) -> FitResult:
        """Put NaN in every number of a fit that failed."""
        bad = ~self.converged
        if not bad.any():
            return self
        return replace(
            self,
            estimate=np.where(bad[:, None], np.nan, self.estimate),
            covariance={k: np.where(bad[:, None, None], np.nan, v) for k, v in self.covariance.items()},
            se={k: np.where(bad[:, None], np.nan, v) for k, v in self.se.items()},
            intervals={
                k: (np.where(bad[:, None], np.nan, a), np.where(bad[:, None], np.nan, b))
                for k, (a, b) in self.intervals.items()
            },
            admissible=self.admissible & ~bad,
            loglik=np.where(bad, np.nan, self.loglik),
            measures={k: np.where(bad, np.nan, v) for k, v in self.measures.items()},
        )


def stack_results(results: Sequence[FitResult]) -> FitResult:
    """Join results of the same method, one after another; fit measures that one lacks are NaN there."""
    first = results[0]

    def join(parts: list[FloatArray]) -> FloatArray:
        return np.concatenate(parts, axis=0)

    return FitResult(
        labels=first.labels,
        estimate=join([r.estimate for r in results]),
        covariance={kind: join([r.covariance[kind] for r in results]) for kind in first.covariance},
        status=np.concatenate([r.status for r in results]),
        admissible=np.concatenate([r.admissible for r in results]),
        n_iter=np.concatenate([r.n_iter for r in results]),
        loglik=join([r.loglik for r in results]),
        se={kind: join([r.se[kind] for r in results]) for kind in first.se},
        intervals={
            kind: (join([r.intervals[kind][0] for r in results]), join([r.intervals[kind][1] for r in results]))
            for kind in first.intervals
        },
        measures={
            name: join([r.measures.get(name, np.full(r.n_replicates, np.nan)) for r in results])
            for name in dict.fromkeys(name for r in results for name in r.measures)
        },
    )


def failed(labels: tuple[str, ...], kinds: tuple[str, ...], n: int, status: Status) -> FitResult:
    """Result of ``n`` data sets none of which could be fitted."""
    q = len(labels)
    return FitResult(
        labels=labels,
        estimate=np.full((n, q), np.nan),
        covariance={kind: np.full((n, q, q), np.nan) for kind in kinds},
        status=np.full(n, int(status), dtype=np.int64),
        admissible=np.zeros(n, dtype=bool),
        n_iter=np.zeros(n, dtype=np.int64),
        loglik=np.full(n, np.nan),
    )


@runtime_checkable
class PreparedEstimator(Protocol):
    """A method made ready for one model and layout: index maps, constants and starts are computed once."""

    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets; never raises for a numerical reason.

        ``data`` is a `Sample` for methods that need the sample, otherwise statistics (cluster-wise where asked for).
        """
        ...


@runtime_checkable
class Estimator(Protocol):
    """A method. Options are the fields of a frozen dataclass.

    Attributes
    ----------
    name, title, reference : str
        Name in the registry, what it is, and who proposed it (author, year).
    levels : tuple of str
        Levels whose parameters it speaks about.
    can, cannot : str
        What it can and cannot do, in a sentence each.
    needs : str
        ``statistics``, ``clusters`` (statistics with cluster-wise means and scatter) or ``sample`` (raw rows).
    se_kinds : tuple of str
        Kinds of SE it returns, first the one used for Monte Carlo intervals.

    A method that imposes ``==`` constraints says so with ``imposes_constraints = True``; `simstudy.fit` declines them
    for others.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    levels: ClassVar[tuple[str, ...]]
    can: ClassVar[str]
    cannot: ClassVar[str]

    @property
    def needs(self) -> Needs:
        """The least that the method must be given."""
        ...

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """SE kinds of its results."""
        ...

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """None, or the reason why the method cannot be used here."""
        ...

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedEstimator:
        """Make ready for a model and layout."""
        ...
