"""MUML and the two-matrix methods on the reference data: against lavaan where it fits the same, else against scipy.

Where all clusters have one size MUML is maximum likelihood, and Goldstein's first step is always full-information
maximum likelihood of the unrestricted model: lavaan's numbers hold. Elsewhere the discrepancy functions of theory C3,
C5 are written out from the rows and minimised by scipy, with gradients by complex steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from reference_cases import CASES, DATA, Fit, default, difference, fit, frame, model, polished
from scipy import optimize

from simstudy.data.sample import from_frame
from simstudy.estimation.inference import with_defined
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

KINDS = {"observed": "se_observed", "expected": "se_expected", "robust": "se_mlr"}
# As for msem: lavaan is polished to gradients < 1e-13; ours stops within 1e-6 SE and takes one more step.
ESTIMATE, SE, LOGLIK = 1e-7, 1e-6, 1e-11
# What the issue asks of MUML and maximum likelihood with equal sizes; measured 1e-13, but for SEs on a ridge.
SAME = 1e-8


def layout_of(case: str):
    return from_frame(frame(case), "g", model(case).level1, model(case).level2).layout


BALANCED = [case for case in CASES if layout_of(case).balanced]
# Saturated: Goldstein's second step reproduces the matrices. Heywood cases have an indefinite Sigma_between.
SATURATED = [
    "ii_m111_bal", "iii_m111_unb", "iii_m111_unb_free", "iv_m211", "v_m221", "vi_m112", "vi_m121", "ix_msalt",
    "vii_latcov_J200_n5_icc05", "vii_latcov_J50_n30_icc30",
]  # fmt: skip


@pytest.mark.parametrize("case", BALANCED)
def test_muml_is_lavaans_maximum_likelihood_where_sizes_are_equal(case, differences) -> None:
    theirs = polished(case)
    found = fit("muml", model(case), frame(case), se=list(KINDS), measures=True)
    for row in theirs["par"]:
        place = found.index(row)
        if place is None:
            continue
        what = f"muml {row['lhs']} {row['op']} {row['rhs']} level {row['level']}"
        differences(case, "estimate", found.result.estimate[0, place], row["est"], ESTIMATE, what)
        for kind, key in KINDS.items():
            differences(case, f"se {kind}", found.result.se[kind][0, place], row[key], SE, what)
    differences(case, "loglik", found.loglik, theirs["logl"], LOGLIK)
    ours = fit("msem", model(case), frame(case), se=list(KINDS), measures=True).result
    np.testing.assert_allclose(found.result.estimate, ours.estimate, rtol=0, atol=SAME)
    np.testing.assert_allclose(found.loglik, ours.loglik[0], rtol=1e-13)  # rounding
    for kind in KINDS:
        np.testing.assert_allclose(found.result.se[kind], ours.se[kind], rtol=1e-7 if "heywood" in case else SAME)
    for name, values in ours.measures.items():
        np.testing.assert_allclose(found.result.measures[name], values, rtol=SAME, atol=SAME, err_msg=name)


def test_chi_square_of_the_restricted_case_is_lavaans() -> None:
    case = "ii_m111_bal_full"
    found = fit("muml", model(case), frame(case), se=["expected", "robust"], measures=True).result.measures
    theirs = default(case)
    # lavaan's unrestricted model is found by EM, which stops early: 1e-4 of a chi-square of 36
    assert found["chisq"][0] == pytest.approx(theirs["chisq"], abs=1e-3)
    assert found["df"][0] == theirs["df"] == 2


@pytest.mark.parametrize("case", SATURATED)
def test_goldsteins_matrices_are_lavaans_unrestricted_ones(case, differences) -> None:
    """And so are robust SEs: the first step's uncertainty is all there is."""
    found = fit("goldstein", model(case), frame(case), se=["expected", "robust"])
    for row in polished(case)["par"]:
        place = found.index(row)
        if place is not None:
            differences(case, "estimate", found.result.estimate[0, place], row["est"], ESTIMATE, f"goldstein {row}")
            differences(case, "se robust", found.result.se["robust"][0, place], row["se_mlr"], SE, f"goldstein {row}")


