"""``distribution`` and ``missing`` in a design file: what they become, keys, and a message for every mistake."""

from __future__ import annotations

import numpy as np
import pytest
from design_fakes import POPULATION, SECTIONS, design, text_of

from simstudy.design import parse_design
from simstudy.errors import DesignError
from simstudy.population.distributions import NORMAL_POPULATION, Distribution, LevelDistribution
from simstudy.population.draw import draw_sample
from simstudy.population.missing import MissingRule
from simstudy.population.population import Population


def factors(more: str) -> str:
    return f"{SECTIONS['factors']}\n{more}"


def first(line: str, **sections: str) -> Population:
    return design(population=f"{POPULATION}\n{line}", **sections).cells[0].population


VM = LevelDistribution.vale_maurelli
T = LevelDistribution.t


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", NORMAL_POPULATION),
        ('distribution = { kind = "normal" }', NORMAL_POPULATION),
        ('distribution = { kind = "t", df = 6 }', Distribution(T(6), T(6))),
        ('distribution = { kind = "t", df = "12/2" }', Distribution(T(6), T(6))),
        ('distribution = { kind = "t", kurtosis = 3 }', Distribution(T(6), T(6))),
        ('distribution = { kind = "t", kurtosis = 0 }', NORMAL_POPULATION),
        ('distribution = { kind = "t", df = 6, per = "cluster" }', Distribution(T(6, "cluster"), T(6))),
        ('distribution = { within = { kind = "t", df = 6 } }', Distribution(T(6))),
        ('distribution = { between = { kind = "t", df = 6 }, within = { kind = "normal" } }',
         Distribution(between=T(6))),
        ('distribution = { kind = "vale_maurelli", skewness = 1, kurtosis = 3 }',
         Distribution(VM({"x": 1, "y": 1}, {"x": 3, "y": 3}), VM({"x": 1, "y": 1}, {"x": 3, "y": 3}))),
        ('distribution = { within = { kind = "vale_maurelli", skewness = { y = -1 }, kurtosis = 3 } }',
         Distribution(VM({"y": -1}, {"x": 3, "y": 3}))),
        ('distribution = { kind = "vale_maurelli", kurtosis = { x = "10*icc" } }',
         Distribution(VM({}, {"x": 1}), VM({}, {"x": 1}))),
        ('distribution = { kind = "vale_maurelli", skewness = 0 }', NORMAL_POPULATION),
        ('[population.distribution.within]\nkind = "vale_maurelli"\nskewness.x = 1\nkurtosis.x = 3',
         Distribution(VM({"x": 1}, {"x": 3}))),
    ],
)  # fmt: skip
def test_distribution(line: str, expected: Distribution) -> None:
    assert first(line).distribution == expected


MAR = 'mar = { y = { on = "x", rate = 0.3, slope = 1.5 } }'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ()),
        ("missing = { mcar = 0.2 }", (MissingRule("y", 0.2), MissingRule("x", 0.2))),
        ("missing = { mcar = { x = 0.2 } }", (MissingRule("x", 0.2),)),
        ("missing = { mcar = 0 }", ()),
        (f"missing = {{ {MAR} }}", (MissingRule("y", 0.3, "x", 1.5),)),
        (f"missing = {{ {MAR}, mcar = {{ x = 0 }} }}", (MissingRule("y", 0.3, "x", 1.5),)),
        (f"missing = {{ {MAR.replace('0.3', '0')} }}", ()),
        (f"missing = {{ {MAR.replace('1.5', '0')} }}", (MissingRule("y", 0.3),)),
        (f"missing = {{ {MAR.replace('0.3', chr(34) + '3*icc' + chr(34))} }}",
         (MissingRule("y", 3 * 0.1, "x", 1.5),)),
    ],
)  # fmt: skip
def test_missing(line: str, expected: tuple[MissingRule, ...]) -> None:
    found = first(line)
    assert found.missing == expected
    assert found.has_missing == bool(expected)


def test_factors_of_both() -> None:
    population = (
        f'{POPULATION}\ndistribution = {{ between = {{ kind = "vale_maurelli", skewness = "skew", kurtosis = '
        '"2*skew^2" } }\nmissing = { mcar = { y = "rate" } }'
    )
    found = design(population=population, factors="n_clusters = [30]\ncluster_size = [5]\nicc = [0.1]\n"
                   "skew = [0, 1]\nrate = [0, 0.2]")  # fmt: skip
    normal, some, skewed, both = (cell.population for cell in found.cells)
    assert (normal.normal, normal.has_missing) == (True, False)
    assert (some.normal, some.has_missing) == (True, True)
    assert (skewed.normal, skewed.has_missing) == (False, False)
    assert both.distribution.between == VM({"x": 1, "y": 1}, {"x": 2, "y": 2})


