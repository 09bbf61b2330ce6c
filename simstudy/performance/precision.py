"""How many replicates a cell needs until the Monte Carlo SEs (MCSE) of its measures are small enough.

The rule, cell by cell: look at the replicates 0..n-1. A target is met when the MCSE of its measure is at most the
target for every method, kind of SE and parameter asked for. If one is not met, the MCSE's square root law projects
the number that would do, n (MCSE/target)^2; the next look is at 5 % more than the largest such number, rounded up to
a multiple of 50, and at no more than four times n, as an MCSE is itself uncertain where replicates are few.

A rate's MCSE vanishes where all replicates agree, which is luck at small n. A rate is therefore judged by the larger
of its MCSE and that of (x + 2)/(n + 4), two successes and two failures added (Agresti & Coull, 1998, The American
Statistician 52:119); no rate needs more than .25/target^2 replicates.

A stop that looks at the estimate favours estimates that look precise. For a coverage of .95 and a target of .01 the
mean over studies is .9513: an eighth of the MCSE asked for (tests/performance).

A number that a method never gives (it does not speak about the parameter, does not support the cell, or the measure
needs a truth that is not there or is 0) is not waited for. One that is missing because nothing converged is: the
method is tried up to the maximum, and the table says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from simstudy.errors import SimstudyError, did_you_mean
from simstudy.performance.measure import BASES, MEASURES, own_name
from simstudy.performance.moments import FloatArray

GRAIN = 50
"""Numbers of replicates are multiples of this."""
MARGIN = 1.05
"""Share of the projected number that is run: the projection is as often too small as too large."""
GROWTH = 4
"""A look is at no more than this many times the replicates of the look before."""

MET, OPEN, NOTHING_CONVERGED = "met", "open", "nothing converged"
SILENT, UNSUPPORTED, UNDEFINED = "no number", "not supported", "undefined"
NOT_WAITED_FOR = (SILENT, UNSUPPORTED, UNDEFINED)

_FORM = "allowed: measure=MCSE pairs such as 'coverage=.005,bias=.01'"


@dataclass(frozen=True)
class Target:
    """Largest acceptable Monte Carlo SE of a measure."""

    measure: str
    mcse: float


def parse_targets(text: str) -> tuple[Target, ...]:
    """Read ``coverage=.005,bias=.01``.

    Raises
    ------
    SimstudyError
        One message a problem.
    """
    targets: dict[str, Target] = {}
    problems = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        measure, equals, number = (piece.strip() for piece in part.partition("="))
        if not equals:
            problems.append(f"until: found '{part}'; {_FORM}")
            continue
        measure = own_name(measure)
        if measure not in MEASURES:
            hint = did_you_mean(measure, MEASURES)
            problems.append(f"until: there is no measure '{measure}'{hint}; allowed: {', '.join(MEASURES)}")
        elif measure in targets:
            problems.append(f"until: '{measure}' stands in the list twice")
        try:
            mcse = float(number)
        except ValueError:
            mcse = math.nan
        if not 0.0 < mcse < math.inf:
            problems.append(f"until: {measure}: found '{number}'; allowed: a number above 0, the largest MCSE")
        targets.setdefault(measure, Target(measure, mcse))
    if not targets and not problems:
        problems.append(f"until: found '{text}'; {_FORM}")
    if problems:
        raise SimstudyError(problems)
    return tuple(targets.values())


def assess(
    summary: pd.DataFrame, targets: Sequence[Target], estimators: Sequence[str], parameters: Sequence[str]
) -> pd.DataFrame:
    """Compare the Monte Carlo SEs of one cell with their targets.

    Parameters
    ----------
    summary : DataFrame
        From `summarise_cell`.
    targets : sequence of Target
    estimators, parameters : sequence of str
        Those asked for.

    Returns
    -------
    DataFrame
        One row a target, method, kind of SE and parameter: measure, target, estimator, se_kind, parameter, value, mcse,
        n, state, and needed, the projected number of replicates (infinite where nothing converged, 0 where nothing is
        waited for).
    """
    casewise = summary[(summary["basis"] == BASES[0]) & summary["estimator"].isin(list(estimators))]
    supported, converged = _fits(casewise)
    tables = []
    for target in targets:
        rows = casewise[casewise["measure"] == target.measure]
        if MEASURES[target.measure].about != "fit":
            rows = rows[rows["parameter"].isin(list(parameters))]
        mcse = _judged(target.measure, rows)
        state = [
            _state(known, float(error) / target.mcse, int(n), supported[name], converged[name])
            for known, error, n, name in zip(rows["value"].notna(), mcse, rows["n"], rows["estimator"], strict=True)
        ]
        columns = ["measure", "estimator", "se_kind", "parameter", "value", "n"]
        table = rows[columns].assign(target=target.mcse, mcse=mcse, state=state)
        with np.errstate(over="ignore"):
            law = rows["n_attempted"].to_numpy(dtype=np.float64) * (mcse / target.mcse) ** 2
        table["needed"] = np.select(
            [np.isin(state, NOT_WAITED_FOR), np.isfinite(law)], [np.zeros(len(law)), law], np.inf
        )
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _fits(casewise: pd.DataFrame) -> tuple[dict[str, int], dict[str, int]]:
    """Replicates that each method supports, and on which it converged."""
    rows = casewise[casewise["measure"] == "convergence"]
    supported = {str(name): int(n) for name, n in zip(rows["estimator"], rows["n"], strict=True)}
    shares = zip(rows["estimator"], rows["n"] * rows["value"].fillna(0.0), strict=True)
    return supported, {str(name): round(count) for name, count in shares}


def _judged(measure: str, rows: pd.DataFrame) -> FloatArray:
    """MCSE (k,) that decides: as in the table, and for rates not below Agresti and Coull's."""
    mcse = rows["mcse"].to_numpy(dtype=np.float64)
    if not MEASURES[measure].is_share:
        return mcse
    n, p = (rows[name].to_numpy(dtype=np.float64) for name in ("n", "value"))
    added = (n * p + 2.0) / (n + 4.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.maximum(mcse, np.sqrt(added * (1.0 - added) / n)))


