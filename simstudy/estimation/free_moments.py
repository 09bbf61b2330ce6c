"""Maximum likelihood of the unrestricted two-level model, by scoring in coordinates in which it is cheap.

Its likelihood is unbounded where clusters differ in size and the largest size has fewer clusters than there are
variables: it then rises towards singular V_n (`two_level`), and only a local maximum is of interest. Where scoring from
every start ends at that border, there is none within reach, and slower methods are not asked.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simstudy.estimation.result import Status
from simstudy.estimation.scoring import Optimum, maximise, try_again, with_newton
from simstudy.likelihood.normal.free_moments import FreeMoments
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.linalg.stacked import FloatArray, is_spd

# Eigenvalues of n V_n relative to Sigma_W that are as good as none; proper maxima have .01 and more.
BORDER = 1e-4


def maximise_free_moments(likelihood: TwoLevelLikelihood, data: Data, starts: tuple[FloatArray, ...]) -> Optimum:
    """Maximise a likelihood with `has_free_moments` from each of the starts (R, q) in turn, then by Newton's method."""
    free = FreeMoments(likelihood)

    def climb(subset: Data, start: FloatArray) -> Optimum:
        found = maximise(free.evaluate, subset, start, metric=free)
        status = found.status.copy()
        moved = np.flatnonzero((status == int(Status.OK)) & (found.n_iter > 0))
        if len(moved):
            maximum = free.is_maximum(found.params[moved], subset.select(moved))
            status[moved[~maximum]] = int(Status.SINGULAR_INFORMATION)
        information = likelihood.evaluate(found.params, subset).information
        status[(status == int(Status.OK)) & ~is_spd(information)] = int(Status.SINGULAR_INFORMATION)
        return replace(found, information=information, status=status)

    best = climb(data, starts[0])
    for start in starts[1:]:
        best = try_again(best, data, start, climb)
    unbounded = (best.status != int(Status.OK)) & (likelihood.margin(best.params) < BORDER)
    best = replace(best, status=np.where(unbounded, int(Status.NON_PD), best.status))
    return with_newton(likelihood, data, best, (best.params, starts[-1]), where=~unbounded)
