"""Tables as CSV: the bytes are those of pandas."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from simstudy.report.tables.as_csv import csv_text

TEXTS = ["plain", 'a "quoted" one', "comma, inside", "two\nlines", "", "ü", " space ", "carriage\rreturn"]
NUMBERS = [0.1, 1e-300, -1e22, 1e16, np.nan, np.inf, -np.inf, 3.0]
TABLES = {
    "all kinds": pd.DataFrame(
        {
            "text": pd.array(TEXTS, dtype="str"),
            "missing text": pd.array([*TEXTS[:-1], None], dtype="str"),
            "category": pd.Categorical([*TEXTS[:-1], None]),
            "object": [1, 2.5, "x,y", None, True, np.float64(0.1), np.nan, (1, 2)],
            "number": NUMBERS,
            "short": np.array(NUMBERS[:1] * 8, dtype=np.float32),
            "count": np.arange(8, dtype=np.int32),
            "maybe": pd.array([1, None] * 4, dtype="Int64"),
            "flag": [True, False] * 4,
            "head, quoted": 1,
        }
    ),
    "one column": pd.DataFrame({"x": [1.0, np.nan, 2.0]}),
    "one text": pd.DataFrame({"x": pd.array(["a", "", None, "b,c"], dtype="str")}),
    "no rows": pd.DataFrame({"x": pd.array([], dtype="str"), "y": np.zeros(0)}),
    "two of a name": pd.DataFrame([[1, "a"], [2, "b"]], columns=["x", "x"]),
}


@pytest.mark.parametrize("name", TABLES)
def test_bytes_are_those_of_pandas(name: str) -> None:
    table = TABLES[name]
    assert csv_text(table) == table.to_csv(index=False, lineterminator="\n")


def test_every_digit_comes_back() -> None:
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"x": rng.normal(size=1000) * 10.0 ** rng.integers(-200, 200, 1000)})
    back = pd.read_csv(io.StringIO(csv_text(table)))
    assert back["x"].tolist() == table["x"].tolist()
