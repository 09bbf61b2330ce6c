"""Everything that can be wrong with real data for a model, found before anything is fitted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from simstudy.analysis.read_notes import (
    blanked,
    code_notes,
    few_values,
    labels_of,
    missing_codes,
    plural,
    single_rows,
    weight_notes,
)
from simstudy.errors import DataError, did_you_mean
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray
from simstudy.model.products import factors_of
from simstudy.model.twolevel import TwoLevelModel

LARGE, SMALL = 1e50, 1e-50
"""Beyond these, squares of squares of values, which variances of variances are, leave double precision."""
NA_TEXTS = (".", "NA", "NaN", "nan")
"""Codes that are missing in text files anyway: `read_data` has taken them out, and naming them is no slip."""
SINGULAR = 1e-10
"""Share of a variance that is left after regression on other columns, below which a column is their combination."""
ROUNDING = 1e-9
"""Differences within a cluster, relative to the column's spread, that are taken for rounding of a level-2 variable."""


def check_data(
    data: pd.DataFrame,
    model: TwoLevelModel,
    cluster: str,
    missing: str = "listwise",
    na: str | float | Sequence[str | float] | None = None,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Find everything that is wrong with data for a model.

    Parameters
    ----------
    data : DataFrame
        One row an individual; other columns than those of the model are left aside.
    model : TwoLevelModel
    cluster : str
        Column of cluster identifiers, of any type.
    missing : str
        ``listwise`` leaves incomplete rows out; ``fiml`` keeps all rows, and spreads a level-2 value over the rows of
        its cluster.
    na : str, float or sequence, optional
        Codes that stand for a missing value in the model's variables: ``"-99,."``, ``-99``, ``[-98, -99]``.

    Returns
    -------
    data : DataFrame
        The cluster column, then ``model.variables`` as floats with NaN for missing values; rows keep their index.
    notes : tuple of str
        What the user should know.

    Raises
    ------
    DataError
        With every problem found.
    """
    problems: list[str] = []
    names = [name for name in model.variables if _has_column(data, name, problems)]
    problems += [
        f"data: '{slope.predictor}', which the random slope '{slope.name}' multiplies, is no column; a factor is "
        f"measured in the within block: '{slope.predictor} =~ ...'"
        for slope in model.slopes
        if slope.predictor in model.level1 and slope.predictor not in data.columns
    ]
    known = _has_column(data, cluster, problems, "cluster column")
    if cluster in model.variables:
        problems.append(f"data: '{cluster}' is the cluster column and a variable of the model")
        known = False
    if not len(data):
        raise DataError([*problems, "data: there are no rows"])
    data, coded = without_codes(data, names, na)
    found = {name: _numbers(data[name], name, problems) for name in names}
    values = {name: column for name, column in found.items() if column is not None}
    empty = [name for name, column in values.items() if np.isnan(column).all()]
    problems += [f"data: every value of '{name}' is missing" for name in empty]
    values = {name: column for name, column in values.items() if name not in empty}
    ids = data[cluster] if known else None
    if ids is not None and ids.isna().any():
        rows = np.flatnonzero(ids.isna().to_numpy(dtype=bool))
        problems.append(
            f"data: cluster column '{cluster}' is empty in {plural(len(rows), 'row')}, first in row {rows[0] + 1}; "
            "every row needs a cluster"
        )
        ids = None
    if ids is None or not values:
        raise DataError([*problems, *_constants(values)])
    codes, labels = pd.factorize(ids)
    table = _Table(values, codes.astype(np.int64), list(labels), np.arange(len(data)), model)
    table, notes = (table, _spread_notes(table)) if missing == "fiml" else _complete_rows(table)
    notes = [*data.attrs.get("simstudy_notes", ()), *coded, *notes]
    if table.rows.size:
        problems += _constants(table.values) + _level_problems(table) + _cluster_problems(table, cluster)
        problems += [] if problems else _combinations(table)
    else:
        problems.append("data: every row has a missing value; missing='fiml' (--missing fiml) uses incomplete rows")
    if problems:
        raise DataError(problems)
    columns = {name: table.values[name] for name in model.level1}
    columns |= {name: table.spread(name)[0][table.codes] for name in model.level2}
    kept = ids.iloc[table.rows]
    texts = labels_of(data)
    notes += [*single_rows(table.codes), *code_notes(table.values, texts), *few_values(table.values, model, texts)]
    notes += weight_notes([str(name) for name in data.columns if name != cluster], model)
    return pd.DataFrame({cluster: kept, **columns}, index=kept.index), tuple(notes)


@dataclass(frozen=True)
class _Table:
    """Columns of the model: values (N,) by name, cluster of each row 0 .. J - 1, cluster names, rows of the data."""

    values: dict[str, FloatArray]
    codes: IntArray
    labels: list[object]
    rows: IntArray
    model: TwoLevelModel

    def take(self, kept: BoolArray) -> _Table:
        """Some of the rows."""
        values = {name: column[kept] for name, column in self.values.items()}
        return replace(self, values=values, codes=self.codes[kept], rows=self.rows[kept])

    def spread(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Smallest and largest value of a column in each cluster (J,), NaN where it has none."""
        low, high = np.full(len(self.labels), np.inf), np.full(len(self.labels), -np.inf)
        seen = ~np.isnan(self.values[name])
        np.minimum.at(low, self.codes[seen], self.values[name][seen])
        np.maximum.at(high, self.codes[seen], self.values[name][seen])
        empty = low > high
        return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def _has_column(data: pd.DataFrame, name: str, problems: list[str], what: str = "column") -> bool:
    count = [str(column) for column in data.columns].count(name)
    if count == 0:
        known = dict.fromkeys(map(str, data.columns))
        shown = ", ".join(list(known)[:20]) + (", ..." if len(known) > 20 else "")
        hint = did_you_mean(name, known)
        factor = "" if hint or what != "column" else f". If it is a factor, it needs indicators: {name} =~ ..."
        problems.append(f"data: there is no {what} '{name}'{hint}; found: {shown}{factor}")
    elif count > 1:
        problems.append(f"data: {count} columns are named '{name}'; rename all but one")
    return count == 1


def _numbers(column: pd.Series[Any], name: str, problems: list[str]) -> FloatArray | None:
    """Values of a column as floats with NaN for what is missing; None if there is anything else."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    empty = column.isna().to_numpy(dtype=bool)
    if column.dtype.kind in "mMc":
        what = "complex numbers" if column.dtype.kind == "c" else "dates or times"
        problems.append(f"data: column '{name}' holds {what}; it must hold plain numbers")
        return None
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        values = pd.to_numeric(column.astype("object"), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = np.flatnonzero(np.isnan(values) & ~empty)
    if bad.size:
        found = str(column.iloc[int(bad[0])])
        comma = re.fullmatch(r"\s*-?\d*,\d+\s*", found)
        texts = list(dict.fromkeys(str(value).strip() for value in column.iloc[bad]))
        hint = "missing values are written NA, '.' or left empty, or named with na='...' (--na)"
        if comma:
            hint = "a decimal comma is understood where columns are separated by semicolons or tabs"
        elif bad.size + empty.sum() == len(values) and len(texts) <= 12:
            shown = ", ".join(f"'{text}'" for text in texts[:4]) + (", ..." if len(texts) > 4 else "")
            hint = f"it is text throughout, {plural(len(texts), 'category')}: {shown}; code them as numbers"
            hint = hint.replace("categorys", "categories")
        problems.append(
            f"data: column '{name}' must hold numbers; row {bad[0] + 1} has '{found}' "
            f"({plural(bad.size, 'such value')}; {hint})"
        )
        return None
    large = np.flatnonzero(np.abs(values) > LARGE)
    if large.size and np.isfinite(values[large[0]]):
        problems.append(
            f"data: column '{name}' has {values[large[0]]:g} in row {large[0] + 1}; numbers beyond {LARGE:g} cannot be "
            "analysed (their squares are too large for the computer): correct the value, or divide the column"
        )
        return None
    if np.isinf(values).any():
        at = int(np.flatnonzero(np.isinf(values))[0])
        problems.append(f"data: column '{name}' has infinite values, first in row {at + 1}")
        return None
    return values


def _complete_rows(table: _Table) -> tuple[_Table, list[str]]:
    """Leave incomplete rows out, and say how many and for which columns."""
    empty = {name: np.isnan(column) for name, column in table.values.items()}
    lost = np.any(list(empty.values()), axis=0)
    kept = table.take(~lost)
    if not lost.any() or lost.all():
        return kept, []
    gone = len(table.labels) - len(np.unique(kept.codes))
    by_column = ", ".join(f"{name} {int(rows.sum()):,}" for name, rows in empty.items() if rows.any())
    clusters = f", and with them all of {plural(gone, 'cluster')}" if gone else ""
    note = (
        f"{int(lost.sum()):,} of {len(lost):,} rows have missing values ({by_column}) and are left out{clusters}; "
        "missing='fiml' (--missing fiml) uses them"
    )
    return kept, [note]


def _spread_notes(table: _Table) -> list[str]:
    """Say where a level-2 value that stands in some rows of a cluster counts for all of them."""
    notes = []
    for name in [name for name in table.model.level2 if name in table.values]:
        filled = int((np.isnan(table.values[name]) & ~np.isnan(table.spread(name)[0][table.codes])).sum())
        if filled:
            notes.append(f"'{name}' was missing in {plural(filled, 'row')} whose cluster has a value: it was taken")
    return notes


def without_codes(
    data: pd.DataFrame, names: Sequence[str], na: str | float | Sequence[str | float] | None
) -> tuple[pd.DataFrame, list[str]]:
    """Data with codes for missing values made missing in some columns, and what there was of them.

    Of a product ``x1:x2`` those of its variables are.
    """
    numbers, texts = missing_codes(na)
    if not numbers and not texts:
        return data, []
    wanted = dict.fromkeys(part for name in names for part in (name, *(factors_of(name) or ())))
    columns, counts = {}, {}
    there = [name for name in wanted if list(data.columns).count(name) == 1]
    for name in there:
        columns[name], found = blanked(data[name], numbers, texts)
        counts[name] = int(found.sum())
    codes = {f"{number:g}": (frozenset({number}), frozenset[str]()) for number in sorted(numbers)}
    codes |= {text: (frozenset[float](), frozenset({text})) for text in sorted(texts)}
    seen = {code: any(blanked(data[name], *one)[1].any() for name in there) for code, one in codes.items()}
    by_column = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
    notes = [f"{', '.join(code for code in codes if seen[code])} made missing: {by_column}"] if by_column else []
    absent = [code for code in codes if not seen[code] and code not in NA_TEXTS]
    notes += [f"--na {code}: occurs in no variable of the model" for code in absent]
    return data.assign(**columns), notes


def _constants(values: dict[str, FloatArray]) -> list[str]:
    """Columns that do not vary."""
    return [
        f"data: column '{name}' is constant ({np.nanmin(column):g} in every row that is used)"
        for name, column in values.items()
        if np.nanmin(column) == np.nanmax(column)
    ] + [
        f"data: the values of column '{name}' differ by {np.nanmax(column) - np.nanmin(column):g} at most, which is "
        f"less than {SMALL:g}: squares of such differences are too small for the computer; multiply the column"
        for name, column in values.items()
        if 0.0 < np.nanmax(column) - np.nanmin(column) < SMALL
    ]


def _level_problems(table: _Table) -> list[str]:
    """Level-2 variables that vary within clusters, and level-1 variables that do not."""
    problems = []
    for name, column in table.values.items():
        spread = float(np.nanmax(column) - np.nanmin(column))
        low, high = table.spread(name)
        varies = np.flatnonzero(high - low > ROUNDING * spread)
        if name in table.model.level2 and varies.size:
            k = int(varies[0])
            problems.append(
                f"data: level-2 variable '{name}' varies within {plural(varies.size, 'cluster')}: cluster "
                f"'{table.labels[k]}' has {low[k]:g} and {high[k]:g}; give it one value a cluster, or name it in the "
                "within block too"
            )
        elif name in table.model.level1 and not varies.size and spread and (np.bincount(table.codes) > 1).any():
            problems.append(
                f"data: '{name}' stands in the within block but is the same in all rows of every cluster; it is a "
                "level-2 variable and belongs in the between block only"
            )
    return problems


def _cluster_problems(table: _Table, cluster: str) -> list[str]:
    """Too few clusters, or clusters too small."""
    sizes = np.bincount(table.codes, minlength=len(table.labels))
    sizes = sizes[sizes > 0]
    between = len(table.model.observed("between"))
    if len(sizes) == 1:
        return [f"data: there is only one cluster: all {sizes[0]:,} rows have the same '{cluster}'"]
    if sizes.max() == 1:
        return [
            f"data: each of the {len(sizes):,} clusters has one row; is '{cluster}' the column of clusters, or of rows?"
        ]
    if len(sizes) <= between:
        return [
            f"data: {len(sizes)} clusters are too few for {plural(between, 'between variable')}; there must be more "
            "clusters than between variables"
        ]
    return []


def _combinations(table: _Table) -> list[str]:
    """Columns that are combinations of others, within or between clusters, as far as complete rows tell."""
    complete = table.take(~np.any([np.isnan(column) for column in table.values.values()], axis=0))
    model, codes = table.model, np.unique(complete.codes, return_inverse=True)[1]
    sizes = np.bincount(codes)
    if len(codes) - len(sizes) <= len(model.level1) or len(sizes) <= len(model.variables):
        return []
    scales = {name: float(column.std()) or 1.0 for name, column in complete.values.items()}
    columns = {name: (column - column.mean()) / scales[name] for name, column in complete.values.items()}
    means = {name: np.bincount(codes, column) / sizes for name, column in columns.items()}
    problems = [
        f"data: the cluster means of '{name}' are all the same (was it centred within clusters?): it has no between "
        "part, so take it out of the between block"
        for name in model.both
        if np.var(means[name]) < SINGULAR < np.var(columns[name])
    ]
    reported: set[frozenset[str]] = set()
    within = {name: columns[name] - means[name][codes] for name in model.level1}
    between = {name: means[name] for name in model.observed("between")}
    for level, parts in (("within", within), ("between", between)):
        parts = {name: part for name, part in parts.items() if np.var(part) >= SINGULAR}
        if not parts:
            continue
        for target, weights in _dependent(parts):
            together = frozenset({target, *weights})
            if together in reported:
                continue
            reported.add(together)
            shown = {name: f"mean({name})" if level == "between" and name in model.level1 else name for name in parts}
            terms = [(weight * scales[target] / scales[name], shown[name]) for name, weight in weights.items()]
            sums = " ".join(_term(weight, name) for weight, name in terms).removeprefix("+ ")
            problems.append(
                f"data: {', '.join(repr(name) for name in (*weights, target))} are perfectly collinear {level} "
                f"clusters: {shown[target]} = {sums}, up to a constant; leave one of them out"
            )
    return problems


def _term(weight: float, name: str) -> str:
    sign = "-" if weight < 0 else "+"
    return f"{sign} {name}" if abs(abs(weight) - 1.0) < 1e-6 else f"{sign} {abs(weight):.4g} {name}"


def _dependent(parts: dict[str, FloatArray]) -> list[tuple[str, dict[str, float]]]:
    """Columns that are combinations of earlier ones, and the weights (Gauss-Jordan elimination of the scatter)."""
    names = list(parts)
    rows = np.column_stack(list(parts.values()))
    rows = rows - rows.mean(axis=0)
    a = rows.T @ rows
    first, used, found = np.diagonal(a).copy(), [], []
    for k, name in enumerate(names):
        if a[k, k] > SINGULAR * first[k]:
            a[k] /= a[k, k]
            for i in range(len(names)):
                if i != k:
                    a[i] -= a[i, k] * a[k]
            used.append(k)
        else:
            found.append((name, {names[j]: float(a[j, k]) for j in used if abs(a[j, k]) > 1e-6}))
    return found
