"""The lecture's designs hold every method, and the micro-macro design is Croon & van Veldhoven's condition."""

from __future__ import annotations

from pathlib import Path

import pytest

from simstudy.data.statistics import from_moments
from simstudy.design import load_design
from simstudy.methods import registry

DESIGNS = Path(__file__).resolve().parents[2] / "designs"
LECTURE = ("all_methods", "all_methods_mediation")


@pytest.mark.parametrize("name", LECTURE)
def test_every_built_in_method_that_can_is_there_in_the_order_of_the_story(name) -> None:
    design = load_design(DESIGNS / f"{name}.toml")
    layout = design.cells[0].population.layout
    built_in = [n for n in registry.names() if registry.find(n).__module__.startswith("simstudy.")]
    able = [n for n in built_in if registry.create(n).supports(design.model, layout) is None]
    assert [entry.name for entry in design.estimators] == able
    unable = ["slopes_as_outcomes", "raudenbush_measurement"]  # they need random slopes, factors
    assert [n for n in built_in if n not in able] == unable


def test_both_have_the_same_clusters_equal_and_unequal() -> None:
    for name in LECTURE:
        design = load_design(DESIGNS / f"{name}.toml")
        layouts = [cell.population.layout for cell in design.cells]
        assert [(layout.n_clusters, layout.n_obs) for layout in layouts] == [(100, 1000)] * 2
        assert [layout.balanced for layout in layouts] == [True, False]
        assert (layouts[1].sizes[0], layouts[1].sizes[-1]) == (2, 32)


def test_effects_of_the_lecture_are_those_of_the_designs_they_come_from() -> None:
    slopes, paths = (load_design(DESIGNS / f"{name}.toml") for name in LECTURE)
    truth = dict(zip(slopes.model.reported, slopes.cells[0].population.truth(slopes.model), strict=True))
    assert (truth["bw"], truth["bb"]) == (0.2, 0.7)
    truth = dict(zip(paths.model.reported, paths.cells[0].population.truth(paths.model), strict=True))
    assert (truth["ind_w"], truth["ind_b"]) == pytest.approx((0.04, 0.2))


def test_micro_macro_is_croon_and_van_veldhovens_condition() -> None:
    """J = 100, n = 10, ICC .1: limits of unadjusted least squares are off by -49.7 % and +14.9 %, of adjusted by 0."""
    design = load_design(DESIGNS / "micro_macro.toml")
    table = design.cell_table()
    at = table[(table["n_clusters"] == 100) & (table["cluster_size"] == "10") & (table["icc"] == 0.1)].index.item()
    cell = design.cells[at]
    assert (cell.population.layout.n_clusters, set(cell.population.layout.sizes)) == (100, {10})
    m = cell.population.moments
    data = from_moments(cell.population.layout, m.level1, m.level2, m.mu, m.sigma_within, m.sigma_between)
    for name, options, percent in (
        ("two_step", {}, (-49.7, 14.9)),
        ("croon", {"se": ["expected"], "first_step": "ml"}, (0.0, 0.0)),
    ):
        found = registry.create(name, options).prepare(design.model, cell.population.layout).fit(data)
        for label, bias in zip(("bx", "bz"), percent, strict=True):
            value = found.estimate[0, found.labels.index(label)]
            assert 100 * (value / 0.3 - 1) == pytest.approx(bias, abs=0.05)  # one decimal is printed
