"""Mplus input (``%WITHIN%``, ``BY``, ``ON``, ``WITH``, ``ANALYSIS:``) -> the same model in this syntax.

Commands are read as the Mplus User's Guide (chapters 15 to 17) defines them; what has no counterpart stands in comments
of the translation or in its notes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from simstudy.model.mplus_model import LEVEL, VERB, Statements, items_of, read_statements
from simstudy.model.translation import Translation

_SECTION = re.compile(
    r"^\s*(title|data|variable|define|analysis|model(?:[^\S\n]+[\w-]+)?|output|savedata|plot|montecarlo)\s*:",
    re.IGNORECASE | re.MULTILINE,
)
_LEFT_OUT = {
    "model indirect": 'label the paths and define their product, "ind := a*b"',
    "model priors": "there are no priors in maximum likelihood",
}
"""Commands without a counterpart, and what to do instead; others of MODEL belong to groups or to made-up data."""
_IGNORED = {
    "categorical": "categorical outcomes are not supported: they are treated as continuous",
    "nominal": "nominal outcomes are not supported: they are treated as continuous",
    "censored": "censored outcomes are not supported: they are treated as continuous",
    "count": "counts are not supported: they are treated as continuous",
    "grouping": "groups are not supported: fit each on its own",
    "weight": "weights are not supported",
    "bweight": "weights are not supported",
    "stratification": "strata are not supported",
    "useobservations": "select these rows before the fit",
    "subpopulation": "select these rows before the fit",
}
"""Options of VARIABLE that the fit does not know."""
_FUNCTIONS = ("exp", "log", "sqrt", "abs", "sin", "cos", "tan")
_OTHER_TYPES = ("THREELEVEL", "CROSSCLASSIFIED", "MIXTURE")
_ALIASES = {"useobservations": "useobservations|useobs"}


def looks_like_mplus(text: str) -> bool:
    """Whether a text is Mplus input, or its MODEL command."""
    code = _code(text)
    if LEVEL.search(code):
        return True
    if "~" in code or ":=" in code:
        return False
    return any(VERB.search(part) for part in _sections(code).get("model", "").split(";"))


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


def translate_mplus(text: str) -> Translation:
    """Translate an input, or a MODEL command alone."""
    sections = _sections(_code(text))
    variable = sections.get("variable", "")
    names = _listed(variable, "usevariables|usevar|usev") or _listed(variable, "names|name")
    equations = sections.get("model constraint", ""), sections.get("model test", "")
    used = frozenset(word.lower() for word in re.findall(r"[^\W\d][\w.]*", " ".join(equations)))
    found = read_statements(sections.get("model", ""), names, used)
    levels = bool(LEVEL.search(sections.get("model", "")))
    lines = _blocks(found, levels)
    lines += _constraints(equations[0], found)
    lines += _left_out(sections)
    options, notes = _fitting(sections, levels)
    test = _test(equations[1], found)
    options += [f"--wald {shlex.quote(test)}"] if test else []
    clusters = _listed(variable, "cluster")
    if len(clusters) > 1:
        notes.append(f"one cluster variable is supported; CLUSTER names {', '.join(clusters)}")
    for key, why in _IGNORED.items():
        if _setting(variable, _ALIASES.get(key, key)):
            notes.append(f"{key.upper()}: {why}")
    if sections.get("define", "").strip():
        notes.append("DEFINE is not translated: make those variables columns of the data")
    return Translation("\n".join(lines), (clusters or [""])[0], " ".join(options), tuple(notes))


def _blocks(found: Statements, levels: bool) -> list[str]:
    """Both blocks. A model of one level stands in both, which is how methods that pool the rows read it."""
    if not levels:
        whole = found.lines[""]
        within = [line for line in whole if line not in found.means and not line.startswith("  #")]
        return ["level: within", *within, "level: between", *whole]
    both = {"within": found.lines[""] + found.lines["within"], "between": found.lines["between"]}
    return [line for level, body in both.items() for line in (f"level: {level}", *body)]


def _fitting(sections: dict[str, str], levels: bool) -> tuple[list[str], list[str]]:
    """Options of the fit, and notes about it."""
    variable, analysis = sections.get("variable", ""), sections.get("analysis", "")
    options, notes = [], []
    kinds = _setting(analysis, "type").upper().split()
    estimator = _setting(analysis, "estimator").upper()
    if not levels:
        options.append("--estimator disaggregated_robust")
        notes.append(
            "the text names no level (%WITHIN%, %BETWEEN%): it is a model of the pooled rows, which "
            "disaggregated_robust fits, with SEs that allow for clusters (TYPE = COMPLEX); both blocks say the same, "
            "but a variable that is the same in all rows of a cluster stands in the between block only"
        )
    elif estimator in ("ML", "MLR") or (not estimator and "TWOLEVEL" in kinds):
        options.append(f"--estimator {estimator or 'MLR'}")
    if estimator not in ("", "ML", "MLR"):
        notes.append(f"ESTIMATOR = {estimator} is not supported: this is maximum likelihood")
    notes += [f"TYPE = {kind} is not supported" for kind in kinds if kind in _OTHER_TYPES]
    missing = _setting(variable, "missing")
    if missing:
        codes, own = _codes(missing)
        options += [f"--na {shlex.quote(','.join(codes))}"] if codes else []
        if own:
            notes.append("codes for missing values of single variables hold for all variables of the model here")
        listwise = _setting(sections.get("data", ""), "listwise").upper() == "ON"
        if levels and not listwise:
            options.append("--missing fiml")
        elif not listwise:
            notes.append("Mplus uses rows with missing values; disaggregated_robust leaves them out")
    notes.append(
        "a variable lives on the levels in whose blocks it stands; Mplus takes x variables as given, as --fixed-x does"
    )
    return options, notes


def _codes(text: str) -> tuple[list[str], bool]:
    """Codes of MISSING, ranges spread out, and whether they are those of single variables."""
    lists = re.findall(r"\(([^()]*)\)", text)
    if not lists:
        return [mark for mark in text.split() if mark in (".", "*")], False
    found: list[str] = []
    for word in " ".join(lists).replace(",", " ").split():
        span = re.fullmatch(r"(-?\d+)-(-?\d+)", word)
        found += [str(code) for code in range(int(span[1]), int(span[2]) + 1)] if span else [word]
    return list(dict.fromkeys(found)), not re.match(r"all\b", text, re.IGNORECASE)


def _setting(text: str, key: str) -> str:
    match = re.search(rf"(?<![\w.])(?:{key})\s*(?:=|\bis\b|\bare\b)\s*([^;]*)", text, re.IGNORECASE)
    return match.group(1).strip() if match else ""


def _listed(text: str, key: str) -> list[str]:
    """Names of a list such as ``NAMES = y1-y3 x``."""
    return [item.name for item in items_of(_setting(text, key), [])]


def _left_out(sections: dict[str, str]) -> list[str]:
    """Comments for the commands of MODEL that have no counterpart."""
    lines = []
    for name, body in sections.items():
        if name.startswith("model ") and name not in ("model constraint", "model test") and body.strip():
            why = _LEFT_OUT.get(name, "groups and made-up data are not supported here")
            lines.append(f"# not translated: {name.upper()}: {' '.join(body.split())} ({why})")
    return lines


def _equations(text: str, found: Statements) -> Iterator[str]:
    """Statements among parameters, one by one: labels as they were spelled first, functions in small letters."""

    def spelled(word: re.Match[str]) -> str:
        small = word.group().lower()
        return small if small in _FUNCTIONS else found.labels.get(small, word.group())

    for body in (" ".join(part.split()) for part in text.split(";")):
        if body:
            yield re.sub(r"(?<![\w.])[^\W\d][\w.]*", spelled, body)


def _constraints(text: str, found: Statements) -> list[str]:
    """Lines of MODEL CONSTRAINT: new parameters are definitions, others equations."""
    new: dict[str, str] = {}
    lines = []
    for body in _equations(text, found):
        declared = re.match(r"new\s*\((.*)\)$", body, re.IGNORECASE)
        if declared:
            new |= {item.name.lower(): item.name for item in items_of(declared.group(1), [])}
            found.labels.update(new)
            continue
        left, equals, right = (part.strip() for part in body.partition("="))
        if re.search("[<>]", body):
            lines.append(body)
        elif not equals or re.match(r"(do|loop|plot)\b", body, re.IGNORECASE):
            lines.append(f"# not translated: MODEL CONSTRAINT: {body} (no counterpart)")
        else:
            lines.append(f"{left} := {right}" if left.lower() in new else f"{left} == {right}")
    return lines


def _test(text: str, found: Statements) -> str:
    """MODEL TEST as the equations of a Wald test."""
    return "; ".join(re.sub(r"\s*=\s*", " == ", body, count=1) for body in _equations(text, found))
