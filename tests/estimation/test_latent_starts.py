"""Starting values of levels with latent variables, and what is said where they lead nowhere."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_data import draw

from simstudy.data.layout import ClusterLayout
from simstudy.estimation.engine import complete_engine
from simstudy.estimation.starts import starts_from_moments
from simstudy.estimation.stopped import stopping_notes
from simstudy.linalg.stacked import inverse_spd, is_spd, solve_spd
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

TWO = "level: within\n f =~ a + b + c + d\n g =~ e + h + i\n g ~ f\nlevel: between\n k =~ a + b + c + d + e + h + i"


def moments(text: str, **values: float) -> tuple[TwoLevelStructure, np.ndarray, tuple[np.ndarray, ...]]:
    structure = TwoLevelStructure(TwoLevelModel.from_syntax(text))
    params = np.array([[1.0 if "=~" in name or "~~" in name else 0.4 for name in structure.model.names]])
    for name, value in values.items():
        params[0, structure.model.names.index(name)] = value
    return structure, params, structure.moments(params)


def test_equal_loadings_are_found_exactly() -> None:
    """The largest correlation of a row is then the communality, so that one step of principal axes is exact."""
    structure, params, (mu, within, between) = moments(TWO)
    np.testing.assert_allclose(starts_from_moments(structure, mu, within, between), params, atol=1e-12)


def test_signs_and_scales_of_markers_are_kept() -> None:
    text = "level: within\n f =~ 2*a + u*b + c + d\nlevel: between\n f =~ NA*a + b + c + d\n f ~~ 1*f"
    structure, _, (mu, within, between) = moments(text, u=-1.5)
    start = starts_from_moments(structure, mu, within, between)
    loading = structure.model.names.index("u")
    assert start[0, loading] < -0.5
    assert structure.moments(start)[1][0, 0, 0] == within[0, 0, 0]  # a variable's variance is reproduced


def test_starts_are_proper() -> None:
    model = TwoLevelModel.from_syntax(TWO)
    statistics = draw(model, ClusterLayout.of([2, 3, 5, 6] * 6), 40, seed=4, icc=0.05).statistics()
    one = complete_engine(TwoLevelStructure(model), statistics)
    for start in one.starts:
        assert one.likelihood.evaluate(start, one.data).ok.all()


@pytest.mark.slow
def test_a_factor_that_runs_off_is_named() -> None:
    """Three indicators whose between correlations have a negative product: no one-factor model, and no maximum."""
    text = "level: within\n a ~~ b + c\n b ~~ c\nlevel: between\n f =~ a + b + c"
    model = TwoLevelModel.from_syntax(text)
    sample = draw(model, ClusterLayout.of([10] * 60), 40, seed=3, icc=0.05)
    structure = TwoLevelStructure(model)
    told = 0
    for r in range(40):
        one = complete_engine(structure, sample.select(np.array([r])).statistics())
        if one.solve().status[0] == 0:
            continue
        notes = stopping_notes(structure, one)
        told += any("between: f =~" in note or "f ~~ f" in note for note in notes)
    assert told >= 1


def test_solving_is_inverting() -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(4, 6, 9))
    matrix, x = half @ half.swapaxes(1, 2), rng.normal(size=(4, 6))
    matrix[1] = -matrix[1]
    matrix[2, 0, 0] = np.nan
    found, ok = solve_spd(matrix, x)
    inverse, good = inverse_spd(matrix)
    assert ok.tolist() == good.tolist() == is_spd(matrix).tolist() == [True, False, False, True]
    np.testing.assert_allclose(found[ok], (inverse[ok] @ x[ok][..., None])[..., 0], rtol=1e-9)  # condition below 1e4
    assert np.isnan(found[~ok]).all()
    assert (solve_spd(matrix[3:], x[3:])[0] == found[3:]).all()
