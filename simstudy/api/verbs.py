"""The public calls that return results: functions of the layers below, whose records are made to speak.

Arguments and docstrings are those of the functions, so that they are written once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from simstudy.analysis import fit as fitting
from simstudy.api import figures, folders, one_replicate, planning, study, theory
from simstudy.api.results import Charts, Fit, FitComparison, Plan, Replay, Study, StudyStatus, Theory
from simstudy.api.results.speech import returning
from simstudy.api.study import Results

fit = returning(Fit.of, fitting.fit, "fit")
fit_all = returning(FitComparison.of, fitting.fit_all, "fit_all")
run = returning(Study.of, study.run_study, "run")
analyse = returning(Study.of, study.read_results, "analyse")
status = returning(StudyStatus.of, folders.status, "status")
merge = returning(StudyStatus.of, folders.merge, "merge")
replay = returning(Replay.of, one_replicate.replay, "replay")
bias = returning(Theory.of, theory.theory_of, "bias")
plan = returning(Plan.of, planning.plan, "plan")


def plot(
    source: Study | Fit | Plan | Results | pd.DataFrame | str | Path, kind: str | None = None, **options: Any
) -> Charts:
    """Draw figures of a study, a table, a fit or a plan.

    Parameters
    ----------
    source : path, Study, Fit, Plan or DataFrame
        Results folder, or what a call returned; a performance table; or for ``zip``, ``scatter`` and ``bland-altman``
        a table of replicates.
    kind : str, optional
        Of a study: ``lines``, ``power``, ``nested-loop``, ``lollipop``, ``heatmap``, ``convergence``, ``factors``,
        ``zip``, ``scatter``, ``bland-altman``; bias and coverage as lines by default. Of a fit: ``diagram`` or
        ``caterpillar``. Of a plan: ``curve`` or ``map``.
    **options
        Of a study or table: parameters, measures, x, y, estimators, cells, basis, se_kind, where, band, compare, of
        (see `simstudy.api.charts`), and level for a table. Otherwise those of `Fit.plot`.

    Returns
    -------
    Charts
        A notebook shows them; `Charts.save` writes them with their data.

    Raises
    ------
    SimstudyError
        One problem for each name that is unknown and each option that has no use.

    Examples
    --------
    >>> import simstudy
    >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
    >>> simstudy.plot(study, "power", parameters="contextual")
    <Charts: 1 figure (power_contextual)>
    >>> simstudy.plot(study.folder, measures=["rmse"], x="n_clusters")
    <Charts: 1 figure (rmse_contextual_by-n_clusters)>
    """
    if isinstance(source, Study | Fit | Plan):
        chosen: dict[str, Any] = {} if kind is None else {"kind": kind}
        return source.plot(**chosen, **options)
    listed = {name: [value] if isinstance(value, str) else value for name, value in options.items() if name in LISTS}
    return Charts(tuple(figures.charts(source, kind, **{**options, **listed})))


LISTS = ("parameters", "measures", "estimators")
"""Options that may be one name."""
