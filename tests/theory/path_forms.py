"""Theory B6 (1-1-1 and 2-1-1 mediation, matrix forms) and B7 (two steps); nothing of simstudy is used.

Matrices of B6 are in the order (x, m, y). A variable that does not live on a level has zero rows there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from closed_forms import Contextual, harmonic, manifest_slope


@dataclass(frozen=True)
class PathLevel:
    """m = a x + zeta_m, y = b m + c x + zeta_y, with variances of x and of the residuals."""

    a: float
    b: float
    c: float
    x: float
    m: float
    y: float

    @property
    def sigma(self) -> np.ndarray:
        """B6: (I - B_L)^-1 Psi_L (I - B_L)^-T."""
        paths = np.array([[0.0, 0.0, 0.0], [self.a, 0.0, 0.0], [self.c, self.b, 0.0]])
        total = np.linalg.inv(np.eye(3) - paths)
        return total @ np.diag([self.x, self.m, self.y]) @ total.T


@dataclass(frozen=True)
class Mediation:
    """Both levels."""

    between: PathLevel
    within: PathLevel


CASE_0 = Mediation(PathLevel(0.4, 0.5, 0.1, 0.2, 0.16, 0.14), PathLevel(0.2, 0.2, 0.1, 0.8, 0.77, 0.78))
"""The residual variances are the only ones that give all of B6's numbers of case 0."""

CASE_1 = Mediation(PathLevel(0.3, 0.3, 0.0, 0.1, 0.09, 0.1), PathLevel(-0.3, 0.3, 0.0, 0.9, 0.8, 0.8))
"""Variances of m follow from F5's conflated limit; those of y do not enter any limit of case 1."""

CASE_211 = Mediation(PathLevel(0.5, 0.6, 0.1, 1.0, 0.16, 0.2), PathLevel(0.0, 0.2, 0.0, 0.0, 1.0, 0.8))
"""2-1-1: x between only. tau_M^2 - tau_XM^2 / tau_X^2 = .16 and sigma_M^2 / n = .2 at n = 5 give B6's .188889."""


def paths(s: np.ndarray) -> np.ndarray:
    """B6: (a, b, ab) read off a covariance matrix."""
    a = s[1, 0] / s[0, 0]
    b = (s[1, 2] * s[0, 0] - s[0, 1] * s[0, 2]) / (s[0, 0] * s[1, 1] - s[0, 1] ** 2)
    return np.array([a, b, a * b])


def disaggregated(k: Mediation) -> np.ndarray:
    """B6: Sigma_B + Sigma_W."""
    return paths(k.between.sigma + k.within.sigma)


def manifest(k: Mediation, n: float) -> np.ndarray:
    """B6: aggregation = UMM-between, Sigma_B + Sigma_W / n."""
    return paths(k.between.sigma + k.within.sigma / n)


def manifest_weighted_mean(k: Mediation, n: float) -> np.ndarray:
    """B6: a* = lambda a_B + (1 - lambda) a_W; (c*, b*)' = (A + C)^-1 (A beta_B + C beta_W)."""
    a_matrix, c_matrix = k.between.sigma[:2, :2], k.within.sigma[:2, :2] / n
    lam = a_matrix[0, 0] / (a_matrix[0, 0] + c_matrix[0, 0])
    a = lam * k.between.a + (1 - lam) * k.within.a
    beta_b, beta_w = np.array([k.between.c, k.between.b]), np.array([k.within.c, k.within.b])
    b = np.linalg.solve(a_matrix + c_matrix, a_matrix @ beta_b + c_matrix @ beta_w)[1]
    return np.array([a, b, a * b])


def msem(k: Mediation) -> np.ndarray:
    """B6: Sigma_B."""
    return paths(k.between.sigma)


def within(k: Mediation) -> np.ndarray:
    """B6: Sigma_W (1-1-1 only)."""
    return paths(k.within.sigma)


