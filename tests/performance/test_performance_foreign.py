"""Studies made elsewhere: which column is what, what counts as a failure, what is refused and how."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import simstudy
from simstudy.api import Imported, import_results
from simstudy.errors import DataError, SimstudyError

R = 40


def study(seed: int = 1) -> pd.DataFrame:
    """Two methods, two cells, one parameter, under the names that siman uses."""
    rng = np.random.default_rng(seed)
    rows = [
        {"rep": rep, "J": j, "method": name, "estimate": 0.5 + rng.normal() / j, "se": 1.0 / j, "true": 0.5}
        for j in (30, 100)
        for name in ("ML", "REML")
        for rep in range(1, R + 1)
    ]
    return pd.DataFrame(rows)


def number(table: pd.DataFrame, measure: str, **where: object) -> pd.Series:
    rows = table[(table["measure"] == measure) & (table["basis"] == where.pop("basis", "casewise"))]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1
    return rows.iloc[0]


def test_the_usual_names_are_found_and_said() -> None:
    found = import_results(study(), by=["J"])
    assert isinstance(found, Imported)
    assert found.factors == ("J",)
    assert "columns found by their names: estimate = estimate, se = se, truth = true, method = method" in found.notes[0]
    table = found.performance
    assert table.columns[0] == "J"
    mine = study().query("J == 100 and method == 'REML'")["estimate"]
    row = number(table, "bias", J=100, estimator="REML")
    assert row["value"] == pytest.approx(mine.mean() - 0.5, rel=1e-12)  # rounding of a mean
    assert row["mcse"] == pytest.approx(mine.std() / np.sqrt(R), rel=1e-12)
    pd.testing.assert_frame_equal(table, simstudy.performance_of(study(), by=["J"]))


def test_other_names_are_named_and_a_truth_may_be_a_number() -> None:
    data = study().rename(columns={"estimate": "theta_hat", "method": "arm", "rep": "i", "true": "unused"})
    table = simstudy.performance_of(data, estimate="theta_hat", method="arm", rep="i", truth="0.5", by=["J"])
    expected = simstudy.performance_of(study(), by=["J"])
    pd.testing.assert_frame_equal(table, expected)


def test_the_order_of_rows_changes_nothing_but_the_order_of_names() -> None:
    data = study()
    shuffled = data.sample(frac=1.0, random_state=3)
    keys = ["J", "estimator", "basis", "measure", "se_kind"]
    one, two = (
        simstudy.performance_of(frame, by=["J"], reference="ML").sort_values(keys, ignore_index=True)
        for frame in (data, shuffled)
    )
    columns = [*keys, "value", "mcse", "n"]
    pd.testing.assert_frame_equal(one[columns], two[columns], check_exact=True)


def test_what_is_missing_is_a_failure() -> None:
    data = study()
    data.loc[(data["method"] == "ML") & (data["J"] == 30) & (data["rep"] <= 3), ["estimate", "se"]] = np.nan
    data = data[~((data["method"] == "ML") & (data["J"] == 30) & (data["rep"] == 10))]
    data["converged"] = ~((data["method"] == "REML") & (data["rep"] == 7))
    found = import_results(data, by=["J"])
    first = found.failures.query("cell == 0").set_index("estimator")
    assert first.loc["ML", ["attempted", "converged", "NONFINITE", "NO_ROW"]].tolist() == [R, R - 4, 3, 1]
    assert first.loc["REML", ["attempted", "converged", "NOT_CONVERGED"]].tolist() == [R, R - 1, 1]
    assert any("counts as failed" in note for note in found.notes)
    row = number(found.performance, "convergence", J=30, estimator="ML")
    assert (row["value"], row["n"]) == ((R - 4) / R, R)
    assert number(found.performance, "bias", J=30, estimator="ML", basis="common")["n"] == R - 5
    bounds = [
        number(found.performance, "coverage", J=30, estimator="ML", basis=basis)["value"]
        for basis in ("lower_bound", "upper_bound")
    ]
    assert bounds[1] - bounds[0] == pytest.approx(4 / R)
    more = import_results(data, by=["J"], replications=R + 10)
    row = number(more.performance, "convergence", J=30, estimator="ML")
    assert (row["value"], row["n"]) == ((R - 4) / (R + 10), R + 10)


def test_limits_of_the_file_are_used() -> None:
    data = study().assign(lci=lambda d: d["estimate"] - 0.01, uci=lambda d: d["estimate"] + 0.02)
    table = simstudy.performance_of(data, by=["J"])
    assert number(table, "ci_width", J=30, estimator="ML")["value"] == pytest.approx(0.03)
    narrow = simstudy.performance_of(study(), by=["J"], level=0.5)
    assert number(narrow, "ci_width", J=30, estimator="ML")["value"] == pytest.approx(2 * 0.6744897501960817 / 30)


def test_without_methods_parameters_cells_or_replicates() -> None:
    data = study().query("method == 'ML' and J == 30")[["estimate", "se"]]
    found = import_results(data)
    assert set(found.performance["estimator"]) == {"all"}
    assert set(found.performance["parameter"]) == {"", "estimate"}
    assert any("there is no replicate column" in note for note in found.notes)
    assert np.isnan(number(found.performance, "bias", parameter="estimate")["value"])  # no true value
    assert number(found.performance, "empirical_se", parameter="estimate")["n"] == R


def test_a_factor_may_have_a_name_of_ours() -> None:
    found = import_results(study().rename(columns={"J": "n"}), by=["n"])
    assert found.factors == ("n_",)
    assert found.performance["n_"].unique().tolist() == [30, 100]
    assert any("'n' is called 'n_'" in note for note in found.notes)


def test_files_of_other_programs(tmp_path: pytest.TempPathFactory) -> None:
    data = study()
    expected = simstudy.performance_of(data, by=["J"])
    data.to_csv(f"{tmp_path}/a.csv", index=False, sep=";", decimal=",")
    data.to_stata(f"{tmp_path}/a.dta", write_index=False)
    for name in ("a.csv", "a.dta"):
        found = simstudy.performance_of(f"{tmp_path}/{name}", by=["J"])
        numbers = ["value", "mcse", "n"]
        pd.testing.assert_frame_equal(found[numbers], expected[numbers], rtol=1e-12)  # decimal digits are read back


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"estimate": "estimat"}, r"estimate: there is no column 'estimat' \(did you mean 'estimate'\?\)"),
        ({"estimate": "b"}, {}, "estimate: there is no column 'estimate', 'est'; name the column of the estimates"),
        ({}, {"se": "estimate"}, "column 'estimate' is named as estimate and as se; a column is one thing"),
        ({}, {"by": ["K"]}, "by: there is no column 'K'"),
        ({}, {"by": None}, "80 replicates occur more than once, first replicate 1 of method ML"),
        ({}, {"truth": "tru"}, r"truth: there is no column 'tru' \(did you mean 'true'\?\)"),
        ({}, {"level": 95.0}, "level: found 95; allowed: between 0 and 1"),
        ({}, {"replications": 5}, "replications: found 5; a cell has 40 replicates"),
        ({}, {"reference": "BLUP"}, "reference: there is no method 'BLUP'; allowed: ML, REML"),
    ],
)
def test_columns_that_are_wrong(change: dict[str, str], options: dict[str, object], message: str) -> None:
    with pytest.raises(SimstudyError, match=message):
        import_results(study().rename(columns=change), **{"by": ["J"], **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("estimate", 4, "abc", "estimate: column 'estimate' has 1 entries that are no numbers, first 'abc' in row 5"),
        ("se", 2, -0.1, r"se: column 'se' is negative in 1 rows, first in row 3 \(-0.1\); allowed: 0 or more"),
        ("true", 3, 0.6, "truth: column 'true' has different values in one cell, first 0.5 and 0.6 in J = 30"),
        ("J", 0, np.nan, "by: column 'J' has missing values"),
        ("method", 0, None, "method: column 'method' has missing values"),
        ("rep", 0, np.nan, "rep: column 'rep' has missing values"),
        ("rep", 0, 2, "1 replicates occur more than once, first replicate 2 of J = 30, method ML"),
        ("converged", 0, "maybe", "converged: column 'converged' has 'maybe' in row 1; allowed: TRUE or FALSE"),
        ("lower", 5, 9.0, "the lower limit is above the upper one in 1 rows, first in row 6"),
    ],
)
def test_entries_that_are_wrong(column: str, row: int, value: object, message: str) -> None:
    data = study().assign(converged="TRUE", lower=0.0, upper=1.0).astype({column: object})
    data.loc[row, column] = value
    with pytest.raises(DataError, match=message):
        import_results(data, by=["J"])


def test_every_problem_is_said_at_once() -> None:
    data = study().astype({"estimate": object})
    data.loc[0, "estimate"] = "?"
    data.loc[1, "se"] = -1.0
    with pytest.raises(DataError) as caught:
        import_results(data, by=["J"])
    assert len(caught.value.problems) == 2
