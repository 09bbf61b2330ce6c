"""Methods written to break the contract in one way each: `check_estimator` says so, and a study goes on around them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from simstudy.design import parse_design
from simstudy.design.design import EstimatorEntry
from simstudy.estimation.result import FitResult, Status
from simstudy.methods.checks import judge_data
from simstudy.methods.protocol import Diagnostic, Estimator
from simstudy.runner.block import StudyContext, fit_block
from simstudy.runner.limit import NO_LIMIT, Limit
from simstudy.testing import check_estimator

DESIGN = """
[study]
name = "edges"
replications = 8
seed = 5
[model]
syntax = '''
level: within
  y ~ bw*x
level: between
  y ~ bb*x
contextual := bb - bw
'''
[population]
bw = 0.2
bb = 0.7
variance = 1.0
icc = 0.3
n_clusters = 30
cluster_size = 5
[estimators]
use = ["two_step"]
"""


@dataclass(frozen=True)
class Plain(Estimator):
    """Some smooth functions of the data; it fits the contextual model and keeps the contract."""

    name: ClassVar[str] = "plain"
    title: ClassVar[str] = "functions of the data"
    reference: ClassVar[str] = "nobody"
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    can: ClassVar[str] = "be computed"
    cannot: ClassVar[str] = "estimate"
    needs: ClassVar[str] = "statistics"
    se_kinds: ClassVar[tuple[str, ...]] = ("expected",)
    interval_kinds: ClassVar[tuple[str, ...]] = ("profile",)
    diagnostics: ClassVar[tuple[Diagnostic, ...]] = (Diagnostic("rhat", "R-hat", better="low"),)

    def supports(self, model, layout):
        return None if model.reported[-1] == "contextual" and not model.slopes else "another model"

    def prepare(self, model, layout):
        return Prepared(self, model)

    def result(self, data, model):
        first = np.log(data.scatter_within[:, 0, 0])[:, None]
        n, q = len(first), len(model.names)
        estimate = first * np.arange(1.0, q + 1.0)
        covariance = np.broadcast_to(np.eye(q) * 0.01, (n, q, q)) * (1.0 + first[:, :, None] ** 2)
        return judge_data(
            FitResult(
                labels=model.names,
                estimate=estimate,
                covariance={"expected": covariance},
                status=np.zeros(n, dtype=np.int64),
                admissible=np.ones(n, dtype=bool),
                n_iter=np.full(n, 3),
                loglik=-first[:, 0],
                intervals={"expected": (estimate - 100.0, estimate + 100.0), "profile": (estimate - 1.0, estimate)},
                measures={"rhat": 1.0 + first[:, 0] ** 2},
            ),
            data,
            within=True,
        )

    def spoil(self, result, data):
        return result

    def fit(self, model, data):
        return self.spoil(self.result(data, model), data)


@dataclass(frozen=True)
class Prepared:
    method: Plain
    model: object

    def fit(self, data, *streams):
        with np.errstate(all="ignore"):
            return self.method.fit(self.model, data, *streams)


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no words for it")


def raising(error):
    def spoil(self, result, data):
        raise error()

    return spoil


def changing(**fields):
    """Fields of the result, each a function of the result."""
    return lambda self, result, data: replace(result, **{name: make(result) for name, make in fields.items()})


def write_to_input(self, result, data):
    data.scatter_within[:] *= 2.0
    return result


# name -> (what the method does to its result, what the contract says of it, its status in a study)
FAULTS = {
    "object array": (changing(estimate=lambda r: r.estimate.astype(object)), "type object", Status.EXCEPTION),
    "complex array": (changing(estimate=lambda r: r.estimate + 0j), "type complex128", Status.EXCEPTION),
    "single precision": (changing(estimate=lambda r: r.estimate.astype(np.float32)), "float32", Status.EXCEPTION),
    "list": (changing(estimate=lambda r: r.estimate.tolist()), "type list", Status.EXCEPTION),
    "status as float": (changing(status=lambda r: r.status * 1.0), "type float64", Status.EXCEPTION),
    "unknown status": (changing(status=lambda r: r.status * 0 + 99), "status 99", Status.EXCEPTION),
    "wrong shape": (changing(n_iter=lambda r: r.n_iter[:-1]), "shape", Status.EXCEPTION),
    "wrong labels": (changing(labels=lambda r: r.labels[::-1]), "parameters", Status.EXCEPTION),
    "wrong kinds": (changing(covariance=lambda r: {"robust": r.covariance["expected"]}), "kinds", Status.EXCEPTION),
    "nothing": (lambda self, result, data: None, "returned nothing", Status.EXCEPTION),
    "no message": (raising(UnprintableError), "UnprintableError", Status.EXCEPTION),
    "exit": (raising(lambda: SystemExit(0)), "SystemExit", Status.EXCEPTION),
    "own interrupt": (raising(KeyboardInterrupt), "KeyboardInterrupt", Status.EXCEPTION),
    "generator exit": (raising(GeneratorExit), "GeneratorExit", Status.EXCEPTION),
    "cancelled": (raising(asyncio.CancelledError), "CancelledError", Status.EXCEPTION),
    "recursion": (lambda self, result, data: self.spoil(result, data), "RecursionError", Status.EXCEPTION),
    "memory": (raising(MemoryError), "MemoryError", Status.EXCEPTION),
    "in place": (write_to_input, "read-only", Status.EXCEPTION),
    "no estimate": (
        changing(estimate=lambda r: r.estimate * np.nan, se=lambda r: {"expected": r.estimate * np.nan}),
        "without any estimate",
        Status.NONFINITE,
    ),
    "infinite estimate": (
        changing(estimate=lambda r: r.estimate * np.inf), "infinite estimate", Status.NONFINITE,
    ),
    "infinite SE": (
        changing(se=lambda r: {"expected": r.estimate**2 * np.inf}), "infinite SE", Status.NONFINITE,
    ),
    "negative SE": (changing(se=lambda r: {"expected": -r.se["expected"]}), "negative SE", Status.NONFINITE),
    "infinite likelihood": (
        changing(loglik=lambda r: np.where(r.converged, np.inf, np.nan)), "infinite log-likelihood", Status.NONFINITE,
    ),
    "limits crossed": (
        changing(intervals=lambda r: {"profile": (r.estimate + 1.0, r.estimate)}), "above the upper", Status.NONFINITE,
    ),
    "limits missing": (
        changing(intervals=lambda r: {"expected": (r.estimate * np.nan, r.estimate)}), "no limits", Status.NONFINITE,
    ),
    "limits unknown": (
        changing(intervals=lambda r: {"profil": (r.estimate, r.estimate)}), "intervals 'profil'", Status.EXCEPTION,
    ),
    "limits of the program": (
        changing(intervals=lambda r: {"montecarlo": (r.estimate, r.estimate)}), "montecarlo", Status.EXCEPTION,
    ),
    "measure with a column's name": (
        changing(measures=lambda r: {"seconds": r.loglik}), "named 'seconds'", Status.EXCEPTION,
    ),
    "measure of words": (
        changing(measures=lambda r: {"rhat": np.array(["good"] * len(r.status))}), "measure 'rhat'", Status.EXCEPTION,
    ),
}  # fmt: skip


def faulty(name):
    return type("Faulty", (Plain,), {"name": "faulty", "spoil": FAULTS[name][0]})()


def in_a_study(*methods, limit=NO_LIMIT, reps=range(8)):
    """Fits of two_step and of methods beside it, and the failures."""
    design = parse_design(DESIGN)
    entries = [EstimatorEntry(method.name, f"test:{method.name}", method) for method in methods]
    label = "".join(str(id(method)) for method in methods)  # methods made ready are kept by the design's digest
    study = StudyContext(Path(), f"{design.digest} {label}", design.seed, design.model, design.intervals)
    fits, failures, _ = fit_block(study, design.cells[0], (*entries, *design.estimators), reps, limit)
    return {one.method: one.fit for one in fits}, failures


def same_bits(a, b):
    return np.array_equal(a.estimate, b.estimate, equal_nan=True) and np.array_equal(
        a.se["expected"], b.se["expected"], equal_nan=True
    )


def test_the_plain_one_keeps_the_contract():
    assert sum("fitted" in line for line in check_estimator(Plain())) == 2
    fits, failures = in_a_study(Plain())
    assert fits["plain"].converged.all()
    assert not failures


@pytest.mark.parametrize("name", FAULTS)
def test_contract_names_the_fault(name):
    with pytest.raises(AssertionError, match=FAULTS[name][1]):
        check_estimator(faulty(name))


@pytest.mark.parametrize("name", FAULTS)
def test_a_study_goes_on(name):
    """The fault has a status and a reason; the method beside it has the bits it has alone."""
    fits, failures = in_a_study(faulty(name))
    assert fits["faulty"].status.tolist() == [FAULTS[name][2]] * 8
    assert np.isnan(fits["faulty"].estimate).all()
    assert {(f.method, f.status) for f in failures} == {("faulty", FAULTS[name][2].name)}
    assert sum(f.count for f in failures) == 8
    assert FAULTS[name][1] in failures[0].error
    assert same_bits(fits["two_step"], in_a_study()[0]["two_step"])


class LeavesTraces(Plain):
    """Turns numpy's warnings into errors, for everybody who comes after it."""

    name: ClassVar[str] = "traces"

    def spoil(self, result, data):
        np.seterr(all="raise")
        return result


