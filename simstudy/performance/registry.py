"""Records by name: built-in ones, those that a program adds, and those of installed packages (entry points)."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from simstudy.errors import SimstudyError


class Record(Protocol):
    """What a registry holds."""

    @property
    def name(self) -> str:
        """By which it is found."""
        ...

    @property
    def home(self) -> str:
        """Module that it comes from."""
        ...


T = TypeVar("T", bound=Record)


class Registry(Mapping[str, T], Generic[T]):
    """Mapping of name to record, in the order in which they were added.

    Parameters
    ----------
    what : str
        What a record is, in messages.
    entry_points : str
        Group of entry points. An installed package that names a module in this group has it imported on first use,
        and the module adds its records.
    """

    def __init__(self, what: str, entry_points: str) -> None:
        self.what, self.entry_points = what, entry_points
        self._records: dict[str, T] = {}
        self._loaded = False

    def add(self, record: T) -> T:
        """Add a record; it takes the place of one of the same name from the same module, as when that is run again.

        Raises
        ------
        SimstudyError
            If another module has one of this name.
        """
        other = self._records.get(record.name)
        if other is not None and other.home != record.home:
            raise SimstudyError(f"{self.what} '{record.name}': {other.home} has one of this name; choose another")
        self._records[record.name] = record
        return record

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Take back, at the end of a ``with`` block, what was added inside."""
        before = dict(self._records)
        try:
            yield
        finally:
            self._records.clear()
            self._records.update(before)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for entry in importlib.metadata.entry_points(group=self.entry_points):
            try:
                entry.load()
            except Exception as error:  # whatever a package raises on import
                warnings.warn(
                    f"{self.what} '{entry.name}' of an installed package cannot be loaded: {error}", stacklevel=3
                )

    def __getitem__(self, name: str) -> T:
        self._load()
        return self._records[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._records)

    def __len__(self) -> int:
        self._load()
        return len(self._records)
