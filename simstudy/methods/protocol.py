"""What every method is and must be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.result import FitResult
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.streams import FitStreams

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
        Its arrays are read-only: other methods are given the same ones.
        """
        ...


class PreparedRandom(Protocol):
    """What `PreparedEstimator` is for a method that draws random numbers (``needs_random = True``)."""

    def fit(self, data: TwoLevelStatistics | Sample, streams: FitStreams) -> FitResult:
        """Fit R data sets; whatever is drawn for data set r comes from ``streams.generator(r)``."""
        ...


@dataclass(frozen=True)
class Diagnostic:
    """A number that a method returns of every fit, in `FitResult.measures`.

    Attributes
    ----------
    name : str
        Key in `FitResult.measures`, and column of the stored fits.
    label : str
        What tables call it.
    meaning : str
        What it is, in a sentence.
    better : str
        ``high`` or ``low`` where that is better, otherwise empty.
    """

    name: str
    label: str
    meaning: str = ""
    better: Literal["high", "low", ""] = ""


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

    **Intervals.** What a method returns in `FitResult.intervals` is stored, tabulated and shown by the name it has
    there. Under the name of one of its kinds of SE it replaces that kind's Wald intervals; any other name
    (``profile``, ``credible``) is a kind of its own beside them, with the estimate, limits and no SE; the method names
    it in ``interval_kinds``. Their level is the method's ``level``, .95 where it has no such option. Limits are of
    the free parameters (R, q), or of these and the ``:=`` parameters (R, q + d). Where they are (R, q), ``:=``
    parameters have Wald intervals under the name of a kind of SE, and none under another. Under the name of a kind of
    SE there must be limits wherever there is an SE: a missing one would pass for a Wald interval. Under another name
    NaN says that there is no interval. ``wald`` and ``montecarlo`` are names of the program's own intervals.

    **Random numbers.** A method that draws any says ``needs_random = True``; what it prepares is a `PreparedRandom`.

    **Diagnostics.** Everything in `FitResult.measures` is stored of every replicate and tabulated like fit measures;
    ``diagnostics``, a tuple of `Diagnostic`, says what the names mean that are no usual fit measures.
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


def needs_random(method: Estimator) -> bool:
    """Whether a method draws random numbers, see `PreparedRandom`."""
    return bool(getattr(method, "needs_random", False))


def interval_kinds(method: Estimator) -> tuple[str, ...]:
    """Kinds of intervals of a method that are no Wald intervals of one of its kinds of SE."""
    return tuple(getattr(method, "interval_kinds", ()))


def interval_level(method: Estimator) -> float:
    """Level of the intervals that a method makes itself."""
    return float(getattr(method, "level", 0.95))


def diagnostics(method: Estimator) -> tuple[Diagnostic, ...]:
    """What a method tells of every fit beside the usual fit measures."""
    return tuple(getattr(method, "diagnostics", ()))
