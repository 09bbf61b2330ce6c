"""What is there is kept, what is missing or damaged is run, and the tables are the bytes of one clean run."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from run_fakes import design_text, snapshot, tables

from simstudy import api
from simstudy.design import parse_design
from simstudy.errors import SimstudyError, StoreError
from simstudy.runner.parts import read_part
from simstudy.runner.store import locked

METHODS = ("Fake", "Second", "Raises", "mlm")


def run(text, root, **options):
    return api.run_study(parse_design(text), root, **{"jobs": 1, "progress": True, **options})


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Tables of one uninterrupted run."""
    root = tmp_path_factory.mktemp("clean") / "study"
    run(design_text(*METHODS), root)
    return tables(root)


def parts(root, kind="fits"):
    return sorted((root / kind).glob("*.parquet"))


@pytest.mark.slow
@pytest.mark.parametrize(("jobs", "block_size"), [(1, 7), (1, 1000), (2, 16)])
def test_tables_do_not_depend_on_jobs_or_block_size(tmp_path, clean, jobs, block_size):
    run(design_text(*METHODS), tmp_path / "study", jobs=jobs, block_size=block_size)
    assert tables(tmp_path / "study") == clean


SIX = ("disaggregated", "aggregated", "mlm", "mlm_centered", "two_step", "msem")


def test_tables_of_the_real_methods_do_not_depend_on_blocks(tmp_path):
    text = design_text(*SIX, options={"msem": 'se = ["expected", "observed", "robust"]'}, reps=21)
    for block_size in (21, 4):
        run(text, tmp_path / str(block_size), block_size=block_size)
    assert tables(tmp_path / "21") == tables(tmp_path / "4")


@pytest.mark.slow
def test_the_same_blocks_give_the_same_part_files(tmp_path):
    roots = [tmp_path / name for name in "ab"]
    for root, jobs in zip(roots, (1, 2), strict=True):
        run(design_text(*METHODS), root, jobs=jobs, block_size=20)
    assert [p.name for p in parts(roots[0])] == [p.name for p in parts(roots[1])]
    for one, other in zip(parts(roots[0], "replicates"), parts(roots[1], "replicates"), strict=True):
        assert one.read_bytes() == other.read_bytes()
    for one, other in zip(parts(roots[0]), parts(roots[1]), strict=True):
        tables_of = [pq.read_table(path).to_pandas().drop(columns="seconds") for path in (one, other)]
        pd.testing.assert_frame_equal(*tables_of, check_exact=True)


def test_resume_runs_only_what_is_missing(tmp_path, clean):
    root = tmp_path / "study"
    run(design_text(*METHODS), root, block_size=10)
    gone = parts(root)[1::3]
    for path in gone:
        path.unlink()
    before = snapshot(root / "fits")
    run(design_text(*METHODS), root, jobs=1)
    after = snapshot(root / "fits")
    assert {name for name in after if name not in before} == {path.name for path in gone}
    assert all(after[name] == before[name] for name in before)
    assert tables(root) == clean


def test_nothing_is_run_when_nothing_is_missing(tmp_path, monkeypatch):
    root = tmp_path / "study"
    run(design_text("Fake"), root)
    monkeypatch.setattr("simstudy.runner.backends.local.run_task", None)
    run(design_text("Fake"), root)


def test_a_truncated_part_is_named_and_run_again(tmp_path, clean, capsys):
    root = tmp_path / "study"
    run(design_text(*METHODS), root, block_size=10)
    damaged = [parts(root)[0], parts(root, "replicates")[3]]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreError) as caught:
        api.analyse(root)
    assert len(caught.value.problems) == 2
    capsys.readouterr()
    run(design_text(*METHODS), root)
    message = capsys.readouterr().err
    for path in damaged:
        assert f"part {path.name} is damaged" in message
        assert (root / "damaged" / "fits" / path.name).exists()
    assert tables(root) == clean


@pytest.mark.parametrize("kind", ["fits", "replicates"])
def test_flipped_bits_are_found_and_run_again(tmp_path, clean, capsys, kind):
    root = tmp_path / "study"
    run(design_text(*METHODS), root, block_size=10)
    path = parts(root, kind)[2]
    content = bytearray(path.read_bytes())
    content[300] ^= 16
    path.write_bytes(content)
    capsys.readouterr()
    run(design_text(*METHODS), root)
    assert f"part {path.name} is damaged" in capsys.readouterr().err
    assert tables(root) == clean


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fits", "replicates"])
def test_no_flipped_bit_goes_unnoticed(tmp_path, kind):
    root = tmp_path / "study"
    run(design_text("Fake"), root)
    path = parts(root, kind)[0]
    good = path.read_bytes()
    for position in np.random.default_rng(1).integers(0, len(good), 25):
        bad = bytearray(good)
        bad[position] ^= 1
        path.write_bytes(bad)
        with pytest.raises(StoreError, match="is damaged"):
            api.analyse(root)


def test_more_replications_run_only_the_new_ones(tmp_path):
    root, fresh = tmp_path / "study", tmp_path / "fresh"
    run(design_text(*METHODS, reps=25), root, block_size=10)
    before = snapshot(root / "fits")
    run(design_text(*METHODS, reps=60), root)
    assert all(snapshot(root / "fits")[name] == before[name] for name in before)
    numbers = sorted((part.first, part.stop) for part in (read_part(root, p.name) for p in parts(root)))
    assert numbers == sorted(2 * [(0, 10), (10, 20), (20, 25), (25, 30), (30, 40), (40, 50), (50, 60)])
    run(design_text(*METHODS, reps=60), fresh)
    assert tables(root) == tables(fresh)
    assert json.loads((root / "manifest.json").read_text())["design_text"] == design_text(*METHODS, reps=60)


