"""Several methods on the same data, side by side: what each makes of the same effects, and what it cannot say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pandas as pd
from rich.console import Console
from rich.text import Text

from simstudy.analysis.result import FitRecord
from simstudy.errors import SimstudyError, did_you_mean
from simstudy.methods import registry
from simstudy.model.parameters import path_name
from simstudy.report.tables.blocks import Block, Heading, Paragraph
from simstudy.report.tables.fit_tables import NOISE
from simstudy.report.tables.text import NOT_AVAILABLE, Line, TextTable, measured, wrapped

FILE_WIDTH = 160
"""Characters a line where the output is no terminal."""
TEXT_WIDTH = 110
"""Characters a line of explanation."""
MAX_PORTRAITS = 7
"""With more methods than this, only their titles are printed, and where to read on."""
SAME = "="
"""Marks an estimate that a method reports for both levels."""
LEVELS = (("within", "Within"), ("between", "Between"), ("", "Defined"))


def print_side_by_side(
    console: Console, fits: Mapping[str, FitRecord], parameters: Sequence[str] | None = None
) -> None:
    """Print fits of several methods to the same data; see `side_by_side_lines`."""
    for line in side_by_side_lines(
        fits, width=console.width if console.is_terminal else FILE_WIDTH, parameters=parameters
    ):
        console.print(Text(line.text, style=line.style), soft_wrap=True)


@dataclass(frozen=True)
class _Item:
    """One parameter of one level: its name (label or path), what it is, and its row in ``FitRecord.parameters``.

    ``of_slope``: it is the mean or the variance of a random slope.
    """

    name: str
    text: str
    op: str
    level: str
    row: int
    labelled: bool
    of_slope: bool = False


def side_by_side_lines(
    fits: Mapping[str, FitRecord], *, width: int = FILE_WIDTH, parameters: Sequence[str] | None = None
) -> list[Line]:
    """Lay out a table with a row a parameter and a column a method: estimate and, in parentheses, its standard error.

    Parameters
    ----------
    fits : dict of FitRecord
        By method; from `fit_all`. All of one model and one data set.
    width : int
        Characters a line; columns that do not fit follow below.
    parameters : sequence of str, optional
        Labels, paths such as ``between: y ~~ y``, or patterns (``["*"]``: all). By default what has a label and what is
        defined; without any label, regressions and loadings.

    Raises
    ------
    SimstudyError
        If there is no fit, or a name is no parameter's.
    """
    if not fits:
        raise SimstudyError("side by side: there is no fit to show")
    first = next(iter(fits.values()))
    items = _chosen(_items(first), parameters)
    conflated = {name: _conflated(fit) for name, fit in fits.items()}
    lines = [Line("Side by side: estimate (standard error)", "bold"), _data_line(first)]
    cells = {name: [_cell(fit, item, item.row in conflated[name]) for item in items] for name, fit in fits.items()}
    for names in _chunks(cells, items, width):
        lines.append(Line(""))
        rows: list[tuple[str, ...]] = []
        for level, title in LEVELS:
            mine = [k for k, item in enumerate(items) if item.level == level]
            if mine:
                rows.append((title, *[""] * len(names)))
                rows += [(f"  {items[k].text}", *(cells[name][k] for name in names)) for k in mine]
        rows.append(("SE", *(str(fits[name].options.get("se", "")) for name in names)))
        rows.append(("Log-likelihood", *(_loglik(fits[name]) for name in names)))
        rows.append(("Converged", *(_verdict(fits[name]) for name in names)))
        table = TextTable(("", *names), tuple(rows), left=1).lines()
        titles = {title for _, title in LEVELS}
        lines += [Line(line.text, "bold" if line.text in titles else line.style) for line in table]
    return [*lines, *_footer(fits, items, any(conflated.values()), width)]


def side_by_side_blocks(fits: Mapping[str, FitRecord], parameters: Sequence[str] | None = None) -> list[Block]:
    """The table of `side_by_side_lines` for a page that scrolls sideways, and why numbers are missing."""
    if not fits:
        raise SimstudyError("side by side: there is no fit to show")
    first = next(iter(fits.values()))
    items = _chosen(_items(first), parameters)
    conflated = {name: _conflated(fit) for name, fit in fits.items()}
    blocks: list[Block] = [Heading("Side by side: estimate (standard error)", 1)]
    blocks.append(Paragraph(_data_line(first).text, quiet=True))
    rows = [
        (
            name,
            *(_cell(fit, item, item.row in conflated[name]).rstrip() for item in items),
            _loglik(fit),
            _verdict(fit),
        )
        for name, fit in fits.items()
    ]
    header = ("Method", *(item.name for item in items), "log-likelihood", "converged")
    blocks.append(TextTable(header, tuple(rows), left=1))
    if any(conflated.values()):
        blocks.append(Paragraph(f"{SAME} one number for both levels (a conflated effect)", quiet=True))
    blocks += [Paragraph(f"Log-likelihood of {line}", quiet=True) for line in _likelihood_lines(fits)]
    reasons = (Paragraph(f"{NOT_AVAILABLE}: {text}", quiet=True) for text in _reasons(fits, items))
    return [*blocks, *reasons]


def _items(fit: FitRecord) -> list[_Item]:
    """All parameters but fixed ones."""
    found = []
    table = fit.model.table
    slopes = {slope.name for slope in fit.model.slopes}
    columns = fit.parameters[["lhs", "op", "rhs", "level", "label"]].itertuples(index=False, name=None)
    for k, (lhs, op, rhs, level, label) in enumerate(columns):
        if op == ":=":
            found.append(_Item(lhs, f"{lhs} := {rhs}", op, "", k, True))
            continue
        parameter = table.find(level, lhs, op, rhs)
        if parameter is None or parameter.free < 0:
            continue
        path = path_name(level, lhs, op, rhs)
        short = path.removeprefix(f"{level}: ")
        of_slope = lhs in slopes and (op == "~1" or (op == "~~" and lhs == rhs))
        text = f"{label}: {short}" if label else short
        found.append(_Item(label or path, text, op, level, k, bool(label), of_slope))
    return found


def _chosen(items: Sequence[_Item], wanted: Sequence[str] | None) -> list[_Item]:
    if wanted is None:
        labelled = [item for item in items if item.labelled]
        return labelled or [item for item in items if item.op in ("~", "=~") or item.of_slope] or list(items)
    problems = [
        f"parameters: the model has no parameter '{name}'{did_you_mean(name, [item.name for item in items])}; it has "
        f"{', '.join(dict.fromkeys(item.name for item in items))}"
        for name in wanted
        if not any(item.name == name or fnmatchcase(item.name, name) for item in items)
    ]
    if problems:
        raise SimstudyError(problems)
    return [item for item in items if any(item.name == name or fnmatchcase(item.name, name) for name in wanted)]


def _conflated(fit: FitRecord) -> set[int]:
    """Rows of regressions and loadings that have one and the same estimate at both levels without being tied."""
    table = fit.parameters
    found: dict[tuple[str, str, str], list[tuple[int, int, float]]] = {}
    slopes = {slope.name: (slope.outcome, "~", slope.predictor) for slope in fit.model.slopes}
    for k, (lhs, op, rhs, level, est) in enumerate(
        table[["lhs", "op", "rhs", "level", "est"]].itertuples(index=False, name=None)
    ):
        if op == "~1" and lhs in slopes:  # its mean stands for the path within
            parameter = fit.model.table.find(level, lhs, op, rhs)
            if parameter is not None and parameter.free >= 0:
                found.setdefault(slopes[lhs], []).append((k, parameter.free, float(est)))
        elif op in ("~", "=~"):
            parameter = fit.model.table.find(level, lhs, op, rhs)
            if parameter is not None and parameter.free >= 0:
                found.setdefault((lhs, op, rhs), []).append((k, parameter.free, float(est)))
    return {
        k
        for entries in found.values()
        if len(entries) == 2 and entries[0][1] != entries[1][1] and entries[0][2] == entries[1][2]
        for k, _, _ in entries
    }


def _cell(fit: FitRecord, item: _Item, same: bool) -> str:
    row = fit.parameters.iloc[item.row]
    est, se = float(row["est"]), float(row["se"])
    if math.isnan(est):
        return NOT_AVAILABLE
    error = NOT_AVAILABLE if math.isnan(se) else measured(se)
    return f"{measured(est, noise=0.0 if math.isnan(se) else NOISE[0] * se)} ({error}){SAME if same else ' '}"


def _chunks(cells: Mapping[str, Sequence[str]], items: Sequence[_Item], width: int) -> list[list[str]]:
    """Methods that fit beside each other."""
    chunks: list[list[str]] = [[]]
    start = max([len(item.text) + 2 for item in items] + [9])
    used = start
    for name, column in cells.items():
        needs = 2 + max(len(name), *(len(cell) for cell in column)) if column else 2 + len(name)
        if chunks[-1] and used + needs > width:
            chunks.append([])
            used = start
        chunks[-1].append(name)
        used += needs
    return chunks


def _verdict(fit: FitRecord) -> str:
    if fit.status.name == "NOT_SUPPORTED":
        return "not fitted"
    return ("yes" if fit.admissible else "inadmissible") if fit.converged else "no"


def _data_line(fit: FitRecord) -> Line:
    return Line(f"{fit.n_obs:,} observations in {fit.n_clusters:,} clusters", "dim")


def _footer(fits: Mapping[str, FitRecord], items: Sequence[_Item], any_same: bool, width: int) -> list[Line]:
    """What the marks mean, why numbers are missing, what every method can and cannot do."""
    lines: list[Line] = []
    width = min(width, TEXT_WIDTH)

    def bullets(title: str, texts: Sequence[str]) -> None:
        if texts:
            lines.extend([Line(""), Line(title, "bold")])
            lines.extend(Line(line) for text in texts for line in wrapped(f"  {text}", width, "      "))

    if any_same:
        text = (
            f"{SAME} one number for both levels: the method cannot tell within from between effects. What it reports "
            "is a weighted mean of the two (a conflated effect), and indirect effects are made of it."
        )
        lines += [Line(""), *(Line(line) for line in wrapped(text, width))]
    bullets(f"Why {NOT_AVAILABLE}", _reasons(fits, items))
    bullets("Random slopes", _slope_lines(fits))
    bullets("What the log-likelihoods are of", _likelihood_lines(fits))
    brief = len(fits) > MAX_PORTRAITS
    bullets("What the methods are", [_portrait(name, brief=brief) for name in fits])
    if brief:
        text = "`simstudy estimators NAME` tells what a method can and cannot do."
        lines += [Line(line, "dim") for line in wrapped(f"  {text}", width, "  ")]
    common = set.intersection(*(set(fit.notes) for fit in fits.values() if fit.notes or fit.converged))
    notes = [note for note in next(iter(fits.values())).notes if note in common]
    for name, fit in fits.items():
        if fit.status.name == "NOT_SUPPORTED":
            continue
        notes += [f"{name}: {note}" for note in fit.notes if note not in common and note not in fit.why]
        notes += [f"{name}: not admissible: {what}" for what in fit.improper]
    bullets("Notes", notes)
    return lines


def _loglik(fit: FitRecord) -> str:
    value = fit.measures.get("loglik", math.nan)
    return NOT_AVAILABLE if math.isnan(value) else f"{value:.2f}"


def _likelihood_lines(fits: Mapping[str, FitRecord]) -> list[str]:
    """Of what each log-likelihood is; methods with the same kind share a line, and lines are not to be compared."""
    groups: dict[str, list[str]] = {}
    for name, fit in fits.items():
        if not math.isnan(fit.measures.get("loglik", math.nan)):
            groups.setdefault(fit.likelihood.sentence, []).append(name)
    return [f"{', '.join(names)}: {sentence}" for sentence, names in groups.items()]


def _slope_lines(fits: Mapping[str, FitRecord]) -> list[str]:
    """What each method takes the random slopes' predictors for; methods that do the same share a line."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name, fit in fits.items():
        for slope in fit.slopes:
            if slope.meaning:
                groups.setdefault((slope.name, slope.meaning, slope.estimates), []).append(name)
    return [f"{slope}, {meaning} ({', '.join(names)}): {text}" for (slope, meaning, text), names in groups.items()]


