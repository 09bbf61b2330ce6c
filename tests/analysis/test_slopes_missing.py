"""Random slopes of a fit with missing values: each cluster's own, scores, the test of their variance, bootstraps."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from slope_data import school_data

import simstudy
from simstudy.analysis.nested import slope_variance_test
from simstudy.analysis.result import FitRecord
from simstudy.analysis.scores import factor_scores
from simstudy.analysis.slopes import random_effects, random_elements

MODEL = 'level: within\n  y ~ rv("s")*x\nlevel: between\n  y ~ w + v\n  s ~ gamma*1 + w\n  y ~~ s\n'


@cache
def gaps() -> pd.DataFrame:
    """Outcomes of a third of the pupils are missing, w of a fifth of the schools, v of others; one school has no y."""
    data, rng = school_data(), np.random.default_rng(3)
    schools = data["school"].unique()
    for name in "wv":
        data[name] = data["school"].map(dict(zip(schools, rng.normal(size=len(schools)), strict=True)))
    data["y"] += 0.4 * data["w"] - 0.2 * data["v"]
    data.loc[(rng.random(len(data)) < 0.33) | (data["school"] == schools[4]), "y"] = np.nan
    for name in "wv":
        data.loc[data["school"].isin(rng.choice(schools, 12, replace=False)), name] = np.nan
    return data


@cache
def fitted(**options) -> FitRecord:
    return simstudy.fit(MODEL, gaps(), cluster="school", missing="fiml", **options)


def test_each_clusters_own_is_the_regression_on_what_it_has() -> None:
    """The dense normal density of (y, w, v) given x, and its conditional moments; unseen level-2 variables included."""
    fit = fitted()
    assert fit.converged
    value = {row.path: row.value if row.free < 0 else fit.params[row.free] for row in fit.model.table.rows}
    names = ["y", "s", "w", "v"]

    def get(lhs: str, op: str, rhs: str) -> float:
        row = fit.model.table.find("between", lhs, op, rhs) or fit.model.table.find("between", rhs, op, lhs)
        return 0.0 if row is None else value[row.path]

    paths = np.zeros((4, 4))
    paths[0, 2], paths[0, 3], paths[1, 2] = get("y", "~", "w"), get("y", "~", "v"), get("s", "~", "w")
    psi = np.array([[get(a, "~~", b) for b in names] for a in names])
    total = np.linalg.inv(np.eye(4) - paths)
    mean, cov = total @ [get(name, "~1", "") for name in names], total @ psi @ total.T
    found = random_elements(fit)
    ids = [str(one) for one in fit.context.cluster_ids]
    at = [found.names.index(name) for name in names]
    for j, school in enumerate(ids):
        rows = gaps()[gaps()["school"] == school]
        seen = rows[rows["y"].notna()]
        load = np.column_stack([np.ones(len(seen)), seen["x"], np.zeros((len(seen), 2))])
        extra = [k for k, name in ((2, "w"), (3, "v")) if rows[name].notna().all()]
        load = np.vstack([load, np.eye(4)[extra]])
        noise = np.diag([value["within: y ~~ y"]] * len(seen) + [0.0] * len(extra))
        values = np.concatenate([seen["y"], rows[[names[k] for k in extra]].iloc[0]]).astype(float)
        gain = cov @ load.T @ np.linalg.inv(load @ cov @ load.T + noise)
        np.testing.assert_allclose(found.mean[j, at], mean + gain @ (values - load @ mean), atol=1e-8)  # rounding
        np.testing.assert_allclose(found.cov[j][np.ix_(at, at)], cov - gain @ load @ cov, atol=1e-8)
    assert len(ids) == len(found.mean)


def test_tables_of_each_clusters_own_and_of_rows() -> None:
    table, scores = random_effects(fitted()), factor_scores(fitted())
    assert np.isfinite(table.to_numpy()).all()
    missing = gaps()["y"].isna().to_numpy()
    for column in ("y", "y_se"):
        np.testing.assert_array_equal(scores.within[column].isna(), missing)


def test_the_variance_of_a_slope_is_tested_on_the_same_rows() -> None:
    """The restricted maximum by the likelihood of models without random slopes."""
    text = "level: within\n  y ~ {}x\nlevel: between\n  y ~ w + v\n"
    random, fixed = (
        simstudy.fit(text.format(slope), gaps(), cluster="school", missing="fiml") for slope in ('rv("s")*', "")
    )
    found = slope_variance_test(random, "s")
    assert found.statistic > 3.84
    assert found.loglik_random == random.measures["loglik"]
    assert found.loglik_fixed == pytest.approx(fixed.measures["loglik"], abs=1e-7)  # two searches


@pytest.mark.slow
@pytest.mark.parametrize("ci", ["bootstrap", "cluster_bootstrap"])
def test_bootstraps_blank_the_same_values(ci) -> None:
    wald, again = (found.conf_int().loc["gamma"] for found in (fitted(), fitted(ci=ci, draws=100, seed=1)))
    ratio = np.diff(again)[0] / np.diff(wald)[0]
    assert 0.6 < ratio < 1.6  # width of an interval from 100 draws: 4 of its SEs of 7 %, and skewness
