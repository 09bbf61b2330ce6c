"""The parts of a fit's summary that are tables: parameters of each level, R-square, residuals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import pandas as pd

from simstudy.analysis.result import FitRecord
from simstudy.report.tables.text import NOT_AVAILABLE, Line, TextTable, fixed, measured

LABEL, VALUE, CELL = 42, 14, 9
"""Width of a name and a number in the upper part, and least width of a number in the tables."""
NOISE = 1e-3, 5e-4
"""Estimates below this share of their SE are printed as 0, as are moments below this share of their variables' SDs."""
ALARM = "bold red"
BLOCKS = (
    ("Latent Variables", "=~", False),
    ("Regressions", "~", False),
    ("Covariances", "~~", False),
    ("Intercepts", "~1", False),
    ("Variances", "~~", True),
)
"""Title, operator, and whether both sides are the same variable."""
SE_WORDS = {
    "expected": ("Standard", "Expected"),
    "observed": ("Standard", "Observed"),
    "robust": ("Robust.cluster", "Observed"),
}
ICC_WORDS = {
    "unrestricted": "unrestricted model",
    "psd": "unrestricted model with a positive semidefinite between covariance matrix",
}
CI_WORDS = {
    "wald": "Wald",
    "montecarlo": "Wald, Monte Carlo of :=",
    "bootstrap": "Parametric bootstrap",
    "cluster_bootstrap": "Cluster bootstrap",
}


def fact(label: str, *values: str) -> Line:
    """A line of the upper part: a name and its value, or two values."""
    first, *others = values
    start = f"  {label:<{LABEL - 2}}{first:>{VALUE}}"
    return Line(start + "".join(f" {value:>{VALUE - 1}}" for value in others))


def number(value: float, decimals: int = 3) -> str:
    """A number with all of its digits before the point; n/a where there is none."""
    if math.isnan(value):
        return NOT_AVAILABLE
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0.0 else text


class ParameterRow(NamedTuple):
    """One row of ``FitRecord.parameters``."""

    lhs: str
    op: str
    rhs: str
    level: str
    label: str
    est: float
    se: float
    z: float
    pvalue: float
    ci_lower: float
    ci_upper: float
    free: bool

    def in_units(self) -> list[tuple[float, str]]:
        """Estimate, SE and limits, which are in the user's units, and how they are printed."""
        noise = 0.0 if math.isnan(self.se) else NOISE[0] * self.se
        others = [(value, measured(value)) for value in (self.se, self.ci_lower, self.ci_upper)]
        return [(self.est, measured(self.est, noise=noise)), *others]


@dataclass(frozen=True)
class _Columns:
    """Columns of the parameter tables: widths of names and labels, interval limits or not, standardised estimates.

    ``numbers`` are the widths of the columns of numbers, each with the space before it.
    """

    names: int
    labels: int
    limits: bool
    standardized: dict[tuple[str, str, str, str], float] | None
    numbers: tuple[int, ...] = ()

    def fitted_to(self, rows: Sequence[ParameterRow]) -> _Columns:
        """The columns, each as wide as its widest number needs."""
        table = [[CELL - 1] * len(self._words()), *([len(cell) for cell in self._cells(row)] for row in rows)]
        full = [row for row in table if len(row) == len(table[0])]
        return replace(self, numbers=tuple(1 + max(column) for column in zip(*full, strict=True)))

    def heading(self) -> str:
        """Column headings."""
        return " " * (self.names + self.labels) + self._laid_out(self._words())

    def row(self, name: str, label: str, row: ParameterRow) -> str:
        """One parameter; what a fixed parameter has not is blank, what is not known is n/a."""
        shown = f"({label})" if label else ""
        return f"{name:<{self.names}}{shown:<{self.labels}}{self._laid_out(self._cells(row))}".rstrip()

    def _words(self) -> list[str]:
        words = ["Estimate", "Std.Err", "z-value", "P(>|z|)"]
        return words + ["ci.lower", "ci.upper"] * self.limits + ["Std.all"] * (self.standardized is not None)

    def _cells(self, row: ParameterRow) -> list[str]:
        if row.op == "~" and not row.free and math.isnan(row.est) and row.label:  # a random slope
            return ["random"]
        est, error, *limits = row.in_units()
        numbers = [est, error, *((x, fixed(x, 3)) for x in (row.z, row.pvalue)), *limits * self.limits]
        gaps = [NOT_AVAILABLE] + [NOT_AVAILABLE if row.free else ""] * (len(numbers) - 1)
        cells = [gap if math.isnan(x) else text for (x, text), gap in zip(numbers, gaps, strict=True)]
        if self.standardized is not None:
            value = self.standardized.get((row.lhs, row.op, row.rhs, row.level), math.nan)
            cells.append("" if math.isnan(value) else fixed(value, 3))
        return cells

    def _laid_out(self, cells: Sequence[str]) -> str:
        return "".join(f"{cell:>{width}}" for cell, width in zip(cells, self.numbers, strict=False))


