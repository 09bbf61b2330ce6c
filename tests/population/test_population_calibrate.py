"""Calibration: the variances and ICCs asked for are those that the model implies, or the message says what could be."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pytest

from simstudy.data.layout import ClusterLayout
from simstudy.errors import DesignError
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.calibrate import calibrate
from simstudy.population.population import Moments, Population

CONTEXTUAL = """
level: within
  y ~ bw*x
level: between
  y ~ bb*x
contextual := bb - bw
"""
SLOPES = {"bw": 0.2, "bb": 0.7}

MEDIATION = """
level: within
  m ~ aw*x
  y ~ bw*m + cw*x
level: between
  m ~ ab*x
  y ~ bb*m + cb*x + d*z
"""
PATHS = {"aw": 0.2, "bw": 0.3, "cw": 0.1, "ab": 0.4, "bb": 0.5, "cb": 0.1, "d": 0.2}

LOOP = """
level: within
  y ~ p*x
  x ~ r*y
level: between
  y ~ q*x + s*z
  x ~ t*y
"""

FACTOR = """
level: within
  f =~ y1 + l2*y2 + l3*y3
level: between
  g =~ y1 + k2*y2 + k3*y3
  g ~ b*z
"""


def moments(model: TwoLevelModel, values: tuple[float, ...]) -> Moments:
    return Population(model, values, ClusterLayout((5, 5)), "key").moments


def model_of(syntax: str) -> TwoLevelModel:
    return TwoLevelModel.from_syntax(syntax)


def value(syntax: str, name: str, *args: object) -> float:
    model = model_of(syntax)
    return calibrate(model, *args)[model.names.index(name)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("syntax", "values", "variance", "icc"),
    [
        (CONTEXTUAL, SLOPES, 1.0, {"x": 0.1, "y": 0.2}),
        (CONTEXTUAL, SLOPES, {"x": 4.0, "y": 2.5}, 0.3),
        (CONTEXTUAL, {"bw": -0.2, "bb": 0.7, "between: y ~ 1": 3.0}, 1.0, {"x": 0.3, "y": 0.147}),
        (MEDIATION, PATHS, 1.0, 0.25),
        (MEDIATION, PATHS | {"between: x ~~ z": 0.2}, {"x": 1.0, "m": 2.0, "y": 3.0, "z": 0.7}, 0.4),
        (LOOP, {"p": 0.3, "r": 0.2, "q": 0.5, "s": 0.1, "t": -0.4}, 1.0, {"x": 0.2, "y": 0.3}),
        (
            FACTOR,
            {"l2": 0.8, "l3": 1.2, "k2": 1.0, "k3": 0.9, "b": 0.3, "within: f ~~ f": 0.4, "between: g ~~ g": 0.1},
            1.0,
            0.3,
        ),
    ],
)
def test_the_model_implies_what_was_asked_for(
    syntax: str, values: dict[str, float], variance: float | dict[str, float], icc: float | dict[str, float]
) -> None:
    model = model_of(syntax)
    found = moments(model, calibrate(model, values, variance, icc))
    total = np.diag(found.sigma_between).copy()
    total[: len(found.level1)] += np.diag(found.sigma_within)
    asked = [variance[name] if isinstance(variance, Mapping) else variance for name in model.variables]
    np.testing.assert_allclose(total, asked, rtol=1e-13)  # a few operations on numbers of order 1
    for name, share in found.icc().items():
        assert share == pytest.approx(icc[name] if isinstance(icc, Mapping) else icc, rel=1e-13)


def test_residual_variance_by_hand() -> None:
    """.2 - .7^2 x .1 between and .8 - .2^2 x .9 within."""
    assert value(CONTEXTUAL, "between: y ~~ y", SLOPES, 1.0, {"x": 0.1, "y": 0.2}) == pytest.approx(0.151, rel=1e-13)
    assert value(CONTEXTUAL, "within: y ~~ y", SLOPES, 1.0, {"x": 0.1, "y": 0.2}) == pytest.approx(0.764, rel=1e-13)


def test_given_residual_variances_are_used_as_they_are() -> None:
    """Paths may be written with any spaces, and levels as 1 and 2."""
    model = model_of(CONTEXTUAL)
    given = {"between: y ~~ y": 0.15, "within:y~~y": 0.8, "1: x ~~ x": 0.9, "  2 :  x~~ x ": 0.1}
    found = dict(zip(model.names, calibrate(model, SLOPES | given), strict=True))
    assert (found["between: y ~~ y"], found["within: y ~~ y"]) == (0.15, 0.8)
    assert (found["within: x ~~ x"], found["between: x ~~ x"]) == (0.9, 0.1)


def test_scalars_are_defaults() -> None:
    """The scalar ICC of .1 holds for x; y's variances are given."""
    values = SLOPES | {"between: y ~~ y": 0.15, "within: y ~~ y": 0.8}
    found = dict(zip(model_of(CONTEXTUAL).names, calibrate(model_of(CONTEXTUAL), values, 1.0, 0.1), strict=True))
    assert found["between: x ~~ x"] == pytest.approx(0.1)
    assert found["between: y ~~ y"] == 0.15


