"""Random slopes of a fit: what they multiply, each cluster's own, the test of their variance, derived parameters."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from slope_data import LATENT, MEDIATION, WITHIN, school_data

import simstudy
from simstudy.analysis import derived
from simstudy.analysis.as_dict import fit_as_dict
from simstudy.analysis.level_fit import level_fit
from simstudy.analysis.nested import mixture_pvalue, slope_variance_test
from simstudy.analysis.reliability import reliability
from simstudy.analysis.result import FitRecord
from simstudy.analysis.scores import factor_scores
from simstudy.analysis.slopes import random_effects, random_elements
from simstudy.errors import EstimatorError
from simstudy.estimation.result import Status
from simstudy.methods import registry

REFERENCE = Path(__file__).parents[1] / "reference"
sys.path.insert(0, str(REFERENCE))


@cache
def fitted(text: str = LATENT, slopes: str = "auto", **options) -> FitRecord:
    return simstudy.fit(text, school_data(), cluster="school", slopes=slopes, **options)


# ---- what is said ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "slopes", "meaning", "says"),
    [
        (LATENT, "auto", "latent", "deviation of x from its cluster's latent mean"),
        (LATENT, "hybrid", "hybrid", "the variance of s is too small"),
        (LATENT, "fixed", "fixed", "the path of y on x within clusters stands for its mean"),
        (WITHIN, "auto", "observed", "stands in the within block only"),
        (WITHIN, "latent", "observed", "stands in the within block only"),
    ],
)
def test_a_fit_says_what_a_slope_multiplies(text: str, slopes: str, meaning: str, says: str) -> None:
    fit = fitted(text, slopes)
    (fact,) = fit.slopes
    assert (fact.name, fact.outcome, fact.predictor, fact.meaning) == ("s", "y", "x", meaning)
    assert says in fact.estimates


@pytest.mark.parametrize(
    ("text", "options", "slope", "meaning", "others"),
    [
        (LATENT, {}, "s", "latent", {"observed", "hybrid"}),
        (LATENT, {"slopes": "hybrid"}, "s", "hybrid", {"observed", "latent"}),
        (LATENT, {"slopes": "fixed"}, "s", "fixed", {"observed", "latent", "hybrid"}),
        (WITHIN, {}, "s", "observed", {"latent", "hybrid"}),
        (MEDIATION, {}, "bj", "latent", {"observed", "hybrid"}),  # a mediator in both blocks is decomposed, too
        (MEDIATION, {}, "aj", "observed", {"latent", "hybrid"}),
        (MEDIATION, {"slopes": "observed"}, "bj", "observed", {"latent", "hybrid"}),
        (LATENT, {"estimator": "mlm_centered"}, "s", "centred", set()),
    ],
)  # fmt: skip
def test_a_fit_says_what_other_choices_would_estimate(text, options, slope, meaning, others) -> None:
    data = school_data(30)
    rng, (at, _) = np.random.default_rng(1), pd.factorize(data["school"])
    data["m"] = 0.4 * data["x"] + rng.normal(size=30)[at] + rng.normal(size=len(data))
    fit = simstudy.fit(text, data, cluster="school", nodes=None, **options)
    fact = next(fact for fact in fit.slopes if fact.name == slope)
    assert (fact.meaning, set(fact.alternatives)) == (meaning, others)
    shown = fit.summary(width=120).splitlines()
    for name, words in fact.alternatives.items():
        assert f"      {name}: {words}" in shown  # one line each
    assert next(one for one in fit.to_dict()["slopes"] if one["name"] == slope)["alternatives"] == fact.alternatives


def test_other_methods_take_slopes_as_fixed() -> None:
    fit = simstudy.fit(LATENT, school_data(), cluster="school", estimator="disaggregated")
    assert [fact.meaning for fact in fit.slopes] == ["fixed"]


@pytest.mark.parametrize(
    ("method", "meaning", "says"),
    [
        ("mlm", "uncentred", "a mixture of the effects within and between clusters"),
        ("mlm_contextual", "contextual", "that mean plus the contextual effect"),
        ("mlm_centered", "centred", "from its observed cluster mean"),
        ("slopes_as_outcomes", "centred", "from its observed cluster mean"),
    ],
)
def test_other_methods_with_slopes_of_their_own_say_what_these_are(method: str, meaning: str, says: str) -> None:
    fit = simstudy.fit(LATENT, school_data(), cluster="school", estimator=method)
    (fact,) = fit.slopes
    assert fact.meaning == meaning
    assert says in fact.estimates
    path = fit.parameters.query("lhs == 'y' and op == '~' and rhs == 'x' and level == 'between'")["est"].iloc[0]
    mean = fit.parameters.query("lhs == 's' and op == '~1'")["est"].iloc[0]
    assert (path == mean) == (method == "mlm")  # one number for both levels


def test_json_has_the_slopes() -> None:
    fit = fitted()
    found = json.loads(json.dumps(fit_as_dict(fit), allow_nan=False))
    assert found["boundary"] is False
    (slope,) = found["slopes"]
    by_label = fit.parameters.set_index("label")
    assert slope["mean"] == by_label.loc["gamma", "est"]
    assert slope["mean_se"] == by_label.loc["gamma", "se"]
    row = fit.parameters.query("lhs == 's' and op == '~~' and rhs == 's'").iloc[0]
    assert (slope["variance"], slope["variance_se"]) == (row["est"], row["se"])
    assert found["options"]["slopes"] == "auto"
    path = next(p for p in found["parameters"] if p["op"] == "~" and p["level"] == "within")
    assert path["est"] is None  # not 0: it is another number in every cluster
    assert {"loglik", "npar", "aic", "bic"} <= set(found)
    assert "chisq" not in found


def test_a_variance_of_zero_is_a_fact_with_a_reason() -> None:
    """Data whose slopes vary less than chance would make them."""
    data = school_data(n_clusters=20, seed=3, spread=0.0)
    fit = simstudy.fit(LATENT.replace("  y ~~ s\n", "  y ~~ 0*s\n"), data, cluster="school")
    assert fit.converged
    assert fit.admissible
    assert fit_as_dict(fit)["boundary"] is True
    assert any("the variance of 's' is 0 at the maximum" in note for note in fit.notes)
    row = fit.parameters.query("lhs == 's' and rhs == 's'").iloc[0]
    assert row["est"] < 1e-8  # the rule of `slopes.ZERO`
    assert np.isnan(row["se"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slopes": "latnt"}, "slopes: found 'latnt'; allowed: auto, observed, latent, hybrid, fixed"),
        ({"slopes": "latent", "estimator": "muml"}, "method 'muml' has no choice of 'slopes'; it goes with"),
        ({"nodes": 0}, "nodes: found 0"),
    ],
)
def test_choices_that_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(EstimatorError, match=message):
        simstudy.fit(LATENT, school_data(), cluster="school", **arguments)


def test_choices_need_a_random_slope() -> None:
    with pytest.raises(EstimatorError) as caught:
        simstudy.fit("level: 1\n y ~ x\nlevel: 2\n y ~ x", school_data(), cluster="school", slopes="latent", nodes=5)
    assert [text.split(":")[0] for text in caught.value.problems] == ["slopes", "nodes"]


@pytest.mark.parametrize(
    "function",
    [derived.residuals, level_fit, reliability],
    ids=lambda function: function.__name__,
)
def test_what_needs_one_covariance_matrix_is_declined(function) -> None:
    with pytest.raises(EstimatorError, match="models with random slopes have no"):
        function(fitted())


def test_bootstraps() -> None:
    """Both kinds give intervals about as wide as Wald's; data cannot be drawn from the hybrid."""
    wald = fitted().parameters.set_index("label").loc["gamma"]
    for ci in ("bootstrap", "cluster_bootstrap"):
        found = fitted(LATENT, "auto", ci=ci, draws=100).parameters.set_index("label").loc["gamma"]
        ratio = (found["ci_upper"] - found["ci_lower"]) / (wald["ci_upper"] - wald["ci_lower"])
        assert 0.7 < ratio < 1.4  # a width from 100 draws has an SE of some 8 %
    with pytest.raises(EstimatorError, match="no data can be drawn"):
        fitted(LATENT, "hybrid", ci="bootstrap", draws=100)


