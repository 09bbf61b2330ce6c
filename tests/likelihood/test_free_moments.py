"""Rotated coordinates of the unrestricted model: the same steps, verdicts and maxima as with full matrices."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_data import BALANCED, UNBALANCED, draw

from simstudy.estimation.engine import complete_engine
from simstudy.estimation.result import Status
from simstudy.estimation.scoring import with_fallback
from simstudy.estimation.unrestricted import unrestricted_model
from simstudy.likelihood.normal.free_moments import FreeMoments, has_free_moments
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

MIXED = TwoLevelModel.from_syntax("level: within\n m ~ x\nlevel: between\n m ~ x + w\n z ~ m")
STRUCTURE = TwoLevelStructure(unrestricted_model(MIXED))


def engine(layout, replicates: int = 5):
    return complete_engine(STRUCTURE, draw(MIXED, layout, replicates, seed=8).statistics())


def test_only_models_whose_moments_are_all_free_qualify() -> None:
    assert has_free_moments(STRUCTURE)
    assert not has_free_moments(TwoLevelStructure(MIXED))
    within_only = TwoLevelModel.from_syntax("level: within\n y ~ x\nlevel: between\n y ~~ y")
    assert not has_free_moments(TwoLevelStructure(unrestricted_model(within_only)))


@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
def test_steps_are_those_of_the_full_information(layout) -> None:
    one = engine(layout)
    free, start = FreeMoments(one.likelihood), one.starts[1]
    full, packed = one.likelihood.evaluate(start, one.data), free.evaluate(start, one.data)
    expected = np.linalg.solve(full.information, full.score[..., None])[..., 0]
    step, ok = free.solve(packed.information, packed.score)
    assert ok.all()
    # the same numbers by another route: rounding of a well-conditioned system
    np.testing.assert_allclose(free.move(packed.information, step), expected, atol=1e-12)
    decrement = (full.score * expected).sum(axis=1)
    np.testing.assert_allclose((packed.score * step).sum(axis=1), decrement, rtol=1e-9)
    np.testing.assert_allclose(free.curvature(packed.information, step), decrement, rtol=1e-9)


@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
def test_verdicts_are_those_of_the_full_observed_information(layout) -> None:
    one = engine(layout, 8)
    rng = np.random.default_rng(1)
    points = one.starts[1] * rng.uniform(0.7, 1.6, one.starts[1].shape)  # some are maxima-like, some are not
    feasible = one.likelihood.evaluate(points, one.data).ok
    values = np.linalg.eigvalsh(one.likelihood.observed_information(points, one.data)[feasible])
    found = FreeMoments(one.likelihood).is_maximum(points, one.data)[feasible]
    assert found.tolist() == (values[:, 0] > 0).tolist()
    assert 0 < found.sum() < feasible.sum()


def test_maxima_are_those_of_the_full_matrices() -> None:
    one = engine(UNBALANCED)
    found, expected = one.solve(), with_fallback(one.likelihood, one.data, one.starts)
    assert (found.status == Status.OK).all()
    # scoring stops within 1e-6 SE of the maximum, Newton's last steps closer
    errors = np.sqrt(np.diagonal(expected.inverse, axis1=-2, axis2=-1))
    assert (np.abs(found.params - expected.params) <= 1e-6 * errors).all()
    np.testing.assert_allclose(found.loglik, expected.loglik, rtol=1e-13)  # it is flat there
    # of the information at points that are some 1e-7 SE apart
    np.testing.assert_allclose(found.inverse, expected.inverse, rtol=1e-5, atol=1e-8)


def test_bits_do_not_depend_on_the_batch() -> None:
    statistics = draw(MIXED, UNBALANCED, 9, seed=8).statistics()
    whole = complete_engine(STRUCTURE, statistics).solve()
    for size in (1, 2):
        for first in range(0, 9 - size, 3):
            part = complete_engine(STRUCTURE, statistics.select(slice(first, first + size))).solve()
            for name in ("params", "loglik", "information", "status", "n_iter"):
                assert (getattr(part, name) == getattr(whole, name)[first : first + size]).all(), name


def test_an_unbounded_likelihood_is_given_up_without_slow_tries() -> None:
    """More variables than clusters of the largest size: n V_n can be made singular, and l rises without bound."""
    from simstudy.data.layout import ClusterLayout

    names = [f"y{k}" for k in range(8)]
    model = TwoLevelModel.from_syntax(
        "level: within\n f =~ " + " + ".join(names) + "\nlevel: between\n g =~ " + " + ".join(names)
    )
    one = complete_engine(
        TwoLevelStructure(unrestricted_model(model)),
        draw(model, ClusterLayout.of(range(2, 14)), 1, seed=2).statistics(),
    )
    found = one.solve()
    assert Status(int(found.status[0])) == Status.NON_PD
    assert one.likelihood.margin(found.params)[0] < 1e-4
    assert found.n_iter[0] <= 120  # two scoring tries of at most 60 steps
