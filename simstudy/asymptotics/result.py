"""`Asymptotics`: what a method comes to with many clusters, and what follows for J of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from simstudy.arrays import FloatArray
from simstudy.asymptotics import normal
from simstudy.estimators.base import Status


@dataclass(frozen=True)
class SeLaw:
    """How a reported squared SE varies, to the order 1 / J; with V-hat J times it and V its limit.

    Attributes
    ----------
    second_order : (k,)
        J (mean of V-hat - V).
    variance : (k,)
        J times the variance of V-hat.
    """

    second_order: FloatArray
    variance: FloatArray


@dataclass(frozen=True)
class Asymptotics:
    """Limits of one method in one population, as J grows and the shares of cluster sizes stay.

    Variances are those of one cluster: J times the variance with J clusters. So every number of clusters with the same
    shares of sizes comes free (the methods below take ``n_clusters``). Missing numbers are NaN, and ``notes`` say why.
    k reported parameters: free ones, then ``:=``.

    Attributes
    ----------
    labels, levels : tuple of str, length k
        ``model.reported``, ``model.reported_levels``.
    truth : (k,)
        Population values; NaN for parameters that the generating model does not have.
    limit : (k,)
        Pseudo-true values: what the estimates converge to.
    covariance : (k, k)
        J times the true covariance of the estimates (delta method over the moments, THEORY B8, B10).
    second_order : (k,)
        J times (mean of the estimates - limit), to second order: half the trace of curvature times covariance of the
        moments, and finite divisors.
    reported : dict of str to (k, k)
        J times the covariance matrix that the method itself reports, in the limit, by SE kind.
    laws : dict of str to SeLaw
        How these vary; kinds that look at every cluster (robust) have none.
    n_clusters : int
        J of the population asked about.
    status : Status
        Of the fit to the population's moments.
    notes : tuple of str
        Why numbers are missing, or doubtful.
    """

    labels: tuple[str, ...]
    levels: tuple[str, ...]
    truth: FloatArray
    limit: FloatArray
    covariance: FloatArray
    second_order: FloatArray
    reported: Mapping[str, FloatArray]
    laws: Mapping[str, SeLaw]
    n_clusters: int
    status: Status = Status.OK
    notes: tuple[str, ...] = field(default=())

    def index(self, label: str) -> int:
        """Position of a parameter."""
        return self.labels.index(label)

    @property
    def kinds(self) -> tuple[str, ...]:
        """SE kinds, the method's first one first."""
        return tuple(self.reported)

    @property
    def bias(self) -> FloatArray:
        """Asymptotic bias (k,): limit - truth."""
        return self.limit - self.truth

    def mean(self, n_clusters: int | None = None) -> FloatArray:
        """Mean of the estimates (k,) with J clusters, to second order; the error is of order 1 / J^2."""
        return self.limit + self.second_order / self._j(n_clusters)

    def se(self, n_clusters: int | None = None) -> FloatArray:
        """True asymptotic standard errors (k,) with J clusters."""
        return _root(self.covariance, self._j(n_clusters))

    def reported_se(self, kind: str | None = None, n_clusters: int | None = None) -> FloatArray:
        """Standard errors (k,) that the method reports with J clusters; its first kind by default."""
        return _root(self.reported[kind or self.kinds[0]], self._j(n_clusters))

    def mean_se(self, kind: str | None = None, n_clusters: int | None = None) -> tuple[FloatArray, FloatArray]:
        """sqrt(mean SE^2) and mean SE (k,) with J clusters, to second order; NaN where they are not known."""
        kind, j = kind or self.kinds[0], self._j(n_clusters)
        if kind not in self.laws:
            blank = np.full(len(self.labels), np.nan)
            return blank, blank
        law, v = self.laws[kind], np.diagonal(self.reported[kind])
        with np.errstate(all="ignore"):
            root = np.sqrt((v + law.second_order / j) / j)
            return root, root * (1.0 - law.variance / (8.0 * v**2 * j))

    def se_ratio(self, kind: str | None = None) -> FloatArray:
        """Reported over true standard error (k,), whatever J."""
        with np.errstate(all="ignore"):
            return self.reported_se(kind, 1) / self.se(1)

    def coverage(self, level: float, kind: str | None = None, n_clusters: int | None = None) -> FloatArray:
        """P(the Wald interval holds the truth) (k,) with J clusters, bias included."""
        j = n_clusters
        return normal.coverage(self.limit, self.se(j), self.reported_se(kind, j), self.truth, level)

    def rejection(self, level: float, kind: str | None = None, n_clusters: int | None = None) -> FloatArray:
        """P(the Wald interval excludes 0) (k,) with J clusters: power, or type I error where the truth is 0."""
        return normal.rejection(self.limit, self.se(n_clusters), self.reported_se(kind, n_clusters), level)

    def width(self, level: float, kind: str | None = None, n_clusters: int | None = None) -> FloatArray:
        """Width (k,) of the Wald interval with J clusters."""
        return normal.width(self.reported_se(kind, n_clusters), level)

    def _j(self, n_clusters: int | None) -> int:
        return self.n_clusters if n_clusters is None else n_clusters


def _root(covariance: FloatArray, n_clusters: int) -> FloatArray:
    """Standard deviations (k,) with J clusters; NaN where the variance is not known."""
    with np.errstate(invalid="ignore"):
        result: FloatArray = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1) / n_clusters)
    return result