# ---- keys -----------------------------------------------------------------------------------------------------------


def test_normal_complete_populations_keep_their_key() -> None:
    base = design().cells[0].population
    for line in ('distribution = { kind = "t", kurtosis = 0 }', "missing = { mcar = 0 }"):
        found = first(line)
        assert (found.key, found.data_key) == (base.key, base.key)


def test_keys_differ_by_distribution_and_missing_values() -> None:
    lines = [
        "",
        'distribution = { kind = "t", df = 6 }',
        'distribution = { kind = "t", df = 7 }',
        'distribution = { kind = "t", df = 6, per = "cluster" }',
        'distribution = { within = { kind = "t", df = 6 } }',
        'distribution = { kind = "vale_maurelli", kurtosis = 3 }',
        'distribution = { kind = "vale_maurelli", kurtosis = { x = 3 } }',
        "missing = { mcar = 0.2 }",
        "missing = { mcar = { y = 0.2 } }",
        f"missing = {{ {MAR} }}",
        f"missing = {{ {MAR.replace('1.5', '1.6')} }}",
    ]
    assert len({first(line).key for line in lines}) == len(lines)
    assert (
        first('distribution = { kind = "t", df = 6 }').key == first('distribution = { kind = "t", kurtosis = 3 }').key
    )


def test_keys_are_those_of_earlier_versions() -> None:
    """A change here gives every study new random numbers."""
    lines = (
        'distribution = { kind = "t", df = 6 }',
        'distribution = { between = { kind = "vale_maurelli", skewness = { y = 1 }, kurtosis = 3 } }',
        f"missing = {{ {MAR} }}",
    )
    assert [first(line).key for line in lines] == RECORDED_KEYS


RECORDED_KEYS = ["6379fe62122e6465", "b59535b05e986f60", "09b2c7bf3b484bbe"]


def test_missing_values_leave_the_complete_data_alone() -> None:
    """Cells that differ in the rate alone have the same data sets."""
    base, some = first(""), first(f"missing = {{ {MAR} }}")
    assert (some.data_key, some.complete) == (base.key, base)
    rows, complete = draw_sample(some, 1, [0]).rows, draw_sample(base, 1, [0]).rows
    assert np.array_equal(rows[..., 1], complete[..., 1])
    assert np.isnan(rows).any()


def test_keys_of_constraints() -> None:
    def key(constraint: str) -> str:
        model = f'syntax = """\nlevel: within\n  y ~ bw*x\nlevel: between\n  y ~ bb*x\n{constraint}\n"""'
        return design(model=model, population=POPULATION.replace("bb = 0.7\n", "")).cells[0].key

    assert key("bb == 2*bw") != key("bb == 3*bw")
    assert key("bb == 2*bw") == key("bb  ==  2 * bw")


# ---- mistakes -------------------------------------------------------------------------------------------------------

ONE_CELL = "n_clusters = [30]\ncluster_size = [5]\nicc = [0.1]"
KINDS = "allowed: normal, vale_maurelli, t"

