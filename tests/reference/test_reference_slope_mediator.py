"""A slope as a mediator of level-2 variables against a brute-force maximum and glmmTMB (its README has the formula)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from slope_oracles import place, slope_case

from simstudy.analysis.fit import fit
from simstudy.data.products import ClusterProducts
from simstudy.data.sample import from_frame
from simstudy.likelihood.slopes.observed import ObservedSlopes
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.twolevel import TwoLevelModel


@pytest.fixture
def case() -> tuple[str, pd.DataFrame, dict]:
    return slope_case("rs_slope_mediator")


def test_estimates_errors_and_the_indirect_effect(case, differences) -> None:
    text, frame, theirs = case
    name = theirs["case"]
    found = fit(text, frame, cluster="g")
    differences(name, "loglik", found.measures["loglik"], theirs["loglik_maximum_joint"], 1e-9, "joint with x, x2")
    given_x = found.measures["loglik"] - theirs["loglik_of_x_and_x2"]
    differences(name, "loglik", given_x, -349.762727641, 1e-8, "glmmTMB")  # its z has a residual SD near 0
    se = np.sqrt(np.diagonal(found.context.result.covariance["observed"][0]))
    for row in theirs["parameters"]:
        at = place(found.model, row["name"])
        differences(name, "estimate", found.params[at], row["est"], 1e-5, row["name"])
        differences(name, "observed se", se[at], row["se"], 1e-4, row["name"])
    table = found.parameters.set_index("label")
    differences(name, "estimate", table.loc["ind", "est"], theirs["indirect"], 1e-5, "indirect")
    differences(name, "observed se", table.loc["ind", "se"], theirs["indirect_se"], 1e-4, "indirect")


def test_loglikelihood_at_stated_parameters(case) -> None:
    text, frame, theirs = case
    model = TwoLevelModel.from_syntax(text)
    sample = from_frame(frame, "g", model.level1, model.level2)
    params = np.full(len(model.names), np.nan)
    for row in theirs["parameters"]:
        params[place(model, row["name"])] = row["stated"]
    x, x2 = sample.rows[0, :, model.level1.index("x")], sample.clusters[0, :, model.level2.index("x2")]
    for path, values in (("within: x", x), ("between: x2", x2)):
        name = path.split(": ")[1]
        params[place(model, f"{path} ~ 1")], params[place(model, f"{path} ~~ {name}")] = values.mean(), values.var()
    assert np.isfinite(params).all()
    found = ObservedSlopes(SlopeStructure(model)).loglik(params[None], ClusterProducts.of(sample.statistics()))[0]
    # what is left when x and x2 are at their maximum is the density given them
    assert found - theirs["loglik_of_x_and_x2"] == pytest.approx(theirs["loglik_stated"], abs=1e-8)
