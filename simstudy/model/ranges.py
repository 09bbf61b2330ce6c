"""Ranges of variables: ``x1-x10`` stands for x1, x2, ..., x10 (written without spaces)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from simstudy.errors import ModelError
from simstudy.model.tokens import Token

_NUMBERED = re.compile(r"(.*?)(\d+)")
MOST = 1000
"""How many variables a range may have."""


def range_names(tokens: Sequence[Token], where: str) -> list[str] | None:
    """Variables of a range, or None where the words are none.

    Raises
    ------
    ModelError
        For a range that runs backwards, or is too long.
    """
    if len(tokens) != 3 or [token.kind for token in tokens] != ["name", "op", "name"] or tokens[1].text != "-":
        return None
    if tokens[0].end != tokens[1].at or tokens[1].end != tokens[2].at:
        return None
    first, last = (_NUMBERED.fullmatch(token.text) for token in (tokens[0], tokens[2]))
    if not first or not last or first.group(1) != last.group(1):
        return None
    begin, end = int(first.group(2)), int(last.group(2))
    text = f"{tokens[0].text}-{tokens[2].text}"
    if end < begin:
        raise ModelError(f"{where}: the range '{text}' runs backwards; write {tokens[2].text}-{tokens[0].text}")
    if end - begin >= MOST:
        raise ModelError(f"{where}: the range '{text}' has {end - begin + 1:,} variables; at most {MOST:,} are read")
    width = len(first.group(2)) if first.group(2).startswith("0") else 0
    return [f"{first.group(1)}{k:0{width}d}" for k in range(begin, end + 1)]
