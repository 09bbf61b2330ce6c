"""Which scales and shifts a model allows: those under which it is the same model in other units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from simstudy.model.parameters import Parameter
from simstudy.model.twolevel import TwoLevelModel

Form = dict[str, int]
"""A sum of log-scales: coefficient by tied set."""


class _Ties:
    """Sets of variables with one scale; that of a pinned set is 1."""

    def __init__(self, model: TwoLevelModel) -> None:
        self.slopes = {slope.name: slope for slope in model.slopes}
        self.parent: dict[str, str] = {}
        self.pinned: set[str] = set()

    def find(self, name: str) -> str:
        while self.parent.setdefault(name, name) != name:
            name = self.parent[name]
        return name

    def form(self, name: str) -> Form:
        """The log-scale of a variable; a random slope's is that of its outcome less that of its predictor."""
        if name in self.slopes:
            slope = self.slopes[name]
            return _add(self.form(slope.outcome), self.form(slope.predictor), -1)
        root = self.find(name)
        return {} if root in self.pinned else {root: 1}

    def factor(self, row: Parameter) -> Form:
        """What a parameter is multiplied by."""
        first = self.form(row.lhs)
        second = self.form(row.rhs) if row.rhs else {}
        signs = {"~": (-1, 1), "=~": (1, -1), "~~": (-1, -1), "~1": (-1, 0)}[row.op]
        return _add({k: signs[0] * c for k, c in first.items()}, second, signs[1])

    def vanish(self, form: Form) -> bool:
        """Tie scales so that a sum of log-scales is 0; says whether that changed anything."""
        support = [name for name, c in form.items() if c]
        if not support:
            return False
        total = sum(form.values())
        for name in support[1:]:
            self.parent[name] = support[0]
        if total:
            self.pinned.add(support[0])
        return True


def _add(a: Form, b: Form, sign: int) -> Form:
    return {k: a.get(k, 0) + sign * b.get(k, 0) for k in (*a, *b) if a.get(k, 0) + sign * b.get(k, 0)}


def scales_of(model: TwoLevelModel, logs: Mapping[str, float], *, alike: bool = False) -> dict[str, float]:
    """log2 s of every variable: whole numbers, as near to ``logs`` as ties allow.

    Tied are: a factor and the items whose loadings are fixed (the markers), parameters with the same label, and with
    ``alike`` all items of a factor. A factor without a marker keeps its scale; a random slope has that of its outcome
    over that of its predictor.

    Parameters
    ----------
    logs : dict
        log2 of the standard deviation of every observed variable.
    """
    ties = _Ties(model)
    rows = model.table.rows
    fixed = [row for row in rows if row.op == "=~" and row.free < 0 and row.value != 0.0]
    items = {f: [row.rhs for row in rows if row.op == "=~" and row.lhs == f] for f in {r.lhs for r in rows}}
    shared: dict[int, list[Parameter]] = {}
    for row in rows:
        if row.free >= 0:
            shared.setdefault(row.free, []).append(row)
    changed = True
    while changed:  # what is tied may tie more
        changed = False
        for row in fixed:
            changed |= ties.vanish(ties.factor(row))
        for same in shared.values():
            for row in same[1:]:
                changed |= ties.vanish(_add(ties.factor(row), ties.factor(same[0]), -1))
        if alike:
            for own in items.values():
                for name in own[1:]:
                    changed |= ties.vanish(_add(ties.form(name), ties.form(own[0]), -1))
    members: dict[str, list[float]] = {}
    for name, value in logs.items():
        members.setdefault(ties.find(name), []).append(value)
    exponent = {root: float(np.round(np.mean(values))) for root, values in members.items()}

    def scale(name: str) -> float:
        return float(sum(c * exponent.get(root, 0.0) for root, c in ties.form(name).items()))

    return {name: scale(name) for name in dict.fromkeys(n for row in rows for n in (row.lhs, row.rhs) if n)}


def shifts_of(
    model: TwoLevelModel, own: Mapping[str, frozenset[str]], wanted: Mapping[str, float], still_too: Iterable[str] = ()
) -> dict[str, float]:
    """The shift of every observed variable: as wanted where the model stays the same model, otherwise 0.

    Parameters
    ----------
    own : dict
        By level, variables with an intercept of their own, which takes up shifts.
    wanted : dict
        Shifts by variable; 0 for those that are not named.
    still_too : iterable of str
        Variables that must not be shifted for another reason.
    """
    held: set[str] = set()
    seen: set[tuple[str, str]] = set()

    def still(level: str, name: str) -> None:
        """Hold whatever would shift a level's part of a variable."""
        if (level, name) in seen:
            return
        seen.add((level, name))
        if name in own[level]:
            held.add(name)
            if level == "between" and name in model.both:
                still("within", name)
            return
        for parent in _parents(model, level, name):
            still(level, parent)

    for level in ("within", "between"):
        for name in model.observed(level):
            home = "between" if name in model.observed("between") else "within"
            if level == home and name not in own[home]:
                held.add(name)
                if name in model.both:
                    still("within", name)
                still(home, name)
    held |= set(still_too)
    for slope in model.slopes:  # their deviation from what a cluster shares has no mean
        if slope.predictor in model.both:
            still("within", slope.predictor)
        if slope.name not in own["between"]:
            still("between", slope.name)
    return {name: 0.0 if name in held else wanted.get(name, 0.0) for name in model.variables}


def _parents(model: TwoLevelModel, level: str, name: str) -> Iterable[str]:
    """Variables with a path to another that is not fixed at 0."""
    for row in model.table.at(level):
        if row.free < 0 and row.value == 0.0:
            continue
        if row.op == "~" and row.lhs == name:
            yield row.rhs
        elif row.op == "=~" and row.rhs == name:
            yield row.lhs


def tied_names(model: TwoLevelModel) -> frozenset[str]:
    """Labels in constraints and inequalities."""
    table = model.table
    equations = {name for one in table.constraints for name in one.names}
    return frozenset(equations | {name for one in table.inequalities for name in one.names})


def own_intercepts(model: TwoLevelModel) -> dict[str, frozenset[str]]:
    """By level, variables whose intercept is free and nobody else's: without another row, a start or a constraint."""
    used = [row.free for row in model.table.rows if row.free >= 0]
    tied = tied_names(model)
    return {
        level: frozenset(
            row.lhs
            for row in model.table.at(level)
            if row.op == "~1"
            and row.free >= 0
            and used.count(row.free) == 1
            and np.isnan(row.start)
            and row.lower == -np.inf
            and row.upper == np.inf
            and model.names[row.free] not in tied
        )
        for level in ("within", "between")
    }
