"""``fixed_x`` with random slopes: likelihoods given predictors, as Mplus, lme4 and nlme print them, and brute force."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from outside_cases import data as outside_data
from outside_cases import expected, model_text
from scipy import stats
from slope_oracles import place, slope_case

from simstudy.analysis.fit import fit
from simstudy.analysis.result import FitRecord
from simstudy.data.products import ClusterProducts
from simstudy.data.sample import from_frame
from simstudy.likelihood.slopes.exogenous import ExogenousPart
from simstudy.likelihood.slopes.observed import ObservedSlopes
from simstudy.model.exogenous import GivenVariables
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.twolevel import TwoLevelModel

MAXIMUM, ESTIMATE, SE = 1e-9, 1e-6, 1e-5  # searches to 1e-10; SEs are taken one step before the last


@cache
def fitted(name: str, se: str, fixed_x: bool) -> FitRecord:
    text, frame, _ = slope_case(name)
    found = fit(text, frame, cluster="g", se=se, fixed_x=fixed_x)
    assert found.converged
    return found


def test_a_cross_level_interaction_is_that_of_lme4_and_of_brute_force(differences) -> None:
    name = "rs_fixed_x_crosslevel"
    theirs = slope_case(name)[2]
    for kind in ("observed", "robust"):
        found = fitted(name, kind, True)
        se = np.sqrt(np.diagonal(found.covariance))
        errors = [row["se"] for row in theirs["parameters"]] if kind == "observed" else theirs["se_robust"]
        for row, error in zip(theirs["parameters"], errors, strict=True):
            at = place(found.model, row["name"])
            differences(name, "estimate", found.params[at], row["est"], ESTIMATE, row["name"])
            differences(name, f"{kind} se", se[at], error, SE, row["name"])
    measures = found.measures
    differences(name, "loglik", measures["loglik"], theirs["loglik_maximum"], MAXIMUM)
    differences(name, "AIC", measures["aic"], theirs["aic"], MAXIMUM)
    differences(name, "BIC", measures["bic"], theirs["bic_rows"], MAXIMUM, "with rows, as lme4 and Mplus")
    differences(name, "BIC", measures["bic"], 757.743297612, MAXIMUM, "lme4")
    differences(name, "scaling", measures["scaling_h0"], theirs["mlr_scaling_factor"], SE)
    assert measures["npar"] == len(theirs["parameters"]) == 9
    assert found.likelihood.sentence == "of y given x, v and w"


def test_a_slope_as_mediator_is_conditional_on_its_predictors(differences) -> None:
    """z is an outcome: the joint log-likelihood is the conditional one and that of x and x2, each at its maximum."""
    name = "rs_slope_mediator"
    theirs = slope_case(name)[2]
    given, joint = (fitted(name, "observed", fixed_x).measures for fixed_x in (True, False))
    differences(name, "loglik", given["loglik"], theirs["loglik_maximum"], MAXIMUM)
    differences(name, "loglik", joint["loglik"], theirs["loglik_maximum_joint"], MAXIMUM, "joint")
    left = joint["loglik"] - given["loglik"]
    differences(name, "loglik", left, theirs["loglik_of_x_and_x2"], MAXIMUM, "of x and x2")
    assert (given["npar"], joint["npar"]) == (13, 17)
    table = fitted(name, "observed", True).parameters.set_index("label")
    differences(name, "estimate", table.loc["ind", "est"], theirs["indirect"], ESTIMATE, "indirect")
    differences(name, "observed se", table.loc["ind", "se"], theirs["indirect_se"], SE, "indirect")


@pytest.mark.parametrize("name", ["rs_fixed_x_crosslevel", "rs_slope_mediator"])
def test_loglikelihood_at_stated_parameters(name) -> None:
    """Whatever the moments of the given variables are: here not those of the sample."""
    text, frame, theirs = slope_case(name)
    model = TwoLevelModel.from_syntax(text)
    sample = from_frame(frame, "g", model.level1, model.level2)
    given, structure = GivenVariables.of(model), SlopeStructure(model)
    params = np.full(len(model.names), np.nan)
    params[list(given.held)] = 0.3
    params[np.intersect1d(given.held, model.table.variance_indices)] = 1.7
    for row in theirs["parameters"]:
        params[place(model, row["name"])] = row["stated"]
    assert np.isfinite(params).all()
    statistics = sample.statistics()
    joint = ObservedSlopes(structure).loglik(params[None], ClusterProducts.of(statistics))
    found = joint - ExogenousPart(structure, given, statistics).loglik(params[None])
    assert found[0] == pytest.approx(theirs["loglik_stated"], abs=1e-8)  # sums of some hundred terms


def test_rows_without_an_outcome_say_nothing_given_x(differences) -> None:
    """lme4 and glmmTMB leave them out: the same maximum; BIC counts the other rows, as lme4 does."""
    name = "rs_missing_y_one"
    text, frame, theirs = slope_case(name)
    kept = theirs["rows"] - theirs["rows_without_y"]
    given, joint, listwise = (
        fit(text, frame, cluster="g", se="robust", missing=how, fixed_x=x)
        for how, x in (("fiml", True), ("fiml", False), ("listwise", True))
    )
    differences(name, "loglik", given.measures["loglik"], theirs["loglik_maximum"], MAXIMUM)
    differences(name, "loglik", given.measures["loglik"], -192.634068477, MAXIMUM, "lme4, glmmTMB")
    differences(name, "loglik", joint.measures["loglik"], theirs["loglik_maximum_joint"], MAXIMUM, "joint")
    for row in theirs["parameters"]:
        at = place(given.model, row["name"])
        differences(name, "estimate", given.params[at], row["est"], ESTIMATE, row["name"])
    assert (given.n_obs, given.n_dropped, joint.n_obs) == (kept, theirs["rows_without_y"], theirs["rows"])
    for key in ("loglik", "npar", "aic", "bic"):
        assert given.measures[key] == pytest.approx(listwise.measures[key], abs=1e-8)
    differences(name, "scaling", given.measures["scaling_h0"], listwise.measures["scaling_h0"], SE, "listwise")
    assert any("80 of 227 rows have no value of y" in note for note in given.notes)


@pytest.mark.parametrize("name", ["rs_fixed_x_crosslevel", "rs_slope_mediator"])
def test_estimates_and_errors_are_those_of_the_joint_likelihood(name) -> None:
    """The likelihoods have different maxima in x's moments alone, and no information in common."""
    given, joint = (fitted(name, "robust", fixed_x) for fixed_x in (True, False))
    model = given.model
    held = list(GivenVariables.of(model).held)
    kept = np.setdiff1d(np.arange(len(given.params)), held)
    np.testing.assert_allclose(given.params, joint.params, rtol=0, atol=1e-8)
    block = np.ix_(kept, kept)
    # each takes its information one step before the last, which may be another one
    np.testing.assert_allclose(given.covariance[block], joint.covariance[block], rtol=1e-4, atol=1e-7)
    assert not given.covariance[held].any()
    of_x = [row.path for row in model.table.rows if row.free in held]
    free = {(row.level, row.lhs, row.op, row.rhs): row.free for row in given.parameters.itertuples()}
    assert not any(free[row.level, row.lhs, row.op, row.rhs] for row in model.table.rows if row.path in of_x)
    sample = from_frame(slope_case(name)[1], "g", model.level1, model.level2)
    data = ClusterProducts.of(sample.statistics())
    information = ObservedSlopes(SlopeStructure(model)).evaluate(joint.params[None], data).information[0]
    np.testing.assert_allclose(information[np.ix_(held, kept)], 0.0, rtol=0, atol=1e-8 * np.abs(information).max())
    whole, part = np.linalg.inv(information)[block], np.linalg.inv(information[block])
    np.testing.assert_allclose(np.sqrt(np.diag(whole)), np.sqrt(np.diag(part)), rtol=0, atol=1e-8)


