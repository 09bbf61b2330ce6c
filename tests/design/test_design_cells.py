"""From factors and values to populations: order, expressions, keys, digests."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from design_fakes import POPULATION, SECTIONS, design, text_of

from simstudy.data.layout import ClusterLayout
from simstudy.design import Design, Intervals, load_design, parse_design
from simstudy.design.cells import population_key
from simstudy.design.problems import key_lines
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.calibrate import calibrate

DESIGNS = Path(__file__).resolve().parents[2] / "designs"
MODEL = TwoLevelModel.from_syntax("level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x\n")
LAYOUT = ClusterLayout((5,) * 30)


def value(found: Design, cell: int, name: str) -> float:
    population = found.cells[cell].population
    return population.values[population.model.names.index(name)]


# ---- the grid -------------------------------------------------------------------------------------------------------


def test_full_factorial_with_the_first_factor_slowest() -> None:
    found = design()
    assert found.factor_names == ("n_clusters", "cluster_size", "icc")
    assert [tuple(cell.factors.values()) for cell in found.cells[:5]] == [
        (30, "5", 0.1), (30, "5", 0.3), (30, "2-18", 0.1), (30, "2-18", 0.3), (50, "5", 0.1)
    ]  # fmt: skip
    assert [cell.index for cell in found.cells] == list(range(8))
    first = found.cells[2]
    assert (first.n_clusters, first.cluster_size, first.n_obs) == (30, "2-18", sum(first.population.layout.sizes))
    assert first.title == "n_clusters = 30, cluster_size = 2-18, icc = 0.1"


def test_a_factor_has_one_type() -> None:
    """A table's column cannot be both numbers and text."""
    found = design(factors="n_clusters = [30, 50]\ncluster_size = [5, 10]\nicc = [0, 0.3]")
    assert [type(v) for v in found.cells[0].factors.values()] == [int, int, float]
    assert {type(cell.factors["cluster_size"]) for cell in design().cells} == {str}


def test_cell_table() -> None:
    table = design().cell_table()
    assert list(table.columns) == ["cell", "key", "n_clusters", "cluster_size", "icc", "n_obs"]
    assert len(table) == 8
    table = design(factors="icc = [0.1]", population=POPULATION + '\nclusters = "20 (5) 20 (7)"').cell_table()
    assert table[["n_clusters", "cluster_size", "n_obs"]].iloc[0].tolist() == [40, "20(5) 20(7)", 240]


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ("n_clusters = 30", 4),
        ("n_clusters = 30\nicc = 0.1", 6),
        ("n_clusters = 30.0\nicc = [0.1, 0.3]", 4),
        ("cluster_size = 5", 4),
        ("cluster_size = { uniform = [2, 18] }\nicc = 0.1", 6),
        ('cluster_size = "2-18"', 4),
        ("n_clusters = 30\n[[exclude]]\nicc = 0.1", 2),
    ],
)
def test_exclude(exclude: str, left: int) -> None:
    found = design(exclude=exclude)
    assert len(found.cells) == left
    assert [cell.index for cell in found.cells] == list(range(left))


def test_no_factors() -> None:
    found = design(factors="", population=POPULATION.replace('"icc"', "0.1") + "\nn_clusters = 30\ncluster_size = 5")
    assert [cell.factors for cell in found.cells] == [{}]
    assert found.factor_names == ()


# ---- values ---------------------------------------------------------------------------------------------------------


def test_expressions_of_factors_and_values() -> None:
    population = (
        'bw = "bb - n_clusters/10"\nbb = "sqrt(icc) * 2"\nvariance = { x = 1, y = 9 }\nicc = { x = "icc", y = "2*icc" }'
    )
    found = design(population=population, factors="n_clusters = [20]\ncluster_size = [5]\nicc = [0.04, 0.09]")
    assert value(found, 0, "bb") == pytest.approx(0.4)
    assert value(found, 1, "bw") == pytest.approx(0.6 - 2.0)
    assert found.cells[1].population.moments.icc() == pytest.approx({"y": 0.18, "x": 0.09})


def test_number_of_clusters_as_an_expression() -> None:
    found = design(population=POPULATION + '\nn_clusters = "600/cluster_size"',
                   factors="cluster_size = [5, 20]\nicc = [0.1]")  # fmt: skip
    assert [(cell.n_clusters, cell.n_obs) for cell in found.cells] == [(120, 600), (30, 600)]


