"""The report of a study: one self-contained HTML file in ADEMP order, which asks no network for anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from simstudy.design import Design
from simstudy.performance import MEASURES
from simstudy.report.document import sentences as words
from simstudy.report.document.payload import payload
from simstudy.report.figures import Chart, figure_svg
from simstudy.report.figures.words import factor_label
from simstudy.report.tables.blocks import Block
from simstudy.report.tables.failures import by_cell, by_method, common_lines, counted, tail_lines
from simstudy.report.tables.fit_measures import fit_measure_tables, likelihood_lines, meanings
from simstudy.report.tables.render import html_block, html_table
from simstudy.report.tables.text import NOT_AVAILABLE, TextTable, fixed
from simstudy.report.tables.view import View, make_view
from simstudy.runner.manifest import Manifest

MAX_MOMENT_CELLS = 400
"""Conditions whose implied moments are in the report: more would make it too large to open."""
MAX_FAILURE_ROWS = 200
CONTENTS = (
    ("aims", "Aims"),
    ("data", "Data-generating mechanisms"),
    ("estimands", "Estimands"),
    ("methods", "Methods"),
    ("performance", "Performance"),
    ("failures", "Failures"),
    ("meaning", "What the numbers mean"),
    ("reproduce", "Reproduce"),
)


@dataclass(frozen=True)
class Source:
    """What a report is written from.

    Attributes
    ----------
    manifest : Manifest
    design : Design or None
        None where the design text cannot be read here (a plug-in that is not installed); ``trouble`` says why.
    trouble : str
    performance, failures, fit_measures : DataFrame
        Of the whole study.
    problems : DataFrame
        Columns cell, estimator, status, count, message: why methods failed.
    parameters : sequence of str
        Parameters of the tables and of the selector.
    figures : sequence of Chart
    effects : sequence of Block
        Which factors matter, or nothing.
    commands : str
    versions : sequence of (str, str)
        Software that wrote the report, where it is not that of the manifest.
    complete : bool
        Whether every replicate asked for is there.
    """

    manifest: Manifest
    design: Design | None
    trouble: str
    performance: pd.DataFrame
    failures: pd.DataFrame
    fit_measures: pd.DataFrame
    problems: pd.DataFrame
    parameters: Sequence[str]
    figures: Sequence[Chart]
    commands: str
    version: str
    complete: bool
    effects: Sequence[Block] = ()


def report_html(source: Source) -> str:
    """The whole file.

    Returns
    -------
    str
        HTML with style, script, numbers and figures inside.
    """
    import jinja2

    folder = files("simstudy.report.document") / "templates"
    css, js, text = ((folder / name).read_text("utf-8") for name in ("report.css", "report.js", "report.html.j2"))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.globals.update(table=html_table, block=html_block)
    return environment.from_string(text).render(css=css, js=js, **_context(source))


def _context(source: Source) -> dict[str, Any]:
    manifest = source.manifest
    view = make_view(
        source.performance,
        source.failures,
        parameters=list(source.parameters),
        cells=None,
        factors=manifest.factors,
        level=manifest.level,
        study_name=manifest.name,
        replications=manifest.replications,
        cell_replications=manifest.cell_replications,
        width=10_000,
    )
    first = str(view.cells[len(view.cells) // 2]) if view.cells else ""
    names = [factor_label(name) for name in manifest.factors]
    return {
        **_before_the_run(source.design, first),
        "name": manifest.name,
        "version": source.version,
        "contents": CONTENTS,
        "facts": _facts(view, source),
        "warnings": _warnings(source),
        "first_cell": first,
        "reading": _reading(view),
        "overview": [_overview(source.performance, view, name) for name in view.parameters],
        "remarks": [line.text for line in (*tail_lines(view), *common_lines(view))],
        "figures": [(chart.alt, figure_svg(chart)) for chart in source.figures],
        "effects": source.effects,
        "fit_measures": [
            replace(table, title=title)
            for title, table in fit_measure_tables(source.fit_measures, labels=manifest.diagnostics)
        ],
        "diagnostics": [
            *meanings(source.fit_measures, manifest.diagnostics),
            *likelihood_lines(source.fit_measures, manifest.likelihoods),
        ],
        "failures": _failures(view, source.problems),
        "failure_words": _failure_words(view),
        "measures": [(m.label, m.meaning, m.formula) for m in MEASURES.values()],
        "seed": manifest.seed,
        "commands": source.commands,
        "software": _software(source),
        "design_text": manifest.design_text,
        "factor_names_json": _script_json(names),
        "numbers_json": payload(source.performance, manifest.factors, view.parameters, view.estimators),
    }


def _script_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def _before_the_run(design: Design | None, first: str) -> dict[str, Any]:
    """Aims, data, estimands, methods: what the design says."""
    if design is None:
        nothing = TextTable((), ())
        return {
            "aim": "", "generation": [], "factors": nothing, "combination": "", "generating_model": "", "moments": [],
            "moments_left_out": "", "estimands": None, "analysed_model": "", "methods": None,
        }  # fmt: skip
    shown = design.cells if len(design.cells) <= MAX_MOMENT_CELLS else ()
    levels = words.factor_levels(design)
    found = words.methods(design)
    header = ("Method", "What it is", "Reference", "It can", "It cannot", "Options", "Not used where")
    rows = tuple((m.name, m.title, m.reference, m.can, m.cannot, m.options, m.unsupported) for m in found)
    return {
        "aim": design.aim,
        "generation": words.generation(design),
        "factors": TextTable(
            ("Factor", "Levels"),
            tuple((name, ", ".join(v)) for name, v in levels),
            left=2,
            title="Factors and their levels",
        ),
        "combination": words.combination(design),
        "generating_model": design.cells[0].population.model.syntax.strip(),
        "moments": [(str(cell.index), cell.title, words.implied_moments(cell)) for cell in shown],
        "moments_left_out": "" if shown else f"{len(design.cells):,} conditions are too many to show.",
        "estimands": words.estimands(design),
        "analysed_model": design.model.syntax.strip(),
        "methods": TextTable(header, rows, left=len(header), title="Methods, their options and their limits"),
    }


def _facts(view: View, source: Source) -> list[tuple[str, str]]:
    asked = {view.asked(cell) for cell in view.cells} or {view.replications}
    low, high = min(asked), max(asked)
    return [
        (f"{len(view.cells):,}", "conditions" if len(view.cells) != 1 else "condition"),
        (f"{low:,}" if low == high else f"{low:,} to {high:,}", "replications each"),
        (f"{len(view.estimators)}", "methods" if len(view.estimators) != 1 else "method"),
        (f"{100 * view.level:g} %", "intervals"),
        (source.manifest.updated[:10], "last run"),
    ]


def _warnings(source: Source) -> list[str]:
    found = []
    if not source.complete:
        found.append("The study is not complete: numbers are of the replicates that are there.")
    if source.design is None:
        found.append(f"The design file cannot be read here, so its parts are missing: {source.trouble}")
    return found


def _reading(view: View) -> list[str]:
    return [
        "Every number has a Monte Carlo standard error (MCSE), the error that comes from a finite number of "
        "replications: a difference below two of them is noise. Numbers are case-wise, each method on its own "
        f"converged replicates, unless said otherwise. {NOT_AVAILABLE}: no replicate has the number.",
        "A cell is one condition of the design. The tables give each method's range over cells, with the cell of the "
        "extremes in parentheses; below them a cell can be chosen and seen in full.",
    ]


def _overview(performance: pd.DataFrame, view: View, parameter: str) -> TextTable:
    """Range of bias, SE ratio and coverage over cells, a row a method and kind of SE."""
    rows = performance[(performance["parameter"] == parameter) & (performance["basis"] == "casewise")]
    found = []
    for (method, kind), mine in rows.groupby(["estimator", "se_kind"], sort=False):
        texts = [str(kind)]
        for measure, decimals in (("median_bias", 3), ("se_ratio", 2), ("coverage", 3)):
            texts += _extremes(mine[mine["measure"] == measure], decimals)
        bias = mine[mine["measure"] == "bias"]
        silent = int((bias["n"] == 0).sum())
        found.append((str(method), *texts, str(silent)))
    header = ("Method", "SE", *(("lowest", "median", "highest") * 3), f"cells {NOT_AVAILABLE}")
    groups = (("", 2), ("Median bias", 3), ("SE ratio", 3), ("Coverage", 3), ("", 1))
    truths = [view.truth.get((cell, parameter), np.nan) for cell in view.cells]
    known = sorted({truth for truth in truths if np.isfinite(truth)})
    said = "no true value" if not known else f"true value {known[0]:.4g}"
    if len(known) > 1:
        said += f" to {known[-1]:.4g}"
    caption = f"{view.parameter_title(parameter)}, {said}: range over {len(view.cells)} cells"
    return TextTable(header, tuple(found), left=2, groups=groups, title=caption)


def _extremes(rows: pd.DataFrame, decimals: int) -> list[str]:
    known = rows[rows["value"].notna()]
    if known.empty:
        return [NOT_AVAILABLE] * 3
    values, cells = known["value"].to_numpy(dtype=np.float64), known["cell"].to_numpy(dtype=np.int64)
    low, high = int(values.argmin()), int(values.argmax())
    return [
        f"{fixed(float(values[low]), decimals)} ({cells[low]})",
        fixed(float(np.median(values)), decimals),
        f"{fixed(float(values[high]), decimals)} ({cells[high]})",
    ]


def _failure_words(view: View) -> list[str]:
    said = "Nothing was redrawn or dropped: every fit that failed is counted here with its reason."
    if view.failures.empty:
        return [said, "The table of fits is empty."]
    counts, _ = counted(view.failures)
    failed, attempted = int(counts["failed"].sum()), int(counts["attempted"].sum())
    improper = int(counts["inadmissible"].sum())
    return [
        said,
        f"{failed:,} of {attempted:,} fits failed; {improper:,} converged solutions are inadmissible (a negative "
        "variance, or a between covariance matrix that is not positive semidefinite), which the numbers above include.",
    ]


def _failures(view: View, problems: pd.DataFrame) -> list[TextTable]:
    if view.failures.empty:
        return []
    counts, statuses = counted(view.failures)
    whole = by_method(view, counts, statuses)
    tables = [replace(whole, title="Fits by method")]
    affected = counts[(counts["failed"] > 0) | (counts["inadmissible"] > 0)]
    if 0 < len(affected) <= MAX_FAILURE_ROWS:
        listed = by_cell(view, affected, statuses)
        tables.append(replace(listed, title="Cells and methods with failures or inadmissible solutions"))
    if len(problems):
        tables.append(_reasons(problems))
    return tables


def _reasons(problems: pd.DataFrame) -> TextTable:
    rows = []
    for (method, status, message), some in problems.groupby(["estimator", "status", "message"], sort=False):
        cells = str(int(some["cell"].iloc[0])) if len(some) == 1 else f"{len(some)} cells"
        rows.append((str(method), str(status), cells, f"{int(some['count'].sum()):,}", str(message)))
    header = ("Method", "Status", "Cells", "Fits", "Why")
    return TextTable(header, tuple(rows), left=2, title="Errors met, and why methods were not used")


def _software(source: Source) -> TextTable:
    rows = [*source.manifest.versions.items(), ("platform", source.manifest.platform)]
    if source.manifest.versions.get("simstudy") != source.version:
        rows.append(("simstudy that wrote this report", source.version))
    return TextTable(("What", "Version"), tuple(rows), left=2, title="Software that the study was begun with")
