"""Read a results folder cell by cell, and a cell's replicates part by part.

Never more than one part's replicate rows and one cell's fits are in memory, unless a caller asks for all of a cell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from simstudy.errors import StoreError
from simstudy.runner.manifest import Manifest, read_manifest
from simstudy.runner.parts import DamagedPartError, Part, cell_address, read_fits, read_replicates
from simstudy.runner.store import CELLS, TRUTH, Contents, read_small, scan


@dataclass(frozen=True)
class Folder:
    """A results folder opened for reading.

    Attributes
    ----------
    root : Path
    manifest : Manifest
    cells, truth : DataFrame
    contents : Contents
    """

    root: Path
    manifest: Manifest
    cells: pd.DataFrame
    truth: pd.DataFrame
    contents: Contents

    @cached_property
    def addresses(self) -> dict[str, int]:
        """Address of each cell in part names, and its number."""
        rows = zip(self.cells["cell"].tolist(), self.cells["key"], strict=True)
        return {cell_address(number, key): number for number, key in rows}

    @property
    def params(self) -> list[str]:
        """Parameters in the model's order."""
        return list(dict.fromkeys(self.truth["param"]))

    @property
    def methods(self) -> list[str]:
        """Methods in the design's order."""
        return list(self.manifest.methods)

    def cell(self, number: int) -> pd.Series:
        """Row of a cell.

        Raises
        ------
        StoreError
            If there is no such cell.
        """
        rows = self.cells[self.cells["cell"] == number]
        if rows.empty:
            raise StoreError(f"cell: found {number}; allowed: 0 to {len(self.cells) - 1}")
        return rows.iloc[0]


def read_folder(root: Path) -> Folder:
    """Open a results folder.

    Raises
    ------
    StoreError
        If it is not one.
    """
    manifest = read_manifest(root)
    tables = [read_small(root, name).to_pandas() for name in (CELLS, TRUTH)]
    return Folder(root, manifest, tables[0], tables[1], scan(root, manifest.design_digest))


@dataclass(frozen=True)
class Source:
    """A part, and which replicates of which methods are taken from it."""

    part: Part
    fresh: dict[str, np.ndarray[tuple[int], np.dtype[np.bool_]]]


@dataclass(frozen=True)
class CellRows:
    """Rows of one cell, of the methods and the replications that the manifest names.

    Attributes
    ----------
    cell : int
    fits : DataFrame
    root : Path
    sources : tuple of Source
        Where the replicate rows are.
    damaged : list of DamagedPartError
        Parts that turn out to be damaged are added, and left out.
    """

    cell: int
    fits: pd.DataFrame
    root: Path
    sources: tuple[Source, ...]
    damaged: list[DamagedPartError]

    def parts(self) -> Iterator[pd.DataFrame]:
        """Replicate rows, a part at a time."""
        for table in self._tables():
            yield _frame([table], self.cell)

    @cached_property
    def replicates(self) -> pd.DataFrame:
        """All replicate rows of the cell at once."""
        return _frame(list(self._tables()), self.cell)

    def _tables(self) -> Iterator[pa.Table]:
        for source in self.sources:
            try:
                yield _pick(read_replicates(self.root, source.part), source)
            except DamagedPartError as error:
                self.damaged.append(error)


def by_cell(folder: Folder) -> dict[int, list[Part]]:
    """Parts of each cell, in order of their names."""
    found: dict[int, list[Part]] = {number: [] for number in folder.addresses.values()}
    for part in folder.contents.parts:
        if part.cell in folder.addresses:
            found[folder.addresses[part.cell]].append(part)
    return found


def iterate_cells(folder: Folder, damaged: list[DamagedPartError]) -> Iterator[CellRows]:
    """Rows of every cell that has any; parts that turn out to be damaged are left out and added to ``damaged``."""
    for number, parts in by_cell(folder).items():
        rows = read_cell(folder, number, parts, damaged)
        if rows is not None:
            yield rows


def read_cell(folder: Folder, number: int, parts: Sequence[Part], damaged: list[DamagedPartError]) -> CellRows | None:
    """Rows of one cell; None if there are none."""
    replications = folder.manifest.replications_of(number)
    seen: dict[str, np.ndarray[tuple[int], np.dtype[np.bool_]]] = defaultdict(lambda: np.zeros(replications, bool))
    tables: list[pa.Table] = []
    sources: list[Source] = []
    for part in parts:
        stop = min(part.stop, replications)
        fresh = {
            name: ~seen[name][part.first : stop]
            for name, digest in part.methods.items()
            if folder.manifest.methods.get(name) == digest
        }
        if stop <= part.first or not any(new.any() for new in fresh.values()):
            continue
        source = Source(part, fresh)
        try:
            tables.append(_pick(read_fits(folder.root, part.name), source))
        except DamagedPartError as error:
            damaged.append(error)
            continue
        sources.append(source)
        for name in fresh:
            seen[name][part.first : stop] = True
    return CellRows(number, _frame(tables, number), folder.root, tuple(sources), damaged) if tables else None


def _pick(table: pa.Table, source: Source) -> pa.Table:
    """Rows of some methods and replicates of a part; overlapping parts hold the same rows, which are taken once."""
    part, fresh = source.part, source.fresh
    if len(fresh) == len(part.methods) and all(len(new) == part.size and new.all() for new in fresh.values()):
        return table
    try:
        names = table["estimator"].combine_chunks()
        rep = table["rep"].to_numpy() - part.first
        names = names.chunk(0) if isinstance(names, pa.ChunkedArray) else names
        wanted = np.zeros((len(names.dictionary), part.size), dtype=bool)
        for position, name in enumerate(names.dictionary.to_pylist()):
            if name in fresh:
                wanted[position, : len(fresh[name])] = fresh[name]
        return table.filter(pa.array(wanted[names.indices.to_numpy(), rep]))
    except (IndexError, KeyError, pa.ArrowException) as error:
        raise DamagedPartError(part.name, f"its rows are not those of the part ({error})") from error


def _frame(tables: Sequence[pa.Table], number: int) -> pd.DataFrame:
    # parts of an earlier version lack the fit measures that methods have got since
    table = pa.concat_tables(tables, promote_options="default").unify_dictionaries()
    cell = table["cell"]
    if len(cell) and (pc.min(cell).as_py(), pc.max(cell).as_py()) != (number, number):
        raise StoreError(f"cell {number}: its parts hold rows of another cell")
    frame: pd.DataFrame = table.to_pandas()
    return frame