# ---- each cluster's own ---------------------------------------------------------------------------------------------


def test_observed_slopes_are_the_best_linear_predictions() -> None:
    """Against mu + T Z'V^-1 (y - Z mu) from each cluster's rows, with V = Z T Z' + sigma^2 I."""
    fit, data = fitted(WITHIN), school_data()
    at = dict(zip(fit.model.names, fit.params, strict=True))
    mean = np.array([at["between: y ~ 1"], at["between: s ~ 1"]])
    t = np.array(
        [
            [at["between: y ~~ y"], at["between: y ~~ s"]],
            [at["between: y ~~ s"], at["between: s ~~ s"]],
        ]
    )
    found = random_effects(fit)
    for school, rows in data.groupby("school"):
        z = np.column_stack([np.ones(len(rows)), rows["x"]])
        gain = t @ z.T @ np.linalg.inv(z @ t @ z.T + at["within: y ~~ y"] * np.eye(len(rows)))
        expected = mean + gain @ (rows["y"].to_numpy() - z @ mean)
        se = np.sqrt(np.diag(t - gain @ z @ t))
        np.testing.assert_allclose(found.loc[school, ["y", "s"]].astype(float), expected, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(found.loc[school, ["y_se", "s_se"]].astype(float), se, rtol=1e-9)


def test_latent_slopes_are_those_of_the_integral() -> None:
    """Against Bayes' theorem with the prior drawn: weights of 400,000 draws of (y_B, x_B, s) in three clusters."""
    fit, data = fitted(), school_data()
    at = dict(zip(fit.model.names, fit.params, strict=True))
    rng = np.random.default_rng(8)
    n = 400_000
    x = at["between: x ~ 1"] + np.sqrt(at["between: x ~~ x"]) * rng.normal(size=n)
    t = np.array([[at["between: y ~~ y"], at["between: y ~~ s"]], [at["between: y ~~ s"], at["between: s ~~ s"]]])
    u = rng.multivariate_normal([at["between: y ~ 1"], at["gamma"]], t, n)
    y, s = u[:, 0] + at["bb"] * x, u[:, 1]
    found = random_effects(fit)
    for school in ("s0", "s1", "s2"):
        rows = data[data["school"] == school]
        log = np.zeros(n)
        for xi, yi in rows[["x", "y"]].to_numpy():
            log -= (xi - x) ** 2 / (2 * at["within: x ~~ x"]) + (yi - y - s * (xi - x)) ** 2 / (
                2 * at["within: y ~~ y"]
            )
        w = np.exp(log - log.max())
        w /= w.sum()
        effective = 1.0 / (w**2).sum()
        for name, values in (("s", s), ("x", x), ("y", y)):
            center = w @ values
            sd = np.sqrt(w @ (values - center) ** 2)
            error = 4.0 * sd / np.sqrt(effective)  # Monte Carlo error of the weighted mean
            assert abs(found.loc[school, name] - center) < error
            assert abs(found.loc[school, f"{name}_se"] - sd) < error


@pytest.mark.parametrize(("text", "slopes"), [(WITHIN, "auto"), (LATENT, "latent"), (LATENT, "hybrid")])
def test_at_the_maximum_they_reproduce_the_moments(text: str, slopes: str) -> None:
    """EM's fixed point: the mean of E(s | data) is the mean of s, and that of E((s - mean)^2 | data) its variance."""
    fit = fitted(text, slopes)
    found = random_elements(fit)
    k = found.names.index("s")
    table = fit.parameters.query("lhs == 's'").set_index("op")["est"]
    np.testing.assert_allclose(found.mean[:, k].mean(), table["~1"], rtol=1e-6)  # the optimiser's stop
    square = (found.mean[:, k] - table["~1"]) ** 2 + found.cov[:, k, k]
    np.testing.assert_allclose(square.mean(), table["~~"], rtol=1e-5)  # and 7 nodes for the fit, 15 here


def test_scores_hold_slopes_intercepts_and_within_parts() -> None:
    data = school_data()
    scores = factor_scores(fitted())
    assert list(scores.between) == ["s", "s_se", "y", "y_se", "x", "x_se"]
    assert scores.between.index.tolist() == data["school"].unique().tolist()
    assert scores.within.index.tolist() == data.index.tolist()
    both = scores.within["x"] + scores.between["x"].loc[scores.within["cluster"]].to_numpy()
    np.testing.assert_allclose(both, data["x"], atol=1e-12)  # rounding


def test_factors_of_the_between_level_are_scored() -> None:
    """A factor whose single indicator has no residual is that indicator."""
    text = WITHIN + "  f =~ 1*y\n  y ~~ 0*y\n"
    text = text.replace("  y ~~ s\n", "  f ~~ s\n")
    scores = random_effects(simstudy.fit(text, school_data(), cluster="school"))
    intercept = scores["y"] - (scores["y"] - scores["f"]).mean()
    np.testing.assert_allclose(scores["f"], intercept, atol=1e-7)
    np.testing.assert_allclose(scores["f_se"], scores["y_se"], rtol=1e-6)


def test_methods_without_slopes_have_none() -> None:
    with pytest.raises(EstimatorError, match="use msem with slopes"):
        random_effects(simstudy.fit(LATENT, school_data(), cluster="school", slopes="fixed"))
    with pytest.raises(EstimatorError, match="the model has no random slope"):
        random_effects(simstudy.fit("level: 1\n y ~ x\nlevel: 2\n y ~ x", school_data(), cluster="school"))


# ---- test of a variance ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["ii_m111_bal", "iii_m111_unb"])
def test_the_statistic_is_lme4s(case: str) -> None:
    """Twice the difference of the log-likelihoods of y ~ x + (x | g) and y ~ x + (1 | g)."""
    folder = REFERENCE / "data" / case
    random = json.loads((folder / "mixed_slopes.json").read_text())["lme4/nlme"]["fits"]["lme4_rs_ML"]["logLik"]
    fixed = json.loads((folder / "result_lme.json").read_text())["fits"]["lme4_ri_ML"]["logLik"]
    fit = simstudy.fit(WITHIN, pd.read_csv(folder / "data.csv"), cluster="g")
    test = slope_variance_test(fit, "s")
    assert test.df == (1, 2)
    np.testing.assert_allclose(test.statistic, 2.0 * (random - fixed), atol=2e-7)  # lme4's stopping rule
    expected = 0.5 * (stats.chi2.sf(test.statistic, 1) + stats.chi2.sf(test.statistic, 2))
    np.testing.assert_allclose(test.pvalue, expected, rtol=1e-12)


@pytest.mark.parametrize("slopes", ["latent", "hybrid"])
def test_without_the_variance_it_is_the_model_of_fixed_slopes(slopes: str) -> None:
    """Another likelihood altogether: that of random intercepts."""
    test = slope_variance_test(fitted(LATENT, slopes), "s")
    np.testing.assert_allclose(test.loglik_fixed, fitted(LATENT, "fixed").measures["loglik"], atol=1e-7)  # stops
    assert test.loglik_random == fitted(LATENT, slopes).measures["loglik"]


def test_no_gain_has_p_one() -> None:
    data = school_data(n_clusters=12, seed=1, spread=0.0)
    test = slope_variance_test(simstudy.fit(WITHIN.replace("y ~~ s", "y ~~ 0*s"), data, cluster="school"), "s")
    assert (test.statistic, test.df, test.pvalue) == (0.0, (0, 1), 1.0)


def test_the_mixture_is_the_distribution_of_a_projection() -> None:
    """Squared length of a standard normal vector projected on a half-space: q free directions, one that is >= 0."""
    rng = np.random.default_rng(4)
    for q in (0, 1, 3):
        z = rng.normal(size=(200_000, q + 1))
        z[:, -1] = np.maximum(z[:, -1], 0.0)
        p = mixture_pvalue((z**2).sum(axis=1), q)
        for alpha in (0.01, 0.05, 0.2):
            assert abs((p <= alpha).mean() - alpha) < 4.0 * np.sqrt(alpha * (1 - alpha) / 200_000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WITHIN.replace("y ~~ s", "y ~ s"), "has outcomes"),
        (WITHIN + "  s ~~ v*s\n  y ~~ v*y\n", "no free parameter of its own"),
        (WITHIN.replace("y ~~ s", "y ~~ 0*s\n  s ~~ 0.1*s"), "no free parameter of its own"),
    ],
)
def test_tests_that_have_no_meaning_are_declined(text: str, message: str) -> None:
    fit = simstudy.fit(text, school_data(), cluster="school")
    with pytest.raises(EstimatorError, match=message):
        slope_variance_test(fit, "s")
    with pytest.raises(EstimatorError, match=r"no random slope 't'.*the model has s"):
        slope_variance_test(fit, "t")


