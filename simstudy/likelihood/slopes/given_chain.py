"""The chain rule where some slopes are taken as known (theory D1.8): they are level-2 variables that are observed.

Given slopes s_C the model is that of `chain`, with s_C beside the observed level-2 variables w and their paths within
clusters at the values s_C. In place of s_C the integral takes

    e = Lambda^-1 (s_C - m - B (w - m_w)),    B = Cov(s_C, w) Var(w)^-1,    Lambda Lambda' = Var(s_C | w),

whose moments are 0 and I whatever the variance of the slopes: that may go to 0 without loss of digits. The map is a
constant of each evaluation, so that derivatives of the moments of (u, w, e) are those of (u, w, s_C), mapped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.likelihood.slopes.chain import Pieces, SlopeChain, Treatment
from simstudy.likelihood.slopes.kernel import Reduced
from simstudy.linalg.psd import psd_factor
from simstudy.linalg.stacked import FloatArray, IntArray, columns, inverse, matvec, submatrix, transpose
from simstudy.model.slope_structure import SlopeStructure

FLOOR = 1e-12
"""Least variance of a given slope, in units of the variance of its outcome over that of its predictor."""


@dataclass(frozen=True)
class Prior:
    """What is known of the given slopes before a cluster's level-1 data.

    Attributes
    ----------
    mean, root : (R, d), (R, d, d)
        m and Lambda.
    regression : (R, d, p2)
        B.
    centre : (R, p2)
        m_w.
    """

    mean: FloatArray
    root: FloatArray
    regression: FloatArray
    centre: FloatArray

    def take(self, rows: IntArray) -> Prior:
        """Some replicates, or the same ones several times."""
        return Prior(*(np.take(x, rows, axis=0) for x in (self.mean, self.root, self.regression, self.centre)))

    def offset(self, z: FloatArray) -> FloatArray:
        """Lambda^-1 B (w - m_w) (R, d, J) of clusters with the level-2 values z (R, p2, J)."""
        scale, _ = inverse(self.root)
        found: FloatArray = np.matmul(np.matmul(scale, self.regression), z - self.centre[:, :, None])
        return found


@dataclass(frozen=True)
class GivenPieces(Pieces):
    """`Pieces` with the map (R, d, f) of (u, w, s_C) to e.

    Attributes
    ----------
    turn : (R, d, f)
    """

    turn: FloatArray


class GivenChain(SlopeChain):
    """Index arrays of a model, given the values of some slopes, which are its last parameters."""

    def __init__(self, structure: SlopeStructure, treatment: Treatment) -> None:
        super().__init__(structure, treatment)
        self.d = len(structure.given)
        names = structure.within.maps.variables
        slopes = {slope.name: slope for slope in structure.model.slopes}
        self.ends = np.array(
            [[names.index(slopes[name].outcome), names.index(slopes[name].predictor)] for name in structure.given]
        )
        self.first = self.f - self.d
        self.seen = self.order[self.r : self.first]  # w
        self.unknown = self.order[self.first :]

    def prior(self, params: FloatArray) -> Prior:
        """Of the given slopes, at parameters and values of slopes (R, q), which do not matter."""
        zero = params.copy()
        zero[:, params.shape[1] - self.d :] = 0.0
        within, between = self.structure.within.implied(zero), self.structure.between.implied(zero)
        cov = submatrix(between.sigma, self.unknown, self.unknown)
        link = submatrix(between.sigma, self.unknown, self.seen)
        ground, _ = inverse(submatrix(between.sigma, self.seen, self.seen))
        regression = np.matmul(link, ground)
        cov = cov - np.matmul(regression, transpose(link))
        outcome, predictor = (within.cov[:, place, place] for place in self.ends.T)
        place = np.arange(self.d)
        cov[:, place, place] = np.maximum(cov[:, place, place], 0.0) + FLOOR * outcome / predictor
        mean, centre = columns(between.mu, self.unknown), columns(between.mu, self.seen)
        return Prior(mean, psd_factor(cov), regression, centre)

    def given(self, params: FloatArray, prior: Prior) -> GivenPieces:
        """Everything at parameters and values of slopes (R, q), given what `prior` says at the same parameters."""
        found = self.reduce(params)
        scale, _ = inverse(prior.root)
        kept = slice(0, self.first)
        turn = np.zeros((len(params), self.d, self.f))
        turn[:, :, self.r : self.first] = -np.matmul(scale, prior.regression)
        turn[:, :, self.first :] = scale
        reduced = found.reduced
        mean, cov = reduced.mean.copy(), reduced.cov.copy()
        lower = np.matmul(turn, cov[:, :, kept])
        lower[:, :, self.r :] = 0.0  # e has nothing to do with w
        cov[:, self.first :, kept], cov[:, kept, self.first :] = lower, transpose(lower)
        cov[:, self.first :, self.first :] = np.eye(self.d)
        mean[:, self.first :] = 0.0
        ok = reduced.ok & np.isfinite(turn).all(axis=(-2, -1))
        turned = Reduced(reduced.phi, reduced.log_det, mean, cov, ok)
        return GivenPieces(found.within, found.between, found.precision, found.spanned, found.weighted, turned, turn)

    def arrange(self, pieces: Pieces, x: FloatArray) -> FloatArray:
        """Rows of between variables (R, ., n) as the integral takes them (R, f, n)."""
        assert isinstance(pieces, GivenPieces)
        found = np.take(x, self.order, axis=1)
        found[:, self.first :] = np.matmul(pieces.turn, found)
        return found

    def pull_back(self, pieces: Pieces, mean: FloatArray, cov: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives with respect to means (R, f) and covariances (R, f, f) of (u, w, s_C), given those of e."""
        assert isinstance(pieces, GivenPieces)
        whole = np.zeros((len(mean), self.f, self.f))
        kept = np.arange(self.first)
        whole[:, kept, kept] = 1.0
        whole[:, self.first :] = pieces.turn
        back = transpose(whole)
        return matvec(back, mean), np.matmul(np.matmul(back, cov), whole)