def parameter_rows(fit: FitRecord) -> list[ParameterRow]:
    """Every row of ``FitRecord.parameters``; the path of a random slope is labelled with its name."""
    random = {(row.level, *row.key): row.slope for row in fit.model.table.rows if row.slope}
    rows = [
        ParameterRow(*entry) for entry in fit.parameters[list(ParameterRow._fields)].itertuples(index=False, name=None)
    ]
    return [row._replace(label=random.get((row.level, row.lhs, row.op, row.rhs), row.label)) for row in rows]


def parameter_lines(
    fit: FitRecord, width: int, standardized: pd.DataFrame | None, r_squared: pd.DataFrame | None
) -> list[Line]:
    """Every level's tables, and the defined parameters."""
    options = fit.options
    errors, information = SE_WORDS.get(str(options.get("se")), (str(options.get("se")), ""))
    ci = str(options.get("ci", "wald"))
    lines = [Line(""), Line("Parameter Estimates:", "bold"), Line(""), fact("Standard errors", errors)]
    if information and (fit.slopes or fit.measures.get("chisq", math.nan) == fit.measures.get("chisq")):
        lines.append(fact("Information", information))
    percent = f"{100 * float(options.get('ci_level', 0.95)):g}%"
    drawn = "" if ci == "wald" else f", {options.get('draws', '?')} draws, seed {options.get('seed', '?')}"
    lines.append(Line(f"  Confidence intervals    {f'{percent} {CI_WORDS.get(ci, ci)}{drawn}':>{LABEL + VALUE - 24}}"))
    rows = parameter_rows(fit)
    columns, dropped = _columns(fit, rows, width, standardized)
    if dropped:
        lines.append(Line(f"  (interval limits do not fit into {width} characters; a wider terminal has them)", "dim"))
    for number, (level, block) in enumerate((("within", "within"), ("between", fit.cluster)), start=1):
        lines += [Line(""), Line(""), Line(f"Level {number} [{block}]:", "bold")]
        mine = [row for row in rows if row.level == level and not is_silent(fit, row)]
        lines += _level(fit, level, mine, columns)
        if r_squared is not None:
            lines += _r_squared(r_squared, level, columns)
    defined = [row for row in rows if row.op == ":="]
    if defined:
        lines += [Line(""), Line(""), Line("Defined Parameters:", "bold"), Line(columns.heading(), "bold")]
        lines += [Line(columns.row(f"    {row.lhs}", "", row)) for row in defined]
    return lines


def _columns(
    fit: FitRecord, rows: Sequence[ParameterRow], width: int, standardized: pd.DataFrame | None
) -> tuple[_Columns, bool]:
    """Widths, and whether the interval limits had to go."""
    shown = [row.rhs if row.op in ("=~", "~", "~~") else row.lhs for row in rows]
    names = max([17, *(len(name) + 6 for name in shown)])
    labels = max((len(row.label) + 3 for row in rows if row.op != ":=" and row.label), default=0)
    fully = None
    if standardized is not None:
        keys = standardized[["lhs", "op", "rhs", "level", "est"]].itertuples(index=False, name=None)
        fully = {(lhs, op, rhs, level): float(est) for lhs, op, rhs, level, est in keys}
    columns = _Columns(names, labels, True, fully).fitted_to(rows)
    simulated = fit.options.get("ci", "wald") != "wald"  # then the limits are what was asked for
    if simulated or len(columns.heading()) <= width:
        return columns, False
    return _Columns(names, labels, False, fully).fitted_to(rows), True


