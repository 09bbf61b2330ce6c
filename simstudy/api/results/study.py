"""`Study`: a results folder, and what the methods came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from simstudy.api.figures import charts
from simstudy.api.folders import status
from simstudy.api.one_replicate import replay
from simstudy.api.reporting import write_report
from simstudy.api.results.charts import Charts
from simstudy.api.results.replay import Replay
from simstudy.api.results.replicate import Replicate
from simstudy.api.results.status import StudyStatus
from simstudy.api.results.theory import Theory
from simstudy.api.study import Results
from simstudy.api.tables import format_performance as written
from simstudy.api.tables import table_options
from simstudy.api.theory import theory_of
from simstudy.design import Design, parse_design
from simstudy.errors import SimstudyError, did_you_mean
from simstudy.performance.choose import choose_parameters, in_order
from simstudy.report.tables.fragment import html_fragment
from simstudy.report.tables.performance import performance_blocks
from simstudy.report.tables.view import choose_cells, choose_measures
from simstudy.runner.tables import read_folder


def _known(what: str, wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names that all exist.

    Raises
    ------
    SimstudyError
        One message a name that does not.
    """
    problems = [
        f"{what}: there is no '{name}'{did_you_mean(name, known)}; allowed: {', '.join(known)}"
        for name in wanted
        if name not in known
    ]
    if problems:
        raise SimstudyError(problems)
    return list(wanted)


def _listed(names: str | Sequence[str] | None) -> list[str] | None:
    """One name, several, or None."""
    return [names] if isinstance(names, str) else list(names) if names else None


