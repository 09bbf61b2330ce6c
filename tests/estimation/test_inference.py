"""From information matrices to standard errors: inverse, sandwich, delta method, Monte Carlo intervals."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_data import BALANCED, CONTEXTUAL, MEDIATION, OUTCOME_2, UNBALANCED, draw, fit
from scipy import stats

from simstudy.estimation.inference import covariance, montecarlo, sandwich, with_defined
from simstudy.estimation.result import FitResult
from simstudy.model.twolevel import TwoLevelModel


def test_covariance_is_the_inverse_or_nan() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=(4, 3, 3))
    information = a @ a.swapaxes(-1, -2) + 0.1 * np.eye(3)
    information[1] = -np.eye(3)
    information[2] = np.ones((3, 3))
    information[3, 0, 0] = np.nan
    found = covariance(information)
    np.testing.assert_allclose(found[0], np.linalg.inv(information[0]), rtol=1e-10)  # rounding
    assert np.isnan(found[1:]).all()


def test_inverse_does_not_depend_on_units() -> None:
    """Scaled to a unit diagonal first: 1e-9 and 1e9 in one matrix are no singularity."""
    scale = np.array([1e-9, 1.0, 1e9])
    information = np.array([[2.0, 0.5, 0.2], [0.5, 1.0, 0.3], [0.2, 0.3, 3.0]])
    found = covariance((information * np.outer(scale, scale))[None])[0]
    np.testing.assert_allclose(found * np.outer(scale, scale), np.linalg.inv(information), rtol=1e-12)


def test_sandwich_is_a_sum_over_clusters() -> None:
    rng = np.random.default_rng(2)
    scores, a = rng.normal(size=(2, 7, 3)), rng.normal(size=(2, 3, 3))
    bread = a @ a.swapaxes(-1, -2)
    found = sandwich(bread, scores)
    for r in range(2):
        expected = sum(np.outer(bread[r] @ s, bread[r] @ s) for s in scores[r])
        np.testing.assert_allclose(found[r], expected, rtol=1e-12)  # rounding


@pytest.mark.parametrize("kind", ["expected", "observed", "robust"])
def test_delta_method_for_every_kind_of_se(kind) -> None:
    found = fit("msem", MEDIATION, draw(MEDIATION, UNBALANCED, 3, seed=4), se=["expected", "observed", "robust"])
    at = {name: found.labels.index(name) for name in ("ab", "bb", "ind_b", "aw")}
    for r in range(3):
        a, b = found.estimate[r, at["ab"]], found.estimate[r, at["bb"]]
        cov = found.covariance[kind][r]
        assert found.estimate[r, at["ind_b"]] == a * b
        gradient = np.array([b, a])
        free = [at["ab"], at["bb"]]
        variance = gradient @ cov[np.ix_(free, free)] @ gradient
        assert found.se[kind][r, at["ind_b"]] == pytest.approx(np.sqrt(variance), rel=1e-12)  # rounding
        with_another = gradient @ cov[free, at["aw"]]
        assert cov[at["ind_b"], at["aw"]] == pytest.approx(with_another, rel=1e-9, abs=1e-14)
        np.testing.assert_allclose(cov, cov.T, rtol=1e-12, atol=1e-14)


def test_definitions_of_definitions() -> None:
    model = TwoLevelModel.from_syntax(
        CONTEXTUAL.syntax + "\nlevel: within\n x ~~ sx*x\nlevel: between\n x ~~ tx*x\n"
        "icc := tx / (tx + sx)\n icc2 := icc^2\n constant := 2\n free := bw"
    )
    found = fit("msem", model, draw(model, BALANCED, 2, seed=4))
    at = {name: found.labels.index(name) for name in ("icc", "icc2", "constant", "free", "bw")}
    icc, se = found.estimate[:, at["icc"]], found.se["expected"]
    np.testing.assert_allclose(found.estimate[:, at["icc2"]], icc**2, rtol=1e-15)
    np.testing.assert_allclose(se[:, at["icc2"]], 2 * np.abs(icc) * se[:, at["icc"]], rtol=1e-12)  # chain rule
    np.testing.assert_array_equal(found.estimate[:, at["constant"]], 2.0)
    np.testing.assert_array_equal(se[:, at["constant"]], 0.0)
    np.testing.assert_allclose(se[:, at["free"]], se[:, at["bw"]], rtol=1e-14)
    assert fit("msem", OUTCOME_2, draw(OUTCOME_2, BALANCED)).labels[-1] == "ind"


def test_what_a_method_does_not_speak_about_is_nan_and_so_is_what_depends_on_it() -> None:
    model = TwoLevelModel.from_syntax(
        "level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x\n"
        "twice := 2*bb\n contextual := bb - bw\n indirectly := contextual + twice"
    )
    found = fit("aggregated", model, draw(model, BALANCED, 3), se=["expected", "robust"])
    at = {name: found.labels.index(name) for name in found.labels}
    assert found.converged.all()
    for name in ("bw", "within: y ~~ y", "contextual", "indirectly"):
        assert np.isnan(found.estimate[:, at[name]]).all(), name
        for kind in ("expected", "robust"):
            assert np.isnan(found.se[kind][:, at[name]]).all(), name
            assert np.isnan(found.covariance[kind][:, at[name]]).all(), name
    np.testing.assert_array_equal(found.estimate[:, at["twice"]], 2 * found.estimate[:, at["bb"]])
    for kind in ("expected", "robust"):
        np.testing.assert_allclose(found.se[kind][:, at["twice"]], 2 * found.se[kind][:, at["bb"]], rtol=1e-14)
        assert np.isfinite(found.covariance[kind][:, at["twice"], at["bb"]]).all()


def test_failed_replicates_stay_blank() -> None:
    sample = draw(CONTEXTUAL, UNBALANCED, 3, seed=1)
    sample.rows[1] = np.nan
    found = fit("msem", CONTEXTUAL, sample)
    assert np.isnan(found.estimate[1]).all()
    assert np.isnan(found.se["expected"][1]).all()
    assert np.isfinite(found.se["expected"][[0, 2]]).all()


def test_a_model_without_definitions_is_left_alone() -> None:
    model = TwoLevelModel.from_syntax("level: 1\n y ~ x\nlevel: 2\n y ~ x")
    found = fit("msem", model, draw(model, BALANCED))
    assert with_defined(found, model.estimands) is found


def test_intervals_of_free_parameters_survive() -> None:
    model = TwoLevelModel.from_syntax("level: 1\n y ~ a*x\nlevel: 2\n y ~ b*x")
    plain = fit("msem", model, draw(model, BALANCED))
    bounds = (plain.estimate - 1.0, plain.estimate + 1.0)
    with_bounds = FitResult(**{**plain.__dict__, "intervals": {"profile": bounds}})
    estimands = TwoLevelModel.from_syntax("level: 1\n y ~ a*x\nlevel: 2\n y ~ b*x\n d := a*b").estimands
    low, high = with_defined(with_bounds, estimands).intervals["profile"]
    np.testing.assert_array_equal(low[:, :-1], bounds[0])
    assert np.isnan(high[:, -1]).all()


def test_montecarlo_intervals_are_quantiles_of_the_parameters_normal_distribution() -> None:
    """Of a difference the distribution is normal: quantiles of 20,000 draws, within 5 of their standard errors."""
    model = TwoLevelModel.from_syntax("level: 1\n y ~ bw*x\nlevel: 2\n y ~ bb*x\n d := bb - bw\n p := bb*bw")
    found = fit("msem", model, draw(model, UNBALANCED, 2, seed=2))
    draws, level = 20_000, 0.9
    low, high = montecarlo(found, model.estimands, 7, "k", [0, 1], draws, level).intervals["montecarlo"]
    d, p = found.labels.index("d"), found.labels.index("p")
    se = found.se["expected"]
    tail = (1 - level) / 2
    normal = stats.norm.ppf(1 - tail)
    mcse = np.sqrt(tail * (1 - tail) / draws) / stats.norm.pdf(normal)
    for r in range(2):
        assert (high[r, d] - found.estimate[r, d]) / se[r, d] == pytest.approx(normal, abs=5 * mcse)
        assert (low[r, d] - found.estimate[r, d]) / se[r, d] == pytest.approx(-normal, abs=5 * mcse)
        assert low[r, p] < found.estimate[r, p] < high[r, p]
    assert np.isnan(low[:, : len(model.names)]).all()  # they speak about defined parameters


def test_montecarlo_intervals_are_nan_where_there_is_no_estimate() -> None:
    sample = draw(CONTEXTUAL, UNBALANCED, 2, seed=1)
    sample.rows[0] = np.nan
    found = fit("msem", CONTEXTUAL, sample)
    low, _ = montecarlo(found, CONTEXTUAL.estimands, 1, "k", [0, 1], 50, 0.95).intervals["montecarlo"]
    at = found.labels.index("contextual")
    assert np.isnan(low[0, at])
    assert np.isfinite(low[1, at])
    silent = fit("aggregated", CONTEXTUAL, draw(CONTEXTUAL, UNBALANCED, 1))
    low, _ = montecarlo(silent, CONTEXTUAL.estimands, 1, "k", [0], 50, 0.95).intervals["montecarlo"]
    assert np.isnan(low).all()
