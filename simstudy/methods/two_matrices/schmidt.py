"""`schmidt`: pooled within and adjusted between covariance matrices, each analysed on its own (theory C2, C3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics, between_scatter
from simstudy.estimation.exact_laws import ExactNumber
from simstudy.estimation.result import FitResult
from simstudy.methods.checks import check_kinds, judge_data, refuse_bounds, refuse_few, refuse_ties_of_levels
from simstudy.methods.closed_forms import negative_variances
from simstudy.methods.look import DASH_DOT, VERMILLION, Look
from simstudy.methods.protocol import Estimator
from simstudy.methods.registry import register
from simstudy.methods.two_matrices.two_matrix import TwoMatrices, TwoMatrixFitter
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population


@register
@dataclass(frozen=True)
class Schmidt(Estimator):
    """Within model on S_PW (N - J units), between model on the estimate of Sigma_between (J units).

    S_B = sum_j n_j (v_j - v)(v_j - v)' / J has the expectation Sigma_W + c Sigma_B but for (J - 1) / J, with
    c = (N^2 - sum n_j^2) / (N (J - 1)), hence the moment estimate (S_B - S_PW) / c, which is maximum likelihood where
    all clusters have one size. With few clusters or a small ICC it is often not positive definite; covariance structure
    software then refuses the matrix, and so does this method (NON_PD). SEs take the matrix for one of J observed units:
    the noise that was subtracted is forgotten.

    Attributes
    ----------
    se : tuple of str
        ``expected``, ``observed``.
    between : str
        ``adjusted``: (S_B - S_PW) / c; ``raw``: S_B as it stands, the shortcut that is biased: slopes are those of
        Sigma_W + c Sigma_B, variances c-fold.
    divisor : str
        Of S_B: ``J`` (maximum likelihood), or ``J-1`` (unbiased).
    measures : bool
        Compute fit measures too; chi-squares are the sum of both analyses.
    """

    name: ClassVar[str] = "schmidt"
    title: ClassVar[str] = "separate SEMs on the pooled within and the adjusted between covariance matrix"
    reference: ClassVar[str] = "Schmidt (1969)"
    theory: ClassVar[tuple[str, ...]] = ("docs/theory/two-matrices.md#c3", "docs/theory/likelihood.md#c2")
    year: ClassVar[int] = 1969
    look: ClassVar[Look] = Look(VERMILLION, "X", True, DASH_DOT)
    idea: ClassVar[str] = (
        "subtract the within noise from the covariance matrix of cluster means; analyse what is left like any other "
        "covariance matrix"
    )
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    can: ClassVar[str] = "separate latent within from between effects, factors included, with single-level software"
    cannot: ClassVar[str] = (
        "use a between matrix that is not positive definite (few clusters, small ICC); tie the levels; its between SEs "
        "are too small, since they ignore the noise subtracted"
    )
    imposes_constraints: ClassVar[bool] = True

    se: tuple[Literal["expected", "observed"], ...] = ("expected",)
    between: Literal["adjusted", "raw"] = "adjusted"
    divisor: Literal["J", "J-1"] = "J"
    measures: bool = False

    def __post_init__(self) -> None:
        check_kinds(self.name, self.se)

    @property
    def needs(self) -> str:
        """Sums suffice."""
        return "statistics"

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """As asked for."""
        return self.se

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """Both matrices must be estimable, and no parameter may belong to both levels."""
        return refuse_bounds(model) or refuse_few(model, layout) or refuse_ties_of_levels(model)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedSchmidt:
        """Build both single-level models."""
        return PreparedSchmidt(self, model, layout)

    def exact_numbers(self, model: TwoLevelModel, population: Population, level: float) -> tuple[ExactNumber, ...]:
        """P(negative between variance), balanced and saturated (theory F6)."""
        if self.between == "raw":  # S_B as it stands is never negative
            return ()
        return negative_variances(model, population, unbiased=self.divisor == "J-1")


class PreparedSchmidt:
    """`Schmidt` for one model and layout."""

    def __init__(self, options: Schmidt, model: TwoLevelModel, layout: ClusterLayout) -> None:
        self.options, self.model, self.layout = options, model, layout
        n_between = layout.n_clusters
        self.fitter = TwoMatrixFitter(
            model, layout.n_obs - n_between, n_between, kinds=options.se, measures=options.measures
        )

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        statistics = data.statistics(cluster_wise=False) if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        return judge_data(self.fitter.fit(self.matrices(statistics)), statistics, within=True)

    def matrices(self, statistics: TwoLevelStatistics) -> TwoMatrices:
        """The matrices analysed."""
        layout, p1, c = self.layout, len(self.model.level1), self.layout.anova_size
        mean, scatter = between_scatter(statistics)
        within = statistics.scatter_within / (layout.n_obs - layout.n_clusters)
        observed = scatter / (layout.n_clusters - (self.options.divisor == "J-1"))
        if self.options.between == "raw":
            return TwoMatrices(mean, within, observed, observed / c)
        between = observed.copy()
        between[:, :p1, :p1] -= within
        return TwoMatrices(mean, within, between / c)
