"""Brute-force oracles: stacked normal densities of raw rows, and mixed models with a dense covariance matrix."""

from __future__ import annotations

import numpy as np
from scipy import linalg, stats

from simstudy.data.sample import Sample


def stacked_loglik(sample: Sample, mu: np.ndarray, within: np.ndarray, between: np.ndarray) -> float:
    """Log-density of all rows and level-2 variables of every cluster, as one normal vector each."""
    p1 = len(sample.level1)
    total, first = 0.0, 0
    for j, n in enumerate(sample.layout.sizes):
        y = sample.rows[0, first : first + n].ravel()
        first += n
        ones = np.ones((n, 1))
        yy = np.kron(np.eye(n), within) + np.kron(ones @ ones.T, between[:p1, :p1])
        yz = np.kron(ones, between[:p1, p1:])
        cov = np.block([[yy, yz], [yz.T, between[p1:, p1:]]])
        mean = np.concatenate([np.tile(mu[:p1], n), mu[p1:]])
        total += stats.multivariate_normal.logpdf(np.concatenate([y, sample.clusters[0, j]]), mean, cov)
    return float(total)


class DenseMixedModel:
    """y = X beta + u + e with V = sigma^2 I + tau^2 ZZ' written out (Harville 1977)."""

    def __init__(self, x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> None:
        self.x, self.y = x, y
        self.zz = (groups[:, None] == groups[None, :]).astype(float)
        self.n, self.k = x.shape

    def v(self, sigma2: float, tau2: float) -> np.ndarray:
        return sigma2 * np.eye(self.n) + tau2 * self.zz

    def beta(self, sigma2: float, tau2: float) -> tuple[np.ndarray, np.ndarray]:
        """Generalised least squares, and its covariance matrix."""
        vx = linalg.solve(self.v(sigma2, tau2), self.x, assume_a="pos")
        cov = linalg.inv(self.x.T @ vx)
        return cov @ (vx.T @ self.y), cov

    def loglik(self, sigma2: float, tau2: float, *, reml: bool) -> float:
        """(Restricted) log-likelihood, maximal over beta."""
        v = self.v(sigma2, tau2)
        beta, cov = self.beta(sigma2, tau2)
        if not reml:
            return float(stats.multivariate_normal.logpdf(self.y, self.x @ beta, v))
        r = self.y - self.x @ beta
        deviance = np.linalg.slogdet(v)[1] + r @ linalg.solve(v, r, assume_a="pos") - np.linalg.slogdet(cov)[1]
        return float(-0.5 * (deviance + (self.n - self.k) * np.log(2 * np.pi)))

    def profile(self, theta: float, *, reml: bool) -> float:
        """The same, maximal over sigma^2 at a given tau^2 / sigma^2."""
        beta, _ = self.beta(1.0, theta)
        r = self.y - self.x @ beta
        rss = r @ linalg.solve(self.v(1.0, theta), r, assume_a="pos")
        sigma2 = float(rss / (self.n - (self.k if reml else 0)))
        return self.loglik(sigma2, theta * sigma2, reml=reml)

    def variance_information(self, sigma2: float, tau2: float, *, reml: bool) -> np.ndarray:
        """tr(P V_a P V_b) / 2 for (sigma^2, tau^2); P = V^-1 under full likelihood."""
        p = linalg.inv(self.v(sigma2, tau2))
        if reml:
            px = p @ self.x
            p = p - px @ linalg.solve(self.x.T @ px, px.T)
        parts = [p, p @ self.zz]
        return 0.5 * np.array([[np.sum(a * b.T) for b in parts] for a in parts])
