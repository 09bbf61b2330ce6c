"""Replicate rows of some parameters and methods in one cell, read part by part: memory holds no more than these."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from simstudy.errors import StoreError
from simstudy.runner.parts import DamagedPartError
from simstudy.runner.tables import Folder, by_cell, read_cell

CONVERGED = "OK"


def pick_replicates(
    folder: Folder, cell: int, parameters: Sequence[str], estimators: Sequence[str] | None = None
) -> pd.DataFrame:
    """Rows of the converged replicates of one cell.

    Parameters
    ----------
    folder : Folder
    cell : int
    parameters : sequence of str
    estimators : sequence of str, optional
        All by default.

    Returns
    -------
    DataFrame
        The cell's factors, then cell, rep, estimator, se_kind, parameter, level, truth, estimate, se, lower, upper;
        ordered by method (as in the study), kind of SE, parameter and replicate.

    Raises
    ------
    StoreError
        If there is no such cell, it has no rows, or a part of it is damaged.
    """
    settings = folder.cell(cell)
    names = list(estimators) if estimators is not None else folder.methods
    damaged: list[DamagedPartError] = []
    rows = read_cell(folder, cell, by_cell(folder)[cell], damaged)
    found = []
    if rows is not None:
        good = rows.fits.loc[rows.fits["status"] == CONVERGED, ["rep", "estimator"]]
        for part in rows.parts():
            table = part.rename(columns={"param": "parameter"})
            table = table[table["parameter"].isin(list(parameters)) & table["estimator"].isin(names)]
            found.append(_as_text(table).merge(_as_text(good), on=["rep", "estimator"]))
    if damaged:
        raise StoreError([f"{folder.root}: {error}; run the design again to replace it" for error in damaged])
    if not found:
        raise StoreError(f"{folder.root}: cell {cell} has no finished replicates yet")
    table = pd.concat(found, ignore_index=True)
    truth = folder.truth[folder.truth["cell"] == cell].rename(columns={"param": "parameter"})
    table = table.merge(truth[["parameter", "level", "truth"]], on="parameter", how="left")
    order = {name: place for place, name in enumerate(names)}
    wanted = {name: place for place, name in enumerate(parameters)}
    keys = pd.DataFrame({"e": table["estimator"].map(order), "p": table["parameter"].map(wanted)})
    table = table.assign(**keys).sort_values(["e", "se_kind", "p", "rep"], kind="stable", ignore_index=True)
    for place, factor in enumerate(folder.manifest.factors):
        table.insert(place, factor, settings[factor])
    columns = ["cell", "rep", "estimator", "se_kind", "parameter", "level", "truth", "estimate", "se", "lower", "upper"]
    return table[[*folder.manifest.factors, *columns]]


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Categories of different parts are not the same; text is."""
    texts = [name for name in ("estimator", "se_kind", "parameter") if name in table.columns]
    return table.astype(dict.fromkeys(texts, "str"))