# ---- mediation ------------------------------------------------------------------------------------------------------


def test_the_mean_indirect_effect_is_a_defined_parameter() -> None:
    """Within indirect effect of theory D1.4's fit of this case with quadrature of its own: .090922 (SE .0239)."""
    folder = REFERENCE / "data" / "xiv_rs_m111"
    text = (folder / "model.lav").read_text() + "  a ~ ma*1\n  b ~ mb*1\n  a ~~ sab*b\nind := ma*mb + sab\n"
    data = pd.read_csv(folder / "data.csv")
    fit = simstudy.fit(text.replace("  a ~~ b\n", ""), data, cluster="g", slopes="latent", ci="montecarlo")
    row = fit.parameters.set_index("label").loc["ind"]
    np.testing.assert_allclose(row["est"], 0.090922, atol=2e-5)  # nodes: 7 here, 5 there
    np.testing.assert_allclose(row["se"], 0.0239, atol=5e-5)  # digits given
    at = [fit.model.names.index(name) for name in ("ma", "mb", "sab")]
    a, b, sab = fit.params[at]
    draws = np.random.default_rng(2).multivariate_normal([a, b, sab], fit.covariance[np.ix_(at, at)], 200_000)
    low, high = np.quantile(draws[:, 0] * draws[:, 1] + draws[:, 2], [0.025, 0.975])
    # an end of an interval of 1,000 draws has an SE of some .085 SE of the estimate
    np.testing.assert_allclose([row["ci_lower"], row["ci_upper"]], [low, high], atol=4 * 0.085 * 0.0239)


