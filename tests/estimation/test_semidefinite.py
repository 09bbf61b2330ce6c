"""The unrestricted maximum with a positive semidefinite Sigma_between: against brute force, in batches, with gaps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.estimation.engine import Engine, complete_engine, incomplete_engine
from simstudy.estimation.optimum import Optimum
from simstudy.estimation.result import Status
from simstudy.estimation.semidefinite import between_eigenvalues, is_semidefinite, solve_semidefinite
from simstudy.estimation.unrestricted import unrestricted_model
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

SIZES = ClusterLayout.of([3] * 40 + [5] * 30 + [8] * 20)
# x is within only, z between only; the y share one factor between clusters, so that Sigma_between is singular in truth
TEXT = "level: within\n x ~~ y1 + y2 + y3\nlevel: between\n y1 ~~ y2\n y2 ~~ y3\n y3 ~~ z"


def structure_of(text: str = TEXT) -> TwoLevelStructure:
    return TwoLevelStructure(unrestricted_model(TwoLevelModel.from_syntax(text)))


def draw(n: int, seed: int, gaps: float = 0.0, icc: float = 0.1) -> Sample:
    rng = np.random.default_rng(seed)
    sizes = np.repeat(SIZES.distinct, SIZES.counts)
    many = int(sizes.sum())
    factor = rng.standard_normal((n, len(sizes), 1))
    rows = np.sqrt(1.0 - icc) * (rng.standard_normal((n, many, 4)) + 0.5 * rng.standard_normal((n, many, 1)))
    rows[..., 1:] += np.sqrt(icc) * np.repeat(factor, sizes, axis=1)
    z = factor + rng.standard_normal((n, len(sizes), 1))
    if gaps:
        rows[rng.uniform(size=rows.shape) < gaps] = np.nan
    structure = structure_of()
    sample = Sample(SIZES, ("x", "y1", "y2", "y3"), ("z",), rows, z)
    return sample.arrange(structure.model.level1, structure.model.level2)


def solve(sample: Sample, structure: TwoLevelStructure | None = None) -> tuple[Engine, Optimum, Optimum]:
    structure = structure or structure_of()
    if np.isnan(sample.rows).any():
        engine = incomplete_engine(structure, sample.incomplete())
    else:
        engine = complete_engine(structure, sample.statistics(cluster_wise=False))
    with np.errstate(all="ignore"):
        free = engine.solve()
        return engine, free, solve_semidefinite(structure, engine, free)


@pytest.fixture(scope="module")
def solved() -> tuple[Engine, Optimum, Optimum]:
    return solve(draw(8, seed=5))


def test_most_of_these_data_have_an_indefinite_unrestricted_maximum(solved) -> None:
    """What the other tests rest on."""
    _, free, psd = solved
    outside = ~is_semidefinite(structure_of(), free.params)
    assert outside.sum() >= 6
    assert (psd.status == int(Status.OK)).all()
    assert is_semidefinite(structure_of(), psd.params).all()
    assert (psd.loglik[outside] < free.loglik[outside]).all()
    np.testing.assert_array_equal(psd.params[~outside], free.params[~outside])


def brute_force(engine: Engine, structure: TwoLevelStructure, r: int, starts: int) -> float:
    """Maximum of l over Sigma_within = K K' and Sigma_between = L L' by a quasi-Newton method without derivatives."""
    p1, at = structure.p1, structure.between.positions
    names = structure.model.names
    rng = np.random.default_rng(11)
    w_rows, b_rows = np.tril_indices(p1), np.tril_indices(len(at))
    order = {name: k for k, name in enumerate(structure.model.variables)}

    def place(level: str, a: int, b: int) -> int:
        row = structure.model.table.find(level, structure.model.variables[a], "~~", structure.model.variables[b])
        assert row is not None
        return row.free

    w_place = [place("within", i, j) for i, j in zip(*w_rows, strict=True)]
    b_place = [place("between", at[i], at[j]) for i, j in zip(*b_rows, strict=True)]
    means = [k for k in range(len(names)) if k not in {*w_place, *b_place}]
    assert len(order) == p1 + structure.p2
    data = engine.data.select(np.array([r]))

    def theta(x: np.ndarray) -> np.ndarray:
        params = np.zeros((1, len(names)))
        params[0, means] = x[: len(means)]
        k, lower = np.zeros((p1, p1)), np.zeros((len(at), len(at)))
        k[w_rows] = x[len(means) : len(means) + len(w_place)]
        lower[b_rows] = x[len(means) + len(w_place) :]
        params[0, w_place] = (k @ k.T)[w_rows]
        params[0, b_place] = (lower @ lower.T)[b_rows]
        return params

    def loss(x: np.ndarray) -> float:
        value = float(engine.likelihood.loglik(theta(x), data)[0][0])
        return -value if np.isfinite(value) else 1e10

    best = -np.inf
    for _ in range(starts):
        start = rng.normal(scale=0.3, size=len(names))
        start[len(means) : len(means) + len(w_place)] += (np.array(w_rows[0]) == np.array(w_rows[1])) * 1.0
        found = optimize.minimize(loss, start, method="BFGS", options={"maxiter": 2000, "gtol": 1e-6})
        best = max(best, -float(found.fun))
    return best


@pytest.mark.slow
@pytest.mark.parametrize("r", range(2))
def test_maximum_is_that_of_brute_force(solved, r) -> None:
    engine, _, psd = solved
    # differences of l are good to 1e-8 of 1e3, which costs the quasi-Newton method 1e-6 of l
    assert psd.loglik[r] == pytest.approx(brute_force(engine, structure_of(), r, 2), abs=5e-5)


def test_no_direction_into_the_cone_climbs(solved) -> None:
    """At a maximum over the cone, dl / dSigma_B is negative semidefinite across the face and 0 along it."""
    engine, _, psd = solved
    structure = structure_of()
    _, _, between = structure.moments(psd.params)
    rng = np.random.default_rng(3)
    at = structure.between.positions
    place = {(row.lhs, row.rhs): row.free for row in structure.model.table.at("between") if row.op == "~~"}
    names = [structure.model.variables[k] for k in at]
    for _ in range(40):
        v = rng.normal(size=len(at))
        moved = psd.params.copy()
        step = 1e-4
        for i, a in enumerate(names):
            for j, b in enumerate(names[: i + 1]):
                free = place.get((a, b), place.get((b, a)))
                moved[:, free] += step * v[i] * v[j]
        gain = engine.likelihood.loglik(moved, engine.data)[0] - psd.loglik
        assert (gain < 1e-6).all()  # second order is negative, first order at most 0
    assert between.shape[-1] == structure.p1 + structure.p2


def test_batches_of_any_size_have_the_same_bits() -> None:
    sample = draw(8, seed=5)
    _, _, whole = solve(sample)
    for size in (1, 3):
        parts = [solve(sample.select(slice(first, first + size)))[2] for first in range(0, 8, size)]
        for name in ("params", "loglik", "information", "status"):
            found = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(found, getattr(whole, name), err_msg=name)


def test_incomplete_likelihood_finds_the_same_maximum() -> None:
    """With nothing missing the two likelihoods are one; with gaps the conditions hold all the same."""
    sample = draw(2, seed=5)
    structure = structure_of()
    _, _, complete = solve(sample)
    engine = incomplete_engine(structure, sample.incomplete())
    free = engine.solve()
    psd = solve_semidefinite(structure, engine, free)
    np.testing.assert_allclose(psd.loglik, complete.loglik, rtol=1e-11)  # sums of 1e3 terms
    np.testing.assert_allclose(psd.params, complete.params, atol=1e-5)  # both stop within 1e-6 SE
    gaps = solve(draw(2, seed=6, gaps=0.1))[2]
    assert (gaps.status == int(Status.OK)).all()
    assert (between_eigenvalues(structure, gaps.params)[:, 0] > -1e-12).all()


def test_a_between_variance_of_zero_is_no_obstacle() -> None:
    """The first variable has none: in the order of the variables its column would vanish before the others'."""
    sample = draw(2, seed=9, icc=0.3)
    first = sample.level1.index("y1")
    rng = np.random.default_rng(4)
    rows = sample.rows.copy()
    rows[..., first] = rng.standard_normal(rows.shape[:2])
    # pairs of opposite values: less variance between clusters than chance gives
    rows[:, 1::2, first] = -rows[:, 0 : rows.shape[1] - 1 : 2, first]
    _, _, psd = solve(Sample(sample.layout, sample.level1, sample.level2, rows, sample.clusters))
    assert (psd.status == int(Status.OK)).all()


def test_a_between_block_with_gaps_is_refused() -> None:
    model = TwoLevelModel.from_syntax("level: within\n y1 ~~ y2\nlevel: between\n y1 ~~ 0*y2")
    structure = TwoLevelStructure(model)
    rng = np.random.default_rng(1)
    sizes = np.repeat(SIZES.distinct, SIZES.counts)
    sample = Sample(SIZES, ("y1", "y2"), (), rng.normal(size=(1, int(sizes.sum()), 2)), np.zeros((1, len(sizes), 0)))
    engine = complete_engine(structure, sample.statistics(cluster_wise=False))
    free = engine.solve()
    free.params[:, :] = -1.0  # not semidefinite, whatever the data
    with pytest.raises(ValueError, match="every covariance"):
        solve_semidefinite(structure, engine, free)
