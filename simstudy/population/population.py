"""`Population`: the generating model, its parameter values, and how many clusters of which sizes are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from simstudy.arrays import FloatArray
from simstudy.data.layout import ClusterLayout
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel


@dataclass(frozen=True)
class Moments:
    """Population moments in the order of ``level1 + level2``.

    Attributes
    ----------
    mu : (p,)
    sigma_within : (p1, p1)
    sigma_between : (p, p)
    """

    level1: tuple[str, ...]
    level2: tuple[str, ...]
    mu: FloatArray
    sigma_within: FloatArray
    sigma_between: FloatArray

    def icc(self) -> dict[str, float]:
        """Between share of every level-1 variable's variance."""
        within = np.diag(self.sigma_within)
        between = np.diag(self.sigma_between)[: len(within)]
        return {name: float(b / (b + w)) for name, w, b in zip(self.level1, within, between, strict=True)}


@dataclass(frozen=True)
class Population:
    """Data generation from MSEM parameters.

    Attributes
    ----------
    model : TwoLevelModel
        The generating model.
    values : tuple of float, length q
        Values of its free parameters, in the order of ``model.names``.
    layout : ClusterLayout
    key : str
        Address of its random numbers: a hash of everything that was asked for (not of numerically derived values), so
        that the same population has the same data in every design with the same seed.
    """

    model: TwoLevelModel
    values: tuple[float, ...]
    layout: ClusterLayout
    key: str

    @cached_property
    def moments(self) -> Moments:
        """Population mu, Sigma_within, Sigma_between."""
        mu, within, between = TwoLevelStructure(self.model).moments(np.asarray(self.values))
        return Moments(self.model.level1, self.model.level2, mu, within, between)

    def truth(self, analysed: TwoLevelModel) -> FloatArray:
        """Population values (len(analysed.reported),) of what an analysed model estimates.

        Parameters are matched by label, then by path; ``:=`` parameters are evaluated at the values found. A parameter
        that the generating model does not have is NaN (there is no truth to compare with).
        """
        by_name = dict(zip(self.model.names, self.values, strict=True)) | self.model.table.constants
        by_path: dict[tuple[str, tuple[str, str, str]], float] = {}
        for row in self.model.table.rows:
            by_path[row.level, row.key] = self.values[row.free] if row.free >= 0 else row.value
        found = np.full(len(analysed.names), np.nan)
        for row in analysed.table.rows:
            if row.free < 0 or not np.isnan(found[row.free]):
                continue
            if row.label and row.label in by_name:
                found[row.free] = by_name[row.label]
            else:
                found[row.free] = by_path.get((row.level, row.key), np.nan)
        return np.concatenate([found, analysed.estimands.evaluate(found)])
