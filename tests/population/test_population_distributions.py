"""Populations that are not normal: exact covariances at each level, the tails asked for, and addressed bits."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.errors import DesignError
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.calibrate import calibrate
from simstudy.population.distributions import NORMAL_LEVEL, Distribution, LevelDistribution
from simstudy.population.draw import draw_cluster_statistics, draw_sample, draw_statistics
from simstudy.population.population import Population
from simstudy.population.streams import BETWEEN, WITHIN, generator

Array = NDArray[np.float64]

MODEL = TwoLevelModel.from_syntax("level: within\n y ~ bw*x + d*w\nlevel: between\n y ~ bb*x + g*z\n")
VALUES = {"bw": 0.2, "d": 0.3, "bb": 0.7, "g": 0.25, "between: x ~~ z": 0.1, "between: y ~ 1": 2.0}
SKEWED = LevelDistribution.vale_maurelli({"y": 1.5, "x": -1.0}, {"y": 4.0, "x": 2.0, "w": 3.0})
SKEWED_BETWEEN = LevelDistribution.vale_maurelli({"y": 1.0, "z": -1.5}, {"y": 3.0, "x": 1.0, "z": 4.0})
TAILS = LevelDistribution.t(12.0)
SHARED = LevelDistribution.t(12.0, per="cluster")
PAIRS = [(SKEWED, SKEWED_BETWEEN), (TAILS, TAILS), (SHARED, NORMAL_LEVEL), (NORMAL_LEVEL, SKEWED_BETWEEN)]
BALANCED = ClusterLayout((6,) * 20)
UNBALANCED = ClusterLayout((1, 2, 2, 3, 5, 5, 5, 8, 12, 15))


def population(within: LevelDistribution, between: LevelDistribution, layout: ClusterLayout = BALANCED) -> Population:
    """Variables y, x (both levels), w (within only) and z (between only)."""
    return Population(MODEL, calibrate(MODEL, VALUES, 1.0, 0.3), layout, "key", Distribution(within, between))


def level_of(level: str, distribution: LevelDistribution, layout: ClusterLayout) -> Population:
    """Two variables without variance at the other level: rows are the deviations of one level."""
    model = TwoLevelModel.from_syntax("level: within\n a ~~ cw*b\nlevel: between\n a ~~ cb*b\n")
    other = "between" if level == "within" else "within"
    values = {f"{other}: a ~~ a": 0.0, f"{other}: b ~~ b": 0.0, f"{level}: a ~~ a": 4.0, f"{level}: b ~~ b": 1.0,
              "cw" if level == "within" else "cb": 0.8}  # fmt: skip
    found = Distribution(**{level: distribution})
    return Population(model, calibrate(model, values), layout, "one", found)


def z_scores(sample: Array, expected: Array | float) -> Array:
    """Of the sample's mean over its first axis, which counts replicates."""
    return (sample.mean(axis=0) - expected) / (sample.std(axis=0, ddof=1) / np.sqrt(len(sample)) + 1e-300)


# ---- in distribution ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("within", "between"), PAIRS)
@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED])
def test_means_and_covariances_of_both_levels(
    within: LevelDistribution, between: LevelDistribution, layout: ClusterLayout
) -> None:
    """Analysis of variance: pooled within covariances, and covariances of v_j, which hold for any distribution."""
    pop, n = population(within, between, layout), 6_000
    m, df, p1 = pop.moments, layout.n_obs - layout.n_clusters, 3
    data = draw_cluster_statistics(pop, 1, range(n))
    assert data.cluster_means is not None
    v = data.cluster_means - m.mu
    cov = np.repeat(m.sigma_between[None], layout.n_clusters, axis=0)
    cov[:, :p1, :p1] += m.sigma_within / np.asarray(layout.sizes)[:, None, None]
    # 4.5 Monte Carlo standard errors: hundreds of entries are looked at
    assert np.abs(z_scores(data.scatter_within, df * m.sigma_within)).max() < 4.5
    assert np.abs(z_scores(v, 0.0)).max() < 4.5
    products = v[..., :, None] * v[..., None, :]
    if layout.balanced:  # one covariance matrix
        products, cov = products.mean(axis=1), cov[0]
    assert np.abs(z_scores(products, cov)).max() < 4.5


