"""The field's words for factors, measures, parameters and what a figure is based on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from simstudy.performance import CATALOG, LABELS, PAIRED
from simstudy.performance.choose import LEVEL_PREFIXES
from simstudy.report.tables.text import setting

FACTOR_LABELS: Mapping[str, str] = {
    "n_clusters": "Number of clusters (J)",
    "cluster_size": "Cluster size (n)",
    "n_obs": "Sample size (N)",
    "icc": "Intraclass correlation (ICC)",
}
SHORT_LABELS: Mapping[str, str] = {"n_clusters": "J", "cluster_size": "n", "n_obs": "N", "icc": "ICC"}
STRIP_LABELS: Mapping[str, str] = {**SHORT_LABELS, "cluster_size": "Cluster size"}
MEASURE_WORDS: Mapping[str, str] = {
    "mean_estimate": "Mean estimate",
    "bias": "Bias (mean estimate − truth)",
    "relative_bias": "Relative bias (bias / truth)",
    "median_bias": "Median bias (median estimate − truth)",
    "empirical_se": "Empirical SE (SD of the estimates)",
    "mean_se": "Mean SE",
    "model_se": "Model SE (root mean square)",
    "se_ratio": "SE ratio (model SE / empirical SE)",
    "rmse": "RMSE",
    "trimmed_bias": "Trimmed bias (20% trimmed mean − truth)",
    "mad_se": "MAD SE (robust SD of the estimates)",
    "median_se": "Median SE",
    "mse": "Mean squared error",
    "median_abs_error": "Median absolute error",
    "miss_below": "Intervals below the truth (share)",
    "miss_above": "Intervals above the truth (share)",
    "ci_width": "Mean width of the intervals",
    "bias_difference": "Difference in bias",
    "rmse_difference": "Difference in RMSE",
    "relative_precision": "Gain in precision (relative)",
    "coverage_difference": "Difference in coverage",
    "rejection_difference": "Difference in rejection rates",
    "ci_width_difference": "Difference in width of the intervals",
    "bias_eliminated_coverage": "Bias-eliminated coverage",
    "convergence": "Converged (share of replicates)",
    "admissibility": "Admissible (share of converged)",
}
"""Axis labels; other measures have the heading of the tables."""
MEASURE_TITLES: Mapping[str, str] = {"convergence": "Convergence", "admissibility": "Admissibility"}


INTERVAL_PAIRS = ("coverage_difference", "rejection_difference", "ci_width_difference")
"""Differences between methods that depend on the kind of SE."""
MAX_NAMED = 3
"""Methods that are named in a file name."""
_BOUNDS = {"lower_bound": "every failed one counted as a miss", "upper_bound": "every failed one counted as a hit"}


def factor_label(factor: str, *, short: bool = False) -> str:
    """Name of a factor in the field's words."""
    return (SHORT_LABELS if short else FACTOR_LABELS).get(factor, factor.replace("_", " "))


def level_text(value: object) -> str:
    """Level of a factor, on one line."""
    return setting(value).replace(" ", "\u00a0")


def strip_label(factor: str) -> str:
    """Name of a factor in the title of a panel."""
    return STRIP_LABELS.get(factor, factor.replace("_", " "))


def measure_words(measure: str, level: float) -> str:
    """Axis label of a measure."""
    if measure == "coverage":
        return f"Coverage of {percent_level(level)} intervals"
    return MEASURE_WORDS.get(measure, LABELS.get(measure, measure.replace("_", " ")))


def measure_title(measure: str, level: float) -> str:
    """Name of a measure in a title: without the explanation in parentheses."""
    return MEASURE_TITLES.get(measure, measure_words(measure, level).split(" (")[0])


def percent_level(level: float) -> str:
    """Write .95 as ``95%``."""
    return f"{100.0 * level:.6g}%"


def parameter_name(name: str, level: str) -> str:
    """Name and level of a parameter."""
    return f"{name} ({level})" if level and not name.startswith(LEVEL_PREFIXES) else name


def truth_words(truth: pd.Series) -> str:
    """Return ``truth 0.7``, a range where it depends on the condition, or that there is none."""
    found = np.unique(truth.to_numpy(dtype=np.float64))
    known = found[np.isfinite(found)]
    if not len(known):
        return "no true value"
    if len(known) == 1:
        return f"truth {known[0]:.4g}"
    return f"truth {known[0]:.4g} to {known[-1]:.4g} by condition"