def test_fewer_replications_use_the_first_ones(tmp_path):
    root, fresh = tmp_path / "study", tmp_path / "fresh"
    run(design_text(*METHODS, reps=40), root, block_size=16)
    run(design_text(*METHODS, reps=40), root, reps=25)
    run(design_text(*METHODS, reps=25), fresh)
    assert tables(root) == tables(fresh)


def test_one_more_method_runs_only_that_one(tmp_path, clean):
    root = tmp_path / "study"
    run(design_text(*METHODS[:2]), root, block_size=10)
    before = snapshot(root / "fits")
    run(design_text(*METHODS), root, block_size=40)
    after = snapshot(root / "fits")
    assert all(after[name] == before[name] for name in before)
    new = [read_part(root, name) for name in after if name not in before]
    assert {tuple(part.methods) for part in new} == {("raises", "mlm")}
    assert tables(root) == clean


def test_a_method_that_needs_more_of_the_data_does_not_change_the_others(tmp_path):
    root, fresh = tmp_path / "study", tmp_path / "fresh"
    run(design_text("Fake"), root)
    run(design_text("Fake", "Clusters", "Rows"), root)
    run(design_text("Fake", "Clusters", "Rows"), fresh)
    assert tables(root) == tables(fresh)


def test_fewer_methods_leave_the_others_out_of_the_tables(tmp_path):
    root, fresh = tmp_path / "study", tmp_path / "fresh"
    run(design_text(*METHODS), root)
    found = run(design_text("Second"), root)
    assert set(found.performance["estimator"]) == {"second"}
    run(design_text("Second"), fresh)
    assert tables(root) == tables(fresh)


def test_a_changed_option_does_not_pass_for_results_that_are_there(tmp_path, capsys):
    root, fresh = tmp_path / "study", tmp_path / "fresh"
    changed = design_text("Fake", "Second", options={"fake": "shift = 0.5"})
    run(design_text("Fake", "Second"), root)
    before = snapshot(root / "fits")
    capsys.readouterr()
    run(changed, root)
    assert "options of fake have changed" in capsys.readouterr().err
    new = [read_part(root, name) for name in snapshot(root / "fits") if name not in before]
    assert {tuple(part.methods) for part in new} == {("fake",)}
    run(changed, fresh)
    assert tables(root) == tables(fresh)


@pytest.mark.parametrize("other", [design_text("Fake", seed=2), design_text("Fake", clusters=(20, 40))])
def test_the_folder_of_another_design_is_refused_untouched(tmp_path, other):
    root = tmp_path / "study"
    run(design_text("Fake"), root)
    before = snapshot(root)
    with pytest.raises(StoreError, match=r"another design, 'tiny' \(digest .*--out, or delete"):
        run(other, root)
    assert snapshot(root) == before


def test_a_folder_with_other_files_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.docx").write_text("chapter 1")
    with pytest.raises(StoreError, match="holds other files and no results"):
        run(design_text("Fake"), tmp_path)
    with pytest.raises(StoreError, match="this is a file"):
        run(design_text("Fake"), tmp_path / "thesis.docx")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_a_part_of_another_design_is_put_aside(tmp_path, capsys):
    roots = [tmp_path / name for name in "ab"]
    run(design_text("Fake"), roots[0])
    run(design_text("Fake", seed=2), roots[1])
    for kind in ("fits", "replicates"):
        source = parts(roots[1], kind)[0]
        (roots[0] / kind / source.name).write_bytes(source.read_bytes())
    before = tables(roots[0])
    capsys.readouterr()
    run(design_text("Fake"), roots[0])
    assert "belongs to another design" in capsys.readouterr().err
    assert tables(roots[0]) == before


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    root = tmp_path / "study"
    run(design_text("Fake"), root)
    orphan = root / "replicates" / "00000-0123456789abcdef_0000500-0000599_01234567.parquet"
    for path in (root / "fits" / ".x.parquet.123.tmp", root / ".performance.csv.9.tmp", orphan):
        path.write_bytes(b"half a file")
    run(design_text("Fake"), root)
    assert not [path for path in root.rglob("*") if path.name.endswith(".tmp") or path == orphan]


def test_a_second_run_in_the_folder_is_refused(tmp_path):
    root = tmp_path / "study"
    with locked(root), pytest.raises(StoreError, match="another simstudy process"):
        run(design_text("Fake"), root)


def test_a_damaged_manifest_is_a_clear_message(tmp_path):
    root = tmp_path / "study"
    run(design_text("Fake"), root)
    (root / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match=r"manifest\.json: it cannot be read"):
        run(design_text("Fake"), root)


@pytest.mark.parametrize(
    ("options", "message"), [({"jobs": 0}, "jobs"), ({"reps": 0}, "reps"), ({"block_size": 0}, "block_size")]
)
def test_impossible_numbers_are_refused(tmp_path, options, message):
    with pytest.raises(SimstudyError, match=f"{message}: found 0"):
        run(design_text("Fake"), tmp_path / "study", **options)
    assert not (tmp_path / "study").exists()
