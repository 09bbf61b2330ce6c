"""Baseline model, both unrestricted models, robust indices, fit of one level and reliability against other software.

Public data: ../shared/reference/outside (skipped without). Where our number is not theirs, both stand in the table that
is printed after the run. lavaan fits the unrestricted model by EM, and so does Mplus; EM with a semidefinite
Sigma_between creeps along the border and is stopped early, so that their unrestricted log-likelihoods are below ours
(asserted) and their chi-squares smaller.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from outside_cases import OUTSIDE, data, expected, model_text

from simstudy.analysis.as_dict import fit_as_dict
from simstudy.analysis.fit import fit
from simstudy.analysis.level_fit import level_fit
from simstudy.analysis.reliability import reliability
from simstudy.analysis.result import FitRecord
from simstudy.estimation.fit_indices import Indices, indices

# Numbers printed with three or four digits.
DIGITS_3, DIGITS_4 = 5.1e-4, 5.1e-5
# lavaan stops where its relative change is 1e-8 or so; ratios of moments are then good to some 1e-5.
LAVAAN_STOP = 2e-5


@cache
def fitted(case: str, cluster: str, se: str = "expected", fixed_x: bool = False, h1: str | None = None) -> FitRecord:
    found = fit(model_text(case), data(case), cluster=cluster, se=se, fixed_x=fixed_x, h1=h1)
    assert found.converged
    return found


# ---------------------------------------------------------------------- baseline model


@pytest.mark.parametrize("fixed_x", [False, True])
def test_cfi_and_tli_with_correlated_predictors_are_lavaans(fixed_x, both_sides) -> None:
    """Three predictors that correlate .9: a baseline without their covariances gave CFI .995."""
    case = "baseline_exogenous_cfi"
    theirs = expected(case)["lavaan_0.7.2_fixed.x_TRUE_and_FALSE"]
    ours = fitted(case, "cl", "expected", fixed_x).measures
    for name, key, limit in (
        ("chisq", "chisq", DIGITS_3 + 1e-3),  # lavaan's EM stops a little below the unrestricted maximum
        ("df", "df", 0.0),
        ("baseline_chisq", "baseline_chisq", DIGITS_3 + 1e-3),
        ("baseline_df", "baseline_df", 0.0),
        ("cfi", "cfi", DIGITS_3),
        ("tli", "tli", DIGITS_3),
        ("rmsea", "rmsea", DIGITS_3),
    ):
        both_sides(f"{case}{' fixed.x' if fixed_x else ''}", name, ours[name], theirs[key], limit)


def test_cfi_and_tli_with_predictors_at_both_levels_are_lavaans(both_sides) -> None:
    case = "levelfit_rmsea_clusters"
    theirs, ours = expected(case)["fit"], fitted(case, "cluster").measures
    for name, key in (("baseline_chisq", "baseline.chisq"), ("baseline_df", "baseline.df"), ("tli", "tli")):
        # EM's stop: 1e-5 in log-likelihood, of 2e4
        both_sides(case, name, ours[name], theirs[key], 1e-4)


# ---------------------------------------------------------------------- both unrestricted models

EARLY = "their EM stops early"
OTHER = "ours is indefinite"


@pytest.mark.parametrize(
    ("case", "cluster", "fixed_x", "df"),
    [
        ("mplus_ex9_12", "clus", True, 19),
        ("mplus_ex9_6", "clus", True, 17),
        ("psd_h1_chisq", "clus", True, 19),
        ("chisq_near_singular_between_mplus_ex9_12", "clus", False, 19),
    ],
)
def test_chi_square_against_both_unrestricted_models(case, cluster, fixed_x, df, both_sides) -> None:
    """The psd maximum is above lavaan's; the unrestricted one above that; a note tells both where they differ."""
    free, psd = (fitted(case, cluster, "robust", fixed_x, h1) for h1 in (None, "psd"))
    assert (free.h1, psd.h1) == ("unrestricted", "psd")
    assert free.measures["df"] == psd.measures["df"] == df
    # x and w live on one level each: their moments, and so the fits, are the same
    assert free.measures["loglik"] == pytest.approx(psd.measures["loglik"], rel=1e-13)
    theirs = {
        "mplus_ex9_12": {"chisq": 17.462, "unrestricted": 25.9079},
        "mplus_ex9_6": {"chisq": 3.918, "unrestricted": 4.6642},
        "psd_h1_chisq": {"chisq": 17.462, "unrestricted": 25.9079},
        "chisq_near_singular_between_mplus_ex9_12": {"chisq": 17.523429, "unrestricted": 25.969},
    }[case]
    both_sides(case, "chisq, unrestricted", free.measures["chisq"], theirs["unrestricted"], DIGITS_3)
    # chi-square is less by twice the log-likelihood that their EM gave away, which is .071 at most here
    both_sides(case, "chisq, psd", psd.measures["chisq"], theirs["chisq"], 0.15, EARLY)
    assert psd.measures["chisq"] > theirs["chisq"] - DIGITS_3
    # their scaling factor is that of where EM stopped
    scaled = {"mplus_ex9_12": 19.448, "mplus_ex9_6": 4.067}.get(case)
    if scaled is not None:
        both_sides(case, "chisq scaled, psd", psd.measures["chisq_scaled"], scaled, 0.2, EARLY)
    for one, other in ((free, psd), (psd, free)):
        (note,) = [text for text in one.notes if "eigenvalue" in text]
        assert f"{other.measures['chisq']:.3f}" in note
    assert "2 negative eigenvalues" in " ".join(free.notes)


