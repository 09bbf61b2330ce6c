"""Cholesky parameters of covariance matrices: back and forth, derivatives, what becomes of each kind of block."""

from __future__ import annotations

import numpy as np
import pytest

from simstudy.estimation.cholesky import CholeskyParameters
from simstudy.model.constraints import ConstraintSet
from simstudy.model.twolevel import TwoLevelModel

BLOCKS = {
    "full": "y ~~ s\n s ~ w\n",
    "two slopes": "y ~~ s\n y ~~ t\n s ~~ t\n",
    "gaps": "y ~~ s\n y ~~ t\n s ~~ 0*t\n",
    "shared": "y ~~ v*y\n s ~~ v*s\n y ~~ s\n",
    "diagonal": "y ~~ 0*s\n y ~~ t\n s ~~ 0*t\n",
}


def model(between: str) -> TwoLevelModel:
    return TwoLevelModel.from_syntax(f"level: 1\n y ~ rv('s')*x + rv('t')*z\nlevel: 2\n y ~ w\n{between}")


def feasible(found: TwoLevelModel) -> np.ndarray:
    rng = np.random.default_rng(1)
    theta = rng.uniform(0.1, 0.3, size=(3, len(found.names)))
    theta[:, found.table.variance_indices] = rng.uniform(0.6, 1.4, size=(3, len(found.table.variance_indices)))
    return theta


@pytest.mark.parametrize("name", BLOCKS)
def test_back_and_forth(name) -> None:
    found = model(BLOCKS[name])
    working, theta = CholeskyParameters(found), feasible(found)
    np.testing.assert_allclose(working.natural(working.of_natural(theta)), theta, rtol=1e-14)  # rounding


@pytest.mark.parametrize("name", BLOCKS)
def test_derivatives(name) -> None:
    found = model(BLOCKS[name])
    working = CholeskyParameters(found)
    xi = working.of_natural(feasible(found))[:1]
    q, h = working.q, 1e-6
    points = np.repeat(xi, 2 * q, axis=0)
    points[np.arange(2 * q), np.tile(np.arange(q), 2)] += np.repeat([h, -h], q)
    values = working.natural(points)
    numeric = ((values[:q] - values[q:]) / (2 * h)).T
    np.testing.assert_allclose(working.jacobian(xi)[0], numeric, atol=1e-9)  # rounding / h
    score = np.random.default_rng(2).normal(size=(1, q))
    slopes = np.matmul(score, working.jacobian(points))[:, 0]
    bend = (slopes[:q] - slopes[q:]) / (2 * h)
    np.testing.assert_allclose(working.curvature(xi, score)[0], bend, atol=1e-9)


def test_which_blocks_become_what() -> None:
    assert [block.size for block in CholeskyParameters(model(BLOCKS["full"])).blocks] == [2]
    assert [block.size for block in CholeskyParameters(model(BLOCKS["two slopes"])).blocks] == [3]
    gaps = CholeskyParameters(model(BLOCKS["gaps"]))
    assert gaps.blocks == ()
    assert len(gaps.correlations) == 2
    shared = CholeskyParameters(model(BLOCKS["shared"]))
    assert shared.blocks == ()
    assert len(shared.correlations) == 2  # s with y, and with t
    assert len(shared.squares) == 3  # v, t and w
    assert [block.size for block in CholeskyParameters(model(BLOCKS["diagonal"])).blocks] == [2]


def test_slopes_stand_last_in_their_block() -> None:
    """A variance of 0 leaves no direction undetermined if it is the last one of the Cholesky factor."""
    found = TwoLevelModel.from_syntax("level: 1\n y ~ rv('s')*x\nlevel: 2\n s ~~ s\n s ~~ y\n y ~~ y\n")
    (block,) = CholeskyParameters(found).blocks
    assert [found.names[i] for i in np.diagonal(block.index)] == ["between: y ~~ y", "between: s ~~ s"]


