"""`analysis.fit.fit` against lavaan 0.7.2 on every case but random slopes: estimates, SEs, fit measures, ``fixed_x``.

Estimates, SEs and log-likelihoods are held against lavaan polished until its gradient vanishes (``tight``). Fit
measures, ICCs and standardised solutions are stored as lavaan stops by default: its unrestricted model is fitted by EM,
which ends early, and keeps Sigma_between positive semidefinite. `EARLY` lists the cases in which that shows. In each of
them our unrestricted log-likelihood is higher (asserted), and tolerances there follow from the difference.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from reference_cases import DATA, LEVELS
from scipy import stats

from simstudy.analysis.derived import standardized
from simstudy.analysis.fit import fit
from simstudy.analysis.level_fit import level_fit
from simstudy.analysis.result import FitRecord
from simstudy.data.sample import Sample
from simstudy.estimation.fit_indices import rmsea_interval
from simstudy.estimation.inference import covariance
from simstudy.estimation.starts import starts_from_moments
from simstudy.estimation.unrestricted import unrestricted_model
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.model.implied import TwoLevelStructure

STORED = DATA / "xii_fit"
CASES = tuple(sorted(path.stem for path in STORED.glob("*.json")))

# lavaan is polished to gradients < 1e-13; ours stops within 1e-6 SE and takes one more step: 2e-8 measured. With
# fixed_x both hold x at the moments of their unrestricted model, lavaan's found by EM: 2e-7 measured (J50_n5_icc30).
ESTIMATE, ESTIMATE_FIXED_X = 1e-7, 5e-7
# Expected information is that of the point before the last step, within 1e-6 SE; lavaan's Hessian is a difference of
# analytic gradients, good to about 1e-7 where between variances are negative (xi_heywood_1).
SE = 1e-6
# The same on the ridge of xi_heywood_1 with x held, where the curvature is smallest: 1e-6 measured, 5e-4 allowed.
SE_HELD = 1e-5
# Sums of 1e3 to 1e4 terms of order 1: 1e-12 relative, far below the 1e-6 (absolute) that counts.
LOGLIK = 1e-11
# lavaan's unrestricted model is the EM's end after polishing: 4e-10 to 5e-8 below the maximum, relative to 1e3 to 1e4.
UNRESTRICTED = 1e-10
# Ratio of traces; the moments of the polished unrestricted model are still the EM's, off by 1e-6: 3e-7 measured.
SCALING = 1e-6
# Fit indices to four digits, as the issue asks.
DIGITS = 5e-5
# Log-likelihoods count from here on.
COUNTS = 1e-5

SE_KEYS = {"expected": "se_expected", "observed": "se_observed", "robust": "se_mlr"}

# Our unrestricted log-likelihood is higher than lavaan's default by more than 1e-5: EM steps below its tolerance, ...
SLOW_EM = {
    "ix_msalt",
    "vii_latcov_J200_n5_icc05",
    "vii_latcov_J50_n5_icc10",
    "viii_cfa_2w1b",
    "viii_cfa_2w1b_eq",
}
# ... or because the maximum has an indefinite Sigma_between, where EM cannot go.
INDEFINITE = {"xi_heywood_1", "xi_heywood_3", "xi_heywood_latcov", "xi_negicc", "xiii_tiny_s1", "xiii_tiny_s2"}
EARLY = SLOW_EM | INDEFINITE
# Of these lavaan's fixed.x fits hold x at other moments than the unrestricted maximum's.
OTHER_X = (EARLY & {"vii_latcov_J200_n5_icc05"}) | (INDEFINITE - {"xi_negicc"})


# ---------------------------------------------------------------------- reading and fitting


@cache
def stored(case: str) -> dict[str, Any]:
    return json.loads((STORED / f"{case}.json").read_text())


@cache
def tight(case: str, fixed_x: bool) -> dict[str, Any]:
    folder = DATA / case
    path = folder / "tight_fiml.json"
    fits = json.loads((path if path.exists() else folder / "result_tight.json").read_text())["fits"]
    return next(fit for fit in fits.values() if fit["fixed.x"] is fixed_x)


def has_tight(case: str, fixed_x: bool) -> bool:
    try:
        tight(case, fixed_x)
    except StopIteration:
        return False
    return True


def text(case: str) -> str:
    return (DATA / case / "model.lav").read_text()


@cache
def frame(case: str) -> pd.DataFrame:
    return pd.read_csv(DATA / stored(case)["data"] / "data.csv")


@cache
def fitted(case: str, se: str = "observed", fixed_x: bool = False, model: str | None = None) -> FitRecord:
    missing = "fiml" if case.startswith("xii_") else "listwise"
    found = fit(model or text(case), frame(case), cluster="g", se=se, missing=missing, fixed_x=fixed_x)
    assert found.converged
    return found


def default(case: str, kind: str, fixed_x: bool) -> dict[str, Any]:
    """lavaan's fit as it stops by default; kind is ``observed`` or ``mlr``."""
    fits = stored(case)["fits"]
    return next(fits[name] for name in (kind, f"{kind}_fixedxF") if name in fits and fits[name]["fixed.x"] is fixed_x)


