"""What `disaggregated` and `aggregated` share: a single-level SEM fitted by scoring, with cluster-robust SEs."""

from __future__ import annotations

import numpy as np

from simstudy.estimation.inference import covariance, sandwich
from simstudy.estimation.result import FitResult
from simstudy.estimation.scoring import with_fallback
from simstudy.estimation.starts import add_level_starts
from simstudy.likelihood.normal.single_level import Data, SingleLevelLikelihood
from simstudy.linalg.stacked import FloatArray, columns, submatrix
from simstudy.model.collapse import SingleLevelModel
from simstudy.model.twolevel import TwoLevelModel


class SingleLevelFitter:
    """Fits a single-level model and reports it in the two-level model's parameters.

    Parameters
    ----------
    model : TwoLevelModel
    single : SingleLevelModel
    n_units : int
        Rows or clusters.
    """

    def __init__(self, model: TwoLevelModel, single: SingleLevelModel, n_units: int) -> None:
        self.model, self.single = model, single
        self.n_units = n_units
        self.likelihood = SingleLevelLikelihood(single.level, n_units, single.n_free)

    def start(self, data: Data) -> FloatArray:
        """Least-squares starting values (R, q)."""
        sums = np.zeros((len(data.mean), self.single.n_free))
        counts = np.zeros(self.single.n_free)
        add_level_starts(self.single.level, data.scatter / self.n_units, data.mean, sums, counts)
        return sums / np.maximum(counts, 1.0)

    def fit(
        self,
        data: Data,
        kinds: tuple[str, ...],
        clusters: tuple[FloatArray, FloatArray, FloatArray | None] | None,
    ) -> FitResult:
        """Fit R data sets.

        Parameters
        ----------
        kinds : tuple of str
            Of ``expected``, ``observed``, ``robust``.
        clusters : (sizes (J,), means (R, J, p), scatter (R, J, p, p) or None)
            Cluster-wise statistics for ``robust``. With scatter, where clusters hold several units, the sandwich takes
            the factor J / (J - 1), as lavaan's ``cluster=`` and survey software do.
        """
        best = with_fallback(self.likelihood, data, (self.start(data),))
        found: dict[str, FloatArray] = {}
        if set(kinds) & {"observed", "robust"}:
            observed = covariance(self.likelihood.observed_information(best.params, data))
        for kind in kinds:
            if kind == "expected":
                found[kind] = best.inverse
            elif kind == "observed":
                found[kind] = observed
            else:
                assert clusters is not None
                n_clusters = len(clusters[0])
                factor = 1.0 if clusters[2] is None else np.divide(n_clusters, n_clusters - 1.0)
                found[kind] = factor * sandwich(observed, self.likelihood.cluster_scores(best.params, *clusters))
        index = self.single.index
        spoken = index >= 0
        pick = np.maximum(index, 0)
        blank = ~(spoken[:, None] & spoken)
        return FitResult(
            labels=self.model.names,
            estimate=np.where(spoken, columns(best.params, pick), np.nan),
            covariance={kind: np.where(blank, np.nan, submatrix(cov, pick, pick)) for kind, cov in found.items()},
            status=best.status,
            admissible=np.asarray((best.params[:, self.single.variances] >= -1e-10).all(axis=-1)),
            n_iter=best.n_iter,
            loglik=best.loglik,
        ).blank_failures()
