"""Functions of expressions, each with its value and its partial derivatives.

Names and arguments are R's, as lavaan's ``:=`` has them: ``log(x, base)``, ``pnorm(q, mean, sd)``, ``max(a, b, ...)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from simstudy.lazy import special

Value = Any  # a float or an array of floats
Rule = Callable[..., tuple[Value, tuple[Value, ...]]]


@dataclass(frozen=True)
class Function:
    """A function of expressions.

    Attributes
    ----------
    rule : callable
        arguments -> (value, partial derivatives).
    least, most : int
        Number of arguments.
    """

    rule: Rule
    least: int = 1
    most: int = 1


def _plain(value: Callable[[Value], Value], slope: Callable[[Value, Value], Value]) -> Function:
    """One argument x; ``slope`` is given x and the value."""

    def rule(x: Value) -> tuple[Value, tuple[Value, ...]]:
        x = np.asarray(x, dtype=np.float64)
        found = value(x)
        return found, (slope(x, found),)

    return Function(rule)


def _log(x: Value, base: Value = None) -> tuple[Value, tuple[Value, ...]]:
    x = np.asarray(x, dtype=np.float64)
    if base is None:
        return np.log(x), (1.0 / x,)
    base = np.asarray(base, dtype=np.float64)
    scale = np.log(base)
    found = np.log(x) / scale
    return found, (1.0 / (x * scale), -found / (base * scale))


def _density(z: Value) -> Value:
    return np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)


def _standardised(x: Value, mean: Value, sd: Value) -> tuple[Value, Value]:
    sd = np.where(np.asarray(sd) > 0, sd, np.nan)
    return (np.asarray(x) - mean) / sd, sd


def _pnorm(q: Value, mean: Value = 0.0, sd: Value = 1.0) -> tuple[Value, tuple[Value, ...]]:
    z, sd = _standardised(q, mean, sd)
    density = _density(z) / sd
    return special.ndtr(z), (density, -density, -z * density)


def _dnorm(x: Value, mean: Value = 0.0, sd: Value = 1.0) -> tuple[Value, tuple[Value, ...]]:
    z, sd = _standardised(x, mean, sd)
    density = _density(z) / sd
    return density, (-z * density / sd, z * density / sd, (z * z - 1.0) * density / sd)


def _qnorm(p: Value, mean: Value = 0.0, sd: Value = 1.0) -> tuple[Value, tuple[Value, ...]]:
    z = special.ndtri(np.asarray(p, dtype=np.float64))
    return mean + sd * z, (sd / _density(z), np.ones_like(z), z)


def _extreme(sign: float) -> Rule:
    """Largest (sign 1) or smallest (sign -1) argument; of equal ones the first has the derivative."""

    def rule(*arguments: Value) -> tuple[Value, tuple[Value, ...]]:
        stacked = np.stack(np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in arguments)))
        first = np.argmax(sign * stacked, axis=0)
        slopes = tuple(np.where(first == k, 1.0, 0.0) for k in range(len(arguments)))
        return sign * (sign * stacked).max(axis=0), slopes

    return rule


def _sum(*arguments: Value) -> tuple[Value, tuple[Value, ...]]:
    total = arguments[0]
    for value in arguments[1:]:
        total = total + value
    return total, (1.0,) * len(arguments)


MANY = 100
FUNCTIONS: dict[str, Function] = {
    "exp": _plain(np.exp, lambda x, f: f),
    "expm1": _plain(np.expm1, lambda x, f: np.exp(x)),
    "log": Function(_log, 1, 2),
    "log2": _plain(np.log2, lambda x, f: 1.0 / (x * np.log(2.0))),
    "log10": _plain(np.log10, lambda x, f: 1.0 / (x * np.log(10.0))),
    "log1p": _plain(np.log1p, lambda x, f: 1.0 / (1.0 + x)),
    "sqrt": _plain(np.sqrt, lambda x, f: 0.5 / f),
    "abs": _plain(np.abs, lambda x, f: np.sign(x)),
    "sin": _plain(np.sin, lambda x, f: np.cos(x)),
    "cos": _plain(np.cos, lambda x, f: -np.sin(x)),
    "tan": _plain(np.tan, lambda x, f: 1.0 + f * f),
    "asin": _plain(np.arcsin, lambda x, f: 1.0 / np.sqrt(1.0 - x * x)),
    "acos": _plain(np.arccos, lambda x, f: -1.0 / np.sqrt(1.0 - x * x)),
    "atan": _plain(np.arctan, lambda x, f: 1.0 / (1.0 + x * x)),
    "sinh": _plain(np.sinh, lambda x, f: np.cosh(x)),
    "cosh": _plain(np.cosh, lambda x, f: np.sinh(x)),
    "tanh": _plain(np.tanh, lambda x, f: 1.0 - f * f),
    "asinh": _plain(np.arcsinh, lambda x, f: 1.0 / np.sqrt(x * x + 1.0)),
    "acosh": _plain(np.arccosh, lambda x, f: 1.0 / np.sqrt(x * x - 1.0)),
    "atanh": _plain(np.arctanh, lambda x, f: 1.0 / (1.0 - x * x)),
    "plogis": _plain(lambda x: special.expit(x), lambda x, f: f * (1.0 - f)),
    "qlogis": _plain(lambda x: special.logit(x), lambda x, f: 1.0 / (x * (1.0 - x))),
    "pnorm": Function(_pnorm, 1, 3),
    "dnorm": Function(_dnorm, 1, 3),
    "qnorm": Function(_qnorm, 1, 3),
    "gamma": _plain(lambda x: special.gamma(x), lambda x, f: f * special.digamma(x)),
    "lgamma": _plain(lambda x: special.gammaln(x), lambda x, f: special.digamma(x)),
    "max": Function(_extreme(1.0), 1, MANY),
    "min": Function(_extreme(-1.0), 1, MANY),
    "sum": Function(_sum, 1, MANY),
}
CONSTANTS = {"pi": np.pi}
