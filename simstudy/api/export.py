"""Estimates of a study for other software."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri

from simstudy.errors import SimstudyError, StoreError
from simstudy.linalg.stacked import FloatArray
from simstudy.performance import kind_order
from simstudy.runner.parts import DamagedPartError
from simstudy.runner.tables import CellRows, Folder, iterate_cells, read_folder

__all__ = ["export_siman", "siman_rows"]

SIMAN_COLUMNS = ("rep", "dgm", "target", "method", "estimate", "se", "lci", "uci", "true")


def export_siman(folder: str | Path, out: str | Path) -> Path:
    """Write every estimate as one long CSV in the long-long layout of Stata's siman (one row a rep, target, method).

    Columns: ``rep`` (from 1), ``dgm`` (the cell, from 1), ``target`` (parameter), ``method``, ``estimate``, ``se``,
    ``lci``, ``uci``, ``true``, then the design factors.  A fit that failed has empty numbers.  A method with several
    kinds of SE is one method a kind: ``msem``, ``msem robust``.  Cells are written one by one.

    Parameters
    ----------
    folder : path
        Results folder.
    out : path
        CSV file; in Stata, ``import delimited`` reads it.

    Returns
    -------
    Path

    Raises
    ------
    SimstudyError
        If it is not a results folder, parts of it are damaged, or the file's name does not end in .csv.

    Examples
    --------
    >>> import simstudy
    >>> from simstudy import api
    >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
    >>> api.export_siman(study.folder, "estimates.csv").name
    'estimates.csv'
    """
    target = Path(out)
    if target.suffix.lower() != ".csv":
        raise SimstudyError(f"siman: found '{target.name}'; allowed: a name that ends in .csv")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as stream:
            for number, rows in enumerate(siman_rows(folder)):
                rows.to_csv(stream, index=False, header=number == 0, lineterminator="\n")
        return unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def siman_rows(folder: str | Path) -> Iterator[pd.DataFrame]:
    """Rows of `export_siman`, a cell at a time."""
    opened = read_folder(Path(folder))
    damaged: list[DamagedPartError] = list(opened.contents.damaged)
    for rows in iterate_cells(opened, damaged):
        table = _cell_rows(opened, rows)
        if damaged:
            break
        yield table
    if damaged:
        raise StoreError([f"{folder}: {error}; run the design again to replace it" for error in damaged])


def _cell_rows(folder: Folder, rows: CellRows) -> pd.DataFrame:
    replicates = rows.replicates
    estimator, target = replicates["estimator"].astype("str"), replicates["param"].astype("str")
    status = pd.Series(
        rows.fits["status"].astype("str").to_numpy(),
        index=pd.MultiIndex.from_arrays([rows.fits["estimator"].astype("str"), rows.fits["rep"]]),
    )
    found = status.reindex(pd.MultiIndex.from_arrays([estimator, replicates["rep"]])).to_numpy()

    def numbers(column: str) -> FloatArray:
        values = replicates[column].to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(found == "OK", values, np.nan)

    estimate, se, lower, upper = (numbers(column) for column in ("estimate", "se", "lower", "upper"))
    z = float(ndtri(0.5 * (1.0 + folder.manifest.level)))
    truth = folder.truth[folder.truth["cell"] == rows.cell].set_index("param")["truth"]
    table = pd.DataFrame(
        {
            "rep": replicates["rep"] + 1,
            "dgm": rows.cell + 1,
            "target": target,
            "method": _method_names(replicates, folder.methods),
            "estimate": estimate,
            "se": se,
            "lci": np.where(np.isnan(lower), estimate - z * se, lower),
            "uci": np.where(np.isnan(upper), estimate + z * se, upper),
            "true": target.map(truth),
        }
    )
    setting = folder.cell(rows.cell)
    for name in folder.manifest.factors:
        table[f"{name}_" if name in SIMAN_COLUMNS else name] = setting[name]
    order = pd.Categorical(target, categories=folder.params, ordered=True)
    return table.assign(_order=order).sort_values(["rep", "_order"], kind="stable").drop(columns="_order")


def _method_names(replicates: pd.DataFrame, methods: list[str]) -> pd.Series:
    """Name of the method, with the kind of SE behind it from the second kind on."""
    pairs = replicates[["estimator", "se_kind"]].drop_duplicates().astype("str")
    names: dict[tuple[str, str], str] = {}
    for method in methods:
        kinds = sorted(pairs.loc[pairs["estimator"] == method, "se_kind"], key=kind_order)
        names |= {(method, kind): method if place == 0 else f"{method} {kind}" for place, kind in enumerate(kinds)}
    keys = zip(replicates["estimator"].astype("str"), replicates["se_kind"].astype("str"), strict=True)
    return pd.Series([names[key] for key in keys], index=replicates.index, dtype="str")
