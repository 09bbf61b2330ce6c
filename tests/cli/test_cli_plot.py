"""`simstudy plot` and the calls behind it, on a small study with methods that fail."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from run_fakes import design_text
from typer.testing import CliRunner

from simstudy import api
from simstudy.cli import app
from simstudy.design import parse_design
from simstudy.report.figures import BANDS, FORMATS, KINDS, Chart
from simstudy.runner.tables import by_cell, read_cell, read_folder


def simstudy(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("plot") / "study"
    design = parse_design(design_text("Fake", "Raises", "Unsupported", "mlm"))
    api.run(design, root, jobs=1, progress=False, block_size=7)
    return root


def written(done) -> list[str]:
    assert done.exit_code == 0, done.output
    return [Path(text).name for text in done.stdout.split()]


def test_without_a_kind_bias_and_coverage_are_drawn(folder):
    names = written(simstudy("plot", folder, "--parameter", "bw"))
    assert names == [f"{kind}_bw.{suffix}" for kind in ("bias", "coverage") for suffix in ("pdf", "png", "csv")]
    assert (folder / "figures" / "bias_bw.csv").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_drawn_from_a_folder(folder, tmp_path, kind):
    options = () if kind == "convergence" else ("--parameter", "bb")
    names = written(simstudy("plot", folder, kind, *options, "--out", tmp_path, "--format", "png"))
    assert [name[-4:] for name in names] == [".png", ".csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert len(pd.read_csv(tmp_path / names[1])) > 0


def test_out_may_be_one_file(folder, tmp_path):
    assert written(simstudy("plot", folder, "zip", "--parameter", "bb", "--out", tmp_path / "a.svg")) == [
        "a.svg",
        "a.csv",
    ]
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")


def test_measures_and_cells_are_figures_of_their_own(folder, tmp_path):
    shared = ("--out", tmp_path, "--format", "svg")
    measures = ("--measure", "rmse", "--measure", "convergence")
    names = written(simstudy("plot", folder, "lines", "--parameter", "bb", *measures, *shared))
    assert names == ["rmse_bb.svg", "rmse_bb.csv", "convergence.svg", "convergence.csv"]
    made = api.charts(folder, "scatter", parameters=["bb"], cells=[0, 1])
    assert [chart.stem for chart in made] == ["scatter_bb_cell-0", "scatter_bb_cell-1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("zipp",), "kind: there is no 'zipp' (did you mean 'zip'?)"),
        (("lines", "--measure", "bais"), "measure: there is no 'bais' (did you mean 'bias'?)"),
        (("lines", "--parameter", "cb"), "parameters: the study has no parameter 'cb'"),
        (("lines", "--x", "n_cluster"), "x: there is no 'n_cluster' (did you mean 'n_clusters'?)"),
        (("lines", "--estimator", "fak"), "estimator: there is no 'fak' (did you mean 'fake'?)"),
        (("zip", "--estimator", "fak"), "estimator: there is no 'fak' (did you mean 'fake'?)"),
        (("factors", "--estimator", "fak"), "estimator: there is no 'fak' (did you mean 'fake'?)"),
        (("lines", "--where", "icc"), "where: found 'icc'; allowed: FACTOR=LEVEL"),
        (("lines", "--where", "n_cluster=3"), "where: there is no 'n_cluster' (did you mean 'n_clusters'?)"),
        (("zip", "--cell", 99), "cell: there is no cell 99; allowed: 0 to "),
        (("zip", "--band", "muthen2002"), "band: 'zip' has no use for it; it is for "),
        (("lines", "--band", "muthen"), "band: there is no 'muthen' (did you mean 'muthen2002'?)"),
        (("bland-altman", "--compare", "fake", "mml"), "compare: there is no 'mml' (did you mean 'mlm'?)"),
        (("lines", "--format", "jpg"), "format: there is no 'jpg' (did you mean 'png'?)"),
        (("lines", "--out", "one.pdf", "--measure", "bias", "--measure", "rmse"), "out: 'one.pdf' is one file"),
        (("lines", "--out", "one.pdf", "--format", "png"), "is one file and says its format"),
    ],
)
def test_bad_options_get_one_message(folder, arguments, message):
    done = simstudy("plot", folder, *arguments)
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_two_problems_are_two_messages(folder):
    done = simstudy("plot", folder, "zip", "--band", "muthen2002", "--compare", "fake", "mlm")
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "error"]


def test_charts_come_with_words_and_data(folder):
    made = api.charts(folder, "nested-loop", parameters=["b?"], measures=["bias", "coverage"])
    assert all(isinstance(chart, Chart) for chart in made)
    assert [chart.stem for chart in made] == ["nested-loop_bias_coverage_bw", "nested-loop_bias_coverage_bb"]
    assert all(chart.alt.startswith(chart.title) for chart in made)
    assert {chart.title for chart in api.charts(folder, parameters=["bb"])} == {
        "Bias: bb (between)",
        "Coverage of 95% intervals: bb (between)",
    }


def test_replicates_are_the_converged_rows_of_the_store(folder):
    opened = read_folder(folder)
    assert len(by_cell(opened)[1]) > 1  # several parts
    rows = read_cell(opened, 1, by_cell(opened)[1], [])
    good = rows.fits[rows.fits["status"] == "OK"]
    found = api.replicates(folder, 1, parameters=["bb"], estimators=["fake"])
    expected = rows.replicates[(rows.replicates["param"] == "bb") & (rows.replicates["estimator"] == "fake")]
    expected = expected[expected["rep"].isin(good.loc[good["estimator"] == "fake", "rep"])]
    assert 0 < len(found) < len(opened.cells) * opened.manifest.replications * 2
    for kind in ("expected", "robust"):
        mine, stored = (table[table["se_kind"] == kind].sort_values("rep") for table in (found, expected))
        for name in ("rep", "estimate", "se"):
            assert mine[name].tolist() == stored[name].tolist()
    assert found["truth"].unique().tolist() == opened.truth.query("cell == 1 and param == 'bb'")["truth"].tolist()
    assert found.columns[:3].tolist() == list(opened.manifest.factors) == ["n_clusters", "cluster_size", "icc"]
    everything = api.replicates(folder)
    assert set(everything["parameter"]) == set(opened.params)
    assert {"fake", "mlm"} <= set(everything["estimator"])
    assert "unsupported" not in set(everything["estimator"])


def test_a_damaged_part_is_an_error_not_a_smaller_figure(folder, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    part = sorted((copy / "replicates").iterdir())[0]
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 255
    part.write_bytes(bytes(data))
    saved = copy / "performance.parquet"
    later = max(path.stat().st_mtime_ns for path in copy.rglob("*")) + 10**9
    os.utime(saved, ns=(later, later))
    done = simstudy("plot", copy, "zip", "--parameter", "bb", "--cell", 0)
    assert done.exit_code == 2
    assert "is damaged" in done.stderr


def test_help_names_every_kind_band_and_format():
    text = " ".join(simstudy("plot", "--help").stdout.replace("│", " ").split())
    for name in (*KINDS, *BANDS, *FORMATS):
        assert name in text
