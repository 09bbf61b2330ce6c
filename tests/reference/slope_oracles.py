"""Brute-force maxima of models with random slopes: ../shared/reference/slopes, one folder a case (see its README)."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pandas as pd
import pytest
from outside_cases import OUTSIDE

from simstudy.model.twolevel import TwoLevelModel

SLOPES = OUTSIDE.parent / "slopes"


@cache
def slope_case(name: str) -> tuple[str, pd.DataFrame, dict[str, Any]]:
    """Model text, rows and numbers of a case; without its folder the test is skipped, and says so."""
    folder = SLOPES / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: public data are not part of the repository")
    text, frame = (folder / "model.lav").read_text(), pd.read_csv(folder / "data.csv")
    return text, frame, json.loads((folder / "result.json").read_text())


def place(model: TwoLevelModel, path: str) -> int:
    """Index of a parameter; of a covariance in either order."""
    level, row = path.split(": ")
    lhs, op, rhs = row.split(" ")
    if rhs == "1":
        op, rhs = "~1", ""
    found = model.table.find(level, lhs, op, rhs) or model.table.find(level, rhs, op, lhs)
    assert found is not None
    return found.free
