"""Look at one replicate again: its data, and a method's fit compared with what is stored, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from simstudy.design import Cell, Design, parse_design
from simstudy.errors import StoreError, did_you_mean
from simstudy.population.draw import draw_sample
from simstudy.runner.block import StudyContext, fit_block
from simstudy.runner.manifest import current_versions, version_changes
from simstudy.runner.parts import DamagedPartError
from simstudy.runner.rows import fit_table, replicate_table
from simstudy.runner.tables import by_cell, read_cell, read_folder

KEYS = ["se_kind", "param"]
NUMBERS = ["estimate", "se", "lower", "upper"]
FACTS = ["status", "admissible", "n_iter", "loglik"]


@dataclass(frozen=True)
class ReplayRecord:
    """One fit, stored and made again.

    Attributes
    ----------
    cell, replicate : int
    estimator : str
    table : DataFrame
        se_kind, param, and each number as stored (``estimate``, ...) and made again (``estimate_again``, ...).
    facts : DataFrame
        status, admissible, n_iter, loglik in the columns ``stored`` and ``again``.
    identical : bool
        Everything is the same to the last bit.
    error : str
        Error and traceback of the method, if it stopped with one.
    largest : float
        Largest difference between a number stored and made again, relative to the larger of it and 1e-8.
    changes : str
        What differs between the versions that began the folder and these; empty if nothing does.
    """

    cell: int
    replicate: int
    estimator: str
    table: pd.DataFrame
    facts: pd.DataFrame
    identical: bool
    error: str = ""
    largest: float = 0.0
    changes: str = ""


def find_cell(design: Design, number: int) -> Cell:
    """Cell of a design by its number.

    Raises
    ------
    StoreError
        If there is none.
    """
    for cell in design.cells:
        if cell.index == number:
            return cell
    numbers = [cell.index for cell in design.cells]
    raise StoreError(f"cell: found {number}; allowed: {min(numbers)} to {max(numbers)}")


def draw_frame(design: Design, cell: int, replicate: int) -> pd.DataFrame:
    """The data set of one replicate, as every method gets it, with a column ``cluster``.

    Raises
    ------
    StoreError
        If there is no such cell or replicate.
    """
    _check_replicate(replicate)
    population = find_cell(design, cell).population
    with threadpool_limits(1):
        return draw_sample(population, design.seed, range(replicate, replicate + 1)).to_frame(0)


def _check_replicate(found: object) -> None:
    if not isinstance(found, int | np.integer) or found < 0:
        raise StoreError(f"rep: found {found!r}; replicates are whole numbers from 0")


def replay(root: Path, cell: int, replicate: int, estimator: str) -> ReplayRecord:
    """Fit one replicate again and compare it with the stored rows.

    Raises
    ------
    StoreError
        If there are no such rows.
    """
    _check_replicate(replicate)
    folder = read_folder(root)
    if estimator not in folder.manifest.methods:
        known = ", ".join(folder.methods)
        raise StoreError(f"estimator: unknown '{estimator}'{did_you_mean(estimator, folder.methods)}; known: {known}")
    folder.cell(cell)
    parts = [
        part for part in by_cell(folder)[cell] if part.first <= replicate < part.stop and estimator in part.methods
    ]
    damaged: list[DamagedPartError] = []
    rows = read_cell(folder, cell, parts, damaged)
    stored = None if rows is None else _select(rows.replicates, estimator, replicate)
    if rows is None or stored is None or stored.empty:
        why = (
            f": {damaged[0]}"
            if damaged
            else f" (replicates asked for: 0 to {folder.manifest.replications_of(cell) - 1})"
        )
        raise StoreError(f"{root}: there is no fit of {estimator} to replicate {replicate} of cell {cell}{why}")

    design = parse_design(folder.manifest.design_text, source=f"{root / 'manifest.json'}: design")
    entry = next((entry for entry in design.estimators if entry.name == estimator), None)
    if entry is None:
        raise StoreError(f"{root}: the design in the manifest does not have the method '{estimator}'")
    study = StudyContext(root, design.digest, design.seed, design.model, design.intervals)
    replicates = range(replicate, replicate + 1)
    with threadpool_limits(1):
        fits, failures, _ = fit_block(study, find_cell(design, cell), (entry,), replicates)
    defined = design.model.estimands.defined_names
    again = replicate_table(cell, replicates, fits, defined).to_pandas()
    table = stored.merge(again[KEYS + NUMBERS].astype(dict.fromkeys(KEYS, "str")), on=KEYS, how="outer", sort=False,
                         suffixes=("", "_again"), indicator=True)  # fmt: skip
    facts = pd.DataFrame(
        {
            "stored": _select(rows.fits, estimator, replicate, FACTS).iloc[0],
            "again": fit_table(cell, replicates, fits).to_pandas()[FACTS].iloc[0],
        }
    )
    same = bool((table.pop("_merge") == "both").all())
    same &= all(_equal(table[name], table[f"{name}_again"]) for name in NUMBERS)
    same &= facts["stored"].tolist()[:3] == facts["again"].tolist()[:3]
    same &= _equal(facts.loc[["loglik"], "stored"], facts.loc[["loglik"], "again"])
    changes = version_changes(folder.manifest, current_versions())
    error = "\n".join(f.traceback for f in failures)
    return ReplayRecord(cell, replicate, estimator, table, facts, same, error, _largest_difference(table), changes)


def _largest_difference(table: pd.DataFrame) -> float:
    found = [0.0]
    for name in NUMBERS:
        x, y = (table[column].to_numpy(dtype=np.float64) for column in (name, f"{name}_again"))
        both = np.isfinite(x) & np.isfinite(y)
        found += (np.abs(x - y)[both] / np.maximum(np.abs(x[both]), 1e-8)).tolist()
    return max(found)


def _select(table: pd.DataFrame, estimator: str, replicate: int, columns: list[str] | None = None) -> pd.DataFrame:
    rows = table[(table["estimator"] == estimator) & (table["rep"] == replicate)]
    if columns is not None:
        return rows[columns].reset_index(drop=True)
    return rows[KEYS + NUMBERS].astype(dict.fromkeys(KEYS, "str")).reset_index(drop=True)


def _equal(a: pd.Series, b: pd.Series) -> bool:
    """Whether numbers have the same bits, NaN for NaN."""
    x, y = (np.asarray(column, dtype=np.float64) for column in (a, b))
    return bool(np.array_equal(x.view(np.int64)[~np.isnan(x)], y.view(np.int64)[~np.isnan(y)])) and bool(
        np.array_equal(np.isnan(x), np.isnan(y))
    )
