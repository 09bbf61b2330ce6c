"""Single-level models that users of simpler methods fit in place of a two-level one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simstudy.linalg.stacked import IntArray
from simstudy.model.implied import LevelStructure
from simstudy.model.parameters import Parameter, ParameterTable
from simstudy.model.representation import level_matrices
from simstudy.model.twolevel import TwoLevelModel


@dataclass(frozen=True)
class SingleLevelModel:
    """A single-level path diagram and what its parameters stand for in the two-level model.

    Attributes
    ----------
    level : LevelStructure
        Its matrices, over ``variables``.
    variables : tuple of str
        Observed variables (p).
    n_free : int
        Its number of free parameters.
    index : (q,)
        For every free parameter of the two-level model, the single-level one that a user would read off; -1 for none.
    variances : int array
        Its parameters that are variances.
    """

    level: LevelStructure
    variables: tuple[str, ...]
    n_free: int
    index: IntArray
    variances: IntArray


def merged_model(model: TwoLevelModel) -> SingleLevelModel | str:
    """The union of both levels' path diagrams, as fitted to rows when clusters are ignored.

    A path or variance that stands at both levels is one parameter. Where a path joins two variables, a covariance of
    the same two at the other level is left out. Returns the reason as text where there is no such model.
    """
    if model.latents("within") != model.latents("between"):
        return "the latent variables differ between the levels, so that there is no single-level model of the rows"
    by_key: dict[tuple[str, str, str], list[Parameter]] = {}
    for row in model.table.rows:
        by_key.setdefault(row.key, []).append(row)
    joined = {frozenset((lhs, rhs)) for lhs, op, rhs in by_key if op in ("~", "=~")}
    parent = list(range(len(model.names)))

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    kept: list[Parameter] = []
    for key, rows in by_key.items():
        if key[1] == "~~" and key[0] != key[2] and frozenset((key[0], key[2])) in joined:
            continue
        free = [row.free for row in rows if row.free >= 0]
        if not free and len({row.value for row in rows}) > 1:
            return f"'{rows[0].lhs} {rows[0].op} {rows[0].rhs}' is fixed at different values at the two levels"
        for index in free[1:]:
            parent[root(index)] = root(free[0])
        first = rows[0] if not free else next(row for row in rows if row.free >= 0)
        kept.append(replace(first, level="between"))
    return _build(model, kept, [root(i) for i in range(len(parent))])


def between_model(model: TwoLevelModel) -> SingleLevelModel:
    """The between block on its own, as fitted to cluster means."""
    return _build(model, list(model.table.at("between")), list(range(len(model.names))))


def within_model(model: TwoLevelModel) -> SingleLevelModel:
    """The covariance structure of the within block on its own, as fitted to deviations from cluster means."""
    rows = [replace(row, level="between") for row in model.table.at("within") if row.op != "~1"]
    return _build(model, rows, list(range(len(model.names))))


def _build(model: TwoLevelModel, rows: list[Parameter], roots: list[int]) -> SingleLevelModel:
    present = sorted({roots[row.free] for row in rows if row.free >= 0})
    place = {old: new for new, old in enumerate(present)}
    rows = [replace(row, free=place[roots[row.free]]) if row.free >= 0 else row for row in rows]
    table = ParameterTable(tuple(rows), tuple(model.names[i] for i in present), ("between",) * len(present))
    names = [name for name in model.variables if any(name in (row.lhs, row.rhs) for row in rows)]
    level = LevelStructure(level_matrices(replace(model, table=table), "between", names))
    index = np.array([place.get(r, -1) for r in roots], dtype=np.int64)
    return SingleLevelModel(level, tuple(names), len(present), index, table.variance_indices)
