"""``level:`` headers: which block of a model text is level 1, and which level 2.

``within`` and ``1`` are level 1, ``between`` and ``2`` level 2, wherever they stand. Any other name takes the level
that is left, the first one level 1: what lavaan does, which goes by the order of the blocks alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simstudy.errors import ModelError, did_you_mean
from simstudy.model.lines import Chunk
from simstudy.model.tokens import tokens_of

LEVELS = {"within": "within", "between": "between", "1": "within", "2": "between"}
LEVEL_NAMES = ("within", "between")

_OTHER_HEADERS = {
    "block": "lavaan's 'block:' names no level; write 'level: within' or 'level: between'",
    "group": "groups are not supported; fit each group on its own, without this line",
    "class": "latent classes are not supported",
    "cluster": "clusters are no part of the model; the cluster variable is named with the data (cluster=, --cluster)",
}


@dataclass(frozen=True)
class Headers:
    """Levels of a text's headers, by their name in lower case, what is wrong, and what to know about them."""

    levels: dict[str, str]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def header_value(chunk: Chunk) -> str:
    """What stands after the colon, without quotes; raises for a header that is no ``level:``."""
    keyword, colon, *rest = tokens_of(chunk.text)
    where = chunk.where(0)
    if keyword.text.lower() != "level":
        raise ModelError(f"{where}: '{keyword.text}:' is not supported: {_OTHER_HEADERS[keyword.text.lower()]}")
    value = rest[0].text if len(rest) == 1 and rest[0].kind == "string" else chunk.text[colon.end :].strip()
    if not value:
        raise ModelError(f"{where}: 'level:' needs a name; write 'level: within' or 'level: between'")
    return value


def read_headers(values: Sequence[tuple[str, str]]) -> Headers:
    """Give every header's name a level.

    Parameters
    ----------
    values : sequence of (name, where)
        In the order of the text.
    """
    first: dict[str, tuple[str, str]] = {}
    for name, where in values:
        first.setdefault(name.lower(), (name, where))
    levels = {key: LEVELS[key] for key in first if key in LEVELS}
    left = [level for level in LEVEL_NAMES if level not in levels.values()]
    problems, named = [], []
    for key, (name, where) in first.items():
        if key in levels:
            continue
        if key.isdigit() or not left:
            others = [other for other, _ in first.values() if other != name]
            known = [*others, *LEVEL_NAMES]
            problems.append(
                f"{where}: '{name}' would be a third level; two are supported, such as within and between, or 1 and 2"
                f"{did_you_mean(name, known)}"
            )
            levels[key] = LEVEL_NAMES[0]
            continue
        levels[key] = left.pop(0)
        named.append(f"'{name}' is level {1 + LEVEL_NAMES.index(levels[key])} ({levels[key]})")
    notes = [f"levels of the model text: {', '.join(named)}"] if named else []
    order = [levels[key] for key in first]
    if not problems and order and order[0] == "between" and "within" in order:
        notes.append(
            "the between block stands first in the model text: here the words decide; lavaan takes the first block for "
            "level 1, whatever its name"
        )
    return Headers(levels, tuple(problems), tuple(notes))
