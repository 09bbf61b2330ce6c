"""`Replicate`: one data set of a study, and what every method made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from simstudy.analysis import fit as analysis
from simstudy.api.results.fit import Fit
from simstudy.api.results.speech import text_of
from simstudy.design import Design
from simstudy.errors import StoreError, did_you_mean
from simstudy.methods import registry
from simstudy.report.tables.blocks import Block, Heading, Paragraph
from simstudy.report.tables.fit_summary import FILE_WIDTH
from simstudy.report.tables.fragment import html_fragment
from simstudy.report.tables.render import to_lines
from simstudy.report.tables.text import NOT_AVAILABLE, TextTable, fixed
from simstudy.runner.parts import DamagedPartError
from simstudy.runner.replay import draw_frame
from simstudy.runner.tables import Folder, by_cell, read_cell

CHOICES = ("missing", "fixed_x", "bounds", "slopes", "nodes")
"""Options of a method that are arguments of `simstudy.fit`."""


@dataclass(frozen=True, repr=False)
class Replicate:
    """One data set of a study, and what every method made of it; from `Study.replicate`.

    Attributes
    ----------
    cell, rep : int
    data : DataFrame
        The data set, drawn again bit for bit: ``cluster`` and the variables.
    estimates : DataFrame
        As stored: estimator, se_kind, parameter, estimate, se, lower, upper.
    fits : DataFrame
        As stored: estimator, status, admissible, n_iter, loglik and fit measures.
    design : Design

    Examples
    --------
    >>> import simstudy
    >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
    >>> replicate = study.replicate(0, 3)
    >>> replicate
    <Replicate 3 of cell 0: 500 rows in 50 clusters, 6 of 6 methods converged>
    >>> replicate.fit("msem").converged
    True
    """

    cell: int
    rep: int
    data: pd.DataFrame
    estimates: pd.DataFrame
    fits: pd.DataFrame
    design: Design

    @classmethod
    def of(cls, folder: Folder, design: Design, cell: int, rep: int) -> Replicate:
        """A replicate that is stored in a results folder.

        Raises
        ------
        StoreError
            If there is no such cell or replicate.
        """
        folder.cell(cell)
        damaged: list[DamagedPartError] = []
        parts = [part for part in by_cell(folder)[cell] if part.first <= rep < part.stop]
        rows = read_cell(folder, cell, parts, damaged)
        fits = rows.fits[rows.fits["rep"] == rep] if rows is not None else pd.DataFrame()
        if rows is None or fits.empty:
            last = folder.manifest.replications_of(cell) - 1
            why = f": {damaged[0]}" if damaged else f"; replicates asked for: 0 to {last}"
            raise StoreError(f"rep: found {rep}; nothing of it is stored in cell {cell}{why}")
        stored = rows.replicates[rows.replicates["rep"] == rep].rename(columns={"param": "parameter"})
        keep = ["estimator", "se_kind", "parameter", "estimate", "se", "lower", "upper"]
        return cls(
            cell,
            rep,
            draw_frame(design, cell, rep),
            stored[keep].reset_index(drop=True),
            fits.drop(columns=["cell", "rep"], errors="ignore").reset_index(drop=True),
            design,
        )

    def __repr__(self) -> str:
        good = int((self.fits["status"] == "OK").sum())
        clusters = self.data["cluster"].nunique()
        ended = f"{good} of {len(self.fits)} methods converged"
        return f"<Replicate {self.rep} of cell {self.cell}: {len(self.data):,} rows in {clusters:,} clusters, {ended}>"

    def _repr_html_(self) -> str:
        return html_fragment(self._blocks())

    def _blocks(self) -> list[Block]:
        clusters = self.data["cluster"].nunique()
        facts = f"{len(self.data):,} rows in {clusters:,} clusters; estimates (standard errors) as stored"
        first = self.estimates.drop_duplicates(["estimator", "parameter"])
        methods, names = (list(dict.fromkeys(first[column])) for column in ("estimator", "parameter"))
        columns = (first[name] for name in ("estimator", "parameter", "estimate", "se"))
        cells = {
            (method, name): _number(float(estimate), float(se))
            for method, name, estimate, se in zip(*columns, strict=True)
        }
        rows = tuple((name, *(cells.get((method, name), "") for method in methods)) for name in names)
        table = TextTable(("Parameter", *methods), rows, left=1)
        return [Heading(f"Replicate {self.rep} of cell {self.cell}", 1), Paragraph(facts, quiet=True), table]

    def summary(self) -> str:
        """The table of every method's estimates, as text."""
        return text_of(to_lines(self._blocks(), FILE_WIDTH))

    def to_frame(self) -> pd.DataFrame:
        """The stored estimates."""
        return self.estimates

    def to_dict(self) -> dict[str, Any]:
        """Cell, number, data, stored estimates and fits, as plain values."""
        tables = {name: getattr(self, name).to_dict("records") for name in ("data", "estimates", "fits")}
        return {"cell": self.cell, "rep": self.rep, **tables}

    def fit(self, estimator: str) -> Fit:
        """A method of the study fitted to the data set again, with everything that `simstudy.fit` tells.

        Raises
        ------
        StoreError
            If the study has no such method.
        """
        entries = {entry.name: entry for entry in self.design.estimators}
        if estimator not in entries:
            known = ", ".join(entries)
            raise StoreError(f"estimator: unknown '{estimator}'{did_you_mean(estimator, entries)}; known: {known}")
        entry = entries[estimator]
        plain = registry.create(entry.method)
        own = {name: value for name, value in entry.options.items() if value != getattr(plain, name)}
        own.pop("se", None)
        arguments = {name: own.pop(name) for name in CHOICES if name in own}
        kind = entry.estimator.se_kinds[0]
        record = analysis.fit(
            self.design.model, self.data, cluster="cluster", estimator=entry.method, se=kind, options=own, **arguments
        )
        return Fit.of(record)


def _number(estimate: float, se: float) -> str:
    if math.isnan(estimate):
        return NOT_AVAILABLE
    return fixed(estimate, 3) if math.isnan(se) else f"{fixed(estimate, 3)} ({fixed(se, 3)})"
