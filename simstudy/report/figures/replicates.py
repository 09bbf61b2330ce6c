"""Replicate rows for figures: checked, with limits and truth, a panel a method; and axes that outliers cannot take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri

from simstudy.errors import SimstudyError
from simstudy.performance import kind_order
from simstudy.report.figures.select import Selection, check_name, chosen_cells, names_in
from simstudy.report.figures.words import condition_words, parameter_name, truth_words

FloatArray = npt.NDArray[np.float64]
COLUMNS: tuple[str, ...] = (
    "cell",
    "rep",
    "estimator",
    "se_kind",
    "parameter",
    "level",
    "truth",
    "estimate",
    "se",
    "lower",
    "upper",
)
"""Columns of replicate rows; a study's factors stand before them."""
NEEDED = ("estimator", "estimate")
FENCE = 3.0
"""The axis reaches so many interquartile ranges beyond the quartiles (Tukey's outer fences); what is further out is
marked at the edge."""
FAR = 200.0
"""A method whose values span so many times what those of the middle method do does not set the axis."""


@dataclass(frozen=True)
class Replicates:
    """Replicates of one parameter in one cell.

    Attributes
    ----------
    parameter, level : str
    truth : float
        NaN if there is none.
    settings : mapping
        Levels of the cell's factors.
    cell : int
    methods : dict of str to DataFrame
        Rows of each method with a finite estimate, by replicate.
    silent : tuple of str
        Methods without any estimate.
    kinds : dict of str to str
        Kind of SE of each method.
    """

    parameter: str
    level: str
    truth: float
    settings: Mapping[str, object]
    cell: int
    methods: dict[str, pd.DataFrame]
    silent: tuple[str, ...]
    kinds: dict[str, str]

    @property
    def name(self) -> str:
        """Parameter with its level."""
        return parameter_name(self.parameter, self.level)

    @property
    def about(self) -> str:
        """Truth and condition."""
        return "; ".join(
            text for text in (truth_words(pd.Series([self.truth])), condition_words(self.settings)) if text
        )

    @property
    def kind_note(self) -> str:
        """Kinds of SE in a sentence."""
        found = {name: kind for name, kind in self.kinds.items() if kind and name in self.methods}
        if len(set(found.values())) == 1:
            return f"SE: {next(iter(found.values()))}."
        return f"SE: {', '.join(f'{name} {kind}' for name, kind in found.items())}." if found else ""

    @property
    def silent_note(self) -> str:
        """Methods that are not drawn."""
        return f"Without any estimate: {', '.join(self.silent)}." if self.silent else ""

    def stem(self, chosen: Selection) -> list[str]:
        """Parts of a file name: parameter, cell, and what was chosen."""
        return [self.parameter, f"cell-{self.cell}", *replace(chosen, cells=None).words()]


def factors_of(replicates: pd.DataFrame) -> list[str]:
    """Columns that are design factors."""
    return [str(name) for name in replicates.columns if name not in COLUMNS]


def one_cell(replicates: pd.DataFrame, parameter: str | None, chosen: Selection, level: float = 0.95) -> Replicates:
    """Rows of one parameter in one cell, one a method and replicate, with Wald limits where no others are given.

    Parameters
    ----------
    replicates : DataFrame
        estimator and estimate; rep, cell, parameter (or param), truth, se, lower, upper, se_kind, level and factors
        where they are there.  Estimates that are not finite are left out, whatever the reason.
    parameter : str, optional
        By default the only one.
    chosen : Selection
        A cell, methods, and a kind of SE for the methods that have it; by default the only cell, all methods and each
        one's first kind.
    level : float
        Level of the Wald intervals.

    Raises
    ------
    SimstudyError
        If a name is unknown, or more than one cell or parameter is left.
    """
    table = _complete(replicates)
    known = names_in(table, "parameter")
    if parameter is not None and known:
        check_name("parameter", parameter, known)
        table = table[table["parameter"] == parameter]
    elif len(known) > 1:
        raise SimstudyError(f"parameter: choose one of {', '.join(known)}")
    if chosen.cells is not None:
        table = chosen_cells(table, chosen.cells, {})
    cells = sorted({int(number) for number in table["cell"]})
    if len(cells) != 1:
        shown = f"{cells[0]} to {cells[-1]}" if cells else "none"
        raise SimstudyError(f"cell: choose one; the replicates are of {len(cells)} cells ({shown})")
    everyone = names_in(table, "estimator")
    for name in chosen.estimators or ():
        check_name("estimator", name, everyone)
    if chosen.se_kind is not None:
        check_name("se_kind", chosen.se_kind, names_in(table, "se_kind"))
    truth = table["truth"].to_numpy(dtype=np.float64)
    first = table.iloc[0]
    methods, silent, kinds = {}, [], {}
    for name in chosen.estimators or everyone:
        rows, kinds[name] = _of_method(table[table["estimator"] == name], chosen.se_kind, level)
        if len(rows):
            methods[name] = rows
        else:
            silent.append(name)
    if not methods:
        raise SimstudyError(f"parameter '{first['parameter']}', cell {cells[0]}: no method has an estimate")
    settings = {name: first[name] for name in factors_of(table)}
    texts = str(first["parameter"]), str(first["level"])
    value = float(truth[0]) if len(truth) else float("nan")
    return Replicates(*texts, value, settings, cells[0], methods, tuple(silent), kinds)


