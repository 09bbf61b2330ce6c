"""`fiml_wide`: full-information maximum likelihood, the cluster as the case (McDonald & Goldstein 1989; theory C9)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.data.wide import wide_data
from simstudy.errors import EstimatorError
from simstudy.estimation.available_moments import available_moments
from simstudy.estimation.engine import Engine
from simstudy.estimation.result import FitResult, Status, failed
from simstudy.estimation.starts import Starts, starts_from_moments, two_level_starts
from simstudy.likelihood.normal.wide import WideLikelihood
from simstudy.linalg.stacked import FloatArray, transpose
from simstudy.methods.checks import check_kinds, judge_data, refuse_bounds
from simstudy.methods.look import BLACK, DOT, Look
from simstudy.methods.protocol import LATER, Estimator
from simstudy.methods.registry import register
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel


@register
@dataclass(frozen=True)
class FimlWide(Estimator):
    """Every cluster is one case, its persons are the variables, and its covariance matrix is written out.

    The maximum is that of `msem`, reached without its reductions: likelihood, score and information share nothing with
    `msem`'s but the model's implied moments. It is there to be checked against, and to show that multilevel models are
    single-level ones with constraints (Mehta & Neale 2005).

    Attributes
    ----------
    se : tuple of str
        ``expected`` (given what is observed) and ``observed`` information, ``robust`` (Huber-White by cluster).
    missing : str
        ``fiml`` (a missing value makes the vector shorter, as a smaller cluster does) or ``listwise``.
    measures : bool
        Compute fit measures too (chi-square, CFI, ...).
    h1 : str
        What chi-square is against: ``unrestricted`` or ``psd``, as with `msem`.
    max_length : int
        Longest vector taken: rows of the largest cluster times level-1 variables, plus level-2 variables. The work
        grows with its cube: 50 clusters of 20 sizes took .6 s at 100, 5 s at 200, 24 s at 400, 66 s at 600.
    """

    name: ClassVar[str] = "fiml_wide"
    title: ClassVar[str] = "two-level SEM in wide form: clusters as cases, persons as variables"
    reference: ClassVar[str] = (
        "McDonald & Goldstein (1989); Rovine & Molenaar (2000); Bauer (2003); Curran (2003); Mehta & Neale (2005)"
    )
    theory: ClassVar[tuple[str, ...]] = ("docs/theory/likelihood.md#c9",)
    year: ClassVar[int] = 1989
    look: ClassVar[Look] = Look(BLACK, "*", True, DOT)
    idea: ClassVar[str] = (
        "a cluster is one case and its persons are its variables; what they share is a factor with loadings of 1"
    )
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    imposes_constraints: ClassVar[bool] = True
    likelihood_of_model: ClassVar[bool] = True
    can: ClassVar[str] = (
        "all that msem can, with the same estimates, as a single-level SEM; unequal sizes and missing values are one"
    )
    cannot: ClassVar[str] = (
        "take large clusters: its time grows with the cube of rows times variables, and vectors beyond 'max_length' "
        "are declined"
    )

    se: tuple[Literal["expected", "observed", "robust"], ...] = ("expected",)
    missing: Literal["fiml", "listwise"] = "fiml"
    measures: bool = False
    max_length: int = 400
    h1: Literal["unrestricted", "psd"] = field(default="unrestricted", metadata=LATER)

    def __post_init__(self) -> None:
        check_kinds(self.name, self.se)
        if self.max_length < 1:
            raise EstimatorError(f"method '{self.name}': option 'max_length' must be positive; found {self.max_length}")

    @property
    def needs(self) -> str:
        """The rows themselves."""
        return "sample"

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """As asked for."""
        return self.se

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """What `msem` supports, as long as the largest cluster is not too long a vector."""
        largest = max(layout.sizes)
        length = largest * len(model.level1) + len(model.level2)
        if length > self.max_length:
            return (
                f"the largest cluster has {largest} rows, a vector of {length} numbers whose covariance matrix would "
                f"be written out; 'max_length' is {self.max_length}"
            )
        from simstudy.methods.msem import Msem  # which registers itself after this method: the teaching order

        return refuse_bounds(model) or Msem().supports(model, layout)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedFimlWide:
        """Build index maps and constants."""
        return PreparedFimlWide(self, model, layout)

    @property
    def takes_missing(self) -> bool:
        """With full information."""
        return self.missing == "fiml"


class PreparedFimlWide:
    """`FimlWide` for one model and layout."""

    def __init__(self, options: FimlWide, model: TwoLevelModel, layout: ClusterLayout) -> None:
        from simstudy.methods.msem import Msem, PreparedMsem

        self.options, self.model = options, model
        likewise = Msem(se=options.se, measures=options.measures, h1=options.h1)
        self.complete = PreparedMsem(likewise, model, layout)
        self.incomplete = PreparedMsem(likewise, model, layout, closed_form=False)

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets; those with missing values one by one, as each has vectors of its own."""
        assert isinstance(data, Sample), "the wide form needs rows"
        sample = data.arrange(self.model.level1, self.model.level2)
        index = np.arange(sample.n_replicates)
        if not _is_complete(sample) and len(index) > 1:
            return FitResult.concat([self.fit(sample.select(index[r : r + 1])) for r in index])
        if _is_complete(sample):
            result = self.complete.fit_with(lambda structure: wide_engine(structure, sample), sample.layout.n_obs)
            return judge_data(result, sample.statistics(cluster_wise=False), within=True)
        reason = _unusable(sample, self.options.missing)
        if reason is not None:
            return failed(self.model.names, self.options.se, 1, reason)
        n_obs = np.array([(~np.isnan(sample.rows[0])).any(axis=1).sum()], dtype=float)
        return self.incomplete.fit_with(lambda structure: wide_engine(structure, sample), n_obs)


def wide_engine(structure: TwoLevelStructure, sample: Sample) -> Engine:
    """Engine of data in wide form whose variables stand in the model's order."""
    likelihood, data = WideLikelihood(structure), wide_data(sample)

    def meat(params: FloatArray) -> FloatArray:
        scores = likelihood.cluster_scores(params, data)
        result: FloatArray = np.matmul(transpose(scores), scores)
        return result

    if _is_complete(sample):
        return Engine(likelihood, data, meat, two_level_starts(structure, sample.statistics(cluster_wise=False)))
    start = starts_from_moments(structure, *available_moments(sample.incomplete()))
    return Engine(likelihood, data, meat, Starts.of(start))


def _is_complete(sample: Sample) -> bool:
    return not np.isnan(sample.rows).any() and not np.isnan(sample.clusters).any()


def _unusable(sample: Sample, missing: str) -> Status | None:
    """Why one data set with missing values cannot be fitted."""
    if missing == "listwise" or np.isinf(sample.rows).any() or np.isinf(sample.clusters).any():
        return Status.NONFINITE
    seen = (~np.isnan(sample.rows[0])).any(axis=0), (~np.isnan(sample.clusters[0])).any(axis=0)
    return None if all(part.all() for part in seen) else Status.SINGULAR_INFORMATION
