"""`TwoLevelModel`: the specification of both levels, and which variable lives where."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from simstudy.model.estimands import Estimands
from simstudy.model.parameters import ParameterTable, build_table
from simstudy.model.slopes import RandomSlope
from simstudy.model.syntax import parse_syntax


@dataclass(frozen=True)
class TwoLevelModel:
    """A two-level structural equation model with random intercepts and slopes.

    Attributes
    ----------
    syntax : str
        The text it was read from.
    table : ParameterTable
        All parameters of both levels.

    Examples
    --------
    >>> import simstudy
    >>> model = simstudy.TwoLevelModel.from_syntax("level: within; y ~ bw*x; level: between; y ~ bb*x")
    >>> model.level1, model.names[0]
    (('y', 'x'), 'bw')
    """

    syntax: str
    table: ParameterTable

    @classmethod
    def from_syntax(cls, syntax: str, *, std_lv: bool = False, auto: str = "simstudy") -> TwoLevelModel:
        """Read lavaan-style text with ``level: within`` and ``level: between`` blocks.

        ``auto`` is the rule of the automatic covariances; see `build_table`.

        Raises
        ------
        ModelError
            With line and column of everything that cannot be read.
        """
        return _read(syntax, std_lv, auto)

    def __hash__(self) -> int:
        """The text's: models of one text that are not the same are told apart by comparison."""
        return hash(self.syntax)

    @cached_property
    def slopes(self) -> tuple[RandomSlope, ...]:
        """Random slopes, in order of appearance: latent variables of the between level."""
        return self.table.slopes

    def factors(self, level: str) -> tuple[str, ...]:
        """Latent variables of a level that have indicators, in order of appearance."""
        return tuple(dict.fromkeys(row.lhs for row in self.table.at(level) if row.op == "=~"))

    def latents(self, level: str) -> tuple[str, ...]:
        """Latent variables of a level: factors, and random slopes at the between level."""
        return self.factors(level) + (tuple(s.name for s in self.slopes) if level == "between" else ())

    def observed(self, level: str) -> tuple[str, ...]:
        """Observed variables that stand in a level's block, in order of appearance."""
        latents = self.latents(level)
        found: dict[str, None] = {}
        for row in self.table.at(level):
            for name in (row.lhs, row.rhs):
                if name and name not in latents:
                    found.setdefault(name)
        return tuple(found)

    def outcomes(self, level: str) -> tuple[str, ...]:
        """Variables with an equation (left of ``~``) at a level."""
        return tuple(dict.fromkeys(row.lhs for row in self.table.at(level) if row.op == "~"))

    @cached_property
    def level1(self) -> tuple[str, ...]:
        """Variables measured on individuals: those of the within block. Length p1."""
        return self.observed("within")

    @cached_property
    def level2(self) -> tuple[str, ...]:
        """Variables measured on clusters: those of the between block alone. Length p2."""
        return tuple(name for name in self.observed("between") if name not in self.level1)

    @cached_property
    def both(self) -> tuple[str, ...]:
        """Level-1 variables that are decomposed into latent within and between parts."""
        between = self.observed("between")
        return tuple(name for name in self.level1 if name in between)

    @property
    def variables(self) -> tuple[str, ...]:
        """Level-1 and then level-2 variables: the order of every moment matrix. Length p = p1 + p2."""
        return self.level1 + self.level2

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the free parameters (q)."""
        return self.table.names

    @cached_property
    def estimands(self) -> Estimands:
        """The ``:=`` parameters as functions of the free ones."""
        return Estimands(self.table.names, self.table.defined, self.table.constants)

    @property
    def reported(self) -> tuple[str, ...]:
        """Names of everything that is estimated: free parameters, then ``:=`` parameters."""
        return self.names + self.estimands.defined_names

    @property
    def reported_levels(self) -> tuple[str, ...]:
        """Level of every reported parameter; empty for ``:=`` parameters."""
        return self.table.levels + ("",) * len(self.estimands.defined_names)


@lru_cache(maxsize=64)
def _read(syntax: str, std_lv: bool, auto: str) -> TwoLevelModel:
    """The model of a text; a text that was read lately is not read again."""
    return TwoLevelModel(syntax, build_table(parse_syntax(syntax), std_lv=std_lv, auto=auto))
