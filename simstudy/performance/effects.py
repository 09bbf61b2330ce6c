"""Which design factors matter: analysis of variance of performance measures, a method and parameter at a time.

An observation is a cell's measure (`cells`), or a replicate's number, rebuilt exactly from the cell's mean, Monte Carlo
SE and n (`replicates`).  Sums of squares are of type II: each term after all terms that do not contain it.  They equal
types I and III where the design is balanced, and stay defined where cells are missing, which type III does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd

from simstudy.errors import SimstudyError, did_you_mean
from simstudy.performance.cell import COLUMNS
from simstudy.performance.measure import BASES, MEASURES, PAIRED, measure_names, own_name
from simstudy.performance.moments import FloatArray, IntArray

EFFECT_COLUMNS: tuple[str, ...] = (
    "estimator",
    "se_kind",
    "parameter",
    "level",
    "measure",
    "term",
    "order",
    "df",
    "sum_of_squares",
    "eta_squared",
    "partial_eta_squared",
    "omega_squared",
    "noise_share",
    "n_cells",
    "note",
)
"""Columns of a table of effects."""

OUTCOMES: tuple[str, ...] = ("cells", "replicates")
EFFECT_MEASURES: tuple[str, ...] = (
    "bias",
    "median_bias",
    "empirical_se",
    "se_ratio",
    "rmse",
    "coverage",
    "rejection",
    "convergence",
)
"""Measures analysed by default."""
RANK_TOLERANCE = 1e-10
"""Singular values of indicator matrices are far above this share of the largest, or are rounding of 0."""
RESIDUAL, WITHIN = "Residual", "Within cells"


def factor_effects(
    performance: pd.DataFrame,
    factors: Sequence[str] | None = None,
    *,
    measures: Sequence[str] | None = None,
    parameters: Sequence[str] | None = None,
    estimators: Sequence[str] | None = None,
    outcome: str = "cells",
    order: int = 2,
    basis: str = "casewise",
) -> pd.DataFrame:
    """Eta squared of every design factor and interaction on each measure, per method, kind of SE and parameter.

    Parameters
    ----------
    performance : DataFrame
        Long performance table: factors, then `COLUMNS`.
    factors : sequence of str, optional
        Factor columns; by default all that are not in `COLUMNS`.
    measures : sequence of str, optional
        By default `EFFECT_MEASURES`, of these the means and rates where `outcome` is ``replicates``.
    parameters, estimators : sequence of str, optional
        By default all.
    outcome : str
        ``cells``: the measures themselves, every cell with the same weight.  ``replicates``: the replicates' numbers,
        of which the measure is the mean (error, squared error, SE, width, covered or not, ...).
    order : int
        2 for main effects and two-way interactions, 1 for main effects, up to the number of factors.
    basis : str
        Which replicates (`BASES`); differences from the reference are always ``paired``.

    Returns
    -------
    DataFrame
        `EFFECT_COLUMNS`.  `order` is 1 for a main effect, 2 for a two-way interaction, 0 for an error term.
        eta_squared = SS/SS_total; partial_eta_squared = SS/(SS + SS_error); omega_squared =
        (SS - df MS_error)/(SS_total + MS_error); noise_share = the eta squared that Monte Carlo error alone would give,
        df mean(mcse^2)/SS_total (`cells`) or df MS_within/SS_total (`replicates`).  The error is the residual (`cells`:
        higher interactions and Monte Carlo error; undefined if the terms use all degrees of freedom) or the variation
        within cells.  `note` says why a number is missing.

    Raises
    ------
    SimstudyError
        If a name is unknown, or no factor has two levels.
    """
    factors = [str(name) for name in performance.columns if name not in COLUMNS] if factors is None else list(factors)
    chosen = _checked(performance, factors, measures, outcome, order, basis)
    bases = np.where(performance["measure"].isin(measure_names("pair")), PAIRED, basis)
    rows = performance[performance["measure"].isin(chosen) & (performance["basis"] == bases)]
    for column, wanted in (("estimator", estimators), ("parameter", parameters)):
        if wanted is not None:
            known = [str(name) for name in performance[column].unique() if name]
            _refuse_unknown(column, wanted, known)
            rows = rows[rows[column].isin([*wanted, *([""] if column == "parameter" else [])])]
    rows = rows[(rows["n"] > 0) | rows["value"].notna()]
    design = _Design.of(performance, factors, order)
    found = []
    keys = ["estimator", "se_kind", "parameter", "level", "measure"]
    for key, group in rows.groupby(keys, sort=False):
        labels = dict(zip(keys, key, strict=True))
        found += [labels | entry for entry in _analysed(group, design, outcome, str(labels["measure"]))]
    table = pd.DataFrame(found, columns=list(EFFECT_COLUMNS))
    return table.astype({"order": "int64", "df": "int64", "n_cells": "int64"})


def _refuse_unknown(what: str, wanted: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in wanted if name not in known]
    if unknown:
        allowed = ", ".join(known)
        raise SimstudyError(
            [f"{what}: there is no '{name}'{did_you_mean(name, known)}; allowed: {allowed}" for name in unknown]
        )


def _checked(
    performance: pd.DataFrame, factors: list[str], measures: Sequence[str] | None, outcome: str, order: int, basis: str
) -> list[str]:
    """Measures to analyse, after everything was checked."""
    _refuse_unknown("outcome", [outcome], OUTCOMES)
    _refuse_unknown("basis", [basis], BASES)
    _refuse_unknown("factors", factors, [str(name) for name in performance.columns if name not in COLUMNS])
    varying = [name for name in factors if performance[name].nunique(dropna=False) > 1]
    if not varying:
        said = ", ".join(factors) if factors else "none"
        raise SimstudyError(f"factors: no design factor has two levels, so there is nothing to compare (found: {said})")
    if not 1 <= order <= max(len(varying), 2):
        raise SimstudyError(f"order: found {order}; allowed: 1 to {max(len(varying), 2)}")
    measures = [own_name(name) for name in measures or ()]
    _refuse_unknown("measures", measures, list(MEASURES))
    if outcome == "cells":
        return list(measures or EFFECT_MEASURES)
    averages = [name for name, measure in MEASURES.items() if measure.replicate]
    for name in measures:
        if name not in averages:
            raise SimstudyError(
                f"measures: {name} is no mean over replicates, so replicates have no value of it; "
                f"use outcome 'cells', or one of: {', '.join(averages)}"
            )
    return list(measures or (name for name in EFFECT_MEASURES if name in averages))


Projection = tuple[FloatArray, FloatArray, int]
"""Weighted design matrix (C, d), its pseudo-inverse (d, C), rank."""


@dataclass(frozen=True)
class _Design:
    """Levels of the factors of each cell, and the terms of the model.

    Parameters
    ----------
    cells : ndarray of int, (C,)
    codes : mapping of factor to (C,) ndarray of int
        Level of each cell.
    single : mapping of factor to str
        Factors with one level, and that level.
    terms : tuple of tuple of str
        Main effects, then interactions.
    projections : dict
        Found so far, by the cells that enter, weights and terms.
    """

    cells: IntArray
    codes: Mapping[str, IntArray]
    single: Mapping[str, str]
    terms: tuple[tuple[str, ...], ...]
    projections: dict[tuple[bytes, tuple[tuple[str, ...], ...]], Projection] = field(default_factory=dict)

    @classmethod
    def of(cls, performance: pd.DataFrame, factors: Sequence[str], order: int) -> _Design:
        places = performance.drop_duplicates("cell").sort_values("cell")
        codes = {name: np.asarray(pd.factorize(places[name].astype("str"))[0], dtype=np.int64) for name in factors}
        varying = [name for name in factors if codes[name].max(initial=0) > 0]
        single = {name: str(places[name].iloc[0]) for name in factors if name not in varying}
        terms = tuple(term for k in range(1, order + 1) for term in combinations(varying, k))
        return cls(places["cell"].to_numpy(dtype=np.int64), codes, single, terms)

    def residual(self, y: FloatArray, weights: FloatArray, where: IntArray, terms: Sequence[tuple[str, ...]]) -> _Fit:
        """Residual sum of squares and rank of the model with these terms; `where` are positions of cells."""
        from statsmodels.tools.tools import pinv_extended

        key = (where.tobytes() + weights.tobytes(), tuple(terms))
        if key not in self.projections:
            x = np.sqrt(weights)[:, None] * self._matrix(where, terms)
            inverse, singular = pinv_extended(x, rcond=RANK_TOLERANCE)
            self.projections[key] = (x, inverse, int((singular > RANK_TOLERANCE * singular.max()).sum()))
        x, inverse, rank = self.projections[key]
        weighted = np.sqrt(weights) * y
        left = weighted - x @ (inverse @ weighted)
        return _Fit(float(left @ left), rank)

    def _matrix(self, where: IntArray, terms: Sequence[tuple[str, ...]]) -> FloatArray:
        """Constant, and an indicator of every combination of levels of each term; the rank sorts out what is double."""
        columns = [np.ones((len(where), 1))]
        for term in terms:
            code = np.zeros(len(where), dtype=np.int64)
            for name in term:
                code = code * (int(self.codes[name].max()) + 1) + self.codes[name][where]
            levels = np.unique(code)
            columns.append((code[:, None] == levels[1:]).astype(np.float64))
        return np.concatenate(columns, axis=1)


@dataclass(frozen=True)
class _Fit:
    """Residual sum of squares, and rank of the design matrix."""

    ss: float
    rank: int


def _analysed(group: pd.DataFrame, design: _Design, outcome: str, measure: str) -> Iterator[dict[str, object]]:
    """Rows of the table for one method, kind of SE, parameter and measure."""
    group = group[np.isfinite(group["value"].to_numpy()) & (group["n"].to_numpy() > 0)]
    where = np.searchsorted(design.cells, group["cell"].to_numpy(dtype=np.int64))
    y = group["value"].to_numpy(dtype=np.float64)
    n_cells = len(y)
    missing = len(design.cells) - n_cells
    gap = f"{missing} of {len(design.cells)} cells have no number" if missing else ""
    if n_cells < 2:
        yield _entry("", 0, 0, np.nan, n_cells=n_cells, note=f"{gap}: fewer than two cells are left")
        return
    n, mcse = group["n"].to_numpy(dtype=np.float64), group["mcse"].to_numpy(dtype=np.float64)
    weights = np.ones(n_cells) if outcome == "cells" else n
    total = design.residual(y, weights, where, ())
    if outcome == "cells":
        within, within_df, noise = 0.0, 0, _noise(y, mcse, n, measure)
    else:
        within, within_df = _within_cells(y, mcse, n, measure), int(n.sum()) - n_cells
        noise = within / within_df if within_df > 0 else np.nan
    rest = design.residual(y, weights, where, design.terms)
    residual_df = n_cells - rest.rank
    ss_total = total.ss + within
    scale = float(weights @ y**2)
    if ss_total <= (1e-13 * len(y)) ** 2 * scale:  # differences of rounding only
        yield _entry("", 0, 0, 0.0, n_cells=n_cells, note="; ".join(filter(None, ["the same in every cell", gap])))
        return
    error, error_df = (rest.ss, residual_df) if outcome == "cells" else (within, within_df)
    saturated = ""
    if error_df < 1:
        saturated = "no degrees of freedom are left for error: partial eta squared and omega squared are undefined"
    for term in design.terms:
        others = [other for other in design.terms if not set(term) <= set(other)]
        before = design.residual(y, weights, where, others)
        after = design.residual(y, weights, where, [*others, term])
        df, ss = after.rank - before.rank, max(before.ss - after.ss, 0.0)
        confounded = "" if df else "confounded with other terms: the cells that differ in it are missing"
        effect = _sizes(ss, df, error, error_df, ss_total, noise) if df else {}
        note = "; ".join(filter(None, [confounded, saturated, gap]))
        yield _entry(":".join(term), len(term), df, ss if df else np.nan, n_cells=n_cells, note=note, **effect)
    for name, level in design.single.items():
        yield _entry(name, 1, 0, np.nan, n_cells=n_cells, note=f"one level only ({level}): its effect is unknown")
    share = {"eta_squared": rest.ss / ss_total, "noise_share": residual_df * noise / ss_total}
    if residual_df > 0:
        yield _entry(RESIDUAL, 0, residual_df, rest.ss, n_cells=n_cells, note=gap, **share)
    if outcome == "replicates":
        yield _entry(WITHIN, 0, within_df, within, n_cells=n_cells, note=gap, eta_squared=within / ss_total)


def _noise(y: FloatArray, mcse: FloatArray, n: FloatArray, measure: str) -> float:
    """Mean Monte Carlo variance of the cells' measures; of rates p (1 - p)/n, which is 0 at the ends."""
    each = y * (1.0 - y) / n if MEASURES[measure].replicate == "rate" else mcse**2
    return float(np.nanmean(each)) if np.isfinite(each).any() else np.nan


