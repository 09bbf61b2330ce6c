"""What a plan is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from simstudy.requests.option import Argument, Keyword, Option, placeholder

if TYPE_CHECKING:
    from simstudy.design import Design
else:
    Design = placeholder("Design")


@dataclass(frozen=True)
class PlanRequest:
    """Options of `simstudy.plan` and of ``simstudy plan``."""

    design: Annotated[
        Design | str | Path,
        Argument("Design file, or template ('simstudy init' lists them).", metavar="DESIGN", type=str),
    ]
    parameter: Annotated[str, Option("Parameter that the target is about.", metavar="LABEL", more="Its path will do.")]
    _: KW_ONLY
    power: Annotated[float | None, Option("Target: the least power.", more="Share of rejections of 0.")] = None
    coverage: Annotated[float | None, Option("Target: the least coverage.")] = None
    convergence: Annotated[float | None, Option("Target: the least share of converged fits.")] = None
    width: Annotated[float | None, Option("Target: the largest mean width of intervals.")] = None
    bias: Annotated[float | None, Option("Target: the largest absolute bias.")] = None
    relative_bias: Annotated[float | None, Option("Target: the largest absolute relative bias.")] = None
    median_bias: Annotated[float | None, Option("Target: the largest absolute median bias.")] = None
    over: Annotated[
        str,
        Option(
            "What is searched: n_clusters, or cluster_size with --n-clusters.",
            metavar="WHAT",
            allowed=("n_clusters", "cluster_size"),
        ),
    ] = "n_clusters"
    cost: Annotated[
        str | None,
        Option("Find the cheapest J and n together: cost such as '100*J + 10*J*n'.", metavar="EXPR"),
    ] = None
    method: Annotated[str, Option("Method.", metavar="NAME")] = "msem"
    se: Annotated[str | None, Option("Kind of SE; the method's first by default.", metavar="KIND")] = None
    ci: Annotated[
        str,
        Option("Intervals: wald or montecarlo (of indirect effects).", metavar="KIND", allowed=("wald", "montecarlo")),
    ] = "wald"
    level: Annotated[float | None, Option("Level of the intervals; the design's by default.")] = None
    settings: Annotated[
        Mapping[str, object] | None,
        Keyword(
            "Values in place of the design's: of a factor, icc, icc.x, variance, cluster_size, or of a parameter by "
            "label or path."
        ),
    ] = None
    n_clusters: Annotated[int | None, Option("With --over cluster_size: the number of clusters.", least=2)] = None
    uncertain: Annotated[
        Sequence[str],
        Option(
            "Average over a value that is not known, such as 'icc=beta(2,18)'; may be repeated.", metavar="NAME=DIST"
        ),
    ] = ()
    analytic: Annotated[bool, Option("Large-J theory alone, without simulation.")] = False
    tolerance: Annotated[
        float | None,
        Option(
            "Half-width of the 95% interval of the measure at the answer; .01 for power.",
            more="Of a rate as it is, of a mean relative to the target (.05).",
        ),
    ] = None
    reps: Annotated[int, Option("Data sets of the confirming run.", least=100)] = 10_000
    max_reps: Annotated[int, Option("Most data sets that a search may spend.", least=1000)] = 100_000
    low: Annotated[
        int | None,
        Option(
            "Smallest size that may be answered.",
            flag="--min",
            more="10 clusters, or the least possible; 2 rows each.",
        ),
    ] = None
    high: Annotated[
        int | None,
        Option("Largest size that may be answered.", flag="--max", more="10,000 clusters; 200 rows each."),
    ] = None
    max_size: Annotated[int | None, Option("With --cost: the largest cluster size; 100 by default.")] = None
    draws: Annotated[int, Option("Draws of uncertain values.", least=16)] = 256
    grid: Annotated[
        bool | None, Option("Draw the map over J and n; with --cost by default.", flag="--map/--no-map")
    ] = None
    seed: Annotated[int | None, Option("Seed instead of the design's.")] = None
    jobs: Annotated[
        int | None,
        Option("Processes; all cores by default.", more="Several once a plan has taken some seconds."),
    ] = None
    out: Annotated[
        str | Path | None,
        Option(
            "Folder; results/plan-... by default.",
            more="It keeps evaluations as they come, and a plan is resumed from it. Python writes nothing without it, "
            "unless it is told to `keep`.",
        ),
    ] = None
    keep: Annotated[bool, Keyword("Use results/plan-... where no folder is given.")] = False
    progress: Annotated[bool, Keyword("Show progress on standard error.")] = True
