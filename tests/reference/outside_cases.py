"""Public data sets that stay outside of the repository: ../shared/reference/outside, one folder a case."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

OUTSIDE = Path(__file__).parents[3] / "shared" / "reference" / "outside"


def folder(case: str) -> Path:
    """Folder of a case; without it the test is skipped, and says so."""
    found = OUTSIDE / case
    if not found.is_dir():
        pytest.skip(f"{found} is not there: public data are not part of the repository")
    return found


def model_text(case: str) -> str:
    """lavaan-style text of a case."""
    return (folder(case) / "model.lav").read_text()


@cache
def data(case: str) -> pd.DataFrame:
    """Rows of a case."""
    return pd.read_csv(folder(case) / "data.csv")


@cache
def expected(case: str) -> dict[str, Any]:
    """Numbers of other software."""
    found: dict[str, Any] = json.loads((folder(case) / "expected.json").read_text())
    return found
