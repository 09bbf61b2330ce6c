"""Arithmetic expressions in model and design files, parsed and never eval()-ed.

Numbers, names, ``+ - * / ^`` (also ``**``), unary minus, parentheses, and the functions in `FUNCTIONS`. Values may be
floats or arrays; gradients are exact (forward differentiation).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simstudy.errors import ModelError, did_you_mean

Value = Any  # a float or an array of floats

FUNCTIONS = ("exp", "log", "sqrt", "abs")
CONSTANTS = {"pi": np.pi}

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_.][\w.]*)|(?P<op>\*\*|[-+*/^()]))"
)


@dataclass(frozen=True)
class Node:
    """A node of the syntax tree: ``kind`` is number, name, neg, call or a binary operator."""

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

        def walk(node: Node) -> Node:
            children = tuple(walk(child) for child in node.children)
            name = names.get(node.name, node.name) if node.kind == "name" else node.name
            return Node(node.kind, node.value, name, children)

        return Expression(self.text, walk(self.root))

    def evaluate(self, values: Mapping[str, Value]) -> Value:
        """Evaluate with a value for every name; floating-point errors give NaN or infinity."""
        with np.errstate(all="ignore"):
            return _evaluate(self.root, values)

    def gradient(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Partial derivatives with respect to every name, by forward differentiation."""
        with np.errstate(all="ignore"):
            return {name: _derivative(self.root, values, name)[1] for name in self.names}


def parse_expression(text: str, where: str = "expression") -> Expression:
    """Parse ``text``; a `ModelError` names ``where`` and the column of the trouble."""
    return Expression(text.strip(), _Parser(text, where).parse())


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where, self.at = text, where, 0
        self.tokens: list[tuple[str, str, int]] = []
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None:
                column = position + len(stripped[position:]) - len(stripped[position:].lstrip())
                raise self.error(f"unexpected character {stripped[column]!r}", column)
            kind = match.lastgroup or ""
            self.tokens.append((kind, match.group(kind), match.start(kind)))
            position = match.end()

    def error(self, what: str, column: int | None = None) -> ModelError:
        if column is None:
            column = self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.text.rstrip())
        return ModelError(f"{self.where}: {what} at column {column + 1} of '{self.text.strip()}'")

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def parse(self) -> Node:
        if not self.tokens:
            raise ModelError(f"{self.where}: empty expression")
        node = self.sum()
        if self.at < len(self.tokens):
            raise self.error(f"unexpected '{self.peek()}'")
        return node

    def sum(self) -> Node:
        node = self.product()
        while self.peek() in ("+", "-"):
            operator = self.peek()
            self.at += 1
            node = Node(operator, children=(node, self.product()))
        return node

    def product(self) -> Node:
        node = self.unary()
        while self.peek() in ("*", "/"):
            operator = self.peek()
            self.at += 1
            node = Node(operator, children=(node, self.unary()))
        return node

    def unary(self) -> Node:
        if self.peek() in ("-", "+"):
            operator = self.peek()
            self.at += 1
            node = self.unary()
            return Node("neg", children=(node,)) if operator == "-" else node
        return self.power()

    def power(self) -> Node:
        node = self.atom()
        if self.peek() in ("^", "**"):
            self.at += 1
            return Node("^", children=(node, self.unary()))
        return node

    def atom(self) -> Node:
        if self.at >= len(self.tokens):
            raise self.error("unexpected end")
        kind, text, _ = self.tokens[self.at]
        if kind == "number":
            self.at += 1
            return Node("number", value=float(text))
        if kind == "name":
            self.at += 1
            if self.peek() == "(":
                if text not in FUNCTIONS:
                    self.at -= 1
                    raise self.error(
                        f"unknown function '{text}'; allowed: {', '.join(FUNCTIONS)}{did_you_mean(text, FUNCTIONS)}"
                    )
                return Node("call", name=text, children=(self.parenthesised(),))
            return Node("number", value=CONSTANTS[text]) if text in CONSTANTS else Node("name", name=text)
        if text == "(":
            return self.parenthesised()
        raise self.error(f"unexpected '{text}'")

    def parenthesised(self) -> Node:
        self.at += 1
        node = self.sum()
        if self.peek() != ")":
            raise self.error("missing ')'")
        self.at += 1
        return node


def _evaluate(node: Node, values: Mapping[str, Value]) -> Value:
    return _derivative(node, values, None)[0]


def _derivative(node: Node, values: Mapping[str, Value], name: str | None) -> tuple[Value, Value]:
    """Value and derivative with respect to ``name`` (0 when None)."""
    if node.kind == "number":
        return np.float64(node.value), 0.0
    if node.kind == "name":
        return values[node.name], 1.0 if node.name == name else 0.0
    parts = [_derivative(child, values, name) for child in node.children]
    u, du = parts[0]
    if node.kind == "neg":
        return -u, -du
    if node.kind == "call":
        if node.name == "exp":
            value = np.exp(u)
            return value, value * du
        if node.name == "log":
            return np.log(u), du / np.asarray(u)
        if node.name == "sqrt":
            value = np.sqrt(u)
            return value, 0.5 * du / np.asarray(value)
        return np.abs(u), np.sign(u) * du
    v, dv = parts[1]
    if node.kind == "+":
        return u + v, du + dv
    if node.kind == "-":
        return u - v, du - dv
    if node.kind == "*":
        return u * v, u * dv + v * du
    if node.kind == "/":
        v = np.asarray(v)
        return u / v, (du - u * dv / v) / v
    value = np.asarray(u) ** v
    slope = v * np.asarray(u) ** (v - 1.0) * du
    if np.any(dv):
        slope = slope + value * np.log(np.asarray(u)) * dv
    return value, slope
