"""Why a fit has no maximum: what happens to likelihood and parameters where the optimiser stops, in words."""

from __future__ import annotations

import numpy as np

from simstudy.estimation.engine import Engine
from simstudy.estimation.scoring import newton_from
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.linalg.stacked import FloatArray, eigh
from simstudy.model.implied import TwoLevelStructure

# Newton steps that show where a likelihood without a maximum leads.
STEPS = 60
# Eigenvalue of n V_n relative to Sigma_W below which the likelihood is taken to rise towards a singular matrix.
SINGULAR = 1e-3
# Curvature, in units of the information's diagonal, below which the likelihood is flat.
FLAT = 1e-3
# Of the flattest direction, entries at least this share of the largest are named, and no more than so many.
NAMED, MOST = 0.3, 4


def stopping_notes(structure: TwoLevelStructure, engine: Engine) -> tuple[str, ...]:
    """What to tell of one data set (R = 1) on which a model has no maximum within reach."""
    likelihood, data = engine.likelihood, engine.data
    assert isinstance(likelihood, TwoLevelLikelihood)
    assert isinstance(data, Data)
    with np.errstate(all="ignore"):
        best = newton_from(likelihood, data, engine.solve_once().params, STEPS)
        if not np.isfinite(best.loglik[0]):
            return ("no starting values were found at which the model's covariance matrices are positive definite",)
        if likelihood.margin(best.params)[0] < SINGULAR:
            largest = int(likelihood.sizes[-1])
            return (
                "the log-likelihood rises without bound towards parameters at which the covariance matrix of the means "
                f"of the largest clusters ({largest} rows) is singular",
            )
        observed = likelihood.observed_information(best.params, data)
        flat, direction = _flattest(observed)
    names = structure.model.names
    if flat > FLAT:
        return ()
    largest_first = np.argsort(-np.abs(direction))[:MOST]
    share = np.abs(direction[largest_first]) / np.abs(direction).max()
    chosen = [int(i) for i in largest_first[share >= NAMED]]
    values = "; ".join(f"{names[i]} = {best.params[0, i]:.4g}" for i in chosen)
    negative = _variances_below_zero(structure, best.params[0])
    notes = [
        "the log-likelihood is all but flat in one direction, in which these parameters move together without reaching "
        f"a maximum (where they stood when it was given up): {values}"
    ]
    if negative:
        notes.append(
            f"negative variances there: {negative}. A factor that its indicators do not support runs off like this: "
            "one residual variance to minus infinity, a loading to infinity or the factor's variance to 0; bounds = "
            "'variances', fewer factors at this level, or equal loadings keep it finite"
        )
    return tuple(notes)


def _flattest(observed: FloatArray) -> tuple[float, FloatArray]:
    """Smallest eigenvalue of an information (1, q, q) scaled to a unit diagonal, and its eigenvector (q,)."""
    diagonal = np.abs(np.diagonal(observed, axis1=-2, axis2=-1))
    scale = 1.0 / np.sqrt(np.maximum(diagonal, 1e-300))
    values, vectors, ok = eigh(observed * scale[:, :, None] * scale[:, None, :])
    return (float(values[0, 0]) if ok[0] else np.inf), vectors[0, :, 0]


def _variances_below_zero(structure: TwoLevelStructure, params: FloatArray) -> str:
    table = structure.model.table
    return ", ".join(
        f"{row.path} = {params[row.free]:.4g}"
        for row in table.rows
        if row.op == "~~" and row.lhs == row.rhs and row.free >= 0 and params[row.free] < 0
    )
