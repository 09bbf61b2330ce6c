"""Exact finite-sample numbers of slopes of normal data (theory B1, B2, B3, B5, B8; F6).

A slope b of a regression whose units are independent and normal is, given the sum of squares SS of its predictor (freed
of the others), N(b*, v / SS), with SS / omega a chi-square; and SE^2 = u v / SS where u, a function of residual sums of
squares, is independent of b and SS. Everything follows by integration over chi-squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from simstudy.lazy import special
from simstudy.linalg.stacked import FloatArray, eigh, inverse
from simstudy.linalg.tails import f_probability
from simstudy.linalg.wald_intervals import quantile

NEGLIGIBLE = 1e-9
"""Probability of a boundary estimate below which it is left out."""


@lru_cache(maxsize=256)
def chi_square_grid(df: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights for expectations of smooth functions of a chi-square variable.

    The trapezoidal rule in the logarithm of the chi variable, where the integrand is smooth and falls off at both ends,
    so that it converges exponentially, to 1e-9 from 5 degrees of freedom on and to 1e-7 below.
    """
    step = min(0.2, 0.5 / np.sqrt(2.0 * df))
    centre = 0.5 * np.log(df)
    log_x = centre + step * np.arange(-np.ceil(40.0 / (df * step)) - 40, 41)
    log_density = df * log_x - 0.5 * np.exp(2.0 * log_x)
    kept = log_density > log_density.max() - 40.0
    weight = np.exp(log_density[kept] - log_density.max())
    nodes: FloatArray = np.exp(2.0 * log_x[kept])
    return nodes, weight / weight.sum()


def mean_inverse_chi(df: int) -> float:
    """E(1 / chi) with df degrees of freedom; infinite for 1."""
    return (
        float(np.exp(special.gammaln(0.5 * (df - 1)) - special.gammaln(0.5 * df)) / np.sqrt(2.0)) if df > 1 else np.inf
    )


@dataclass(frozen=True)
class SlopeLaw:
    """Distribution of a slope and of its standard error.

    Attributes
    ----------
    centre : float
        b*.
    ratio : float
        v / omega.
    df : int
        Degrees of freedom of SS / omega.
    spread : (nodes (M,), weights (M,)) or None
        Law of u = SE^2 SS / v; None where the standard error's is not known.
    """

    centre: float
    ratio: float
    df: int
    spread: tuple[FloatArray, FloatArray] | None = None

    def of_estimate(self, truth: float) -> dict[str, float]:
        """Measures of the estimate alone; moments that do not exist are left out."""
        bias = self.centre - truth
        found = {"mean_estimate": self.centre, "bias": bias, "median_bias": bias}
        if truth != 0.0:
            found["relative_bias"] = bias / truth
        if self.df > 2:
            variance = self.ratio / (self.df - 2)
            found |= {"empirical_se": variance**0.5, "rmse": (variance + bias**2) ** 0.5}
        return found

    def of_interval(self, truth: float, level: float) -> dict[str, float]:
        """Measures of the standard error and of the Wald interval."""
        if self.spread is None:
            return {}
        u, weight = self.spread
        mean_se = float(weight @ np.sqrt(u)) * self.ratio**0.5 * mean_inverse_chi(self.df)
        found = {
            "coverage": self.holds(truth, level),
            "bias_eliminated_coverage": self.holds(self.centre, level),
            "rejection": 1.0 - self.holds(0.0, level),
        }
        if np.isfinite(mean_se):
            found |= {"mean_se": mean_se, "ci_width": 2.0 * quantile(level) * mean_se}
        if self.df > 2:
            square = float(weight @ u)
            found |= {"model_se": (square * self.ratio / (self.df - 2)) ** 0.5, "se_ratio": square**0.5}
        return found

    def holds(self, target: float, level: float) -> float:
        """P(the Wald interval holds a value): E{Phi(z sqrt(u) - d) - Phi(-z sqrt(u) - d)}, d^2 prop. to SS."""
        assert self.spread is not None
        u, weight = self.spread
        half = quantile(level) * np.sqrt(u)
        if self.centre == target:
            return float(weight @ (2.0 * special.ndtr(half) - 1.0))
        q, q_weight = chi_square_grid(self.df)
        d = (self.centre - target) * np.sqrt(q / self.ratio)[:, None]
        inside: FloatArray = special.ndtr(half - d) - special.ndtr(-half - d)
        return float(q_weight @ inside @ weight)


