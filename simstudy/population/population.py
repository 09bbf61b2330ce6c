"""`Population`: the generating model, its parameter values, the clusters, the distribution, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.linalg.stacked import FloatArray
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.slope_structure import Meaning, SlopeStructure
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.distributions import NORMAL_POPULATION, Distribution, Shape
from simstudy.population.missing import MissingRule, Rates, rates

Paths = dict[tuple[str, tuple[str, str, str]], float]


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
    distribution : Distribution
        Of the deviations at each level; normal unless said otherwise.
    missing : tuple of MissingRule
        Which variables have missing values, and by what mechanism.
    data_key : str
        Address of the complete data, where it is not ``key``: the key of the same population without missing values,
        so that both have the same data sets but for the values that are missing.
    slopes : str
        What a random slope multiplies: ``latent``, the deviation of its predictor from the cluster's latent mean (which
        is 0 where the predictor lives within clusters only), or ``observed``, the predictor itself.
    """

    model: TwoLevelModel
    values: tuple[float, ...]
    layout: ClusterLayout
    key: str
    distribution: Distribution = NORMAL_POPULATION
    missing: tuple[MissingRule, ...] = ()
    data_key: str = ""
    slopes: Meaning = "latent"

    def __post_init__(self) -> None:
        if not self.data_key:
            object.__setattr__(self, "data_key", self.key)

    @cached_property
    def moments(self) -> Moments:
        """Population mu, Sigma_within, Sigma_between."""
        values = np.asarray(self.values)
        if self.model.slopes:
            mu, within, between = SlopeStructure(self.model).moments(values, self.slopes)
        else:
            mu, within, between = TwoLevelStructure(self.model).moments(values)
        return Moments(self.model.level1, self.model.level2, mu, within, between)

    @property
    def normal(self) -> bool:
        """Whether complete data are normal: statistics are then sufficient, and drawn directly.

        Products of random slopes and predictors are not, whatever the distribution.
        """
        return self.distribution.normal and not self.model.slopes

    @property
    def has_missing(self) -> bool:
        """Whether values are missing: only rows can then be drawn."""
        return any(rule.rate > 0.0 for rule in self.missing)

    @property
    def complete(self) -> Population:
        """The same population, with the same data sets, before values are missing."""
        return replace(self, key=self.data_key, missing=())

    @cached_property
    def shapes(self) -> tuple[Shape, Shape]:
        """From standard normals to deviations within and between clusters.

        With random slopes: to the within deviations that do not come through them, those of factors that carry slopes
        included, and to random elements (intercepts, slopes, level-2 variables).

        Raises
        ------
        DesignError
            If no distribution of the kind asked for has this population's moments.
        """
        if self.model.slopes:
            structure, values = SlopeStructure(self.model), np.asarray(self.values)
            outer, place = structure.between.implied(values).sigma, structure.carriers
            inner = structure.within.implied(values).cov[np.ix_(place, place)]
            names = [structure.within.maps.variables[k] for k in place]
            first = self.distribution.within.shape(names, inner, "within")
            return first, self.distribution.between.shape(structure.elements, outer, "between")
        m = self.moments
        within = self.distribution.within.shape(m.level1, m.sigma_within, "within")
        return within, self.distribution.between.shape(m.level1 + m.level2, m.sigma_between, "between")

    @cached_property
    def missing_rates(self) -> Rates:
        """What is missing, as functions of what is observed.

        Raises
        ------
        DesignError
            If a rule names a variable that is not there, or that has missing values itself.
        """
        m = self.moments
        return rates(self.missing, m.level1, m.level2, m.mu, m.sigma_within, m.sigma_between, self.layout)

    def truth(self, analysed: TwoLevelModel) -> FloatArray:
        """Population values (len(analysed.reported),) of what an analysed model estimates.

        Parameters are matched by label, then by path; ``:=`` parameters are evaluated at the values found. A parameter
        that the generating model does not have is NaN (there is no truth to compare with). Where a slope is random in
        one of the models only, its mean and the fixed path are the same parameter, and a fixed slope has variance 0.
        """
        by_name = dict(zip(self.model.names, self.values, strict=True)) | self.model.table.constants
        by_path: Paths = {}
        for row in self.model.table.rows:
            by_path[row.level, row.key] = self.values[row.free] if row.free >= 0 else row.value
        by_path |= self._slope_paths(analysed, by_path)
        found = np.full(len(analysed.names), np.nan)
        for row in analysed.table.rows:
            if row.free < 0 or not np.isnan(found[row.free]):
                continue
            if row.label and row.label in by_name:
                found[row.free] = by_name[row.label]
            else:
                found[row.free] = by_path.get((row.level, row.key), np.nan)
        return np.concatenate([found, analysed.estimands.evaluate(found)])

    def _slope_paths(self, analysed: TwoLevelModel, known: Paths) -> Paths:
        """Truths of what is a random slope here and a fixed path in the analysed model, or the other way round."""
        paths: Paths = {}
        mine = {(slope.outcome, slope.predictor): slope.name for slope in self.model.slopes}
        if mine:
            structure = SlopeStructure(self.model)
            means = structure.between.implied(np.asarray(self.values)).mu
            at = {name: float(means[i]) for i, name in enumerate(structure.elements)}
            for (outcome, predictor), name in mine.items():
                paths["within", (outcome, "~", predictor)] = at[name]
        for slope in analysed.slopes:
            path = ("within", (slope.outcome, "~", slope.predictor))
            if (slope.outcome, slope.predictor) in mine or path not in known:
                continue
            for row in analysed.table.at("between"):
                if row.op == "~~" and slope.name in (row.lhs, row.rhs):
                    paths["between", row.key] = 0.0
            paths["between", (slope.name, "~1", "")] = known[path]
        return paths