def has_default(case: str, fixed_x: bool) -> bool:
    return any(found["fixed.x"] is fixed_x for found in stored(case)["fits"].values())


TIGHT = [(case, fixed_x) for case in CASES for fixed_x in (False, True) if has_tight(case, fixed_x)]
DEFAULT = [(case, fixed_x) for case in CASES for fixed_x in (False, True) if has_default(case, fixed_x)]


def rows_of(table: pd.DataFrame) -> dict[tuple[str, str, str, str], Any]:
    """Rows of a parameter table by what they are."""
    return {
        (row.lhs, row.op, "" if row.op == ":=" else row.rhs, row.level): row for row in table.itertuples(index=False)
    }


def key_of(lhs: str, op: str, rhs: str, level: int) -> tuple[str, str, str, str]:
    return (lhs, op, "" if op == ":=" else rhs, "" if op == ":=" else LEVELS[level])


def with_x_held(case: str) -> str:
    """The model with the moments of x written out as lavaan's fixed.x fit has them."""
    lines: dict[int, list[str]] = {1: [], 2: []}
    for row in tight(case, True)["par"]:
        if row["lhs"] == "x" and row["op"] == "~~":
            lines[row["level"]].append(f"  x ~~ {row['est']!r}*x")
        elif row["lhs"] == "x" and row["op"] == "~1" and row["level"] == 2:
            lines[2].append(f"  x ~ {row['est']!r}*1")
    within, between = text(case).split("level: 2")
    return "\n".join([within, *lines[1], "level: 2", *lines[2], between])


def marginal(case: str) -> float:
    """Normal log-likelihood of exogenous variables that exist at one level only."""
    model = fitted(case).model
    causes = {row.rhs for row in model.table.rows if row.op == "~"}
    caused = {row.lhs for row in model.table.rows if row.op == "~"}
    only = [name for name in model.level2 if name in causes - caused]
    clusters = frame(case).groupby("g")[only].first().to_numpy()
    if not only:
        return 0.0
    cov = np.atleast_2d(np.cov(clusters.T, bias=True))
    return float(stats.multivariate_normal.logpdf(clusters, clusters.mean(axis=0), cov).sum())


# ---------------------------------------------------------------------- the maximum


@pytest.mark.parametrize("kind", SE_KEYS)
@pytest.mark.parametrize(("case", "fixed_x"), TIGHT)
def test_estimates_and_standard_errors_are_lavaans(case, fixed_x, kind, differences) -> None:
    theirs = tight(case, fixed_x)
    assert theirs["max_abs_gradient"] < 1e-12
    held = fixed_x and case in OTHER_X
    # in OTHER_X lavaan holds x at other moments; at the same moments everything else must agree
    found = fitted(case, kind, False, with_x_held(case)) if held else fitted(case, kind, fixed_x)
    ours = rows_of(found.parameters)
    row_name = f"{case} fit{' fixed.x' if fixed_x else ''}"
    compared = 0
    for row in theirs["par"]:
        key = key_of(row["lhs"], row["op"], row["rhs"], row["level"])
        what = " ".join(map(str, key))
        own = ours[key]
        differences(row_name, "estimate", own.est, row["est"], ESTIMATE_FIXED_X if fixed_x else ESTIMATE, what)
        if row[SE_KEYS[kind]] == 0:
            assert np.isnan(own.se), f"{what} is held in lavaan"
            continue
        compared += 1
        if kind == "robust" and (case, fixed_x) == ("iv_m211", True):
            continue  # see test_lavaans_robust_ses_of_a_variable_exogenous_at_one_level_leave_out_its_scores
        if kind == "expected" and case.startswith("xii_"):
            continue  # see test_lavaans_expected_information_ignores_missing_values
        differences(row_name, f"se {kind}", own.se, row[SE_KEYS[kind]], SE_HELD if held else SE, what)
    assert compared == int(found.parameters["free"].sum())


