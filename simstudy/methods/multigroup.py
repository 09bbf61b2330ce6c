"""`multigroup`: every cluster is a group of a multiple-group SEM (McArdle & Hamagami 1996)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics, total_scatter
from simstudy.estimation.result import FitResult
from simstudy.likelihood.normal.single_level import Data
from simstudy.linalg.stacked import FloatArray, cholesky, columns, dot, submatrix
from simstudy.linalg.tails import chi_square_tail
from simstudy.methods.checks import check_kinds, judge_data, refuse_constraints
from simstudy.methods.chosen_errors import ChosenErrors
from simstudy.methods.likelihood_of import LikelihoodOf
from simstudy.methods.look import LONG_DASH, SKY, Look
from simstudy.methods.one_level.single_level import SingleLevelFitter
from simstudy.methods.registry import register
from simstudy.model.collapse import within_model
from simstudy.model.twolevel import TwoLevelModel


@register
@dataclass(frozen=True)
class Multigroup(ChosenErrors):
    """The within model in J groups at once, its parameters invariant over groups.

    Group j gives its covariance matrix S_j and its means. Invariant parameters see the groups only through the pooled
    S = sum_j w_j S_j, so that the estimates are those of one SEM on S. The J matrices come back in the chi-square, a
    test of the model and the invariance together. Groups are fixed: nothing is said about a population of clusters.

    Attributes
    ----------
    se : tuple of str
        ``expected`` and ``observed`` information of the N rows, ``robust`` (sandwich over groups).
    means : str
        ``free``: every group has means of its own. ``equal``: the means are invariant too, which leaves the total
        covariances, and the slopes of `disaggregated`.
    likelihood : str
        ``normal``: S_j with divisor n_j, w_j = n_j, as Mplus and lavaan. Within variances then come out too small by
        (N - J) / N, a share of 1/n that more clusters do not cure (Neyman & Scott 1948), and SEs by its root.
        ``wishart``: divisor n_j - 1, w_j = n_j - 1, as LISREL, EQS and Amos, which is the pooled within matrix.
    measures : bool
        Compute the chi-square too. It exists if every group has more rows than variables.
    """

    name: ClassVar[str] = "multigroup"
    title: ClassVar[str] = "multiple-group SEM with clusters as groups"
    reference: ClassVar[str] = "McArdle & Hamagami (1996)"
    theory: ClassVar[tuple[str, ...]] = ("docs/theory/two-matrices.md#c13",)
    year: ClassVar[int] = 1996
    look: ClassVar[Look] = Look(SKY, "<", True, LONG_DASH)
    idea: ClassVar[str] = (
        "treat the clusters as the groups of a multiple-group SEM: means of their own, one structure for all"
    )
    levels: ClassVar[tuple[str, ...]] = ("within",)
    can: ClassVar[str] = (
        "estimate the within model free of between effects with any multiple-group program, and test whether it is the "
        "same in all clusters"
    )
    cannot: ClassVar[str] = (
        "say anything about the between level: clusters are fixed, each with its means, and level-2 variables do not "
        "vary in a group; its chi-square is far too large unless clusters are"
    )

    se: tuple[Literal["expected", "observed", "robust"], ...] = ("expected",)
    means: Literal["free", "equal"] = "free"
    likelihood: Literal["normal", "wishart"] = "normal"
    measures: bool = False

    def __post_init__(self) -> None:
        check_kinds(self.name, self.se)

    @property
    def needs(self) -> str:
        """Chi-square and robust SEs need every cluster's covariance matrix; estimates need their sum."""
        return "clusters" if self.measures or "robust" in self.se else "statistics"

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """There must be a within model with parameters, and a pooled covariance matrix of full rank."""
        if not (within_model(model).index >= 0).any():
            return "the within model has no free parameters"
        if layout.n_obs - layout.n_clusters < len(model.level1):
            return "fewer within-cluster degrees of freedom than level-1 variables"
        return refuse_constraints(model)

    def likelihood_of(self, model: TwoLevelModel) -> LikelihoodOf:
        """Of rows within clusters; with equal means of rows as if they were independent."""
        return LikelihoodOf("within_clusters" if self.means == "free" else "rows", model.level1)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedMultigroup:
        """Build the within model."""
        return PreparedMultigroup(self, model, layout)


