"""Parts: the rows of a block of replicates of one cell by some methods, in a pair of Parquet files.

The file in ``replicates/`` is written first. The file of the same name in ``fits/`` is the commit: it is written last,
and holds length and checksum of the other one. A part counts when both are there and agree.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from simstudy.errors import StoreError
from simstudy.runner.files import NOTHING_WRITTEN, Written, read_metadata, read_table, write_table

REPLICATES, FITS, DAMAGED = "replicates", "fits", "damaged"
FORMAT = 1
_METADATA = "simstudy"
_NAME = re.compile(r"(?P<cell>.+)_(?P<first>\d+)-(?P<last>\d+)_(?P<methods>[0-9a-f]{8})\.parquet")


class DamagedPartError(StoreError):
    """A part's files are not what was written."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        super().__init__(f"part {name} is damaged: {why}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.problems[0].partition(" is damaged: ")[2])


@dataclass(frozen=True)
class Failure:
    """An error that a method stopped with, or what was wrong with its numbers, and on how many replicates of the block.

    Attributes
    ----------
    method, error, traceback : str
    replicate, count : int
        First replicate with this error, and the number of them.
    status : str
        Status of these fits: EXCEPTION, NONFINITE, TIMEOUT.
    """

    method: str
    replicate: int
    count: int
    error: str
    traceback: str = ""
    status: str = "EXCEPTION"


@dataclass(frozen=True)
class Part:
    """Address and contents of a part.

    Attributes
    ----------
    design, cell : str
        Digest of the design, address of the cell.
    first, stop : int
        The replicates first, ..., stop - 1.
    methods : dict of str to str
        Name of each method and the digest of its options.
    replicates : Written
        Length and checksum of the file in ``replicates/``.
    failures : tuple of Failure
    reasons : dict of str to str
        Why a method does not support the cell.
    statuses : dict of str to dict
        Fits of each method by status.
    killed : bool
        The rows only say that the worker was killed on this block, again and again.
    timeout : float or None
        Time limit a fit, in seconds.
    """

    design: str
    cell: str
    first: int
    stop: int
    methods: dict[str, str]
    replicates: Written = NOTHING_WRITTEN
    failures: tuple[Failure, ...] = ()
    reasons: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, dict[str, int]] = field(default_factory=dict)
    killed: bool = False
    timeout: float | None = None

    @property
    def name(self) -> str:
        """Name of both files."""
        return part_name(self.cell, self.first, self.stop, self.methods)

    @property
    def size(self) -> int:
        """Number of replicates."""
        return self.stop - self.first

    @property
    def timed_out(self) -> int:
        """Number of fits that were over the time limit."""
        return sum(counts.get("TIMEOUT", 0) for counts in self.statuses.values())


def cell_address(number: int, key: str) -> str:
    """Address of a cell in file names: its number, and the key of its population."""
    return f"{number:05d}-{key}"


def part_name(cell: str, first: int, stop: int, methods: Mapping[str, str]) -> str:
    """File name of a part: cell, first and last replicate, and a hash of the set of methods with their options."""
    text = json.dumps(sorted(methods.items()))
    return f"{cell}_{first:07d}-{stop - 1:07d}_{hashlib.sha256(text.encode()).hexdigest()[:8]}.parquet"


def is_part_name(name: str) -> bool:
    """Whether a file name is that of a part."""
    return _NAME.fullmatch(name) is not None


def write_part(root: Path, part: Part, replicates: pa.Table, fits: pa.Table) -> Part:
    """Write both files, the commit last, and return the part as committed."""
    address = {
        key: value for key, value in asdict(part).items() if key in ("design", "cell", "first", "stop", "methods")
    }
    text = json.dumps({"format": FORMAT, **address})
    written = write_table(root / REPLICATES / part.name, replicates, {_METADATA: text})
    committed = Part(**{**vars(part), "replicates": written})
    text = json.dumps({"format": FORMAT, **asdict(committed)})
    write_table(root / FITS / part.name, fits, {_METADATA: text})
    return committed


def _from_metadata(metadata: Mapping[bytes, bytes]) -> Part:
    values = json.loads(metadata[_METADATA.encode()])
    if values.pop("format") != FORMAT:
        raise ValueError("it was written by another version of simstudy")
    values["replicates"] = Written(**values["replicates"])
    values["failures"] = tuple(Failure(**failure) for failure in values["failures"])
    return Part(**values)


def read_part(root: Path, name: str) -> Part:
    """Read a part's address from its commit, which is verified; of the other file, the length alone is.

    Raises
    ------
    DamagedPartError
    """
    try:
        part = _from_metadata(read_metadata(root / FITS / name))
        if part.name != name:
            raise ValueError(f"it holds {part.name}")
        found = (root / REPLICATES / name).stat().st_size
        if found != part.replicates.size:
            raise ValueError(f"{REPLICATES}/{name} has {found:,} bytes; {part.replicates.size:,} were written")
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DamagedPartError(name, _first_line(error)) from error
    return part


def read_fits(root: Path, name: str) -> pa.Table:
    """Read and verify the fits of a part."""
    return _read(root / FITS / name, name, None)


def read_replicates(root: Path, part: Part) -> pa.Table:
    """Read and verify the replicate rows of a part."""
    return _read(root / REPLICATES / part.name, part.name, part.replicates)


def _read(path: Path, name: str, expected: Written | None) -> pa.Table:
    try:
        return read_table(path, expected)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DamagedPartError(name, _first_line(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def part_names(root: Path) -> list[str]:
    """Names of all committed parts, sorted."""
    folder = root / FITS
    return sorted(path.name for path in folder.iterdir() if is_part_name(path.name)) if folder.is_dir() else []


def set_aside(root: Path, name: str) -> None:
    """Move a part's files to ``damaged/``, so that it is run again."""
    for kind in (FITS, REPLICATES):
        source = root / kind / name
        if source.exists():
            target = root / DAMAGED / kind / name
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)


def remove_uncommitted(root: Path, committed: Sequence[str]) -> int:
    """Remove replicate files without a commit; return how many that were."""
    folder = root / REPLICATES
    known = set(committed)
    found = [p for p in folder.iterdir() if is_part_name(p.name) and p.name not in known] if folder.is_dir() else []
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)
