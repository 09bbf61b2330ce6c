"""One fit, laid out as users of lavaan expect it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich.console import Console
from rich.text import Text

from simstudy import __version__
from simstudy.analysis.result import FitRecord
from simstudy.analysis.slopes import integrated_slopes
from simstudy.estimation.by_nodes import EXACT
from simstudy.estimation.refined import ENOUGH
from simstudy.estimation.result import Status
from simstudy.methods import registry
from simstudy.report.tables.fit_compare import print_side_by_side, side_by_side_lines
from simstudy.report.tables.fit_statistics import level_fit_lines, reliability_lines, statistic_lines
from simstudy.report.tables.fit_tables import ALARM, CELL, ICC_WORDS, fact, number, parameter_lines, residual_lines
from simstudy.report.tables.text import Line, wrapped

__all__ = ["fit_summary_lines", "print_fit", "print_side_by_side", "residual_lines", "side_by_side_lines"]

FILE_WIDTH = 120
"""Characters a line where the output is no terminal."""


def print_fit(
    console: Console,
    fit: FitRecord,
    *,
    standardized: pd.DataFrame | None = None,
    r_squared: pd.DataFrame | None = None,
    residuals: pd.DataFrame | None = None,
    level_fit: pd.DataFrame | None = None,
    reliability: pd.DataFrame | None = None,
) -> None:
    """Print a fit; see `fit_summary_lines`."""
    width = console.width if console.is_terminal else FILE_WIDTH
    for line in fit_summary_lines(
        fit, width=width, standardized=standardized, r_squared=r_squared, residuals=residuals,
        level_fit=level_fit, reliability=reliability,
    ):  # fmt: skip
        console.print(Text(line.text, style=line.style), soft_wrap=True)


def fit_summary_lines(
    fit: FitRecord,
    *,
    width: int = FILE_WIDTH,
    standardized: pd.DataFrame | None = None,
    r_squared: pd.DataFrame | None = None,
    residuals: pd.DataFrame | None = None,
    level_fit: pd.DataFrame | None = None,
    reliability: pd.DataFrame | None = None,
) -> list[Line]:
    """Lay a fit out: what was done, tests and fit indices, parameters of each level, ICCs, notes.

    Parameters
    ----------
    fit : FitRecord
    width : int
        Characters a line; interval limits are left out where they do not fit.
    standardized, r_squared, residuals, level_fit, reliability : DataFrame, optional
        From the functions of these names; each adds its column or table.
    """
    lines = [*_head(fit, width), *_facts(fit), *_slopes(fit, width)]
    if fit.status != Status.NOT_SUPPORTED:
        lines += statistic_lines(fit, width) + parameter_lines(fit, width, standardized, r_squared)
        lines += _icc(fit)
    if level_fit is not None:
        lines += level_fit_lines(level_fit)
    if reliability is not None:
        lines += reliability_lines(reliability)
    if residuals is not None:
        lines += residual_lines(residuals)
    notes = [note for note in fit.notes if note not in fit.why]
    slopes = [row.slope != "" for row in fit.model.table.rows]
    if fit.converged and fit.parameters["est"].isna()[: len(slopes)][~np.array(slopes)].any():
        notes.append(f"n/a: {fit.estimator} does not estimate these parameters")
    if notes:
        lines += [Line(""), Line("Notes:", "bold"), *_bullets(notes, width)]
    return lines


def _bullets(texts: Sequence[str], width: int) -> list[Line]:
    return [Line(line) for text in texts for line in wrapped(f"  - {text}", width, "    ")]


def _alarm(texts: Sequence[str], width: int) -> list[Line]:
    return [Line(line, ALARM) for text in texts for line in wrapped(f"  {text}", width)]


def _head(fit: FitRecord, width: int) -> list[Line]:
    """How it ended; what is wrong stands first."""
    iterations = f"{fit.n_iter} iteration{'s' * (fit.n_iter != 1)}"
    if fit.status == Status.NOT_SUPPORTED:
        lines = [Line(f"simstudy {__version__}: NOT FITTED", ALARM), *_alarm(fit.why or [fit.status.message], width)]
    elif not fit.converged:
        lines = [Line(f"simstudy {__version__} DID NOT CONVERGE ({fit.status.name}, {iterations})", ALARM)]
        lines += _alarm([fit.status.message, *fit.why], width)
        lines.append(Line("  What the method did not reach is n/a below."))
    else:
        ended = f" after {iterations}" if fit.n_iter else ""
        lines = [Line(f"simstudy {__version__} ended normally{ended}", "bold")]
    if fit.improper:
        lines += [Line(""), Line("NOT ADMISSIBLE: the maximum lies outside of what variances can be", ALARM)]
        lines += _alarm(fit.improper, width)
        lines += [
            Line(line)
            for line in wrapped(
                "  Estimates are those of the unbounded maximum. A variance near 0 often turns out like this with few "
                "clusters or a small ICC; bounds='variances' (--bounds variances) keeps variances from falling "
                "below 0.",
                width,
            )
        ]
    return lines


def _facts(fit: FitRecord) -> list[Line]:
    """Method, parameters, data."""
    sizes, options = fit.sizes, fit.options
    lines = [Line(""), fact("Estimator", fit.estimator)]
    lines.append(Line(f"    {registry.find(fit.estimator).title}", "dim"))
    npar = fit.measures.get("npar", math.nan)
    if npar == npar:
        lines.append(fact("Number of model parameters", f"{npar:.0f}"))
    ties = sum(row.free >= 0 for row in fit.model.table.rows) - fit.model.table.n_free
    if ties:
        lines.append(fact("Number of equality constraints", str(ties)))
    if options.get("fixed_x") and fit.likelihood.kind == "given_x":
        lines.append(fact("Exogenous variables", "given (fixed.x)"))
    elif options.get("fixed_x"):
        lines.append(fact("Moments of exogenous variables", "fixed (fixed.x)"))
    if options.get("bounds", "none") not in (None, "none"):
        lines.append(fact("Bounds", str(options["bounds"])))
    lines += [Line(""), fact("Number of observations", str(fit.n_obs))]
    if fit.n_dropped:
        lines.append(fact("Rows left out", str(fit.n_dropped)))
    lines.append(fact(f"Number of clusters [{fit.cluster}]", str(fit.n_clusters)))
    if sizes:
        span = str(sizes[0]) if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
        lines.append(fact("Cluster size", span))
    if options.get("missing") == "fiml":
        lines.append(fact("Missing data", "fiml"))
        lines.append(fact("Number of missing patterns", str(fit.n_patterns)))
    return lines


def _integral(fit: FitRecord) -> list[Line]:
    """Over which slopes or latent means the likelihood is an integral, and how well that is computed."""
    names = integrated_slopes(fit)
    means = dict.fromkeys(slope.predictor for slope in fit.slopes if slope.meaning == "latent")
    error = fit.measures.get("loglik_error", math.nan)
    over = ", ".join(names) if names else f"between parts of {', '.join(means)}"
    lines = [fact("Integrated numerically over", over)]
    if math.isnan(error):
        return lines
    lines.append(fact("Quadrature nodes", f"{fit.measures['nodes']:.0f}"))
    limit = 10.0 ** math.ceil(math.log10(max(error, 1e-12)))
    lines.append(fact("Error of the log-likelihood", f"< {limit:.0e}"))
    if error > (ENOUGH if names else EXACT):
        lines.append(Line("    More nodes (nodes, --nodes) make it smaller.", "dim"))
    return lines


def _slopes(fit: FitRecord, width: int) -> list[Line]:
    """Which meaning of its predictor each random slope has, and what that estimates."""
    if not fit.slopes:
        return []
    lines = [Line(""), Line("Random Slopes:", "bold"), Line("")]
    for slope in fit.slopes:
        lines.append(fact(f"{slope.name}: {slope.outcome} on {slope.predictor}", slope.meaning or "random"))
        lines += [Line(line, "dim") for line in wrapped(f"    {slope.estimates}", width, "    ") if slope.estimates]
        if slope.alternatives:
            lines.append(Line("    Other choices of slopes:", "dim"))
        for name, text in slope.alternatives.items():
            lines += [Line(line, "dim") for line in wrapped(f"      {name}: {text}", width, "        ")]
    if "nodes" in fit.measures:
        lines += _integral(fit)
    if "boundary" in fit.measures and fit.converged:
        lines.append(fact("On the boundary", "yes (see notes)" if fit.measures["boundary"] else "no"))
    return lines


def _icc(fit: FitRecord) -> list[Line]:
    if not fit.icc:
        return []
    width = max(17, max(len(name) for name in fit.icc) + 7)
    lines = [Line(""), Line(""), Line(f"Intraclass Correlations ({ICC_WORDS[fit.icc_h1]}):", "bold")]
    return lines + [Line(f"{f'    {name}':<{width}}{number(value):>{CELL}}") for name, value in fit.icc.items()]
