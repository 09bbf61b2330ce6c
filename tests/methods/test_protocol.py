"""What a method may leave unsaid has a default, for classes that inherit nothing too; kinds of data are open."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.errors import EstimatorError
from simstudy.estimation.result import FitResult
from simstudy.methods import ask, protocol, registry
from simstudy.methods.fixed_slopes import WithFixedSlopes
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population import data_kinds
from simstudy.testing import check_estimator

MODEL = TwoLevelModel.from_syntax("level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x")
SLOPES = TwoLevelModel.from_syntax('level: within\n y ~ rv("s")*x\nlevel: between\n y + s ~ w')


@dataclass(frozen=True)
class Halves:
    """Rows, and which half of the data each belongs to: a kind of data of a method from elsewhere."""

    sample: Sample

    @property
    def n_replicates(self) -> int:
        return self.sample.n_replicates

    def select(self, replicates: Any) -> Halves:
        return Halves(self.sample.select(replicates))


@dataclass(frozen=True)
class OwnData:
    """A method that inherits nothing, says the least there is to say, and needs its own kind of data."""

    name: ClassVar[str] = "own_data"
    title: ClassVar[str] = "least squares on all rows"
    reference: ClassVar[str] = "nobody (2026)"
    levels: ClassVar[tuple[str, ...]] = ("within",)
    can: ClassVar[str] = "one slope"
    cannot: ClassVar[str] = "anything else"

    @property
    def needs(self) -> str:
        return "halves"

    @property
    def se_kinds(self) -> tuple[str, ...]:
        return ("expected",)

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        return None if "bw" in model.names else "there is no bw"

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> OwnData:
        return replace(self)

    def fit(self, data: Halves) -> FitResult:
        assert isinstance(data, Halves)
        raise NotImplementedError


@pytest.fixture(autouse=True)
def own_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    monkeypatch.setattr(data_kinds, "_KINDS", dict(data_kinds._KINDS))
    data_kinds.register_data_kind(
        data_kinds.DataKind("halves", lambda *where: Halves(data_kinds.SAMPLE.draw(*where)), Halves)
    )


def test_a_class_that_says_the_least_has_the_defaults() -> None:
    registry.register(OwnData)
    method = registry.create("own_data")
    assert isinstance(method, protocol.Estimator)
    assert (method.year, method.idea, method.same_as, method.look) == (None, "", "", None)
    assert method.asked_for is method
    assert method.for_model(MODEL) is method
    assert method.caveats(MODEL) == ()
    assert not method.takes_missing
    chosen = ask.for_model(method, SLOPES)
    assert isinstance(chosen, WithFixedSlopes)
    assert chosen.slope_meaning(SLOPES, SLOPES.slopes[0]) == "fixed"
    assert chosen.asked_for is method


def test_an_unknown_kind_of_data_is_named() -> None:
    with pytest.raises(EstimatorError, match=r"unknown kind of data 'sampel' .did you mean 'sample'"):
        data_kinds.data_kind("sampel")


def test_a_kind_of_data_is_registered_once() -> None:
    with pytest.raises(EstimatorError, match="registered twice"):
        data_kinds.register_data_kind(data_kinds.DataKind("halves", data_kinds.SAMPLE.draw, Halves))


def test_what_one_kind_holds_is_not_drawn_twice() -> None:
    assert data_kinds.kind_that_serves("statistics", {"statistics", "clusters"}).name == "clusters"
    assert data_kinds.kind_that_serves("statistics", {"statistics", "sample"}).name == "statistics"


def test_the_contract_draws_a_methods_own_kind_of_data() -> None:
    """It gets as far as the fit, which this method does not have."""
    with pytest.raises(AssertionError, match=r"fit\(\) stopped with an error: NotImplementedError"):
        check_estimator(OwnData)


def test_options_are_set_where_they_exist() -> None:
    msem = registry.create("msem", {"measures": True})
    assert registry.with_option(msem, "measures", False) == registry.create("msem")
    twin = registry.create("disaggregated_robust")
    assert registry.with_option(twin, "se", ("expected",)) is twin  # what a twin holds fixed is no option


def test_arrays_are_found_among_many_clusters() -> None:
    """Sizes are not moved one by one: theory takes tens of thousands of clusters, and every fit looks for arrays."""
    layout = ClusterLayout.of([2, 3] * 100_000)
    first, second = np.zeros(3), np.ones(2)
    start = time.process_time()
    found = data_kinds.arrays_of(SimpleNamespace(layout=layout, held={"a": (first, 1, "text"), "b": [second, None]}))
    assert time.process_time() - start < 2.0  # a hundredth of it; minutes where each step moves the others
    assert [id(array) for array in found] == [id(first), id(second)]