CASES: list[tuple[str, str, str]] = [
    ('distribution = "t"', "distribution", "found 't'; allowed: a table such as"),
    ('distribution = { within = "t" }', "distribution.within", "found 't'; allowed: a table such as"),
    ("distribution = { skewness = 1 }", "distribution", f"the kind is missing; {KINDS}"),
    ('distribution = { kind = "vale_maureli" }', "distribution",
     f"unknown kind 'vale_maureli' (did you mean 'vale_maurelli'?); {KINDS}"),
    ('distribution = { betwen = { kind = "t", df = 6 } }', "distribution.betwen",
     "unknown level (did you mean 'between'?); allowed: within, between"),
    ('distribution = { kind = "t" }', "distribution", "the kind 't' needs either df or kurtosis"),
    ('distribution = { kind = "t", df = 6, kurtosis = 3 }', "distribution", "the kind 't' needs either df or kurtosis"),
    ('distribution = { kind = "vale_maurelli" }', "distribution",
     "the kind 'vale_maurelli' needs skewness, kurtosis, or both"),
    ('distribution = { kind = "t", dff = 6 }', "distribution.dff",
     "unknown key of the kind 't' (did you mean 'df'?); allowed: kind, df, kurtosis, per"),
    ('distribution = { kind = "t", df = 6, per = "rows" }', "distribution.per",
     "found 'rows'; allowed: row or cluster"),
    ('distribution = { kind = "t", df = 4 }', "distribution",
     "df: found 4; allowed: above 4, where the kurtosis is 6 / (df - 4)"),
    ('distribution = { kind = "t", kurtosis = -1 }', "distribution",
     "kurtosis: found -1; allowed: at least 0 for a t distribution"),
    ('distribution = { kind = "t", df = [6] }', "distribution.df", "found [6]; allowed: a number or an expression"),
    ('distribution = { kind = "t", df = "dff" }', "distribution.df", "unknown name 'dff' in the expression 'dff'"),
    ('distribution = { kind = "vale_maurelli", skewness = { yy = 1 } }', "distribution.skewness.yy",
     "no variable 'yy' (did you mean 'y'?); allowed: y, x"),
    ('distribution = { within = { kind = "vale_maurelli", skewness = { z = 1 } } }', "distribution.within.skewness.z",
     "no within variable 'z'; allowed: y, x"),
    ('distribution = { between = { kind = "vale_maurelli", skewness = { y = 2 }, kurtosis = { y = 4 } } }',
     "distribution.between", "between part of 'y': no polynomial of a normal variable has skewness 2 and excess "
     "kurtosis 4; with this skewness, the kurtosis must be at least 5.15"),
    ("missing = 0.2", "missing", "found 0.2; allowed: { mcar = 0.2 }, "),
    ("missing = { mnar = 0.2 }", "missing.mnar", "unknown mechanism (did you mean 'mar'?); allowed: { mcar = 0.2 }, "),
    ("missing = { mcar = 1.2 }", "missing.mcar", "rate: found 1.2; allowed: at least 0 and below 1"),
    ("missing = { mcar = { y = -0.2 } }", "missing.mcar.y", "rate: found -0.2; allowed: at least 0 and below 1"),
    ("missing = { mcar = { yy = 0.2 } }", "missing.mcar.yy", "no variable 'yy' (did you mean 'y'?); allowed: y, x"),
    ("missing = { mar = 0.2 }", "missing.mar", "found 0.2; allowed: { mcar = 0.2 }, "),
    ("missing = { mar = { y = 0.2 } }", "missing.mar.y", 'found 0.2; allowed: { on = "x", rate = 0.3, slope = 1.5 }'),
    (f"missing = {{ {MAR.replace('rate', 'rat')} }}", "missing.mar.y.rat", "unknown key (did you mean 'rate'?)"),
    (f"missing = {{ {MAR.replace('rate = 0.3, ', '')} }}", "missing.mar.y", "missing: rate"),
    (f"missing = {{ {MAR.replace('0.3', '1.0')} }}", "missing.mar.y", "rate: found 1; allowed: at least 0 and below 1"),
    (f"missing = {{ {MAR.replace('y =', 'yy =')} }}", "missing.mar.yy", "unknown variable 'yy' (did you mean 'y'?)"),
    (f"missing = {{ {MAR.replace(chr(34) + 'x', chr(34) + 'z')} }}", "missing.mar.y", "unknown variable 'z'"),
    (f"missing = {{ {MAR.replace(chr(34) + 'x', chr(34) + 'y')} }}", "missing.mar.y", "'y' cannot depend on itself"),
    (f"missing = {{ {MAR}, mcar = 0.1 }}", "missing", "'y' depends on 'x', which has missing values itself"),
    (f"missing = {{ {MAR}, mcar = {{ y = 0.1 }} }}", "missing.mcar.y", "'y' is under mar, too; leave one of them out"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "key", "message"), CASES, ids=[line for line, _, _ in CASES])
def test_message(line: str, key: str, message: str) -> None:
    text = text_of(population=f"{POPULATION}\n{line}", factors=ONE_CELL)
    at = text.count("\n", 0, text.index(line)) + 1
    with pytest.raises(DesignError) as caught:
        parse_design(text, "d.toml")
    found = [problem.replace("cell 0 (n_clusters = 30, cluster_size = 5, icc = 0.1): ", "")
             for problem in caught.value.problems]  # fmt: skip
    assert found[0].startswith(f"d.toml:{at}: population.{key}: {message}"), found
    assert len(found) == (2 if "rat =" in line else 1), found  # a misspelt key is a missing one, too


def test_a_problem_of_several_cells_is_reported_once() -> None:
    line = 'distribution = { within = { kind = "vale_maurelli", skewness = { x = "skew" }, kurtosis = 3 } }'
    with pytest.raises(DesignError) as caught:
        design(population=f"{POPULATION}\n{line}", factors=factors("skew = [0, 2]"))
    (text,) = caught.value.problems
    assert "cell 1 (n_clusters = 30, cluster_size = 5, icc = 0.1, skew = 2): within part of 'x'" in text
    assert text.endswith("and 7 more cells")
