"""`Charts`: figures that a notebook shows as they are, and that write themselves to files."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, overload

import pandas as pd

from simstudy.errors import SimstudyError
from simstudy.report.figures import FORMATS, Chart, save_chart, save_figure
from simstudy.report.figures.chart import SCREEN_DPI, check_formats, figure_png
from simstudy.report.tables.fragment import html_around

CSS_INCH = 96
"""Pixels of a page in an inch."""


@dataclass(frozen=True, repr=False)
class Charts(Sequence[Chart]):
    """One or more figures, each with its title, its data and a description in words.

    A notebook shows them as the last line of a cell. They are made without pyplot: nothing has to be switched on, and
    nothing is left open.

    Attributes
    ----------
    items : tuple of Chart

    Examples
    --------
    >>> import simstudy
    >>> plan = simstudy.plan("contextual", "contextual", power=0.8, analytic=True, progress=False)
    >>> charts = plan.plot()
    >>> charts
    <Charts: 1 figure (curve)>
    >>> [path.name for path in charts.save("figures")]
    ['curve.pdf', 'curve.png', 'curve.csv']
    """

    items: tuple[Chart, ...]

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, place: int) -> Chart: ...

    @overload
    def __getitem__(self, place: slice) -> Charts: ...

    def __getitem__(self, place: int | slice) -> Chart | Charts:
        return Charts(self.items[place]) if isinstance(place, slice) else self.items[place]

    def __iter__(self) -> Iterator[Chart]:
        return iter(self.items)

    def __repr__(self) -> str:
        names = ", ".join(chart.stem for chart in self)
        return f"<Charts: {len(self)} figure{'s' * (len(self) != 1)} ({names})>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Pictures with their alternative text; a single one also as it is, for pages that are no HTML."""
        pictures = [(chart, base64.b64encode(figure_png(chart, SCREEN_DPI)).decode()) for chart in self]
        found = {"text/plain": repr(self), "text/html": html_around("\n".join(_picture(*pair) for pair in pictures))}
        return found | {"image/png": pictures[0][1]} if len(pictures) == 1 else found

    def summary(self) -> str:
        """What the figures show, in words: a line a figure."""
        return "\n".join(f"{chart.stem}: {chart.alt}" for chart in self)

    def to_dict(self) -> dict[str, Any]:
        """Of every figure by its name: kind, title, description in words, and the numbers drawn as records."""
        return {
            chart.stem: {
                "kind": chart.kind,
                "title": chart.title,
                "alt": chart.alt,
                "data": chart.data.to_dict("records"),
            }
            for chart in self
        }

    def to_frame(self) -> pd.DataFrame:
        """The numbers drawn; of several figures, one below the other with the column ``figure``."""
        if len(self) == 1:
            return self[0].data
        return pd.concat([chart.data.assign(figure=chart.stem) for chart in self], ignore_index=True)

    def save(self, target: str | Path, formats: Sequence[str] | None = None) -> list[Path]:
        """Write every figure under its own name into a folder, with its data as CSV.

        Parameters
        ----------
        target : path
            Folder; or, of a single figure, a file whose name ends in .pdf, .png or .svg.
        formats : sequence of str, optional
            ``pdf``, ``png``, ``svg``; by default PDF and PNG.

        Returns
        -------
        list of Path
            Files written.

        Raises
        ------
        SimstudyError
            A format that there is not, or one file for several figures.
        """
        check_formats(formats or ())
        place = Path(target)
        suffix = place.suffix.lower().removeprefix(".")
        if suffix not in FORMATS:
            return [path for chart in self for path in save_chart(chart, place, formats or ("pdf", "png"))]
        if formats:
            raise SimstudyError(f"format: '{target}' is one file and says its format; give a folder, or no format")
        if len(self) != 1:
            names = ", ".join(chart.stem for chart in self)
            raise SimstudyError(f"out: '{target}' is one file, and there are {len(self)} figures ({names})")
        return save_figure(self[0].figure, self[0].data, place.with_suffix(""), [suffix])


def _picture(chart: Chart, encoded: str) -> str:
    width = chart.figure.get_figwidth() * CSS_INCH
    return (
        f'<figure><img alt="{escape(chart.alt, quote=True)}" style="width: {width:.0f}px; max-width: 100%; '
        f'background: white" src="data:image/png;base64,{encoded}"></figure>'
    )
