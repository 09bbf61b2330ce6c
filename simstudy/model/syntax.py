"""lavaan-style model text with ``level:`` blocks -> statements, each with its line and column.

The text is read as lavaan reads it (docs/syntax.md has the table): ``=~ ~ ~~ ~1 := == < >``, several right-hand terms
joined by ``+``, modifiers before ``*`` (`terms`), comments after ``#`` or ``!``, statements ended by a line end or
``;``. What lavaan knows and we do not is refused by name. Nothing is evaluated but arithmetic (`expressions`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from simstudy.errors import ModelError
from simstudy.model.expressions import Expression, parse_expression
from simstudy.model.foreign import refuse_foreign
from simstudy.model.levels import header_value, read_headers
from simstudy.model.lines import STATEMENT_OPERATORS, Chunk, chunks_of, is_header
from simstudy.model.products import product_name
from simstudy.model.ranges import range_names
from simstudy.model.terms import Modifiers, read_term, split_terms
from simstudy.model.tokens import Token, is_name, tokens_of

_REFUSED = {
    "<~": "formative constructs (<~) are not supported",
    "~*~": "scaling factors (~*~) are not supported",
    "|~": "'|~' is not supported",
    "|": "thresholds (|) of ordinal variables are not supported",
    "!=": "'!=' is not supported; allowed between parameters: ==  <  >",
    "=": "'=' is no operator; did you mean ~ (regression), =~ (indicators), := (definition) or == (constraint)?",
}
_PARAMETER_OPERATORS = {":=": ":=", "==": "==", "<": "<", ">": ">", "<=": "<", ">=": ">"}
"""Operators between expressions; ``<=`` is what ``<`` means."""


@dataclass(frozen=True)
class Statement:
    """One ``lhs op rhs`` of the model text.

    Attributes
    ----------
    lhs, op, rhs : str
        As in lavaan; an intercept has op ``~1`` and an empty rhs.
    level : str
        ``within``, ``between``, or ``""`` for ``:=``, ``==``, ``<`` and ``>``.
    label : str
        User label, or empty.
    fixed : float or None
        Value the parameter is fixed at.
    start : float or None
        Starting value.
    lower, upper : float or None
        Bounds.
    equal : str
        Address of the parameter that it equals, such as ``f=~y2`` or ``f=~y2.l2``, or empty.
    freed : bool
        Whether ``NA*`` frees it explicitly.
    random_slope : str
        Name of the slope that varies over clusters, or empty.
    expression, right : Expression or None
        Sides of a ``:=`` (right-hand side in ``expression``) or of a ``==``, ``<``, ``>`` (left in ``expression``).
    notes : tuple of str
        What a reader may take otherwise.
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
    lower: float | None = None
    upper: float | None = None
    equal: str = ""
    notes: tuple[str, ...] = ()


@lru_cache(maxsize=64)
def parse_syntax(text: str) -> tuple[Statement, ...]:
    """Read model text into statements.

    Raises
    ------
    ModelError
        With line and column, what was found and what is allowed; all problems of the text at once. For a text of Mplus
        or a formula of lme4: with the same model in this syntax.
    """
    refuse_foreign(text)
    chunks = chunks_of(text)
    problems: list[str] = []
    names: list[str | None] = []  # of every chunk that is a header
    for chunk in chunks:
        try:
            names.append(header_value(chunk) if is_header(tokens_of(chunk.text)) else None)
        except ModelError as error:
            names.append("")  # so that what stands below is no further problem
            problems.extend(error.problems)
    headers = read_headers([(name, c.where(0)) for name, c in zip(names, chunks, strict=True) if name])
    problems.extend(headers.problems)
    statements: list[Statement] = []
    level: str | None = None
    for chunk, name in zip(chunks, names, strict=True):
        if name is not None:
            level = headers.levels.get(name.lower(), level or "within")
            continue
        try:
            statements.extend(_statement(chunk, level))
        except ModelError as error:
            problems.extend(error.problems)
    if problems:
        raise ModelError(problems)
    if not statements:
        raise ModelError("model: the text holds no statement")
    statements[0] = replace(statements[0], notes=headers.notes + statements[0].notes)
    return tuple(statements)


