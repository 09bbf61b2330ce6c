"""Words of a model text: numbers, names, quoted texts and operators, each with its place.

A name begins with a letter of any script, an underscore or a point (that no digit follows) and goes on with letters,
digits, marks, underscores and points: what R's ``make.names`` leaves alone, and ``_``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_OPERATOR = re.compile(r"~\*~|\|~|<~|:=|==|!=|=~|~~|<=|>=|\*\*|[-+*/^(),?:~|<>=]")
QUOTES = "\"'"


@dataclass(frozen=True)
class Token:
    """One word.

    Attributes
    ----------
    kind : str
        ``number``, ``name``, ``string`` (quotes taken off), ``op``, or ``bad``: what none of them begins with.
    text : str
    at, end : int
        Where it begins in the text, and where what follows it begins; quotes count.
    """

    kind: str
    text: str
    at: int
    end: int


def is_name(text: str) -> bool:
    """Whether a text is a name."""
    return bool(text) and _name_end(text, 0) == len(text)


def written(name: str) -> str:
    """A variable's name as it stands in a model text: quoted where it is no name and no product of two names."""
    if all(is_name(part) for part in name.split(":")):
        return name
    return f"'{name}'" if '"' in name else f'"{name}"'


def _name_end(text: str, at: int) -> int:
    """Where the name that begins at ``at`` ends; ``at`` where none does."""
    first = text[at]
    starts = first.isidentifier() or (first == "." and not text[at + 1 : at + 2].isdigit())
    if not starts:
        return at
    end = at + 1
    while end < len(text) and (text[end] == "." or ("a" + text[end]).isidentifier()):
        end += 1
    return end


def tokens_of(text: str) -> tuple[Token, ...]:
    """Split a text into its words."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        token = _token(text, at)
        found.append(token)
        at = token.end
    return tuple(found)


def _token(text: str, at: int) -> Token:
    if text[at] in QUOTES:
        close = text.find(text[at], at + 1)
        if close < 0:
            return Token("bad", text[at:], at, len(text))
        return Token("string", text[at + 1 : close], at, close + 1)
    end = _name_end(text, at)
    if end > at:
        return Token("name", text[at:end], at, end)
    number = _NUMBER.match(text, at)
    if number:
        end = number.end()
        while end < len(text) and (text[end] == "." or ("a" + text[end]).isidentifier()):
            end += 1
        return Token("number" if end == number.end() else "bad", text[at:end], at, end)
    operator = _OPERATOR.match(text, at)
    if operator:
        return Token("op", operator.group(), at, operator.end())
    return Token("bad", text[at], at, at + 1)
