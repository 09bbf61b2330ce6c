"""`mlm` and `mlm_centered`: one random-intercept model for every level-1 outcome (THEORY B3, B4, B6, C10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimators.base import FitResult, Needs
from simstudy.estimators.checks import judge_data, refuse_constraints
from simstudy.estimators.equations import combine, fit_level1, level1_equations
from simstudy.estimators.ignoring import IgnoringSlopes, ignoring_supports
from simstudy.estimators.registry import register
from simstudy.model.twolevel import TwoLevelModel


def unsupported(model: TwoLevelModel, layout: ClusterLayout, *, centred: bool) -> str | None:
    """Why random-intercept regressions of the level-1 outcomes cannot be run, or None."""
    equations = level1_equations(model, centred=centred)
    if isinstance(equations, str):
        return equations
    if not equations:
        return "the model has no level-1 outcome"
    most = max(len(equation.targets) for equation in equations)
    if layout.n_clusters <= most or layout.n_obs - layout.n_clusters <= most:
        return "no more clusters than regressors"
    return refuse_constraints(model)


@dataclass(frozen=True)
class RandomIntercepts:
    """What the two methods of this file share."""

    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    centred: ClassVar[bool]

    likelihood: Literal["reml", "ml"] = "reml"

    @property
    def needs(self) -> Needs:
        """Sums suffice."""
        return "statistics"

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """Model-based SEs."""
        return ("expected",)

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """There must be a level-1 outcome, and no label across equations."""
        if model.slopes:
            return ignoring_supports(self, model, layout)
        return unsupported(model, layout, centred=self.centred)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedRegressions | IgnoringSlopes:
        """Build the equations."""
        if model.slopes:
            return IgnoringSlopes(self, model, layout)
        return PreparedRegressions(model, centred=self.centred, reml=self.likelihood == "reml")


@register
@dataclass(frozen=True)
class Mlm(RandomIntercepts):
    """Random-intercept models with predictors as they are: one conflated slope, reported for both levels.

    Attributes
    ----------
    likelihood : str
        ``reml`` (restricted) or ``ml``.
    """

    name: ClassVar[str] = "mlm"
    title: ClassVar[str] = "random-intercept models, predictors uncentred"
    reference: ClassVar[str] = "Raudenbush & Bryk (2002, ch. 5); Krull & MacKinnon (2001)"
    can: ClassVar[str] = "level-1 outcomes with predictors of both levels; SEs that respect the clusters"
    cannot: ClassVar[str] = "separate within from between effects; level-2 outcomes; residual covariances"
    centred: ClassVar[bool] = False


@register
@dataclass(frozen=True)
class MlmCentered(RandomIntercepts):
    """Random-intercept models with cluster-mean-centred predictors plus manifest cluster means.

    The within slope is unbiased; the between slope is that of observed cluster means, which contain within noise.

    Attributes
    ----------
    likelihood : str
        ``reml`` (restricted) or ``ml``.
    """

    name: ClassVar[str] = "mlm_centered"
    title: ClassVar[str] = "random-intercept models, predictors centred, cluster means added"
    reference: ClassVar[str] = "Zhang, Zyphur & Preacher (2009); Lüdtke et al. (2008) on its bias"
    can: ClassVar[str] = "separate within and between effects of level-1 outcomes"
    cannot: ClassVar[str] = "take sampling error out of cluster means; level-2 outcomes; residual covariances"
    centred: ClassVar[bool] = True


class PreparedRegressions:
    """Random-intercept regressions of one model."""

    def __init__(self, model: TwoLevelModel, *, centred: bool, reml: bool) -> None:
        equations = level1_equations(model, centred=centred)
        assert not isinstance(equations, str), equations
        self.model, self.equations, self.centred, self.reml = model, equations, centred, reml

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        statistics = data.statistics(cluster_wise=False) if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        parts = [fit_level1(equation, statistics, reml=self.reml) for equation in self.equations]
        return judge_data(combine(self.model, parts, "expected"), statistics, within=self.centred)
