"""Nodes by error: an integral's step is halved until the maximum of the log-likelihood does not move."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simstudy.data.products import Products
from simstudy.estimation.result import Status
from simstudy.estimation.slope_search import Found, SlopeSearch
from simstudy.likelihood.slopes.given import GivenSlopes
from simstudy.linalg.stacked import FloatArray, IntArray

ENOUGH = 1e-7
"""What half the step may change in the log-likelihood at the maximum."""
HALVINGS = 3


@dataclass(frozen=True)
class Refined:
    """The maximum of R data sets and how well its integral is computed.

    Attributes
    ----------
    found : Found
    loglik : (R,)
        By half the step that it was found with.
    error : (R,)
        What that changed.
    nodes : (R,)
        Nodes that it was found with.
    """

    found: Found
    loglik: FloatArray
    error: FloatArray
    nodes: IntArray

    @property
    def measures(self) -> dict[str, FloatArray]:
        """Number of nodes, and error of the log-likelihood."""
        return {"nodes": self.nodes.astype(np.float64), "loglik_error": self.error}


def refined(search: SlopeSearch, integral: GivenSlopes, found: Found, data: Products, anchor: FloatArray) -> Refined:
    """Measure the error of a maximum found with ``integral``, and go on with half the step where it is too large.

    Parameters
    ----------
    anchor : (R, q)
        Values of held parameters.
    """
    _, _, nodes = integral.measured(found.params, data)
    value = found.best.loglik.copy()
    loglik, error = np.full(len(value), np.nan), np.full(len(value), np.nan)
    left: IntArray = np.arange(len(value))
    for halvings in range(1, HALVINGS + 1):
        finer = integral.finer(halvings)
        loglik[left], _, more = finer.measured(found.params[left], data.select(left))
        error[left] = np.abs(loglik[left] - value[left])
        rough = (error[left] > ENOUGH) & (found.best.status[left] == int(Status.OK))
        if integral.sums.nodes is not None or halvings == HALVINGS or not rough.any():
            break
        left, more = left[rough], more[rough]
        again = search.beside(finer).solve(data.select(left), (found.params[left],), anchor[left])
        found, value[left], nodes[left] = _put(found, left, again), again.best.loglik, more
    return Refined(found, loglik, error, nodes)


def _put(found: Found, where: IntArray, other: Found) -> Found:
    """Replicates ``where`` from another search, which began at the maxima: what was singular there is."""

    def merge(mine: Any, theirs: Any) -> Any:
        mine = mine.copy()
        mine[where] = theirs
        return mine

    if len(where) == len(found.params):
        return replace(other, singular=other.singular | found.singular[where])
    return replace(
        found,
        best=found.best.put(where, other.best),
        xi=merge(found.xi, other.xi),
        params=merge(found.params, other.params),
        jacobian=merge(found.jacobian, other.jacobian),
        singular=merge(found.singular, other.singular | found.singular[where]),
        at_bound=merge(found.at_bound, other.at_bound),
        tight=merge(found.tight, other.tight),
    )
