"""The optimiser, on likelihoods of one and two parameters whose maxima are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from simstudy.estimation.optimum import Box
from simstudy.estimation.result import Status
from simstudy.estimation.scoring import maximise, scored, with_fallback
from simstudy.likelihood.evaluation import Evaluation, Likelihood


@dataclass(frozen=True)
class Points:
    """One number a replicate."""

    centre: np.ndarray

    def select(self, replicates: np.ndarray) -> Points:
        return Points(self.centre[replicates])


def matrix(values: np.ndarray) -> np.ndarray:
    return values[:, None, None]


class Smooth(Likelihood[Points]):
    """l = -sqrt(1 + (t - c)^2): concave, with curvature that vanishes far away. ``information`` is what is reported."""

    def __init__(self, information: str = "observed") -> None:
        self.kind = information
        self.calls: list[int] = []

    def evaluate(self, params: np.ndarray, data: Points) -> Evaluation:
        self.calls.append(len(params))
        u = params[:, 0] - data.centre
        root = np.sqrt(1 + u**2)
        information = root**-3 if self.kind == "observed" else np.full_like(u, 1.25)
        return Evaluation(-root, (-u / root)[:, None], matrix(information), np.isfinite(root))

    def observed_information(self, params: np.ndarray, data: Points) -> np.ndarray:
        return matrix((1 + (params[:, 0] - data.centre) ** 2) ** -1.5)


class Walled(Smooth):
    """The likelihood does not exist for t < 0."""

    def evaluate(self, params: np.ndarray, data: Points) -> Evaluation:
        found = super().evaluate(params, data)
        inside = params[:, 0] >= 0
        return Evaluation(np.where(inside, found.loglik, -np.inf), found.score, found.information, inside)


class Saddle(Likelihood[Points]):
    """l = -(x^2 - 1)^2 - y^2: maxima at x = +-1, a saddle point at x = 0; the information is reported as positive."""

    def evaluate(self, params: np.ndarray, data: Points) -> Evaluation:
        x, y = params.T
        score = np.stack([-4 * x * (x**2 - 1), -2 * y], axis=-1)
        information = np.broadcast_to(np.diag([8.0, 2.0]), (len(params), 2, 2)).copy()
        return Evaluation(-((x**2 - 1) ** 2) - y**2, score, information, np.isfinite(x))

    def observed_information(self, params: np.ndarray, data: Points) -> np.ndarray:
        x = params[:, 0]
        result = np.zeros((len(params), 2, 2))
        result[:, 0, 0], result[:, 1, 1] = 12 * x**2 - 4, 2.0
        return result


class Flat(Likelihood[Points]):
    """l = -(a + b - c)^2: only the sum is identified."""

    def evaluate(self, params: np.ndarray, data: Points) -> Evaluation:
        gap = params.sum(axis=1) - data.centre
        score = np.repeat(-2 * gap[:, None], 2, axis=1)
        return Evaluation(-(gap**2), score, np.full((len(params), 2, 2), 2.0), np.isfinite(gap))

    def observed_information(self, params: np.ndarray, data: Points) -> np.ndarray:
        return np.full((len(params), 2, 2), 2.0)


def test_converges_to_the_maximum_and_says_how_far_it_went() -> None:
    data = Points(np.array([0.0, 3.0, -40.0]))
    found = maximise(Smooth("expected").evaluate, data, np.zeros((3, 1)))
    assert (found.status == Status.OK).all()
    # a decrement below 1e-12 is 1e-6 standard errors; the last step then contracts further
    np.testing.assert_allclose(found.params[:, 0], data.centre, atol=2e-6)
    assert found.n_iter[0] == 0  # started at the maximum
    assert found.n_iter[2] > found.n_iter[1] > 0
    np.testing.assert_allclose(found.inverse[:, 0, 0] * found.information[:, 0, 0], 1.0, rtol=1e-12)  # rounding


def test_newton_steps_that_overshoot_are_damped() -> None:
    """From |u| > 1 an undamped Newton step on this function diverges (u -> -u^3)."""
    data = Points(np.array([0.0, 0.0]))
    found = maximise(Smooth("observed").evaluate, data, np.array([[3.0], [-30.0]]))
    assert (found.status == Status.OK).all()
    np.testing.assert_allclose(found.params, 0.0, atol=1e-6)


def test_steps_over_the_edge_of_the_domain_are_shortened() -> None:
    data = Points(np.array([0.1, 0.5]))
    found = maximise(Walled("observed").evaluate, data, np.array([[6.0], [9.0]]))
    assert (found.status == Status.OK).all()
    np.testing.assert_allclose(found.params[:, 0], data.centre, atol=1e-6)


def test_converged_replicates_leave() -> None:
    likelihood = Smooth("expected")
    maximise(likelihood.evaluate, Points(np.array([0.0, 0.0, 0.0, 30.0])), np.zeros((4, 1)))
    assert likelihood.calls[0] == 4
    assert set(likelihood.calls[1:]) == {1}


class Counted(Smooth):
    """Scoring is four times too careful near the maximum; asks are counted."""

    def evaluate(self, params: np.ndarray, data: Points) -> Evaluation:
        return replace(super().evaluate(params, data), information=np.full((len(params), 1, 1), 4.0))

    def observed_information(self, params: np.ndarray, data: Points) -> np.ndarray:
        self.calls.append(-len(params))
        return super().observed_information(params, data)


def test_the_last_steps_are_newtons() -> None:
    """Scoring alone contracts by 3/4 a step here, 44 steps from .3 to 1e-6; this function cubes Newton's error."""
    data, start = Points(np.array([0.3, 0.31])), np.zeros((2, 1))
    likelihood = Counted()
    found = scored(likelihood, data, start)
    assert (found.status == Status.OK).all()
    assert (found.n_iter <= 5).all()
    np.testing.assert_allclose(found.params[:, 0], data.centre, atol=1e-9)
    np.testing.assert_allclose(found.information, 4.0)  # that of evaluate, not the one that made the steps
    assert -2 in likelihood.calls  # the observed information was asked for both at once
    for r in range(2):
        alone = scored(Counted(), data.select(np.array([r])), start[:1])
        assert alone.params[0, 0] == found.params[r, 0]


