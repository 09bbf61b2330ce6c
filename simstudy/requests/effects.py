"""What the analysis of variance of the design factors is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from simstudy.requests.option import Argument, Keyword, Option, placeholder
from simstudy.requests.values import split

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    DataFrame = placeholder("DataFrame", "pandas")


@dataclass(frozen=True)
class EffectsRequest:
    """Options of `simstudy.api.factor_effects` and of ``simstudy factors``."""

    source: Annotated[
        DataFrame | str | Path, Argument("Results folder.", metavar="DIR", more="Or a performance table.")
    ]
    _: KW_ONLY
    factors: Annotated[Sequence[str] | None, Keyword("Columns of the factors; all by default.")] = None
    parameters: Annotated[
        Sequence[str] | None,
        Option("Parameter, or a pattern such as 'within:*'; may be repeated.", flag="--parameter"),
    ] = None
    measures: Annotated[
        Sequence[str] | None,
        Option("Measures to show, or patterns such as '*bias'; may be repeated.", metavar="NAME,...", read=split),
    ] = None
    estimators: Annotated[Sequence[str] | None, Option("Method; may be repeated.", flag="--estimator")] = None
    outcome: Annotated[
        str, Option("'cells': the measures of the cells; 'replicates': the numbers they are means of.")
    ] = "cells"
    order: Annotated[int, Option("1: main effects; 2: two-way interactions too; ...")] = 2
    basis: Annotated[
        str, Keyword("Which replicates; differences from the reference are always of those that both have.")
    ] = "casewise"
