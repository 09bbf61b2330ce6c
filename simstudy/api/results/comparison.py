"""`FitComparison`: every method fitted to one data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from simstudy.analysis.result import FitRecord
from simstudy.api.results.fit import Fit
from simstudy.api.results.speech import text_of
from simstudy.report.tables.fit_compare import FILE_WIDTH, side_by_side_blocks, side_by_side_lines
from simstudy.report.tables.fragment import html_fragment


@dataclass(frozen=True, repr=False)
class FitComparison(Mapping[str, Fit]):
    r"""Fits of several methods to the same data, by name of the method; from `simstudy.fit_all`.

    Attributes
    ----------
    fits : dict of Fit

    Examples
    --------
    >>> import simstudy
    >>> data = simstudy.simulate(simstudy.init("contextual"), cell=0, rep=0)
    >>> fits = simstudy.fit_all("level: 1\n y ~ bw*x\nlevel: 2\n y ~ bb*x", data, cluster="cluster")
    >>> [round(float(fits[name].coef["bb"]), 2) for name in ("disaggregated", "mlm_centered", "msem")]
    [0.23, 0.41, 0.57]
    """

    fits: Mapping[str, Fit]

    @classmethod
    def of(cls, records: Mapping[str, FitRecord]) -> FitComparison:
        """Records with methods."""
        return cls({name: Fit.of(record) for name, record in records.items()})

    def __getitem__(self, name: str) -> Fit:
        return self.fits[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fits)

    def __len__(self) -> int:
        return len(self.fits)

    def __repr__(self) -> str:
        fitted = [name for name, fit in self.items() if fit.converged]
        return f"<FitComparison: {len(self)} methods, {len(fitted)} converged ({', '.join(fitted)})>"

    def _repr_html_(self) -> str:
        return html_fragment(side_by_side_blocks(self))

    def summary(self, parameters: Sequence[str] | None = None, *, width: int = FILE_WIDTH) -> str:
        """What ``simstudy fit --estimator all`` prints.

        Parameters
        ----------
        parameters : sequence of str, optional
            Labels, paths or patterns (``["*"]``: all); by default what has a label and what is defined.
        width : int
            Characters a line; columns that do not fit follow below.
        """
        return text_of(side_by_side_lines(self, width=width, parameters=parameters))

    def to_frame(self) -> pd.DataFrame:
        """Parameters of every fit, one below the other: estimator, then the columns of `Fit.to_frame`."""
        tables = [fit.to_frame().assign(estimator=name) for name, fit in self.items()]
        table = pd.concat(tables, ignore_index=True)
        return table[["estimator", *(name for name in table.columns if name != "estimator")]]

    def to_dict(self) -> dict[str, Any]:
        """What ``simstudy fit --estimator all --json`` writes."""
        return {"estimator": "all", "fits": [fit.to_dict() for fit in self.values()]}
