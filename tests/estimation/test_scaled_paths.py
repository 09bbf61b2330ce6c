"""Working parameters of random slopes: back and forth, derivatives, steps along the valley of a small variance."""

from __future__ import annotations

import numpy as np
import pytest

from simstudy.estimation.scaled_paths import ScaledPaths
from simstudy.model.twolevel import TwoLevelModel

MODELS = {
    "one": "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ x + w\n s ~ w\n y ~~ s\n",
    "chain": "level: 1\n m ~ rv('a')*x\n y ~ rv('b')*m + x\nlevel: 2\n m ~ x\n y ~ m + x\n a ~~ b\n",
    "slope predicts": "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ s\n z ~ s\n y ~~ z\n",
}


def feasible(model: TwoLevelModel, n: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    theta = rng.uniform(0.1, 0.3, size=(n, len(model.names)))
    at = model.table.variance_indices
    theta[:, at] = rng.uniform(0.6, 1.4, size=(n, len(at)))
    return theta


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_back_and_forth_and_derivatives(name, turned) -> None:
    model = TwoLevelModel.from_syntax(MODELS[name])
    working = ScaledPaths(model).turned() if turned else ScaledPaths(model)
    theta = feasible(model, 1)
    xi, q, h = working.of_natural(theta), len(model.names), 1e-6
    np.testing.assert_allclose(working.natural(xi), theta, rtol=1e-13)  # rounding
    points = np.repeat(xi, 2 * q, axis=0)
    points[np.arange(2 * q), np.tile(np.arange(q), 2)] += np.repeat([h, -h], q)
    values = working.natural(points)
    np.testing.assert_allclose(
        working.jacobian(xi)[0], ((values[:q] - values[q:]) / (2 * h)).T, atol=1e-9
    )  # rounding / h
    score = np.random.default_rng(2).normal(size=(1, q))
    slopes = np.matmul(score, working.jacobian(points))[:, 0]
    np.testing.assert_allclose(working.curvature(xi, score)[0], (slopes[:q] - slopes[q:]) / (2 * h), atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_moves_have_the_tangent_of_the_step_and_keep_moments_straight(name) -> None:
    model = TwoLevelModel.from_syntax(MODELS[name])
    working = ScaledPaths(model)
    xi = working.of_natural(feasible(model, 3))
    step = 1e-4 * np.random.default_rng(3).normal(size=xi.shape)
    far = working.move(xi, step) - xi
    near = working.move(xi, 0.5 * step) - xi
    np.testing.assert_allclose(far - 2.0 * near, 0.0, atol=1e-6)  # second order in the step
    np.testing.assert_allclose(far, step, atol=1e-6)
    big = working.move(xi, 300.0 * step)
    ends = [working.natural(point)[:, model.table.variance_indices] for point in (xi, big)]
    assert (ends[1] >= 0.0).all()
    for row in model.table.at("between"):  # variances that nothing is scaled by or adds to move in a straight line
        if row.op == "~~" and row.lhs == row.rhs == "x":
            v = working.natural(xi)[:, row.free]
            slope = np.matmul(working.jacobian(xi), 300.0 * step[..., None])[:, row.free, 0]
            np.testing.assert_allclose(working.natural(big)[:, row.free], v + slope, rtol=1e-10)


def test_which_paths_are_scaled() -> None:
    """Those of random elements that nothing predicts; not of level-2 variables, mediators, shared or bounded ones."""

    def scaled(text: str, *more: int) -> list[str]:
        model = TwoLevelModel.from_syntax(text)
        return [model.names[i] for i in ScaledPaths(model, None, more).paths]

    assert scaled(MODELS["one"]) == ["between: y ~ x"]
    assert scaled(MODELS["chain"]) == ["between: m ~ x", "between: y ~ x"]
    assert scaled(MODELS["slope predicts"]) == ["between: y ~ s", "between: z ~ s"]
    assert scaled(MODELS["one"], 0) == []
    assert scaled("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ g*x\n s ~ g*x\n") == []


def test_a_step_never_takes_a_diagonal_to_zero() -> None:
    model = TwoLevelModel.from_syntax(MODELS["one"])
    working = ScaledPaths(model)
    xi = working.of_natural(feasible(model, 1))
    place = working.variances[0]
    step = np.zeros_like(xi)
    step[:, place] = -0.5 * xi[:, place]  # to v - v: exactly 0 along the straight line of v
    assert abs(working.move(xi, step)[0, place]) > 0.0
