"""Every public name has an example in its docstring, and every example gives what it says."""

from __future__ import annotations

import doctest
import inspect
import io
import shutil
from pathlib import Path

import pytest

import simstudy
from simstudy import api
from simstudy.methods import registry

PUBLIC = [getattr(simstudy, name) for name in simstudy.__all__]
BEHIND = [getattr(found, "__wrapped__", None) for found in PUBLIC]
LESS_USED = [name for name in api.__all__ if getattr(api, name) not in [*PUBLIC, *BEHIND]]
HEAVY = ("Charts", "plot", "Study", "write_report")
CALLS = [
    pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ())
    for name in simstudy.__all__
    if name != "SimstudyError"
]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def examples(name: str, found: object) -> list[doctest.DocTest]:
    """Examples of a call, or of a class and its own methods."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for test in finder.find(found, name, module=False, globs={}) if test.examples]


def run(test: doctest.DocTest) -> str:
    """What differs from what the docstring says."""
    runner, said = doctest.DocTestRunner(optionflags=FLAGS), io.StringIO()
    runner.run(test, out=said.write)
    return said.getvalue()


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """The study that examples run, run once: examples then find it done, and are quick."""
    folder = tmp_path_factory.mktemp("examples")
    design = simstudy.init("contextual", folder / "contextual.toml")
    simstudy.run(design, folder / "results" / "contextual", reps=20, jobs=1, progress=False)
    return folder / "results"


@pytest.mark.parametrize("name", CALLS)
def test_the_examples_of_every_public_name_hold(name: str, tmp_path, monkeypatch, results) -> None:
    """In a folder of its own, with nothing but the package: what a reader would type."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(vars(registry)["_REGISTRY"]))  # an example registers a method
    tests = examples(name, getattr(simstudy, name))
    assert tests, f"simstudy.{name} has no example"
    for number, test in enumerate(tests):
        folder = tmp_path / str(number)
        shutil.copytree(results, folder / "results")
        monkeypatch.chdir(folder)
        assert run(test) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", LESS_USED)
def test_examples_of_less_used_calls_hold(name: str, tmp_path, monkeypatch, results) -> None:
    monkeypatch.chdir(tmp_path)
    tests = examples(name, getattr(api, name))
    if tests:
        shutil.copytree(results, tmp_path / "results")
    for test in tests:
        assert run(test) == ""


@pytest.mark.parametrize("name", simstudy.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(simstudy, name))
