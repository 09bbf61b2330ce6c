"""Files that are either whole or not there: written to a temporary name, synced, renamed.

Arrow is imported where a table is written or read: a text file is written without.
"""

from __future__ import annotations

import contextlib
import os
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

TEMPORARY = ".tmp"


@dataclass(frozen=True)
class Written:
    """Length and CRC-32 of a file's bytes."""

    size: int
    crc32: int

    @classmethod
    def of(cls, content: bytes | memoryview) -> Written:
        """Measure bytes."""
        return cls(len(content), zlib.crc32(content))


NOTHING_WRITTEN = Written(0, 0)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: Path, content: bytes | memoryview) -> Written:
    """Write a file under a temporary name in its own folder, sync it, and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{TEMPORARY}")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return Written.of(content)


def write_table(path: Path, table: pa.Table, metadata: Mapping[str, str] | None = None) -> Written:
    """Write a Parquet file with checksums of every page and of the whole; the same table gives the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = table.schema
    text = [field.name for field in schema if pa.types.is_dictionary(field.type) or pa.types.is_string(field.type)]
    table = table.replace_schema_metadata({**(metadata or {}), "checksum": (_SEAL + _OPEN).decode()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=text, write_page_checksum=True)
    return write_bytes(path, _sealed(bytes(memoryview(sink.getvalue()))))


_SEAL, _OPEN = b"simstudy-crc32:", b"00000000"


def _sealed(content: bytes) -> bytes:
    """Put the CRC of a file, computed with zeros in its place, behind the last mark of a seal."""
    at = content.rfind(_SEAL + _OPEN) + len(_SEAL)
    return content[:at] + f"{zlib.crc32(content):08x}".encode() + content[at + len(_OPEN) :]


def read_sealed(path: Path) -> bytes:
    """Bytes of a file that `write_table` wrote.

    Raises
    ------
    OSError, ValueError
        It cannot be read, or is not what was written.
    """
    content = path.read_bytes()
    at = content.rfind(_SEAL) + len(_SEAL)
    if at < len(_SEAL):
        raise ValueError(f"its checksum is missing from the {len(content):,} bytes that are there")
    found = content[at : at + len(_OPEN)]
    if f"{zlib.crc32(content[:at] + _OPEN + content[at + len(_OPEN) :]):08x}".encode() != found:
        raise ValueError(f"the checksum of its {len(content):,} bytes is wrong")
    return content


def read_metadata(path: Path) -> dict[bytes, bytes]:
    """Metadata of a Parquet file, all of which is verified.

    Raises
    ------
    OSError, ValueError
        What is there is not what was written (`pyarrow.ArrowInvalid` is a ValueError).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    return dict(pq.read_metadata(pa.BufferReader(read_sealed(path))).metadata or {})


def read_table(path: Path, expected: Written | None = None) -> pa.Table:
    """Read a Parquet file and verify all of it; ``expected`` is what was noted when it was written.

    Raises
    ------
    OSError, ValueError
        What is there is not what was written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = read_sealed(path)
    if expected is not None and Written.of(content) != expected:
        raise ValueError("it is a sound file, but another one than was written with the commit")
    with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
        return file.read()


def remove_temporary(folder: Path) -> int:
    """Remove what interrupted writes left behind in a folder; return how many files that were."""
    found = [path for path in folder.glob(f".*{TEMPORARY}") if path.is_file()] if folder.is_dir() else []
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)
