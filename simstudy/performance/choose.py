"""Which parameters of a study are meant: names and patterns against what there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from simstudy.errors import SimstudyError, did_you_mean

LEVEL_PREFIXES = ("within:", "between:")


def in_order(values: Iterable[object]) -> list[str]:
    """Distinct texts in order of appearance, without the empty one."""
    return [text for text in dict.fromkeys(str(value) for value in values) if text]


def key_parameters(parameters: Sequence[str]) -> list[str]:
    """Labelled and defined parameters, the study's estimands; all of them if none has a label."""
    return [name for name in parameters if not name.startswith(LEVEL_PREFIXES)] or list(parameters)


def choose_parameters(wanted: Sequence[str] | None, available: Sequence[str]) -> list[str]:
    """Resolve names and patterns (``*``, ``?``) into parameters in the study's order.

    Raises
    ------
    SimstudyError
        One problem for each name or pattern that is no parameter's.
    """
    if wanted is None:
        return key_parameters(available)
    chosen: set[str] = set()
    problems = []
    for name in wanted:
        found = {name} & set(available) or {known for known in available if fnmatchcase(known, name)}
        chosen |= found
        if not found:
            problems.append(
                f"parameters: the study has no parameter '{name}'{did_you_mean(name, available)}; "
                f"it has {', '.join(available)}"
            )
    if problems:
        raise SimstudyError(problems)
    return [name for name in available if name in chosen]
