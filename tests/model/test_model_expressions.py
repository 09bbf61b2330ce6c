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
        # R 4.2.2
        ("pnorm(1.96)", 0.97500210485177952),
        ("pnorm(2, 1, 0.5)", 0.97724986805182079),
        ("dnorm(0.5)", 0.35206532676429952),
        ("plogis(0.3) + qlogis(0.7)", 1.4217403771988626),
        ("lgamma(4.5) + gamma(0.5)", 4.2261904217479582),
        ("log(8, 2) + log1p(0.5) + expm1(0.1)", 3.5106360261838123),
        ("atanh(0.3) + asinh(2) + acosh(3)", 3.5159022534210083),
        ("tan(1) + asin(0.2) + acos(0.2) * atan(2)", 3.2749376207511713),
        ("max(1, 3, 2) - min(4, 0.5) + sum(1, 2, 3)", 8.5),
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
        "log(a, c) + log2(a) * log10(c) - log1p(c) + expm1(b)",
        "sin(a) * cos(b) + tan(x.1)",
        "asin(b) + acos(x.1) - atan(c)",
        "sinh(a) + cosh(b) * tanh(c)",
        "asinh(a) - acosh(c) + atanh(x.1)",
        "plogis(a) * qlogis(x.1)",
        "pnorm(a) + pnorm(b, x.1, c)",
        "dnorm(a) * dnorm(b, x.1, c)",
        "qnorm(x.1) + qnorm(x.1, a, c)",
        "gamma(c) + lgamma(a)",
        "max(a, b, c) * min(a, b) + sum(a, b * c, 2)",
        "a / b / c * a - c / (a - b)",
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
        ("sine(a)", "unknown function 'sine'; allowed: exp, "),
        ("log(a, b, c)", "unexpected character ','"),
        ("2a + 1", "unexpected '2a', which is neither a number nor a name"),
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
