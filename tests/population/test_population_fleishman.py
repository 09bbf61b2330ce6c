"""Fleishman's polynomials and the correlations between them, against published values and numerical integration."""

from __future__ import annotations

import re

import numpy as np
import pytest

from simstudy.errors import DesignError
from simstudy.population.fleishman import NORMAL, bound, correlation, fleishman, intermediate, possible

# 20 nodes integrate polynomials of degree up to 39 exactly; fourth powers of cubics have degree 12
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(20)
WEIGHTS = WEIGHTS / WEIGHTS.sum()

CASES = [(0.0, 0.0), (0.0, 3.0), (0.0, 25.0), (0.0, -1.0), (0.0, -1.15), (1.0, 2.0), (-1.0, 2.0), (2.0, 6.0),
         (2.0, 7.0), (-3.0, 21.0), (1.75, 3.75), (0.75, 0.0), (1.0, 0.45), (4.0, 25.5), (0.0, 60.0)]  # fmt: skip


def values(polynomial: tuple[float, float, float]) -> np.ndarray:
    b, c, d = polynomial
    return -c + b * NODES + c * NODES**2 + d * NODES**3


@pytest.mark.parametrize(("skewness", "kurtosis"), CASES)
def test_moments(skewness: float, kurtosis: float) -> None:
    """Moments by quadrature, not by Fleishman's equations."""
    x = values(fleishman(skewness, kurtosis))
    found = [float(WEIGHTS @ x**k) for k in (1, 2, 3, 4)]
    assert found == pytest.approx([0.0, 1.0, skewness, kurtosis + 3.0], rel=1e-10, abs=1e-10)


@pytest.mark.parametrize(
    ("skewness", "kurtosis", "published"),
    [
        (
            1.75,
            3.75,
            (0.92966, 0.39950, -0.03647),
        ),  # Fleishman (1978), table 1, with the last digits of later corrections
        (0.75, 0.0, (1.11251, 0.17363, -0.05033)),
        (1.0, 2.0, (0.90475830, 0.14721082, 0.02386092)),  # the example of R's cbsem::Fleishman
        (2.0, 6.0, (0.82632, 0.31375, 0.02271)),  # skewness and kurtosis of the exponential distribution
    ],
)
def test_published_coefficients(skewness: float, kurtosis: float, published: tuple[float, float, float]) -> None:
    assert fleishman(skewness, kurtosis) == pytest.approx(published, abs=6e-6)  # five digits are printed


def test_the_normal_distribution_and_mirror_images() -> None:
    assert fleishman(0.0, 0.0) == NORMAL
    b, c, d = fleishman(1.2, 3.0)
    assert fleishman(-1.2, 3.0) == pytest.approx((b, -c, d), rel=1e-12)


@pytest.mark.parametrize(("skewness", "kurtosis"), [(0.0, -1.2), (1.0, 0.3), (2.0, 4.0), (-2.0, 5.0), (3.0, 13.2)])
def test_impossible_pairs_name_the_bound(skewness: float, kurtosis: float) -> None:
    with pytest.raises(DesignError) as caught:
        fleishman(skewness, kurtosis)
    (text,) = caught.value.problems
    assert f"no polynomial of a normal variable has skewness {skewness:g} and excess kurtosis {kurtosis:g}" in text
    assert f"kurtosis >= -1.1514 + 1.58837 skewness^2 = {bound(skewness):.4g}" in text
    match = re.search(r"at least (-?[\d.]+) ", text)
    assert match is not None
    least = float(match.group(1))
    assert fleishman(skewness, least)
    with pytest.raises(DesignError):
        fleishman(skewness, least - 0.001)
    assert least == pytest.approx(bound(skewness), abs=0.06 + 0.06 * skewness**2)  # the formula is an approximation


def test_far_outside() -> None:
    with pytest.raises(DesignError, match="could not be solved"):
        fleishman(1e3, 0.0)


PAIRS = [((0, 0), (0, 0)), ((1, 2), (1, 2)), ((2, 7), (-2, 7)), ((2, 7), (0, 0)), ((0, 25), (3, 21)),
         ((1.75, 3.75), (0, -1))]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("rho", [-0.7, -0.2, 0.0, 0.3, 0.9, 1.0])
def test_correlation_by_quadrature(first: tuple[float, float], second: tuple[float, float], rho: float) -> None:
    one, two = fleishman(*first), fleishman(*second)
    u, v = NODES[:, None], rho * NODES[:, None] + np.sqrt(1.0 - rho**2) * NODES
    (b1, c1, d1), (b2, c2, d2) = one, two
    x, y = -c1 + b1 * u + c1 * u**2 + d1 * u**3, -c2 + b2 * v + c2 * v**2 + d2 * v**3
    expected = float((WEIGHTS[:, None] * WEIGHTS * x * y).sum())
    assert correlation(one, two, rho) == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("share", [-0.99, -0.4, 0.0, 1e-6, 0.3, 0.8, 1.0])
def test_intermediate_correlation(first: tuple[float, float], second: tuple[float, float], share: float) -> None:
    """All correlations between 0 and the possible extremes can be had, to 1e-9."""
    one, two = fleishman(*first), fleishman(*second)
    low, high = possible(one, two)
    wanted = share * (high if share > 0 else -low)
    rho = intermediate(one, two, wanted)
    assert rho is not None
    assert -1.0 <= rho <= 1.0
    assert correlation(one, two, rho) == pytest.approx(wanted, abs=1e-9)
    assert intermediate(one, two, 1.001 * high) is None
    assert intermediate(one, two, 1.001 * low) is None


def test_normal_variables_need_no_intermediate_correlation() -> None:
    assert intermediate(NORMAL, NORMAL, 0.3) == pytest.approx(0.3, abs=1e-15)
