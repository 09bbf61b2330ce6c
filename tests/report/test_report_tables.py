"""Printed tables: what they always say, what they leave out, what they refuse."""

from __future__ import annotations

import functools
import io
import itertools

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from simstudy.errors import SimstudyError
from simstudy.performance import MEASURES, failures_table, performance_table, summarise_cell
from simstudy.report import STYLES, key_parameters, performance_lines, print_performance, write_csv
from simstudy.report.tables.text import Number, TextTable, fixed, percent, setting, with_mcse

METHODS = ["plain", "latent", "silent"]
PARAMS = ["bb", "effect", "within: y ~~ y"]
LEVELS = ["between", "", "within"]
TRUTHS = [0.7, 0.0, 1.0]
FACTORS = ["n_clusters", "icc"]
R = 60

Study = tuple[pd.DataFrame, pd.DataFrame]


@functools.cache
def study(n_cells: int = 2, *, failing: bool = True, tails: bool = False) -> Study:
    """Performance and failures of a study with two factors; `silent` is never supported."""
    summaries, fits = [], []
    for cell in range(n_cells):
        rng = np.random.default_rng([3, cell])
        status = {name: np.full(R, "OK", dtype=object) for name in METHODS}
        status["silent"][:] = "NOT_SUPPORTED"
        if failing:
            status["latent"][: 7 + cell % 3] = "SINGULAR_INFORMATION"
        rows = []
        for name, (param, truth) in itertools.product(METHODS, zip(PARAMS, TRUTHS, strict=True)):
            estimate = truth + (rng.standard_t(1.0, R) if tails and name == "latent" else 0.1 * rng.normal(size=R))
            speaks = np.nan if name == "silent" else 1.0
            for kind in ("robust", "expected"):
                columns = {"estimator": name, "se_kind": kind, "param": param, "estimate": estimate * speaks}
                rows.append(pd.DataFrame({"cell": cell, "rep": range(R), **columns, "se": 0.1 * speaks}))
        fits.append(
            pd.concat(
                pd.DataFrame(
                    {
                        "cell": cell,
                        "rep": range(R),
                        "estimator": name,
                        "status": status[name],
                        "admissible": (np.arange(R) >= 3 * failing) & (status[name] == "OK"),
                    }
                )
                for name in METHODS
                if failing or name != "silent"
            )
        )
        truth_table = pd.DataFrame({"cell": cell, "param": PARAMS, "level": LEVELS, "truth": TRUTHS})
        replicates = pd.concat(rows)
        if not failing:
            replicates = replicates[replicates["estimator"] != "silent"]
        summaries.append(
            summarise_cell(replicates, fits[-1], truth_table, estimators=METHODS, params=PARAMS, level=0.95)
        )
    cells = pd.DataFrame(
        {
            "cell": range(n_cells),
            "n_clusters": [30 * (1 + k % 4) for k in range(n_cells)],
            "icc": [0.05 * (1 + k // 4) for k in range(n_cells)],
        }
    )
    return performance_table(summaries, cells, FACTORS), failures_table(pd.concat(fits), METHODS)


def text(tables: Study, *, width: int = 160, **options: object) -> str:
    lines = performance_lines(
        *tables,
        factors=FACTORS,
        level=0.95,
        study_name="demo",
        replications=R,
        width=width,
        **options,  # type: ignore[arg-type]
    )
    return "\n".join(line.text for line in lines)


@pytest.mark.parametrize("style", list(STYLES))
def test_failures_are_always_reported(style: str) -> None:
    printed = text(study(), style=style)
    assert "Failures (135 of 360 fits, 2 cells)" in printed  # 60 not supported + 7 or 8 singular in each cell
    assert "SINGULAR_INFORMATION" in printed
    assert "NOT_SUPPORTED" in printed
    assert "Common replicates" in printed
    assert "52 to 53 a cell" in printed


@pytest.mark.parametrize("style", list(STYLES))
def test_the_absence_of_failures_is_reported_too(style: str) -> None:
    printed = text(study(failing=False), style=style)
    assert "Failures: none (240 fits, 2 cells); every solution is admissible." in printed
    assert "Common replicates" not in printed


def test_inadmissible_solutions_are_reported_without_failures() -> None:
    performance, failures = study(failing=False)
    printed = text((performance, failures.assign(inadmissible=[4, 0, 0, 0])))
    assert "Failures: none (240 fits, 2 cells). Inadmissible solutions" in printed
    assert "Failures: none recorded" in text((performance, failures.iloc[:0]))


def test_every_formula_shown_and_the_title_are_printed() -> None:
    printed = " ".join(text(study(), width=400).split())
    for name in ("bias", "median_bias", "se_ratio", "rmse", "coverage", "rejection"):
        assert MEASURES[name].formula in printed
    everything = " ".join(text(study(), width=400, measures=["*"]).split())
    for name, measure in MEASURES.items():
        assert measure.formula in everything
        assert name in printed or measure.label in printed  # named, if only as one that could be shown
    assert "demo: 60 replications, 2 cells, 3 methods, 95% intervals" in printed
    assert "Cell 1: n_clusters = 60, icc = 0.05" in printed
    assert "bb (between), truth 0.7" in printed


def test_numbers_in_the_table_are_those_of_the_performance_table() -> None:
    tables = study()
    lines = text(tables, cells=[1], parameters=["bb"]).splitlines()
    row = next(line for line in lines if line.startswith("latent"))
    performance = tables[0]
    mine = performance[
        (performance["cell"] == 1)
        & (performance["parameter"] == "bb")
        & (performance["estimator"] == "latent")
        & (performance["basis"] == "casewise")
        & (performance["se_kind"] == "expected")
    ].set_index("measure")
    assert f"{mine.at['bias', 'value']:.4f} ({mine.at['bias', 'mcse']:.4f})" in row
    assert f"{mine.at['coverage', 'value']:.3f} ({mine.at['coverage', 'mcse']:.3f})" in row
    assert f"{mine.at['rmse', 'value']:.4f}" in row
    assert row.endswith("52")
    second = lines[lines.index(row) + 1]
    assert second.split()[0] == "robust"  # printed after expected, without repeating what does not depend on the SE
    assert f"{mine.at['rmse', 'value']:.4f}" not in second


def test_nothing_converged_prints_as_not_available() -> None:
    lines = text(study()).splitlines()
    rows = [line.split() for line in lines if line.startswith("silent")]
    assert rows
    assert all(set(row[2:]) == {"n/a", "0"} for row in rows)


def test_an_undefined_number_is_a_dash() -> None:
    lines = text(study(), parameters=["effect"]).splitlines()
    row = next(line for line in lines if line.startswith("plain"))
    assert row.split()[5] == "-"  # relative bias at truth 0, after bias, its MCSE and the median bias


def test_default_shows_labelled_and_defined_parameters_and_says_so() -> None:
    printed = text(study())
    assert "within: y ~~ y, truth" not in printed
    assert "Not shown: 1 of 3 parameters (--parameter '*' shows all)" in printed
    assert "within: y ~~ y, truth 1" in text(study(), parameters=["*"])
    assert "Not shown: 1 of 2 cells" in text(study(), cells=[0], parameters=["*"])
    assert key_parameters(["within: a ~ b", "between: a ~ b"]) == ["within: a ~ b", "between: a ~ b"]


def test_many_cells_are_shown_as_bias_and_coverage() -> None:
    tables = study(20)
    printed = text(tables)
    assert len(printed.splitlines()) < 150
    assert "bb (between): bias and coverage" in printed
    assert printed.count("MCSE <=") == 2
    assert "--cell K gives every measure" in printed
    assert "Cell 7: n_clusters" in text(tables, cells=[7])
    bound = next(line for line in printed.splitlines() if line.startswith("MCSE <="))
    performance = tables[0]
    largest = performance[
        (performance["measure"] == "bias")
        & (performance["parameter"] == "bb")
        & (performance["basis"] == "casewise")
        & (performance["estimator"] == "plain")
    ]["mcse"].max()
    assert largest <= float(bound.split()[2]) < largest + 0.001


@pytest.mark.slow
def test_very_many_cells_are_shown_as_ranges() -> None:
    printed = text(study(130))
    assert len(printed.splitlines()) < 120
    assert "over 130 cells" in printed
    assert "ranges over cells" in printed
    assert "pairs of cell and method are affected" in printed


@pytest.mark.parametrize("n_cells", [2, 20])
@pytest.mark.parametrize("width", [80, 100, 120])
def test_tables_fit_the_terminal(n_cells: int, width: int) -> None:
    printed = text(study(n_cells), width=width, parameters=["bb"])
    body = printed[: printed.index("Failures")]
    assert max(len(line) for line in body.splitlines()) <= width
    if (n_cells, width) == (2, 80):
        assert "Columns left out to fit 80 characters" in printed


def test_heavy_tails_are_pointed_out() -> None:
    assert "Heavy tails: latent, bb in cell" in text(study(tails=True))
    assert "Heavy tails" not in text(study())


def test_mplus_layout() -> None:
    printed = text(study(), style="mplus", cells=[0], parameters=["*"])
    block = printed[printed.index("method latent, SE expected") :].splitlines()
    assert block[2:5] == ["Number of replications", "    Requested  60", "    Completed  53"]
    assert block[6].split() == ["ESTIMATES", "S.", "E.", "M.", "S.", "E.", "95%", "%", "Sig"]
    assert block[7].split() == ["Population", "Average", "Std.", "Dev.", "Average", "Cover", "Coeff"]
    assert block[8:15:2] == ["Within Level", "Between Level", "New/Additional Parameters", ""]
    performance = study()[0]
    mine = performance[
        (performance["cell"] == 0)
        & (performance["parameter"] == "bb")
        & (performance["estimator"] == "latent")
        & (performance["basis"] == "casewise")
        & (performance["se_kind"] == "expected")
    ].set_index("measure")["value"]
    expected = (
        f"0.700 {mine['mean_estimate']:.4f} {mine['empirical_se']:.4f} {mine['mean_se']:.4f} "
        f"{mine['empirical_se'] ** 2 + mine['bias'] ** 2:.4f} {mine['coverage']:.3f} {mine['rejection']:.3f}"
    )
    assert block[11].split() == ["bb", *expected.split()]


def test_mplus_style_stops_after_a_readable_number_of_blocks() -> None:
    printed = text(study(40), style="mplus")
    assert len(printed.splitlines()) < 500
    assert "of 240 blocks, all after cell" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "mpluss"}, r"no table style 'mpluss' \(did you mean 'mplus'\?\); allowed: simstudy, mplus"),
        ({"parameters": ["efect"]}, r"no parameter 'efect' \(did you mean 'effect'\?\)"),
        ({"cells": [0, 9]}, "no cell 9; it has 0 to 1"),
    ],
)
def test_unknown_names_are_refused_with_a_suggestion(options: dict[str, object], message: str) -> None:
    with pytest.raises(SimstudyError, match=message):
        text(study(), **options)
    with pytest.raises(SimstudyError, match="no column 'size'"):
        performance_lines(*study(), factors=["size"], level=0.95, study_name="demo", replications=R)


