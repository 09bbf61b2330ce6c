"""Live comparisons with statsmodels on a small unbalanced data set with a level-2 predictor and a level-2 outcome."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from reference_cases import fit

MODEL = """
level: within
  y ~ w*x
level: between
  y ~ b*x + c*z
contextual := b - w
"""


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(20090306)
    sizes = rng.integers(2, 9, size=25)
    g = np.repeat(np.arange(25), sizes)
    x_between, z, u = rng.normal(size=(3, 25))
    x = x_between[g] + rng.normal(size=len(g))
    y = 1.0 + 0.4 * x + 0.5 * x_between[g] - 0.3 * z[g] + 0.7 * u[g] + rng.normal(size=len(g))
    frame = pd.DataFrame({"g": g, "x": x, "y": y, "z": z[g]})
    frame["outcome"] = (0.5 * x_between + 0.2 * z + rng.normal(size=25))[g]
    return frame


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("method", ["mlm", "mlm_rescaled", "mlm_centered", "mlm_contextual"])
def test_random_intercept_model_is_mixedlms(data, method, reml, differences) -> None:
    found = fit(method, MODEL, data, likelihood="reml" if reml else "ml")
    mean = data.groupby("g")["x"].transform("mean")
    columns = {"const": np.ones(len(data)), "x": data["x"], "z": data["z"]}
    names = {"const": "between: y ~ 1", "x": "w", "z": "c"}
    if method in ("mlm_rescaled", "mlm_centered"):
        columns["x"] = data["x"] - mean
    if method in ("mlm_centered", "mlm_contextual"):
        columns["mean"] = mean
        names["mean"] = "contextual" if method == "mlm_contextual" else "b"
    mixed = sm.MixedLM(data["y"], pd.DataFrame(columns), groups=data["g"])
    fitted = mixed.fit(reml=reml, method="powell", maxiter=2000)
    row = f"MixedLM live {method} {'REML' if reml else 'ML'}"
    # Powell stops within about 1e-4 of MixedLM's variance ratio (measured), and the likelihood is flat there
    for key, name in names.items():
        differences(row, "estimate", found.value(name), fitted.fe_params[key], 2e-5, key)
    differences(row, "variance", found.value("between: y ~~ y"), float(np.asarray(fitted.cov_re)[0, 0]), 5e-4)
    differences(row, "variance", found.value("within: y ~~ y"), fitted.scale, 5e-4)
    differences(row, "loglik", found.loglik, fitted.llf, 1e-8)
    assert found.loglik > fitted.llf - 1e-8
    tau2, sigma2 = found.value("between: y ~~ y"), found.value("within: y ~~ y")
    g = data["g"].to_numpy()
    v = sigma2 * np.eye(len(g)) + tau2 * (g[:, None] == g[None, :])
    x = np.column_stack(list(columns.values()))
    gls = sm.GLS(data["y"].to_numpy(), x, sigma=v).fit()
    for k, key in enumerate(columns):
        # MixedLM's SEs come from its full Hessian; ours take V as known, as GLS with that V does: rounding
        differences(row, "estimate", found.value(names[key]), gls.params[k], 1e-10, key)
        differences(row, "se expected", found.se(names[key]), np.sqrt(gls.normalized_cov_params[k, k]), 1e-10, key)


def test_second_step_is_ordinary_least_squares_of_cluster_means(data, differences) -> None:
    text = "level: within\n  x ~~ x\nlevel: between\n  outcome ~ b*x + c*z"
    found = fit("two_step", text, data)
    clusters = data.groupby("g").mean()
    ols = sm.OLS(clusters["outcome"], sm.add_constant(clusters[["x", "z"]])).fit()
    for key, name in {"const": "between: outcome ~ 1", "x": "b", "z": "c"}.items():
        differences("OLS live two_step", "estimate", found.value(name), ols.params[key], 1e-12, key)  # rounding
        differences("OLS live two_step", "se expected", found.se(name), ols.bse[key], 1e-12, key)
    differences("OLS live two_step", "variance", found.value("between: outcome ~~ outcome"), ols.mse_resid, 1e-12)
    spread = np.sqrt(2.0 / ols.df_resid) * ols.mse_resid  # of s^2, a chi-square
    differences("OLS live two_step", "se expected", found.se("between: outcome ~~ outcome"), spread, 1e-12)
    differences("OLS live two_step", "loglik", found.loglik, ols.llf, 1e-12)


def test_naive_regression_of_rows_is_ordinary_least_squares(data, differences) -> None:
    found = fit("disaggregated", MODEL, data, se=["expected", "robust"])
    x = sm.add_constant(data[["x", "z"]])
    ols = sm.OLS(data["y"], x).fit()
    by_cluster = sm.OLS(data["y"], x).fit(
        cov_type="cluster", cov_kwds={"groups": data["g"].to_numpy(), "use_correction": False}
    )
    n, clusters = len(data), data["g"].nunique()
    for key, name in {"const": "between: y ~ 1", "x": "w", "z": "c"}.items():
        row = "OLS live disaggregated"
        differences(row, "estimate", found.value(name), ols.params[key], 1e-12, key)  # rounding
        # maximum likelihood divides the residual sum of squares by N, OLS by N - k
        differences(row, "se expected", found.se(name), ols.bse[key] * np.sqrt((n - 3) / n), 1e-12, key)
        theirs = by_cluster.bse[key] * np.sqrt(clusters / (clusters - 1))
        differences(row, "se robust", found.se(name, "robust"), theirs, 1e-10, key)


# ----------------------------------------------------------------------------------------------- adjusted cluster means


def adjusted_means(data: pd.DataFrame) -> pd.DataFrame:
    """Croon & van Veldhoven's means of x given (x-bar, z), cluster by cluster, with mean squares from loops."""
    groups = list(data.groupby("g"))
    sizes = np.array([len(rows) for _, rows in groups], dtype=float)
    means = np.array([rows["x"].mean() for _, rows in groups])
    z = np.array([rows["z"].iloc[0] for _, rows in groups])
    n_obs, n_clusters = sizes.sum(), len(sizes)
    grand = data["x"].mean()
    msw = sum(((rows["x"] - rows["x"].mean()) ** 2).sum() for _, rows in groups) / (n_obs - n_clusters)
    msb = (sizes * (means - grand) ** 2).sum() / (n_clusters - 1)
    c = (n_obs - (sizes**2).sum() / n_obs) / (n_clusters - 1)
    tau2, cov, var_z = (msb - msw) / c, np.cov(means, z)[0, 1], z.var(ddof=1)
    adjusted = []
    for n, mean, zj in zip(sizes, means, z, strict=True):
        given = np.array([[tau2 + msw / n, cov], [cov, var_z]])
        adjusted.append(grand + np.array([tau2, cov]) @ np.linalg.solve(given, [mean - grand, zj - z.mean()]))
    outcome = np.array([rows["outcome"].iloc[0] for _, rows in groups])
    return pd.DataFrame({"x": adjusted, "z": z, "outcome": outcome}, index=[g for g, _ in groups])


