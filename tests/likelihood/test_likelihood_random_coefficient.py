"""The profile likelihood of random coefficients against dense matrices and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from simstudy.likelihood.mixed.random_coefficient import CoefficientData, RandomCoefficient

SIZES = [1, 2, 3, 5, 8, 4, 6, 2]


def rows(seed: int = 1) -> list[tuple[np.ndarray, np.ndarray]]:
    """(regressors, outcome) of every cluster: constant, x, w, w x."""
    rng = np.random.default_rng(seed)
    found = []
    for n in SIZES:
        x, w = rng.normal(1.0, 1.0, n), rng.normal()
        y = 0.5 + 0.3 * x + rng.normal() + 0.6 * rng.normal() * x + rng.normal(size=n)
        found.append((np.stack([np.ones(n), x, np.full(n, w), w * x], axis=1), y))
    return found


def products(r: int) -> CoefficientData:
    pairs = [(x[:, :r], np.column_stack([x, y])) for x, y in rows()]
    return CoefficientData(
        np.stack([z.T @ z for z, _ in pairs], axis=-1)[None],
        np.stack([z.T @ c for z, c in pairs], axis=-1)[None],
        sum(c.T @ c for _, c in pairs)[None],
        sum(SIZES),
    )


def entries(r: int) -> tuple[np.ndarray, np.ndarray]:
    return np.nonzero(np.tril(np.ones((r, r))))


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("params", [[0.7], [0.0], [0.7, -0.3, 0.5], [0.7, 0.2, 0.0], [0.6, 0.1, 0.4, -0.2, 0.1, 0.3]])
def test_dense_likelihood(params, reml) -> None:
    """N(X b, sigma^2 (I + Z D Z')) at the profiled b and sigma^2; the restricted one of N - k error contrasts."""
    r = {1: 1, 3: 2, 6: 3}[len(params)]
    problem = RandomCoefficient(*entries(r), reml=reml)
    params = np.array([params])
    factor = problem.factor(params)[0]
    x, y = (np.concatenate(part) for part in zip(*rows(), strict=True))
    big = np.eye(len(y))
    first = 0
    for block, _ in rows():
        at = slice(first, first + len(block))
        big[at, at] += block[:, :r] @ factor @ factor.T @ block[:, :r].T
        first += len(block)
    precision = np.linalg.inv(big)
    beta = np.linalg.solve(x.T @ precision @ x, x.T @ precision @ y)
    rss = (y - x @ beta) @ precision @ (y - x @ beta)
    found = problem.evaluate(params, products(r))
    if reml:
        # contrasts A'y with A'X = 0, A'A = I; the customary constant leaves log|X'X| out of their density
        contrasts = np.linalg.svd(x)[0][:, x.shape[1] :]
        sigma2 = rss / (len(y) - x.shape[1])
        dense = stats.multivariate_normal(np.zeros(contrasts.shape[1]), sigma2 * contrasts.T @ big @ contrasts)
        expected = dense.logpdf(contrasts.T @ y) - 0.5 * np.linalg.slogdet(x.T @ x)[1]
    else:
        expected = stats.multivariate_normal(x @ beta, rss / len(y) * big).logpdf(y)
    assert found.loglik[0] == pytest.approx(expected, abs=1e-10)  # rounding of 31 x 31 determinants
    solved = problem.solution(params, products(r))
    np.testing.assert_allclose(solved.beta[0], beta, atol=1e-11)
    np.testing.assert_allclose(solved.beta_cov[0], solved.sigma2[0] * np.linalg.inv(x.T @ precision @ x), atol=1e-11)


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("r", [1, 2, 3])
def test_score_and_information(r, reml) -> None:
    problem, data = RandomCoefficient(*entries(r), reml=reml), products(r)
    params = np.random.default_rng(3).normal(0.3, 0.3, (1, r * (r + 1) // 2))
    found, step = problem.evaluate(params, data), 1e-5
    for i in range(params.shape[1]):
        away = np.zeros_like(params)
        away[0, i] = step
        up, down = problem.evaluate(params + away, data), problem.evaluate(params - away, data)
        slope = (up.loglik[0] - down.loglik[0]) / (2 * step)
        assert found.score[0, i] == pytest.approx(slope, abs=1e-7)  # rounding of differences
        second = -(up.score[0] - down.score[0]) / (2 * step)
        np.testing.assert_allclose(found.information[0, i], second, atol=1e-7 * np.abs(second).max() + 1e-7)


@pytest.mark.parametrize("reml", [False, True])
def test_covariance_of_variances_is_the_inverse_expected_information(reml) -> None:
    """tr(P V_a P V_b) / 2 of dense matrices, for T00, T01, T11 and sigma^2 (P with X for the restricted one)."""
    problem, params = RandomCoefficient(*entries(2), reml=reml), np.array([[0.8, 0.2, 0.5]])
    solved = problem.solution(params, products(2))
    x = np.concatenate([block for block, _ in rows()])
    z = np.zeros((len(x), 2 * len(SIZES)))
    first = 0
    for j, (block, _) in enumerate(rows()):
        z[first : first + len(block), 2 * j : 2 * j + 2] = block[:, :2]
        first += len(block)
    units = [np.array([[1.0, 0], [0, 0]]), np.array([[0, 1.0], [1, 0]]), np.array([[0, 0], [0, 1.0]])]
    v = z @ np.kron(np.eye(len(SIZES)), solved.covariance[0]) @ z.T + solved.sigma2[0] * np.eye(len(x))
    p = np.linalg.inv(v)
    if reml:
        p = p - p @ x @ np.linalg.solve(x.T @ p @ x, x.T @ p)
    parts = [p @ z @ np.kron(np.eye(len(SIZES)), unit) @ z.T for unit in units] + [p]
    dense = np.linalg.inv([[0.5 * np.trace(a @ b) for b in parts] for a in parts])
    ours = solved.variance_cov[0][np.ix_([0, 1, 3, 4], [0, 1, 3, 4])]
    np.testing.assert_allclose(ours, dense, rtol=1e-7)  # the ridge of 1e-10 on the information
