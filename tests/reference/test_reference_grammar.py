"""lavaan's grammar in fits: public and generated cases of ``../shared/reference/outside``, lavaan 0.7-2's numbers.

lavaan's fits (``fixed.x = FALSE``, expected information) stop at gradients of 1e-5 to 1e-7: estimates to about 1e-4,
log-likelihoods to 1e-5. Its expected information of means is another one where a variable lives on the within level
alone: such a mean has the SE sqrt(variance / N) here and by its observed information, and another one by its expected.
Where numbers differ, both stand in the table that is printed after the run: SEs of means there, and chi-squares where
its unrestricted log-likelihood is below ours.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simstudy.analysis.fit import fit
from simstudy.analysis.result import FitRecord

OUTSIDE = Path(__file__).parents[3] / "shared" / "reference" / "outside"
ESTIMATE, SE, LOGLIK = 1.5e-4, 1e-4, 5e-6
BLOCKS = {0: "", 1: "within", 2: "between"}

CASES = {
    "equal_by_address": {},
    "inequality_active": {},
    "lower_modifier": {},
    "fixed_by_expression_shared_configural": {},
    "label_and_value_forms": {},
    "level_names": {},
    "unicode_names": {},
    "interaction_term": {},
    "autocov_exogenous": {"auto": "lavaan"},
    "autocov_bh1996": {"auto": "lavaan"},
}
WITHIN_ONLY = {
    "equal_by_address", "label_and_value_forms", "level_names", "unicode_names", "interaction_term",
    "autocov_exogenous",
}  # fmt: skip
"""Cases with variables of the within level alone."""
EARLY = {"inequality_active", "lower_modifier", "fixed_by_expression_shared_configural"}
"""Cases in which lavaan's EM stops below the unrestricted maximum, or keeps an indefinite matrix semidefinite."""

pytestmark = pytest.mark.skipif(not OUTSIDE.is_dir(), reason=f"the reference cases are not there: {OUTSIDE}")


@cache
def expected(case: str) -> dict[str, Any]:
    return json.loads((OUTSIDE / case / "expected.json").read_text(encoding="utf-8"))


@cache
def fitted(case: str, **options: Any) -> FitRecord:
    folder = OUTSIDE / case
    opts = json.loads((folder / "opts.json").read_text(encoding="utf-8"))
    text = (folder / "model.lav").read_text(encoding="utf-8")
    return fit(text, pd.read_csv(folder / "data.csv"), cluster=opts["cluster"], **options)


def ours(found: FitRecord, row: dict[str, Any]) -> pd.Series:
    table, level = found.parameters, BLOCKS[row["block"]]
    same = (table["op"] == row["op"]) & (table["level"] == level)
    straight = (table["lhs"] == row["lhs"]) & ((table["rhs"] == row["rhs"]) | (row["op"] == ":="))
    turned = (table["lhs"] == row["rhs"]) & (table["rhs"] == row["lhs"]) & (row["op"] == "~~")
    (index,) = np.flatnonzero(same & (straight | turned))[:1]
    return table.iloc[index]


