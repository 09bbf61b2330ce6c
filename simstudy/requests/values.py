"""Readers of values from a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from simstudy.errors import SimstudyError

_EQUALS = re.compile(r"=(?!~)")  # a path may have =~


def split(names: Sequence[str] | None) -> list[str]:
    """Names that were given one by one or with commas between them."""
    return [part.strip() for name in names or () for part in name.split(",") if part.strip()]


def read_settings(pairs: Sequence[str], **short: str | None) -> dict[str, str]:
    """``NAME=VALUE`` pairs of ``--set``, and its short forms.

    Raises
    ------
    SimstudyError
        If a pair has no ``=``, or a value is given twice.
    """
    found: dict[str, str] = {}
    problems = []
    for pair in pairs:
        name, *rest = (piece.strip() for piece in _EQUALS.split(pair, maxsplit=1))
        value = rest[0] if rest else ""
        if not (name and value):
            problems.append(f"set: found '{pair}'; allowed: NAME=VALUE, such as a_b=.3")
        elif name in found:
            problems.append(f"set: '{name}' is given twice")
        found[name] = value
    for name, short_value in short.items():
        if short_value is not None and name in found:
            problems.append(f"set: '{name}' is given twice, as --{name.replace('_', '-')} too")
        if short_value is not None:
            found[name] = short_value
    if problems:
        raise SimstudyError(problems)
    return found


def read_levels(texts: Sequence[str]) -> dict[str, object]:
    """Read ``FACTOR=LEVEL``.

    Raises
    ------
    SimstudyError
        If there is no ``=``.
    """
    problems = [f"where: found '{text}'; allowed: FACTOR=LEVEL, such as icc=0.1" for text in texts if "=" not in text]
    if problems:
        raise SimstudyError(problems)
    found: dict[str, object] = {}
    for text in texts:
        factor, _, level = text.partition("=")
        number = _number(level.strip())
        found[factor.strip()] = level.strip() if number is None else number
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
