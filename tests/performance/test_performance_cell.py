"""Tables of a cell and of a study: what counts, what is common, what order rows have, what is refused."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import simstudy.performance
from simstudy.errors import StoreError
from simstudy.performance import (
    BASES,
    COLUMNS,
    MEASURES,
    STATUSES,
    blocks,
    count_statuses,
    failures_of,
    failures_table,
    kind_order,
    measure_names,
    performance_table,
    summarise_cell,
)

METHODS = ["plain", "careful", "aggregated", "elsewhere"]
PARAMS = ["bw", "bb", "contextual"]
TRUTH = {"bw": 0.2, "bb": 0.7, "contextual": 0.5}
R = 120


def cell_tables(cell: int = 0, seed: int = 7) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Tables with every difficulty at once.

    plain: always converges, robust SE too, Monte Carlo limits for the defined parameter. careful: fails in a third of
    the replicates. aggregated: says nothing of bw. elsewhere: not supported.
    """
    rng = np.random.default_rng([seed, cell])
    status = {name: np.full(R, "OK", dtype=object) for name in METHODS}
    status["careful"][rng.random(R) < 0.3] = "MAX_ITER"
    status["careful"][3] = "SINGULAR_INFORMATION"
    status["elsewhere"][:] = "NOT_SUPPORTED"
    rows = []
    for name in METHODS:
        for param in PARAMS:
            estimate = rng.normal(TRUTH[param], 0.2, R)
            se = rng.uniform(0.15, 0.25, R)
            if name == "aggregated" and param == "bw":
                estimate[:], se[:] = np.nan, np.nan
            if name == "elsewhere":
                estimate[:], se[:] = np.nan, np.nan
            # what a failed fit left behind must not count: only `careful` leaves numbers behind
            kinds = ["expected", "robust"] if name == "plain" else ["expected"]
            for kind in [*kinds, *(["montecarlo"] if (name, param) == ("plain", "contextual") else [])]:
                limits = kind == "montecarlo"
                rows.append(
                    pd.DataFrame(
                        {
                            "cell": cell,
                            "rep": np.arange(R) * 3 + 11,
                            "estimator": name,
                            "se_kind": kind,
                            "param": param,
                            "estimate": estimate,
                            "se": np.nan if limits else se * (1.1 if kind == "robust" else 1.0),
                            "lower": estimate - 0.3 if limits else np.nan,
                            "upper": estimate + 0.4 if limits else np.nan,
                        }
                    )
                )
    fits = pd.concat(
        pd.DataFrame(
            {
                "cell": cell,
                "rep": np.arange(R) * 3 + 11,
                "estimator": name,
                "status": status[name],
                "admissible": (np.arange(R) % 10 != 0) & (status[name] == "OK"),
            }
        )
        for name in METHODS
    )
    truth = pd.DataFrame(
        {"cell": cell, "param": PARAMS, "level": ["within", "between", ""], "truth": [TRUTH[p] for p in PARAMS]}
    )
    return pd.concat(rows, ignore_index=True), fits.reset_index(drop=True), truth


def summarise(tables: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame], n_attempted: int | None = None) -> pd.DataFrame:
    return summarise_cell(*tables, estimators=METHODS, params=PARAMS, level=0.95, n_attempted=n_attempted)


def pick(table: pd.DataFrame, **where: str) -> pd.Series:
    """Return the only row with these entries."""
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1, where
    return table.iloc[0]


def test_columns_measures_and_formulas_agree() -> None:
    table = summarise(cell_tables())
    assert tuple(table.columns) == COLUMNS
    assert set(table["measure"]) == set(MEASURES) == set(measure_names("parameter", "fit", "pair"))
    assert set(table["basis"]) == set(BASES)
    assert table["n"].dtype == np.int64
    assert table["cell"].dtype == np.int32


