"""What every method is and must be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from simstudy.data.layout import ClusterLayout
from simstudy.data.products import Products
from simstudy.data.sample import Sample
from simstudy.estimation.exact_laws import ExactNumber
from simstudy.estimation.result import FitResult
from simstudy.likelihood.slopes.chain import Treatment
from simstudy.linalg.stacked import FloatArray, IntArray
from simstudy.methods.likelihood_of import UNSAID, LikelihoodOf, joint
from simstudy.methods.look import Look
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.slopes import RandomSlope
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population
from simstudy.population.streams import FitStreams

LATER: Mapping[str, bool] = {"later": True}
"""Metadata of an option (a dataclass field) that a method got after studies may have been run with it.

At its default the method must do what it did without the option; then it is no part of what identifies stored
estimates, and a folder begun before can be resumed. Its default must never change.
"""


@runtime_checkable
class PreparedEstimator(Protocol):
    """A method made ready for one model and layout: index maps, constants and starts are computed once."""

    def fit(self, data: Any) -> FitResult:
        """Fit R data sets; never raises for a numerical reason.

        ``data`` is of the kind that the method needs. Its arrays are read-only: other methods are given the same ones.
        """
        ...


class PreparedRandom(Protocol):
    """What `PreparedEstimator` is for a method that draws random numbers (``needs_random = True``)."""

    def fit(self, data: Any, streams: FitStreams) -> FitResult:
        """Fit R data sets; whatever is drawn for data set r comes from ``streams.generator(r)``."""
        ...


@runtime_checkable
class PreparedSlopes(PreparedEstimator, Protocol):
    """What `PreparedEstimator` is for a method that lets slopes vary by full-information maximum likelihood.

    Attributes
    ----------
    structure : SlopeStructure
        Random elements (intercepts, slopes) and level-2 variables of a cluster.
    treatment : str
        What slopes multiply: ``observed``, ``latent`` or ``hybrid``.
    """

    structure: SlopeStructure
    treatment: Treatment

    def elements(self, params: FloatArray, data: Products) -> tuple[FloatArray, FloatArray]:
        """Posterior means (R, J, r) and covariances (R, J, r, r) of random elements at parameters (R, q)."""
        ...

    def within_scores(
        self, params: FloatArray, data: Products, rows: FloatArray, wanted: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Posterior means and variances (N, m) of variables ``wanted`` (m,) of the within level, for one data set.

        At parameters (q,), with the rows (N, p1) of the data.
        """
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

    What has no default must be said; the rest may be. A class that inherits from this one, or is registered, has the
    defaults.

    Attributes
    ----------
    name, title, reference : str
        Name in the registry, what it is, and who proposed it (author, year).
    levels : tuple of str
        Levels whose parameters it speaks about.
    can, cannot : str
        What it can and cannot do, in a sentence each.
    needs : str
        Kind of data (`simstudy.population.data_kinds`): ``statistics``, ``clusters`` (statistics with cluster-wise
        means and scatter), ``sample`` (raw rows), or one that was registered.
    se_kinds : tuple of str
        Kinds of SE it returns, first the one used for Monte Carlo intervals.
    year : int, optional
        Its place in the story of the methods.
    idea : str
        The method in one sentence, lower case.
    same_as : str
        The method whose twin it is.
    theory : tuple of str
        Where its formulas are written down: a page and an anchor each, as ``docs/theory/likelihood.md#c1``.
    look : Look, optional
        Colour, marker and line in figures; by default they follow from the name.
    imposes_constraints : bool
        Whether it imposes ``==`` constraints; `simstudy.fit` declines them for others.
    imposes_bounds : bool
        Whether it keeps bounds and inequalities of the model text; `simstudy.fit` declines them for others.
    random_slopes : bool
        Whether it knows random slopes; others are given the fixed-slope model.
    likelihood_of_model : bool
        Whether it maximises the likelihood of the two-level model, so that ``loglik`` of its fits can be compared with
        that of other methods which do: likelihood-ratio tests, fit of each level.
    averages_items : bool
        Whether it takes all loadings of a factor to be 1, so that a change of units must be the same for all items.
    needs_random : bool
        Whether it draws random numbers; what it prepares is then a `PreparedRandom`.
    takes_missing : bool
        Whether it uses incomplete rows; others get the complete ones.
    interval_kinds : tuple of str
        Kinds of intervals of its own, see below.
    interval_level : float
        Level of the intervals that it makes itself.
    diagnostics : tuple of Diagnostic
        What it tells of every fit in `FitResult.measures`, beside the usual fit measures. All measures are stored of
        every replicate and tabulated.
    asked_for : Estimator
        The method as its user chose it: another one where this one stands in for it (see `for_model`).

    Notes
    -----
    What a method returns in `FitResult.intervals` is stored, tabulated and shown by the name it has there. Under the
    name of one of its kinds of SE it replaces that kind's Wald intervals; a name in ``interval_kinds`` (``profile``,
    ``credible``) is a kind of its own beside them, with the estimate, limits and no SE. Limits are of the free
    parameters (R, q), or of these and the ``:=`` parameters (R, q + d). Where they are (R, q), ``:=`` parameters have
    Wald intervals under the name of a kind of SE, and none under another. Under the name of a kind of SE there must be
    limits wherever there is an SE: a missing one would pass for a Wald interval. Under another name NaN says that there
    is no interval. ``wald`` and ``montecarlo`` are names of the program's own intervals.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    levels: ClassVar[tuple[str, ...]]
    can: ClassVar[str]
    cannot: ClassVar[str]

    year: ClassVar[int | None] = None
    idea: ClassVar[str] = ""
    same_as: ClassVar[str] = ""
    theory: ClassVar[tuple[str, ...]] = ()
    look: ClassVar[Look | None] = None
    imposes_constraints: ClassVar[bool] = False
    imposes_bounds: ClassVar[bool] = False
    random_slopes: ClassVar[bool] = False
    likelihood_of_model: ClassVar[bool] = False
    averages_items: ClassVar[bool] = False
    needs_random: ClassVar[bool] = False
    interval_kinds: ClassVar[tuple[str, ...]] = ()
    diagnostics: ClassVar[tuple[Diagnostic, ...]] = ()

    @property
    def needs(self) -> str:
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

    @property
    def takes_missing(self) -> bool:
        """Whether incomplete rows are used."""
        return False

    @property
    def interval_level(self) -> float:
        """Level of its own intervals."""
        return 0.95

    @property
    def asked_for(self) -> Estimator:
        """The method that its user chose."""
        return self

    def for_model(self, model: TwoLevelModel) -> Estimator:
        """The method as it is used for a model: one with other needs and kinds of SE may stand in for it."""
        return self

    def on_sums(self) -> Estimator | None:
        """The method as it is used where only sums are at hand (theory): without the kinds of SE that need more.

        None where its estimates need more; `ChosenErrors` has it for methods with an option ``se``.
        """
        return self if self.needs == "statistics" else None

    def on_rows_left(self, model: TwoLevelModel) -> Estimator | None:
        """A variant that finds the same numbers in samples whose incomplete rows are blank (NaN), many at once.

        None where listwise deletion needs a fit of its own for each data set.
        """
        return None

    def prepare_slopes(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedSlopes | None:
        """`prepare`, where slopes vary by full-information maximum likelihood; None where they do not."""
        return None

    def caveats(self, model: TwoLevelModel) -> tuple[str, ...]:
        """What a user must know about its numbers for this model."""
        return ()

    def failure_notes(self, model: TwoLevelModel, sample: Sample) -> tuple[str, ...]:
        """Why a fit of one data set that did not converge has no maximum, as far as the method can tell."""
        return ()

    def slope_meaning(self, model: TwoLevelModel, slope: RandomSlope) -> str:
        """What it takes a random slope to multiply: a key of `simstudy.analysis.slopes.MEANING`, empty if unsaid."""
        return ""

    def likelihood_of(self, model: TwoLevelModel) -> LikelihoodOf:
        """What its log-likelihood of this model is of."""
        return joint(model) if self.likelihood_of_model else UNSAID

    def exact_numbers(self, model: TwoLevelModel, population: Population, level: float) -> tuple[ExactNumber, ...]:
        """Its exact finite-sample numbers in a population, at a level of confidence; none without closed forms."""
        return ()


REQUIRED = ("name", "title", "reference", "levels", "can", "cannot", "needs", "se_kinds", "supports", "prepare")
OPTIONAL = tuple(name for name in vars(Estimator) if not name.startswith("_") and name not in REQUIRED)


def complete(cls: type[Any]) -> None:
    """Give a class the defaults of what it does not say."""
    for name in OPTIONAL:
        if not hasattr(cls, name):
            setattr(cls, name, vars(Estimator)[name])
