"""The story of the methods: a table of all, or everything about one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simstudy.report.tables.text import Line, wrapped

PARTS = ("idea", "can", "cannot", "levels", "options", "same_as", "reference", "theory")
HEADINGS = {"same_as": "same as", "theory": "formulas"}
LISTS = ("options", "theory")


def story_table_lines(methods: Sequence[Mapping[str, Any]], width: int) -> list[Line]:
    """One method a row: name, year, what it is.

    Parameters
    ----------
    methods : sequence of mappings
        A record a method, with estimator, year and title.
    width : int
        Characters a line; what a method is goes on below itself.
    """
    names = [str(row["estimator"]) for row in methods]
    left = max([len(name) for name in names] + [len("Method")])
    indent = " " * (left + 8)
    lines = [Line(f"{'Method':{left}}  Year  What it is", "bold")]
    for row in methods:
        start = f"{row['estimator']:{left}}  {_year(row['year']):>4}  "
        lines += [Line(text) for text in wrapped(start + str(row["title"]), width, indent)]
    return lines


def story_lines(method: Mapping[str, Any], width: int) -> list[Line]:
    """Idea, abilities, options, reference and formulas of one method, and its details where they are given."""
    year = _year(method["year"])
    head = f"{method['estimator']}: {method['title']}{f' ({year})' if year else ''}"
    lines = [Line(text, "bold") for text in wrapped(head, width, "  ")]
    for part in PARTS:
        if method[part]:
            heading = f"  {HEADINGS.get(part, part) + ':':11}"
            texts = str(method[part]).split("; ") if part in LISTS else [str(method[part])]
            lines += _part(heading, texts, width)
    if method.get("details"):
        lines += [Line(""), *(Line(f"  {text}".rstrip()) for text in str(method["details"]).splitlines())]
    return lines


def _part(heading: str, texts: Sequence[str], width: int) -> list[Line]:
    """A heading and its texts, each below the other."""
    blank = " " * len(heading)
    lines = []
    for k, text in enumerate(texts):
        lines += [Line(line) for line in wrapped((heading if k == 0 else blank) + text, width, blank)]
    return lines


def _year(value: int | None) -> str:
    return "" if value is None else str(value)
