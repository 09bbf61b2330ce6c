"""Commands on results: analyse's formats, performance, factors, export; what they print, write and refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_fakes import design_text
from typer.testing import CliRunner

from simstudy import api
from simstudy.cli import app
from simstudy.design import parse_design


def simstudy(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("performance") / "study"
    api.run(parse_design(design_text("Fake", "Raises", "mlm")), root, jobs=1, progress=False)
    return root


@pytest.fixture(scope="module")
def table(folder, tmp_path_factory):
    """The study's estimates as one long file."""
    return api.export_siman(folder, tmp_path_factory.mktemp("long") / "estimates.csv")


@pytest.mark.parametrize("style", ["simstudy", "simdesign", "simsum", "mplus"])
def test_analyse_writes_every_format(folder, tmp_path, style):
    names = {option: tmp_path / "new" / f"table.{option}" for option in ("csv", "latex", "html", "markdown")}
    options = [part for option, path in names.items() for part in (f"--{option}", path)]
    done = simstudy("analyse", folder, "--style", style, *options)
    assert done.exit_code == 0, done.output
    starts = {"latex": "% Needs in the preamble", "html": "<!DOCTYPE html>", "markdown": "# "}
    for option, path in names.items():
        assert path.read_text(encoding="utf-8").startswith(starts.get(option, ""))
        assert f"written: {path}" in done.stderr
    assert {path.name for path in (tmp_path / "new").iterdir()} == {path.name for path in names.values()}
    assert names["latex"].read_text() == api.format_performance(folder, "latex", style=style)


def test_analyse_chooses_measures_and_reference(folder):
    done = simstudy("analyse", folder, "--measures", "bias,*_difference", "--reference", "mlm", "--parameter", "bb")
    assert done.exit_code == 0
    assert "RMSE diff. (MCSE)" in done.stdout
    assert "ref: mlm, the reference method" in done.stdout
    saved = pd.read_parquet(folder / "performance.parquet")
    assert set(saved["reference"]) == {"", "mlm"}
    assert set(api.analyse(folder).to_frame()["reference"]) == {"", "fake"}  # the design's first, again


def test_a_study_that_went_out_comes_back_the_same(folder, table):
    """siman's layout holds all there is: our own numbers follow from the file."""
    head = table.read_text().splitlines()[0].split(",")
    assert head[:9] == ["rep", "dgm", "target", "method", "estimate", "se", "lci", "uci", "true"]
    ours = api.analyse(folder).to_frame().query("basis == 'casewise' and parameter != ''")
    theirs = api.performance_of(table, by=head[9:], reference="fake").query("basis == 'casewise'")
    kinds = ours.drop_duplicates(["cell", "estimator", "parameter", "measure"])  # the first kind of SE
    keys = ["cell", "estimator", "parameter", "measure"]
    both = kinds.merge(theirs, on=keys, suffixes=("", "_file"))
    assert len(both) == len(kinds)
    np.testing.assert_allclose(both["value_file"], both["value"], rtol=1e-12)  # limits are stored, not z and SE
    np.testing.assert_array_equal(both["n_file"], both["n"])


def test_performance_prints_and_writes(table, tmp_path):
    arguments = ("performance", table, "--by", "n_clusters,icc", "--parameter", "bb")
    done = simstudy(*arguments, "--style", "simsum", "--csv", tmp_path / "table.csv")
    assert done.exit_code == 0, done.output
    assert "note: columns found by their names: estimate = estimate" in done.stderr
    assert "note: columns not used: dgm" in done.stderr
    written = pd.read_csv(tmp_path / "table.csv")
    assert set(written["parameter"]) == {"bb"}
    assert {"n_clusters", "icc", "stat", "est", "mcse"} <= set(written.columns)
    assert "Failures" in simstudy(*arguments).stdout


def test_a_method_that_failed_everywhere_is_exit_code_1(tmp_path):
    path = tmp_path / "some.csv"
    rows = pd.DataFrame({"rep": [1, 2] * 2, "method": ["a", "a", "b", "b"], "est": [1.0, 2.0, np.nan, np.nan]})
    rows.to_csv(path, index=False)
    done = simstudy("performance", path, "--truth", 1.5)
    assert done.exit_code == 1
    assert "failed: b converged in no replicate" in done.stderr


def test_factors_prints_eta_squared(folder, tmp_path):
    done = simstudy("factors", folder, "--parameter", "bb", "--measures", "bias,coverage", "--csv", tmp_path / "f.csv")
    assert done.exit_code == 0, done.output
    assert "bb: eta squared of Bias" in done.stdout
    assert "by chance" in done.stdout
    written = pd.read_csv(tmp_path / "f.csv", keep_default_na=False)
    assert set(written["measure"]) == {"bias", "coverage"}
    found = api.factor_effects(folder, parameters=["bb"], measures=["bias", "coverage"])
    assert len(found) == len(written)
    for option in ("latex", "html", "markdown"):
        assert simstudy("factors", folder, f"--{option}", tmp_path / option).exit_code == 0
        assert (tmp_path / option).stat().st_size > 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("performance", "missing.csv"), "missing.csv: there is no such file"),
        (("performance", "{table}", "--se", "sse"), "se: there is no column 'sse' (did you mean 'se'?); columns: rep,"),
        (("performance", "{table}", "--by", "icc,J"), "by: there is no column 'J'"),
        (("performance", "{table}", "--measures", "bais"), "measures: there is no 'bais' (did you mean 'bias'?)"),
        (("performance", "{table}", "--style", "apa"), "there is no table style 'apa'"),
        (("performance", "{table}", "--level", "95"), "level: found 95; "),
        (("analyse", "{folder}", "--measures", "rmse", "--style", "mplus"), "the style 'mplus' has its own"),
        (("analyse", "{folder}", "--reference", "mlmm"), "reference: there is no method 'mlmm' (did you mean 'mlm'?)"),
        (("factors", "{folder}", "--measures", "etas"), "measures: there is no 'etas'"),
        (("factors", "{folder}", "--outcome", "rows"), "outcome: there is no 'rows'; allowed: cells, replicates"),
        (("factors", "{folder}", "--order", "9"), "order: found 9"),
        (("factors", "{folder}", "--estimator", "m"), "estimator: there is no 'm'"),
        (("factors", "nowhere"), "there is no such results folder"),
        (("export", "{folder}"), "export: say what to write; allowed: --siman FILE"),
        (("export", "{folder}", "--siman", "x.dta"), "siman: found 'x.dta'; allowed: a name that ends in .csv"),
    ],
)
def test_bad_arguments_exit_2_with_a_message(folder, table, arguments, message):
    done = simstudy(*(str(part).format(folder=folder, table=table) for part in arguments))
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert not Path("x.dta").exists()
