"""A measure as a curve in the sample size, fitted to simulations at a few sizes.

On the scale of the measure's link (probit for rates), the curve is the analytic one plus a line in the measure's
basis: eta(x) = offset(x) + b0 + b1 u(x), with u standardised to be 0 at the centre and 1 at 1.2 times it. Where the
analytic curve has the exact limit (bias and coverage, as the number of clusters grows) the line is b centre/x: what
is left fades away, and the curve stays anchored at the limit. The offset
has most of the shape, so that two parameters are enough around the answer: rates are fitted by maximum likelihood
(binomial, iteratively reweighted least squares), means by weighted least squares. A weak normal prior on b0 and b1
(SD 4 and 1) keeps rates of 0 and 1 finite; it is worth less than one replicate. With one size, b1 is 0.

If the points lie further from the curve than chance allows (p < .01), its covariance is inflated by chi-square / df.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, ndtr

from simstudy.linalg.stacked import FloatArray, inverse_spd
from simstudy.linalg.tails import normal_density
from simstudy.planning.criterion import Criterion, basis, inverse_link, link

STEP = 1.2
"""Ratio of neighbouring sizes at which a curve is simulated."""
PRIOR = (4.0, 1.0)
MISFIT = 0.01
NEGLIGIBLE = 1e-8
ITERATIONS = 50

Offset = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Observed:
    """What replicates at one size came to.

    Attributes
    ----------
    size : int
        Number of clusters, or cluster size: what is searched.
    value, mcse : float
    n : int
        Replicates that entered.
    attempted, converged : int
    """

    size: int
    value: float
    mcse: float
    n: int
    attempted: int
    converged: int


@dataclass(frozen=True)
class Curve:
    """A fitted curve.

    Attributes
    ----------
    criterion : Criterion
    offset : callable
        Analytic curve on the scale of the link.
    anchored : bool
        Whether the line fades away with 1/x.
    centre : float
        Size where u is 0.
    beta : (2,) or (1,)
    covariance : (2, 2) or (1, 1)
    misfit : float
        Factor by which the covariance is inflated; 1 if the points are on the curve.
    """

    criterion: Criterion
    offset: Offset
    anchored: bool
    centre: float
    beta: FloatArray
    covariance: FloatArray
    misfit: float = 1.0

    def eta(self, size: FloatArray) -> FloatArray:
        """Transformed measure at sizes (S,)."""
        return np.asarray(self.offset(size) + self._design(size) @ self.beta)

    def se(self, size: FloatArray) -> FloatArray:
        """Its standard error."""
        x = self._design(size)
        return np.asarray(np.sqrt(((x @ self.covariance) * x).sum(axis=-1)))

    def _design(self, size: FloatArray) -> FloatArray:
        return _design(self.criterion, self.anchored, self.centre, size)

    def value(self, size: FloatArray, z: float = 0.0) -> FloatArray:
        """The measure, or a limit of its band at z standard errors."""
        return inverse_link(self.criterion.measure.link)(self.eta(size) + z * self.se(size))

    def value_se(self, size: FloatArray) -> FloatArray:
        """Standard error of the measure, by the delta method."""
        eta = self.eta(size)
        kind = self.criterion.measure.link
        slope = normal_density(eta) if kind == "probit" else np.exp(eta) if kind == "log" else np.ones_like(eta)
        return np.asarray(slope * self.se(size))

    def margin(self, size: FloatArray, z: float = 0.0) -> FloatArray:
        """How far the curve is beyond the target, z standard errors added."""
        return np.asarray(self.criterion.margin(self.eta(size)) + z * self.se(size))


def _design(criterion: Criterion, anchored: bool, centre: float, size: FloatArray) -> FloatArray:
    """Columns 1 and u (S, 2), or centre/x alone."""
    if anchored:
        return np.asarray(centre / np.asarray(size, dtype=np.float64)[:, None])
    g = basis(criterion.measure.basis)
    at, unit = float(g(np.array(centre))), float(g(np.array(STEP * centre)) - g(np.array(centre)))
    x = np.asarray(size, dtype=np.float64)
    return np.stack([np.ones_like(x), (g(x) - at) / unit], axis=-1)


def fit_curve(
    criterion: Criterion, offset: Offset, points: Sequence[Observed], centre: float, anchored: bool = False
) -> Curve:
    """Fit the curve; one point alone moves the analytic curve up or down.

    Parameters
    ----------
    criterion : Criterion
    offset : callable
    points : sequence of Observed
        Points without a number are left out; there must be one with.
    centre : float
    anchored : bool
    """
    used = [point for point in points if point.n > 0 and np.isfinite(point.value)]
    size, value, mcse, n = (
        np.array([getattr(point, name) for point in used], dtype=np.float64) for name in ("size", "value", "mcse", "n")
    )
    x, base = _design(criterion, anchored, centre, size), offset(size)
    k = x.shape[1]
    prior = np.diag(1.0 / np.square(PRIOR[:k]))
    if not criterion.measure.is_rate:  # a mean has no scale of its own: far below the points' own precision
        prior = np.eye(k) * NEGLIGIBLE * float(_working(criterion, base, value, mcse, n)[1].max())
    beta, information = np.zeros(k), np.eye(k)
    # not at the offset, which may be far off, but at the rates themselves, pulled away from 0 and 1
    eta = link(criterion.measure.link)((value * n + 0.5) / (n + 1.0)) if criterion.measure.is_rate else base
    for _ in range(ITERATIONS):
        working, weight = _working(criterion, eta, value, mcse, n)
        information = (x * weight[:, None]).T @ x + prior
        inverse, _ok = inverse_spd(information[None])
        new = inverse[0] @ ((x * weight[:, None]).T @ (working - base))
        done, beta = bool(np.abs(new - beta).max() < 1e-10), new
        eta = base + x @ beta
        if done:
            break
    working, weight = _working(criterion, eta, value, mcse, n)
    chisq, df = float((weight * (working - base - x @ beta) ** 2).sum()), len(np.unique(size)) - k
    misfit = chisq / df if df > 0 and float(chdtrc(df, chisq)) < MISFIT else 1.0
    return Curve(criterion, offset, anchored, centre, beta, inverse_spd(information[None])[0][0] * misfit, misfit)


def _working(
    criterion: Criterion, eta: FloatArray, value: FloatArray, mcse: FloatArray, n: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Working response and weights: those of a probit model for rates, the transformed mean otherwise."""
    kind = criterion.measure.link
    if kind == "probit":
        eta = np.clip(eta, -6.0, 6.0)
        p, density = ndtr(eta), normal_density(eta)
        return eta + (value - p) / density, n * density**2 / (p * (1.0 - p))
    slope = 1.0 / value if kind == "log" else np.ones_like(value)
    return link(kind)(value), 1.0 / np.square(np.maximum(slope * mcse, 1e-300))
