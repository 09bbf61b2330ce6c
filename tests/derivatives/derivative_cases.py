"""Families of models, points and data for the derivative tests, and the differences they are held against."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.model.twolevel import TwoLevelModel

FAMILIES = tomllib.loads((Path(__file__).parents[1] / "model" / "families.toml").read_text())
NAMES = tuple(FAMILIES)
LAYOUTS = {"balanced": ClusterLayout.of([4] * 7), "unbalanced": ClusterLayout.of([1, 2, 2, 3, 5, 5, 9, 12])}

# Central differences of fourth order with step 1e-3: truncation about 1e-12 of the fifth derivative's scale, rounding
# 1e-14 |f| / 1e-3. With |f| and derivatives of 1e2 to 1e4 that is 1e-9 to 1e-8 of the largest element (measured: 5e-9).
STEP = 1e-3
RELATIVE = 1e-7


@cache
def family(name: str) -> tuple[TwoLevelModel, np.ndarray]:
    """A model and its population values (q,)."""
    model = TwoLevelModel.from_syntax(FAMILIES[name]["syntax"])
    return model, np.array([FAMILIES[name]["values"][key] for key in model.names])


def perturbed(name: str, seed: int = 5) -> np.ndarray:
    """A point (1, q) off the population values, where no moment equals the data's."""
    _, values = family(name)
    rng = np.random.default_rng([seed, len(values)])
    return (values + 0.04 * rng.uniform(-1.0, 1.0, len(values)) * (0.5 + np.abs(values)))[None]


def random_rows(model: TwoLevelModel, layout: ClusterLayout, seed: int = 11) -> Sample:
    """One data set of correlated variables with means, not from the model."""
    rng = np.random.default_rng([seed, len(model.variables)])
    p1, p = len(model.level1), len(model.variables)
    mix = np.eye(p) + 0.3 * rng.normal(size=(p, p))
    between = rng.normal(size=(1, layout.n_clusters, p)) @ mix + rng.normal(size=p)
    rows = rng.normal(size=(1, layout.n_obs, p1)) @ mix[:p1, :p1]
    rows = rows + 0.6 * np.repeat(between[..., :p1], layout.sizes, axis=1)
    return Sample(layout, model.level1, model.level2, rows, between[..., p1:])


def statistics(model: TwoLevelModel, layout: ClusterLayout, seed: int = 11) -> TwoLevelStatistics:
    return random_rows(model, layout, seed).statistics()


def differences(f: Callable[[np.ndarray], np.ndarray], at: np.ndarray, step: float = STEP) -> np.ndarray:
    """Fourth-order central differences (q, ...) of ``f``, which maps (R, q) to (R, ...), at ``at`` (1, q)."""
    q = at.shape[-1]
    moves = np.concatenate([k * step * np.eye(q) for k in (-2, -1, 1, 2)])
    low2, low, high, high2 = np.split(f(at + moves), 4)
    return (low2 - 8 * low + 8 * high - high2) / (12 * step)


def close(analytic: np.ndarray, numeric: np.ndarray, relative: float = RELATIVE) -> None:
    """Agreement to a share of the largest element."""
    assert np.isfinite(numeric).all()
    np.testing.assert_allclose(analytic, numeric, rtol=0, atol=relative * max(1.0, float(np.abs(numeric).max())))
