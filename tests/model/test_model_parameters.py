"""The parameter table: lavaan's defaults, labels and equalities, fixed values, which variable lives where."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from simstudy.errors import ModelError
from simstudy.model.parameters import normal_key
from simstudy.model.twolevel import TwoLevelModel

REFERENCE = Path(__file__).parents[1] / "reference" / "data"
CASES = sorted(path.parent.name for path in REFERENCE.glob("*/result.json"))


def model(within: str, between: str = "y ~~ y", rest: str = "", **options: bool) -> TwoLevelModel:
    return TwoLevelModel.from_syntax(f"level: within\n{within}\nlevel: between\n{between}\n{rest}", **options)


def rows(found: TwoLevelModel, level: str) -> dict[str, float | None]:
    """Path without its level -> value where fixed, None where free."""
    return {row.path.split(": ")[1]: None if row.free >= 0 else row.value for row in found.table.at(level)}


@pytest.mark.parametrize("case", CASES)
def test_defaults_are_those_of_lavaans_sem(case) -> None:
    """The same rows, free or fixed at the same values, with the same labels, as in lavaan's parameter table."""
    content = json.loads((REFERENCE / case / "result.json").read_text())
    fit = content["fits"].get("observed_fixedxF") or content["fits"]["observed"]
    assert fit["fixed.x"] is False
    theirs = {
        (row["level"], *normal_key(row["lhs"], row["op"], row["rhs"])): (
            row["free"] > 0,
            row.get("label", ""),
            None if row["free"] > 0 else row["est"],
        )
        for row in fit["par"]
        if row["op"] not in (":=", "==")
    }
    found = TwoLevelModel.from_syntax((REFERENCE / case / "model.lav").read_text())
    ours = {
        ({"within": 1, "between": 2}[row.level], *row.key): (
            row.free >= 0,
            row.label,
            None if row.free >= 0 else row.value,
        )
        for row in found.table.rows
    }
    assert ours == theirs
    assert len(found.names) == fit["npar"]


def test_defaults_of_a_path_model() -> None:
    found = model("m ~ x\n y1 + y2 ~ m + w", "y1 + y2 ~ x + z")
    assert rows(found, "within") == {
        "m ~ x": None, "y1 ~ m": None, "y2 ~ m": None, "y1 ~ w": None, "y2 ~ w": None,
        "m ~~ m": None, "x ~~ x": None, "y1 ~~ y1": None, "y2 ~~ y2": None, "w ~~ w": None,
        "x ~~ w": None, "y1 ~~ y2": None,
        "m ~ 1": None, "w ~ 1": None,  # they live on level 1 alone
        "x ~ 1": 0.0, "y1 ~ 1": 0.0, "y2 ~ 1": 0.0,
    }  # fmt: skip
    assert rows(found, "between") == {
        "y1 ~ x": None, "y2 ~ x": None, "y1 ~ z": None, "y2 ~ z": None,
        "y1 ~~ y1": None, "y2 ~~ y2": None, "x ~~ x": None, "z ~~ z": None,
        "x ~~ z": None, "y1 ~~ y2": None,
        "y1 ~ 1": None, "y2 ~ 1": None, "x ~ 1": None, "z ~ 1": None,
    }  # fmt: skip


def test_defaults_of_factors() -> None:
    found = model("f1 =~ a + b + c\n f2 =~ d + e\n f2 ~ f1 + x", "g1 =~ a + b\n g2 =~ c + d + e")
    within, between = rows(found, "within"), rows(found, "between")
    assert {key: within[key] for key in ("f1 =~ a", "f1 =~ b", "f2 =~ d", "f2 =~ e")} == {
        "f1 =~ a": 1.0, "f1 =~ b": None, "f2 =~ d": 1.0, "f2 =~ e": None,
    }  # fmt: skip
    assert within["f1 ~~ f1"] is None
    assert within["f2 ~~ f2"] is None
    assert "f1 ~~ f2" not in within  # one depends on the other
    assert "f1 ~~ x" not in within  # lavaan: auto.cov.x is off
    assert between["g1 ~~ g2"] is None
    assert within["f1 ~ 1"] == 0.0
    assert between["g1 ~ 1"] == 0.0
    assert between["a ~ 1"] is None
    assert within["a ~ 1"] == 0.0
    assert within["x ~ 1"] is None


def test_marker_may_be_freed_and_factor_variances_may_be_one() -> None:
    freed = model("f =~ NA*a + b + c\n f ~~ 1*f")
    assert rows(freed, "within")["f =~ a"] is None
    assert rows(freed, "within")["f ~~ f"] == 1.0
    standard = model("f =~ a + b\n g =~ c + d\n g ~ f", std_lv=True)
    found = rows(standard, "within")
    assert found["f =~ a"] is None
    assert found["f ~~ f"] == 1.0


def test_a_label_does_not_free_the_marker() -> None:
    found = model("f =~ l1*a + l2*b + l3*c", "g =~ l1*a + l2*b + l3*c", "ratio := l2 / l1")
    assert rows(found, "within")["f =~ a"] == 1.0
    assert rows(found, "between")["g =~ a"] == 1.0
    assert found.table.constants == {"l1": 1.0}


def test_a_single_indicator_has_no_residual_variance() -> None:
    assert rows(model("f =~ a\n y ~ f"), "within")["a ~~ a"] == 0.0


def test_variables_that_no_path_mentions_get_no_covariances() -> None:
    found = model("y ~ x\n z ~~ z", "y ~~ y\n x ~~ x\n z ~~ z")
    assert "x ~~ z" not in rows(found, "within")
    assert not {"y ~~ x", "x ~~ z", "y ~~ z"} & set(rows(found, "between"))


