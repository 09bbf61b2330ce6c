"""`msem`: full-information maximum likelihood of the two-level model (Muthen & Asparouhov 2008; THEORY C1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from simstudy.arrays import BoolArray, FloatArray
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimators.base import FitResult, Needs
from simstudy.estimators.inference import covariance, sandwich
from simstudy.estimators.registry import register
from simstudy.estimators.scoring import Optimum, with_fallback
from simstudy.estimators.starts import starts_from_moments, two_level_starts
from simstudy.estimators.unrestricted import UnrestrictedFitter
from simstudy.likelihood.two_level import Data, TwoLevelLikelihood
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

SeKind = Literal["expected", "observed", "robust"]


@register
@dataclass(frozen=True)
class Msem:
    """Multilevel SEM by maximum likelihood.

    Attributes
    ----------
    se : tuple of str
        Kinds of standard errors: ``expected`` and ``observed`` information, ``robust`` (Huber-White by cluster).
    """

    name: ClassVar[str] = "msem"
    title: ClassVar[str] = "multilevel SEM, full-information maximum likelihood"
    reference: ClassVar[str] = "Muthén & Asparouhov (2008); Preacher, Zyphur & Zhang (2010)"
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    can: ClassVar[str] = "separates latent within and between effects; outcomes and predictors at either level"
    cannot: ClassVar[str] = "needs many clusters: between estimates are variable, and biased in small samples"

    se: tuple[SeKind, ...] = ("expected",)

    @property
    def needs(self) -> Needs:
        """Robust SEs need cluster-wise scores; the others only sums."""
        return "clusters" if "robust" in self.se else "statistics"

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """As asked for."""
        return self.se

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """The model's unrestricted moments must be estimable."""
        if layout.n_obs - layout.n_clusters < len(model.level1):
            return "fewer within-cluster degrees of freedom than level-1 variables"
        if layout.n_clusters <= len(model.observed("between")):
            return "no more clusters than between variables"
        return None

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedMsem:
        """Build index maps and constants."""
        return PreparedMsem(self, model, layout)


class PreparedMsem:
    """`Msem` for one model and layout."""

    def __init__(self, options: Msem, model: TwoLevelModel, layout: ClusterLayout) -> None:
        self.options, self.model, self.layout = options, model, layout
        self.structure = TwoLevelStructure(model)
        self.likelihood = TwoLevelLikelihood(self.structure, layout.distinct, layout.counts)
        self.unrestricted = None if layout.balanced else UnrestrictedFitter(model, layout)
        self.variances = model.table.variance_indices

    def optimum(self, statistics: TwoLevelStatistics) -> Optimum:
        """Maximise the likelihood of R data sets whose variables stand in the model's order."""
        first, second = two_level_starts(self.structure, statistics)
        if self.unrestricted is not None:
            found = self.unrestricted.fit(statistics)
            better = starts_from_moments(self.structure, found.mu, found.sigma_within, found.sigma_between)
            first = np.where(found.ok[:, None], better, first)
        best = with_fallback(self.likelihood, Data.of(statistics), (first, second))
        return best if self.unrestricted is None else replace(best, n_iter=best.n_iter + found.n_iter)

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        statistics = data.statistics() if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        best = self.optimum(statistics)
        return FitResult(
            labels=self.model.names,
            estimate=best.params,
            covariance=self._covariances(best, statistics),
            status=best.status,
            admissible=self._admissible(best.params),
            n_iter=best.n_iter,
            loglik=best.loglik,
        ).blank_failures()

    def _covariances(self, best: Optimum, statistics: TwoLevelStatistics) -> dict[str, FloatArray]:
        found: dict[str, FloatArray] = {}
        if set(self.options.se) & {"observed", "robust"}:
            observed = covariance(self.likelihood.observed_information(best.params, Data.of(statistics)))
        for kind in self.options.se:
            if kind == "expected":
                found[kind] = best.inverse
            elif kind == "observed":
                found[kind] = observed
            else:
                assert statistics.cluster_means is not None
                assert statistics.cluster_scatter is not None
                scores = self.likelihood.cluster_scores(
                    best.params, statistics.cluster_means, statistics.cluster_scatter, self.layout.group
                )
                found[kind] = sandwich(observed, scores)
        return found

    def _admissible(self, params: FloatArray) -> BoolArray:
        """No negative variance, and Sigma_between positive semidefinite (R,)."""
        with np.errstate(all="ignore"):
            rotation = self.likelihood.rotate(params)
        proper = rotation.ok & (rotation.eigenvalues.min(axis=-1) >= -1e-10)
        return np.asarray(proper & (params[:, self.variances] >= -1e-10).all(axis=-1))
