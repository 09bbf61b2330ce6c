"""Maximum likelihood of the unrestricted two-level model, by scoring in coordinates in which it is cheap.

Its likelihood is unbounded where clusters differ in size and the largest size has fewer clusters than there are
variables: it then rises towards singular V_n (`two_level`), and only a local maximum is of interest. Where scoring from
every start ends at that border, there is none within reach, and slower methods are not asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from simstudy.estimation.optimum import Box, Optimum
from simstudy.estimation.result import Status
from simstudy.estimation.scoring import SCORING, Optimiser, maximise, try_again, with_fallback, with_newton
from simstudy.likelihood.normal.free_moments import FreeMoments, has_free_moments
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.linalg.stacked import FloatArray, is_spd
from simstudy.model.implied import TwoLevelStructure

# Eigenvalues of n V_n relative to Sigma_W that are as good as none; proper maxima have .01 and more.
BORDER = 1e-4


class FreeMomentsScoring:
    """Scoring of likelihoods with `has_free_moments`."""

    by_pairs: ClassVar[bool] = True

    def once(self, likelihood: TwoLevelLikelihood, data: Data, start: FloatArray, box: Box | None = None) -> Optimum:
        """Scoring from one start (R, q); points that are no maxima are refused."""
        if box is not None:  # bounds are on parameters, not on rotated coordinates
            return SCORING.once(likelihood, data, start, box)
        free = FreeMoments(likelihood)
        found = maximise(free.evaluate, data, start, metric=free)
        status = found.status.copy()
        moved = np.flatnonzero((status == int(Status.OK)) & (found.n_iter > 0))
        if len(moved):
            maximum = free.is_maximum(found.params[moved], data.select(moved))
            status[moved[~maximum]] = int(Status.SINGULAR_INFORMATION)
        information = likelihood.evaluate(found.params, data).information
        status[(status == int(Status.OK)) & ~is_spd(information)] = int(Status.SINGULAR_INFORMATION)
        return replace(found, information=information, status=status)

    def fully(
        self, likelihood: TwoLevelLikelihood, data: Data, starts: Sequence[FloatArray], box: Box | None = None
    ) -> Optimum:
        """From each of the starts (R, q) in turn, then by Newton's method, unless the likelihood is unbounded."""
        if box is not None:  # bounds are on parameters, not on rotated coordinates
            return with_fallback(likelihood, data, starts, box=box)

        def climb(subset: Data, start: FloatArray) -> Optimum:
            return self.once(likelihood, subset, start)

        best = climb(data, starts[0])
        first = best.params
        for k in range(1, len(starts)):
            if (best.status == int(Status.OK)).all():  # and no other start need be known
                return best
            best = try_again(best, data, starts[k], climb)
        unbounded = (best.status != int(Status.OK)) & (likelihood.margin(best.params) < BORDER)
        best = replace(best, status=np.where(unbounded, int(Status.NON_PD), best.status))
        return with_newton(likelihood, data, best, (first, starts[-1]), where=~unbounded)


def two_level_optimiser(structure: TwoLevelStructure) -> Optimiser[TwoLevelLikelihood, Data]:
    """How the likelihood of a model on complete data is maximised."""
    return FreeMomentsScoring() if has_free_moments(structure) else SCORING
