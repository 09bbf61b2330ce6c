"""Parameter tables against lavaan's own (0.6-14, ``lavaanify``): what is free, fixed, equal, labelled and bounded.

``data/lavaan_grammar.txt`` holds the texts, ``data/lavaan_grammar.R`` made ``data/lavaan_grammar.tsv`` from them.
Automatic covariances are read by lavaan's rule here; that ours differ is tested in `test_lavaan_grammar`.
"""

from __future__ import annotations

import csv
import math
from functools import cache
from pathlib import Path

import pytest

from simstudy.model.parameters import Parameter, ParameterTable
from simstudy.model.twolevel import TwoLevelModel

DATA = Path(__file__).parent / "data"
Row = dict[str, str]


@cache
def texts() -> dict[str, str]:
    blocks = (DATA / "lavaan_grammar.txt").read_text(encoding="utf-8").split("%%% ")[1:]
    return dict(block.split("\n", 1) for block in blocks)


@cache
def tables() -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    with (DATA / "lavaan_grammar.tsv").open(encoding="utf-8") as file:
        assert next(file).startswith("# lavaan 0.6")
        for row in csv.DictReader(file, delimiter="\t"):
            found.setdefault(row["case"], []).append(row)
    return found


CASES = sorted(texts())


def number(text: str, missing: float) -> float:
    return missing if text in ("NA", "") else float(text)


def groups_of_lavaan(rows: list[Row]) -> dict[str, str]:
    """Every free parameter's plabel -> the first plabel that it equals."""
    parent = {row["plabel"]: row["plabel"] for row in rows if row["plabel"] and row["free"] != "0"}

    def root(name: str) -> str:
        return name if parent[name] == name else root(parent[name])

    for row in rows:
        if row["op"] == "==" and row["lhs"] in parent and row["rhs"] in parent:
            parent[root(row["rhs"])] = root(row["lhs"])
    return {name: root(name) for name in parent}


def ours(table: ParameterTable, row: Row) -> Parameter:
    level = {"1": "within", "2": "between"}[row["block"]]
    found = table.find(level, row["lhs"], row["op"], row["rhs"])
    assert found is not None, f"{level}: {row['lhs']} {row['op']} {row['rhs']} is not in our table"
    return found


def test_every_text_has_a_table() -> None:
    assert set(tables()) == set(CASES)
    assert len(CASES) >= 30


@pytest.mark.parametrize("case", CASES)
def test_tables_are_those_of_lavaan(case) -> None:
    table = TwoLevelModel.from_syntax(texts()[case], auto="lavaan").table
    rows = [row for row in tables()[case] if row["op"] in ("=~", "~", "~~", "~1")]
    groups = groups_of_lavaan(tables()[case])
    theirs: dict[str, set[str]] = {}
    mine: dict[int, set[str]] = {}
    for row in rows:
        found = ours(table, row)
        if row["free"] == "0":
            assert found.free == -1, found.path
            assert found.value == pytest.approx(float(row["ustart"]), abs=1e-7)  # printed with 7 digits
        else:
            assert found.free >= 0, found.path
            theirs.setdefault(groups[row["plabel"]], set()).add(found.path)
            mine.setdefault(found.free, set()).add(found.path)
            start = number(row["ustart"], math.nan)
            assert found.start == start or (math.isnan(found.start) and math.isnan(start))
            assert found.lower == number(row["lower"], -math.inf)
            assert found.upper == number(row["upper"], math.inf)
        if row["label"] and not row["label"].startswith(".p") and "~" not in row["label"]:
            assert found.label == row["label"]
    assert sorted(map(sorted, mine.values())) == sorted(map(sorted, theirs.values()))
    free = {row.path for row in table.rows if row.free >= 0}
    assert free == set().union(*theirs.values())  # and none beside them
