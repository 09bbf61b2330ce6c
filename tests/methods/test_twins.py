"""Methods that are others under another name, and where they part."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_data import BALANCED, CONTEXTUAL, MEDIATION, OUTCOME_2, UNBALANCED, draw, fit, se, value

from simstudy.likelihood.mixed.random_intercept import Moments, fit_random_intercept
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

EXACT = 1e-9  # one regression in two coordinate systems: rounding, and Newton's 1e-10 SE
LAYOUTS = {"balanced": BALANCED, "unbalanced": UNBALANCED}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("model", [CONTEXTUAL, MEDIATION, OUTCOME_2], ids=["contextual", "1-1-1", "1-1-2"])
def test_disaggregated_robust_is_disaggregated_with_robust_ses(model, layout) -> None:
    data = draw(model, layout, 4, seed=2)
    twin, whole = fit("disaggregated_robust", model, data), fit("disaggregated", model, data, se=["robust"])
    assert tuple(twin.covariance) == ("robust",)
    for name in ("estimate", "status", "admissible", "n_iter", "loglik"):
        np.testing.assert_array_equal(getattr(twin, name), getattr(whole, name))
    np.testing.assert_array_equal(twin.covariance["robust"], whole.covariance["robust"])


def test_a_fixed_option_is_no_option() -> None:
    assert registry.options("disaggregated_robust") == ()
    assert registry.options("disaggregated") == ("se",)
    assert registry.create("disaggregated_robust").needs == "clusters"


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("likelihood", ["ml", "reml"])
def test_contextual_model_is_the_centred_one_in_other_coordinates(likelihood, layout) -> None:
    """Regressors (1, x, mean) by hand: slope of x is the within one, that of the mean the difference."""
    data = draw(CONTEXTUAL, layout, 1, seed=3)
    centred = fit("mlm_centered", CONTEXTUAL, data, likelihood=likelihood)
    twin = fit("mlm_contextual", CONTEXTUAL, data, likelihood=likelihood)
    np.testing.assert_array_equal(twin.estimate, centred.estimate)
    np.testing.assert_array_equal(twin.covariance["expected"], centred.covariance["expected"])
    y, x = (data.rows[0, :, CONTEXTUAL.level1.index(name)] for name in ("y", "x"))
    cluster = np.repeat(np.arange(layout.n_clusters), layout.sizes)
    mean = (np.bincount(cluster, x) / layout.sizes)[cluster]
    columns = np.column_stack([np.ones(len(y)), x, mean, y])
    means = np.array([columns[cluster == j].mean(axis=0) for j in range(layout.n_clusters)])
    inside = columns - means[cluster]
    sizes = np.asarray(layout.sizes, dtype=float)
    moments = Moments(
        (inside.T @ inside)[None], (means[:, :, None] * means[:, None, :])[None], sizes, np.ones(len(sizes))
    )
    by_hand = fit_random_intercept(moments, reml=likelihood == "reml")
    assert value(twin, "bw") == pytest.approx(by_hand.beta[0, 1], abs=EXACT)
    assert value(twin, "contextual") == pytest.approx(by_hand.beta[0, 2], abs=EXACT)
    assert value(twin, "bb") == pytest.approx(by_hand.beta[0, 1:].sum(), abs=EXACT)
    assert se(twin, "contextual") == pytest.approx(by_hand.beta_cov[0, 2, 2] ** 0.5, abs=EXACT)
    assert se(twin, "bb") == pytest.approx(by_hand.beta_cov[0, 1:, 1:].sum() ** 0.5, abs=EXACT)
    assert value(twin, "between: y ~~ y") == pytest.approx(by_hand.tau2[0], abs=EXACT)


def test_contextual_model_conflates_what_has_no_cluster_mean() -> None:
    """A predictor of the within block alone enters as it is, where the centred model takes deviations."""
    model = TwoLevelModel.from_syntax("level: within\n y ~ bw*x\nlevel: between\n y ~~ y\n x ~~ x")
    data = draw(model, UNBALANCED, 2, seed=5)
    contextual, plain, centred, rescaled = (
        fit(name, model, data) for name in ("mlm_contextual", "mlm", "mlm_centered", "mlm_rescaled")
    )
    np.testing.assert_array_equal(contextual.estimate, plain.estimate)
    np.testing.assert_array_equal(rescaled.estimate, centred.estimate)
    assert abs(value(contextual, "bw") - value(centred, "bw")) > 0.01


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_rescaled_model_is_the_centred_one_without_means(layout) -> None:
    """The same within slopes when balanced: deviations are orthogonal to all that varies between clusters."""
    data = draw(MEDIATION, layout, 3, seed=6)
    rescaled, centred = fit("mlm_rescaled", MEDIATION, data), fit("mlm_centered", MEDIATION, data)
    for name in ("aw", "bw", "cw"):
        for r in range(3):
            assert value(rescaled, name, r) == pytest.approx(value(centred, name, r), abs=EXACT)
    for name in ("ab", "bb", "cb", "ind_b"):
        at = rescaled.labels.index(name)
        assert np.isnan(rescaled.estimate[:, at]).all()
        assert np.isnan(rescaled.se["expected"][:, at]).all()
    assert not np.isnan(value(rescaled, "ind_w"))


def test_rescaled_model_keeps_level_2_predictors() -> None:
    model = TwoLevelModel.from_syntax("level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x + c*z")
    without = TwoLevelModel.from_syntax("level: within\n y ~ bw*x\nlevel: between\n y ~ c*z\n x ~~ x")
    data = draw(model, UNBALANCED, 2, seed=7)
    rescaled, centred = fit("mlm_rescaled", model, data), fit("mlm_centered", without, data)
    for name in ("bw", "c", "between: y ~~ y", "between: y ~ 1"):
        for r in range(2):
            assert value(rescaled, name, r) == value(centred, name, r)
            assert se(rescaled, name, r=r) == se(centred, name, r=r)


def test_rescaled_model_with_one_label_at_both_levels_estimates_it_within() -> None:
    tied = TwoLevelModel.from_syntax("level: within\n y ~ b*x\nlevel: between\n y ~ b*x")
    data = draw(tied, UNBALANCED, 1, seed=8)
    scatter = data.statistics().scatter_within[0]
    y, x = (tied.level1.index(name) for name in ("y", "x"))
    assert value(fit("mlm_rescaled", tied, data), "b") == pytest.approx(scatter[y, x] / scatter[x, x], abs=EXACT)
