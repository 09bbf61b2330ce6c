"""Which column of a foreign table is what: named by the user, or known by its usual name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd

from simstudy.errors import DataError, did_you_mean
from simstudy.performance.cell import COLUMNS as TAKEN
from simstudy.performance.moments import BoolArray, FloatArray

USUAL_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "estimate": ("estimate", "est"),
        "se": ("se", "std_error", "std.error", "stderr"),
        "truth": ("truth", "true", "true_param", "true_value"),
        "lower": ("lower", "lci", "ci_lower", "ci.lower", "conf.low", "lower_bound"),
        "upper": ("upper", "uci", "ci_upper", "ci.upper", "conf.high", "upper_bound"),
        "method": ("method", "estimator"),
        "parameter": ("parameter", "param", "target", "estimand", "term"),
        "rep": ("rep", "replicate", "replication", "repetition", "iteration", "dataset"),
        "converged": ("converged",),
        "by": ("dgm",),
    }
)
"""Role -> names under which its column is found when none is named; those of siman, rsimsum and broom among them."""
_YES = frozenset({"1", "1.0", "true", "t", "yes", "y", "ok"})
_NO = frozenset({"0", "0.0", "false", "f", "no", "n"})


@dataclass(frozen=True)
class Columns:
    """Which column is what; None for none.

    Parameters
    ----------
    estimate : str
    se, lower, upper, method, parameter, rep, converged : str or None
    truth : str, float or None
        A column, or one true value for all rows.
    by : tuple of str
        Design factors.
    notes : tuple of str
        What was chosen without being asked for, and what is not used.
    """

    estimate: str
    se: str | None
    truth: str | float | None
    lower: str | None
    upper: str | None
    method: str | None
    parameter: str | None
    rep: str | None
    converged: str | None
    by: tuple[str, ...]
    notes: tuple[str, ...]


def find_columns(
    data: pd.DataFrame, named: Mapping[str, str | float | None], by: Sequence[str] | None = None
) -> Columns:
    """Find every role's column.

    Parameters
    ----------
    data : DataFrame
    named : mapping of role to column
        Roles that are missing, or None, are found by their usual names; `truth` may be a number.
    by : sequence of str, optional
        Design factors.

    Raises
    ------
    DataError
        If a column that was named does not exist, serves twice, or there is none for the estimates.
    """
    there = [str(name) for name in data.columns]
    problems: list[str] = []
    _refuse_doubles(there, problems)
    found: dict[str, str | float | None] = {}
    guessed: list[str] = []
    used = {str(name) for name in (*named.values(), *(by or ())) if isinstance(name, str)}
    for role in USUAL_NAMES:
        if role == "by":
            continue
        name = named.get(role)
        if name is None:
            free = there if role == "estimate" else [column for column in there if column not in used]
            name = _usual(role, free)
            guessed += [f"{role} = {name}"] if name is not None else []
        elif isinstance(name, str) and name not in there:
            name = _as_truth(name) if role == "truth" else name
            if isinstance(name, str):
                problems.append(_unknown(role, name, there))
        found[role] = name
    factors = _factors(there, by, found, guessed, problems)
    if found["estimate"] is None and not problems:
        usual = "', '".join(USUAL_NAMES["estimate"])
        problems.append(
            f"estimate: there is no column '{usual}'; name the column of the estimates. Columns: {', '.join(there)}"
        )
    _refuse_twice(found, factors, problems)
    if problems:
        raise DataError(problems)
    notes = [f"columns found by their names: {', '.join(guessed)}"] if guessed else []
    notes += [
        f"the factor '{name}' is called '{factor_name(name)}' here: the results have a column '{name}' of their own"
        for name in factors
        if name in TAKEN
    ]
    spare = [name for name in there if name not in (*found.values(), *factors)]
    if spare:
        notes.append(f"columns not used: {', '.join(spare)} (by makes a column a design factor)")
    return Columns(by=factors, notes=tuple(notes), **found)  # type: ignore[arg-type]


def factor_name(column: str) -> str:
    """Name of a factor, which no column of a performance table has."""
    return f"{column}_" if column in TAKEN else column


def _factors(
    there: Sequence[str],
    by: Sequence[str] | None,
    found: Mapping[str, str | float | None],
    guessed: list[str],
    problems: list[str],
) -> tuple[str, ...]:
    if by is None:
        usual = _usual("by", [column for column in there if column not in found.values()])
        by = [usual] if usual is not None else []
        guessed += [f"by = {name}" for name in by]
    problems += [_unknown("by", name, there) for name in by if name not in there]
    return tuple(dict.fromkeys(by))


def _usual(role: str, there: Sequence[str]) -> str | None:
    """Column with one of a role's usual names, in whatever case; the first name that occurs counts."""
    lower = {column.lower(): column for column in reversed(there)}
    return next((lower[alias] for alias in USUAL_NAMES[role] if alias in lower), None)


def _unknown(role: str, name: str, there: Sequence[str]) -> str:
    return f"{role}: there is no column '{name}'{did_you_mean(name, there)}; columns: {', '.join(there)}"


def _as_truth(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _refuse_doubles(there: Sequence[str], problems: list[str]) -> None:
    doubled = sorted({name for name in there if there.count(name) > 1})
    problems += [f"column '{name}' occurs {there.count(name)} times; names must differ" for name in doubled]


def _refuse_twice(found: Mapping[str, str | float | None], factors: Sequence[str], problems: list[str]) -> None:
    """One column cannot be two things."""
    roles: dict[str, list[str]] = {}
    for role, name in [*found.items(), *(("by", name) for name in factors)]:
        if isinstance(name, str):
            roles.setdefault(name, []).append(role)
    problems += [
        f"column '{name}' is named as {' and as '.join(mine)}; a column is one thing"
        for name, mine in roles.items()
        if len(mine) > 1
    ]


def as_numbers(data: pd.DataFrame, role: str, column: str | float | None, problems: list[str]) -> FloatArray:
    """Numbers of a column with NaN for what is missing; all NaN without a column."""
    if column is None:
        return np.full(len(data), np.nan)
    if not isinstance(column, str):
        return np.full(len(data), float(column))
    values = data[column]
    found = pd.to_numeric(values, errors="coerce")
    odd = np.flatnonzero((found.isna() & values.notna()).to_numpy())
    if len(odd):
        problems.append(
            f"{role}: column '{column}' has {len(odd)} entries that are no numbers, first '{values.iloc[odd[0]]}' in "
            f"row {odd[0] + 1}; allowed: numbers, NA or empty for missing"
        )
    return np.asarray(found.to_numpy(dtype=np.float64, na_value=np.nan))


def as_flags(data: pd.DataFrame, column: str | None, problems: list[str]) -> BoolArray:
    """Whether each row's fit converged; all did without a column, and what is missing did not."""
    if column is None:
        return np.ones(len(data), dtype=np.bool_)
    text = data[column].astype("str").str.strip().str.lower().where(data[column].notna(), "0")
    odd = np.flatnonzero(~text.isin([*_YES, *_NO]).to_numpy())
    if len(odd):
        problems.append(
            f"converged: column '{column}' has '{data[column].iloc[odd[0]]}' in row {odd[0] + 1}; "
            "allowed: TRUE or FALSE, 1 or 0, yes or no"
        )
    return np.asarray(text.isin(_YES).to_numpy(dtype=np.bool_))