def _within_cells(y: FloatArray, mcse: FloatArray, n: FloatArray, measure: str) -> float:
    """Sum of squares of the replicates within cells: of a rate n p (1 - p), of a mean (n - 1) n mcse^2."""
    each = n * y * (1.0 - y) if MEASURES[measure].replicate == "rate" else (n - 1.0) * n * mcse**2
    return float(np.where(n > 1, each, 0.0).sum())


def _sizes(ss: float, df: int, error: float, error_df: int, total: float, noise: float) -> dict[str, float]:
    """Effect sizes of one term."""
    sizes = {"eta_squared": ss / total, "noise_share": df * noise / total}
    if error_df > 0:
        ms = error / error_df
        sizes["partial_eta_squared"] = ss / (ss + error) if ss + error > 0 else np.nan
        sizes["omega_squared"] = (ss - df * ms) / (total + ms)
    return sizes


def _entry(term: str, order: int, df: int, ss: float, *, n_cells: int, note: str, **sizes: float) -> dict[str, object]:
    numbers = {"eta_squared": np.nan, "partial_eta_squared": np.nan, "omega_squared": np.nan, "noise_share": np.nan}
    facts = {"term": term, "order": order, "df": df, "sum_of_squares": ss, "n_cells": n_cells, "note": note}
    return {**facts, **numbers, **sizes}
