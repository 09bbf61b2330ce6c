"""Theory B1-B5 for one predictor: the oracle, written from the theory alone (nothing of simstudy is used).

Each function names the section it mirrors. Notation is that of docs/theory: x_ij = x_Bj + x_Wij,
y_ij = beta_B x_Bj + beta_W x_Wij + u_j + e_ij with variances tau2, sigma2, tau_u2, sigma_e2. Matrices are in the order
(x, y). ``sizes`` is the sequence of all cluster sizes. B6 and B7 are in `path_forms`, B8 in `msem_forms`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import integrate, optimize, stats

Z = 1.96
"""The normal quantile of the numbers printed there."""


@dataclass(frozen=True)
class Contextual:
    """Parameters; the defaults are the base values of docs/theory."""

    beta_b: float = 0.7
    beta_w: float = 0.2
    tau2: float = 0.1
    sigma2: float = 0.9
    tau_u2: float = 0.15
    sigma_e2: float = 0.8

    @property
    def rho(self) -> float:
        return self.tau2 / (self.tau2 + self.sigma2)

    @property
    def delta(self) -> float:
        return self.beta_b - self.beta_w

    def reliability(self, n: float) -> float:
        """lambda_n."""
        return self.tau2 / (self.tau2 + self.sigma2 / n)

    @property
    def sigma_within(self) -> np.ndarray:
        xy = self.beta_w * self.sigma2
        return np.array([[self.sigma2, xy], [xy, self.beta_w * xy + self.sigma_e2]])

    @property
    def sigma_between(self) -> np.ndarray:
        xy = self.beta_b * self.tau2
        return np.array([[self.tau2, xy], [xy, self.beta_b * xy + self.tau_u2]])


def quantile_nodes(df: float, count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for expectations over chi^2 with df degrees of freedom (Gauss-Legendre in a wide interval)."""
    low, high = stats.chi2.ppf(1e-13, df), stats.chi2.isf(1e-13, df)
    return legendre_nodes(low, high, lambda q: stats.chi2.pdf(q, df), count)