@pytest.mark.parametrize(("case", "fixed_x"), TIGHT)
def test_loglikelihoods_and_df_are_lavaans(case, fixed_x, differences) -> None:
    theirs, found = tight(case, fixed_x), fitted(case, "robust", fixed_x)
    row_name = f"{case} fit{' fixed.x' if fixed_x else ''}"
    assert found.measures["df"] == theirs["df"]
    # with fixed.x lavaan leaves out the log-likelihood of exogenous variables of level 2 alone; ours keeps it
    left_out = marginal(case) if fixed_x else 0.0
    ours = found.measures["loglik"] - left_out
    if fixed_x and case in OTHER_X:
        assert ours > theirs["logl"]
    else:
        # x held within EM's tolerance of the maximum costs second order: 3e-9 absolute measured (ii_m111_bal_full)
        differences(row_name, "loglik", ours, theirs["logl"], LOGLIK)
    above = found.measures["unrestricted_loglik"] - left_out - theirs["unrestricted_logl"]
    assert above > -1e-9  # rounding of sums of 1e4 terms
    if case in INDEFINITE:
        assert above > 0.01
    else:
        differences(row_name, "loglik H1", above, 0.0, UNRESTRICTED * abs(theirs["unrestricted_logl"]))


@pytest.mark.parametrize("case", sorted(INDEFINITE))
def test_semidefinite_unrestricted_model_is_where_lavaans_em_was_going(case, both_sides) -> None:
    """Polished far beyond its default, EM on the border of the cone is still some 2e-3 below the maximum over it."""
    found = fit(text(case), frame(case), cluster="g", h1="psd")
    ours, theirs = found.measures["unrestricted_loglik"], tight(case, False)["unrestricted_logl"]
    assert ours > theirs > default(case, "observed", False)["measures"]["unrestricted_logl"]
    both_sides(case, "loglik H1, psd", ours, theirs, 3e-3, "their EM, polished, creeps along the border")


@pytest.mark.parametrize(("case", "fixed_x"), [pair for pair in TIGHT if tight(*pair)["mlr_scaling"] is not None])
def test_mlr_scaling_is_lavaans(case, fixed_x, differences) -> None:
    found = fitted(case, "robust", fixed_x)
    row_name = f"{case} fit{' fixed.x' if fixed_x else ''}"
    differences(row_name, "scaling", found.measures["scaling"], tight(case, fixed_x)["mlr_scaling"], SCALING)


# ---------------------------------------------------------------------- fit measures


def below(case: str, kind: str, fixed_x: bool) -> tuple[float, float]:
    """How far lavaan's default log-likelihoods, of the model and unrestricted, are below ours."""
    found, theirs = fitted(case, "robust" if kind == "mlr" else kind, fixed_x), default(case, kind, fixed_x)
    left_out = marginal(case) if fixed_x else 0.0
    measures = theirs["measures"]
    return (
        found.measures["loglik"] - left_out - measures["logl"],
        found.measures["unrestricted_loglik"] - left_out - measures["unrestricted_logl"],
    )


@pytest.mark.parametrize("case", CASES)
def test_cases_whose_unrestricted_model_stops_early_are_those_listed(case) -> None:
    _, unrestricted = below(case, "observed", has_default(case, True))
    assert unrestricted > -1e-6  # theirs is never higher, but for its own tolerance
    assert (unrestricted > COUNTS) == (case in EARLY)


