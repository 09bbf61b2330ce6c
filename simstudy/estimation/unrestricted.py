"""The unrestricted two-level model: all means, variances and covariances of both levels free ("H1").

Its likelihood has no singularities of parametrisation (a slope on a between variance near zero has), so unbalanced data
are first fitted here, and structural models start from the moments found. Balanced data have it in closed form (C2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.result import Status
from simstudy.estimation.scoring import with_fallback
from simstudy.estimation.starts import two_level_starts
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel


@dataclass(frozen=True)
class UnrestrictedMoments:
    """Maximum-likelihood moments of R data sets.

    Attributes
    ----------
    mu : (R, p)
    sigma_within : (R, p1, p1)
    sigma_between : (R, p, p)
    loglik : (R,)
    n_iter : (R,)
    ok : (R,)
        Where a maximum was found.
    """

    mu: FloatArray
    sigma_within: FloatArray
    sigma_between: FloatArray
    loglik: FloatArray
    n_iter: IntArray
    ok: BoolArray


class UnrestrictedFitter:
    """Fits the unrestricted moments of a model's variables on one layout."""

    def __init__(self, model: TwoLevelModel, layout: ClusterLayout) -> None:
        self.structure = TwoLevelStructure(unrestricted_model(model))
        self.likelihood = TwoLevelLikelihood(self.structure, layout.distinct, layout.counts)

    def fit(self, statistics: TwoLevelStatistics) -> UnrestrictedMoments:
        """Fit R data sets whose variables stand in the model's order."""
        best = with_fallback(self.likelihood, Data.of(statistics), two_level_starts(self.structure, statistics))
        mu, within, between = self.structure.moments(best.params)
        return UnrestrictedMoments(
            mu, within, between, best.loglik, best.n_iter, np.asarray(best.status == int(Status.OK))
        )


def unrestricted_model(model: TwoLevelModel) -> TwoLevelModel:
    """The model with every covariance of both levels free, over the same variables in the same order."""

    def block(level: str, names: tuple[str, ...]) -> str:
        pairs = [f"  {a} ~~ {b}" for i, a in enumerate(names) for b in names[i:]]
        return "\n".join([f"level: {level}", *pairs])

    between = tuple(name for name in model.variables if name in model.observed("between"))
    return TwoLevelModel.from_syntax(f"{block('within', model.level1)}\n{block('between', between)}")
