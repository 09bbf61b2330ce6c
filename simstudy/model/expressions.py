"""Arithmetic expressions in model and design files, parsed and never eval()-ed.

Numbers, names, ``+ - * / ^`` (also ``**``), signs, parentheses, and the functions in `functions.FUNCTIONS`, with R's
precedence: powers before signs before products before sums. Values may be floats or arrays; gradients are exact
(forward differentiation, all names in one pass). Sums and products of any length are one node, so that only
parentheses, signs, powers and functions nest; how deep is limited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simstudy.errors import ModelError, did_you_mean
from simstudy.model.functions import CONSTANTS, FUNCTIONS
from simstudy.model.tokens import Token, tokens_of

__all__ = ["CONSTANTS", "FUNCTIONS", "MAX_DEPTH", "MAX_LENGTH", "Expression", "Node", "parse_expression"]

Value = Any  # a float or an array of floats
Slopes = dict[str, Value]

MAX_DEPTH = 50
"""How deep parentheses, signs, powers and functions may nest (R's own parser stops there, too)."""
MAX_LENGTH = 20_000
"""How many characters an expression may have."""
_POWERS = ("^", "**")


@dataclass(frozen=True)
class Node:
    """A node of the syntax tree.

    ``kind`` is ``number``, ``name``, ``neg``, ``call`` (``name`` is the function), ``^``, or ``sum`` or ``product`` of
    two or more terms, whose operators between the terms are the characters of ``name``.
    """

    kind: str
    value: float = 0.0
    name: str = ""
    children: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Expression:
    """A parsed expression with its source text."""

    text: str
    root: Node

    @property
    def names(self) -> tuple[str, ...]:
        """The names it refers to, in order of first appearance."""
        found: dict[str, None] = {}

        def walk(node: Node) -> None:
            if node.kind == "name":
                found.setdefault(node.name)
            for child in node.children:
                walk(child)

        walk(self.root)
        return tuple(found)

    def rename(self, names: Mapping[str, str]) -> Expression:
        """The expression with names replaced."""
        return self.substitute({old: Node("name", name=new) for old, new in names.items()})

    def substitute(self, nodes: Mapping[str, Node]) -> Expression:
        """The expression with expressions in place of names."""

        def walk(node: Node) -> Node:
            if node.kind == "name":
                return nodes.get(node.name, node)
            return Node(node.kind, node.value, node.name, tuple(walk(child) for child in node.children))

        return Expression(self.text, walk(self.root))

    def evaluate(self, values: Mapping[str, Value]) -> Value:
        """Evaluate with a value for every name; floating-point errors give NaN or infinity."""
        with np.errstate(all="ignore"):
            return _evaluate(self.root, values, frozenset())[0]

    def gradient(self, values: Mapping[str, Value]) -> Slopes:
        """Partial derivatives with respect to every name, by forward differentiation."""
        with np.errstate(all="ignore"):
            slopes = _evaluate(self.root, values, frozenset(self.names))[1]
        return {name: slopes.get(name, 0.0) for name in self.names}

    @property
    def depth(self) -> int:
        """How deep its nodes nest."""

        def walk(node: Node) -> int:
            return 1 + max((walk(child) for child in node.children), default=0)

        return walk(self.root)


def parse_expression(text: str, where: str = "expression") -> Expression:
    """Parse ``text``; a `ModelError` names ``where`` and the column of the trouble."""
    if len(text) > MAX_LENGTH:
        raise ModelError(f"{where}: an expression of {len(text):,} characters; at most {MAX_LENGTH:,} are read")
    return Expression(text.strip(), _Parser(text, where).parse())


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where, self.at, self.depth = text, where, 0, 0
        self.tokens: tuple[Token, ...] = tokens_of(text)

    def error(self, what: str, column: int | None = None) -> ModelError:
        if column is None:
            column = self.tokens[self.at].at if self.at < len(self.tokens) else len(self.text.rstrip())
        return ModelError(f"{self.where}: {what} at column {column + 1} of '{_short(self.text.strip(), column)}'")

    def peek(self) -> str:
        """The operator that comes next, or an empty text."""
        if self.at < len(self.tokens) and self.tokens[self.at].kind == "op":
            return self.tokens[self.at].text
        return ""

    def parse(self) -> Node:
        if not self.tokens:
            raise ModelError(f"{self.where}: empty expression")
        node = self.sum()
        if self.at < len(self.tokens):
            raise self.unexpected()
        return node

    def unexpected(self) -> ModelError:
        if self.at >= len(self.tokens):
            return self.error("unexpected end")
        token = self.tokens[self.at]
        if token.kind == "name" or (token.kind in ("op", "number") and token.text[0] not in ":,?~|<>="):
            return self.error(f"unexpected '{token.text}'")
        if token.kind == "bad" and len(token.text) > 1 and token.text[0].isdigit():
            return self.error(f"unexpected '{token.text}', which is neither a number nor a name")
        return self.error(f"unexpected character {self.text[token.at]!r}", token.at)

    def nested(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"parentheses, signs, powers and functions nest deeper than {MAX_DEPTH} times")

    def sum(self) -> Node:
        first = self.product()
        terms, operators = [first], ""
        while self.peek() in ("+", "-"):
            operators += self.peek()
            self.at += 1
            terms.append(self.product())
        return Node("sum", name=operators, children=tuple(terms)) if operators else first

    def product(self) -> Node:
        first = self.unary()
        terms, operators = [first], ""
        while self.peek() in ("*", "/"):
            operators += self.peek()
            self.at += 1
            terms.append(self.unary())
        return Node("product", name=operators, children=tuple(terms)) if operators else first

    def unary(self) -> Node:
        negative = False
        while self.peek() in ("-", "+"):  # signs in a row cancel each other
            negative ^= self.peek() == "-"
            self.at += 1
        node = self.power()
        return Node("neg", children=(node,)) if negative else node

    def power(self) -> Node:
        node = self.atom()
        if self.peek() in _POWERS:
            self.at += 1
            self.nested()
            node = Node("^", children=(node, self.unary()))
            self.depth -= 1
        return node

    def atom(self) -> Node:
        if self.at >= len(self.tokens):
            raise self.unexpected()
        token = self.tokens[self.at]
        if token.kind == "number":
            self.at += 1
            return Node("number", value=float(token.text))
        if token.kind == "name":
            self.at += 1
            if self.peek() == "(":
                return self.call(token)
            constant = CONSTANTS.get(token.text)
            return Node("name", name=token.text) if constant is None else Node("number", value=constant)
        if self.peek() == "(":
            (inner,) = self.arguments(1)
            return inner
        raise self.unexpected()

    def call(self, token: Token) -> Node:
        function = FUNCTIONS.get(token.text)
        if function is None:
            self.at -= 1
            raise self.error(
                f"unknown function '{token.text}'; allowed: {', '.join(FUNCTIONS)}{did_you_mean(token.text, FUNCTIONS)}"
            )
        begin = self.at - 1
        found = self.arguments(function.most)
        if len(found) < function.least:
            raise self.error(f"'{token.text}' needs {function.least} arguments", self.tokens[begin].at)
        return Node("call", name=token.text, children=found)

    def arguments(self, most: int) -> tuple[Node, ...]:
        """What stands in parentheses, separated by commas."""
        self.nested()
        self.at += 1
        found = [self.sum()]
        while self.peek() == "," and len(found) < most:
            self.at += 1
            found.append(self.sum())
        if self.peek() != ")":
            raise self.error("missing ')'") if self.at >= len(self.tokens) else self.unexpected()
        self.at += 1
        self.depth -= 1
        return tuple(found)


def _short(text: str, column: int) -> str:
    """A text, or what stands around the column if it is long."""
    if len(text) <= 120:
        return text
    begin = max(0, min(column - 40, len(text) - 80))
    return f"{'...' if begin else ''}{text[begin : begin + 80]}{'...' if begin + 80 < len(text) else ''}"


# ---------------------------------------------------------------------- values


def _evaluate(node: Node, values: Mapping[str, Value], names: frozenset[str]) -> tuple[Value, Slopes]:
    """Value and derivatives with respect to ``names``."""
    if node.kind == "number":
        return np.float64(node.value), {}
    if node.kind == "name":
        return values[node.name], ({node.name: 1.0} if node.name in names else {})
    if node.kind == "sum":
        return _sum(node, values, names)
    if node.kind == "product":
        return _product(node, values, names)
    parts = [_evaluate(child, values, names) for child in node.children]
    if node.kind == "neg":
        value, slopes = parts[0]
        return -value, {name: -slope for name, slope in slopes.items()}
    if node.kind == "call":
        value, partial = FUNCTIONS[node.name].rule(*(value for value, _ in parts))
        total: Slopes = {}
        for slope, (_, inner) in zip(partial, parts, strict=False):
            total = _combine(total, 1.0, inner, slope)
        return value, total
    return _power(*parts)


def _combine(first: Slopes, a: Value, second: Slopes, b: Value) -> Slopes:
    """Slopes of a sum: a times the first and b times the second."""
    total = {name: a * slope for name, slope in first.items()}
    for name, slope in second.items():
        total[name] = total[name] + b * slope if name in total else b * slope
    return total


def _sum(node: Node, values: Mapping[str, Value], names: frozenset[str]) -> tuple[Value, Slopes]:
    value, slopes = _evaluate(node.children[0], values, names)
    slopes = dict(slopes)
    for operator, child in zip(node.name, node.children[1:], strict=True):
        v, dv = _evaluate(child, values, names)
        value = value + v if operator == "+" else value - v
        for name, slope in dv.items():
            signed = slope if operator == "+" else -slope
            slopes[name] = slopes[name] + signed if name in slopes else signed
    return value, slopes


def _product(node: Node, values: Mapping[str, Value], names: frozenset[str]) -> tuple[Value, Slopes]:
    u, du = _evaluate(node.children[0], values, names)
    for operator, child in zip(node.name, node.children[1:], strict=True):
        v, dv = _evaluate(child, values, names)
        if operator == "*":
            u, du = u * v, _combine(du, v, dv, u)
        else:
            v = np.asarray(v)
            du = _combine(du, 1.0 / v, dv, -(u / v) / v)
            u = u / v
    return u, du


def _power(base: tuple[Value, Slopes], exponent: tuple[Value, Slopes]) -> tuple[Value, Slopes]:
    (u, du), (v, dv) = base, exponent
    u = np.asarray(u)
    value = u**v
    slopes = {name: v * u ** (v - 1.0) * slope for name, slope in du.items()}
    moving = {name: slope for name, slope in dv.items() if np.any(slope)}
    return value, _combine(slopes, 1.0, moving, value * np.log(u)) if moving else slopes