@pytest.mark.parametrize("level", ["within", "between"])
@pytest.mark.parametrize(
    ("distribution", "skewness", "kurtosis"),
    [
        (LevelDistribution.vale_maurelli({"a": 1.5, "b": -1.0}, {"a": 4.0, "b": 2.0}), (1.5, -1.0), (4.0, 2.0)),
        (LevelDistribution.vale_maurelli({}, {"b": 3.0}), (0.0, 0.0), (0.0, 3.0)),
        (LevelDistribution.t(12.0), (0.0, 0.0), (0.75, 0.75)),  # 6 / (12 - 4)
    ],
)
def test_skewness_and_kurtosis_of_a_level(
    level: str, distribution: LevelDistribution, skewness: tuple[float, float], kurtosis: tuple[float, float]
) -> None:
    pop, n = level_of(level, distribution, ClusterLayout((2,) * 100)), 4_000
    rows = draw_sample(pop, 1, range(n)).rows[:, ::2] / [2.0, 1.0]  # one row a cluster
    assert np.abs(z_scores((rows**2).mean(axis=1), 1.0)).max() < 4
    assert np.abs(z_scores((rows[..., 0] * rows[..., 1]).mean(axis=1), 0.4)) < 4
    assert np.abs(z_scores((rows**3).mean(axis=1), np.array(skewness))).max() < 4
    assert np.abs(z_scores((rows**4).mean(axis=1), np.array(kurtosis) + 3.0)).max() < 4


def test_skewness_and_kurtosis_of_rows() -> None:
    """Cumulants of independent parts add up."""
    pop, n = population(SKEWED, SKEWED_BETWEEN), 4_000
    m = pop.moments
    sample = draw_sample(pop, 1, range(n))
    rows = sample.rows - m.mu[:3]
    w, b = np.diag(m.sigma_within), np.diag(m.sigma_between)
    third = [1.5 * w[0] ** 1.5 + 1.0 * b[0] ** 1.5, -1.0 * w[1] ** 1.5, 0.0]
    fourth = [4.0 * w[0] ** 2 + 3.0 * b[0] ** 2, 2.0 * w[1] ** 2 + 1.0 * b[1] ** 2, 3.0 * w[2] ** 2]
    expected = np.array(fourth) + 3.0 * (w + b[:3]) ** 2
    assert np.abs(z_scores((rows**3).mean(axis=1), np.array(third))).max() < 4
    assert np.abs(z_scores((rows**4).mean(axis=1), expected)).max() < 4
    z = sample.clusters[..., 0] / np.sqrt(b[3])
    assert abs(z_scores((z**3).mean(axis=1), -1.5)) < 4
    assert abs(z_scores((z**4).mean(axis=1), 7.0)) < 4


@pytest.mark.parametrize(("per", "expected"), [("row", 1.0), ("cluster", 10.0 / 8.0)])
def test_what_has_a_chi_square_of_its_own(per: str, expected: float) -> None:
    """Squares of two rows of a cluster: E a^2 a'^2 is (df - 2) / (df - 4) where they share their chi-square."""
    pop = level_of("within", LevelDistribution.t(12.0, per), ClusterLayout((2,) * 100))  # type: ignore[arg-type]
    rows = draw_sample(pop, 1, range(3_000)).rows[..., 0] / 2.0
    assert abs(z_scores((rows[:, ::2] ** 2 * rows[:, 1::2] ** 2).mean(axis=1), expected)) < 4
    assert abs(z_scores((rows[:, ::2] * rows[:, 1::2]).mean(axis=1), 0.0)) < 4
    assert abs(z_scores((rows[:, :-2:2] ** 2 * rows[:, 2::2] ** 2).mean(axis=1), 1.0)) < 4  # of two clusters


