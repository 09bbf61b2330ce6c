"""Has EM arrived? A verdict on the maximum, not on how little the last step moved.

Arrived is a point whose Newton decrement g' I^-1 g vanishes, twice the gain in log-likelihood that a Newton step could
bring; g and I are score and information of the observed data. EM never leaves the cone of positive definite Sigma_B.
Where the log-likelihood rises towards the border of the cone, the smallest eigenvalues of Sigma_B shrink like one over
the number of steps, and EM never arrives. That is recognised by a look at the border itself: with U the eigenvectors
that shrink and M(delta) = U' (sum_a delta_a dSigma_B / dtheta_a) U, the nearest point of the border is higher, and its
score still leads out of the cone, g = -M'(Lambda) + (what changes nothing) with Lambda positive semidefinite, which is
the condition of Karush, Kuhn and Tucker for a maximum over the cone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simstudy.likelihood.evaluation import Evaluation
from simstudy.linalg.stacked import BoolArray, FloatArray, dot, eigh, inverse_spd, matvec, outer, submatrix
from simstudy.model.implied import LevelStructure, TwoLevelStructure

# Decrements below this are the maximum: parameters are within 1e-6 standard errors of it.
TOLERANCE = 1e-12
# Eigenvalues of Sigma_B, relative to the variances of cluster means, below which the border is looked at.
NEAR = 0.02
# Eigenvalues below this are as good as on the border: there Newton's step out of the cone is verdict enough.
THERE = 1e-5
# Shares of the way to the border that are tried: the whole way would be singular, and too far where the border bends.
# With each, how many times its distance the Newton step must go beyond the border: the shorter the look, the farther.
LOOKS = ((1.0 - 1e-6, 1.0), (0.9, 1.0), (0.5, 10.0), (0.1, 10.0))


def interior(score: FloatArray, inverse: FloatArray) -> BoolArray:
    """Whether points are stationary (R,), given their score and inverse information."""
    with np.errstate(all="ignore"):
        decrement = dot(score, matvec(inverse, score))
        return np.asarray((decrement >= 0) & (decrement < TOLERANCE))


class Cone:
    """The parameters of a model with a positive definite Sigma_B.

    Parameters
    ----------
    structure : TwoLevelStructure
    mean_size : float
        Mean cluster size, for the variances of cluster means.
    """

    def __init__(self, structure: TwoLevelStructure, mean_size: float) -> None:
        self.structure, self.mean_size = structure, mean_size

    def distance(self, params: FloatArray) -> FloatArray:
        """Smallest eigenvalue of Sigma_B (R,), relative to the variances of cluster means; NaN where there is none."""
        with np.errstate(all="ignore"):
            values, _, _ = eigh(self._relative(params)[0])
        return values[:, 0]

    def rises_to_border(
        self, params: FloatArray, here: Evaluation, evaluate: Callable[[FloatArray], Evaluation]
    ) -> bool:
        """Whether the log-likelihood rises from one point (1, q) up to the border of the cone.

        Parameters
        ----------
        here : Evaluation
            At ``params``.
        evaluate : callable
            The same at other points (1, q).
        """
        inverse, ok = inverse_spd(here.information)
        relative, scale = self._relative(params)
        values, vectors, _ = eigh(relative)
        if not ok[0]:  # on the border, parameters of what has vanished have no value
            return bool(values[0, 0] < THERE)
        for k in range(int((values[0] < NEAR).sum()), 0, -1):
            u = vectors[0][:, :k] / scale[0][:, None]
            vanish = np.diag(values[0, :k])
            constraints = _constraints(self.structure.between, params, u)  # C (q, k (k + 1) / 2)
            newton = np.matmul(constraints.T, np.matmul(inverse[0], here.score[0]))
            ahead, _, _ = eigh((vanish + _symmetric(newton, k, halve=True))[None])
            if values[0, k - 1] < THERE and ahead[0, 0] < 0:
                return True
            step = _shortest(constraints, inverse[0], vanish[np.triu_indices(k)])
            for share, beyond in LOOKS:
                if step is None or not ahead[0, -1] < -beyond * values[0, k - 1]:
                    break
                there = params - share * step
                found = evaluate(there)
                if found.ok[0] and found.loglik[0] > here.loglik[0] and self.distance(there)[0] > 0:
                    return self._leads_out(there, found, u)
        return False

    def _leads_out(self, params: FloatArray, found: Evaluation, u: FloatArray) -> bool:
        """Whether the score at a point next to the border leads out of the cone."""
        inverse, ok = inverse_spd(found.information)
        constraints = _constraints(self.structure.between, params, u)
        bent = np.matmul(inverse[0], constraints)
        middle, found_middle = inverse_spd(np.matmul(constraints.T, bent)[None])
        if not ok[0] or not found_middle[0]:
            return False
        multipliers = np.matmul(middle[0], np.matmul(bent.T, found.score[0]))  # minus Lambda
        values, _, finite = eigh(_symmetric(multipliers, u.shape[1])[None])
        return bool(finite[0] and values[0, -1] < 0)

    def _relative(self, params: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Sigma_B over the between variables, scaled by the variances of cluster means, and the scale (R, p_B)."""
        _, within, between = self.structure.moments(params)
        at = self.structure.between.positions
        variances = np.diagonal(between, axis1=-2, axis2=-1).copy()
        variances[:, : self.structure.p1] += np.diagonal(within, axis1=-2, axis2=-1) / self.mean_size
        scale = np.sqrt(variances[:, at])
        return submatrix(between, at, at) / outer(scale, scale), scale


def _constraints(level: LevelStructure, params: FloatArray, u: FloatArray) -> FloatArray:
    """Derivatives (q, k (k + 1) / 2) of u_a' Sigma_B u_b, a <= b; doubled off the diagonal, where they count twice."""
    t = level.moment_derivatives(level.implied(params))
    left, right = np.matmul(u.T, t.left[0]), np.matmul(u.T, t.right[0])  # (k, entries)
    row, column = np.triu_indices(u.shape[1])
    entries = left[row] * right[column] + left[column] * right[row]
    entries[row != column] *= 2.0
    result = np.zeros((params.shape[-1], len(row)))
    np.add.at(result, level.cov_free, entries.T)
    return result


def _shortest(constraints: FloatArray, inverse: FloatArray, target: FloatArray) -> FloatArray | None:
    """The step x with C'x = target that is shortest in the metric of the information."""
    bent = np.matmul(inverse, constraints)
    middle, ok = inverse_spd(np.matmul(constraints.T, bent)[None])
    result: FloatArray = np.matmul(bent, np.matmul(middle[0], target))
    return result if ok[0] else None


def _symmetric(upper: FloatArray, k: int, *, halve: bool = False) -> FloatArray:
    """Symmetric matrix (k, k) from its upper triangle, whose off-diagonal entries may count twice."""
    row, column = np.triu_indices(k)
    result = np.zeros((k, k))
    result[row, column] = result[column, row] = np.where(row == column, 1.0, 0.5 if halve else 1.0) * upper
    return result
