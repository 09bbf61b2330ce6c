"""How methods look and what factors are called, the same in every figure of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

LineStyle: TypeAlias = Literal["-"] | tuple[float, Sequence[float]]

# Okabe & Ito (2008), without the yellow that vanishes on white paper.
COLOURS: tuple[str, ...] = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
LINES: tuple[LineStyle, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2)))

FACTOR_LABELS: Mapping[str, str] = {
    "n_clusters": "Number of clusters (J)",
    "cluster_size": "Cluster size (n)",
    "n_obs": "Sample size (N)",
    "icc": "ICC",
}
SHORT_LABELS: Mapping[str, str] = {"n_clusters": "J", "cluster_size": "Cluster size", "n_obs": "N", "icc": "ICC"}


@dataclass(frozen=True)
class MethodStyle:
    """Colour, marker and line of one method; each of the three alone tells up to five methods apart in grey print.

    Parameters
    ----------
    colour : str
        Hexadecimal RGB.
    marker : str
        Matplotlib marker.
    line : str or tuple
        Matplotlib line style.
    filled : bool
        Whether the marker is filled.
    """

    colour: str
    marker: str
    line: LineStyle
    filled: bool


def method_styles(estimators: Sequence[str]) -> dict[str, MethodStyle]:
    """Styles by position in the study's list of methods, so that a method looks the same in every figure."""
    return {
        name: MethodStyle(
            COLOURS[place % len(COLOURS)],
            MARKERS[place % len(MARKERS)],
            LINES[place % len(LINES)],
            place % 2 == 0,
        )
        for place, name in enumerate(estimators)
    }


def factor_label(factor: str, *, short: bool = False) -> str:
    """Name of a factor in the field's words."""
    known = SHORT_LABELS if short else FACTOR_LABELS
    return known.get(factor, factor.replace("_", " "))
