"""Replay, one data set, shards and merging, status, progress."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from run_fakes import design_text, snapshot, tables

from simstudy import api
from simstudy.data.sample import from_frame
from simstudy.design import parse_design
from simstudy.errors import SimstudyError, StoreError
from simstudy.population.draw import draw_statistics
from simstudy.runner.progress import Lines, State, clock
from simstudy.runner.rows import slim
from simstudy.runner.store import scan
from simstudy.runner.todo import Shard, missing_tasks

METHODS = ("Fake", "Raises", "mlm")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("folder") / "study"
    api.run(parse_design(design_text(*METHODS)), root, jobs=1, block_size=16, progress=False)
    return root


@pytest.mark.parametrize("method", [name.lower() for name in METHODS])
@pytest.mark.parametrize("rep", [0, 4, 39])
def test_replay_gives_the_stored_fit_bit_for_bit(study, method, rep):
    found = api.replay(study, cell=0, rep=rep, estimator=method)
    assert found.identical
    assert len(found.table) > 0
    assert ("ZeroDivisionError" in found.error) == (found.facts.loc["status", "stored"] == "EXCEPTION")


def test_replay_notices_a_difference(study, monkeypatch):
    def shifted(fit):
        fit = slim(fit)
        fit.estimate[:, 0] = np.nextafter(fit.estimate[:, 0], 9.0)
        return fit

    from simstudy.runner import block as fit

    monkeypatch.setattr(fit, "_READY", {})
    monkeypatch.setattr(fit, "slim", shifted)
    assert not api.replay(study, cell=0, rep=0, estimator="fake").identical


def test_replay_says_what_there_is(study):
    with pytest.raises(StoreError, match=r"unknown 'fak' \(did you mean 'fake'\?\)"):
        api.replay(study, 0, 0, "fak")
    with pytest.raises(StoreError, match="cell: found 7; allowed: 0 to 1"):
        api.replay(study, 7, 0, "fake")
    with pytest.raises(StoreError, match=r"no fit of fake to replicate 40 of cell 0 .*0 to 39"):
        api.replay(study, 0, 40, "fake")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_simulate_writes_the_data_that_methods_get(tmp_path, suffix):
    design = parse_design(design_text("Fake"))
    path = tmp_path / f"data.{suffix}"
    data = api.simulate(design, cell=1, rep=3, out=path)
    again = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
    pd.testing.assert_frame_equal(again, data, check_exact=True)
    mine = from_frame(again, "cluster", design.model.level1).statistics()
    drawn = draw_statistics(design.cells[1].population, design.seed, [3])
    np.testing.assert_allclose(mine.scatter_within, drawn.scatter_within, rtol=1e-12)  # rows agree up to rounding
    np.testing.assert_allclose(mine.size_means, drawn.size_means, atol=1e-14)


def test_simulate_refuses_what_is_not_there(tmp_path):
    design = parse_design(design_text("Fake"))
    with pytest.raises(SimstudyError, match="cell: found 2; allowed: 0 to 1"):
        api.simulate(design, 2, 0)
    with pytest.raises(SimstudyError, match="rep: found -1"):
        api.simulate(design, 0, -1)
    with pytest.raises(SimstudyError, match=r"found 'data\.sav'; allowed"):
        api.simulate(design, 0, 0, tmp_path / "data.sav")


def test_shards_are_a_partition_and_merge_to_the_whole(study, tmp_path):
    design = parse_design(design_text(*METHODS))
    roots = [tmp_path / f"shard{i}" for i in (1, 2, 3)]
    for i, root in enumerate(roots, 1):
        api.run_study(design, root, jobs=1, block_size=16, shard=f"{i}/3", progress=False)
    names = [set(snapshot(root / "fits")) for root in roots]
    assert set.union(*names) == set(snapshot(study / "fits"))
    assert sum(map(len, names)) == len(set.union(*names))
    assert min(map(len, names)) > 0
    joint = api.merge(roots, tmp_path / "joint", progress=False)
    assert joint.complete
    api.analyse(tmp_path / "joint")
    assert tables(tmp_path / "joint") == tables(study)
    assert api.merge(roots, tmp_path / "joint", progress=False).complete


def test_merge_leaves_out_damaged_parts_and_takes_overlaps_once(study, tmp_path, capsys):
    design = parse_design(design_text(*METHODS))
    other = tmp_path / "other"
    api.run(design, other, jobs=1, block_size=25, progress=False)
    damaged = sorted((other / "replicates").glob("*.parquet"))[0]
    damaged.write_bytes(damaged.read_bytes()[::-1])
    api.merge([other, study], tmp_path / "joint")
    assert f"part {damaged.name} is damaged" in capsys.readouterr().err
    api.analyse(tmp_path / "joint")
    assert tables(tmp_path / "joint") == tables(study)


def test_merge_refuses_folders_of_different_studies(study, tmp_path):
    api.run(parse_design(design_text("Fake", seed=3)), tmp_path / "other", jobs=1, progress=False)
    changed = design_text("Fake", options={"fake": "shift = 2.0"})
    api.run(parse_design(changed), tmp_path / "options", jobs=1, progress=False)
    with pytest.raises(StoreError) as caught:
        api.merge([study, tmp_path / "other", tmp_path / "options"], tmp_path / "joint")
    assert ["another design" in p or "options of fake" in p for p in caught.value.problems] == [True, True]
    assert not (tmp_path / "joint").exists()


@pytest.mark.parametrize("text", ["3/2", "0/2", "2", "a/b", "1/2/3"])
def test_a_shard_is_i_of_k(text):
    with pytest.raises(SimstudyError, match="allowed: i/k"):
        Shard.parse(text)


def test_tasks_stand_on_a_grid_and_never_overlap():
    design = parse_design(design_text("Fake", "Second", reps=50))
    rng = np.random.default_rng(1)
    there = {(f"{c.index:05d}-{c.key}", e.name): rng.random(50) < 0.5 for c in design.cells for e in design.estimators}
    tasks = missing_tasks(design, there, 20)
    found = {key: np.zeros(50, int) for key in there}
    for task in tasks:
        assert task.first // 20 == (task.stop - 1) // 20
        for entry in task.entries:
            found[f"{task.cell.index:05d}-{task.cell.key}", entry.name][task.first : task.stop] += 1
    assert all((found[key] == ~there[key]).all() for key in there)


def test_status_of_an_unfinished_study(study, tmp_path):
    design = parse_design(design_text(*METHODS))
    api.run_study(design, tmp_path / "half", jobs=1, block_size=20, shard="1/2", progress=False)
    status = api.status(tmp_path / "half")
    assert not status.complete
    assert (status.progress["done"] + status.progress["missing"] == 40).all()
    assert status.progress["done"].sum() == len(METHODS) * 40
    assert api.status(study).complete
    with pytest.raises(StoreError, match="no such results folder"):
        api.status(tmp_path / "nowhere")


def test_the_manifest_says_where_results_come_from(study):
    contents = scan(study, parse_design(design_text(*METHODS)).digest)
    assert len(contents.parts) == 6
    cells = pd.read_parquet(study / "cells.parquet")
    assert cells["n_clusters"].tolist() == [20, 30]
    truth = pd.read_parquet(study / "truth.parquet")
    assert truth.loc[truth["param"] == "contextual", "truth"].to_numpy() == pytest.approx(0.5)  # 0.7 - 0.2 in floats


def test_figures_are_written_with_their_data(study):
    written = api.plot(study).save(study / "figures")
    assert {path.name for path in written} == {
        f"{kind}_contextual.{suffix}" for kind in ("bias", "coverage") for suffix in ("pdf", "png", "csv")
    }
    assert all(path.stat().st_size > 0 for path in written)


def test_plain_progress_lines_are_few():
    stream = io.StringIO()
    lines = Lines(stream)
    for done in range(1, 1001):
        lines.update(State(done, 1000.0, done // 100, 10, 3, done / 500))
    assert stream.getvalue().count("\n") == 1
    assert "1,000/1,000 replicates, 10/10 cells, 500 replicates/s, failed fits: 3, done in 0:02" in stream.getvalue()


def test_clock():
    assert [clock(x) for x in (0.4, 61.0, 3723.0, float("inf"))] == ["0:00", "1:01", "1:02:03", "?"]