def test_fixed_slopes_leave_the_covariance_out() -> None:
    rng = np.random.default_rng(3)
    n, j = 10, 40
    g = np.repeat(np.arange(j), n)
    u = rng.multivariate_normal([0.6, 0.6], [[0.16, 0.1], [0.1, 0.16]], j)
    x = rng.normal(size=j * n)
    m = u[g, 0] * x + rng.normal(scale=0.8, size=j * n)
    y = u[g, 1] * m + 0.2 * x + rng.normal(scale=0.7, size=j * n)
    data = pd.DataFrame({"g": g, "x": x, "m": m, "y": y})
    fixed = simstudy.fit(MEDIATION, data, cluster="g", slopes="fixed").parameters.set_index("label")["est"]
    assert np.isfinite(fixed["ab"])
    assert np.isnan(fixed["ind"])
    random = simstudy.fit(MEDIATION, data, cluster="g", slopes="observed").parameters.set_index("label")["est"]
    np.testing.assert_allclose(random["ind"], random["a"] * random["b"] + random["sab"], rtol=1e-12)


# ---- nothing but slopes varies over clusters ------------------------------------------------------------------------

SLOPES_ALONE = 'level: within\n  y ~ rv("s")*x\nlevel: between\n  s ~ 1\n  s ~~ s\n'