def _portrait(name: str, *, brief: bool) -> str:
    method = registry.find(name)
    same = f" (the same as {method.same_as})" if method.same_as else ""
    if brief:
        return f"{name}: {method.title}{same}"
    return f"{name}: {method.title}{same}. Can: {method.can}. Cannot: {method.cannot}."


def _reasons(fits: Mapping[str, FitRecord], items: Sequence[_Item]) -> list[str]:
    """Why methods have no numbers, or lack some of those shown; those with the same reason share it."""
    found: dict[str, list[str]] = {}
    for name, fit in fits.items():
        for reason in _reasons_of(name, fit, items):
            found.setdefault(reason, []).append(name)
    return [f"{', '.join(names)}{reason}" for reason, names in found.items()]


def _reasons_of(name: str, fit: FitRecord, items: Sequence[_Item]) -> list[str]:
    """What follows on the name of a method."""
    if fit.status.name == "NOT_SUPPORTED":
        return [f" {text.removeprefix(f'{name} ')}" for text in fit.why] or [f": {fit.status.message}"]
    if not fit.converged:
        return [f": {'; '.join((fit.status.message, *fit.why))}"]
    lacking = [item for item in items if pd.isna(fit.parameters["est"].iloc[item.row])]
    if not lacking:
        return []
    spoken = registry.find(name).levels
    if all(item.level not in spoken for item in lacking if item.level):
        which = " and ".join(spoken)
        return [f": no numbers but of the {which} level"]
    shown = ", ".join(item.name for item in lacking[:6]) + (", ..." if len(lacking) > 6 else "")
    return [f": no number for {shown}; cannot {registry.find(name).cannot}"]
