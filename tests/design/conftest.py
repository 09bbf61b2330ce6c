"""The method ``fake`` is known in the tests of this folder, and only there."""

from __future__ import annotations

import sys
import types

import pytest
from design_fakes import Fake

from simstudy.methods import registry


@pytest.fixture(autouse=True)
def _fake_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._REGISTRY, "fake", Fake)
    module = types.ModuleType("fake_methods")
    module.Fake = Fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_methods", module)
