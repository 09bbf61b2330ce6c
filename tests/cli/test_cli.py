"""Commands: what they print, what they write, and their exit codes."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from run_fakes import design_text, snapshot
from typer.testing import CliRunner

from simstudy import api
from simstudy.cli import app
from simstudy.design import parse_design

ROOT = Path(__file__).parents[2]
COMMANDS = (
    *("run", "analyse", "status", "validate", "simulate", "replay", "merge", "plot", "plan", "init", "estimators"),
    *("performance", "factors", "export", "bias", "report"),
)


def simstudy(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def design(tmp_path, monkeypatch):
    """A design file in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.toml"
    path.write_text(design_text("Fake", "mlm"))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli") / "study"
    api.run(parse_design(design_text("Fake", "Raises", "Unsupported", "mlm")), root, jobs=1, progress=False)
    return root


def test_run_prints_the_table_and_writes_everything(design):
    done = simstudy("run", design, "--jobs", 1)
    assert done.exit_code == 0, done.output
    assert "contextual" in done.stdout
    assert "Failures" in done.stdout
    written = {path.name for path in Path("results/tiny").iterdir()}
    assert written >= {
        *("manifest.json", "cells.parquet", "truth.parquet", "performance.csv", "performance.parquet"),
        *("replicates", "fits", "figures"),
    }
    assert "40/40" not in done.stdout  # progress is not part of the output
    assert "80/80 replicates" in done.stderr
    table = pd.read_csv("results/tiny/performance.csv")
    assert table.columns[:3].tolist() == ["n_clusters", "cluster_size", "icc"]
    assert set(table["estimator"]) == {"fake", "mlm"}


def test_options_of_run(design):
    done = simstudy("run", design, "--jobs", 1, "--out", "here", "--reps", 15, "--block-size", 10)
    assert done.exit_code == 0, done.output
    assert len(list(Path("here/fits").iterdir())) == 4
    assert simstudy("run", design, "--jobs", 1, "--out", "here").exit_code == 0
    assert "complete" in simstudy("status", "here").stdout


def test_shards_and_merge(design):
    for i in (1, 2):
        done = simstudy("run", design, "--jobs", 1, "--block-size", 20, "--shard", f"{i}/2")
        assert done.exit_code == 0
        assert "merge" in done.stderr
    folders = sorted(str(path) for path in Path("results").iterdir())
    assert folders == ["results/tiny-shard-1-of-2", "results/tiny-shard-2-of-2"]
    done = simstudy("merge", *folders)
    assert (done.exit_code, done.stdout) == (0, "tiny: complete\n")
    assert simstudy("analyse", "results/tiny").exit_code == 0


def test_a_method_that_converged_nowhere_is_exit_code_1(tmp_path):
    path = tmp_path / "design.toml"
    path.write_text(design_text("Fake", "Hopeless", "Unsupported"))
    done = simstudy("run", path, "--jobs", 1, "--out", tmp_path / "study")
    assert done.exit_code == 1
    assert re.findall(r"failed: (\w+) converged in no replicate", done.stderr) == ["hopeless", "unsupported"]
    assert "contextual" in done.stdout  # the table is printed all the same
    assert simstudy("analyse", tmp_path / "study").exit_code == 1


@pytest.mark.parametrize("style", ["simstudy", "mplus", "simdesign", "simsum"])
def test_analyse_prints_a_style(folder, style):
    done = simstudy("analyse", folder, "--style", style, "--parameter", "b*", "--cell", 1)
    assert "bw" in done.stdout
    assert done.exit_code == 1  # one method supports nothing
    assert ("Population" in done.stdout) == (style == "mplus")


def test_analyse_writes_the_long_table(folder, tmp_path):
    simstudy("analyse", folder, "--csv", tmp_path / "new" / "table.csv")
    assert (tmp_path / "new" / "table.csv").read_bytes() == (folder / "performance.csv").read_bytes()


def test_status_says_what_failed_and_why(folder):
    done = simstudy("status", folder)
    assert done.exit_code == 0
    assert "320 of 320 fits (40 replications), complete" in done.stdout
    assert "raises, EXCEPTION, 13 fits in 2 cells: ZeroDivisionError: a negative number" in done.stdout
    assert "unsupported, NOT_SUPPORTED, 80 fits in 2 cells: it supports nothing" in done.stdout
    command = re.search(r"simstudy (replay .*)", done.stdout)
    assert command
    replayed = simstudy(*command.group(1).split())
    assert "ZeroDivisionError" in replayed.stdout
    assert "identical, bit for bit" in replayed.stdout


def test_validate(design):
    before = snapshot(design.parent)
    done = simstudy("validate", design)
    assert done.exit_code == 0
    assert "2 cells x 40 replications x 2 methods = 160 fits" in done.stdout
    design.write_text(design_text("Fake", "Unsupported"))
    assert "unsupported cannot be used in all cells: it supports nothing" in simstudy("validate", design).stdout
    assert snapshot(design.parent).keys() == before.keys()


def test_simulate_prints_or_writes_one_data_set(design):
    printed = simstudy("simulate", design, "--cell", 0, "--rep", 5)
    done = simstudy("simulate", design, "--cell", 0, "--rep", 5, "--out", "data.csv")
    assert done.exit_code == 0
    assert Path("data.csv").read_text() == printed.stdout
    assert pd.read_csv(io.StringIO(printed.stdout)).shape == (100, 3)


