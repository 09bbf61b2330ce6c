"""A plan in words: the answer first, then how it was found and what to know about it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd

from simstudy.planning.criterion import MEASURES
from simstudy.planning.result import ALWAYS, ANALYTIC, CONFIRMED, NOT_CONFIRMED, Answer, PlanRecord
from simstudy.report.tables.blocks import Block, Heading, Paragraph
from simstudy.report.tables.text import Line, TextTable, wrapped

WIDTH = 110
NEAR = 0.05
"""Designs whose cost is within this share of the cheapest are worth a look."""
MAX_DESIGNS = 12


def plan_lines(plan: PlanRecord) -> list[Line]:
    """Lay a plan out as lines of text."""
    request = plan.request
    lines = [Line(_question(request), "bold"), *(Line(line) for line in _setting(request)), Line("")]
    if not plan.found:
        label = {"impossible": "No number of clusters does this: ", "beyond": "Not reached: "}
        lines += _paragraph(label.get(plan.status, f"{plan.status.capitalize()}: ") + plan.why)
        return [*lines, *_evaluations(plan), *_uncertain(plan), *_notes(plan), *_footer(plan)]
    lines += [Line(line.text, line.style) for line in _answers(plan).lines()]
    lines += [Line(""), *_paragraph(_verdict(plan))]
    if plan.why and plan.status != NOT_CONFIRMED:
        lines += _paragraph(f"Note: {plan.why}.")
    return [*lines, *_designs(plan), *_evaluations(plan), *_uncertain(plan), *_notes(plan), *_footer(plan)]


def plan_blocks(plan: PlanRecord) -> list[Block]:
    """Lay a plan out as blocks: the answer, how sure it is, what was simulated, notes."""
    blocks: list[Block] = [Heading(_question(plan.request), 1)]
    blocks += [Paragraph(text, quiet=True) for text in _setting(plan.request)]
    blocks += [_answers(plan), Paragraph(_verdict(plan))] if plan.found else [Paragraph(f"{plan.status}: {plan.why}")]
    if not plan.evaluations.empty:
        blocks.append(replace(_simulated(plan), title="Simulated"))
    return [*blocks, *(Paragraph(f"Note: {note}.", quiet=True) for note in plan.notes)]


def _question(request: Any) -> str:
    measure = MEASURES[request["measure"]]
    bound = "at least" if measure.kind == "at_least" else "at most"
    what = {
        "n_clusters": "How many clusters",
        "cluster_size": "How large clusters",
        "both": "Which design is the cheapest",
    }
    averaged = "assurance (average power)" if request["uncertain"] and measure.name == "power" else measure.words
    level = f" ({request['level_of_parameter']})" if request["level_of_parameter"] else ""
    return f"{what[request['over']]} for {averaged} of {bound} {request['target']:g} of {request['parameter']}{level}?"


def _setting(request: Any) -> list[str]:
    interval = "Monte Carlo" if request["interval"] == "montecarlo" else "Wald"
    parts = [
        f"{request['name']}: {request['method']}, {request['se_kind']} SEs, {100 * request['level']:g}% {interval} "
        "intervals"
    ]
    if request["over"] == "n_clusters":
        parts.append(f"clusters of {request['cluster_size']}")
    if request["over"] == "cluster_size":
        parts.append(f"{request['n_clusters']:,} clusters")
    if request["cost"]:
        parts.append(f"cost {request['cost']}")
    found = [", ".join(parts)]
    if request["settings"]:
        found.append("with " + ", ".join(f"{name} = {value}" for name, value in request["settings"].items()))
    if request["uncertain"]:
        found.append("averaged over " + ", ".join(request["uncertain"]))
    return found


def _answers(plan: PlanRecord) -> TextTable:
    """The analytic and the simulated answer side by side."""
    rows = []
    if plan.analytic is not None:
        rows.append(("analytic (large J)", *_answer(plan, plan.analytic)))
    if plan.answer is not None and plan.status != ANALYTIC:
        rows.append(("simulated", *_answer(plan, plan.answer)))
    priced = bool(plan.request["cost"])
    measure = MEASURES[plan.request["measure"]].words
    header = ("", "clusters (J)", "cluster size (n)", "rows (N)", measure, *(("cost",) if priced else ()))
    return TextTable(header, tuple(rows))


def _answer(plan: PlanRecord, answer: Answer) -> tuple[str, ...]:
    by_size = plan.request["over"] == "cluster_size"
    span = _span(answer)
    clusters = f"{answer.n_clusters:,}{'' if by_size else span}"
    size = f"{answer.cluster_size}{span if by_size else ''}"
    value = f"{answer.value:.3f}" if math.isnan(answer.mcse) else f"{answer.value:.4f} ({answer.mcse:.4f})"
    cost = ("-" if math.isnan(answer.cost) else f"{answer.cost:,.6g}",) if plan.request["cost"] else ()
    return (clusters, size, f"{answer.n_obs:,}", value, *cost)


def _span(answer: Answer) -> str:
    """95 % interval of what was searched."""
    if math.isnan(answer.mcse):
        return ""
    if answer.low is None and answer.high is None:
        return ""
    low = "?" if answer.low is None else f"{answer.low:,}"
    return f" [{low}, {answer.high:,}]" if answer.high is not None else f" [{low} or more]"


def _verdict(plan: PlanRecord) -> str:
    measure = MEASURES[plan.request["measure"]].words
    if plan.confirmed is None:
        return "Analytic only: nothing was simulated. Without --analytic the answer is searched and confirmed."
    run = plan.confirmed
    text = (
        f"{run['attempted']:,} fresh data sets at the answer: {measure} {run['value']:.4f} (MCSE {run['mcse']:.4f}), "
        f"95% interval {run['low']:.4f} to {run['high']:.4f}"
    )
    if plan.status == NOT_CONFIRMED:
        return f"NOT confirmed: {plan.why}."
    word = "Confirmed" if plan.status in (CONFIRMED, ALWAYS) else plan.status.capitalize()
    interval = "; in brackets the 95% interval of the smallest design" if plan.status == CONFIRMED else ""
    return f"{word} by {text}{interval}."


def _designs(plan: PlanRecord) -> list[Line]:
    """Designs that cost hardly more than the cheapest."""
    if plan.designs.empty:
        return []
    best = plan.answer.cost if plan.answer is not None else float(plan.designs["cost"].min())
    near = plan.designs[plan.designs["cost"] <= (1.0 + NEAR) * best].sort_values("cost", kind="stable")
    shown = near.head(MAX_DESIGNS).sort_values("cluster_size")
    rows = tuple(
        (f"{row['cluster_size']:,}", f"{row['n_clusters']:,}", f"{row['n_obs']:,}", f"{row['cost']:,.6g}",
         f"{100 * (row['cost'] / best - 1):+.1f}%")
        for row in _records(shown)
    )  # fmt: skip
    table = TextTable(("cluster size", "clusters", "rows", "cost", ""), rows, left=0)
    return [
        Line(""),
        Line("Designs that cost about as much (numbers of clusters to within one or two):", "bold"),
        *_indented(table),
    ]


def _evaluations(plan: PlanRecord) -> list[Line]:
    if plan.evaluations.empty:
        return []
    return [Line(""), Line("Simulated:", "bold"), *_indented(_simulated(plan))]


def _simulated(plan: PlanRecord) -> TextTable:
    """Every simulated size and what it came to."""
    measure = MEASURES[plan.request["measure"]].words
    rows = tuple(
        (str(row["role"]), f"{row['n_clusters']:,}", str(row["cluster_size"]), f"{row['attempted']:,}",
         f"{row['converged']:,}", _number(row["value"], row["mcse"]))
        for row in _records(plan.evaluations)
    )  # fmt: skip
    return TextTable(("", "clusters", "cluster size", "data sets", "converged", f"{measure} (MCSE)"), rows)


def _number(value: float, mcse: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.4f} ({mcse:.4f})"


def _uncertain(plan: PlanRecord) -> list[Line]:
    facts = plan.uncertain
    if not facts:
        return []
    text = f"Averaged over {facts['draws']:,} draws of what is uncertain"
    if facts["left_out"]:
        reasons = "; ".join(f"{reason} ({count:,})" for reason, count in facts["reasons"].items())
        share = 100.0 * facts["left_out"] / facts["tried"]
        text += (
            f"; {facts['left_out']:,} of {facts['tried']:,} draws ({share:.1f}%) were left out, as no population "
            f"can have them: {reasons}. The distributions are truncated to what is possible"
        )
    lines = [Line(""), *_paragraph(f"{text}.")]
    if facts["known"] is not None:
        symbol = "n" if plan.request["over"] == "cluster_size" else "J"
        lines += _paragraph(
            f"If the design's own values were certain, theory would ask for {symbol} = {facts['known']:,}: the "
            "difference is the price of not knowing them."
        )
    return lines


def _notes(plan: PlanRecord) -> list[Line]:
    return [line for note in plan.notes for line in (Line(""), *_paragraph(f"Note: {note}."))]


def _footer(plan: PlanRecord) -> list[Line]:
    text = f"{plan.replicates:,} data sets simulated in {plan.seconds:.1f} s" if plan.replicates else ""
    if not text and plan.status != ANALYTIC and len(plan.evaluations):
        text = f"nothing was left to simulate; {plan.seconds:.1f} s"
    return [Line(""), Line(text or f"{plan.seconds:.2f} s", "dim")]


def _paragraph(text: str) -> list[Line]:
    return [Line(line) for line in wrapped(text, WIDTH)]


def _indented(table: TextTable) -> list[Line]:
    return [Line(f"  {line.text}", line.style) for line in table.lines()]


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
