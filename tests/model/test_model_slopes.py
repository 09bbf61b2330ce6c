"""Random slopes in the model text: what they become, lavaan's defaults for them, and the model without them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from simstudy.model.fixed_slopes import FixedSlopes, without_slopes
from simstudy.model.parameters import normal_key
from simstudy.model.representation import level_matrices
from simstudy.model.slopes import RandomSlope
from simstudy.model.twolevel import TwoLevelModel

REFERENCE = Path(__file__).parents[1] / "reference" / "data"

MEDIATION = """
level: within
  m ~ rv("a")*x
  y ~ rv("b")*m + cw*x
level: between
  m ~ ab*x
  y ~ bb*m + cb*x
  a ~ aw*1
  b ~ bw*1
  a ~~ sab*b
ind := aw*bw + sab
"""


def text(within: str, between: str) -> TwoLevelModel:
    return TwoLevelModel.from_syntax(f"level: within\n{within}\nlevel: between\n{between}")


@pytest.mark.parametrize("case", ["xiv_rs_observed", "xiv_rs_latentcov", "xiv_rs_m111"])
def test_defaults_are_those_of_lavaan(case) -> None:
    """The same rows as in lavaan's parameter table; what it takes as known of exogenous x is free here."""
    content = json.loads((REFERENCE / case / "result_slopes.json").read_text())
    model = TwoLevelModel.from_syntax((REFERENCE / case / "model.lav").read_text())
    fit = next(iter(content["fits"].values()))
    theirs = {(row["level"], *normal_key(row["lhs"], row["op"], row["rhs"])) for row in fit["par"]}
    means = {(1, name, "~1", "") for name in model.level1 if name in model.both}  # written as rows fixed at 0
    ours = {({"within": 1, "between": 2}[row.level], *row.key) for row in model.table.rows}
    assert ours == theirs
    fixed = {({"within": 1, "between": 2}[r.level], *r.key) for r in model.table.rows if r.free < 0}
    assert fixed == means | {(1, s.outcome, "~", s.predictor) for s in model.slopes}
    if "free" in fit["par"][0]:
        free = {(r["level"], *normal_key(r["lhs"], r["op"], r["rhs"])) for r in fit["par"] if r["free"]}
        exogenous = ours - fixed - free
        assert {row[1] for row in exogenous} <= {"x", "w"}


def test_a_slope_is_a_latent_variable_of_the_between_level() -> None:
    model = TwoLevelModel.from_syntax(MEDIATION)
    assert model.slopes == (RandomSlope("a", "m", "x"), RandomSlope("b", "y", "m"))
    assert model.latents("between") == ("a", "b")
    assert model.factors("between") == ()
    assert model.variables == ("m", "x", "y")
    assert model.both == ("m", "x", "y")
    row = model.table.find("within", "m", "~", "x")
    assert row is not None
    assert (row.free, row.value, row.slope) == (-1, 0.0, "a")
    assert {"aw", "bw", "sab", "between: a ~~ a", "between: b ~~ b"} <= set(model.names)
    assert model.reported[-1] == "ind"


def test_slopes_need_not_be_mentioned_between() -> None:
    found = text('y ~ rv("s1")*x1 + rv("s2")*x2', "y ~~ y")
    assert {"between: s1 ~ 1", "between: s1 ~~ s1", "between: s1 ~~ s2", "between: s2 ~~ s2"} <= set(found.names)
    assert found.level2 == ()


def test_slopes_may_have_predictors_outcomes_and_be_indicators() -> None:
    found = text('y ~ rv("s")*x', "s + y ~ w\n z ~ s")
    assert found.level2 == ("w", "z")
    assert "between: s ~~ y" not in found.names  # s predicts: no pure outcome, as in lavaan
    assert (
        "between: y ~~ s" in text('y ~ rv("s")*x', "y + s ~ w").names
        or "between: s ~~ y" in text('y ~ rv("s")*x', "y + s ~ w").names
    )
    factor = text('y ~ rv("s1")*x1 + rv("s2")*x2 + rv("s3")*x3', "f =~ s1 + s2 + s3\n y ~~ f")
    assert "between: s1 ~~ s2" not in factor.names


def test_matrices_can_put_slopes_among_the_observed_variables() -> None:
    model = text('y ~ rv("s")*x', "y ~ w\n s ~ w\n y ~~ s")
    maps = level_matrices(model, "between", ("y", "s", "w"), ("s",))
    assert maps.variables == ("y", "s", "w")
    assert maps.n_observed == 3
    assert level_matrices(model, "between").variables == ("y", "w", "s")


def test_the_model_without_slopes_reports_the_path_for_the_mean() -> None:
    model = TwoLevelModel.from_syntax(MEDIATION)
    fixed = without_slopes(model)
    assert isinstance(fixed, FixedSlopes)
    assert set(fixed.model.names) == (set(model.names) - {"sab", "between: a ~~ a", "between: b ~~ b"})
    for name, index in zip(model.names, fixed.index, strict=True):
        assert index < 0 or fixed.model.names[index] == name
    assert not fixed.model.slopes
    path = fixed.model.table.find("within", "y", "~", "m")
    assert path is not None
    assert path.label == "bw"
    unlabelled = without_slopes(text('y ~ rv("s")*x', "y ~ x\n y ~~ s"))
    assert isinstance(unlabelled, FixedSlopes)
    at = text('y ~ rv("s")*x', "y ~ x\n y ~~ s").names.index("between: s ~ 1")
    assert unlabelled.model.names[unlabelled.index[at]] == "within: y ~ x"
    same = TwoLevelModel.from_syntax("level: 1\n y ~ x\nlevel: 2\n y ~ x")
    assert {row.path: row.free >= 0 for row in same.table.rows} == {
        row.path: row.free >= 0 for row in unlabelled.model.table.rows
    }


def test_a_fixed_mean_becomes_a_fixed_path() -> None:
    fixed = without_slopes(text('y ~ rv("s")*x', "y ~ x\n s ~ 0.3*1"))
    assert isinstance(fixed, FixedSlopes)
    row = fixed.model.table.find("within", "y", "~", "x")
    assert row is not None
    assert (row.free, row.value) == (-1, 0.3)


@pytest.mark.parametrize("between", ["y ~~ y\n s ~ w", "z ~ s"])
def test_slopes_with_paths_of_their_own_have_no_fixed_counterpart(between) -> None:
    found = without_slopes(text('y ~ rv("s")*x', between))
    assert isinstance(found, str)
    assert "the random slope 's' has paths of its own" in found


def test_models_without_slopes_are_as_they_were() -> None:
    model = TwoLevelModel.from_syntax("level: 1\n y ~ b*x\nlevel: 2\n y ~ x")
    assert model.slopes == ()
    fixed = without_slopes(model)
    assert isinstance(fixed, FixedSlopes)
    np.testing.assert_array_equal(fixed.index, np.arange(len(model.names)))
