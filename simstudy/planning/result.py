"""`PlanRecord`: what a plan came to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

CONFIRMED, NOT_CONFIRMED, ANALYTIC = "confirmed", "not confirmed", "analytic"
IMPOSSIBLE, BEYOND, ALWAYS, NOTHING = "impossible", "beyond", "always", "nothing converged"
WITHOUT_ANSWER = (IMPOSSIBLE, BEYOND, NOTHING)


@dataclass(frozen=True)
class Answer:
    """A design that reaches the target, and how sure that is.

    Attributes
    ----------
    n_clusters : int
    cluster_size : int or str
        A number, or the sizes in short.
    n_obs : int
    value, mcse : float
        The measure there: by the curve, or by the confirming run. NaN MCSE: analytic.
    low, high : int or None
        95 % interval of what was searched; None beyond the bounds, or where nothing was simulated.
    cost : float
        NaN without a cost.
    """

    n_clusters: int
    cluster_size: int | str
    n_obs: int
    value: float
    mcse: float = math.nan
    low: int | None = None
    high: int | None = None
    cost: float = math.nan


@dataclass(frozen=True)
class PlanRecord:
    """What a plan came to.

    Attributes
    ----------
    status : str
        ``confirmed``, ``not confirmed`` (the confirming run is on the wrong side of the target by more than chance),
        ``analytic`` (nothing was simulated), ``always`` (the smallest size allowed reaches the target), ``impossible``,
        ``beyond`` (no size allowed reaches it), ``nothing converged``.
    why : str
        Explanation where there is no answer, or where it needs one.
    request : dict
        What was asked for.
    analytic : Answer or None
        Large-J theory's answer.
    answer : Answer or None
        The smallest design by simulation.
    confirmed : dict or None
        The confirming run: value, mcse, low, high, n, attempted, converged.
    evaluations : DataFrame
        Simulated sizes: n_clusters, cluster_size, role (``search`` or ``confirm``), value, mcse, n, attempted,
        converged.
    curve : DataFrame
        Size, analytic value, fitted value and its 95 % band, around the answer.
    designs : DataFrame
        With a cost: for each cluster size the smallest number of clusters, its cost, analytic and corrected.
    grid : DataFrame
        Analytic values (and costs) over numbers of clusters and cluster sizes, for the map; may be empty.
    uncertain : dict
        Draws made, left out, and why; empty where nothing is uncertain.
    notes : tuple of str
        What a reader should know.
    seconds : float
    replicates : int
        Data sets simulated now (not those that were there).
    folder : Path or None
        Where it was written.
    """

    status: str
    why: str
    request: Mapping[str, Any]
    analytic: Answer | None = None
    answer: Answer | None = None
    confirmed: Mapping[str, Any] | None = None
    evaluations: pd.DataFrame = field(default_factory=pd.DataFrame)
    curve: pd.DataFrame = field(default_factory=pd.DataFrame)
    designs: pd.DataFrame = field(default_factory=pd.DataFrame)
    grid: pd.DataFrame = field(default_factory=pd.DataFrame)
    uncertain: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    replicates: int = 0
    folder: Path | None = None

    @property
    def found(self) -> bool:
        """Whether there is a design that reaches the target."""
        return self.status not in WITHOUT_ANSWER

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON; what is not a number is None."""

        def plain(value: Any) -> Any:
            if isinstance(value, float) and not math.isfinite(value):
                return None
            if isinstance(value, Mapping):
                return {str(key): plain(item) for key, item in value.items()}
            if isinstance(value, (list, tuple)):
                return [plain(item) for item in value]
            return value

        tables = ("evaluations", "curve", "designs")
        # not the time taken: a plan that is resumed writes the same file
        return {
            **{name: plain(getattr(self, name)) for name in ("status", "why", "request")},
            **{name: plain(vars(part)) if (part := getattr(self, name)) else None for name in ("analytic", "answer")},
            "confirmed": plain(self.confirmed),
            "uncertain": plain(self.uncertain),
            "notes": list(self.notes),
            **{name: plain(getattr(self, name).to_dict("records")) for name in tables},
        }
