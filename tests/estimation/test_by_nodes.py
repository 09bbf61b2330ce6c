"""Node counts by error, on a one-parameter likelihood whose rules have a known error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from simstudy.estimation.by_nodes import by_nodes
from simstudy.estimation.optimum import Optimum
from simstudy.estimation.result import Status
from simstudy.linalg.stacked import BoolArray, FloatArray


@dataclass(frozen=True)
class Targets:
    """Maxima (R,) and how fast rules converge (R,)."""

    at: FloatArray
    rate: FloatArray

    def select(self, replicates):
        return Targets(self.at[replicates], self.rate[replicates])


@dataclass(frozen=True)
class Parabola:
    """-50 (x - at - e)^2 - e, with the rule's error e = rate^nodes."""

    nodes: int

    def error(self, data: Targets) -> FloatArray:
        return data.rate**self.nodes

    def slope(self, params: FloatArray, data: Targets) -> tuple[FloatArray, FloatArray, BoolArray]:
        gap = params[:, 0] - data.at - self.error(data)
        return -50.0 * gap**2 - self.error(data), -100.0 * gap[:, None], np.ones(len(gap), dtype=bool)

    def loglik(self, params: FloatArray, data: Targets) -> FloatArray:
        return self.slope(params, data)[0]


RUNGS = [Parabola(n) for n in (5, 9, 17, 33)]
CLIMBED: list[tuple[int, int]] = []


def climb(k: int, data: Targets, starts: tuple[FloatArray, ...]) -> Optimum:
    CLIMBED.append((k, len(data.at)))
    x = data.at + RUNGS[k].error(data)
    n = len(x)
    assert all(len(start) == n for start in starts)
    status, steps = np.full(n, int(Status.OK)), np.full(n, 2, dtype=np.int64)
    return Optimum(x[:, None], -RUNGS[k].error(data), np.full((n, 1, 1), 100.0), status, steps)


def test_as_many_nodes_as_the_error_asks_for() -> None:
    CLIMBED.clear()
    data = Targets(np.array([1.0, 2.0, 3.0]), np.array([0.05, 0.5, 0.9]))
    found = by_nodes(RUNGS, data, (np.zeros((3, 1)),), climb)
    assert found.nodes is not None
    assert found.error is not None
    assert found.nodes.tolist() == [9.0, 17.0 + 16.0, 33.0]
    assert CLIMBED == [(0, 3), (1, 2), (2, 2), (3, 1)]
    error = np.array([0.05**9, 0.5**33, 0.9**33])  # of the finest rung each was looked at from
    np.testing.assert_allclose(found.best.params[:, 0] - data.at, error, atol=1e-14)
    np.testing.assert_allclose(found.best.loglik, -error, atol=1e-12)
    assert (error <= found.error).all()
    assert found.best.n_iter.tolist() == [2, 6, 8]


@pytest.mark.parametrize("part", [[0], [2, 1], [1]])
def test_nothing_depends_on_the_batch(part) -> None:
    data = Targets(np.array([1.0, 2.0, 3.0]), np.array([0.05, 0.5, 0.9]))
    whole = by_nodes(RUNGS, data, (np.zeros((3, 1)),), climb)
    some = by_nodes(RUNGS, data.select(part), (np.zeros((len(part), 1)),), climb)
    np.testing.assert_array_equal(some.best.params, whole.best.params[part])
    np.testing.assert_array_equal(some.best.loglik, whole.best.loglik[part])
