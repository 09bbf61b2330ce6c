"""Working units: badly scaled data and their model in units that double precision bears, and the way back.

A change of units y* = (y - c) / s, with s a power of two for every variable, latent ones too, maps one model onto
another: a path a of j on i becomes a s_j / s_i, a covariance t becomes t / (s_i s_j), an intercept m becomes m / s_i.
Fixed values and starts change alike, so that no constraint is lost, and what must stay the same number (parameters with
one label, loadings fixed at 1, the variables of a factor whose items a method averages) ties scales: see `scales_of`.

Shifts pass through the model. With A the paths of a level, delta the shift of its variables and m* the intercepts in
working units, m = m* + (I - A) delta. Where a variable has an intercept of its own, delta is its c (less what its
within part shifted, at the between level) and the intercept takes up the difference; elsewhere the row of
(I - A) delta must be 0, which determines delta, and what is observed without an intercept of its own is not shifted,
nor is what leads to it: see `shifts_of`. Predictors of random slopes are not shifted: where a method takes them as
observed, the covariance matrix of intercepts and slopes would change with them.

Log-likelihoods are densities: they differ by sum_v n_v log s_v, with n_v the number of values of v whose density the
method's likelihood is. They are linear in log s, so a second fit, in units s^(1 - t), tells the difference without
knowledge of the method: `restore_likelihoods`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from simstudy.analysis.unit_rules import own_intercepts, scales_of, shifts_of
from simstudy.data.sample import Sample
from simstudy.estimation.result import FitResult
from simstudy.linalg.stacked import BoolArray, FloatArray
from simstudy.model.constraints import Constraint
from simstudy.model.expressions import Expression, Node
from simstudy.model.parameters import LEVEL_NAMES, Parameter
from simstudy.model.representation import LevelMatrices, level_matrices
from simstudy.model.twolevel import TwoLevelModel

SCALE, SHIFT = 2.0**10, 2.0**10
"""Standard deviations within 1 / SCALE and SCALE, and means within SHIFT of them, are left as they are: the information
matrix of intercepts and paths has a condition number of about the square, and 10 digits remain."""
EASE = 5.0
"""Doublings of the units by which the second fit differs at most: numbers as moderate as those of the first."""


@dataclass(frozen=True)
class Units:
    """A change of units.

    Attributes
    ----------
    original : TwoLevelModel
    exponents : dict
        log2 s of every variable, latent ones and random slopes included.
    shifts : dict
        c of every observed variable.
    alike : bool
        Whether loadings that are not reported are 1 (methods that average items).
    """

    original: TwoLevelModel
    exponents: Mapping[str, float]
    shifts: Mapping[str, float]
    alike: bool = False

    @classmethod
    def of(cls, model: TwoLevelModel, sample: Sample, *, alike: bool = False) -> Units | None:
        """Units in which variables have standard deviations and means of moderate size; None where they do already."""
        mean, sd = location_and_spread(model, sample)
        wide = [name for name in sd if not 1.0 / SCALE <= sd[name] <= SCALE]
        far = {name: mean[name] for name in sd if abs(mean[name]) > SHIFT * sd[name]}
        if not wide and not far:
            return None
        logs = {name: float(np.log2(sd[name])) if wide else 0.0 for name in sd}
        return cls(model, scales_of(model, logs, alike=alike), shifts_of(model, own_intercepts(model), far), alike)

    def eased(self, share: float) -> Units:
        """Units s^(1 - share) with the same shifts."""
        return replace(self, exponents={name: (1.0 - share) * e for name, e in self.exponents.items()})

    # ------------------------------------------------------------------ there

    @cached_property
    def factors(self) -> FloatArray:
        """What multiplies each free parameter on the way to working units (q,)."""
        found = np.ones(len(self.original.names))
        for row in self.original.table.rows:
            if row.free >= 0:
                found[row.free] = self._factor(row)
        return found

    def _factor(self, row: Parameter) -> float:
        first, second = self.exponents[row.lhs], self.exponents.get(row.rhs, 0.0)
        power = {"~": second - first, "=~": first - second, "~~": -first - second, "~1": -first}[row.op]
        return float(2.0**power)

    @cached_property
    def model(self) -> TwoLevelModel:
        """The model in working units; ``:=`` parameters are computed from the user's numbers, and are not in it."""
        rows = tuple(
            replace(row, value=row.value * self._factor(row), start=row.start * self._factor(row))
            for row in self.original.table.rows
        )
        constraints = tuple(self._constraint(c) for c in self.original.table.constraints)
        return replace(
            self.original, table=replace(self.original.table, rows=rows, constraints=constraints, defined=())
        )

    def _constraint(self, constraint: Constraint) -> Constraint:
        """The same equation, written in parameters of the working model."""
        back = {name: 1.0 / f for name, f in zip(self.original.names, self.factors, strict=True)}

        def walk(node: Node) -> Node:
            if node.kind == "name" and node.name in back:
                return Node("*", children=(Node("number", value=back[node.name]), node))
            return replace(node, children=tuple(walk(child) for child in node.children))

        left, right = (Expression(side.text, walk(side.root)) for side in (constraint.left, constraint.right))
        return replace(constraint, left=left, right=right)

    def sample(self, sample: Sample) -> Sample:
        """The data in working units."""

        def turn(values: FloatArray, names: tuple[str, ...]) -> FloatArray:
            shift = np.array([self.shifts[name] for name in names])
            scale = np.array([2.0 ** self.exponents[name] for name in names])
            return (values - shift) / scale

        return replace(sample, rows=turn(sample.rows, sample.level1), clusters=turn(sample.clusters, sample.level2))

    # ------------------------------------------------------------------ and back

    def increments(self, params: FloatArray) -> FloatArray:
        """(I - A) delta at the place of every intercept that takes up a shift, 0 elsewhere (q,), in working units."""
        found = np.zeros_like(params)
        below: dict[str, Any] = {}
        for level in LEVEL_NAMES:
            maps, takes = self._levels[level]
            paths = maps.base_paths.astype(params.dtype)
            paths[maps.paths.row, maps.paths.column] = params[maps.paths.free]
            delta = np.array(
                [self.shifts.get(n, 0.0) / 2.0 ** self.exponents[n] - below.get(n, 0.0) for n in maps.variables],
                dtype=params.dtype,
            )
            rest = ~takes
            inner = np.eye(int(rest.sum())) - paths[np.ix_(rest, rest)]
            delta[rest] = np.linalg.solve(inner, paths[np.ix_(rest, takes)] @ delta[takes])
            change = delta - paths @ delta
            own = takes[maps.means.row]
            found[maps.means.free[own]] = change[maps.means.row[own]]
            if level == "within":
                below = {n: d for n, d in zip(maps.variables, delta, strict=True) if n in self.original.both}
        return found

    @cached_property
    def _levels(self) -> dict[str, tuple[LevelMatrices, BoolArray]]:
        """Index maps of each level, and which of its variables have an intercept of their own."""
        found, own = {}, own_intercepts(self.original)
        for level in LEVEL_NAMES:
            maps = level_matrices(self.model, level)
            found[level] = (maps, np.array([name in own[level] for name in maps.variables], dtype=bool))
        return found

    def _slopes_of_increments(self, params: FloatArray) -> FloatArray:
        """Derivatives (q, q) of `increments`, exact: they are analytic, so the step may be imaginary and tiny."""
        found = np.zeros((len(params), len(params)))
        if not self.shifted:
            return found
        for k in np.unique(np.concatenate([maps.paths.free for maps, _ in self._levels.values()])):
            step = params.astype(np.complex128)
            step[k] += 1e-30j
            found[:, k] = self.increments(step).imag / 1e-30
        return found

    @property
    def shifted(self) -> bool:
        """Whether any variable is shifted."""
        return any(self.shifts.values())

    @cached_property
    def _depends(self) -> BoolArray:
        """Whether the intercept i takes up a shift that the path k passes on (q, q), at paths in general position."""
        generic = np.linspace(0.31, 0.73, len(self.original.names))
        return np.asarray(np.abs(self._slopes_of_increments(generic)) > 0.0)

    def outward(self, result: FitResult) -> FitResult:
        """Results in the user's units; log-likelihoods stay those of the working units.

        An intercept that takes up what a path passed on has no number where the path has none, and no interval of
        the method's own.
        """
        back = 1.0 / self.factors
        q = len(back)
        estimate = result.estimate[:, :q] * back
        moved = self._depends.any(axis=1)
        covariance = {kind: cov * (back[:, None] * back) for kind, cov in result.covariance.items()}
        se = {kind: error * back for kind, error in result.se.items()}
        intervals = {
            kind: (np.where(moved, np.nan, low * back), np.where(moved, np.nan, high * back))
            for kind, (low, high) in result.intervals.items()
        }
        if self.shifted:
            for r, params in enumerate(result.estimate[:, :q]):
                silent = np.isnan(params) & ~self._assumed
                full = np.where(np.isnan(params), np.where(self._assumed, 1.0, 0.0), params)
                added = np.where((self._depends & silent).any(axis=1), np.nan, self.increments(full)) * back
                estimate[r] += added
                for low, high in intervals.values():
                    low[r] += added
                    high[r] += added
                jacobian = (np.eye(q) + self._slopes_of_increments(full)) * back[:, None]
                for kind, cov in result.covariance.items():
                    covariance[kind][r] = self._turn(jacobian, cov[r])
                    own = np.sqrt(np.diagonal(covariance[kind][r]))
                    se[kind][r] = np.where(moved, own, se[kind][r])
        return replace(result, estimate=estimate, covariance=covariance, se=se, intervals=intervals)

    @cached_property
    def _assumed(self) -> BoolArray:
        """Loadings that a method takes to be 1 and does not report (q,)."""
        found = np.zeros(len(self.original.names), dtype=bool)
        if self.alike:
            found[[row.free for row in self.original.table.rows if row.op == "=~" and row.free >= 0]] = True
        return found

    def _turn(self, jacobian: FloatArray, cov: FloatArray) -> FloatArray:
        """J C J' where C may have rows that do not exist: what uses them does not exist either."""
        gone = np.isnan(np.diagonal(cov))
        gone = gone | (self._depends & (gone & ~self._assumed)).any(axis=1)
        turned = jacobian @ np.nan_to_num(cov) @ jacobian.T
        turned[gone] = np.nan
        turned[:, gone] = np.nan
        return turned


