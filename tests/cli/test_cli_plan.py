"""`simstudy plan` and `simstudy init`: what they print, what they write, and their exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from simstudy.cli import app
from simstudy.design import load_design
from simstudy.design.templates import template_names

QUICK = ("--tolerance", ".03", "--reps", "1000", "--jobs", "1")


def simstudy(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_short_form():
    command = ("plan", "mediation-1-1-1", "--set", "a_b=.4", "--set", "b_b=.5", "--icc", ".2", "--cluster-size", "20")
    command = (*command, "--parameter", "ind_b", "--power", ".8", *QUICK)
    done = simstudy(*command, "--json", "plan.json", "--csv", "sizes.csv")
    assert done.exit_code == 0, done.output
    assert "How many clusters for power of at least 0.8 of ind_b?" in done.stdout
    assert "with a_b = .4, b_b = .5, icc = .2, cluster_size = 20" in done.stdout
    assert re.search(r"simulated +\d+ \[\d+, \d+\] +20 ", done.stdout)
    assert "Confirmed by 1,000 fresh data sets at the answer: power" in done.stdout
    assert "analytic: J =" in done.stderr  # progress is not part of the output
    assert "analytic: J =" not in done.stdout
    written = json.loads(Path("plan.json").read_text())
    assert written["status"] == "confirmed"
    assert set(pd.read_csv("sizes.csv")["role"]) == {"search", "confirm"}
    (folder,) = Path("results").iterdir()
    assert folder.name.startswith("plan-mediation-1-1-1-ind_b-")
    again = simstudy(*command)
    assert "nothing was left to simulate" in again.stdout


@pytest.mark.slow
def test_an_analytic_plan_of_a_design_file():
    assert simstudy("init", "contextual", "--out", "mine.toml").exit_code == 0
    done = simstudy("plan", "mine.toml", "--parameter", "contextual", "--power", ".9", "--analytic", "--map")
    assert done.exit_code == 0, done.output
    assert "Analytic only: nothing was simulated" in done.stdout
    (folder,) = Path("results").iterdir()
    assert {"plan.json", "map.png", "map.pdf", "map.csv", "curve.csv"} <= {p.name for p in folder.iterdir()}
    grid = pd.read_csv(folder / "map.csv")
    assert grid.groupby("cluster_size")["value"].apply(lambda v: v.is_monotonic_increasing).all()


def test_a_target_without_an_answer_is_exit_code_1():
    command = ("plan", "contextual", "--parameter", "b_b", "--analytic")
    done = simstudy(*command, "--coverage", ".95", "--method", "aggregated")
    assert done.exit_code == 1
    assert "No number of clusters does this: aggregated is biased" in done.stdout
    done = simstudy(*command, "--power", ".8", "--max", "20")
    assert done.exit_code == 1
    assert "Not reached: power is" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (("--power", "80"), ["power: found 80; allowed: above 0 and below 1"]),
        ((), ["target: found none; give one of --power"]),
        (("--power", ".8", "--set", "a_b", "--set", "icc=.1", "--icc", ".2"), ["found 'a_b'", "'icc' is given twice"]),
        (("--power", ".8", "--cost", "J +"), ["cost: unexpected end at column 4 of 'J +'"]),
        (("--power", ".8", "--uncertain", "icc"), ["uncertain: found 'icc'"]),
        (("--power", ".8", "--set", "b_b=x*2"), ["unknown name 'x' in the expression 'x*2'"]),
    ],
)
def test_bad_input_is_one_message_a_problem(arguments, messages):
    done = simstudy("plan", "contextual", "--parameter", "b_b", *arguments)
    assert done.exit_code == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == len(messages)
    for line, message in zip(lines, messages, strict=True):
        assert line.startswith("error: ")
        assert message in line
    assert not Path("results").exists()


def test_a_setting_by_its_path():
    command = ("plan", "latent-contextual", "--parameter", "b_b", "--power", ".8", "--analytic")
    done = simstudy(*command, "--set", "between: X ~~ X=0.18")
    assert done.exit_code == 0, done.output
    assert "with between: X ~~ X = 0.18" in done.stdout
    done = simstudy(*command, "--set", "within: X =~ x2 = 0.9")
    assert done.exit_code == 2
    assert "'within: X =~ x2': 0.9 is given, but 'l2' gives the same parameter 1" in done.stderr


def test_init_lists_writes_and_prints():
    listed = simstudy("init")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(template_names())
    done = simstudy("init", "mediation-2-1-1")
    assert (done.exit_code, done.stdout) == (0, "")
    assert load_design("mediation-2-1-1.toml").name == "mediation-2-1-1"
    assert simstudy("init", "mediation-2-1-1", "--out", "-").stdout == Path("mediation-2-1-1.toml").read_text()
    again = simstudy("init", "mediation-2-1-1")
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    wrong = simstudy("init", "mediation-2-1-2")
    assert wrong.exit_code == 2
    assert "did you mean 'mediation-2-1-1'" in wrong.stderr
