"""lavaan-style model text with ``level:`` blocks -> statements, each with its line and column.

The text is read as lavaan reads it: ``=~ ~ ~~ ~1 := ==``, several right-hand terms joined by ``+``, modifiers before
``*`` (a number fixes, a name labels, ``NA`` frees, ``start()``, ``label()``, ``rv()``), comments after ``#`` or ``!``,
statements ended by a line end or ``;``. What lavaan knows and we do not is refused by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from simstudy.errors import ModelError, did_you_mean
from simstudy.model.expressions import Expression, parse_expression

LEVELS = {"within": "within", "between": "between", "1": "within", "2": "between"}

_REFUSED = {
    "<~": "formative constructs (<~)",
    "~*~": "scaling factors (~*~)",
    "|~": "this operator (|~)",
    "|": "thresholds (|) of ordinal variables",
    "<": "inequality constraints (<)",
    ">": "inequality constraints (>)",
}
_OPERATOR = re.compile(r"~\*~|\|~|<~|:=|==|=~|~~|~|\||<|>")
_HEADER = re.compile(r"(level|block|cluster)\s*:(?!=)\s*(.*)", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_.][\w.]*")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Statement:
    """One ``lhs op rhs`` of the model text.

    Attributes
    ----------
    lhs, op, rhs : str
        As in lavaan; an intercept has op ``~1`` and an empty rhs.
    level : str
        ``within``, ``between``, or ``""`` for ``:=`` and ``==``.
    label : str
        User label, or empty.
    fixed : float or None
        Value the parameter is fixed at.
    start : float or None
        Starting value.
    freed : bool
        Whether ``NA*`` frees it explicitly.
    expression, right : Expression or None
        Sides of a ``:=`` (right-hand side in ``expression``) or of a ``==`` (left in ``expression``).
    line, column : int
        Where it stands, from 1.
    """

    lhs: str
    op: str
    rhs: str
    level: str
    label: str = ""
    fixed: float | None = None
    start: float | None = None
    freed: bool = False
    random_slope: str = ""
    expression: Expression | None = None
    right: Expression | None = None
    line: int = 0
    column: int = 0


def parse_syntax(text: str) -> tuple[Statement, ...]:
    """Read model text into statements.

    Raises
    ------
    ModelError
        With line and column, what was found and what is allowed; all problems of the text at once.
    """
    statements: list[Statement] = []
    problems: list[str] = []
    level: str | None = None
    for chunk in _chunks(text):
        header = _HEADER.fullmatch(chunk.text)
        try:
            if header:
                level = level or "within"  # so that what stands below an unknown level is no further problem
                level = _level(header, chunk.where(0))
            else:
                statements.extend(_statement(chunk, level))
        except ModelError as error:
            problems.extend(error.problems)
    if problems:
        raise ModelError(problems)
    if not statements:
        raise ModelError("model: the text holds no statement")
    return tuple(statements)


@dataclass(frozen=True)
class _Chunk:
    """A statement's text, and where its pieces stand: (first character, line, column)."""

    text: str
    marks: tuple[tuple[int, int, int], ...]

    def place(self, index: int) -> tuple[int, int]:
        """Line and column of a character."""
        start, line, column = next(mark for mark in reversed(self.marks) if mark[0] <= index)
        return line, column + index - start

    def where(self, index: int) -> str:
        """Where a character stands, for messages."""
        line, column = self.place(index)
        return f"model line {line}, column {column}"

    def join(self, other: _Chunk) -> _Chunk:
        """The statement continued."""
        shift = len(self.text) + 1
        return _Chunk(f"{self.text} {other.text}", self.marks + tuple((a + shift, b, c) for a, b, c in other.marks))


def _chunks(text: str) -> list[_Chunk]:
    """Split into statements; one goes on after an operator at a line's end, or at a leading ``+``."""
    chunks: list[_Chunk] = []
    pending: _Chunk | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        code = re.split(r"[#!]", raw, maxsplit=1)[0]
        offset = 0
        for piece in code.split(";"):
            column = offset + len(piece) - len(piece.lstrip()) + 1
            offset += len(piece) + 1
            body = piece.strip()
            if not body:
                continue
            chunk = _Chunk(body, ((0, number, column),))
            if pending is None and body.startswith("+") and chunks:
                pending = chunks.pop()
            if pending is not None and _HEADER.fullmatch(body):
                chunks.append(pending)  # it ends in an operator, which its own message says
            elif pending is not None:
                chunk = pending.join(chunk)
            pending = None
            if re.search(r"(\+|\*|~|=|,)$", body):
                pending = chunk
            else:
                chunks.append(chunk)
    if pending is not None:
        chunks.append(pending)
    return chunks


def _level(header: re.Match[str], where: str) -> str:
    keyword, value = header.group(1).lower(), header.group(2).strip().strip("\"'")
    if keyword != "level":
        raise ModelError(f"{where}: '{keyword}:' is not supported; write 'level: within' or 'level: between'")
    if value.lower() not in LEVELS:
        raise ModelError(
            f"{where}: unknown level '{value}'; allowed: within, between, 1, 2{did_you_mean(value.lower(), LEVELS)}"
        )
    return LEVELS[value.lower()]


