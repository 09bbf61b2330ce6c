"""The MODEL command of Mplus: its statements as lines of this syntax.

Read as the Mplus User's Guide (chapter 17) defines them: ``@`` fixes, ``*`` frees or starts, names in parentheses label
what stands before them on their line, ``[ ]`` are means and intercepts, a bare list variances. What is fixed stays
fixed whatever label it carries: equality is among the free parameters of a label.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

LEVEL = re.compile(r"%\s*(within|between)\s*%", re.IGNORECASE)
VERB = re.compile(r"(?<![\w.])(by|on|with|pwith|pon|xwith)(?![\w.])", re.IGNORECASE)
_ITEM = re.compile(
    r"(?P<first>[^\W\d][\w.#$]*)(?:\s*-\s*(?P<last>[^\W\d][\w.#$]*))?[^\S\n]*(?P<mark>[@*])?[^\S\n]*"
    r"(?P<value>(?<=[@*\s])[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)?|\((?P<label>[^()]*)\)|(?P<line>\n)|(?P<other>\S)",
    re.IGNORECASE,
)
_OPERATORS = {"by": "=~", "on": "~", "with": "~~"}
_GROWTH = "a growth curve is written with its loadings: i =~ 1*y1 + 1*y2 + 1*y3 and s =~ 0*y1 + 1*y2 + 2*y3"
_XWITH = "interactions of latent variables are not supported; a product of two columns is written x:z"


class _NoCounterpartError(Exception):
    """A statement that cannot be written in this syntax, and why."""


@dataclass(frozen=True)
class Item:
    """A variable in a list, with what is said about its parameter; labels by the variable on the other side."""

    name: str
    fixed: str = ""
    start: str = ""
    freed: bool = False
    labels: tuple[str, ...] = ()

    def terms(self, target: str, owner: int = 0) -> list[str]:
        """What it is in this syntax: one term a modifier."""
        modifiers = [self.fixed] if self.fixed else []
        modifiers += ["NA"] if self.freed else []
        modifiers += [f"start({self.start})"] if self.start else []
        modifiers += [self.labels[owner]] if self.labels else []
        return [f"{modifier}*{target}" for modifier in modifiers] or [target]


@dataclass
class Statements:
    """What has been translated so far.

    Attributes
    ----------
    names : list of str
        Variables, in the order that ranges go through.
    kept : frozenset of str
        Labels (small letters) that fixed parameters keep; the others they lose.
    lines : dict
        Lines by level; those above any level at ``""``.
    spelling, labels : dict
        First spelling of every variable and label by its small letters, as Mplus does not tell them from capitals.
    free_labels : set of str
        Labels (small letters) of free parameters.
    scaled : set of (str, str)
        Level and name of factors whose first indicator has been read.
    means : set of str
        Those of the lines that are means and intercepts.
    """

    names: list[str]
    kept: frozenset[str] = frozenset()
    lines: dict[str, list[str]] = field(default_factory=lambda: {"": [], "within": [], "between": []})
    level: str = ""
    spelling: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    free_labels: set[str] = field(default_factory=set)
    scaled: set[tuple[str, str]] = field(default_factory=set)
    means: set[str] = field(default_factory=set)

    def items(self, text: str, owners: int = 1) -> list[Item]:
        """Variables of a list in their first spelling."""
        return [
            replace(
                item,
                name=self.spelling.setdefault(item.name.lower(), item.name),
                labels=tuple(self.labels.setdefault(label.lower(), label) for label in item.labels),
            )
            for item in items_of(text, self.names, owners)
        ]

    def terms(self, item: Item, target: str, owner: int = 0) -> list[str]:
        """Terms of an item; a fixed parameter has a label only where equations need it as a number."""
        if not item.fixed:
            self.free_labels |= {label.lower() for label in item.labels}
        elif item.labels and item.labels[owner].lower() not in self.kept:
            item = replace(item, labels=())
        return item.terms(target, owner)

    def add(self, line: str, *, mean: bool = False) -> None:
        """Add a line to the block of the level; a mean or an intercept is marked as such."""
        self.lines[self.level].append(f"  {line}")
        self.means |= {f"  {line}"} if mean else set()

    def refuse(self, statement: str, why: str) -> None:
        """Leave a statement as a comment."""
        self.add(f"# not translated: {' '.join(statement.split())} ({why})")


def read_statements(text: str, names: list[str], used: frozenset[str]) -> Statements:
    """Translate a MODEL command.

    Parameters
    ----------
    text : str
    names : list of str
        Variables of the data, for ranges.
    used : frozenset of str
        Names in equations among parameters, in small letters: the label of a fixed parameter among them is kept, unless
        free parameters have it too.
    """
    first = _read(text, names, frozenset())
    return _read(text, names, used - first.free_labels)


def _read(text: str, names: list[str], kept: frozenset[str]) -> Statements:
    found = Statements(names, kept)
    for part in re.split(r"(;|%[^%\n]*%)", text):
        level = LEVEL.fullmatch(part.strip())
        if level:
            found.level = level.group(1).lower()
        elif part.strip() and part.strip() != ";":
            try:
                _statement(part, found)
            except _NoCounterpartError as error:
                found.refuse(part, str(error))
    return found


def spread(first: str, last: str, names: list[str]) -> list[str]:
    """Variables of ``first-last``: those between them in the list of names, or by number."""
    lower = [name.lower() for name in names]
    if first.lower() in lower and last.lower() in lower:
        begin, end = lower.index(first.lower()), lower.index(last.lower())
        if begin <= end:
            return names[begin : end + 1]
    a, b = re.fullmatch(r"(.*?)(\d+)", first), re.fullmatch(r"(.*?)(\d+)", last)
    if a and b and a.group(1).lower() == b.group(1).lower() and 0 <= int(b.group(2)) - int(a.group(2)) < 1000:
        return [f"{a.group(1)}{k}" for k in range(int(a.group(2)), int(b.group(2)) + 1)]
    return [first, last]


def items_of(text: str, names: list[str], owners: int = 1) -> list[Item]:
    """Variables of a list, ranges spread out, labels given to what stands before them on their line.

    With several ``owners`` on the other side a list of labels goes through the variables of the first, then the next.
    """
    found: list[Item] = []
    line_from = 0
    spelling = {name.lower(): name for name in names}
    for match in _ITEM.finditer(text):
        if match["line"]:
            line_from = len(found)
        elif match["label"] is not None:
            count = len(found) - line_from
            labels = _labels(match["label"], count * owners)
            for k in range(count):
                found[line_from + k] = replace(found[line_from + k], labels=tuple(labels[k::count]))
            line_from = len(found)
        elif match["first"]:
            span = spread(match["first"], match["last"], names) if match["last"] else [match["first"]]
            mark, value = match["mark"], match["value"] or ""
            said = Item("", fixed=value if mark == "@" else "", start=value if mark == "*" else "", freed=mark == "*")
            found += [replace(said, name=spelling.get(name.lower(), name)) for name in span]
    return found


def _labels(text: str, count: int) -> list[str]:
    """Labels of ``count`` parameters: one for all, or as many in a list with ranges ``p1-p3``; numbers become names."""
    words = re.sub(r"\s*-\s*", "-", text).replace(",", " ").split()
    if not words or any(not re.fullmatch(r"[\w.]+(-[\w.]+)?", word) for word in words):
        raise _NoCounterpartError(f"'({text.strip()})' is no label; exploratory factors are not supported")
    found: list[str] = []
    for word in words:
        first, dash, last = word.partition("-")
        found += spread(first, last, []) if dash else [word]
    found = [f"p{label}" if label.isdigit() else label for label in found]
    if len(found) == 1:
        return found * count
    if len(found) != count:
        raise _NoCounterpartError(f"{len(found)} labels for {count} parameters on this line")
    return found


def _statement(text: str, found: Statements) -> None:
    statement = text.strip()
    slope, bar, path = statement.partition("|")
    if bar:
        _random(slope.strip(), path, found)
        return
    if statement.startswith("{") or "#" in statement or "$" in statement:
        raise _NoCounterpartError("no counterpart")
    if statement.startswith("["):
        inner = statement.strip("[] ").replace("]", "").replace("[", "")
        lines = [(item, found.terms(replace(item, freed=False), "1")) for item in found.items(inner)]
        for item, terms in lines:
            found.add(f"{item.name} ~ {' + '.join(terms)}", mean=True)
        return
    verb = VERB.search(statement)
    if verb is None:
        lines = [(item, found.terms(replace(item, freed=False), item.name)) for item in found.items(statement)]
        for item, terms in lines:
            found.add(f"{item.name} ~~ {' + '.join(terms)}")
    elif verb.group(1).lower() == "xwith":
        raise _NoCounterpartError(_XWITH)
    elif verb.group(1).lower() not in _OPERATORS:
        raise _NoCounterpartError("write one line a pair")
    else:
        _relation(statement[: verb.start()], verb.group(1).lower(), statement[verb.end() :], found)


def _relation(left: str, verb: str, right: str, found: Statements) -> None:
    """``left BY|ON|WITH right``; the first indicator of a factor has a loading of 1 unless it is freed."""
    owners = found.items(left)
    items = found.items(right, len(owners))
    for at, owner in enumerate(owners):
        scale = verb == "by" and (found.level, owner.name) not in found.scaled
        terms: list[str] = []
        for k, item in enumerate(items):
            if not (scale and k == 0):
                terms += found.terms(replace(item, freed=False), item.name, at)
            elif item.freed or item.fixed or not item.labels:
                terms += found.terms(item, item.name, at)
            else:
                alone = found.terms(replace(item, fixed="1"), item.name, at)
                terms += alone if len(alone) > 1 else [item.name]
        found.scaled.add((found.level, owner.name))
        found.add(f"{owner.name} {_OPERATORS[verb]} {' + '.join(terms)}")


def _random(name: str, path: str, found: Statements) -> None:
    """``s | y ON x``."""
    verb = VERB.search(path)
    if verb is None:
        raise _NoCounterpartError(_GROWTH)
    if verb.group(1).lower() == "xwith":
        raise _NoCounterpartError(_XWITH)
    outcome, predictor = found.items(path[: verb.start()]), found.items(path[verb.end() :])
    if verb.group(1).lower() != "on" or len(outcome) != 1 or len(predictor) != 1:
        raise _NoCounterpartError("a random slope is one path, s | y ON x")
    found.add(f'{outcome[0].name} ~ rv("{name}")*{predictor[0].name}')
