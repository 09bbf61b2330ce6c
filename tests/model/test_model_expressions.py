"""Expressions: precedence, functions, gradients, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simstudy.errors import ModelError
from simstudy.model.expressions import parse_expression

VALUES = {"a": 1.7, "b": -0.6, "c": 2.3, "x.1": 0.4}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("2 - 3 - 4", -5.0),
        ("2 / 4 / 5", 0.1),
        ("8 / 4 * 2", 4.0),
        ("2 ^ 3 ^ 2", 512.0),
        ("2 ** 3 ** 2", 512.0),
        ("-2 ^ 2", -4.0),
        ("(-2) ^ 2", 4.0),
        ("2 ^ -1", 0.5),
        ("2 * -3", -6.0),
        ("--3", 3.0),
        ("-+-3", 3.0),
        ("+3 - +2", 1.0),
        ("1e3 + .5 + 2. + 1E-1", 1002.6),
        ("sqrt(16) + abs(-3) + exp(0) + log(1)", 8.0),
        ("exp(log(a) * 2)", 1.7**2),
        ("2 * pi", 2 * math.pi),
        ("a - -b", 1.7 - 0.6),
        ("a*b/c^2", 1.7 * -0.6 / 2.3**2),
        ("x.1 * 10", 4.0),
        ("  (  a)  ", 1.7),
    ],
)
def test_values_follow_the_rules_of_arithmetic(text, expected) -> None:
    assert float(parse_expression(text).evaluate(VALUES)) == pytest.approx(expected, rel=1e-15)  # one rounding or two


def test_names_in_order_of_appearance_without_functions_and_constants() -> None:
    assert parse_expression("c * exp(a) + pi * c - sqrt(b)").names == ("c", "a", "b")


@pytest.mark.parametrize(
    "text",
    [
        "a*b + c",
        "a / c - b / a",
        "exp(b) * log(c)",
        "sqrt(a^2 + b^2)",
        "abs(b) * c",
        "a ^ c",
        "a ^ 2 - c ^ -1.5",
        "-(a - b) * (c + a) / (1 + x.1)",
        "a * a * a",
        "log(a) / log(c) ^ 2",
        "2",
    ],
)
def test_gradients_are_derivatives(text) -> None:
    expression, step = parse_expression(text), 1e-3
    gradient = expression.gradient(VALUES)
    assert set(gradient) == set(expression.names)
    for name in expression.names:

        def moved(k: int, name: str = name) -> float:
            return float(expression.evaluate(VALUES | {name: VALUES[name] + k * step}))

        numeric = (moved(-2) - 8 * moved(-1) + 8 * moved(1) - moved(2)) / (12 * step)
        assert float(gradient[name]) == pytest.approx(numeric, abs=1e-9)  # fourth order: step^4 and rounding / step


def test_arrays_give_the_numbers_of_floats() -> None:
    expression = parse_expression("a^2 * exp(b) - c / a")
    rng = np.random.default_rng(1)
    values = {name: rng.uniform(0.5, 2.0, size=(3, 4)) for name in "abc"}
    whole, slopes = expression.evaluate(values), expression.gradient(values)
    for i, j in np.ndindex(3, 4):
        at = {name: v[i, j] for name, v in values.items()}
        assert whole[i, j] == pytest.approx(float(expression.evaluate(at)), rel=1e-14)  # vectorised exp: last digit
        assert slopes["b"][i, j] == pytest.approx(float(expression.gradient(at)["b"]), rel=1e-14)


def test_impossible_values_are_not_errors() -> None:
    for text in ("log(b)", "sqrt(b)", "b ^ 0.5"):
        assert np.isnan(parse_expression(text).evaluate(VALUES)), text
    assert np.isinf(parse_expression("1 / (a - a)").evaluate(VALUES))
    assert np.isinf(parse_expression("exp(1000 * a)").evaluate(VALUES))
    assert float(parse_expression("a ^ 2").gradient({"a": 0.0})["a"]) == 0.0
    assert float(parse_expression("a ^ 1").gradient({"a": 0.0})["a"]) == 1.0
    assert float(parse_expression("b ^ 3").gradient({"b": -2.0})["b"]) == 12.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty expression"),
        ("   ", "empty expression"),
        ("1 +", "unexpected end at column 4 of '1 +'"),
        ("(1 + 2", "missing ')' at column 7"),
        ("1 + 2)", "unexpected ')' at column 6"),
        ("* 2", "unexpected '*' at column 1"),
        ("2 3", "unexpected '3' at column 3"),
        ("a b", "unexpected 'b' at column 3"),
        ("a $ b", "unexpected character '$' at column 3"),
        ("a[0]", "unexpected character '['"),
        ("'text'", "unexpected character"),
        ("sin(a)", "unknown function 'sin'; allowed: exp, log, sqrt, abs"),
        ("sqr(a)", "(did you mean 'sqrt'?)"),
        ("eval(a)", "unknown function 'eval'"),
        ("__import__(a)", "unknown function"),
        ("exp()", "unexpected ')'"),
        ("exp(a, b)", "unexpected character ','"),
        ("a := 2", "unexpected character ':'"),
    ],
)
def test_what_is_refused_and_why(text, message) -> None:
    with pytest.raises(ModelError) as caught:
        parse_expression(text, "design: population.bw")
    (problem,) = caught.value.problems
    assert problem.startswith("design: population.bw: ")
    assert message in problem
