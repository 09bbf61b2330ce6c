"""Mixed models, and slopes as outcomes, where slopes vary (theory D2.2, D2.3, D2.6, D3.1), within 4 MCSE."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats

from simstudy.data.layout import ClusterLayout
from simstudy.estimation.result import FitResult
from simstudy.methods import ask, registry
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.calibrate import calibrate
from simstudy.population.draw import draw_cluster_statistics
from simstudy.population.population import Population

CONTEXTUAL = TwoLevelModel.from_syntax(
    "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ bb*x\n s ~ bw*1\n y ~~ t01*s\n s ~~ t11*s\n"
)
OUTCOMES = TwoLevelModel.from_syntax(
    "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ w\n s ~ g*w\n z ~ b*s + w\n s ~~ t11*s\n y ~~ t01*s\n y ~~ z\n"
)
# Theory D2: beta, gamma, tau^2, sigma^2, (T00, T01, T11), sigma_e^2, n
CASES = {
    "A": (0.8, 0.4, 0.3, 0.7, (0.3, 0.1, 0.15), 1.0, 5),
    "B": (0.7, 0.2, 0.1, 0.9, (0.15, 0.0, 0.1), 0.8, 10),
    "C": (-0.3, 0.5, 0.3, 0.7, (0.15, -0.05, 0.4), 0.8, 5),
}
pytestmark = pytest.mark.slow


@cache
def population(case: str, n_clusters: int) -> Population:
    beta, gamma, tau2, sigma2, (t00, t01, t11), error, n = CASES[case]
    values = {
        "bb": beta, "bw": gamma, "t01": t01, "t11": t11, "between: y ~~ y": t00, "within: y ~~ y": error,
        "within: x ~~ x": sigma2, "between: x ~~ x": tau2,
    }  # fmt: skip
    layout = ClusterLayout.of([n] * n_clusters)
    return Population(CONTEXTUAL, calibrate(CONTEXTUAL, values), layout, f"theory slope methods {case}")


def fit(one: Population, name: str, replicates: int, **options: object) -> FitResult:
    method = ask.for_model(registry.create(name, options), one.model)
    assert method.supports(one.model, one.layout) is None
    return method.prepare(one.model, one.layout).fit(draw_cluster_statistics(one, 1, range(replicates)))


def compare(found: FitResult, label: str, exact: float, slack: float = 0.0) -> None:
    """The mean of the estimates, within 4 Monte Carlo SEs and a bias of order 1/J."""
    values = found.estimate[:, found.labels.index(label)]
    mcse = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean() - exact) < 4 * mcse + slack, (label, values.mean(), exact, mcse)


@pytest.mark.parametrize("case", list(CASES))
def test_centred_mixed_models_with_random_slopes(case) -> None:
    """D2.2: T01, T11, sigma_e^2 and the within slope are right; the between slope is that of cluster means."""
    beta, gamma, tau2, sigma2, (t00, t01, t11), error, n = CASES[case]
    found = fit(population(case, 2000), "mlm_centered", 40)
    assert found.converged.all()
    noise = sigma2 / n
    reliability = tau2 / (tau2 + noise)
    compare(found, "bw", gamma)
    compare(found, "bb", reliability * beta + (1 - reliability) * gamma)
    compare(found, "t11", t11, slack=2e-4)
    compare(found, "t01", t01, slack=2e-4)
    compare(found, "within: y ~~ y", error, slack=2e-4)
    compare(found, "between: y ~~ y", t00 + (beta - gamma) ** 2 * tau2 * (1 - reliability) + t11 * noise, slack=5e-4)


@pytest.mark.parametrize(
    ("case", "slope", "t11"), [("A", 0.465847, 0.109364), ("B", 0.218766, 0.0931), ("C", 0.378296, 0.2969)]
)
def test_conflated_mixed_models_with_random_slopes(case, slope, t11) -> None:
    """D2.3: hardly another slope than with fixed slopes, and a slope variance that is too small."""
    found = fit(population(case, 4000), "mlm", 40, likelihood="ml")
    assert found.converged.all()
    compare(found, "bw", slope, slack=1e-4)
    compare(found, "bb", slope, slack=1e-4)
    compare(found, "t11", t11, slack=3e-4)  # four digits, and order 1/J


def test_standard_errors_of_mixed_models_with_fixed_slopes() -> None:
    """D2.6: exact variance of the within slope, and the mean of the squared SE that ignores the slope variance."""
    _, gamma, _, sigma2, (_, _, t11), error, n = CASES["A"]
    j, replicates = 50, 3000
    found = fit(population("A", j), "mlm_centered", replicates, slopes="fixed")
    at = found.labels.index("bw")
    free = j * (n - 1)
    exact = error / (sigma2 * (free - 2)) + t11 * (n + 1) / (free + 2)
    naive = error / (sigma2 * (free - 2)) + t11 * (1 - (n + 1) / (free + 2)) / (free - 1)
    variance = found.estimate[:, at].var(ddof=1)
    assert abs(variance / exact - 1.0) < 4 * np.sqrt(2 / replicates)
    squares = found.se["expected"][:, at] ** 2
    assert abs(squares.mean() - naive) < 4 * squares.std() / np.sqrt(replicates)
    right = fit(population("A", j), "mlm_centered", 1000)
    ratio = np.sqrt((right.se["expected"][:, at] ** 2).mean()) / right.estimate[:, at].std(ddof=1)
    assert abs(ratio - 1.0) < 4 * np.sqrt(0.5 / 1000) + 0.01  # order 1/J
    off = np.abs(right.estimate[:, at] - gamma) < stats.t.ppf(0.975, j - 1) * right.se["expected"][:, at]
    assert abs(off.mean() - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 1000)


@cache
def outcomes(correction: str) -> FitResult:
    """J = 150, n = 8, sigma^2 = sigma_x^2 = 1, T = (.3, .05, .15), slope on w .3, z on slope .6."""
    values = {
        "g": 0.3, "b": 0.6, "t11": 0.15, "t01": 0.05, "between: y ~~ y": 0.3, "within: y ~~ y": 1.0,
        "within: x ~~ x": 1.0, "between: z ~~ z": 0.25, "between: w ~~ w": 1.0, "between: s ~ 1": 0.4,
        "between: y ~ w": 0.0, "between: z ~ w": 0.0,
    }  # fmt: skip
    layout = ClusterLayout.of([8] * 150)
    one = Population(OUTCOMES, calibrate(OUTCOMES, values), layout, "theory slopes as outcomes")
    return fit(one, "slopes_as_outcomes", 1200, correction=correction)


@pytest.mark.parametrize("correction", ["none", "sampling", "weighted"])
def test_a_slope_as_an_outcome_is_right_in_any_case(correction) -> None:
    """D3.1: unbiased slope on w, SE over SD near 1."""
    found = outcomes(correction)
    compare(found, "g", 0.3)
    at = found.labels.index("g")
    ratio = np.sqrt((found.se["robust"][:, at] ** 2).mean()) / found.estimate[:, at].std(ddof=1)
    assert abs(ratio - 1.0) < 4 * np.sqrt(0.5 / 1200) + 0.01  # order 1/J


def test_variances_and_slopes_as_predictors_need_the_correction() -> None:
    """D3.1: raw variance T11 + sigma^2 / (sigma_x^2 (n - 3)), attenuated prediction; both right when corrected."""
    raw, corrected = outcomes("none"), outcomes("sampling")
    total, share = 0.15 + 1 / 5, 1 - 1 / 149  # the residual variance given w: one degree of freedom more than J - 1
    compare(raw, "t11", total * share)
    compare(raw, "b", 0.6 * 0.15 / total, slack=0.002)  # order 1/J
    compare(corrected, "t11", 0.15 * share, slack=0.002)
    compare(corrected, "t01", 0.05 * share, slack=0.002)
    at = corrected.labels.index("b")
    b = corrected.estimate[:, at]
    assert abs(np.median(b) - 0.6) < 4 * 1.2533 * b.std() / np.sqrt(len(b)) + 0.005  # median's MCSE; order 1/J
    cover = (np.abs(b - 0.6) < 1.96 * corrected.se["robust"][:, at]).mean()
    assert abs(cover - 0.95) < 4 * np.sqrt(0.95 * 0.05 / len(b)) + 0.01  # a ratio: order 1/J


def test_standard_errors_of_corrected_variances() -> None:
    """D3.1: SE over SD .971 for T11 by influence functions; the second step's own take the noise for known."""
    for correction in ("sampling", "weighted"):
        found = outcomes(correction)
        at = found.labels.index("t11")
        ratio = np.sqrt((found.se["robust"][:, at] ** 2).mean()) / found.estimate[:, at].std(ddof=1)
        assert abs(ratio - 0.985) < 4 * np.sqrt(1.0 / 1200), correction  # .971 there; squares have heavier tails
