"""One replicate of a study: its data, and a fit to them once more."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from simstudy.api.study import validate
from simstudy.design.inputs import DesignLike
from simstudy.errors import SimstudyError
from simstudy.runner.files import write_bytes, write_table
from simstudy.runner.replay import ReplayRecord, draw_frame
from simstudy.runner.replay import replay as replay_fit


def simulate(design: DesignLike, cell: int, rep: int, out: str | Path | None = None) -> pd.DataFrame:
    """One data set of a study, as every method gets it.

    Parameters
    ----------
    design : Design, path, str or dict
    cell, rep : int
        Numbers of the cell and the replicate, from 0.
    out : path, optional
        CSV or Parquet file to write as well.

    Returns
    -------
    DataFrame
        One row an individual: ``cluster`` and the variables.

    Raises
    ------
    SimstudyError
        If there is no such cell or replicate, or the file cannot be of that kind.

    Examples
    --------
    >>> import simstudy
    >>> data = simstudy.simulate(simstudy.init("contextual"), cell=0, rep=0)
    >>> data.shape, list(data.columns)
    ((500, 3), ['cluster', 'y', 'x'])
    """
    data = draw_frame(validate(design), cell, rep)
    if out is not None:
        path = Path(out)
        if path.suffix == ".csv":
            write_bytes(path, data.to_csv(index=False, lineterminator="\n").encode())
        elif path.suffix == ".parquet":
            write_table(path, pa.Table.from_pandas(data, preserve_index=False))
        else:
            raise SimstudyError(f"out: found '{path.name}'; allowed: a name that ends in .csv or .parquet")
    return data


def replay(folder: str | Path, cell: int, rep: int, estimator: str) -> ReplayRecord:
    """Fit one replicate again and compare it with what is stored, bit for bit.

    Parameters
    ----------
    folder : path
        Results folder.
    cell, rep : int
        Numbers of the cell and the replicate, from 0.
    estimator : str

    Returns
    -------
    ReplayRecord

    Raises
    ------
    StoreError
        If nothing of that kind is stored.

    Examples
    --------
    >>> import simstudy
    >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
    >>> simstudy.replay(study.folder, cell=2, rep=7, estimator="msem").identical
    True
    """
    return replay_fit(Path(folder), cell, rep, estimator)
