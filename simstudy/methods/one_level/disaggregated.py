"""`disaggregated`: one single-level SEM on the rows, clusters ignored (theory B1, B5, B6), and its robust twin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics, between_scatter
from simstudy.estimation.exact_laws import ExactNumber
from simstudy.estimation.result import FitResult
from simstudy.likelihood.normal.single_level import Data
from simstudy.linalg.stacked import FloatArray
from simstudy.methods.checks import check_kinds, judge_data, refuse_constraints
from simstudy.methods.chosen_errors import ChosenErrors
from simstudy.methods.closed_forms import exact_slopes
from simstudy.methods.likelihood_of import LikelihoodOf
from simstudy.methods.look import BLUE, DOT, LONG_DASH, Look
from simstudy.methods.one_level.path_laws import rows_laws
from simstudy.methods.one_level.single_level import SingleLevelFitter
from simstudy.methods.registry import register
from simstudy.model.collapse import SingleLevelModel, merged_model
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population


@register
@dataclass(frozen=True)
class Disaggregated(ChosenErrors):
    """Single-level SEM on N rows; level-2 variables are spread to the rows.

    Its slopes mix within and between effects, and are reported for both levels.

    Attributes
    ----------
    se : tuple of str
        ``expected`` (naive: rows taken as independent), ``observed``, ``robust`` (sandwich by cluster).
    """

    name: ClassVar[str] = "disaggregated"
    title: ClassVar[str] = "single-level SEM on rows, clusters ignored"
    reference: ClassVar[str] = "the habit criticised since Robinson (1950); Moulton (1986) on its SEs"
    theory: ClassVar[tuple[str, ...]] = (
        "docs/theory/single-level.md#b1",
        "docs/theory/single-level.md#b5",
        "docs/theory/mediation.md#b6",
    )
    year: ClassVar[int] = 1950
    look: ClassVar[Look] = Look(BLUE, "o", True, LONG_DASH)
    idea: ClassVar[str] = "take the rows as a sample of independent cases"
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    can: ClassVar[str] = "any path model; sandwich SEs are honest about the conflated effect"
    cannot: ClassVar[str] = "separate within from between effects; its naive SEs ignore the dependence of rows"

    se: tuple[Literal["expected", "observed", "robust"], ...] = ("expected", "robust")

    def __post_init__(self) -> None:
        check_kinds(self.name, self.se)

    @property
    def needs(self) -> str:
        """Robust SEs need cluster-wise scores."""
        return "clusters" if "robust" in self.se else "statistics"

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """There must be a single-level model, and more rows than variables."""
        single = merged_model(model)
        if isinstance(single, str):
            return single
        if model.table.constraints or model.table.bounded:
            return refuse_constraints(model)
        return "no more rows than variables" if layout.n_obs <= len(model.variables) else None

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedDisaggregated:
        """Build the merged model."""
        single = merged_model(model)
        assert not isinstance(single, str), single
        return PreparedDisaggregated(self, model, layout, single)

    def likelihood_of(self, model: TwoLevelModel) -> LikelihoodOf:
        """Of rows as if they were independent."""
        return LikelihoodOf("rows", model.variables)

    def exact_numbers(self, model: TwoLevelModel, population: Population, level: float) -> tuple[ExactNumber, ...]:
        """Slopes on rows (theory B1, B5a)."""
        return exact_slopes(model, population, level, rows_laws, self.se_kinds)


@register
@dataclass(frozen=True)
class DisaggregatedRobust(Disaggregated):
    """`disaggregated` with sandwich SEs by cluster and no others: what Mplus calls "type = complex"."""

    name: ClassVar[str] = "disaggregated_robust"
    title: ClassVar[str] = "single-level SEM on rows, cluster-robust SEs"
    reference: ClassVar[str] = "Muthén & Satorra (1995); Liang & Zeger (1986)"
    theory: ClassVar[tuple[str, ...]] = ("docs/theory/single-level.md#b1", "docs/theory/inference.md#c11")
    year: ClassVar[int] = 1995
    look: ClassVar[Look] = Look(BLUE, "p", False, DOT)
    idea: ClassVar[str] = "keep the one model of the rows, and let the scores of whole clusters tell its SEs"
    can: ClassVar[str] = "any path model; honest SEs of the conflated effect, with enough clusters"
    cannot: ClassVar[str] = "separate within from between effects: it is right about the precision of a mixture"
    same_as: ClassVar[str] = "disaggregated with se = ['robust']"

    se: tuple[Literal["expected", "observed", "robust"], ...] = field(default=("robust",), init=False)


class PreparedDisaggregated:
    """`Disaggregated` for one model and layout."""

    def __init__(
        self, options: Disaggregated, model: TwoLevelModel, layout: ClusterLayout, single: SingleLevelModel
    ) -> None:
        self.options, self.model, self.layout = options, model, layout
        self.fitter = SingleLevelFitter(model, single, layout.n_obs)

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        statistics = data.statistics() if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        mean, scatter = between_scatter(statistics)
        p1 = len(self.model.level1)
        scatter[:, :p1, :p1] += statistics.scatter_within
        clusters = self._clusters(statistics, p1) if "robust" in self.options.se else None
        result = self.fitter.fit(Data(mean, scatter), self.options.se, clusters)
        return judge_data(result, statistics, within=False)

    def _clusters(self, statistics: TwoLevelStatistics, p1: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        means, within = statistics.clusters()
        scatter = np.zeros((*means.shape, means.shape[-1]))
        scatter[..., :p1, :p1] = within
        return np.asarray(self.layout.sizes, dtype=float), means, scatter
