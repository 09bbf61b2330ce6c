"""A package of one's own adds a method, a measure and a kind of figure, each in one place, and the study uses them.

Each part below is what such a package would hold; the fixtures put it in and take it out again. Nothing else is told of
them: the study, the tables, the figures, theory and the report find them by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

import simstudy
from simstudy import api
from simstudy.errors import SimstudyError
from simstudy.methods import registry
from simstudy.methods.one_level.disaggregated import Disaggregated
from simstudy.performance import MEASURES, Counterpart, Measure, register_measure
from simstudy.report.figures import KINDS, Drawing, FigureKind, Request, register_figure

DESIGN = Path(__file__).resolve().parents[2] / "designs" / "smoke.toml"
REPS = 20

# ---------------------------------------------------------------------- a method


@dataclass(frozen=True)
class Pooled(Disaggregated):
    """Least squares on all rows under a name of one's own."""

    name: ClassVar[str] = "pooled"
    title: ClassVar[str] = "all rows as if they were independent"


# ---------------------------------------------------------------------- measures

DISTANCE = Measure(
    name="mean_abs_error",
    label="Mean |error|",
    formula="mean(|est - truth|); MCSE by the jackknife",
    meaning="The distance from the true value that an estimate has on average.",
    reads="estimate",
    value=lambda x: float(np.mean(np.abs(x.estimate - x.truth))),
    theory=Counterpart(lambda law: np.sqrt(2.0 / np.pi) * law.se),  # of an unbiased normal estimate
    bands={"own2026": (0.0, 0.5)},
    axis_label="Mean absolute error (mean |estimate − truth|)",
    aliases=("mae",),
)
WIDER = Measure(
    name="wider",
    label="Wider",
    formula="share of intervals wider than the reference's; MCSE by the jackknife",
    meaning="How often the interval is the wider one of the two.",
    reads="interval",
    paired=True,
    value=lambda x: float(np.mean(x.upper - x.lower > x.other.upper - x.other.lower)),
    decimals=3,
)

# ---------------------------------------------------------------------- kinds of figure


def draw_strip(performance: pd.DataFrame, asked: Request) -> Drawing:
    """Draw a dot a cell and method."""
    from matplotlib.figure import Figure

    rows = asked.rows(performance)
    figure = Figure()
    axes = figure.subplots()
    axes.plot(rows["value"], rows["estimator"], "o", markersize=asked.own["size"])
    title = f"{MEASURES[asked.measures[0]].label} of {asked.parameter}"
    return Drawing(figure, rows, title, ("strip", *asked.measures, asked.parameter, *asked.stem()))


STRIP = FigureKind(
    name="strip",
    title="a dot a cell and method",
    made_from="performance",
    draw=draw_strip,
    words=lambda drawn: f"{drawn.title}: {len(drawn.data)} dots.",
    options=("parameters", "measures", "estimators", "size"),
    defaults={"measure": "mean_abs_error", "size": 4.0},
    in_report=True,
)

# ---------------------------------------------------------------------- the study that uses all of them


@pytest.fixture(scope="module")
def installed() -> Iterator[None]:
    """Everything above, for the tests of this file only."""
    methods = dict(registry._REGISTRY)
    with MEASURES.restored(), KINDS.restored():
        registry.register(Pooled)
        register_measure(DISTANCE)
        register_measure(WIDER)
        register_figure(STRIP)
        yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(methods)