def test_singular_matrices_are_feasible() -> None:
    found = model(BLOCKS["full"])
    working, theta = CholeskyParameters(found), feasible(found)
    for row in found.table.at("between"):
        if row.op == "~~" and {row.lhs, row.rhs} <= {"y", "s"}:
            theta[:, row.free] = 0.0 if "s" in (row.lhs, row.rhs) else 0.5
    xi = working.of_natural(theta)
    np.testing.assert_allclose(working.natural(xi), theta, atol=1e-15)
    assert working.boundary(xi, np.full_like(xi, 1e-12)).all()
    assert not working.boundary(working.of_natural(feasible(found)), np.full_like(xi, 1e-12)).any()


TIED = {
    "path": "y ~ a*w\n s ~ b*w\n y ~~ s\n a == b^2\n",
    "variances": "y ~~ vy*y\n s ~~ vs*s\n y ~~ s\n vs == exp(vy)/3\n",
    "covariance": "y ~~ vy*y\n s ~~ vs*s\n y ~~ r*s\n t ~~ t\n r == .5*sqrt(vs*vy)\n",
    "chain": "y ~ a*w\n s ~ b*w + c*1\n a == b*c\n b == exp(c)\n",
}


@pytest.mark.parametrize("name", TIED)
def test_constraints_hold_and_have_derivatives(name) -> None:
    text = TIED[name].replace("y ~ a*w\n", "")
    found = TwoLevelModel.from_syntax(
        f"level: 1\n y ~ rv('s')*x + rv('t')*z\nlevel: 2\n y ~ {'a*' if 'a*w' in TIED[name] else ''}w\n {text}"
    )
    table = found.table
    constraints = ConstraintSet(table.names, table.constants, table.constraints)
    working = CholeskyParameters(found, constraints)
    xi = working.of_natural(constraints.fill(feasible(found)))[:1]
    env = dict(zip(table.names, working.natural(xi)[0], strict=True))
    assert [one.gap(env) for one in table.constraints] == pytest.approx([0.0] * len(table.constraints), abs=1e-14)
    q, h = working.q, 1e-5
    points = np.repeat(xi, 2 * q, axis=0)
    points[np.arange(2 * q), np.tile(np.arange(q), 2)] += np.repeat([h, -h], q)
    values = working.natural(points)
    numeric = ((values[:q] - values[q:]) / (2 * h)).T
    np.testing.assert_allclose(working.jacobian(xi)[0], numeric, atol=1e-8)  # h^2 and rounding / h
    score = np.random.default_rng(2).normal(size=(1, q))
    slopes = np.matmul(score, working.jacobian(points))[:, 0]
    bend = (slopes[:q] - slopes[q:]) / (2 * h)
    np.testing.assert_allclose(working.curvature(xi, score)[0], bend, atol=1e-8)
    assert np.abs(working.jacobian(xi)[0][:, constraints.dependent]).max() == 0.0  # no coordinate of their own


def test_bounds_of_parameters_are_bounds_of_their_coordinates() -> None:
    found = model("y ~~ vy*y\n s ~~ vs*s\n y ~~ r*s\n")
    at = {name: i for i, name in enumerate(found.names)}
    lower, upper = np.full(len(at), -np.inf), np.full(len(at), np.inf)
    lower[at["vy"]], upper[at["vs"]], lower[at["r"]], upper[at["within: y ~~ y"]] = 0.3, 0.5, -0.2, 2.0
    working = CholeskyParameters(found, bounded=[at["vy"], at["vs"], at["r"], at["within: y ~~ y"]])
    box = working.box(lower, upper)
    for name, value in (("vy", 0.3), ("vs", 0.5), ("r", -0.2), ("within: y ~~ y", 2.0)):
        side = box.lower if np.isfinite(lower[at[name]]) else box.upper
        xi = working.of_natural(feasible(found))[:1]
        xi[0, at[name]] = side[at[name]]
        assert working.natural(xi)[0, at[name]] == pytest.approx(value, rel=1e-15)
    assert np.isinf(box.lower[at["within: y ~~ y"]])