def test_order_of_variables_and_levels() -> None:
    found = model("y ~ x\n v ~ w", "y ~ z + x\n q ~ y")
    assert found.level1 == ("y", "x", "v", "w")
    assert found.level2 == ("z", "q")
    assert found.both == ("y", "x")
    assert found.variables == ("y", "x", "v", "w", "z", "q")
    assert found.outcomes("within") == ("y", "v")
    assert found.outcomes("between") == ("y", "q")
    assert found.observed("between") == ("y", "z", "x", "q")


def test_names_are_labels_or_paths() -> None:
    found = model("y ~ a*x + w\n y ~~ x", "y ~ 1")
    assert found.names[:3] == ("a", "within: y ~ w", "within: y ~~ x")  # in the order of the text, then defaults
    assert {"within: w ~ 1", "within: x ~~ x", "between: y ~ 1", "between: y ~~ y"} < set(found.names)
    assert len(set(found.names)) == len(found.names)
    assert found.table.find("within", "x", "~~", "y") is found.table.find("within", "y", "~~", "x")
    assert found.table.find("between", "y", "~", "x") is None


def test_equal_labels_share_a_parameter_within_and_across_levels() -> None:
    found = model("y ~ a*x\n m ~ a*x + b*w", "y ~ a*x\n y ~~ v*y\n x ~~ v*x")
    places = {row.path: row.free for row in found.table.rows}
    assert places["within: y ~ x"] == places["within: m ~ x"] == places["between: y ~ x"]
    assert places["between: y ~~ y"] == places["between: x ~~ x"]
    levels = dict(zip(found.names, found.table.levels, strict=True))
    assert levels["a"] == "both"
    assert levels["b"] == "within"
    assert levels["v"] == "between"
    assert found.reported_levels == found.table.levels
    assert sorted({row.free for row in found.table.rows if row.free >= 0}) == list(range(len(found.names)))


def test_label_equals_label() -> None:
    tied = model("y ~ a*x", "y ~ b*x", "a == b")
    labels = model("y ~ a*x", "y ~ a*x")
    assert tied.names == labels.names
    assert not tied.table.constraints


@pytest.mark.parametrize("constraint", ["b == 0.25", "b == 1/4", "b == 0.5^2"])
def test_label_equals_number(constraint) -> None:
    found = model("y ~ a*x", "y ~ b*x", f"{constraint}\nd := a - b")
    assert "b" not in found.names
    assert rows(found, "between")["y ~ x"] == 0.25
    params = np.arange(1.0, 1.0 + len(found.names))
    assert found.estimands.evaluate(params)[0] == params[found.names.index("a")] - 0.25


@pytest.mark.parametrize(
    "rest",
    ["a == b\nb == c", "a == b\nd := a - b", "a == b\nb == 0.5"],
)
def test_labels_that_were_set_equal_keep_their_names(rest) -> None:
    model("y ~ a*x", "y ~ b*x\n z ~ c*y", rest)


def test_a_label_that_is_a_constant_is_honoured_or_refused() -> None:
    try:
        found = model("y ~ pi*x", "y ~~ y", "double := 2*pi")
    except ModelError:
        return
    params = np.full(len(found.names), 0.5)
    assert found.estimands.evaluate(params)[0] == 1.0


def test_repeated_mentions_of_a_parameter_add_up() -> None:
    found = model("y ~ start(0.3)*x + w\n y ~ a*x", "y ~ b*x\n y ~ start(-1)*x\n x ~~ y\n y ~~ c*x")
    row = found.table.find("within", "y", "~", "x")
    assert (row.label, row.start, row.free >= 0) == ("a", 0.3, True)
    row = found.table.find("between", "y", "~", "x")
    assert (row.label, row.start) == ("b", -1.0)
    assert found.table.find("between", "y", "~~", "x").label == "c"  # a covariance is one whichever side comes first
    fixed = model("y ~ a*x\n y ~ 0.5*x", "y ~~ y", "double := 2*a")
    assert "a" not in fixed.names
    assert fixed.table.constants == {"a": 0.5}
    assert fixed.estimands.evaluate(np.zeros(len(fixed.names)))[0] == 1.0


def test_fixed_label_fixes_every_row_that_has_it() -> None:
    found = model("y ~ 0.4*a*x\n m ~ a*x", "y ~ a*x")
    assert "a" not in found.names
    assert [row.value for row in found.table.rows if row.label == "a"] == [0.4, 0.4, 0.4]


def test_na_frees_what_would_be_fixed() -> None:
    found = model("f =~ NA*a + b", "a ~ NA*1\n b ~~ NA*b")
    assert rows(found, "within")["f =~ a"] is None
    assert rows(found, "between")["b ~~ b"] is None


def test_definitions_may_use_the_ones_before_but_not_after() -> None:
    found = model("y ~ a*x", "y ~ b*x", "d := a*b\ne := 2*d")
    assert found.reported == (*found.names, "d", "e")
    params = np.zeros(len(found.names))
    params[[found.names.index("a"), found.names.index("b")]] = 0.5, 3.0
    np.testing.assert_array_equal(found.estimands.evaluate(params), [1.5, 3.0])
    with pytest.raises(ModelError, match="'d' in 'e := 2\\*d' is no label"):
        model("y ~ a*x", "y ~ b*x", "e := 2*d\nd := a*b")


def test_user_variances_are_found() -> None:
    found = model("y ~ x\n y ~~ v*y\n x ~~ 0.5*x", "f =~ y + q\n f ~~ v2*f")
    variances = {found.names[i] for i in found.table.variance_indices}
    assert variances == {"v", "between: y ~~ y", "between: q ~~ q", "v2"}
