"""Targets for Monte Carlo SEs: what is read, when a target is met, and how many replicates come next."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from simstudy.errors import SimstudyError
from simstudy.performance import MEASURES, summarise_cell
from simstudy.performance.precision import GRAIN, Target, assess, next_look, parse_targets, reached


def summary(estimates, se=0.1, status="OK", truth=0.5):
    """Summary of one method `m` with the parameters of ``estimates``; NaN: no number."""
    names = list(estimates)
    n = len(next(iter(estimates.values())))
    rep = np.arange(n)
    rows = [
        pd.DataFrame({"cell": 0, "rep": rep, "estimator": "m", "se_kind": "expected", "param": name,
                      "estimate": value, "se": np.where(np.isnan(value), np.nan, se), "lower": np.nan, "upper": np.nan})
        for name, value in estimates.items()
    ]  # fmt: skip
    fits = pd.DataFrame({"cell": 0, "rep": rep, "estimator": "m", "status": status, "admissible": status == "OK"})
    truths = pd.DataFrame({"cell": 0, "param": names, "level": "within", "truth": truth})
    return summarise_cell(pd.concat(rows), fits, truths, estimators=["m"], params=names, level=0.95)


def draws(n, seed=1, sd=1.0):
    return np.random.default_rng(seed).normal(0.5, sd, n)


def test_targets_are_read_in_order():
    assert parse_targets(" coverage=.005, bias = 1e-2") == (Target("coverage", 0.005), Target("bias", 0.01))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found ''; allowed: measure=MCSE"),
        ("coverage", "found 'coverage'; allowed: measure=MCSE"),
        ("covrage=.1", "did you mean 'coverage'"),
        ("bias=0", "allowed: a number above 0"),
        ("bias=nan", "allowed: a number above 0"),
        ("bias=.1,bias=.2", "twice"),
    ],
)
def test_what_is_no_target_is_refused(text, message):
    with pytest.raises(SimstudyError, match=message):
        parse_targets(text)


def test_the_projection_is_the_square_root_law():
    found = assess(summary({"a": draws(400)}), [Target("bias", 0.02)], ["m"], ["a"]).iloc[0]
    sd = draws(400).std(ddof=1)
    assert found["mcse"] == pytest.approx(sd / 20, rel=1e-12)  # rounding of sums
    assert found["needed"] == pytest.approx((sd / 0.02) ** 2, rel=1e-12)
    assert found["state"] == "open"


def test_looks_grow_by_the_projection_in_whole_grains_and_at_most_fourfold():
    target = [Target("bias", 0.02)]
    assessed = assess(summary({"a": draws(1600)}), target, ["m"], ["a"])
    projected = float(assessed["needed"].iloc[0])
    n = next_look(assessed, 1600, 10**6)
    assert n % GRAIN == 0
    assert 1.05 * projected <= n < 1.05 * projected + GRAIN
    early = assess(summary({"a": draws(100)}), target, ["m"], ["a"])
    assert next_look(early, 100, 10**6) == 400
    assert next_look(early, 100, 250) == 250
    assert next_look(early, 100, 100) == 100


def test_the_worst_parameter_decides_and_only_those_asked_for_count():
    table = summary({"a": draws(400), "b": draws(400, 2, sd=3.0)})
    both = assess(table, [Target("bias", 0.06)], ["m"], ["a", "b"])
    assert both["state"].tolist() == ["met", "open"]
    (row,) = reached(both, 400)
    assert (row["parameter"], row["met"]) == ("b", False)
    alone = assess(table, [Target("bias", 0.06)], ["m"], ["a"])
    assert next_look(alone, 400, 10**6) == 400
    assert reached(alone, 400)[0]["met"]


def test_a_rate_on_which_all_replicates_agree_is_not_known_yet():
    table = summary({"a": np.full(250, 0.5)})  # coverage 1
    row = table[(table["measure"] == "coverage") & (table["basis"] == "casewise")].iloc[0]
    assert (row["value"], row["mcse"] < 0.005) == (1.0, True)
    found = assess(table, [Target("coverage", 0.005)], ["m"], ["a"])
    assert found["state"].tolist() == ["open"]  # two successes and two failures more would make .0056
    assert next_look(found, 250, 10**6) <= 1.05 * 0.25 / 0.005**2 + GRAIN


@pytest.mark.parametrize("name", [name for name, record in MEASURES.items() if record.is_share])
def test_no_share_is_known_because_all_replicates_agree(name):
    """Every share of replicates, whatever it counts: at 0 or 1 it is judged as if two had gone each way."""
    table = summary({"a": np.full(250, 0.5)})
    rows = table[(table["measure"] == name) & (table["basis"] == "casewise")]
    assert rows["value"].isin([0.0, 1.0]).all()
    found = assess(table, [Target(name, 0.001)], ["m"], ["a"])
    assert (found["mcse"].to_numpy() > 1.4 * rows["mcse"].to_numpy()).all()  # .0055 against Wilson's .0039 at n = 250
    assert (found["state"] == "open").all()


def test_targets_may_be_named_as_other_software_does():
    assert parse_targets("cover=.005,empse=.01") == (Target("coverage", 0.005), Target("empirical_se", 0.01))


def test_what_never_has_a_number_is_not_waited_for():
    nothing = np.full(50, np.nan)
    silent = assess(summary({"a": draws(50), "b": nothing}), [Target("coverage", 0.2)], ["m"], ["a", "b"])
    assert silent["state"].tolist() == ["met", "no number"]
    assert next_look(silent, 50, 1000) == 50
    undefined = assess(summary({"a": draws(50)}, truth=0.0), [Target("relative_bias", 0.2)], ["m"], ["a"])
    assert undefined["state"].tolist() == ["undefined"]
    assert reached(undefined, 50)[0]["note"] == "nothing to measure (undefined)"
    unsupported = assess(summary({"a": nothing}, status="NOT_SUPPORTED"), [Target("bias", 0.2)], ["m"], ["a"])
    assert unsupported["state"].tolist() == ["not supported"]
    assert next_look(unsupported, 50, 1000) == 50


def test_a_method_that_converges_nowhere_is_tried_up_to_the_maximum():
    found = assess(summary({"a": np.full(50, np.nan)}, status="NON_PD"), [Target("bias", 0.2)], ["m"], ["a"])
    assert found["state"].tolist() == ["nothing converged"]
    assert next_look(found, 50, 1000) == 200
    (row,) = reached(found, 1000)
    assert (row["met"], row["note"]) == (False, "no replicate of m converged")
    assert math.isnan(row["needed"])


def test_measures_of_fits_have_targets_too():
    found = assess(summary({"a": draws(100)}), [Target("convergence", 0.001)], ["m"], ["a"])
    assert found["parameter"].tolist() == [""]
    assert found["state"].tolist() == ["open"]


@pytest.mark.slow
def test_stopping_hardly_biases_a_rate():
    """A stop that looks at the estimate may bias it: for coverage .95 to .01, by less than a fifth of the target."""
    rng = np.random.default_rng(3)
    target, studies, values = Target("coverage", 0.01), 800, []
    for _ in range(studies):
        hits = rng.random(4000) < 0.95
        n, before = 250, 0
        while n != before:
            before, p = n, hits[:n].mean()
            row = {"basis": "casewise", "estimator": "m", "se_kind": "", "parameter": "a", "n": n, "n_attempted": n}
            mcse = math.sqrt(p * (1 - p) / n) if p < 1 else 1.96 / (2 * (n + 3.84))
            fits = {**row, "measure": "convergence", "value": 1.0, "mcse": 0.001, "parameter": ""}
            table = pd.DataFrame([fits, {**row, "measure": "coverage", "value": p, "mcse": mcse}])
            n = next_look(assess(table, [target], ["m"], ["a"]), n, 4000)
        values.append(p)
    spread = np.std(values) / math.sqrt(studies)
    assert abs(np.mean(values) - 0.95) < 0.002 + 4 * spread  # measured over 4,000 studies: .0013
