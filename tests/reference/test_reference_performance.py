"""Measures, their Monte Carlo errors and effects of factors against R and against printed results of other packages.

`data/performance/make.R` made the data and the numbers (R 4.2.2, car 3.1.1, effectsize 0.8.3: `versions.txt`).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import simstudy
from simstudy.api import import_results
from simstudy.performance import factor_effects, measure_names, measures, paired
from simstudy.performance.cell import COLUMNS

FOLDER = Path(__file__).parent / "data" / "performance"
# sums of 150 terms in another order, printed with 15 digits
ROUNDING = 1e-11
MAD = 1.482602218505602  # 1/qnorm(.75)


@pytest.fixture(scope="module")
def study() -> pd.DataFrame:
    return simstudy.performance_of(FOLDER / "study.csv", estimate="b")


def test_measures_are_those_of_r(study: pd.DataFrame) -> None:
    expected = pd.read_csv(FOLDER / "study_results.csv")
    bases = {"paired", "casewise"}
    mine = study[study["basis"].isin(bases)].set_index(["estimator", "measure"])
    assert set(expected["measure"]) == {*mine.index.get_level_values("measure")} - {"convergence", "admissibility"}
    for row in expected.itertuples():
        found = mine.loc[(row.method, row.measure)]
        value = row.value * (MAD / 1.4826 if row.measure == "mad_se" else 1.0)  # R rounds 1/qnorm(.75)
        np.testing.assert_allclose(found["value"], value, rtol=ROUNDING, err_msg=f"{row.method} {row.measure}")
        if not math.isnan(row.mcse) and row.mcse > 0:  # R's definitions give 0 at rates of 0 and 1
            np.testing.assert_allclose(found["mcse"], row.mcse, rtol=ROUNDING, err_msg=f"{row.method} {row.measure}")
        if not math.isnan(row.jackknife):
            # R takes 150 differences of nearly equal numbers
            np.testing.assert_allclose(found["mcse_jackknife"], row.jackknife, rtol=1e-9, err_msg=row.measure)
    assert set(study.loc[study["basis"] == "paired", "reference"]) == {"A"}


def test_failures_of_the_file_are_counted() -> None:
    failures = import_results(FOLDER / "study.csv", estimate="b").failures.set_index("estimator")
    assert failures["converged"].to_dict() == {"A": 150, "B": 139, "C": 150}
    assert failures.at["B", "NONFINITE"] == 11


# Printed in the documentation of simhelpers 0.3.1 for its data set t_res (calc_absolute, calc_relative, calc_coverage,
# calc_rejection), to 3 significant digits.
SIMHELPERS = {
    "bias": (0.00233, 0.00638),
    "empirical_se": (0.202, 0.00457),
    "mse": (0.0407, None),
    "relative_bias": (0.00, 0.0128),  # simhelpers prints mean/true = 1.00
    "coverage": (0.951, 0.00683),
    "ci_width": (0.791, 0.00179),
    "rejection": (0.702, 0.0145),
}


def test_simhelpers_prints_the_same_for_its_own_example() -> None:
    table = simstudy.performance_of(FOLDER / "t_res.csv").query("basis == 'casewise'").set_index("measure")
    for name, (value, mcse) in SIMHELPERS.items():
        tolerance = 0.005 if name == "relative_bias" else 0.5 * 10.0 ** (math.floor(math.log10(abs(value))) - 2)
        assert table.at[name, "value"] == pytest.approx(value, abs=tolerance), name  # half of the last digit printed
        if mcse is not None:
            # simhelpers' error of the standard deviation uses the kurtosis, as the jackknife does
            column = "mcse_jackknife" if name == "empirical_se" else "mcse"
            half = 0.5 * 10.0 ** (math.floor(math.log10(mcse)) - 2)
            extra = 1e-5 if name == "empirical_se" else 0.0  # kurtosis formula and jackknife differ by 1/n
            assert table.at[name, column] == pytest.approx(mcse, abs=half + extra), name
    assert table.at["mse", "mcse"] == pytest.approx(0.00733 * 0.25, abs=0.000005 * 0.25 + 1e-6)  # printed as MSE/true^2


# Printed by Stata's simsum 2.3.1 for its test data (UCL/simsum, test/cscript1.log, 22 Sep 2025): n = 100, true value 0.
SIMSUM = {
    "b_1": {"mean": -0.0119478, "empse": 0.2101996, "modelse": 0.2058237, "modelse_mcse": 0.0014974},
    "b_2": {"mean": -0.0117727, "empse": 0.2061269, "modelse": 0.2016575, "modelse_mcse": 0.0014092},
}
SIMSUM_PRINTS = {
    "b_1": {
        "bias": (-0.0119478, 0.02102),
        "empirical_se": (0.2101996, 0.0149382),
        "mse": (0.0438848, None),
        "rmse": (0.2094869, None),
        "se_ratio": (1 - 0.02081764, 0.06995112),
    },
    "b_2": {
        "bias": (-0.0117727, 0.0206127),
        "empirical_se": (0.2061269, 0.0146488),
        "mse": (0.042202, None),
        "rmse": (0.2054313, None),
        "se_ratio": (1 - 0.02168266, 0.0698613),
    },
}


def with_moments(x: np.ndarray, mean: float, sd: float) -> np.ndarray:
    """The numbers moved and stretched to this mean and standard deviation."""
    return mean + sd * (x - x.mean()) / x.std(ddof=1)


@pytest.mark.parametrize("method", ["b_1", "b_2"])
def test_simsum_prints_the_same_from_the_same_moments(method: str) -> None:
    """Its data are not public as text; data with the same moments must give the same bias, errors, MSE and ratio."""
    moments, n = SIMSUM[method], 100
    rng = np.random.default_rng(1)
    estimate = with_moments(rng.normal(size=n), moments["mean"], moments["empse"])
    # the MCSE of ModSE is sd(SE^2)/(2 sqrt(n) ModSE), which gives the standard deviation of SE^2
    spread = moments["modelse_mcse"] * 2 * math.sqrt(n) * moments["modelse"]
    se = np.sqrt(with_moments(rng.normal(size=n), moments["modelse"] ** 2, spread))
    truth = np.zeros(1)
    found = {
        "bias": measures.bias(estimate[:, None], truth),
        "empirical_se": measures.empirical_se(estimate[:, None]),
        "mse": measures.mse(estimate[:, None], truth),
        "rmse": measures.rmse(estimate[:, None], truth),
        "se_ratio": measures.se_ratio(estimate[:, None], se[:, None]),
    }
    for name, (value, mcse) in SIMSUM_PRINTS[method].items():
        # what goes in is rounded in the seventh digit, what comes out too
        assert found[name].value[0] == pytest.approx(value, rel=5e-6), name
        if mcse is not None:
            assert found[name].mcse[0] == pytest.approx(mcse, rel=5e-5), name


def test_simsum_prints_the_same_gain_in_precision() -> None:
    """b_2 against b_1: 3.990678 % (.1219183); b_1 against b_2: -3.837534 %. The error fixes the correlation."""
    gain = (SIMSUM["b_1"]["empse"] / SIMSUM["b_2"]["empse"]) ** 2
    r = math.sqrt(1 - (0.001219183 / (2 * gain)) ** 2 * 99)
    rng = np.random.default_rng(2)
    x = with_moments(rng.normal(size=100), 0, 1)
    noise = rng.normal(size=100)
    noise = with_moments(noise - np.polyval(np.polyfit(x, noise, 1), x), 0, 1)
    first = with_moments(x, SIMSUM["b_1"]["mean"], SIMSUM["b_1"]["empse"])
    second = with_moments(r * x + math.sqrt(1 - r * r) * noise, SIMSUM["b_2"]["mean"], SIMSUM["b_2"]["empse"])
    found = paired.relative_precision(second[:, None], first[:, None])
    assert found.value[0] == pytest.approx(0.03990678, rel=2e-5)  # both EmpSEs are rounded in the seventh digit
    assert found.mcse[0] == pytest.approx(0.001219183, rel=1e-4)  # so is what the correlation is taken from
    found = paired.relative_precision(first[:, None], second[:, None])
    assert found.value[0] == pytest.approx(-0.03837534, rel=2e-5)


def as_performance(cells: pd.DataFrame) -> pd.DataFrame:
    """Performance table of one method's bias, from a table of J, size, icc and y."""
    rows = cells.rename(columns={"y": "value"}).assign(
        cell=range(len(cells)), basis="casewise", estimator="m", se_kind="", parameter="b", level="", truth=0.0
    )
    rows = rows.assign(measure="bias", mcse=0.01, n=100, n_attempted=100, reference="", mcse_jackknife=np.nan)
    return rows[["J", "size", "icc", *COLUMNS]]


