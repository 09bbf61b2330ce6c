"""Fits in which some parameters are held (fixed x, bounds) or tied by ``==`` constraints: fewer free parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simstudy.estimation.engine import Engine
from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, columns, matvec, transpose
from simstudy.model.constraints import ConstraintSet

DIFFERENCE_STEP = 1e-5


@dataclass(frozen=True)
class Reduction:
    """Which parameters are free, and what the others follow from.

    Attributes
    ----------
    free : (k,)
        Indices of the free parameters among all q.
    constraints : ConstraintSet
    """

    free: IntArray
    constraints: ConstraintSet

    def expand(self, reduced: FloatArray, anchor: FloatArray) -> FloatArray:
        """All parameters (R, q): free ones given (R, k), held ones from ``anchor`` (R, q), dependent ones computed."""
        params = anchor.copy()
        params[..., self.free] = reduced
        return self.constraints.fill(params)

    def jacobian(self, params: FloatArray) -> FloatArray:
        """Derivatives (R, q, k) of all parameters with respect to the free ones."""
        return self.constraints.jacobian(params, self.free)

    def covariance(self, params: FloatArray, reduced: FloatArray) -> FloatArray:
        """Covariance of all parameters (R, q, q) from that of the free ones; zero rows for held parameters."""
        jacobian = self.jacobian(params)
        result: FloatArray = np.matmul(np.matmul(jacobian, reduced), transpose(jacobian))
        return result


@dataclass(frozen=True)
class AnchoredData:
    """Data together with the values (R, q) of held parameters."""

    inner: Any
    anchor: FloatArray

    def select(self, replicates: IntArray | BoolArray) -> AnchoredData:
        """Some of the replicates."""
        return AnchoredData(self.inner.select(replicates), self.anchor[replicates])


class ReducedLikelihood(Likelihood[AnchoredData]):
    """A likelihood as a function of the free parameters alone."""

    def __init__(self, inner: Likelihood[Any], reduction: Reduction) -> None:
        self.inner, self.reduction = inner, reduction

    def evaluate(self, params: FloatArray, data: AnchoredData) -> Evaluation:
        """Log-likelihood, score and information in the free parameters."""
        full = self.reduction.expand(params, data.anchor)
        found = self.inner.evaluate(full, data.inner)
        jacobian = self.reduction.jacobian(full)
        with np.errstate(all="ignore"):
            score = matvec(transpose(jacobian), found.score)
            information = np.matmul(np.matmul(transpose(jacobian), found.information), jacobian)
        return Evaluation(found.loglik, score, information, found.ok & np.isfinite(score).all(axis=-1))

    def value_and_score(self, params: FloatArray, data: AnchoredData) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Log-likelihood (R,) and score (R, k) in the free parameters."""
        full = self.reduction.expand(params, data.anchor)
        loglik, score, ok = self.inner.value_and_score(full, data.inner)
        with np.errstate(all="ignore"):
            score = matvec(transpose(self.reduction.jacobian(full)), score)
        return loglik, score, ok & np.isfinite(score).all(axis=-1)

    def observed_information(self, params: FloatArray, data: AnchoredData) -> FloatArray:
        """Minus second derivatives (R, k, k): exact, but for the curvature of constraints, which is differenced."""
        full = self.reduction.expand(params, data.anchor)
        jacobian = self.reduction.jacobian(full)
        observed = self.inner.observed_information(full, data.inner)
        with np.errstate(all="ignore"):
            result: FloatArray = np.matmul(np.matmul(transpose(jacobian), observed), jacobian)
        if self.reduction.constraints.constraints:
            _, score, _ = self.inner.value_and_score(full, data.inner)
            for k in range(params.shape[-1]):
                step = np.zeros(params.shape[-1])
                step[k] = DIFFERENCE_STEP
                up = self.reduction.jacobian(self.reduction.expand(params + step, data.anchor))
                down = self.reduction.jacobian(self.reduction.expand(params - step, data.anchor))
                result[:, k] -= matvec(transpose(up - down), score) / (2.0 * DIFFERENCE_STEP)
        return 0.5 * (result + transpose(result))


def reduced_engine(engine: Engine, reduction: Reduction, anchor: FloatArray) -> Engine:
    """Engine over the free parameters, the others held at ``anchor`` (R, q) or tied."""

    def meat(params: FloatArray) -> FloatArray:
        full = reduction.expand(params, anchor)
        jacobian = reduction.jacobian(full)
        result: FloatArray = np.matmul(np.matmul(transpose(jacobian), engine.meat(full)), jacobian)
        return result

    return Engine(
        ReducedLikelihood(engine.likelihood, reduction),
        AnchoredData(engine.data, anchor),
        meat,
        engine.starts.map(lambda start: columns(start, reduction.free)),
        quick=None if engine.quick is None else columns(engine.quick, reduction.free),
    )
