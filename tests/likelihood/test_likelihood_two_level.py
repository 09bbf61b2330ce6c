"""The two-level likelihood is the normal density of all rows of a cluster stacked into one vector."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from likelihood_oracles import stacked_loglik

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

FAMILIES = tomllib.loads((Path(__file__).parents[1] / "model" / "families.toml").read_text())
LAYOUTS = {
    "balanced": ClusterLayout.of([3] * 4),
    "unbalanced": ClusterLayout.of([1, 1, 2, 4, 4, 7]),
    "singletons": ClusterLayout.of([1] * 5),
    "one cluster": ClusterLayout.of([6]),
}
# Two ways of summing about 1e2 terms of order 1 to 10: rounding.
EXACT = 1e-12


def any_rows(model: TwoLevelModel, layout: ClusterLayout, seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    rows = rng.normal(0.5, 1.3, size=(1, layout.n_obs, len(model.level1)))
    return Sample(layout, model.level1, model.level2, rows, rng.normal(size=(1, layout.n_clusters, len(model.level2))))


def both(model: TwoLevelModel, layout: ClusterLayout, values: np.ndarray, seed: int = 0) -> tuple[float, float, bool]:
    """Engine and brute force at parameter values, and whether the engine finds them feasible."""
    structure, sample = TwoLevelStructure(model), any_rows(model, layout, seed)
    likelihood = TwoLevelLikelihood(structure, layout.distinct, layout.counts)
    value, ok = likelihood.loglik(values[None], Data.of(sample.statistics()))
    return float(value[0]), stacked_loglik(sample, *structure.moments(values)), bool(ok[0])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_loglik_is_the_stacked_normal_density(name, layout) -> None:
    model = TwoLevelModel.from_syntax(FAMILIES[name]["syntax"])
    values = np.array([FAMILIES[name]["values"][key] for key in model.names])
    engine, brute_force, ok = both(model, layout, values)
    assert ok
    assert engine == pytest.approx(brute_force, rel=EXACT)


SINGULAR = {
    "no between variance": ("y ~~ 0*y\n x ~~ 0*x\n y ~~ 0*x", 0.0),
    "no between residual": ("y ~ 0.7*x\n y ~~ 0*y\n x ~~ 0.3*x", 0.0),
    "perfectly correlated": ("y ~~ 0.16*y\n x ~~ 0.25*x\n y ~~ 0.2*x", 0.0),
    "negative variance": ("y ~~ -0.05*y\n x ~~ 0.25*x\n y ~~ 0.02*x", -0.04),
    "negative residual variance": ("y ~ 0.7*x\n y ~~ -0.08*y\n x ~~ 0.3*x", -0.05),
    "indefinite": ("y ~~ 0.05*y\n x ~~ 0.05*x\n y ~~ 0.1*x", -0.04),
}


@pytest.mark.parametrize("between", SINGULAR)
def test_singular_and_indefinite_between_matrices_have_a_likelihood(between) -> None:
    """Only Sigma_W + n Sigma_B need be positive definite."""
    text, bound = SINGULAR[between]
    model = TwoLevelModel.from_syntax(
        f"level: within\n y ~ 0.2*x\n y ~~ 0.8*y\n x ~~ 0.9*x\nlevel: between\n {text}\n y ~ m*1\n x ~ k*1"
    )
    values = np.array([0.3, -0.2]) if model.names == ("m", "k") else np.array([-0.2, 0.3])
    _, _, sigma_between = TwoLevelStructure(model).moments(values)
    assert np.linalg.eigvalsh(sigma_between)[0] <= bound + 1e-12
    engine, brute_force, ok = both(model, ClusterLayout.of([1, 2, 2, 5]), values)
    assert ok
    assert engine == pytest.approx(brute_force, rel=EXACT)


def test_level2_variables_with_a_singular_conditional_matrix() -> None:
    """y's between part is a function of z: Sigma_yy|z = 0."""
    model = TwoLevelModel.from_syntax(
        "level: within\n y ~~ 1.1*y\nlevel: between\n y ~ 0.4*z\n y ~~ 0*y\n z ~~ s*z\n y ~ m*1\n z ~ k*1"
    )
    by_name = {"s": 0.7, "m": 0.2, "k": 1.0}
    values = np.array([by_name[name] for name in model.names])
    engine, brute_force, ok = both(model, ClusterLayout.of([2, 3, 3]), values)
    assert ok
    assert engine == pytest.approx(brute_force, rel=EXACT)


def test_feasible_up_to_the_size_at_which_a_cluster_matrix_is_singular() -> None:
    """Between variance -0.2 with within variance 1: V_n is positive for n < 5."""
    model = TwoLevelModel.from_syntax("level: within\n y ~~ 1*y\nlevel: between\n y ~~ t*y\n y ~ 0*1")
    for sizes, feasible in (([2, 4], True), ([2, 4, 5], False), ([2, 4, 6], False)):
        layout = ClusterLayout.of(sizes)
        likelihood = TwoLevelLikelihood(TwoLevelStructure(model), layout.distinct, layout.counts)
        data = Data.of(any_rows(model, layout, 1).statistics())
        value, ok = likelihood.loglik(np.array([[-0.2]]), data)
        assert bool(ok[0]) == feasible
        assert np.isfinite(value[0]) == feasible
        assert not np.isposinf(value[0])
        assert bool(likelihood.evaluate(np.array([[-0.2]]), data).ok[0]) == feasible


def test_infeasible_points_do_not_disturb_their_neighbours() -> None:
    model = TwoLevelModel.from_syntax(FAMILIES["mediation_112"]["syntax"])
    values = np.array([FAMILIES["mediation_112"]["values"][key] for key in model.names])
    layout = LAYOUTS["unbalanced"]
    likelihood = TwoLevelLikelihood(TwoLevelStructure(model), layout.distinct, layout.counts)
    data = Data.of(any_rows(model, layout, 2).statistics())
    bad = np.tile(values, (5, 1))
    bad[1, model.names.index("within: x ~~ x")] = -1.0
    bad[2, model.names.index("between: z ~~ z")] = -1.0
    bad[3] = np.nan
    found = likelihood.evaluate(bad, data.select(np.zeros(5, dtype=np.int64)))
    alone = likelihood.evaluate(values[None], data)
    np.testing.assert_array_equal(found.ok, [True, False, False, False, True])
    for part in ("loglik", "score", "information"):
        for k in (0, 4):
            np.testing.assert_array_equal(getattr(found, part)[k], getattr(alone, part)[0])
    assert (found.loglik[1:4] == -np.inf).all()
