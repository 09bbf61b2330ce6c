"""Methods on a within and a between matrix, fed a population's moments: the truth, or closed forms of docs/theory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from recovery_forms import CONTEXTUAL, FAMILIES, Contextual, fit, path_coefficients, path_sigma, population, se, value

from simstudy.data.layout import ClusterLayout
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.inference import with_defined
from simstudy.estimation.result import FitResult
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

BALANCED = ClusterLayout.of([5] * 60)
UNBALANCED = ClusterLayout.of([1, 2, 3, 5, 9, 20] * 10)
SIZES_OF_B2 = ClusterLayout.of([2, 5, 20] * 15)
CONSISTENT = ("schmidt", "goldstein", "muml")
# The last scoring step starts within 1e-6 SE of the maximum and is of second order there: rounding of about 1e-12.
TRUTH = 1e-8
EXACT = 1e-10  # explicit solutions: rounding of the matrices inverted
PRINTED = 0.52e-6  # six decimals are printed
BASE = Contextual()
POPULATIONS = [BASE, Contextual(tau2=0.3, sigma2=0.7), Contextual(beta_b=-0.3, beta_w=0.5)]


def expected_statistics(
    layout: ClusterLayout, model: TwoLevelModel, moments: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> TwoLevelStatistics:
    """Expectations of the sums that data of a layout would have, the estimation of the grand mean included.

    The scatter of clusters of one size is that about the n-weighted grand mean, cluster by cluster: Var(v_j - v).
    """
    mu, within, between = moments
    n, p1 = np.asarray(layout.sizes, dtype=float), len(model.level1)
    own = np.repeat(between[None], len(n), axis=0)
    own[:, :p1, :p1] += within / n[:, None, None]
    share = n / n.sum()
    grand = (share[:, None, None] ** 2 * own).sum(axis=0)
    about = own * (1 - 2 * share)[:, None, None] + grand
    by_size = np.stack([about[layout.group == k].sum(axis=0) for k in range(len(layout.distinct))])
    return TwoLevelStatistics(
        layout=layout,
        level1=model.level1,
        level2=model.level2,
        scatter_within=((layout.n_obs - layout.n_clusters) * within)[None],
        size_means=np.repeat(mu[None], len(layout.distinct), axis=0)[None],
        size_scatter=by_size[None],
    )


def fit_expected(method: str, model: TwoLevelModel, layout: ClusterLayout, moments: Any, **options: Any) -> FitResult:
    estimator = registry.create(method, options)
    assert estimator.supports(model, layout) is None
    found = estimator.prepare(model, layout).fit(expected_statistics(layout, model, moments))
    return with_defined(found, model.estimands)


def family(name: str) -> tuple[TwoLevelModel, np.ndarray, dict[str, float]]:
    model = TwoLevelModel.from_syntax(FAMILIES[name]["syntax"])
    values = FAMILIES[name]["values"]
    truth = np.array([values[key] for key in model.names])
    return model, np.concatenate([truth, model.estimands.evaluate(truth)]), values


@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
@pytest.mark.parametrize("method", CONSISTENT)
@pytest.mark.parametrize("name", FAMILIES)
def test_consistent_methods_return_the_truth(name, method, layout) -> None:
    """Equal sizes and maximum likelihood's divisors; unequal ones from the exact expectations of S_PW and S_B."""
    model, truth, values = family(name)
    options: dict[str, Any] = {"se": ["expected", "observed"]}
    if (reason := registry.create(method).supports(model, layout)) is not None:
        assert method == "schmidt"
        assert "both levels" in reason or "ties them" in reason
        return
    moments = population(model, values)
    if layout is BALANCED or method == "goldstein":  # Goldstein's first step is maximum likelihood
        found = fit(method, model, layout, moments, **options)
    else:
        found = fit_expected(method, model, layout, moments, **options, divisor="J-1")
    assert found.converged.all()
    assert found.admissible.all()
    np.testing.assert_allclose(found.estimate[0], truth, rtol=0, atol=TRUTH)
    if layout is BALANCED:
        # at the moments that a model fits, observed and expected information are equal: within 1e-6 SE, see scoring
        np.testing.assert_allclose(found.se["observed"], found.se["expected"], rtol=1e-6)


