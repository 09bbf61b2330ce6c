"""What a fit comes to: `Status`, `FitResult`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import numpy as np

from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray


class Status(IntEnum):
    """What became of a fit. Converged, admissible and SE-available are separate facts."""

    OK = 0
    MAX_ITER = 1
    SINGULAR_INFORMATION = 2
    NON_PD = 3
    NONFINITE = 4
    EXCEPTION = 5
    NOT_SUPPORTED = 6
    TIMEOUT = 7

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
    Status.TIMEOUT: "the fit took longer than the time limit",
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
        Intervals that are not estimate +- z se: under the name of a kind of SE, in place of that kind's; otherwise a
        kind of their own (see `Estimator`).
    measures : dict of str to (R,)
        Fit measures (chi-square, CFI, ...) and diagnostics (iterations, R-hat, ...) of any name, where the method has
        any and was asked for them.
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

    def map(self, function: Callable[[Any], Any]) -> FitResult:
        """Apply a function to every array; their leading axis is that of the replicates.

        ``labels`` stay. `select` and `concat` are made of it, so that a new field is named once, here.
        """
        return replace(
            self,
            estimate=function(self.estimate),
            covariance={kind: function(cov) for kind, cov in self.covariance.items()},
            status=function(self.status),
            admissible=function(self.admissible),
            n_iter=function(self.n_iter),
            loglik=function(self.loglik),
            se={kind: function(se) for kind, se in self.se.items()},
            intervals={kind: (function(low), function(high)) for kind, (low, high) in self.intervals.items()},
            measures={name: function(values) for name, values in self.measures.items()},
        )

    def select(self, rows: IntArray | BoolArray | slice) -> FitResult:
        """Some of the data sets, by index, mask or slice."""
        return self.map(lambda array: array[rows])

    @staticmethod
    def concat(results: Sequence[FitResult]) -> FitResult:
        """Join results of one method, one after another; intervals and fit measures that one lacks are NaN there."""
        names = dict.fromkeys(name for result in results for name in result.measures)
        widths = {kind: low.shape[1] for result in results for kind, (low, _) in result.intervals.items()}
        parts = []
        for result in results:
            nothing = np.full(result.n_replicates, np.nan)
            limits = {kind: np.full((result.n_replicates, width), np.nan) for kind, width in widths.items()}
            parts.append(
                replace(
                    result,
                    measures={name: result.measures.get(name, nothing) for name in names},
                    intervals={kind: result.intervals.get(kind, (limits[kind], limits[kind])) for kind in widths},
                )
            )
        arrays: list[list[Any]] = [[] for _ in parts]
        for found, part in zip(arrays, parts, strict=True):
            part.map(found.append)
        joined = iter([np.concatenate(same, axis=0) for same in zip(*arrays, strict=True)])
        return parts[0].map(lambda _: next(joined))

    def map_parameters(
        self,
        labels: tuple[str, ...],
        columns: Callable[[FloatArray], FloatArray],
        matrix: Callable[[FloatArray], FloatArray],
    ) -> FitResult:
        """The result over other parameters.

        ``columns`` takes (R, q) to (R, q'), ``matrix`` takes (R, q, q) to (R, q', q').
        """
        return replace(
            self,
            labels=labels,
            estimate=columns(self.estimate),
            covariance={kind: matrix(cov) for kind, cov in self.covariance.items()},
            se={kind: columns(se) for kind, se in self.se.items()},
            intervals={kind: (columns(low), columns(high)) for kind, (low, high) in self.intervals.items()},
        )

    def blank_failures(self) -> FitResult:
        """Put NaN in every number of a fit that failed."""
        bad = ~self.converged
        return self.blank(bad) if bad.any() else self

    def blank(self, bad: BoolArray) -> FitResult:
        """Put NaN in every number of some fits (R,), and call them inadmissible."""

        def blank(array: Any) -> Any:
            if not np.issubdtype(array.dtype, np.floating):
                return array
            return np.where(bad.reshape(-1, *[1] * (array.ndim - 1)), np.nan, array)

        return replace(self.map(blank), admissible=self.admissible & ~bad)


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
