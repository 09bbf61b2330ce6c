"""Populations as data, and what docs/theory says each method makes of them (balanced and unbalanced)."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import optimize

import simstudy.methods  # noqa: F401  (registers the methods)
from simstudy.data.layout import ClusterLayout
from simstudy.data.statistics import from_moments
from simstudy.estimation.inference import with_defined
from simstudy.estimation.result import FitResult
from simstudy.methods import registry
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

FAMILIES = tomllib.loads((Path(__file__).parents[1] / "model" / "families.toml").read_text())


def fit(
    method: str,
    model: TwoLevelModel,
    layout: ClusterLayout,
    moments: tuple[np.ndarray, np.ndarray, np.ndarray],
    **options: object,
) -> FitResult:
    """Feed a method the population's mu, Sigma_W, Sigma_B."""
    statistics = from_moments(layout, model.level1, model.level2, *moments)
    estimator = registry.create(method, options)
    assert estimator.supports(model, layout) is None
    return with_defined(estimator.prepare(model, layout).fit(statistics), model.estimands)


def population(model: TwoLevelModel, values: dict[str, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return TwoLevelStructure(model).moments(np.array([values[name] for name in model.names]))


def value(found: FitResult, name: str) -> float:
    assert found.converged.all()
    return float(found.estimate[0, found.labels.index(name)])


def se(found: FitResult, name: str, kind: str = "expected") -> float:
    return float(found.se[kind][0, found.labels.index(name)])


CONTEXTUAL = TwoLevelModel.from_syntax("level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x\ncontextual := bb - bw")


@dataclass(frozen=True)
class Contextual:
    """x_ij = mu + x_Bj + x_Wij, y_ij = beta_B x_Bj + beta_W x_Wij + u_j + e_ij; the base values of docs/theory."""

    beta_b: float = 0.7
    beta_w: float = 0.2
    tau2: float = 0.1
    sigma2: float = 0.9
    tau_u2: float = 0.15
    sigma_e2: float = 0.8

    def moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """In the order of the model's variables (y, x)."""

        def level(beta: float, x: float, residual: float) -> np.ndarray:
            return np.array([[beta**2 * x + residual, beta * x], [beta * x, x]])

        return (
            np.array([1.5, -0.5]),
            level(self.beta_w, self.sigma2, self.sigma_e2),
            level(self.beta_b, self.tau2, self.tau_u2),
        )

    def reliability(self, n: float) -> float:
        return self.tau2 / (self.tau2 + self.sigma2 / n)

    def s(self, slope: float) -> float:
        """B4: within residual variance of y - slope x."""
        return self.sigma_e2 + (self.beta_w - slope) ** 2 * self.sigma2

    def q(self, slope: float) -> float:
        """B4: between residual variance of y - slope x."""
        return self.tau_u2 + (self.beta_b - slope) ** 2 * self.tau2


def cubic_root(c: Contextual, n: int) -> float:
    """B4: the root of the cubic that minimises (n - 1) log s + log omega."""
    slope = np.polynomial.Polynomial([0.0, 1.0])
    s = c.sigma_e2 + (c.beta_w - slope) ** 2 * c.sigma2
    q = c.tau_u2 + (c.beta_b - slope) ** 2 * c.tau2
    omega = n * q + s
    cubic = (n - 1) * (slope - c.beta_w) * c.sigma2 * omega
    cubic += (n * (slope - c.beta_b) * c.tau2 + (slope - c.beta_w) * c.sigma2) * s
    roots = cubic.roots()
    real = roots[np.abs(roots.imag) < 1e-9].real
    return float(min(real, key=lambda g: (n - 1) * np.log(s(g)) + np.log(omega(g))))


def conflated_minimum(c: Contextual, sizes: Sequence[int]) -> float:
    """B4, unbalanced: minimise (N - J) log s + sum log(s + n_j q)."""
    n = np.asarray(sizes, dtype=float)

    def objective(slope: float) -> float:
        return (n.sum() - len(n)) * np.log(c.s(slope)) + np.log(c.s(slope) + n * c.q(slope)).sum()

    return float(optimize.minimize_scalar(objective, bounds=(-2, 2), method="bounded", options={"xatol": 1e-10}).x)


def manifest_minimum(c: Contextual, sizes: Sequence[int]) -> tuple[float, float, float]:
    """B3, unbalanced: between slope, sigma_c^2 and tau_c^2 that minimise the Kullback-Leibler distance."""
    n = np.asarray(sizes, dtype=float)

    def variance(slope: float) -> np.ndarray:
        """Of cluster means of y - slope x-bar - beta_W (x - x-bar), by cluster."""
        parts = (c.beta_b - slope) ** 2 * c.tau2 + (c.beta_w - slope) ** 2 * c.sigma2 / n
        return c.tau_u2 + c.sigma_e2 / n + parts

    def objective(v: np.ndarray) -> float:
        s, omega = np.exp(v[1]), np.exp(v[1]) + n * np.exp(v[2])
        within = (n.sum() - len(n)) * (np.log(s) + c.sigma_e2 / s)
        return within + (np.log(omega) + n * variance(v[0]) / omega).sum()

    start = [0.5, np.log(c.sigma_e2), np.log(c.tau_u2)]
    found = optimize.minimize(objective, start, method="BFGS", options={"gtol": 1e-10})
    polished = optimize.minimize(objective, found.x, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-15})
    return float(polished.x[0]), float(np.exp(polished.x[1])), float(np.exp(polished.x[2]))


# ---------------------------------------------------------------------------------------------- B6, order (x, m, y)


def path_sigma(a: float, b: float, c: float, variances: Sequence[float]) -> np.ndarray:
    """(I - B)^-1 Psi (I - B)^-T of m = a x + .., y = b m + c x + .."""
    total = np.linalg.inv(np.eye(3) - np.array([[0, 0, 0], [a, 0, 0], [c, b, 0]]))
    return total @ np.diag(variances) @ total.T


def path_coefficients(s: np.ndarray) -> np.ndarray:
    """B6's path algebra: (a, b, c) of a covariance matrix."""
    a = s[1, 0] / s[0, 0]
    b = (s[1, 2] * s[0, 0] - s[0, 1] * s[0, 2]) / (s[0, 0] * s[1, 1] - s[0, 1] ** 2)
    return np.array([a, b, (s[0, 2] - b * s[0, 1]) / s[0, 0]])


def conflated_paths(within: np.ndarray, between: np.ndarray, n: float) -> np.ndarray:
    """B6: equation-wise B4 with vector gamma: minimise (n - 1) log s + log omega."""

    def slopes(outcome: int, predictors: list[int]) -> np.ndarray:
        def objective(gamma: np.ndarray) -> float:
            contrast = np.zeros(3)
            contrast[outcome], contrast[predictors] = 1.0, -gamma
            s = contrast @ within @ contrast
            return (n - 1) * np.log(s) + np.log(s + n * contrast @ between @ contrast)

        found = optimize.minimize(objective, np.zeros(len(predictors)), method="BFGS", options={"gtol": 1e-9})
        options = {"xatol": 1e-11, "fatol": 1e-16}
        return optimize.minimize(objective, found.x, method="Nelder-Mead", options=options).x

    (a,), (b, c) = slopes(1, [0]), slopes(2, [1, 0])
    return np.array([a, b, c])
