"""Table of fit measures over replicates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from simstudy.performance import expected_percentiles
from simstudy.report.tables.blocks import Block, Heading, Paragraph
from simstudy.report.tables.text import TextTable, fixed

NAMES = {
    "loglik": "log-likelihood",
    "unrestricted_loglik": "log-likelihood, unrestricted",
    "scaling": "scaling factor (MLR)",
    "scaling_h0": "scaling factor of the model",
    "chisq": "chi-square",
    "chisq_scaled": "chi-square, scaled",
    "baseline_chisq": "chi-square, baseline model",
    "baseline_scaling": "scaling factor (MLR), baseline model",
    "cfi": "CFI",
    "tli": "TLI",
    "rmsea": "RMSEA",
    "cfi_scaled": "CFI, scaled",
    "tli_scaled": "TLI, scaled",
    "rmsea_scaled": "RMSEA, scaled",
    "cfi_robust": "CFI, robust",
    "tli_robust": "TLI, robust",
    "rmsea_robust": "RMSEA, robust",
    "srmr_within": "SRMR, within",
    "srmr_between": "SRMR, between",
    "aic": "AIC",
    "bic": "BIC",
    "boundary": "singular (boundary), share",
    "clusters_dropped": "clusters too small, left out",
    "nodes": "quadrature nodes a dimension",
    "loglik_error": "error of the log-likelihood, at most",
}
MAX_CELLS = 12


Labels = Mapping[str, Mapping[str, str]]
"""Name of a diagnostic, and its label, meaning, and what is better: ``high``, ``low`` or neither."""


def fit_measure_tables(
    summary: pd.DataFrame, cells: Sequence[int] | None = None, labels: Labels | None = None
) -> list[tuple[str, TextTable]]:
    """Title and table of each cell and method: mean, spread and percentiles of every fit measure over replicates.

    Parameters
    ----------
    summary : DataFrame
        From `simstudy.performance.summarise_fit_measures`, of all cells.
    cells : sequence of int, optional
        Cells to show; by default the first `MAX_CELLS`.
    labels : mapping, optional
        What methods say of their diagnostics.
    """
    if summary.empty:
        return []
    own = {name: said["label"] for name, said in (labels or {}).items()}
    shown = list(cells) if cells else sorted(summary["cell"].unique())[:MAX_CELLS]
    header = ("", "Mean (MCSE)", "Std. Dev.", "5 %", "50 %", "95 %", "p < .05 (MCSE)", "n")
    found = []
    for (cell, method), rows in summary[summary["cell"].isin(shown)].groupby(["cell", "estimator"], sort=False):
        table = []
        for row in rows.to_dict("records"):
            table.append(_row({**own, **NAMES}.get(row["measure"], row["measure"]), row))
            if np.isfinite(row["df"]) and row["df"] > 0:
                low, middle, high = expected_percentiles(row["df"])
                expected = [_number(v) for v in (low, middle, high)]
                sd = _number(float(np.sqrt(2.0 * row["df"])))
                table.append(
                    ("  expected, df = " + str(int(row["df"])), fixed(row["df"], 3), sd, *expected, "0.050", "")
                )
        found.append((f"Cell {cell}, {method}", TextTable(header, tuple(table))))
    return found


def meanings(summary: pd.DataFrame, labels: Labels | None) -> list[str]:
    """What diagnostics of methods mean, a sentence each."""
    there = set() if summary.empty else set(summary["measure"])
    better = {"high": " High is better.", "low": " Low is better."}
    return [
        f"{said['label']}: {said['meaning']}{better.get(said['better'], '')}"
        for name, said in (labels or {}).items()
        if name in there and said["meaning"]
    ]


def likelihood_lines(summary: pd.DataFrame, said: Mapping[str, str]) -> list[str]:
    """What log-likelihoods in the table are of, a sentence each; means of different ones are not to be compared."""
    groups: dict[str, list[str]] = {}
    there = [] if summary.empty else summary.loc[summary["measure"] == "loglik", "estimator"].unique().tolist()
    for name in there:
        if name in said:
            groups.setdefault(said[name], []).append(name)
    return [f"log-likelihood ({', '.join(names)}): {words}." for words, names in groups.items()]


def fit_measure_blocks(
    summary: pd.DataFrame,
    cells: Sequence[int] | None = None,
    labels: Labels | None = None,
    likelihoods: Mapping[str, str] | None = None,
) -> list[Block]:
    """Blocks of `fit_measure_tables`; none where no method has fit measures.

    ``likelihoods`` says of each method what its log-likelihood is of.
    """
    tables = fit_measure_tables(summary, cells, labels)
    if not tables:
        return []
    blocks: list[Block] = [Heading("Fit measures over converged replicates (mean with its MCSE; percentiles)")]
    blocks += [replace(table, title=f"Fit measures. {title}") for title, table in tables]
    shown = list(cells) if cells else sorted(summary["cell"].unique())[:MAX_CELLS]
    left_out = summary["cell"].nunique() - len(set(shown) & set(summary["cell"]))
    if left_out:
        blocks.append(Paragraph(f"{left_out} more cells: fit_measures.csv has them", quiet=True))
    lines = (*meanings(summary, labels), *likelihood_lines(summary, likelihoods or {}))
    return blocks + [Paragraph(line, quiet=True) for line in lines]


def _row(name: str, row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    rejection = f"{row['rejection']:.3f} ({row['rejection_mcse']:.3f})" if np.isfinite(row["rejection"]) else ""
    return (
        name,
        f"{_number(row['mean'])} ({_number(row['mean_mcse'])})",
        _number(row["sd"]),
        *(_number(row[key]) for key in ("p05", "p50", "p95")),
        rejection,
        str(int(row["n"])),
    )


def _number(value: float) -> str:
    """Three decimals, one from 10,000 on: log-likelihoods are compared by their differences."""
    large = np.isfinite(value) and 1e4 <= abs(value) < 1e9
    return f"{value:.1f}" if large else fixed(value, 3)