def test_failed_replicates_do_not_count_and_nothing_is_zero() -> None:
    replicates, fits, truth = cell_tables()
    table = summarise((replicates, fits, truth))
    converged = fits[(fits["estimator"] == "careful") & (fits["status"] == "OK")]["rep"]
    mine = replicates[(replicates["estimator"] == "careful") & (replicates["param"] == "bb")]
    mine = mine[mine["rep"].isin(converged)]
    row = pick(table, basis="casewise", estimator="careful", parameter="bb", measure="bias")
    assert row["n"] == len(mine) < R
    assert row["n_attempted"] == R
    assert row["value"] == pytest.approx(mine["estimate"].mean() - 0.7, abs=1e-14)  # rounding of a mean
    for measure in ("rejection", "coverage", "bias"):
        silent = pick(table, basis="casewise", estimator="elsewhere", parameter="bb", measure=measure)
        assert np.isnan(silent["value"])
        assert np.isnan(silent["mcse"])
        assert silent["n"] == 0


def test_wald_limits_are_used_where_there_are_none() -> None:
    replicates, fits, truth = cell_tables()
    table = summarise((replicates, fits, truth))
    for kind, width in (("expected", 2 * 1.959963984540054), ("robust", 2.2 * 1.959963984540054)):
        mine = replicates[(replicates["estimator"] == "plain") & (replicates["param"] == "contextual")]
        mine = mine[mine["se_kind"] == "expected"]
        row = pick(table, basis="casewise", estimator="plain", parameter="contextual", measure="ci_width", se_kind=kind)
        assert row["value"] == pytest.approx(width * mine["se"].mean(), rel=1e-12)  # rounding of a mean
    row = pick(
        table, basis="casewise", estimator="plain", parameter="contextual", measure="ci_width", se_kind="montecarlo"
    )
    assert row["value"] == pytest.approx(0.7, rel=1e-12)  # rounding of a mean
    row = pick(
        table, basis="casewise", estimator="plain", parameter="contextual", measure="model_se", se_kind="montecarlo"
    )
    assert (row["n"], np.isnan(row["value"])) == (0, True)


def test_measures_without_se_are_repeated_under_every_kind_that_the_parameter_has() -> None:
    table = summarise(cell_tables())
    plain = table[(table["estimator"] == "plain") & (table["basis"] == "casewise") & (table["measure"] == "rmse")]
    assert plain[plain["parameter"] == "contextual"]["se_kind"].tolist() == ["expected", "robust", "montecarlo"]
    assert plain[plain["parameter"] == "bw"]["se_kind"].tolist() == ["expected", "robust"]
    assert plain[plain["parameter"] == "contextual"]["value"].nunique() == 1


def test_common_replicates_skip_methods_that_never_speak() -> None:
    replicates, fits, truth = cell_tables()
    table = summarise((replicates, fits, truth))
    common = fits[(fits["estimator"] == "careful") & (fits["status"] == "OK")]["rep"]
    for param in PARAMS:
        mine = replicates[
            (replicates["estimator"] == "plain")
            & (replicates["param"] == param)
            & (replicates["se_kind"] == "expected")
            & replicates["rep"].isin(common)
        ]
        row = pick(table, basis="common", estimator="plain", parameter=param, measure="bias", se_kind="expected")
        assert row["n"] == len(common)
        assert row["value"] == pytest.approx(mine["estimate"].mean() - TRUTH[param], abs=1e-14)  # rounding of a mean
    silent = pick(table, basis="common", estimator="aggregated", parameter="bw", measure="bias")
    assert silent["n"] == 0
    assert set(table[table["basis"] == "common"]["measure"]) == set(measure_names("parameter"))