def legendre_nodes(
    low: float, high: float, density: Callable[[np.ndarray], np.ndarray], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights (times the density) between two limits."""
    # substitution q = low + (high - low) s^3: densities of few degrees of freedom are singular at 0
    s, weight = np.polynomial.legendre.leggauss(count)
    s, weight = 0.5 * (s + 1.0), 0.5 * weight
    q = low + (high - low) * s**3
    return q, weight * 3.0 * s**2 * (high - low) * density(q)


# --- B1 disaggregated -------------------------------------------------------------------------------------------------


def disaggregated_limit(c: Contextual) -> float:
    """B1: plim b_T = rho beta_B + (1 - rho) beta_W."""
    return c.rho * c.beta_b + (1 - c.rho) * c.beta_w


def disaggregated_mean(c: Contextual, n_clusters: int, n: int) -> float:
    """B1, exact at finite J: beta_W + Delta lambda_n E[kU / (1 + (k-1)U)], U ~ Beta((J-1)/2, J(n-1)/2)."""
    k = (c.sigma2 + n * c.tau2) / c.sigma2
    a, b = (n_clusters - 1) / 2, n_clusters * (n - 1) / 2
    value, _ = integrate.quad(
        lambda u: k * u / (1 + (k - 1) * u) * stats.beta.pdf(u, a, b), 0, 1, epsabs=1e-12, limit=200
    )
    return c.beta_w + c.delta * c.reliability(n) * value


def exact_slope_mean(c: Contextual, sizes: Sequence[int], *, rows: bool) -> float:
    """E of the pooled slope of rows (B1) or of unweighted cluster means (B2), exact for any sizes and J.

    Given x, E(y) uses E(x_Bj | x) = mu + lambda_j (xbar_j - mu), so that the slope is beta_W + Delta A / B with A, B
    quadratic forms of normal cluster means (and B with the within scatter for rows). For normals
    E[A / B] = int_0^inf M(t) tr(...) dt (Magnus 1986, with t = s / 2): B1's Beta integral when balanced.
    """
    n = np.asarray(sizes, dtype=float)
    weights = n if rows else np.ones_like(n)
    variance = c.tau2 + c.sigma2 / n
    reliability = c.tau2 / variance
    centre = np.diag(weights) - np.outer(weights, weights) / weights.sum()
    root = np.sqrt(variance)
    b = root[:, None] * centre * root
    a = root[:, None] * 0.5 * (centre * reliability + (centre * reliability).T) * root
    values, vectors = np.linalg.eigh(b)
    diagonal = np.diag(vectors.T @ a @ vectors)
    df = n.sum() - len(n) if rows else 0.0

    def integrand(s: float) -> float:
        t = s / (1 - s)
        spread = 1 + 2 * t * values
        log = -0.5 * np.log(spread).sum() - 0.5 * df * np.log1p(2 * t * c.sigma2)
        return float(np.exp(log) * (diagonal / spread).sum() / (1 - s) ** 2)

    # nearly everything happens at t of the order 1 / E(B)
    scale = 1.0 / (values.sum() + df * c.sigma2)
    cuts = [0.0, *(k * scale / (1 + k * scale) for k in (0.3, 1.0, 3.0, 10.0, 100.0)), 1.0]
    parts = [integrate.quad(integrand, p, q, epsabs=1e-12, epsrel=1e-10, limit=200)[0] for p, q in pairwise(cuts)]
    return c.beta_w + c.delta * sum(parts)


# --- B2 aggregated ----------------------------------------------------------------------------------------------------


def manifest_slope(c: Contextual, m: float) -> float:
    """B2: (tau^2 beta_B + sigma^2 beta_W / m) / (tau^2 + sigma^2 / m)."""
    return c.reliability(m) * c.beta_b + (1 - c.reliability(m)) * c.beta_w


def harmonic(sizes: Sequence[int]) -> float:
    return float(1.0 / np.mean(1.0 / np.asarray(sizes, dtype=float)))


def aggregated_limit(c: Contextual, sizes: Sequence[int]) -> float:
    """B2: unweighted means use the harmonic mean n_H."""
    return manifest_slope(c, harmonic(sizes))


def weighted_aggregated_limit(c: Contextual, sizes: Sequence[int]) -> float:
    """B2: n-weighted means use the arithmetic mean."""
    return manifest_slope(c, float(np.mean(sizes)))


def manifest_residual(c: Contextual, n: float) -> float:
    """B2's v: residual variance of ybar on xbar."""
    return c.tau_u2 + c.sigma_e2 / n + c.delta**2 * c.tau2 * (1 - c.reliability(n))


def aggregated_variance(c: Contextual, n_clusters: int, n: int) -> float:
    """B2, exact: v / [(tau^2 + sigma^2 / n)(J - 3)] = E[SE_OLS^2]."""
    return manifest_residual(c, n) / ((c.tau2 + c.sigma2 / n) * (n_clusters - 3))


def manifest_coverage(c: Contextual, n_clusters: int, n: int, target: float) -> float:
    """B2: P(the t interval of the manifest slope holds ``target``), a noncentral-t mixture over q ~ chi^2_(J-1)."""
    quantile = stats.t.ppf(0.975, n_clusters - 2)
    q, weight = quantile_nodes(n_clusters - 1)
    shift = (manifest_slope(c, n) - target) * np.sqrt((c.tau2 + c.sigma2 / n) * q / manifest_residual(c, n))
    if np.all(shift == 0):
        return 0.95
    inside = stats.nct.cdf(quantile, n_clusters - 2, shift) - stats.nct.cdf(-quantile, n_clusters - 2, shift)
    return float(weight @ inside)


# --- B3 group-mean centring plus manifest means -----------------------------------------------------------------------


@dataclass(frozen=True)
class PseudoTrue:
    """Limits of a random-intercept model: between slope, sigma_c^2, tau_c^2."""

    slope: float
    sigma2: float
    tau2: float


def within_variance(c: Contextual, sizes: Sequence[int]) -> float:
    """B3, exact: Var of the within slope, sigma_e^2 / [sigma^2 (N - J - 2)]."""
    return c.sigma_e2 / (c.sigma2 * (sum(sizes) - len(sizes) - 2))


def umm_residual(c: Contextual, n: float) -> float:
    """B3: limit of the residual between variance, balanced."""
    return c.tau_u2 + c.delta**2 * c.tau2 * (1 - c.reliability(n))


def umm_limit(c: Contextual, sizes: Sequence[int]) -> PseudoTrue:
    """B3, unbalanced: weights w_j = n_j / (sigma_c^2 + n_j tau_c^2) at the Kullback-Leibler-minimising components.

    The within slope is beta_W. sigma_c^2 is sigma_e^2 only when balanced: the residual variances of the cluster means,
    tau_u^2 + sigma_e^2 / n_j + Delta^2 tau^2 (1 - lambda_j), are not linear in 1 / n_j.
    """
    n = np.asarray(sizes, dtype=float)
    omega_x = c.tau2 + c.sigma2 / n
    cov = c.tau2 * c.beta_b + c.sigma2 * c.beta_w / n
    y = c.beta_b**2 * c.tau2 + c.tau_u2 + (c.beta_w**2 * c.sigma2 + c.sigma_e2) / n

    def slope(sigma_c2: float, tau_c2: float) -> float:
        w = n / (sigma_c2 + n * tau_c2)
        return float((w @ cov) / (w @ omega_x))

    def criterion(log: np.ndarray) -> float:
        sigma_c2, tau_c2 = np.exp(log)
        b = slope(sigma_c2, tau_c2)
        v = sigma_c2 / n + tau_c2
        residual = y - 2 * b * cov + b**2 * omega_x
        within = (n.sum() - len(n)) * (np.log(sigma_c2) + c.sigma_e2 / sigma_c2)
        return float(within + (np.log(v) + residual / v).sum())

    start = np.log([c.sigma_e2, c.tau_u2])
    best = optimize.minimize(
        criterion, start, method="Nelder-Mead", options={"xatol": 1e-11, "fatol": 1e-13, "maxiter": 4000}
    )
    sigma_c2, tau_c2 = np.exp(best.x)
    return PseudoTrue(slope(sigma_c2, tau_c2), float(sigma_c2), float(tau_c2))


def z_coverage(n_clusters: int, *, reml: bool) -> float:
    """B3: P(the z interval holds its own limit): ML 2 T_(J-2)(1.96 sqrt((J-2)/J)) - 1, REML without the root."""
    shrink = 1.0 if reml else np.sqrt((n_clusters - 2) / n_clusters)
    return float(2 * stats.t.cdf(Z * shrink, n_clusters - 2) - 1)


# --- B4 conflated -----------------------------------------------------------------------------------------------------


def _components(c: Contextual, slope: float) -> tuple[float, float]:
    """B4: s(gamma), q(gamma)."""
    s = c.sigma_e2 + (c.beta_w - slope) ** 2 * c.sigma2
    return s, c.tau_u2 + (c.beta_b - slope) ** 2 * c.tau2


def conflated_cubic(c: Contextual, n: int) -> PseudoTrue:
    """B4, balanced: root of (n-1)(g-beta_W) sigma^2 omega(g) + [n(g-beta_B) tau^2 + (g-beta_W) sigma^2] s(g)."""

    def cubic(g: float) -> float:
        s, q = _components(c, g)
        pull = n * (g - c.beta_b) * c.tau2 + (g - c.beta_w) * c.sigma2
        return (n - 1) * (g - c.beta_w) * c.sigma2 * (n * q + s) + pull * s

    low, high = sorted((c.beta_w, c.beta_b))
    root = low if low == high else float(optimize.brentq(cubic, low, high, xtol=1e-14))
    return PseudoTrue(root, *_components(c, root))


def conflated_limit(c: Contextual, sizes: Sequence[int]) -> PseudoTrue:
    """B4, any sizes: minimise (N - J) log s + sum_j log(s + n_j q)."""
    n = np.asarray(sizes, dtype=float)

    def criterion(g: float) -> float:
        s, q = _components(c, g)
        return float((n.sum() - len(n)) * np.log(s) + np.log(s + n * q).sum()) / n.sum()

    low, high = sorted((c.beta_w, c.beta_b))
    grid = np.linspace(low, high, 201)
    at = int(np.argmin([criterion(g) for g in grid]))
    bracket = (grid[max(at - 1, 0)], grid[min(at + 1, 200)])
    # the slope of the criterion by central differences: its root is good to 1e-9, a minimum only to 1e-7
    step = 1e-5
    root = float(optimize.brentq(lambda g: criterion(g + step) - criterion(g - step), *bracket, xtol=1e-13))
    return PseudoTrue(root, *_components(c, root))


def conflated_model_se(c: Contextual, n_clusters: int, n: int) -> float:
    """B4: limit of the model SE, 1 / sqrt{J [(n-1) W_xx / s + Omega_xx / omega]}."""
    found = conflated_cubic(c, n)
    omega = found.sigma2 + n * found.tau2
    information = (n - 1) * c.sigma2 / found.sigma2 + (n * c.tau2 + c.sigma2) / omega
    return float(1 / np.sqrt(n_clusters * information))


# --- B5 naive standard errors -----------------------------------------------------------------------------------------


def level2_deff(n: int, icc: float) -> float:
    """B5a: 1 + (n - 1) rho_e."""
    return 1 + (n - 1) * icc


def level2_naive_variance(n_clusters: int, n: int, icc: float) -> float:
    """B5a: E[s^2] / sigma_y^2 = [N - 2(1 + (n-1) rho_e)] / (N - 2)."""
    rows = n_clusters * n
    return (rows - 2 * level2_deff(n, icc)) / (rows - 2)


def level2_type1(n_clusters: int, n: int, icc: float) -> float:
    """B5a, exact: P(T^2 > t^2), T^2 = omega chi^2_1 (N-2) / (omega chi^2_(J-2) + (1-rho) chi^2_(J(n-1)))."""
    rows = n_clusters * n
    omega = level2_deff(n, icc)
    critical = stats.t.ppf(0.975, rows - 2) ** 2
    within, w1 = quantile_nodes(n_clusters * (n - 1))
    between, w2 = (np.zeros(1), np.ones(1)) if n_clusters == 2 else quantile_nodes(n_clusters - 2)
    denominator = omega * between[:, None] + (1 - icc) * within
    beyond = stats.chi2.sf(critical * denominator / (omega * (rows - 2)), 1)
    return float(w2 @ beyond @ w1)


def level2_type1_limit(n: int, icc: float) -> float:
    """B5a: 2 Phi(-1.96 / sqrt(deff))."""
    return float(2 * stats.norm.cdf(-Z / np.sqrt(level2_deff(n, icc))))


def barcikowski(n: int, icc: float) -> float:
    """B5a, one cluster an arm: 2 sf_t(t_c sqrt[(1-rho) / (1+(n-1) rho)], 2(n-1))."""
    df = 2 * (n - 1)
    return float(2 * stats.t.sf(stats.t.ppf(0.975, df) * np.sqrt((1 - icc) / level2_deff(n, icc)), df))


def level1_deff(n: int, icc_x: float, icc_e: float) -> float:
    """B5b (Moulton; Scott & Holt), beta_B = beta_W: 1 + (n-1) rho_x rho_e."""
    return 1 + (n - 1) * icc_x * icc_e


def naive_variances(c: Contextual, n: int) -> tuple[float, float]:
    """B5c: J Var(b_T) and J times the naive squared SE."""
    b = disaggregated_limit(c)
    contrast = np.array([-b, 1.0])
    w, omega = c.sigma_within, n * c.sigma_between + c.sigma_within

    def spread(m: np.ndarray) -> float:
        return float(m[0, 0] * (contrast @ m @ contrast) + (m[0] @ contrast) ** 2)

    total = n * (c.tau2 + c.sigma2)
    true = (spread(omega) + (n - 1) * spread(w)) / total**2
    residual = (c.beta_b - b) ** 2 * c.tau2 + (c.beta_w - b) ** 2 * c.sigma2 + c.tau_u2 + c.sigma_e2
    return true, residual / total
