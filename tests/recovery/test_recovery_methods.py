"""What the other methods make of a population: the closed forms of docs/theory, and the numbers printed there."""

from __future__ import annotations

import numpy as np
import pytest
from recovery_forms import (
    CONTEXTUAL,
    Contextual,
    conflated_minimum,
    conflated_paths,
    cubic_root,
    fit,
    manifest_minimum,
    path_coefficients,
    path_sigma,
    se,
    value,
)

from simstudy.data.layout import ClusterLayout
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

BASE = Contextual()
ICC3 = Contextual(tau2=0.3, sigma2=0.7)
REVERSED = Contextual(beta_b=-0.3, beta_w=0.5)
POPULATIONS = [BASE, ICC3, REVERSED]
UNBALANCED = ClusterLayout.of([2, 5, 20] * 15)
EXACT = 1e-10  # explicit solutions: rounding of the matrices inverted
SEARCHED = 1e-7  # the oracle is a numerical minimum
PRINTED = 0.52e-6  # six decimals are printed


OPTIONS: dict[str, dict[str, object]] = {"disaggregated": {"se": ["expected"]}}  # moments have no clusters


def balanced(n: int, clusters: int = 50) -> ClusterLayout:
    return ClusterLayout.of([n] * clusters)


@pytest.mark.parametrize("layout", [balanced(5), balanced(15), UNBALANCED], ids=["5", "15", "unbalanced"])
@pytest.mark.parametrize("c", POPULATIONS)
def test_b1_disaggregated_mixes_the_slopes_by_the_icc(c, layout) -> None:
    found = fit("disaggregated", CONTEXTUAL, layout, c.moments(), se=["expected"])
    rho = c.tau2 / (c.tau2 + c.sigma2)
    for name in ("bw", "bb"):  # whatever the sizes, and for both levels
        assert value(found, name) == pytest.approx(rho * c.beta_b + (1 - rho) * c.beta_w, abs=EXACT)
    assert value(found, "contextual") == 0.0
    if c is BASE:
        assert value(found, "bb") == pytest.approx(0.25, abs=PRINTED)
    # B5 (c): the naive SE
    b = value(found, "bb")
    residual = c.q(b) + c.s(b)
    naive = np.sqrt(residual / (layout.n_obs * (c.tau2 + c.sigma2)))
    assert se(found, "bb") == pytest.approx(naive, rel=EXACT)


@pytest.mark.parametrize(("layout", "printed"), [(balanced(5), 0.378571), (balanced(15), None), (UNBALANCED, 0.353846)])
@pytest.mark.parametrize("c", POPULATIONS)
def test_b2_aggregated_slope_has_the_harmonic_mean_size(c, layout, printed) -> None:
    found = fit("aggregated", CONTEXTUAL, layout, c.moments())
    harmonic = layout.n_clusters / sum(1 / n for n in layout.sizes)
    expected = (c.tau2 * c.beta_b + c.sigma2 * c.beta_w / harmonic) / (c.tau2 + c.sigma2 / harmonic)
    assert value(found, "bb") == pytest.approx(expected, abs=EXACT)
    if c is BASE and printed:
        assert value(found, "bb") == pytest.approx(printed, abs=PRINTED)
    at = found.labels.index("bw")
    assert np.isnan(found.estimate[0, at])  # it does not speak about the within level
    assert np.isnan(found.estimate[0, found.labels.index("contextual")])


@pytest.mark.parametrize("n", [2, 5, 15])
@pytest.mark.parametrize("c", POPULATIONS)
def test_b3_cluster_means_keep_their_noise(c, n) -> None:
    found = fit("mlm_centered", CONTEXTUAL, balanced(n), c.moments(), likelihood="ml")
    lam, delta = c.reliability(n), c.beta_b - c.beta_w
    assert value(found, "bw") == pytest.approx(c.beta_w, abs=EXACT)
    assert value(found, "bb") == pytest.approx(lam * c.beta_b + (1 - lam) * c.beta_w, abs=EXACT)
    assert value(found, "contextual") == pytest.approx(lam * delta, abs=EXACT)
    # Newton's method on the variance ratio stops within 1e-10 SE
    residual = c.tau_u2 + delta**2 * c.tau2 * (1 - lam)
    assert value(found, "between: y ~~ y") == pytest.approx(residual, abs=1e-8)
    assert value(found, "within: y ~~ y") == pytest.approx(c.sigma_e2, abs=1e-8)
    v = residual + c.sigma_e2 / n
    # mean squares are independent chi-squares: Var(sigma^2) = 2 sigma^4 / (N - J), Var(n tau^2) = 2 omega^2 / J + that
    within = 2 * c.sigma_e2**2 / (50 * (n - 1))
    assert se(found, "within: y ~~ y") == pytest.approx(np.sqrt(within), rel=1e-8)
    between = 2 * (n * v) ** 2 / 50
    assert se(found, "between: y ~~ y") == pytest.approx(np.sqrt(between + within) / n, rel=1e-8)
    assert se(found, "bb") == pytest.approx(np.sqrt(v / (50 * (c.tau2 + c.sigma2 / n))), rel=1e-8)


