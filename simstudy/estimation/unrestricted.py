"""The unrestricted two-level model: all means, variances and covariances of both levels free ("H1").

Its likelihood has no singularities of parametrisation (a slope on a between variance near zero has), so unbalanced data
are first fitted to it, and structural models start from the moments found. Balanced data have a closed form (theory
C2).
"""

from __future__ import annotations

from simstudy.model.tokens import written
from simstudy.model.twolevel import TwoLevelModel


def unrestricted_model(model: TwoLevelModel) -> TwoLevelModel:
    """The model with every covariance of both levels free, over the same variables in the same order."""

    def block(level: str, names: tuple[str, ...]) -> str:
        pairs = [f"  {written(a)} ~~ {written(b)}" for i, a in enumerate(names) for b in names[i:]]
        return "\n".join([f"level: {level}", *pairs])

    between = tuple(name for name in model.variables if name in model.observed("between"))
    return TwoLevelModel.from_syntax(f"{block('within', model.level1)}\n{block('between', between)}")