def test_a_between_block_may_have_slopes_alone() -> None:
    """Log-likelihood of the rows of each cluster, written out: y ~ N(a + b x, v I + t x x')."""
    found, frame = fitted(SLOPES_ALONE), school_data()
    assert found.converged
    assert found.measures["npar"] == 6
    est = dict(zip(found.model.names, found.params, strict=True))
    value = float(stats.norm.logpdf(frame["x"], est["within: x ~ 1"], np.sqrt(est["within: x ~~ x"])).sum())
    for _, rows in frame.groupby("school"):
        x, mean = rows["x"].to_numpy(), est["within: y ~ 1"] + est["between: s ~ 1"] * rows["x"]
        cov = est["within: y ~~ y"] * np.eye(len(x)) + est["between: s ~~ s"] * np.outer(x, x)
        value += float(stats.multivariate_normal.logpdf(rows["y"], mean, cov))
    assert found.measures["loglik"] == pytest.approx(value, rel=1e-12)  # sums of 1e3 terms
    assert list(random_effects(found).columns) == ["s", "s_se"]


@pytest.mark.parametrize("name", registry.names())
def test_slopes_alone_are_fitted_or_refused_by_every_method(name) -> None:
    """Held fixed, nothing is left that varies: methods of two levels say so instead of stopping."""
    found = simstudy.fit(SLOPES_ALONE, school_data(), cluster="school", estimator=name)
    assert found.status in (Status.OK, Status.NOT_SUPPORTED), found.notes
    if name in ("aggregated", "em", "fiml_wide", "goldstein", "haernqvist", "muml", "schmidt"):
        assert any("nothing varies over clusters" in note for note in found.notes)


