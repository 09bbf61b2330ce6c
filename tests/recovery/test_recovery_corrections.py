"""Limits of `croon`, `mlm_rescaled`, `mlm_contextual` and `disaggregated_robust` on population moments (B3, B7)."""

from __future__ import annotations

import numpy as np
import pytest
from recovery_forms import CONTEXTUAL, Contextual, fit, population, value

from simstudy.data.layout import ClusterLayout
from simstudy.model.twolevel import TwoLevelModel

BASE = Contextual()
POPULATIONS = [BASE, Contextual(tau2=0.3, sigma2=0.7), Contextual(beta_b=-0.3, beta_w=0.5)]
LAYOUTS = {"balanced": ClusterLayout.of([10] * 100), "unbalanced": ClusterLayout.of([2, 5, 20] * 15)}
TRUTH = 1e-8  # least squares on matrices that are inverted; unbalanced, scoring to 1e-6 SE and one more step
NEWTON = 1e-8  # Newton's method on the variance ratio stops within 1e-10 SE
PRINTED = 0.52e-6  # six decimals are printed

OUTCOME = TwoLevelModel.from_syntax("level: within\n x ~~ x\nlevel: between\n y ~ b1*x + b2*z")
SEVERAL = TwoLevelModel.from_syntax(
    "level: within\n x ~~ x\n v ~~ v\n x ~~ v\nlevel: between\n y ~ b1*x + b2*v + b3*z + b4*w"
)
CHAIN = TwoLevelModel.from_syntax("level: within\n m ~~ m\nlevel: between\n m ~ a*x\n y ~ b*m + c*x\n ind := a*b")


def croon_condition() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Croon & van Veldhoven: n = 10 and ICC .1, so that lambda = 1 / 1.9; slopes .3, correlation .3."""
    assert OUTCOME.variables == ("x", "y", "z")
    cross = np.array([[1.0, 0.3], [0.3, 1.0]]) @ [0.3, 0.3]
    between = np.array(
        [[1.0, cross[0], 0.3], [cross[0], 0.3 * cross.sum() + 0.5, cross[1]], [0.3, cross[1], 1.0]],
    )
    return np.array([0.5, 1.0, -1.0]), np.array([[9.0]]), between


def test_croon_and_van_veldhovens_condition() -> None:
    """Unadjusted -49.7 % and +14.9 %; adjusted 0."""
    layout, moments = LAYOUTS["balanced"], croon_condition()
    plain = fit("two_step", OUTCOME, layout, moments)
    assert 100 * (value(plain, "b1") / 0.3 - 1) == pytest.approx(-49.7, abs=0.05)
    assert 100 * (value(plain, "b2") / 0.3 - 1) == pytest.approx(14.9, abs=0.05)
    found = fit("croon", OUTCOME, layout, moments, se=["expected"], first_step="ml")
    for name, truth in {"b1": 0.3, "b2": 0.3, "between: y ~~ y": 0.5, "between: y ~ 1": 1.0 - 0.15 + 0.3}.items():
        assert value(found, name) == pytest.approx(truth, abs=TRUTH)
    assert found.admissible.all()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("model", [OUTCOME, SEVERAL, CHAIN], ids=["one predictor", "two and two", "2-1-2"])
def test_croon_returns_the_truth_for_level_2_outcomes(model, layout) -> None:
    """Also of a mediator at level 1 with causes at level 2 alone: its own error is no predictor's."""
    rng = np.random.default_rng(7)
    p1, p = len(model.level1), len(model.variables)
    within, between = (_covariance(rng, k) for k in (p1, p))
    moments = rng.normal(size=p), within, between
    found = fit("croon", model, layout, moments, se=["expected"], first_step="ml")
    truth = fit("msem", model, layout, moments)  # just identified at the between level, and consistent
    rows = [row for row in model.table.at("between") if row.op == "~" and row.free >= 0]
    names = {model.names[row.free] for row in rows} | {f"between: y {part}" for part in ("~~ y", "~ 1")}
    for name in sorted(names | set(found.labels[len(model.names) :])):
        assert value(found, name) == pytest.approx(value(truth, name), abs=TRUTH), name


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("between", ["y ~ 0.5*x + b*v + c*z", "y ~ b*x + b*v + c*z", "y ~ b*x + 0.5*v + c*z\n y ~ 2*1"])
def test_croon_with_fixed_and_equal_coefficients(between, layout) -> None:
    """Fixed paths are subtracted with the adjusted means, tied predictors are added up."""
    syntax = f"level: within\n x ~~ x\n v ~~ v\n x ~~ v\nlevel: between\n {between}"
    model = TwoLevelModel.from_syntax(syntax)
    rng = np.random.default_rng(3)
    values = dict(zip(model.names, rng.uniform(0.4, 0.6, size=len(model.names)), strict=True))
    values |= {name: 1.0 + value for name, value in values.items() if name.endswith(("x ~~ x", "v ~~ v", "z ~~ z"))}
    found = fit("croon", model, layout, population(model, values), se=["expected"], first_step="ml")
    spoken = [name for name in model.names if not np.isnan(found.estimate[0, found.labels.index(name)])]
    assert {"b", "c", "between: y ~~ y"} <= set(spoken)
    for name in spoken:
        assert value(found, name) == pytest.approx(values[name], abs=TRUTH), name


