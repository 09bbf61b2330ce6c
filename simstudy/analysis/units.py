"""Working units: badly scaled data and their model in units that double precision bears, and the way back.

A change of units y* = (y - c) / s, with s a power of two for every variable, latent ones too, maps one model onto
another: a path a of j on i becomes a s_j / s_i, a covariance t becomes t / (s_i s_j), an intercept m becomes m / s_i.
Fixed values and starts change alike, so that no constraint is lost, and what must stay the same number (parameters with
one label, loadings fixed at 1, the variables of a factor whose items a method averages) ties scales: see `scales_of`.

Shifts pass through the model. With A the paths of a level, delta the shift of its variables and m* the intercepts in
working units, m = m* + (I - A) delta. Where a variable has an intercept of its own, delta is its c (less what its
within part shifted, at the between level) and the intercept takes up the difference; elsewhere the row of
(I - A) delta must be 0, which determines delta, and what is observed without an intercept of its own is not shifted,
nor is what leads to it: see `shifts_of`. A path that a method is silent about is none of its model: 0.

Where the slope s_j of an observed predictor varies, s_j (x* + c) adds c s_j to the intercept: the variables of the
between level are L eta*, with L = I - c e_y e_s' in the way back, so that A = L A* L^-1, Psi = L Psi* L', m = L m*.
That is the same model only if every number it changes is a free parameter; if not, x is not shifted.

Not every method reads a model as its mean structure says (some take a predictor's deviation from cluster means where
others take it as it is). So a second fit, in units that differ moderately from the first, must tell the same: if it
does not, fewer variables are shifted, and in the end none (`fit_in_units`). The second fit also tells what becomes of
log-likelihoods. They are densities and differ by sum_v n_v log s_v, with n_v the number of values of v whose density a
method's likelihood is; so they are linear in log s.
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
from simstudy.model.representation import LevelMatrices, fill, level_matrices
from simstudy.model.slopes import RandomSlope
from simstudy.model.twolevel import TwoLevelModel

SCALE, SHIFT = 2.0**10, 2.0**10
"""Standard deviations within 1 / SCALE and SCALE, and means within SHIFT of them, are left as they are: the information
matrix of intercepts and paths has a condition number of about the square, and 10 digits remain."""
AS_OBSERVED, AS_DEVIATION = ("observed", "uncentred", "contextual"), ("latent", "centred")
"""Meanings of random slopes: the predictor as it is, and its deviation from what its cluster shares."""
EASE, STEP = 5.0, 32.0
"""Doublings of the units, and units of means, by which the second fit differs: as moderate as the first."""
AGREE = 1e-5
"""Share of a standard error by which the two may differ: well above rounding and the optimisers' stop."""


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
        """Units to go on to from the working ones, and the share of the change of scales that they take back."""
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

    def back(self, params: FloatArray) -> FloatArray:
        """Parameters (q,) in the user's scales, shifts undone, from those of the working model, which may be complex."""
        between = self._levels["between"][0]
        turn = self._turn(params.dtype)
        filled = fill(between, params)
        paths = turn @ filled.paths @ (2.0 * np.eye(len(turn)) - turn)  # (L^-1 = 2 I - L: slopes are no intercepts)
        spread, means = turn @ filled.covariances @ turn.T, turn @ filled.means
        found = params.copy()
        if self.turned:
            for entries, values in ((between.paths, paths), (between.covariances, spread)):
                found[entries.free] = values[entries.row, entries.column]
            found[between.means.free] = means[between.means.row]
        within = self._levels["within"][0]
        below: dict[str, Any] = {}
        passing = self._between_paths(paths, means)
        for level, maps, a in (("within", within, self._within_paths(params)), ("between", between, passing)):
            takes = self._levels[level][1]
            delta = np.array(
                [self.shifts.get(n, 0.0) / 2.0 ** self.exponents[n] - below.get(n, 0.0) for n in maps.variables],
                dtype=params.dtype,
            )
            rest = ~takes
            inner = np.eye(int(rest.sum())) - a[np.ix_(rest, rest)]
            delta[rest] = np.linalg.solve(inner, a[np.ix_(rest, takes)] @ delta[takes])
            change = delta - a @ delta
            own = takes[maps.means.row]
            found[maps.means.free[own]] += change[maps.means.row[own]]
            below = {n: d for n, d in zip(maps.variables, delta, strict=True) if n in self.original.both}
        return found / self.factors

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
        tied = {name for constraint in table.constraints for name in constraint.names}
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
        """Whether a number of the user's depends on another parameter of the working model (q, q)."""
        found = np.abs(self.jacobian(self._generic)) > 0.0
        return np.asarray(found & ~np.eye(len(found), dtype=bool))

    def outward(self, result: FitResult) -> FitResult:
        """Results in the user's units; log-likelihoods stay those of the working units.

        A number that became a function of several has no interval of the method's own.
        """
        mixed = self._mixed.any(axis=1)
        estimate = np.full_like(result.estimate, np.nan)
        covariance = {kind: np.full_like(cov, np.nan) for kind, cov in result.covariance.items()}
        se = {kind: error / self.factors for kind, error in result.se.items()}
        low_high = {kind: tuple(limit.copy() for limit in limits) for kind, limits in result.intervals.items()}
        for r, params in enumerate(result.estimate):
            silent = np.isnan(params)
            full = np.where(silent, np.where(self._assumed, 1.0, 0.0), params)
            turned, jacobian = self.back(full), self.jacobian(full)
            estimate[r] = np.where(silent, np.nan, turned)
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

    @cached_property
    def _assumed(self) -> BoolArray:
        """Loadings that a method takes to be 1 and does not report (q,)."""
        found = np.zeros(len(self.original.names), dtype=bool)
        if self.alike:
            found[[row.free for row in self.original.table.rows if row.op == "=~" and row.free >= 0]] = True
        return found