@dataclass(frozen=True)
class Regression:
    """Population regression of one outcome, from a covariance matrix of (predictors, outcome).

    Attributes
    ----------
    cov : (k + 1, k + 1)
    """

    cov: FloatArray

    @property
    def k(self) -> int:
        """Number of predictors."""
        return len(self.cov) - 1

    @cached_property
    def inverse(self) -> FloatArray:
        """Inverse of the predictors' covariance matrix (k, k)."""
        return inverse(self.cov[: self.k, : self.k])[0]

    @cached_property
    def slopes(self) -> FloatArray:
        """b* (k,)."""
        slopes: FloatArray = self.inverse @ self.cov[: self.k, self.k]
        return slopes

    @cached_property
    def residual(self) -> float:
        """Residual variance v."""
        return float(self.cov[self.k, self.k] - self.slopes @ self.cov[: self.k, self.k])

    @property
    def usable(self) -> bool:
        """Whether predictors are not collinear and there is a residual."""
        if self.k == 0 or not np.all(np.diag(self.cov) > 0):
            return False
        scale = 1.0 / np.sqrt(np.diag(self.cov))
        return bool(np.linalg.eigvalsh(self.cov * scale[:, None] * scale)[0] > 1e-10)

    def law(self, j: int, units: int, spread: tuple[FloatArray, FloatArray] | None) -> SlopeLaw:
        """Law of slope ``j`` (from 0) with ``units`` degrees of freedom for the scatter of the variables."""
        return SlopeLaw(float(self.slopes[j]), float(self.residual * self.inverse[j, j]), units - self.k + 1, spread)


