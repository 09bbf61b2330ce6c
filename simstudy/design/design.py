"""`Design`: what a design file says, checked and ready to run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from simstudy.methods.protocol import LATER, Estimator
from simstudy.model.syntax import Statement, parse_syntax
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population


def digest_of(content: object) -> str:
    """SHA-256 (hex) of the canonical JSON of ``content``: sorted keys, no spaces, floats by ``repr``."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def canonical_statement(statement: Statement) -> list[object]:
    """A statement of a model text without its place, spaces, comments and line breaks."""
    s = statement
    texts = ["".join(e.text.split()) if e is not None else "" for e in (s.expression, s.right)]
    sides = [s.lhs, s.rhs] if s.expression is None else texts
    plain: list[object] = [
        s.level,
        s.op,
        *sides,
        s.lhs if s.op == ":=" else s.label,
        s.fixed,
        s.start,
        s.freed,
        s.random_slope,
    ]
    more = [s.lower, s.upper, s.equal]
    return [*plain, *more] if any(value not in (None, "") for value in more) else plain


@dataclass(frozen=True)
class Cell:
    """One combination of factor values: one population.

    Attributes
    ----------
    index : int
        Position in ``design.cells``, from 0.
    key : str
        The population's key: the same for the same population in any design, whatever its position.
    factors : dict
        Display value of every factor: a number where all values of the factor are numbers, otherwise text.
    population : Population
    cluster_size : str
        Short name of the cluster sizes, such as ``10``, ``2-18`` or ``5:40% 20:60%``.
    """

    index: int
    key: str
    factors: dict[str, float | str]
    population: Population
    cluster_size: str

    @property
    def n_clusters(self) -> int:
        """Number of clusters, J."""
        return self.population.layout.n_clusters

    @property
    def n_obs(self) -> int:
        """Number of rows, N."""
        return self.population.layout.n_obs

    @property
    def title(self) -> str:
        """The factor values in words: ``n_clusters = 30, icc = 0.05``."""
        return ", ".join(f"{name} = {value}" for name, value in self.factors.items())


@dataclass(frozen=True)
class EstimatorEntry:
    """A method of the study.

    Attributes
    ----------
    name : str
        Name in the tables: that of the method, or one of its own where a method is used with several sets of options.
    method : str
        Name in the registry, or ``package.module:Attr``.
    estimator : Estimator
        The method with its options.
    """

    name: str
    method: str
    estimator: Estimator

    @cached_property
    def options(self) -> dict[str, Any]:
        """All options, defaults included."""
        method: Any = self.estimator.asked_for
        return {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}

    @cached_property
    def digest(self) -> str:
        """Changes when the method or an option does: estimates stored under another digest are not this entry's.

        Defaults are hashed, so that a default that changes is seen. Only an option that the method got later (see
        `protocol.LATER`) is left out at its default: what was stored before is the same method's.
        """
        method: Any = self.estimator.asked_for
        late = {f.name: f.default for f in dataclasses.fields(method) if LATER.items() <= f.metadata.items()}
        options = {name: value for name, value in self.options.items() if name not in late or value != late[name]}
        return digest_of({"method": self.method, "options": options})


@dataclass(frozen=True)
class Intervals:
    """Intervals that are computed: level, kinds (``wald``, ``montecarlo``), and draws of a Monte Carlo interval."""

    level: float = 0.95
    kinds: tuple[str, ...] = ("wald",)
    draws: int = 1000


@dataclass(frozen=True)
class Design:
    """A study.

    Attributes
    ----------
    name, aim : str
    replications : int
        Replicates a cell, R.
    seed : int
    text : str
        The design file.
    model : TwoLevelModel
        The analysed model; its labels are the estimands.
    cells : tuple of Cell
    estimators : tuple of EstimatorEntry
    intervals : Intervals
    factor_names : tuple of str
        In the order of the file; the first varies slowest.
    std_lv : bool
        Whether variances of latent variables are fixed to 1 (instead of a loading).
    timeout : float or None
        Time limit a fit, in seconds.
    """

    name: str
    aim: str
    replications: int
    seed: int
    text: str
    model: TwoLevelModel
    cells: tuple[Cell, ...]
    estimators: tuple[EstimatorEntry, ...]
    intervals: Intervals
    factor_names: tuple[str, ...]
    std_lv: bool = False
    timeout: float | None = None

    @cached_property
    def digest(self) -> str:
        """Changes with whatever determines data and estimates: seed, model, cells, intervals.

        Not with the number of replications and the list of methods, which may grow (see `EstimatorEntry.digest`), nor
        with the name, the aim, comments and layout of the file.
        """
        return digest_of(
            {
                "version": 1,
                "seed": self.seed,
                "model": [canonical_statement(statement) for statement in parse_syntax(self.model.syntax)],
                "std_lv": self.std_lv,
                "cells": [[cell.key, cell.factors] for cell in self.cells],
                "intervals": dataclasses.asdict(self.intervals),
            }
        )

    def cell_table(self) -> pd.DataFrame:
        """One row a cell: cell, key, the factors, and n_clusters, cluster_size, n_obs where they are no factors."""
        rows = []
        for cell in self.cells:
            row: dict[str, object] = {"cell": cell.index, "key": cell.key, **cell.factors}
            for name in ("n_clusters", "cluster_size", "n_obs"):
                row.setdefault(name, getattr(cell, name))
            rows.append(row)
        return pd.DataFrame(rows)

    def unsupported(self) -> Mapping[tuple[str, int], str]:
        """Reasons why methods cannot be used, by (name of the method, index of the cell)."""
        reasons: dict[tuple[str, int], str] = {}
        for entry in self.estimators:
            known: dict[tuple[int, ...], str | None] = {}
            for cell in self.cells:
                layout = cell.population.layout
                if layout.sizes not in known:
                    known[layout.sizes] = entry.estimator.supports(self.model, layout)
                reason = known[layout.sizes]
                if reason is not None:
                    reasons[entry.name, cell.index] = reason
        return reasons
