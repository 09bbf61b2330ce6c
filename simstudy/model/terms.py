"""Right-hand terms: modifiers, joined by ``*``, and the variable that they belong to.

``0.5*x`` fixes, and so does any arithmetic without names (``(1 - .05)*x``, ``sqrt(4)*x``, ``2*3*x``); ``a*x``,
``"a"*x`` and ``label("a")*x`` name; ``NA*x`` frees; ``start(.5)*x`` and ``.5?x`` start; ``equal("f=~y2")*y3`` equates;
``lower(0)*x`` and ``upper(1)*x`` bound; ``rv("s")*x`` varies over clusters. ``c()`` with one value is that value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from simstudy.errors import ModelError, did_you_mean
from simstudy.model.expressions import FUNCTIONS, parse_expression
from simstudy.model.lines import Chunk
from simstudy.model.products import product_name
from simstudy.model.ranges import range_names
from simstudy.model.tokens import Token, is_name, tokens_of

_NO_MODIFIERS = {
    "efa": "exploratory factors (efa()) are not supported",
    "prior": "priors (prior()) are not supported",
    "group": "groups are not supported",
}


@dataclass(frozen=True)
class Term:
    """One term: its words, its text, and where that begins in the chunk."""

    tokens: tuple[Token, ...]
    text: str
    at: int


@dataclass(frozen=True)
class Modifiers:
    """What a term says: its variable and what is said about the parameter (see `syntax.Statement`).

    ``op`` is ``~1`` for an intercept, otherwise empty.
    """

    target: str = ""
    op: str = ""
    label: str = ""
    fixed: float | None = None
    start: float | None = None
    freed: bool = False
    random_slope: str = ""
    lower: float | None = None
    upper: float | None = None
    equal: str = ""
    notes: tuple[str, ...] = ()


def _is(token: Token, *texts: str) -> bool:
    return token.kind == "op" and token.text in texts


def _split(tokens: Sequence[Token], *texts: str) -> list[tuple[Token, ...]]:
    """Split at operators outside parentheses; the parts between, empty ones too."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += _is(token, "(") - _is(token, ")")
        if depth == 0 and _is(token, *texts):
            parts.append([])
        else:
            parts[-1].append(token)
    return [tuple(part) for part in parts]


def split_terms(chunk: Chunk, tokens: Sequence[Token]) -> list[Term]:
    """Split a right-hand side at ``+``; a sign after an operator, or before a number, belongs to its term."""
    parts: list[list[Token]] = [[]]
    ends: list[int] = []
    depth = 0
    for k, token in enumerate(tokens):
        depth += _is(token, "(") - _is(token, ")")
        following = tokens[k + 1] if k + 1 < len(tokens) else None
        sign = not parts[-1] and following is not None and (following.kind == "number" or _is(following, "("))
        inside = bool(parts[-1]) and _is(parts[-1][-1], "*", "/", "^", "**", "-")
        if depth == 0 and _is(token, "+") and not sign and not inside:
            ends.append(token.at)
            parts.append([])
        else:
            parts[-1].append(token)
    terms = []
    for k, part in enumerate(parts):
        if not part:
            at = ends[min(k, len(ends) - 1)]
            raise ModelError(f"{chunk.where(at)}: a term is missing beside '+'")
        terms.append(Term(tuple(part), chunk.text[part[0].at : part[-1].end], part[0].at))
    return terms


def read_term(chunk: Chunk, term: Term, op: str) -> list[Modifiers]:
    """Read one term, several for a range of variables; raises a `ModelError` that says where it stands."""
    where = chunk.where(term.at)
    for token in term.tokens:
        if token.kind == "bad" and token.text[0] in "\"'":
            raise ModelError(f"{chunk.where(token.at)}: the quote {token.text[0]} is not closed")
    found = Modifiers()
    begin, *rest = _split(term.tokens, "?")
    factors: list[tuple[Token, ...]] = []
    for part in rest:  # value?x is start(value)*x
        found = replace(found, start=_constant(_text(chunk, begin), "start", where))
        begin = part
    factors = _split(begin, "*")
    *modifiers, target = factors
    if not target:
        raise ModelError(f"{where}: no variable stands after '*' in '{term.text}'")
    found = _apply(chunk, modifiers, found, where)
    if op == "~" and len(target) == 1 and target[0].kind == "number" and target[0].text in ("0", "1"):
        if target[0].text == "0":
            found = replace(found, fixed=0.0)
        return [replace(found, op="~1")]
    several = range_names(target, where)
    names = [_variable(chunk, term, target, where)] if several is None else several
    return [replace(found, target=name) for name in names]


def _text(chunk: Chunk, tokens: Sequence[Token]) -> str:
    return chunk.text[tokens[0].at : tokens[-1].end] if tokens else ""


def _variable(chunk: Chunk, term: Term, tokens: Sequence[Token], where: str) -> str:
    if len(tokens) == 1 and tokens[0].kind in ("name", "string") and tokens[0].text.strip():
        return tokens[0].text
    product = product_name(tokens, where)
    if product is not None:
        return product
    text = _text(chunk, tokens)
    hint = ""
    if any(_is(token, "-") for token in tokens):
        hint = "; terms are joined by '+', nothing is subtracted, and a range is written x1-x10"
    elif any(_is(token, "(", ")", "^", "/", ":") for token in tokens):
        hint = "; functions of variables must be columns of their own"
    raise ModelError(f"{where}: '{text or term.text}' is not a variable name{hint}")