def _operator(chunk: Chunk, tokens: tuple[Token, ...]) -> Token:
    """The operator of a statement; raises where there is none, more than one, or one that is refused."""
    where, found, depth = chunk.where(0), [], 0
    for token in tokens:
        if token.kind == "op":
            depth += (token.text == "(") - (token.text == ")")
            if depth <= 0 and token.text in (*STATEMENT_OPERATORS, *_REFUSED):
                found.append(token)
    if not found:
        raise ModelError(
            f"{where}: no operator in '{chunk.text}'; expected one of =~  ~  ~~  :=  ==  <  >  or 'level: within'"
        )
    for token in found:
        if token.text in _REFUSED:
            raise ModelError(f"{where}: {_REFUSED[token.text]}")
    if len(found) > 1:
        raise ModelError(
            f"{chunk.where(found[1].at)}: a second operator, '{found[1].text}', after '{found[0].text}'; write two "
            "statements, each on a line of its own"
        )
    return found[0]


def _statement(chunk: Chunk, level: str | None) -> list[Statement]:
    where, text = chunk.where(0), chunk.text
    tokens = tokens_of(text)
    operator = _operator(chunk, tokens)
    op = operator.text
    left, right = text[: operator.at].strip(), text[operator.end :].strip()
    if not left or not right:
        raise ModelError(f"{where}: nothing stands {'before' if not left else 'after'} '{op}' in '{text}'")
    after = tuple(token for token in tokens if token.at >= operator.end)
    if op in _PARAMETER_OPERATORS:
        return [_of_parameters(chunk, _PARAMETER_OPERATORS[op], left, right, after[0].at)]
    if level is None:
        raise ModelError(
            f"{where}: '{text}' stands before any 'level:' line; write 'level: within' above the level-1 "
            "equations and 'level: between' above the level-2 equations"
        )
    names = _left_names(chunk, tuple(token for token in tokens if token.end <= operator.at), op)
    statements: list[Statement] = []
    for term in split_terms(chunk, after):
        line, column = chunk.place(term.at)
        for found in read_term(chunk, term, op):
            statements.extend(_made(name, op, found, level, line, column) for name in names)
    return statements


def _of_parameters(chunk: Chunk, op: str, left: str, right: str, begin: int) -> Statement:
    """A definition, an equation or an inequality."""
    where = chunk.where(0)
    line, column = chunk.place(0)
    second = parse_expression(right, chunk.where(begin))
    if op == ":=":
        if not is_name(left):
            raise ModelError(f"{where}: '{left}' is not a name for a defined parameter")
        return Statement(left, ":=", right, "", label=left, expression=second, line=line, column=column)
    first = parse_expression(left, where)
    return Statement(left, op, right, "", expression=first, right=second, line=line, column=column)


def _left_names(chunk: Chunk, tokens: tuple[Token, ...], op: str) -> list[str]:
    """Variables left of an operator, joined by ``+``."""
    names: list[str] = []
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if (token.kind, token.text) == ("op", "+"):
            parts.append([])
        else:
            parts[-1].append(token)
    for part in parts:
        several = range_names(part, chunk.where(0))
        name = _variable(part)
        if several is not None:
            names += several
            continue
        if name is None:
            found = chunk.text[part[0].at : part[-1].end] if part else ""
            hint = ""
            if any(token.text == "*" for token in part):
                hint = "; modifiers stand on the right-hand side"
                if part[0].text == "efa":
                    hint = "; exploratory factors (efa()) are not supported"
            raise ModelError(f"{chunk.where(0)}: '{found}' is not a variable name (left of '{op}'){hint}")
        names.append(name)
    return names


def _variable(tokens: list[Token]) -> str | None:
    if len(tokens) == 1 and tokens[0].kind in ("name", "string") and tokens[0].text.strip():
        return tokens[0].text
    return product_name(tokens)


def _made(lhs: str, op: str, m: Modifiers, level: str, line: int, column: int) -> Statement:
    """One parameter of one variable on the left."""
    return Statement(
        lhs, m.op or op, m.target, level, m.label, m.fixed, m.start, m.freed, m.random_slope, line=line, column=column,
        lower=m.lower, upper=m.upper, equal=m.equal, notes=m.notes,
    )  # fmt: skip
