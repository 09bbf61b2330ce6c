"""A method that is used in another way for some models: it keeps its name, options and story."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simstudy.methods.protocol import Estimator, Needs
from simstudy.model.twolevel import TwoLevelModel


@dataclass(frozen=True)
class Deputy:
    """A method as it is used for models with random slopes.

    Attributes
    ----------
    method : Estimator
        The method, with its options. What is not said here is said by it.
    """

    method: Estimator

    def __getattr__(self, part: str) -> Any:
        if part.startswith("_") or part == "method":  # not yet there while a copy is being built
            raise AttributeError(part)
        return getattr(self.method, part)

    @property
    def name(self) -> str:
        """Name of the method."""
        return self.method.name

    @property
    def title(self) -> str:
        """What the method is."""
        return self.method.title

    @property
    def reference(self) -> str:
        """Who proposed the method."""
        return self.method.reference

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels whose parameters the method speaks about."""
        return self.method.levels

    @property
    def can(self) -> str:
        """What the method can do."""
        return self.method.can

    @property
    def cannot(self) -> str:
        """What the method cannot do."""
        return self.method.cannot

    @property
    def needs(self) -> Needs:
        """What the method must be given."""
        return self.method.needs

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """Kinds of SE of the method."""
        return self.method.se_kinds

    def for_model(self, model: TwoLevelModel) -> Estimator:
        """The method alone, where there are no random slopes."""
        return self if model.slopes else self.method  # type: ignore[return-value]  # properties serve as class variables
