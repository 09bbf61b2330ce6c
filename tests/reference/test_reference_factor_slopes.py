"""Slopes on factors against brute-force maxima (../shared/reference/slopes) and brute force at other data.

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

sys.path.insert(0, str(Path(__file__).parents[1] / "likelihood"))
from slope_cases import brute_force

from simstudy.analysis.fit import fit
from simstudy.analysis.result import FitRecord
from simstudy.data.products import ClusterProducts
from simstudy.data.sample import from_frame
from simstudy.likelihood.slopes.given import GivenSlopes
from simstudy.model.twolevel import TwoLevelModel

COVARIANCE = {"rs_factor_slope": "fb ~~ 0*s", "rs_factor_by_factor": "fb ~~ 0*s"}
cases = pytest.mark.parametrize("case", list(COVARIANCE))


@cache
def case_of(case: str) -> tuple[str, pd.DataFrame, dict[str, Any]]:
    folder = OUTSIDE.parent / "slopes" / case
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: public data are not part of the repository")
    text = (folder / "model.lav").read_text() + f"\n  {COVARIANCE[case]}\n"
    return text, pd.read_csv(folder / "data.csv"), json.loads((folder / "result.json").read_text())


@cache
def fitted(case: str, se: str = "observed") -> FitRecord:
    text, frame, _ = case_of(case)
    return fit(text, frame, cluster="g", se=se)


@cases
def test_loglikelihood_at_stated_parameters(case, differences) -> None:
    text, frame, result = case_of(case)
    model = TwoLevelModel.from_syntax(text)
    sample = from_frame(frame, "g", model.level1, model.level2)
    stated = {row["name"]: row["stated"] for row in result["parameters"]}
    params = np.array([[stated[name] for name in model.names]])
    found = GivenSlopes(model, ("s",)).loglik(params, ClusterProducts.of(sample.statistics()))[0]
    differences(case, "loglik stated", found, result["loglik_stated_scipy_quad"], 1e-11, "1e-8 in all")


@cases
def test_maximum_estimates_and_standard_errors(case, differences) -> None:
    found, (_, _, result) = fitted(case), case_of(case)
    assert found.converged
    differences(case, "loglik", found.measures["loglik"], result["loglik_maximum_scipy_quad"], 1e-11, "1e-8 in all")
    assert found.measures["loglik_error"] < 1e-7
    for row in result["parameters"]:
        at = found.model.names.index(row["name"])
        differences(case, "estimate", found.params[at], row["est"], 1e-7, row["name"])  # two searches
        differences(
            case, "observed se", found.parameters["se"].to_numpy()[_row(found, at)], row["se"], 1e-6, row["name"]
        )


def _row(found: FitRecord, at: int) -> int:
    """First row of the table of parameters that is of a free parameter."""
    return next(i for i, row in enumerate(found.model.table.rows) if row.free == at)


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
