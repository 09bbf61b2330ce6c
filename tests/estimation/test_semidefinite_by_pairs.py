"""The maximum over semidefinite Sigma_between by pairs: against the closed form and against full matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import linalg

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.estimation.engine import Engine, complete_engine
from simstudy.estimation.optimum import Optimum
from simstudy.estimation.result import Status
from simstudy.estimation.scoring import SCORING
from simstudy.estimation.semidefinite import is_semidefinite, solve_semidefinite
from simstudy.estimation.starts import starts_from_moments
from simstudy.estimation.unrestricted import unrestricted_model
from simstudy.likelihood.normal.cone_moments import ConeMoments
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

BALANCED = ClusterLayout.of([5] * 40)
UNBALANCED = ClusterLayout.of([3] * 20 + [5] * 15 + [8] * 10)


def structure_of(n_level1: int, n_level2: int) -> TwoLevelStructure:
    own = "\n".join(f"y{i} ~~ y{i}" for i in range(n_level1))
    more = "\n".join(f"z{i} ~~ z{i}" for i in range(n_level2))
    model = TwoLevelModel.from_syntax(f"level: within\n{own}\nlevel: between\n{own}\n{more}")
    return TwoLevelStructure(unrestricted_model(model))


def draw(structure: TwoLevelStructure, layout: ClusterLayout, n: int, seed: int, icc: float = 0.1) -> Sample:
    """Variables that share one factor between clusters, of different units."""
    rng = np.random.default_rng(seed)
    model = structure.model
    p1, p2 = len(model.level1), len(model.level2)
    sizes = np.repeat(layout.distinct, layout.counts)
    factor = rng.standard_normal((n, len(sizes), 1))
    rows = rng.standard_normal((n, int(sizes.sum()), p1)) + 0.5 * rng.standard_normal((n, int(sizes.sum()), 1))
    rows = (rows + np.sqrt(icc) * np.repeat(factor, sizes, axis=1)) * 2.0 ** np.arange(p1)
    return Sample(layout, model.level1, model.level2, rows, factor + rng.standard_normal((n, len(sizes), p2)))


def engine_of(structure: TwoLevelStructure, sample: Sample) -> Engine:
    return complete_engine(structure, sample.statistics(cluster_wise=False))


def solve(structure: TwoLevelStructure, engine: Engine, *, by_pairs: bool = True) -> Optimum:
    with np.errstate(all="ignore"):
        best = engine.solve_once()
        return solve_semidefinite(structure, engine if by_pairs else replace(engine, optimiser=SCORING), best)


def closed_form(sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maximum for clusters of one size (Anderson, Anderson & Olkin 1986), of one data set.

    In the basis in which the within mean square is I and the between one diag(d), directions with d <= 1 have no
    between variance and the pooled variance within; the others 1 and (d - 1) / n.
    """
    n, j = int(sample.layout.distinct[0]), sample.layout.n_clusters
    rows = sample.rows[0].reshape(j, n, -1)
    means = rows.mean(axis=1)
    inside = (rows - means[:, None]).reshape(j * n, -1)
    between = means - means.mean(axis=0)
    within = inside.T @ inside / (j * (n - 1))
    d, vectors = linalg.eigh(n * between.T @ between / j, within)
    back = np.linalg.inv(vectors)
    pooled = np.where(d > 1.0, 1.0, (j * (n - 1) + j * d) / (j * n))
    return (
        means.mean(axis=0),
        back.T @ np.diag(pooled) @ back,
        back.T @ np.diag(np.maximum(d - 1.0, 0.0) / n) @ back,
    )


@pytest.mark.parametrize("seed", range(3))
def test_balanced_maximum_is_the_closed_form(seed) -> None:
    structure = structure_of(6, 0)
    sample = draw(structure, BALANCED, 1, seed)
    engine = engine_of(structure, sample)
    found = solve(structure, engine)
    exact = starts_from_moments(structure, *(part[None] for part in closed_form(sample)))
    assert found.status[0] == int(Status.OK)
    assert found.n_iter[0] == 1  # directions that start at 0 are held there: one step is exact
    assert is_semidefinite(structure, found.params)[0]
    # rounding of matrices with variances up to 2^10, whose condition is 1e3
    np.testing.assert_allclose(found.params, exact, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.loglik, engine.likelihood.loglik(exact, engine.data)[0], rtol=1e-13)


