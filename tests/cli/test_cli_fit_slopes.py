"""`simstudy fit` of models with random slopes: summary, files, messages."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "analysis"))
from slope_data import LATENT, WITHIN, school_data

from simstudy.cli import app


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Models and data in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latent.lav").write_text(LATENT)
    (tmp_path / "within.lav").write_text(WITHIN)
    school_data().to_csv(tmp_path / "school.csv", index=False)
    return tmp_path


def fit(model, *arguments):
    command = ["fit", model, "school.csv", "--cluster", "school", *map(str, arguments)]
    return CliRunner().invoke(app, command, catch_exceptions=False)


def test_the_summary_says_what_the_slope_is(folder) -> None:
    done = fit("latent.lav")
    assert done.exit_code == 0
    text = done.stdout
    lines = [line.split() for line in text.splitlines()]
    assert ["s:", "y", "on", "x", "latent"] in lines
    assert "deviation of x from its cluster's latent mean" in text
    assert ["x", "(s)", "random"] in lines  # within: no number
    assert "There is no chi-square, CFI, RMSEA or SRMR with random slopes" in text
    for name in ("Loglikelihood user model (H0)", "Akaike (AIC)", "Bayesian (BIC)", "On the boundary"):
        assert name in text
    assert "does not estimate" not in text  # msem does
    between = text[text.index("Level 2") :]
    assert [line.split()[0] for line in between.splitlines() if line.split()[:1] == ["s"]] == [
        "s"
    ] * 3  # cov, mean, var


def test_the_boundary_is_told(folder) -> None:
    school_data(n_clusters=20, seed=3, spread=0.0).to_csv("school.csv", index=False)
    text = " ".join(fit("latent.lav").stdout.split())
    assert "On the boundary yes (see notes)" in text
    assert "This is common with few or small clusters and is no failure" in text


def test_test_scores_plot_and_json(folder) -> None:
    done = fit(
        "latent.lav", "--lrt-slope", "s", "--scores", "out/scores.csv", "--caterpillar", "out/c.svg", "--json", "f.json"
    )
    assert done.exit_code == 0
    assert "Likelihood-ratio test of the variance of 's' and of its 1 covariance:" in done.stdout
    assert "half chi-square(1), half chi-square(2)" in done.stdout
    found = json.loads((folder / "f.json").read_text())
    (test,) = found["slope_tests"]
    assert test["slope"] == "s"
    assert test["df"] == [1, 2]
    assert test["loglik_random"] == found["loglik"]
    assert found["slopes"][0]["meaning"] == "latent"
    scores = pd.read_csv(folder / "out" / "scores-between.csv")
    assert list(scores.columns[:3]) == ["cluster", "s", "s_se"]
    assert len(scores) == len(pd.read_csv(folder / "out" / "c.csv")) == 60
    assert (folder / "out" / "c.svg").read_text().lstrip().startswith("<?xml")


def test_meaning_and_nodes_can_be_chosen(folder) -> None:
    values = {}
    for how, nodes in (("latent", 7), ("latent", 15), ("hybrid", 7)):
        assert fit("latent.lav", "--slopes", how, "--nodes", nodes, "--json", "f.json").exit_code == 0
        found = json.loads((folder / "f.json").read_text())
        assert found["options"]["nodes"] == nodes
        values[how, nodes] = found["slopes"][0]["variance"]
    assert abs(values["latent", 7] - values["latent", 15]) < 1e-4  # seven nodes are enough
    assert abs(values["latent", 7] - values["hybrid", 7]) > 1e-3


def test_all_methods(folder) -> None:
    done = fit("latent.lav", "--estimator", "all", "--slopes", "hybrid")
    text = " ".join(done.stdout.split())
    assert "gamma: s ~ 1" in text
    assert "s, hybrid (msem): The mean of s is the effect of x within clusters" in text
    assert "s does not vary in the model that was fitted" in text


@pytest.mark.parametrize(
    ("model", "arguments", "messages"),
    [
        (
            "latent.lav",
            ["--slopes", "latnt"],
            ["--slopes: found 'latnt'; allowed: auto, observed, latent, hybrid, fixed"],
        ),
        (
            "level: within; y ~ x; level: between; y ~ x",
            ["--slopes", "latent", "--lrt-slope", "s", "--caterpillar", "c.png"],
            ["--slopes: the model has no", "--lrt-slope: the model has no", "--caterpillar: the model has no"],
        ),
        ("latent.lav", ["--lrt-slope", "t"], ["no random slope 't'; the model has s"]),
        ("latent.lav", ["--caterpillar", "c.jpg"], ["--caterpillar: found 'c.jpg'; a figure is written as"]),
        ("latent.lav", ["--estimator", "all", "--lrt-slope", "s"], ["--lrt-slope: it is about one fit"]),
        ("latent.lav", ["--estimator", "muml", "--slopes", "latent"], ["method 'muml' has no choice of 'slopes'"]),
    ],
)
def test_messages(folder, model, arguments, messages) -> None:
    done = fit(model, *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == len(messages)
    for line, message in zip(lines, messages, strict=True):
        assert message in line


def test_what_does_not_exist_is_a_note(folder) -> None:
    done = fit("within.lav", "--standardized", "--residuals", "--level-fit")
    assert done.exit_code == 0
    assert done.stderr.count("models with random slopes have no") == 2


def test_observed_needs_the_predictor_in_one_block(folder) -> None:
    done = fit("latent.lav", "--slopes", "observed")
    assert done.exit_code == 1
    assert "stands in both blocks" in done.stdout