@pytest.mark.parametrize("kind", ["observed", "mlr"])
@pytest.mark.parametrize(("case", "fixed_x"), DEFAULT)
def test_fit_measures_are_lavaans(case, fixed_x, kind, differences) -> None:
    found = fitted(case, "robust" if kind == "mlr" else kind, fixed_x)
    ours, theirs = found.measures, default(case, kind, fixed_x)["measures"]
    model, unrestricted = below(case, kind, fixed_x)
    assert model > -1e-6  # the limit
    row_name = f"{case} fit{' fixed.x' if fixed_x else ''}"
    left_out = marginal(case) if fixed_x else 0.0
    assert ours["npar"] == theirs["npar"]
    assert ours["df"] == theirs["df"]
    assert ours["baseline_df"] == theirs["baseline.df"]
    # AIC and BIC follow from the log-likelihood: exact but for lavaan's stop
    # rows without any value are no observations (xii_miss_all)
    used = int(frame(case)[list(found.model.level1)].notna().any(axis=1).sum())
    for name, penalty in (("aic", 2.0), ("bic", np.log(used))):
        differences(row_name, name, ours[name] + 2.0 * left_out + 2.0 * model, theirs[name], LOGLIK, name)
        assert ours[name] == pytest.approx(penalty * ours["npar"] - 2.0 * ours["loglik"], rel=1e-14)
    early = 2.0 * (abs(model) + abs(unrestricted))  # chi-squares can differ by this
    baseline = theirs["baseline.chisq"]
    if case == "v_m221":  # lavaan's baseline fit stops early: ours has the higher log-likelihood, the lower chi-square
        assert 0.0 < baseline - ours["baseline_chisq"] < 3e-5 * baseline
    elif case != "xi_negicc":  # lavaan's baseline chi-square is 0 there: its unrestricted model failed
        # the baseline is a maximum of its own, stopped by tolerance: 7e-8 measured (vi_m112)
        assert abs(ours["baseline_chisq"] - baseline) <= early + 2e-7 * baseline
    if case in INDEFINITE:
        assert ours["chisq"] == 0.0
        assert theirs["chisq"] == 0.0  # H1 below H0, cut off at 0
        return
    assert abs(ours["chisq"] - theirs["chisq"]) <= early + 1e-9  # rounding of 1e4
    if not ours["df"]:
        assert (ours["cfi"], ours["tli"], ours["rmsea"]) == (1.0, 1.0, 0.0)
        # lavaan's chi-square of a saturated model is what its two stops differ by
        assert (theirs["cfi"], theirs["tli"], theirs["rmsea"]) == pytest.approx((1.0, 1.0, 0.0), abs=1e-8)
        return
    assert ours["pvalue"] == pytest.approx(theirs["pvalue"], abs=early + 1e-9)  # density of chi-square below 1/2
    for name, key in (
        ("cfi", "cfi"),
        ("tli", "tli"),
        ("rmsea", "rmsea"),
        ("rmsea_ci_lower", "rmsea.ci.lower"),
        ("rmsea_ci_upper", "rmsea.ci.upper"),
    ):
        differences(row_name, name, ours[name], theirs[key], DIGITS, name)
    if kind != "mlr" or fixed_x:  # scaled measures with fixed_x: see test_mlr_scaling_is_lavaans
        return
    # lavaan scales by its EM's unrestricted moments: 2e-4 relative (viii_cfa_2w1b), against tight 3e-7
    assert ours["chisq_scaled"] == pytest.approx(theirs["chisq.scaled"], rel=3e-4)
    assert ours["scaling"] == pytest.approx(theirs["chisq.scaling.factor"], rel=3e-4)
    assert ours["pvalue_scaled"] == pytest.approx(theirs["pvalue.scaled"], abs=3e-4)
    assert ours["scaling"] * ours["chisq_scaled"] == pytest.approx(ours["chisq"], rel=1e-14)
    for name, key in (("cfi_scaled", "cfi.scaled"), ("tli_scaled", "tli.scaled"), ("rmsea_scaled", "rmsea.scaled")):
        differences(row_name, name, ours[name], theirs[key], DIGITS, name)


