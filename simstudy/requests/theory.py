"""What theory is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from simstudy.requests.option import Argument, Keyword, Option, placeholder

if TYPE_CHECKING:
    from simstudy.design import Design
else:
    Design = placeholder("Design")


@dataclass(frozen=True)
class BiasRequest:
    """Options of `simstudy.bias` and of ``simstudy bias``."""

    design: Annotated[
        Design | str | Path | Mapping[str, Any],
        Argument(
            "Design file (TOML).", metavar="DESIGN", type=Path, more="Or its text, a dict of its tables, or a `Design`."
        ),
    ]
    _: KW_ONLY
    cells: Annotated[
        Sequence[int] | None, Option("Cell to show with every measure; may be repeated.", flag="--cell")
    ] = None
    estimators: Annotated[
        Sequence[str] | None, Option("Method of the design; may be repeated.", flag="--estimator")
    ] = None
    large_samples: Annotated[
        int,
        Option(
            "Samples of very many clusters for what moments do not tell (random slopes, other distributions, missing "
            "values); 0: none.",
            metavar="N",
            least=0,
            more="Numbers that need them are NaN without.",
        ),
    ] = 200
    progress: Annotated[
        bool, Keyword("Show on standard error how far it is, once it takes longer than a few seconds.")
    ] = False