def location_and_spread(model: TwoLevelModel, sample: Sample) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation of every observed variable, of rows or of clusters."""
    mean, sd = {}, {}
    for names, values in ((sample.level1, sample.rows[0]), (sample.level2, sample.clusters[0])):
        for k, name in enumerate(names):
            column = values[:, k]
            column = column[~np.isnan(column)]
            center = float(column[0] + (column - column[0]).mean())
            mean[name], sd[name] = center, float(np.sqrt(((column - center) ** 2).mean())) or 1.0
    return mean, sd


def restore_likelihoods(result: FitResult, units: Units, refit: Callable[[Units], FitResult]) -> FitResult:
    """Log-likelihoods, and measures made of them, in the user's units; the rest of the result is left alone.

    Parameters
    ----------
    result : FitResult
        Fitted in working units.
    refit : callable
        Fits again in other units.
    """
    largest = max(abs(e) for e in units.exponents.values())
    if not largest or not result.converged.any():
        return result
    share = min(1.0, EASE / largest)
    other = refit(units.eased(share))

    def extrapolated(here: FloatArray, there: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore"):
            change = there - here
            return np.where(np.abs(change) > 1e-6 * np.maximum(1.0, np.abs(here)), here + change / share, here)

    return replace(
        result,
        loglik=extrapolated(result.loglik, other.loglik),
        measures={
            name: extrapolated(value, other.measures[name]) if name in other.measures else value
            for name, value in result.measures.items()
        },
    )
