"""What every method is and must be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Protocol, runtime_checkable

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.result import FitResult
from simstudy.model.twolevel import TwoLevelModel

Needs = Literal["statistics", "clusters", "sample"]
NEEDS: tuple[Needs, ...] = ("statistics", "clusters", "sample")


LATER: Mapping[str, bool] = {"later": True}
"""Metadata of an option (a dataclass field) that a method got after studies may have been run with it.

At its default the method must do what it did without the option; then it is no part of what identifies stored
estimates, and a folder begun before can be resumed. Its default must never change.
"""


@runtime_checkable
class PreparedEstimator(Protocol):
    """A method made ready for one model and layout: index maps, constants and starts are computed once."""

    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets; never raises for a numerical reason.

        ``data`` is a `Sample` for methods that need the sample, otherwise statistics (cluster-wise where asked for).
        """
        ...


@runtime_checkable
class Estimator(Protocol):
    """A method. Options are the fields of a frozen dataclass.

    Attributes
    ----------
    name, title, reference : str
        Name in the registry, what it is, and who proposed it (author, year).
    levels : tuple of str
        Levels whose parameters it speaks about.
    can, cannot : str
        What it can and cannot do, in a sentence each.
    needs : str
        ``statistics``, ``clusters`` (statistics with cluster-wise means and scatter) or ``sample`` (raw rows).
    se_kinds : tuple of str
        Kinds of SE it returns, first the one used for Monte Carlo intervals.

    A method that imposes ``==`` constraints says so with ``imposes_constraints = True``; `simstudy.fit` declines them
    for others.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    levels: ClassVar[tuple[str, ...]]
    can: ClassVar[str]
    cannot: ClassVar[str]

    @property
    def needs(self) -> Needs:
        """The least that the method must be given."""
        ...

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """SE kinds of its results."""
        ...

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """None, or the reason why the method cannot be used here."""
        ...

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedEstimator:
        """Make ready for a model and layout."""
        ...
