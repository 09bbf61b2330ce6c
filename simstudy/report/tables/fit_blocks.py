"""One fit as blocks: what a notebook shows."""

from __future__ import annotations

import math

from simstudy.analysis.result import FitRecord
from simstudy.estimation.result import Status
from simstudy.methods import registry
from simstudy.model.parameters import path_name
from simstudy.report.tables.blocks import Block, Heading, Paragraph
from simstudy.report.tables.fit_tables import ICC_WORDS, ParameterRow, is_silent, number, parameter_rows
from simstudy.report.tables.text import TextTable, fixed

KINDS = {"robust": "cluster-robust"}
LEVELS = (("within", "Within clusters"), ("between", "Between clusters"), ("", "Defined"))
INDICES = (
    ("loglik", "log-likelihood"),
    ("aic", "AIC"),
    ("bic", "BIC"),
    ("cfi", "CFI"),
    ("tli", "TLI"),
    ("rmsea", "RMSEA"),
    ("srmr_within", "SRMR within"),
    ("srmr_between", "SRMR between"),
)


def fit_blocks(fit: FitRecord) -> list[Block]:
    """A heading, what was done, fit measures, a table a level, and notes."""
    blocks: list[Block] = [Heading(f"{fit.estimator}: {registry.find(fit.estimator).title}", 1)]
    blocks += [Paragraph(text) for text in _alarms(fit)]
    blocks.append(Paragraph(_facts(fit), quiet=True))
    if fit.status == Status.NOT_SUPPORTED:
        return blocks
    if measures := _measures(fit):
        blocks.append(Paragraph(measures))
    if not math.isnan(fit.measures.get("loglik", math.nan)):
        blocks.append(Paragraph(f"Log-likelihood: {fit.likelihood.sentence}", quiet=True))
    blocks += _tables(fit)
    if fit.icc:
        shares = ", ".join(f"{name} {number(value)}" for name, value in fit.icc.items())
        blocks.append(Paragraph(f"Intraclass correlations ({ICC_WORDS[fit.icc_h1]}): {shares}", quiet=True))
    return [*blocks, *(Paragraph(f"Note: {note}", quiet=True) for note in fit.notes if note not in fit.why)]


def _shown(row: ParameterRow) -> tuple[str, ...]:
    """Estimate, SE, z, p and limits; a p value without a digit among three decimals is said to be less."""
    p = "" if math.isnan(row.pvalue) else "<.001" if row.pvalue < 0.0005 else fixed(row.pvalue, 3)
    est, error, low, high = ("" if math.isnan(x) else text for x, text in row.in_units())
    return est, error, "" if math.isnan(row.z) else fixed(row.z, 3), p, low, high


def _alarms(fit: FitRecord) -> list[str]:
    """What is wrong."""
    if fit.status == Status.NOT_SUPPORTED:
        return [f"Not fitted: {text}" for text in fit.why or (fit.status.message,)]
    if not fit.converged:
        return [f"Did not converge ({fit.status.name}): {fit.status.message}", *fit.why]
    return [f"Not admissible: {what}" for what in fit.improper]


def _facts(fit: FitRecord) -> str:
    parts = [f"{fit.n_obs:,} observations in {fit.n_clusters:,} clusters ({fit.cluster})"]
    if fit.n_dropped:
        parts.append(f"{fit.n_dropped:,} rows left out")
    kind = str(fit.options.get("se", ""))
    parts.append(f"{KINDS.get(kind, kind)} SEs")
    if fit.converged and fit.n_iter:
        parts.append(f"{fit.n_iter} iterations")
    return "; ".join(parts)


def _measures(fit: FitRecord) -> str:
    found = fit.measures

    def known(name: str) -> bool:
        return not math.isnan(found.get(name, math.nan))

    parts = []
    scaled = "_scaled" if known("chisq_scaled") else ""
    if known("chisq"):
        test = f"χ²({found['df']:.0f}) = {number(found[f'chisq{scaled}'])}"
        parts.append(f"{test}, p = {number(found[f'pvalue{scaled}'])}" if found["df"] > 0 else test)
    parts += [f"{label} {number(found[name])}" for name, label in INDICES if known(name)]
    return "; ".join(parts)


def _tables(fit: FitRecord) -> list[Block]:
    percent = f"{100 * float(fit.options.get('ci_level', 0.95)):g}%"
    header = ("Parameter", "Label", "Estimate", "SE", "z", "p", f"{percent} lower", "upper")
    tables: list[Block] = []
    for level, title in LEVELS:
        rows = []
        for row in parameter_rows(fit):
            if row.level != level or is_silent(fit, row):
                continue
            path = path_name(level, row.lhs, row.op, row.rhs).removeprefix(f"{level}: ")
            name, label = (f"{row.lhs} := {row.rhs}", "") if row.op == ":=" else (path, row.label)
            rows.append((name, label, *_shown(row)))
        if rows:
            tables.append(TextTable(header, tuple(rows), left=2, title=title))
    return tables
