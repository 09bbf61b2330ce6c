"""`mlm` and `mlm_centered` against lme4, nlme, MixedLM and OpenMx; the same models as two-level models by `msem`."""

from __future__ import annotations

import numpy as np
import pytest
from reference_cases import content, fit, frame

from simstudy.likelihood.mixed.random_intercept import Moments, fit_random_intercept

MODEL = """
level: within
  y ~ w*x
level: between
  y ~ b*x
"""
CASES = ("ii_m111_bal", "iii_m111_unb")

# lme4 and nlme stop when their profiles are flat to about 1e-8 in the variances (measured 6e-9 and 4e-8).
SLOPE, VARIANCE = 5e-8, 5e-7
# Flat at the maximum: second order in the error of the variances.
LOGLIK = 1e-13
# Optimisers with numerical derivatives: measured 4e-6 (slopes), 1e-5 (variances), 3e-6 (SEs, numerical Hessian), 2e-11.
LOOSE = {"slope": 2e-5, "variance": 1e-4, "se": 1e-4, "loglik": 1e-9}


def regressors(method: str) -> dict[str, str]:
    """Our names for their coefficients."""
    if method == "mlm":
        return {"(Intercept)": "between: y ~ 1", "x": "w"}
    return {"(Intercept)": "between: y ~ 1", "x_w": "w", "x_mean": "b"}


@pytest.mark.parametrize("likelihood", ["ML", "REML"])
@pytest.mark.parametrize("method", ["mlm", "mlm_centered"])
@pytest.mark.parametrize("case", CASES)
def test_random_intercept_models_are_lme4s(case, method, likelihood, differences) -> None:
    found = fit(method, MODEL, frame(case), likelihood=likelihood.lower())
    part = "ri" if method == "mlm" else "ri_wb"
    stored = content(case, "result_lme.json")["fits"]
    theirs, row = stored[f"lme4_{part}_{likelihood}"], f"{case} lme4 {part} {likelihood}"
    for key, name in regressors(method).items():
        differences(row, "estimate", found.value(name), theirs["fixed"][key], SLOPE, key)
        differences(row, "se expected", found.se(name), theirs["se"][key], SLOPE, key)
    between, within = (entry["sdcor"] ** 2 for entry in theirs["varcomp"])
    differences(row, "variance", found.value("between: y ~~ y"), between, VARIANCE, "tau2")
    differences(row, "variance", found.value("within: y ~~ y"), within, VARIANCE, "sigma2")
    differences(row, "loglik", found.loglik, theirs["logLik"], LOGLIK)
    assert found.loglik > theirs["logLik"] - 1e-9  # ours is the maximum
    if method == "mlm":  # one slope, reported for both levels
        assert found.value("w") == found.value("b")

    theirs, row = stored[f"nlme_{part}_{likelihood}"], f"{case} nlme {part} {likelihood}"
    k = len(regressors(method))
    n = found.sample.layout.n_obs
    adjusted = np.sqrt(n / (n - k)) if likelihood == "ML" else 1.0  # nlme's summary: sigma with N - k
    for key, name in regressors(method).items():
        differences(row, "estimate", found.value(name), theirs["fixed"][key], SLOPE, key)
        differences(row, "se expected", found.se(name) * adjusted, theirs["se"][key], SLOPE, key)
    differences(row, "variance", found.value("between: y ~~ y"), theirs["D"][0][0], VARIANCE, "tau2")
    differences(row, "variance", found.value("within: y ~~ y"), theirs["sigma2"], VARIANCE, "sigma2")
    differences(row, "loglik", found.loglik, theirs["logLik"], LOGLIK)

    theirs, row = (
        content(case, "result_statsmodels.json")["fits"][f"{part}_{likelihood}"],
        f"{case} MixedLM {part} {likelihood}",
    )
    for key, name in regressors(method).items():
        key = "Intercept" if key == "(Intercept)" else key
        differences(row, "estimate", found.value(name), theirs["fixed"][key], LOOSE["slope"], key)
    differences(row, "variance", found.value("between: y ~~ y"), theirs["cov_re"][0][0], LOOSE["variance"], "tau2")
    differences(row, "variance", found.value("within: y ~~ y"), theirs["scale"], LOOSE["variance"], "sigma2")
    differences(row, "loglik", found.loglik, theirs["llf"], LOOSE["loglik"])
    assert found.loglik > theirs["llf"] - 1e-9