def test_croon_is_least_squares_on_adjusted_means(data, differences) -> None:
    text = "level: within\n  x ~~ x\nlevel: between\n  outcome ~ b*x + c*z"
    found = fit("croon", text, data, se=["expected", "robust"])
    clusters = adjusted_means(data)
    ols = sm.OLS(clusters["outcome"], sm.add_constant(clusters[["x", "z"]])).fit()
    row = "OLS live croon"
    for key, name in {"const": "between: outcome ~ 1", "x": "b", "z": "c"}.items():
        differences(row, "estimate", found.value(name), ols.params[key], 1e-12, key)  # rounding
        differences(row, "se expected", found.se(name), ols.bse[key], 1e-12, key)
        differences(row, "se robust", found.se(name, "robust"), ols.HC2_se[key], 1e-12, key)


def test_croon_of_a_level_1_outcome_is_a_mixed_model_on_adjusted_means(data, differences) -> None:
    found = fit("croon", MODEL, data, se=["expected"])
    mean = data.groupby("g")["x"].transform("mean")
    adjusted = data["g"].map(adjusted_means(data)["x"])
    columns = pd.DataFrame({"const": np.ones(len(data)), "x": data["x"] - mean, "mean": adjusted, "z": data["z"]})
    names = {"const": "between: y ~ 1", "x": "w", "mean": "b", "z": "c"}
    fitted = sm.MixedLM(data["y"], columns, groups=data["g"]).fit(reml=True, method="powell", maxiter=2000)
    for key, name in names.items():
        differences("MixedLM live croon", "estimate", found.value(name), fitted.fe_params[key], 2e-5, key)  # Powell
