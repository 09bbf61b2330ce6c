"""Log-likelihood of models with random slopes of observed variables, in closed form (theory D1.1-D1.3, D2.4).

- ``observed``: a random slope multiplies its predictor as it is, exogenous or not. A predictor that stands in both
  blocks is endogenous; its between part is the random intercept of its own equation.
- ``hybrid``: the predictor stands in both blocks; its mean slope multiplies the latent within part, and what the
  cluster's slope departs from the mean by, the predictor as it is. The likelihood is that of
  y_ij = alpha_j + s_j x_ij + e_ij with alpha_j regressed on x_B (Mplus with ML; Asparouhov & Muthen 2019), written such
  that paths of the between block are effects between clusters, not contextual effects.
"""

from __future__ import annotations

import numpy as np

from simstudy.data.products import Products
from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.likelihood.slopes.chain import Pieces, SlopeChain, Treatment
from simstudy.likelihood.slopes.derivatives import blocks, curvature, features, gradient
from simstudy.likelihood.slopes.kernel import Integral, Points, integrate
from simstudy.likelihood.slopes.scores import NodePosterior
from simstudy.linalg.stacked import FloatArray, added, matvec, transpose
from simstudy.model.slope_structure import SlopeStructure


class ObservedSlopes(Likelihood[Products]):
    """Log-likelihood, score, observed information and cluster-wise scores, batched over replicates and clusters."""

    def __init__(self, structure: SlopeStructure, treatment: Treatment = "observed") -> None:
        self.structure, self.chain = structure, SlopeChain(structure, treatment)

    def integral(self, params: FloatArray, data: Products) -> tuple[tuple[Pieces, ...], Integral]:
        """Pieces of every pattern, and the integral over the random elements of every cluster, at (R, q)."""
        pieces = self.chain.under(params, data.patterns)
        return pieces, integrate([one.reduced for one in pieces], Points.of(self.chain.place, data))

    def loglik(self, params: FloatArray, data: Products) -> FloatArray:
        """Log-likelihood (R,); NaN where the moments are not feasible."""
        with np.errstate(all="ignore"):
            _, found = self.integral(params, data)
            return _sum(found)

    def evaluate(self, params: FloatArray, data: Products) -> Evaluation:
        """Log-likelihood, score and observed information."""
        with np.errstate(all="ignore"):
            pieces, found = self.integral(params, data)
            jacobian = self.chain.jacobian(pieces)
            slopes = gradient(found)
            score = added(
                matvec(transpose(jacobian[:, one]), slopes[:, one]) for one in blocks(found, complete=data.complete)
            )
            hessian = curvature(found, jacobian, self.chain.inner, complete=data.complete) + self.chain.curvature(
                pieces, slopes
            )
            information = -0.5 * (hessian + transpose(hessian))
            ok = found.ok & np.isfinite(score).all(axis=-1) & np.isfinite(information).all(axis=(-2, -1))
            return Evaluation(_sum(found), score, information, ok)

    def observed_information(self, params: FloatArray, data: Products) -> FloatArray:
        """Minus the second derivatives of the log-likelihood (R, q, q)."""
        return self.evaluate(params, data).information

    def cluster_scores(self, params: FloatArray, data: Products) -> FloatArray:
        """Score of every cluster (R, J, q); they add up to the score."""
        with np.errstate(all="ignore"):
            pieces, found = self.integral(params, data)
            own, jacobian = features(found), self.chain.jacobian(pieces)
            return added(
                np.matmul(transpose(own[:, one]), jacobian[:, one]) for one in blocks(found, complete=data.complete)
            )

    def elements(self, params: FloatArray, data: Products) -> tuple[FloatArray, FloatArray]:
        """Posterior means (R, J, r) and covariances (R, J, r, r) of u, in the order of ``SlopeStructure.elements``."""
        with np.errstate(all="ignore"):
            _, found = self.integral(params, data)
        return np.moveaxis(found.mode, -1, 1), np.moveaxis(found.spread, -1, 1)

    def by_node(self, params: FloatArray, data: Products) -> NodePosterior:
        """Random elements of one data set (R = 1), as of one node: there is nothing to integrate over."""
        with np.errstate(all="ignore"):
            _, found = self.integral(params, data)
        j = found.mode.shape[-1]
        return NodePosterior(np.ones((j, 1)), np.zeros((0, j, 1)), found.mode[0][..., None], found.spread[0][..., None])


def _sum(found: Integral) -> FloatArray:
    """Log-likelihood (R,) of all points, NaN where it does not exist."""
    total: FloatArray = np.where(found.ok, found.loglik.sum(axis=-1), np.nan)
    return total