@pytest.mark.parametrize("c", POPULATIONS)
def test_b3_unbalanced_weights_are_those_of_the_pseudo_true_components(c) -> None:
    found = fit("mlm_centered", CONTEXTUAL, UNBALANCED, c.moments(), likelihood="ml")
    slope, sigma2, tau2 = manifest_minimum(c, UNBALANCED.sizes)
    assert value(found, "bw") == pytest.approx(c.beta_w, abs=EXACT)
    assert value(found, "bb") == pytest.approx(slope, abs=SEARCHED)
    assert value(found, "between: y ~~ y") == pytest.approx(tau2, abs=SEARCHED)
    assert value(found, "within: y ~~ y") == pytest.approx(sigma2, abs=SEARCHED)
    if c is BASE:
        assert value(found, "bb") == pytest.approx(0.391448, abs=PRINTED)


@pytest.mark.parametrize(
    ("c", "n", "printed"),
    [
        (BASE, 2, 0.241947),
        (BASE, 5, 0.228177),
        (ICC3, 5, 0.288330),
        (REVERSED, 5, 0.458596),
        (BASE, 30, None),
        (Contextual(beta_b=2.0, beta_w=-1.0, tau2=0.4, sigma2=0.6, tau_u2=0.05), 4, None),
    ],
)
def test_b4_conflated_slope_is_the_root_of_the_cubic(c, n, printed) -> None:
    found = fit("mlm", CONTEXTUAL, balanced(n), c.moments(), likelihood="ml")
    slope = cubic_root(c, n)
    assert value(found, "bw") == value(found, "bb")  # one slope for both levels
    assert value(found, "bb") == pytest.approx(slope, abs=1e-8)  # roots of a polynomial, and Newton's tolerance
    assert value(found, "within: y ~~ y") == pytest.approx(c.s(slope), abs=1e-8)
    assert value(found, "between: y ~~ y") == pytest.approx(c.q(slope), abs=1e-8)
    s, omega = c.s(slope), n * c.q(slope) + c.s(slope)
    precision = 50 * ((n - 1) * c.sigma2 / s + (n * c.tau2 + c.sigma2) / omega)
    assert se(found, "bb") == pytest.approx(precision**-0.5, rel=1e-8)
    if printed:
        assert value(found, "bb") == pytest.approx(printed, abs=PRINTED)


@pytest.mark.parametrize("c", POPULATIONS)
def test_b4_unbalanced(c) -> None:
    found = fit("mlm", CONTEXTUAL, UNBALANCED, c.moments(), likelihood="ml")
    slope = conflated_minimum(c, UNBALANCED.sizes)
    assert value(found, "bb") == pytest.approx(slope, abs=SEARCHED)
    if c is BASE:
        assert value(found, "bb") == pytest.approx(0.215995, abs=PRINTED)


# Moments have no clusters or rows for them; say nothing about bb; overshoots where there is a within slope (F4); models
# of another kind.
APART = (
    *("disaggregated_robust", "fiml_wide"),
    *("mlm_rescaled", "multigroup", "croon"),
    *("slopes_as_outcomes", "raudenbush_measurement"),
)


@pytest.mark.parametrize("layout", [balanced(5), UNBALANCED], ids=["balanced", "unbalanced"])
@pytest.mark.parametrize("method", [name for name in registry.names() if name not in APART])
def test_all_methods_agree_without_a_contextual_effect(method, layout) -> None:
    c = Contextual(beta_b=0.4, beta_w=0.4)
    found = fit(method, CONTEXTUAL, layout, c.moments(), **OPTIONS.get(method, {}))
    assert value(found, "bb") == pytest.approx(0.4, abs=1e-9)
    # the means are those of the population: intercept = E y - slope E x
    assert value(found, "between: y ~ 1") == pytest.approx(1.5 + 0.4 * 0.5, abs=1e-9)


# ------------------------------------------------------------------------------------------------------ B6 mediation

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
# Case 0 of B6.
CASE_0 = (path_sigma(0.2, 0.2, 0.1, (0.8, 0.77, 0.78)), path_sigma(0.4, 0.5, 0.1, (0.2, 0.16, 0.14)))
# Case 1: those of m follow from the conflated limit, those of y enter none.
CASE_1 = (path_sigma(-0.3, 0.3, 0.0, (0.9, 0.8, 0.8)), path_sigma(0.3, 0.3, 0.0, (0.1, 0.09, 0.1)))
CASES = {"case 0": CASE_0, "case 1": CASE_1}


