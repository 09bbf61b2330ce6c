"""What `fit` is given, in any form: a model as a file, as text or read already; data as a file, a table or columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from simstudy.analysis.read import read_data
from simstudy.analysis.read_checks import ROUNDING
from simstudy.errors import DataError, EstimatorError, ModelError, did_you_mean
from simstudy.model.defaults import AUTO
from simstudy.model.foreign import is_foreign, refuse_foreign
from simstudy.model.translation import Beside
from simstudy.model.twolevel import TwoLevelModel

ModelLike: TypeAlias = TwoLevelModel | str | Path
"""A model, a file that holds one, or the text itself with its ``level:`` blocks."""
DataLike: TypeAlias = pd.DataFrame | str | Path | Mapping[str, Sequence[Any]]
"""A table, a file (see `read_data`), or columns by name."""


def as_model(
    model: ModelLike, *, std_lv: bool = False, auto: str = AUTO[0], beside: Callable[[], Beside] = Beside
) -> TwoLevelModel:
    """The model in a file, or the text itself; a model that was read already is left alone.

    Parameters
    ----------
    model : TwoLevelModel, str or path
    std_lv, auto
        See `TwoLevelModel.from_syntax`.
    beside
        Called for a text of another program, whose translation tells more if it is known what the text came with.

    Raises
    ------
    ModelError
        If there is no such file, or the text is no model.
    EstimatorError
        A rule of automatic covariances for a model that was read by another.
    """
    if isinstance(model, TwoLevelModel):
        if auto != AUTO[0]:
            raise EstimatorError(
                "auto: this choice goes with a model given as text; give it to TwoLevelModel.from_syntax"
            )
        return model
    path = Path(model)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError):  # too long to be a name, or no name at all
        is_file = is_folder = False
    if not is_file and (isinstance(model, Path) or not _is_text(model)):
        folder = path.parent
        near = [other.name for other in folder.iterdir()] if folder.is_dir() else []
        what = "this is a folder" if is_folder else f"there is no such file{did_you_mean(path.name, near)}"
        raise ModelError(f"{model}: {what}; give a model file, or the text itself with its 'level:' blocks")
    if not is_file:
        return _read(str(model), std_lv, auto, beside)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ModelError(f"{path}: this is not a text file") from None
    try:
        return _read(text, std_lv, auto, beside)
    except ModelError as error:
        raise ModelError([f"{path}: {problem}" for problem in error.problems]) from error


def _read(text: str, std_lv: bool, auto: str, beside: Callable[[], Beside]) -> TwoLevelModel:
    if is_foreign(text):
        refuse_foreign(text, beside())
    return TwoLevelModel.from_syntax(text, std_lv=std_lv, auto=auto)


def what_is_beside(data: DataLike, cluster: str) -> Beside:
    """What a model text came with; data that cannot be read are told where they are read."""
    name = str(data) if isinstance(data, (str, Path)) else Beside.data
    try:
        table = as_frame(data)
    except DataError:
        return Beside(name, cluster)
    if list(table.columns).count(cluster) != 1 or not table.columns.is_unique:
        return Beside(name, cluster)
    numbers = table.drop(columns=cluster).select_dtypes("number")
    groups = numbers.groupby(table[cluster])
    spread = (groups.max() - groups.min()).max()
    constant = spread.index[spread <= ROUNDING * (numbers.max() - numbers.min())]
    return Beside(name, cluster, frozenset(map(str, constant)))


def _is_text(model: str) -> bool:
    """Whether it reads like a model, not like the name of a file."""
    return "level:" in model.replace(" ", "").lower() or is_foreign(model) or "\n" in model.strip()


def as_frame(data: DataLike) -> pd.DataFrame:
    """The table in a file, or of columns by name; a table is left alone.

    Raises
    ------
    DataError
        If there is no such file, it cannot be read, or the columns are not equally long.
    """
    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, (str, Path)):
        return read_data(data)
    if not isinstance(data, Mapping):
        raise DataError(f"data: found {type(data).__name__}; allowed: a DataFrame, a file, or a dict of columns")
    lengths = {name: len(column) for name, column in data.items() if not isinstance(column, str)}
    if len(set(lengths.values())) > 1 or len(lengths) < len(data):
        found = ", ".join(f"{name} {lengths.get(name, 'no list')}" for name in data)
        raise DataError(f"data: the columns must be lists of the same length; found {found}")
    return pd.DataFrame(dict(data))
