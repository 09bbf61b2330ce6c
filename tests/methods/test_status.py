"""Data that cannot be fitted give statuses and NaN, never exceptions, and never converged nonsense."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from estimator_data import BALANCED, CONTEXTUAL, MEDIATION, METHODS, OUTCOME_2, UNBALANCED, draw, fit, value

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.estimation.result import FitResult, Status, failed
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

every = pytest.mark.parametrize("method", METHODS)
ALL_SE = {name: {"se": ["expected", "observed", "robust"]} for name in ("disaggregated", "aggregated", "msem")}


def check(found: FitResult, r: int = 0) -> Status:
    """A failed fit has no numbers; a converged one has those it speaks about."""
    status = Status(int(found.status[r]))
    if status != Status.OK:
        assert np.isnan(found.estimate[r]).all()
        assert np.isnan(found.loglik[r])
        assert not found.admissible[r]
        for kind in found.se:
            assert np.isnan(found.se[kind][r]).all()
            assert np.isnan(found.covariance[kind][r]).all()
    else:
        for kind in found.se:
            # an SE only where there is an estimate, and never a negative variance
            assert not np.isnan(found.estimate[r][~np.isnan(found.se[kind][r])]).any()
    return status


def broken(change: Callable[[np.ndarray, np.ndarray], None], model: TwoLevelModel = CONTEXTUAL) -> Sample:
    """Three data sets, of which the second is changed."""
    sample = draw(model, UNBALANCED, 3, seed=4)
    change(sample.rows[1], sample.clusters[1])
    return sample


def gap(rows: np.ndarray, _: np.ndarray) -> None:
    rows[3, 0] = np.nan


def infinite(rows: np.ndarray, _: np.ndarray) -> None:
    rows[3, 1] = np.inf


def constant_predictor(rows: np.ndarray, _: np.ndarray) -> None:
    rows[:, 1] = 1.5


def copied(rows: np.ndarray, _: np.ndarray) -> None:
    rows[:, 0] = rows[:, 1]


def constant_outcome(rows: np.ndarray, _: np.ndarray) -> None:
    rows[:, 0] = 0.1  # not a binary fraction: its mean is off by a rounding error


def predictor_of_level_2(rows: np.ndarray, _: np.ndarray) -> None:
    starts, sizes = UNBALANCED.row_starts, UNBALANCED.sizes
    rows[:, 1] = np.repeat(np.add.reduceat(rows[:, 1], starts) / sizes, sizes)


def all_zero(rows: np.ndarray, _: np.ndarray) -> None:
    rows[:] = 0.0


@every
@pytest.mark.parametrize(
    "change", [gap, infinite, constant_predictor, copied, all_zero], ids=lambda change: change.__name__
)
def test_data_that_cannot_be_fitted_do_not_converge_and_leave_neighbours_alone(method, change) -> None:
    sample = broken(change)
    found = fit(method, CONTEXTUAL, sample, **ALL_SE.get(method, {}))
    assert check(found, 1) not in (Status.OK, Status.NOT_SUPPORTED)
    intact = fit(method, CONTEXTUAL, sample.select(np.array([0, 2])), **ALL_SE.get(method, {}))
    for r, k in ((0, 0), (2, 1)):
        assert check(found, r) == Status.OK
        np.testing.assert_array_equal(found.estimate[r], intact.estimate[k])


@every
@pytest.mark.parametrize("change", [gap, infinite], ids=lambda change: change.__name__)
def test_missing_and_infinite_values_are_said_to_be_not_finite(method, change) -> None:
    found = fit(method, CONTEXTUAL, broken(change), **ALL_SE.get(method, {}))
    assert check(found, 1) == Status.NONFINITE


@pytest.mark.parametrize("method", METHODS)
def test_an_outcome_without_variance_does_not_converge(method) -> None:
    assert check(fit(method, CONTEXTUAL, broken(constant_outcome)), 1) != Status.OK


@pytest.mark.parametrize("method", ["mlm_centered", "msem"])
def test_a_within_slope_on_a_predictor_without_within_variance_does_not_converge(method) -> None:
    """A level-2 variable written in both blocks: its within slope would be a ratio of rounding errors."""
    assert check(fit(method, CONTEXTUAL, broken(predictor_of_level_2)), 1) != Status.OK


@pytest.mark.parametrize("method", ["disaggregated", "aggregated", "two_step", "msem"])
def test_a_missing_level2_value_does_not_converge(method) -> None:
    def change(_: np.ndarray, clusters: np.ndarray) -> None:
        clusters[2, 0] = np.nan

    found = fit(method, OUTCOME_2, broken(change, OUTCOME_2), **ALL_SE.get(method, {}))
    assert check(found, 1) != Status.OK
    assert check(found, 0) == Status.OK


@every
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_measurement_do_not_matter(method, scale) -> None:
    """Slopes of y on x scale as 1 / x; fits converge as before."""
    sample = draw(CONTEXTUAL, UNBALANCED, 5, seed=1)
    plain = fit(method, CONTEXTUAL, sample)
    rows = sample.rows * np.array([1.0, scale])
    found = fit(method, CONTEXTUAL, Sample(sample.layout, sample.level1, sample.level2, rows, sample.clusters))
    assert plain.converged.all()
    np.testing.assert_array_equal(found.status, plain.status)
    at = [plain.labels.index(name) for name in ("bw", "bb")]
    at = [k for k in at if not np.isnan(plain.estimate[0, k])]
    # within 1e-6 SE of the same maximum
    np.testing.assert_allclose(found.estimate[:, at] * scale, plain.estimate[:, at], rtol=1e-6, atol=1e-7)
    kind = next(iter(plain.se))
    np.testing.assert_allclose(found.se[kind][:, at] * scale, plain.se[kind][:, at], rtol=1e-5)


@every
def test_origins_of_scales_do_not_matter(method) -> None:
    sample = draw(CONTEXTUAL, UNBALANCED, 5, seed=1)
    plain = fit(method, CONTEXTUAL, sample)
    rows = sample.rows + np.array([100.0, -2000.0])
    moved = Sample(sample.layout, sample.level1, sample.level2, rows, sample.clusters)
    found = fit(method, CONTEXTUAL, moved)
    np.testing.assert_array_equal(found.status, plain.status)
    at = [k for k in range(2) if not np.isnan(plain.estimate[0, plain.labels.index(("bw", "bb")[k])])]
    places = [plain.labels.index(("bw", "bb")[k]) for k in at]
    # 2000 standard deviations from the origin cost about 7 of 16 digits of the normal equations
    np.testing.assert_allclose(found.estimate[:, places], plain.estimate[:, places], atol=1e-7)
    intercept = plain.labels.index("between: y ~ 1")
    slope = plain.estimate[:, plain.labels.index("bb")]
    expected = plain.estimate[:, intercept] + 100.0 + 2000.0 * slope
    np.testing.assert_allclose(found.estimate[:, intercept], expected, rtol=1e-7)


TINY = {"three pairs": [2, 2, 2], "four pairs": [2] * 4, "two clusters": [4, 5], "singletons": [1] * 6,
        "one pair": [1, 1, 1, 1, 2], "one large": [30, 1, 1, 1, 1]}  # fmt: skip


@every
@pytest.mark.parametrize("sizes", TINY.values(), ids=TINY)
@pytest.mark.parametrize(
    "model", [CONTEXTUAL, MEDIATION, OUTCOME_2], ids=["contextual", "mediation", "level-2 outcome"]
)
def test_very_few_clusters_are_declined_or_fitted_without_an_exception(method, sizes, model) -> None:
    layout = ClusterLayout.of(sizes)
    estimator = registry.create(method, ALL_SE.get(method, {}))
    reason = estimator.supports(model, layout)
    if reason is not None:
        assert "no more" in reason or "fewer" in reason or "no " in reason
        return
    found = estimator.prepare(model, layout).fit(draw(model, layout, 6, seed=7))
    for r in range(6):
        check(found, r)


def test_one_cluster_is_declined_or_has_no_robust_se() -> None:
    layout = ClusterLayout.of([40])
    estimator = registry.create("disaggregated", {"se": ["expected", "robust"]})
    if estimator.supports(CONTEXTUAL, layout) is None:
        found = estimator.prepare(CONTEXTUAL, layout).fit(draw(CONTEXTUAL, layout))
        assert not np.isfinite(found.se["robust"]).any()


@pytest.mark.parametrize("sizes", [[1] * 30, [1] * 29 + [2]])
def test_two_step_declines_level1_outcomes_without_within_degrees_of_freedom(sizes) -> None:
    layout = ClusterLayout.of(sizes)
    assert registry.create("mlm").supports(CONTEXTUAL, layout) is not None
    assert registry.create("two_step").supports(CONTEXTUAL, layout) is not None


def test_icc_near_zero_gives_negative_variances_that_are_reported() -> None:
    """Balanced and saturated: every fit converges, and those with a negative estimate are not admissible."""
    sample = draw(CONTEXTUAL, ClusterLayout.of([5] * 30), 60, seed=5, icc=0.05)
    found = fit("msem", CONTEXTUAL, sample)
    assert found.converged.all()
    x = found.estimate[:, found.labels.index("between: x ~~ x")]
    y = found.estimate[:, found.labels.index("between: y ~~ y")]
    np.testing.assert_array_equal(found.admissible, (x >= 0) & (y >= 0))
    assert 0.1 < found.admissible.mean() < 0.9
    mixed = fit("mlm", CONTEXTUAL, sample)
    assert mixed.converged.all()
    assert mixed.admissible.all()
    tau2 = mixed.estimate[:, mixed.labels.index("between: y ~~ y")]
    assert tau2.min() == 0.0
    assert 0.1 < (tau2 == 0).mean() < 0.9


def test_results_that_failed_and_messages() -> None:
    found = failed(("a", "b"), ("expected",), 3, Status.EXCEPTION)
    assert found.estimate.shape == (3, 2)
    assert np.isnan(found.se["expected"]).all()
    assert not found.converged.any()
    assert {Status(int(s)) for s in found.status} == {Status.EXCEPTION}
    assert all(status.message and status.message == status.message.strip() for status in Status)
    assert len({status.message for status in Status}) == len(Status)


def test_blanking_touches_failures_only() -> None:
    found = fit("msem", CONTEXTUAL, draw(CONTEXTUAL, BALANCED, 3))
    status = found.status.copy()
    status[1] = int(Status.MAX_ITER)
    partly = FitResult(**{**found.__dict__, "status": status, "intervals": {"wald": (found.estimate, found.estimate)}})
    blank = partly.blank_failures()
    assert np.isnan(blank.estimate[1]).all()
    assert np.isnan(blank.intervals["wald"][0][1]).all()
    assert not blank.admissible[1]
    np.testing.assert_array_equal(blank.estimate[[0, 2]], found.estimate[[0, 2]])
    assert found.blank_failures() is found
    assert value(found, "bw") == found.estimate[0, 0]
