"""Formulas of lme4 (``y ~ x + (1 + x | school)``) -> the same model in this syntax.

The random intercept is the outcome's between part; a random slope of x is ``rv("s_x")*x`` with ``s_x`` a variable of
the between block. Which predictors are measured on clusters a formula does not say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from simstudy.model.tokens import is_name
from simstudy.model.translation import Translation

_BAR = re.compile(r"\(([^()|]*)(\|\|?)([^()|]*)\)")


def looks_like_lme4(text: str) -> bool:
    """Whether a text is one formula with a random part in parentheses."""
    code = _code(text)
    return "level" not in code.lower() and "~" in code and "%" not in code and _BAR.search(code) is not None


def _code(text: str) -> str:
    """The text without comments, on one line."""
    return " ".join(line.split("#")[0].strip() for line in text.splitlines()).strip()


@dataclass
class _Random:
    """What varies over the clusters."""

    intercept: bool = False
    slopes: list[str] = field(default_factory=list)
    pairs: set[frozenset[str]] = field(default_factory=set)
    groups: list[str] = field(default_factory=list)


def translate_lme4(text: str) -> Translation:
    """Translate a formula, also as the first argument of ``lmer()``."""
    code = _code(text)
    call = re.match(r"\s*(?:\w+\s*(?:<-|=)\s*)?(?:\w+::)?g?lmer\s*\((.*)$", code)
    formula = _first_argument(call.group(1)) if call else code
    response, _, right = formula.partition("~")
    outcome = response.strip()
    comments: list[str] = []
    random = _Random()
    for inner, bar, group in _BAR.findall(right):
        _read_random(inner, bar == "||", group.strip(), random, comments)
    fixed, intercept = _read_fixed(_BAR.sub("", right), comments)
    within = _equation(outcome, fixed, random.slopes)
    slopes = {name: f"s_{name.replace(':', '_')}" for name in random.slopes}
    lines = ["level: within", within, "level: between"]
    lines.append(f"  {outcome} ~ 1" if intercept else f"  {outcome} ~ 0*1")
    lines.append(f"  {outcome} ~~ {outcome}" if random.intercept else f"  {outcome} ~~ 0*{outcome}")
    for k, name in enumerate(random.slopes):
        s = slopes[name]
        lines.append(f"  {s} ~ 1" if name in fixed else f"  {s} ~ 0*1")
        lines.append(f"  {s} ~~ {s}")
        others = [("1", outcome)] if random.intercept else []
        others += [(other, slopes[other]) for other in random.slopes[:k]]
        for key, other in others:
            free = frozenset((key, name)) in random.pairs
            lines.append(f"  {other} ~~ {'' if free else '0*'}{s}")
    lines += [f"# not translated: {comment}" for comment in comments]
    notes = ["lme4's default is REML; msem is maximum likelihood (REML = FALSE)"]
    plain = [name for name in fixed if ":" not in name]
    if plain:
        notes.append(
            f"a predictor that is measured on clusters belongs into the between block ({outcome} ~ w there, not in the "
            f"within block): the formula does not say which of {', '.join(plain)} is"
        )
    if any(":" in name for name in fixed) and random.slopes:
        notes.append("a cross-level interaction x:w with a random slope of x is written s_x ~ w in the between block")
    if len(set(random.groups)) > 1:
        notes.append(f"one cluster variable is supported; the formula has {', '.join(dict.fromkeys(random.groups))}")
    return Translation("\n".join(lines), random.groups[0] if random.groups else "", "", tuple(notes))


def _first_argument(text: str) -> str:
    depth = 0
    for at, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth < 0 or (character == "," and depth == 0):
            return text[:at]
    return text


def _terms(text: str) -> list[str]:
    """Terms of a sum, with a minus kept in front of what it takes away."""
    spaced = re.sub(r"\s+", "", text)
    return [term for term in re.split(r"\+|(?=-)", spaced) if term]


def _read_random(inner: str, apart: bool, group: str, random: _Random, comments: list[str]) -> None:
    names, intercept = [], True
    for term in _terms(inner):
        if term in ("0", "-1"):
            intercept = False
        elif _is_variable(term):
            names.append(term)
        elif term != "1":
            comments.append(f"{term} in ({inner.strip()} | {group})")
    if not is_name(group):
        comments.append(f"({inner.strip()} | {group}): groups within groups are a third level")
        group = re.split(r"[/:]", group)[0]
    random.groups.append(group)
    random.intercept |= intercept
    random.slopes += [name for name in names if name not in random.slopes]
    if not apart:
        together = [*(["1"] if intercept else []), *names]
        random.pairs |= {frozenset((a, b)) for a in together for b in together if a != b}


def _read_fixed(text: str, comments: list[str]) -> tuple[list[str], bool]:
    found: dict[str, None] = {}
    intercept = True
    for term in _terms(text):
        if term in ("0", "-1"):
            intercept = False
        elif term == "1":
            continue
        elif _is_variable(term):
            found.setdefault(term)
        elif re.fullmatch(r"[^*()^]+(\*[^*()^]+)+", term) and all(is_name(part) for part in term.split("*")):
            parts = term.split("*")
            for part in parts:
                found.setdefault(part)
            for k, part in enumerate(parts):
                for other in parts[k + 1 :]:
                    found.setdefault(f"{part}:{other}")
            if len(parts) > 2:
                comments.append(f"{':'.join(parts)}: products of two columns are read, others must be columns")
        else:
            comments.append(f"{term}: functions of variables must be columns of their own")
    return list(found), intercept


def _is_variable(term: str) -> bool:
    parts = term.split(":")
    return len(parts) in (1, 2) and all(is_name(part) for part in parts)


def _equation(outcome: str, fixed: list[str], slopes: list[str]) -> str:
    names = list(dict.fromkeys([*fixed, *slopes]))
    if not names:
        return f"  {outcome} ~~ {outcome}"
    terms = [f'rv("s_{name.replace(":", "_")}")*{name}' if name in slopes else name for name in names]
    return f"  {outcome} ~ {' + '.join(terms)}"