def test_a_factor_stands_for_the_value_of_its_name() -> None:
    population = POPULATION.replace("bb = 0.7\n", "").replace('icc = { x = "icc", y = 0.2 }', "")
    factors = 'bb = [0.1, 0.3]\nicc = [0.2, 0.3]\nn_clusters = [30]\ncluster_size = [5]\n"between: y ~ 1" = [1, 2]'
    found = design(population=population, factors=factors)
    assert [value(found, k, "bb") for k in range(8)] == [0.1] * 4 + [0.3] * 4
    assert value(found, 1, "between: y ~ 1") == 2.0
    assert found.cells[2].population.moments.icc()["y"] == pytest.approx(0.3)


def test_a_factor_goes_before_a_value_of_its_name() -> None:
    found = design(population=POPULATION.replace("bb = 0.7", 'bb = "2*bb"'),
                   factors="bb = [0.1, 0.3]\nn_clusters = [30]\ncluster_size = [5]\nicc = [0.1]")  # fmt: skip
    assert [value(found, k, "bb") for k in range(2)] == [0.2, 0.6]


def test_mplus_clusters_as_a_factor() -> None:
    found = design(factors='clusters = ["20 (5)", "10 (5) 10 (7)"]\nicc = [0.1]')
    assert [cell.factors["clusters"] for cell in found.cells] == ["20(5)", "10(5) 10(7)"]
    assert [cell.n_obs for cell in found.cells] == [100, 120]


def test_explicit_sizes_need_no_number_of_clusters() -> None:
    found = design(factors="cluster_size = [[3, 4, 5], [5, 5, 5, 6]]\nicc = [0.1]")
    assert [cell.n_clusters for cell in found.cells] == [3, 4]


def test_a_separate_generating_model() -> None:
    population = (
        'bw = 0.2\nbb = 0.7\nd = 0.1\nvariance = 1.0\nicc = { x = "icc", y = 0.2 }\n'
        'syntax = """\nlevel: within\n y ~ bw*x\nlevel: between\n y ~ bb*x + d*z\n"""'
    )
    found = design(population=population)
    population_model = found.cells[0].population.model
    assert population_model.level2 == ("z",)
    assert found.model.level2 == ()
    truth = dict(zip(found.model.reported, found.cells[0].population.truth(found.model), strict=True))
    assert (truth["bw"], truth["bb"]) == (0.2, 0.7)


# ---- keys and digests -----------------------------------------------------------------------------------------------


def keys(**sections: str) -> dict[str, str]:
    return {cell.title: cell.key for cell in design(**sections).cells}


def test_keys_are_different_and_16_hex_digits() -> None:
    found = list(keys().values())
    assert len(set(found)) == 8
    assert all(len(key) == 16 and int(key, 16) >= 0 for key in found)


def test_keys_do_not_depend_on_the_grid() -> None:
    base = keys()
    grown = keys(factors="n_clusters = [10, 30, 50]\ncluster_size = [{ uniform = [2, 18] }, 5]\nicc = [0.3, 0.2, 0.1]")
    assert base.items() <= grown.items()
    assert keys(exclude="n_clusters = 30").items() <= base.items()


@pytest.mark.parametrize(
    "sections",
    [
        {"study": SECTIONS["study"].replace('"t"', '"u"\naim = "another"').replace("10", "20")},
        {"model": SECTIONS["model"].replace("y ~ bw*x", "y  ~  bw * x   # within\n\n")},
        {"model": SECTIONS["model"].replace("level: within", "level: 1").replace("y ~ bb*x", "y ~ start(.5)*x + bb*x")},
        {"model": SECTIONS["model"].replace('x\n"""', 'x\ncontextual := bb - bw\n"""')},
        {"model": SECTIONS["model"].replace("bw*", "slope*"), "population": POPULATION.replace("bw", "slope")},
        {"population": POPULATION.replace("bw = 0.2\n", "").replace("variance", '"within: y~x" = 0.2\nvariance')},
        {"population": POPULATION.replace("1.0", "{ y = 1, x = 1 }")},
        {"population": POPULATION.replace("0.7", '"7/10"')},
        {"estimators": 'use = ["fake"]\nfake = { se = ["robust"] }', "intervals": "level = 0.9"},
    ],
)
def test_the_same_population_has_the_same_key(sections: dict[str, str]) -> None:
    assert list(keys(**sections).values()) == list(keys().values())