@pytest.mark.parametrize("likelihood", ["ML", "REML"])
@pytest.mark.parametrize("case", CASES)
def test_contextual_coefficient_is_the_difference_of_lme4s_slopes(case, likelihood, differences) -> None:
    """c = b - w with Var c = Var b + Var w - 2 Cov(b, w), from lme4's covariance matrix of the centred fit."""
    found = fit("mlm_contextual", f"{MODEL}\ncontextual := b - w", frame(case), likelihood=likelihood.lower())
    theirs = content(case, "result_lme.json")["fits"][f"lme4_ri_wb_{likelihood}"]
    row = f"{case} lme4 ri_wb {likelihood} contextual"
    slopes, cov = theirs["fixed"], np.array(theirs["vcov_fixed"])
    differences(row, "estimate", found.value("w"), slopes["x_w"], SLOPE, "w")
    differences(row, "estimate", found.value("b"), slopes["x_mean"], SLOPE, "b")
    differences(row, "estimate", found.value("contextual"), slopes["x_mean"] - slopes["x_w"], SLOPE, "contextual")
    contrast = np.array([0.0, -1.0, 1.0])
    differences(row, "se expected", found.se("contextual"), np.sqrt(contrast @ cov @ contrast), SLOPE, "contextual")
    differences(row, "loglik", found.loglik, theirs["logLik"], LOGLIK)


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_empty_model_is_lme4s(case, reml, differences) -> None:
    data = frame(case)
    y, groups = data["y"].to_numpy(), data.groupby("g")["y"]
    sizes, means = groups.size().to_numpy(), groups.mean().to_numpy()
    scatter = float(((y - groups.transform("mean").to_numpy()) ** 2).sum())
    within = np.array([[[0.0, 0.0], [0.0, scatter]]])
    between = np.array([[[[1.0, m], [m, m * m]] for m in means]])
    found = fit_random_intercept(Moments(within, between, sizes.astype(float), np.ones(len(sizes))), reml=reml)
    kind = "REML" if reml else "ML"
    theirs, row = content(case, "result_lme.json")["fits"][f"lme4_null_{kind}"], f"{case} lme4 null {kind}"
    differences(row, "estimate", found.beta[0, 0], theirs["fixed"]["(Intercept)"], SLOPE)
    differences(row, "se expected", np.sqrt(found.beta_cov[0, 0, 0]), theirs["se"]["(Intercept)"], SLOPE)
    differences(row, "variance", found.tau2[0], theirs["varcomp"][0]["sdcor"] ** 2, VARIANCE)
    differences(row, "variance", found.sigma2[0], theirs["varcomp"][1]["sdcor"] ** 2, VARIANCE)
    differences(row, "loglik", found.loglik[0], theirs["logLik"], LOGLIK)


CONFLATED = """
level: within
  y ~ w*x
level: between
  y ~ w*x
"""
CENTRED = """
level: within
  y ~ w*x_w
level: between
  y ~ b*x_mean
"""


@pytest.mark.parametrize(("part", "text"), [("ri", CONFLATED), ("ri_wb", CENTRED)])
@pytest.mark.parametrize("case", CASES)
def test_two_level_model_with_these_restrictions_is_the_mixed_model(case, part, text, differences) -> None:
    """The likelihood factors: `msem`'s slopes and observed-information SEs are those of OpenMx and MixedLM."""
    data = frame(case).copy()
    data["x_mean"] = data.groupby("g")["x"].transform("mean")
    data["x_w"] = data["x"] - data["x_mean"]
    found = fit("msem", text, data, se=["observed"])
    names = {"b0": "between: y ~ 1", "s2": "within: y ~~ y", "t00": "between: y ~~ y"}
    names |= {"b_x": "w"} if part == "ri" else {"b_x_w": "w", "b_x_mean": "b"}
    theirs, row = content(case, "result_openmx.json")["fits"][part], f"{case} OpenMx {part} by msem"
    for key, name in names.items():
        differences(row, "estimate", found.value(name), theirs["params"][key], LOOSE["slope"], key)
        differences(row, "se observed", found.se(name, "observed"), theirs["se"][key], LOOSE["se"], key)
    theirs, row = content(case, "result_statsmodels.json")["fits"][f"{part}_ML"], f"{case} MixedLM {part} ML by msem"
    for key, value in theirs["fixed"].items():
        name = {"Intercept": "between: y ~ 1", "x": "w", "x_w": "w", "x_mean": "b"}[key]
        differences(row, "estimate", found.value(name), value, LOOSE["slope"], key)
        differences(row, "se observed", found.se(name, "observed"), theirs["se"][key], LOOSE["se"], key)