def test_output_without_a_terminal_is_plain_text() -> None:
    stream = io.StringIO()
    print_performance(Console(file=stream), *study(), factors=FACTORS, level=0.95, study_name="demo", replications=R)
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().rstrip("\n") == text(study()).rstrip("\n")


def test_output_on_a_terminal_has_the_same_text() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    print_performance(console, *study(), factors=FACTORS, level=0.95, study_name="[demo]", replications=R)
    assert "\x1b[1m[demo]: 60 replications" in stream.getvalue()  # brackets are no markup


def test_an_empty_study_prints() -> None:
    empty = performance_table([], pd.DataFrame({"cell": [], "icc": []}), ["icc"])
    for style in STYLES:
        lines = performance_lines(
            empty, study()[1].iloc[:0], style=style, factors=["icc"], level=0.95, study_name="demo", replications=5
        )
        assert any("Failures" in line.text for line in lines)


def test_csv_has_every_digit_and_comes_whole(tmp_path: pytest.TempPathFactory) -> None:
    performance, _ = study()
    path = write_csv(performance, f"{tmp_path}/deep/performance.csv")
    again = pd.read_csv(path, keep_default_na=False, na_values={"value": [""], "mcse": [""], "truth": [""]})
    np.testing.assert_array_equal(again["value"].to_numpy(), performance["value"].to_numpy())  # shortest exact digits
    assert [entry.name for entry in path.parent.iterdir()] == ["performance.csv"]
    assert path.read_bytes() == write_csv(performance, f"{tmp_path}/other.csv").read_bytes()


def test_numbers_as_text() -> None:
    assert fixed(-0.0001, 3) == "0.000"
    assert fixed(123456.0, 3) == "1.23e+05"
    assert fixed(float("inf"), 2) == "inf"
    assert with_mcse(Number(0.5, 0.01, 10), 2) == "0.50 (0.01)"
    assert with_mcse(Number(float("nan"), float("nan"), 0), 2) == "n/a"
    assert percent(Number(-0.792, 0.1, 5)) == "-79.2%"
    assert [setting(value) for value in (0.05, 50.0, 30, "uniform(2,18)")] == ["0.05", "50", "30", "uniform(2,18)"]
    table = TextTable(("a", "b", "c"), (("x", "1", "2"),), groups=(("", 1), ("long heading", 2)))
    lines = [line.text for line in table.lines()]
    assert len(lines[1]) == table.width() == len("a  ") + len("long heading")