@pytest.mark.parametrize("case", ["ii_m111_bal_full", "iii_m111_unb_eq", "viii_cfa_2w1b_eq", "viii_cfa_2w2b"])
def test_scaling_factor_of_a_model_is_lavaans_but_for_its_divisor(case) -> None:
    """tr(H^-1 meat) is the same; lavaan divides by the parameters before equal labels are counted once."""
    found, theirs = fitted(case, "robust"), default(case, "mlr", False)["measures"]
    nominal = sum(row["se_mlr"] > 0 for row in tight(case, False)["par"] if row["op"] != ":=")
    trace = found.measures["scaling_h0"] * found.measures["npar"]
    # at lavaan's default stop, 1e-5 off in estimates
    assert trace == pytest.approx(theirs["scaling.factor.h0"] * nominal, rel=3e-6)


@pytest.mark.parametrize("case", [case for case in CASES if case not in INDEFINITE])
def test_srmr_and_icc_are_lavaans(case, differences) -> None:
    found, theirs = fitted(case), default(case, "observed", False)
    # moments differ by the root of the difference in log-likelihood: 1e-4 to 9e-4 where EM stops early, else 3e-5
    limit = 1.5e-3 if case in EARLY else 1.5e-4
    for level in ("within", "between"):
        name = f"srmr_{level}"
        differences(f"{case} fit", "srmr", found.measures[name], theirs["measures"][name], limit, name)
    assert set(found.icc) == set(found.model.both)
    for name, value in found.icc.items():
        differences(f"{case} fit", "icc", value, theirs["icc"][name], limit, name)


@pytest.mark.parametrize(("case", "fixed_x"), [pair for pair in DEFAULT if not pair[1] or pair[0] not in OTHER_X])
def test_standardized_solution_is_lavaans(case, fixed_x, differences) -> None:
    if case == "xi_negicc":
        pytest.skip("lavaan's default fit stopped far from the maximum (log-likelihood -402.84, ours -365.18)")
    ours = rows_of(standardized(fitted(case, "observed", fixed_x)))
    row_name = f"{case} fit{' fixed.x' if fixed_x else ''}"
    theirs = default(case, "observed", fixed_x)["standardized"]
    for lhs, op, rhs, level, estimate, se in theirs:
        key = key_of(lhs, op, rhs, level)
        what, own = " ".join(key), ours[key]
        if estimate is None or np.isnan(own.est):
            # sd of a negative variance: lavaan divides a negative residual by it nonetheless
            assert np.isnan(own.est)
            assert case in INDEFINITE
            assert estimate is None or (op == "~~" and lhs == rhs)
            continue
        # lavaan's default stop is within 1e-4 of the maximum, in INDEFINITE within 1e-3 SE where the surface is flat
        slack = 1e-3 * se if case in INDEFINITE and se else 0.0
        differences(row_name, "std.all", own.est, estimate, 1e-4 + slack, what)
        if se and case != "xi_heywood_1":  # SEs of 20 on a ridge move by 8 % within the default stop's distance
            differences(row_name, "se std.all", own.se, se, 1e-4 if case not in INDEFINITE else 1e-3, what)
    assert len(theirs) == len(ours)


# ---------------------------------------------------------------------- where lavaan differs, and why