def is_silent(fit: FitRecord, row: ParameterRow) -> bool:
    """Means fixed at 0 that the user did not write: of latent variables, and of within parts."""
    if row.op != "~1" or row.free or row.est != 0.0:
        return False
    found = fit.model.table.find(row.level, row.lhs, row.op, row.rhs)
    return found is not None and not found.user


def _level(fit: FitRecord, level: str, rows: Sequence[ParameterRow], columns: _Columns) -> list[Line]:
    """Tables of one level; a dot marks residuals, intercepts included."""
    explained = {row.lhs if row.op == "~" else row.rhs for row in fit.model.table.at(level) if row.op in ("=~", "~")}

    def dotted(name: str) -> str:
        return f".{name}" if name in explained else f" {name}"

    lines: list[Line] = []
    for title, op, same in BLOCKS:
        mine = [row for row in rows if row.op == op and (op != "~~" or (row.lhs == row.rhs) == same)]
        if not mine:
            continue
        lines += [Line(""), Line(f"{title}:", "bold"), Line(columns.heading(), "bold")]
        if op == "~1" or same:
            for row in mine:
                alarm = ALARM if same and row.est < 0 else ""
                lines.append(Line(columns.row(f"   {dotted(row.lhs)}", row.label, row), alarm))
            continue
        for lhs in dict.fromkeys(row.lhs for row in mine):
            lines.append(Line(f" {dotted(lhs) if op == '~~' else ' ' + lhs} {op}"))
            for row in (row for row in mine if row.lhs == lhs):
                name = f"   {dotted(row.rhs)}" if op == "~~" else f"    {row.rhs}"
                lines.append(Line(columns.row(name, row.label, row)))
    return lines


def _r_squared(table: pd.DataFrame, level: str, columns: _Columns) -> list[Line]:
    mine = table[table["level"] == level]
    if mine.empty:
        return []
    indent = " " * (columns.names + columns.labels)
    lines = [Line(""), Line("R-Square:", "bold"), Line(f"{indent}{'Estimate':>{CELL}}", "bold")]
    for name, value in zip(mine["variable"], mine["r2"], strict=True):
        lines.append(Line(f"{f'    {name}':<{len(indent)}}{number(float(value)):>{CELL}}"))
    return lines


def residual_lines(residuals: pd.DataFrame) -> list[Line]:
    """Observed, model-implied and residual moments of each level."""
    lines: list[Line] = []
    for level in dict.fromkeys(residuals["level"]):
        mine = residuals[residuals["level"] == level]
        moments = list(mine[["lhs", "rhs", "observed", "implied", "residual"]].itertuples(index=False, name=None))
        sds = {lhs: math.sqrt(abs(observed)) for lhs, rhs, observed, *_ in moments if lhs == rhs}
        cells = tuple(
            (f"  {lhs}", str(rhs) or "(mean)", *_moments(numbers, sds.get(lhs, 0.0) * sds.get(rhs, 1.0)))
            for lhs, rhs, *numbers in moments
        )
        header = ("  lhs", "rhs", "observed", "implied", "residual")
        lines += [Line(""), Line(""), Line(f"Residuals [{level}]: observed minus implied moments", "bold"), Line("")]
        lines += TextTable(header, cells, left=2).lines()
    return lines


def _moments(numbers: Sequence[float], scale: float) -> list[str]:
    """Observed, implied and residual moment, given the (product of the) SDs of its variables."""
    noise = NOISE[1] * max(scale, *(abs(value) for value in numbers))
    return [NOT_AVAILABLE if math.isnan(value) else measured(value, noise=noise) for value in numbers]
