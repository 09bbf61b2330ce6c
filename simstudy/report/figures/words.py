"""The field's words for factors, measures, parameters and what a figure is based on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from simstudy.performance import MEASURES, PAIRED
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
    if measure not in MEASURES:  # of a table that was made where there was one more
        return measure.replace("_", " ")
    found = MEASURES[measure]
    return found.axis_label.format(level=percent_level(level)) or found.label


def measure_title(measure: str, level: float) -> str:
    """Name of a measure in a title: without the explanation in parentheses."""
    title = MEASURES[measure].title if measure in MEASURES else ""
    return title or measure_words(measure, level).split(" (")[0]


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
    data = data[[name in MEASURES and not MEASURES[name].of_estimate_alone for name in data["measure"]]]
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


def data_notes(data: pd.DataFrame) -> list[str]:
    """On which replicates the numbers are, of which kind of SE, and which are missing."""
    return [basis_note(data), kind_note(data), missing_note(data)]


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
    return series_words([first, *map(inside, others)])


def inside(text: str) -> str:
    """A measure inside a sentence."""
    return text if text[:2].isupper() else text[0].lower() + text[1:]


def figure_title(data: pd.DataFrame, measures: Sequence[str], parameter: str | None, level: float) -> str:
    """Title of a figure of some measures of one parameter, or of the fits."""
    names = joined_titles(data, measures, level)
    return f"{names}: {parameter_name(parameter, str(data['level'].iloc[0]))}" if parameter else names


def about_words(data: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """Truth, and the factors that are the same in all rows."""
    truth = truth_words(data["truth"]) if data["parameter"].iloc[0] else ""
    return "; ".join(text for text in (truth, condition_words(settings)) if text)