def test_lavaans_robust_ses_of_a_variable_exogenous_at_one_level_leave_out_its_scores() -> None:
    """`iv_m211`, fixed.x: m is exogenous within and endogenous between, and lavaan drops its scores at both levels.

    Of the scores by cluster with respect to the moments it sets those of m's between mean, between variance and
    covariance with x to 0. Then its SEs follow to all digits; without this (ours) they agree with fixed.x = FALSE.
    """
    case = "iv_m211"
    found = fitted(case, "robust", True)
    model, structure = found.model, TwoLevelStructure(found.model)
    statistics = found.context.sample.arrange(model.level1, model.level2).statistics()
    layout = statistics.layout
    free_model = unrestricted_model(model)
    unrestricted = TwoLevelStructure(free_model)
    params = found.params[None]

    def moments(at: np.ndarray) -> np.ndarray:
        return starts_from_moments(unrestricted, *structure.moments(at))[0]

    likelihood = TwoLevelLikelihood(unrestricted, layout.distinct, layout.counts)
    arrays = (statistics.cluster_means, statistics.cluster_scatter, layout.group)
    scores = likelihood.cluster_scores(moments(params)[None], *arrays)[0]
    step = 1e-5  # moments are quadratic in the parameters: central differences are exact but for rounding
    shifts = step * np.eye(params.shape[1])[:, None, :]
    jacobian = np.stack([(moments(params + s) - moments(params - s)) / (2 * step) for s in shifts], axis=1)
    held = [model.names.index(name) for name in ("within: m ~~ m", "between: x ~~ x", "between: x ~ 1")]
    free = np.setdiff1d(np.arange(params.shape[1]), held)
    own = TwoLevelLikelihood(structure, layout.distinct, layout.counts)
    bread = np.linalg.inv(own.observed_information(params, Data.of(statistics))[0][np.ix_(free, free)])

    def standard_errors(moment_scores: np.ndarray) -> np.ndarray:
        by_parameter = (moment_scores @ jacobian)[:, free]
        return np.sqrt(np.diag(bread @ by_parameter.T @ by_parameter @ bread))

    theirs = np.full(params.shape[1], np.nan)
    for row in tight(case, True)["par"]:
        if row["op"] != ":=":
            theirs[model.table.find(LEVELS[row["level"]], row["lhs"], row["op"], row["rhs"]).free] = row["se_mlr"]
    cut = scores.copy()
    cut[:, [free_model.names.index(f"between: {name}") for name in ("m ~~ m", "m ~~ x", "m ~ 1")]] = 0.0
    np.testing.assert_allclose(standard_errors(cut), theirs[free], rtol=0, atol=1e-8)  # lavaan's numerical Hessian
    np.testing.assert_allclose(standard_errors(scores), np.sqrt(np.diag(found.covariance))[free], rtol=1e-8)
    everything = np.sqrt(np.diag(fitted(case, "robust").covariance))[free]
    # x only at level 2: fixed or not matters at order 1 / J only
    np.testing.assert_allclose(standard_errors(scores), everything, rtol=0.01)
    assert np.abs(theirs[free] / everything - 1.0).max() > 0.4


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("xii_")])
def test_lavaans_expected_information_ignores_missing_values(case) -> None:
    """Its "expected" SEs under missing = "ml" are those of complete data at the same estimates; ours are larger."""
    found = fitted(case, "expected")
    model, structure = found.model, TwoLevelStructure(found.model)
    sample = found.context.sample.arrange(model.level1, model.level2)
    layout = sample.layout
    filled = Sample(layout, sample.level1, sample.level2, np.nan_to_num(sample.rows), sample.clusters)
    likelihood = TwoLevelLikelihood(structure, layout.distinct, layout.counts)
    # expected information does not depend on the values, so zeros serve for those missing
    complete = likelihood.evaluate(found.params[None], Data.of(filled.statistics())).information
    wrong = np.sqrt(np.diag(covariance(complete)[0]))
    for row in tight(case, False)["par"]:
        if row["op"] == ":=" or not row["se_expected"]:
            continue
        free = model.table.find(LEVELS[row["level"]], row["lhs"], row["op"], row["rhs"]).free
        assert wrong[free] == pytest.approx(row["se_expected"], abs=1e-9)  # the same closed form
        assert np.sqrt(found.covariance[free, free]) > wrong[free]


def independence_with_x_held(case: str) -> str:
    """No covariances; variances and means free but for those lavaan holds with fixed.x (of x, and of m within)."""
    held = {
        (row["level"], row["lhs"], row["op"]): row["est"]
        for row in tight(case, True)["par"]
        if row["lhs"] == row["rhs"] or row["op"] == "~1"
        if row["se_observed"] == 0 and (row["op"] == "~~" or row["level"] == 2)
    }
    model = fitted(case).model
    lines = []
    for level, block in LEVELS.items():
        names = model.observed(block)
        lines.append(f"level: {level}")
        lines += [f"  {a} ~~ {held[level, a, '~~']!r}*{a}" for a in names if (level, a, "~~") in held]
        lines += [f"  {a} ~~ {a}" for a in names if (level, a, "~~") not in held]
        lines += [f"  {a} ~~ 0*{b}" for i, a in enumerate(names) for b in names[i + 1 :]]
        lines += [f"  {a} ~ {held[level, a, '~1']!r}*1" for a in names if (level, a, "~1") in held]
    return "\n".join(lines)


