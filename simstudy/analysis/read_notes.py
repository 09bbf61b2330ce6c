"""What a user should know of data that can be analysed: codes, few values, weights, single rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray
from simstudy.model.twolevel import TwoLevelModel

SMALL_CODES, LARGE_CODES = (-1.0, -7.0, -8.0, 9.0), (88.0, 98.0, 99.0, 888.0, 998.0, 999.0, 9998.0, 9999.0, 99999.0)
CODES = frozenset((*SMALL_CODES, -9.0, *LARGE_CODES, *(-code for code in LARGE_CODES)))
"""Numbers that often stand for a missing value; they are pointed out, not interpreted; small ones in whole numbers."""
REFUSALS = re.compile(r"missing|refus|don.?t know|no answer|not app|n/a\b|not asked|no response|unknown", re.IGNORECASE)
WEIGHTS = re.compile(
    r"(^|[_.])(p?weights?|p?wgt|p?wt|w?_?f(stu|sch)wt|stuwt|schwgt|totwgt|houwgt|senwgt)\d*$", re.IGNORECASE
)
"""Names of columns of sampling weights, those of PISA, TIMSS and PIRLS included."""
FEW = 5
"""Up to so many whole numbers, a dependent variable is pointed out as not continuous."""

Labels = Mapping[str, Mapping[Any, str]]


def plural(n: int, what: str) -> str:
    """A count with its noun."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def labels_of(data: pd.DataFrame) -> Labels:
    """Value labels by column, as `read_data` and pandas' SPSS reader keep them."""
    return data.attrs.get("variable_value_labels") or {}


def single_rows(codes: IntArray) -> list[str]:
    """Clusters of one row."""
    sizes = np.bincount(codes)
    sizes = sizes[sizes > 0]
    single = int((sizes == 1).sum())
    if not single:
        return []
    if single == 1:
        return [f"1 of {len(sizes):,} clusters has a single row: it informs the between level only"]
    return [f"{single:,} of {len(sizes):,} clusters have a single row: they inform the between level only"]


def code_notes(values: Mapping[str, FloatArray], labels: Labels) -> list[str]:
    """Values that look like codes for missing ones, by their label or far from all others: one note a value."""
    found: dict[tuple[float, str], list[str]] = {}
    for name, column in values.items():
        seen = column[~np.isnan(column)]
        own = labels.get(name, {})
        distinct = np.unique(seen)
        for value in distinct if own else distinct[np.isin(distinct, list(CODES))]:
            label = next((text for key, text in own.items() if _same(key, value)), "")
            if REFUSALS.search(str(label)) or (value in CODES and _stands_apart(seen, float(value))):
                said = f" ('{label}')" if label else ""
                count = plural(int((seen == value).sum()), "row")
                alike = found.setdefault((float(value), said), [])
                alike.append(f"'{name}' in {count}" if alike else f"'{name}' is {value:g}{said} in {count}")
    return [
        f"{', '.join(places)}: if that stands for missing, say so with na='{value:g}' (--na {value:g})"
        for (value, _), places in found.items()
    ]


def _same(key: Any, value: float) -> bool:
    return isinstance(key, (int, float, np.integer, np.floating)) and float(key) == value


def _stands_apart(seen: FloatArray, value: float) -> bool:
    """Whether a code lies beyond all values that are none, with a gap that ordinary values would not leave."""
    regular = seen[~np.isin(seen, list(CODES))]
    if not regular.size or (value in SMALL_CODES and (regular != np.round(regular)).any()):
        return False
    low, high = float(regular.min()), float(regular.max())
    if value < 0.0:
        return low > value / 2.0
    return low >= 0.0 and high <= 7.0 if value < 10.0 else value - high > 0.5 * (high - low)


def few_values(values: Mapping[str, FloatArray], model: TwoLevelModel, labels: Labels) -> list[str]:
    """Dependent variables with few whole numbers for values: one note for all that have the same."""
    dependent = {row.lhs for row in model.table.rows if row.op == "~"}
    dependent |= {row.rhs for row in model.table.rows if row.op == "=~"}
    alike: dict[tuple[int, str], list[str]] = {}
    for name, column in values.items():
        if name not in dependent:
            continue
        found = np.unique(column[~np.isnan(column)])
        if len(found) > FEW or (found != np.round(found)).any():
            continue
        own = labels.get(name, {})
        named = [next((f" = {text}" for key, text in own.items() if _same(key, v)), "") for v in found]
        shown = ", ".join(f"{value:g}{text}" for value, text in zip(found, named, strict=True))
        alike.setdefault((len(found), shown), []).append(name)
    return [_treated_as_normal(names, n, shown) for (n, shown), names in alike.items()]


def _treated_as_normal(names: Sequence[str], n: int, shown: str) -> str:
    """What it means that variables with n values (as shown) are taken as continuous."""
    listed = ", ".join(f"'{name}'" for name in names)
    have, are = ("has", "is") if len(names) == 1 else ("have", "are")
    many = "" if len(names) == 1 else f"{len(names)} variables, "
    if n == 2:
        return (
            f"{many}{listed} {have} two values ({shown}) and {are} treated as continuous and normal: slopes are "
            "differences of proportions, and variances and SEs are approximations (robust SEs: se='robust')"
        )
    return (
        f"{many}{listed} {have} {n} values ({shown}) and {are} treated as continuous and normal, not as ordered "
        "categories: slopes, loadings and ICCs tend to be too small"
    )


def weight_notes(columns: Iterable[str], model: TwoLevelModel) -> list[str]:
    """Columns that look like sampling weights, which are not used."""
    found = [name for name in columns if name not in model.variables and WEIGHTS.search(name)]
    if not found:
        return []
    shown = ", ".join(f"'{name}'" for name in found[:3]) + (", ..." if len(found) > 3 else "")
    return [f"{shown}: if these are sampling weights, they are not used: every row counts once"]


def missing_codes(na: str | float | Sequence[str | float] | None) -> tuple[frozenset[float], frozenset[str]]:
    """Codes for missing values: numbers, and texts."""
    parts: list[str | float] = [] if na is None else [na] if isinstance(na, (int, float)) else list(na)
    if isinstance(na, str):
        parts = list(na.split(","))
    numbers, texts = set(), set()
    for part in parts:
        text = str(part).strip()
        try:
            numbers.add(float(text))
        except ValueError:
            texts.add(text)
    return frozenset(n for n in numbers if not np.isnan(n)), frozenset(t for t in texts if t)


def blanked(
    column: pd.Series[Any], numbers: frozenset[float], texts: frozenset[str]
) -> tuple[pd.Series[Any], BoolArray]:
    """A column with codes for missing values made missing, and where they were (N,)."""
    plain = column.astype(column.cat.categories.dtype) if isinstance(column.dtype, pd.CategoricalDtype) else column
    if plain.dtype.kind in "mMc":
        return column, np.zeros(len(column), dtype=bool)
    values = pd.to_numeric(plain.astype("object"), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    found = np.isin(values, list(numbers))
    if texts and not pd.api.types.is_numeric_dtype(plain):
        found |= plain.astype("object").map(lambda x: isinstance(x, str) and x.strip() in texts).to_numpy(dtype=bool)
    if not found.any():
        return column, found
    left = plain.astype("object").mask(found)
    whole = pd.to_numeric(left, errors="coerce")
    return (whole if whole.isna().sum() == left.isna().sum() else left), found
