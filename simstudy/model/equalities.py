"""Equal parameters: ``equal("f=~y2")``, ``label == label``, ``label == number``; and definitions put into ``==``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simstudy.errors import ModelError, did_you_mean
from simstudy.model.expressions import MAX_DEPTH, Node
from simstudy.model.rows import Parameter
from simstudy.model.tokens import is_name

if TYPE_CHECKING:
    from simstudy.model.syntax import Statement

_ADDRESS = re.compile(r"(?P<lhs>.+?)(?P<op>=~|~~|~1|~)(?P<rhs>.*)")
_SUFFIX = {"within": "", "between": ".l2"}


@dataclass(frozen=True)
class Request:
    """A parameter that ``equal()`` equates with another.

    Attributes
    ----------
    path : str
        Of the parameter that asks.
    address : str
        The other's label, or its address in lavaan's way: ``f=~y2`` at level 1, ``f=~y2.l2`` at level 2.
    where : str
        For messages.
    """

    path: str
    address: str
    where: str


def lavaan_address(row: Parameter) -> str:
    """Name that lavaan gives a parameter without a label."""
    return f"{row.lhs}{row.op}{row.rhs}{_SUFFIX[row.level]}"


def tie_rows(rows: list[Parameter], requests: Sequence[Request], problems: list[str]) -> list[Parameter]:
    """Impose the equalities that ``equal()`` asks for; a name that several ask for is a label."""
    asked = [request.address for request in requests]
    labels = {row.label for row in rows if row.label} | {a for a in asked if is_name(a) and asked.count(a) > 1}
    for request in requests:
        at = next(k for k, row in enumerate(rows) if row.path == request.path)
        message, rows = _tie(rows, at, request, labels)
        if message:
            problems.append(f'{request.where}: equal("{request.address}"): {message}')
    return rows


def _tie(rows: list[Parameter], at: int, request: Request, labels: set[str]) -> tuple[str, list[Parameter]]:
    row, address = rows[at], request.address
    if row.slope:
        return "a random slope has no value to equate", rows
    if address in labels:
        if row.label and row.label != address:
            return f"this parameter has a label of its own, '{row.label}'; write '{row.label} == {address}'", rows
        rows[at] = replace(row, label=address)
        return "", rows
    target = _find(rows, address)
    if isinstance(target, str):
        return target, rows
    if target.path == row.path:
        return "a parameter is named as equal to itself", rows
    if target.label:
        return f"'{target.path}' has the label '{target.label}'; write equal(\"{target.label}\")", rows
    if row.label:
        return f"this parameter has the label '{row.label}'; give it to '{target.path}', too", rows
    if target.slope:
        return f"'{target.path}' is a random slope, which has no value to equate", rows
    if target.free == -1:
        rows[at] = replace(row, free=-1, value=target.value)
        return "", rows
    shared = target.tie or target.path
    mine = row.tie or row.path

    def joined(other: Parameter) -> Parameter:
        if other.path in (row.path, target.path) or (other.tie and other.tie in (mine, shared)):
            return replace(other, tie=shared, free=0 if other.free != -1 or other.path == row.path else -1)
        return other

    return "", [joined(other) for other in rows]


def _find(rows: Sequence[Parameter], address: str) -> Parameter | str:
    """The parameter at an address, or what is wrong with the address."""
    by_address = {lavaan_address(row): row for row in rows}
    for row in rows:
        if row.op == "~~":
            by_address.setdefault(f"{row.rhs}~~{row.lhs}{_SUFFIX[row.level]}", row)
    if address in by_address:
        return by_address[address]
    if f"{address}.l2" in by_address:
        return f"there is no '{address}' at level 1; the parameter of level 2 is written equal(\"{address}.l2\")"
    match = _ADDRESS.fullmatch(address)
    labels = {row.label for row in rows if row.label}
    near = did_you_mean(address, [*labels, *by_address])
    what = "no parameter of this model" if match else "neither a label nor an address of this model"
    return f"'{address}' is {what}{near}; an address is written f=~y2 (level 1) or f=~y2.l2 (level 2)"


# ---------------------------------------------------------------------- == and :=


def renamed(statement: Statement, names: Mapping[str, str]) -> Statement:
    """A ``:=``, ``==``, ``<`` or ``>`` statement with labels replaced."""
    return expanded(statement, {old: Node("name", name=new) for old, new in names.items()}) if names else statement


def expanded(statement: Statement, nodes: Mapping[str, Node]) -> Statement:
    """A statement with expressions in place of names."""
    if not nodes:
        return statement
    sides = [e.substitute(nodes) if e is not None else None for e in (statement.expression, statement.right)]
    return replace(statement, expression=sides[0], right=sides[1])


def definition_nodes(definitions: Sequence[Statement]) -> dict[str, Node]:
    """Every defined parameter as a function of labels alone."""
    found: dict[str, Node] = {}
    for s in definitions:
        assert s.expression is not None
        whole = s.expression.substitute(found)
        if whole.depth > 3 * MAX_DEPTH:
            raise ModelError(f"model line {s.line}: the definitions behind '{s.lhs}' nest too deeply to be constrained")
        found[s.lhs] = whole.root
    return found


def check_labels(s: Statement, labels: set[str]) -> list[str]:
    """Names of a constraint that are no labels."""
    sides = [e for e in (s.expression, s.right) if e is not None]
    text = f"{s.lhs} {s.op} {s.rhs}"
    return [
        f"model line {s.line}: '{name}' in '{text}' is no label of this model{did_you_mean(name, labels)}"
        for name in dict.fromkeys(name for side in sides for name in side.names)
        if name not in labels
    ]


def impose_equalities(
    rows: list[Parameter], constraints: Sequence[Statement]
) -> tuple[list[Parameter], list[Statement], dict[str, str]]:
    """Impose ``label == label`` and ``label == number``; return what is left, and labels merged into others."""
    left_over: list[Statement] = []
    merged: dict[str, str] = {}
    for statement in constraints:
        s = renamed(statement, merged)
        assert s.expression is not None
        assert s.right is not None
        problems = check_labels(s, {row.label for row in rows if row.label})
        if problems:
            raise ModelError(problems)
        left, right = s.expression.root, s.right.root
        if left.kind == "name" and right.kind == "name":
            rows = [replace(row, label=left.name) if row.label == right.name else row for row in rows]
            if left.name != right.name:
                merged = {old: left.name if new == right.name else new for old, new in merged.items()}
                merged[right.name] = left.name
        elif left.kind == "name" and not s.right.names:
            value = float(s.right.evaluate({}))
            if any(row.label == left.name and row.free == -1 and row.value != value for row in rows):
                raise ModelError(
                    f"model line {s.line}: '{s.lhs} == {s.rhs}' contradicts another value of '{left.name}'"
                )
            rows = [replace(row, free=-1, value=value) if row.label == left.name else row for row in rows]
        else:
            left_over.append(s)
    return rows, [renamed(s, merged) for s in left_over], merged