def test_settings_of_numpy_are_put_back():
    before = np.geterr()
    fits, _ = in_a_study(LeavesTraces())
    assert np.geterr() == before
    assert same_bits(fits["two_step"], in_a_study()[0]["two_step"])


# ---------------------------------------------------------------------- random numbers


class Draws(Plain):
    """Adds random numbers from its streams."""

    name: ClassVar[str] = "draws"
    needs_random: ClassVar[bool] = True

    def noise(self, streams):
        return np.array([streams.generator(r).standard_normal() for r in range(len(streams))])

    def fit(self, model, data, *streams):
        found = self.result(data, model)
        estimate = found.estimate + self.noise(*streams)[:, None]
        return replace(found, estimate=estimate, intervals={})


class OneStream(Draws):
    """One generator for all data sets of a batch."""

    def noise(self, streams):
        return streams.generator(0).standard_normal(len(streams))


class OwnNumbers(Draws):
    """Random numbers of its own, the same for every batch."""

    def noise(self, streams):
        return np.random.default_rng(1).standard_normal(len(streams))


class GlobalNumbers(Draws):
    def noise(self, streams):
        return np.random.standard_normal(len(streams))  # noqa: NPY002


class Seeds(Draws):
    """The same numbers for every data set, at the price of the global state."""

    def noise(self, streams):
        np.random.seed(1)  # noqa: NPY002
        return np.full(len(streams), np.random.standard_normal())  # noqa: NPY002