def mediation(case: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moments in the model's order of variables."""
    order = [("x", "m", "y").index(name) for name in MEDIATION.variables]
    within, between = (s[np.ix_(order, order)] for s in case)
    return np.array([0.3, -1.0, 2.0]), within, between


def paths(found, level: str) -> np.ndarray:
    return np.array([value(found, f"{name}{level}") for name in "abc"])


@pytest.mark.parametrize("n", [5, 20])
@pytest.mark.parametrize("case", CASES)
def test_b6_each_method_is_path_algebra_on_one_matrix(case, n) -> None:
    within, between = CASES[case]
    moments = mediation(CASES[case])
    disaggregated = fit("disaggregated", MEDIATION, balanced(n), moments, se=["expected"])
    for level in "wb":
        np.testing.assert_allclose(paths(disaggregated, level), path_coefficients(within + between), atol=EXACT)
    manifest = path_coefficients(between + within / n)
    aggregated = fit("aggregated", MEDIATION, balanced(n), moments)
    np.testing.assert_allclose(paths(aggregated, "b"), manifest, atol=EXACT)
    centred = fit("mlm_centered", MEDIATION, balanced(n), moments)  # whatever the components: REML too
    np.testing.assert_allclose(paths(centred, "b"), manifest, atol=EXACT)
    np.testing.assert_allclose(paths(centred, "w"), path_coefficients(within), atol=EXACT)
    conflated = fit("mlm", MEDIATION, balanced(n), moments, likelihood="ml")
    for level in "wb":
        np.testing.assert_allclose(paths(conflated, level), conflated_paths(within, between, n), atol=SEARCHED)
    two_step = fit("two_step", MEDIATION, balanced(n), moments, likelihood="ml")
    np.testing.assert_array_equal(two_step.estimate, conflated.estimate)  # no level-2 outcome: the same regressions
    msem = fit("msem", MEDIATION, balanced(n), moments)
    np.testing.assert_allclose(paths(msem, "b"), path_coefficients(between), atol=1e-8)
    np.testing.assert_allclose(paths(msem, "w"), path_coefficients(within), atol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_b6_manifest_paths_are_matrix_weighted_means(case) -> None:
    within, between = CASES[case]
    n = 5
    found = fit("mlm_centered", MEDIATION, balanced(n), mediation(CASES[case]))
    lam = between[0, 0] / (between[0, 0] + within[0, 0] / n)
    truth_b, truth_w = path_coefficients(between), path_coefficients(within)
    assert value(found, "ab") == pytest.approx(lam * truth_b[0] + (1 - lam) * truth_w[0], abs=EXACT)
    a, c = between[:2, :2], within[:2, :2] / n
    mean = np.linalg.solve(a + c, a @ truth_b[[2, 1]] + c @ truth_w[[2, 1]])  # (x, m)
    np.testing.assert_allclose(paths(found, "b")[[2, 1]], mean, atol=EXACT)


@pytest.mark.parametrize(
    ("case", "n", "method", "name", "printed", "decimals"),
    [
        ("case 0", 5, "disaggregated", "ind_b", 0.061287, 6),
        ("case 0", 5, "mlm_centered", "ind_b", 0.111338, 6),
        ("case 0", 5, "aggregated", "ind_b", 0.111338, 6),
        ("case 0", 5, "mlm", "ind_b", 0.052308, 6),
        ("case 0", 5, "msem", "ind_b", 0.2, 9),
        ("case 0", 5, "msem", "ind_w", 0.04, 9),
        ("case 0", 5, "mlm_centered", "ind_w", 0.04, 9),
        ("case 0", 20, "mlm_centered", "ind_b", 0.162875, 6),
        ("case 0", 20, "mlm", "ind_b", 0.044713, 6),
        ("case 1", 5, "disaggregated", "ind_b", -0.072, 9),
        ("case 1", 5, "mlm_centered", "ind_b", -0.025714, 6),
        ("case 1", 5, "mlm", "ind_b", -0.078355, 6),
        ("case 1", 5, "msem", "ind_b", 0.09, 9),
    ],
)
def test_b6_printed_indirect_effects(case, n, method, name, printed, decimals) -> None:
    options = {"likelihood": "ml"} if method == "mlm" else OPTIONS.get(method, {})
    found = fit(method, MEDIATION, balanced(n), mediation(CASES[case]), **options)
    assert value(found, name) == pytest.approx(printed, abs=0.52 * 10.0**-decimals)


def test_b6_mediation_211() -> None:
    """x at level 2: aggregation estimates beta_B (.16) and beta_W (sigma_M^2 / n) mixed: B6's .188889."""
    model = TwoLevelModel.from_syntax(
        "level: within\n y ~ bw*m\nlevel: between\n m ~ a*x\n y ~ bb*m + c*x\nind := a*bb"
    )
    a, bb, bw, c, n = 0.5, 0.6, 0.2, 0.1, 5
    sigma_m, residual = 1.0, 0.16  # sigma_M^2, tau_M^2 - tau_XM^2 / tau_X^2
    between = path_sigma(a, bb, c, (1.0, residual, 0.2))
    order = [("x", "m", "y").index(name) for name in model.variables]
    within = np.array([[bw**2 * sigma_m + 0.8, bw * sigma_m], [bw * sigma_m, sigma_m]])  # (y, m)
    moments = np.array([0.2, 0.1, 3.0]), within, between[np.ix_(order, order)]
    expected = a * (bb * residual + bw * sigma_m / n) / (residual + sigma_m / n)
    assert expected == pytest.approx(0.188889, abs=PRINTED)
    assert value(fit("aggregated", model, balanced(n), moments), "ind") == pytest.approx(expected, abs=EXACT)
    # m is a level-1 outcome with a level-2 predictor only: a is exact for every mixed model
    centred = fit("mlm_centered", model, balanced(n), moments)
    assert value(centred, "a") == pytest.approx(a, abs=EXACT)
    assert value(centred, "ind") == pytest.approx(expected, abs=EXACT)
    assert value(fit("msem", model, balanced(n), moments), "ind") == pytest.approx(a * bb, abs=1e-8)


# ------------------------------------------------------------------------------------------------------- B7 two-step

OUTCOME = TwoLevelModel.from_syntax("level: within\n x ~~ x\nlevel: between\n y ~ b1*x + b2*z")


def outcome_moments(noise: float, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Level-2 outcome y = .3 xi + .3 z + e with Var(xi) = Var(z) = 1 and Cov = .3, which give B7's numbers."""
    assert OUTCOME.variables == ("x", "y", "z")
    predictors = np.array([[1.0, 0.3], [0.3, 1.0]])
    beta = np.array([0.3, 0.3])
    cross = predictors @ beta
    between = np.array(
        [
            [1.0, cross[0], 0.3],
            [cross[0], beta @ cross + 0.5, cross[1]],
            [0.3, cross[1], 1.0],
        ]
    )
    return np.array([0.5, 1.0, -1.0]), np.array([[noise * n]]), between


@pytest.mark.parametrize("n", [5, 10])
def test_b7_level2_outcome_on_observed_and_on_empirical_bayes_means(n) -> None:
    moments = outcome_moments(0.9, n)  # sigma^2 / n = .9
    observed = fit("two_step", OUTCOME, balanced(n), moments)
    matrix = np.array([[1.9, 0.3], [0.3, 1.0]])
    b1, b2 = np.linalg.solve(matrix, [0.39, 0.39])
    assert b1 == pytest.approx(0.150829, abs=PRINTED)
    assert b2 == pytest.approx(0.344751, abs=PRINTED)
    assert value(observed, "b1") == pytest.approx(b1, abs=EXACT)
    assert value(observed, "b2") == pytest.approx(b2, abs=EXACT)
    shrunken = fit("two_step", OUTCOME, balanced(n), moments, means="eb", likelihood="ml")
    # divided by lambda = 1 / 1.9; z unchanged (Newton's tolerance in the reliability)
    assert value(shrunken, "b1") == pytest.approx(0.286575, abs=PRINTED)
    assert value(shrunken, "b1") == pytest.approx(b1 * 1.9, abs=1e-8)
    assert value(shrunken, "b2") == pytest.approx(b2, abs=1e-8)
    msem = fit("msem", OUTCOME, balanced(n), moments)
    assert value(msem, "b1") == pytest.approx(0.3, abs=1e-8)
    assert value(msem, "b2") == pytest.approx(0.3, abs=1e-8)


def test_b7_unbalanced_observed_means_have_the_harmonic_mean_size() -> None:
    """Every cluster counts once in the second step."""
    n = 7.0
    moments = outcome_moments(0.9, int(n))
    found = fit("two_step", OUTCOME, UNBALANCED, moments)
    harmonic = UNBALANCED.n_clusters / sum(1 / size for size in UNBALANCED.sizes)
    matrix = np.array([[1.0 + 0.9 * n / harmonic, 0.3], [0.3, 1.0]])
    np.testing.assert_allclose(
        [value(found, "b1"), value(found, "b2")], np.linalg.solve(matrix, [0.39, 0.39]), atol=EXACT
    )
