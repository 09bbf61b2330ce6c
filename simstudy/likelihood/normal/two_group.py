"""Two covariance matrices of one model, a within and a between one, as two groups of a structural equation model.

With S_W on n_W and S_B on n_B degrees of freedom, and means m that have the covariance matrix A,

    -2 l = n_W {log|Sigma_W| + tr(Sigma_W^-1 S_W)} + n_B {log|Sigma_B| + tr(Sigma_B^-1 S_B)}
           + (m - mu)' A^-1 (m - mu) + constant.

A parameter of one level touches one matrix, so that without parameters of both levels this is two analyses side by
side. Means belong to neither matrix (a variable's mean is the sum of what both levels imply); A is taken from the data,
which matters only where the model restricts means, and then means generalised least squares for them. Sources: Jöreskog
(1971) on several groups, Goldstein (1987) and Muthén (1989) on the two levels as groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.likelihood.normal import single_level
from simstudy.likelihood.normal.half_vectors import Collapse
from simstudy.likelihood.normal.single_level import SingleLevelLikelihood
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, dot, matvec, submatrix, transpose
from simstudy.model.implied import TwoLevelStructure


@dataclass(frozen=True)
class Data:
    """Matrices and means in the order of the model's variables.

    Attributes
    ----------
    within : (R, p1, p1)
        S_W.
    between : (R, p, p)
        S_B; rows of variables that live within only are not used.
    mean : (R, p)
    precision : (R, p, p)
        A^-1.
    """

    within: FloatArray
    between: FloatArray
    mean: FloatArray
    precision: FloatArray

    def select(self, replicates: IntArray | BoolArray) -> Data:
        """Some of the replicates."""
        return Data(
            self.within[replicates], self.between[replicates], self.mean[replicates], self.precision[replicates]
        )


class TwoGroupLikelihood(Likelihood[Data]):
    """Log-likelihood of a model for two covariance matrices.

    Parameters
    ----------
    structure : TwoLevelStructure
    n_within, n_between : int
        Degrees of freedom that the matrices count with.
    """

    def __init__(self, structure: TwoLevelStructure, n_within: int, n_between: int) -> None:
        self.structure, q = structure, structure.q
        self.within = SingleLevelLikelihood(structure.within, n_within, q, means=False)
        self.between = SingleLevelLikelihood(structure.between, n_between, q, means=False)
        self._mean_within = Collapse(structure.within.mean_free)
        self._mean_between = Collapse(structure.between.mean_free)

    def _groups(self, data: Data) -> tuple[single_level.Data, single_level.Data]:
        """Scatter of each group."""
        at = self.structure.between.positions
        within, between = data.within * self.within.n, submatrix(data.between, at, at) * self.between.n
        no_mean = np.zeros(within.shape[:-1])
        return single_level.Data(no_mean, within), single_level.Data(no_mean, between)

    def _means(self, params: FloatArray, data: Data) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Offsets m - mu (R, p), A^-1 (m - mu) (R, p), and derivatives of mu (R, p, q)."""
        s = self.structure
        within, between = s.within.implied(params), s.between.implied(params)
        mu, _, _ = s.assemble(within, between)
        offset = data.mean - mu
        slopes = np.zeros((*mu.shape, s.q))
        found = self._mean_between(s.between.mean_derivatives(between))
        slopes[:, s.between.positions[:, None], self._mean_between.free] = found
        if s.within.has_means:
            slopes[:, : s.p1][..., self._mean_within.free] += self._mean_within(s.within.mean_derivatives(within))
        return offset, matvec(data.precision, offset), slopes

    def evaluate(self, params: FloatArray, data: Data) -> Evaluation:
        """Log-likelihood, score and expected information at parameters (R, q)."""
        scatter_within, scatter_between = self._groups(data)
        within = self.within.evaluate(params, scatter_within)
        between = self.between.evaluate(params, scatter_between)
        with np.errstate(all="ignore"):
            offset, pulled, slopes = self._means(params, data)
            loglik = within.loglik + between.loglik - 0.5 * dot(offset, pulled)
            score = within.score + between.score + matvec(transpose(slopes), pulled)
            information = within.information + between.information
            information = information + np.matmul(transpose(slopes), np.matmul(data.precision, slopes))
        ok = within.ok & between.ok & np.isfinite(loglik) & np.isfinite(score).all(axis=-1)
        return Evaluation(np.where(ok, loglik, -np.inf), score, information, ok)

    def observed_information(self, params: FloatArray, data: Data) -> FloatArray:
        """Minus the exact second derivatives of l (R, q, q)."""
        s = self.structure
        scatter_within, scatter_between = self._groups(data)
        result = self.within.observed_information(params, scatter_within)
        result = result + self.between.observed_information(params, scatter_between)
        with np.errstate(all="ignore"):
            _, pulled, slopes = self._means(params, data)
            result += np.matmul(transpose(slopes), np.matmul(data.precision, slopes))
            levels = [(s.between, pulled[:, s.between.positions])]
            if s.within.has_means:
                levels.append((s.within, pulled[:, : s.p1]))
            for level, gradient in levels:
                flat = np.zeros((*gradient.shape, gradient.shape[-1]))
                result += level.curvature(level.implied(params), flat, -gradient, s.q)
        return 0.5 * (result + transpose(result))

    def sensitivity(
        self, params: FloatArray, data: Data, unrestricted: TwoGroupLikelihood, moments: FloatArray
    ) -> FloatArray:
        """Derivative of the score (R, q, q1) with respect to the moments, parameters (R, q1) of another model."""
        result = self.within.cross_information(params, unrestricted.within, moments)
        result += self.between.cross_information(params, unrestricted.between, moments)
        with np.errstate(all="ignore"):
            _, _, slopes = self._means(params, data)
            _, _, others = unrestricted._means(moments, data)
            result += np.matmul(transpose(slopes), np.matmul(data.precision, others))
        return result