@pytest.mark.parametrize("design", ["balanced", "unbalanced"])
def test_effects_of_cells_are_those_of_car_and_effectsize(design: str) -> None:
    expected = pd.read_csv(FOLDER / "effects.csv").query("design == @design and type == 2").set_index("term")
    cells = pd.read_csv(FOLDER / f"cells_{design}.csv")
    found = factor_effects(as_performance(cells), measures=["bias"]).set_index("term")
    assert set(found.index) == {*expected.index} - {"Residuals"} | {"Residual"}
    for term, row in expected.rename(index={"Residuals": "Residual"}).iterrows():
        assert found.at[term, "df"] == row["df"]
        # R and we solve least squares by different decompositions
        assert found.at[term, "sum_of_squares"] == pytest.approx(row["ss"], rel=1e-9)
        assert found.at[term, "eta_squared"] == pytest.approx(row["ss"] / row["total"], rel=1e-9)
        if term != "Residual":
            assert found.at[term, "partial_eta_squared"] == pytest.approx(row["partial"], rel=1e-9)
        if design == "balanced" and term != "Residual":
            # effectsize sets negative values to 0, and its total is the sum of the terms: equal if balanced
            assert max(found.at[term, "omega_squared"], 0.0) == pytest.approx(row["omega"], abs=1e-12)


