"""`Asymptotics`: what a method comes to with many clusters, and what follows for J of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from simstudy.estimation.result import Status
from simstudy.linalg import wald_intervals as normal
from simstudy.linalg.stacked import FloatArray
from simstudy.methods.protocol import Estimator
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population

STEP = 0.01
"""Step of numerical derivatives, in Monte Carlo errors."""


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
class SampleErrors:
    """Monte Carlo errors of numbers that were found from large samples.

    Attributes
    ----------
    n_samples, n_failed : int
        Samples drawn, and those without estimates.
    n_clusters : int
        Clusters of a sample.
    limit : bool
        Whether the limit is from the samples; otherwise it is exact. The true covariance always is.
    kinds : tuple of str
        SE kinds whose reported covariance is from the samples.
    joint : dict of str to (k, 3, 3)
        By SE kind: Monte Carlo covariance of a parameter's limit, true variance and reported variance (both times J);
        0 for what is exact.
    """

    n_samples: int
    n_failed: int
    n_clusters: int
    limit: bool
    kinds: tuple[str, ...]
    joint: Mapping[str, FloatArray]


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
        J times the true covariance of the estimates (delta method over the moments, theory B8, B10).
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
    errors : SampleErrors or None
        Monte Carlo errors, where numbers are from large samples.
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
    errors: SampleErrors | None = None

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

    def mcse(self, measure: Callable[[Asymptotics], FloatArray], kind: str | None = None) -> FloatArray:
        """Monte Carlo error (k,) of a measure of each parameter by its limit, true and reported SE; 0 if all are exact.

        ``measure`` is a function of an `Asymptotics`, such as ``lambda a: a.coverage(0.95)``; it may return several
        measures (..., k). By the delta method.
        """
        kind = kind or self.kinds[0]
        if self.errors is None or kind not in self.errors.joint:
            return np.zeros_like(self.limit)
        joint = np.nan_to_num(self.errors.joint[kind])
        gradient = np.zeros((*measure(self).shape, 3))
        for part in range(3):
            step = STEP * np.sqrt(joint[:, part, part])
            with np.errstate(all="ignore"):
                change = measure(self._moved(kind, part, step)) - measure(self._moved(kind, part, -step))
                gradient[..., part] = np.where(step > 0.0, change / (2.0 * step), 0.0)
        variance = np.einsum("...ka,kab,...kb->...k", gradient, joint, gradient)
        result: FloatArray = np.sqrt(np.maximum(variance, 0.0))
        return result

    def _moved(self, kind: str, part: int, step: FloatArray) -> Asymptotics:
        """With another limit (part 0), other true variances (1) or other reported ones (2)."""
        if part == 0:
            return replace(self, limit=self.limit + step)
        if part == 1:
            return replace(self, covariance=self.covariance + np.diag(step))
        return replace(self, reported={**self.reported, kind: self.reported[kind] + np.diag(step)})

    def _j(self, n_clusters: int | None) -> int:
        return self.n_clusters if n_clusters is None else n_clusters


def _root(covariance: FloatArray, n_clusters: int) -> FloatArray:
    """Standard deviations (k,) with J clusters; NaN where the variance is not known."""
    with np.errstate(invalid="ignore"):
        result: FloatArray = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1) / n_clusters)
    return result


def nothing(
    estimator: Estimator, model: TwoLevelModel, population: Population, status: Status, reason: str
) -> Asymptotics:
    """Truths, and NaN for everything else."""
    k = len(model.reported)
    blank = np.full(k, np.nan)
    return Asymptotics(
        labels=model.reported,
        levels=model.reported_levels,
        truth=population.truth(model),
        limit=blank,
        covariance=np.full((k, k), np.nan),
        second_order=blank,
        reported={kind: np.full((k, k), np.nan) for kind in estimator.se_kinds},
        laws={},
        n_clusters=population.layout.n_clusters,
        status=status,
        notes=(reason,),
    )


def without_rounding(covariance: FloatArray, limit: FloatArray) -> FloatArray:
    """Variances that are rounding errors of a constant are 0."""
    with np.errstate(invalid="ignore"):
        constant = np.diagonal(covariance) < 1e-18 * (1.0 + limit**2)
    if not constant.any():
        return covariance
    return np.where(constant[:, None] | constant, np.where(np.isnan(covariance), np.nan, 0.0), covariance)
