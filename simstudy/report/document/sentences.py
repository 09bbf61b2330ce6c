"""What a design says of a study, in words and small tables: the ADEMP parts that exist before any run.

ADEMP: aims, data-generating mechanisms, estimands, methods, performance measures (Morris, White & Crowther 2019,
Statistics in Medicine 38:2074).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from simstudy.design import Cell, Design, EstimatorEntry
from simstudy.model.parameters import Parameter
from simstudy.population.distributions import LevelDistribution
from simstudy.report.figures.panels import in_level_order
from simstudy.report.figures.words import factor_label
from simstudy.report.tables.text import UNDEFINED, TextTable, fixed, setting


def listing(items: Iterable[str], last: str = "and") -> str:
    """Join as prose does: ``a, b and c``."""
    found = list(items)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} {last} {found[-1]}" if found else "none"


def counted(number: int, noun: str) -> str:
    """Return e.g. ``1 method``, ``6 methods``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _range(values: Sequence[float], decimals: int = 4) -> str:
    """One number, or the smallest and the largest."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return UNDEFINED
    low, high = (fixed(value, decimals).rstrip("0").rstrip(".") for value in (min(known), max(known)))
    return low if low == high else f"{low} to {high}"


# ---------------------------------------------------------------------------------------- data-generating mechanisms


def factor_levels(design: Design) -> list[tuple[str, tuple[str, ...]]]:
    """Each factor in the field's words, and its levels in order."""
    return [
        (factor_label(name), tuple(map(setting, in_level_order([cell.factors[name] for cell in design.cells]))))
        for name in design.factor_names
    ]


def combination(design: Design) -> str:
    """How factor levels are combined, and how many cells that makes."""
    levels = factor_levels(design)
    cells = len(design.cells)
    if not levels:
        return "No factor is varied: there is one condition."
    product = " x ".join(f"{len(values)} ({name})" for name, values in levels)
    full = math.prod(len(values) for _, values in levels)
    if len(levels) == 1:
        return f"One factor is varied: {cells} condition{'s' * (cells != 1)}."
    if cells == full:
        return f"Fully factorial: {product} = {cells} conditions."
    return (
        f"Partially factorial: of {product} = {full} combinations, {full - cells} are excluded by the design, which "
        f"leaves {cells} conditions."
    )


def generation(design: Design) -> list[str]:
    """Sentences on how data are made."""
    first = design.cells[0].population
    model = first.model
    level1, level2 = model.level1, model.level2
    said = [
        "Parametric. Individuals i are nested in clusters j. Every level-1 variable is the sum of a latent between "
        "part and a latent within part, y_ij = mu + y_Bj + y_Wij, which are independent with covariance matrices "
        "Sigma_between and Sigma_within, implied by the generating model (Muthén & Asparouhov 2008).",
        f"Measured on individuals: {listing(level1)}"
        + (f"; measured on clusters: {listing(level2)}." if level2 else "; no variable is measured on clusters."),
        *_distribution(design),
        *_slopes(design),
        *_missingness(design),
        _sizes(design),
    ]
    generating = " ".join(model.syntax.split()) != " ".join(design.model.syntax.split())
    if generating:
        said.append("The generating model is not the analysed one: the study is about misspecification.")
    said.append(
        "Generating values were calibrated exactly: residual variances follow from the values, total variances and "
        "ICCs that the design asks for."
    )
    return said


def _distribution(design: Design) -> list[str]:
    kinds = {cell.population.distribution for cell in design.cells}
    if all(kind.normal for kind in kinds):
        return ["The parts of both levels are multivariate normal."]
    found = dict.fromkeys(
        f"within clusters {_shape(kind.within)}, between clusters {_shape(kind.between)}" for kind in kinds
    )
    return [f"Distributions: {'; or '.join(sorted(found))}. Means and covariances are those of the model throughout."]


def _shape(level: LevelDistribution) -> str:
    if level.kind == "t":
        return f"multivariate t with {level.df:g} degrees of freedom (one chi-square per {level.per})"
    if level.kind == "vale_maurelli":
        moments = listing(f"{name}: {skewness:g}, {kurtosis:g}" for name, skewness, kurtosis in level.marginals)
        return f"non-normal by Vale & Maurelli (1983) with skewness and excess kurtosis {moments}"
    return "normal"


