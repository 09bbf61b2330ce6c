"""Scoring of the unrestricted two-level model over positive semidefinite Sigma_B, in the coordinates of `free_moments`.

Rotated, Sigma_B is diag(d, 1) with d >= 0 between-to-within ratios, and A = {k: d_k = 0} are the directions on the
border of the cone. S = dl / dSigma_B, rotated, says whether leaving it pays: P is turned within A, whose Sigma_W is
the identity and Sigma_B zero, until S_AA is diagonal, and directions with S_kk > 0 are released. For those that stay,
Sigma_B moves along the face of matrices of its rank, on which

    B_AA = B_AN (D + B)_NN^-1 B_NA = sum_l b_l b_l' / d_l + O(3),  b_l column l of B_AN,

so that the pairs (k, l) with both in A have no between part, and those with k in A and l outside gain the curvature of
the face: I[B_kl, B_kl] - 2 S_kk / d_l. All stays diagonal but for pairs of W and B. A step whose D + B is not
semidefinite is projected on the cone, in a norm close to that of the information (weight u_k u_l for a pair, u_k the
root of 2 I[B_kk, B_kk]); the projection is also what takes a step back to the face, and the W of every pair is the best
one given its projected B. An iteration costs O(p^3 + S p^2).

With one cluster size and level-1 variables alone a step from the maximum over all moments, its negative d set to 0, is
the closed form of Anderson, Anderson & Olkin (1986) and Amemiya (1985): within and between pooled where d = 0.

Sources: Bertsekas (1982), of projected Newton steps; Absil, Mahony & Sepulchre (2008), of matrices of fixed rank.
"""

from __future__ import annotations

import numpy as np

from simstudy.likelihood.evaluation import Evaluation
from simstudy.likelihood.normal.free_moments import FreeMoments
from simstudy.likelihood.normal.two_level import Data
from simstudy.linalg.stacked import BoolArray, FloatArray, eigh, transpose

# Between-to-within ratios that count as 0. Giving them up costs this share of a derivative of l at most.
ZERO = 1e-9
# A ratio by which the face's curvature is divided at least: directions that have just been released have 0.
RELEASED = 1e-12