@pytest.mark.parametrize("method", ["schmidt", "muml"])
@pytest.mark.parametrize("c", POPULATIONS)
def test_c3_with_divisor_j_between_variances_are_off_by_the_ratio_of_mean_sizes(c, method) -> None:
    """Sums of J independent clusters estimate (N / J) Sigma_B, and c is 1 - CV^2 / J of that: slopes do not feel it."""
    found = fit(method, CONTEXTUAL, UNBALANCED, c.moments())
    n = np.asarray(UNBALANCED.sizes, dtype=float)
    ratio = n.mean() / UNBALANCED.anova_size
    # sample variance of the sizes: c = mean - s^2 / (J mean), Snijders & Bosker's n-tilde
    assert 1 / ratio == pytest.approx(1 - n.var(ddof=1) / (len(n) * n.mean() ** 2), rel=1e-12)  # rounding
    assert value(found, "bb") == pytest.approx(c.beta_b, abs=TRUTH)
    assert value(found, "bw") == pytest.approx(c.beta_w, abs=TRUTH)
    assert value(found, "between: x ~~ x") == pytest.approx(ratio * c.tau2, abs=TRUTH)
    assert value(found, "between: y ~~ y") == pytest.approx(ratio * c.tau_u2, abs=TRUTH)
    assert value(found, "within: y ~~ y") == pytest.approx(c.sigma_e2, abs=TRUTH)


# ---------------------------------------------------------------------------------------------- what is not consistent


@pytest.mark.parametrize(
    ("layout", "printed"), [(BALANCED, 0.378571), (ClusterLayout.of([15] * 40), None), (SIZES_OF_B2, 0.45)]
)
@pytest.mark.parametrize("c", POPULATIONS)
@pytest.mark.parametrize(("method", "options"), [("schmidt", {"between": "raw"}), ("haernqvist", {})])
def test_b2_unadjusted_matrices_mix_the_slopes_with_the_mean_size(method, options, c, layout, printed) -> None:
    """S_B as it stands and the between part of the total matrix: the manifest slope, whatever the sizes."""
    found = fit(method, CONTEXTUAL, layout, c.moments(), **options)
    n = layout.mean_size
    noise = c.sigma2 / n
    slope = (c.tau2 * c.beta_b + noise * c.beta_w) / (c.tau2 + noise)
    assert value(found, "bb") == pytest.approx(slope, abs=EXACT)
    assert value(found, "bw") == pytest.approx(c.beta_w, abs=EXACT)
    if c is BASE and printed:
        assert value(found, "bb") == pytest.approx(printed, abs=PRINTED)
    # variances: Sigma_W + n Sigma_B of S_B as it stands, Sigma_B + Sigma_W / n and (1 - 1 / n) Sigma_W of the total's
    scale = n if method == "schmidt" else 1.0
    assert value(found, "between: x ~~ x") == pytest.approx(scale * (c.tau2 + noise), rel=EXACT)
    shrunk = 1.0 if method == "schmidt" else 1 - 1 / n
    assert value(found, "within: y ~~ y") == pytest.approx(shrunk * c.sigma_e2, rel=EXACT)
    # B2: sum of squares of the means about their regression, on J units
    v = c.tau_u2 + c.sigma_e2 / n + (c.beta_b - c.beta_w) ** 2 * c.tau2 * noise / (c.tau2 + noise)
    assert se(found, "bb") == pytest.approx(np.sqrt(v / (layout.n_clusters * (c.tau2 + noise))), rel=1e-9)


@pytest.mark.parametrize("method", ["schmidt", "goldstein"])
@pytest.mark.parametrize("c", POPULATIONS)
def test_ses_take_latent_cluster_means_for_observed_ones(c, method) -> None:
    """As a regression on J observed x_Bj would have: B8's two further terms, and the noise in v, are missing."""
    n, clusters = 5, 60
    found = fit(method, CONTEXTUAL, BALANCED, c.moments())
    # inverse of a matrix against the ratio of variances: rounding
    assert se(found, "bb") == pytest.approx(np.sqrt(c.tau_u2 / (clusters * c.tau2)), rel=1e-9)
    assert se(found, "bw") == pytest.approx(np.sqrt(c.sigma_e2 / (clusters * (n - 1) * c.sigma2)), rel=1e-9)
    honest = fit("msem", CONTEXTUAL, BALANCED, c.moments())
    assert se(found, "bb") < 0.8 * se(honest, "bb")
    assert se(found, "bw") == pytest.approx(se(honest, "bw"), rel=1e-9)  # there is nothing wrong with S_PW


MEDIATION = TwoLevelModel.from_syntax(
    "level: within\n m ~ aw*x\n y ~ bw*m + cw*x\nlevel: between\n m ~ ab*x\n y ~ bb*m + cb*x\n"
    "ind_w := aw*bw\nind_b := ab*bb"
)
CASE_0 = (path_sigma(0.2, 0.2, 0.1, (0.8, 0.77, 0.78)), path_sigma(0.4, 0.5, 0.1, (0.2, 0.16, 0.14)))
CASE_1 = (path_sigma(-0.3, 0.3, 0.0, (0.9, 0.8, 0.8)), path_sigma(0.3, 0.3, 0.0, (0.1, 0.09, 0.1)))


