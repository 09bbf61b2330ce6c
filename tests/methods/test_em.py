"""`em`: every step rises, fixed points are `msem`'s maxima, borders of the cone are recognised, acceleration pays."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_data import BALANCED, CONTEXTUAL, MEDIATION, OUTCOME_2, UNBALANCED, draw, fit

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.errors import EstimatorError
from simstudy.estimation.em_steps import EmStep
from simstudy.estimation.result import Status
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.methods import registry
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

KINDS = ["expected", "observed", "robust"]
FULL = TwoLevelModel.from_syntax("level: 1\n m ~ aw*x\n y ~ bw*m\nlevel: 2\n m ~ ab*x\n y ~ bb*m\nind := ab*bb")
EQUAL = TwoLevelModel.from_syntax("level: 1\n m ~ a*x\n y ~ b*m\nlevel: 2\n m ~ a*x\n y ~ c*m")
CFA = TwoLevelModel.from_syntax("level: 1\n fw =~ y1 + y2 + y3 + y4\nlevel: 2\n fb =~ y1 + y2 + y3 + y4")
WITHIN_ONLY = TwoLevelModel.from_syntax("level: 1\n y ~ x + w\n w ~ x\nlevel: 2\n y ~ x + z")
MODELS = {
    "contextual": CONTEXTUAL,
    "level-2 outcome": OUTCOME_2,
    "full mediation": FULL,
    "equal labels": EQUAL,
    "factors": CFA,
    "within only": WITHIN_ONLY,
}
# Both stop within 1e-6 SE and take one more step, of second order: 4e-6 measured where information changes fast.
IN_SE = 5e-6
# SEs are about .1, where they are not large.
SAME = 1e-7


def layout_of(model: TwoLevelModel) -> ClusterLayout:
    return ClusterLayout.of([3, 4, 6, 8] * 20) if model is CFA else UNBALANCED


def loglik(model: TwoLevelModel, params: np.ndarray, statistics: TwoLevelStatistics) -> np.ndarray:
    layout = statistics.layout
    likelihood = TwoLevelLikelihood(TwoLevelStructure(model), layout.distinct, layout.counts)
    return likelihood.loglik(params, Data.of(statistics))[0]


def em_step(model: TwoLevelModel, layout: ClusterLayout) -> EmStep:
    return EmStep(TwoLevelStructure(model), layout.n_obs, layout.n_clusters)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_msem_where_sigma_between_is_positive_definite(name) -> None:
    model = MODELS[name]
    sample = draw(model, layout_of(model), 3, seed=2)
    ours = fit("em", model, sample, se=KINDS, measures=True)
    theirs = fit("msem", model, sample, se=KINDS, measures=True)
    assert theirs.converged.all()
    assert ours.converged.all()
    assert (np.abs(ours.estimate - theirs.estimate) <= IN_SE * theirs.se["expected"]).all()
    np.testing.assert_allclose(ours.loglik, theirs.loglik, rtol=1e-13)  # rounding
    for kind in KINDS:  # msem's expected information is that of the last but one point, within 1e-6 SE
        np.testing.assert_allclose(ours.se[kind], theirs.se[kind], rtol=1e-5)
    np.testing.assert_array_equal(ours.admissible, theirs.admissible)
    # the unrestricted model has a positive definite Sigma_B in these data, too
    np.testing.assert_allclose(ours.measures["chisq"], theirs.measures["chisq"], atol=1e-8)
    np.testing.assert_allclose(ours.measures["cfi"], theirs.measures["cfi"], atol=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_steps_rise_and_maxima_are_their_fixed_points(name) -> None:
    model = MODELS[name]
    statistics = draw(model, layout_of(model), 3, seed=2).statistics()
    theirs = fit("msem", model, statistics)
    q = len(model.names)
    best = theirs.estimate[:, :q]
    step = em_step(model, statistics.layout)
    with np.errstate(all="ignore"):
        # msem's own precision, 1e-8; a maximisation step by scoring starts within its tolerance
        np.testing.assert_allclose(step(best, statistics), best, rtol=SAME, atol=SAME)
        rng = np.random.default_rng(3)
        at = best + 0.1 * rng.uniform(-1, 1, best.shape) * (0.3 + np.abs(best))
        before = loglik(model, at, statistics)
        assert np.isfinite(before).all()
        first = before
        for _ in range(40):
            at = step(at, statistics)
            now = loglik(model, at, statistics)
            assert (now >= before - 1e-10).all()  # rounding of 1e3
            before = now
    assert (before > first + 0.1).all()
    assert (before <= theirs.loglik + 1e-9).all()


def test_maximisation_is_in_closed_form_where_moments_determine_the_parameters() -> None:
    closed = {name: em_step(model, layout_of(model)) for name, model in MODELS.items()}
    assert {name: (s.within_closed, s.between_closed) for name, s in closed.items()} == {
        "contextual": (True, True),
        "level-2 outcome": (True, True),
        "full mediation": (True, True),
        "equal labels": (False, False),  # fitted jointly
        "factors": (False, False),
        "within only": (False, True),  # x has within mean 0, w one of its own
    }


@pytest.mark.parametrize("name", ["contextual", "factors"])
def test_acceleration_reaches_the_same_point_in_fewer_steps(name) -> None:
    model = MODELS[name]
    sample = draw(model, layout_of(model), 4, seed=2)
    plain = fit("em", model, sample, accelerate="none")
    fast = fit("em", model, sample)
    assert plain.converged.all()
    assert (np.abs(fast.estimate - plain.estimate) <= IN_SE * plain.se["expected"]).all()
    assert (fast.n_iter < plain.n_iter).all()
    assert fast.n_iter.sum() < 0.5 * plain.n_iter.sum()


def test_few_steps_are_not_taken_for_arrival() -> None:
    """The last steps of slow EM are small long before the maximum: the verdict is not about them."""
    statistics = draw(CONTEXTUAL, UNBALANCED, 12, seed=2, icc=0.1).statistics()
    whole = fit("em", CONTEXTUAL, statistics)
    cut = fit("em", CONTEXTUAL, statistics, accelerate="none", max_iter=150)
    slow = np.flatnonzero(whole.converged & (cut.status == Status.MAX_ITER))
    assert len(slow) >= 2
    assert (cut.n_iter[slow] == 150).all()
    assert np.isnan(cut.estimate[slow]).all()
    quick = cut.converged
    np.testing.assert_allclose(cut.estimate[quick], whole.estimate[quick], rtol=1e-6, atol=1e-6)
    some = statistics.select(slow)
    step, at = em_step(CONTEXTUAL, UNBALANCED), whole.estimate[slow, :8] * 1.1
    for _ in range(150):
        before, at = at, step(at, some)
    moved, left = np.abs(at - before), np.abs(at - whole.estimate[slow, :8])
    assert (left.max(axis=1) / moved.max(axis=1)).max() > 50


@pytest.fixture(scope="module")
def low_icc() -> Sample:
    return draw(CONTEXTUAL, ClusterLayout.of([5] * 50), 60, seed=5, icc=0.05)


def test_maxima_outside_the_cone_are_not_reached_and_said_so(low_icc) -> None:
    ours, theirs = fit("em", CONTEXTUAL, low_icc), fit("msem", CONTEXTUAL, low_icc)
    inside = theirs.admissible
    assert 15 < inside.sum() < 45
    assert theirs.converged.all()
    assert (ours.status[inside] == Status.OK).all()
    np.testing.assert_allclose(ours.loglik[inside], theirs.loglik[inside], rtol=1e-13)
    # a maximum far along the border may use up the steps first
    assert set(ours.status[~inside].tolist()) <= {Status.NON_PD, Status.MAX_ITER}
    assert (ours.status[~inside] == Status.NON_PD).sum() >= 0.95 * (~inside).sum()
    assert np.isnan(ours.estimate[~inside]).all()
    assert not ours.admissible[~inside].any()


def test_outside_the_cone_em_creeps_towards_the_bounded_maximum(low_icc) -> None:
    """What the status NON_PD says: the likelihood rises on, towards a singular Sigma_B, and stays below `msem`'s."""
    theirs = fit("msem", CONTEXTUAL, low_icc)
    some = np.flatnonzero(~theirs.admissible)[:6]
    statistics = low_icc.select(some).statistics()
    bounded = fit("msem", CONTEXTUAL, statistics, bounds="variances")
    step = em_step(CONTEXTUAL, statistics.layout)
    rng = np.random.default_rng(1)
    at = np.tile([0.4, 0.9, 0.9, 0.4, 0.1, 0.1, 0.3, 0.5], (len(some), 1)) + 0.01 * rng.normal(size=(len(some), 8))
    values, smallest = [], []
    for _ in range(3):
        for _ in range(150):
            at = step(at, statistics)
        values.append(loglik(CONTEXTUAL, at, statistics))
        between = TwoLevelStructure(CONTEXTUAL).moments(at)[2]
        smallest.append(np.linalg.eigvalsh(between)[:, 0])
    assert (np.diff(values, axis=0) > -1e-9).all()
    assert (np.diff(smallest, axis=0) < 0).all()  # Sigma_B goes on shrinking
    assert (smallest[-1] > 0).all()
    assert (values[-1] < theirs.loglik[some]).all()
    known = bounded.converged  # the bounded slope may have no value
    assert known.sum() >= 2
    assert (values[-1][known] < bounded.loglik[known]).all()
    # a variance that shrinks like J / (2 g t) is g times that below the border: J / (2 t) = .06 after 450 steps
    assert (bounded.loglik[known] - values[-1][known] < 0.2).all()