def _complete(replicates: pd.DataFrame) -> pd.DataFrame:
    """Columns that are not there get what they mean when absent."""
    table = replicates.rename(columns={"param": "parameter"} if "parameter" not in replicates.columns else {})
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise SimstudyError(f"replicates: the table has no column {', '.join(missing)}")
    if table.empty:
        raise SimstudyError("replicates: the table has no rows")
    texts = {"se_kind": "", "parameter": "estimate", "level": ""}
    numbers = dict.fromkeys(("truth", "se", "lower", "upper"), np.nan)
    defaults: dict[str, Any] = {"cell": 0, **texts, **numbers}
    absent = {name: value for name, value in defaults.items() if name not in table.columns}
    table = table.assign(**absent)
    if "rep" not in table.columns:
        table["rep"] = table.groupby(["cell", "estimator", "se_kind", "parameter"], observed=True).cumcount()
    return table.astype({"estimator": "str", "se_kind": "str", "parameter": "str", "level": "str"})


def _of_method(rows: pd.DataFrame, se_kind: str | None, level: float) -> tuple[pd.DataFrame, str]:
    """Rows of one kind of SE by replicate, with limits, and that kind."""
    kinds = sorted(rows["se_kind"].unique(), key=kind_order)
    kind = se_kind if se_kind in kinds else kinds[0]
    rows = rows[(rows["se_kind"] == kind) & np.isfinite(rows["estimate"].astype(float))].sort_values(
        "rep", kind="stable"
    )
    repeated = rows["rep"][rows["rep"].duplicated()]
    if len(repeated):
        raise SimstudyError(f"replicates: {rows['estimator'].iloc[0]} has replicate {repeated.iloc[0]} more than once")
    half = float(ndtri(0.5 * (1.0 + level))) * rows["se"].astype(float)
    wald = rows["lower"].isna() | rows["upper"].isna()
    lower, upper = rows["estimate"] - half, rows["estimate"] + half
    limits = {"lower": rows["lower"].where(~wald, lower), "upper": rows["upper"].where(~wald, upper)}
    return rows.assign(**limits).reset_index(drop=True), str(kind)


def central_limits(groups: Sequence[FloatArray], include: Sequence[float] = ()) -> tuple[float, float]:
    """Ends of an axis for the values of several methods, that outliers and a method far off the others cannot take."""
    finite = [values[np.isfinite(values)] for values in groups]
    spans = [_inside_fences(values) for values in finite if len(values)]
    known = [value for value in include if np.isfinite(value)]
    if not spans:
        return (0.0, 1.0)
    middle = float(np.median([high - low for low, high in spans]))
    kept = [(low, high) for low, high in spans if high - low <= FAR * middle] or spans
    low = min([*(low for low, _ in kept), *known])
    high = max([*(high for _, high in kept), *known])
    pad = 0.04 * (high - low) or 0.05 * max(abs(high), 1.0)
    return low - pad, high + pad


def _inside_fences(values: FloatArray) -> tuple[float, float]:
    """Smallest and largest value inside the fences."""
    first, third = (float(end) for end in np.quantile(values, (0.25, 0.75)))
    reach = FENCE * (third - first)
    inner = values[(values >= first - reach) & (values <= third + reach)]
    return float(inner.min()), float(inner.max())