def _state(known: bool, ratio: float, n: int, supported: int, converged: int) -> str:
    """What became of one target; ``ratio`` is MCSE over target, NaN where there is no MCSE."""
    if supported == 0:
        return UNSUPPORTED
    if not math.isnan(ratio):
        return MET if ratio <= 1.0 else OPEN
    if converged == 0:
        return NOTHING_CONVERGED
    if n > 1 and not known:
        return UNDEFINED
    return SILENT if n == 0 and converged > 1 else OPEN


def next_look(assessed: pd.DataFrame, n: int, maximum: int) -> int:
    """Number of replicates of the next look at a cell; ``n`` itself if every target is met, or at the maximum."""
    needed = float(assessed["needed"].max()) if len(assessed) else 0.0
    if n >= maximum or not assessed["state"].isin([OPEN, NOTHING_CONVERGED]).any():
        return min(n, maximum)
    projected = min(MARGIN * needed, float(GROWTH * n))
    rounded = GRAIN * math.ceil(projected / GRAIN)
    return min(max(rounded, n + GRAIN), maximum)


def reached(assessed: pd.DataFrame, replicates: int) -> list[dict[str, Any]]:
    """One row a target: what a cell came to, at the method and parameter that is furthest from it.

    Returns
    -------
    list of dict
        measure, target, replicates, mcse, estimator, se_kind, parameter, met, needed (the projected number of
        replicates, NaN if there is no projection), note.
    """
    rows = []
    for (measure, target), group in assessed.groupby(["measure", "target"], sort=False):
        waited = group[~group["state"].isin(NOT_WAITED_FOR)]
        row: dict[str, Any] = {"measure": measure, "target": target, "replicates": replicates}
        if waited.empty:
            why = ", ".join(dict.fromkeys(group["state"])) or SILENT
            blank = {"mcse": math.nan, "estimator": "", "se_kind": "", "parameter": "", "met": False}
            rows.append({**row, **blank, "needed": math.nan, "note": f"nothing to measure ({why})"})
            continue
        worst = waited.sort_values("needed", ascending=False, kind="stable").to_dict("records")[0]
        open_rows = waited[waited["state"] != MET]
        methods = ", ".join(dict.fromkeys(open_rows.loc[open_rows["state"] == NOTHING_CONVERGED, "estimator"]))
        rows.append(
            {
                **row,
                **{name: worst[name] for name in ("mcse", "estimator", "se_kind", "parameter")},
                "met": open_rows.empty,
                "needed": float(worst["needed"]) if np.isfinite(worst["needed"]) else math.nan,
                "note": f"no replicate of {methods} converged" if methods else "",
            }
        )
    return rows
