"""Finding methods by name, import path or entry point, and options that are checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest

import simstudy.methods
from simstudy.errors import EstimatorError
from simstudy.methods import protocol, registry
from simstudy.methods.msem import Msem
from simstudy.methods.protocol import Estimator

BUILT_IN = (
    "disaggregated",
    "disaggregated_robust",
    "aggregated",
    "mlm",
    "mlm_rescaled",
    "mlm_centered",
    "mlm_contextual",
    "two_step",
    "slopes_as_outcomes",
    "croon",
    "schmidt",
    "haernqvist",
    "goldstein",
    "raudenbush_measurement",
    "muml",
    "multigroup",
    "em",
    "fiml_wide",
    "msem",
)


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Give the registry back as it was."""
    before = dict(registry._REGISTRY)
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)


def refused(name: str, options: dict[str, object] | None = None) -> str:
    with pytest.raises(EstimatorError) as caught:
        registry.create(name, options)
    return "\n".join(caught.value.problems)


def test_built_in_methods_are_there_in_teaching_order() -> None:
    assert registry.names()[: len(BUILT_IN)] == BUILT_IN
    for name in BUILT_IN:
        found = registry.create(name)
        assert isinstance(found, Estimator)
        assert found.name == name
        assert type(found) is registry.find(name)
        assert type(found).__name__ in simstudy.methods.__all__
        for part in (found.title, found.reference, found.can, found.cannot):
            assert part.strip() == part
            assert len(part) > 10
        assert set(found.levels) <= {"within", "between"}
        assert found.needs in ("statistics", "clusters", "sample")
        assert found.se_kinds


def test_methods_are_values() -> None:
    assert registry.create("mlm", {"likelihood": "ml"}) == registry.create("mlm", {"likelihood": "ml"})
    assert registry.create("mlm", {"likelihood": "ml"}) != registry.create("mlm")
    assert hash(registry.create("msem", {"se": ["robust"]})) == hash(registry.create("msem", {"se": ["robust"]}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        registry.create("mlm").likelihood = "ml"


def test_options_reach_the_method() -> None:
    found = registry.create("msem", {"se": ["observed", "robust"]})
    assert found.se_kinds == ("observed", "robust")
    assert found.needs == "clusters"
    assert registry.create("msem").needs == "statistics"
    assert registry.create("disaggregated", {"se": ["expected"]}).needs == "statistics"
    two_step = registry.create("two_step", {"means": "eb", "centering": "cluster", "likelihood": "ml"})
    assert dataclasses.asdict(two_step) == {"likelihood": "ml", "centering": "cluster", "means": "eb"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mlsem", "unknown method 'mlsem' (did you mean 'msem'?)"),
        ("mlm_centred", "(did you mean 'mlm_centered'?)"),
        (
            "nothing like it",
            "unknown method 'nothing like it'; known: disaggregated, disaggregated_robust, aggregated, mlm",
        ),
    ],
)
def test_unknown_methods(name, message) -> None:
    assert message in refused(name)


@pytest.mark.parametrize(
    ("name", "options", "messages"),
    [
        ("mlm", {"likelihod": "ml"}, ["method 'mlm': unknown option 'likelihod' (did you mean 'likelihood'?)"]),
        ("mlm", {"likelihod": "ml", "q": 1}, ["unknown option 'likelihod'", "unknown option 'q'; allowed: likelihood"]),
        ("mlm", {"likelihood": "mml"}, ["method 'mlm': option 'likelihood'", "'reml' or 'ml'", "(found 'mml')"]),
        ("msem", {"se": ["naive"]}, ["option 'se.0'", "'expected', 'observed' or 'robust'", "(found 'naive')"]),
        ("msem", {"se": "robust"}, ["option 'se'", "(found 'robust')"]),
        ("msem", {"se": 3}, ["option 'se'", "(found 3)"]),
        ("two_step", {"means": "EB", "centering": 1}, ["option 'means'", "option 'centering'"]),
        ("mlm", {"name": "other"}, ["unknown option 'name'"]),
        ("disaggregated_robust", {"se": ["robust"]}, ["unknown option 'se'; allowed: none"]),
        ("croon", {"se": ["observed"]}, ["option 'se.0'", "'expected', 'robust' or 'corrected'", "(found 'observed')"]),
    ],
)
def test_wrong_options(name, options, messages) -> None:
    found = refused(name, options)
    for message in messages:
        assert message in found


@pytest.mark.parametrize("name", ["msem", "disaggregated", "aggregated"])
def test_no_kind_of_se_is_refused(name) -> None:
    with pytest.raises(EstimatorError):
        registry.create(name, {"se": []})


@dataclass(frozen=True)
class Plugin:
    """A method outside the package."""

    name: ClassVar[str] = "plugin"
    title: ClassVar[str] = "a plug-in"
    reference: ClassVar[str] = "nobody (2009)"
    levels: ClassVar[tuple[str, ...]] = ("between",)
    can: ClassVar[str] = "nothing"
    cannot: ClassVar[str] = "anything"

    shape: Literal["round", "square"] = "round"
    needs: ClassVar[str] = "statistics"
    se_kinds: ClassVar[tuple[str, ...]] = ("expected",)

    def supports(self, model, layout) -> str | None:
        return "it is only a test"

    def prepare(self, model, layout):
        raise NotImplementedError


NOT_A_CLASS = 3


def test_import_path() -> None:
    found = registry.create(f"{__name__}:Plugin", {"shape": "square"})
    assert found == Plugin("square")
    assert registry.create("simstudy.methods.msem:Msem") == Msem()
    assert "plugin" not in registry.names()  # found, not registered


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.at.all:Method", "method 'nowhere.at.all:Method' cannot be imported"),
        (f"{__name__}:Missing", "cannot be imported"),
        (f"{__name__}:NOT_A_CLASS", "is not a method: it lacks name, title"),
        ("simstudy.errors:ModelError", "is not a method: it lacks"),
    ],
)
def test_import_paths_that_lead_nowhere(path, message) -> None:
    assert message in refused(path)


def test_registering() -> None:
    assert registry.register(Plugin) is Plugin
    assert registry.names()[-1] == "plugin"
    assert registry.create("plugin").shape == "round"
    registry.register(Plugin)  # the same class again, as when a module is reloaded
    assert "unknown option 'size' (did you mean" not in refused("plugin", {"size": 1})

    @dataclass(frozen=True)
    class Thief(Plugin):
        name: ClassVar[str] = "msem"

    with pytest.raises(EstimatorError, match="'msem' is registered twice"):
        registry.register(Thief)
    assert registry.find("msem") is Msem


def test_classes_that_are_no_methods_cannot_be_registered() -> None:
    class Half:
        name = "half"

    with pytest.raises(EstimatorError, match=r"Half is not a method: it lacks title, .*prepare"):
        registry.register(Half)
    plain = type("Plain", (), {part: getattr(Plugin, part) for part in protocol.REQUIRED})
    with pytest.raises(EstimatorError, match="Plain is not a dataclass"):
        registry.register(plain)


def test_entry_points(monkeypatch) -> None:
    class Point:
        name = "pointed"

        def load(self) -> type[Plugin]:
            return Plugin

    monkeypatch.setattr(registry, "entry_points", lambda: (Point(),))
    assert registry.names()[-1] == "pointed"
    assert registry.find("pointed") is Plugin
