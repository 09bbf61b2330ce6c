"""`msem` with slopes on factors: convergence at and off the boundary, nodes by error, options, messages, words."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pandas as pd
import pytest

import simstudy
from simstudy.data.layout import ClusterLayout
from simstudy.data.products import ClusterProducts
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.errors import DataError
from simstudy.estimation import refined as refined_module
from simstudy.estimation.result import FitResult
from simstudy.likelihood.slopes import given_nodes
from simstudy.likelihood.slopes.integrals import integrated
from simstudy.methods.msem_slopes import PreparedSlopeMsem, SlopeMsem
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.draw import draw_cluster_statistics, draw_sample
from simstudy.population.population import Population

TEXT = """
level: within
  f =~ x1 + x2 + x3
  y ~ rv("s")*f
level: between
  g =~ x1 + x2 + x3
  y ~ b*g
  s ~ mean*1
  y ~~ t01*s
  g ~~ 0*s
"""
MODEL = TwoLevelModel.from_syntax(TEXT)
VALUES = {"within: f =~ x2": 0.8, "within: f =~ x3": 1.1, "between: g =~ x2": 0.9, "between: g =~ x3": 1.0, "b": 0.4,
          "mean": 0.5, "within: f ~~ f": 1.0, "within: x1 ~~ x1": 0.5, "within: x2 ~~ x2": 0.4,
          "within: x3 ~~ x3": 0.6, "within: y ~~ y": 0.5, "between: x1 ~~ x1": 0.1, "between: x2 ~~ x2": 0.1,
          "between: x3 ~~ x3": 0.1, "between: y ~~ y": 0.3, "between: g ~~ g": 0.5}  # fmt: skip


@cache
def population(variance: float, layout: ClusterLayout) -> Population:
    given = VALUES | {"between: s ~~ s": variance, "t01": 0.15 * np.sqrt(variance)}
    return Population(MODEL, tuple(given.get(name, 0.0) for name in MODEL.names), layout, f"factor slopes {variance}")


def statistics(variance: float, layout: ClusterLayout, replicates: int) -> TwoLevelStatistics:
    return draw_cluster_statistics(population(variance, layout), 7, range(replicates))


def prepared(layout: ClusterLayout, **options: object) -> PreparedSlopeMsem:
    return SlopeMsem(**options).prepare(MODEL, layout)  # type: ignore[arg-type]


def check_recovery(found: FitResult, truth: np.ndarray) -> None:
    assert found.converged.all()
    estimate = found.estimate
    error = estimate.std(axis=0, ddof=1) / np.sqrt(len(estimate))
    bias = np.abs(estimate.mean(axis=0) - truth)
    assert (bias < 4.0 * error + 0.03).all()  # 4 Monte Carlo SEs; .03: bias of order 1 / J
    for kind in ("observed", "robust"):
        square = np.nanmean(found.se[kind] ** 2, axis=0)  # a variance that is estimated as 0 has no SE
        ratio = np.sqrt(square) / estimate.std(axis=0, ddof=1)
        assert np.isnan(found.se[kind]).mean() < 0.01
        assert ((ratio > 0.7) & (ratio < 1.4)).all(), kind  # SDs of 120 estimates are known to 7 %


@pytest.mark.slow
def test_estimates_recover_the_population() -> None:
    layout = ClusterLayout.of([5, 10, 15] * 30)
    world = population(0.2, layout)
    found = prepared(layout, se=("observed", "robust")).fit(draw_cluster_statistics(world, 7, range(120)))
    check_recovery(found, np.asarray(world.values))
    assert found.measures["loglik_error"].max() < refined_module.ENOUGH


@pytest.mark.slow
@pytest.mark.parametrize("variance", [0.0, 0.02])
def test_fits_converge_where_slopes_hardly_vary(variance) -> None:
    """Small clusters; many estimates are on the boundary, where the likelihood is that of a singular covariance."""
    layout = ClusterLayout.of([5] * 50)
    found = prepared(layout).fit(statistics(variance, layout, 40))
    done = found.converged
    assert done.mean() > 0.95  # at most 1 of 40 runs out of steps
    assert 0.2 < found.measures["boundary"][done].mean() < 0.95
    assert np.isfinite(found.se["observed"][done, MODEL.names.index("mean")]).all()


def test_a_fit_is_a_maximum_and_no_bit_depends_on_the_batch() -> None:
    layout = ClusterLayout.of([4, 8] * 15)
    data = statistics(0.2, layout, 3)
    method = prepared(layout, se=("observed", "robust"))
    whole = method.fit(data)
    assert whole.converged.all()
    one = method.fit(data.select(np.array([2])))
    for key in ("observed", "robust"):
        np.testing.assert_array_equal(one.se[key], whole.se[key][2:])
    np.testing.assert_array_equal(one.estimate, whole.estimate[2:])
    np.testing.assert_array_equal(one.loglik, whole.loglik[2:])
    score = method.likelihood.evaluate(whole.estimate, ClusterProducts.of(data)).score
    inside = whole.measures["boundary"] == 0.0
    assert inside.any()
    gain = (score * np.matmul(whole.covariance["observed"], score[..., None])[..., 0]).sum(axis=-1)
    assert (np.abs(gain[inside]) < 1e-8).all()  # twice what a further step could bring; the search stops at 1e-10


@pytest.mark.slow
def test_steps_are_halved_until_the_maximum_stands(monkeypatch) -> None:
    """With a rule that is too coarse at first, the fit goes on with finer ones and comes to the same place."""
    layout = ClusterLayout.of([8] * 30)
    data = statistics(0.2, layout, 2)
    right = prepared(layout).fit(data)
    monkeypatch.setattr(given_nodes, "STEP", 1.7)
    monkeypatch.setattr(given_nodes, "SQUARES", np.inf)
    found = prepared(layout).fit(data)
    assert (found.measures["loglik_error"] < refined_module.ENOUGH).all()
    np.testing.assert_allclose(found.loglik, right.loglik, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.estimate, right.estimate, rtol=0, atol=1e-5)
    monkeypatch.setattr(refined_module, "HALVINGS", 1)
    coarse = prepared(layout).fit(data)
    assert (coarse.measures["loglik_error"] > refined_module.ENOUGH).any()  # and says so


def test_nodes_by_hand_are_what_is_used() -> None:
    layout = ClusterLayout.of([8] * 30)
    found = prepared(layout, nodes=31).fit(statistics(0.2, layout, 1))
    assert found.measures["nodes"][0] == 31
    assert np.isfinite(found.measures["loglik_error"][0])


def test_more_dimensions_than_can_be_done_are_refused_by_name() -> None:
    text = (
        "level: 1\n f =~ a + b + c\n" + "".join(f" y{k} ~ rv('s{k}')*f\n" for k in range(4)) + "level: 2\n y0 ~~ s0\n"
    )
    model, layout = TwoLevelModel.from_syntax(text), ClusterLayout.of([20] * 60)
    reason = SlopeMsem().supports(model, layout)
    assert reason is not None
    assert "4 slopes (s0, s1, s2, s3)" in reason
    assert "at most 3" in reason


def test_latent_slopes_are_integrated_over_beside_those_of_factors_only() -> None:
    """A slope of an observed variable in both blocks is an integral over its latent mean, unless a factor is there."""
    both = "level: 1\n f =~ a + b + c\n y ~ {}*f + rv('t')*x\nlevel: 2\n y ~ x\n"
    alone, beside = (TwoLevelModel.from_syntax(both.format(word)) for word in ("v", "rv('s')"))
    assert integrated(alone, "auto") == ()
    assert integrated(beside, "auto") == ("s", "t")
    assert integrated(beside, "hybrid") == ("s",)


def frame() -> pd.DataFrame:
    layout = ClusterLayout.of([8] * 30)
    sample = draw_sample(population(0.2, layout), 3, [0])
    data = pd.DataFrame(sample.rows[0], columns=list(sample.level1))
    return data.assign(g=np.repeat(np.arange(30), 8))


def test_a_fit_says_what_is_integrated_over_and_how_well() -> None:
    fit = simstudy.fit(TEXT + "twice := 2*mean\n", frame(), cluster="g")
    assert fit.converged
    words = fit.summary()
    assert "Integrated numerically over" in words
    assert "Error of the log-likelihood" in words
    assert fit.to_dict()["nodes"] >= 15
    assert fit.to_dict()["loglik_error"] < 1e-7
    assert fit.slopes[0].meaning == "factor"
    effects = fit.random_effects()
    assert effects["s"].std() > 0.1  # slopes of clusters differ
    mean = fit.params[fit.model.names.index("mean")]
    assert effects["s"].mean() == pytest.approx(mean, abs=0.02)  # posterior means average to the mean, about
    assert (effects["s_se"] < np.sqrt(fit.params[fit.model.names.index("between: s ~~ s")])).all()


def test_units_of_the_data_do_not_matter() -> None:
    data = frame()
    plain = simstudy.fit(TEXT, data, cluster="g")
    far = simstudy.fit(
        TEXT, data.assign(x1=data.x1 * 1e5, x2=data.x2 * 1e5, x3=data.x3 * 1e5, y=data.y + 1e4), cluster="g"
    )
    at = plain.model.names.index("mean")
    assert far.params[at] * 1e5 == pytest.approx(plain.params[at], rel=1e-6)  # two searches
    assert far.loglik + 3 * len(data) * np.log(1e5) == pytest.approx(plain.loglik, abs=1e-6)


def test_a_factor_without_indicators_is_told_what_it_lacks() -> None:
    with pytest.raises(DataError, match=r"'f =~ \.\.\.'"):
        simstudy.fit("level: 1\n y ~ rv('s')*f\nlevel: 2\n y ~~ s\n", frame(), cluster="g")


def test_the_expected_information_is_refused_by_name() -> None:
    reason = SlopeMsem(("expected",)).supports(MODEL, ClusterLayout.of([8] * 30))
    assert reason is not None
    assert "'f', which 's' multiplies, is a latent variable" in reason


@pytest.mark.slow
@pytest.mark.parametrize("slopes", ["latent", "hybrid"])
def test_missing_predictors_of_slopes_are_no_loss_of_truth(slopes) -> None:
    """Values of x missing at random given y; slopes have a predictor. Every fit converges."""
    model = TwoLevelModel.from_syntax(
        "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ bb*x + w\n s ~ mean*1 + g*w\n y ~~ t01*s\n"
    )
    given = {"bb": 0.6, "mean": 0.4, "g": 0.2, "t01": 0.05, "between: y ~ w": 0.3, "within: x ~~ x": 0.8,
             "between: x ~~ x": 0.35, "within: y ~~ y": 0.5, "between: y ~~ y": 0.25, "between: s ~~ s": 0.15,
             "between: w ~~ w": 1.0}  # fmt: skip
    truth = np.array([given.get(name, 0.0) for name in model.names])
    layout = ClusterLayout.of([6, 10] * 40)
    sample = draw_sample(Population(model, tuple(truth.tolist()), layout, "missing x"), 3, range(60))
    rows, x, y = sample.rows.copy(), model.level1.index("x"), model.level1.index("y")
    gone = np.random.default_rng(1).random(rows.shape[:2]) < 1.0 / (1.0 + np.exp(1.2 - rows[..., y]))
    rows[..., x][gone] = np.nan
    method = SlopeMsem(("observed", "robust"), slopes=slopes, missing="fiml").prepare(model, layout)
    found = method.fit(dataclasses.replace(sample, rows=rows))
    assert found.converged.all()
    assert found.measures["loglik_error"].max() < refined_module.ENOUGH
    mean = found.estimate.mean(axis=0)
    error = found.estimate.std(axis=0, ddof=1) / np.sqrt(60)
    exact = np.array([slopes == "latent" or "s ~~" not in name for name in model.names])  # the hybrid's are too small
    exact &= np.array([name != "t01" for name in model.names]) | (slopes == "latent")
    assert (
        np.abs(mean - truth)[exact] < 4.0 * error[exact] + 0.02
    ).all()  # 4 Monte Carlo SEs; .02: bias of order 1 / J
