"""Rescaled units: badly scaled data and their model in units that double precision bears, and the way back.

A change of units y* = (y - c) / s, with s a power of two for every variable, latent ones too, maps one model onto
another: a path a of j on i becomes a s_j / s_i, a covariance t becomes t / (s_i s_j), an intercept m becomes m / s_i.
Fixed values and starts change alike, so that no constraint is lost, and what must stay the same number (parameters with
one label, loadings fixed at 1, the variables of a factor whose items a method averages) ties scales: see `scales_of`.

Shifts pass through the model. With A the paths of a level, delta the shift of its variables and m* the intercepts in
rescaled units, m = m* + (I - A) delta. Where a variable has an intercept of its own, delta is its c (less what its
within part shifted, at the between level) and the intercept takes up the difference; elsewhere the row of
(I - A) delta must be 0, which determines delta, and what is observed without an intercept of its own is not shifted,
nor is what leads to it: see `shifts_of`. A path that a method is silent about is none of its model: 0.

Where the slope s_j of an observed predictor varies, s_j (x* + c) adds c s_j to the intercept: the variables of the
between level are L eta*, with L = I - c e_y e_s' in the way back, so that A = L A* L^-1, Psi = L Psi* L', m = L m*.
That is the same model only if every number it changes is a free parameter; if not, x is not shifted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from simstudy.analysis.unit_rules import own_intercepts, scales_of, shifts_of, tied_names
from simstudy.data.sample import Sample
from simstudy.estimation.result import FitResult
from simstudy.linalg.stacked import BoolArray, FloatArray
from simstudy.model.expressions import Expression, Node
from simstudy.model.parameters import LEVEL_NAMES, Parameter
from simstudy.model.representation import LevelMatrices, fill, level_matrices
from simstudy.model.slopes import RandomSlope
from simstudy.model.twolevel import TwoLevelModel

AS_OBSERVED, AS_DEVIATION = ("observed", "uncentred", "contextual"), ("latent", "centred")
"""Meanings of random slopes: the predictor as it is, and its deviation from what its cluster shares."""
EASE, STEP = 5.0, 8.0
"""Doublings of the units, and units of means, by which the second fit differs: as moderate as the first."""


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
    meanings : dict
        What each random slope multiplies (`SlopeFact.meaning`).
    alike : bool
        Whether loadings that are not reported are 1 (methods that average items).
    """

    original: TwoLevelModel
    exponents: Mapping[str, float]
    shifts: Mapping[str, float]
    meanings: Mapping[str, str]
    alike: bool = False

    @classmethod
    def of(
        cls,
        model: TwoLevelModel,
        scale: Mapping[str, float],
        shift: Mapping[str, float],
        meanings: Mapping[str, str],
        *,
        alike: bool = False,
    ) -> Units:
        """Units as near to those asked for as the model allows.

        Parameters
        ----------
        scale, shift : dict
            log2 of the scale of every observed variable, and shifts (0 for those not named).
        meanings : dict
            What each random slope multiplies (`SlopeFact.meaning`).
        """
        exponents, own = scales_of(model, scale, alike=alike), own_intercepts(model)
        known = (*AS_OBSERVED, *AS_DEVIATION, "fixed")
        still = {slope.predictor for slope in model.slopes if meanings[slope.name] not in known}
        shifts = shifts_of(model, own, shift, still)
        while True:
            found = cls(model, exponents, shifts, meanings, alike)
            bad = found._not_closed()
            if not bad:
                return found
            still |= bad
            shifts = shifts_of(model, own, shift, still)

    def nearby(self) -> tuple[Units, float]:
        """Units to go on to from the rescaled ones, and the share of the change of scales that they take back."""
        largest = max(abs(e) for e in self.exponents.values())
        share = min(1.0, EASE / largest) if largest else 0.0
        exponents = {name: -share * e for name, e in self.exponents.items()}
        shifts = {name: -np.sign(c) * STEP for name, c in self.shifts.items()}
        return Units(self.model, exponents, shifts, self.meanings, self.alike), share

    @cached_property
    def turned(self) -> tuple[RandomSlope, ...]:
        """Slopes of predictors that the method takes as observed."""
        return tuple(slope for slope in self.original.slopes if self.meanings[slope.name] in AS_OBSERVED)

    # ------------------------------------------------------------------ there

    @cached_property
    def factors(self) -> FloatArray:
        """What multiplies each free parameter on the way to rescaled units (q,)."""
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
        """The model in rescaled units; ``:=`` parameters are computed from the user's numbers, and are not in it."""
        rows = tuple(
            replace(
                row,
                value=row.value * self._factor(row),
                start=row.start * self._factor(row),
                lower=row.lower * self._factor(row),
                upper=row.upper * self._factor(row),
            )
            for row in self.original.table.rows
        )
        table = self.original.table
        constraints = tuple(
            replace(one, left=self._rewritten(one.left), right=self._rewritten(one.right)) for one in table.constraints
        )
        inequalities = tuple(
            replace(one, larger=self._rewritten(one.larger), smaller=self._rewritten(one.smaller))
            for one in table.inequalities
        )
        return replace(
            self.original,
            table=replace(table, rows=rows, constraints=constraints, inequalities=inequalities, defined=()),
        )

    def _rewritten(self, side: Expression) -> Expression:
        """A side of an equation or inequality, written in parameters of the rescaled model."""
        back = {name: 1.0 / f for name, f in zip(self.original.names, self.factors, strict=True)}

        def walk(node: Node) -> Node:
            if node.kind == "name" and node.name in back:
                return Node("*", children=(Node("number", value=back[node.name]), node))
            return replace(node, children=tuple(walk(child) for child in node.children))

        return Expression(side.text, walk(side.root))

    def sample(self, sample: Sample) -> Sample:
        """The data in rescaled units."""

        def turn(values: FloatArray, names: tuple[str, ...]) -> FloatArray:
            found: FloatArray = (values - np.array([self.shifts[name] for name in names])) / self.spread(names)
            return found

        return replace(sample, rows=turn(sample.rows, sample.level1), clusters=turn(sample.clusters, sample.level2))

    # ------------------------------------------------------------------ and back

    def moments(self, mean: FloatArray, within: FloatArray, between: FloatArray) -> tuple[FloatArray, ...]:
        """Means (..., p), within (..., p1, p1) and between covariances (..., p, p) in the user's units."""
        names = self.original.variables
        scale = self.spread(names)
        shift = np.array([self.shifts[name] for name in names])
        square = scale[:, None] * scale
        p1 = len(self.original.level1)
        return mean * scale + shift, within * square[:p1, :p1], between * square

    def back(self, params: FloatArray) -> FloatArray:
        """Parameters (q,) in the user's units from those of the rescaled model, which may be complex."""
        paths, spread, means = self._turned_between(params)
        found = params.copy()
        between = self._levels["between"][0]
        if self.turned:
            for entries, values in ((between.paths, paths), (between.covariances, spread)):
                found[entries.free] = values[entries.row, entries.column]
            found[between.means.free] = means[between.means.row]
        for level, (delta, passing) in self._passed_on(params).items():
            maps, takes = self._levels[level]
            change = delta - passing @ delta
            own = takes[maps.means.row]
            found[maps.means.free[own]] += change[maps.means.row[own]]
        return found / self.factors

    def spread(self, names: Sequence[str]) -> FloatArray:
        """Scales of variables (k,)."""
        return np.array([2.0 ** self.exponents[name] for name in names])

    def deltas_of(self, params: FloatArray, names: Sequence[str]) -> FloatArray:
        """Shift of between variables (k,), in rescaled scales."""
        delta, order = self._passed_on(params)["between"][0], self._levels["between"][0].variables
        return delta[[order.index(name) for name in names]]

    def _passed_on(self, params: FloatArray) -> dict[str, tuple[FloatArray, FloatArray]]:
        """By level, shifts delta (v,), and the paths (v, v) that pass them on."""
        paths, _, means = self._turned_between(params)
        matrices = {"within": self._within_paths(params), "between": self._between_paths(paths, means)}
        found: dict[str, tuple[FloatArray, FloatArray]] = {}
        below: dict[str, Any] = {}
        for level, a in matrices.items():
            maps, takes = self._levels[level]
            delta = np.array(
                [self.shifts.get(n, 0.0) / 2.0 ** self.exponents[n] - below.get(n, 0.0) for n in maps.variables],
                dtype=params.dtype,
            )
            rest = ~takes
            inner = np.eye(int(rest.sum())) - a[np.ix_(rest, rest)]
            delta[rest] = np.linalg.solve(inner, a[np.ix_(rest, takes)] @ delta[takes])
            found[level] = delta, a
            below = {n: d for n, d in zip(maps.variables, delta, strict=True) if n in self.original.both}
        return found

    def _turned_between(self, params: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """A (v, v), Psi (v, v) and m (v,) of the between level with L applied."""
        filled, turn = fill(self._levels["between"][0], params), self._turn(params.dtype)
        inverse = 2.0 * np.eye(len(turn)) - turn  # slopes are not intercepts, so that (L - I)^2 = 0
        return turn @ filled.paths @ inverse, turn @ filled.covariances @ turn.T, turn @ filled.means

    def turn_of(self, names: Sequence[str]) -> FloatArray:
        """Map (k, k) of deviations of between variables in rescaled units to those in the user's: scales times L."""
        order = [self._levels["between"][0].variables.index(name) for name in names]
        found: FloatArray = self.spread(names)[:, None] * self._turn(np.float64)[np.ix_(order, order)]
        return found

    def _turn(self, dtype: Any) -> Any:
        """L (v, v) of the between level."""
        names = self._levels["between"][0].variables
        found = np.eye(len(names), dtype=dtype)
        for slope in self.turned:
            scaled = self.shifts[slope.predictor] / 2.0 ** self.exponents[slope.predictor]
            if scaled:
                found[names.index(slope.outcome), names.index(slope.name)] -= scaled
        return found

    def _within_paths(self, params: FloatArray) -> FloatArray:
        """Paths within, those included that stand for slopes which do not vary."""
        maps = self._levels["within"][0]
        found = fill(maps, params).paths
        for slope in self.original.slopes:
            mean = self.model.table.find("between", slope.name, "~1", "")
            if self.meanings[slope.name] == "fixed" and mean is not None:
                at = maps.variables.index(slope.outcome), maps.variables.index(slope.predictor)
                found[at] = params[mean.free] if mean.free >= 0 else mean.value
        return found

    def _between_paths(self, paths: FloatArray, means: FloatArray) -> FloatArray:
        """Paths between (v, v) that pass shifts on, given all of them and the intercepts.

        That of a slope's predictor holds, by the slope's meaning: what its cluster mean adds to the slope (observed);
        the mean slope and what the cluster mean adds (contextual); or nothing but the slope once more (uncentred).
        """
        names = self._levels["between"][0].variables
        found = paths.copy()
        for slope in self.turned:
            if slope.predictor in names:
                at = names.index(slope.outcome), names.index(slope.predictor)
                meaning = self.meanings[slope.name]
                found[at] = {
                    "observed": paths[at],
                    "contextual": paths[at] - means[names.index(slope.name)],
                    "uncentred": 0.0 * paths[at],
                }[meaning]
        return found

    def _not_closed(self) -> set[str]:
        """Predictors of random slopes whose shift would change a number that is no free parameter of its own."""
        names = self._levels["between"][0].variables
        shifted = [slope for slope in self.turned if self.shifts[slope.predictor]]
        outside = {slope.predictor for slope in shifted if slope.outcome not in names}
        if outside or not shifted:
            return outside
        maps, turn = self._levels["between"][0], self._turn(np.float64)
        params = self._generic
        start, filled = fill(maps, params), fill(maps, self.back(params) * self.factors)
        inverse = 2.0 * np.eye(len(turn)) - turn
        same = np.allclose(filled.paths, turn @ start.paths @ inverse, rtol=1e-9, atol=0.0)
        same = same and np.allclose(filled.covariances, turn @ start.covariances @ turn.T, rtol=1e-9, atol=0.0)
        moved = np.abs(self.back(params) * self.factors - params) > 0.0
        return set() if same and not (moved & ~self._single).any() else {slope.predictor for slope in shifted}

    @cached_property
    def _single(self) -> BoolArray:
        """Parameters that stand in one place, without a start and a constraint (q,)."""
        rows, table = self.original.table.rows, self.original.table
        count = np.bincount([row.free for row in rows if row.free >= 0], minlength=len(table.names))
        started = {row.free for row in rows if not np.isnan(row.start)}
        started |= {row.free for row in rows if row.lower > -np.inf or row.upper < np.inf}
        tied = tied_names(self.original)
        return np.array([count[i] == 1 and i not in started and n not in tied for i, n in enumerate(table.names)])

    @cached_property
    def _levels(self) -> dict[str, tuple[LevelMatrices, BoolArray]]:
        """Index maps of each level, and which of its variables have an intercept of their own."""
        found, own = {}, own_intercepts(self.original)
        for level in LEVEL_NAMES:
            maps = level_matrices(self.model, level)
            found[level] = (maps, np.array([name in own[level] for name in maps.variables], dtype=bool))
        return found

    @cached_property
    def _generic(self) -> FloatArray:
        """Parameters in general position (q,)."""
        return np.linspace(0.31, 0.73, len(self.original.names))

    def jacobian(self, params: FloatArray) -> FloatArray:
        """Derivatives (q, q) of `back`, exact: it is analytic, so the step may be imaginary and tiny."""
        if not any(self.shifts.values()):
            return np.diag(1.0 / self.factors)
        steps = params + 1e-30j * np.eye(len(params))
        return np.stack([self.back(step).imag for step in steps], axis=-1) / 1e-30

    @cached_property
    def _mixed(self) -> BoolArray:
        """Whether a number of the user's depends on another parameter of the rescaled model (q, q)."""
        found = np.abs(self.jacobian(self._generic)) > 0.0
        return np.asarray(found & ~np.eye(len(found), dtype=bool))

    def outward(self, result: FitResult) -> FitResult:
        """Results in the user's units; log-likelihoods stay those of the rescaled units.

        A number that became a function of several has no interval of the method's own.
        """
        mixed = self._mixed.any(axis=1)
        estimate = np.full_like(result.estimate, np.nan)
        covariance = {kind: np.full_like(cov, np.nan) for kind, cov in result.covariance.items()}
        se = {kind: error / self.factors for kind, error in result.se.items()}
        q = len(self.factors)  # those of := parameters are not the user's numbers
        low_high = {kind: tuple(limit[:, :q].copy() for limit in limits) for kind, limits in result.intervals.items()}
        for r, params in enumerate(result.estimate):
            silent = np.isnan(params)
            full = self._filled(params)
            turned, jacobian = self.back(full), self.jacobian(full)
            estimate[r] = self.estimates(params[None])[0]
            for kind, cov in result.covariance.items():
                gone = np.isnan(np.diagonal(cov[r]))
                gone = gone | (self._mixed & (gone & ~silent)).any(axis=1)
                own = jacobian @ np.nan_to_num(cov[r]) @ jacobian.T
                covariance[kind][r] = np.where(gone[:, None] | gone, np.nan, own)
                se[kind][r] = np.where(mixed, np.sqrt(np.diagonal(covariance[kind][r])), se[kind][r])
            for limits in low_high.values():
                for limit in limits:
                    limit[r] = np.where(mixed, np.nan, turned + (limit[r] - full) / self.factors)
        intervals = {kind: (low, high) for kind, (low, high) in low_high.items()}
        return replace(result, estimate=estimate, covariance=covariance, se=se, intervals=intervals)

    def estimates(self, params: FloatArray) -> FloatArray:
        """Estimates (R, q) in the user's units; NaN stays NaN."""
        found = np.stack([self.back(self._filled(row)) for row in params])
        return np.where(np.isnan(params), np.nan, found)

    def _filled(self, params: FloatArray) -> FloatArray:
        """Parameters with what the method is silent about as it takes it to be."""
        return np.where(np.isnan(params), np.where(self._assumed, 1.0, 0.0), params)

    @cached_property
    def _assumed(self) -> BoolArray:
        """Loadings that a method takes to be 1 and does not report (q,)."""
        found = np.zeros(len(self.original.names), dtype=bool)
        if self.alike:
            found[[row.free for row in self.original.table.rows if row.op == "=~" and row.free >= 0]] = True
        return found