def test_a_balanced_design_has_one_type_of_sums_of_squares() -> None:
    table = pd.read_csv(FOLDER / "effects.csv").query("design == 'balanced'")
    second, third = (table.query(f"type == {kind}").set_index("term")["ss"] for kind in (2, 3))
    pd.testing.assert_series_equal(second, third, rtol=1e-10)  # two solutions of the same equations


def test_effects_of_replicates_are_rebuilt_from_the_cells() -> None:
    """R analyses 289 replicates; we have means, Monte Carlo errors and counts of 12 unequal cells."""
    rows = pd.read_csv(FOLDER / "replicates.csv")
    expected = pd.read_csv(FOLDER / "effects.csv").query("design == 'replicates' and type == 2").set_index("term")
    groups = rows.groupby(["J", "size", "icc"], sort=False)["y"]
    cells = groups.agg(["mean", "std", "count"]).reset_index()
    table = as_performance(cells.rename(columns={"mean": "y"}))
    table = table.assign(mcse=(cells["std"] / np.sqrt(cells["count"])).to_numpy(), n=cells["count"].to_numpy())
    found = factor_effects(table, measures=["bias"], outcome="replicates").set_index("term")
    for term in ("J", "size", "icc", "J:size", "J:icc", "size:icc"):
        assert found.at[term, "sum_of_squares"] == pytest.approx(expected.at[term, "ss"], rel=1e-9)
        assert found.at[term, "eta_squared"] == pytest.approx(expected.at[term, "ss"] / expected.at[term, "total"])
    # R's residual has the three-way interaction in it, which we keep apart from the variation within cells
    ours = found.loc[["Residual", "Within cells"], ["sum_of_squares", "df"]].sum()
    assert ours["sum_of_squares"] == pytest.approx(expected.at["Residuals", "ss"], rel=1e-9)
    assert ours["df"] == expected.at["Residuals", "df"]


def test_paired_measures_have_names() -> None:
    results = pd.read_csv(FOLDER / "study_results.csv")
    assert set(measure_names("pair")) <= set(results["measure"])