def test_all_variables_of_a_unit_share_the_chi_square() -> None:
    """Multivariate t, not t marginals: E a^2 b^2 = (1 + 2 r^2)(df - 2) / (df - 4)."""
    pop = level_of("between", LevelDistribution.t(12.0), ClusterLayout((2,) * 100))
    rows = draw_sample(pop, 1, range(3_000)).rows[:, ::2] / [2.0, 1.0]
    expected = (1.0 + 2.0 * 0.4**2) * 1.25
    assert abs(z_scores((rows[..., 0] ** 2 * rows[..., 1] ** 2).mean(axis=1), expected)) < 4


def test_the_levels_are_separate() -> None:
    """Normal within parts stay normal when cluster parts are not."""
    pop, n = population(NORMAL_LEVEL, SKEWED_BETWEEN), 3_000
    rows = draw_sample(pop, 1, range(n)).rows[:, ::3]
    difference = (rows[:, ::2] - rows[:, 1::2])[..., 0] / np.sqrt(2.0 * pop.moments.sigma_within[0, 0])
    assert abs(z_scores((difference**4).mean(axis=1), 3.0)) < 4


# ---- one data set in three forms, and its bits ----------------------------------------------------------------------


def arrays(data: TwoLevelStatistics | Sample) -> dict[str, Array]:
    return {name: value for name, value in vars(data).items() if isinstance(value, np.ndarray)}


@pytest.mark.parametrize(("within", "between"), PAIRS)
def test_statistics_are_those_of_the_sample(within: LevelDistribution, between: LevelDistribution) -> None:
    pop = population(within, between, UNBALANCED)
    rows = draw_sample(pop, 7, range(5))
    assert not pop.normal
    for found, cluster_wise in ((draw_statistics(pop, 7, range(5)), False),
                                (draw_cluster_statistics(pop, 7, range(5)), True)):  # fmt: skip
        expected = arrays(rows.statistics(cluster_wise=cluster_wise))
        assert arrays(found).keys() == expected.keys()
        for name, value in arrays(found).items():
            assert np.array_equal(value, expected[name]), name


def test_statistics_are_reduced_a_few_data_sets_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pop = population(SKEWED, TAILS, UNBALANCED)
    together = arrays(draw_cluster_statistics(pop, 7, range(9)))
    monkeypatch.setattr("simstudy.population.rows.AT_ONCE", 2 * 58 * 3)
    for name, value in arrays(draw_cluster_statistics(pop, 7, range(9))).items():
        assert np.array_equal(value, together[name]), name
    assert draw_statistics(pop, 7, []).n_replicates == 0


@pytest.mark.parametrize("draw", [draw_statistics, draw_cluster_statistics, draw_sample])
@pytest.mark.parametrize(("within", "between"), PAIRS)
@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED])
def test_no_bit_depends_on_the_batch(
    draw: Callable[[Population, int, range | list[int]], TwoLevelStatistics | Sample],
    within: LevelDistribution,
    between: LevelDistribution,
    layout: ClusterLayout,
) -> None:
    pop = population(within, between, layout)
    together = arrays(draw(pop, 3, range(40)))
    for part in ([0], [5, 6, 7], [39, 2, 9]):
        for name, value in arrays(draw(pop, 3, part)).items():
            assert np.array_equal(value, together[name][part]), name


def test_draws_use_the_documented_streams() -> None:
    pop = level_of("between", LevelDistribution.t(8.0), BALANCED)
    random = generator(5, "one", 8, BETWEEN)
    normals = random.standard_normal((2, 20))
    squares = random.chisquare(8.0, 20)
    expected = 2.0 * normals[0] * np.sqrt(6.0 / squares)
    np.testing.assert_allclose(draw_sample(pop, 5, [8]).rows[0, ::6, 0], expected, rtol=1e-14)
    pop = level_of("within", LevelDistribution.t(8.0, "cluster"), BALANCED)
    random = generator(5, "one", 8, WITHIN)
    normals = random.standard_normal((2, 120))
    squares = np.repeat(random.chisquare(8.0, 20), 6)
    expected = 2.0 * normals[0] * np.sqrt(6.0 / squares)
    np.testing.assert_allclose(draw_sample(pop, 5, [8]).rows[0, :, 0], expected, rtol=1e-14)


