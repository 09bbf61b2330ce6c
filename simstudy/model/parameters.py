"""The parameter table: every parameter of both levels, free or fixed, with lavaan's defaults filled in."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from simstudy.errors import ModelError, did_you_mean
from simstudy.linalg.stacked import FloatArray, IntArray
from simstudy.model.constraints import Constraint, Equation, build_constraints, equations_of
from simstudy.model.defaults import AUTO, auto_notes, observed_of, with_defaults
from simstudy.model.equalities import Request, definition_nodes, expanded, impose_equalities, renamed, tie_rows
from simstudy.model.expressions import CONSTANTS, Expression
from simstudy.model.inequalities import Inequality, bound_problems, impose_inequalities
from simstudy.model.levels import LEVEL_NAMES
from simstudy.model.products import product_problems
from simstudy.model.rows import Parameter, normal_key, path_name
from simstudy.model.slopes import RandomSlope, slope_problems
from simstudy.model.syntax import Statement

__all__ = ["LEVEL_NAMES", "Parameter", "ParameterTable", "build_table", "normal_key", "number_rows", "path_name"]


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
    inequalities : tuple of Inequality
        Those that are no bounds of a parameter; bounds stand in the rows.
    notes : tuple of str
        What a reader of the model text may take otherwise.
    """

    rows: tuple[Parameter, ...]
    names: tuple[str, ...]
    levels: tuple[str, ...]
    defined: tuple[tuple[str, Expression], ...] = ()
    constants: dict[str, float] = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()
    inequalities: tuple[Inequality, ...] = ()
    notes: tuple[str, ...] = ()

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

    @property
    def lower(self) -> FloatArray:
        """Lower bounds of the free parameters (q), -inf where there are none."""
        return self._bounds("lower", np.maximum, -np.inf)

    @property
    def upper(self) -> FloatArray:
        """Upper bounds of the free parameters (q), inf where there are none."""
        return self._bounds("upper", np.minimum, np.inf)

    def _bounds(self, which: str, tighter: np.ufunc, none: float) -> FloatArray:
        found = np.full(self.n_free, none)
        for row in self.rows:
            if row.free >= 0:
                found[row.free] = tighter(found[row.free], row.lower if which == "lower" else row.upper)
        return found

    @property
    def bounded(self) -> bool:
        """Whether any free parameter has a bound or stands in an inequality."""
        bounds = np.isfinite(self.lower).any() or np.isfinite(self.upper).any()
        return bool(self.inequalities) or bool(bounds)


def build_table(statements: Iterable[Statement], *, std_lv: bool = False, auto: str = "simstudy") -> ParameterTable:
    """Turn statements into the full table, adding the defaults of lavaan's ``sem()`` with ``fixed.x = FALSE``.

    Defaults a level: free residual variances (0 for the only indicator of a factor); free covariances of exogenous
    observed predictors, of exogenous latent variables, and of pure outcomes; first loading fixed to 1 (or factor
    variances, with ``std_lv``); free intercepts of observed variables at the between level, and at the within level
    for variables that live there only. Random slopes are latent variables of the between level with a free mean.

    Parameters
    ----------
    auto : str
        ``simstudy``: exogenous observed variables keep their covariances whatever else is written about them;
        ``lavaan``: those with a variance, covariance or mean in the text keep only what is written.

    Raises
    ------
    ModelError
        Contradictory or unusable statements, all at once.
    """
    if auto not in AUTO:
        raise ModelError(f"auto: found '{auto}'; allowed: {', '.join(AUTO)}{did_you_mean(auto, AUTO)}")
    statements = tuple(statements)
    problems = slope_problems(statements) + product_problems(statements)
    slopes = list(dict.fromkeys(s.random_slope for s in statements if s.random_slope))
    asked: list[Request] = []
    written = {level: _level_rows(statements, level, problems, asked) for level in LEVEL_NAMES}
    between_observed = observed_of(written["between"], slopes)
    rows: list[Parameter] = []
    for level, user in written.items():
        if not user:
            problems.append(f"model: there is no 'level: {level}' block, or it is empty; both levels are needed")
            continue
        own = slopes if level == "between" else []
        rows.extend(with_defaults(user, level, between_observed, own, std_lv=std_lv, auto=auto))
    _check_names(rows, slopes, problems)
    problems += [
        f"model: the label '{name}' is the name of a constant; choose another"
        for name in sorted({row.label for row in rows} | {s.lhs for s in statements if s.op == ":="})
        if name in CONSTANTS
    ]
    if not problems:
        rows = tie_rows(rows, asked, problems)
    if problems:
        raise ModelError(list(dict.fromkeys(problems)))
    table = _constrained(rows, statements)
    notes = (*_text_notes(statements, rows), *auto_notes(written, slopes, auto=auto))
    return replace(table, notes=notes) if notes else table