def _apply(chunk: Chunk, modifiers: Sequence[Sequence[Token]], found: Modifiers, where: str) -> Modifiers:
    numbers: list[int] = []
    for k, tokens in enumerate(modifiers):
        text = _text(chunk, tokens)
        if not tokens:
            raise ModelError(f"{where}: a modifier is missing before '*'")
        change = _modifier(text, tokens, where)
        if change is None:
            if numbers and numbers[-1] != k - 1:
                raise ModelError(f"{where}: two numbers fix the same parameter")
            numbers.append(k)
            continue
        for key, value in change.items():
            if getattr(found, key) not in (None, "", False, value):
                raise ModelError(f"{where}: two modifiers '{text}' say different things; write one")
        found = replace(found, **change)  # type: ignore[arg-type]
    if numbers:
        product = _text(chunk, [token for k in numbers for token in modifiers[k]])
        found = replace(found, fixed=_constant(product, "", where))
    if len(modifiers) - len(numbers) + bool(numbers) > 1 and not found.random_slope:
        note = (
            f"{where.removeprefix('model ')}: several modifiers before one '*' chain are all applied; lavaan 0.6 keeps "
            "the one next to the variable alone"
        )
        found = replace(found, notes=(note,))
    return found


def _modifier(text: str, tokens: Sequence[Token], where: str) -> dict[str, object] | None:
    """What one modifier says, or None for a number (or arithmetic), which fixes."""
    first = tokens[0]
    if len(tokens) == 1 and first.kind == "string":
        return {"label": _label(first.text, where)}
    if len(tokens) == 1 and first.kind == "name":  # a label may have the name of a function
        return {"freed": True} if text == "NA" else {"label": text}
    call = len(tokens) >= 3 and first.kind == "name" and _is(tokens[1], "(") and _is(tokens[-1], ")")
    if call and first.text == "c":
        inner = _single(text, tokens, where)
        return (
            _modifier(inner, tokens_of(inner), where) if not _fixes(inner) else {"fixed": _constant(inner, "", where)}
        )
    if call and first.text in _CALLS:
        return _CALLS[first.text](_unwrapped(_inside(text), where), where)
    if call and first.text not in FUNCTIONS:
        if first.text in _NO_MODIFIERS:
            raise ModelError(f"{where}: {_NO_MODIFIERS[first.text]}")
        raise ModelError(
            f"{where}: unknown modifier '{text}'; allowed: a number or arithmetic, a label, NA, "
            f"{', '.join(f'{name}()' for name in _CALLS)}{did_you_mean(first.text, (*_CALLS, *FUNCTIONS))}"
        )
    if any(token.kind == "bad" for token in tokens) or any(token.kind == "string" for token in tokens):
        raise ModelError(f"{where}: modifier '{text}' is neither a number nor a name")
    names = parse_expression(text, where).names
    if names:
        raise ModelError(
            f"{where}: modifier '{text}' computes with the name '{names[0]}'; a modifier is a number (or arithmetic "
            f"without names) or one label, and a relation among labels is a line of its own, such as 'a == {text}'"
        )
    return None


def _fixes(text: str) -> bool:
    tokens = tokens_of(text)
    return not (len(tokens) == 1 and tokens[0].kind in ("string", "name"))


def _inside(text: str) -> str:
    return text[text.index("(") + 1 : text.rindex(")")].strip()


def _single(text: str, tokens: Sequence[Token], where: str) -> str:
    """The one value of a ``c()``."""
    values = _split(tokens[2:-1], ",")
    if len(values) != 1:
        raise ModelError(f"{where}: '{text}' gives one value a group; there is one group here, so write one modifier")
    return _inside(text)


def _unwrapped(text: str, where: str) -> str:
    """An argument without a ``c()`` of one value around it."""
    tokens = tokens_of(text)
    wrapped = len(tokens) >= 3 and tokens[0].text == "c" and _is(tokens[1], "(") and _is(tokens[-1], ")")
    return _single(text, tokens, where) if wrapped else text


def _constant(text: str, what: str, where: str) -> float:
    """Value of arithmetic without names."""
    try:
        expression = parse_expression(text, where)
        value = float("nan") if expression.names else float(expression.evaluate({}))
    except ModelError:
        if what:
            raise ModelError(f"{where}: {what}({text}) needs one number") from None
        raise
    if value != value or value in (float("inf"), float("-inf")):
        raise ModelError(
            f"{where}: {what}({text}) needs one number" if what else f"{where}: '{text}' is no finite number"
        )
    return value


def _label(text: str, where: str) -> str:
    if not is_name(text):
        raise ModelError(f"{where}: the label '{text}' is not a name (letters, digits, _ and points)")
    return text


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


_CALLS: dict[str, Callable[[str, str], dict[str, object]]] = {
    "start": lambda text, where: {"start": _constant(text, "start", where)},
    "label": lambda text, where: {"label": _label(_unquoted(text), where)},
    "equal": lambda text, where: {"equal": "".join(_unquoted(text).split())},
    "lower": lambda text, where: {"lower": _constant(text, "lower", where)},
    "upper": lambda text, where: {"upper": _constant(text, "upper", where)},
    "rv": lambda text, where: {"random_slope": _unquoted(text)},
}