@pytest.mark.parametrize("case", ["xii_miss_mar", "xii_miss_all"])
def test_goldsteins_first_step_uses_incomplete_rows_as_lavaan_does(case) -> None:
    path = DATA / case / "tight_fiml.json"
    theirs = json.loads(path.read_text())["fits"]["tight"]
    assert theirs["df"] == 0
    m = model(case)
    sample = from_frame(pd.read_csv(path.parent / "data.csv"), "g", m.level1, m.level2, missing=True)
    estimator = registry.create("goldstein", {"missing": "fiml"})
    result = with_defined(estimator.prepare(m, sample.layout).fit(sample), m.estimands)
    assert result.converged.all()
    found = Fit(result, m, sample)
    for row in theirs["par"]:
        place = found.index(row)
        if place is not None:
            # both at the maximum, ours within 1e-6 SE
            assert difference(result.estimate[0, place], row["est"]) < ESTIMATE, row


@pytest.mark.parametrize("case", ["xi_heywood_1", "xi_heywood_3", "xi_heywood_latcov", "xi_negicc"])
@pytest.mark.parametrize("method", ["schmidt", "goldstein"])
def test_indefinite_between_matrices_are_refused_as_software_does(case, method) -> None:
    m = model(case)
    sample = from_frame(frame(case), "g", m.level1, m.level2)
    result = registry.create(method).prepare(m, sample.layout).fit(sample)
    assert [int(s) for s in result.status] == [3]  # NON_PD
    assert np.isnan(result.estimate).all()


# ---------------------------------------------------------------------- two groups by a general-purpose optimiser


def matrices(case: str) -> tuple[np.ndarray, np.ndarray, int, int, float]:
    """S_PW, S_B (divisor J) over level-1 and level-2 variables, N, J and c, from the rows."""
    m, data = model(case), frame(case)
    names = [*m.level1, *m.level2]
    groups = data.groupby("g")[names]
    n = groups.size().to_numpy().astype(float)
    means = groups.mean().to_numpy()
    centred = data[list(m.level1)].to_numpy() - data.groupby("g")[list(m.level1)].transform("mean").to_numpy()
    total, clusters = len(data), len(n)
    offset = means - (n[:, None] * means).sum(axis=0) / total
    c = (total**2 - (n**2).sum()) / (total * (clusters - 1))
    return centred.T @ centred / (total - clusters), (n[:, None] * offset).T @ offset / clusters, total, clusters, c


def discrepancy(sigma: np.ndarray, s: np.ndarray) -> complex:
    """Value of log|Sigma| + tr(S Sigma^-1) - log|S| - p; infinite where Sigma is not positive definite."""
    if np.linalg.eigvalsh(sigma.real)[0] <= 0:
        return np.inf
    value = np.log(np.linalg.det(sigma)) + np.trace(np.linalg.solve(sigma, s))
    return value - np.linalg.slogdet(s)[1] - len(s)


def minimise(objective: Callable[[np.ndarray], complex], start: np.ndarray) -> tuple[np.ndarray, float]:
    """Smallest value of a real-analytic function: BFGS with complex-step gradients, then Newton's method."""

    def gradient(theta: np.ndarray) -> np.ndarray:
        steps = 1e-30j * np.eye(len(theta))
        return np.array([objective(theta + step).imag / 1e-30 for step in steps])

    def value(theta: np.ndarray) -> float:
        found = objective(theta.astype(complex)).real
        return found if np.isfinite(found) else 1e10

    theta = optimize.minimize(value, start, jac=gradient, method="BFGS", options={"gtol": 1e-3}).x
    moves = 1e-5 * np.eye(len(theta))
    for _ in range(8):
        hessian = np.array([gradient(theta + move) - gradient(theta - move) for move in moves]) / 2e-5
        theta = theta - np.linalg.solve(hessian, gradient(theta))
    assert np.abs(gradient(theta)).max() < 1e-7
    assert np.linalg.eigvalsh((hessian + hessian.T) / 2)[0] > 0
    return theta, value(theta)


