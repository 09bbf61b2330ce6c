"""Distributions of what is not known: what is read, and that draws are addressed and truncated openly."""

from __future__ import annotations

import numpy as np
import pytest
from planning_cases import request
from scipy import stats

from simstudy.errors import SimstudyError
from simstudy.planning.uncertain import draw, parse_uncertain


def test_distributions_are_read():
    found = parse_uncertain(["icc=beta(2, 18)", " b_b = normal(.3,1/10)", "between: y ~~ y = uniform(0.1, 0.2)"])
    assert [u.name for u in found] == ["icc", "b_b", "between: y ~~ y"]
    assert found[1].arguments == (0.3, 0.1)
    assert found[0].text == "icc=beta(2, 18)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("icc", "allowed: NAME=DISTRIBUTION"),
        ("icc=bta(1,2)", "did you mean 'beta'"),
        ("icc=beta(1)", r"has 1 arguments; allowed: beta\(a, b\)"),
        ("icc=beta(1,x)", "found 'x'; allowed: numbers"),
        ("icc=beta(0,1)", "a and b above 0"),
        ("icc=uniform(2,1)", "low < high"),
        ("icc=triangular(0,3,2)", "low <= mode <= high"),
        ("icc=normal(0,1/0)", "an SD above 0"),
        ("icc=normal(0,", "allowed: NAME=DISTRIBUTION"),
    ],
)
def test_what_is_no_distribution_is_refused(text, message):
    with pytest.raises(SimstudyError, match=message):
        parse_uncertain([text])


def test_a_value_is_given_once():
    with pytest.raises(SimstudyError, match="given twice"):
        parse_uncertain(["icc=beta(1,2)", "icc=beta(1,3)"])


def test_draws_follow_their_distribution_and_are_addressed():
    found = request(uncertain=["b_b"]).scenario
    uncertain = parse_uncertain(["b_b=triangular(.1,.2,.5)"])
    few, many = (draw(found, uncertain, n, 100, None) for n in (64, 256))
    assert few.values == many.values[:64]
    values = np.array([v["b_b"] for v in many.values])
    expected = stats.triang(0.25, 0.1, 0.4)
    assert stats.kstest(values, expected.cdf).statistic < 2 / 256  # a low-discrepancy sequence; random ones: 14/256
    other = request(uncertain=["b_b"], seed=5).scenario
    assert draw(other, uncertain, 64, 100, None).values[0] != few.values[0]


def test_impossible_draws_are_counted_and_named():
    found = request(uncertain=["icc"]).scenario
    draws = draw(found, parse_uncertain(["icc=uniform(0, .3)"]), 200, 100, None)
    values = np.array([v["icc"] for v in draws.values])
    # the paths ask for an ICC of y of .0784 or so: what is below is left out, and nothing else
    assert draws.left_out == sum(draws.reasons.values())
    assert abs(draws.left_out / draws.tried - values.min() / 0.3) < 0.01
    assert all("impossible between variance" in reason for reason in draws.reasons)
    below = values.min() - 0.002
    with pytest.raises(SimstudyError, match="impossible between variance"):
        found.cell(100, None, {"icc": below})


def test_distributions_without_populations_end_with_an_explanation():
    found = request(uncertain=["icc"]).scenario
    with pytest.raises(SimstudyError, match=r"0 of 320 draws .* give narrower distributions"):
        draw(found, parse_uncertain(["icc=uniform(1.1, 1.5)"]), 16, 100, None)