def test_means_and_covariances_are_zero_unless_given() -> None:
    model = model_of(MEDIATION)
    found = dict(zip(model.names, calibrate(model, PATHS | {"between: z ~~ x": 0.1}, 1.0, 0.3), strict=True))
    assert found["between: x ~~ z"] == 0.1
    assert found["between: z ~ 1"] == found["between: y ~ 1"] == 0.0


def test_no_between_variance_at_all() -> None:
    model = model_of(CONTEXTUAL)
    found = moments(model, calibrate(model, SLOPES, 1.0, 0.0))
    assert not found.sigma_between.any()  # exactly
    assert value(CONTEXTUAL, "between: y ~~ y", {"bw": 0.2, "bb": 0.0}, 1.0, {"x": 0.3, "y": 0.0}) == 0.0


def test_the_boundary_is_possible() -> None:
    """All of y's between variance from x: the residual is 0 and not a negative rounding error."""
    for icc in (0.1, 0.2, 0.3, 0.4, 0.7):
        found = value(CONTEXTUAL, "between: y ~~ y", {"bw": 0.0, "bb": 0.7}, 1.0, {"x": icc, "y": 0.49 * icc})
        assert found == 0.0


def test_equal_residual_variances() -> None:
    syntax = "level: within\n a ~~ v*a\n b ~~ v*b\nlevel: between\n a ~~ b\n"
    assert value(syntax, "v", {}, 2.0, 0.25) == pytest.approx(1.5)
    with pytest.raises(DesignError, match="give every variable the variance asked for"):
        calibrate(model_of(syntax), {}, {"a": 1.0, "b": 2.0}, 0.25)


def messages(syntax: str, *args: object) -> str:
    with pytest.raises(DesignError) as caught:
        calibrate(model_of(syntax), *args)  # type: ignore[arg-type]
    return "\n".join(caught.value.problems)


def test_impossible_between_variance_names_what_is_possible() -> None:
    text = messages(CONTEXTUAL, SLOPES, 1.0, {"x": 0.3, "y": 0.1})
    assert "impossible between variance of 'y'" in text
    assert "variance 1 with icc 0.1 makes it 0.1" in text
    assert "explain 0.147" in text
    assert "icc of 'y' of at least 0.147 (with variance 1), or a smaller |bb|" in text


@pytest.mark.parametrize(
    ("values", "icc"),
    [
        ({"bw": 0.2, "bb": 0.83}, {"x": 0.31, "y": 0.1}),
        ({"bw": 0.83, "bb": 0.2}, {"x": 0.11, "y": 0.47}),
        ({"bw": 1.83, "bb": 0.2}, {"x": 0.11, "y": 0.47}),
        ({"bw": 0.9, "bb": 1.2}, {"x": 0.5, "y": 0.2}),
    ],
)
def test_what_the_message_calls_possible_is_possible(values: dict[str, float], icc: dict[str, float]) -> None:
    text = messages(CONTEXTUAL, values, 1.0, icc)
    better = re.search(r"icc of 'y' of at (least|most) ([\d.]+)", text)
    larger = re.search(r"variance of 'y' of at least ([\d.]+)", text)
    if better:
        calibrate(model_of(CONTEXTUAL), values, 1.0, icc | {"y": float(better.group(2))})
        beyond = float(better.group(2)) + (-0.002 if better.group(1) == "least" else 0.002)
        assert "impossible" in messages(CONTEXTUAL, values, 1.0, icc | {"y": beyond})
    else:
        assert larger is not None
        need = float(larger.group(1))
        between = values["bb"] ** 2 * icc["x"]
        calibrate(model_of(CONTEXTUAL), values, {"x": 1.0, "y": need}, icc | {"y": between / need + 1e-9})


