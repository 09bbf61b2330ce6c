"""Performance as tables to read: terminal text, LaTeX, HTML, Markdown, CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simstudy.api.imported import Imported
from simstudy.api.study import Results, read_results
from simstudy.report import fit_measure_blocks
from simstudy.report import format_performance as lay_out
from simstudy.report.tables.blocks import Block

__all__ = ["format_performance", "further_tables", "table_options"]


def table_options(found: Results | Imported) -> dict[str, object]:
    """What a table says about the study, besides its numbers."""
    if isinstance(found, Imported):
        return {
            "factors": found.factors,
            "level": found.level,
            "study_name": found.name,
            "replications": found.replications,
        }
    return {
        "factors": found.manifest.factors,
        "level": found.manifest.level,
        "study_name": found.manifest.name,
        "replications": found.manifest.replications,
        "cell_replications": found.manifest.cell_replications,
    }


def format_performance(
    source: Results | Imported | str | Path,
    format: str = "text",
    *,
    style: str = "simstudy",
    parameters: Sequence[str] | None = None,
    cells: Sequence[int] | None = None,
    measures: Sequence[str] | None = None,
    reference: str | None = None,
) -> str:
    """Performance table of a results folder as text.

    Parameters
    ----------
    source : path, Results or Imported
        Results folder, what `results` made of it, or what `import_results` made of a study run elsewhere.
    format : str
        ``text``, ``latex`` (a fragment, booktabs), ``html`` (a whole page), ``markdown`` or ``csv``.
    style : str
        ``simstudy``, ``mplus``, ``simdesign`` or ``simsum``.
    parameters : sequence of str, optional
        Names or patterns; by default the labelled and the defined parameters, in ``csv`` all.
    cells : sequence of int, optional
        Cells to show with every measure.
    measures : sequence of str, optional
        Names or patterns of measures instead of the usual columns.
    reference : str, optional
        Method that the others are compared with; by default the design's first.

    Returns
    -------
    str

    Examples
    --------
    >>> import simstudy
    >>> from simstudy import api
    >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
    >>> text = api.format_performance(study.folder, parameters=["contextual"], measures=["bias"])
    >>> text.splitlines()[0]
    'contextual: 20 replications, 3 cells, 6 methods, 95% intervals'
    """
    found = source if isinstance(source, (Results, Imported)) else read_results(source, reference)
    return lay_out(
        found.performance,
        found.failures,
        format,
        style=style,
        parameters=parameters or None,
        cells=cells or None,
        measures=measures or None,
        more=further_tables(found, cells),
        **table_options(found),
    )


def further_tables(found: Results | Imported, cells: Sequence[int] | None = None) -> list[Block]:
    """Fit measures over replicates, where methods have any."""
    if not isinstance(found, Results):
        return []
    said = found.manifest
    return fit_measure_blocks(found.fit_measures, cells, said.diagnostics, said.likelihoods)