def count_words(counts: pd.Series) -> str:
    """Return ``300`` or ``287 to 300``."""
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def basis_note(data: pd.DataFrame) -> str:
    """What replicates the numbers are from, and how many there are of them."""
    spoken = data[data["n"] > 0]
    attempted = count_words(data["n_attempted"])
    n = count_words(spoken["n"]) if len(spoken) else "0"
    of = f"{n} of {attempted}" if n != attempted else attempted
    basis = str(data["basis"].iloc[0]) if data["basis"].nunique() == 1 else ""
    if basis == "common":
        return f"Replicates on which every method succeeded, {of} a cell."
    if basis == PAIRED:
        reference = series_words(names_of(data["reference"]))
        return f"Each method against {reference} on the replicates on which both succeeded, {of} a cell."
    if basis in _BOUNDS:
        return f"All {attempted} replicates a cell, {_BOUNDS[basis]}."
    if not (data["parameter"] != "").any():
        return f"{attempted} replicates a cell."
    return f"Each method on its own converged replicates, {of} a cell."


def names_of(column: pd.Series) -> list[str]:
    """Distinct texts, without the empty one."""
    return [str(name) for name in column.unique() if name]


def kind_note(data: pd.DataFrame) -> str:
    """Name the kinds of SE that the numbers depend on; nothing where they depend on none."""
    scopes = {measure.name: measure.scope for measure in CATALOG}
    data = data[[scopes.get(name, "") in ("se", "interval") or name in INTERVAL_PAIRS for name in data["measure"]]]
    kinds = data.loc[data["value"].notna(), ["estimator", "se_kind"]].drop_duplicates("estimator")
    found = [kind for kind in kinds["se_kind"].unique() if kind]
    if len(found) <= 1:
        return f"SE: {found[0]}." if found else ""
    pairs = (f"{name} {kind}" for name, kind in kinds.itertuples(index=False, name=None) if kind)
    return f"SE: {', '.join(pairs)}."


def missing_note(data: pd.DataFrame) -> str:
    """Name the methods that lack a number, in some cells or in all."""
    partly, never = [], []
    several = data["measure"].nunique() > 1
    for (measure, name), mine in data.groupby(["measure", "estimator"], sort=False):
        silent = int(mine["value"].isna().sum())
        of = f" ({measure_title(str(measure), 0.95).lower()})" if several else ""
        if silent == len(mine):
            never.append(f"{name}{of}")
        elif silent:
            partly.append(f"{name} in {silent} of {len(mine)} cells{of}")
    parts = [f"No number: {', '.join(partly)}."] if partly else []
    if never:
        parts.append(f"Without any number (n/a): {', '.join(never)}.")
    return " ".join(parts)


def sentences(*notes: str) -> tuple[str, ...]:
    """Notes in one paragraph, without empty ones."""
    return (" ".join(note for note in notes if note),)


def condition_words(settings: Mapping[str, object]) -> str:
    """Return ``J = 100, n = 10, ICC = 0.1``."""
    return ", ".join(f"{factor_label(name, short=True)} = {setting(value)}" for name, value in settings.items())


def series_words(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def rejection_words(truth: pd.Series) -> str:
    """Name of the rejection rate, which depends on the truth."""
    values = truth.to_numpy(dtype=np.float64)
    if np.all(values == 0.0):
        return "Type I error rate"
    return "Power" if np.all(np.isfinite(values) & (values != 0.0)) else "Rejection rate"


def measure_subject(data: pd.DataFrame, measure: str, level: float) -> str:
    """Name of a measure in a title."""
    return rejection_words(data["truth"]) if measure == "rejection" else measure_title(measure, level)


def joined_titles(data: pd.DataFrame, measures: Sequence[str], level: float) -> str:
    """Names of several measures in one title."""
    first, *others = (measure_subject(data, name, level) for name in measures)
    return series_words([first, *(text if text[:2].isupper() else text[0].lower() + text[1:] for text in others)])


def about_words(data: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """Truth, and the factors that are the same in all rows."""
    truth = truth_words(data["truth"]) if data["parameter"].iloc[0] else ""
    return "; ".join(text for text in (truth, condition_words(settings)) if text)


def chosen_words(
    x: str | None = None,
    basis: str = "casewise",
    se_kind: str | None = None,
    estimators: Sequence[str] | None = None,
    cells: Sequence[int] | None = None,
    where: Mapping[str, object] | None = None,
) -> list[str]:
    """Parts of a file name that say what was chosen, so that one figure does not overwrite another."""
    methods = list(estimators or ())
    return [
        f"by-{x}" if x else "",
        "" if basis == "casewise" else basis,
        se_kind or "",
        "-".join(methods) if len(methods) <= MAX_NAMED else f"{len(methods)}-methods",
        *(f"{name}-{setting(level)}" for name, level in (where or {}).items()),
        f"cell-{'-'.join(str(cell) for cell in cells)}" if cells else "",
    ]