def test_convergence_and_admissibility_belong_to_the_fit() -> None:
    _, fits, _ = tables = cell_tables()
    table = summarise(tables)
    careful = fits[fits["estimator"] == "careful"]
    ok = careful["status"] == "OK"
    row = pick(table, estimator="careful", measure="convergence", parameter="", se_kind="")
    assert (row["value"], row["n"]) == (ok.mean(), R)
    row = pick(table, estimator="careful", measure="admissibility")
    assert (row["value"], row["n"]) == (careful[ok]["admissible"].mean(), ok.sum())
    row = pick(table, estimator="elsewhere", measure="convergence")
    assert (np.isnan(row["value"]), row["n"], row["n_attempted"]) == (True, 0, R)
    row = pick(summarise(tables, n_attempted=2 * R), estimator="plain", measure="convergence")
    assert (row["value"], row["n"], row["n_attempted"]) == (0.5, 2 * R, 2 * R)


def test_the_order_of_rows_changes_no_bit() -> None:
    tables = cell_tables()
    expected = summarise(tables)
    for seed in range(3):
        replicates, fits, truth = (
            table.sample(frac=1.0, random_state=seed + offset) for offset, table in enumerate(tables)
        )
        for frame, texts in ((replicates, ("estimator", "se_kind", "param")), (fits, ("estimator", "status"))):
            for text in texts if seed else ():
                frame[text] = frame[text].astype("category")
                frame[text] = frame[text].cat.reorder_categories(frame[text].cat.categories[::-1])
        shuffled = summarise((replicates, fits, truth))
        pd.testing.assert_frame_equal(shuffled, expected, check_exact=True)


def test_a_method_does_not_depend_on_which_others_are_analysed() -> None:
    tables = cell_tables()
    alone = summarise_cell(*tables, estimators=["plain"], params=["bb"], level=0.95)
    together = summarise(tables)
    together = together[(together["estimator"] == "plain") & (together["basis"] == "casewise")]
    together = together[together["parameter"].isin(["bb", ""])].reset_index(drop=True)
    alone = alone[alone["basis"] == "casewise"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, together, check_exact=True)


def test_nullable_and_missing_limit_columns_mean_wald() -> None:
    replicates, fits, truth = cell_tables()
    expected = summarise((replicates, fits, truth))
    nullable = replicates.astype({"lower": "Float64", "upper": "Float64"})
    pd.testing.assert_frame_equal(summarise((nullable, fits, truth)), expected, check_exact=True)
    without = replicates[replicates["se_kind"] != "montecarlo"].drop(columns=["lower", "upper"])
    assert np.isfinite(pick(summarise((without, fits, truth)), estimator="careful", basis="casewise",
                            parameter="bb", measure="coverage")["value"])  # fmt: skip


def test_a_method_without_rows_still_has_rows_in_the_table() -> None:
    replicates, fits, truth = cell_tables()
    table = summarise((replicates[replicates["estimator"] != "elsewhere"], fits, truth))
    row = pick(table, basis="casewise", estimator="elsewhere", parameter="bb", measure="rejection")
    assert (row["n"], row["se_kind"], np.isnan(row["value"])) == (0, "", True)


@pytest.mark.parametrize("name", ["replicates", "fits"])
def test_a_repeated_replicate_is_refused(name: str) -> None:
    replicates, fits, truth = cell_tables()
    if name == "fits":
        fits = pd.concat([fits, fits.iloc[[0]]])
    else:
        replicates = pd.concat([replicates, replicates.iloc[[0]]])
    with pytest.raises(StoreError, match=f"1 of .* rows of `{name}` repeat"):
        summarise((replicates, fits, truth))


def test_inconsistent_tables_are_refused() -> None:
    replicates, fits, truth = cell_tables()
    with pytest.raises(StoreError, match="no row in `fits`"):
        summarise((replicates, fits.iloc[1:], truth))
    with pytest.raises(StoreError, match="more than the 5 attempted"):
        summarise((replicates, fits, truth), n_attempted=5)
    with pytest.raises(StoreError, match="one cell, found 2"):
        summarise((replicates, fits.assign(cell=np.arange(len(fits)) % 2), truth))
    different = replicates.copy()
    different.loc[different["se_kind"] == "robust", "estimate"] += 1.0
    with pytest.raises(StoreError, match="different estimates"):
        summarise((different, fits, truth))


