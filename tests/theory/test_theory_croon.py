"""B7, F4: adjusted cluster means in simulation: Croon & van Veldhoven's condition, standard errors, coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import closed_forms as cf
import expansions as ex
import monte_carlo as mc
import numpy as np
import path_forms as pf
import pytest
from scipy import stats

from simstudy.estimation.inference import with_defined
from simstudy.methods.croon.croon import Croon
from simstudy.methods.msem import Msem
from simstudy.methods.protocol import Estimator
from simstudy.methods.two_step import TwoStep
from simstudy.population.draw import draw_cluster_statistics
from simstudy.population.population import Population

pytestmark = pytest.mark.slow

# n = 10 and ICC .1 make lambda = 1 / 1.9; slopes .3, correlation .3 of xi and z. The residual variance enters no mean.
CONDITION = pf.MicroMacro(tau2=1.0, sigma2=9.0, var_z=1.0, cov_xz=0.3, residual=0.5)
KINDS = ("expected", "robust", "corrected")
BATCH = 250


def moments_of(c: pf.MicroMacro) -> tuple[np.ndarray, np.ndarray]:
    """Sigma_W and Sigma_B of (x, z, y)."""
    within = np.diag([c.sigma2, 0.0, 0.0])
    between = np.array([[c.tau2, c.cov_xz, 0.0], [c.cov_xz, c.var_z, 0.0], [0.0, 0.0, c.residual]])
    slopes = np.array([c.beta_x, c.beta_z])
    between[2, :2] = between[:2, 2] = between[:2, :2] @ slopes
    between[2, 2] += slopes @ between[:2, 2]
    return within, between


def adjusted(t: ex.Statistics, x: int, z: Sequence[int], known: ex.Statistics | None = None) -> ex.Statistics:
    """The method once more, from its definition: the means of ``x`` predicted from (x, z), by mean squares.

    ``known`` statistics, instead of the data's own, give the weights.
    """
    data, t = t, t if known is None else known
    total, n_clusters = float((t.sizes * t.counts).sum()), float(t.counts.sum())
    at = [x, *z]
    between = (ex.cluster_means(t) / (n_clusters - 1))[np.ix_(at, at)]
    c = (total - (t.sizes**2 * t.counts).sum() / total) / (n_clusters - 1)
    between[0, 0] = (t.pooled(t.sizes)[x, x] / (n_clusters - 1) - t.within[x, x]) / c
    grand = np.array(
        [(t.sizes * t.counts) @ t.means[:, x] / total, *(t.counts @ t.means[:, i] / n_clusters for i in z)]
    )
    means, scatter = data.means.copy(), data.scatter.copy()
    for s, n in enumerate(t.sizes):
        given = between.copy()
        given[0, 0] += t.within[x, x] / n
        weights = np.linalg.solve(given, between[0])
        turn = np.eye(len(t.within))
        turn[x] = 0.0
        turn[x, at] = weights
        means[s, x] = grand[0] + weights @ (data.means[s, at] - grand)
        scatter[s] = turn @ data.scatter[s] @ turn.T
    return ex.Statistics(data.within, t.sizes, t.counts, means, scatter)


def adjusted_slopes(t: ex.Statistics) -> np.ndarray:
    """Of y (2) on the adjusted means of x (0) and z (1)."""
    return ex.regress(ex.cluster_means(adjusted(t, 0, [1])), 2, [0, 1])


def slopes_with_known_weights() -> ex.Method:
    """The same with the weights of the statistics seen first: those expected."""
    first: list[ex.Statistics] = []

    def slopes(t: ex.Statistics) -> np.ndarray:
        first.append(t)
        return ex.regress(ex.cluster_means(adjusted(t, 0, [1], first[0])), 2, [0, 1])

    return slopes


@dataclass(frozen=True)
class Draws:
    """Estimates (R,) and SEs by kind of one parameter."""

    estimate: np.ndarray
    se: dict[str, np.ndarray]

    def coverage(self, kind: str, truth: float) -> np.ndarray:
        return np.abs(self.estimate - truth) < 1.959964 * self.se[kind]


def simulate(source: Population, methods: dict[str, Estimator], replicates: int) -> dict[tuple[str, str], Draws]:
    """By method and parameter, on statistics with clusters."""
    ready = {name: method.prepare(source.model, source.layout) for name, method in methods.items()}
    parts: dict[str, list] = {name: [] for name in methods}
    for first in range(0, replicates, BATCH):
        data = draw_cluster_statistics(source, mc.SEED, range(first, min(first + BATCH, replicates)))
        for name, prepared in ready.items():
            parts[name].append(with_defined(prepared.fit(data), source.model.estimands))
    found = {}
    for name, fits in parts.items():
        assert all(fit.converged.all() for fit in fits), name
        for k, label in enumerate(fits[0].labels):
            se = {kind: np.concatenate([fit.se[kind][:, k] for fit in fits]) for kind in fits[0].se}
            found[name, label] = Draws(np.concatenate([fit.estimate[:, k] for fit in fits]), se)
    return found


def test_croon_and_van_veldhovens_condition(check: mc.Checks) -> None:
    """J = 100, n = 10, ICC .1: unadjusted means -49.7 % and +14.9 %; adjusted ones near 0.

    "Near" is a matter of J: the adjusted slopes are ratios, with a bias of order 1 / J that the delta method gives to
    second order (+5.2 % and -1.5 % here). It halves with J doubled.
    """
    replicates, sizes = 2000, [10] * 100
    found = simulate(mc.micro_macro(CONDITION, sizes), {"two_step": TwoStep(), "croon": Croon()}, replicates)
    for label, percent in (("bx", -49.7), ("bz", 14.9)):
        assert 100 * (pf.micro_macro_limit(CONDITION, sizes)[label == "bz"] / 0.3 - 1) == pytest.approx(
            percent, abs=0.05
        )
        check.mean("B7", f"two_step {label}, C&vV", found["two_step", label].estimate, 0.3 * (1 + percent / 100))
    theory = ex.expand(adjusted_slopes, sizes, *moments_of(CONDITION))
    np.testing.assert_allclose(theory.value, 0.3, atol=1e-9)  # the limit
    np.testing.assert_allclose(100 * (theory.mean / 0.3 - 1), [5.2, -1.5], atol=0.1)
    doubled = ex.expand(adjusted_slopes, sizes * 2, *moments_of(CONDITION))
    np.testing.assert_allclose((theory.mean - 0.3) / (doubled.mean - 0.3), 2.0, atol=0.05)
    for k, label in enumerate(("bx", "bz")):
        estimate = found["croon", label].estimate
        check.mean("B7", f"croon {label}, C&vV", estimate, theory.mean[k])
        assert abs(estimate.mean() / 0.3 - 1) < 0.1  # Muthén & Muthén's limit of a negligible bias


LAYOUTS = {"J=1000 n=10": [10] * 1000, "J=1000 n=3/5/8/10/24": [3, 5, 8, 10, 24] * 200}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("first_step", ["anova", "ml"])
def test_standard_errors_of_a_level_2_outcome(layout: str, first_step: str, check: mc.Checks) -> None:
    """Corrected SEs are standard deviations; robust ones those of slopes on means adjusted with known weights."""
    sizes, replicates = LAYOUTS[layout], 2000
    source = mc.micro_macro(CONDITION, sizes)
    found = simulate(source, {"croon": Croon(se=KINDS, first_step=first_step)}, replicates)
    theory = ex.expand(adjusted_slopes, sizes, *moments_of(CONDITION))
    known = ex.expand(slopes_with_known_weights(), sizes, *moments_of(CONDITION))
    for k, label in enumerate(("bx", "bz")):
        draws, name = found["croon", label], f"{label}, {first_step}, {layout}"
        whole, part = (float(np.sqrt(found.covariance[k, k])) for found in (theory, known))
        check.se_ratio("B7", f"corrected {name}", draws.estimate, draws.se["corrected"])
        check.share("B7", f"coverage {name}", draws.coverage("corrected", 0.3), 0.95)
        if first_step == "anova":  # unbalanced, maximum likelihood weighs clusters in another way
            check.mean("B7", f"croon {name}", draws.estimate, theory.mean[k])
            # sandwich SEs are low by some parts in J, and vary with the data
            assert np.median(draws.se["corrected"]) == pytest.approx(whole, rel=0.02)
        assert np.median(draws.se["robust"]) == pytest.approx(part, rel=0.02)
        check.se_ratio("B7", f"robust {name}", draws.estimate, draws.se["robust"], part / whole)
        # whoever takes the weights as known
        share = 2 * stats.norm.cdf(1.959964 * part / whole) - 1
        check.share("B7", f"coverage, robust {name}", draws.coverage("robust", 0.3), share)
        assert (whole - part) / whole > (0.05 if label == "bx" else 0.01)
    residual = found["croon", "between: y ~~ y"]
    check.se_ratio("B7", f"corrected residual, {first_step}, {layout}", residual.estimate, residual.se["corrected"])


def test_coverage_with_a_hundred_clusters() -> None:
    """C&vV's condition: corrected 95 % intervals keep their level within a point; robust ones lose 3 to 4 points."""
    found = simulate(mc.micro_macro(CONDITION, [10] * 100), {"croon": Croon(se=KINDS)}, 4000)["croon", "bx"]
    mcse = np.sqrt(0.05 * 0.95 / 4000)
    assert found.coverage("corrected", 0.3).mean() == pytest.approx(0.95, abs=0.01 + mc.LIMIT * mcse)
    assert found.coverage("robust", 0.3).mean() < 0.93 + mc.LIMIT * mcse


