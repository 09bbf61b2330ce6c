"""Tables of single cells: every measure of every method, and what the failures could change."""

from __future__ import annotations

from collections.abc import Sequence

from simstudy.performance import MEASURES
from simstudy.report.tables.blocks import Block, Heading
from simstudy.report.tables.columns import cell_text, heading
from simstudy.report.tables.text import TextTable, narrowed, plain
from simstudy.report.tables.view import View

FULL = (
    "bias",
    "median_bias",
    "relative_bias",
    "empirical_se",
    "model_se",
    "se_ratio",
    "rmse",
    "coverage",
    "rejection",
)
"""Columns, where the reader asks for no measures by name."""
_DROPPED_FIRST = ("median_bias", "rmse", "model_se", "empirical_se", "rejection", "relative_bias")
_WITH_MCSE = ("bias", "coverage")
_SIDES = ("casewise", "common", "lower_bound", "upper_bound")
_SIDE_NAMES = {"casewise": "own", "common": "common", "lower_bound": "if miss", "upper_bound": "if hit"}


def full_blocks(view: View) -> tuple[list[Block], list[str]]:
    """One part a cell, one table a parameter; also the columns that did not fit."""
    pairs = [(cell, parameter) for cell in view.cells for parameter in view.parameters]
    one_kind = view.one_kind

    def make(columns: Sequence[str]) -> dict[tuple[int, str], TextTable]:
        return {pair: _parameter_table(view, *pair, columns, one_kind) for pair in pairs}

    tables, dropped = narrowed(view.measures or FULL, () if view.measures else _DROPPED_FIRST, make, view.width)
    blocks: list[Block] = []
    for cell in view.cells:
        blocks.append(Heading(view.cell_title(cell)))
        for parameter in view.parameters:
            blocks.append(tables[cell, parameter])
            if _failures_matter(view, cell, parameter):
                blocks.append(_side_table(view, cell, parameter, one_kind))
    return blocks, dropped


def _parameter_table(view: View, cell: int, parameter: str, columns: Sequence[str], one_kind: bool) -> TextTable:
    """Rows are methods and kinds of SE; what does not depend on the SE is printed once a method."""
    every = bool(view.measures)
    shown = {name: every or name in _WITH_MCSE for name in columns}
    headings = [heading(name, mcse=mcse) for name, mcse in shown.items()]
    header = ("Method", *(() if one_kind else ("SE",)), *headings, "n")
    rows = []
    for estimator in view.estimators:
        for position, kind in enumerate(view.kinds.get((cell, parameter, estimator), ())):
            numbers = {name: view.number(cell, parameter, estimator, kind, name) for name in columns}
            same = position > 0
            texts = [
                ""
                if (same and MEASURES[name].of_estimate_alone)
                or (estimator == view.reference and MEASURES[name].paired)
                else cell_text(name, numbers[name], mcse=mcse)
                for name, mcse in shown.items()
            ]
            n, n_interval = (
                view.number(cell, parameter, estimator, kind, name).n for name in ("mean_estimate", "coverage")
            )
            count = f"{n}" if n == n_interval else f"{n}/{n_interval}"
            rows.append(("" if same else estimator, *(() if one_kind else (kind,)), *texts, count))
    return TextTable(
        header,
        tuple(rows),
        left=1 if one_kind else 2,
        title=view.parameter_title(parameter, cell),
        context=view.cell_title(cell),
    )


def _failures_matter(view: View, cell: int, parameter: str) -> bool:
    """Whether a method that says something failed somewhere, or has fewer common replicates than its own."""
    for estimator, kind in view.arms(cell, parameter):
        own, common, tried, _ = (
            view.number(cell, parameter, estimator, kind, "rejection", basis).n for basis in _SIDES
        )
        if own and (common < own or tried > own):
            return True
    return False


def _side_table(view: View, cell: int, parameter: str, one_kind: bool) -> TextTable:
    """Each method's own and the common replicates side by side, and the rates' bounds; narrower if it must."""
    tables = [
        _side_columns(view, cell, parameter, one_kind, measures)
        for measures in (("bias", "coverage", "rejection"), ("bias", "coverage"), ("coverage",))
    ]
    return next((table for table in tables if table.width() <= view.width), tables[-1])


def _side_columns(view: View, cell: int, parameter: str, one_kind: bool, measures: Sequence[str]) -> TextTable:
    sides = {name: _SIDES[:2] if name == "bias" else _SIDES for name in measures}
    rows = []
    for estimator, kind in view.arms(cell, parameter):
        texts = [
            plain(view.number(cell, parameter, estimator, kind, name, basis), MEASURES[name].decimals)
            for name, bases in sides.items()
            for basis in bases
        ]
        counts = [f"{view.number(cell, parameter, estimator, kind, 'bias', basis).n}" for basis in _SIDES[:2]]
        rows.append((estimator, *(() if one_kind else (kind,)), *texts, *counts))
    first = 1 if one_kind else 2
    names = [_SIDE_NAMES[basis] for bases in (*sides.values(), _SIDES[:2]) for basis in bases]
    groups = [(MEASURES[name].label, len(bases)) for name, bases in sides.items()]
    return TextTable(
        ("Method", *(() if one_kind else ("SE",)), *names),
        tuple(rows),
        left=first,
        groups=(("", first), *groups, ("n", 2)),
        title=(
            f"{view.parameter_title(parameter)}: own and common replicates; rates if every failed replicate were a "
            "miss or a hit"
        ),
        context=view.cell_title(cell),
    )
