"""ADEMP-PreReg: the preregistration headings of Siepe et al. (2024), filled in from a design file before any run.

Headings: Siepe, Bartoš, Morris, Boulesteix, Heck & Pawel (2024, Psychological Methods, "Simulation studies for
methodological research in psychology"), template ADEMP-PreReg. What only the researcher can say stays open and is
marked, so that nothing is claimed that the design does not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simstudy.design import Design
from simstudy.performance import MEASURES
from simstudy.report.document import sentences as words
from simstudy.report.tables.render import to_markdown
from simstudy.report.tables.text import TextTable

OPEN = "**To be filled in.**"
"""Mark of an answer that the design file does not hold."""


def preregistration(design: Design, versions: Sequence[tuple[str, str]], platform: str) -> str:
    """Markdown text with the template's sections and questions, answered as far as the design goes.

    Parameters
    ----------
    design : Design
    versions : sequence of (str, str)
        Software and its version, as installed now.
    platform : str
        Operating system and processor.
    """
    parts = [
        f"# Preregistration of the simulation study '{design.name}'",
        "Headings: ADEMP-PreReg (Siepe et al. 2024, Psychological Methods). Answers were filled in from the design "
        f"file before any run; those marked {OPEN} are the researcher's.",
        *_general(design),
        *_aims(design),
        *_mechanisms(design),
        *_estimands(design),
        *_methods(design),
        *_measures(design),
        *_other(design, versions, platform),
        "## Design file",
        f"```toml\n{design.text.rstrip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _general(design: Design) -> list[str]:
    return [
        "## General Information",
        "### What is the title of the project?",
        design.name,
        "### Who are the current and future project contributors?",
        OPEN,
        "### Provide a description of the project.",
        f"{design.aim or OPEN} {words.combination(design)} Fitted to every data set: "
        f"{words.counted(len(design.estimators), 'method')}.",
        "### Did any of the contributors already conduct related simulation studies on this specific question?",
        OPEN,
    ]


def _aims(design: Design) -> list[str]:
    return ["## Aims", "### What is the aim of the simulation study?", design.aim or OPEN]


def _mechanisms(design: Design) -> list[str]:
    model = design.cells[0].population.model
    levels = words.factor_levels(design)
    varied = "\n".join(f"- {name}: {', '.join(values)}" for name, values in levels) or "No factor is varied."
    justify = f"\n\nJustification of these values: {OPEN}" if levels else ""
    return [
        "## Data-Generating Mechanism",
        "### How will the parameters for the data-generating mechanism (DGM) be specified?",
        "\n\n".join(words.generation(design)),
        f"Generating model:\n\n```\n{model.syntax.strip()}\n```",
        "### What will be the different factors of the data-generating mechanism?",
        "\n".join(f"- {name}" for name, _ in levels) or "No factor is varied.",
        "### If possible, provide specific factor values for the DGM as well as additional simulation settings.",
        varied + justify,
        _moments(design),
        "### If there is more than one factor: How will the factor levels be combined and how many simulation "
        "conditions will this create?",
        words.combination(design),
    ]


def _moments(design: Design) -> str:
    cell = design.cells[0]
    where = f"In the first condition ({cell.title})" if cell.title else "In the only condition"
    tables = words.implied_moments(cell)
    return f"{where} the model implies:\n\n" + "\n\n".join(markdown(table) for table in tables if table.rows)


def _estimands(design: Design) -> list[str]:
    return [
        "## Estimands and Targets",
        "### What will be the estimands and/or targets of the simulation study?",
        markdown(words.estimands(design)),
        f"Which of these are primary: {OPEN}",
    ]


def _methods(design: Design) -> list[str]:
    found = [
        f"- **{m.name}**: {m.title}. Reference: {m.reference}. It can: {m.can}. It cannot: {m.cannot}. "
        f"Options: {m.options or 'none'}. Standard errors: {m.se_kinds}."
        + (f" Not used where it does not apply: {m.unsupported}." if m.unsupported else "")
        for m in words.methods(design)
    ]
    return [
        "## Methods",
        "### How many and which methods will be included and which quantities will be extracted?",
        f"{words.counted(len(found), 'method')}, all fitted to the same data sets:",
        "\n".join(found),
        f"Analysed model:\n\n```\n{design.model.syntax.strip()}\n```",
        "Extracted: estimates, standard errors of each kind, interval limits, convergence status and admissibility "
        f"(no negative variance). {words.intervals(design)}. A null hypothesis of 0 is rejected where its interval "
        "excludes 0.",
    ]


def _measures(design: Design) -> list[str]:
    measures = "\n".join(f"- {m.label} (`{m.name}`): {m.formula}" for m in MEASURES.values())
    return [
        "## Performance Measures",
        "### Which performance measures will be used?",
        measures,
        f"Which of these are primary: {OPEN}",
        "### How will Monte Carlo uncertainty of the estimated performance measures be calculated and reported?",
        "Every measure is reported with its Monte Carlo standard error, by the formula given with the measure (Morris, "
        "White & Crowther 2019), in tables beside the value and in figures as bands of +- 1.96 MCSE.",
        "### How many simulation repetitions will be used for each condition?",
        f"{words.precision(design)}\n\nReason for this number: {OPEN}",
        "### How will missing values due to non-convergence or other reasons be handled?",
        "Nothing is redrawn or dropped: a failed fit is recorded with its status. Failures are reported for every "
        "method and condition. Measures are computed case-wise (each method on its own converged replicates) and, side "
        "by side, on the replicates on which all methods succeeded; inadmissible solutions count as converged and are "
        "reported as a rate of their own.",
        "### How do you plan on interpreting the performance measures? (optional)",
        OPEN,
    ]


def _other(design: Design, versions: Sequence[tuple[str, str]], platform: str) -> list[str]:
    software = ", ".join(f"{name} {version}" for name, version in versions)
    return [
        "## Other",
        "### Which statistical software/packages do you plan to use?",
        software,
        "### Which computational environment do you plan to use?",
        platform,
        "### Which other steps will you undertake to make simulation results reproducible? (optional)",
        f"The seed is {design.seed}; random numbers are addressed by seed, condition and replicate, so that every data "
        "set can be rebuilt alone (`simstudy simulate`) and every fit repeated bit for bit (`simstudy replay`). The "
        "design file below is the whole specification: `simstudy run` on it gives the study.",
        "### Is there anything else you want to preregister? (optional)",
        OPEN,
    ]


def markdown(table: TextTable) -> str:
    """A table without its caption."""
    return to_markdown([replace(table, title="")]).strip()
