"""`simstudy fit`: words and texts of other programs, notes of how the model was read, `--auto`."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from simstudy.cli import app

TEXT = "level: person; y ~ a*x + z; x ~~ x; level: school; y ~ w"


def simstudy(*arguments):
    return CliRunner().invoke(app, ["fit", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(40), 6)
    w = rng.normal(size=40)[g]
    x, z = rng.normal(size=(2, 240))
    y = 0.4 * x + 0.3 * z + 0.5 * w + rng.normal(size=40)[g] + rng.normal(size=240)
    path = tmp_path_factory.mktemp("grammar") / "data.csv"
    pd.DataFrame({"school": g, "x": x, "z": z, "w": w, "y": y}).to_csv(path, index=False)
    return path


def words(text):
    return " ".join(text.split())


def test_notes_say_how_the_text_was_read(data):
    done = simstudy(TEXT, data, "--cluster", "school")
    assert done.exit_code == 0, done.output
    assert "'person' is level 1 (within), 'school' is level 2 (between)" in words(done.stdout)
    assert "within: x ~~ z free; lavaan would leave them out" in words(done.stdout)
    told = simstudy(TEXT, data, "--cluster", "school", "--auto", "lavaan", "--json", data.parent / "fit.json")
    assert "within: x ~~ z fixed at 0, by lavaan's rule" in words(told.stdout)
    assert json.loads((data.parent / "fit.json").read_text())["df"] == 1


def test_an_unknown_rule_is_told(data):
    done = simstudy(TEXT, data, "--cluster", "school", "--auto", "lavan")
    assert done.exit_code == 2
    assert "--auto: found 'lavan'; allowed: simstudy, lavaan (did you mean 'lavaan'?)" in done.stderr


def test_mlr_is_understood(data):
    mlr, robust = (
        simstudy(TEXT, data, "--cluster", "school", *more) for more in (["--estimator", "MLR"], ["--se", "robust"])
    )
    assert mlr.exit_code == 0
    assert mlr.stdout == robust.stdout
    refused = simstudy(TEXT, data, "--cluster", "school", "--estimator", "WLSMV")
    assert refused.exit_code == 2
    assert "allowed: ML and MLR" in refused.stderr


def test_bounds_are_shown(data):
    done = simstudy(TEXT + "; a < 0.2", data, "--cluster", "school", "--json", data.parent / "bounded.json")
    assert "a is at its bound, 0.2" in words(done.stdout)
    found = json.loads((data.parent / "bounded.json").read_text())
    assert found["boundary"] is True
    (a,) = [row for row in found["parameters"] if row["label"] == "a"]
    assert (a["est"], a["se"]) == (0.2, None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("y ~ x + (1 + x | school)", 'y ~ rv("s_x")*x'),
        ("%WITHIN% y ON x z; %BETWEEN% y ON w;", "y ~ x + z"),
    ],
)
def test_texts_of_other_programs_are_shown_in_our_syntax(text, shown, data):
    done = simstudy(text, data, "--cluster", "school")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert shown in done.stderr
    assert "level: within" in done.stderr
    path = data.parent / "other.txt"
    path.write_text(text, encoding="utf-8")
    from_file = simstudy(path, data, "--cluster", "school")
    assert shown in from_file.stderr
    shown_model = from_file.stderr.split("is written here as")[1].split("and fitted by")[0]
    assert simstudy(shown_model, data, "--cluster", "school").exit_code == 0  # what is shown can be used


def test_a_text_of_another_program_is_answered_for_the_data_at_hand(data, tmp_path):
    formula = tmp_path / "formula.txt"
    formula.write_text("y ~ x*w + z + (1 + x | klass)")
    done = simstudy(formula, data, "--cluster", "school")
    assert done.exit_code == 2
    told = words(done.stderr)
    assert f"simstudy fit model.lav {data} --cluster school" in told
    shown = 'level: within y ~ rv("s_x")*x + z level: between y ~ 1 y ~ w y ~~ y s_x ~ 1 s_x ~ w s_x ~~ s_x y ~~ s_x'
    assert shown in told
    refused = simstudy(formula, data.parent / "none.csv", "--cluster", "school")
    assert refused.exit_code == 2  # both problems, each once
    assert refused.stderr.count("this is a formula of lme4") == 1
    assert "there is no such file" in words(refused.stderr)
