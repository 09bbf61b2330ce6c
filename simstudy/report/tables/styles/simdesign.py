"""SimDesign's layout (Chalmers & Adkins, 2020): a row a condition, bias, RMSE, RSE, ECR and EDR a method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import pandas as pd

from simstudy.report.tables.blocks import Block, Heading, Paragraph
from simstudy.report.tables.failures import common_lines, failure_blocks, tail_lines
from simstudy.report.tables.styles.compact import OVERVIEW_PARAMETERS
from simstudy.report.tables.text import Number, TextTable, beside, plain
from simstudy.report.tables.view import View

STATISTICS = ("bias", "RMSE", "RSE", "ECR", "EDR")
_PLACES = (4, 4, 3, 3, 3)
Arm = tuple[str, str]
"""Method and kind of SE."""


def simdesign_blocks(view: View) -> list[Block]:
    """One table a parameter; methods that do not fit beside each other go below each other."""
    blocks: list[Block] = [Heading(f"{view.study_name}: {view.replications:,} replications a condition", 1)]
    for parameter in view.parameters[:OVERVIEW_PARAMETERS]:
        blocks += beside(_arms(view, parameter), partial(_table, view, parameter), view.width)
    notes = list(view.left_out)
    if len(view.parameters) > OVERVIEW_PARAMETERS:
        notes.append(f"{len(view.parameters) - OVERVIEW_PARAMETERS} parameters (--parameter NAME)")
    if notes:
        blocks.append(Paragraph(f"Not shown: {'; '.join(notes)}.", quiet=True))
    return [*blocks, *failure_blocks(view), *common_lines(view), *tail_lines(view), *_formulas()]


def _arms(view: View, parameter: str) -> list[Arm]:
    found: dict[Arm, None] = {}
    for method in view.estimators:
        for cell in view.cells:
            found.update(dict.fromkeys((method, kind) for kind in view.kinds.get((cell, parameter, method), ())))
    return list(found)


def _numbers(view: View, cell: int, parameter: str, arm: Arm) -> list[Number]:
    method, kind = arm

    def number(measure: str) -> Number:
        return view.number(cell, parameter, method, kind, measure)

    mean_se, deviation = number("mean_se"), number("empirical_se")
    ratio = mean_se.value / deviation.value if deviation.value > 0 else math.nan
    return [
        number("bias"),
        number("rmse"),
        Number(ratio, math.nan, mean_se.n),
        number("coverage"),
        number("rejection"),
    ]


def _named(arm: Arm, arms: Sequence[Arm]) -> str:
    """Name of the method, with the kind of SE if it has several."""
    method, kind = arm
    return f"{method} ({kind})" if sum(other[0] == method for other in arms) > 1 else method


def _table(view: View, parameter: str, arms: Sequence[Arm]) -> TextTable:
    every = _arms(view, parameter)
    rows = []
    for cell in view.cells:
        texts = [
            plain(number, places)
            for arm in arms
            for number, places in zip(_numbers(view, cell, parameter, arm), _PLACES, strict=True)
        ]
        rows.append((str(cell), *view.settings[cell], *texts))
    left = len(view.factors) + 1
    return TextTable(
        ("cell", *view.factors, *(STATISTICS * len(arms))),
        tuple(rows),
        left=left,
        groups=(("", left), *((_named(arm, every), len(STATISTICS)) for arm in arms)),
        title=view.parameter_title(parameter),
    )


def simdesign_frame(view: View) -> pd.DataFrame:
    """One row a condition and parameter, a column a statistic and method: ``bias.msem``, ``RMSE.msem``, ..."""
    rows = []
    for parameter in view.parameters:
        arms = _arms(view, parameter)
        for cell in view.cells:
            row: dict[str, object] = {**view.labels(cell), "parameter": parameter}
            row["true"] = view.truth.get((cell, parameter), math.nan)
            for place, statistic in enumerate(STATISTICS):
                for arm in arms:
                    row[f"{statistic}.{_named(arm, arms)}"] = _numbers(view, cell, parameter, arm)[place].value
            row["REPLICATIONS"] = view.replications
            rows.append(row)
    return pd.DataFrame(rows)


def _formulas() -> list[Block]:
    text = (
        "bias: mean(est) - truth. RMSE: sqrt(mean((est - truth)^2)). RSE: mean(SE)/sd(est) (the style 'simstudy' has "
        "sqrt(mean(SE^2))/sd(est) as SE ratio). ECR: share of intervals that contain the truth. EDR: share of "
        "intervals that exclude 0 (SimDesign counts p < alpha, which is the same for Wald intervals). n/a: no "
        "replicate has the number. -: undefined. Monte Carlo standard errors: style 'simstudy' or 'simsum'."
    )
    return [Paragraph(text, quiet=True)]