@pytest.mark.parametrize("n", [5, 15])
def test_a_level_1_outcome_overshoots(n: int, check: mc.Checks) -> None:
    """beta_B + beta_W (1 - lambda) / lambda: 1.06 and .82; corrected SEs are right about it."""
    c, sizes = cf.Contextual(), [n] * 1000

    def slope(t: ex.Statistics) -> np.ndarray:
        return ex.regress(ex.cluster_means(adjusted(t, 0, [])), 1, [0])

    theory = ex.expand(slope, sizes, c.sigma_within, c.sigma_between)
    np.testing.assert_allclose(theory.value, pf.eb_predictor_slope(c, n), atol=1e-9)
    found = simulate(mc.contextual(c, sizes), {"croon": Croon(se=KINDS), "msem": Msem()}, 2000)
    draws = found["croon", "bb"]
    check.mean("B7", f"croon, level-1 outcome, n={n}", draws.estimate, theory.mean[0])
    check.se_ratio("B7", f"corrected, level-1 outcome, n={n}", draws.estimate, draws.se["corrected"])
    assert np.abs(found["msem", "bb"].estimate.mean() - c.beta_b) < 0.03 < draws.estimate.mean() - c.beta_b
    check.se_ratio("B7", f"within slope, n={n}", found["croon", "bw"].estimate, found["croon", "bw"].se["corrected"])


def test_indirect_effect_with_a_level_2_outcome(check: mc.Checks) -> None:
    """2-1-2: both equations' influences make the SE of a product; they are not independent."""
    syntax = "level: within\n m ~~ m\nlevel: between\n m ~ a*x\n y ~ b*m + c*x\n ind := a*b"
    values = {
        "a": 0.5, "b": 0.4, "c": 0.1, "within: m ~~ m": 0.8, "between: m ~~ m": 0.2, "between: y ~~ y": 0.4,
        "between: x ~~ x": 1.0,
    }  # fmt: skip
    source = mc.population(syntax, [4, 8, 12] * 300, values)
    draws = simulate(source, {"croon": Croon(se=KINDS)}, 2000)["croon", "ind"]
    assert draws.estimate.mean() == pytest.approx(0.2, abs=0.005)  # second order: some parts in J
    check.se_ratio("B7", "corrected, 2-1-2 indirect", draws.estimate, draws.se["corrected"])
    check.share("B7", "coverage, 2-1-2 indirect", draws.coverage("corrected", 0.2), 0.95)
