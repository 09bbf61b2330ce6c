"""What a run of a study is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from simstudy.requests.option import Argument, Keyword, Option, placeholder

if TYPE_CHECKING:
    from simstudy.design import Design
else:
    Design = placeholder("Design")


@dataclass(frozen=True)
class RunRequest:
    """Options of `simstudy.run` and of ``simstudy run``."""

    design: Annotated[
        Design | str | Path | Mapping[str, Any],
        Argument(
            "Design file (TOML).", metavar="DESIGN", type=Path, more="Or its text, a dict of its tables, or a `Design`."
        ),
    ]
    out: Annotated[str | Path | None, Option("Results folder; results/<study name> by default.")] = None
    jobs: Annotated[int | None, Option("Processes; all cores by default.")] = None
    reps: Annotated[int | None, Option("Replications instead of the design's.", least=1)] = None
    block_size: Annotated[int | None, Option("Replicates a task; results do not depend on it.", least=1)] = None
    progress: Annotated[bool, Keyword("Show progress on standard error.")] = True
    until: Annotated[
        str | None,
        Option(
            "Replicate each cell until its Monte Carlo SEs are as small, such as 'coverage=.005,bias=.01'.",
            metavar="TARGETS",
            more="First after `reps` (250) replicates.",
        ),
    ] = None
    max_reps: Annotated[int | None, Option("With --until: the most replicates a cell; 10,000 by default.")] = None
    timeout: Annotated[
        float | None,
        Option(
            "Time limit a fit; a replicate that takes longer is a TIMEOUT, and the study goes on.",
            metavar="SECONDS",
            more="Instead of the design's. Which replicates take longer depends on the machine; the numbers of all "
            "others do not. simstudy.runner.limit says what can be interrupted.",
        ),
    ] = None
    shard: Annotated[
        str | None,
        Option("Run one of K shares, for `merge`.", metavar="I/K", more="Of the blocks, or with `until` of the cells."),
    ] = None
    until_parameters: Annotated[
        Sequence[str] | None,
        Option(
            "With --until: parameter or pattern that counts; labelled and := ones by default.",
            flag="--until-parameter",
        ),
    ] = None
    until_methods: Annotated[
        Sequence[str] | None, Option("With --until: method that counts; all by default.", flag="--until-method")
    ] = None
