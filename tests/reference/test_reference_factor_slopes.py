"""Slopes on factors, and of predictors with missing values, against brute-force maxima (../shared/reference/slopes).

The folders hold their formulas: dense normal densities given the slope, and SciPy's quadrature over it. In them slopes
have no covariance with the between factor, which is written here.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from outside_cases import OUTSIDE
from scipy import stats
from slope_oracles import slope_case

sys.path.insert(0, str(Path(__file__).parents[1] / "likelihood"))
from slope_cases import brute_force

from simstudy.analysis.fit import fit
from simstudy.analysis.result import FitRecord
from simstudy.analysis.scores import factor_scores
from simstudy.data.products import PatternProducts
from simstudy.data.sample import from_frame
from simstudy.likelihood.slopes.given import GivenSlopes
from simstudy.likelihood.slopes.integrals import treatment
from simstudy.model.representation import fill, level_matrices
from simstudy.model.twolevel import TwoLevelModel

FACTOR = ("rs_factor_slope", "rs_factor_by_factor", "rs_factor_slope_missing")
TREATMENT = {"rs_missing_x_latent": "latent", "rs_missing_x_hybrid": "hybrid", "rs_missing_x_and_y_latent": "latent"}
cases = pytest.mark.parametrize("case", [*FACTOR, *TREATMENT])


@cache
def case_of(case: str) -> tuple[str, pd.DataFrame, dict[str, Any]]:
    text, frame, theirs = slope_case(case)
    return text + ("\n  fb ~~ 0*s\n" if case in FACTOR else ""), frame, theirs


@cache
def fitted(case: str, se: str = "observed") -> FitRecord:
    text, frame, _ = case_of(case)
    return fit(text, frame, cluster="g", se=se, slopes=TREATMENT.get(case), missing="fiml")


def values(case: str, model: TwoLevelModel, column: str) -> np.ndarray:
    """Parameters in our order. In the hybrid theirs is the contextual effect, ours that between clusters."""
    known = {row["name"]: row[column] for row in case_of(case)[2]["parameters"]}
    known |= {f"{level}: {b} {op} {a}": x for name, x in list(known.items()) if " ~~ " in name
              for level, (a, op, b) in [(name.split(": ")[0], name.split(": ")[1].split())]}  # fmt: skip
    found = np.array([known[name] for name in model.names])
    if TREATMENT.get(case) == "hybrid":
        found[model.names.index("between: y ~ x")] += known["between: s ~ 1"]
    return found


@cases
def test_loglikelihood_at_stated_parameters(case, differences) -> None:
    text, frame, result = case_of(case)
    model = TwoLevelModel.from_syntax(text)
    sample = from_frame(frame, "g", model.level1, model.level2, missing=True)
    target = GivenSlopes(model, ("s",), treatment(model, TREATMENT.get(case, "auto")))
    found = target.loglik(values(case, model, "stated")[None], PatternProducts.of(sample))[0]
    differences(case, "loglik stated", found, result["loglik_stated_scipy_quad"], 1e-11, "1e-8 in all")


@cases
def test_maximum_estimates_and_standard_errors(case, differences) -> None:
    found, (_, _, result) = fitted(case), case_of(case)
    assert found.converged
    differences(case, "loglik", found.measures["loglik"], result["loglik_maximum_scipy_quad"], 1e-11, "1e-8 in all")
    assert found.measures["loglik_error"] < 1e-7
    cov = found.context.result.covariance["observed"][0]
    errors, theirs = np.sqrt(np.diagonal(cov)), values(case, found.model, "se")
    if TREATMENT.get(case) == "hybrid":
        at, mean = (found.model.names.index(name) for name in ("between: y ~ x", "between: s ~ 1"))
        errors[at] = np.sqrt(cov[at, at] + cov[mean, mean] - 2.0 * cov[at, mean])
        theirs[at] -= errors[mean]
    estimates = values(case, found.model, "est")
    for k, name in enumerate(found.model.names):
        differences(case, "estimate", found.params[k], estimates[k], 1e-7, name)  # two searches
        differences(case, "observed se", errors[k], theirs[k], 1e-6, name)


@pytest.mark.slow
def test_slopes_of_a_factor_on_a_factor_that_are_moderated() -> None:
    """Data of ``reference/bayes/slope_factor_by_factor`` (200 clusters): brute force at our maximum, and no way up.

    Bayesian posterior means there are near, which is all that priors let be said.
    """
    folder = OUTSIDE.parent / "bayes" / "slope_factor_by_factor"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: public data are not part of the repository")
    frame = pd.read_csv(folder / "data.csv")
    text = (folder / "model.txt").read_text()
    found = fit(text, frame, cluster="cluster")
    assert found.converged
    sample = found.context.sample.arrange(found.model.level1, found.model.level2)
    exact = brute_force(found.model, found.params, sample, "observed", 81).sum()
    assert found.measures["loglik"] == pytest.approx(exact, abs=1e-6)  # 81 nodes about the slope's prior
    posterior = json.loads((folder / "result.json").read_text())["parameters"]
    for name, row in posterior.items():
        if name in found.model.names:
            value = found.params[found.model.names.index(name)]
            assert abs(value - row["mean"]) < row["sd"], name  # variances have skew posteriors


@pytest.mark.parametrize("case", ["rs_factor_slope", "rs_factor_slope_missing"])
def test_scores_of_the_factor_are_posterior_means(case) -> None:
    """Brute force: conditional means of all rows of a cluster given the slope, over 60 nodes about its prior."""
    found = fitted(case)
    model, params, frame = found.model, found.params, case_of(case)[1]
    inner, outer = level_matrices(model, "within"), level_matrices(model, "between")
    within, between = fill(inner, params), fill(outer, params)
    total = np.linalg.inv(np.eye(len(between.paths)) - between.paths)
    cov, mean = total @ between.covariances @ total.T, total @ between.means
    s, at = outer.variables.index("s"), [outer.variables.index(name) for name in model.level1]
    rows = frame[frame.g == 1][list(model.level1)].to_numpy()
    n, p1, f, y = len(rows), len(model.level1), inner.variables.index("f"), inner.variables.index("y")
    seen = ~np.isnan(rows.ravel())
    logs, means = [], []
    for z, weight in zip(*np.polynomial.hermite_e.hermegauss(60), strict=True):
        slope = mean[s] + np.sqrt(cov[s, s]) * z
        paths = within.paths.copy()
        paths[y, f] += slope
        solve = np.linalg.inv(np.eye(len(paths)) - paths)
        spread = solve @ within.covariances @ solve.T
        left = cov[np.ix_(at, at)] - np.outer(cov[at, s], cov[at, s]) / cov[s, s]
        joint = np.kron(np.ones((n, n)), left) + np.kron(np.eye(n), spread[:p1, :p1])
        joint, link = joint[np.ix_(seen, seen)], np.kron(np.eye(n), spread[f, :p1])[:, seen]
        offset = (rows - mean[at] - cov[at, s] / cov[s, s] * (slope - mean[s])).ravel()[seen]
        logs.append(np.log(weight) + stats.multivariate_normal(np.zeros(len(joint)), joint).logpdf(offset))
        means.append(link @ np.linalg.solve(joint, offset))
    share = np.exp(np.array(logs) - max(logs))
    exact = share @ np.array(means) / share.sum()
    scores = factor_scores(found).within
    np.testing.assert_allclose(scores["f"].to_numpy()[: len(rows)], exact, atol=1e-6)  # 60 nodes
