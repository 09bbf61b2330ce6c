"""The unrestricted two-level model: all means, variances and covariances of both levels free ("H1").

Its likelihood has no singularities of parametrisation (a slope on a between variance near zero has), so unbalanced data
are first fitted to it, and structural models start from the moments found. Balanced data have a closed form (theory
C2).
"""

from __future__ import annotations

from functools import lru_cache

from simstudy.model.defaults import with_defaults
from simstudy.model.parameters import number_rows
from simstudy.model.rows import Parameter
from simstudy.model.tokens import written
from simstudy.model.twolevel import TwoLevelModel


@lru_cache(maxsize=64)
def unrestricted_model(model: TwoLevelModel) -> TwoLevelModel:
    """The model with every covariance of both levels free, over the same variables in the same order.

    The between block is empty where nothing but random slopes varies over clusters: they are no variables of it.
    """
    between = tuple(name for name in model.variables if name in model.observed("between"))
    rows: list[Parameter] = []
    text: list[str] = []
    for level, names in (("within", model.level1), ("between", between)):
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i:]]
        text += [f"level: {level}", *(f"  {written(a)} ~~ {written(b)}" for a, b in pairs)]
        asked = [Parameter(a, "~~", b, level, free=-2) for a, b in pairs]
        rows += with_defaults(asked, level, list(between), [], std_lv=False)
    return TwoLevelModel("\n".join(text), number_rows(rows))
