"""The EM step of a two-level model, and its acceleration.

The maximisation step is an ordinary single-level SEM for each level: in closed form where the level's moments determine
its parameters (saturated and recursive path models), by Fisher scoring otherwise, and jointly where levels share a
parameter. Acceleration is Anderson's (1965), on linear problems as fast as generalised minimal residuals (Walker & Ni
2011), with the safeguards of Henderson & Varadhan (2019) for EM: the memory restarts, and a point outside the domain or
with a lower log-likelihood is dropped for the plain EM step.
"""

from __future__ import annotations

import numpy as np

from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.scoring import maximise
from simstudy.estimation.starts import add_level_starts
from simstudy.likelihood.normal import single_level
from simstudy.likelihood.normal.complete_data import CompleteDataLikelihood, CompleteMoments
from simstudy.likelihood.normal.single_level import SingleLevelLikelihood
from simstudy.linalg.stacked import (
    BoolArray,
    FloatArray,
    IntArray,
    columns,
    dot,
    eigh,
    inverse_spd,
    matvec,
    outer,
    submatrix,
    transpose,
)
from simstudy.model.implied import LevelStructure, TwoLevelStructure

# A closed form counts as exact where the complete data's Newton decrement at it, per unit, is rounding.
EXACT = 1e-18
# Scoring steps of a maximisation step without closed form: any rise will do (generalised EM, Dempster et al. 1977).
M_STEPS = 4
# EM steps that an extrapolation remembers: 5 took up to three times the steps in the slowest hundredth of data sets.
ORDER = 10
# Proposals in a row that may fail before the memory is emptied.
PATIENCE = 3
# Their differences count as dependent where an eigenvalue is below this share of the largest.
RANK = 1e-10


class EmStep:
    """One expectation and one maximisation step: parameters (R, q) to parameters (R, q).

    Parameters
    ----------
    structure : TwoLevelStructure
    n_obs, n_clusters : int
    """

    def __init__(self, structure: TwoLevelStructure, n_obs: int, n_clusters: int) -> None:
        self.structure = structure
        self.complete = CompleteDataLikelihood(structure, n_obs, n_clusters)
        within, between = _free(structure.within), _free(structure.between)
        shared = bool(np.intersect1d(within, between).size)
        self.within_closed = not shared and _has_closed_form(structure.within, self.complete.within, within)
        self.between_closed = not shared and _has_closed_form(structure.between, self.complete.between, between)

    def __call__(self, params: FloatArray, statistics: TwoLevelStatistics) -> FloatArray:
        """Do the step."""
        return self.maximise(params, self.complete.expect(params, statistics))

    def maximise(self, params: FloatArray, moments: CompleteMoments) -> FloatArray:
        """Maximise the expected log-likelihood of the complete data, from ``params``; it never falls."""
        result = params.copy()
        for closed, level, likelihood, data in (
            (self.within_closed, self.structure.within, self.complete.within, moments.within),
            (self.between_closed, self.structure.between, self.complete.between, moments.between),
        ):
            if closed:
                free = _free(level)
                result[:, free] = columns(_closed_form(level, likelihood, data), free)
        if not (self.within_closed and self.between_closed):
            result = maximise(self.complete.evaluate, moments, result, max_iter=M_STEPS).params
        return result


def _free(level: LevelStructure) -> IntArray:
    """Free parameters that a level's moments depend on."""
    return np.unique(np.concatenate([level.cov_free, level.maps.means.free])).astype(np.int64)


def _closed_form(level: LevelStructure, likelihood: SingleLevelLikelihood, data: single_level.Data) -> FloatArray:
    """Least squares on a level's moments (R, q), 0 for parameters of the other level.

    Variables without an intercept at the level (within parts) have mean 0 there, and moments about 0.
    """
    mean = np.zeros_like(data.mean)
    has_mean = np.unique(np.concatenate([level.maps.means.row, np.flatnonzero(level.maps.base_means)]))
    has_mean = has_mean[has_mean < level.n_observed].astype(np.int64)
    mean[:, has_mean] = data.mean[:, has_mean]
    offset = data.mean - mean
    sums, counts = np.zeros((len(mean), likelihood.q)), np.zeros(likelihood.q)
    add_level_starts(level, data.scatter / likelihood.n + outer(offset, offset), mean, sums, counts)
    return sums / np.maximum(counts, 1.0)