def location_and_spread(sample: Sample) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation of every observed variable, of rows or of clusters."""
    mean, sd = {}, {}
    for names, values in ((sample.level1, sample.rows[0]), (sample.level2, sample.clusters[0])):
        for k, name in enumerate(names):
            column = values[:, k]
            column = column[~np.isnan(column)]
            center = float(column[0] + (column - column[0]).mean())
            mean[name], sd[name] = center, float(np.sqrt(((column - center) ** 2).mean())) or 1.0
    return mean, sd


Fitter = Callable[[TwoLevelModel, Sample], FitResult]


def fit_in_units(
    fit: Fitter, model: TwoLevelModel, sample: Sample, meanings: Mapping[str, str], *, alike: bool = False
) -> tuple[FitResult, Units | None, FitResult]:
    """Fit one data set in units that arithmetic bears.

    Parameters
    ----------
    fit : callable
        Fits a model to a sample.
    meanings, alike
        See `Units`.

    Returns
    -------
    result : FitResult
        In the user's units.
    units : Units or None
        None where data are fitted as they are.
    working : FitResult
        In working units.
    """
    mean, sd = location_and_spread(sample)
    wide = not all(1.0 / SCALE <= value <= SCALE for value in sd.values())
    far = {name: mean[name] for name in sd if abs(mean[name]) > SHIFT * sd[name]}
    scale = {name: float(np.log2(sd[name])) if wide else 0.0 for name in sd}
    slopes = {slope.predictor for slope in model.slopes}
    fewer = {name: c for name, c in far.items() if name not in slopes and name in (*model.both, *model.level2)}
    attempts = [far, fewer, {}] if wide or far else []
    for shift in (a for i, a in enumerate(attempts) if a not in attempts[:i]):
        units = Units.of(model, scale, shift, meanings, alike=alike)
        working = fit(units.model, units.sample(sample))
        if not working.converged[0]:
            continue
        other, share = units.nearby()
        again = fit(other.model, other.sample(units.sample(sample)))
        if again.converged[0] and not _agree(working, other.outward(again)):
            continue
        return units.outward(_likelihoods(working, again, share)), units, working
    result = fit(model, sample)
    return result, None, result


def _agree(first: FitResult, second: FitResult) -> bool:
    """Whether two results for one data set (R = 1) are the same, as far as rounding lets them."""
    kind = next(iter(first.se))
    size = np.where(first.se[kind] > 0.0, first.se[kind], np.maximum(np.abs(first.estimate), 1.0))
    pairs = ((first.estimate, second.estimate), (first.se[kind], second.se[kind]))
    same = [np.isnan(a) == np.isnan(b) for a, b in pairs]
    near = [~(np.abs(a - b) > AGREE * size) for a, b in pairs]
    return bool(np.all(same) and np.all(near))


def _likelihoods(working: FitResult, again: FitResult, share: float) -> FitResult:
    """Log-likelihoods, and measures made of them, in the user's scales, from those in two working ones."""
    if not share:
        return working

    def extrapolated(here: FloatArray, there: FloatArray) -> FloatArray:
        change = there - here
        return np.where(np.abs(change) > 1e-6 * np.maximum(1.0, np.abs(here)), here + change / share, here)

    return replace(
        working,
        loglik=extrapolated(working.loglik, again.loglik),
        measures={
            name: extrapolated(value, again.measures[name]) if name in again.measures else value
            for name, value in working.measures.items()
        },
    )
