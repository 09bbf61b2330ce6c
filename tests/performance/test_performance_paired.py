"""Differences from a reference method, bounds for failures, one-sided misses."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pandas as pd
import pytest
from test_performance_cell import METHODS, PARAMS, R, cell_tables, pick

from simstudy.errors import SimstudyError
from simstudy.performance import MEASURES, measure_names, measures, paired, rates, summarise_cell

EXACT = 1e-12  # sums of < 1,000 terms in another order
Z = 1.959963984540054


def two_methods(seed: int = 2, n: int = 160) -> tuple[np.ndarray, ...]:
    """Estimates and SEs of two methods on the same replicates, with gaps in different places."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 1))
    first, second = 0.3 + 0.2 * shared + 0.05 * rng.normal(size=(n, 1)), 0.35 + 0.1 * shared
    se_first, se_second = (0.2 * np.sqrt(rng.chisquare(20, size=(n, 1)) / 20) for _ in range(2))
    first[rng.random(n) < 0.1] = np.nan
    second[rng.random(n) < 0.1] = np.nan
    return first, se_first, second, se_second


def limits(estimate: np.ndarray, se: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return estimate - Z * se, estimate + Z * se


def test_only_replicates_of_both_methods_enter() -> None:
    first, se_first, second, se_second = two_methods()
    both = np.isfinite(first) & np.isfinite(second)
    one, two = limits(first, se_first), limits(second, se_second)
    truth = np.full(1, 0.3)
    found = {
        "bias": paired.bias_difference(first, second),
        "rmse": paired.rmse_difference(first, second, truth),
        "precision": paired.relative_precision(first, second),
        "coverage": paired.coverage_difference(*one, *two, truth),
        "rejection": paired.rejection_difference(*one, *two),
        "width": paired.ci_width_difference(*one, *two),
    }
    assert {int(result.n[0]) for result in found.values()} == {int(both.sum())}
    a, b = first[both], second[both]
    assert found["bias"].value[0] == pytest.approx(a.mean() - b.mean(), rel=EXACT)
    expected = measures.rmse(a[:, None], truth).value[0] - measures.rmse(b[:, None], truth).value[0]
    assert found["rmse"].value[0] == pytest.approx(expected, rel=1e-10)  # a difference of two near numbers
    assert found["precision"].value[0] == pytest.approx(b.var(ddof=1) / a.var(ddof=1) - 1, rel=EXACT)
    for name, function in (("coverage", rates.coverage), ("rejection", rates.rejection)):
        arguments = (truth,) if name == "coverage" else ()
        shares = [function(*(x[both][:, None] for x in pair), *arguments).value[0] for pair in (one, two)]
        assert found[name].value[0] == pytest.approx(shares[0] - shares[1], abs=1e-15)  # counts over one n


def test_pairing_is_worth_it() -> None:
    """The error of a paired difference is below that of two independent studies, by the correlation."""
    first, _, second, _ = two_methods()
    pair = paired.bias_difference(first, second).mcse[0]
    alone = [measures.bias(x, np.zeros(1)).mcse[0] for x in (first, second)]
    assert pair < 0.6 * math.hypot(*alone)  # r = .97: sqrt(1 - r) of it, were the SDs equal


def test_methods_that_never_differ_have_the_error_of_a_rate_of_zero() -> None:
    hit = np.random.default_rng(1).random((80, 1)) < 0.9
    same = paired.rate_difference(hit, hit, np.ones_like(hit))
    assert same.value[0] == 0.0
    assert same.mcse[0] == rates.rate(np.zeros((80, 1), dtype=bool), np.ones((80, 1), dtype=bool)).mcse[0] > 0


def test_an_unknown_truth_leaves_what_does_not_need_it() -> None:
    first, se_first, second, se_second = two_methods()
    one, two = limits(first, se_first), limits(second, se_second)
    unknown = np.full(1, np.nan)
    assert np.isnan(paired.coverage_difference(*one, *two, unknown).value[0])
    assert np.isnan(paired.rmse_difference(first, second, unknown).value[0])
    assert np.isfinite(paired.rejection_difference(*one, *two).value[0])


def test_misses_and_coverage_are_all_there_is() -> None:
    first, se, _, _ = two_methods()
    lower, upper = limits(first, se)
    truth = np.full(1, 0.2)
    parts = [measure(lower, upper, truth) for measure in (rates.miss_below, rates.coverage, rates.miss_above)]
    assert sum(part.value[0] for part in parts) == pytest.approx(1.0, abs=1e-15)  # three counts over one n
    assert parts[2].value[0] > parts[0].value[0]  # estimates are centred above this truth: intervals lie above it
    far = np.array([[1.0], [1.0], [-3.0]])
    assert rates.miss_above(far - 0.5, far + 0.5, np.zeros(1)).value[0] == pytest.approx(2 / 3)
    assert rates.miss_below(far - 0.5, far + 0.5, np.zeros(1)).value[0] == pytest.approx(1 / 3)


def test_bounds_count_every_failure_as_miss_or_hit() -> None:
    success = np.array([[True], [True], [False], [True]])
    valid = np.array([[True], [True], [True], [False]])
    low, high = rates.rate_bounds(success, valid, np.array([7]))
    assert (low.value[0], high.value[0]) == (2 / 7, 6 / 7)
    assert (low.n[0], high.n[0]) == (7, 7)
    empty = rates.rate_bounds(success, valid & False, np.array([0]))
    assert np.isnan(empty[0].value[0])


def test_bounds_in_the_table() -> None:
    replicates, fits, truth = cell_tables()
    table = summarise_cell(replicates, fits, truth, estimators=METHODS, params=PARAMS, level=0.95)
    bounds = table[table["basis"].isin(["lower_bound", "upper_bound"])]
    bounded = [name for name, measure in MEASURES.items() if measure.bounds is not None]
    assert set(bounds["measure"]) == set(bounded)
    for measure in bounded:
        where = {"estimator": "careful", "parameter": "bb", "measure": measure}
        own, low, high = (pick(table, basis=basis, **where) for basis in ("casewise", "lower_bound", "upper_bound"))
        hits = own["value"] * own["n"]
        assert (low["n"], high["n"]) == (R, R)
        assert low["value"] == pytest.approx(hits / R)
        assert high["value"] == pytest.approx((hits + R - own["n"]) / R)
    # a method that never failed has one value; what is not spoken about, or not supported, has none
    same = [
        pick(table, basis=basis, estimator="plain", parameter="bb", measure="coverage", se_kind="expected")["value"]
        for basis in ("casewise", "lower_bound", "upper_bound")
    ]
    assert len(set(same)) == 1
    for name, param in (("aggregated", "bw"), ("elsewhere", "bb")):
        row = pick(table, basis="upper_bound", estimator=name, parameter=param, measure="rejection")
        assert (row["n"], np.isnan(row["value"])) == (0, True)
    more = summarise_cell(replicates, fits, truth, estimators=METHODS, params=PARAMS, level=0.95, n_attempted=2 * R)
    row = pick(more, basis="lower_bound", estimator="plain", parameter="bb", measure="coverage", se_kind="expected")
    assert row["value"] == pytest.approx(same[0] / 2)


def test_a_method_that_failed_everywhere_is_bounded_by_nothing_and_everything() -> None:
    replicates, fits, truth = cell_tables()
    fits = fits.assign(status=fits["status"].mask(fits["estimator"] == "careful", "MAX_ITER"))
    table = summarise_cell(replicates, fits, truth, estimators=METHODS, params=PARAMS, level=0.95)
    values = [
        pick(table, basis=basis, estimator="careful", parameter="bb", measure="coverage")["value"]
        for basis in ("lower_bound", "upper_bound")
    ]
    assert values == [0.0, 1.0]


def test_the_reference_and_its_kind_of_se() -> None:
    """`plain` has two kinds: the same kind is compared where there is one, otherwise its first."""
    tables = cell_tables()
    options = {"estimators": METHODS, "params": PARAMS, "level": 0.95}
    by_default, named = (summarise_cell(*tables, **options, reference=name) for name in (None, "plain"))
    pd.testing.assert_frame_equal(by_default, named)
    rows = named[named["basis"] == "paired"]
    assert set(rows["reference"]) == {"plain"}
    assert set(rows["measure"]) == set(measure_names("pair"))
    assert "plain" not in set(rows["estimator"])
    assert set(named.loc[named["basis"] != "paired", "reference"]) == {""}
    other = summarise_cell(*tables, **options, reference="aggregated")
    for kind in ("expected", "robust"):
        row = pick(
            other, basis="paired", estimator="plain", parameter="bb", measure="ci_width_difference", se_kind=kind
        )
        wide, narrow = (
            pick(other, basis="casewise", estimator=name, parameter="bb", measure="ci_width", se_kind=se)["value"]
            for name, se in (("plain", kind), ("aggregated", "expected"))
        )
        assert row["value"] == pytest.approx(wide - narrow)
    silent = pick(other, basis="paired", estimator="plain", parameter="bw", measure="bias_difference", se_kind="robust")
    assert (silent["n"], np.isnan(silent["value"])) == (0, True)  # the reference says nothing of bw
    with pytest.raises(SimstudyError, match=r"reference: there is no method 'plian' \(did you mean 'plain'\?\)"):
        summarise_cell(*tables, **options, reference="plian")


def test_parts_of_a_cell_come_in_any_order() -> None:
    replicates, fits, truth = cell_tables()
    options = {"estimators": METHODS, "params": PARAMS, "level": 0.95}
    whole = summarise_cell(replicates, fits, truth, **options)
    parts = [part for _, part in replicates.groupby(replicates["rep"] % 4)][::-1]
    pd.testing.assert_frame_equal(summarise_cell(iter(parts), fits, truth, **options), whole, check_exact=True)
    assert statistics.fmean(len(part) for part in parts) == len(replicates) / 4
