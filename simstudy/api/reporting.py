"""The report of a study, and its preregistration before any run."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from simstudy.api.figures import MAX_FIGURE_PARAMETERS, charts, figure_parameters
from simstudy.api.folders import status
from simstudy.api.study import Results, read_results
from simstudy.api.theory import best, theory_curve
from simstudy.design import Design, parse_design
from simstudy.design.inputs import DesignLike, as_design
from simstudy.errors import SimstudyError
from simstudy.performance import factor_effects
from simstudy.report.document.html import Source, report_html
from simstudy.report.document.prereg import preregistration
from simstudy.report.figures import KINDS, Chart, factors_chart, lines_chart
from simstudy.report.tables.effects import effect_blocks
from simstudy.runner.files import write_bytes
from simstudy.runner.manifest import Manifest, current_versions

REPORT = "report.html"


def write_report(folder: str | Path, out: str | Path | None = None, *, theory: bool = True) -> Path:
    """Write one self-contained HTML file on a study, in ADEMP order.

    Aims, data-generating mechanisms with implied moments and ICCs, estimands with their true values, methods with
    references, performance with Monte Carlo errors, failures, what each number means, software, seed, and the commands
    that make it again. Figures are inline; the file asks no network for anything.

    Parameters
    ----------
    folder : path
        Results folder.
    out : path, optional
        File to write; ``report.html`` in the folder by default.
    theory : bool
        Draw what theory expects (`simstudy.api.theory_curve`) through the simulated points.

    Raises
    ------
    SimstudyError
        If it is not a results folder, or nothing is finished in it.

    Examples
    --------
    >>> import simstudy
    >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
    >>> simstudy.write_report(study.folder, theory=False).name
    'report.html'
    """
    found = read_results(folder)
    if found.performance.empty:
        raise SimstudyError(f"{folder}: there are no finished replicates yet")
    state, parameters = status(folder), _parameters(found.performance)
    key = parameters[:MAX_FIGURE_PARAMETERS]
    effects = _effects(found, key)
    design, trouble = _design_of(found.manifest)
    target = Path(out) if out is not None else found.folder / REPORT
    text = report_html(
        Source(
            manifest=found.manifest,
            design=design,
            trouble=trouble,
            performance=found.performance,
            failures=found.failures,
            fit_measures=found.fit_measures,
            problems=state.problems,
            parameters=parameters,
            figures=_figures(found, key, effects, _theory(design) if theory else None),
            effects=effect_blocks(effects, title=found.manifest.name)[1:] if len(effects) else (),
            commands=_commands(found, target),
            version=current_versions()["simstudy"],
            complete=state.complete,
        )
    )
    write_bytes(target, text.encode())
    return target


def preregister(design: DesignLike, out: str | Path | None = None) -> str:
    """Fill in the headings of ADEMP-PreReg (Siepe et al. 2024) from a design, before any run.

    Parameters
    ----------
    design : Design or path
    out : path, optional
        Markdown file to write as well.

    Returns
    -------
    str
        Markdown. Answers that only the researcher has are marked as to be filled in.

    Examples
    --------
    >>> import simstudy
    >>> from simstudy import api
    >>> api.preregister(simstudy.init("contextual")).splitlines()[0]
    "# Preregistration of the simulation study 'contextual'"
    """
    found = as_design(design)
    system = f"{platform.platform()} {platform.machine()} {sys.implementation.name}"
    text = preregistration(found, list(current_versions().items()), system)
    if out is not None:
        write_bytes(Path(out), text.encode())
    return text


def _design_of(manifest: Manifest) -> tuple[Design | None, str]:
    try:
        return parse_design(manifest.design_text, manifest.name), ""
    except SimstudyError as error:
        return None, "; ".join(error.problems)


def _parameters(performance: pd.DataFrame) -> list[str]:
    """Every parameter, the ones that the study is about first."""
    known = [str(name) for name in performance["parameter"].unique() if name]
    first = figure_parameters(performance)
    labelled = [name for name in known if not name.startswith(("within:", "between:"))]
    return list(dict.fromkeys([*first, *(labelled or known)]))


def _effects(found: Results, parameters: Sequence[str]) -> pd.DataFrame:
    """Eta squared of the factors on bias and coverage; empty where no factor varies."""
    varied = [name for name in found.manifest.factors if found.performance[name].nunique() > 1]
    if not varied:
        return pd.DataFrame()
    return factor_effects(found.performance, varied, measures=["bias", "coverage"], parameters=parameters)


def _theory(design: Design | None) -> pd.DataFrame | None:
    """Theory's curves over the number of clusters; None where the design is no such study."""
    if design is None or "n_clusters" not in design.factor_names:
        return None
    return best(theory_curve(design))


def _figures(
    found: Results, parameters: Sequence[str], effects: pd.DataFrame, theory: pd.DataFrame | None
) -> list[Chart]:
    """Median bias and coverage of the first parameters, the kinds that are in every report, what matters for bias."""
    drawn = [
        lines_chart(found.performance, name, measure=measure, level=found.manifest.level, theory=theory)
        for measure in ("median_bias", "coverage")
        for name in parameters
    ]
    for name, kind in KINDS.items():
        if kind.in_report:
            drawn += charts(found, name, parameters=parameters if "parameters" in kind.options else None)
    known = set(effects.loc[effects["order"] > 0, "parameter"]) if len(effects) else set()
    return drawn + [factors_chart(effects, name) for name in parameters if name in known]


def _commands(found: Results, target: Path) -> str:
    name, folder = f"{found.manifest.name}.toml", found.folder.as_posix()
    method = next(iter(found.manifest.methods))
    return "\n".join(
        [
            f"simstudy run {name} --reps {found.manifest.replications} --out {folder}",
            f"simstudy report {folder}",
            f"simstudy simulate {name} --cell 0 --rep 0 --out data.csv",
            f"simstudy replay {folder} --cell 0 --rep 0 --estimator {method}",
        ]
    )