class PreparedMultigroup:
    """`Multigroup` for one model and layout. Clusters of one row are no groups: they are left out."""

    def __init__(self, options: Multigroup, model: TwoLevelModel, layout: ClusterLayout) -> None:
        self.options, self.model = options, model
        self.single = within_model(model)
        self.columns = np.array([model.level1.index(name) for name in self.single.variables], dtype=np.int64)
        self.group_sizes: FloatArray = np.array([n for n in layout.sizes if n > 1], dtype=float)
        self.first = layout.n_clusters - len(self.group_sizes)  # clusters are ordered by size
        self.use: FloatArray = np.where(layout.distinct > 1, layout.distinct * layout.counts, 0).astype(float)
        self.weights = self.group_sizes - (1.0 if options.likelihood == "wishart" else 0.0)
        self.fitter = SingleLevelFitter(model, self.single, int(self.weights.sum()))

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        statistics = data.statistics() if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        pooled, centre = self._pooled(statistics)
        clusters = self._groups(statistics, centre) if "robust" in self.options.se else None
        result = self.fitter.fit(Data(np.zeros(pooled.shape[:-1]), pooled), self.options.se, clusters)
        if self.options.measures:
            result = replace(result, measures=self._measures(result, statistics))
        if self.options.likelihood == "wishart":  # that of the means is left out: no likelihood of the data
            result = replace(result, loglik=np.full(result.n_replicates, np.nan))
        return judge_data(result, statistics, within=True, between=False).blank_failures()

    def _pooled(self, statistics: TwoLevelStatistics) -> tuple[FloatArray, FloatArray | None]:
        """Scatter of all groups about the means that the model gives them (R, p, p); those, if invariant (R, p)."""
        scatter, c = submatrix(statistics.scatter_within, self.columns, self.columns), self.columns
        if self.options.means == "free":
            return scatter, None
        sizes = np.where(self.use > 0, statistics.layout.distinct, 0).astype(float)
        between = submatrix(statistics.size_scatter, c, c) * sizes[:, None, None]
        centre, added = total_scatter(between, columns(statistics.size_means, c), self.use)
        return scatter + added, centre

    def _groups(
        self, statistics: TwoLevelStatistics, centre: FloatArray | None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Every group's weight, mean minus the model's, and scatter, for the sandwich."""
        means, scatter = statistics.clusters()
        own = columns(means[:, self.first :], self.columns)
        offset = np.zeros_like(own) if centre is None else own - centre[:, None]
        return self.weights, offset, submatrix(scatter[:, self.first :], self.columns, self.columns)

    def _measures(self, result: FitResult, statistics: TwoLevelStatistics) -> dict[str, FloatArray]:
        """Chi-square of the invariant model against groups with covariance matrices and means of their own."""
        p, n_groups = len(self.columns), len(self.group_sizes)
        _, scatter = statistics.clusters()
        own = submatrix(scatter[:, self.first :], self.columns, self.columns) / self.weights[:, None, None]
        factor, _ = cholesky(own)
        log_det = 2.0 * np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=-1)  # (R, J)
        small = (self.group_sizes <= p).any()  # S_j singular, its log-determinant rounding
        saturated = np.full(len(own), np.nan) if small else dot(log_det, np.broadcast_to(self.weights, log_det.shape))
        total = self.weights.sum()
        unrestricted = -0.5 * (saturated + total * p * (1.0 + np.log(2.0 * np.pi)))
        n_means = n_groups * p if self.options.means == "free" else p
        n_structure = float(self.single.n_free)
        df = n_groups * p * (p + 1) / 2.0 + n_groups * p - n_structure - n_means
        chisq = 2.0 * (unrestricted - result.loglik)
        npar = n_structure + n_means
        found = {
            "chisq": chisq,
            "df": np.full(len(own), df),
            "pvalue": chi_square_tail(chisq, df),
            "npar": np.full(len(own), npar),
            "loglik": result.loglik,
            "unrestricted_loglik": unrestricted,
            "aic": -2.0 * result.loglik + 2.0 * npar,
            "bic": -2.0 * result.loglik + np.log(self.group_sizes.sum()) * npar,
        }
        if self.options.likelihood == "wishart":
            for name in ("loglik", "unrestricted_loglik", "aic", "bic"):
                del found[name]
        return found