def _statement(chunk: _Chunk, level: str | None) -> list[Statement]:
    where, text = chunk.where(0), chunk.text
    line, column = chunk.place(0)
    match = _OPERATOR.search(text)
    if match is None:
        raise ModelError(f"{where}: no operator in '{text}'; expected one of =~  ~  ~~  :=  ==  or 'level: within'")
    op, left, right = match.group(), text[: match.start()].strip(), text[match.end() :].strip()
    if op in _REFUSED:
        raise ModelError(
            f"{where}: {_REFUSED[op]} are not supported" if op != "|~" else f"{where}: '|~' is not supported"
        )
    begin = match.end() + len(text[match.end() :]) - len(text[match.end() :].lstrip())
    if not left or not right:
        raise ModelError(f"{where}: nothing stands {'before' if not left else 'after'} '{op}' in '{text}'")
    if op == ":=":
        if not _NAME.fullmatch(left):
            raise ModelError(f"{where}: '{left}' is not a name for a defined parameter")
        expression = parse_expression(right, chunk.where(begin))
        return [Statement(left, ":=", right, "", label=left, expression=expression, line=line, column=column)]
    if op == "==":
        first, second = parse_expression(left, where), parse_expression(right, chunk.where(begin))
        return [Statement(left, "==", right, "", expression=first, right=second, line=line, column=column)]
    if level is None:
        raise ModelError(
            f"{where}: '{text}' stands before any 'level:' line; write 'level: within' above the level-1 "
            "equations and 'level: between' above the level-2 equations"
        )
    names = [name.strip() for name in left.split("+")]
    for name in names:
        if not _NAME.fullmatch(name):
            raise ModelError(f"{where}: '{name}' is not a variable name (left of '{op}')")
    statements: list[Statement] = []
    for term, at in _terms(right):
        statements.extend(_term(name, op, term, level, *chunk.place(begin + at)) for name in names)
    return statements


def _terms(text: str) -> list[tuple[str, int]]:
    """Split at ``+`` outside parentheses, with each term's first character; a sign after ``*`` belongs to a number."""
    terms: list[tuple[str, int]] = []
    depth, begin = 0, 0
    for position, character in enumerate(text):
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "+" and depth == 0 and text[begin:position].strip():
            before = text[begin:position].rstrip()
            if before.endswith("*") or re.search(r"(?<![\w.])(\d+\.?\d*|\.\d+)[eE]$", before):
                continue
            terms.append((text[begin:position], begin))
            begin = position + 1
    terms.append((text[begin:], begin))
    return [(term.strip(), at + len(term) - len(term.lstrip())) for term, at in terms]


def _term(lhs: str, op: str, term: str, level: str, line: int, column: int) -> Statement:
    where = f"model line {line}, column {column}"
    if not term or re.match(r"\+(?!\s*[\d.])", term):
        raise ModelError(f"{where}: a term is missing beside '+'")
    *modifiers, target = [part.strip() for part in term.split("*")]
    label, fixed, start, freed, slope = "", None, None, False, ""
    for modifier in modifiers:
        call = re.fullmatch(r"(\w+)\s*\((.*)\)", modifier)
        if call:
            function, argument = call.group(1), call.group(2).strip().strip("\"'")
            if function == "start":
                if not _NUMBER.fullmatch(argument):
                    raise ModelError(f"{where}: start({argument}) needs one number")
                start = float(argument)
            elif function in ("label", "equal"):
                label = argument
            elif function == "rv":
                slope = argument
            elif function == "c":
                raise ModelError(
                    f"{where}: '{modifier}' gives one value a group; there is one group here, so write one modifier"
                )
            else:
                raise ModelError(
                    f"{where}: unknown modifier '{modifier}'; allowed: a number, a label, NA, start(), label(), rv()"
                    f"{did_you_mean(function, ('start', 'label', 'rv'))}"
                )
        elif modifier == "NA":
            freed = True
        elif _NUMBER.fullmatch(modifier):
            fixed = float(modifier)
        elif _NAME.fullmatch(modifier):
            label = modifier
        else:
            raise ModelError(f"{where}: modifier '{modifier}' is neither a number nor a name")
    if op == "~" and target in ("1", "0"):
        if target == "0":
            fixed = 0.0
        return Statement(lhs, "~1", "", level, label, fixed, start, freed, slope, line=line, column=column)
    if not _NAME.fullmatch(target):
        hint = (
            "; interactions and functions of variables must be columns of their own"
            if re.search(r"[:^()]", target)
            else ""
        )
        raise ModelError(f"{where}: '{target or term}' is not a variable name{hint}")
    return Statement(lhs, op, target, level, label, fixed, start, freed, slope, line=line, column=column)
