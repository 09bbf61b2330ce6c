"""A results folder: made, opened, refused, tidied, locked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from simstudy.design import Design
from simstudy.errors import StoreError
from simstudy.runner.files import TEMPORARY, read_table, remove_temporary, write_table
from simstudy.runner.manifest import (
    MANIFEST,
    Manifest,
    current_versions,
    manifest_of,
    read_manifest,
    short,
    version_changes,
    write_manifest,
)
from simstudy.runner.parts import (
    FITS,
    REPLICATES,
    DamagedPartError,
    Part,
    part_names,
    read_part,
    remove_uncommitted,
    set_aside,
)

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

CELLS, TRUTH, LOCK = "cells.parquet", "truth.parquet", ".lock"
FIGURES = "figures"

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Contents:
    """Parts of a folder.

    Attributes
    ----------
    parts : tuple of Part
        Sound as far as their footers tell, sorted by name.
    damaged : tuple of DamagedPartError
    """

    parts: tuple[Part, ...]
    damaged: tuple[DamagedPartError, ...]


def scan(root: Path, design_digest: str) -> Contents:
    """Find all parts; nothing is changed."""
    parts, damaged = [], []
    for name in part_names(root):
        try:
            part = read_part(root, name)
            if part.design != design_digest:
                raise DamagedPartError(name, f"it belongs to another design (digest {short(part.design)})")
            parts.append(part)
        except DamagedPartError as error:
            damaged.append(error)
    return Contents(tuple(parts), tuple(damaged))


def tidy(
    root: Path, design_digest: str, notify: Notify, timeout: float | None = None, *, retry: bool = False
) -> tuple[Part, ...]:
    """Find all sound parts, and put everything else away so that it is run again: damaged parts, leftovers.

    Blocks that only say that their worker was killed are put away too: the cause may be gone. With ``retry``, so are
    those with fits that were over a time limit shorter than ``timeout`` (None: no limit).
    """
    for folder in (root, root / REPLICATES, root / FITS, root / FIGURES):
        remove_temporary(folder)
    found = scan(root, design_digest)
    for error in found.damaged:
        set_aside(root, error.name)
        notify(f"{error}; moved to {root / 'damaged'}, its replicates will be run again")
    killed = [part for part in found.parts if part.killed]
    for part in killed:
        set_aside(root, part.name)
    if killed:
        notify(f"blocks on which a worker was killed are tried again: {len(killed)}")
    short = [part for part in found.parts if retry and not part.killed and _may_finish(part, timeout)]
    for part in short:
        set_aside(root, part.name)
    if short:
        notify(f"blocks with fits over a shorter time limit are run again: {len(short)}")
    remove_uncommitted(root, part_names(root))
    gone = {part.name for part in (*killed, *short)}
    return tuple(part for part in found.parts if part.name not in gone)


def _may_finish(part: Part, timeout: float | None) -> bool:
    """Whether fits of a part were over a time limit that is longer now, or gone."""
    if not part.timed_out or part.timeout is None:
        return False
    return timeout is None or timeout > part.timeout


def is_results_folder(root: Path) -> bool:
    """Whether a folder holds results; if not, whether it may be begun.

    Raises
    ------
    StoreError
        If it holds something else.
    """
    if root.exists() and not root.is_dir():
        raise StoreError(f"{root}: this is a file; give another folder with --out")
    if (root / MANIFEST).exists():
        return True
    if root.is_dir() and any(path.name != LOCK and not path.name.endswith(TEMPORARY) for path in root.iterdir()):
        raise StoreError(f"{root}: this folder holds other files and no results; give another one with --out")
    return False


def check_folder(design: Design, root: Path) -> Manifest | None:
    """Manifest of a folder of the same design, or None if it is to be begun. Nothing is changed.

    Raises
    ------
    StoreError
        If the folder holds something else.
    """
    if not is_results_folder(root):
        return None
    begun = read_manifest(root)
    _refuse_other(design, begun, root)
    return begun


def open_folder(design: Design, root: Path, block_size: int | None, default_block: int, notify: Notify) -> Manifest:
    """Begin a results folder, or resume one of the same design.

    Raises
    ------
    StoreError
        If the folder holds something else.
    """
    begun = check_folder(design, root)
    manifest = manifest_of(design, block_size or (begun.block_size if begun else default_block))
    if begun:
        _note_versions(begun, notify)
        _note_options(begun, manifest, notify)
        manifest = replace(manifest, versions=begun.versions, platform=begun.platform, created=begun.created)
    write_manifest(root, manifest)
    write_table(root / CELLS, pa.Table.from_pandas(design.cell_table(), preserve_index=False))
    write_table(root / TRUTH, truth_table(design))
    return manifest


def _refuse_other(design: Design, begun: Manifest, root: Path) -> None:
    if begun.design_digest != design.digest:
        there, mine = short(begun.design_digest), short(design.digest)
        raise StoreError(
            f"{root}: this folder holds results of another design, '{begun.name}' (digest {there}, begun "
            f"{begun.created}); the design to be run is '{design.name}' (digest {mine}). "
            f"Give another folder with --out, or delete {root}"
        )


def _note_versions(begun: Manifest, notify: Notify) -> None:
    changed = version_changes(begun, current_versions())
    if changed:
        notify(f"note: the folder was begun with other versions ({changed}); last digits may differ")


def _note_options(begun: Manifest, now: Manifest, notify: Notify) -> None:
    changed = [name for name, digest in begun.methods.items() if now.methods.get(name, digest) != digest]
    if changed:
        notify(f"note: options of {', '.join(changed)} have changed: what is there does not count, it is run again")


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep a second run out of the folder; the system lifts the lock when the process ends, in whatever way.

    Raises
    ------
    StoreError
        If another process works in the folder.
    """
    root.mkdir(parents=True, exist_ok=True)
    handle = os.open(root / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{root}: another simstudy process is writing to this folder; wait for it") from error
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(handle)


def truth_table(design: Design) -> pa.Table:
    """One row a cell and parameter: the population's value of everything that is estimated."""
    names, levels = design.model.reported, design.model.reported_levels
    truth = [np.asarray(cell.population.truth(design.model), dtype=float) for cell in design.cells]
    return pa.table(
        {
            "cell": pa.array(np.repeat([cell.index for cell in design.cells], len(names)).astype(np.int32)),
            "param": pa.array(list(names) * len(design.cells), pa.string()),
            "level": pa.array(list(levels) * len(design.cells), pa.string()),
            "truth": pa.array(np.concatenate(truth)),
        }
    )


def read_small(root: Path, name: str) -> pa.Table:
    """Read `cells.parquet` or `truth.parquet`.

    Raises
    ------
    StoreError
        If it is damaged; running the design again writes it anew.
    """
    try:
        return read_table(root / name)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{root / name}: it cannot be read ({error}); run the design again to restore it") from error
