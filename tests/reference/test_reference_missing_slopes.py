"""Missing values with random slopes against brute-force maxima, lme4, nlme and lavaan, and OpenMx's published value.

The folders of ``../shared/reference/slopes`` hold their formulas; xxM's example is in ``outside``.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from outside_cases import data as outside_data
from outside_cases import expected, model_text
from slope_oracles import place, slope_case

from simstudy.analysis.fit import fit
from simstudy.analysis.result import FitRecord
from simstudy.data.products import PatternProducts
from simstudy.data.sample import from_frame
from simstudy.likelihood.slopes.latent import LatentSlopes
from simstudy.likelihood.slopes.observed import ObservedSlopes
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.twolevel import TwoLevelModel

TREATMENT = {
    "rs_missing_y_one": "observed", "rs_missing_y_two": "observed", "rs_missing_y_latent": "latent",
    "rs_missing_y_hybrid": "hybrid",
}  # fmt: skip
cases = pytest.mark.parametrize("case", list(TREATMENT))


@cache
def fitted(case: str, se: str = "observed") -> FitRecord:
    text, frame, _ = slope_case(case)
    slopes = None if TREATMENT[case] == "observed" else TREATMENT[case]
    return fit(text, frame, cluster="g", missing="fiml", slopes=slopes, se=se)


def numbers(case: str, model: TwoLevelModel, kind: str) -> dict[int, float]:
    """Their values by index of the parameter.

    In the hybrid their path from x_B is what a cluster's level adds to the slope; ours is the sum.
    """
    rows = slope_case(case)[2]["parameters"]
    found = {place(model, row["name"]): row[kind] for row in rows}
    if TREATMENT[case] == "hybrid":
        found[place(model, "between: y ~ x")] += found[place(model, "between: s ~ 1")]
    return found


def loglik_of_given(case: str) -> float:
    """Maximum of the log-likelihood of the variables that theirs is conditional on."""
    theirs = slope_case(case)[2]
    return theirs.get("loglik_of_x_and_w", theirs.get("loglik_of_x", 0.0))


@cases
def test_maximum_estimates_and_standard_errors(case, differences) -> None:
    found, theirs = fitted(case), slope_case(case)[2]
    loglik = found.measures["loglik"]
    differences(case, "loglik", loglik - loglik_of_given(case), theirs["loglik_maximum"], 1e-9, "maximum")
    se = np.sqrt(np.diagonal(found.covariance))
    for at, value in numbers(case, found.model, "est").items():
        differences(case, "estimate", found.params[at], value, 1e-6, found.model.names[at])
    moved = place(found.model, "between: y ~ x") if TREATMENT[case] == "hybrid" else -1
    for row in theirs["parameters"]:
        at = place(found.model, row["name"])
        ours = se[at]
        if at == moved:  # their path from x_B is ours less the mean of s
            other = place(found.model, "between: s ~ 1")
            cov = found.covariance
            ours = np.sqrt(cov[at, at] + cov[other, other] - 2 * cov[at, other])
        differences(case, "observed se", ours, row["se"], 1e-5, row["name"])


@cases
def test_loglikelihood_at_stated_parameters(case) -> None:
    """What they condition on is at its maximum there, so that its density is what the joint one has in addition."""
    text, frame, theirs = slope_case(case)
    model = TwoLevelModel.from_syntax(text)
    sample = from_frame(frame, "g", model.level1, model.level2, missing=True)
    structure, kind = SlopeStructure(model), TREATMENT[case]
    target = LatentSlopes(structure, 21) if kind == "latent" else ObservedSlopes(structure, kind)
    params = fitted(case).params.copy()  # of which those of x and w are at their maximum
    for at, value in numbers(case, model, "stated").items():
        params[at] = value
    found = target.loglik(params[None], PatternProducts.of(sample))[0] - loglik_of_given(case)
    assert found == pytest.approx(theirs["loglik_stated"], abs=1e-8)


def test_published_maximum_of_a_factor_model_with_a_random_slope(both_sides) -> None:
    """xxM's example with OpenMx's -2 log L: 40 of 300 rows are complete, 16 patterns."""
    case = "rs_fiml_xxm_cfars"
    found = fit(model_text(case), outside_data(case), cluster="l2", missing="fiml", fixed_x=True)
    theirs = expected(case)["minus2LL_given_x"]
    both_sides(case, "-2 log L given x", -2 * found.measures["loglik"], theirs, 5.1e-7)  # six digits are known
