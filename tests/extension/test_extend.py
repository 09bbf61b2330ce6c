"""`simstudy.extend`: one place to import from, quick to load."""

from __future__ import annotations

import doctest
import subprocess
import sys

import pytest

from simstudy import extend
from simstudy.performance import MEASURES


def test_every_name_is_there() -> None:
    for name in extend.__all__:
        assert getattr(extend, name).__name__ == name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = extend.no_such_name


def test_its_example_holds() -> None:
    with MEASURES.restored():
        done = doctest.testmod(extend)
    assert done.attempted > 0
    assert done.failed == 0


def test_a_method_is_written_without_loading_figures() -> None:
    code = "from simstudy.extend import register, FitResult, Status; import sys; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
