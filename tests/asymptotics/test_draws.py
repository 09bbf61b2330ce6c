"""Intervals of nonlinear `:=` parameters with normal estimates, against integrals and plain Monte Carlo."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from simstudy.asymptotics import Asymptotics
from simstudy.asymptotics.draws import montecarlo_by_draws, wald_by_draws
from simstudy.model.twolevel import TwoLevelModel

MODEL = TwoLevelModel.from_syntax(
    "level: within\n m ~~ m\nlevel: between\n m ~ a*x\n y ~ b*m\nab := a*b\ntwice := 2*ab"
)
LINEAR = TwoLevelModel.from_syntax("level: within\n m ~~ m\nlevel: between\n m ~ a*x\n y ~ b*m\ndiff := a - b")
ERROR = 0.004  # four times the error the module states


def known(model: TwoLevelModel, a: float, b: float, se: float) -> Asymptotics:
    """a and b with one standard error (J = 1), everything else at 1 with variance 1."""
    k, q = len(model.reported), len(model.names)
    limit = np.ones(k)
    limit[[model.names.index("a"), model.names.index("b")]] = a, b
    limit[q:] = model.estimands.evaluate(limit[:q])
    free = np.eye(q)
    for name in ("a", "b"):
        free[model.names.index(name), model.names.index(name)] = se**2
    jacobian = np.vstack([np.eye(q), model.estimands.jacobian(limit[:q])])
    cov = jacobian @ free @ jacobian.T
    levels = model.reported_levels
    return Asymptotics(model.reported, levels, limit, limit, cov, 0 * limit, {"expected": cov}, {}, 1)


def product_cdf(t: float, a: float, b: float, se: float) -> float:
    """P(AB <= t) of independent normals."""
    x = np.linspace(a - 9 * se, a + 9 * se, 500)  # an even number: never at 0
    with np.errstate(divide="ignore"):
        below = np.where(x > 0, stats.norm.cdf((t / x - b) / se), stats.norm.sf((t / x - b) / se))
    return float(np.trapezoid(below * stats.norm.pdf(x, a, se), x))


@pytest.mark.parametrize(("a", "b"), [(0.4, 0.5), (0.0, 0.5)])
def test_montecarlo_interval_of_a_product(a, b) -> None:
    """Rejection where P(AB < 0) at the estimate is in a tail; coverage likewise, by a grid over both estimates."""
    se = 0.15
    found = montecarlo_by_draws(known(MODEL, a, b, se), MODEL.estimands, "expected", 0.95, 1)
    covers, rejects = [], []
    for x in a + se * stats.norm.ppf((np.arange(101) + 0.5) / 101):
        for y in b + se * stats.norm.ppf((np.arange(9) + 0.5) / 9):
            below = product_cdf(a * b, x, y, se)
            covers.append(0.025 <= below <= 0.975)
            at_zero = product_cdf(0.0, x, y, se)
            rejects.append(at_zero < 0.025 or at_zero > 0.975)
    # the grid's own error is of the order of one of its cells, 1/101 along the edge of the region
    assert found["ab"]["coverage"] == pytest.approx(np.mean(covers), abs=0.015)
    assert found["ab"]["rejection"] == pytest.approx(np.mean(rejects), abs=0.015)
    assert found["twice"]["coverage"] == found["ab"]["coverage"]
    assert found["twice"]["ci_width"] == pytest.approx(2 * found["ab"]["ci_width"])


@pytest.mark.parametrize(("a", "b"), [(0.4, 0.5), (0.0, 0.0), (0.2, 0.2)])
def test_wald_interval_of_a_product(a, b) -> None:
    se, random = 0.15, np.random.default_rng(3)
    found = wald_by_draws(known(MODEL, a, b, se), MODEL.estimands, "expected", 0.95, 1)["ab"]
    x, y = a + se * random.normal(size=400_000), b + se * random.normal(size=400_000)
    half = stats.norm.ppf(0.975) * se * np.hypot(x, y)
    # Var(AB) = a^2 s^2 + b^2 s^2 + s^4 (theory C12): not 0 where both are
    assert found["empirical_se"] == pytest.approx(se * np.sqrt(a**2 + b**2 + se**2), rel=0.01)
    assert found["coverage"] == pytest.approx(np.mean(np.abs(x * y - a * b) <= half), abs=ERROR)
    assert found["rejection"] == pytest.approx(np.mean(np.abs(x * y) > half), abs=ERROR)


def test_more_clusters_are_less_error() -> None:
    one, four = known(MODEL, 0.4, 0.5, 0.15), known(MODEL, 0.4, 0.5, 0.3)
    assert wald_by_draws(one, MODEL.estimands, "expected", 0.95, 1) == wald_by_draws(
        four, MODEL.estimands, "expected", 0.95, 4
    )


def test_linear_functions_beside_others_are_left_out() -> None:
    assert set(wald_by_draws(known(MODEL, 0.4, 0.5, 0.15), MODEL.estimands, "expected", 0.95, 1)) == {"ab", "twice"}


def test_nothing_to_integrate_for_linear_functions_or_unknown_errors() -> None:
    assert wald_by_draws(known(LINEAR, 0.4, 0.5, 0.15), LINEAR.estimands, "expected", 0.95, 1) == {}
    blank = known(MODEL, 0.4, 0.5, 0.15)
    blank.covariance[:] = np.nan
    assert wald_by_draws(blank, MODEL.estimands, "expected", 0.95, 1) == {}
    assert montecarlo_by_draws(blank, MODEL.estimands, "expected", 0.95, 1) == {}
