"""Registries of records: entry points of installed packages, names that are taken, and putting back."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from simstudy.errors import SimstudyError
from simstudy.performance.registry import Registry


@dataclass(frozen=True)
class Thing:
    """A record."""

    name: str
    home: str = "here"
    size: int = 0


def test_a_package_that_names_its_module_is_loaded_on_first_use_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    things: Registry[Thing] = Registry("thing", "simstudy.things")
    loaded = []

    def load() -> None:
        loaded.append(1)
        things.add(Thing("theirs", "there"))

    def entry_points(group: str) -> list[SimpleNamespace]:
        assert group == "simstudy.things"
        return [SimpleNamespace(name="good", load=load), SimpleNamespace(name="bad", load=lambda: 1 / 0)]

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    things.add(Thing("ours"))
    with pytest.warns(UserWarning, match="thing 'bad' of an installed package cannot be loaded: division by zero"):
        assert list(things) == ["ours", "theirs"]
    assert things["theirs"].home == "there"
    assert len(loaded) == 1


def test_a_name_is_taken_by_another_module_and_replaced_by_its_own() -> None:
    things: Registry[Thing] = Registry("thing", "simstudy.nothing")
    things.add(Thing("one"))
    things.add(Thing("one", size=2))  # the module was run again
    assert things["one"].size == 2
    with pytest.raises(SimstudyError, match="thing 'one': here has one of this name"):
        things.add(Thing("one", "elsewhere"))
    with things.restored():
        things.add(Thing("two"))
    assert list(things) == ["one"]
