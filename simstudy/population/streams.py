"""Addressed random numbers: a generator is a function of study seed, population, replicate and stream."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STATISTICS, ROWS, BETWEEN, WITHIN, MISSING = range(5)
"""Streams of a replicate.

Normal populations: what every drawing function uses, and what raw rows need beyond it. Other populations: cluster
vectors, and deviations of rows. Every population: which values are missing.
"""


def generator(seed: int, key: str, replicate: int, stream: int) -> np.random.Generator:
    """The random numbers of one stream of one replicate.

    Philox4x64 (Salmon et al. 2011) under a 128-bit key from SHA-256 of (seed, key), with the counter starting at
    (0, 0, replicate, stream). A stream would have to use up 2^128 blocks to run into the next one, so streams of one
    (seed, key) never overlap. Nothing is seeded in sequence: any replicate can be made alone, in any order.

    Parameters
    ----------
    seed : int
        Of the study.
    key : str
        Of the population.
    replicate, stream : int
        From 0, below 2^64.
    """
    return np.random.Generator(np.random.Philox(key=_philox_key(seed, key), counter=[0, 0, replicate, stream]))


def _philox_key(seed: int, key: str) -> NDArray[np.uint64]:
    digest = hashlib.sha256(f"simstudy draw 1:{seed}:{key}".encode()).digest()
    return np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)


class Streams:
    """`generator` for one replicate after another, a tenth of the price: one bit generator is moved about."""

    def __init__(self, seed: int, key: str, stream: int) -> None:
        self._bits = np.random.Philox(key=_philox_key(seed, key))
        self._state = self._bits.state
        self._counter = self._state["state"]["counter"]
        self._counter[3] = stream
        self._generator = np.random.Generator(self._bits)

    def at(self, replicate: int) -> np.random.Generator:
        """The generator, moved to the beginning of a replicate's stream."""
        self._counter[2] = replicate
        self._bits.state = self._state
        return self._generator


@dataclass(frozen=True)
class FitStreams:
    """Random numbers for a method's fits to R data sets, addressed by study seed, method, population and replicate.

    What is drawn for a data set does not depend on the batch it is fitted in, on other methods, or on the data's own
    random numbers. Entries of a study that use one method with several sets of options share its numbers, so that they
    differ by their options alone.

    Attributes
    ----------
    seed : int
        Of the study.
    method : str
        Name of the method in the registry.
    addresses : tuple of (str, int), length R
        Key of the population and number of the replicate of each data set.

    Examples
    --------
    >>> both = FitStreams.of(1, "mcmc", "population", [7, 8])
    >>> alone = FitStreams.of(1, "mcmc", "population", [8])
    >>> bool(both.generator(1).standard_normal() == alone.generator(0).standard_normal())
    True
    """

    seed: int
    method: str
    addresses: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, seed: int, method: str, key: str, replicates: Iterable[int]) -> FitStreams:
        """Streams for replicates of one population."""
        return cls(seed, method, tuple((key, int(replicate)) for replicate in replicates))

    def __len__(self) -> int:
        return len(self.addresses)

    def generator(self, data_set: int, stream: int = 0) -> np.random.Generator:
        """The random numbers of a data set (from 0 to R - 1).

        Every ``stream`` (a chain, say) has numbers of its own; the same call gives the same numbers again.
        """
        key, replicate = self.addresses[data_set]
        digest = hashlib.sha256(f"simstudy method 1:{self.seed}:{self.method}:{key}".encode()).digest()
        philox = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
        return np.random.Generator(np.random.Philox(key=philox, counter=[0, 0, replicate, stream]))

    def select(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> FitStreams:
        """Streams of some of the data sets, by index, mask or slice."""
        chosen = np.arange(len(self.addresses))[rows].tolist()
        return FitStreams(self.seed, self.method, tuple(self.addresses[row] for row in chosen))