@pytest.mark.parametrize(
    "sections",
    [
        {"population": POPULATION.replace("0.7", "0.71")},
        {"population": POPULATION.replace("1.0", "{ y = 1, x = 1.1 }")},
        {"population": POPULATION + '\n"between: y ~ 1" = 1'},
        {"model": SECTIONS["model"].replace("y ~ bw*x", "x ~~ x\n  y ~ bw*x")},  # another order of the variables
        {"factors": SECTIONS["factors"].replace("[30, 50]", "[31, 51]")},
    ],
)
def test_another_population_has_another_key(sections: dict[str, str]) -> None:
    assert not set(keys(**sections).values()) & set(keys().values())


def test_fixed_values_count() -> None:
    def key(syntax: str) -> str:
        model = TwoLevelModel.from_syntax(syntax)
        return population_key(model, {}, 1.0, 0.2, LAYOUT)

    within, between = "level: within\n y ~ {}*x\n", "level: between\n y ~~ x\n"
    assert key(within.format(0.1) + between) != key(within.format(0.2) + between)
    assert key(within.format("b") + between + "b == 0.1\n") == key(within.format(0.1) + between)


def test_keys_are_those_of_earlier_versions() -> None:
    """A change here gives every study new random numbers."""
    assert calibrate(MODEL, {"bw": 0.2, "bb": 0.7}, 1.0, {"x": 0.1, "y": 0.2})
    assert population_key(MODEL, {"bw": 0.2, "bb": 0.7}, 1.0, {"x": 0.1, "y": 0.2}, LAYOUT) == RECORDED_KEY
    assert design().cells[0].key == RECORDED_KEY


RECORDED_KEY = "d37b0de64e04705f"


def digest(**sections: str) -> str:
    return design(**sections).digest


@pytest.mark.parametrize(
    "sections",
    [
        {"study": SECTIONS["study"].replace('"t"', '"u"\naim = "another"').replace("10", "2000")},
        {"estimators": 'use = ["fake", "other"]\nother = { estimator = "fake", se = ["robust"] }'},
        {"model": SECTIONS["model"].replace("y ~ bw*x", "y ~ bw*x  # within")},
        {"intervals": 'level = 0.95\nkinds = ["wald"]'},
        {"factors": SECTIONS["factors"].replace("icc", "# comment\nicc")},
    ],
)
def test_digest_stays(sections: dict[str, str]) -> None:
    assert digest(**sections) == digest()


@pytest.mark.parametrize(
    "sections",
    [
        {"study": SECTIONS["study"].replace("seed = 1", "seed = 2")},
        {"model": SECTIONS["model"].replace('x\n"""', 'x\ncontextual := bb - bw\n"""')},
        {"model": SECTIONS["model"].replace("bw*", "slope*"), "population": POPULATION.replace("bw", "slope")},
        {"population": POPULATION.replace("0.7", "0.71")},
        {"factors": SECTIONS["factors"].replace("30, ", "")},
        {"exclude": "icc = 0.1"},
        {"intervals": "level = 0.9"},
    ],
)
def test_digest_changes(sections: dict[str, str]) -> None:
    assert digest(**sections) != digest()


# ---- methods and intervals ------------------------------------------------------------------------------------------


def test_one_method_with_two_sets_of_options() -> None:
    found = design(estimators='use = ["fake", "robust"]\nrobust = { estimator = "fake", se = ["robust"] }')
    assert [entry.name for entry in found.estimators] == ["fake", "robust"]
    assert [entry.method for entry in found.estimators] == ["fake", "fake"]
    assert found.estimators[0].options == {"se": ("expected",), "estimator_steps": 3}
    assert found.estimators[1].options == {"se": ("robust",), "estimator_steps": 3}


def test_method_digests() -> None:
    def of(options: str) -> str:
        return design(estimators=f'use = ["fake"]\nfake = {{ {options} }}').estimators[0].digest

    assert of("") == of("estimator_steps = 3")
    assert of("") != of("estimator_steps = 4")


def test_a_method_by_import_path() -> None:
    found = design(estimators='use = ["fake_methods:Fake"]\n"fake_methods:Fake" = { se = ["robust"] }')
    assert found.estimators[0].name == "fake_methods:Fake"
    assert found.estimators[0].options["se"] == ("robust",)


def test_intervals() -> None:
    assert design().intervals == Intervals(0.95, ("wald",), 1000)
    found = design(intervals='level = 0.9\nkinds = ["wald", "montecarlo"]\ndraws = 500')
    assert found.intervals == Intervals(0.9, ("wald", "montecarlo"), 500)


