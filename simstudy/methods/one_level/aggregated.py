"""`aggregated`: the between model as a SEM on unweighted cluster means (theory B2, B6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics, total_scatter
from simstudy.estimation.exact_laws import ExactNumber
from simstudy.estimation.result import FitResult
from simstudy.likelihood.normal.single_level import Data
from simstudy.linalg.stacked import columns, submatrix
from simstudy.methods.checks import check_kinds, judge_data, refuse_constraints, refuse_empty_between
from simstudy.methods.chosen_errors import ChosenErrors
from simstudy.methods.closed_forms import exact_slopes
from simstudy.methods.likelihood_of import LikelihoodOf
from simstudy.methods.look import DASH, VERMILLION, Look
from simstudy.methods.one_level.path_laws import means_laws
from simstudy.methods.one_level.single_level import SingleLevelFitter
from simstudy.methods.registry import register
from simstudy.model.collapse import between_model
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population


@register
@dataclass(frozen=True)
class Aggregated(ChosenErrors):
    """Single-level SEM on J cluster means, each counting once; speaks about the between level only.

    Attributes
    ----------
    se : tuple of str
        ``expected``, ``observed``, ``robust`` (sandwich over clusters).
    """

    name: ClassVar[str] = "aggregated"
    title: ClassVar[str] = "SEM on cluster means"
    reference: ClassVar[str] = "the ecological regression of Robinson (1950); Lüdtke et al. (2008) on its bias"
    theory: ClassVar[tuple[str, ...]] = ("docs/theory/single-level.md#b2", "docs/theory/mediation.md#b6")
    year: ClassVar[int] = 1950
    look: ClassVar[Look] = Look(VERMILLION, "s", False, DASH)
    idea: ClassVar[str] = "average within clusters and take the J means as the cases"
    levels: ClassVar[tuple[str, ...]] = ("between",)
    can: ClassVar[str] = "any between model, level-2 outcomes included; SEs that respect the clusters"
    cannot: ClassVar[str] = "speak about the within level; it takes cluster means for latent between parts"

    se: tuple[Literal["expected", "observed", "robust"], ...] = ("expected",)

    def __post_init__(self) -> None:
        check_kinds(self.name, self.se)

    @property
    def needs(self) -> str:
        """Robust SEs need cluster-wise means."""
        return "clusters" if "robust" in self.se else "statistics"

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """There must be more clusters than between variables."""
        if layout.n_clusters <= len(model.observed("between")):
            return "no more clusters than between variables"
        return refuse_constraints(model) or refuse_empty_between(model)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedAggregated:
        """Build the between model."""
        return PreparedAggregated(self, model, layout)

    def likelihood_of(self, model: TwoLevelModel) -> LikelihoodOf:
        """Of cluster means."""
        return LikelihoodOf("cluster_means", model.observed("between"))

    def exact_numbers(self, model: TwoLevelModel, population: Population, level: float) -> tuple[ExactNumber, ...]:
        """Slopes on cluster means (theory B2)."""
        return exact_slopes(model, population, level, means_laws, self.se_kinds)


class PreparedAggregated:
    """`Aggregated` for one model and layout."""

    def __init__(self, options: Aggregated, model: TwoLevelModel, layout: ClusterLayout) -> None:
        self.options, self.model, self.layout = options, model, layout
        single = between_model(model)
        self.columns = np.array([model.variables.index(name) for name in single.variables], dtype=np.int64)
        self.fitter = SingleLevelFitter(model, single, layout.n_clusters)

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        statistics = data.statistics() if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        c = self.columns
        counts = self.layout.counts.astype(float)
        mean, scatter = total_scatter(
            submatrix(statistics.size_scatter, c, c), columns(statistics.size_means, c), counts
        )
        clusters = None
        if "robust" in self.options.se:
            means, _ = statistics.clusters()
            clusters = (np.ones(self.layout.n_clusters), columns(means, c), None)
        result = self.fitter.fit(Data(mean, scatter), self.options.se, clusters)
        return judge_data(result, statistics, within=False)
