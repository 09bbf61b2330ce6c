"""Mplus input (``%WITHIN%``, ``BY``, ``ON``, ``WITH``, ``ANALYSIS:``) -> the same model in this syntax.

Read as the Mplus User's Guide (chapter 17) defines the MODEL command: ``@`` fixes, ``*`` frees or starts, a name in
parentheses labels what stands before it on its line, ``[ ]`` are means and intercepts, a bare list variances.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from simstudy.model.translation import Translation

_SECTION = re.compile(
    r"^\s*(title|data|variable|define|analysis|model\s+constraint|model\s+indirect|model\s+test|model\s+priors|model"
    r"|output|savedata|plot|montecarlo)\s*:",
    re.IGNORECASE | re.MULTILINE,
)
_LEVEL = re.compile(r"%\s*(within|between)\s*%", re.IGNORECASE)
_VERB = re.compile(r"(?<![\w.])(by|on|with|pwith|pon|xwith)(?![\w.])", re.IGNORECASE)
_ITEM = re.compile(
    r"(?P<first>[^\W\d][\w.#$]*)(?:\s*-\s*(?P<last>[^\W\d][\w.#$]*))?[^\S\n]*(?P<mark>[@*])?[^\S\n]*"
    r"(?P<value>(?<=[@*\s])[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)?|\((?P<label>[^()]*)\)|(?P<line>\n)|(?P<other>\S)",
    re.IGNORECASE,
)
_OPERATORS = {"by": "=~", "on": "~", "with": "~~"}


def looks_like_mplus(text: str) -> bool:
    """Whether a text is Mplus input, or its MODEL command."""
    code = _code(text)
    if _LEVEL.search(code):
        return True
    if "~" in code or ":=" in code:
        return False
    return any(_VERB.search(part) for part in _body(code).split(";"))


def _code(text: str) -> str:
    return "\n".join(re.split(r"[!#]", line, maxsplit=1)[0] for line in text.splitlines())


def _sections(code: str) -> dict[str, str]:
    """Text of every command; a text without commands is that of MODEL."""
    found: dict[str, str] = {}
    marks = list(_SECTION.finditer(code))
    if not marks:
        return {"model": code}
    for mark, after in zip(marks, [*marks[1:], None], strict=True):
        name = " ".join(mark.group(1).lower().split())
        found[name] = code[mark.end() : after.start() if after else len(code)]
    return found


def _body(code: str) -> str:
    return _sections(code).get("model", "")


@dataclass(frozen=True)
class _Item:
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
class _Text:
    """What has been translated so far."""

    names: list[str]
    lines: dict[str, list[str]] = field(default_factory=lambda: {"within": [], "between": []})
    level: str = ""
    spelling: dict[str, str] = field(default_factory=dict)

    def items(self, text: str, owners: int = 1) -> list[_Item]:
        """Variables of a list; Mplus does not tell capitals from small letters, so the first spelling counts."""
        found = _items(text, self.names, owners)
        return [replace(item, name=self.spelling.setdefault(item.name.lower(), item.name)) for item in found]

    def add(self, line: str) -> None:
        self.lines[self.level or "within"].append(f"  {line}")

    def refuse(self, statement: str, why: str) -> None:
        self.add(f"# not translated: {' '.join(statement.split())} ({why})")


def translate_mplus(text: str) -> Translation:
    """Translate an input, or a MODEL command alone."""
    sections = _sections(_code(text))
    variable, analysis = sections.get("variable", ""), sections.get("analysis", "")
    names = _listed(variable, "usevariables|usevar|usev") or _listed(variable, "names|name")
    found = _Text(names)
    for part in re.split(r"(;|%[^%\n]*%)", sections.get("model", "")):
        level = _LEVEL.fullmatch(part.strip())
        if level:
            found.level = level.group(1).lower()
        elif part.strip() and part.strip() != ";":
            _statement(part, found)
    lines = []
    for level_name, body in found.lines.items():
        lines += [f"level: {level_name}", *body]
    lines += _constraints(sections.get("model constraint", ""))
    notes = []
    if not _LEVEL.search(sections.get("model", "")):
        notes.append("the text names no level (%WITHIN%, %BETWEEN%): everything was put into the within block")
    notes.append(
        "a variable lives on the levels in whose blocks it stands; Mplus takes x variables as given, as --fixed-x does"
    )
    for key, why in (
        ("categorical", "categorical outcomes are not supported: they are treated as continuous"),
        ("count", "counts are not supported: they are treated as continuous"),
        ("grouping", "groups are not supported: fit each on its own"),
        ("weight", "weights are not supported"),
    ):
        if _listed(variable, key):
            notes.append(f"{key.upper()}: {why}")
    if "define" in sections and sections["define"].strip():
        notes.append("DEFINE is not translated: make those variables columns of the data")
    estimator = _setting(analysis, "estimator").upper()
    options = f"--estimator {estimator}" if estimator in ("ML", "MLR") else ""
    cluster = (_listed(variable, "cluster") or [""])[0]
    return Translation("\n".join(lines), cluster, options, tuple(notes))


def _setting(text: str, key: str) -> str:
    match = re.search(rf"(?<![\w.])(?:{key})\s*(?:=|\bis\b|\bare\b)\s*([^;]*)", text, re.IGNORECASE)
    return match.group(1).strip() if match else ""


def _listed(text: str, key: str) -> list[str]:
    """Names of a list such as ``NAMES = y1-y3 x``."""
    return [item.name for item in _items(_setting(text, key), [])]


def _spread(first: str, last: str, names: list[str]) -> list[str]:
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


def _items(text: str, names: list[str], owners: int = 1) -> list[_Item]:
    """Variables of a list, ranges spread out, labels given to what stands before them on their line.

    With several ``owners`` on the other side a list of labels goes through the variables of the first, then the next.
    """
    found: list[_Item] = []
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
            span = _spread(match["first"], match["last"], names) if match["last"] else [match["first"]]
            mark, value = match["mark"], match["value"] or ""
            said = _Item("", fixed=value if mark == "@" else "", start=value if mark == "*" else "", freed=mark == "*")
            found += [replace(said, name=spelling.get(name.lower(), name)) for name in span]
    return found


def _labels(text: str, count: int) -> list[str]:
    """Labels of ``count`` parameters: one for all, or a range ``p1-p3``; numbers become names."""
    text = text.strip()
    first, dash, last = (part.strip() for part in text.partition("-"))
    spread = _spread(first, last, []) if dash else [text]
    named = [f"p{label}" if label.isdigit() else label for label in spread]
    return named if dash and len(named) == count else named[:1] * count


def _statement(text: str, found: _Text) -> None:
    statement = text.strip()
    slope, bar, path = statement.partition("|")
    if bar:
        _random(slope.strip(), path, statement, found)
        return
    if statement.startswith("{") or "#" in statement or "$" in statement:
        found.refuse(statement, "no counterpart")
        return
    if statement.startswith("["):
        inner = statement.strip("[] ").replace("]", "").replace("[", "")
        for item in found.items(inner):
            found.add(f"{item.name} ~ {' + '.join(replace(item, freed=False).terms('1'))}")
        return
    verb = _VERB.search(statement)
    if verb is None:
        for item in found.items(statement):
            found.add(f"{item.name} ~~ {' + '.join(replace(item, freed=False).terms(item.name))}")
    elif verb.group(1).lower() not in _OPERATORS:
        found.refuse(statement, "write one line a pair")
    else:
        _relation(statement[: verb.start()], verb.group(1).lower(), statement[verb.end() :], found)


def _relation(left: str, verb: str, right: str, found: _Text) -> None:
    """``left BY|ON|WITH right``."""
    owners = found.items(left)
    items = found.items(right, len(owners))
    for at, owner in enumerate(owners):
        terms: list[str] = []
        for k, item in enumerate(items):
            kept = item if verb == "by" and k == 0 else replace(item, freed=False)
            terms += kept.terms(item.name, at)
        found.add(f"{owner.name} {_OPERATORS[verb]} {' + '.join(terms)}")


def _random(name: str, path: str, statement: str, found: _Text) -> None:
    """``s | y ON x``."""
    verb = _VERB.search(path)
    outcome, predictor = (
        (found.items(part) for part in (path[: verb.start()], path[verb.end() :])) if verb else ([], [])
    )
    if verb is None or verb.group(1).lower() != "on" or len(outcome) != 1 or len(predictor) != 1:
        found.refuse(statement, "a random slope is one path, s | y ON x")
        return
    found.add(f'{outcome[0].name} ~ rv("{name}")*{predictor[0].name}')


def _constraints(text: str) -> list[str]:
    """Lines of MODEL CONSTRAINT: new parameters are definitions, others equations."""
    new: list[str] = []
    lines = []
    for statement in (" ".join(part.split()) for part in text.split(";")):
        declared = re.match(r"new\s*\((.*)\)$", statement, re.IGNORECASE)
        if declared:
            new += [item.name for item in _items(declared.group(1), [])]
        elif statement:
            body = re.sub(
                r"\b(EXP|LOG|SQRT|ABS|SIN|COS|TAN)\b", lambda m: m.group().lower(), statement, flags=re.IGNORECASE
            )
            left, equals, right = (part.strip() for part in body.partition("="))
            if not equals:
                lines.append(body)
            else:
                lines.append(f"{left} := {right}" if left.lower() in [n.lower() for n in new] else f"{left} == {right}")
    return lines
