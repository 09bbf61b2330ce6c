"""Kinds of figure by name: what each is made from, and what can be chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simstudy.errors import SimstudyError, did_you_mean

PLURALS = ("parameters", "measures", "estimators", "cells")
_CELLS = ("estimators", "cells", "where")
_TABLE = ("parameters", *_CELLS, "basis", "se_kind", "band")
_REPLICATES = ("parameters", *_CELLS, "se_kind")


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Parameters
    ----------
    title : str
        What it shows.
    source : str
        ``performance``, ``effects`` or ``replicates``.
    options : tuple of str
        What can be chosen.
    """

    title: str
    source: str
    options: tuple[str, ...]


KINDS: Mapping[str, Kind] = {
    "lines": Kind("measures against a factor, with MCSE bands", "performance", ("measures", "x", *_TABLE)),
    "power": Kind("power against a factor, with MCSE bands", "performance", ("x", *_TABLE)),
    "nested-loop": Kind("all cells in one strip, factors below", "performance", ("measures", "x", *_TABLE)),
    "lollipop": Kind("measures as points on stems, with MCSEs", "performance", ("measures", "x", *_TABLE)),
    "heatmap": Kind("a measure over two factors", "performance", ("measures", "x", "y", *_TABLE)),
    "convergence": Kind("convergence and admissibility", "performance", ("x", *_CELLS)),
    "factors": Kind(
        "eta squared of the factors", "effects", ("parameters", "measures", "estimators", "basis", "se_kind", "band")
    ),
    "zip": Kind("intervals ranked, coverage", "replicates", _REPLICATES),
    "scatter": Kind("estimate against standard error", "replicates", _REPLICATES),
    "bland-altman": Kind("agreement of methods on the same replicates", "replicates", (*_REPLICATES, "compare", "of")),
}


def check_kind(kind: str, given: Sequence[str]) -> Kind:
    """Look up a kind, and refuse options that it has no use for.

    Raises
    ------
    SimstudyError
        One problem for each of them.
    """
    if kind not in KINDS:
        raise SimstudyError(f"kind: there is no '{kind}'{did_you_mean(kind, KINDS)}; allowed: {', '.join(KINDS)}")
    found = KINDS[kind]
    problems = []
    for name in given:
        if name not in found.options:
            others = [other for other, entry in KINDS.items() if name in entry.options]
            spoken = name.removesuffix("s") if name in PLURALS else name
            problems.append(f"{spoken}: '{kind}' has no use for it; it is for {', '.join(others)}")
    if problems:
        raise SimstudyError(problems)
    return found