def _constrained(rows: list[Parameter], statements: tuple[Statement, ...]) -> ParameterTable:
    """The numbered table with what the statements say about labels."""
    definitions = [s for s in statements if s.op == ":="]
    among = [s for s in statements if s.op in ("==", "<", ">")]
    if among and any(row.label for row in rows):
        labels = {row.label for row in rows}
        nodes = {name: node for name, node in definition_nodes(definitions).items() if name not in labels}
        among = [expanded(s, nodes) for s in among]
    rows, left, merged = impose_equalities(rows, [s for s in among if s.op == "=="])
    rows, inequalities = impose_inequalities(rows, [renamed(s, merged) for s in among if s.op != "=="])
    problems = bound_problems(rows)
    if problems:
        raise ModelError(problems)
    table = number_rows(rows, [renamed(s, merged) for s in definitions])
    constraints = build_constraints(equations_of(left), table.names, table.constants) if left else ()
    for one in inequalities:  # each must be solvable, for where it holds with equality
        equation = Equation(one.text, one.larger, one.smaller, f"model: '{one.text}'")
        build_constraints([equation], table.names, table.constants, constraints)
    return replace(table, constraints=constraints, inequalities=inequalities)


def _text_notes(statements: Sequence[Statement], rows: Sequence[Parameter]) -> list[str]:
    """What the words of a text may be taken for, and are not."""
    notes = [note for s in statements for note in s.notes]
    variables = {name for row in rows for name in (row.lhs, row.rhs)}
    return list(dict.fromkeys([*notes, *label_notes(statements, variables, "there is a variable")]))


def label_notes(statements: Iterable[Statement], names: Container[str], whose: str) -> list[str]:
    """Labels before a predictor that are names of variables, so that they may be meant as factors of a product."""
    return [
        f"line {s.line}: '{s.label}*{s.rhs}' is '{s.rhs}' with the label '{s.label}', not a product, although {whose} "
        f"'{s.label}'; a product is written {s.label}:{s.rhs}"
        for s in statements
        if s.op == "~" and s.label and s.label in names and s.label != s.rhs
    ]


def _level_rows(
    statements: Iterable[Statement], level: str, problems: list[str], asked: list[Request]
) -> list[Parameter]:
    """Rows that the user wrote at one level; repeated mentions of a parameter are merged.

    ``asked`` gets the parameters that ``equal()`` equates with others.
    """
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
        problems += _contradictions(old, s, where)
        value = old.value if s.fixed is None else s.fixed
        merged[key] = new = replace(
            old,
            label=s.label or old.label,
            value=value,
            free=0 if s.freed else (-1 if not np.isnan(value) else old.free),
            start=old.start if s.start is None else s.start,
            lower=old.lower if s.lower is None else s.lower,
            upper=old.upper if s.upper is None else s.upper,
        )
        if s.equal:
            merged[key] = replace(new, free=0) if new.free == -2 else new
            asked.append(Request(new.path, s.equal, where))
    # free = -2: not said; 0: freed by NA*; -1: fixed by a number
    return list(merged.values())


def _contradictions(old: Parameter, s: Statement, where: str) -> list[str]:
    """What a further mention of a parameter says otherwise than the ones before."""
    name = f"'{s.lhs} {s.op} {s.rhs}'".replace("~1 '", "~ 1'")
    found = []
    if s.label and old.label and s.label != old.label:
        found.append(
            f"{where}: {name} has two labels, '{old.label}' and '{s.label}'; a parameter has one (lavaan's versions "
            "differ in which they keep)"
        )
    pairs = [("is fixed at", old.value, s.fixed), ("starts at", old.start, s.start)]
    pairs += [("has the lower bound", old.lower, s.lower), ("has the upper bound", old.upper, s.upper)]
    for what, before, now in pairs:
        if now is not None and np.isfinite(before) and before != now:
            found.append(f"{where}: {name} {what} {before:g} and {now:g}; write one of them")
    if (np.isfinite(old.value) and s.freed) or (old.free == 0 and s.fixed is not None):
        found.append(f"{where}: {name} is both freed by NA and fixed; write one of them")
    return found


def _check_names(rows: list[Parameter], slopes: list[str], problems: list[str]) -> None:
    latents = {row.lhs for row in rows if row.op == "=~"}
    observed = {name for level in LEVEL_NAMES for name in observed_of([r for r in rows if r.level == level], slopes)}
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
        shared = row.label or row.tie
        index = by_label.get(shared) if shared else None
        if index is None:
            index = len(names)
            names.append(row.label or row.path)
            levels.append(set())
            if shared:
                by_label[shared] = index
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
