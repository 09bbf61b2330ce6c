"""The likelihood of a level known with error: dense normal densities, score and information by differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from simstudy.likelihood.normal.level_with_noise import LevelWithNoise, UnitsWithNoise
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.twolevel import TwoLevelModel

MODEL = TwoLevelModel.from_syntax("level: 1\n y ~ rv('s')*x\nlevel: 2\n s ~ g*w\n z ~ b*s\n y ~~ s\n y ~ g*w\n")
LEVEL = LevelWithNoise(SlopeStructure(MODEL).between, len(MODEL.names))


def units(groups: int, seed: int = 1) -> UnitsWithNoise:
    rng, p = np.random.default_rng(seed), 4
    root = rng.normal(size=(1, groups, p, p))
    noise = 0.1 * np.matmul(root, root.swapaxes(-1, -2))
    scatter = np.matmul(root[..., ::-1], root[..., ::-1].swapaxes(-1, -2))
    return UnitsWithNoise(
        rng.integers(1, 5, (1, groups)).astype(float), rng.normal(size=(1, groups, p)), scatter, noise
    )


def point(seed: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(0.0, 0.3, len(MODEL.names))
    values[MODEL.table.variance_indices] = rng.uniform(0.5, 1.0, len(MODEL.table.variance_indices))
    return values[None, LEVEL.used]


def test_density_of_single_units() -> None:
    data = units(3)
    single = UnitsWithNoise(np.ones((1, 3)), data.mean, np.zeros_like(data.scatter), data.noise)
    implied = LEVEL.implied(point())
    expected = sum(
        stats.multivariate_normal(implied.mu[0], implied.sigma[0] + data.noise[0, g]).logpdf(data.mean[0, g])
        for g in range(3)
    )
    assert LEVEL.evaluate(point(), single).loglik[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("groups", [1, 5])
def test_score_and_observed_information(groups) -> None:
    data, params, step = units(groups), point(), 1e-5
    found, observed = LEVEL.evaluate(params, data), LEVEL.observed_information(params, data)
    np.testing.assert_allclose(LEVEL.unit_scores(params, data).sum(axis=1), found.score, atol=1e-10)
    for i in range(params.shape[1]):
        away = np.zeros_like(params)
        away[0, i] = step
        up, down = LEVEL.evaluate(params + away, data), LEVEL.evaluate(params - away, data)
        assert found.score[0, i] == pytest.approx((up.loglik[0] - down.loglik[0]) / (2 * step), abs=1e-6)  # rounding
        second = (down.score[0] - up.score[0]) / (2 * step)
        np.testing.assert_allclose(observed[0, i], second, atol=1e-7 * np.abs(observed).max())


def test_expected_information_is_the_observed_one_at_the_moments() -> None:
    """Where every group has the moments that the model implies, both are the same."""
    data, implied = units(5), LEVEL.implied(point())
    exact = UnitsWithNoise(
        data.n,
        np.broadcast_to(implied.mu[:, None], data.mean.shape),
        data.n[..., None, None] * (implied.sigma[:, None] + data.noise),
        data.noise,
    )
    found = LEVEL.evaluate(point(), exact)
    np.testing.assert_allclose(found.score, 0.0, atol=1e-9)
    np.testing.assert_allclose(found.information, LEVEL.observed_information(point(), exact), atol=1e-9)


def test_derivative_along_the_noise() -> None:
    """At the moments the expected derivative is the derivative."""
    data, implied, step = units(4), LEVEL.implied(point()), 1e-6
    direction = np.eye(4) * np.ones((1, 4, 1, 1))
    moments = data.n[..., None, None] * (implied.sigma[:, None] + data.noise)
    mean = np.broadcast_to(implied.mu[:, None], data.mean.shape)

    def score(change: float) -> np.ndarray:
        return LEVEL.evaluate(point(), UnitsWithNoise(data.n, mean, moments, data.noise + change * direction)).score

    exact = LEVEL.noise_slope(point(), UnitsWithNoise(data.n, mean, moments, data.noise), direction)
    np.testing.assert_allclose(exact, (score(step) - score(-step)) / (2 * step), atol=1e-6)