@pytest.mark.parametrize(
    ("case", "layout", "printed"),
    [
        (CASE_0, BALANCED, 0.111338),
        (CASE_0, ClusterLayout.of([20] * 30), 0.162875),
        (CASE_1, BALANCED, -0.025714),  # the wrong sign: the truth is .09
        (CASE_1, SIZES_OF_B2, None),
    ],
    ids=["case 0, n=5", "case 0, n=20", "case 1, n=5", "case 1, unequal"],
)
@pytest.mark.parametrize("method", ["haernqvist", "schmidt raw", "schmidt", "goldstein", "muml"])
def test_b6_indirect_effects_are_path_algebra_on_the_matrix_that_a_method_analyses(method, case, layout, printed):
    within, between = case
    order = [("x", "m", "y").index(name) for name in MEDIATION.variables]
    moments = np.array([0.3, -1.0, 2.0]), *(s[np.ix_(order, order)] for s in case)
    name, _, option = method.partition(" ")
    found = fit(name, MEDIATION, layout, moments, **({"between": option} if option else {}))
    manifest = name == "haernqvist" or bool(option)
    matrix = between + within / layout.mean_size if manifest else between
    for level, source in (("b", matrix), ("w", within)):
        ours = [value(found, f"{path}{level}") for path in "abc"]
        np.testing.assert_allclose(ours, path_coefficients(source), atol=TRUTH)
    if printed:
        truth = 0.2 if case is CASE_0 else 0.09
        assert value(found, "ind_b") == pytest.approx(printed if manifest else truth, abs=PRINTED)


def test_b6_mediation_211_with_x_at_level_2() -> None:
    """B6's .188889 instead of .16 ... .3 * .6; level-2 variables enter the between matrix as c Sigma_zz."""
    model = TwoLevelModel.from_syntax(
        "level: within\n y ~ bw*m\nlevel: between\n m ~ a*x\n y ~ bb*m + c*x\nind := a*bb"
    )
    between = path_sigma(0.5, 0.6, 0.1, (1.0, 0.16, 0.2))
    order = [("x", "m", "y").index(name) for name in model.variables]
    within = np.array([[0.84, 0.2], [0.2, 1.0]])  # (y, m), slope .2
    moments = np.array([0.2, 0.1, 3.0]), within, between[np.ix_(order, order)]
    for method, options in (("haernqvist", {}), ("schmidt", {"between": "raw"})):
        assert value(fit(method, model, BALANCED, moments, **options), "ind") == pytest.approx(0.188889, abs=PRINTED)
    for method in CONSISTENT:
        for layout in (BALANCED, UNBALANCED):
            assert value(fit(method, model, layout, moments), "ind") == pytest.approx(0.3, abs=TRUTH)


def test_haernqvists_correlation_ratios_are_the_reliability_weighted_iccs() -> None:
    """R_b has eta^2 = (tau^2 + sigma^2 / n) / (tau^2 + sigma^2) on its diagonal (theory C4)."""
    model = TwoLevelModel.from_syntax("level: within\n x ~~ x\nlevel: between\n x ~~ x")
    c = BASE
    moments = np.array([1.0]), np.array([[c.sigma2]]), np.array([[c.tau2]])
    found = fit("haernqvist", model, BALANCED, moments, metric="total_sd")
    eta2 = (c.tau2 + c.sigma2 / 5) / (c.tau2 + c.sigma2)
    assert value(found, "between: x ~~ x") == pytest.approx(eta2, abs=EXACT)
    assert value(found, "within: x ~~ x") == pytest.approx(1 - eta2, abs=EXACT)


@pytest.mark.parametrize("name", ["contextual", "mediation_111", "mediation_112", "parallel_mediators"])
def test_haernqvists_between_part_is_aggregation_where_sizes_are_equal(name) -> None:
    model, _, values = family(name)
    moments = population(model, values)
    between = [k for k, level in enumerate(model.table.levels) if level == "between"]
    ours, theirs = (fit(method, model, BALANCED, moments) for method in ("haernqvist", "aggregated"))
    np.testing.assert_allclose(ours.estimate[0, between], theirs.estimate[0, between], atol=TRUTH)
    np.testing.assert_allclose(ours.se["expected"][0, between], theirs.se["expected"][0, between], rtol=1e-9)
