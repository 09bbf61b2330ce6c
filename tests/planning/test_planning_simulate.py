"""Blocks of replicates: the bits of `fit_block`, whatever the stack, the block, or what was there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planning_cases import CERTAIN, request, simulator

from simstudy.performance import MEASURES as RECORDS
from simstudy.performance.blocks import with_limits
from simstudy.planning.criterion import MEASURES, Criterion
from simstudy.planning.simulate import Outcome, SampleSize
from simstudy.planning.uncertain import Draws
from simstudy.runner.block import StudyContext, fit_block
from simstudy.runner.fit_cells import fit_cells

NAMES = ("estimate", "lower", "upper", "converged", "truth")


def same(one: Outcome, other: Outcome) -> bool:
    return all(np.array_equal(getattr(one, n), getattr(other, n), equal_nan=n != "converged") for n in NAMES)


def cells_and_study(ci="wald", method="msem", se=None):
    found = request(uncertain=["icc", "b_b"], ci=ci, method=method, se=se).scenario
    cells = [found.cell(40, None, {"icc": icc, "b_b": 0.4}) for icc in (0.15, 0.2, 0.3)]
    return found, cells, StudyContext(Path(), "test", found.seed, found.model, found.intervals)


@pytest.mark.parametrize(("ci", "method", "se"), [("montecarlo", "msem", "robust"), ("wald", "two_step", None)])
def test_stacked_populations_have_the_bits_of_single_ones(ci, method, se):
    found, cells, study = cells_and_study(ci, method, se)
    fits, error = fit_cells(study, cells, found.entry, range(3, 8))
    assert error == ""
    for fit, cell in zip(fits, cells, strict=True):
        own = replace(study, design=f"alone {ci} {method} {cell.key}")
        (alone,), _, _ = fit_block(own, cell, (found.entry,), range(3, 8))
        assert np.array_equal(fit.estimate, alone.fit.estimate, equal_nan=True)
        for kind in fit.se:
            assert np.array_equal(fit.se[kind], alone.fit.se[kind], equal_nan=True)
        for kind in fit.intervals:
            for a, b in zip(fit.intervals[kind], alone.fit.intervals[kind], strict=True):
                assert np.array_equal(a, b, equal_nan=True)


def test_a_method_that_stops_falls_back_to_single_populations(monkeypatch):
    found, cells, study = cells_and_study()
    whole = fit_cells(study, cells, found.entry, range(4))[0]

    def only_a_few(fit):
        def own(prepared, data):
            if data.n_replicates > 4:
                raise MemoryError("too many data sets")
            return fit(prepared, data)

        return own

    prepared = type(found.entry.estimator.prepare(found.model, cells[0].population.layout))
    monkeypatch.setattr(prepared, "fit", only_a_few(prepared.fit))
    alone, error = fit_cells(replace(study, design="again"), cells, found.entry, range(4))
    assert error == ""
    assert all(np.array_equal(a.estimate, b.estimate) for a, b in zip(whole, alone, strict=True))


def test_bits_do_not_depend_on_blocks_or_order(tmp_path):
    found = request(settings={"cluster_size": "5"})
    whole = simulator(found).run(SampleSize(30), 0, 1200)
    pieces = simulator(found, tmp_path)
    parts = [pieces.run(SampleSize(30), a, b) for a, b in ((700, 1200), (0, 700))]
    assert same(whole, Outcome.join([parts[1], parts[0]]))
    assert same(whole, simulator(found, jobs=2).run(SampleSize(30), 0, 1200))


def test_what_is_there_is_read_and_what_is_damaged_is_run_again(tmp_path, monkeypatch):
    found = request(settings={"cluster_size": "5"})
    first = simulator(found, tmp_path)
    whole = first.run(SampleSize(30), 0, 1500)
    assert first.replicates == 1500
    second = simulator(found, tmp_path)
    assert same(whole, second.run(SampleSize(30), 0, 1500))
    assert second.replicates == 0
    path = sorted((tmp_path / "evaluations").iterdir())[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    third = simulator(found, tmp_path)
    assert same(whole, third.run(SampleSize(30), 0, 1500))
    assert third.replicates == 1000


def test_uncertain_populations_have_replicates_of_their_own(tmp_path):
    found = request(uncertain=["b_b"])
    draws = Draws(tuple({"b_b": 0.3 + 0.01 * k} for k in range(7)), 7, {})
    whole = simulator(found, tmp_path, draws).run(SampleSize(30), 0, 20)
    assert len(whole.estimate) == 140
    assert len(np.unique(whole.truth)) == 7
    parts = [simulator(found, None, draws).run(SampleSize(30), a, b) for a, b in ((0, 5), (5, 20))]
    by_draw = [np.concatenate([p.estimate.reshape(7, -1)[k] for p in parts]) for k in range(7)]
    assert np.array_equal(whole.estimate.reshape(7, 20), np.array(by_draw))


@pytest.mark.parametrize("name", list(MEASURES))
def test_measures_are_those_of_the_performance_table(name):
    """One population: the same numbers as those of performance tables, for what it measures."""
    found = simulator(request(parameter="b_b")).run(SampleSize(25), 0, 300)
    measured = found.measure(Criterion(MEASURES[name], 0.5))
    value, mcse, n = (x[0] for x in (measured.value, measured.mcse, measured.n))
    if name == "convergence":
        assert (value, n) == (found.converged.mean(), 300)
        return
    arrays = [x[:, None] for x in (found.estimate, found.estimate * np.nan, found.lower, found.upper)]
    row = RECORDS[MEASURES[name].row].of(with_limits(*arrays, found.truth[:1], 0.95))
    assert value == pytest.approx(row.value[0], rel=1e-9, abs=1e-12)  # sums in another order
    assert mcse == pytest.approx(row.mcse[0], rel=1e-9)
    assert n == row.n[0]


def test_a_scenario_that_was_resized_is_the_one_made_anew():
    one = request(uncertain=["icc"]).scenario
    cells = [one.cell(j, None, {"icc": 0.17}) for j in (30, 60)]
    for cell, j in zip(cells, (30, 60), strict=True):
        fresh = request(uncertain=["icc"]).scenario.cell(j, None, {"icc": 0.17})
        assert (cell.key, cell.population.values) == (fresh.key, fresh.population.values)
        assert cell.population.layout == fresh.population.layout


def test_certain_is_one_draw():
    assert simulator(request()).replicates_for(1000) == 1000
    assert simulator(request(), draws=Draws(({},) * 7, 7, {})).replicates_for(1000) == 143
    assert CERTAIN.left_out == 0
