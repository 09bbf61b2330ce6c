"""Solving one model on R data sets: plainly, with parameters held or tied, within bounds, under inequalities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from simstudy.estimation.boundary import Boundary, Round, active_set
from simstudy.estimation.engine import Engine
from simstudy.estimation.fit_measures import Solved
from simstudy.estimation.optimum import Box
from simstudy.estimation.reduction import Reduction, reduced_engine
from simstudy.estimation.result import Status
from simstudy.linalg.stacked import FloatArray, IntArray, columns
from simstudy.model.constraints import ConstraintSet
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

Expander = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Holding:
    """Parameters that are not free: moments of exogenous variables (``fixed_x``), and those tied by constraints.

    Attributes
    ----------
    held : int array
        Moments of exogenous observed variables.
    exogenous : tuple of (level, lhs, rhs, index)
        What each of them is; rhs is empty for a mean.
    constraints : ConstraintSet
    boundary : Boundary
        Bounds and inequalities of parameters that are not held.
    """

    held: IntArray
    exogenous: tuple[tuple[str, str, str, int], ...]
    constraints: ConstraintSet
    boundary: Boundary

    @classmethod
    def of(cls, model: TwoLevelModel, fixed: Mapping[str, frozenset[str]], *, variances: bool = False) -> Holding:
        """Read a model's constraints and bounds, and the moments of each level's fixed x (`exogenous_variables`).

        With ``variances`` no variance may be negative.
        """
        found: list[tuple[str, str, str, int]] = []
        for level, x in fixed.items():
            found += [
                (level, row.lhs, row.rhs, row.free)
                for row in model.table.at(level)
                if row.free >= 0 and row.op in ("~~", "~1") and row.lhs in x and row.rhs in x | {""}
            ]
        table = model.table
        held = np.array(sorted({index for *_, index in found}), dtype=np.int64)
        constraints = ConstraintSet(table.names, table.constants, table.constraints)
        lower, upper = table.lower, table.upper
        if variances:
            lower[table.variance_indices] = np.maximum(lower[table.variance_indices], 0.0)
        lower[held], upper[held] = -np.inf, np.inf
        return cls(held, tuple(found), constraints, Boundary(constraints, table.inequalities, lower, upper))

    def reduction(self, constraints: ConstraintSet | None = None) -> Reduction:
        """The free parameters, under the model's constraints or others."""
        constraints = constraints or self.constraints
        out = np.concatenate([self.held, constraints.dependent])
        free = np.setdiff1d(np.arange(len(constraints.names)), out).astype(np.int64)
        return Reduction(free, constraints)

    def box(self, free: IntArray) -> Box | None:
        """Bounds of some parameters, None where they have none."""
        lower, upper = self.boundary.lower[free], self.boundary.upper[free]
        return Box(lower, upper) if np.isfinite(lower).any() or np.isfinite(upper).any() else None

    @property
    def plain(self) -> bool:
        """Whether every parameter is free."""
        return not len(self.held) and not self.constraints.constraints


def hold(solved: Solved, holding: Holding) -> Solved:
    """A fit of all parameters seen as one of those that are not held, at the same values."""
    reduction = holding.reduction()
    best = replace(solved.best, params=columns(solved.best.params, reduction.free))
    engine = reduced_engine(solved.engine, reduction, solved.best.params)
    return Solved(solved.structure, engine, best, len(reduction.free), solved.best.params)


def exogenous_moments(holding: Holding, structure: TwoLevelStructure, saturated: Solved | None) -> FloatArray:
    """Anchor (R, q): the unrestricted moments of exogenous variables at their places, 0 elsewhere."""
    assert saturated is not None
    mu, within, between = saturated.structure.moments(saturated.best.params)
    anchor = np.zeros((len(mu), structure.q))
    at = {name: i for i, name in enumerate(structure.model.variables)}
    for level, lhs, rhs, index in holding.exogenous:
        sigma = within if level == "within" else between
        anchor[:, index] = mu[:, at[lhs]] if not rhs else sigma[:, at[lhs], at[rhs]]
    return anchor


def solve_model(
    structure: TwoLevelStructure,
    engine: Engine,
    holding: Holding,
    anchor: FloatArray | None,
    starts: tuple[FloatArray, ...],
) -> tuple[Solved, Expander]:
    """Fit R data sets; also returns how a covariance of the free parameters becomes one of all (R, q, q).

    The number of parameters does not depend on which bounds and inequalities hold with equality, as in lavaan.
    """
    if holding.boundary.general:
        return _under_inequalities(structure, engine, holding, anchor, starts)
    if holding.plain:
        box = holding.box(np.arange(structure.q))
        best = engine.solve(*starts, box=box)
        return Solved(structure, engine, best, structure.q), lambda cov: cov
    n = engine.n_replicates
    anchor = np.zeros((n, structure.q)) if anchor is None else anchor
    return _solve_reduced(structure, engine, holding, holding.reduction(), anchor, starts)


def _solve_reduced(
    structure: TwoLevelStructure,
    engine: Engine,
    holding: Holding,
    reduction: Reduction,
    anchor: FloatArray,
    starts: tuple[FloatArray, ...],
) -> tuple[Solved, Expander]:
    reduced = reduced_engine(engine, reduction, anchor)
    best = reduced.solve(*(columns(start, reduction.free) for start in starts), box=holding.box(reduction.free))
    full = reduction.expand(best.params, anchor)
    solved = Solved(structure, reduced, best, len(holding.reduction().free), full)
    return solved, lambda cov: reduction.covariance(full, cov)


def _under_inequalities(
    structure: TwoLevelStructure,
    engine: Engine,
    holding: Holding,
    anchor: FloatArray | None,
    starts: tuple[FloatArray, ...],
) -> tuple[Solved, Expander]:
    """One data set (R = 1) under inequalities; a batch goes through one by one, in `PreparedMsem`."""
    assert engine.n_replicates == 1, "inequalities are imposed on one data set at a time"
    given = np.zeros((1, structure.q)) if anchor is None else anchor
    last: list[tuple[Solved, Expander]] = []

    def refit(constraints: ConstraintSet, start: FloatArray | None) -> Round:
        reduction = holding.reduction(constraints)
        begin = starts if start is None else (start[None],)
        solved, expand = _solve_reduced(structure, engine, holding, reduction, given, begin)
        last[:] = [(solved, expand)]
        there = engine.likelihood.evaluate(solved.params, engine.data)
        still = np.zeros(structure.q, dtype=bool)
        still[holding.held] = True
        if solved.best.held is not None:
            still[reduction.free[solved.best.held[0]]] = True
        return Round(solved.params[0], there.score[0], there.information[0], still)

    active, settled = active_set(holding.boundary, refit)
    solved, expand = last[0]
    if not settled:  # the rounds went in a circle, or met no fit: no verdict
        status = np.where(solved.best.status == int(Status.OK), int(Status.MAX_ITER), solved.best.status)
        solved = replace(solved, best=replace(solved.best, status=status))
    return replace(solved, tight=np.array([bool(active)])), expand