def test_psd_log_likelihood_is_at_least_lavaans(both_sides) -> None:
    for case, cluster in (
        ("chisq_near_singular_between_mplus_ex9_12", "clus"),
        ("chisq_missing_growth_units", "unit"),
    ):
        theirs = expected(case)["fit"]["unrestricted.logl"]
        ours = fitted(case, cluster, "expected", False, "psd").measures["unrestricted_loglik"]
        assert ours > theirs
        both_sides(case, "loglik H1, psd", ours, theirs, 0.08, EARLY)


def test_chi_square_without_an_unrestricted_maximum_is_the_semidefinite_one(both_sides) -> None:
    """43 small units: the unrestricted likelihood is unbounded. Asked for by name, there is none, and a reason."""
    case = "chisq_missing_growth_units"
    theirs, ours = expected(case)["fit"], fitted(case, "unit")
    assert ours.h1 == "psd"
    assert any("no maximum" in note and "h1 = 'psd'" in note for note in ours.notes)
    both_sides(case, "df", ours.measures["df"], theirs["df"], 0.0)
    both_sides(case, "loglik", ours.measures["loglik"], theirs["logl"], 1e-4)
    both_sides(case, "chisq", ours.measures["chisq"], theirs["chisq"], 0.1, EARLY)
    both_sides(case, "baseline_chisq", ours.measures["baseline_chisq"], theirs["baseline.chisq"], 0.1, EARLY)
    both_sides(case, "cfi", ours.measures["cfi"], theirs["cfi"], 5e-4, EARLY)
    both_sides(case, "rmsea", ours.measures["rmsea"], theirs["rmsea"], 2e-3, EARLY)
    asked = fitted(case, "unit", "expected", False, "unrestricted")
    assert asked.h1 == ""
    assert np.isnan(asked.measures["chisq"])
    assert any("no maximum" in note and "no chi-square" in note for note in asked.notes)
    # where the failed search stood is no moment of the data: SRMR between was .477 there
    assert np.isnan([asked.measures["srmr_within"], asked.measures["srmr_between"]]).all()
    assert level_fit(asked)["srmr"].isna().all()


def test_scaling_factor_of_the_model_is_that_of_mplus(both_sides) -> None:
    """Mplus holds its between residuals at 1e-4, the model has them at 0: 3e-4."""
    ours = fitted("mplus_ex9_6", "clus", "robust", True)
    theirs = expected("mplus_ex9_6")["mplus_8.2"]["scaling_h0"]
    both_sides("mplus_ex9_6", "scaling factor H0", ours.measures["scaling_h0"], theirs, 5e-4)
    assert fit_as_dict(ours)["scaling_factor_h0"] == ours.measures["scaling_h0"]


# ---------------------------------------------------------------------- robust indices

# lavaan 0.6-14, estimator = "MLR", fixed.x = TRUE; its scaling factors of fits with fixed.x = FALSE are of another
# information, so that ours agree with those of fixed.x = TRUE alone.
ROBUST = {
    "scaling": 0.924157, "chisq_scaled": 39.191649, "baseline_scaling": 0.954988, "cfi_scaled": 0.864930,
    "tli_scaled": 0.750639, "rmsea_scaled": 0.044886, "cfi_robust": 0.869290, "tli_robust": 0.758690,
    "rmsea_robust": 0.043150, "rmsea_ci_lower": 0.026270, "rmsea_ci_upper": 0.058904,
    "rmsea_ci_lower_robust": 0.028044, "rmsea_ci_upper_robust": 0.058983,
}  # fmt: skip


def test_robust_indices_are_lavaans(both_sides) -> None:
    ours = fitted("baseline_exogenous_cfi", "cl", "robust", True).measures
    for name, theirs in ROBUST.items():
        # H1 moments of an EM that stops early: 2e-4 in a scaling factor
        both_sides("baseline_exogenous_cfi robust", name, ours[name], theirs, 2e-4 * max(1.0, theirs))