def _pruned(nodes: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Leave out what has next to no weight: 1e-9 altogether."""
    kept = weight > 1e-12 * weight.max()
    return nodes[kept], weight[kept]


def residual_spread(df: int, divisor: int) -> tuple[FloatArray, FloatArray]:
    """Law of u = chi^2_df / divisor: one residual sum of squares (divisor J: ML; df: least squares)."""
    nodes, weight = chi_square_grid(df)
    return nodes / divisor, weight


@dataclass(frozen=True)
class Components:
    """Residual mean squares of a balanced random-intercept regression, and what becomes of the variance components.

    Attributes
    ----------
    between, within : float
        omega = n v, sigma^2: their expectations.
    df_between, df_within : int
    divisor_between, divisor_within : int
        The degrees of freedom (REML), or J and N - J (ML).
    """

    between: float
    within: float
    df_between: int
    df_within: int
    divisor_between: int
    divisor_within: int

    @property
    def at_boundary(self) -> float:
        """P(tau^2 = 0): the mean square between clusters is below that within."""
        ratio = self.within * self.df_within / self.divisor_within * self.divisor_between / self.df_between
        return float(f_probability(ratio / self.between, self.df_between, self.df_within))

    def spreads(self) -> tuple[tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
        """Laws of u for between and for within slopes; at the boundary both mean squares are pooled (theory B3)."""
        if self.at_boundary < NEGLIGIBLE:
            return (
                residual_spread(self.df_between, self.divisor_between),
                residual_spread(self.df_within, self.divisor_within),
            )
        b, weight_b = chi_square_grid(self.df_between)
        w, weight_w = chi_square_grid(self.df_within)
        rss_b, rss_w = self.between * b[:, None], self.within * w
        ms_b, ms_w = rss_b / self.divisor_between, rss_w / self.divisor_within
        pooled = (rss_b + rss_w) / (self.divisor_between + self.divisor_within)
        weight = (weight_b[:, None] * weight_w).ravel()
        used_b, used_w = np.where(ms_b < ms_w, pooled, ms_b), np.where(ms_b < ms_w, pooled, ms_w)
        return _pruned(used_b.ravel() / self.between, weight), _pruned(used_w.ravel() / self.within, weight)


def naive_spread(residual: float, within: float, n: int, n_clusters: int, k: int) -> tuple[FloatArray, FloatArray]:
    """Law of u for a single-level regression of rows on level-2 predictors, balanced (theory B5a).

    SE^2 = RSS / (N n SS) where RSS = n v chi^2_(J - k - 1) + sigma_y^2 chi^2_(N - J) of all rows.
    """
    n_obs = n * n_clusters
    b, weight_b = chi_square_grid(n_clusters - k - 1)
    if within == 0.0:
        return b / n_obs, weight_b
    w, weight_w = chi_square_grid(n_obs - n_clusters)
    u = (n * residual * b[:, None] + within * w) / (n_obs * n * residual)
    return _pruned(u.ravel(), (weight_b[:, None] * weight_w).ravel())


@lru_cache(maxsize=1)
def _unit_legendre() -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes and weights on (0, 1)."""
    s, weight = np.polynomial.legendre.leggauss(400)
    return 0.5 * (s + 1.0), 0.5 * weight


def mean_slope(
    counts: FloatArray,
    weights: FloatArray,
    variances: FloatArray,
    slopes: FloatArray,
    within: tuple[float, float, int],
) -> float:
    """Exact mean of a slope S_xy / S_xx of rows or of cluster means, any sizes (theory B1, B2).

    Given x, E(S_xy) is a quadratic form A in x like S_xx = B, and E(A / B) = int_0^inf E(A exp(-t B)) dt (Magnus 1986).
    Contrasts among the J_s clusters of one size are eigenvectors; what is left has one dimension a size.

    Parameters
    ----------
    counts, weights, variances, slopes : (S,)
        Of each size: clusters, weight of one (its size, or 1 for means), variance of its mean of x, regression of mean
        y on mean x.
    within : (variance, slope, degrees of freedom)
        Of the deviations within clusters; 0 degrees of freedom for cluster means.
    """
    sigma2, slope_within, df = within
    own = weights * variances
    u = np.sqrt(counts * variances) * weights
    products = u[:, None] * u / (counts @ weights)
    values, vectors, _ = eigh(np.diag(own) - products)
    linear = np.diag(own * slopes) - 0.5 * (slopes[:, None] + slopes) * products
    eigenvalues = np.concatenate([own, np.maximum(values, 0.0)])
    times = np.concatenate([counts - 1.0, np.ones_like(counts)])
    diagonal = np.concatenate([own * slopes, ((vectors.T @ linear) * vectors.T).sum(axis=1)])
    scale = 1.0 / (times @ eigenvalues + df * sigma2)
    s, weight = _unit_legendre()
    t = scale * s / (1.0 - s)
    spread = 1.0 + 2.0 * t[:, None] * eigenvalues
    inside = 1.0 + 2.0 * t * sigma2
    transform = np.exp(-0.5 * np.log(spread) @ times - 0.5 * df * np.log(inside))
    mean = (diagonal / spread) @ times + slope_within * df * sigma2 / inside
    return float(weight @ (transform * mean * scale / (1.0 - s) ** 2))


def negative_variance(
    variance_between: float, variance_within: float, n: int, n_clusters: int, *, unbiased: bool = False
) -> float:
    """P(between variance of a variable <= 0) for (MB - MW) / n, balanced: an F distribution (theory B8, F6).

    ``unbiased``: MB has divisor J - 1, otherwise J (maximum likelihood).
    """
    df_between, df_within = n_clusters - 1, n_clusters * (n - 1)
    kappa = 1.0 if unbiased else n_clusters / df_between
    at = kappa / (1.0 + n * variance_between / variance_within)
    return float(f_probability(at, df_between, df_within))


NEGATIVE = "negative_variance"
"""Measure: P(estimate of a variance <= 0)."""


@dataclass(frozen=True)
class ExactNumber:
    """One exact number; ``se_kind`` is empty where it holds for all kinds."""

    parameter: str
    se_kind: str
    measure: str
    value: float