def test_impossible_variance_of_a_level_2_variable() -> None:
    text = messages(LOOP, {"p": 0, "r": 0, "q": 0, "s": 0, "t": 0}, {"x": 1, "y": 1, "z": -1}, 0.2)
    assert "variance of 'z': found -1; allowed: above 0" in text
    text = messages("level: within\n y ~~ y\nlevel: between\n w ~ b*y\n", {"b": 3.0}, 1.0, 0.5)
    assert "impossible between variance of 'w': variance 1 makes it 1" in text
    assert "a variance of 'w' of at least 4.5, or a smaller |b|" in text


def test_impossible_covariance_names_level_and_pair() -> None:
    syntax = "level: within\n x ~~ y\nlevel: between\n x ~~ y\n"
    text = messages(syntax, {"between: x ~~ y": 0.25}, 1.0, {"x": 0.1, "y": 0.4})
    assert "between level: the (residual) covariance of 'x' and 'y' is 0.25" in text
    assert "at most 0.2" in text
    assert calibrate(model_of(syntax), {"between: x ~~ y": 0.2}, 1.0, {"x": 0.1, "y": 0.4})  # correlation 1


def test_covariances_that_contradict_each_other() -> None:
    syntax = "level: within\n a ~~ b\n a ~~ c\n b ~~ c\nlevel: between\n a ~~ a\n b ~~ b\n c ~~ c\n"
    values = {"within: a ~~ b": 0.7, "within: a ~~ c": 0.7, "within: b ~~ c": -0.7}
    text = messages(syntax, values, 1.0, 0.1)
    assert "within level: the (residual) covariances of a, b, c contradict each other" in text


def test_negative_variance_given() -> None:
    for icc in ({"x": 0.1}, 0.1):  # without an icc of y, its within variance follows from the total variance
        text = messages(CONTEXTUAL, SLOPES | {"between: y ~~ y": -0.1}, 1.0, icc)
        assert "between level: the (residual) variance of 'y' is -0.1; allowed: at least 0" in text


@pytest.mark.parametrize(
    ("values", "variance", "icc", "expected"),
    [
        ({"bw": 0.2}, 1.0, 0.1, "no value is given for 'bb'"),
        (SLOPES | {"bbb": 1.0}, 1.0, 0.1, "'bbb': the generating model has no such parameter (did you mean 'bb'?)"),
        (SLOPES | {"slope": 1.0}, 1.0, 0.1, "no such parameter; allowed: bw, bb, paths such as 'within: y ~ x'"),
        (SLOPES | {"between: y ~~ z": 1.0}, 1.0, 0.1, "did you mean 'between: y ~~ y'?"),
        (SLOPES | {"y ~~ y": 1.0}, 1.0, 0.1, "write the level in front: 'within: y ~~ y' or 'between: y ~~ y'"),
        (SLOPES | {"contextual": 0.5}, 1.0, 0.1, "'contextual': it is defined by :="),
        (SLOPES | {"between: y ~ x": 0.5}, 1.0, 0.1, "'bb' gives the same parameter 0.7"),
        (SLOPES | {"within: y ~ 1": 0.5}, 1.0, 0.1, "the model fixes this parameter at 0"),
        (SLOPES | {"between: y ~ 1": np.inf}, 1.0, 0.1, "not a finite number"),
        (SLOPES, None, 0.1, "give the variance of 'y', or its residual variance as 'within: y ~~ y'"),
        (SLOPES, 1.0, None, "give the icc of 'x', or its residual variance as 'between: x ~~ x'"),
        (SLOPES, None, None, "give the variance and the icc of 'y', or its"),
        (SLOPES, 1.0, {"x": 0.1}, "give the icc of 'y'"),
        (SLOPES, 1.0, 1.0, "icc: found 1; allowed: at least 0 and below 1"),
        (SLOPES, 1.0, {"x": -0.1, "y": 0.1}, "icc of 'x': found -0.1"),
        (SLOPES, 1.0, {"x": 0.1, "yy": 0.1}, "icc: unknown variable 'yy' (did you mean 'y'?); allowed: y, x"),
        (SLOPES, 0.0, 0.1, "variance: found 0; allowed: above 0"),
        (SLOPES | {"between: y ~~ y": 0.15}, 1.0, {"x": 0.1, "y": 0.2}, "the residual variances given or fixed"),
    ],
)
def test_messages(
    values: dict[str, float], variance: float | None, icc: float | dict[str, float] | None, expected: str
) -> None:
    assert expected in messages(CONTEXTUAL, values, variance, icc)


