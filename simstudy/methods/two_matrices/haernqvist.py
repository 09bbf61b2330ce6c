"""`haernqvist`: the total covariance matrix split into a between and a within part, each analysed (theory C4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics, between_scatter
from simstudy.estimation.result import FitResult
from simstudy.methods.checks import check_kinds, judge_data, refuse_bounds, refuse_few, refuse_ties_of_levels
from simstudy.methods.look import DOT, VERMILLION, Look
from simstudy.methods.protocol import Estimator
from simstudy.methods.registry import register
from simstudy.methods.two_matrices.two_matrix import TwoMatrices, TwoMatrixFitter
from simstudy.model.twolevel import TwoLevelModel


@register
@dataclass(frozen=True)
class Haernqvist(Estimator):
    """Between model on the group-mean part and within model on the deviation part of the total matrix.

    Every row is its cluster's mean plus a deviation from it; the two are orthogonal, so that with the one divisor N

        S_T = sum_j n_j (v_j - v)(v_j - v)' / N + S / N = S_b + S_w,

    and after division by the total standard deviations R = R_b + R_w, where the diagonal of R_b holds the correlation
    ratios (squared etas) of Robinson (1950). S_b estimates Sigma_B + Sigma_W / n, not Sigma_B (n the mean size), and
    S_w estimates (1 - 1 / n) Sigma_W: within slopes are right, within variances short by 1 / n.

    Choices made here. The published analyses are exploratory and of R; with ``metric = "total_sd"`` the models are
    fitted to R_b and R_w. A model that does not depend on units (no fixed values or equal labels but marker loadings)
    then has the estimates of S_b and S_w, in units of total standard deviations; the default is the variables' own
    units, in which estimates compare with those of other methods. Published analyses have no SEs; ours take the
    matrices for covariance matrices of N - J and J units, and the standard deviations as known.

    Attributes
    ----------
    se : tuple of str
        ``expected``, ``observed``.
    metric : str
        ``units``: parts of S_T; ``total_sd``: parts of R.
    measures : bool
        Compute fit measures too; chi-squares are the sum of both analyses.
    """

    name: ClassVar[str] = "haernqvist"
    title: ClassVar[str] = "separate SEMs on the between and within parts of the total matrix"
    reference: ClassVar[str] = "Cronbach (1976); Härnqvist (1978)"
    theory: ClassVar[tuple[str, ...]] = ("docs/theory/two-matrices.md#c4",)
    year: ClassVar[int] = 1978
    look: ClassVar[Look] = Look(VERMILLION, "<", False, DOT)
    idea: ClassVar[str] = (
        "split every score into its group's mean and a deviation; the two parts are orthogonal, their matrices add up "
        "to the total one, and each has a structure of its own"
    )
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    can: ClassVar[str] = (
        "show the structure of each level, factors and level-2 variables included, with common software"
    )
    cannot: ClassVar[str] = (
        "take the noise of cluster means out of the between part (it estimates Sigma_B + Sigma_W/n); tie the levels"
    )
    imposes_constraints: ClassVar[bool] = True

    se: tuple[Literal["expected", "observed"], ...] = ("expected",)
    metric: Literal["units", "total_sd"] = "units"
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

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedHaernqvist:
        """Build both single-level models."""
        return PreparedHaernqvist(self, model, layout)


class PreparedHaernqvist:
    """`Haernqvist` for one model and layout."""

    def __init__(self, options: Haernqvist, model: TwoLevelModel, layout: ClusterLayout) -> None:
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
        """The parts of the total matrix: S_b and S_w, or R_b and R_w."""
        n, p1 = float(self.layout.n_obs), len(self.model.level1)
        mean, scatter = between_scatter(statistics)
        within, between = statistics.scatter_within / n, scatter / n
        if self.options.metric == "units":
            return TwoMatrices(mean, within, between)
        total = np.diagonal(between, axis1=-2, axis2=-1).copy()
        total[:, :p1] += np.diagonal(within, axis1=-2, axis2=-1)
        scale = 1.0 / np.sqrt(total)
        inner = scale[:, :p1]
        return TwoMatrices(
            mean * scale,
            within * inner[:, :, None] * inner[:, None, :],
            between * scale[:, :, None] * scale[:, None, :],
        )
