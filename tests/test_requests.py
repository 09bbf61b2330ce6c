"""A Python call and its command have the same options: names, defaults, help."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import typer
import typer.main

import simstudy
from simstudy import api
from simstudy.analysis.fit import fit
from simstudy.api.figures import write_figures
from simstudy.cli import app
from simstudy.errors import SimstudyError
from simstudy.requests.effects import EffectsRequest
from simstudy.requests.figures import PlotRequest
from simstudy.requests.fit import FitRequest
from simstudy.requests.foreign import ForeignRequest
from simstudy.requests.option import Argument, Option, declared, problems_of
from simstudy.requests.plan import PlanRequest
from simstudy.requests.run import RunRequest
from simstudy.requests.theory import BiasRequest

CALLS = {
    "fit": (fit, FitRequest),
    "run": (api.run, RunRequest),
    "plan": (api.plan, PlanRequest),
    "bias": (api.bias, BiasRequest),
    "plot": (write_figures, PlotRequest),
    "factors": (api.factor_effects, EffectsRequest),
    "performance": (api.performance_of, ForeignRequest),
}
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", CALLS)
def test_the_signature_is_that_of_the_request(name: str) -> None:
    call, request = CALLS[name]
    expected = {one.name: one.default for one in declared(request)}
    found = inspect.signature(call).parameters
    assert {key: one.default for key, one in found.items()} == expected
    doc = inspect.getdoc(call)
    for one in declared(request):
        assert f"\n{one.name} : " in doc
        assert one.kind.help in doc


@pytest.mark.parametrize("name", CALLS)
def test_the_command_has_the_same_options(name: str) -> None:
    call, request = CALLS[name]
    found = {one.name: one for one in COMMANDS[name].params}
    python = inspect.signature(call).parameters
    for one in declared(request):
        if not isinstance(one.kind, Option):
            assert one.name not in found
            continue
        here = found[one.name]
        assert here.help == one.kind.help
        assert here.required == (python[one.name].default is inspect.Parameter.empty)
        if not here.required:
            assert here.default == (python[one.name].default or None) or here.default == python[one.name].default
        if not isinstance(one.kind, Argument):
            assert one.flag.split("/")[0] in here.opts


@pytest.mark.parametrize("name", CALLS)
def test_an_unknown_keyword_is_named_with_the_one_that_was_meant(name: str) -> None:
    call, request = CALLS[name]
    known = next(one.name for one in declared(request) if one.keyword_only or one.default is not one.kind)
    with pytest.raises(SimstudyError, match=rf"there is no option '{known}x' \(did you mean '{known}'\?\)"):
        call(**{f"{known}x": 1})


@pytest.mark.parametrize(
    ("placed", "options", "said"),
    [
        (("model", "data"), {}, ["fit: 'cluster' is missing"]),
        (("model",), {}, ["fit: 'data' is missing", "fit: 'cluster' is missing"]),
        (("model", "data", "school"), {}, ["fit takes 2 arguments by position, found 3; give cluster=...",
                                           "fit: 'cluster' is missing"]),
        (("model", "data", 1), {"cluster": "c"}, ["fit takes 2 arguments by position, found 3; give estimator=..."]),
        (("model", "data"), {"data": "", "cluster": "c"}, ["fit: 'data' is given twice, by its place and by its name"]),
    ],
)  # fmt: skip
def test_arguments_missing_or_too_many(placed: tuple[object, ...], options: dict[str, object], said: list[str]) -> None:
    with pytest.raises(SimstudyError) as caught:
        simstudy.fit(*placed, **options)
    assert list(caught.value.problems) == said


@pytest.mark.parametrize("name", CALLS)
def test_a_call_without_anything_names_what_it_needs(name: str) -> None:
    call, request = CALLS[name]
    needed = [one.name for one in declared(request) if one.default is inspect.Parameter.empty]
    with pytest.raises(SimstudyError) as caught:
        call()
    assert [problem.partition(": ")[2] for problem in caught.value.problems] == [
        f"'{one}' is missing" for one in needed
    ]


@pytest.mark.parametrize("rep", ["a", 1.5, -1, None])
def test_a_replicate_is_a_number(tmp_path: Path, rep: object) -> None:
    design = simstudy.init("contextual", tmp_path / "design.toml")
    with pytest.raises(SimstudyError, match="rep: found"):
        simstudy.simulate(design, 0, rep)


def test_single_values_are_checked_under_both_names() -> None:
    request = PlanRequest("design", "b", over="n_cluster", reps=5, low=3)
    first = "found 'n_cluster'; allowed: n_clusters, cluster_size (did you mean 'n_clusters'?)"
    assert problems_of(request) == [f"over: {first}", "reps: found 5; allowed: 100 or more"]
    assert problems_of(FitRequest("", "", cluster="c", ci_level=1.0), flags=True) == [
        "--ci-level: found 1; allowed: between 0 and 1"
    ]


def test_a_sentence_about_a_field_stands_before_the_other_sections() -> None:
    doc = inspect.getdoc(api.plan)
    assert doc.index("Parameters\n---") < doc.index("Returns\n---") < doc.index("Raises\n---")
