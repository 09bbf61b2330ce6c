"""Equation-by-equation methods: which regressions they run, options, fixed values, and what they decline."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_data import BALANCED, CONTEXTUAL, MEDIATION, OUTCOME_2, UNBALANCED, draw, fit, se, value

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

EXACT = 1e-9  # the same regression in other coordinates: rounding, and Newton's 1e-10 SE


def model(within: str, between: str) -> TwoLevelModel:
    return TwoLevelModel.from_syntax(f"level: within\n{within}\nlevel: between\n{between}")


def sample_of(variables: tuple[str, ...], level2: tuple[str, ...] = (), layout: ClusterLayout = UNBALANCED) -> Sample:
    rng = np.random.default_rng([12, len(variables)])
    p1, p2 = len(variables), len(level2)
    u = rng.normal(size=(1, layout.n_clusters, p1 + p2)) @ (np.eye(p1 + p2) + 0.3)
    rows = rng.normal(size=(1, layout.n_obs, p1)) @ (np.eye(p1) + 0.2)
    rows += 0.5 * np.repeat(u[..., :p1], layout.sizes, axis=1)
    return Sample(layout, variables, level2, rows, u[..., p1:])


def with_column(sample: Sample, name: str, values: np.ndarray) -> Sample:
    rows = np.concatenate([sample.rows, values[..., None]], axis=-1)
    return Sample(sample.layout, (*sample.level1, name), sample.level2, rows, sample.clusters)


@pytest.mark.parametrize("likelihood", ["ml", "reml"])
@pytest.mark.parametrize("method", ["mlm", "mlm_centered"])
def test_a_fixed_slope_is_a_subtraction(method, likelihood) -> None:
    data = sample_of(("y", "x", "w"))
    y, x = data.rows[..., 0], data.rows[..., 1]
    fixed = fit(method, model("y ~ 0.3*x + b*w", "y ~ 0.3*x + c*w"), data, likelihood=likelihood)
    moved = with_column(data, "d", y - 0.3 * x)
    free = fit(method, model("d ~ b*w", "d ~ c*w"), moved, likelihood=likelihood)
    for name in ("b", "c"):
        assert value(fixed, name) == pytest.approx(value(free, name), abs=EXACT)
        assert se(fixed, name) == pytest.approx(se(free, name), abs=EXACT)
    for row in ("~~ y", "~ 1"):
        there = row.replace("y", "d")
        assert value(fixed, f"between: y {row}") == pytest.approx(value(free, f"between: d {there}"), abs=EXACT)
    assert fixed.loglik[0] == pytest.approx(free.loglik[0], abs=1e-8)


def test_a_fixed_intercept_is_an_offset_without_a_constant() -> None:
    """Fixed at its estimate it changes nothing but its own SE."""
    data = sample_of(("y", "x"))
    free = fit("mlm", model("y ~ b*x", "y ~ b*x"), data, likelihood="ml")
    intercept = value(free, "between: y ~ 1")
    held = fit("mlm", model("y ~ b*x", f"y ~ b*x\n y ~ {intercept!r}*1"), data, likelihood="ml")
    assert "between: y ~ 1" not in held.labels
    for name in ("b", "within: y ~~ y", "between: y ~~ y"):
        assert value(held, name) == pytest.approx(value(free, name), abs=1e-8)
    assert held.loglik[0] == pytest.approx(free.loglik[0], abs=1e-8)
    assert se(held, "b") < se(free, "b")
    # elsewhere it is the regression of y - 1.5 through the origin
    moved = fit("mlm", model("y ~ b*x", "y ~ b*x\n y ~ 1.5*1"), data, likelihood="ml")
    shifted = with_column(data, "d", data.rows[..., 0] - 1.5)
    origin = fit("mlm", model("d ~ b*x", "d ~ b*x\n d ~ 0*1"), shifted, likelihood="ml")
    assert value(moved, "b") == pytest.approx(value(origin, "b"), abs=EXACT)
    assert value(moved, "between: y ~~ y") == pytest.approx(value(origin, "between: d ~~ d"), abs=EXACT)
    assert moved.loglik[0] == pytest.approx(origin.loglik[0], abs=EXACT)


@pytest.mark.parametrize("method", ["mlm", "mlm_centered"])
def test_equal_labels_in_one_equation_add_regressors_up(method) -> None:
    data = sample_of(("y", "x", "w"))
    tied = fit(method, model("y ~ b*x + b*w", "y ~ c*x + c*w"), data)
    added = with_column(data, "s", data.rows[..., 1] + data.rows[..., 2])
    plain = fit(method, model("y ~ b*s", "y ~ c*s"), added)
    for name in ("b", "c"):
        assert value(tied, name) == pytest.approx(value(plain, name), abs=EXACT)
        assert se(tied, name) == pytest.approx(se(plain, name), abs=EXACT)


@pytest.mark.parametrize("likelihood", ["ml", "reml"])
def test_one_label_at_both_levels_undoes_the_centring(likelihood) -> None:
    data = sample_of(("y", "x"))
    tied = model("y ~ b*x", "y ~ b*x")
    centred = fit("mlm_centered", tied, data, likelihood=likelihood)
    plain = fit("mlm", tied, data, likelihood=likelihood)
    np.testing.assert_allclose(centred.estimate, plain.estimate, atol=EXACT)
    assert centred.loglik[0] == pytest.approx(plain.loglik[0], abs=EXACT)


def test_balanced_within_slope_is_the_pooled_within_regression() -> None:
    data = draw(CONTEXTUAL, BALANCED, 3, seed=6)
    found = fit("mlm_centered", CONTEXTUAL, data)
    scatter = data.statistics().scatter_within
    for r in range(3):
        assert value(found, "bw", r) == pytest.approx(scatter[r, 0, 1] / scatter[r, 1, 1], abs=1e-12)  # rounding


def test_regressions_of_different_outcomes_are_fitted_one_by_one() -> None:
    data = draw(MEDIATION, UNBALANCED, 2, seed=3)
    whole = fit("mlm", MEDIATION, data)
    first = fit("mlm", model("m ~ aw*x", "m ~ ab*x"), data)
    second = fit("mlm", model("y ~ bw*m + cw*x", "y ~ bb*m + cb*x"), data)
    for part in (first, second):
        for name in set(part.labels) & set(whole.labels):
            k, j = whole.labels.index(name), part.labels.index(name)
            if not np.isnan(part.estimate[0, j]):
                np.testing.assert_array_equal(whole.estimate[:, k], part.estimate[:, j])
    np.testing.assert_allclose(whole.loglik, first.loglik + second.loglik, rtol=1e-14)
    at = [whole.labels.index(name) for name in ("aw", "bw")]
    np.testing.assert_array_equal(whole.covariance["expected"][:, at[0], at[1]], 0.0)


def test_within_only_outcomes_have_no_intercept_variance() -> None:
    """v lives on level 1 alone: ordinary regression of the rows."""
    layout = UNBALANCED
    data = sample_of(("v", "w", "y"), layout=layout)
    found = fit("mlm", model("v ~ b*w\n y ~ v", "y ~~ y"), data, likelihood="reml")
    rows = data.rows[0]
    x = np.column_stack([np.ones(layout.n_obs), rows[:, 1]])
    beta, rss, *_ = np.linalg.lstsq(x, rows[:, 0], rcond=None)
    assert value(found, "b") == pytest.approx(beta[1], abs=1e-12)  # rounding
    assert value(found, "within: v ~ 1") == pytest.approx(beta[0], abs=1e-12)
    assert value(found, "within: v ~~ v") == pytest.approx(rss[0] / (layout.n_obs - 2), rel=1e-12)


# ---------------------------------------------------------------------------------------------------------- two_step


@pytest.mark.parametrize(("centering", "method"), [("none", "mlm"), ("cluster", "mlm_centered")])
@pytest.mark.parametrize("likelihood", ["ml", "reml"])
def test_first_step_is_the_mixed_model(centering, method, likelihood) -> None:
    data = draw(OUTCOME_2, UNBALANCED, 2, seed=8)
    two_step = fit("two_step", OUTCOME_2, data, centering=centering, likelihood=likelihood)
    mixed = fit(method, OUTCOME_2, data, likelihood=likelihood)
    for name in ("aw", "ab", "between: m ~ 1", "within: m ~~ m", "between: m ~~ m"):
        for r in range(2):
            assert value(two_step, name, r) == value(mixed, name, r)
            assert se(two_step, name, r=r) == se(mixed, name, r=r)
    assert np.isnan(value(mixed, "bb"))  # a level-2 outcome
    assert np.isnan(value(mixed, "ind"))
    assert not np.isnan(value(two_step, "ind"))


@pytest.mark.parametrize("likelihood", ["ml", "reml"])
def test_empirical_bayes_means_are_shrunken_by_an_empty_model(likelihood) -> None:
    data = draw(OUTCOME_2, UNBALANCED, 2, seed=8)
    found = fit("two_step", OUTCOME_2, data, means="eb", likelihood=likelihood)
    statistics = data.statistics()
    sizes = np.asarray(UNBALANCED.sizes, dtype=float)
    for r in range(2):
        columns = [np.ones(len(sizes))]
        for name in ("m", "x"):
            # an empty random-intercept model, here as a regression with its slope fixed at 0
            k = data.level1.index(name)
            rows = np.stack([data.rows[r, :, k], data.rows[r, :, 1 - k]], axis=-1)[None]
            empty = fit(
                "mlm",
                model(f"{name} ~ 0*w", f"{name} ~~ {name}"),
                Sample(UNBALANCED, (name, "w"), (), rows, np.empty((1, len(sizes), 0))),
                likelihood=likelihood,
            )
            tau2, sigma2 = value(empty, f"between: {name} ~~ {name}"), value(empty, f"within: {name} ~~ {name}")
            means = statistics.cluster_means[r, :, k]
            grand = (sizes * means).sum() / sizes.sum()
            columns.append(grand + tau2 / (tau2 + sigma2 / sizes) * (means - grand))
        beta, *_ = np.linalg.lstsq(np.column_stack(columns), data.clusters[r, :, 0], rcond=None)
        assert value(found, "bb", r) == pytest.approx(beta[1], abs=1e-8)  # Newton's tolerance in the reliabilities
        assert value(found, "cb", r) == pytest.approx(beta[2], abs=1e-8)
    observed = fit("two_step", OUTCOME_2, data, likelihood=likelihood)
    assert abs(value(observed, "bb") - value(found, "bb")) > 1e-3
    np.testing.assert_array_equal(  # the first step does not change
        observed.estimate[:, observed.labels.index("aw")], found.estimate[:, found.labels.index("aw")]
    )


def test_fixed_values_of_a_level2_outcome() -> None:
    data = draw(OUTCOME_2, UNBALANCED, 1, seed=8)
    fixed = model("m ~ aw*x", "m ~ ab*x\n z ~ 0.4*m + cb*x\n z ~ 0.2*1")
    found = fit("two_step", fixed, data)
    means = data.statistics().cluster_means[0]
    target = data.clusters[0, :, 0] - 0.2 - 0.4 * means[:, data.level1.index("m")]
    x = means[:, data.level1.index("x")]
    assert value(found, "cb") == pytest.approx(x @ target / (x @ x), abs=1e-12)  # through the origin: rounding


def test_level2_chain() -> None:
    """z2 on z1 on x: every level-2 outcome is a regression of its own."""
    chain = model("x ~~ x", "z1 ~ a*x\n z2 ~ b*z1 + c*x")
    data = sample_of(("x",), ("z1", "z2"))
    found = fit("two_step", chain, data)
    x = data.statistics().cluster_means[0, :, 0]
    z1, z2 = data.clusters[0].T
    one = np.ones(len(x))
    assert value(found, "a") == pytest.approx(np.linalg.lstsq(np.column_stack([one, x]), z1, rcond=None)[0][1])
    beta = np.linalg.lstsq(np.column_stack([one, z1, x]), z2, rcond=None)[0]
    assert (value(found, "b"), value(found, "c")) == pytest.approx((beta[1], beta[2]), abs=1e-12)


# ------------------------------------------------------------------------------------------------- what is declined

FACTORS = model("f =~ a + b + c", "g =~ a + b + c")
NO_OUTCOME = model("x ~~ x", "z ~ x")
ACROSS = model("m ~ a*x\n y ~ a*m", "m ~ x\n y ~ m")
TIED_VARIANCE = model("y ~ x\n y ~~ v*y\n x ~~ v*x\n m ~ x\n m ~~ v*m", "y ~ x\n m ~ x")
CONTRADICTION = model("y ~ 0.5*x", "y ~ 0.3*x")


@pytest.mark.parametrize(
    ("method", "found", "reason"),
    [
        ("mlm", FACTORS, "latent variables cannot be expressed in a regression"),
        ("mlm_centered", FACTORS, "latent variables cannot be expressed in a regression"),
        ("two_step", FACTORS, "latent variables cannot be expressed in a regression"),
        ("disaggregated", FACTORS, "the latent variables differ between the levels"),
        ("mlm", NO_OUTCOME, "the model has no level-1 outcome"),
        ("mlm_centered", NO_OUTCOME, "the model has no level-1 outcome"),
        ("two_step", model("x ~~ x", "x ~~ x"), "the model has no outcome"),
        ("mlm", ACROSS, "'a' ties coefficients of different equations, which are fitted one by one"),
        ("two_step", ACROSS, "'a' ties coefficients of different equations"),
        ("mlm", TIED_VARIANCE, "'v' ties coefficients of different equations"),
        ("two_step", model("y ~ a*x", "y ~ b*x\n z ~ b*x"), "'b' ties coefficients of different equations"),
        ("mlm", CONTRADICTION, "a path to 'y' is fixed at different values at the two levels"),
        ("disaggregated", CONTRADICTION, "'y ~ x' is fixed at different values at the two levels"),
    ],
)
def test_models_that_a_method_cannot_fit_are_declined_with_the_reason(method, found, reason) -> None:
    said = registry.create(method).supports(found, UNBALANCED)
    assert said is not None
    assert reason in said


@pytest.mark.parametrize(
    ("method", "found"),
    [
        ("mlm_centered", CONTRADICTION),
        ("two_step", NO_OUTCOME),
        ("msem", FACTORS),
        ("aggregated", FACTORS),
        ("msem", ACROSS),
    ],
)
def test_and_what_they_can_fit_is_not(method, found) -> None:
    assert registry.create(method).supports(found, UNBALANCED) is None


@pytest.mark.parametrize(
    ("method", "sizes", "reason"),
    [
        ("msem", [5, 5, 5], "no more clusters than between variables"),
        ("msem", [1] * 20 + [2, 2], "fewer within-cluster degrees of freedom than level-1 variables"),
        ("aggregated", [5, 5, 5], "no more clusters than between variables"),
        ("disaggregated", [1, 2], "no more rows than variables"),
        ("mlm", [5, 5, 5], "no more clusters than regressors"),
        ("mlm_centered", [9, 9, 9, 9, 9], "no more clusters than regressors"),
        ("two_step", [5, 5, 5], "no more clusters than regressors"),
    ],
)
def test_too_few_clusters_are_declined_with_the_reason(method, sizes, reason) -> None:
    assert registry.create(method).supports(MEDIATION, ClusterLayout.of(sizes)) == reason


@pytest.mark.parametrize("method", registry.names())
def test_constraints_are_imposed_or_declined(method) -> None:
    tied = TwoLevelModel.from_syntax("level: within\n y ~ a*x\nlevel: between\n y ~ b*x + c*z\n b + c == 1")
    estimator = registry.create(
        method, {"se": ["expected"]} if method in ("disaggregated", "aggregated", "msem") else {}
    )
    if estimator.supports(tied, UNBALANCED) is not None:
        return
    found = fit(method, tied, draw(tied, UNBALANCED, seed=1), **({"se": ["expected"]} if method == "msem" else {}))
    assert value(found, "b") + value(found, "c") == pytest.approx(1.0, abs=1e-12)
