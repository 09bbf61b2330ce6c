"""Simulation for the theory tests: populations, fits in micro-batches, and comparisons within 4 Monte Carlo SEs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from closed_forms import Contextual
from path_forms import Mediation, MicroMacro

from simstudy.data.layout import ClusterLayout
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.inference import with_defined
from simstudy.estimation.result import Status
from simstudy.methods.protocol import Estimator
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.draw import draw_statistics
from simstudy.population.population import Population

SEED = 20090306
BATCH = 500
LIMIT = 4.0
"""Monte Carlo standard errors; with some 500 comparisons, one false alarm in 30 seeds."""

CONTEXTUAL = """
level: within
  y ~ bw*x
level: between
  y ~ bb*x
contextual := bb - bw
"""
LEVEL2_PREDICTOR = """
level: within
  y ~~ y
level: between
  y ~ b*z
"""
MICRO_MACRO = """
level: within
  x ~~ x
level: between
  y ~ bx*x + bz*z
"""
MEDIATION_111 = """
level: within
  m ~ aw*x
  y ~ bw*m + cw*x
level: between
  m ~ ab*x
  y ~ bb*m + cb*x
indirect_within := aw*bw
indirect_between := ab*bb
"""
MEDIATION_211 = """
level: within
  y ~ bw*m
level: between
  m ~ ab*x
  y ~ bb*m + cb*x
indirect_between := ab*bb
"""


# --- populations ------------------------------------------------------------------------------------------------------


def population(syntax: str, sizes: Sequence[int], values: Mapping[str, float]) -> Population:
    """A population by names of parameters; intercepts that are not mentioned are 0."""
    model = TwoLevelModel.from_syntax(syntax)
    unknown = set(values) - set(model.names)
    assert not unknown, f"{sorted(unknown)} not in {model.names}"
    filled = tuple(float(values[k]) if k in values else _zero_intercept(k) for k in model.names)
    layout = ClusterLayout.of(sizes)
    return Population(model, filled, layout, f"theory {syntax} {filled} {layout.sizes}")


def _zero_intercept(name: str) -> float:
    assert name.endswith("~ 1"), f"no value for '{name}'"
    return 0.0


def contextual(c: Contextual, sizes: Sequence[int]) -> Population:
    values = {
        "bw": c.beta_w, "bb": c.beta_b,
        "within: x ~~ x": c.sigma2, "within: y ~~ y": c.sigma_e2,
        "between: x ~~ x": c.tau2, "between: y ~~ y": c.tau_u2,
        "between: x ~ 1": 3.0, "between: y ~ 1": -1.0,
    }  # fmt: skip
    return population(CONTEXTUAL, sizes, values)


def level2_predictor(icc: float, sizes: Sequence[int]) -> Population:
    """B5a: y of variance 1 and intraclass correlation ``icc``, z without effect."""
    values = {"b": 0.0, "within: y ~~ y": 1 - icc, "between: y ~~ y": icc, "between: z ~~ z": 1.0}
    return population(LEVEL2_PREDICTOR, sizes, values)


def micro_macro(c: MicroMacro, sizes: Sequence[int]) -> Population:
    values = {
        "bx": c.beta_x, "bz": c.beta_z, "within: x ~~ x": c.sigma2, "between: x ~~ x": c.tau2,
        "between: z ~~ z": c.var_z, "between: x ~~ z": c.cov_xz, "between: y ~~ y": c.residual,
    }  # fmt: skip
    return population(MICRO_MACRO, sizes, values)


def mediation_111(k: Mediation, sizes: Sequence[int]) -> Population:
    b, w = k.between, k.within
    values = {"aw": w.a, "bw": w.b, "cw": w.c, "ab": b.a, "bb": b.b, "cb": b.c}
    for level, part in (("within", w), ("between", b)):
        values |= {f"{level}: x ~~ x": part.x, f"{level}: m ~~ m": part.m, f"{level}: y ~~ y": part.y}
    return population(MEDIATION_111, sizes, values)


def mediation_211(k: Mediation, sizes: Sequence[int]) -> Population:
    b, w = k.between, k.within
    values = {
        "bw": w.b, "ab": b.a, "bb": b.b, "cb": b.c, "between: x ~~ x": b.x,
        "within: m ~~ m": w.m, "within: y ~~ y": w.y, "between: m ~~ m": b.m, "between: y ~~ y": b.y,
    }  # fmt: skip
    return population(MEDIATION_211, sizes, values)


# --- fits -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fits:
    """Fits of R data sets by one method: estimates and SEs (first kind) by parameter (R,)."""

    estimate: dict[str, np.ndarray]
    se: dict[str, np.ndarray]
    status: np.ndarray
    admissible: np.ndarray

    @property
    def all_converged(self) -> bool:
        return bool((self.status == Status.OK).all())


@dataclass(frozen=True)
class Run:
    """Fits by method, and what was kept of the statistics (R, ...)."""

    fits: dict[str, Fits]
    kept: np.ndarray

    def __getitem__(self, method: str) -> Fits:
        return self.fits[method]


def run(
    source: Population,
    methods: Mapping[str, Estimator],
    replicates: int,
    keep: Callable[[TwoLevelStatistics], np.ndarray] | None = None,
) -> Run:
    """Fit every method to the same ``replicates`` data sets, `BATCH` at a time."""
    model = source.model
    for name, method in methods.items():
        reason = method.supports(model, source.layout)
        assert reason is None, f"{name}: {reason}"
    ready = {name: method.prepare(model, source.layout) for name, method in methods.items()}
    found: dict[str, list] = {name: [] for name in methods}
    kept = []
    for first in range(0, replicates, BATCH):
        data = draw_statistics(source, SEED, range(first, min(first + BATCH, replicates)))
        if keep is not None:
            kept.append(keep(data))
        for name, prepared in ready.items():
            found[name].append(with_defined(prepared.fit(data), model.estimands))
    fits = {}
    for name, parts in found.items():
        estimate = np.concatenate([part.estimate for part in parts])
        kind = next(iter(parts[0].covariance))
        se = np.concatenate([part.se[kind] for part in parts])
        fits[name] = Fits(
            dict(zip(parts[0].labels, estimate.T, strict=True)),
            dict(zip(parts[0].labels, se.T, strict=True)),
            np.concatenate([part.status for part in parts]),
            np.concatenate([part.admissible for part in parts]),
        )
    return Run(fits, np.concatenate(kept) if kept else np.empty(0))


def moments(data: TwoLevelStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Balanced data: pooled within covariance, and that of cluster means with divisor J (R, p, p), model's order."""
    layout = data.layout
    assert layout.balanced
    return data.scatter_within / (layout.n_obs - layout.n_clusters), data.size_scatter[:, 0] / layout.n_clusters