def test_study_table_is_in_the_order_of_cells_with_factors_in_front() -> None:
    summaries = [summarise(cell_tables(cell)) for cell in (2, 0, 1)]
    cells = pd.DataFrame({"cell": [0, 1, 2], "n_clusters": [30, 50, 100], "icc": [0.1, 0.1, 0.2], "key": list("abc")})
    table = performance_table(iter(summaries), cells, ["n_clusters", "icc"])
    assert list(table.columns) == ["n_clusters", "icc", *COLUMNS]
    assert table["cell"].is_monotonic_increasing
    assert set(zip(table["cell"], table["n_clusters"], strict=True)) == {(0, 30), (1, 50), (2, 100)}
    pd.testing.assert_frame_equal(table, performance_table(summaries[::-1], cells, ["n_clusters", "icc"]))
    with pytest.raises(StoreError, match="twice"):
        performance_table([summaries[0], summaries[0]])
    with pytest.raises(StoreError, match="not in the table of cells"):
        performance_table(summaries, cells.iloc[:2], ["icc"])
    assert performance_table([], cells, ["icc"]).empty


def test_failures_are_counted_by_status() -> None:
    fits = pd.concat([cell_tables(cell)[1] for cell in (1, 0)])
    fits["status"] = fits["status"].replace({"SINGULAR_INFORMATION": "LOST"})
    table = failures_table(fits, METHODS)
    assert table["estimator"].tolist() == METHODS * 2
    assert table["cell"].tolist() == [0] * 4 + [1] * 4
    for row in table.to_dict("records"):
        mine = fits[(fits["cell"] == row["cell"]) & (fits["estimator"] == row["estimator"])]
        assert row["attempted"] == len(mine) == sum(row[status] for status in [*STATUSES, "LOST"])
        assert row["converged"] == row["OK"] == (mine["status"] == "OK").sum()
        assert row["inadmissible"] == ((mine["status"] == "OK") & ~mine["admissible"]).sum()
        assert row["LOST"] == (mine["status"] == "LOST").sum()
    assert failures_table(fits)["estimator"].tolist()[:4] == sorted(METHODS)


def test_cells_counted_one_by_one_are_the_study() -> None:
    """A status that occurs in one cell only is 0 in the others."""
    tables = [cell_tables(cell)[1] for cell in range(3)]
    tables[1]["status"] = tables[1]["status"].replace({"SINGULAR_INFORMATION": "LOST"})
    one_by_one = failures_of([count_statuses(table, METHODS) for table in tables], METHODS)
    pd.testing.assert_frame_equal(one_by_one, failures_table(pd.concat(tables), METHODS))
    assert one_by_one.groupby("cell")["LOST"].sum().tolist() == [0, 1, 0]
    assert failures_of([], METHODS).empty


@pytest.mark.parametrize("batch", [1, 3 * 8 * R, 7 * 8 * R])
def test_numbers_do_not_depend_on_what_is_measured_with_them(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs are measured beside each other, as many as fit in cache: one, some or all give the same bits."""
    replicates, fits, truth = cell_tables()
    choices = {"estimators": METHODS, "params": PARAMS, "level": 0.95, "reference": "careful"}
    together = summarise_cell(replicates, fits, truth, **choices)
    monkeypatch.setattr(blocks, "BATCH_BYTES", batch)
    pd.testing.assert_frame_equal(summarise_cell(replicates, fits, truth, **choices), together, check_exact=True)


def test_kinds_of_se_have_one_order() -> None:
    kinds = ["montecarlo", "robust", "zeta", "expected", "alpha"]
    assert sorted(kinds, key=kind_order) == ["expected", "robust", "alpha", "zeta", "montecarlo"]


def test_performance_knows_nothing_of_estimators() -> None:
    allowed = {"errors", "linalg", "performance"}
    for path in Path(simstudy.performance.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.startswith("simstudy"):
                    assert name.split(".")[1] in allowed, (path.name, name)