def test_models_without_a_density_of_the_complete_data_are_declined() -> None:
    zero = TwoLevelModel.from_syntax("level: 1\n y ~ x\nlevel: 2\n y ~ x\n y ~~ 0*y")
    factor = TwoLevelModel.from_syntax(
        "level: 1\n f =~ y1 + y2 + y3\nlevel: 2\n g =~ y1 + y2 + y3\n y1 ~~ 0*y1\n y2 ~~ 0*y2"
    )
    tied = TwoLevelModel.from_syntax("level: 1\n y ~ a*x\nlevel: 2\n y ~ b*x\na == 2*b")
    method = registry.create("em")
    for model in (zero, factor):
        assert "singular whatever the parameters" in str(method.supports(model, BALANCED))
    assert "'=='" in str(method.supports(tied, BALANCED))
    assert method.supports(MEDIATION, BALANCED) is None
    assert "no more clusters" in str(method.supports(MEDIATION, ClusterLayout.of([50, 50])))
    with pytest.raises(EstimatorError, match="'max_iter' must be at least 1; found 0"):
        registry.create("em", {"max_iter": 0})


def test_a_start_where_the_likelihood_does_not_exist_is_a_status() -> None:
    model = TwoLevelModel.from_syntax("level: 1\n y ~ x\nlevel: 2\n y ~ x\n x ~~ start(-2)*x")
    found = fit("em", model, draw(model, UNBALANCED, 2, seed=1))
    assert found.status.tolist() == [Status.NON_PD] * 2


