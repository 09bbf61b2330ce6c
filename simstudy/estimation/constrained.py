"""Solving one model on R data sets: plainly, with parameters held or tied, or with variances bounded at zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from simstudy.estimation.engine import Engine
from simstudy.estimation.fit_measures import Solved
from simstudy.estimation.reduction import Reduction, reduced_engine
from simstudy.estimation.result import Status
from simstudy.linalg.stacked import FloatArray, IntArray, columns
from simstudy.model.constraints import ConstraintSet
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

MAX_BOUND_ROUNDS = 10
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
    variances : int array
        Parameters that are variances and may be bounded.
    """

    held: IntArray
    exogenous: tuple[tuple[str, str, str, int], ...]
    constraints: ConstraintSet
    variances: IntArray

    @classmethod
    def of(cls, model: TwoLevelModel, fixed: Mapping[str, frozenset[str]]) -> Holding:
        """Read a model's constraints, and the moments of each level's fixed x (`exogenous_variables`)."""
        found: list[tuple[str, str, str, int]] = []
        for level, x in fixed.items():
            found += [
                (level, row.lhs, row.rhs, row.free)
                for row in model.table.at(level)
                if row.free >= 0 and row.op in ("~~", "~1") and row.lhs in x and row.rhs in x | {""}
            ]
        table = model.table
        return cls(
            np.array(sorted({index for *_, index in found}), dtype=np.int64),
            tuple(found),
            ConstraintSet(table.names, table.constants, table.constraints),
            table.variance_indices,
        )

    def reduction(self, also: IntArray | None = None) -> Reduction:
        """The free parameters, those in ``also`` held too."""
        out = np.concatenate([self.held, self.constraints.dependent, np.zeros(0, np.int64) if also is None else also])
        free = np.setdiff1d(np.arange(len(self.constraints.names)), out).astype(np.int64)
        return Reduction(free, self.constraints)

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
    *,
    bounds: bool,
) -> tuple[Solved, Expander]:
    """Fit R data sets; also returns how a covariance of the free parameters becomes one of all (R, q, q)."""
    if holding.plain and not bounds:
        best = engine.solve(*starts)
        return Solved(structure, engine, best, structure.q), lambda cov: cov
    n = len(engine.starts[0])
    anchor = np.zeros((n, structure.q)) if anchor is None else anchor
    solved, expand = _solve_reduced(structure, engine, holding.reduction(), anchor, starts)
    if not bounds:
        return solved, expand
    if not (solved.params[:, holding.variances] < 0).any():
        return solved, expand
    return _bounded(structure, engine, holding, anchor, solved, expand)


def _solve_reduced(
    structure: TwoLevelStructure,
    engine: Engine,
    reduction: Reduction,
    anchor: FloatArray,
    starts: tuple[FloatArray, ...],
) -> tuple[Solved, Expander]:
    reduced = reduced_engine(engine, reduction, anchor)
    best = reduced.solve(*(columns(start, reduction.free) for start in starts))
    full = reduction.expand(best.params, anchor)
    solved = Solved(structure, reduced, best, len(reduction.free), full)
    return solved, lambda cov: reduction.covariance(full, cov)


def _bounded(
    structure: TwoLevelStructure,
    engine: Engine,
    holding: Holding,
    anchor: FloatArray,
    solved: Solved,
    expand: Expander,
) -> tuple[Solved, Expander]:
    """Active-set rounds: hold negative variances at 0, refit, release those whose score points inwards.

    Only single data sets (R = 1) are bounded; a batch goes through one by one, in `PreparedMsem`.
    """
    assert len(solved.params) == 1, "bounds are imposed on one data set at a time"
    active: set[int] = set()
    settled = False
    seen: set[frozenset[int]] = set()
    for _ in range(MAX_BOUND_ROUNDS):
        params = solved.params[0]
        negative = {int(i) for i in holding.variances if params[i] < 0 and int(i) not in active}
        score = engine.likelihood.evaluate(solved.params, engine.data).score[0]
        inwards = {i for i in active if score[i] > 1e-6}
        if not negative and not inwards:
            settled = True
            break
        active = (active | negative) - (inwards if not negative else set())
        if frozenset(active) in seen:
            break
        seen.add(frozenset(active))
        index = np.array(sorted(active), dtype=np.int64)
        held = anchor.copy()
        held[:, index] = 0.0
        start = solved.params.copy()
        start[:, index] = 0.0
        solved, expand = _solve_reduced(structure, engine, holding.reduction(index), held, (start,))
    if not settled:  # the rounds went in a circle: no verdict
        status = np.where(solved.best.status == int(Status.OK), int(Status.MAX_ITER), solved.best.status)
        solved = replace(solved, best=replace(solved.best, status=status))
    return solved, expand