def _slopes(design: Design) -> list[str]:
    population = design.cells[0].population
    slopes = population.model.slopes
    if not slopes:
        return []
    named = listing(f"{slope.name} (of {slope.outcome} on {slope.predictor})" for slope in slopes)
    what = "the predictor as observed" if population.slopes == "observed" else "the predictor's latent within part"
    return [
        f"Slopes that vary over clusters: {named}. They are random elements of the between level and multiply {what}; "
        "observed variables are then not normal, and the covariances below are averages over clusters."
    ]


def _missingness(design: Design) -> list[str]:
    rules = dict.fromkeys(rule for cell in design.cells for rule in cell.population.missing if rule.rate > 0)
    if not rules:
        return []
    texts = [
        f"{rule.variable}: {100 * rule.rate:g} % "
        + (f"at random given {rule.on} (log odds {rule.slope:g} a unit)" if rule.on else "completely at random")
        for rule in rules
    ]
    return [f"Values are missing in {'; '.join(texts)}."]


def _sizes(design: Design) -> str:
    layouts = [cell.population.layout for cell in design.cells]
    j, n = [layout.n_clusters for layout in layouts], [layout.n_obs for layout in layouts]
    unequal = sum(not layout.balanced for layout in layouts)
    how = (
        "all clusters of a condition have one size"
        if not unequal
        else "cluster sizes are unequal in every condition"
        if unequal == len(layouts)
        else f"cluster sizes are unequal in {unequal} of {len(layouts)} conditions"
    )
    return (
        f"{_range(j)} clusters and {_range(n)} individuals in all; {how}. Unequal sizes are fixed by the design, not "
        "drawn."
    )


def implied_moments(cell: Cell) -> tuple[TextTable, TextTable]:
    """Moments that a cell's generating model implies: one table a variable's facts, one of covariances.

    ICC is the between share of the total variance; the reliability of an observed cluster mean is
    tau^2 / (tau^2 + sigma^2 / c) with c the cluster size of unbalanced analysis of variance (Raudenbush & Bryk 2002).
    """
    moments = cell.population.moments
    names = moments.level1 + moments.level2
    p1 = len(moments.level1)
    within, between = np.diagonal(moments.sigma_within), np.diagonal(moments.sigma_between)
    size = cell.population.layout.anova_size
    rows = []
    for k, name in enumerate(names):
        w, b = (float(within[k]) if k < p1 else 0.0), float(between[k])
        icc, reliability = (b / (b + w), b / (b + w / size)) if k < p1 and b + w > 0 else (math.nan, math.nan)
        rows.append((name, *(_number(value) for value in (float(moments.mu[k]), w, b, icc, reliability))))
    facts = TextTable(
        ("Variable", "Mean", "Within variance", "Between variance", "ICC", "Reliability"),
        tuple(rows),
        title="Means, variances, ICC and reliability of an observed cluster mean",
    )
    pairs = []
    for i, a in enumerate(names):
        for k in range(i):
            w = float(moments.sigma_within[i, k]) if i < p1 and k < p1 else math.nan
            b = float(moments.sigma_between[i, k])
            cells = (w, _correlation(w, within, i, k), b, _correlation(b, between, i, k))
            pairs.append((f"{names[k]}, {a}", *map(_number, cells)))
    covariances = TextTable(
        ("Pair", "Within covariance", "Within correlation", "Between covariance", "Between correlation"),
        tuple(pairs),
        title="Covariances and correlations",
    )
    return facts, covariances


def _correlation(covariance: float, variances: np.ndarray, i: int, k: int) -> float:
    if math.isnan(covariance) or max(i, k) >= len(variances) or variances[i] * variances[k] <= 0:
        return math.nan
    return covariance / math.sqrt(float(variances[i]) * float(variances[k]))


def _number(value: float) -> str:
    return UNDEFINED if math.isnan(value) else fixed(value, 4)


# ------------------------------------------------------------------------------------------------ estimands, methods