def test_a_slopes_variance_is_tested_under_the_models_constraints() -> None:
    tied = LATENT + "bb - gamma == 0\n"
    data = school_data()
    full = simstudy.fit(tied, data, cluster="school")
    null = simstudy.fit(tied.replace("  y ~~ s\n", "  s ~~ 0*s\n"), data, cluster="school")
    statistic = 2.0 * (full.loglik - null.loglik)
    assert slope_variance_test(full, "s").statistic == pytest.approx(statistic, abs=1e-7)  # searches to 1e-10
    assert slope_variance_test(fitted(), "s").statistic != pytest.approx(statistic, abs=1e-3)
    bounded = simstudy.fit(LATENT + "  s ~~ lower(.05)*s\n", data, cluster="school")
    with pytest.raises(EstimatorError, match="a bound says more of 'between: s ~~ s'"):
        slope_variance_test(bounded, "s")


def test_standardised_values_and_r_squares_of_slopes_are_those_of_the_between_level() -> None:
    """Within clusters, variances of what slopes act on depend on the predictors: there is no number."""
    data = school_data()
    text = LATENT.replace("  y ~~ s\n", "  s ~ b*size\n  y ~~ s\n") + "twice := 2*b\nmean := gamma\n"
    fit = simstudy.fit(text, data, cluster="school")
    values = dict(zip(fit.model.names, fit.params, strict=True))
    size = values["between: size ~~ size"]
    total = values["b"] ** 2 * size + values["between: s ~~ s"]
    r2 = derived.r_squared(fit).set_index(["level", "variable"])["r2"]
    assert r2["between", "s"] == pytest.approx(1.0 - values["between: s ~~ s"] / total, abs=1e-12)
    assert np.isnan(r2["within", "y"])
    found = derived.standardized(fit)
    table = found.set_index(["level", "lhs", "op", "rhs"])["est"]
    assert table["between", "s", "~", "size"] == pytest.approx(values["b"] * np.sqrt(size / total), abs=1e-12)
    assert table["within", "x", "~~", "x"] == pytest.approx(1.0, abs=1e-12)
    assert np.isnan(table["within", "y", "~~", "y"])
    defined = found.query("op == ':='").set_index("lhs")["est"]
    assert defined["twice"] == pytest.approx(2 * table["between", "s", "~", "size"], abs=1e-12)
    assert np.isnan(defined["mean"])  # a slope's mean over its standard deviation is no standardised effect