def test_unsupported() -> None:
    found = design().unsupported()
    assert set(found) == {("fake", cell) for cell in (4, 5, 6, 7)}
    assert set(found.values()) == {"too many clusters"}


# ---- the rest -------------------------------------------------------------------------------------------------------


def test_a_design_travels_to_workers() -> None:
    found = design()
    assert found.cells[0].population.moments.mu.shape == (2,)
    copy = pickle.loads(pickle.dumps(found))
    assert copy.digest == found.digest
    assert copy.cells[3].population.values == found.cells[3].population.values


def test_key_lines() -> None:
    text = (
        '# a = 1\n[study] # s\nname = \'a = b\' # = c\naim = """\nx = 1\n[no]\n"""\n\n[population]\n'
        "\"between: y ~~ y\" = 1\nicc = ['#',\n 2 ]\nvalues.deep = 3\nlist = [ # [\n  1,\n  2\n]\n"
        "last = '''a'''\n"
        "[[exclude]]\na = 1\n[[exclude]]\na = 2\n[population.variance]\nx = 1"
    )
    found = {path: line for path, (line, _) in key_lines(text).items()}
    assert found == {
        ("study",): 2, ("study", "name"): 3, ("study", "aim"): 4, ("population",): 9,
        ("population", "between: y ~~ y"): 10, ("population", "icc"): 11, ("population", "values", "deep"): 13,
        ("population", "list"): 14, ("population", "last"): 18, ("exclude", 0): 19, ("exclude", 0, "a"): 20,
        ("exclude", 1): 21, ("exclude", 1, "a"): 22, ("population", "variance"): 23,
        ("population", "variance", "x"): 24,
    }  # fmt: skip


def test_tables_may_be_written_in_any_of_tomls_ways() -> None:
    inline = design()
    population = "bw = 0.2\nbb = 0.7\nvariance = 1.0\nicc.x = 'icc'\nicc.y = 0.2"
    sub = "bw = 0.2\nbb = 0.7\nvariance = 1.0\n[population.icc]\nx = 'icc'\ny = 0.2"
    assert design(population=population).digest == design(population=sub).digest == inline.digest
    assert parse_design(text_of().replace("\n", "\r\n"), "crlf").digest == inline.digest


# ---- the designs that come with the package -------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(DESIGNS.glob("*.toml")), ids=lambda path: path.stem)
def test_designs(path: Path) -> None:
    found = load_design(path)
    assert found.name == path.stem
    assert len(found.aim) > 40
    for cell in found.cells:
        m = cell.population.moments
        varies = np.diag(m.sigma_between) > 0.0  # what lives within clusters only has no between part
        between = m.sigma_between[np.ix_(varies, varies)]
        assert np.linalg.eigvalsh(between).min() > 0.001  # far from singular: no cell is a boundary case
        assert np.linalg.eigvalsh(m.sigma_within).min() > 0.1
        assert not np.isnan(cell.population.truth(found.model)).any()
    assert len({cell.key for cell in found.cells}) == len(found.cells)


def test_conflation() -> None:
    found = load_design(DESIGNS / "conflation.toml")
    assert len(found.cells) == 75
    assert found.replications == 1000
    assert len(found.estimators) == 6
    assert not any(cell.factors["n_clusters"] == 30 and cell.factors["icc"] == 0.05 for cell in found.cells)
    for cell in found.cells:
        assert cell.population.moments.icc() == pytest.approx({"x": cell.factors["icc"], "y": 0.2})


def test_msalt_has_the_size_and_iccs_of_the_study() -> None:
    (cell,) = load_design(DESIGNS / "msalt.toml").cells
    assert (cell.n_obs, cell.n_clusters) == (2993, 126)
    assert Counter(cell.population.layout.sizes) == {23: 31, 24: 95}
    expected = {"gse": 0.03, "talent": 0.11, "effort": 0.13, "perform": 0.04}
    assert cell.population.moments.icc() == pytest.approx(expected)


def test_mediation_111_is_case_0_of_theory_b6() -> None:
    """Indirect effects .04 within and .20 between."""
    found = load_design(DESIGNS / "mediation_111.toml")
    truth = dict(zip(found.model.reported, found.cells[0].population.truth(found.model), strict=True))
    assert (truth["ind_w"], truth["ind_b"]) == pytest.approx((0.04, 0.20))