def test_the_numbers_are_those_of_earlier_versions() -> None:
    """If this fails, published studies cannot be replayed any more. Recorded with numpy 2.4.6."""
    for (within, between), recorded in zip(PAIRS, RECORDED, strict=True):
        rows = draw_sample(population(within, between, UNBALANCED), 20090306, [999]).rows
        np.testing.assert_allclose(rows[0, -1], recorded, rtol=1e-10)  # solved equations, and libm


RECORDED = [
    [1.595380922458668, -0.35416681093632724, 0.04240274843299987],
    [1.770277889893843, -0.4479104404559589, 0.05997419166203355],
    [1.8449270790854333, -0.4977853731702051, 0.054377341652550926],
    [1.647214357706745, -0.4794265598078486, 0.0694743689023356],
]  # fmt: skip


# ---- specifications -------------------------------------------------------------------------------------------------


def test_distributions_that_are_normal() -> None:
    assert LevelDistribution.vale_maurelli({"y": 0.0}, {"x": 0}) == NORMAL_LEVEL
    assert LevelDistribution.t(math.inf) == NORMAL_LEVEL
    assert population(NORMAL_LEVEL, NORMAL_LEVEL).normal
    plain = Population(MODEL, calibrate(MODEL, VALUES, 1.0, 0.3), BALANCED, "key")
    same = draw_sample(population(NORMAL_LEVEL, NORMAL_LEVEL), 1, [4]).rows
    assert np.array_equal(draw_sample(plain, 1, [4]).rows, same)


def test_specifications_are_values() -> None:
    assert len({Distribution(SKEWED, TAILS), Distribution(SKEWED, LevelDistribution.t(12)), Distribution(SKEWED)}) == 2


@pytest.mark.parametrize("df", [4.0, 1.0, -3.0, math.nan])
def test_too_few_degrees_of_freedom(df: float) -> None:
    with pytest.raises(DesignError, match="allowed: above 4"):
        LevelDistribution.t(df)


def problems(pop: Population) -> str:
    with pytest.raises(DesignError) as caught:
        _ = pop.shapes
    return "\n".join(caught.value.problems)


def test_impossible_skewness_names_level_and_variable() -> None:
    text = problems(population(NORMAL_LEVEL, LevelDistribution.vale_maurelli({"z": 2.0, "x": 0.1}, {"z": 3.0})))
    assert text.startswith("between part of 'z': no polynomial of a normal variable has skewness 2 and excess")


def test_impossible_correlation_names_what_is_possible() -> None:
    """Variables of opposite skewness cannot correlate .99."""
    model = TwoLevelModel.from_syntax("level: within\n a ~~ c*b\nlevel: between\n a ~~ 0*b\n")
    values = calibrate(model, {"c": 0.99 * 0.8}, 1.0, 0.2)
    opposite = LevelDistribution.vale_maurelli({"a": 2.0, "b": -2.0}, {"a": 7.0, "b": 7.0})
    text = problems(Population(model, values, BALANCED, "key", Distribution(opposite)))
    assert "within parts of 'a' and 'b' correlate 0.99, but with this skewness and kurtosis they can correlate" in text


def test_a_singular_covariance_matrix_that_cannot_be_had() -> None:
    """A perfect linear combination of skewed variables is not reached by polynomials of each."""
    model = TwoLevelModel.from_syntax("level: within\n a ~~ a\n b ~~ b\nlevel: between\n z ~ 1*a + 1*b\n")
    values = calibrate(model, {"between: z ~~ z": 0.0}, {"a": 1.0, "b": 1.0}, 0.5)
    skewed = LevelDistribution.vale_maurelli({"a": 2.0}, {"a": 7.0})
    text = problems(Population(model, values, BALANCED, "key", Distribution(between=skewed)))
    assert "not positive definite" in text or "can correlate" in text


def test_variables_without_variance_at_a_level() -> None:
    """w lives within clusters only; nothing of it is drawn between them."""
    pop = population(SKEWED, LevelDistribution.vale_maurelli({"x": 1.0}, {"x": 2.0}))
    within, between = pop.shapes
    assert within.polynomials is not None
    assert between.polynomials is not None
    assert not between.polynomials[2].any()
    assert np.isfinite(draw_sample(pop, 1, [0]).rows).all()
