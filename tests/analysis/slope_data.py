"""Data with a slope that varies over schools, for the tests of this folder and of the command."""

from __future__ import annotations

import numpy as np
import pandas as pd

LATENT = 'level: within\n  y ~ rv("s")*x\nlevel: between\n  y ~ bb*x\n  s ~ gamma*1\n  y ~~ s\n'
WITHIN = 'level: within\n  y ~ rv("s")*x\nlevel: between\n  y ~~ s\n'
MEDIATION = (
    'level: within\n  m ~ rv("aj")*x\n  y ~ rv("bj")*m + rv("cj")*x\nlevel: between\n'
    "  aj ~ a*1\n  bj ~ b*1\n  aj ~~ sab*bj\n  y ~ bb*m\nab := a*b\nind := a*b + sab\n"
)


def school_data(n_clusters: int = 60, seed: int = 5, spread: float = 0.2) -> pd.DataFrame:
    """Rows of schools of 4 to 12 pupils: y = y_B + s (x - x_B) + e; ``spread`` is the variance of s."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(4, 13, n_clusters)
    g = np.repeat(np.arange(n_clusters), sizes)
    level = rng.normal(scale=0.6, size=n_clusters)
    s = 0.4 + np.sqrt(spread) * rng.normal(size=n_clusters)
    x = rng.normal(size=len(g))
    y = 0.8 * level[g] + rng.normal(scale=0.5, size=n_clusters)[g] + s[g] * x + rng.normal(scale=0.8, size=len(g))
    return pd.DataFrame({"school": [f"s{k}" for k in g], "x": x + level[g], "y": y, "size": sizes[g]})
