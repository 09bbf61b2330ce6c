"""First derivatives of both levels' moments as full matrices, one a free parameter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.likelihood.normal.half_vectors import Collapse, HalfVectors
from simstudy.linalg.stacked import FloatArray, IntArray, transpose
from simstudy.model.implied import LevelImplied, LevelStructure, TwoLevelStructure


@dataclass(frozen=True)
class MomentDerivatives:
    """Derivatives at parameters of R data sets, with respect to the parameters that a level's covariances depend on.

    Attributes
    ----------
    within : (R, q_W, p1, p1)
        Of Sigma_W.
    between : (R, q_B, p, p)
        Of Sigma_B.
    mean : (R, q, p)
        Of mu.
    """

    within: FloatArray
    between: FloatArray
    mean: FloatArray


class MomentMaps:
    """Index arrays of `MomentDerivatives`.

    Attributes
    ----------
    within, between : (q_W,), (q_B,)
        Parameters that the derivatives of Sigma_W and Sigma_B are with respect to.
    """

    def __init__(self, structure: TwoLevelStructure) -> None:
        self.structure = structure
        self.half = HalfVectors(structure.p1, structure.p1 + structure.p2)
        s = structure
        self._within, self._between = Collapse(s.within.cov_free), Collapse(s.between.cov_free)
        self._means = Collapse(s.within.mean_free), Collapse(s.between.mean_free)
        self.within, self.between = self._within.free, self._between.free

    def at(self, within: LevelImplied, between: LevelImplied) -> MomentDerivatives:
        """Derivatives at the implied moments of R data sets."""
        s, p = self.structure, self.structure.p1 + self.structure.p2
        mean = np.zeros((len(between.mu), p, s.q))
        for level, implied, collapse in ((s.within, within, self._means[0]), (s.between, between, self._means[1])):
            if level is s.between or level.has_means:
                mean[..., collapse.free] += collapse(_embed(level.mean_derivatives(implied), level.positions, p))
        return MomentDerivatives(
            self._covariances(s.within, within, self._within, s.p1),
            self._covariances(s.between, between, self._between, p),
            np.ascontiguousarray(transpose(mean)),
        )

    def _covariances(self, level: LevelStructure, implied: LevelImplied, collapse: Collapse, p: int) -> FloatArray:
        found = level.moment_derivatives(implied)
        left, right = (_embed(x, level.positions, p) for x in (found.left, found.right))
        return self.half.full(collapse(self.half.moment_derivatives(left, right, p * (p + 1) // 2)), p)


def _embed(columns: FloatArray, at: IntArray, p: int) -> FloatArray:
    """Rows (R, p_l, k) of a level's variables among those of all p."""
    if len(at) == p:
        return columns
    result = np.zeros((len(columns), p, columns.shape[-1]))
    result[:, at] = columns
    return result
