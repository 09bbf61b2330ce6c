"""`Design`: what a design file says, checked and ready to run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import pandas as pd

from simstudy.estimation.result import Status
from simstudy.methods import ask
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


MAX_ROWS = 24
"""Cells that a notebook shows."""


@dataclass(frozen=True, repr=False)
class Design:
    """A study, before it is run; from `simstudy.validate`, or from a design file, its text or a dict of it.

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

    Examples
    --------
    >>> import simstudy
    >>> design = simstudy.validate(simstudy.init("contextual"))
    >>> design
    <Design contextual: 3 cells x 1,000 replications x 6 methods>
    >>> design.to_frame()
       cell  n_clusters cluster_size  n_obs
    0     0          50           10    500
    1     1         100           10   1000
    2     2         200           10   2000
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

    def __repr__(self) -> str:
        return f"<Design {self.name}: {self._size}>"

    @property
    def _size(self) -> str:
        cells, methods = len(self.cells), len(self.estimators)
        counts = f"{cells:,} cell{'s' * (cells != 1)} x {self.replications:,} replications"
        return f"{counts} x {methods} method{'s' * (methods != 1)}"

    def summary(self) -> str:
        """What ``simstudy validate`` prints."""
        fits = len(self.cells) * self.replications * len(self.estimators)
        lines = [
            f"{self.name}: the design is valid",
            f"  {self._size} = {fits:,} fits",
            f"  methods: {', '.join(entry.name for entry in self.estimators)}",
            f"  parameters: {', '.join(self.model.reported)}",
        ]
        reasons: dict[tuple[str, str, str], int] = {}
        for (name, _), (reason, status) in self._refusals().items():
            reasons[name, reason, status] = reasons.get((name, reason, status), 0) + 1
        for (name, reason, status), count in reasons.items():
            where = "all cells" if count == len(self.cells) else f"{count} of {len(self.cells)} cells"
            lines.append(f"  {name} cannot be used in {where}: {reason}; its fits will be reported as {status}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head, *lines = (escape(line) for line in self.summary().splitlines())
        body = "".join(f"<div>{line.strip()}</div>" for line in lines)
        table = self.to_frame().to_html(index=False, border=0, max_rows=MAX_ROWS)
        return f"<div><strong>{head}</strong>{body}{table}</div>"

    def to_frame(self) -> pd.DataFrame:
        """One row a cell: cell, the factors, and n_clusters, cluster_size, n_obs where they are no factors."""
        return self.cell_table().drop(columns="key")

    def to_dict(self) -> dict[str, Any]:
        """What is run, as plain values, and the text of the file."""
        return {
            "name": self.name,
            "aim": self.aim,
            "replications": self.replications,
            "seed": self.seed,
            "methods": [entry.name for entry in self.estimators],
            "factors": list(self.factor_names),
            "parameters": list(self.model.reported),
            "cells": self.to_frame().to_dict("records"),
            "text": self.text,
        }

    def support(self) -> pd.DataFrame:
        """Which method can be used where: the cells, estimator, and the reason why not (empty where it can)."""
        cells, reasons = self.to_frame(), self.unsupported()
        table = cells.loc[cells.index.repeat(len(self.estimators))].reset_index(drop=True)
        table["estimator"] = [entry.name for entry in self.estimators] * len(self.cells)
        table["reason"] = [
            reasons.get((entry.name, cell.index), "") for cell in self.cells for entry in self.estimators
        ]
        return table

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
        return {key: reason for key, (reason, _) in self._refusals().items()}

    def _refusals(self) -> Mapping[tuple[str, int], tuple[str, str]]:
        """Reasons why methods cannot be used, and the status of their fits."""
        reasons: dict[tuple[str, int], tuple[str, str]] = {}
        for entry in self.estimators:
            known: dict[tuple[int, ...], tuple[str, bool]] = {}
            for cell in self.cells:
                layout = cell.population.layout
                if layout.sizes not in known:
                    known[layout.sizes] = ask.why_not(entry.estimator, self.model, layout)
                reason, stopped = known[layout.sizes]
                if reason:
                    status = Status.EXCEPTION if stopped else Status.NOT_SUPPORTED
                    reasons[entry.name, cell.index] = (reason, status.name)
        return reasons
