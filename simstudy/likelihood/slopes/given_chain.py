"""The chain rule where some slopes are taken as known (theory D1.8): they are level-2 variables that are observed.

Given slopes s_C the model is that of `chain`, with s_C beside the observed level-2 variables w and their paths within
clusters at the values s_C. In place of s_C the integral takes

    e = Lambda^-1 (s_C - m - B (w - m_w)),    B = Cov(s_C, w) Var(w)^-1,    Lambda Lambda' = Var(s_C | w),

whose moments are 0 and I whatever the variance of the slopes: that may go to 0 without loss of digits. The map is a
constant of each evaluation, so that derivatives of the moments of (u, w, e) are those of (u, w, s_C), mapped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simstudy.likelihood.slopes.chain import Pieces, SlopeChain, Treatment
from simstudy.linalg.psd import psd_factor
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, columns, inverse, matvec, submatrix, transpose
from simstudy.model.slope_structure import SlopeStructure

SLACK = 1e-9
"""Share that is added to the variance of e where w is not known, which may tell all of it."""
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
    known : (R,)
        Whether w is; B is 0 elsewhere.
    """

    mean: FloatArray
    root: FloatArray
    regression: FloatArray
    centre: FloatArray
    known: BoolArray

    def take(self, rows: IntArray) -> Prior:
        """Some replicates, or the same ones several times."""
        return Prior(*(np.take(x, rows, axis=0) for x in vars(self).values()))

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
    """Index arrays of a model, given the values of some slopes, which are its last parameters.

    As paths within clusters they multiply latent within parts of predictors, and factors. With the treatments
    ``observed`` and ``hybrid`` (what they depart from their means by) they multiply between parts, too.
    """

    def __init__(self, structure: SlopeStructure, treatment: Treatment) -> None:
        names = structure.within.maps.variables
        slopes = {slope.name: slope for slope in structure.model.slopes}
        self.d = len(structure.given)
        self.ends: IntArray = np.array(
            [[names.index(slopes[name].outcome), names.index(slopes[name].predictor)] for name in structure.given]
        )
        super().__init__(structure, treatment)
        self.first = self.f - self.d
        self.seen: IntArray = self.order[self.r : self.first]  # w
        self.unknown: IntArray = self.order[self.first :]

    def _between_parts(self) -> list[tuple[int, int]]:
        """Given slopes whose predictors have between parts, and the columns of these."""
        both = self.structure.both.tolist()
        return [(c, both.index(x)) for c, (_, x) in enumerate(self.ends) if x in both and self.treatment != "latent"]

    def _links(self) -> IntArray:
        s = self.structure
        first = s.r + s.p2 - self.d
        own = [(self.ends[c, 0], at, first + c) for c, at in self._between_parts() if self.treatment == "hybrid"]
        return np.concatenate([super()._links(), np.array(own, dtype=np.int64).reshape(-1, 3)])

    def _lifts(self) -> IntArray:
        first = self.structure.q - self.d
        return np.array([(self.ends[c, 0], at, first + c) for c, at in self._between_parts()]).reshape(-1, 3)

    def prior(self, params: FloatArray, known: BoolArray) -> Prior:
        """Of the given slopes, at parameters and values of slopes (R, q), which do not matter.

        Parameters
        ----------
        known : (R,)
            Whether all clusters have all level-2 variables; elsewhere these tell nothing beforehand.
        """
        zero = params.copy()
        zero[:, params.shape[1] - self.d :] = 0.0
        within, between = self.structure.within.implied(zero), self.structure.between.implied(zero)
        cov = submatrix(between.sigma, self.unknown, self.unknown)
        link = submatrix(between.sigma, self.unknown, self.seen) * known[:, None, None]
        ground, _ = inverse(submatrix(between.sigma, self.seen, self.seen))
        regression = np.matmul(link, ground)
        cov = cov - np.matmul(regression, transpose(link))
        outcome, predictor = (within.cov[:, place, place] for place in self.ends.T)
        place = np.arange(self.d)
        cov[:, place, place] = np.maximum(cov[:, place, place], 0.0) + FLOOR * outcome / predictor
        mean, centre = columns(between.mu, self.unknown), columns(between.mu, self.seen)
        return Prior(mean, psd_factor(cov), regression, centre, known)

    def at(self, params: FloatArray, prior: Prior, patterns: BoolArray) -> tuple[GivenPieces, ...]:
        """Pieces of every pattern (O, p1) at parameters and values of slopes (R, q), given `prior` at the same."""
        found = self.under(params, patterns)
        scale, _ = inverse(prior.root)
        kept = slice(0, self.first)
        turn = np.zeros((len(params), self.d, self.f))
        turn[:, :, self.r : self.first] = -np.matmul(scale, prior.regression)
        turn[:, :, self.first :] = scale
        reduced = found[0].reduced
        mean, cov = reduced.mean.copy(), reduced.cov.copy()
        lower = np.matmul(turn, cov[:, :, kept])
        lower[:, :, self.r :] *= ~prior.known[:, None, None]  # e has nothing to do with a w that it is free of
        cov[:, self.first :, kept], cov[:, kept, self.first :] = lower, transpose(lower)
        slack = np.where(prior.known, 0.0, SLACK)[:, None, None]
        cov[:, self.first :, self.first :] = np.eye(self.d) * (1.0 + slack)
        mean[:, self.first :] = 0.0
        ok = reduced.ok & np.isfinite(turn).all(axis=(-2, -1))
        return tuple(
            GivenPieces(**vars(replace(one, reduced=replace(one.reduced, mean=mean, cov=cov, ok=ok))), turn=turn)
            for one in found
        )

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
