"""What methods bring of their own, from results to tables: intervals, random numbers, diagnostics; time limits."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from run_fakes import design_text, tables

import simstudy
from simstudy import api
from simstudy.design import parse_design
from simstudy.errors import DesignError, EstimatorError, SimstudyError
from simstudy.runner.tables import iterate_cells, read_folder


def study(folder, *methods, **settings):
    """Run a design in a folder of its own."""
    run = {name: settings.pop(name) for name in ("jobs", "block_size", "timeout", "shard") if name in settings}
    path = folder.parent / f"{folder.name}.toml"
    path.write_text(design_text(*methods, **settings))
    return api.run_study(path, folder, progress=False, **{"jobs": 1, **run})


def values(found, estimator, kind, parameter, measure):
    rows = found.performance
    rows = rows[(rows["basis"] == "casewise") & (rows["estimator"] == estimator) & (rows["se_kind"] == kind)]
    return rows[(rows["parameter"] == parameter) & (rows["measure"] == measure)]["value"].to_numpy()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return study(tmp_path_factory.mktemp("own") / "out", "Fake", "OwnIntervals")


def test_own_intervals_reach_the_table(own):
    """Under a kind of SE they replace Wald intervals; of another name they are a kind of their own."""
    width = values(own, "ownintervals", "expected", "bw", "ci_width")
    np.testing.assert_allclose(width, 200.0, rtol=1e-12)  # a mean of 200s, rounded
    assert (values(own, "ownintervals", "expected", "bw", "coverage") == 1.0).all()
    assert (values(own, "ownintervals", "expected", "bw", "rejection") == 0.0).all()
    np.testing.assert_allclose(values(own, "ownintervals", "profile", "bw", "ci_width"), 4.0, rtol=1e-12)
    assert np.isnan(values(own, "ownintervals", "profile", "bw", "model_se")).all()
    assert (values(own, "ownintervals", "robust", "bw", "ci_width") < 2.0).all()  # Wald: SEs are some .14


def test_defined_parameters_have_wald_limits_where_the_method_gives_none(own):
    """Limits (R, q): := parameters are Wald under a kind of SE, and have none under another name."""
    assert (values(own, "ownintervals", "expected", "contextual", "ci_width") < 2.0).all()
    assert np.isnan(values(own, "ownintervals", "profile", "contextual", "ci_width")).all()


def test_parts_hold_the_limits(own):
    folder = read_folder(own.folder)
    rows = next(iterate_cells(folder, [])).replicates
    rows = rows[(rows["estimator"] == "ownintervals") & (rows["param"] == "bw") & rows["estimate"].notna()]
    expected, profile = (rows[rows["se_kind"] == kind] for kind in ("expected", "profile"))
    assert np.array_equal(expected["lower"], expected["estimate"] - 100.0)
    assert np.array_equal(profile["upper"], profile["estimate"] + 3.0)
    assert profile["se"].isna().all()


def test_exported(own, tmp_path):
    table = api.export_siman(own.folder, tmp_path / "siman.csv").read_text()
    assert "ownintervals profile" in table
    import pandas as pd

    rows = pd.read_csv(tmp_path / "siman.csv")
    rows = rows[(rows["method"] == "ownintervals") & (rows["target"] == "bw")].dropna(subset="estimate")
    np.testing.assert_allclose(rows["uci"] - rows["lci"], 200.0, rtol=1e-12)  # read back from text


def test_replayed(own):
    """Also a replicate that failed, whose part has rows for every kind."""
    for replicate in range(3):
        assert api.replay(own.folder, 0, replicate, "ownintervals").identical


def test_diagnostics_are_tabulated(own):
    rows = own.fit_measures[own.fit_measures["measure"] == "rhat"]
    assert (rows["estimator"] == "ownintervals").all()
    assert sorted(rows["cell"]) == [0, 1]
    # the mean of 1 + |z| is 1 + sqrt(2 / pi); bound: 4 of its own Monte Carlo SEs
    assert (abs(rows["mean"] - 1.0 - np.sqrt(2.0 / np.pi)) < 4 * rows["mean_mcse"]).all()
    text = str(api.further_tables(own)) if hasattr(api, "further_tables") else ""
    assert own.manifest.diagnostics["rhat"]["label"] == "R-hat"
    assert not text or "R-hat" in text


def test_random_numbers_do_not_depend_on_blocks_or_shards(own, tmp_path):
    """Same bytes from other blocks, and from shards that are joined."""
    blocks = study(tmp_path / "blocks", "Fake", "OwnIntervals", block_size=7)
    assert tables(blocks.folder) == tables(own.folder)
    shards = [
        study(tmp_path / f"shard{k}", "Fake", "OwnIntervals", block_size=16, shard=f"{k}/2").folder for k in (1, 2)
    ]
    api.merge(shards, tmp_path / "joined", progress=False)
    api.analyse(tmp_path / "joined")
    assert tables(tmp_path / "joined") == tables(own.folder)


@pytest.mark.slow
def test_random_numbers_do_not_depend_on_jobs(own, tmp_path):
    two = study(tmp_path / "two", "Fake", "OwnIntervals", jobs=2, block_size=10)
    assert tables(two.folder) == tables(own.folder)


# ---------------------------------------------------------------------- one data set


@pytest.fixture(scope="module")
def data(own):
    return api.simulate(own.folder.parent / "out.toml", 0, 0)


MODEL = "level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x\ncontextual := bb - bw"


def one(data, **choices):
    return simstudy.fit(MODEL, data, cluster="cluster", estimator="run_fakes:OwnIntervals", **choices)


def test_fit_shows_own_intervals_and_uses_the_seed(data):
    first, again, other = one(data), one(data), one(data, seed=2)
    table = first.parameters.set_index("label")
    assert table.loc["bw", "ci_upper"] - table.loc["bw", "ci_lower"] == pytest.approx(200.0)
    assert table.loc["contextual", "ci_upper"] - table.loc["contextual", "ci_lower"] < 2.0
    assert any("itself" in note for note in first.notes)
    assert np.array_equal(first.params, again.params)
    assert not np.array_equal(first.params, other.params)
    profile = one(data, ci="profile").parameters.set_index("label")
    assert profile.loc["bw", "ci_upper"] - profile.loc["bw", "est"] == pytest.approx(3.0)
    assert np.isnan(profile.loc["contextual", "ci_upper"])
    assert first.measures["rhat"] > 1.0


def test_fit_refuses_other_kinds_and_levels(data):
    with pytest.raises(EstimatorError, match=r"profil.*did you mean 'profile'"):
        one(data, ci="profil")
    with pytest.raises(EstimatorError, match="profile"):
        simstudy.fit(MODEL, data, cluster="cluster", ci="profile")
    found = one(data, ci_level=0.9)
    assert found.status.name == "EXCEPTION"
    assert any("level" in note for note in found.notes)


def test_fit_survives_a_method_that_ends_the_interpreter(data, monkeypatch):
    from run_fakes import Fake

    monkeypatch.setattr(Fake, "before", lambda self, first: sys.exit(0))
    found = simstudy.fit(MODEL, data, cluster="cluster", estimator="run_fakes:Fake")
    assert found.status.name == "EXCEPTION"
    assert any("SystemExit" in note for note in found.notes)


def test_bias_survives_it_too(own, monkeypatch):
    from run_fakes import Fake

    monkeypatch.setattr(Fake, "before", lambda self, first: sys.exit(0))
    found = api.bias(own.folder.parent / "out.toml").to_frame()
    notes = found.loc[found["estimator"] == "fake", "note"]
    assert len(notes)
    assert notes.str.contains("SystemExit").all()


# ---------------------------------------------------------------------- time limits


@pytest.mark.slow
def test_over_the_limit_is_a_status_and_the_study_goes_on(tmp_path):
    """With a longer limit the block is run again; without any replicate over the limit, nothing differs."""
    found = study(tmp_path / "limited", "Fake", "Stuck", reps=12, clusters=(20,), timeout=0.02, jobs=1)
    counts = found.failures.set_index("estimator")
    assert counts.loc["stuck", "TIMEOUT"] > 0
    assert (
        counts.loc["fake", "converged"]
        == study(tmp_path / "free", "Fake", reps=12, clusters=(20,))
        .failures.set_index("estimator")
        .loc["fake", "converged"]
    )
    problems = api.status(found.folder).problems
    assert set(problems["status"]) == {"TIMEOUT"}
    assert problems["count"].sum() == counts.loc["stuck", "TIMEOUT"]


@pytest.mark.slow
def test_compiled_code_that_does_not_react_is_ended_with_its_worker(tmp_path):
    options = {"stuck": "compiled = true"}
    found = study(
        tmp_path / "out", "Fake", "Stuck", reps=12, clusters=(20,), timeout=0.05, jobs=2, block_size=6, options=options
    )
    counts = found.failures.set_index("estimator")
    plain = study(tmp_path / "plain", "Fake", reps=12, clusters=(20,)).failures.set_index("estimator")
    assert counts.loc["fake", "converged"] == plain.loc["fake", "converged"]
    assert counts.loc["stuck", "TIMEOUT"] > 0
    assert counts.loc["stuck", "converged"] + counts.loc["stuck", "TIMEOUT"] <= 12
    assert counts.loc["stuck", "EXCEPTION"] == 0


def test_limits_are_checked(tmp_path):
    text = design_text("Fake")
    assert parse_design(f"{text}\n[run]\ntimeout = 2.5\n").timeout == 2.5
    assert parse_design(f"{text}\n[run]\ntimeout = 2.5\n").digest == parse_design(text).digest
    with pytest.raises(DesignError, match=r"timeout.*more than 0"):
        parse_design(f"{text}\n[run]\ntimeout = 0.0\n")
    with pytest.raises(DesignError, match="did you mean 'timeout'"):
        parse_design(f"{text}\n[run]\ntimout = 1.0\n")
    (tmp_path / "d.toml").write_text(text)
    with pytest.raises(SimstudyError, match="timeout"):
        api.run(tmp_path / "d.toml", tmp_path / "out", timeout=-1.0, progress=False)