@pytest.fixture(scope="module")
def study(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside")
    text = DESIGN.read_text(encoding="utf-8")
    start, end = text.index("[estimators]"), text.index("[intervals]")
    (folder / "own.toml").write_text(
        f'{text[:start]}[estimators]\nuse = ["disaggregated", "pooled", "msem"]\n\n{text[end:]}', encoding="utf-8"
    )
    simstudy.run(folder / "own.toml", folder / "out", jobs=1, reps=REPS, progress=False)
    return folder / "out"


def rows_of(table: pd.DataFrame, measure: str, estimator: str, basis: str = "casewise") -> pd.DataFrame:
    wanted = {"measure": measure, "estimator": estimator, "basis": basis, "parameter": "bb"}
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table.drop_duplicates("cell")


def test_run_and_analyse_compute_the_measures_of_the_method(study: Path) -> None:
    table = simstudy.analyse(study).to_frame()
    replicates = api.replicates(study, 0, parameters=["bb"], estimators=["pooled"]).drop_duplicates("rep")
    errors = (replicates["estimate"] - replicates["truth"]).abs()
    found = rows_of(table, "mean_abs_error", "pooled").iloc[0]
    assert found["n"] == REPS
    assert found["value"] == pytest.approx(errors.mean(), rel=1e-12)  # sums in another order
    assert found["mcse"] == pytest.approx(errors.std() / np.sqrt(REPS), rel=1e-9)  # a mean's jackknife is its SE
    twins = (rows_of(table, "rmse", name)["value"].to_numpy() for name in ("pooled", "disaggregated"))
    assert np.array_equal(*twins)  # the method from outside is a twin
    wider = rows_of(table, "wider", "msem", "paired")
    assert set(wider["reference"]) == {"disaggregated"}
    assert (wider["value"] > 0.5).all()  # clusters of one intercept each tell less of bb than independent rows seem to


def test_the_study_of_before_is_analysed_again_when_a_measure_is_new(study: Path) -> None:
    simstudy.analyse(study)
    later = Measure("later", "Later", "mean(est); MCSE jackknife", "Added after.", "estimate", value=lambda x: 1.0)
    with MEASURES.restored():
        register_measure(later)
        assert "later" in set(api.study.up_to_date(study).performance["measure"])


def test_tables_write_the_measure_and_its_formula(study: Path) -> None:
    for name in ("mean_abs_error", "mae"):
        text = api.format_performance(study, measures=[name], parameters=["bb"])
        assert "Mean |error| (MCSE)" in text
        assert DISTANCE.formula in text
    assert "mean_abs_error" in api.format_performance(study, "csv")
    effects = api.factor_effects(study, measures=["mean_abs_error"], parameters=["bb"])
    assert set(effects["measure"]) == {"mean_abs_error"}


def test_theory_has_its_counterpart(study: Path) -> None:
    table = simstudy.bias(study.parent / "own.toml").to_frame()
    values = {
        measure: rows_of(table, measure, "msem", "theory").set_index("cell")["value"]
        for measure in ("mean_abs_error", "empirical_se")
    }
    assert np.allclose(values["mean_abs_error"], np.sqrt(2 / np.pi) * values["empirical_se"], rtol=1e-12)  # rounding
    assert "wider" not in set(table["measure"])  # it has none


def test_figures_draw_the_measure_and_the_kind(study: Path, tmp_path: Path) -> None:
    for kind in ("lines", "heatmap", "lollipop", "nested-loop"):
        (made,) = api.charts(study, kind, measures=["mean_abs_error"], parameters=["bb"])
        assert "Mean absolute error" in made.title
        assert set(made.data["measure"]) == {"mean_abs_error"}
    (made,) = api.charts(study, "lines", measures=["mean_abs_error"], parameters=["bb"], band="own2026")
    assert "0 to .5 (own2026)" in {text.get_text() for text in made.figure.legends[0].get_texts()}
    (made,) = api.charts(study, "strip", parameters=["bb"], own={"size": 2.0})
    assert made.alt == "Mean |error| of bb: 6 dots."
    assert made.figure.axes[0].lines[0].get_markersize() == 2.0
    written = simstudy.plot(study, "strip", parameters=["bb"]).save(tmp_path, formats=["svg"])
    assert [path.name for path in written] == ["strip_mean_abs_error_bb.svg", "strip_mean_abs_error_bb.csv"]
    with pytest.raises(SimstudyError, match="basis: 'strip' has no use for it"):
        api.charts(study, "strip", basis="common")


def test_the_report_explains_the_measure_and_shows_the_figure(study: Path) -> None:
    text = simstudy.write_report(study, theory=False).read_text(encoding="utf-8")
    assert DISTANCE.meaning in text
    assert "Mean |error| of bb: 6 dots." in text
    assert "pooled" in text


# ---------------------------------------------------------------------- what is refused


def test_what_is_incomplete_or_taken_is_refused(installed: None) -> None:
    good = {"label": "x", "formula": "x", "meaning": "x.", "reads": "estimate"}
    with pytest.raises(SimstudyError, match="needs either 'compute' or 'value'"):
        Measure("x", **good)
    with pytest.raises(SimstudyError, match="it has no meaning"):
        Measure("x", **{**good, "meaning": " "}, value=lambda x: 0.0)
    with pytest.raises(SimstudyError, match=r"measure 'bias': simstudy\.performance\.catalog"):
        register_measure(Measure("bias", **good, value=lambda x: 0.0))
    with pytest.raises(SimstudyError, match="'power' is a name of the measure 'rejection'"):
        register_measure(Measure("power", **good, value=lambda x: 0.0))


def test_a_measure_that_raises_is_named(installed: None, study: Path) -> None:
    with MEASURES.restored():
        register_measure(Measure("broken", "B", "b", "B.", "estimate", value=lambda x: 1.0 / 0.0))
        with pytest.raises(SimstudyError, match="measure 'broken': ZeroDivisionError"):
            simstudy.analyse(study)