def test_data_that_cannot_be_fitted_leave_their_neighbours_alone() -> None:
    sample = draw(OUTCOME_2, UNBALANCED, 6, seed=4)
    good = fit("em", OUTCOME_2, sample.select(np.array([0, 5])))
    sample.rows[1, 5, 0] = np.inf
    sample.rows[2] = 0.0
    sample.rows[3] = np.nan
    sample.clusters[4, :, 0] = 1.0
    found = fit("em", OUTCOME_2, sample)
    assert (found.status[1:5] != Status.OK).all()
    assert found.status[[1, 3]].tolist() == [Status.NONFINITE] * 2
    assert np.isnan(found.estimate[1:5]).all()
    assert np.array_equal(found.estimate[[0, 5]], good.estimate)
    assert np.array_equal(found.n_iter[[0, 5]], good.n_iter)


@pytest.mark.parametrize("name", ["level-2 outcome", "factors"])
def test_bits_do_not_depend_on_the_batch(name) -> None:
    model = MODELS[name]
    statistics = draw(model, layout_of(model), 5, seed=7, icc=0.15).statistics()
    whole = fit("em", model, statistics, se=KINDS)
    for some in ([0], [1, 2], [3, 4]):
        part = fit("em", model, statistics.select(np.array(some)), se=KINDS)
        assert np.array_equal(part.estimate, whole.estimate[some], equal_nan=True)
        assert np.array_equal(part.n_iter, whole.n_iter[some])
        assert np.array_equal(part.covariance["robust"], whole.covariance["robust"][some], equal_nan=True)
