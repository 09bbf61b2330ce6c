"""`run --until`: replicates go where they are needed, and the bits do not depend on how the run went."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from run_fakes import Fake, design_text, snapshot, tables

from simstudy import api
from simstudy.design import parse_design
from simstudy.errors import SimstudyError, StoreError
from simstudy.runner.manifest import read_manifest
from simstudy.runner.parts import read_part

METHODS = ("Fake", "mlm")
TARGETS = {"until": "bias=.02,coverage=.05", "reps": 40, "max_reps": 1000}


def run(text, root, **options):
    return api.run_study(parse_design(text), root, **{"jobs": 1, "progress": True, **options})


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    root = tmp_path_factory.mktemp("until") / "study"
    return run(design_text(*METHODS, clusters=(20, 60)), root, **TARGETS)


def test_cells_stop_when_their_own_targets_are_met(clean):
    numbers = clean.manifest.cell_replications
    assert numbers[0] > numbers[1] >= 40  # three times the clusters: a third of the variance
    rows = clean.performance[clean.performance["basis"] == "casewise"]
    assert all(rows.loc[rows["cell"] == cell, "n_attempted"].eq(n).all() for cell, n in numbers.items())
    asked = rows[rows["parameter"].isin(["bw", "bb", "contextual"])]
    for cell in numbers:
        here = asked[asked["cell"] == cell]
        assert here.loc[here["measure"] == "bias", "mcse"].max() <= 0.02
        assert here.loc[here["measure"] == "coverage", "mcse"].max() <= 0.05
    assert clean.until["met"].all()
    assert pd.read_csv(clean.folder / "until.csv")["replicates"].tolist() == clean.until["replicates"].tolist()


@pytest.mark.parametrize(
    "options", [{"block_size": 7}, pytest.param({"jobs": 2, "block_size": 64}, marks=pytest.mark.slow)]
)
def test_bits_do_not_depend_on_jobs_or_blocks(tmp_path, clean, options):
    found = run(design_text(*METHODS, clusters=(20, 60)), tmp_path / "study", **TARGETS, **options)
    assert found.manifest.cell_replications == clean.manifest.cell_replications
    assert tables(found.folder) == tables(clean.folder)


@pytest.mark.slow
def test_bits_do_not_depend_on_what_was_there(tmp_path, clean):
    text, root = design_text(*METHODS, clusters=(20, 60)), tmp_path / "study"
    run(text, root, reps=77, block_size=10)
    for path in sorted((root / "fits").iterdir())[::3]:
        path.unlink()  # an interruption
    run(text, root, **TARGETS)
    assert tables(root) == tables(clean.folder)
    before = snapshot(root / "fits")
    run(text, root, **TARGETS)
    assert snapshot(root / "fits") == before  # nothing is run twice
    assert tables(root) == tables(clean.folder)


@pytest.mark.slow
def test_a_damaged_part_is_run_again_before_the_decision(tmp_path, clean, capsys):
    text, root = design_text(*METHODS, clusters=(20, 60)), tmp_path / "study"
    run(text, root, **TARGETS, block_size=20)
    path = sorted((root / "replicates").iterdir())[3]
    content = bytearray(path.read_bytes())
    content[300] ^= 16
    path.write_bytes(content)
    capsys.readouterr()
    run(text, root, **TARGETS)
    assert f"part {path.name} is damaged" in capsys.readouterr().err
    assert tables(root) == tables(clean.folder)


def test_a_plain_run_goes_on_with_the_designs_number(tmp_path, clean):
    text, root, fresh = design_text(*METHODS, clusters=(20, 60), reps=60), tmp_path / "study", tmp_path / "fresh"
    run(text, root, **TARGETS)
    run(text, root)
    run(text, fresh)
    assert tables(root) == tables(fresh)
    assert read_manifest(root).cell_replications == {}


def test_status_and_replay_of_unequal_cells(clean):
    status = api.status(clean.folder)
    assert status.complete
    assert status.until["targets"] == {"bias": 0.02, "coverage": 0.05}
    numbers = clean.manifest.cell_replications
    assert status.progress.groupby("cell")["done"].first().to_dict() == numbers
    last = max(numbers.values()) - 1
    assert api.replay(clean.folder, 0, last, "mlm").identical
    with pytest.raises(StoreError, match=rf"asked for: 0 to {numbers[1] - 1}"):
        api.replay(clean.folder, 1, last, "mlm")


def test_shards_share_the_cells_and_merge_to_the_whole(tmp_path, clean):
    text = design_text(*METHODS, clusters=(20, 60))
    roots = [tmp_path / f"shard{i}" for i in (1, 2)]
    for i, root in enumerate(roots, 1):
        found = run(text, root, **TARGETS, shard=f"{i}/2")
        assert set(found.until["cell"]) == {i - 1}
    assert {read_part(roots[0], p.name).cell[:5] for p in (roots[0] / "fits").iterdir()} == {"00000"}
    assert api.merge(roots, tmp_path / "joint", progress=False).complete
    api.analyse(tmp_path / "joint")
    assert tables(tmp_path / "joint") == tables(clean.folder)
    assert read_manifest(tmp_path / "joint").until == clean.manifest.until


def test_what_cannot_be_reached_ends_at_the_maximum_and_says_so(tmp_path):
    text = design_text("Fake", "Hopeless", "Unsupported")
    found = run(text, tmp_path / "study", until="bias=1e-6", reps=20, max_reps=50)
    assert set(found.manifest.cell_replications.values()) == {50}
    assert not found.until["met"].any()
    assert set(found.until["note"]) == {"no replicate of hopeless converged"}
    fine = run(text, tmp_path / "fine", until="bias=1", reps=20, max_reps=50, until_methods=["fake", "unsupported"])
    assert set(fine.manifest.cell_replications.values()) == {20}  # what is not supported is not waited for
    assert fine.until["met"].all()


def test_parameters_and_methods_that_count(tmp_path, clean):
    text = design_text(*METHODS, clusters=(20, 60))
    found = run(text, tmp_path / "study", **TARGETS, until_parameters=["bw"], until_methods=["mlm"])
    assert set(found.until["parameter"]) == {"bw"}
    assert found.manifest.cell_replications[0] < clean.manifest.cell_replications[0]
    assert json.loads((found.folder / "manifest.json").read_text())["until"]["parameters"] == ["bw"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_reps": 50}, "belong to --until"),
        ({"until": "bias=.1", "max_reps": 1}, "max-reps: found 1"),
        ({"until": "bias=.1", "reps": 60, "max_reps": 50}, "reps: found 60"),
        ({"until": "bias=.1", "until_methods": ["mlmm"]}, "did you mean 'mlm'"),
        ({"until": "bias=.1", "until_parameters": ["bww"]}, "until-parameters: the study has no parameter 'bww'"),
    ],
)
def test_wrong_requests_touch_nothing(tmp_path, options, message):
    with pytest.raises(SimstudyError, match=message):
        run(design_text("Fake", "mlm"), tmp_path / "study", **options)
    assert not (tmp_path / "study").exists()


@dataclass(frozen=True)
class Cauchy(Fake):
    """Has no moments: the Monte Carlo SE of its mean does not settle down."""

    name: ClassVar[str] = "cauchy"

    def prepare(self, model, layout):
        inner = Fake.prepare(self, model, layout)

        class Prepared:
            def fit(self, data):
                fit = inner.fit(data)
                wild = np.tan(np.pi * (np.modf(np.abs(fit.estimate) * 1e4)[0] - 0.5))
                return type(fit)(**{**vars(fit), "estimate": wild})

        return Prepared()


def test_heavy_tails_end_at_the_maximum(tmp_path, monkeypatch):
    monkeypatch.setattr("run_fakes.Cauchy", Cauchy, raising=False)
    text = design_text("Cauchy", clusters=(20,))
    found = run(text, tmp_path / "study", until="bias=.05", reps=50, max_reps=300)
    assert set(found.manifest.cell_replications.values()) == {300}
    assert not found.until["met"].any()
