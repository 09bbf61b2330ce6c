"""Nodes by error: an integral's step is halved until the maximum of the log-likelihood does not move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simstudy.data.products import Products
from simstudy.estimation.optimum import Optimum
from simstudy.estimation.result import Status
from simstudy.likelihood.slopes.given import GivenSlopes
from simstudy.linalg.stacked import FloatArray, IntArray

ENOUGH = 1e-7
"""What half the step may change in the log-likelihood at the maximum."""
HALVINGS = 3

Climb = Callable[[GivenSlopes, IntArray, FloatArray], tuple[Optimum, FloatArray]]
"""From a likelihood, some replicates and where they start (n, q) to their maxima, and these (n, q)."""


@dataclass(frozen=True)
class Refined:
    """The maximum of R data sets and how well its integral is computed.

    Attributes
    ----------
    best : Optimum
    xi : (R, q)
        Where it is.
    loglik : (R,)
        By half the step that it was found with.
    error : (R,)
        What that changed.
    nodes : (R,)
        Nodes that it was found with.
    """

    best: Optimum
    xi: FloatArray
    loglik: FloatArray
    error: FloatArray
    nodes: IntArray


def refined(
    integral: GivenSlopes,
    best: Optimum,
    xi: FloatArray,
    data: Products,
    natural: Callable[[FloatArray], FloatArray],
    climb: Climb,
) -> Refined:
    """Measure the error of a maximum found with ``integral``, and go on with half the step where it is too large.

    Parameters
    ----------
    natural : callable
        From what is optimised to the parameters (R, q).
    """
    xi = xi.copy()
    _, _, nodes = integral.measured(natural(xi), data)
    value, loglik, error = best.loglik.copy(), np.full(len(xi), np.nan), np.full(len(xi), np.nan)
    left: IntArray = np.arange(len(xi))
    for halvings in range(1, HALVINGS + 1):
        finer = integral.finer(halvings)
        loglik[left], _, more = finer.measured(natural(xi[left]), data.select(left))
        error[left] = np.abs(loglik[left] - value[left])
        rough = (error[left] > ENOUGH) & (best.status[left] == int(Status.OK))
        if integral.sums.nodes is not None or halvings == HALVINGS or not rough.any():
            break
        left, more = left[rough], more[rough]
        again, xi[left] = climb(finer, left, xi[left])
        best, value[left], nodes[left] = best.put(left, again), again.loglik, more
    return Refined(best, xi, loglik, error, nodes)