def test_where_newtons_steps_do_not_arrive_scoring_goes_on() -> None:
    """An observed information of the wrong sign near the maximum is no reason to fail there."""

    class Wrong(Smooth):
        def with_observed(self, params: np.ndarray, data: Points) -> Evaluation:
            found = super().with_observed(params, data)
            return replace(found, information=-found.information)

    found = scored(Wrong("expected"), Points(np.array([0.2])), np.zeros((1, 1)))
    assert found.status[0] == Status.OK
    np.testing.assert_allclose(found.params[:, 0], 0.2, atol=2e-6)  # scoring stops 1e-6 standard errors away


def test_newtons_last_steps_stay_within_a_box() -> None:
    box = Box(np.array([-1.0]), np.array([0.25]))
    found = with_fallback(Counted(), Points(np.array([0.2, 0.3])), (np.zeros((2, 1)),), box=box)
    assert (found.status == Status.OK).all()
    np.testing.assert_allclose(found.params[:, 0], [0.2, 0.25], atol=1e-9)
    assert found.held is not None
    assert found.held[:, 0].tolist() == [False, True]


def test_iterations_run_out() -> None:
    found = maximise(Smooth("expected").evaluate, Points(np.array([0.0, 500.0])), np.zeros((2, 1)), max_iter=4)
    assert [Status(int(s)) for s in found.status] == [Status.OK, Status.MAX_ITER]
    assert found.n_iter[1] == 4


def test_starts_outside_the_domain_and_nan_do_not_start() -> None:
    data = Points(np.array([1.0, 1.0, np.nan]))
    found = maximise(Walled("expected").evaluate, data, np.array([[2.0], [-1.0], [np.nan]]))
    assert Status(int(found.status[0])) == Status.OK
    assert (found.status[1:] == Status.NON_PD).all()
    assert (found.n_iter[1:] == 0).all()


def test_what_is_not_identified_is_singular() -> None:
    found = maximise(Flat().evaluate, Points(np.array([1.0])), np.array([[3.0, -1.0]]))
    assert Status(int(found.status[0])) == Status.SINGULAR_INFORMATION


def test_a_second_start_is_tried_for_those_that_cannot_start_from_the_first() -> None:
    likelihood, data = Walled("expected"), Points(np.array([2.0, 2.0, 2.0]))
    first, second = np.array([[1.0], [-3.0], [-3.0]]), np.array([[5.0], [4.0], [-4.0]])
    found = with_fallback(likelihood, data, (first, second))
    assert [Status(int(s)) for s in found.status] == [Status.OK, Status.OK, Status.NON_PD]
    np.testing.assert_allclose(found.params[:2, 0], 2.0, atol=2e-6)
    alone = with_fallback(likelihood, data.select(np.array([1])), (first[1:2], second[1:2]))
    assert alone.params[0, 0] == found.params[1, 0]


def test_newton_finishes_what_scoring_cannot() -> None:
    """An expected information four times too small makes scoring jump back and forth; iterations are counted on."""

    class Misleading(Smooth):
        def evaluate(self, params: np.ndarray, data: Points) -> Evaluation:
            found = super().evaluate(params, data)
            return Evaluation(found.loglik, found.score, matrix(np.full(len(params), 400.0)), found.ok)

    data = Points(np.array([0.0, 50.0]))
    scoring = maximise(Misleading("expected").evaluate, data, np.zeros((2, 1)))
    assert [Status(int(s)) for s in scoring.status] == [Status.OK, Status.MAX_ITER]
    found = with_fallback(Misleading("expected"), data, (np.zeros((2, 1)),))
    assert (found.status == Status.OK).all()
    assert found.params[1, 0] == pytest.approx(50.0, abs=1e-5)
    assert found.n_iter[1] > scoring.n_iter[1]
    assert found.information[1, 0, 0] == 400.0  # the expected information is given back


def test_saddle_points_are_left() -> None:
    found = with_fallback(Saddle(), Points(np.zeros(2)), (np.array([[0.3, 1.0], [-0.01, 1.0]]),))
    assert (found.status == Status.OK).all()
    np.testing.assert_allclose(found.params, [[1.0, 0.0], [-1.0, 0.0]], atol=1e-5)


def test_saddle_points_that_newton_ends_in_are_refused() -> None:
    """Without any scoring step, Newton's method is started on the ridge x = 0 and slides down to the saddle."""
    found = with_fallback(Saddle(), Points(np.zeros(1)), (np.array([[0.0, 1.0]]),), max_iter=0)
    assert Status(int(found.status[0])) == Status.SINGULAR_INFORMATION
    np.testing.assert_allclose(found.params, 0.0, atol=1e-6)


def test_saddle_points_that_scoring_ends_in_are_refused() -> None:
    """Started on the ridge x = 0, the score has no component across it."""
    found = with_fallback(Saddle(), Points(np.zeros(1)), (np.array([[0.0, 1.0]]),))
    assert abs(found.params[0, 0]) > 0.5 or found.status[0] != Status.OK