def test_streams_keep_the_contract():
    assert sum("fitted" in line for line in check_estimator(Draws())) == 2


@pytest.mark.parametrize(
    ("method", "said"),
    [(OneStream, "batch"), (OwnNumbers, "batch"), (GlobalNumbers, "global random"), (Seeds, "global random")],
)
def test_random_numbers_from_elsewhere(method, said):
    with pytest.raises(AssertionError, match=said):
        check_estimator(method())


def test_streams_do_not_depend_on_the_block_or_on_other_methods():
    whole = in_a_study(Draws())[0]["draws"].estimate
    assert len(np.unique(whole[:, 0])) == 8
    assert np.array_equal(in_a_study(Draws(), Plain())[0]["draws"].estimate, whole)
    parts = [in_a_study(Draws(), reps=reps)[0]["draws"].estimate for reps in (range(3), range(3, 4), range(4, 8))]
    assert np.array_equal(np.concatenate(parts), whole)


# ---------------------------------------------------------------------- declarations


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"interval_kinds": ("expected",)}, "interval_kinds"),
        ({"interval_kinds": ("wald",)}, "interval_kinds"),
        ({"se_kinds": ["expected"]}, "se_kinds"),
        ({"needs": "dreams"}, "dreams"),
        ({"diagnostics": (Diagnostic("status", "Status"),)}, "status"),
        ({"diagnostics": (Diagnostic("r hat", "R"),)}, "r hat"),
        ({"diagnostics": ()}, "rhat"),
    ],
)
def test_declarations(members, said):
    with pytest.raises(AssertionError, match=said):
        check_estimator(type("Other", (Plain,), members)())


# ---------------------------------------------------------------------- time


class Stuck(Plain):
    """Never ends where a number of the data is large, and catches what it can."""

    name: ClassVar[str] = "stuck"

    def spoil(self, result, data):
        while (data.size_means[:, 0, 0] > 0.05).any():
            try:
                time.sleep(0.01)
            except Exception:
                continue
        return result


class Swallows(Stuck):
    """Catches everything, and goes on as if nothing had been."""

    def spoil(self, result, data):
        try:
            return Stuck.spoil(self, result, data)
        except BaseException:
            return result


def test_contract_has_a_time_limit():
    with pytest.raises(AssertionError, match="takes more than"):
        check_estimator(Stuck(), seconds=0.02)


@pytest.mark.parametrize("method", [Stuck, Swallows])
def test_timed_out_replicates_stand_alone(method):
    """Those over the limit are TIMEOUT; all others have the bits of a run without a limit."""
    fits, failures = in_a_study(method(), limit=Limit(0.05))
    found, free = fits["stuck"], in_a_study(Plain())[0]["plain"]
    over = found.status == Status.TIMEOUT
    assert 0 < over.sum() < 8
    assert np.array_equal(found.estimate[~over], free.estimate[~over])
    assert np.isnan(found.estimate[over]).all()
    assert [(f.status, f.count) for f in failures] == [("TIMEOUT", over.sum())]
    assert same_bits(fits["two_step"], in_a_study()[0]["two_step"])


def test_batches_known_to_be_stuck_are_not_tried():
    """What a worker was ended for is taken apart without another try."""
    whole = in_a_study(Plain(), reps=range(2))[0]["plain"]
    limit = Limit(100.0, frozenset({("plain", 0, 2), ("plain", 1, 1)}))
    found = in_a_study(Plain(), limit=limit, reps=range(2))[0]["plain"]
    assert found.status.tolist() == [Status.OK, Status.TIMEOUT]
    assert np.array_equal(found.estimate[0], whole.estimate[0])


def test_users_interrupt_passes():
    """Ctrl-C is the user's, also where the method catches it."""

    class Interrupted(Swallows):
        name: ClassVar[str] = "interrupted"

        def spoil(self, result, data):
            try:
                signal_self()
                time.sleep(1.0)
            except BaseException:
                pass
            return result

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            in_a_study(Interrupted())
    finally:
        signal.signal(signal.SIGINT, before)


def signal_self():
    os.kill(os.getpid(), signal.SIGINT)
