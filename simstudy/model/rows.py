"""`Parameter`: one entry of a model matrix, and how it is named."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Parameter:
    """One entry of a model matrix.

    Attributes
    ----------
    lhs, op, rhs : str
        As in lavaan; ``op`` is one of ``=~ ~ ~~ ~1``.
    level : str
        ``within`` or ``between``.
    label : str
        User label, or empty.
    free : int
        Index into the vector of free parameters, or -1 when fixed.
    value : float
        The value it is fixed at (NaN when free).
    start : float
        The user's starting value (NaN when not given).
    user : bool
        Whether the model text names it; False for defaults.
    slope : str
        The random slope that a path of the within block has in place of a parameter (it is fixed at 0), or empty.
    tie : str
        What it shares with the parameters that ``equal()`` equates it with, or empty.
    lower, upper : float
        Bounds; infinite where there are none.
    """

    lhs: str
    op: str
    rhs: str
    level: str
    label: str = ""
    free: int = -1
    value: float = np.nan
    start: float = np.nan
    user: bool = True
    slope: str = ""
    tie: str = ""
    lower: float = -np.inf
    upper: float = np.inf

    @property
    def path(self) -> str:
        """Its address, such as ``between: y ~~ y`` or ``between: y ~ 1``."""
        return path_name(self.level, self.lhs, self.op, self.rhs)

    @property
    def key(self) -> tuple[str, str, str]:
        """(lhs, op, rhs) with the sides of a covariance in alphabetical order."""
        return normal_key(self.lhs, self.op, self.rhs)


def normal_key(lhs: str, op: str, rhs: str) -> tuple[str, str, str]:
    """Address without level; covariances are symmetric."""
    if op == "~~" and rhs < lhs:
        lhs, rhs = rhs, lhs
    return lhs, op, rhs


def path_name(level: str, lhs: str, op: str, rhs: str) -> str:
    """Name of an unlabelled parameter."""
    return f"{level}: {lhs} ~ 1" if op == "~1" else f"{level}: {lhs} {op} {rhs}"