def test_mplus_prints_these_numbers(both_sides) -> None:
    """Mplus 7, MLR: log-likelihood, scaling factor, estimates and SEs, as printed."""
    case = "mplus_popular_rs3"
    theirs = expected(case)["mplus_7"]
    found = fit(model_text(case), outside_data(case), cluster="class", estimator="MLR", fixed_x=True)
    both_sides(case, "loglik given x", found.measures["loglik"], theirs["loglik_given_x"], 5e-4)
    both_sides(case, "scaling factor H0", found.measures["scaling_h0"], theirs["scaling_h0"], 5.1e-5)
    assert found.measures["npar"] == 9
    rows = {
        "female": "within: popular ~ female", "s~texp": "between: s ~ texp", "y~texp": "between: popular ~ texp",
        "y~~s": "between: popular ~~ s", "y~1": "between: popular ~ 1", "s~1": "between: s ~ 1",
        "y~~y": "between: popular ~~ popular", "s~~s": "between: s ~~ s", "within y~~y": "within: popular ~~ popular",
    }  # fmt: skip
    for name, path in rows.items():
        at = place(found.model, path)
        for what, ours, printed in zip(
            ("estimate", "SE"), (found.params[at], np.sqrt(found.covariance[at, at])), theirs[name], strict=True
        ):
            both_sides(case, f"{name} {what}", ours, printed, 5.1e-4)


def test_mediation_in_bolger_and_laurenceaus_diary(both_sides) -> None:
    """1-1-1 with all slopes random (Bauer, Preacher & Gil 2006): the stacked model, given x. nlme stops too early.

    At our estimates the rows of a cluster are a normal vector, as residuals are linear in the random elements.
    """
    case = "bl_111_random_slopes"
    frame = outside_data(case)
    found = fit(model_text(case), frame, cluster="id", slopes="observed", fixed_x=True)
    value = {row.path: found.params[row.free] for row in found.model.table.rows if row.free >= 0}
    names = ("m", "y", "a", "b", "c")
    mean = np.array([value[f"between: {name} ~ 1"] for name in names])

    def covariance(u: str, v: str) -> float:
        return value[f"between: {u} ~~ {v}" if f"between: {u} ~~ {v}" in value else f"between: {v} ~~ {u}"]

    cov = np.array([[covariance(u, v) for v in names] for u in names])
    total = 0.0
    for _, rows in frame.groupby("id"):
        n, x, m = len(rows), rows["x"].to_numpy(), rows["m"].to_numpy()
        z = np.zeros((2 * n, 5))
        z[:n, 0], z[:n, 2] = 1.0, x
        z[n:, 1], z[n:, 3], z[n:, 4] = 1.0, m, x
        left = np.repeat([value["within: m ~~ m"], value["within: y ~~ y"]], n)
        seen = np.concatenate([m, rows["y"]])
        total += stats.multivariate_normal(z @ mean, z @ cov @ z.T + np.diag(left)).logpdf(seen)
    assert total == pytest.approx(found.measures["loglik"], abs=1e-7)  # 2,700 rows through dense matrices
    both_sides(case, "loglik given x", total, expected(case)["simstudy"]["observed"], 5.1e-5)
    both_sides(case, "loglik given x", total, expected(case)["nlme_stacked_ML"], 0.4, "nlme stops below the maximum")
    assert total > expected(case)["nlme_stacked_ML"]
