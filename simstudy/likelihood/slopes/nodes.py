"""Where a cluster's likelihood is evaluated to integrate over latent means of predictors (theory S2, D1.4).

Given the latent means t of the predictors that random slopes multiply, everything else is normal (`kernel`). The
integral over t is taken by Gauss-Hermite nodes about the mean and covariance matrix that t would have, given the data,
in the model made linear: s (x - t) is replaced by s (x - t0) - s0 (t - t0), with (s0, t0) the posterior means of a
first round that starts at mean slopes and observed means. There is no search for a mode; nodes need only be near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simstudy.likelihood.slopes.chain import Pieces, SlopeChain
from simstudy.likelihood.slopes.kernel import Given, Points, condition_on, posterior, shift
from simstudy.linalg.psd import psd_factor
from simstudy.linalg.stacked import FloatArray, IntArray, added, columns, submatrix

ROUNDS = 2


def hermite(nodes: int, dimension: int) -> tuple[FloatArray, FloatArray]:
    """Nodes (d, n^d) of the product rule, and logs of its weights times exp(z'z / 2), for integrals over R^d."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    log_w = np.log(w) + 0.5 * x * x
    grid = np.stack(np.meshgrid(*[x] * dimension, indexing="ij")).reshape(dimension, -1)
    weights = np.stack(np.meshgrid(*[log_w] * dimension, indexing="ij")).reshape(dimension, -1).sum(axis=0)
    return grid, weights


class Centre:
    """Index arrays of the linearised model."""

    def __init__(self, chain: SlopeChain) -> None:
        s = chain.structure
        self.chain = chain
        self.covariates: IntArray = s.both[chain.cover] + 1
        between = chain.order[chain.r : chain.f - len(chain.cover)]
        self.order: IntArray = np.concatenate([chain.order[: chain.r], chain.cover, between]).astype(np.int64)
        self.n_elements = chain.r + len(chain.cover)
        shared = s.shared
        self.of_slope = [np.flatnonzero(shared == place) for place in chain.cover]  # slopes of each latent mean
        self.place: IntArray = np.concatenate([chain.place, np.zeros(len(chain.cover), dtype=np.int64)])

    def locate(self, pieces: Sequence[Pieces], points: Points) -> tuple[FloatArray, FloatArray]:
        """Posterior means (R, d, J) and Cholesky factors (R, d, d, J) of the latent means."""
        first = pieces[0]
        reduced = replace(
            first.reduced,
            mean=columns(first.between.mu, self.order),
            cov=submatrix(first.between.sigma, self.order, self.order),
        )
        start = self._observed_means(points, columns(first.between.mu, self.chain.cover))
        t, corner = start, np.empty(0)
        for number, seen in enumerate(points.z_patterns):
            given = condition_on(reduced, points.z, self.n_elements, seen)
            mine, spread = self._climb(pieces, points, given, start)
            if number:
                here = (points.z_pattern == number)[:, None]
                mine, spread = np.where(here, mine, t), np.where(here[:, None], spread, corner)
            t, corner = mine, spread
        return t, np.moveaxis(psd_factor(np.moveaxis(corner, -1, 1)), 1, -1)

    def _observed_means(self, points: Points, default: FloatArray) -> FloatArray:
        """Means (R, d, J) of the predictors, over the rows that have them; ``default`` (R, d) where there are none."""
        sums = np.zeros((len(default), len(self.covariates), points.z.shape[-1]))
        counts = np.zeros_like(sums)
        for m, pattern in zip(points.products, points.patterns, strict=True):
            sums += m[:, 0, self.covariates]
            counts += pattern[self.covariates - 1, None] * m[:, :1, 0]
        return np.where(counts > 0.0, sums / np.maximum(counts, 1.0), default[..., None])

    def _climb(
        self, pieces: Sequence[Pieces], points: Points, given: Given, t: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Posterior means (R, d, J) and covariance matrices (R, d, d, J) after some rounds, for one pattern of z."""
        r = self.chain.r
        slopes = given.carry[:, len(self.chain.intercepts) : r]
        for _ in range(ROUNDS):
            parts = [
                self._quadratic(one.reduced.phi, shift(m, self.covariates, t), slopes)
                for one, m in zip(pieces, points.products, strict=True)
            ]
            a, b = (added(x) for x in zip(*parts, strict=True))
            carry = given.carry.copy()
            carry[:, r:] -= t
            mean, spread = posterior(a, b, carry, given.root)
            slopes = mean[:, len(self.chain.intercepts) : r]
            t = t + mean[:, r:]
        return t, spread[:, r:, r:]

    def _quadratic(self, phi: FloatArray, m: FloatArray, slopes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """A (R, n, n, J) and b (R, n, J) of the linearised log-likelihood, of the rows of one pattern.

        A latent mean multiplies a constant with the column e_c - sum_k s0_k g_k, which is another one in every cluster.
        """
        chain = self.chain
        r, first = chain.r, len(chain.intercepts)
        rows = [np.repeat(phi[:, k, :, None], m.shape[-1], axis=-1) for k in range(r)]
        for place, mine in zip(self.covariates.tolist(), self.of_slope, strict=True):
            row = np.repeat(phi[:, r + place, :, None], m.shape[-1], axis=-1)
            for k in mine.tolist():
                row = row - slopes[:, k, None] * phi[:, first + k, :, None]
            rows.append(row)
        inner = np.stack(rows, axis=1)  # (R, n, c, J): g_l' W X
        extra = []
        for place, mine in zip(self.covariates.tolist(), self.of_slope, strict=True):
            column = inner[:, :, r + place].copy()
            for k in mine.tolist():
                column -= slopes[:, k, None] * inner[:, :, first + k]
            extra.append(column)
        k_matrix = np.concatenate([inner[:, :, :r], np.stack(extra, axis=2)], axis=2)
        beside = np.take(m, self.place, axis=2)
        b = inner[:, :, r] * beside[:, 0]
        for k in range(1, m.shape[1]):
            b += inner[:, :, r + k] * beside[:, k]
        return k_matrix * np.take(beside, self.place, axis=1), b
