"""Data files: CSV, Parquet, Excel, Stata, SPSS -> DataFrame. `check_data` then finds what is wrong with the content."""

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
    """Read a data file: CSV (``.csv .tsv .txt .dat``, also ``.gz``), Parquet, Excel, Stata ``.dta`` or SPSS ``.sav``.

    Text files: the delimiter is found out; semicolons or tabs with a decimal comma are understood; NA, a single point
    and nothing at all are missing values. Of Excel files the first sheet is read. Labelled values of Stata and SPSS
    stay numbers; values that SPSS declares missing are missing. What was made of the file stands in
    ``attrs["simstudy_notes"]``, labels in ``attrs["variable_value_labels"]``: `check_data` says and uses them.

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
        hint = "; save the sheet as .xlsx or CSV" if suffix in (".xls", ".xlsb", ".ods") else ""
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
        needs = {".sav": ("SPSS", "pyreadstat"), ".xlsx": ("Excel", "openpyxl")}
        if suffix not in needs:
            raise DataError(f"{path}: {error}") from error
        kind, package = needs[suffix]
        raise DataError(
            f"{path}: {kind} files need a package that is not installed; install it with `pip install {package}`"
        ) from error
    except Exception as error:  # whatever a parser makes of a broken file
        what = {
            ".dta": "Stata data", ".sav": "SPSS data", ".parquet": "Parquet", ".xlsx": "an Excel sheet",
        }.get(suffix, "delimited text")  # fmt: skip
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
    notes = []
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252")
        notes.append("the file is not UTF-8; it was read as Windows-1252")
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
    expected = {"\t": (".tsv", ".txt", ".dat"), " ": (".txt", ".dat"), ",": (".csv", ".txt", ".dat")}
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
    kind = path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if comma or kind not in expected.get(delimiter, ()):
        words = {"\t": "tabs", " ": "blanks", ",": "commas", ";": "semicolons", "|": "bars"}
        decimals = "; a comma was read as the decimal point" if comma else ""
        notes.append(f"columns are separated by {words[delimiter]}{decimals}")
    data.attrs["simstudy_notes"] = tuple(notes)
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
    data = pd.read_stata(path, convert_categoricals=False, convert_dates=False)
    data.attrs["variable_value_labels"] = _stata_labels(path, data)
    return data


def _stata_labels(path: Path, data: pd.DataFrame) -> dict[str, dict[float, str]]:
    """Labels of the values that occur: from the file once more, with labels in place of codes."""
    try:
        texts = pd.read_stata(path, convert_categoricals=True, convert_dates=False)
    except ValueError:  # two values with one label
        return {}
    found = {}
    for name in data.columns:
        column = texts[name]
        if isinstance(column.dtype, pd.CategoricalDtype) and pd.api.types.is_numeric_dtype(data[name]):
            pairs = zip(data[name].tolist(), column.astype("object").tolist(), strict=True)
            found[str(name)] = {float(code): text for code, text in pairs if isinstance(text, str)}
    return found


def _read_spss(path: Path) -> pd.DataFrame:
    import pyreadstat

    data, meta = pyreadstat.read_sav(path)
    data.attrs["variable_value_labels"] = dict(meta.variable_value_labels)
    return data


def _read_excel(path: Path) -> pd.DataFrame:
    with pd.ExcelFile(path, engine="openpyxl") as book:
        sheets = [str(name) for name in book.sheet_names]
        data = pd.read_excel(book, sheet_name=0, na_values=list(NA_STRINGS), keep_default_na=False)
    data = data.dropna(how="all").dropna(axis=1, how="all")  # formatted but empty cells
    blank = [str(name) for name in data.columns if str(name).startswith("Unnamed:")]
    if blank:
        raise DataError(f"{path}: the first row of sheet '{sheets[0]}' must hold the column names; some are empty")
    data.columns = pd.Index([str(name).strip() for name in data.columns])
    if len(sheets) > 1:
        data.attrs["simstudy_notes"] = (f"sheet '{sheets[0]}' was read, the first of {len(sheets)}",)
    return data.reset_index(drop=True)


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".dat"), _read_text),
    ".parquet": _read_parquet,
    ".dta": _read_stata,
    ".sav": _read_spss,
    ".xlsx": _read_excel,
}
