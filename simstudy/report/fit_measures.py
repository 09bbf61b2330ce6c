"""Table of fit measures over replicates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.text import Text

from simstudy.performance import expected_percentiles
from simstudy.report.text import Line, TextTable, fixed

NAMES = {
    "loglik": "log-likelihood",
    "unrestricted_loglik": "log-likelihood, unrestricted",
    "scaling": "scaling factor (MLR)",
    "scaling_h0": "scaling factor of the model",
    "chisq": "chi-square",
    "chisq_scaled": "chi-square, scaled",
    "baseline_chisq": "chi-square, baseline model",
    "cfi": "CFI",
    "tli": "TLI",
    "rmsea": "RMSEA",
    "cfi_scaled": "CFI, scaled",
    "tli_scaled": "TLI, scaled",
    "rmsea_scaled": "RMSEA, scaled",
    "srmr_within": "SRMR, within",
    "srmr_between": "SRMR, between",
    "aic": "AIC",
    "bic": "BIC",
    "boundary": "singular (boundary), share",
}
MAX_CELLS = 12


def fit_measure_lines(summary: pd.DataFrame, cells: Sequence[int] | None = None) -> list[Line]:
    """Lines of the table, a block a cell and method; empty where no method has fit measures.

    Parameters
    ----------
    summary : DataFrame
        From `simstudy.performance.summarise_fit_measures`, of all cells.
    cells : sequence of int, optional
        Cells to show; by default the first `MAX_CELLS`.
    """
    if summary.empty:
        return []
    shown = list(cells) if cells else sorted(summary["cell"].unique())[:MAX_CELLS]
    lines = [Line("Fit measures over converged replicates (mean with its MCSE; percentiles)", "bold")]
    for (cell, method), rows in summary[summary["cell"].isin(shown)].groupby(["cell", "estimator"], sort=False):
        lines += [Line("", ""), Line(f"Cell {cell}, {method}", "bold")]
        table = []
        for row in rows.to_dict("records"):
            table.append(_row(NAMES.get(row["measure"], row["measure"]), row))
            if np.isfinite(row["df"]) and row["df"] > 0:
                low, middle, high = expected_percentiles(row["df"])
                expected = [fixed(v, 3) for v in (low, middle, high)]
                sd = fixed(float(np.sqrt(2.0 * row["df"])), 3)
                table.append(
                    ("  expected, df = " + str(int(row["df"])), fixed(row["df"], 3), sd, *expected, "0.050", "")
                )
        header = ("", "Mean (MCSE)", "Std. Dev.", "5 %", "50 %", "95 %", "p < .05 (MCSE)", "n")
        lines += TextTable(header, tuple(table)).lines()
    left_out = summary["cell"].nunique() - len(set(shown) & set(summary["cell"]))
    if left_out:
        lines.append(Line(f"{left_out} more cells: fit_measures.csv has them", ""))
    return lines


def _row(name: str, row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    rejection = f"{row['rejection']:.3f} ({row['rejection_mcse']:.3f})" if np.isfinite(row["rejection"]) else ""
    return (
        name,
        f"{fixed(row['mean'], 3)} ({fixed(row['mean_mcse'], 3)})",
        fixed(row["sd"], 3),
        *(fixed(row[key], 3) for key in ("p05", "p50", "p95")),
        rejection,
        str(int(row["n"])),
    )


def print_fit_measures(console: Console, summary: pd.DataFrame, cells: Sequence[int] | None = None) -> None:
    """Print the table, if there is anything in it."""
    for line in fit_measure_lines(summary, cells):
        console.print(Text(line.text, style=line.style), soft_wrap=True)
