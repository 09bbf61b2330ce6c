"""`simstudy.bias`: the long table, its join with a simulation, curves, and messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import simstudy
from simstudy import api
from simstudy.errors import SimstudyError
from simstudy.performance import COLUMNS

DESIGN = """
[study]
name = "tiny"
replications = 60
seed = 3
[model]
syntax = '''
level: within
  m ~ aw*x
  y ~ bw*m
level: between
  m ~ ab*x
  y ~ bb*m
ind_b := ab*bb
gap := bb - bw
'''
[population]
aw = 0.2
bw = 0.2
ab = 0.4
bb = 0.5
variance = 1.0
icc = 0.25
[factors]
n_clusters = [40, 80]
cluster_size = [6, { mix = { 4 = 0.5, 8 = 0.5 } }]
[estimators]
use = ["aggregated", "mlm_centered", "robust", "msem"]
robust = { estimator = "disaggregated", se = ["expected", "robust"] }
[intervals]
kinds = ["wald", "montecarlo"]
"""
KEYS = ["cell", "estimator", "se_kind", "parameter", "measure"]


@pytest.fixture(scope="module")
def design(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bias") / "tiny.toml"
    path.write_text(DESIGN)
    return path


@pytest.fixture(scope="module")
def theory(design) -> pd.DataFrame:
    return simstudy.bias(design).to_frame()


@pytest.fixture(scope="module")
def folder(design) -> Path:
    root = design.parent / "results"
    simstudy.run(design, root, jobs=1, progress=False)
    return root


@pytest.mark.slow
def test_columns_are_those_of_analyse(theory) -> None:
    assert list(theory.columns) == ["n_clusters", "cluster_size", *COLUMNS, "method_of_calculation", "note"]
    assert set(theory["method_of_calculation"]) == set(api.CALCULATIONS) - {"large_samples"}
    assert theory["mcse"].isna().all()
    assert (theory["n"] == 0).all()
    assert theory["basis"].unique().tolist() == ["theory"]
    assert not theory.duplicated([*KEYS, "method_of_calculation"]).any()
    assert theory["cell"].is_monotonic_increasing


def test_every_simulated_number_has_its_theory(theory, folder) -> None:
    """All casewise rows of `analyse` but those of fits, and NaN only where a reason is given or nothing is defined."""
    simulated = simstudy.analyse(folder).to_frame()
    rows = simulated[(simulated["basis"] == "casewise") & (simulated["parameter"] != "")]
    keys = set(zip(*(api.best(theory)[k] for k in KEYS), strict=True))
    # Monte Carlo intervals have no standard error to speak of, and by draws their misses are counted together
    errors = ("mean_se", "median_se", "model_se", "se_ratio", "bias_eliminated_coverage", "miss_below", "miss_above")
    missing = {
        key
        for key in set(zip(*(rows[k] for k in KEYS), strict=True)) - keys
        if key[1:3] != ("", "") and not (key[2] == "montecarlo" and key[4] in errors)
    }
    # a method that is silent about ind_b has no Monte Carlo row
    assert {key[4] for key in missing} <= {"coverage", "rejection", "ci_width"}, sorted(missing)[:5]
    speaks = theory[(theory["note"] == "") & (theory["measure"] == "mean_estimate")]
    assert speaks["value"].notna().all()
    silent = theory[theory["note"] != ""]
    assert set(silent["estimator"]) == {"aggregated", "mlm_centered", "robust"}
    constant = silent[silent["note"].str.startswith("a constant")]
    assert set(zip(constant["estimator"], constant["parameter"], strict=True)) == {("robust", "gap")}
    assert silent.drop(constant.index)["value"].isna().all()


def test_joined_has_both_and_their_distance(theory, folder) -> None:
    both = api.joined(theory, folder)
    assert not both.duplicated(KEYS).any()
    row = both[(both["parameter"] == "bw") & (both["estimator"] == "msem") & (both["measure"] == "bias")].iloc[0]
    assert row["z"] == pytest.approx((row["simulated"] - row["value"]) / row["mcse"])
    bias = both[(both["measure"] == "bias") & both["parameter"].isin(["aw", "bw", "ab", "bb"])]
    assert bias["z"].abs().max() < 4  # 60 replicates, of 48 numbers
    other = simstudy.analyse(folder).to_frame().assign(truth=lambda t: t["truth"] + 1.0)
    with pytest.raises(SimstudyError, match="other true values"):
        api.joined(theory, other)
    with pytest.raises(SimstudyError, match="in common"):
        api.joined(theory, other.assign(estimator="nobody"))


def test_best_prefers_the_more_exact(theory) -> None:
    best = api.best(theory)
    assert not best.duplicated(KEYS).any()
    how = best.set_index(KEYS)["method_of_calculation"]
    assert how[0, "mlm_centered", "expected", "bw", "coverage"] == "exact"
    assert how[2, "mlm_centered", "expected", "bw", "empirical_se"] == "exact"
    assert how[1, "mlm_centered", "expected", "bw", "coverage"] == "asymptotic"  # unequal sizes
    assert how[0, "msem", "expected", "bb", "bias"] == "second_order"
    assert how[0, "msem", "expected", "bb", "coverage"] == "asymptotic"
    assert how[0, "msem", "expected", "ind_b", "coverage"] == "normal_draws"
    assert how[0, "msem", "expected", "gap", "coverage"] == "asymptotic"  # a linear function


def test_numbers_agree_with_each_other(theory) -> None:
    wide = theory[theory["method_of_calculation"] == "asymptotic"].pivot_table(
        index=["cell", "estimator", "se_kind", "parameter"], columns="measure", values="value"
    )
    np.testing.assert_allclose(wide["rmse"] ** 2, wide["bias"] ** 2 + wide["empirical_se"] ** 2)
    np.testing.assert_allclose((wide["se_ratio"] - wide["model_se"] / wide["empirical_se"]).dropna(), 0, atol=1e-12)
    half = theory[theory["n_clusters"] == 40].assign(cell=lambda t: t["cell"] + 2)
    pairs = half.merge(theory, on=[*KEYS, "method_of_calculation"])
    se = pairs[(pairs["measure"] == "empirical_se") & (pairs["method_of_calculation"] == "asymptotic")]
    np.testing.assert_allclose(se["value_x"], np.sqrt(2) * se["value_y"])  # half the clusters


def test_cells_and_methods_can_be_chosen(design, theory) -> None:
    some = simstudy.bias(design, cells=[1, 3], estimators=["msem"]).to_frame()
    assert set(some["cell"]) == {1, 3}
    assert set(some["estimator"]) == {"msem"}
    whole = theory[theory["cell"].isin([1, 3]) & (theory["estimator"] == "msem")].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, whole)
    with pytest.raises(SimstudyError, match="cell: found 9; allowed: 0 to 3"):
        simstudy.bias(design, cells=[9]).to_frame()
    with pytest.raises(SimstudyError, match=r"no method 'mesm'.*did you mean 'msem'"):
        simstudy.bias(design, estimators=["mesm"]).to_frame()


@pytest.mark.slow
def test_curves_go_through_the_cells(design, theory) -> None:
    curve = api.theory_curve(design, [40, 60, 80])
    assert set(curve["n_clusters"]) == {40, 60, 80}
    keys = ["n_clusters", "cluster_size", *KEYS[1:], "method_of_calculation"]
    both = curve.merge(theory, on=keys)
    assert len(both) > 1000
    np.testing.assert_allclose(both["value_x"], both["value_y"], rtol=1e-9, atol=1e-12)
    flat = design.parent / "flat.toml"
    flat.write_text(DESIGN.replace("n_clusters = [40, 80]\n", "").replace("icc = 0.25", "icc = 0.25\nn_clusters = 40"))
    with pytest.raises(SimstudyError, match="n_clusters is no factor"):
        api.theory_curve(flat)


@pytest.mark.parametrize(
    ("name", "said"), [("missing_mar", "values are missing"), ("nonnormal", "data are not normal")]
)
def test_what_theory_cannot_say_has_a_reason(name, said) -> None:
    table = simstudy.bias(Path(__file__).parents[2] / "designs" / f"{name}.toml", cells=[3], large_samples=0).to_frame()
    unknown = table[(table["measure"] == "empirical_se") & table["value"].isna()]
    assert len(unknown)
    assert unknown["note"].str.contains(said).all()
    first = table[table["method_of_calculation"] == "asymptotic"]
    assert first["note"].str.contains(said).all()
