"""What a worker process must be told before it can use methods from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from simstudy.methods.protocol import Estimator
from simstudy.methods.registry import complete_again
from simstudy.population.data_kinds import DataKind, add_unknown, data_kind


def kinds_of(methods: Sequence[Estimator]) -> tuple[DataKind, ...]:
    """Kinds of data that methods need, or that may serve them: a worker may not have registered them."""
    needed = [data_kind(method.needs) for method in methods]
    return tuple({kind.name: kind for one in needed for kind in (one, *map(data_kind, one.part_of))}.values())


def prepare_worker(methods: Sequence[Estimator], kinds: Sequence[DataKind]) -> None:
    """Make this process know kinds of data, and give the classes of methods their defaults."""
    for kind in kinds:
        add_unknown(kind)
    for method in methods:
        complete_again(method)
