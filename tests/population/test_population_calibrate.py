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
    text = messages(CONTEXTUAL, SLOPES | {"between: y ~~ y": -0.1}, 1.0, {"x": 0.1})
    assert "not determined" in text  # the within variance of y: no icc for y
    text = messages(CONTEXTUAL, SLOPES | {"between: y ~~ y": -0.1}, 1.0, 0.1)
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
