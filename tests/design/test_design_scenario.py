"""One situation of a design with open sizes: settings, what is refused, and that its populations are the design's."""

from __future__ import annotations

from pathlib import Path

import pytest

from simstudy.design import load_design, parse_design
from simstudy.design.scenario import read_scenario, read_value
from simstudy.design.templates import template_names, template_text, template_title
from simstudy.errors import DesignError

DESIGNS = Path(__file__).parents[2] / "designs"


def scenario(name="mediation_211", **options):
    return read_scenario((DESIGNS / f"{name}.toml").read_text(), name, **options)


def problems(*args, **options):
    with pytest.raises(DesignError) as caught:
        scenario(*args, **options)
    return caught.value.problems


def test_its_populations_are_those_of_the_design():
    """The same key and values: the same data sets as the cell of a study has."""
    design = load_design(DESIGNS / "conflation.toml")
    cell = next(c for c in design.cells if c.factors == {"n_clusters": 50, "cluster_size": "2-18", "icc": 0.1})
    settings = {"icc": "0.1", "cluster_size": "{ uniform = [2, 18] }"}
    found = scenario("conflation", settings=settings)
    assert found.cell(50).key == cell.key
    assert found.cell(50).population.values == cell.population.values
    uncertain = scenario("conflation", settings={"cluster_size": "{ uniform = [2, 18] }"}, uncertain=["icc"])
    assert uncertain.cell(50, values={"icc": 0.1}).key == cell.key
    opened = scenario("conflation", settings={"icc": "0.1"}, open_size=True)
    assert opened.cell(50, 10).key == next(
        c.key for c in design.cells if c.factors == {"n_clusters": 50, "cluster_size": "10", "icc": 0.1}
    )


def test_factors_with_several_levels_must_be_fixed():
    assert [p.split(":")[0] for p in problems("conflation")] == ["cluster_size", "factor icc"]
    assert "--set 'icc=0.05'" in problems("conflation")[1]


def test_icc_of_one_variable_of_a_scalar_becomes_a_table():
    text = template_text("mediation-1-1-1")
    found = read_scenario(text, "t", settings={"icc.m": "0.3"})
    assert found.cell(50).population.moments.icc() == pytest.approx({"x": 0.2, "m": 0.3, "y": 0.2})
    free = read_scenario(text, "t", uncertain=["icc.y"])
    assert free.cell(50, values={"icc.y": 0.25}).population.moments.icc()["y"] == pytest.approx(0.25)


def test_a_list_of_sizes_becomes_its_shares():
    found = scenario("msalt")
    sizes = found.cell(252).population.layout.sizes
    assert (sizes.count(23), sizes.count(24)) == (62, 190)  # twice the study's 31 and 95


def test_the_number_of_clusters_of_the_design_is_remembered():
    text = template_text("contextual")
    assert read_scenario(text, "t").n_clusters is None
    assert read_scenario(text.replace("n_clusters = [50, 100, 200]", "n_clusters = [70]"), "t").n_clusters == 70


def test_methods_and_kinds_of_se():
    assert scenario(settings={"bw": "0.1", "icc": "0.2", "cluster_size": "5"}, se="robust").se_kind == "robust"
    assert "did you mean 'msem'" in problems(settings={}, method="mesm")[-1] + problems(settings={}, method="mesm")[0]
    text = template_text("contextual")
    assert read_scenario(text, "t", method="mlm").se_kind == "expected"
    with pytest.raises(DesignError, match="mlm has no SE of the kind 'robust'"):
        read_scenario(text, "t", method="mlm", se="robust")


def test_everything_that_is_wrong_is_said_at_once():
    found = problems("conflation", settings={"icc": "2", "zz": "1", "n_clusters": "5"}, uncertain=["cluster_size"])
    text = "\n".join(found)
    for part in ("zz", "n_clusters", "uncertain cluster_size", "cluster_size: the design has 5"):
        assert part in text


def test_a_table_of_iccs_is_uncertain_by_variable():
    text = problems("msalt", uncertain=["icc"])[0]
    assert "name one of 'icc.gse', 'icc.talent'" in text


def test_the_digest_changes_with_the_data_alone():
    text = template_text("contextual")
    first = read_scenario(text, "t")
    assert read_scenario(text.replace("# small", "# another comment"), "elsewhere").digest == first.digest
    assert read_scenario(text, "t", settings={"b_b": "0.4"}).digest != first.digest
    assert read_scenario(text, "t", seed=3).digest != first.digest
    assert read_scenario(text, "t", se="robust").digest != first.digest


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (".3", 0.3),
        ("10", 10),
        ("{ uniform = [2, 18] }", {"uniform": [2, 18]}),
        ("2*a", "2*a"),
        ('"a"', "a"),
        ("[3, 4]", [3, 4]),
    ],
)
def test_values_as_they_are_typed(text, value):
    assert read_value(text) == value


@pytest.mark.parametrize("name", template_names())
def test_templates_are_designs(name):
    design = parse_design(template_text(name), name)
    assert design.name == name
    assert not design.unsupported()
    assert template_title(name)
    found = read_scenario(template_text(name), name)
    assert found.cell(60).n_clusters == 60
    assert f"simstudy plan {name}.toml --parameter" in template_text(name)


def test_unknown_templates_are_named():
    with pytest.raises(DesignError, match="did you mean 'cfa'"):
        template_text("cfaa")
