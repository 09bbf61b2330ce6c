"""Theory B8's "delta machine", any sizes: mean to second order and variance to first order of any method.

The methods are written here once more, from their definitions and as slowly as one likes, as functions of the
sufficient statistics (theory B10: pooled within scatter ~ Wishart, cluster means normal, all independent). Nothing of
simstudy is used. A method's limit is its value at the expected statistics, which must agree with the closed forms; its
finite-sample mean adds half the trace of Hessian times covariance of the statistics, leaving O(J^-2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize


@dataclass(frozen=True)
class Statistics:
    """One data set, or its expectation.

    Attributes
    ----------
    within : (p, p)
        Pooled within scatter divided by N - J.
    sizes, counts : (S,)
    means : (S, p)
        Of the cluster means of each size.
    scatter : (S, p, p)
        Of the cluster means about them, divided by the number of clusters of that size.
    """

    within: np.ndarray
    sizes: np.ndarray
    counts: np.ndarray
    means: np.ndarray
    scatter: np.ndarray

    def pooled(self, weights: np.ndarray) -> np.ndarray:
        """Scatter of cluster means about their weighted mean; ``weights`` (S,) count for each cluster of a size."""
        total = weights * self.counts
        offset = self.means - total @ self.means / total.sum()
        products = self.scatter + offset[:, :, None] * offset[:, None, :]
        return np.einsum("s,sij->ij", total, products)


Method = Callable[[Statistics], np.ndarray]


@dataclass(frozen=True)
class Expansion:
    """What `expand` finds: limit-like value at the expected statistics, mean to second order, covariance to first."""

    value: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray


def expand(
    method: Method, sizes: Sequence[int], sigma_within: np.ndarray, sigma_between: np.ndarray, step: float = 0.25
) -> Expansion:
    """Delta method about the expected statistics, by differences along independent unit-variance directions."""
    tally = Counter(sizes)
    n = np.array(sorted(tally), dtype=float)
    counts = np.array([tally[int(k)] for k in n], dtype=float)
    df = float((n * counts).sum() - counts.sum())
    p, s = len(sigma_within), len(n)
    cov = sigma_between + sigma_within / n[:, None, None]
    root_w = _root(sigma_within)
    roots = np.stack([_root(v) for v in cov])
    used = (counts - 1) / counts
    base = (np.zeros((p, p)), np.zeros((s, p, p)), np.zeros((s, p)))

    def at(e_within: np.ndarray, e_scatter: np.ndarray, e_mean: np.ndarray) -> np.ndarray:
        return method(
            Statistics(
                root_w @ (np.eye(p) + e_within) @ root_w.T,
                n,
                counts,
                np.einsum("sij,sj->si", roots, e_mean),
                np.einsum("sij,sjk,slk->sil", roots, used[:, None, None] * np.eye(p) + e_scatter, roots),
            )
        )

    def symmetric(i: int, j: int, unit: float) -> np.ndarray:
        e = np.zeros((p, p))
        e[i, j] = e[j, i] = unit * (np.sqrt(2) if i == j else 1.0)
        return e

    directions = []
    pairs = [(i, j) for i in range(p) for j in range(i + 1)]
    for i, j in pairs:
        directions.append((symmetric(i, j, df**-0.5), base[1], base[2]))
    for k in range(s):
        for i, j in pairs:
            e = base[1].copy()
            e[k] = symmetric(i, j, (counts[k] - 1) ** 0.5 / counts[k])
            directions.append((base[0], e, base[2]))
        for i in range(p):
            e = base[2].copy()
            e[k, i] = counts[k] ** -0.5
            directions.append((base[0], base[1], e))
    value = at(*base)
    mean = value.copy()
    covariance = np.zeros((len(value), len(value)))
    for direction in directions:
        up, down = (at(*(sign * step * d for d in direction)) for sign in (1, -1))
        slope = (up - down) / (2 * step)
        covariance += np.outer(slope, slope)
        mean += 0.5 * (up + down - 2 * value) / step**2
    return Expansion(value, mean, covariance)


def _root(a: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(a)
    return vectors * np.sqrt(np.maximum(values, 0.0))


# --- regressions ------------------------------------------------------------------------------------------------------


def regress(a: np.ndarray, outcome: int, predictors: Sequence[int]) -> np.ndarray:
    """Slopes from a matrix of cross-products."""
    x = list(predictors)
    return np.linalg.solve(a[np.ix_(x, x)], a[x, outcome])


def rows(t: Statistics) -> np.ndarray:
    """Covariance matrix of the rows (N times it)."""
    df = float((t.sizes * t.counts).sum() - t.counts.sum())
    return df * t.within + t.pooled(t.sizes)


def cluster_means(t: Statistics) -> np.ndarray:
    """Covariance matrix of the unweighted cluster means (J times it)."""
    return t.pooled(np.ones_like(t.sizes))


@dataclass(frozen=True)
class Fitted:
    """A random-intercept regression: slopes, residual variances."""

    slopes: np.ndarray
    sigma2: float
    tau2: float


def random_intercept(
    t: Statistics, outcome: int, plain: Sequence[int] = (), centred: Sequence[int] = (), *, reml: bool
) -> Fitted:
    """Random-intercept regression by maximising the profile (restricted) likelihood.

    ``plain`` predictors enter as they are, ``centred`` ones twice: as deviations and as cluster means (slopes come in
    the order plain, deviations, means).
    """
    p = len(t.within)
    k = len(plain) + 2 * len(centred) + 2
    to_within, to_between = np.zeros((p, k)), np.zeros((p, k))
    for i, x in enumerate(plain):
        to_within[x, 1 + i] = to_between[x, 1 + i] = 1.0
    for i, x in enumerate(centred):
        to_within[x, 1 + len(plain) + i] = 1.0
        to_between[x, 1 + len(plain) + len(centred) + i] = 1.0
    to_within[outcome, -1] = to_between[outcome, -1] = 1.0
    total = float((t.sizes * t.counts).sum())
    within = to_within.T @ ((total - t.counts.sum()) * t.within) @ to_within
    means = t.means @ to_between
    means[:, 0] = 1.0
    between = to_between.T @ t.scatter @ to_between + means[:, :, None] * means[:, None, :]
    divisor = total - (k - 1 if reml else 0)

    def products(theta: float) -> np.ndarray:
        return within + np.einsum("s,sij->ij", t.counts * t.sizes / (1 + t.sizes * theta), between)

    def solve(theta: float) -> tuple[np.ndarray, float]:
        m = products(theta)
        beta = np.linalg.solve(m[:-1, :-1], m[:-1, -1])
        return beta, float(m[-1, -1] - beta @ m[:-1, -1])

    def criterion(log: float) -> float:
        theta = np.expm1(log)
        value = divisor * np.log(solve(theta)[1]) + (t.counts * np.log1p(t.sizes * theta)).sum()
        if reml:
            value += np.linalg.slogdet(products(theta)[:-1, :-1])[1]
        return float(value)

    def slope(log: float, h: float = 1e-4) -> float:
        return (criterion(log + h) - criterion(log - h)) / (2 * h)

    low, high = 1e-3, 4.0
    best = float(optimize.brentq(slope, low, high, xtol=1e-13)) if slope(low) < 0 < slope(high) else 0.0
    theta = float(np.expm1(best))
    beta, rss = solve(theta)
    return Fitted(beta[1:], rss / divisor, theta * rss / divisor)


def empirical_bayes(t: Statistics, predictor: int) -> Statistics:
    """Cluster means of a predictor shrunk towards their grand mean by REML reliabilities of an empty model."""
    fit = random_intercept(t, predictor, reml=True)
    shrink = fit.tau2 / (fit.tau2 + fit.sigma2 / t.sizes)
    grand = (t.sizes * t.counts) @ t.means / (t.sizes * t.counts).sum()
    factor = np.ones((len(t.sizes), len(t.within)))
    factor[:, predictor] = shrink
    return Statistics(
        t.within, t.sizes, t.counts, grand + factor * (t.means - grand),
        t.scatter * factor[:, :, None] * factor[:, None, :],
    )  # fmt: skip


# --- saturated two-level maximum likelihood ---------------------------------------------------------------------------


def sigma_between_ml(t: Statistics) -> np.ndarray:
    """ML estimate of an unrestricted Sigma_B: Schmidt's closed form when balanced, else a root of C1's score.

    Level-2 variables are those without within scatter; their rows of Sigma_W are 0.
    """
    if len(t.sizes) == 1:
        return t.scatter[0] - t.within / t.sizes[0]
    p = len(t.within)
    level1 = np.flatnonzero(np.diag(t.within) > 1e-12)
    block = np.ix_(level1, level1)
    at_within, at_between = np.tril_indices(len(level1)), np.tril_indices(p)
    df = float((t.sizes * t.counts).sum() - t.counts.sum())

    def symmetric(values: np.ndarray, at: tuple[np.ndarray, np.ndarray], size: int) -> np.ndarray:
        lower = np.zeros((size, size))
        lower[at] = values
        return lower + np.tril(lower, -1).T

    def unpack(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first, second = len(at_within[0]), len(at_within[0]) + len(at_between[0])
        within = symmetric(x[:first], at_within, len(level1))
        return within, symmetric(x[first:second], at_between, p), x[second:]

    def score(x: np.ndarray) -> np.ndarray:
        within, between, mu = unpack(x)
        inverse = np.linalg.inv(within)
        d_within = df * (inverse - inverse @ t.within[block] @ inverse)
        d_between, d_mu = np.zeros((p, p)), np.zeros(p)
        for n, count, mean, scatter in zip(t.sizes, t.counts, t.means, t.scatter, strict=True):
            v = n * between
            v[block] += within
            v = np.linalg.inv(v)
            offset = mean - mu
            g = count * (v - n * v @ (scatter + np.outer(offset, offset)) @ v)
            d_within += g[block]
            d_between += n * g
            d_mu -= count * n * v @ offset
        return np.concatenate([d_within[at_within], d_between[at_between], d_mu]) / df

    start_b = np.average(t.scatter - t.within / t.sizes[:, None, None], axis=0, weights=t.counts)
    grand = t.counts @ t.means / t.counts.sum()
    start = np.concatenate([t.within[block][at_within], start_b[at_between], grand])
    root = optimize.root(score, start, tol=1e-13)
    assert np.abs(score(root.x)).max() < 1e-10, root.message
    return unpack(root.x)[1]


# --- what the tests ask for -------------------------------------------------------------------------------------------


def contextual_methods(*, reml: bool = True) -> dict[str, Method]:
    """(x, y): the between slope each method reports; for `mlm` and `mlm_centered` also sigma_c^2 and tau_c^2."""

    def components(fit: Fitted) -> np.ndarray:
        return np.array([fit.slopes[-1], fit.sigma2, fit.tau2])

    return {
        "disaggregated": lambda t: regress(rows(t), 1, [0]),
        "aggregated": lambda t: regress(cluster_means(t), 1, [0]),
        "mlm": lambda t: components(random_intercept(t, 1, [0], reml=reml)),
        "mlm_centered": lambda t: components(random_intercept(t, 1, (), [0], reml=reml)),
        "msem": lambda t: regress(sigma_between_ml(t), 1, [0]),
    }


def _indirect(a: float, b: float) -> np.ndarray:
    return np.array([a, b, a * b])


def mediation_methods(*, level2_x: bool = False, reml: bool = True) -> dict[str, Method]:
    """(x, m, y): between a, b, ab of each method. With ``level2_x``, x is a level-2 variable (2-1-1)."""

    def from_matrix(a: np.ndarray) -> np.ndarray:
        return _indirect(regress(a, 1, [0])[0], regress(a, 2, [0, 1])[1])

    def conflated(t: Statistics) -> np.ndarray:
        first = random_intercept(t, 1, [0], reml=reml).slopes
        return _indirect(first[0], random_intercept(t, 2, [0, 1], reml=reml).slopes[1])

    def centred(t: Statistics) -> np.ndarray:
        if level2_x:
            first = random_intercept(t, 1, [0], reml=reml).slopes
            second = random_intercept(t, 2, [0], [1], reml=reml).slopes[2]
        else:
            first = random_intercept(t, 1, (), [0], reml=reml).slopes[1:]
            second = random_intercept(t, 2, (), [0, 1], reml=reml).slopes[3]
        return _indirect(first[0], second)

    return {
        "disaggregated": lambda t: from_matrix(rows(t)),
        "aggregated": lambda t: from_matrix(cluster_means(t)),
        "mlm": conflated,
        "mlm_centered": centred,
        "msem": lambda t: from_matrix(sigma_between_ml(t)),
    }