def test_plot_names_its_files(folder):
    done = simstudy("plot", folder, "--parameter", "bw")
    assert done.exit_code == 0
    assert [Path(line).name for line in done.stdout.split()][:3] == ["bias_bw.pdf", "bias_bw.png", "bias_bw.csv"]


def test_help_lists_the_commands():
    done = simstudy("--help")
    assert done.exit_code == 0
    assert all(re.search(rf"^ +{name} ", done.stdout, re.MULTILINE) for name in COMMANDS)
    assert re.match(r"simstudy \d", simstudy("--version").stdout)


BAD = {
    "unknown key": (lambda t: t.replace("seed = 1", "sed = 1"), "sed"),
    "unknown method": (lambda t: t.replace('"mlm"', '"mlmm"').replace("mlm =", "mlmm ="), "did you mean 'mlm'"),
    "TOML syntax": (lambda t: t.replace("[study]", "[study"), ":2:"),
    "model syntax": (lambda t: t.replace("y ~ bw*x", "y ~ bw**x"), ":"),
    "ICC": (lambda t: t.replace("icc = [0.2]", "icc = [1.2]"), "icc"),
    "variance": (lambda t: t.replace("bw = 0.2", "bw = 4.2"), "y"),
    "factor": (lambda t: t.replace("icc = [0.2]", 'icc = ["high"]'), "icc"),
    "size 1": (lambda t: t.replace("cluster_size = [5]", "cluster_size = [1]"), "cluster_size"),
    "few clusters": (lambda t: t.replace("[20, 30]", "[2, 30]"), "n_clusters"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("command", ["run", "validate"])
def test_bad_designs_exit_2_with_a_message_and_touch_nothing(design, kind, command):
    change, named = BAD[kind]
    text = change(design.read_text())
    assert text != design.read_text()
    design.write_text(text)
    done = simstudy(command, design)
    assert done.exit_code == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines
    assert all(line.startswith("error: ") for line in lines)
    assert named in done.stderr
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nothing.toml"), "error: nothing.toml: "),
        (("run", "tiny.toml", "--shard", "3/2"), "error: shard: "),
        (("run", "tiny.toml", "--jobs", "0"), "error: jobs: "),
        (("run", "tiny.toml", "--out", "tiny.toml"), "error: tiny.toml: this is a file"),
        (("run", "tiny.toml", "--out", "."), "error: .: this folder holds other files"),
        (("analyse", "nowhere"), "error: nowhere: there is no such results folder"),
        (("status", "."), "error: .: this is not a results folder"),
        (("simulate", "tiny.toml", "--cell", "9", "--rep", "0"), "error: cell: found 9"),
        (("merge", "nowhere"), "error: nowhere: "),
        (("plot", "nowhere"), "error: nowhere: "),
        (("run", "tiny.toml", "--jobs", "many"), "--jobs"),
        (("replay", "nowhere"), "--cell"),
        (("analyse", "nowhere", "--style", "apa"), "no table style"),
        (("rum", "tiny.toml"), "rum"),
    ],
)
def test_bad_arguments_exit_2(design, arguments, message):
    done = simstudy(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_another_designs_folder_exits_2(design):
    assert simstudy("run", design, "--jobs", 1).exit_code == 0
    before = snapshot("results/tiny")
    design.write_text(design_text("Fake", "mlm", seed=5))
    done = simstudy("run", design, "--jobs", 1)
    assert done.exit_code == 2
    assert re.fullmatch(r"error: results/tiny: this folder holds results of another design, .*\n", done.stderr)
    assert snapshot("results/tiny") == before


def test_an_unknown_parameter_or_cell_of_analyse_exits_2(folder):
    for option, value in (("--parameter", "bww"), ("--cell", 17)):
        done = simstudy("analyse", folder, option, value)
        assert done.exit_code == 2
        assert str(value) in done.stderr


def test_a_damaged_part_is_named_by_analyse(folder, tmp_path):
    path = sorted((folder / "fits").glob("*.parquet"))[0]
    good = path.read_bytes()
    path.write_bytes(good[:50])
    try:
        done = simstudy("analyse", folder)
        assert "damaged" in simstudy("status", folder).stdout
    finally:
        path.write_bytes(good)
    assert done.exit_code == 2
    assert f"error: {folder}: part {path.name} is damaged" in done.stderr


def test_interrupted_runs_exit_130(design, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "run_study", interrupt)
    done = simstudy("run", design)
    assert done.exit_code == 130
    assert "what was finished is kept" in done.stderr


def test_the_module_runs(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "simstudy.cli", "status", "nowhere"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: nowhere: there is no such results folder\n"


def test_until_says_what_each_cell_reached(design):
    done = simstudy("run", design, "--jobs", 1, "--until", "bias=.035", "--max-reps", 100, "--reps", 20)
    assert done.exit_code == 0, done.output
    assert "Precision (bias 0.035): reached in" in done.stderr
    assert "NOT reached in 2 of 2 cells, as they are at the maximum" in done.stderr
    assert re.search(r"20 +5 +0.2 +100 .*not reached: it would need about", done.stderr)
    assert "100 replications, 2 cells" in done.stdout
    assert (
        "replicated until the Monte Carlo SEs are: bias 0.035; at most 100 a cell"
        in simstudy("status", "results/tiny").stdout
    )
    refused = simstudy("run", design, "--max-reps", 100)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
