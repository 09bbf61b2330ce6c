"""`Theory`: what the methods of a design come to without simulation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from simstudy.api.methods import describe_estimator
from simstudy.api.results.speech import content, text_of
from simstudy.api.theory import TheoryRecord, best, joined
from simstudy.asymptotics.table import CALCULATIONS
from simstudy.performance.choose import choose_parameters, in_order
from simstudy.report import formula_lines, joined_lines, theory_lines
from simstudy.report.tables.blocks import Block, Heading, Paragraph
from simstudy.report.tables.fragment import html_fragment
from simstudy.report.tables.performance import FILE_WIDTH
from simstudy.report.tables.text import Line, TextTable, fixed

if TYPE_CHECKING:
    from simstudy.api.results.study import Study

MEASURES = {"bias": "bias", "empirical_se": "true SE", "model_se": "reported SE", "coverage": "coverage"}
MAX_ROWS = 60
"""Rows that a notebook shows."""


class Theory(TheoryRecord):
    """Limits, true and reported SEs, coverage and power of every method of a design; from `simstudy.bias`.

    Attributes
    ----------
    table : DataFrame
        See `simstudy.bias`.
    design : Design

    Examples
    --------
    >>> import simstudy
    >>> theory = simstudy.bias(simstudy.init("contextual"))
    >>> theory
    <Theory contextual: 3 cells, 6 methods>
    >>> table = theory.best()
    >>> one = table[(table["estimator"] == "msem") & (table["parameter"] == "contextual") & (table["cell"] == 2)]
    >>> one.loc[one["measure"] == "bias", "value"].round(6).tolist()
    [0.002333, 0.002333]
    """

    @classmethod
    def of(cls, record: TheoryRecord) -> Theory:
        """A record with methods."""
        return cls(**content(record))

    def __repr__(self) -> str:
        cells, methods = (self.table[name].nunique() for name in ("cell", "estimator"))
        return f"<Theory {self.design.name}: {cells} cell{'s' * (cells != 1)}, {methods} methods>"

    def _repr_html_(self) -> str:
        return html_fragment(self._blocks())

    def _blocks(self) -> list[Block]:
        """Bias, SEs and coverage of the labelled and defined parameters, a row a cell, parameter and method."""
        table = self.best()
        names = choose_parameters(None, in_order(table["parameter"].unique()))
        table = table[table["parameter"].isin(names) & table["measure"].isin(MEASURES)]
        keys = ["cell", "parameter", "estimator", "se_kind"]
        wide = table.pivot_table(index=keys, columns="measure", values="value", sort=False).reindex(
            columns=list(MEASURES)
        )
        rows = [
            (*map(str, key), *(fixed(float(value), 3) for value in values))
            for key, values in zip(wide.index[:MAX_ROWS], wide.to_numpy()[:MAX_ROWS], strict=True)
        ]
        title = "Bias, standard errors and coverage from theory"
        left = f"{len(wide) - MAX_ROWS:,} more rows in to_frame()" if len(wide) > MAX_ROWS else ""
        return [
            Heading(f"{self.design.name}: theory, no simulation", 1),
            TextTable(("cell", "parameter", "method", "SE", *MEASURES.values()), tuple(rows), left=4, title=title),
            *([Paragraph(left, quiet=True)] if left else []),
        ]

    def summary(
        self,
        *,
        parameters: Sequence[str] | None = None,
        cells: Sequence[int] | None = None,
        beside: Study | pd.DataFrame | None = None,
        width: int = FILE_WIDTH,
    ) -> str:
        """What ``simstudy bias`` prints; beside the simulation, if the study or its performance table is given."""
        return text_of(self.lines(parameters, cells, beside=beside, width=width))

    def lines(
        self,
        parameters: Sequence[str] | None = None,
        cells: Sequence[int] | None = None,
        *,
        beside: Study | pd.DataFrame | None = None,
        width: int = FILE_WIDTH,
    ) -> list[Line]:
        """The lines of `summary`, with their styles."""
        factors, name, level = self.design.factor_names, self.design.name, self.design.intervals.level
        if beside is not None:
            lines = joined_lines(
                self.beside(beside), parameters=parameters, cells=cells, factors=factors, study_name=name, width=width
            )
        else:
            lines = theory_lines(
                self.table,
                self.best(),
                parameters=parameters,
                cells=cells,
                factors=factors,
                level=level,
                study_name=name,
                calculations=CALCULATIONS,
                width=width,
            )
        there = set(self.table["estimator"])
        places = {
            entry.name: str(describe_estimator(entry.method)["theory"])
            for entry in self.design.estimators
            if entry.name in there
        }
        return [*lines, *formula_lines(places, width)]

    def to_frame(self) -> pd.DataFrame:
        """Every number, with the way it was calculated; some measures have several rows."""
        return self.table

    def to_dict(self) -> dict[str, Any]:
        """Name of the design and every number."""
        return {"name": self.design.name, "table": self.table.to_dict("records")}

    def best(self) -> pd.DataFrame:
        """The most exact number of every cell, method, kind of SE, parameter and measure."""
        return best(self.table)

    def beside(self, study: Study | pd.DataFrame) -> pd.DataFrame:
        """Theory beside simulation: the most exact numbers, ``simulated``, and their distance ``z`` in MCSEs."""
        return joined(self.table, study if isinstance(study, pd.DataFrame) else study.to_frame())
