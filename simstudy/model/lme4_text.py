"""Formulas of lme4 (``y ~ x + (1 + x | school)``) -> the same model in this syntax.

The random intercept is the outcome's between part; a random slope of x is ``rv("s_x")*x`` with ``s_x`` a variable of
the between block. Which predictors are measured on clusters a formula does not say; the data do.
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


def translate_lme4(text: str, constant: frozenset[str] | None = None) -> Translation:
    """Translate a formula, also as the first argument of ``lmer()``.

    Parameters
    ----------
    text : str
    constant : frozenset of str, optional
        Columns of the data that are the same in all rows of every cluster: they stand in the between block. Without it
        every predictor is written as one of the within block.
    """
    code = _code(text)
    call = re.match(r"\s*(?:\w+\s*(?:<-|=)\s*)?(?:\w+::)?g?lmer\s*\((.*)$", code)
    formula = _first_argument(call.group(1)) if call else code
    response, _, right = formula.partition("~")
    outcome = response.strip()
    comments: list[str] = []
    random = _Random()
    for inner, bar, group in _BAR.findall(right):
        _read_random(inner, bar == "||", group.strip(), random, comments)
    for name in [name for name in random.slopes if _is_constant(name, constant)]:
        random.slopes.remove(name)
        comments.append(f"the slope of {name} over clusters: {name} is the same in all rows of a cluster")
    fixed, intercept = _read_fixed(_BAR.sub("", right), comments)
    above = [name for name in fixed if _is_constant(name, constant)]
    crossed = {name: cross for name in fixed if name not in above for cross in _cross_level(name, random, constant)}
    below = [name for name in fixed if name not in above and name not in crossed]
    lines = ["level: within", _equation(outcome, below, random.slopes)]
    lines += ["level: between", f"  {outcome} ~ {'1' if intercept else '0*1'}"]
    lines += [f"  {outcome} ~ {' + '.join(above)}"] if above else []
    lines.append(f"  {outcome} ~~ {outcome}" if random.intercept else f"  {outcome} ~~ 0*{outcome}")
    lines += _slope_lines(outcome, fixed, random, list(crossed.values()))
    lines += [f"# not translated: {comment}" for comment in comments]
    notes = ["lme4's default is REML; msem is maximum likelihood (REML = FALSE)"]
    if above:
        notes.append(f"the same in all rows of a cluster, so in the between block: {', '.join(above)}")
    elif constant is None:
        notes += _placing_notes(outcome, fixed, random)
    if len(set(random.groups)) > 1:
        notes.append(f"one cluster variable is supported; the formula has {', '.join(dict.fromkeys(random.groups))}")
    return Translation("\n".join(lines), random.groups[0] if random.groups else "", "", tuple(notes))


def _is_constant(name: str, constant: frozenset[str] | None) -> bool:
    """Whether a variable, or both of a product, are the same in all rows of every cluster."""
    return constant is not None and all(part in constant for part in name.split(":"))


def _cross_level(name: str, random: _Random, constant: frozenset[str] | None) -> list[tuple[str, str]]:
    """Predictor with a random slope, and level-2 variable that predicts it; empty for any other term."""
    pairs = [tuple(name.split(":")), tuple(name.split(":"))[::-1]] if ":" in name else []
    return [(x, w) for x, w in pairs if x in random.slopes and _is_constant(w, constant)]


def _slope_lines(outcome: str, fixed: list[str], random: _Random, crossed: list[tuple[str, str]]) -> list[str]:
    """Means, predictors, variances and covariances of the random slopes."""
    lines = []
    for k, name in enumerate(random.slopes):
        s = _slope(name)
        lines.append(f"  {s} ~ 1" if name in fixed else f"  {s} ~ 0*1")
        predictors = [w for x, w in crossed if x == name]
        lines += [f"  {s} ~ {' + '.join(predictors)}"] if predictors else []
        lines.append(f"  {s} ~~ {s}")
        others = [("1", outcome)] if random.intercept else []
        others += [(other, _slope(other)) for other in random.slopes[:k]]
        for key, other in others:
            free = frozenset((key, name)) in random.pairs
            lines.append(f"  {other} ~~ {'' if free else '0*'}{s}")
    return lines


def _placing_notes(outcome: str, fixed: list[str], random: _Random) -> list[str]:
    """What to know about predictors where there are no data that tell their level."""
    notes = []
    plain = [name for name in fixed if ":" not in name]
    if plain:
        notes.append(
            f"a predictor that is measured on clusters belongs into the between block ({outcome} ~ w there, not in the "
            f"within block): the formula does not say which of {', '.join(plain)} is"
        )
    if any(":" in name for name in fixed) and random.slopes:
        notes.append("a cross-level interaction x:w with a random slope of x is written s_x ~ w in the between block")
    return notes


def _slope(name: str) -> str:
    """Name of the random slope of a predictor."""
    return f"s_{name.replace(':', '_')}"


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
    terms = [f'rv("{_slope(name)}")*{name}' if name in slopes else name for name in names]
    return f"  {outcome} ~ {' + '.join(terms)}"
