"""A method that is used in another way for some models: it keeps its name, options and story."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, ClassVar

from simstudy.methods.likelihood_of import LikelihoodOf
from simstudy.methods.look import Look
from simstudy.methods.protocol import Diagnostic, Estimator
from simstudy.model.twolevel import TwoLevelModel


def said_by_method(member: str) -> Any:
    """A member that is the method's own."""
    return property(attrgetter(f"method.{member}"))


@dataclass(frozen=True)
class Substitute(Estimator):
    """What stands in for a method where a model has random slopes.

    Attributes
    ----------
    method : Estimator
        The method, with its options.
    """

    name: ClassVar[str] = said_by_method("name")
    title: ClassVar[str] = said_by_method("title")
    reference: ClassVar[str] = said_by_method("reference")
    levels: ClassVar[tuple[str, ...]] = said_by_method("levels")
    can: ClassVar[str] = said_by_method("can")
    cannot: ClassVar[str] = said_by_method("cannot")
    year: ClassVar[int | None] = said_by_method("year")
    idea: ClassVar[str] = said_by_method("idea")
    same_as: ClassVar[str] = said_by_method("same_as")
    theory: ClassVar[tuple[str, ...]] = said_by_method("theory")
    look: ClassVar[Look | None] = said_by_method("look")
    imposes_constraints: ClassVar[bool] = said_by_method("imposes_constraints")
    imposes_bounds: ClassVar[bool] = said_by_method("imposes_bounds")
    likelihood_of_model: ClassVar[bool] = said_by_method("likelihood_of_model")
    needs_random: ClassVar[bool] = said_by_method("needs_random")
    interval_kinds: ClassVar[tuple[str, ...]] = said_by_method("interval_kinds")
    diagnostics: ClassVar[tuple[Diagnostic, ...]] = said_by_method("diagnostics")
    random_slopes: ClassVar[bool] = True

    method: Estimator

    @property
    def needs(self) -> str:
        """What the method must be given."""
        return self.method.needs

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """Kinds of SE of the method."""
        return self.method.se_kinds

    @property
    def takes_missing(self) -> bool:
        """Whether the method uses incomplete rows."""
        return self.method.takes_missing

    @property
    def interval_level(self) -> float:
        """Level of the method's own intervals."""
        return self.method.interval_level

    @property
    def asked_for(self) -> Estimator:
        """The method."""
        return self.method

    def on_sums(self) -> Substitute | None:
        """With the method's own variant on sums, where it has one and that is enough."""
        method = self.method.on_sums()
        other = self if method is None else replace(self, method=method)
        return other if other.needs == "statistics" else None

    def likelihood_of(self, model: TwoLevelModel) -> LikelihoodOf:
        """The method's own."""
        return self.method.likelihood_of(model)

    def for_model(self, model: TwoLevelModel) -> Estimator:
        """The method alone, where there are no random slopes."""
        return self if model.slopes else self.method