def _has_closed_form(level: LevelStructure, likelihood: SingleLevelLikelihood, free: IntArray) -> bool:
    """Whether least squares maximises the level's likelihood, tried on moments without any structure."""
    if not len(free):
        return True
    rng, p = np.random.default_rng(1996), level.n_observed
    root = np.eye(p) + 0.3 * rng.standard_normal((p, p))
    data = single_level.Data(rng.standard_normal((1, p)), likelihood.n * np.matmul(root, root.T)[None])
    with np.errstate(all="ignore"):
        found = likelihood.evaluate(_closed_form(level, likelihood, data), data)
        covariance, ok = inverse_spd(submatrix(found.information, free, free))
        score = columns(found.score, free)
        decrement = dot(score, matvec(covariance, score))[0]
    return bool(ok[0] and found.ok[0] and decrement < EXACT * likelihood.n)


class Anderson:
    """Extrapolation from the last EM steps, with a memory of its own for each replicate.

    With f(x) = EM(x) - x and the differences X, F of the last points and of f at them,

        x_next = x + f - (X + F) gamma,    gamma = arg min |f - F gamma|,

    in the metric of the information, in which EM's rate matrix is symmetric and units do not matter.

    Parameters
    ----------
    n, q : int
        Replicates and parameters.
    """

    def __init__(self, n: int, q: int) -> None:
        self.order = min(ORDER, q)
        self.kept: IntArray = np.zeros(n, dtype=np.int64)
        self.refused: IntArray = np.zeros(n, dtype=np.int64)  # proposals in a row that were not accepted
        self.last: FloatArray = np.full((2, n, q), np.nan)  # x and f
        self.moves: FloatArray = np.zeros((2, n, self.order, q))  # their differences: X and F, points in rows

    def propose(self, active: IntArray, x: FloatArray, f: FloatArray, metric: FloatArray) -> FloatArray:
        """Where to go from ``x`` (k, q), whose EM step is ``f``; the metric is (k, q, q)."""
        self._remember(active, x, f)
        used = np.arange(self.order) < self.kept[active, None]
        moves, steps = (np.where(used[..., None], move[active], 0.0) for move in self.moves)
        turned = np.matmul(steps, metric)
        inner = np.matmul(turned, transpose(steps))
        scale = np.diagonal(inner, axis1=-2, axis2=-1)
        scale = 1.0 / np.sqrt(np.where(scale > 0, scale, 1.0))
        values, vectors, _ = eigh(inner * scale[:, :, None] * scale[:, None, :])
        with np.errstate(all="ignore"):
            weights = np.where(values > RANK * values[:, -1:], 1.0 / values, 0.0)
        gamma = scale * matvec(vectors, weights * matvec(transpose(vectors), scale * matvec(turned, f)))
        return x + f - matvec(transpose(moves + steps), gamma)

    def judge(self, active: IntArray, accepted: BoolArray) -> None:
        """Learn which proposals were accepted; a memory that misleads is emptied."""
        self.refused[active] = np.where(accepted, 0, self.refused[active] + 1)
        misled = active[self.refused[active] >= PATIENCE]
        self.kept[misled] = self.refused[misled] = 0

    def _remember(self, active: IntArray, x: FloatArray, f: FloatArray) -> None:
        """Store the move since the last point; a full memory is emptied first (Henderson & Varadhan 2019)."""
        moved = np.isfinite(self.last[0, active, 0])
        some = active[moved]
        self.kept[some[self.kept[some] >= self.order]] = 0
        for k, now in enumerate((x, f)):
            self.moves[k, some, self.kept[some]] = now[moved] - self.last[k, some]
            self.last[k, active] = now
        self.kept[some] += 1
