"""Methods whose option ``se`` chooses their kinds of SE."""

from __future__ import annotations

from copy import copy
from typing import Self

from simstudy.methods.protocol import Estimator


class ChosenErrors(Estimator):
    """A method that returns the kinds of SE in its field ``se``, some of which need more than sums.

    Attributes
    ----------
    se : tuple of str
        A field of the dataclass that inherits from this class.
    """

    se: tuple[str, ...]

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """As asked for."""
        return self.se

    def on_sums(self) -> Self | None:
        """The method with those of its kinds of SE for which sums are enough; with expected ones where none is."""
        kinds = [kind for kind in (*self.se, "expected") if self._returning((kind,)).needs == "statistics"]
        return self._returning(tuple(kind for kind in self.se if kind in kinds) or ("expected",)) if kinds else None

    def _returning(self, kinds: tuple[str, ...]) -> Self:
        """The same method with other kinds, also where its class leaves users no choice (a twin)."""
        other = copy(self)
        object.__setattr__(other, "se", kinds)
        return other
