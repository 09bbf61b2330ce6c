"""Tables of eta squared: which design factors matter, for whom and for what."""

from __future__ import annotations

import math

import pandas as pd

from simstudy.performance import MEASURES
from simstudy.report.tables.blocks import Block, Heading, Paragraph
from simstudy.report.tables.render import to_lines
from simstudy.report.tables.text import Line, TextTable, fixed

MAX_TABLES = 12


def effect_blocks(effects: pd.DataFrame, *, title: str, outcome: str = "cells") -> list[Block]:
    """One table a parameter and measure: rows are terms, columns are methods.

    Parameters
    ----------
    effects : DataFrame
        From `simstudy.performance.factor_effects`.
    title : str
    outcome : str
        What was analysed, ``cells`` or ``replicates``.
    """
    blocks: list[Block] = [Heading(f"{title}: which design factors matter", 1)]
    pairs = list(effects[effects["term"] != ""].groupby(["parameter", "measure"], sort=False))
    for (parameter, measure), rows in pairs[:MAX_TABLES]:
        about = f"{parameter}: " if parameter else ""
        blocks.append(_table(rows, f"{about}eta squared of {MEASURES[str(measure)].label}"))
    if len(pairs) > MAX_TABLES:
        blocks.append(
            Paragraph(
                f"Not shown: {len(pairs) - MAX_TABLES} of {len(pairs)} tables; --parameter and --measures choose "
                "others, --csv has all.",
                quiet=True,
            )
        )
    return [*blocks, *_notes(effects), *_explained(outcome)]


def effect_lines(effects: pd.DataFrame, *, title: str, outcome: str = "cells", width: int = 160) -> list[Line]:
    """Lay the tables out as lines of text."""
    return to_lines(effect_blocks(effects, title=title, outcome=outcome), width)


def _table(rows: pd.DataFrame, title: str) -> TextTable:
    """Eta squared by term and method, and the largest that Monte Carlo error alone would give."""
    arms = list(rows[["estimator", "se_kind"]].drop_duplicates().itertuples(index=False, name=None))
    if MEASURES[str(rows["measure"].iloc[0])].of_estimate_alone:
        arms = list({method: (method, kind) for method, kind in reversed(arms)}.values())[::-1]
    several = {method for method, _ in arms if sum(other == method for other, _ in arms) > 1}
    names = [f"{method} ({kind})" if method in several else method for method, kind in arms]
    terms = list(dict.fromkeys(rows["term"]))
    values = rows.set_index(["estimator", "se_kind", "term"])["eta_squared"].to_dict()
    noise = rows.groupby("term", sort=False)["noise_share"].max().to_dict()
    df = rows.groupby("term", sort=False)["df"].max().to_dict()
    body = [
        (
            term,
            str(df[term]),
            *(fixed(values.get((method, kind, term), math.nan), 3) for method, kind in arms),
            fixed(noise.get(term, math.nan), 3),
        )
        for term in terms
    ]
    return TextTable(("Term", "df", *names, "by chance"), tuple(body), title=title)


def _notes(effects: pd.DataFrame) -> list[Block]:
    """What could not be analysed, each reason once."""
    found = effects[effects["note"] != ""]
    blocks: list[Block] = []
    for note, rows in found.groupby("note", sort=False):
        about = dict.fromkeys(rows["measure"])
        terms = [term for term in dict.fromkeys(rows["term"]) if term]
        methods = dict.fromkeys(rows["estimator"])
        what = f"{', '.join(terms)} on " if 0 < len(terms) <= 3 else ""
        blocks.append(Paragraph(f"Note: {what}{', '.join(about)} of {', '.join(methods)}: {note}.", quiet=True))
    return blocks


def _explained(outcome: str) -> list[Block]:
    if outcome == "cells":
        what = (
            "Eta squared: share of the variation between cells, SS/SS total, sums of squares of type II (each term "
            "after all that do not contain it; in a balanced design all types agree), every cell with the same weight. "
            "Residual: higher interactions and Monte Carlo error."
        )
    else:
        what = (
            "Eta squared: share of the variation of the replicates' numbers, SS/SS total, sums of squares of type II. "
            "Within cells: what no factor can explain, sampling error that is; it is nearly all of it, so small shares "
            "can be large effects."
        )
    chance = (
        "By chance: the largest eta squared that Monte Carlo error alone would give a method's term; values near it "
        "say nothing. --csv has partial eta squared, omega squared and degrees of freedom."
    )
    return [Paragraph(what, quiet=True), Paragraph(chance, quiet=True)]