@pytest.mark.parametrize("case", CASES)
def test_fits_are_those_of_lavaan(case, differences, both_sides) -> None:
    found, theirs = fitted(case, **CASES[case]), expected(case)
    assert found.converged
    assert found.measures["npar"] == theirs["fit"]["npar"]
    assert found.measures["df"] == theirs["fit"]["df"]
    loglik = found.measures["loglik"]
    assert abs(loglik - theirs["fit"]["logl"]) < LOGLIK
    differences(case, "loglik", loglik, theirs["fit"]["logl"], 1e-8)
    if case not in EARLY:
        both_sides(case, "chisq", found.measures["chisq"], theirs["fit"]["chisq"], 1e-4)  # two log-likelihoods
    else:
        psd = fitted(case, h1="psd").measures
        assert found.measures["unrestricted_loglik"] >= psd["unrestricted_loglik"] - LOGLIK
        assert psd["unrestricted_loglik"] > theirs["fit"]["unrestricted.logl"]
        # .080 measured: twice the .040 that its EM stops below the maximum
        both_sides(case, "chisq, psd", psd["chisq"], theirs["fit"]["chisq"], 0.1, "its EM stops early")
        # .403 measured: what indefinite between matrices add
        both_sides(case, "chisq", found.measures["chisq"], theirs["fit"]["chisq"], 0.5, "ours may be indefinite")
    for row in theirs["parameters"]:
        here = ours(found, row)
        what = f"{row['lhs']} {row['op']} {row['rhs']}"
        differences(case, "estimates", here["est"], row["est"], ESTIMATE, what)
        if row["se"] and not (row["op"] == "~1" and case in WITHIN_ONLY):
            differences(case, "SE", here["se"], row["se"], SE, what)
        elif row["se"]:
            # .0011 measured: 6 % of an SE
            both_sides(case, f"SE {what}", here["se"], row["se"], 2e-3, "its expected information of means")
        else:
            assert np.isnan(here["se"]), what  # fixed, or at a bound


def test_the_mean_of_a_within_only_variable_has_its_closed_form() -> None:
    """The reason for leaving SEs of means out (`WITHIN_ONLY`): sqrt(variance / N)."""
    table = fitted("unicode_names").parameters
    x = table[(table["lhs"] == "успех") & (table["level"] == "within")].set_index("op")
    assert x.loc["~1", "se"] == pytest.approx(np.sqrt(x.loc["~~", "est"] / 2500), rel=1e-6)  # information's last step


@pytest.mark.parametrize("case", ["autocov_exogenous", "autocov_bh1996"])
def test_our_automatic_covariances_differ_and_say_so(case, both_sides) -> None:
    kept, dropped = fitted(case), fitted(case, auto="lavaan")
    assert kept.measures["df"] == 0
    assert dropped.measures["df"] == 2
    gap = 2 * (kept.measures["loglik"] - dropped.measures["loglik"])
    theirs = expected(case)["fit"]
    assert gap == pytest.approx(theirs["chisq"], abs=1e-4)  # ours is the unrestricted model
    rule = "--auto lavaan gives theirs"
    both_sides(case, "df, auto = simstudy", kept.measures["df"], theirs["df"], 2, rule)
    both_sides(
        case, "loglik, auto = simstudy", kept.measures["loglik"], theirs["logl"], theirs["chisq"] / 2 + 1e-4, rule
    )
    for one, words in ((kept, "--auto lavaan"), (dropped, "by lavaan's rule")):
        assert sum(words in note for note in one.notes) == 2  # one a level


def test_the_slope_that_the_rule_moves() -> None:
    """`autocov_exogenous`: y1 ~ x1 is .494 with the covariance and .338 without."""

    def slope(found: FitRecord) -> float:
        table = found.parameters
        return float(table[(table["lhs"] == "y1") & (table["rhs"] == "x1") & (table["op"] == "~")]["est"].iloc[0])

    assert slope(fitted("autocov_exogenous")) == pytest.approx(0.494, abs=5e-4)  # three digits
    assert slope(fitted("autocov_exogenous", auto="lavaan")) == pytest.approx(0.338, abs=5e-4)


def test_a_product_is_the_column_made_by_hand() -> None:
    folder = OUTSIDE / "interaction_term"
    data = pd.read_csv(folder / "data.csv")
    text = (folder / "model.lav").read_text(encoding="utf-8")
    by_hand = fit(text.replace("x1:x2", "p"), data.assign(p=data["x1"] * data["x2"]), cluster="cluster")
    np.testing.assert_array_equal(fitted("interaction_term").params, by_hand.params)
    assert any("x1:x2 is the column x1 times the column x2" in note for note in fitted("interaction_term").notes)