@dataclass(frozen=True, repr=False)
class Study:
    """A study that was run; from `simstudy.run`, or from its folder by `simstudy.analyse`.

    Attributes
    ----------
    results : Results
        The tables as they were computed.

    Examples
    --------
    >>> import simstudy
    >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
    >>> study
    <Study contextual: 3 cells, 6 methods, 20 replications, in results/contextual>
    >>> chosen = {"parameters": "contextual", "measures": ["bias", "coverage"], "cells": [2], "basis": "casewise"}
    >>> study.performance(**chosen, estimators="two_step")[["estimator", "measure", "n"]].values.tolist()
    [['two_step', 'bias', 20], ['two_step', 'coverage', 20]]
    >>> study.plot("zip", parameters="contextual", estimators=["msem"])
    <Charts: 1 figure (zip_contextual_cell-0)>
    """

    results: Results

    @classmethod
    def of(cls, results: Results) -> Study:
        """Results with methods."""
        return cls(results)

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.results.name

    @property
    def folder(self) -> Path:
        """The results folder."""
        return self.results.folder

    @property
    def design(self) -> Design:
        """The design that was run, as the folder keeps it."""
        return parse_design(self.results.manifest.design_text, source=f"{self.folder / 'manifest.json'}: design")

    @property
    def methods(self) -> list[str]:
        """Names of the methods."""
        return list(self.results.manifest.methods)

    def __repr__(self) -> str:
        table = self.results.performance
        cells, methods = table["cell"].nunique(), len(self.methods)
        counts = f"{cells} cell{'s' * (cells != 1)}, {methods} method{'s' * (methods != 1)}"
        return f"<Study {self.name}: {counts}, {self.results.replications:,} replications, in {self.folder}>"

    def _repr_html_(self) -> str:
        found = self.results
        return html_fragment(performance_blocks(found.performance, found.failures, **table_options(found)))

    def summary(
        self,
        *,
        style: str = "simstudy",
        parameters: str | Sequence[str] | None = None,
        cells: Sequence[int] | None = None,
        measures: str | Sequence[str] | None = None,
    ) -> str:
        """What ``simstudy analyse`` prints.

        Parameters
        ----------
        style : str
            ``simstudy``, ``mplus``, ``simdesign`` or ``simsum``.
        parameters, measures : str or sequence of str, optional
            Names or patterns.
        cells : sequence of int, optional
            Cells to show with every measure.
        """
        text = written(
            self.results, style=style, parameters=_listed(parameters), cells=cells, measures=_listed(measures)
        )
        return text.removesuffix("\n")

    def performance(
        self,
        *,
        parameters: str | Sequence[str] | None = None,
        measures: str | Sequence[str] | None = None,
        estimators: str | Sequence[str] | None = None,
        cells: Sequence[int] | None = None,
        basis: str | None = None,
    ) -> pd.DataFrame:
        """The performance table, or some rows of it.

        Parameters
        ----------
        parameters, measures : str or sequence of str, optional
            Names or patterns such as ``within:*``.
        estimators : str or sequence of str, optional
            Methods.
        cells : sequence of int, optional
        basis : str, optional
            ``casewise``, ``common`` (replicates in which every method converged), ...; all by default.

        Returns
        -------
        DataFrame
            The factors, cell, estimator, se_kind, parameter, level, truth, measure, value, mcse, n, n_attempted, ...

        Raises
        ------
        SimstudyError
            One message a name that is unknown.

        Examples
        --------
        >>> import simstudy
        >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
        >>> chosen = {"parameters": "contextual", "measures": "bias", "estimators": "two_step", "cells": [0]}
        >>> study.performance(**chosen, basis="casewise")[["measure", "n"]].values.tolist()
        [['bias', 20]]
        """
        table = self.results.performance
        keep = pd.Series(True, index=table.index)
        if names := _listed(parameters):
            keep &= table["parameter"].isin(choose_parameters(names, in_order(table["parameter"].unique())))
        if wanted := _listed(measures):
            keep &= table["measure"].isin(choose_measures(wanted))
        if methods := _listed(estimators):
            keep &= table["estimator"].isin(_known("estimators", methods, self.methods))
        if cells is not None:
            keep &= table["cell"].isin(choose_cells(cells, sorted(table["cell"].unique())))
        if basis is not None:
            keep &= table["basis"].isin(_known("basis", [basis], list(table["basis"].unique())))
        return table[keep].reset_index(drop=True)

    def failures(self) -> pd.DataFrame:
        """Fits of each cell and method by status."""
        return self.results.failures

    def fit_measures(self) -> pd.DataFrame:
        """Distribution of chi-square, CFI, ... over replicates; without rows where no method has any."""
        return self.results.fit_measures

    def to_frame(self) -> pd.DataFrame:
        """The whole performance table."""
        return self.results.performance

    def to_dict(self) -> dict[str, Any]:
        """Name, folder, factors, methods, and the tables as records."""
        found = self.results
        return {
            "name": self.name,
            "folder": str(self.folder),
            "replications": found.replications,
            "factors": list(found.factors),
            "methods": self.methods,
            "performance": found.performance.to_dict("records"),
            "failures": found.failures.to_dict("records"),
        }

    def plot(
        self,
        kind: str | None = None,
        *,
        parameters: str | Sequence[str] | None = None,
        measures: str | Sequence[str] | None = None,
        **options: Any,
    ) -> Charts:
        """Figures of the study.

        Parameters
        ----------
        kind : str, optional
            ``lines``, ``power``, ``nested-loop``, ``lollipop``, ``heatmap``, ``convergence``, ``factors``, ``zip``,
            ``scatter`` or ``bland-altman``; by default bias and coverage as lines.
        parameters, measures : str or sequence of str, optional
            Names or patterns; by default what the study is about, and bias.
        **options
            As in `simstudy.plot`.

        Examples
        --------
        >>> import simstudy
        >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
        >>> study.plot("zip", parameters="contextual", estimators=["msem"])[0].title
        'Zip plot of 95% intervals: contextual'
        """
        return Charts(
            tuple(charts(self.results, kind, parameters=_listed(parameters), measures=_listed(measures), **options))
        )

    def report(self, out: str | Path | None = None, *, theory: bool = True) -> Path:
        """Write the report, one HTML file that needs nothing from anywhere; see `simstudy.write_report`."""
        return write_report(self.folder, out, theory=theory)

    def status(self) -> StudyStatus:
        """What is done, what failed and why."""
        return StudyStatus.of(status(self.folder))

    def theory(self, **options: Any) -> Theory:
        """What theory says about the same design; takes the arguments of `simstudy.bias`."""
        return Theory.of(theory_of(self.design, **options))

    def replicate(self, cell: int, rep: int) -> Replicate:
        """One data set, and what every method made of it.

        Examples
        --------
        >>> import simstudy
        >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
        >>> study.replicate(0, 3)
        <Replicate 3 of cell 0: 500 rows in 50 clusters, 6 of 6 methods converged>
        """
        return Replicate.of(read_folder(self.folder), self.design, cell, rep)

    def replay(self, cell: int, rep: int, estimator: str) -> Replay:
        """Fit one replicate again and compare it with what is stored, bit for bit."""
        return Replay.of(replay(self.folder, cell, rep, estimator))
