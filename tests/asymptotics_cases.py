"""Populations, and methods that go a way of their own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.result import FitResult, Status, failed
from simstudy.methods import registry
from simstudy.methods.one_level.disaggregated import Disaggregated
from simstudy.methods.protocol import Estimator
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population

SYNTAX = "level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x\ncontextual := bb - bw"
MODEL = TwoLevelModel.from_syntax(SYNTAX)
VALUES = {
    "bw": 0.2, "bb": 0.7, "within: x ~~ x": 0.8, "within: y ~~ y": 0.8, "between: x ~~ x": 0.2,
    "between: y ~~ y": 0.15, "between: x ~ 1": 3.0, "between: y ~ 1": -1.0,
}  # fmt: skip
BALANCED, UNEQUAL = [5] * 40, [2, 4, 4, 9] * 10


def population(sizes=BALANCED, **changes: float) -> Population:
    values = VALUES | {name.replace("_", " "): value for name, value in changes.items()}
    return Population(MODEL, tuple(values[name] for name in MODEL.names), ClusterLayout.of(sizes), "key")


def completed(cls):
    """A class with the defaults that registration would give it."""
    registry.check_class(cls, cls.__qualname__)
    return cls


@completed
@dataclass(frozen=True)
class Plugin(Estimator):
    """`mlm_centered` by ML under another name; variants below change what it asks for."""

    name: ClassVar[str] = "plugin"
    title: ClassVar[str] = "t"
    reference: ClassVar[str] = "r"
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    can: ClassVar[str] = "c"
    cannot: ClassVar[str] = "c"
    needs: ClassVar[str] = "statistics"
    se_kinds: ClassVar[tuple[str, ...]] = ("expected",)

    def supports(self, model, layout):
        return None

    def prepare(self, model, layout):
        return Prepared(registry.create("mlm_centered", {"likelihood": "ml"}).prepare(model, layout), layout)


class Prepared:
    def __init__(self, inner, layout):
        self.inner, self.layout = inner, layout

    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        return self.inner.fit(data)


class AsksForSizes(Plugin):
    """Looks at every cluster's size, when it is made ready."""

    def prepare(self, model, layout):
        assert len(layout.sizes) == layout.n_clusters
        return super().prepare(model, layout)


class AsksForSizesLate(Plugin):
    """Looks at every cluster's size, when it fits."""

    def prepare(self, model, layout):
        class Late(Prepared):
            def fit(self, data):
                assert sum(self.layout.sizes) == self.layout.n_obs
                return super().fit(data)

        return Late(super().prepare(model, layout).inner, layout)


class NeedsClusters(Plugin):
    needs: ClassVar[str] = "clusters"

    def prepare(self, model, layout):
        class Clusters(Prepared):
            def fit(self, data):
                data.clusters()
                return super().fit(data)

        return Clusters(super().prepare(model, layout).inner, layout)


class NeedsRows(Plugin):
    needs: ClassVar[str] = "sample"

    def prepare(self, model, layout):
        class Rows(Prepared):
            def fit(self, data):
                assert isinstance(data, Sample)
                return super().fit(data)

        return Rows(super().prepare(model, layout).inner, layout)


class Shrinks(Plugin):
    """A finite divisor: every estimate times (J - 1) / J."""

    def prepare(self, model, layout):
        class Shrinking(Prepared):
            def fit(self, data):
                found = super().fit(data)
                return replace(found, estimate=found.estimate * (1.0 - 1.0 / self.layout.n_clusters))

        return Shrinking(super().prepare(model, layout).inner, layout)


class UsesMedians(Plugin):
    """Its intercept is a median of cluster means: no function of sums."""

    needs: ClassVar[str] = "clusters"

    def prepare(self, model, layout):
        class Medians(Prepared):
            def fit(self, data):
                found, (means, _) = super().fit(data), data.clusters()
                estimate = found.estimate.copy()
                estimate[:, found.labels.index("bb")] += np.abs(means[..., 0]).mean(axis=1)
                return replace(found, estimate=estimate)

        return Medians(super().prepare(model, layout).inner, layout)


@dataclass(frozen=True)
class OnlyRobust(Disaggregated):
    """Does not let its users choose SE kinds."""

    name: ClassVar[str] = "only_robust"
    se: tuple[str, ...] = field(default=("robust",), init=False)


class Raises(Plugin):
    def prepare(self, model, layout):
        raise ValueError("no good")


class RaisesInSupports(Plugin):
    def supports(self, model, layout):
        raise ValueError("no idea")


class NeverConverges(Plugin):
    def prepare(self, model, layout):
        class Never(Prepared):
            def fit(self, data):
                return failed(MODEL.names, ("expected",), data.n_replicates, Status.MAX_ITER)

        return Never(None, layout)
