"""Errors in a method are its failures, replicate by replicate, whatever the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from run_fakes import design_text

from simstudy import api
from simstudy.design import parse_design
from simstudy.estimation.result import Status
from simstudy.population.draw import draw_statistics
from simstudy.runner import block as fit
from simstudy.runner.block import StudyContext, fit_block
from simstudy.runner.rows import MEASURES, fit_table, replicate_table


def block(design, tmp_path, replicates=range(30)):
    study = StudyContext(tmp_path, design.digest, design.seed, design.model, design.intervals)
    return fit_block(study, design.cells[0], design.estimators, replicates)


def test_an_exception_costs_the_replicates_that_cause_it(tmp_path):
    design = parse_design(design_text("Raises"))
    fits, failures, _ = block(design, tmp_path)
    first = draw_statistics(design.cells[0].population, design.seed, range(30)).size_means[:, 0, 0]
    raised = fits[0].fit.status == Status.EXCEPTION
    assert raised.tolist() == (first < -0.1).tolist()
    assert 0 < raised.sum() < 30
    (failure,) = failures
    assert failure.error == "ZeroDivisionError: a negative number"
    assert "run_fakes.py" in failure.traceback
    assert (failure.replicate, failure.count) == (int(np.flatnonzero(raised)[0]), int(raised.sum()))


@pytest.mark.parametrize("working_set", [1, 20_000, 10**9])
def test_fits_do_not_depend_on_the_batch(tmp_path, monkeypatch, working_set):
    design = parse_design(design_text("Fake", "Raises", "Clusters", "mlm_centered"))
    whole, failures, _ = block(design, tmp_path)
    monkeypatch.setattr(fit, "WORKING_SET", working_set)
    again, failures_again, _ = block(design, tmp_path)
    for one, other in zip(whole, again, strict=True):
        for name in ("estimate", "status", "admissible", "n_iter", "loglik"):
            np.testing.assert_array_equal(getattr(one.fit, name), getattr(other.fit, name), strict=True)
        for kind in one.fit.se:
            np.testing.assert_array_equal(one.fit.se[kind], other.fit.se[kind])
        np.testing.assert_array_equal(one.fit.intervals["montecarlo"], other.fit.intervals["montecarlo"])
    assert [(f.replicate, f.count) for f in failures] == [(f.replicate, f.count) for f in failures_again]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("Misshapen", "ValueError: the result's estimate has the shape"),
        ("RaisesWhenPrepared", "KeyError: 'nothing there'"),
    ],
)
def test_a_broken_method_fails_everywhere_and_says_why(tmp_path, method, message):
    fits, failures, _ = block(parse_design(design_text(method, "Fake")), tmp_path)
    assert (fits[0].fit.status == Status.EXCEPTION).all()
    assert (fits[1].fit.status != Status.EXCEPTION).all()
    (failure,) = failures
    assert failure.error.startswith(message)
    assert failure.count == 30


def test_not_supported_is_a_status_with_a_reason_and_all_its_rows(tmp_path):
    design = parse_design(design_text("Unsupported"))
    fits, failures, reasons = block(design, tmp_path)
    assert (fits[0].fit.status == Status.NOT_SUPPORTED).all()
    assert failures == []
    assert reasons == {"unsupported": "it supports nothing"}
    rows = replicate_table(0, range(30), fits, design.model.estimands.defined_names).to_pandas()
    assert len(rows) == 30 * (2 * len(design.model.reported) + 1)  # two kinds of SE, and the Monte Carlo interval
    assert rows[["estimate", "se", "lower", "upper"]].isna().all(axis=None)


def test_rows_follow_the_schema(tmp_path):
    design = parse_design(design_text("Fake"))
    fits, _, _ = block(design, tmp_path, range(5, 8))
    rows = replicate_table(1, range(5, 8), fits, design.model.estimands.defined_names)
    assert {field.name: str(field.type) for field in rows.schema} == {
        "cell": "int32",
        "rep": "int32",
        **dict.fromkeys(("estimator", "se_kind", "param"), "dictionary<values=string, indices=int8, ordered=0>"),
        **dict.fromkeys(("estimate", "se", "lower", "upper"), "double"),
    }
    frame = rows.to_pandas()
    assert set(frame["rep"]) == {5, 6, 7}
    assert set(frame["cell"]) == {1}
    wald, carlo = (frame[(frame["se_kind"] == "montecarlo") == flag] for flag in (False, True))
    assert rows["lower"].null_count == len(wald)
    assert set(carlo["param"]) == {"contextual"}
    assert (carlo["lower"] < carlo["upper"]).all()
    assert carlo["se"].isna().all()
    one = wald[(wald["rep"] == 6) & (wald["se_kind"] == "robust")].set_index("param")
    np.testing.assert_array_equal(one["estimate"][list(design.model.names)], fits[0].fit.estimate[1, :-1])
    np.testing.assert_array_equal(one["se"][list(design.model.reported)], fits[0].fit.se["robust"][1])
    facts = fit_table(1, range(5, 8), fits)
    named = ["cell", "rep", "estimator", "status", "admissible", "n_iter", "loglik", "seconds"]
    assert facts.column_names == [*named, *MEASURES]
    assert facts["chisq"].null_count == facts.num_rows  # this method has no fit measures
    assert facts["status"].to_pylist() == [Status(s).name for s in fits[0].fit.status.tolist()]
    assert (facts["seconds"].to_numpy() > 0).all()


def test_exceptions_and_reasons_are_visible_afterwards(tmp_path):
    root = tmp_path / "study"
    design = parse_design(design_text("Raises", "Unsupported", "Fake"))
    api.run(design, root, jobs=1, block_size=15, progress=False)
    status = api.status(root)
    assert status.complete
    problems = status.problems.set_index(["cell", "estimator"])
    assert problems.loc[(0, "raises"), "message"] == "ZeroDivisionError: a negative number"
    assert problems.loc[(1, "unsupported"), ["status", "count", "message"]].tolist() == [
        "NOT_SUPPORTED",
        40,
        "it supports nothing",
    ]
    counts = status.progress.set_index(["cell", "estimator"])
    assert counts.loc[(0, "raises"), "EXCEPTION"] == problems.loc[(0, "raises"), "count"]
    assert counts.loc[(0, "fake"), "OK"] + counts.loc[(0, "fake"), "MAX_ITER"] == 40
    assert (counts["done"] == 40).all()


def test_a_batch_is_smaller_where_there_is_more_of_a_data_set():
    design = parse_design(design_text("Fake", clusters=(20, 2000)))
    study = StudyContext(Path(), design.digest, design.seed, design.model, design.intervals)
    sizes = [fit.batch_size(study, cell, (needs,)) for cell in design.cells for needs in ("statistics", "sample")]
    assert sizes[0] > sizes[1] > sizes[2] > sizes[3] >= 1