class ConeMoments(FreeMoments):
    """`FreeMoments` whose steps keep Sigma_B positive semidefinite.

    The packed information of `FreeMoments` is followed by Sigma_B (p, p), diagonal but for rounding in A, and by which
    directions are held at 0 (p,). With those, ``solve`` and ``damped`` give the projected step.
    """

    # ------------------------------------------------------------------ evaluation

    def evaluate(self, params: FloatArray, data: Data) -> Evaluation:
        """Log-likelihood, rotated score and packed information at parameters (R, q)."""
        like, half, n = self.likelihood, self.likelihood.half, self.n_within
        with np.errstate(all="ignore"):
            rotation = like.rotate(params)
            r, scatter = like.rotated_scatter(rotation, data)
            within = like.within_scatter(rotation, data)
            loglik = like.loglik_of(rotation, scatter, within)
            grad_within, grad_between, grad_mean, ww = like.gradients(rotation, r, scatter, within)
            ratios = self._ratios(rotation.eigenvalues)
            turn = self._turn(ratios, -0.5 * grad_between)
            back = transpose(turn)
            slope = -0.5 * np.matmul(np.matmul(back, grad_between), turn)
            small = np.ascontiguousarray(turn[:, : self.p1, : self.p1])
            grad_within = np.matmul(np.matmul(transpose(small), grad_within), small)
            grad_mean = np.matmul(back, grad_mean[..., None])[..., 0]
            gain = np.ascontiguousarray(np.diagonal(slope, axis1=-2, axis2=-1))
            active = (ratios <= ZERO) & (gain <= 0.0)
            one, other = active[:, half.row], active[:, half.column]
            held = one & other
            score = np.concatenate(
                [
                    -half.weight[:n] * half.of(grad_within, n),
                    np.where(held, 0.0, 2.0 * half.weight * half.of(slope, self.n_pairs)),
                    grad_mean,
                ],
                axis=-1,
            )
            omega = like.pair_weights(ww)
            own = omega[:, :n, 2] + (like.n_obs - like.n_clusters) * half.weight[:n]
            face = -2.0 * np.where(active, gain, 0.0)
            floored = np.maximum(ratios, RELEASED)
            bend = np.where(one, face[:, half.row] / floored[:, half.column], 0.0)
            bend += np.where(other, face[:, half.column] / floored[:, half.row], 0.0)
            information = np.concatenate(
                [
                    np.matmul(back, rotation.matrix).reshape(len(params), -1),
                    own,
                    omega[..., 0] + np.where(held, 0.0, bend),
                    np.where(held[:, :n], 0.0, omega[:, :n, 1]),
                    np.matmul(1.0 / rotation.variances, like.mean_counts[:, None])[..., 0],
                    np.matmul(back * ratios[:, None, :], turn).reshape(len(params), -1),
                    active.astype(np.float64),
                ],
                axis=-1,
            )
        ok = rotation.ok & np.isfinite(loglik) & np.isfinite(score).all(axis=-1)
        return Evaluation(loglik, score, information, ok)

    def inwards(self, params: FloatArray, data: Data) -> FloatArray:
        """Largest eigenvalue (R,) of S, rotated: positive where a direction into the cone climbs."""
        like = self.likelihood
        with np.errstate(all="ignore"):
            rotation = like.rotate(params)
            r, scatter = like.rotated_scatter(rotation, data)
            _, grad_between, _, _ = like.gradients(rotation, r, scatter, like.within_scatter(rotation, data))
            values, _, _ = eigh(-0.5 * grad_between)
        return np.asarray(values[:, -1])

    def raised(self, params: FloatArray, floor: float) -> FloatArray:
        """Parameters (R, q) whose between-to-within ratios are at least ``floor``, the rest unchanged."""
        with np.errstate(all="ignore"):
            rotation = self.likelihood.rotate(params)
            ratios = self._ratios(rotation.eigenvalues)
            step = np.zeros((len(params), self.n_within + self.n_pairs + self.p))
            diagonal = np.flatnonzero(self.likelihood.half.row == self.likelihood.half.column)
            step[:, self.n_within + diagonal] = np.maximum(ratios, floor) - ratios
            return params + super().move(rotation.matrix.reshape(len(params), -1), step)

    def _ratios(self, eigenvalues: FloatArray) -> FloatArray:
        """Diagonal of the rotated Sigma_B (R, p): those of level-2 variables are 1."""
        return np.concatenate([eigenvalues, np.ones((len(eigenvalues), self.p - self.p1))], axis=-1)

    def _turn(self, ratios: FloatArray, slope: FloatArray) -> FloatArray:
        """Rotation (R, p, p) of the directions at 0 alone that makes their part of the slope diagonal."""
        zero = ratios <= ZERO
        both = zero[:, :, None] & zero[:, None, :]
        block = np.where(both, slope, 0.0)
        # ratios ascend, so that the directions at 0 come first: eigenvalues above theirs keep the others in place
        above = (1.0 + np.abs(block).sum(axis=-1).max(axis=-1))[:, None] * (2.0 + np.arange(self.p))
        at = np.arange(self.p)
        block[:, at, at] = np.where(zero, block[:, at, at], above)
        _, vectors, _ = eigh(block)
        return np.where(both, vectors, np.eye(self.p))

    # ------------------------------------------------------------------ metric

    def _raised(self, information: FloatArray, score: FloatArray, damping: FloatArray) -> tuple[FloatArray, BoolArray]:
        step, ok = super()._raised(information, score, damping)
        n, m, half = self.n_within, self.n_within + self.n_pairs, self.likelihood.half
        own, _, cross, _ = self._parts(information)
        _, active = self._border(information)
        with np.errstate(all="ignore"):
            projected = self._projected(information, step)
            held = (active[:, half.row] > 0) & (active[:, half.column] > 0)
            between = np.where(held, 0.0, projected)
            step[:, n:m] = between
            step[:, :n] = (score[:, :n] - cross * between[:, :n]) / (own * (1.0 + damping[:, None]))
        return np.where(ok[:, None], step, np.nan), ok

    def move(self, information: FloatArray, step: FloatArray) -> FloatArray:
        """The parameters' change (R, q) that a step in rotated coordinates is, back on the cone."""
        full = step.copy()
        full[:, self.n_within : self.n_within + self.n_pairs] = self._projected(information, step)
        return super().move(information, full)

    def _projected(self, information: FloatArray, step: FloatArray) -> FloatArray:
        """Between part (R, n_pairs) of a step after D + B has been projected on the cone."""
        n, m, half = self.n_within, self.n_within + self.n_pairs, self.likelihood.half
        between, active = self._border(information)
        _, other, _, _ = self._parts(information)
        root = (2.0 * other[:, half.row == half.column]) ** 0.25
        scale = root[:, :, None] * root[:, None, :]
        target = half.full(np.ascontiguousarray(step[:, n:m])[..., None], self.p)[:, 0]
        target += np.where((active[:, :, None] > 0) & (active[:, None, :] > 0), 0.0, between)
        values, vectors, _ = eigh(target * scale)
        inside = np.matmul(vectors * np.maximum(values, 0.0)[:, None, :], transpose(vectors)) / scale
        return half.of(inside - between, self.n_pairs)

    def _border(self, information: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Sigma_B, rotated (R, p, p), and which directions are held (R, p), 1 or 0."""
        square = information[:, -self.p * (self.p + 1) : -self.p]
        return square.reshape(-1, self.p, self.p), information[:, -self.p :]
