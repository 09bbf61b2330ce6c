"""The line along which a plan looks: numbers of clusters at one cluster size, or cluster sizes at one number."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from simstudy.errors import DesignError
from simstudy.linalg.stacked import FloatArray
from simstudy.planning.criterion import Criterion
from simstudy.planning.curve import Offset
from simstudy.planning.limits import Limits, smallest
from simstudy.planning.question import LAYOUT_CLUSTERS, Question, limits_of
from simstudy.planning.search import no_offset, offset_of
from simstudy.planning.simulate import SampleSize
from simstudy.planning.uncertain import Draws


@dataclass(frozen=True)
class Axis:
    """What varies, and what does not.

    Attributes
    ----------
    question : Question
    draws : Draws
    name : str
        ``n_clusters`` or ``cluster_size``.
    fixed : int or None
        The other one; None for the cluster sizes of the design.
    low, high : int
        Sizes that may be answered.
    """

    question: Question
    draws: Draws
    name: str
    fixed: int | None
    low: int
    high: int
    _known: dict[int, tuple[Limits, str]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def criterion(self) -> Criterion:
        """What is to be reached."""
        return self.question.criterion

    @property
    def symbol(self) -> str:
        """J or n."""
        return "J" if self.name == "n_clusters" else "n"

    def design(self, size: int) -> SampleSize:
        """The design at a size."""
        return SampleSize(size, self.fixed) if self.name == "n_clusters" else SampleSize(self.fixed or 0, size)

    def limits(self, size: int) -> Limits:
        """Analytic curve in J, at a size."""
        return self._limits(size)[0]

    def _limits(self, size: int) -> tuple[Limits, str]:
        by_size = self.name == "cluster_size"
        key = size if by_size else 0
        if key not in self._known:
            at = self.design(size)
            clusters = at.n_clusters if by_size else LAYOUT_CLUSTERS
            self._known[key] = limits_of(self.question, self.draws, clusters, at.cluster_size)
        return self._known[key]

    @cached_property
    def left_out(self) -> str:
        """Why the analytic curve is a start for a search and no answer, or empty."""
        return self._limits(self.high)[1]

    @cached_property
    def analytic(self) -> bool:
        """Whether the measure has an analytic curve here."""
        return self.limits(self.high).available

    def value(self, sizes: FloatArray) -> FloatArray:
        """Analytic measure at whole sizes (S,)."""
        if self.name == "n_clusters":
            return self.limits(self.high).value(sizes)
        clusters = np.array([float(self.fixed or 0)])
        return np.array([float(self.limits(round(float(size))).value(clusters)[0]) for size in np.asarray(sizes)])

    @cached_property
    def offset(self) -> Offset:
        """The analytic curve on the scale of the link, remembered; 0 where there is none."""
        return offset_of(self.criterion, self.value) if self.analytic else no_offset

    def answer(self, guess: int | None = None) -> int | None:
        """The analytic answer; None if no size reaches the target, or there is no analytic curve."""
        return smallest(self.criterion, self.value, self.low, self.high, guess) if self.analytic else None

    def n_obs(self, size: int) -> int:
        """Rows of a design."""
        at = self.design(size)
        return self.question.scenario.cell(at.n_clusters, at.cluster_size, self.draws.values[0]).n_obs

    def size_label(self, size: int) -> int | str:
        """Cluster size of a design, or its cluster sizes in short."""
        at = self.design(size).cluster_size
        if at is not None:
            return at
        label = self.question.scenario.size_label
        return int(label) if label.isdecimal() else label


def lowest(question: Question, draws: Draws, cluster_size: int | None, wanted: int | None) -> int:
    """Smallest number of clusters of which there is a population: the wanted one, or the first from 10 on.

    Raises
    ------
    DesignError
        If there is none.
    """
    candidates = range(10, 210) if wanted is None else range(wanted, wanted + 1)
    for n_clusters in candidates:
        try:
            question.scenario.cell(n_clusters, cluster_size, draws.values[0])
        except DesignError as error:
            if n_clusters == candidates[-1] or not any("clusters" in text for text in error.problems):
                raise
        else:
            return n_clusters
    raise AssertionError  # the loop returns or raises
