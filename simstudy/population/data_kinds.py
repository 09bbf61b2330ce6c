"""Kinds of data that a method may need: how each is drawn from a population, and made of rows.

A kind registers itself, so that a method from elsewhere may bring its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simstudy.data.sample import Sample
from simstudy.errors import EstimatorError, did_you_mean
from simstudy.population.draw import draw_cluster_statistics, draw_sample, draw_statistics
from simstudy.population.population import Population


def arrays_of(data: Any) -> list[np.ndarray[Any, Any]]:
    """All arrays in data: in its fields or attributes, and in containers and dataclasses among these."""
    found: list[np.ndarray[Any, Any]] = []
    left, seen = [*_parts(data), *vars(data).values()] if hasattr(data, "__dict__") else _parts(data), set[int]()
    for part in left:  # which grows meanwhile
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, np.ndarray):
            found.append(part)
        else:
            left += _parts(part)
    return found


_PLAIN = frozenset({int, float, bool, str, type(None)})
"""Types that hold nothing."""


def _parts(data: Any) -> list[Any]:
    """What a container or a dataclass, with what it has computed, is made of."""
    if isinstance(data, np.ndarray):
        return [data]
    if isinstance(data, tuple | list | dict):
        members = data.values() if isinstance(data, dict) else data
        return [member for member in members if type(member) not in _PLAIN]  # a layout's sizes are many
    if not dataclasses.is_dataclass(data) or isinstance(data, type):
        return []
    fields = [getattr(data, field.name) for field in dataclasses.fields(data)]
    return [*fields, *vars(data).values()] if hasattr(data, "__dict__") else fields


@dataclass(frozen=True)
class DataKind:
    """One kind of data.

    Attributes
    ----------
    name : str
        What a method says in ``needs``.
    draw : callable
        (population, seed, replicates) -> data of these replicates; addressed, so that neither the batch nor its order
        matters. What it returns has ``n_replicates`` and ``select``.
    of_sample : callable
        Rows -> data.
    part_of : tuple of str
        Kinds that hold this one bit for bit, and serve instead of it where another method needs them anyway.
    by_row : bool
        Whether memory grows with rows and clusters.
    from_moments : bool
        Whether methods may be fed clusters with the moments of a population instead of samples, as theory does.
    arrays : callable
        Data -> the arrays in it, which are made read-only, as methods share them. `arrays_of` finds those in fields,
        attributes, containers and dataclasses.
    """

    name: str
    draw: Callable[[Population, int, Sequence[int]], Any]
    of_sample: Callable[[Sample], Any]
    part_of: tuple[str, ...] = ()
    by_row: bool = True
    from_moments: bool = False
    arrays: Callable[[Any], Sequence[np.ndarray[Any, Any]]] = arrays_of


_KINDS: dict[str, DataKind] = {}


def register_data_kind(kind: DataKind) -> DataKind:
    """Add a kind of data.

    Raises
    ------
    EstimatorError
        If another kind has the name.
    """
    if _KINDS.setdefault(kind.name, kind) != kind:
        raise EstimatorError(f"data kind '{kind.name}' is registered twice")
    return kind


def data_kind(name: str) -> DataKind:
    """A kind by name.

    Raises
    ------
    EstimatorError
        Unknown name.
    """
    if name not in _KINDS:
        raise EstimatorError(f"unknown kind of data '{name}'{did_you_mean(name, _KINDS)}; known: {', '.join(_KINDS)}")
    return _KINDS[name]


def add_unknown(kind: DataKind) -> None:
    """Add a kind that another process sent, unless this one has it: what is sent does not equal what was imported."""
    _KINDS.setdefault(kind.name, kind)


def kind_that_serves(name: str, needed: Collection[str]) -> DataKind:
    """The kind drawn for a method that needs ``name``, where other methods need ``needed``."""
    kind = data_kind(name)
    return next((data_kind(other) for other in kind.part_of if other in needed), kind)


STATISTICS = register_data_kind(
    DataKind(
        "statistics",
        draw_statistics,
        lambda sample: sample.statistics(cluster_wise=False),
        part_of=("clusters",),
        by_row=False,
        from_moments=True,
    )
)
CLUSTERS = register_data_kind(
    DataKind("clusters", draw_cluster_statistics, lambda sample: sample.statistics(), from_moments=True)
)
SAMPLE = register_data_kind(DataKind("sample", draw_sample, lambda sample: sample, from_moments=True))
BUILT_IN = frozenset(_KINDS)
"""Names of the program's own kinds."""