def test_icc_of_a_variable_of_one_level() -> None:
    text = messages(MEDIATION, PATHS, 1.0, {"x": 0.2, "m": 0.2, "y": 0.2, "z": 0.2})
    assert "icc of 'z': 'z' lives at the between level only, so it has no intraclass correlation" in text


def test_latent_variances_are_given() -> None:
    text = messages(FACTOR, {"l2": 1, "l3": 1, "k2": 1, "k3": 1, "b": 0}, 1.0, 0.1)
    assert "no value is given for 'within: f ~~ f' (latent variables have no icc: give their variances)" in text


def test_loop_without_solution() -> None:
    assert "the paths form a loop" in messages(LOOP, {"p": 2.0, "r": 0.5, "q": 0, "s": 0, "t": 0}, 1.0, 0.2)


def test_all_problems_at_once() -> None:
    assert len(messages(CONTEXTUAL, {"b": 1.0, "bww": 2.0}, 1.0, {"y": 2.0, "z": 0.1}).splitlines()) == 6


def test_a_value_equal_to_the_fixed_one_is_no_contradiction() -> None:
    syntax = "level: within\n y ~ 0.5*x\nlevel: between\n y ~ bb*x\n"
    assert calibrate(model_of(syntax), {"bb": 0.1, "within: y ~ x": 0.5}, 1.0, 0.2)


# ---- latent variables -----------------------------------------------------------------------------------------------

CFA = """
level: within
  f1 =~ y1 + l2*y2 + l3*y3
  f2 =~ y4 + l5*y5 + l6*y6
  f1 ~~ c12*f2
level: between
  fb =~ y1 + l2*y2 + l3*y3 + k4*y4 + k5*y5 + k6*y6
"""
LOADINGS = {"l2": 0.8, "l3": 1.1, "l5": 0.9, "l6": 1.0, "k4": 1.0, "k5": 0.9, "k6": 1.1, "c12": 0.2}
FACTORS = {"within: f1 ~~ f1": 0.5, "within: f2 ~~ f2": 0.4, "between: fb ~~ fb": 0.12}


def test_items_of_a_two_level_factor_model() -> None:
    """Residual variances by hand: (1 - icc) v - l^2 psi within, icc v - l^2 psi between; a loading on both levels."""
    model = model_of(CFA)
    values = calibrate(model, LOADINGS | FACTORS, 1.0, {f"y{k}": 0.2 for k in range(1, 7)})
    found = dict(zip(model.names, values, strict=True))
    assert found["within: y2 ~~ y2"] == pytest.approx(0.8 - 0.64 * 0.5, rel=1e-13)
    assert found["between: y2 ~~ y2"] == pytest.approx(0.2 - 0.64 * 0.12, rel=1e-13)
    assert found["within: y5 ~~ y5"] == pytest.approx(0.8 - 0.81 * 0.4, rel=1e-13)
    m = moments(model, values)
    assert m.icc() == pytest.approx({f"y{k}": 0.2 for k in range(1, 7)})
    assert m.sigma_within[1, 4] == pytest.approx(0.8 * 0.2 * 0.9)
    assert m.sigma_between[1, 4] == pytest.approx(0.8 * 0.12 * 0.9)


def test_factors_of_variance_1() -> None:
    """std_lv: all loadings are given, the factors' variances are fixed."""
    model = TwoLevelModel.from_syntax(CFA.replace("+ l2*y2 + l3*y3 + k4", "+ k2*y2 + k3*y3 + k4"), std_lv=True)
    loadings = LOADINGS | {"k2": 0.3, "k3": 0.3, "k4": 0.3, "k5": 0.3, "k6": 0.3, "l2": 0.6, "l3": 0.7, "l5": 0.8}
    by_path = {"within: f1 =~ y1": 0.7, "within: f2 =~ y4": 0.7, "between: fb =~ y1": 0.4, "l6": 0.5}
    m = moments(model, calibrate(model, loadings | by_path, 1.0, 0.2))
    assert m.icc() == pytest.approx({f"y{k}": 0.2 for k in range(1, 7)})
    assert m.sigma_between[0, 1] == pytest.approx(0.4 * 0.3)
    text = messages_of(model, loadings, 1.0, 0.2)
    assert "no value is given for 'within: f1 =~ y1'" in text
    assert "variance" not in text