# --- comparisons ------------------------------------------------------------------------------------------------------


@dataclass
class Checks:
    """Comparisons of Monte Carlo results with theory; each is noted for the summary and fails beyond `LIMIT` MCSEs."""

    noted: list[tuple[str, str, float]] = field(default_factory=list)

    def score(self, section: str, what: str, found: float, expected: float, mcse: float) -> None:
        z = (found - expected) / mcse if mcse > 0 else np.inf * np.sign(found - expected)
        self.noted.append((section, what, float(z)))
        assert abs(z) <= LIMIT, (
            f"{section} {what}: simulated {found:.6f} +- {mcse:.6f}, theory {expected:.6f}, z = {z:+.2f}"
        )

    def mean(self, section: str, what: str, values: np.ndarray, expected: float) -> None:
        assert np.isfinite(values).all(), f"{section} {what}: {int((~np.isfinite(values)).sum())} values are missing"
        self.score(section, what, float(values.mean()), expected, float(values.std(ddof=1) / np.sqrt(len(values))))

    def share(self, section: str, what: str, hits: np.ndarray, expected: float) -> None:
        """A probability, with the MCSE of the expected one."""
        mcse = np.sqrt(expected * (1 - expected) / len(hits))
        self.score(section, what, float(hits.mean()), expected, float(mcse))

    def variance(self, section: str, what: str, values: np.ndarray, expected: float) -> None:
        self.covariance(section, what, values, values, expected)

    def covariance(self, section: str, what: str, x: np.ndarray, y: np.ndarray, expected: float) -> None:
        products = (x - x.mean()) * (y - y.mean()) * len(x) / (len(x) - 1)
        self.mean(section, what, products, expected)

    def se_ratio(self, section: str, what: str, values: np.ndarray, se: np.ndarray, expected: float = 1.0) -> None:
        """ModSE / EmpSE = sqrt(mean SE^2) / SD; MCSE by the delta method, fourth moment and dependence included."""
        n = len(values)
        centred = (values - values.mean()) ** 2
        model, empirical = (se**2).mean(), centred.mean() * n / (n - 1)
        influence = se**2 / model - centred / empirical
        ratio = np.sqrt(model / empirical)
        self.score(section, what, float(ratio), expected, float(0.5 * ratio * influence.std() / np.sqrt(n)))