def estimands(design: Design) -> TextTable:
    """Everything that is estimated and has a true value: name, level, meaning, truth over cells."""
    model = design.model
    truths = np.array([cell.population.truth(model) for cell in design.cells])
    meanings = [*_meanings(model.table.rows, len(model.names)), *(text for _, text in _definitions(design))]
    rows = [
        (name, level or "defined", meaning, _range(truths[:, k].tolist()))
        for k, (name, level, meaning) in enumerate(zip(model.reported, model.reported_levels, meanings, strict=True))
    ]
    labelled = [row for row in rows if not row[0].startswith(("within:", "between:"))] or rows
    return TextTable(
        ("Estimand", "Level", "What it is", "True value"),
        tuple(labelled),
        left=3,
        title="Estimands and their true values (smallest to largest over conditions)",
    )


def _meanings(rows: Sequence[Parameter], count: int) -> list[str]:
    found = [""] * count
    for row in rows:
        if row.free >= 0:
            text = _meaning(row)
            found[row.free] = f"{found[row.free]}; {text}" if found[row.free] else text
    return found


def _meaning(row: Parameter) -> str:
    match row.op:
        case "~":
            return f"slope of {row.lhs} on {row.rhs}"
        case "=~":
            return f"loading of {row.rhs} on {row.lhs}"
        case "~1":
            return f"intercept or mean of {row.lhs}"
        case _ if row.lhs == row.rhs:
            return f"(residual) variance of {row.lhs}"
        case _:
            return f"(residual) covariance of {row.lhs} and {row.rhs}"


def _definitions(design: Design) -> list[tuple[str, str]]:
    return [(name, f":= {expression.text}") for name, expression in design.model.estimands.definitions]


@dataclass(frozen=True)
class Method:
    """One method of a study, in words.

    Attributes
    ----------
    name, title, reference, can, cannot : str
    options : str
        Every option and its value.
    se_kinds : str
    unsupported : str
        In which conditions it cannot be used, and why; empty if everywhere it can.
    """

    name: str
    title: str
    reference: str
    can: str
    cannot: str
    options: str
    se_kinds: str
    unsupported: str


def methods(design: Design) -> list[Method]:
    """The methods of a design, in its order."""
    reasons = design.unsupported()
    found = []
    for entry in design.estimators:
        counts: dict[str, int] = {}
        for cell in design.cells:
            if (reason := reasons.get((entry.name, cell.index))) is not None:
                counts[reason] = counts.get(reason, 0) + 1
        where = "; ".join(f"{text} ({n} of {len(design.cells)} conditions)" for text, n in counts.items())
        estimator = entry.estimator
        found.append(
            Method(
                entry.name,
                estimator.title,
                estimator.reference,
                estimator.can,
                estimator.cannot,
                _options(entry),
                ", ".join(estimator.se_kinds),
                where,
            )
        )
    return found


def _options(entry: EstimatorEntry) -> str:
    texts = []
    for name, value in entry.options.items():
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        texts.append(f"{name} = {shown}")
    return "; ".join(texts)


# ---------------------------------------------------------------------------------------------- performance, precision


def intervals(design: Design) -> str:
    """Which intervals are computed."""
    kinds = {
        "wald": "Wald intervals (estimate -+ z SE)",
        "montecarlo": f"Monte Carlo intervals of defined parameters ({design.intervals.draws:,} draws)",
    }
    named = listing(kinds[kind] for kind in design.intervals.kinds)
    return f"{100 * design.intervals.level:g} % {named[0].upper() + named[1:]}"


def precision(design: Design) -> str:
    """What Monte Carlo error the number of replications leaves (Morris, White & Crowther 2019, Table 6)."""
    n, level = design.replications, design.intervals.level
    nominal, worst = math.sqrt(level * (1 - level) / n), 0.5 / math.sqrt(n)
    return (
        f"{n:,} replications a condition: the Monte Carlo standard error (MCSE) of a coverage of {level:g} is "
        f"{nominal:.4f}, of any rate at most {worst:.4f}; that of a bias is the empirical standard error / sqrt({n}) = "
        f"{1 / math.sqrt(n):.4f} empirical standard errors."
    )
