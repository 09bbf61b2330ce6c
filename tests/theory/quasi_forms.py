"""Large-J distribution of two-matrix methods with unequal sizes, from the moments alone (Kronecker forms in numpy).

A method minimises the normal discrepancy of two matrices with weights W, whose true asymptotic covariance is Gamma.
With Delta = d sigma / d theta, estimates have the covariance (D'WD)^-1 D'W Gamma W D (D'WD)^-1, and the test statistic
is sum_i lambda_i chi^2_1 with lambda the eigenvalues of (W - WD(D'WD)^-1 D'W) Gamma (Browne 1984; Satorra & Bentler
1994; Yuan & Hayashi 2005 for MUML). Muthén's between matrix S_B = sum n_j d_j d_j' / J has

    Gamma_B = (2 / J^2) sum_j M_j (x) M_j,   M_j = Sigma_W + n_j Sigma_B,   against (2 / J) M_c (x) M_c assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import integrate, linalg, stats

Structure = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def duplication(p: int) -> np.ndarray:
    """Matrix D with vec(S) = D vech(S)."""
    pairs = [(i, j) for j in range(p) for i in range(j, p)]
    result = np.zeros((p * p, len(pairs)))
    for k, (i, j) in enumerate(pairs):
        result[i * p + j, k] = result[j * p + i, k] = 1.0
    return result


@dataclass(frozen=True)
class TwoMatrixLimit:
    """A method on two p x p matrices.

    Attributes
    ----------
    method : str
        ``muml`` or ``goldstein``.
    structure : callable
        theta -> (Sigma_W, Sigma_B).
    theta : (q,)
    sizes : sequence of int
    """

    method: str
    structure: Structure
    theta: np.ndarray
    sizes: Sequence[int]

    @cached_property
    def n(self) -> np.ndarray:
        return np.asarray(self.sizes, dtype=float)

    @cached_property
    def c(self) -> float:
        n = self.n
        return float((n.sum() ** 2 - (n**2).sum()) / (n.sum() * (len(n) - 1)))

    def precision(self, sigma: np.ndarray, df: float) -> np.ndarray:
        """Information of a covariance matrix on df degrees of freedom about itself."""
        d, inverse = duplication(len(sigma)), np.linalg.inv(sigma)
        return 0.5 * df * d.T @ np.kron(inverse, inverse) @ d

    def dispersion(self, sigma: np.ndarray, df: float) -> np.ndarray:
        """Its sampling covariance."""
        half = np.linalg.pinv(duplication(len(sigma)))
        return 2.0 / df * half @ np.kron(sigma, sigma) @ half.T

    def moments(self, theta: np.ndarray) -> np.ndarray:
        within, between = self.structure(theta)
        half = np.linalg.pinv(duplication(len(within)))
        second = within + self.c * between if self.method == "muml" else between
        return np.concatenate([half @ within.ravel(), half @ second.ravel()])

    @cached_property
    def slopes(self) -> np.ndarray:
        h = 1e-6
        moves = h * np.eye(len(self.theta))
        parts = [self.moments(self.theta + move) - self.moments(self.theta - move) for move in moves]
        return np.stack(parts, axis=1) / (2 * h)

    @cached_property
    def weight(self) -> np.ndarray:
        within, between = self.structure(self.theta)
        second = within + self.c * between if self.method == "muml" else between
        rows, clusters = self.n.sum(), len(self.n)
        return linalg.block_diag(self.precision(within, rows - clusters), self.precision(second, clusters))

    @cached_property
    def gamma(self) -> np.ndarray:
        within, between = self.structure(self.theta)
        rows, clusters = self.n.sum(), len(self.n)
        distinct = zip(*np.unique(self.n, return_counts=True), strict=True)
        if self.method == "muml":
            each = [count * self.dispersion(within + k * between, clusters**2) for k, count in distinct]
            return linalg.block_diag(self.dispersion(within, rows - clusters), sum(each))
        # Goldstein's first step: inverse information of the unrestricted model
        m = len(duplication(len(within)).T)
        information = linalg.block_diag(self.precision(within, rows - clusters), np.zeros((m, m)))
        for k, count in distinct:
            both = np.hstack([np.eye(m), k * np.eye(m)])
            information += both.T @ self.precision(within + k * between, count) @ both
        return np.linalg.inv(information)

    @cached_property
    def model_covariance(self) -> np.ndarray:
        """What the method's own SEs estimate."""
        return np.linalg.inv(self.slopes.T @ self.weight @ self.slopes)

    def _sandwich(self, gamma: np.ndarray) -> np.ndarray:
        pull = self.model_covariance @ self.slopes.T @ self.weight
        return pull @ gamma @ pull.T

    @cached_property
    def covariance(self) -> np.ndarray:
        """Sampling covariance of the estimates, given the sizes."""
        return self._sandwich(self.gamma)

    @cached_property
    def robust_covariance(self) -> np.ndarray:
        """What the sandwich estimates: MUML's scores of single clusters do not have mean zero, but M_j - M_c."""
        if self.method == "goldstein":
            return self.covariance
        within, between = self.structure(self.theta)
        m = len(self.moments(self.theta)) // 2
        half = np.linalg.pinv(duplication(len(within)))
        excess = half @ between.ravel()
        extra = ((self.n - self.c) ** 2).sum() / len(self.n) ** 2 * np.outer(excess, excess)
        return self._sandwich(self.gamma + linalg.block_diag(np.zeros((m, m)), extra))

    @cached_property
    def weights(self) -> np.ndarray:
        """lambda: as many as there are degrees of freedom."""
        w, d = self.weight, self.slopes
        residual = w - w @ d @ self.model_covariance @ d.T @ w
        df = len(w) - len(self.theta)
        return np.sort(np.linalg.eigvals(residual @ self.gamma).real)[::-1][:df]

    def rejection(self, *, corrected: bool = False, level: float = 0.05) -> float:
        """Share of true models rejected; ``corrected``: the statistic divided by the mean of lambda."""
        weights = self.weights / (self.weights.mean() if corrected else 1.0)
        return upper_tail(float(stats.chi2.ppf(1 - level, len(weights))), weights)


def upper_tail(x: float, weights: np.ndarray) -> float:
    """P(sum of weights times chi^2_1 > x) by inversion of the characteristic function (Imhof 1961, eq. 3.2)."""

    def integrand(u: float) -> float:
        angle = 0.5 * np.arctan(weights * u).sum() - 0.5 * x * u
        return float(np.sin(angle) / (u * np.prod((1 + (weights * u) ** 2) ** 0.25)))

    value, _ = integrate.quad(integrand, 0.0, 50.0 / weights.min(), limit=2000, epsabs=1e-10)
    return 0.5 + value / np.pi
