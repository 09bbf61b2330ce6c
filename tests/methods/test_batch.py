"""A replicate's numbers do not depend, to the last bit, on the replicates fitted beside it."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_data import BALANCED, CONTEXTUAL, MEDIATION, METHODS, OUTCOME_2, UNBALANCED, draw

from simstudy.data.layout import ClusterLayout
from simstudy.estimation.inference import montecarlo, with_defined
from simstudy.estimation.result import FitResult
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

R = 64
SPLITS = {"one by one": [1] * R, "threes": [3] * 21 + [1], "halves": [32, 32], "uneven": [7, 57]}
OPTIONS: dict[str, dict[str, object]] = {
    "disaggregated": {"se": ["expected", "observed", "robust"]},
    "aggregated": {"se": ["expected", "observed", "robust"]},
    "two_step": {"means": "eb", "centering": "cluster"},
    "schmidt": {"se": ["expected", "observed"], "measures": True},
    "goldstein": {"se": ["expected", "observed", "robust"], "measures": True},
    "muml": {"se": ["expected", "observed", "robust"], "measures": True},
    "msem": {"se": ["expected", "observed", "robust"]},
}
# Many distinct sizes, and an ICC near 0: the slow paths of the optimiser are taken too.
MANY = ClusterLayout.of(list(range(2, 22)))
FULL = TwoLevelModel.from_syntax("level: 1\n m ~ a*x\n y ~ b*m\nlevel: 2\n m ~ a*x\n y ~ c*m + w")
CASES = [
    ("contextual", CONTEXTUAL, MANY, 0.05),
    ("mediation", MEDIATION, BALANCED, 0.3),
    ("level-2 outcome", OUTCOME_2, UNBALANCED, 0.3),
    ("restricted", FULL, UNBALANCED, 0.3),
]


def same(a: FitResult, parts: list[FitResult]) -> None:
    def whole(get) -> np.ndarray:
        return np.concatenate([get(part) for part in parts])

    for name in ("status", "admissible", "n_iter"):
        np.testing.assert_array_equal(whole(lambda f, n=name: getattr(f, n)), getattr(a, name), err_msg=name)
    for name in ("estimate", "loglik"):
        assert np.array_equal(whole(lambda f, n=name: getattr(f, n)), getattr(a, name), equal_nan=True), name
    for name in a.measures:
        assert np.array_equal(whole(lambda f, n=name: f.measures[n]), a.measures[name], equal_nan=True), name
    for kind in a.se:
        assert np.array_equal(whole(lambda f, k=kind: f.se[k]), a.se[kind], equal_nan=True), kind
        assert np.array_equal(whole(lambda f, k=kind: f.covariance[k]), a.covariance[kind], equal_nan=True), kind


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("model", "layout", "icc"),
    [pytest.param(*case[1:], id=case[0], marks=[pytest.mark.slow] * (case[0] != "contextual")) for case in CASES],
)
def test_any_split_gives_the_same_bits(method, model, layout, icc) -> None:
    sample = draw(model, layout, R, seed=3, icc=icc)
    sample.rows[5] = np.nan
    sample.rows[6, :, 0] = 1.0
    sample.rows[7, :, 1] = sample.rows[7, :, 0]
    statistics = sample.statistics()
    estimator = registry.create(method, OPTIONS.get(method, {}))
    reason = estimator.supports(model, layout)
    if reason is not None:  # a path of both levels
        assert model is FULL, reason
        assert method in ("schmidt", "haernqvist")
        return
    prepared = estimator.prepare(model, layout)
    whole = prepared.fit(statistics)
    assert whole.converged.sum() > R / 2  # the comparison is of numbers, not of NaN
    assert not whole.converged[5]
    same(whole, [prepared.fit(statistics)])  # and of one call with the next
    for sizes in SPLITS.values():
        ends = np.cumsum(sizes)
        parts = [prepared.fit(statistics.select(slice(end - n, end))) for n, end in zip(sizes, ends, strict=True)]
        same(whole, parts)
    order = np.random.default_rng(1).permutation(R)
    shuffled = prepared.fit(statistics.select(order))
    assert np.array_equal(shuffled.estimate, whole.estimate[order], equal_nan=True)


@pytest.mark.parametrize("method", METHODS)
def test_rows_and_statistics_give_the_same_bits(method) -> None:
    sample = draw(OUTCOME_2, UNBALANCED, 4, seed=9)
    prepared = registry.create(method).prepare(OUTCOME_2, UNBALANCED)
    same(prepared.fit(sample.statistics()), [prepared.fit(sample)])


@pytest.mark.parametrize("method", METHODS)
def test_input_is_left_alone(method) -> None:
    statistics = draw(OUTCOME_2, UNBALANCED, 4, seed=9).statistics()
    names = ("scatter_within", "size_means", "size_scatter", "cluster_means", "cluster_scatter")
    before = [getattr(statistics, name).copy() for name in names]
    registry.create(method).prepare(OUTCOME_2, UNBALANCED).fit(statistics)
    for name, copy in zip(names, before, strict=True):
        np.testing.assert_array_equal(getattr(statistics, name), copy)


def test_montecarlo_intervals_are_addressed_by_replicate() -> None:
    statistics = draw(MEDIATION, UNBALANCED, 6, seed=2).statistics()
    prepared = registry.create("msem").prepare(MEDIATION, UNBALANCED)
    whole = with_defined(prepared.fit(statistics), MEDIATION.estimands)
    low, high = montecarlo(whole, MEDIATION.estimands, 1, "key", range(6), 200, 0.95).intervals["montecarlo"]
    for r in (4, 0):
        alone = with_defined(prepared.fit(statistics.select(slice(r, r + 1))), MEDIATION.estimands)
        found = montecarlo(alone, MEDIATION.estimands, 1, "key", [r], 200, 0.95).intervals["montecarlo"]
        assert np.array_equal(found[0][0], low[r], equal_nan=True)
        assert np.array_equal(found[1][0], high[r], equal_nan=True)
    other = montecarlo(whole, MEDIATION.estimands, 2, "key", range(6), 200, 0.95).intervals["montecarlo"]
    assert not np.array_equal(other[0], low, equal_nan=True)