def conflated_equation(k: Mediation, n: int, outcome: int, predictors: list[int]) -> np.ndarray:
    """B6: B4 with vector gamma, the GLS fixed point on (n-1) Sigma_W / s + Omega / omega."""
    w = k.within.sigma
    omega = n * k.between.sigma + w
    gamma = np.zeros(len(predictors))
    for _ in range(10_000):
        contrast = np.zeros(3)
        contrast[outcome] = 1.0
        contrast[predictors] = -gamma
        moments = (n - 1) * w / (contrast @ w @ contrast) + omega / (contrast @ omega @ contrast)
        new = np.linalg.solve(moments[np.ix_(predictors, predictors)], moments[predictors, outcome])
        if np.abs(new - gamma).max() < 1e-14:
            break
        gamma = new
    return new


def conflated(k: Mediation, n: int) -> np.ndarray:
    """B6: (a, b, ab), equation by equation."""
    a = conflated_equation(k, n, 1, [0])[0]
    b = conflated_equation(k, n, 2, [0, 1])[1]
    return np.array([a, b, a * b])


def preacher_211(k: Mediation, n: int) -> float:
    """B6, 2-1-1 (PZZ Eq 2 / A9): between indirect effect of manifest means."""
    sigma = k.between.sigma
    tau = sigma[1, 1] - sigma[0, 1] ** 2 / sigma[0, 0]
    noise = k.within.sigma[1, 1] / n
    return float(k.between.a * (k.between.b * tau + k.within.b * noise) / (tau + noise))


# --- B7 two steps, a level-2 outcome y_j = b0 + b1 xi_j + b2 z_j + e --------------------------------------------------


@dataclass(frozen=True)
class MicroMacro:
    """A level-1 predictor's latent mean xi and a level-2 predictor z (theory B7's values as defaults)."""

    beta_x: float = 0.3
    beta_z: float = 0.3
    tau2: float = 0.2
    sigma2: float = 0.9
    var_z: float = 0.2
    cov_xz: float = 0.06
    residual: float = 0.5

    def reliability(self, n: float) -> float:
        return self.tau2 / (self.tau2 + self.sigma2 / n)


def micro_macro_limit(c: MicroMacro, sizes: Sequence[int]) -> tuple[float, float]:
    """B7 unadjusted: [[tau^2 + sigma^2/n, s], [s, v]]^-1 [tau^2 b1 + s b2, s b1 + v b2], v = var z; unbalanced n_H."""
    s = c.cov_xz
    left = np.array([[c.tau2 + c.sigma2 / harmonic(sizes), s], [s, c.var_z]])
    x, z = np.linalg.solve(left, [c.tau2 * c.beta_x + s * c.beta_z, s * c.beta_x + c.var_z * c.beta_z])
    return float(x), float(z)


def micro_macro_eb_limit(c: MicroMacro, sizes: Sequence[int]) -> tuple[float, float]:
    """B7 empirical-Bayes means that ignore z: each mean times its lambda_j (balanced: xi's slope divided by lambda)."""
    shrink = np.array([c.reliability(n) for n in sizes])
    s = c.cov_xz * shrink.mean()
    xx = (shrink * c.tau2).mean()  # lambda^2 (tau^2 + sigma^2 / n) = lambda tau^2
    xy = shrink.mean() * (c.tau2 * c.beta_x + c.cov_xz * c.beta_z)
    x, z = np.linalg.solve([[xx, s], [s, c.var_z]], [xy, c.cov_xz * c.beta_x + c.var_z * c.beta_z])
    return float(x), float(z)


def eb_predictor_slope(c: Contextual, n: int) -> float:
    """B7, 1 -> 1 outcome, ybar on EB(x): beta_B + beta_W (1 - lambda) / lambda."""
    return c.beta_b + c.beta_w * (1 - c.reliability(n)) / c.reliability(n)


def eb_both_slope(c: Contextual, n: int) -> float:
    """B7, EB(y) on EB(x): (lambda_y / lambda_x) b_agg."""
    between, within = c.sigma_between[1, 1], c.sigma_within[1, 1]
    return between / (between + within / n) / c.reliability(n) * manifest_slope(c, n)


def bivariate_blup_slope(c: Contextual, n: int) -> float:
    """B7: C_xy / C_xx, C = Sigma_B (Sigma_B + Sigma_W / n)^-1 Sigma_B."""
    b = c.sigma_between
    shrunk = b @ np.linalg.solve(b + c.sigma_within / n, b)
    return float(shrunk[0, 1] / shrunk[0, 0])
