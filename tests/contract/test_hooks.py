"""Every question to a method may end in an exit, an error or nonsense: the study, the fit and the contract survive."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import simstudy
from simstudy.data.sample import Sample
from simstudy.errors import ConvergenceWarning
from simstudy.estimation.result import FitResult, Status, failed
from simstudy.methods.likelihood_of import LikelihoodOf
from simstudy.methods.one_level.disaggregated import Disaggregated
from simstudy.methods.wall import fit_walled
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import SAMPLE, DataKind, register_data_kind
from simstudy.population.streams import FitStreams
from simstudy.testing import check_estimator

SYNTAX = "level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x"
OWN = f"{__name__}:Own"
DESIGN = f"""
[study]
name = "hooks"
replications = 5
seed = 3
[model]
syntax = '''
{SYNTAX}
'''
[population]
bw = 0.2
bb = 0.7
variance = 1.0
icc = 0.2
n_clusters = 40
cluster_size = 8
[estimators]
use = ["{OWN}", "disaggregated"]
"""


@dataclass(frozen=True)
class Own(Disaggregated):
    """`disaggregated` under another name; tests break one of its answers."""

    name: ClassVar[str] = "own"
    same_as: ClassVar[str] = ""


def leave(*_: Any, **__: Any) -> Any:
    sys.exit(0)


def refuse(*_: Any, **__: Any) -> Any:
    raise ValueError("mine")


def answer(value: Any) -> Any:
    return lambda *_, **__: value


WAYS = {"exit": leave, "error": refuse}
ASKED_FIRST = [
    *((hook, way) for hook in ("for_model", "supports", "prepare") for way in WAYS.values()),
    ("for_model", answer(None)),
    ("supports", answer(True)),
    ("prepare", answer(3)),
]
SAID = [
    *((hook, way) for hook in ("caveats", "exact_numbers", "failure_notes") for way in WAYS.values()),
    ("caveats", answer(None)),
    ("caveats", answer("a text")),
    ("failure_notes", answer((1,))),
    *(("likelihood_of", way) for way in (leave, refuse, answer("joint"), answer(LikelihoodOf("dreams")))),  # type: ignore[arg-type]
    ("exact_numbers", answer(None)),
    ("exact_numbers", answer((1.0,))),
]


@pytest.mark.parametrize(("hook", "way"), [*ASKED_FIRST, *SAID])
def test_the_contract_names_the_hook(monkeypatch: pytest.MonkeyPatch, hook: str, way: Any) -> None:
    monkeypatch.setattr(Own, hook, way)
    with pytest.raises(AssertionError, match=rf"{hook}\(\)"):
        check_estimator(Own)


@pytest.mark.slow
def test_the_contract_names_a_slope_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Own, "random_slopes", True)
    for way in (leave, answer(None), answer("dreams")):
        monkeypatch.setattr(Own, "slope_meaning", way)
        with pytest.raises(AssertionError, match=r"slope_meaning\(\)"):
            check_estimator(Own)


@pytest.mark.slow
@pytest.mark.parametrize(("hook", "way"), ASKED_FIRST)
def test_a_study_and_a_theory_go_on(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, hook: str, way: Any) -> None:
    """The method is an EXCEPTION with its reason, `validate` names it, and its neighbour has numbers."""
    monkeypatch.setattr(Own, hook, way)
    design = simstudy.validate(DESIGN)
    if hook != "prepare":
        assert f"{OWN} cannot be used in all cells" in design.summary()
        assert "EXCEPTION" in design.summary()
    study = simstudy.run(design, out=tmp_path / "study", jobs=1, progress=False)
    assert simstudy.status(study.folder).problems["estimator"].unique().tolist() == [OWN]
    counts = study.failures().set_index("estimator")
    assert counts["converged"].to_dict() == {OWN: 0, "disaggregated": 5}
    theory = simstudy.bias(design).to_frame()
    known = theory[theory["value"].notna()]
    assert known["estimator"].unique().tolist() == ["disaggregated"]
    assert theory.loc[theory["estimator"] == OWN, "note"].str.contains("stopped").all()


WORDS = ("caveats", "likelihood_of")


@pytest.mark.parametrize(("hook", "way"), [*ASKED_FIRST, *((h, w) for h, w in SAID if h in WORDS)])
def test_a_fit_says_why(monkeypatch: pytest.MonkeyPatch, hook: str, way: Any) -> None:
    data = simstudy.simulate(DESIGN, 0, 0)
    monkeypatch.setattr(Own, hook, way)
    with pytest.warns() if hook not in WORDS else np.errstate():
        fit = simstudy.fit(SYNTAX, data, cluster="cluster", estimator=OWN)
    assert fit.status is (Status.OK if hook in WORDS else Status.EXCEPTION)
    assert any("stopped" in note for note in fit.notes)


def test_a_theory_without_exact_numbers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Own, "exact_numbers", leave)
    theory = simstudy.bias(DESIGN).to_frame()
    mine = theory[theory["estimator"] == OWN]
    assert mine["note"].str.contains("no exact numbers").any()
    assert mine["value"].notna().any()


@pytest.mark.parametrize(
    "said", [{"levels": None}, {"interval_level": property(leave)}, {"takes_missing": property(refuse)}]
)
def test_declarations_are_checked(monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]) -> None:
    for name, value in said.items():
        monkeypatch.setattr(Own, name, value)
    with pytest.raises(simstudy.SimstudyError, match="own"):
        simstudy.validate(DESIGN)
    with pytest.raises(AssertionError, match="own"):
        check_estimator(Own)


# ---------------------------------------------------------------------- kinds of data


@dataclass(frozen=True, slots=True)
class Slotted:
    rows: np.ndarray

    @property
    def n_replicates(self) -> int:
        return len(self.rows)

    def select(self, replicates: Any) -> Slotted:
        return Slotted(self.rows[replicates])


class Simple:
    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    @property
    def n_replicates(self) -> int:
        return len(self.rows)

    def select(self, replicates: Any) -> Simple:
        return Simple(self.rows[replicates])


class Hidden:
    """Its array is found by nobody."""

    __slots__ = ("rows",)

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    n_replicates = property(lambda self: len(self.rows))

    def select(self, replicates: Any) -> Hidden:
        return Hidden(self.rows[replicates])


def kind_of(name: str, make: Any, **more: Any) -> DataKind:
    return register_data_kind(
        DataKind(name, lambda *where: make(SAMPLE.draw(*where).rows), lambda sample: make(sample.rows), **more)
    )


def fail_at_3(population: Any, seed: int, replicates: Any) -> Sample:
    if 3 in replicates:
        sys.exit(0)
    return SAMPLE.draw(population, seed, replicates)


KINDS = {
    "hooks_slotted": kind_of("hooks_slotted", Slotted),
    "hooks_simple": kind_of("hooks_simple", Simple),
    "hooks_told": kind_of("hooks_told", Hidden, arrays=lambda data: [data.rows]),
}
kind_of("hooks_hidden", Hidden)
register_data_kind(DataKind("hooks_third", fail_at_3, lambda sample: sample))
register_data_kind(DataKind("hooks_exit", leave, leave))


@dataclass(frozen=True)
class Prepared:
    model: TwoLevelModel
    writes: bool

    def fit(self, data: Any) -> FitResult:
        if self.writes:
            data.rows[...] *= 2.0
        good = np.isfinite(data.rows).all(axis=(1, 2)) & data.rows.any(axis=(1, 2))
        q = len(self.model.names)
        found = failed(self.model.names, ("expected",), len(good), Status.OK)
        found.estimate[:] = np.where(good, data.rows[:, 0, 0], np.nan)[:, None] * np.ones(q)
        found.status[:] = np.where(good, int(Status.OK), int(Status.NONFINITE))
        return found


@dataclass(frozen=True)
class OwnKind(Disaggregated):
    name: ClassVar[str] = "own"
    same_as: ClassVar[str] = ""
    needs: ClassVar[str] = "hooks_simple"  # type: ignore[misc]
    se_kinds: ClassVar[tuple[str, ...]] = ("expected",)  # type: ignore[misc]
    writes: bool = False

    def prepare(self, model: Any, layout: Any) -> Any:
        return Prepared(model, self.writes)


@pytest.mark.parametrize("kind", KINDS)
def test_data_of_any_class_are_locked_and_checked(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(OwnKind, "needs", kind)
    assert any("fitted" in line for line in check_estimator(OwnKind))
    with pytest.raises(AssertionError, match="read-only"):
        check_estimator(OwnKind, writes=True)


@pytest.mark.parametrize(("kind", "said"), [("hooks_hidden", "arrays="), ("hooks_exit", "SystemExit")])
def test_bad_kinds_break_the_contract(monkeypatch: pytest.MonkeyPatch, kind: str, said: str) -> None:
    monkeypatch.setattr(OwnKind, "needs", kind)
    with pytest.raises(AssertionError, match=said):
        check_estimator(OwnKind)


def test_what_cannot_be_drawn_stands_alone(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One replicate, whatever the blocks are; the neighbour has all of them."""
    monkeypatch.setattr(OwnKind, "needs", "hooks_third")
    design = DESIGN.replace(OWN, f"{OWN}Kind")
    for size in (5, 2):
        study = simstudy.run(design, out=tmp_path / str(size), jobs=1, block_size=size, progress=False)
        counts = study.failures().set_index("estimator")
        assert counts["converged"].to_dict() == {f"{OWN}Kind": 4, "disaggregated": 5}
        assert counts.loc[f"{OWN}Kind", "EXCEPTION"] == 1


def test_a_fit_of_rows_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnKind, "needs", "hooks_exit")
    with pytest.warns(ConvergenceWarning, match="SystemExit"):
        fit = simstudy.fit(SYNTAX, simstudy.simulate(DESIGN, 0, 0), cluster="cluster", estimator=f"{OWN}Kind")
    assert fit.status is Status.EXCEPTION


def test_fits_lock_what_they_are_given() -> None:
    """Also data that no kind has drawn."""
    rows, model = np.ones((1, 2, 2)), TwoLevelModel.from_syntax(SYNTAX)
    streams = FitStreams.of(1, "own", "k", [0])
    fit_walled(OwnKind(), model, lambda data, _: Prepared(model, False).fit(data), Slotted(rows), streams)
    assert not rows.flags.writeable


def test_an_exit_of_a_plug_in_is_no_success() -> None:
    """The last net: nothing that a command calls may end it with a code of its own."""
    import typer
    from typer.testing import CliRunner

    from simstudy.cli import guarded

    app = typer.Typer()
    app.command()(guarded(lambda: sys.exit(0)))
    found = CliRunner().invoke(app, [])
    assert found.exit_code == 1
    assert "SystemExit" in found.output
