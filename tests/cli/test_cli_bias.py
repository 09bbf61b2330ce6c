"""``simstudy bias``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from run_fakes import design_text
from typer.testing import CliRunner

from simstudy import api
from simstudy.cli import app
from simstudy.methods import registry

DESIGNS = Path(__file__).parents[2] / "designs"


def simstudy(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def design(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.toml"
    path.write_text(design_text("mlm", "mlm_centered"))
    return path


def test_prints_every_measure_of_a_cell(tmp_path):
    csv = tmp_path / "theory.csv"
    done = simstudy("bias", DESIGNS / "conflation.toml", "--cell", 40, "--parameter", "bb", "--csv", csv)
    assert done.exit_code == 0, done.output
    assert "Cell 40: n_clusters = 100, cluster_size = 10, icc = 0.1" in done.stdout
    line = next(line for line in done.stdout.splitlines() if line.startswith("aggregated"))
    # limit .7 lambda + .2 (1 - lambda), lambda = .1 / .19; starred numbers are exact at J = 100
    assert line.split()[:4] == ["aggregated", "expected", "0.4632", "-0.2368"]
    assert "0.1128*" in line
    assert "second_order" in done.stdout
    table = pd.read_csv(csv)
    assert {"method_of_calculation", "note", "icc"} <= set(table.columns)
    assert set(table["cell"]) == {40}


def test_prints_the_probability_of_negative_variances():
    done = simstudy("bias", DESIGNS / "conflation.toml", "--cell", 16, "--estimator", "msem")
    text = " ".join(done.stdout.split())
    assert "msem, between: x ~~ x 0.041*" in text  # theory F6's table: ICC .10, n = 5, J = 50
    places = ", ".join(registry.find("msem").theory)
    assert f"Formulas, in docs/theory/: msem {places.replace('docs/theory/', '')}." in text


@pytest.mark.slow
def test_many_cells_are_shortened_and_methods_chosen():
    done = simstudy("bias", DESIGNS / "conflation.toml", "--estimator", "mlm", "--timing")
    assert done.exit_code == 0, done.output
    assert "asymptotic bias, and coverage at J" in done.stdout
    assert "disaggregated" not in done.stdout
    assert "theory of 75 cells" in done.stderr


def test_theory_beside_simulation(design):
    api.run(design, "out", jobs=1, progress=False)
    done = simstudy("bias", design, "--joined", "out")
    assert done.exit_code == 0, done.output
    assert "theory beside simulation" in done.stdout
    assert "sim." in done.stdout
    assert "|z| > 4" in done.stdout


def test_missing_numbers_are_explained():
    done = simstudy("bias", DESIGNS / "missing_mar.toml", "--cell", 0, "--large-samples", 0)
    assert done.exit_code == 0, done.output
    assert "values are missing" in done.stdout
    assert "n/a" in done.stdout


def test_numbers_from_large_samples_are_marked(tmp_path):
    csv = tmp_path / "theory.csv"
    options = ("--cell", 3, "--parameter", "bb", "--large-samples", 10, "--csv", csv)
    done = simstudy("bias", DESIGNS / "nonnormal.toml", *options)
    assert done.exit_code == 0, done.output
    assert "~ large_samples: " in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("msem"))
    assert [text.endswith("~") for text in row.split()[2:]] == [False] * 4 + [True, False, True, True, True]
    table = pd.read_csv(csv)
    sampled = table["method_of_calculation"] == "large_samples"
    assert (table.loc[sampled & table["value"].notna(), "mcse"] >= 0).all()
    assert table.loc[~sampled, "mcse"].isna().all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cell", 99], "cell: found 99; allowed: 0 to "),
        (["--estimator", "mml"], "did you mean 'mlm'"),
        (["--parameter", "cotextual"], "did you mean 'contextual'"),
        (["--joined", "nowhere"], "nowhere"),
        (["--large-samples", -1], "large_samples: found -1; allowed: 0 or more"),
    ],
)
def test_bad_input_is_one_message(design, options, said):
    done = simstudy("bias", design, *options)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.output