def _covariance(rng: np.random.Generator, k: int) -> np.ndarray:
    root = np.eye(k) + 0.5 * rng.normal(size=(k, k))
    return root @ root.T


def test_mean_squares_come_to_the_same_as_clusters_become_many() -> None:
    """Divisors J - 1 and J - k on moments with divisor J: an error of order 1 / J, which a tenfold J divides by ten."""
    moments = croon_condition()
    errors = []
    for copies in (30, 300):
        layout = ClusterLayout.of([2, 5, 20] * copies)
        found = fit("croon", OUTCOME, layout, moments, se=["expected"])
        errors.append(np.array([value(found, name) for name in ("b1", "b2", "between: y ~~ y")]) - [0.3, 0.3, 0.5])
    assert np.abs(errors[0]).max() < 0.03  # J = 90: a few times 1 / J of the values
    np.testing.assert_allclose(errors[1], errors[0] / 10, rtol=0.05)  # the next order is 1 / J smaller


@pytest.mark.parametrize(("n", "printed"), [(5, 1.06), (15, 0.82)])
def test_croon_overshoots_for_a_level_1_outcome(n, printed) -> None:
    """B7, F4: beta_B + beta_W (1 - lambda) / lambda; the within slope is right."""
    found = fit("croon", CONTEXTUAL, ClusterLayout.of([n] * 50), BASE.moments(), se=["expected"], first_step="ml")
    lam = BASE.reliability(n)
    assert value(found, "bb") == pytest.approx(BASE.beta_b + BASE.beta_w * (1 - lam) / lam, abs=TRUTH)
    assert value(found, "bb") == pytest.approx(printed, abs=PRINTED)
    assert value(found, "bw") == pytest.approx(BASE.beta_w, abs=TRUTH)


def test_croon_is_right_for_a_level_1_outcome_without_a_within_slope() -> None:
    c = Contextual(beta_w=0.0)
    for layout in LAYOUTS.values():
        found = fit("croon", CONTEXTUAL, layout, c.moments(), se=["expected"], first_step="ml")
        assert value(found, "bb") == pytest.approx(c.beta_b, abs=TRUTH)


# ------------------------------------------------------------------------------------------------------- centring


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("c", POPULATIONS)
def test_rescaled_is_right_within_and_silent_between(c, layout) -> None:
    found = fit("mlm_rescaled", CONTEXTUAL, layout, c.moments(), likelihood="ml")
    assert value(found, "bw") == pytest.approx(c.beta_w, abs=TRUTH)
    for name in ("bb", "contextual"):
        assert np.isnan(found.estimate[0, found.labels.index(name)])
    if layout.balanced:
        # cluster means of y keep everything: tau^2 + sigma_e^2 / n is their variance
        n = layout.sizes[0]
        tau2 = c.beta_b**2 * c.tau2 + c.tau_u2 + c.beta_w**2 * c.sigma2 / n
        assert value(found, "between: y ~~ y") == pytest.approx(tau2, abs=NEWTON)
        assert value(found, "within: y ~~ y") == pytest.approx(c.sigma_e2, abs=NEWTON)
        assert value(found, "between: y ~ 1") == pytest.approx(1.5, abs=NEWTON)  # E y: deviations have mean 0


def test_rescaled_leaves_slopes_of_level_2_predictors_unadjusted() -> None:
    """Cov_B(y, z) / Var(z): the effect of z, and that of x's means as far as they go with z."""
    model = TwoLevelModel.from_syntax("level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x + g*z\n x ~~ z")
    values = {
        "bw": 0.2, "bb": 0.7, "g": 0.4, "within: y ~~ y": 0.8, "within: x ~~ x": 0.9, "between: y ~~ y": 0.15,
        "between: x ~~ x": 0.3, "between: z ~~ z": 0.5, "between: x ~~ z": 0.2,
        "between: y ~ 1": 1.0, "between: x ~ 1": 2.0, "between: z ~ 1": -1.0,
    }  # fmt: skip
    moments = population(model, values)
    found = fit("mlm_rescaled", model, LAYOUTS["balanced"], moments, likelihood="ml")
    assert value(found, "g") == pytest.approx(0.4 + 0.7 * 0.2 / 0.5, abs=TRUTH)
    assert value(found, "bw") == pytest.approx(0.2, abs=TRUTH)
    full = fit("msem", model, LAYOUTS["balanced"], moments)
    assert value(full, "g") == pytest.approx(0.4, abs=TRUTH)


@pytest.mark.parametrize("n", [2, 5, 15])
@pytest.mark.parametrize("c", POPULATIONS)
def test_contextual_coefficient_is_attenuated(c, n) -> None:
    """B3: between minus within slope times the reliability of the cluster means."""
    found = fit("mlm_contextual", CONTEXTUAL, ClusterLayout.of([n] * 50), c.moments(), likelihood="ml")
    lam = c.reliability(n)
    assert value(found, "contextual") == pytest.approx(lam * (c.beta_b - c.beta_w), abs=TRUTH)
    assert value(found, "bw") == pytest.approx(c.beta_w, abs=TRUTH)
    assert value(found, "bb") == pytest.approx(lam * c.beta_b + (1 - lam) * c.beta_w, abs=TRUTH)
