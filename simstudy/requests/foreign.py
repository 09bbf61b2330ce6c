"""What is to be known about a table of estimates that other software made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from simstudy.requests.option import Argument, Option, placeholder
from simstudy.requests.values import split

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    DataFrame = placeholder("DataFrame", "pandas")


@dataclass(frozen=True)
class ForeignRequest:
    """Options of `simstudy.performance_of` and of ``simstudy performance``.

    Columns with usual names (``estimate`` or ``est``, ``se``, ``method``, ``rep``, ...) need not be named.
    """

    data: Annotated[
        DataFrame | str | Path,
        Argument("One row an estimate: CSV, Parquet, Stata or SPSS.", metavar="FILE"),
    ]
    _: KW_ONLY
    estimate: Annotated[str | None, Option("Estimates.", metavar="COL")] = None
    se: Annotated[str | None, Option("Standard errors.", metavar="COL")] = None
    truth: Annotated[
        str | float | None, Option("True values, or the one of all rows.", metavar="COL|NUMBER", type=str)
    ] = None
    lower: Annotated[str | None, Option("Lower limits; Wald limits without.", metavar="COL")] = None
    upper: Annotated[str | None, Option("Upper limits.", metavar="COL")] = None
    method: Annotated[str | None, Option("Methods.", metavar="COL")] = None
    parameter: Annotated[str | None, Option("Parameters.", metavar="COL", flag="--target")] = None
    rep: Annotated[str | None, Option("Replicates.", metavar="COL")] = None
    converged: Annotated[str | None, Option("Whether a fit converged.", metavar="COL")] = None
    by: Annotated[
        Sequence[str] | None,
        Option("Design factors; each combination is a cell.", metavar="COL,...", read=split),
    ] = None
    level: Annotated[float, Option("Level of the Wald intervals.", inside=(0, 1))] = 0.95
    replications: Annotated[
        int | None, Option("Replicates tried in each cell; missing ones count as failed.", least=1)
    ] = None
    reference: Annotated[
        str | None, Option("Method that differences refer to; the first by default.", metavar="METHOD")
    ] = None