def test_robust_indices_of_two_groups_are_lavaans(both_sides) -> None:
    """lavaan 0.7-2, two groups, MLR: the formulas alone, from its chi-squares and scaling factors.

    It does not print the baseline model's chi-square. Metric invariance's CFI gives what that exceeds its df by, and
    the CFI of scalar invariance must follow.
    """
    place = OUTSIDE.parent / "groups" / "mgcfa"
    if not place.is_dir():
        pytest.skip(f"{place} is not there: the reference data are not part of the repository")
    mlr = json.loads((place / "mlr.json").read_text())
    plain = {name: one["fit"] for name, one in json.loads((place / "result.json").read_text()).items()}
    n_rows = len(pd.read_csv(place / "data.csv"))

    def theirs(name: str, index: str, key: str) -> float:
        return plain[name][index] if key == "plain" else mlr[name][f"{index}.{key}"]

    def chisq_and_factor(name: str, key: str) -> tuple[float, float]:
        one = mlr[name]
        return one["chisq.scaled" if key == "scaled" else "chisq"], one[
            "chisq.scaling.factor"
        ] if key == "robust" else 1.0

    def found(name: str, key: str, excess: float = 1e3) -> Indices:
        chisq, factor = chisq_and_factor(name, key)
        baseline = np.array([excess + 1.0])  # only its difference from df_baseline = 1 counts in CFI
        return indices(np.array([chisq]), mlr[name]["df"], baseline, 1, n_rows, scaling=factor, n_groups=2)

    for key in ("plain", "scaled", "robust"):
        for name in ("configural", "metric", "scalar"):
            # chi-squares and factors have ten digits; an excess near 0 loses four of them
            both_sides("mgcfa", f"rmsea {key}, {name}", found(name, key).rmsea[0], theirs(name, "rmsea", key), 1e-8)
        chisq, factor = chisq_and_factor("metric", key)
        excess = (chisq - factor * mlr["metric"]["df"]) / (1.0 - theirs("metric", "cfi", key))
        # 1 - CFI of metric invariance is 6e-5 and known to 5e-12: seven digits of 1 - CFI = .02
        both_sides(
            "mgcfa", f"cfi {key}, scalar", found("scalar", key, excess).cfi[0], theirs("scalar", "cfi", key), 1e-8
        )


# ---------------------------------------------------------------------- fit of one level


def test_rmsea_of_the_between_level_counts_clusters(both_sides) -> None:
    """Ryu & West (2009): sqrt((6.6563 - 4) / (4 * 200)) = .0576, where rows would give .0163."""
    case = "levelfit_rmsea_clusters"
    found = fitted(case, "cluster")
    table = level_fit(found, target=True).set_index("level")
    assert list(table.index) == ["both", "within", "between"]
    between = table.loc["between"]
    both_sides(case, "chisq between", between["chisq"], 6.6563, DIGITS_4)
    both_sides(case, "df between", between["df"], 4, 0.0)
    both_sides(case, "rmsea between", between["rmsea"], 0.0576, DIGITS_4)
    for name in ("chisq", "df", "cfi", "rmsea"):
        assert table.loc["both", name] == found.measures[name]


# ---------------------------------------------------------------------- reliability

# semTools 0.5-6 with lavaan 0.6-14: compRelSEM(f, obs.var = FALSE), and with config = "f" or shared = "f"
PLAIN = "level: 1\n f =~ y1 + y2 + y3\nlevel: 2\n f =~ y1 + y2 + y3"
SEMTOOLS = {
    "plain": (PLAIN, [0.6762335323, 0.9352342405, 0.78201945, 0.83617495, 0.76613777]),
    "covariates": (
        "level: 1\n f =~ y1 + y2 + y3\n f ~ x1 + x2 + x3\nlevel: 2\n f =~ y1 + y2 + y3\n f ~ w1 + w2",
        [0.6755392454, 0.9381424787, 0.79076379, 0.84290373, 0.76968923],
    ),
    "equal loadings": (
        "level: 1\n f =~ 1*y1 + b*y2 + c*y3\nlevel: 2\n f =~ 1*y1 + b*y2 + c*y3",
        [0.6761255081, 0.9334227245, 0.78375192, 0.83965378, 0.76693788],
    ),
}
COEFFICIENTS = [("omega", "within"), ("omega", "between"), ("omega_b", "between"), ("irr", "between")]
COEFFICIENTS += [("omega_2l", "both")]


@pytest.mark.parametrize("name", SEMTOOLS)
def test_reliabilities_are_those_of_semtools(name, both_sides) -> None:
    text, theirs = SEMTOOLS[name]
    found = fit(text, data("levelfit_rmsea_clusters"), cluster="cluster")
    table = reliability(found)
    assert list(zip(table["coefficient"], table["level"], strict=True)) == COEFFICIENTS
    for row, value in zip(table.itertuples(), theirs, strict=True):
        both_sides(f"reliability, {name}", f"{row.coefficient} {row.level}", row.est, value, LAVAAN_STOP)
        assert row.ci_lower < row.est < row.ci_upper
