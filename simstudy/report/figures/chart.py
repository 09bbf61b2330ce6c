"""A figure with its words and numbers, and how it is written to files or into a page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from simstudy.errors import SimstudyError, did_you_mean
from simstudy.report.figures.style import DPI, SETTINGS, styled
from simstudy.report.tables.performance import write_csv
from simstudy.runner.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "png", "svg")
SCREEN_DPI = 144
"""Dots an inch of a figure in a notebook: two a point of the screen."""
METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Creator": "simstudy", "Date": None},
    "pdf": {"Creator": "simstudy", "Producer": "simstudy", "CreationDate": None},
    "png": {"Software": "simstudy"},
}
"""Without dates, so that the same figure gives the same bytes."""


@dataclass(frozen=True, repr=False)
class Chart:
    """A figure, what it shows in words, and exactly the numbers that are drawn.

    Attributes
    ----------
    kind : str
        ``lines``, ``zip``, ...
    stem : str
        File name without suffix.
    title : str
    alt : str
        What the figure shows, in words and numbers.
    data : DataFrame
        The numbers drawn.
    figure : Figure
        Made without pyplot, so that nothing is shown twice and no state is left behind.
    """

    kind: str
    stem: str
    title: str
    alt: str
    data: pd.DataFrame
    figure: Figure

    def __repr__(self) -> str:
        return f"<Chart {self.kind}: {self.title}>"

    def _repr_png_(self) -> bytes:
        return figure_png(self, SCREEN_DPI)


def file_stem(*parts: object) -> str:
    """File name of what was chosen, without characters that file systems or shells refuse."""
    return "_".join(re.sub(r"[^\w.-]+", "_", str(part)).strip("_") for part in parts if str(part))


def check_formats(formats: Sequence[str]) -> None:
    """Refuse formats that cannot be written.

    Raises
    ------
    SimstudyError
    """
    problems = [
        f"format: there is no '{name}'{did_you_mean(name, FORMATS)}; allowed: {', '.join(FORMATS)}"
        for name in formats
        if name not in FORMATS
    ]
    if problems:
        raise SimstudyError(problems)


def write_figure(figure: Figure, path: Path, settings: Mapping[str, Any] | None = None) -> Path:
    """Write a figure in the format of the suffix, complete or not at all; the same figure gives the same bytes.

    Parameters
    ----------
    figure : Figure
    path : Path
    settings : mapping, optional
        Settings of matplotlib other than those of `style`.
    """
    from matplotlib import rc_context

    suffix = path.suffix.lower().removeprefix(".")
    together: Any = dict(SETTINGS) | dict(settings or {})
    content = io.BytesIO()
    with rc_context(together):
        figure.savefig(content, format=suffix, metadata=METADATA[suffix], dpi=DPI)
    write_bytes(path, content.getbuffer())
    return path


def save_figure(
    figure: Figure, data: pd.DataFrame, path_stem: str | Path, formats: Sequence[str] = ("pdf", "png")
) -> list[Path]:
    """Write a figure and its data as CSV.

    Parameters
    ----------
    figure : Figure
        From one of `plot_*`.
    data : DataFrame
        The numbers drawn.
    path_stem : path
        Path without suffix; its folder is made if need be.
    formats : sequence of str
        Of `FORMATS`.

    Returns
    -------
    list of Path
        One a format, then the CSV.
    """
    check_formats(formats)
    stem = Path(path_stem)
    written = [write_figure(figure, stem.with_name(f"{stem.name}.{suffix}")) for suffix in formats]
    return [*written, write_csv(data, stem.with_name(f"{stem.name}.csv"))]


def save_chart(chart: Chart, folder: str | Path, formats: Sequence[str] = ("pdf", "png")) -> list[Path]:
    """Write a chart under its own name into a folder (`save_figure`)."""
    return save_figure(chart.figure, chart.data, Path(folder) / chart.stem, formats)


@styled
def figure_svg(chart: Chart) -> str:
    """Inline ``<svg>`` of a chart with its alternative text; identifiers carry the stem, so that many fit in a page."""
    buffer = io.StringIO()
    chart.figure.savefig(buffer, format="svg", metadata=METADATA["svg"])
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    prefix = re.sub(r"[^\w-]+", "-", chart.stem)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(chart.alt, quote=True)}" ', 1)


@styled
def figure_png(chart: Chart, dpi: int = DPI) -> bytes:
    """PNG of a chart."""
    buffer = io.BytesIO()
    chart.figure.savefig(buffer, format="png", metadata=METADATA["png"], dpi=dpi)
    return buffer.getvalue()
