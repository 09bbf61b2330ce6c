"""The parameter table: every parameter of both levels, free or fixed, with lavaan's defaults filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from simstudy.errors import ModelError, did_you_mean
from simstudy.linalg.stacked import IntArray
from simstudy.model.constraints import Constraint, build_constraints
from simstudy.model.expressions import CONSTANTS, Expression
from simstudy.model.slopes import RandomSlope, slope_problems
from simstudy.model.syntax import Statement

LEVEL_NAMES = ("within", "between")


@dataclass(frozen=True)
class Parameter:
    """One entry of a model matrix.

    Attributes
    ----------
    lhs, op, rhs : str
        As in lavaan; ``op`` is one of ``=~ ~ ~~ ~1``.
    level : str
        ``within`` or ``between``.
    label : str
        User label, or empty.
    free : int
        Index into the vector of free parameters, or -1 when fixed.
    value : float
        The value it is fixed at (NaN when free).
    start : float
        The user's starting value (NaN when not given).
    user : bool
        Whether the model text names it; False for defaults.
    slope : str
        The random slope that a path of the within block has in place of a parameter (it is fixed at 0), or empty.
    """

    lhs: str
    op: str
    rhs: str
    level: str
    label: str = ""
    free: int = -1
    value: float = np.nan
    start: float = np.nan
    user: bool = True
    slope: str = ""

    @property
    def path(self) -> str:
        """Its address, such as ``between: y ~~ y`` or ``between: y ~ 1``."""
        return path_name(self.level, self.lhs, self.op, self.rhs)

    @property
    def key(self) -> tuple[str, str, str]:
        """(lhs, op, rhs) with the sides of a covariance in alphabetical order."""
        return normal_key(self.lhs, self.op, self.rhs)


@dataclass(frozen=True)
class ParameterTable:
    """All parameters of a two-level model.

    Attributes
    ----------
    rows : tuple of Parameter
    names : tuple of str, length q
        Name of every free parameter: its label, or the path of its first row.
    levels : tuple of str, length q
        ``within``, ``between``, or ``both`` when a label ties parameters of both levels.
    defined : tuple of (str, Expression)
        The ``:=`` parameters, in order.
    constants : dict
        Values of labelled fixed parameters, which ``:=`` may use.
    constraints : tuple of Constraint
        ``==`` constraints that equal labels cannot express; each makes one named parameter a function of others.
    """

    rows: tuple[Parameter, ...]
    names: tuple[str, ...]
    levels: tuple[str, ...]
    defined: tuple[tuple[str, Expression], ...] = ()
    constants: dict[str, float] = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()

    @property
    def n_free(self) -> int:
        """Number of free parameters, q."""
        return len(self.names)

    def at(self, level: str) -> tuple[Parameter, ...]:
        """Rows of one level."""
        return tuple(row for row in self.rows if row.level == level)

    def find(self, level: str, lhs: str, op: str, rhs: str) -> Parameter | None:
        """Row at an address, or None."""
        key = normal_key(lhs, op, rhs)
        return next((row for row in self.rows if row.level == level and row.key == key), None)

    @property
    def slopes(self) -> tuple[RandomSlope, ...]:
        """Random slopes, in order of appearance."""
        return tuple(RandomSlope(row.slope, row.lhs, row.rhs) for row in self.rows if row.slope)

    @property
    def variance_indices(self) -> IntArray:
        """Free parameters that are variances."""
        found = {row.free for row in self.rows if row.op == "~~" and row.lhs == row.rhs and row.free >= 0}
        return np.array(sorted(found), dtype=np.int64)


def normal_key(lhs: str, op: str, rhs: str) -> tuple[str, str, str]:
    """Address without level; covariances are symmetric."""
    if op == "~~" and rhs < lhs:
        lhs, rhs = rhs, lhs
    return lhs, op, rhs


def path_name(level: str, lhs: str, op: str, rhs: str) -> str:
    """Name of an unlabelled parameter."""
    return f"{level}: {lhs} ~ 1" if op == "~1" else f"{level}: {lhs} {op} {rhs}"


def build_table(statements: Iterable[Statement], *, std_lv: bool = False) -> ParameterTable:
    """Turn statements into the full table, adding the defaults of lavaan's ``sem()`` with ``fixed.x = FALSE``.

    Defaults a level: free residual variances (0 for the only indicator of a factor); free covariances of exogenous
    observed predictors, of exogenous latent variables, and of pure outcomes; first loading fixed to 1 (or factor
    variances, with ``std_lv``); free intercepts of observed variables at the between level, and at the within level
    for variables that live there only. Random slopes are latent variables of the between level with a free mean.

    Raises
    ------
    ModelError
        Contradictory or unusable statements, all at once.
    """
    statements = tuple(statements)
    problems = slope_problems(statements)
    slopes = list(dict.fromkeys(s.random_slope for s in statements if s.random_slope))
    between_observed = _observed(_level_rows(statements, "between", problems), slopes)
    rows: list[Parameter] = []
    for level in LEVEL_NAMES:
        user = _level_rows(statements, level, problems)
        if not user:
            problems.append(f"model: there is no 'level: {level}' block, or it is empty; both levels are needed")
            continue
        rows.extend(_with_defaults(user, level, between_observed, slopes if level == "between" else [], std_lv))
    _check_names(rows, slopes, problems)
    problems += [
        f"model: the label '{name}' is the name of a constant; choose another"
        for name in sorted({row.label for row in rows} | {s.lhs for s in statements if s.op == ":="})
        if name in CONSTANTS
    ]
    if problems:
        raise ModelError(problems)
    rows, left, merged = _impose_equalities(rows, [s for s in statements if s.op == "=="])
    table = number_rows(rows, [renamed(s, merged) for s in statements if s.op == ":="])
    return replace(table, constraints=build_constraints(left, table.names, table.constants)) if left else table


def _level_rows(statements: Iterable[Statement], level: str, problems: list[str]) -> list[Parameter]:
    """Rows that the user wrote at one level; repeated mentions of a parameter are merged."""
    merged: dict[tuple[str, str, str], Parameter] = {}
    for s in statements:
        if s.level != level:
            continue
        where = f"model line {s.line}, column {s.column}"
        if s.op == "~" and s.lhs == s.rhs:
            message = f"{where}: '{s.lhs}' is regressed on itself; a variance is written {s.lhs} ~~ {s.lhs}"
            if message not in problems:
                problems.append(message)
            continue
        key = normal_key(s.lhs, s.op, s.rhs)
        if s.random_slope:
            merged[key] = Parameter(s.lhs, s.op, s.rhs, level, value=0.0, slope=s.random_slope)
            continue
        old = merged.get(key, Parameter(s.lhs, s.op, s.rhs, level, free=-2 if s.fixed is None else -1))
        label = s.label or old.label
        if s.label and old.label and s.label != old.label:
            problems.append(f"{where}: '{s.lhs} {s.op} {s.rhs}' has two labels, '{old.label}' and '{s.label}'")
        value = old.value if s.fixed is None else s.fixed
        merged[key] = replace(
            old,
            label=label,
            value=value,
            free=0 if s.freed else (-1 if not np.isnan(value) else old.free),
            start=old.start if s.start is None else s.start,
        )
    # free = -2: not said; 0: freed by NA*; -1: fixed by a number
    return list(merged.values())


def _observed(rows: Iterable[Parameter], slopes: Iterable[str] = ()) -> list[str]:
    """Observed variables of a level, in order of appearance."""
    rows = list(rows)
    latents = {row.lhs for row in rows if row.op == "=~"} | set(slopes)
    found: dict[str, None] = {}
    for row in rows:
        for name in (row.lhs, row.rhs) if row.op != "=~" else (row.rhs,):
            if name and name not in latents:
                found.setdefault(name)
    return list(found)


def _with_defaults(
    user: list[Parameter], level: str, between_observed: list[str], slopes: list[str], std_lv: bool
) -> list[Parameter]:
    rows = [_settle_loading(row, user, std_lv) for row in user]
    have = {row.key for row in rows}
    latents = [*dict.fromkeys(row.lhs for row in user if row.op == "=~"), *slopes]
    observed = _observed(user, slopes)
    indicators = {row.rhs for row in user if row.op == "=~"}
    outcomes = {row.lhs for row in user if row.op == "~"}
    predictors = {row.rhs for row in user if row.op == "~"}

    def add(lhs: str, op: str, rhs: str, fixed: float | None = None) -> None:
        if normal_key(lhs, op, rhs) not in have:
            have.add(normal_key(lhs, op, rhs))
            value = np.nan if fixed is None else fixed
            rows.append(Parameter(lhs, op, rhs, level, free=-2 if fixed is None else -1, value=value, user=False))

    def add_pairs(names: list[str]) -> None:
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                add(first, "~~", second)

    single = {row.rhs for row in user if row.op == "=~" and sum(r.op == "=~" and r.lhs == row.lhs for r in user) == 1}
    for name in observed:
        add(name, "~~", name, 0.0 if name in single else None)
    for name in latents:
        add(name, "~~", name, 1.0 if std_lv and name not in outcomes and name not in slopes else None)
    add_pairs([name for name in observed if name in predictors and name not in outcomes and name not in indicators])
    add_pairs([name for name in latents if name not in outcomes and name not in indicators])
    add_pairs([n for n in [*latents, *observed] if n in outcomes and n not in predictors and n not in indicators])
    for name in observed:
        add(name, "~1", "", 0.0 if level == "within" and name in between_observed else None)
    for name in latents:
        add(name, "~1", "", None if name in slopes else 0.0)
    return rows


def _settle_loading(row: Parameter, user: list[Parameter], std_lv: bool) -> Parameter:
    """The first indicator of a factor is its marker unless ``NA*`` frees it; a label alone does not."""
    if row.op != "=~" or std_lv or row.free != -2:
        return row
    first = next(other for other in user if other.op == "=~" and other.lhs == row.lhs)
    return replace(row, free=-1, value=1.0) if row is first else row


def _check_names(rows: list[Parameter], slopes: list[str], problems: list[str]) -> None:
    latents = {row.lhs for row in rows if row.op == "=~"}
    observed = {name for level in LEVEL_NAMES for name in _observed([r for r in rows if r.level == level], slopes)}
    problems.extend(
        f"model: '{name}' is a latent variable at one level and an observed one at the other; give it another name"
        for name in sorted(latents & observed)
    )
    both = {r.lhs for r in rows if r.level == "between"}
    problems.extend(
        f"model: the mean of '{row.lhs}' is free at both levels; only their sum is identified, so drop "
        f"'{row.lhs} ~ 1' from the within block"
        for row in rows
        if row.level == "within" and row.op == "~1" and row.user and row.free != -1
        and row.lhs in both and row.lhs not in latents
    )  # fmt: skip


def _impose_equalities(
    rows: list[Parameter], constraints: list[Statement]
) -> tuple[list[Parameter], list[Statement], dict[str, str]]:
    """Impose ``label == label`` and ``label == number``; return what is left, and labels merged into others."""
    left_over: list[Statement] = []
    merged: dict[str, str] = {}
    for statement in constraints:
        s = renamed(statement, merged)
        assert s.expression is not None
        assert s.right is not None
        labels = {row.label for row in rows if row.label}
        for name in (*s.expression.names, *s.right.names):
            if name not in labels:
                raise ModelError(
                    f"model line {s.line}: '{name}' in '{s.lhs} == {s.rhs}' is no label of this model"
                    f"{did_you_mean(name, labels)}"
                )
        left, right = s.expression.root, s.right.root
        if left.kind == "name" and right.kind == "name":
            rows = [replace(row, label=left.name) if row.label == right.name else row for row in rows]
            if left.name != right.name:
                merged = {old: left.name if new == right.name else new for old, new in merged.items()}
                merged[right.name] = left.name
        elif left.kind == "name" and not s.right.names:
            value = float(s.right.evaluate({}))
            if any(row.label == left.name and row.free == -1 and row.value != value for row in rows):
                raise ModelError(
                    f"model line {s.line}: '{s.lhs} == {s.rhs}' contradicts another value of '{left.name}'"
                )
            rows = [replace(row, free=-1, value=value) if row.label == left.name else row for row in rows]
        else:
            left_over.append(s)
    return rows, [renamed(s, merged) for s in left_over], merged


def renamed(statement: Statement, names: Mapping[str, str]) -> Statement:
    """A ``:=`` or ``==`` statement with labels replaced."""
    if not names:
        return statement
    return replace(
        statement,
        expression=statement.expression.rename(names) if statement.expression else None,
        right=statement.right.rename(names) if statement.right else None,
    )


def number_rows(rows: list[Parameter], definitions: Sequence[Statement] = ()) -> ParameterTable:
    """Give free parameters (any ``free`` but -1) their index; equal labels share one."""
    names: list[str] = []
    levels: list[set[str]] = []
    by_label: dict[str, int] = {}
    constants: dict[str, float] = {}
    numbered: list[Parameter] = []
    fixed_labels = {row.label: row.value for row in rows if row.label and row.free == -1 and not np.isnan(row.value)}
    for row in rows:
        if row.free == -1 or row.label in fixed_labels:
            value = fixed_labels.get(row.label, row.value) if row.label else row.value
            if row.label:
                constants[row.label] = value
            numbered.append(replace(row, free=-1, value=value))
            continue
        index = by_label.get(row.label) if row.label else None
        if index is None:
            index = len(names)
            names.append(row.label or row.path)
            levels.append(set())
            if row.label:
                by_label[row.label] = index
        levels[index].add(row.level)
        numbered.append(replace(row, free=index, value=np.nan))
    known = {*names, *constants}
    defined: list[tuple[str, Expression]] = []
    problems = []
    for s in definitions:
        assert s.expression is not None
        if s.lhs in known:
            problems.append(f"model line {s.line}: '{s.lhs}' is defined twice, or is a label already")
        problems.extend(
            f"model line {s.line}: '{name}' in '{s.lhs} := {s.rhs}' is no label of this model"
            f"{did_you_mean(name, known)}"
            for name in s.expression.names
            if name not in known
        )
        known.add(s.lhs)
        defined.append((s.lhs, s.expression))
    if problems:
        raise ModelError(problems)
    level_names = tuple(next(iter(found)) if len(found) == 1 else "both" for found in levels)
    return ParameterTable(tuple(numbered), tuple(names), level_names, tuple(defined), constants)
