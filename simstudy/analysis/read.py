"""Data files: CSV, Parquet, Stata and SPSS -> DataFrame. `check_data` then finds what is wrong with the content."""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from simstudy.analysis.read_checks import check_data
from simstudy.errors import DataError, did_you_mean

__all__ = ["check_data", "read_data"]

NA_STRINGS = ("NA", ".", "", "NaN", "nan")
"""What counts as a missing value in a text file; a code such as -99 is a number."""
DELIMITERS = (",", ";", "\t", "|")


def read_data(path: str | Path) -> pd.DataFrame:
    """Read a data file: CSV (``.csv .tsv .txt .dat``, also ``.gz``), Parquet, Stata ``.dta`` or SPSS ``.sav``.

    Text files: the delimiter is found out; semicolons or tabs with a decimal comma are understood; NA, a single point
    and nothing at all are missing values. Value labels of Stata and SPSS are left aside: codes stay numbers.

    Raises
    ------
    DataError
        If there is no such file, its format is unknown, or it cannot be read.
    """
    path = Path(path)
    suffix = path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if path.is_dir():
        raise DataError(f"{path}: this is a folder, not a data file")
    if not path.exists():
        near = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: there is no such file{did_you_mean(path.name, near)}")
    if suffix not in _READERS or (path.suffix.lower() == ".gz" and _READERS[suffix] is not _read_text):
        hint = "; save the sheet as CSV" if suffix in (".xls", ".xlsx", ".ods") else ""
        raise DataError(
            f"{path}: data files of kind '{''.join(path.suffixes[-2:])}' are not read; allowed: "
            f"{', '.join(_READERS)}, text also as .gz{did_you_mean(suffix, _READERS)}{hint}"
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    try:
        data = _READERS[suffix](path)
    except DataError:
        raise
    except ImportError as error:
        raise DataError(
            f"{path}: SPSS files need a package that is not installed; install it with `pip install pyreadstat`"
            if suffix == ".sav"
            else f"{path}: {error}"
        ) from error
    except Exception as error:  # whatever a parser makes of a broken file
        what = {".dta": "Stata data", ".sav": "SPSS data", ".parquet": "Parquet"}.get(suffix, "delimited text")
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{path}: this cannot be read as {what}: {first.removeprefix('Error tokenizing data. ')}"
        ) from error
    if data.empty:
        raise DataError(f"{path}: the file has {'column names but no rows' if len(data.columns) else 'no columns'}")
    return data


def _read_text(path: Path) -> pd.DataFrame:
    """Delimited text; duplicate column names are kept, for `check_data` to find."""
    content = path.read_bytes()
    if path.suffix.lower() == ".gz":
        content = gzip.decompress(content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252")
    lines = [line for line in text.splitlines() if line.strip()][:200]
    if not lines:
        raise DataError(f"{path}: the file is empty")
    delimiter = _delimiter(lines)
    header = [name.strip() for name in next(csv.reader(lines[:1], delimiter=delimiter, skipinitialspace=True))]
    if all(re.fullmatch(r"[-+]?[\d.,]+(e[-+]?\d+)?|", name, flags=re.IGNORECASE) for name in header):
        raise DataError(
            f"{path}: the first line must hold the column names; found '{lines[0].strip()[:60]}' (a file made for "
            "Mplus has no names: write them into a first line)"
        )
    body = "\n".join(lines[1:])
    comma = delimiter != "," and re.search(r"\d,\d", body) is not None and re.search(r"\d\.\d", body) is None
    options: dict[str, Any] = {
        "sep": r"\s+" if delimiter == " " else delimiter,
        "decimal": "," if comma else ".",
        "na_values": list(NA_STRINGS),
        "keep_default_na": False,
        "skipinitialspace": True,
        "low_memory": False,
    }
    data: pd.DataFrame = pd.read_csv(io.StringIO(text), **options)
    if not data.index.equals(pd.RangeIndex(len(data))):  # rows have more values than there are names
        data = _without_row_names(data, path, text, options)
    if len(header) == len(data.columns):
        data.columns = pd.Index(header)
    return data


def _without_row_names(data: pd.DataFrame, path: Path, text: str, options: dict[str, Any]) -> pd.DataFrame:
    """Settle what the values are that have no column name: nothing at all, or row names as R writes them."""
    if data.index.nlevels == 1 and data.iloc[:, -1].isna().all():  # a delimiter ends each row
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.ParserWarning)
            again: pd.DataFrame = pd.read_csv(io.StringIO(text), index_col=False, **options)
        return again
    if data.index.nlevels > 1 or not data.index.is_unique:
        raise DataError(
            f"{path}: rows have {data.index.nlevels + len(data.columns)} values but the first line has "
            f"{len(data.columns)} names; is there a decimal comma? Then separate the columns by semicolons"
        )
    return data.reset_index(drop=True)


def _delimiter(lines: Sequence[str]) -> str:
    """Return the delimiter that splits the header into most columns, and rows likewise."""

    def score(delimiter: str) -> tuple[int, int]:
        rows = list(csv.reader(lines[:50], delimiter=delimiter))
        width = len(rows[0])
        return (sum(abs(len(row) - width) <= 1 for row in rows) if width > 1 else 0, width)

    best = max(DELIMITERS, key=score)
    return " " if score(best)[1] == 1 and len(lines[0].split()) > 1 else best


def _read_parquet(path: Path) -> pd.DataFrame:
    data = pd.read_parquet(path)
    named = [name for name in data.index.names if name is not None]
    return data.reset_index(level=named) if named else data


def _read_stata(path: Path) -> pd.DataFrame:
    return pd.read_stata(path, convert_categoricals=False, convert_dates=False)


def _read_spss(path: Path) -> pd.DataFrame:
    return pd.read_spss(path, convert_categoricals=False)


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".dat"), _read_text),
    ".parquet": _read_parquet,
    ".dta": _read_stata,
    ".sav": _read_spss,
}