@pytest.mark.parametrize("sizes", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
@pytest.mark.parametrize("n_level2", [0, 2])
def test_maximum_is_that_of_full_matrices(sizes, n_level2) -> None:
    structure = structure_of(5, n_level2)
    engine = engine_of(structure, draw(structure, sizes, 10, seed=2))
    fast, full = (solve(structure, engine, by_pairs=choice) for choice in (True, False))
    assert (full.n_iter > 0).any()
    assert (fast.status == int(Status.OK)).all()
    assert is_semidefinite(structure, fast.params).all()
    # both stop within a decrement of 1e-12; sums of 1e3 terms
    np.testing.assert_allclose(fast.loglik, full.loglik, atol=1e-10)
    np.testing.assert_allclose(fast.information, full.information, rtol=1e-4, atol=1e-4)


def test_fewer_clusters_of_the_largest_size_than_variables() -> None:
    """The unrestricted likelihood has no maximum then, that over the cone has."""
    structure = structure_of(6, 0)
    layout = ClusterLayout.of([2] * 12 + [4] * 9 + [9] * 2)
    engine = engine_of(structure, draw(structure, layout, 6, seed=3))
    assert (engine.solve_once().status != int(Status.OK)).any()
    fast, full = (solve(structure, engine, by_pairs=choice) for choice in (True, False))
    assert (fast.status == int(Status.OK)).all()
    np.testing.assert_allclose(fast.loglik, full.loglik, atol=1e-10)  # as above


def test_batches_of_any_size_have_the_same_bits() -> None:
    structure = structure_of(4, 1)
    sample = draw(structure, UNBALANCED, 7, seed=5, icc=0.03)
    whole = solve(structure, engine_of(structure, sample))
    for size in (1, 3):
        parts = [sample.select(slice(first, first + size)) for first in range(0, 7, size)]
        some = [solve(structure, engine_of(structure, part)) for part in parts]
        for name in ("params", "loglik", "information", "status", "n_iter"):
            found = np.concatenate([getattr(part, name) for part in some])
            np.testing.assert_array_equal(found, getattr(whole, name), err_msg=name)


def test_score_is_the_derivative_along_projected_steps() -> None:
    """On the border too, where a step turns the directions that have no between variance."""
    structure = structure_of(5, 1)
    engine = engine_of(structure, draw(structure, UNBALANCED, 6, seed=4))
    cone = ConeMoments(engine.likelihood)
    params = cone.raised(engine.starts[0], 0.0)
    at = cone.evaluate(params, engine.data)
    # not straight up: weights of their own for every coordinate
    rng = np.random.default_rng(1)
    direction = cone.solve(at.information, at.score)[0] * rng.uniform(0.5, 1.5, at.score.shape)
    slope = (direction * at.score).sum(axis=1)
    small = 1e-5
    moved = params + cone.move(at.information, small * direction)
    gain = engine.likelihood.loglik(moved, engine.data)[0] - at.loglik
    np.testing.assert_allclose(gain / small, slope, rtol=1e-3)  # the second order is 1e-5 of the first


def test_within_part_of_a_projected_step_is_the_best_given_its_between_part() -> None:
    structure = structure_of(5, 1)
    engine = engine_of(structure, draw(structure, UNBALANCED, 6, seed=4))
    cone = ConeMoments(engine.likelihood)
    at = cone.evaluate(cone.raised(engine.starts[0], 0.02), engine.data)
    step, _ = cone.solve(at.information, at.score)

    def gain(step: np.ndarray) -> np.ndarray:
        return (step * at.score).sum(axis=1) - 0.5 * cone.curvature(at.information, step)

    for k in range(cone.n_within):
        for change in (-1e-3, 1e-3):
            other = step.copy()
            other[:, k] += change
            assert (gain(other) < gain(step)).all()


def test_curvature_is_that_of_the_path_on_the_face() -> None:
    """Along theta(t) with theta' = v and theta'' = a, it is v' I v - g' a, I and g those of the parameters."""
    structure = structure_of(6, 1)
    engine = engine_of(structure, draw(structure, UNBALANCED, 6, seed=4))
    cone, params = ConeMoments(engine.likelihood), solve(structure, engine).params
    at, full = cone.evaluate(params, engine.data), engine.likelihood.evaluate(params, engine.data)
    assert (np.linalg.matrix_rank(structure.moments(params)[2], tol=1e-9) <= 5).any()  # 2 or more directions are held
    rng = np.random.default_rng(1)
    score = rng.normal(size=at.score.shape) * (at.score != 0.0)
    direction, _ = cone.solve(at.information, score)
    t = 1e-3 / np.abs(direction).max(axis=1)[:, None]
    there, back = (cone.move(at.information, sign * t * direction) for sign in (1, -1))
    v, a = (there - back) / (2 * t), (there + back) / t**2
    expected = (v[:, None] @ full.information @ v[..., None])[:, 0, 0] - (full.score * a).sum(axis=1)
    # central differences: the error is of second order in steps of 1e-3
    np.testing.assert_allclose(cone.curvature(at.information, direction), expected, rtol=1e-3)


def test_without_any_between_variance_all_of_it_is_zero() -> None:
    """Values that cancel within each cluster: every between-to-within ratio ends at 0."""
    structure = structure_of(3, 0)
    layout = ClusterLayout.of([4] * 10 + [6] * 10)
    rows = np.random.default_rng(6).standard_normal((2, 100, 3))
    rows[:, 1::2] = -rows[:, ::2]
    engine = engine_of(structure, Sample(layout, structure.model.level1, (), rows, np.zeros((2, 20, 0))))
    found = solve(structure, engine)
    _, within, between = structure.moments(found.params)
    assert (found.status == int(Status.OK)).all()
    assert is_semidefinite(structure, found.params).all()
    np.testing.assert_allclose(between, 0.0, atol=1e-14)
    np.testing.assert_allclose(within, np.matmul(rows.swapaxes(1, 2), rows) / 100, rtol=1e-9)  # one sample of 100


def test_what_pairs_do_not_finish_full_matrices_do(monkeypatch) -> None:
    structure = structure_of(3, 0)
    engine = engine_of(structure, draw(structure, UNBALANCED, 4, seed=7))
    expected = solve(structure, engine)
    monkeypatch.setattr(ConeMoments, "inwards", lambda self, params, data: np.ones(len(params)))
    found = solve(structure, engine)
    assert (found.status == int(Status.OK)).all()
    np.testing.assert_allclose(found.loglik, expected.loglik, atol=1e-10)  # as above


def test_a_point_from_which_the_cone_climbs_is_no_maximum(monkeypatch) -> None:
    """The verdict rests on the derivative into the cone, whichever way the point was found."""
    structure = structure_of(3, 0)
    engine = engine_of(structure, draw(structure, UNBALANCED, 2, seed=7, icc=0.0))
    monkeypatch.setattr("simstudy.estimation.semidefinite.INWARDS", -np.inf)
    free = engine.solve_once()
    outside = ~is_semidefinite(structure, free.params)
    assert outside.any()
    assert (solve(structure, engine).status[outside] == int(Status.MAX_ITER)).all()
