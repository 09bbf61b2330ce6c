"""A study with random slopes and outcomes missing at random, from the command line; and what `fit` refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from simstudy.cli import app

DESIGN = """
[study]
name = "missing_slopes"
replications = {reps}
seed = 12
[model]
syntax = \"\"\"
level: within
  m ~ rv("s")*x
  y ~ b*m
level: between
  s ~ a*1
  s ~ by_w*w
  s ~~ tau*s
  m ~~ s
  m ~~ y
  y ~ w
\"\"\"
[population]
a = 0.5
b = 0.6
by_w = 0.3
tau = 0.3
"between: y ~ w" = 0.3
"within: m ~~ m" = 0.8
"within: y ~~ y" = 0.8
"within: x ~~ x" = 1.0
"between: m ~~ m" = 0.4
"between: y ~~ y" = 0.4
"between: w ~~ w" = 1.0
[population.missing]
mar = {{ m = {{ on = "y", rate = 0.4, slope = 1.5 }}, w = {{ on = "x", rate = 0.2, slope = 1.0 }} }}
[factors]
n_clusters = [60]
cluster_size = [8]
[estimators]
use = ["listwise", "fiml"]
listwise = {{ estimator = "msem", missing = "listwise", se = ["observed", "robust"] }}
fiml = {{ estimator = "msem", missing = "fiml", se = ["observed", "robust"] }}
"""


def run(folder: Path, reps: int, *more: str) -> Path:
    folder.mkdir()
    (folder / "design.toml").write_text(DESIGN.format(reps=reps))
    done = CliRunner().invoke(app, ["run", f"{folder}/design.toml", "--out", f"{folder}/out", "--jobs", "1", *more])
    assert done.exit_code == 0, done.output
    return folder / "out"


def replicates(folder: Path) -> pd.DataFrame:
    found = pd.concat([pd.read_parquet(path) for path in sorted((folder / "replicates").rglob("*.parquet"))])
    return found.sort_values([*found.columns[:5]], kind="stable").reset_index(drop=True)


@pytest.mark.slow
def test_blocks_of_a_study_do_not_matter(tmp_path) -> None:
    whole, parts = run(tmp_path / "a", 7), run(tmp_path / "b", 7, "--block-size", "2")
    pd.testing.assert_frame_equal(replicates(whole), replicates(parts), check_exact=True)


@pytest.mark.slow
def test_full_information_repairs_what_listwise_deletion_does(tmp_path) -> None:
    """m, of which the slope is, is missing where y is high: rows with large slopes times x go."""
    table = pd.read_csv(run(tmp_path / "a", 400) / "performance.csv")
    table = table[table["parameter"].isin(["a", "b", "by_w"]) & (table["n_clusters"] == 60)]
    bias = table[(table["measure"] == "bias") & (table["se_kind"] != "robust")]
    rows = {(row.estimator, row.parameter): row for row in bias.itertuples()}
    for name in ("a", "b", "by_w"):
        fiml = rows["fiml", name]
        assert fiml.n > 390
        assert abs(fiml.value) < 4 * fiml.mcse, name
    assert abs(rows["listwise", "b"].value) > 10 * rows["listwise", "b"].mcse
    shares = table[(table["measure"] == "coverage") & (table["estimator"] == "fiml")]
    assert set(shares["se_kind"]) == {"observed", "robust"}
    assert (np.abs(shares["value"] - 0.95) < 4 * 0.011 + 0.02).all()  # 4 MCSEs, and what 60 clusters cost robust SEs


def test_fit_says_what_cannot_be_missing(tmp_path) -> None:
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(np.arange(30), 6), "x": rng.normal(size=180), "y": rng.normal(size=180)})
    data.loc[7, "x"] = np.nan
    data.loc[3, "y"] = np.nan
    data.to_csv(tmp_path / "d.csv", index=False)
    (tmp_path / "m.lav").write_text("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~~ s\n")
    common = ["fit", f"{tmp_path}/m.lav", f"{tmp_path}/d.csv", "--cluster", "g"]
    done = CliRunner().invoke(app, [*common, "--missing", "fiml", "--fixed-x"])
    assert done.exit_code == 2
    assert "'x' has missing values, and fixed_x takes it as given" in " ".join(done.output.split())
    assert "missing='listwise'" in done.output
    done = CliRunner().invoke(app, [*common, "--missing", "fiml"])  # the slope is integrated over
    assert done.exit_code == 0
    assert "180" in done.output
    assert CliRunner().invoke(app, common).exit_code == 0
