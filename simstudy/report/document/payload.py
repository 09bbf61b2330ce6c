"""The numbers that the report's cell selector shows, as compact JSON: the performance table to four digits."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from simstudy.performance import BASES, MEASURES
from simstudy.performance.choose import in_order
from simstudy.report.tables.text import setting

DIGITS = 4
BASIS_WORDS = {
    "casewise": "each method's own (case-wise)",
    "common": "those that all methods share",
    "paired": "paired with the method of reference",
    "lower_bound": "all, failures counted as misses",
    "upper_bound": "all, failures counted as hits",
}
MAIN = (
    "bias", "median_bias", "relative_bias", "empirical_se", "model_se", "se_ratio", "rmse", "coverage", "rejection"
)  # fmt: skip
"""Measures shown at first; the others on request."""
KEYS = ["cell", "basis", "estimator", "se_kind", "parameter"]


def payload(
    performance: pd.DataFrame, factors: Sequence[str], parameters: Sequence[str], estimators: Sequence[str]
) -> str:
    """JSON of the numbers of some parameters, safe inside a ``script`` element.

    Returns
    -------
    str
        ``bases`` (name, words), ``factors`` (names), ``cells`` ({number: levels}), ``parameters``, ``estimators``,
        ``kinds``, ``measures`` (name, label), ``main`` (measures shown at first), ``truth`` ({"cell parameter":
        value}), and ``rows``: [cell, place in ``bases``, parameter, estimator, kind, n, n with an interval, [value,
        mcse] of each measure or null].
    """
    rows = performance[performance["parameter"].isin(list(parameters))]
    rows = rows[(rows["basis"] != "common") | rows["measure"].isin(MAIN)]  # the CSV file has the others
    names = set(rows["measure"])
    measures = [measure for measure in MEASURES.values() if measure.name in names]
    kinds = in_order(rows["se_kind"]) or [""]
    bases = [name for name in BASES if name in set(rows["basis"])]
    content = {
        "bases": [[name, BASIS_WORDS[name]] for name in bases],
        "factors": list(factors),
        "cells": _cells(rows, factors),
        "parameters": list(parameters),
        "estimators": list(estimators),
        "kinds": kinds,
        "measures": [[measure.name, measure.label] for measure in measures],
        "main": MAIN,
        "truth": _truth(rows, list(parameters)),
        "rows": _rows(rows, bases, list(parameters), list(estimators), kinds, [measure.name for measure in measures]),
    }
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _cells(rows: pd.DataFrame, factors: Sequence[str]) -> dict[str, list[str]]:
    cells = rows.drop_duplicates("cell").sort_values("cell")
    return {str(int(row["cell"])): [setting(row[factor]) for factor in factors] for row in cells.to_dict("records")}


def _truth(rows: pd.DataFrame, parameters: Sequence[str]) -> dict[str, float | None]:
    found = rows.drop_duplicates(["cell", "parameter"])
    place = {name: k for k, name in enumerate(parameters)}
    keys = (f"{int(cell)} {place[name]}" for cell, name in zip(found["cell"], found["parameter"], strict=True))
    return dict(zip(keys, map(_shorten, found["truth"]), strict=True))


def _rows(
    rows: pd.DataFrame,
    bases: list[str],
    parameters: list[str],
    estimators: list[str],
    kinds: list[str],
    measures: list[str],
) -> list[list[object]]:
    """One entry a cell, basis, method, kind of SE and parameter, in the table's order."""
    column = {name: k for k, name in enumerate(measures)}
    ids = rows.groupby(KEYS, sort=False).ngroup().to_numpy()
    heads = rows.drop_duplicates(KEYS)
    values = np.full((len(heads), len(measures), 2), np.nan)
    counts = np.zeros((len(heads), len(measures)), dtype=np.int64)
    at = rows["measure"].map(column).to_numpy(dtype=np.int64)
    values[ids, at] = rows[["value", "mcse"]].to_numpy(dtype=np.float64)
    counts[ids, at] = rows["n"].to_numpy(dtype=np.int64)
    bias, coverage = column.get("bias", 0), column.get("coverage", 0)
    found: list[list[object]] = []
    for k, head in enumerate(heads.to_dict("records")):
        numbers = [
            None if math.isnan(value) else [_shorten(value), _shorten(mcse)] for value, mcse in values[k].tolist()
        ]
        place: Mapping[str, list[str]] = {"parameter": parameters, "estimator": estimators, "se_kind": kinds}
        codes = [names.index(str(head[key])) if str(head[key]) in names else -1 for key, names in place.items()]
        basis = bases.index(str(head["basis"]))
        found.append([int(head["cell"]), basis, *codes, int(counts[k, bias]), int(counts[k, coverage]), numbers])
    return found


def _shorten(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