def test_latent_paths_of_one_name_at_both_levels() -> None:
    syntax = "level: within\n f =~ y1 + l*y2 + l*y3\n f ~ b*x\nlevel: between\n f =~ y1 + l*y2 + l*y3\n f ~ g*w\n x~~x"
    values = {"l": 1.0, "b": 0.3, "g": 0.3, "within: f ~~ f": 0.3, "between: f ~~ f": 0.05}
    model = model_of(syntax)
    m = moments(model, calibrate(model, values, 1.0, 0.2))
    total = np.diag(m.sigma_between)[:4] + np.diag(m.sigma_within)
    np.testing.assert_allclose(total, 1.0, rtol=1e-13)
    assert m.sigma_within[0, 1] == pytest.approx(0.3 + 0.09 * 0.8)
    text = messages(syntax, {k: v for k, v in values.items() if "f ~~ f" not in k}, 1.0, 0.2)
    assert "'within: f ~~ f' (latent variables have no icc: give their residual variances)" in text


def test_a_factor_in_the_table_of_variances() -> None:
    text = messages(CFA, LOADINGS | FACTORS, {"fb": 1.0}, {"f1": 0.2})
    assert "variance: 'fb' is a latent variable: give its variance as 'between: fb ~~ fb'" in text
    assert "icc: 'f1' is a latent variable: give its variance as 'within: f1 ~~ f1'" in text


def test_impossible_items_name_loading_and_factor() -> None:
    text = messages(CFA, LOADINGS | FACTORS | {"between: fb ~~ fb": 0.19}, 1.0, 0.2)
    assert "impossible between variance of 'y3'" in text
    assert "alone explain 0.2299" in text
    assert "icc of 'y3' of at least 0.23 (with variance 1), or a smaller |l3| or variance of 'fb'" in text
    text = messages(CFA, LOADINGS | FACTORS | {"c12": 0.9}, 1.0, 0.2)
    assert "within level: the (residual) covariance of 'f1' and 'f2' is 0.9" in text


def test_without_an_icc_the_other_level_makes_up_the_total() -> None:
    """No residual variance between clusters, as under strong factorial invariance across clusters."""
    syntax = CFA + "  y1 ~~ 0*y1\n  y2 ~~ 0*y2\n"
    model = model_of(syntax)
    icc = {f"y{k}": 0.2 for k in range(3, 7)}
    m = moments(model, calibrate(model, LOADINGS | FACTORS, 1.0, icc))
    np.testing.assert_allclose(np.diag(m.sigma_within) + np.diag(m.sigma_between), 1.0, rtol=1e-13)
    assert m.icc()["y2"] == pytest.approx(0.64 * 0.12)
    with pytest.raises(DesignError, match=r"'y2': 0.2 is asked for, but the residual variances given or fixed"):
        calibrate(model, LOADINGS | FACTORS, 1.0, icc | {"y1": 0.12, "y2": 0.2})
    text = messages(syntax, LOADINGS | FACTORS, {"y1": 0.5, **{f"y{k}": 1.0 for k in range(2, 7)}}, icc)
    assert "impossible within variance of 'y1': variance 0.5 makes it 0.5" in text
    assert "a variance of 'y1' of at least 0.62" in text


def test_constraints_are_solved_or_checked() -> None:
    syntax = CFA + "l3 == l2^2 + 0.1\n"
    model = model_of(syntax)
    given = {key: value for key, value in (LOADINGS | FACTORS).items() if key != "l3"}
    found = dict(zip(model.names, calibrate(model, given, 1.0, 0.2), strict=True))
    assert found["l3"] == pytest.approx(0.74, rel=1e-14)
    calibrate(model, given | {"l3": 0.74}, 1.0, 0.2)
    text = messages(syntax, given | {"l3": 1.1}, 1.0, 0.2)
    assert "the model's constraint 'l3 == l2^2 + 0.1' does not hold: its sides are 1.1 and 0.74" in text


def messages_of(model: TwoLevelModel, *args: object) -> str:
    with pytest.raises(DesignError) as caught:
        calibrate(model, *args)  # type: ignore[arg-type]
    return "\n".join(caught.value.problems)
