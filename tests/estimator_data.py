"""Models, data sets and fits for the tests of the methods."""

from __future__ import annotations

import numpy as np

import simstudy.methods  # noqa: F401  (registers the methods)
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.inference import with_defined
from simstudy.estimation.result import FitResult
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

METHODS = (
    "disaggregated",
    "aggregated",
    "mlm",
    "mlm_centered",
    "two_step",
    "schmidt",
    "haernqvist",
    "goldstein",
    "muml",
    "msem",
)
CONTEXTUAL = TwoLevelModel.from_syntax(
    "level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x\ncontextual := bb - bw\nratio := bb / bw"
)
MEDIATION = TwoLevelModel.from_syntax(
    """
    level: within
      m ~ aw*x
      y ~ bw*m + cw*x
    level: between
      m ~ ab*x
      y ~ bb*m + cb*x
    ind_w := aw*bw
    ind_b := ab*bb
    """
)
OUTCOME_2 = TwoLevelModel.from_syntax(
    "level: within\n m ~ aw*x\nlevel: between\n m ~ ab*x\n z ~ bb*m + cb*x\nind := ab*bb"
)
BALANCED = ClusterLayout.of([6] * 30)
UNBALANCED = ClusterLayout.of([2, 3, 4, 7, 7, 10] * 5)


def draw(model: TwoLevelModel, layout: ClusterLayout, replicates: int = 1, seed: int = 0, icc: float = 0.3) -> Sample:
    """Correlated normal variables at both levels, drawn by numpy."""
    rng = np.random.default_rng(seed)
    p1, p = len(model.level1), len(model.variables)
    root = np.linalg.cholesky(0.6 * np.eye(p) + 0.4)
    u = rng.normal(size=(replicates, layout.n_clusters, p)) @ root.T
    e = rng.normal(size=(replicates, layout.n_obs, p1)) @ root[:p1, :p1].T
    rows = np.sqrt(1 - icc) * e + np.sqrt(icc) * np.repeat(u[..., :p1], layout.sizes, axis=1)
    return Sample(layout, model.level1, model.level2, rows + 0.5, u[..., p1:])


def fit(method: str, model: TwoLevelModel, data: Sample | TwoLevelStatistics, **options: object) -> FitResult:
    """Fit by a method of the registry, with ``:=`` parameters."""
    estimator = registry.create(method, options)
    assert estimator.supports(model, data.layout) is None
    return with_defined(estimator.prepare(model, data.layout).fit(data), model.estimands)


def value(found: FitResult, name: str, r: int = 0) -> float:
    return float(found.estimate[r, found.labels.index(name)])


def se(found: FitResult, name: str, kind: str = "expected", r: int = 0) -> float:
    return float(found.se[kind][r, found.labels.index(name)])
