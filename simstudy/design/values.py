"""Numbers and expressions of a design file: read them, check the names they use, evaluate them in a cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from simstudy.design.problems import Path, Problems
from simstudy.design.schema import ENTRY, shown
from simstudy.errors import ModelError, did_you_mean
from simstudy.model.expressions import Expression, Node, parse_expression

Entry = float | Expression
Entries = dict[tuple[str, ...], Entry]
"""By path below ``[population]``: ``("bw",)``, ``("icc", "x")``."""


@dataclass(frozen=True)
class Names:
    """What expressions may refer to.

    Attributes
    ----------
    factors : tuple of str
        Factors whose values are numbers.
    words : dict
        Factors with other values, each with one of them.
    constants : dict
        Labelled fixed parameters of the generating model.
    """

    factors: tuple[str, ...]
    words: dict[str, str]
    constants: dict[str, float]


def read_entry(value: object, path: Path, problems: Problems, allowed: str = ENTRY) -> Entry | None:
    """A number or an expression; None, with a problem noted, where it is neither."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            return parse_expression(value, "expression")
        except ModelError as error:
            for message in error.problems:
                problems.add(path, message)
            return None
    problems.add(path, f"found {shown(value)}; allowed: {allowed}")
    return None


def reference(name: str) -> Expression:
    """The expression that is a name alone, whatever characters the name has."""
    return Expression(name, Node("name", name=name))


def names_used(entries: Entries) -> set[str]:
    """Names that any expression refers to."""
    return {name for entry in entries.values() if isinstance(entry, Expression) for name in entry.names}


def check_names(entries: Entries, names: Names, problems: Problems) -> None:
    """Note unknown names, words used as numbers, and values that depend on themselves."""
    values = [path[0] for path in entries if len(path) == 1]
    known = list(dict.fromkeys([*names.factors, *values, *names.constants]))
    for path, entry in entries.items():
        for name in entry.names if isinstance(entry, Expression) else ():
            if name in names.words:
                problems.add(
                    ("population", *path),
                    f"factor '{name}' is used in the expression '{entry_text(entry)}', but its value "
                    f"{names.words[name]} is no number",
                )
            elif name not in known:
                problems.add(
                    ("population", *path),
                    f"unknown name '{name}' in the expression '{entry_text(entry)}'{did_you_mean(name, known)}; "
                    f"allowed: {', '.join(known) or 'nothing, as there is neither a factor nor another value'}",
                )
    for circle in _circles(entries, names):
        problems.add(("population", circle[0]), f"these values depend on each other in a circle: {' -> '.join(circle)}")


def entry_text(entry: Entry) -> str:
    """An entry as it is written."""
    return entry.text if isinstance(entry, Expression) else f"{entry:g}"


def _depends(entries: Entries, names: Names, name: str) -> Iterable[str]:
    """Other values that a value refers to; a factor goes before a value of the same name."""
    entry = entries.get((name,))
    if isinstance(entry, Expression):
        yield from (used for used in entry.names if used not in names.factors and (used,) in entries)


def _circles(entries: Entries, names: Names) -> list[list[str]]:
    """Circular chains of values, each once."""
    circles: list[list[str]] = []
    done: set[str] = set()

    def walk(name: str, chain: list[str]) -> None:
        if name in chain:
            circles.append([*chain[chain.index(name) :], name])
        elif name not in done:
            for other in _depends(entries, names, name):
                walk(other, [*chain, name])
            done.add(name)

    for path in entries:
        if len(path) == 1:
            walk(path[0], [])
    return circles


def evaluate(entries: Entries, factors: Mapping[str, float], constants: Mapping[str, float]) -> dict[Path, float]:
    """Numbers of all entries in one cell; `check_names` must have passed."""
    found: dict[str, float] = {}

    def number(entry: Entry) -> float:
        if not isinstance(entry, Expression):
            return entry
        return float(entry.evaluate({name: lookup(name) for name in entry.names}))

    def lookup(name: str) -> float:
        if name in factors:
            return factors[name]
        if name not in found:
            entry = entries.get((name,))
            found[name] = constants[name] if entry is None else number(entry)
        return found[name]

    return {path: number(entry) for path, entry in entries.items()}