@pytest.mark.parametrize("case", ["iii_m111_unb", "vi_m121", "ix_msalt", "xi_heywood_1"])
def test_lavaans_baseline_with_fixed_x_holds_x(case) -> None:
    """The independence model of both has x at the unrestricted moments."""
    theirs = default(case, "observed", True)["measures"]
    held = fitted(case, "observed", False, independence_with_x_held(case)).measures["loglik"]
    # lavaan's baseline fit stops by its default tolerance, and x is held at polished moments: 2e-6 relative
    slack = 1e-5 * theirs["baseline.chisq"]
    if case not in INDEFINITE:  # there the stops of lavaan's EM at default and polished differ
        assert 2.0 * (theirs["unrestricted_logl"] - held) == pytest.approx(theirs["baseline.chisq"], abs=slack)
    ours = fitted(case, "observed", True).measures
    # x is held at moments polished to 1e-8, which costs second order
    assert 2.0 * (ours["unrestricted_loglik"] - held) >= ours["baseline_chisq"] - 1e-6
    if case not in INDEFINITE:  # x is held at lavaan's moments above, which its EM did not finish there
        expected = 2.0 * (ours["unrestricted_loglik"] - held)
        assert ours["baseline_chisq"] == pytest.approx(expected, rel=1e-6)  # x held at moments polished to 1e-8


LEVEL_CASES = [case for case in CASES if "levels" in default(case, "observed", False)]


def other_level_held(case: str, level: str) -> str:
    """The model of one level, the other's moments written out as lavaan's unrestricted ones."""
    h1 = default(case, "observed", False)["h1"]
    within, between = text(case).split("level: 2")
    between = "\n".join(line for line in between.splitlines() if ":=" not in line)

    def block(moments: dict[str, Any], *, means: bool) -> str:
        names, values = moments["cov"]["names"], moments["cov"]["values"]
        lines = [f"  {a} ~~ {values[i][j]!r}*{b}" for i, a in enumerate(names) for j, b in enumerate(names[: i + 1])]
        return "\n".join(lines + [f"  {a} ~ {moments['mean'][a]!r}*1" for a in names if means])

    if level == "within":
        return f"{within}\nlevel: 2\n{block(h1['g'], means=True)}"
    return f"level: 1\n{block(h1['within'], means=False)}\nlevel: 2\n{between}"


@pytest.mark.parametrize("case", LEVEL_CASES)
def test_fit_of_one_level_lets_the_other_vary(case, differences) -> None:
    """Ryu & West's partially saturated model: ours maximises over the other level, lavaan holds it at H1's moments."""
    found = fitted(case)
    table = level_fit(found).set_index("level")
    for level, theirs in zip(("within", "between"), default(case, "observed", False)["levels"], strict=True):
        ours = table.loc[level]
        assert ours["df"] == theirs["df"]
        loglik = found.measures["unrestricted_loglik"] - ours["chisq"] / 2.0
        assert loglik > theirs["logl"]
        held = fitted(case, "observed", False, other_level_held(case, level))
        # the H1 moments are the EM's, and lavaan's fit stops by its default: 2e-6 measured
        differences(f"{case} fit", "loglik level", held.measures["loglik"], theirs["logl"], 1e-9, level)
        assert held.measures["loglik"] >= theirs["logl"] - 1e-9
        # so indices agree to two digits only; the stored RMSEA counts rows at the between level too, ours clusters
        n_units = found.n_clusters if level == "between" else found.n_obs
        for name in ("cfi", "tli"):
            assert ours[name] == pytest.approx(theirs[name], abs=5e-3)
        assert ours["rmsea"] * np.sqrt(n_units / found.n_obs) == pytest.approx(theirs["rmsea"], abs=5e-3)
        low, high = rmsea_interval(ours["chisq"], int(ours["df"]), n_units)
        assert (ours["rmsea_ci_lower"], ours["rmsea_ci_upper"]) == (low, high)
    np.testing.assert_allclose(table["chisq"].sum(), found.measures["chisq"], rtol=0.05)  # the levels add up, nearly


def test_cases_with_fits_of_one_level_are_there() -> None:
    assert set(LEVEL_CASES) == {"ii_m111_bal_full", "viii_cfa_2w1b", "viii_cfa_2w2b"}
