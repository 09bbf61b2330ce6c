"""`goldstein`: a multivariate multilevel model for both covariance matrices, then SEM on each (theory C5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.engine import Engine, FirstStep, complete_engine, incomplete_engine
from simstudy.estimation.exact_laws import ExactNumber
from simstudy.estimation.result import FitResult, Status, failed
from simstudy.estimation.unrestricted import unrestricted_model
from simstudy.methods.checks import check_kinds, judge_data, refuse_bounds, refuse_few
from simstudy.methods.chosen_errors import ChosenErrors
from simstudy.methods.closed_forms import negative_variances
from simstudy.methods.look import DASH, SKY, Look
from simstudy.methods.registry import register
from simstudy.methods.two_matrices.two_matrix import TwoMatrices, TwoMatrixFitter, with_first_step
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population


@register
@dataclass(frozen=True)
class Goldstein(ChosenErrors):
    """Two steps: Sigma_within and Sigma_between by a stacked multivariate MLM, then a two-group SEM on them.

    Step 1 stacks the responses of a person as a lowest level without variance of its own; persons have the covariance
    matrix Sigma_W and clusters Sigma_B. Its full-information maximum likelihood is the saturated two-level model:
    unequal sizes and missing responses (MAR) are no difficulty. Step 2 fits the model to both matrices as if they were
    covariance matrices of N - J and J observed units. Estimates are consistent. SEs and chi-square are not right:
    Sigma_B was not observed on J units, it was estimated from noisy means (Hox & Maas 2004). A Sigma_B that is not
    positive definite cannot be analysed (NON_PD), as in `schmidt`, whose twin this method is where all clusters have
    one size and nothing is missing.

    ``robust`` is the repair, not the method as proposed: the cluster-robust covariance matrix of the first step's
    moments, Gamma, is carried through the second, H^-1 K Gamma K' H^-1 with K the derivative of its score with respect
    to the moments, and chi-square is divided by the mean of the weights of its limiting sum of chi-squares (Browne
    1984; Satorra & Bentler 1994).

    Attributes
    ----------
    se : tuple of str
        ``expected``, ``observed``: of the second step alone; ``robust``: with the first step's uncertainty.
    missing : str
        ``listwise``, or ``fiml``: step 1 uses every observed value.
    measures : bool
        Compute fit measures too: the two-group chi-square; the corrected one where ``robust`` is among ``se``.
    """

    name: ClassVar[str] = "goldstein"
    title: ClassVar[str] = "multivariate multilevel model, then a two-group SEM on its two covariance matrices"
    reference: ClassVar[str] = "Goldstein (1987, 1995); Goldstein & McDonald (1988); criticised by Hox & Maas (2004)"
    theory: ClassVar[tuple[str, ...]] = ("docs/theory/two-matrices.md#c5",)
    year: ClassVar[int] = 1987
    look: ClassVar[Look] = Look(SKY, "P", False, DASH)
    idea: ClassVar[str] = (
        "responses are a level below persons: a multilevel model of the stacked responses estimates both covariance "
        "matrices, whatever the sizes and gaps, and SEM takes over from there"
    )
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    can: ClassVar[str] = "unequal sizes and missing responses, consistently, with standard MLM and SEM software"
    cannot: ClassVar[str] = (
        "as proposed, carry the first step's error into the second: between SEs are too small and chi-square too large "
        "unless robust; use a between matrix that is not positive definite"
    )
    imposes_constraints: ClassVar[bool] = True

    se: tuple[Literal["expected", "observed", "robust"], ...] = ("expected",)
    missing: Literal["listwise", "fiml"] = "listwise"
    measures: bool = False

    def __post_init__(self) -> None:
        check_kinds(self.name, self.se)

    @property
    def needs(self) -> str:
        """Missing values need the rows, robust SEs cluster-wise scores; the rest only sums."""
        if self.missing == "fiml":
            return "sample"
        return "clusters" if "robust" in self.se else "statistics"

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """Both matrices must be estimable."""
        return refuse_bounds(model) or refuse_few(model, layout)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedGoldstein:
        """Build the models of both steps."""
        return PreparedGoldstein(self, model, layout)

    def exact_numbers(self, model: TwoLevelModel, population: Population, level: float) -> tuple[ExactNumber, ...]:
        """P(negative between variance), balanced and saturated (theory F6)."""
        return negative_variances(model, population)

    @property
    def takes_missing(self) -> bool:
        """With full information."""
        return self.missing == "fiml"


class PreparedGoldstein:
    """`Goldstein` for one model and layout."""

    def __init__(self, options: Goldstein, model: TwoLevelModel, layout: ClusterLayout) -> None:
        self.options, self.model = options, model
        self.unrestricted = TwoLevelStructure(unrestricted_model(model))
        self.fitter = self._fitter(layout.n_obs, layout.n_clusters)

    def _fitter(self, n_obs: int, n_clusters: int) -> TwoMatrixFitter:
        return TwoMatrixFitter(
            self.model, n_obs - n_clusters, n_clusters, kinds=self.options.se, measures=self.options.measures
        )

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        if self.options.missing == "fiml":
            assert isinstance(data, Sample), "full-information estimation with missing values needs rows"
            data = data.arrange(self.model.level1, self.model.level2)
            return FitResult.concat(
                [self._fit_incomplete(data.select(slice(r, r + 1))) for r in range(data.n_replicates)]
            )
        statistics = data.statistics() if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        result = self._two_steps(complete_engine(self.unrestricted, statistics), self.fitter)
        return judge_data(result, statistics, within=True)

    def _fit_incomplete(self, sample: Sample) -> FitResult:
        """Fit one data set; rows without any observed response do not count."""
        rows, clusters = sample.rows[0], sample.clusters[0]
        nothing = np.isnan(rows).all(axis=0).any() or np.isnan(clusters).all(axis=0).any()
        if nothing or np.isinf(rows).any() or np.isinf(clusters).any():
            return failed(self.model.names, self.options.se, 1, Status.NONFINITE)
        data = sample.incomplete()
        fitter = self._fitter(int(data.n_rows[0]), data.n_clusters)
        return self._two_steps(incomplete_engine(self.unrestricted, data), fitter)

    def _two_steps(self, first: Engine, second: TwoMatrixFitter) -> FitResult:
        best = first.solve()
        known: FirstStep | None = None
        if "robust" in self.options.se:
            known = FirstStep(self.unrestricted, best.params, first.robust(best, first.inverse_observed(best))[0])
        result = second.fit(TwoMatrices(*self.unrestricted.moments(best.params)), known)
        return with_first_step(result, best.status, best.n_iter)
