"""Theory B8, the between slope of multilevel SEM; nothing of simstudy is used.

beta_B = (MB_xy - MW_xy) / (MB_xx - MW_xx), with divisor J in MB when estimated by maximum likelihood.
"""

from __future__ import annotations

import numpy as np
from closed_forms import Contextual, legendre_nodes, manifest_residual, quantile_nodes
from scipy import stats


def msem_avar(c: Contextual, n: int) -> float:
    """B8: J AVar of the between slope."""
    k = (1 - c.reliability(n)) / c.reliability(n)
    first = manifest_residual(c, n) / (c.reliability(n) * c.tau2)
    return first + k**2 * (c.sigma_e2 / (c.sigma2 * (n - 1)) + 2 * n * c.delta**2 / (n - 1))


def msem_avar_equivalent(c: Contextual, n: int) -> float:
    """B8, the second form: {[Omega_xx Omega_dd + Omega_xd^2] + [W_xx W_dd + W_xd^2] / (n-1)} / (n tau^2)^2."""
    contrast = np.array([-c.beta_b, 1.0])
    w, omega = c.sigma_within, n * c.sigma_between + c.sigma_within

    def spread(m: np.ndarray) -> float:
        return float(m[0, 0] * (contrast @ m @ contrast) + (m[0] @ contrast) ** 2)

    return (spread(omega) + spread(w) / (n - 1)) / (n * c.tau2) ** 2


def contextual_avar(c: Contextual, n: int) -> float:
    """B8: J AVar of beta_B - beta_W."""
    lam = c.reliability(n)
    first = manifest_residual(c, n) / (lam * c.tau2)
    within = c.sigma_e2 / (lam**2 * c.sigma2 * (n - 1))
    return first + within + ((1 - lam) / lam) ** 2 * 2 * n * c.delta**2 / (n - 1)


def msem_covariance(c: Contextual, n: int) -> float:
    """B8: J Cov(between slope, within slope) = -sigma_e^2 / (n (n-1) tau^2)."""
    return -c.sigma_e2 / (n * (n - 1) * c.tau2)


def msem_bias(c: Contextual, n_clusters: int, n: int, *, ml: bool) -> float:
    """B8: second-order bias of the between slope; ML has divisor J in MB, otherwise J - 1."""
    omega_x = n * c.tau2 + c.sigma2
    cross = -c.delta * c.sigma2
    ratio = 2 * omega_x * cross / (n_clusters - 1) + 2 * c.sigma2 * cross / (n_clusters * (n - 1))
    divisor = -cross / (n_clusters * n * c.tau2) if ml else 0.0
    return -ratio / (n * c.tau2) ** 2 + divisor


def negative_variance(icc: float, n_clusters: int, n: int, *, ml: bool) -> float:
    """B8: P(between variance estimate <= 0) = F-cdf at kappa / (1 + n rho / (1 - rho))."""
    kappa = n_clusters / (n_clusters - 1) if ml else 1.0
    at = kappa / (1 + n * icc / (1 - icc))
    return float(stats.f.cdf(at, n_clusters - 1, n_clusters * (n - 1)))


def msem_cdf(c: Contextual, n_clusters: int, n: int, at: float) -> float:
    """P(between slope <= at), exact at finite J with ML divisors, inadmissible solutions included.

    From B8's ratio (MB_xy - MW_xy) / (MB_xx - MW_xx) and B10's Wishart facts: with d = y - at * x it is <= at if and
    only if (MB_xd - MW_xd) / (MB_xx - MW_xx) <= 0; given MB_xx and MW_xx the numerator is normal.
    """
    w, omega = c.sigma_within, n * c.sigma_between + c.sigma_within
    contrast = np.array([-at, 1.0])

    def regression(m: np.ndarray) -> tuple[float, float]:
        slope = (m[0] @ contrast) / m[0, 0]
        return float(slope), float(contrast @ m @ contrast - slope**2 * m[0, 0])

    (slope_b, v_b), (slope_w, v_w) = regression(omega), regression(w)
    df_b, df_w = n_clusters - 1, n_clusters * (n - 1)
    total = 0.0
    for q_w, weight in zip(*quantile_nodes(df_w), strict=True):
        mw = w[0, 0] * q_w / df_w
        cut = mw * n_clusters / omega[0, 0]  # value of chi^2_(J-1) where MB_xx = MW_xx
        high = max(float(stats.chi2.isf(1e-13, df_b)), 1.5 * cut)
        for lower, upper, sign in ((0.0, cut, 1.0), (cut, high, -1.0)):
            q_b, inner = legendre_nodes(lower, upper, lambda q: stats.chi2.pdf(q, df_b), 80)
            mb = omega[0, 0] * q_b / n_clusters
            mean = slope_b * mb - slope_w * mw
            sd = np.sqrt(v_b * mb / n_clusters + v_w * mw / df_w)
            total += weight * float(inner @ stats.norm.cdf(sign * mean / sd))
    return total
