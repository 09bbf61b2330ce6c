"""Numbers printed in docs/theory/ignored-slopes.md, from their definitions. Fast; nothing of simstudy is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from closed_forms import Contextual, conflated_cubic, disaggregated_limit, manifest_slope
from scipy import optimize, special, stats


@dataclass(frozen=True)
class Slopes:
    """A case of D2: slopes of the latent within part vary over clusters."""

    beta: float
    gamma: float
    tau2: float
    sigma2: float
    t00: float
    t01: float
    t11: float
    error: float
    n: int

    @property
    def reliability(self) -> float:
        return self.tau2 / (self.tau2 + self.sigma2 / self.n)

    @property
    def fixed(self) -> Contextual:
        """D2.1: the population with fixed slopes that has the same second moments."""
        error = self.error + self.t11 * self.sigma2
        return Contextual(self.beta, self.gamma, self.tau2, self.sigma2, self.t00, error)


CASES = {
    "A": Slopes(0.8, 0.4, 0.3, 0.7, 0.3, 0.1, 0.15, 1.0, 5),
    "B": Slopes(0.7, 0.2, 0.1, 0.9, 0.15, 0.0, 0.1, 0.8, 10),
    "C": Slopes(-0.3, 0.5, 0.3, 0.7, 0.15, -0.05, 0.4, 0.8, 5),
}
PRINTED = 0.52e-6  # six decimals are printed


def conflated(c: Slopes) -> np.ndarray:
    """D2.3: slope, T00, T01, T11 and residual variance of y = a_j + s_j x + e that minimise the expected criterion."""
    rest = c.tau2 * (1 - c.reliability)
    x, wx = special.roots_hermitenorm(40)
    half, ws = special.roots_genlaguerre(40, (c.n - 1) / 2 - 1)
    x = (x * np.sqrt(c.tau2 + c.sigma2 / c.n))[:, None]
    ss = 2 * c.sigma2 * half
    weight = np.outer(wx / wx.sum(), ws / ws.sum())
    h = (1 - c.reliability) * x
    v00 = (c.beta - c.gamma) ** 2 * rest + c.t00 + 2 * c.t01 * h + c.t11 * (h**2 + rest) + c.error / c.n
    v01, v11 = c.t01 + c.t11 * h, c.t11 + c.error / ss
    mean = (c.beta * c.reliability + c.gamma * (1 - c.reliability)) * x

    def criterion(p: np.ndarray) -> float:
        b, t00, t01, t11, s = natural(p)
        m00, m01, m11 = t00 + 2 * t01 * x + t11 * x**2 + s / c.n, t01 + t11 * x, t11 + s / ss
        det = m00 * m11 - m01**2
        r0, r1 = mean - b * x, c.gamma - b
        square = m11 * (v00 + r0**2) - 2 * m01 * (v01 + r0 * r1) + m00 * (v11 + r1**2)
        return float((weight * (np.log(det) + square / det)).sum() + (c.n - 2) * (np.log(s) + c.error / s))

    def natural(p: np.ndarray) -> np.ndarray:
        return np.array([p[0], p[1] ** 2, p[1] * p[2], p[2] ** 2 + p[3] ** 2, np.exp(p[4])])

    start = np.array([c.gamma, c.t00**0.5, 0.1, c.t11**0.5, np.log(c.error)])
    found = optimize.minimize(criterion, start, method="BFGS", options={"gtol": 1e-9})
    return natural(found.x)


@pytest.mark.parametrize(
    ("case", "slope", "t11", "digits"),
    [("A", 0.465847, 0.109364, 6), ("B", 0.218766, 0.0931, 4), ("C", 0.378296, 0.2969, 4)],
)
def test_d2_3_conflated_random_slopes(case, slope, t11, digits) -> None:
    found = conflated(CASES[case])
    assert found[0] == pytest.approx(slope, abs=2 * PRINTED)  # a numerical minimum
    assert found[3] == pytest.approx(t11, abs=0.52 * 10.0**-digits + PRINTED)


def test_d2_1_second_moments() -> None:
    a, c = CASES["A"], CASES["C"]
    assert disaggregated_limit(a.fixed) == pytest.approx(0.52, abs=PRINTED)
    assert manifest_slope(a.fixed, a.n) == pytest.approx(0.672727, abs=PRINTED)
    assert conflated_cubic(a.fixed, a.n).slope == pytest.approx(0.465105, abs=PRINTED)
    assert conflated_cubic(c.fixed, c.n).slope == pytest.approx(0.360384, abs=PRINTED)


def test_d1_5_d2_5_products_of_slopes_by_quadrature() -> None:
    """Mean and variance of a_j b_j, and the pooled within slope of y on m given x, as moments of normals."""
    a, b, cov, var_a, var_b = 0.4, 0.5, 0.06, 0.12, 0.15
    node, w = special.roots_hermitenorm(8)  # exact for polynomials of degree 15
    weight = np.outer(w, w) / w.sum() ** 2
    one = a + np.sqrt(var_a) * node[:, None]
    two = b + cov / np.sqrt(var_a) * node[:, None] + np.sqrt(var_b - cov**2 / var_a) * node
    product = one * two
    mean = (weight * product).sum()
    assert mean == pytest.approx(0.26, abs=1e-12)
    assert (weight * product**2).sum() - mean**2 == pytest.approx(0.0996, abs=1e-12)
    # m = a_j x + e_m, y = b_j m + ...: moments of (x, m, y) with Var x = 1, Var e_m = .7
    mm, xm = (weight * one**2).sum() + 0.7, (weight * one).sum()
    my, xy = (weight * (one**2 * two + 0.7 * two)).sum(), mean
    slope = (my - xm * xy) / (mm - xm**2)
    assert slope == pytest.approx(0.529268, abs=PRINTED)
    assert a * slope == pytest.approx(0.2117, abs=0.52e-4)


def test_d2_6_standard_errors() -> None:
    c, j = CASES["A"], 10
    df = j * (c.n - 1)
    plain = c.error / (c.sigma2 * (df - 2))
    share = (c.n + 1) / (df + 2)
    assert plain + c.t11 * share == pytest.approx(0.059023, abs=PRINTED)
    assert plain + c.t11 * (1 - share) / (df - 1) == pytest.approx(0.040891, abs=PRINTED)
    for case, covers in (("A", 0.893), ("B", 0.833), ("C", 0.804)):
        k = CASES[case]
        deff = 1 + k.n * k.t11 * k.sigma2 / (k.error + k.t11 * k.sigma2)
        assert 2 * stats.norm.cdf(1.96 / np.sqrt(deff)) - 1 == pytest.approx(covers, abs=0.52e-3)


def test_d2_6_variance_of_the_aggregated_slope_by_simulation() -> None:
    """J = 10: the exact variance, .175890, and the mean of the squared SE, .173405; neither depends on T01."""
    c, j, replicates = CASES["A"], 10, 200_000
    rng = np.random.default_rng(5)
    between = np.sqrt(c.tau2) * rng.normal(size=(replicates, j))
    noise = np.sqrt(c.sigma2 / c.n) * rng.normal(size=(replicates, j))
    u0 = np.sqrt(c.t00) * rng.normal(size=(replicates, j))
    u1 = c.t01 / c.t00 * u0 + np.sqrt(c.t11 - c.t01**2 / c.t00) * rng.normal(size=(replicates, j))
    error = np.sqrt(c.error / c.n) * rng.normal(size=(replicates, j))
    x, y = between + noise, c.beta * between + u0 + (c.gamma + u1) * noise + error
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    ss = (x**2).sum(axis=1)
    slope = (x * y).sum(axis=1) / ss
    squares = ((y - slope[:, None] * x) ** 2).sum(axis=1) / ((j - 2) * ss)
    # four MCSEs; the slope has heavier tails than a normal one, t with some 9 degrees of freedom: kurtosis 1.2
    assert slope.var() == pytest.approx(0.175890, rel=4 * np.sqrt(3.2 / replicates))
    assert squares.mean() == pytest.approx(0.173405, abs=4 * squares.std() / np.sqrt(replicates))