def factor_model(loadings: Any, phi: Any, residuals: Any) -> np.ndarray:
    return loadings @ phi @ loadings.T + np.diag(residuals)


CFA_NAMES = [
    *(f"within: {f} =~ y{k}" for f, k in (("fw1", 2), ("fw1", 3), ("fw2", 5), ("fw2", 6))),
    *("within: fw1 ~~ fw1", "within: fw2 ~~ fw2", "within: fw1 ~~ fw2"),
    *(f"within: y{k} ~~ y{k}" for k in range(1, 7)),
    *(f"between: fb =~ y{k}" for k in range(2, 7)),
    "between: fb ~~ fb",
    *(f"between: y{k} ~~ y{k}" for k in range(1, 7)),
]
CFA_START = np.array([1, 1, 1, 1, 0.4, 0.4, 0.1, *[0.4] * 6, 1, 1, 1, 1, 1, 0.15, *[0.1] * 6], dtype=float)


def cfa(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sigma_W of two factors and Sigma_B of one, in the order y1 ... y6."""
    lam = np.zeros((6, 2), dtype=theta.dtype)
    lam[[0, 3], [0, 1]] = 1.0
    lam[[1, 2], 0], lam[[4, 5], 1] = theta[:2], theta[2:4]
    phi = np.array([[theta[4], theta[6]], [theta[6], theta[5]]])
    between = np.concatenate([[1.0], theta[13:18]])[:, None]
    return factor_model(lam, phi, theta[7:13]), factor_model(between, theta[18:19, None], theta[19:25])


def two_groups(case: str, structure: Callable, method: str) -> Callable[[np.ndarray], complex]:
    """F of theory C3 (muml), or of the separate matrices of schmidt, weighted with N - J and J."""
    within, observed, total, clusters, c = matrices(case)
    p1 = len(within)

    def objective(theta: np.ndarray) -> complex:
        sigma_within, sigma_between = structure(theta)
        if method == "muml":
            whole, s = c * sigma_between, observed
            whole[:p1, :p1] += sigma_within
        else:
            whole, s = sigma_between, observed.copy()
            s[:p1, :p1] -= within
            s = s / c
        return (total - clusters) * discrepancy(sigma_within, within) + clusters * discrepancy(whole, s)

    return objective


@pytest.mark.slow
@pytest.mark.parametrize("method", ["muml", "schmidt"])
def test_unbalanced_factor_model_against_scipy(method) -> None:
    case = "viii_cfa_2w1b"
    assert not layout_of(case).balanced
    found = fit(method, model(case), frame(case), measures=True)
    theta, chisq = minimise(two_groups(case, cfa, method), CFA_START)
    # scipy's root is good to 1e-13 / curvature; ours within 1e-6 SE, one step further
    np.testing.assert_allclose([found.value(name) for name in CFA_NAMES], theta, rtol=0, atol=1e-7)
    assert found.result.measures["chisq"][0] == pytest.approx(chisq, rel=1e-9)  # rounding of log-likelihoods of 1e4
    assert found.result.measures["df"][0] == 17


def mediation(theta: np.ndarray) -> list[np.ndarray]:
    """Order m, y, x; a and c are the same at both levels."""
    a, bw, c, bb = theta[:4]
    found = []
    for b, variances in ((bw, theta[4:7]), (bb, theta[7:10])):
        paths = np.zeros((3, 3), dtype=theta.dtype)
        paths[0, 2], paths[1, 0], paths[1, 2] = a, b, c
        total = np.linalg.inv(np.eye(3) - paths)
        found.append(total @ np.diag(variances) @ total.T)
    return found


def test_paths_equal_across_levels_against_scipy() -> None:
    case = "iii_m111_unb_eq"
    m = model(case)
    order = [("m", "y", "x").index(name) for name in m.level1]
    found = fit("muml", m, frame(case), measures=True)

    def structure(theta: np.ndarray) -> list[np.ndarray]:
        return [s[np.ix_(order, order)] for s in mediation(theta)]

    start = np.array([0.3, 0.3, 0.1, 0.3, 0.8, 0.8, 0.8, 0.2, 0.2, 0.2])
    theta, chisq = minimise(two_groups(case, structure, "muml"), start)
    names = ["aw", "bw", "cw", "bb"]
    names += [f"{level}: {v} ~~ {v}" for level in ("within", "between") for v in ("m", "y", "x")]
    np.testing.assert_allclose([found.value(name) for name in names], theta, rtol=0, atol=1e-7)  # as above
    assert found.result.measures["chisq"][0] == pytest.approx(chisq, rel=1e-8)
    assert found.result.measures["df"][0] == 2


def test_level_2_variables_enter_as_c_sigma_zz_against_scipy() -> None:
    """x at level 2 and no direct effect: an over-identified 2-1-1 mediation."""
    case = "iv_m211"
    m = TwoLevelModel.from_syntax("level: 1\n y ~ bw*m\nlevel: 2\n m ~ a*x\n y ~ bb*m")
    assert (*m.level1, *m.level2) == (*model(case).level1, *model(case).level2) == ("y", "m", "x")
    found = fit("muml", m, frame(case), measures=True)

    def structure(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bw, a, bb = theta[:3]
        inner = np.linalg.inv(np.eye(2) - np.array([[0, bw], [0, 0]]))
        outer = np.linalg.inv(np.eye(3) - np.array([[0, bb, 0], [0, 0, a], [0, 0, 0]]))
        return inner @ np.diag(theta[3:5]) @ inner.T, outer @ np.diag(theta[5:8]) @ outer.T

    theta, chisq = minimise(
        two_groups(case, structure, "muml"), np.array([0.3, 0.3, 0.4, 0.8, 0.8, 0.1, 0.2, 1.2], dtype=float)
    )
    names = ["bw", "a", "bb", "within: y ~~ y", "within: m ~~ m"]
    names += [f"between: {v} ~~ {v}" for v in ("y", "m", "x")]
    np.testing.assert_allclose([found.value(name) for name in names], theta, rtol=0, atol=1e-7)  # as above
    assert found.result.measures["chisq"][0] == pytest.approx(chisq, rel=1e-8)
    assert found.result.measures["df"][0] == 1


def test_goldstein_fits_both_matrices_together_where_loadings_are_equal_against_scipy() -> None:
    """Two groups, (Sigma_W, N - J) and (Sigma_B, J), whose matrices are the unrestricted maximum."""
    case = "viii_cfa_2w1b_eq"
    m = model(case)
    block = "\n".join(f" y{i} ~~ y{j}" for i in range(1, 7) for j in range(i, 7))
    first = fit("msem", f"level: 1\n{block}\nlevel: 2\n{block}", frame(case))
    sigma = {level: np.empty((6, 6)) for level in ("within", "between")}
    for level, matrix in sigma.items():
        for i, j in zip(*np.triu_indices(6), strict=True):
            matrix[i, j] = matrix[j, i] = first.value(f"{level}: y{i + 1} ~~ y{j + 1}")
    total, clusters = first.sample.layout.n_obs, first.sample.layout.n_clusters

    def objective(theta: np.ndarray) -> complex:
        loadings, rest = theta[:4], theta[4:]
        between_loadings = np.concatenate([loadings[:2], [1.0], loadings[2:]])
        within, between = cfa(np.concatenate([loadings, rest[:9], between_loadings, rest[9:]]))
        value = (total - clusters) * discrepancy(within, sigma["within"])
        return value + clusters * discrepancy(between, sigma["between"])

    theta, chisq = minimise(objective, np.concatenate([CFA_START[:13], CFA_START[18:]]))
    found = fit("goldstein", m, frame(case), measures=True)
    names = ["l2", "l3", "l5", "l6", *CFA_NAMES[4:13], *CFA_NAMES[18:]]
    # the first step stops within 1e-6 SE, too
    np.testing.assert_allclose([found.value(name) for name in names], theta, rtol=0, atol=1e-7)
    assert found.result.measures["chisq"][0] == pytest.approx(chisq, rel=1e-7)
    assert found.result.measures["df"][0] == 22
