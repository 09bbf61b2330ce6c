"""Missing values: rates, mechanisms, complete data untouched, and listwise deletion against pandas."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import expit

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample, from_frame
from simstudy.errors import DataError, DesignError
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.calibrate import calibrate
from simstudy.population.distributions import Distribution, LevelDistribution
from simstudy.population.draw import draw_cluster_statistics, draw_sample, draw_statistics
from simstudy.population.missing import MissingRule, complete_rows, listwise
from simstudy.population.population import Population
from simstudy.population.streams import MISSING, generator

Array = NDArray[np.float64]

MODEL = TwoLevelModel.from_syntax("level: within\n y ~ bw*x + d*w\nlevel: between\n y ~ bb*x + g*z\n z ~~ u\n")
VALUES = {"bw": 0.2, "d": 0.3, "bb": 0.7, "g": 0.25, "between: x ~~ z": 0.1, "between: x ~ 1": 3.0,
          "between: z ~ 1": -2.0}  # fmt: skip
BALANCED = ClusterLayout((5,) * 30)
UNBALANCED = ClusterLayout((1, 2, 2, 3, 5, 5, 5, 8, 12, 15))
MCAR = MissingRule("y", 0.3)
ROW = MissingRule("y", 0.3, "x", 1.5)
ROW_BY_CLUSTER = MissingRule("y", 0.3, "z", -2.0)
CLUSTER = MissingRule("u", 0.25, "z", 1.5)
CLUSTER_BY_MEAN = MissingRule("z", 0.2, "x", 2.0)


def population(*rules: MissingRule, layout: ClusterLayout = BALANCED, variance: float = 1.0) -> Population:
    """Variables y, x (both levels), w (within only), z and u (between only)."""
    values = calibrate(MODEL, VALUES, variance, 0.3)
    return Population(MODEL, values, layout, "missing", missing=rules, data_key="complete")


def gone(pop: Population, variable: str, n: int) -> tuple[Array, Sample]:
    """Which values of a variable are missing in n data sets, and the complete data sets."""
    sample = draw_sample(pop, 1, range(n))
    names = sample.level1 + sample.level2
    values = np.concatenate([sample.rows, np.repeat(sample.clusters, pop.layout.sizes, axis=1)], axis=-1)
    found = np.isnan(values[..., names.index(variable)])
    if variable in sample.level2:
        found = found[:, pop.layout.row_starts]
    return found.astype(float), draw_sample(pop.complete, 1, range(n))


def z_scores(sample: Array, expected: float) -> Array:
    return np.asarray((sample.mean(axis=0) - expected) / (sample.std(axis=0, ddof=1) / np.sqrt(len(sample))))


# ---- rates and mechanisms -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED])
@pytest.mark.parametrize("rule", [MCAR, ROW, ROW_BY_CLUSTER, CLUSTER, CLUSTER_BY_MEAN, MissingRule("z", 0.4)])
def test_rates(rule: MissingRule, layout: ClusterLayout) -> None:
    found, _ = gone(population(rule, layout=layout), rule.variable, 4_000)
    assert abs(z_scores(found.mean(axis=1), rule.rate)) < 4


def predictor(rule: MissingRule, complete: Sample) -> Array:
    """What the probability depends on, in the units in which values are missing, by the definition."""
    sizes = np.asarray(complete.layout.sizes)
    if rule.on in complete.level1:
        x = complete.rows[..., complete.level1.index(rule.on)]
        if rule.variable in complete.level1:
            return x
        ends = np.cumsum(sizes)
        return np.stack([x[:, end - n : end].mean(axis=1) for n, end in zip(sizes, ends, strict=True)], axis=1)
    x = complete.clusters[..., complete.level2.index(rule.on)]
    return np.repeat(x, sizes, axis=1) if rule.variable in complete.level1 else x


@pytest.mark.parametrize("rule", [ROW, ROW_BY_CLUSTER, CLUSTER, CLUSTER_BY_MEAN])
def test_log_odds_are_linear_in_what_they_depend_on(rule: MissingRule) -> None:
    """Logistic regression by Newton's method: the slope asked for, and no dependence on its square."""
    pop = population(rule, layout=UNBALANCED)
    found, complete = gone(pop, rule.variable, 1_500)
    x = predictor(rule, complete).ravel()
    x, y = x - x.mean(), found.ravel()
    design = np.stack([np.ones_like(x), x, x**2], axis=1)
    beta = np.zeros(3)
    for _ in range(30):
        p = expit(design @ beta)
        information = design.T @ (design * (p * (1.0 - p))[:, None])
        beta += np.linalg.solve(information, design.T @ (y - p))
    error = np.sqrt(np.diag(np.linalg.inv(information)))
    assert abs(beta[1] - rule.slope) < 4 * error[1]
    assert abs(beta[2]) < 4 * error[2]


def test_missing_completely_at_random_depends_on_nothing() -> None:
    found, complete = gone(population(MCAR, MissingRule("w", 0.2)), "y", 4_000)
    for k in range(3):
        x = complete.rows[..., k]
        assert abs(z_scores((found * (x - x.mean())).mean(axis=1), 0.0)) < 4
    other = np.isnan(draw_sample(population(MCAR, MissingRule("w", 0.2)), 1, range(4_000)).rows[..., 2])
    assert abs(z_scores((found * other).mean(axis=1), 0.3 * 0.2)) < 4  # of variables, too


@pytest.mark.parametrize(
    "rule", [ROW, ROW_BY_CLUSTER, MissingRule("y", 0.02, "x", 8.0), MissingRule("y", 0.6, "x", -30)]
)
def test_the_intercept_gives_the_rate_exactly(rule: MissingRule) -> None:
    pop = population(rule, variance=2.0)
    m = pop.moments
    k = (m.level1 + m.level2).index(rule.on)
    sd = np.sqrt(m.sigma_between[k, k] + (m.sigma_within[k, k] if rule.on == "x" else 0.0))
    (a,) = pop.missing_rates.intercepts

    def integrand(z: float) -> float:
        return float(expit(a + rule.slope * (m.mu[k] + sd * z)) * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi))

    found = sum(quad(integrand, low, low + 1.0, epsabs=1e-13, limit=200)[0] for low in range(-9, 9))
    assert found == pytest.approx(rule.rate, abs=1e-9)


def test_cluster_means_of_unequal_clusters_average_to_the_rate() -> None:
    """Over clusters, most of which are small."""
    sizes = np.repeat([2, 40], [18, 2])
    pop = population(MissingRule("z", 0.1, "x", 4.0), layout=ClusterLayout.of(sizes))
    m = pop.moments
    (a,) = pop.missing_rates.intercepts
    rng = np.random.default_rng(1)
    means = m.mu[1] + np.sqrt(m.sigma_between[1, 1] + m.sigma_within[1, 1] / sizes) * rng.standard_normal((50_000, 20))
    assert abs(z_scores(expit(a + 4.0 * means).mean(axis=1), 0.1)) < 4


def test_populations_that_are_not_normal_have_nearly_the_rate() -> None:
    heavy = Distribution(LevelDistribution.t(6.0), LevelDistribution.t(6.0))
    pop = dataclasses.replace(population(ROW), distribution=heavy)
    found, _ = gone(pop, "y", 500)
    assert found.mean() == pytest.approx(0.3, abs=0.02)


# ---- the complete data ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", [Distribution(), Distribution(LevelDistribution.t(8.0))])
def test_complete_data_are_untouched(distribution: Distribution) -> None:
    rules = (ROW, MissingRule("w", 0.1), CLUSTER_BY_MEAN)
    pop = dataclasses.replace(population(*rules), distribution=distribution)
    plain = dataclasses.replace(pop, key="complete", missing=())
    assert pop.complete == plain
    found, complete = draw_sample(pop, 3, range(10)), draw_sample(plain, 3, range(10))
    for some, all_of_it in ((found.rows, complete.rows), (found.clusters, complete.clusters)):
        assert np.isnan(some).any()
        assert np.array_equal(some, np.where(np.isnan(some), np.nan, all_of_it), equal_nan=True)
    assert not np.isnan(found.rows[..., 1]).any()
    assert not np.isnan(found.clusters[..., 1]).any()


def test_no_bit_depends_on_the_batch() -> None:
    pop = population(ROW, MissingRule("w", 0.1), CLUSTER_BY_MEAN, layout=UNBALANCED)
    together = draw_sample(pop, 3, range(40))
    for part in ([0], [5, 6, 7], [39, 2, 9]):
        alone = draw_sample(pop, 3, part)
        assert np.array_equal(alone.rows, together.rows[part], equal_nan=True)
        assert np.array_equal(alone.clusters, together.clusters[part], equal_nan=True)


def test_values_missing_at_a_lower_rate_are_missing_at_a_higher_one() -> None:
    low, _ = gone(population(dataclasses.replace(ROW, rate=0.1)), "y", 20)
    high, _ = gone(population(ROW, MissingRule("w", 0.5)), "y", 20)
    assert (low <= high).all()
    assert low.sum() < high.sum()


def test_draws_use_the_documented_stream() -> None:
    pop = population(MCAR, MissingRule("u", 0.4), layout=UNBALANCED)
    uniform = generator(5, "complete", 8, MISSING).random(3 * 58 + 2 * 10)
    sample = draw_sample(pop, 5, [8])
    assert np.array_equal(np.isnan(sample.rows[0, :, 0]), uniform[:58] < 0.3)
    assert (sample.level2, UNBALANCED.n_obs) == (("z", "u"), 58)
    assert np.array_equal(np.isnan(sample.clusters[0, :, 1]), uniform[-10:] < 0.4)


def test_the_numbers_are_those_of_earlier_versions() -> None:
    """If this fails, published studies cannot be replayed any more. Recorded with numpy 2.4.6."""
    sample = draw_sample(population(ROW, CLUSTER_BY_MEAN, layout=UNBALANCED), 20090306, [999])
    assert np.flatnonzero(np.isnan(sample.rows[0, :, 0])).tolist() == RECORDED_ROWS
    assert np.flatnonzero(np.isnan(sample.clusters[0, :, 0])).tolist() == RECORDED_CLUSTERS


RECORDED_ROWS = [0, 1, 5, 9, 19, 20, 26, 33, 38, 39, 42, 43, 47, 48, 50, 51, 55, 56]
RECORDED_CLUSTERS = [0, 6]


def test_statistics_of_a_population_with_missing_values_are_refused() -> None:
    for draw in (draw_statistics, draw_cluster_statistics):
        with pytest.raises(DataError, match="draw rows with draw_sample"):
            draw(population(ROW), 1, [0])
    none = population(MissingRule("y", 0.0, "x", 1.0))
    assert not none.has_missing
    assert population(ROW).has_missing
    assert draw_statistics(none, 1, [0]).n_replicates == 1


# ---- rules that make no sense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([MissingRule("yy", 0.1)], "unknown variable 'yy' (did you mean 'y'?); allowed: y, x, w, z, u"),
        ([MissingRule("y", 0.1, "q", 1.0)], "unknown variable 'q'"),
        ([MissingRule("y", 0.1, "y", 1.0)], "'y' cannot depend on itself"),
        ([ROW, MissingRule("x", 0.1)], "'y' depends on 'x', which has missing values itself"),
        ([ROW, MCAR], "'y' has more than one rule"),
    ],
)
def test_rules_that_make_no_sense(rules: list[MissingRule], expected: str) -> None:
    with pytest.raises(DesignError) as caught:
        _ = population(*rules).missing_rates
    assert expected in "\n".join(caught.value.problems)


@pytest.mark.parametrize("rate", [-0.1, 1.0, np.nan])
def test_impossible_rates(rate: float) -> None:
    with pytest.raises(DesignError, match="allowed: at least 0 and below 1"):
        MissingRule("y", rate)


def test_infinite_slopes() -> None:
    with pytest.raises(DesignError, match="a finite number"):
        MissingRule("y", 0.1, "x", np.inf)


# ---- listwise deletion ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED])
@pytest.mark.parametrize(
    "rules", [(MCAR,), (ROW, MissingRule("w", 0.4)), (CLUSTER,), (ROW, CLUSTER_BY_MEAN, MissingRule("u", 0.3))]
)
def test_listwise_is_what_pandas_leaves(layout: ClusterLayout, rules: tuple[MissingRule, ...]) -> None:
    sample = draw_sample(population(*rules, layout=layout), 1, range(4))
    for r in range(4):
        frame = sample.to_frame(r).dropna()
        expected = from_frame(frame, "cluster", sample.level1, sample.level2)
        found = listwise(sample, r)
        assert found.layout == expected.layout
        assert np.array_equal(found.rows, expected.rows)
        assert np.array_equal(found.clusters, expected.clusters)
        assert (found.level1, found.level2) == (sample.level1, sample.level2)
        assert found.statistics().layout.n_obs == complete_rows(sample)[r].sum() == len(frame)


def test_listwise_of_complete_data_changes_nothing() -> None:
    sample = draw_sample(population(layout=UNBALANCED), 1, range(3))
    found = listwise(sample, 2)
    assert found.layout is sample.layout
    assert np.array_equal(found.rows, sample.rows[2:])


def test_listwise_looks_at_the_variables_of_the_sample_alone() -> None:
    sample = draw_sample(population(MissingRule("w", 0.5)), 1, [0])
    assert listwise(sample).layout.n_obs < 150
    assert listwise(sample.arrange(("y", "x"), ("z",))).layout.n_obs == 150


def test_listwise_drops_empty_clusters_and_clusters_without_level_2_values() -> None:
    nan = np.nan
    rows = np.array([[[1.0], [2.0], [3.0], [nan], [5.0], [nan], [nan]]])
    sample = Sample(ClusterLayout((1, 2, 2, 2)), ("y",), ("z",), rows, np.array([[[0.1], [nan], [0.3], [0.4]]]))
    found = listwise(sample)  # clusters: 1 | 2 3 (no z) | . 5 | . .
    assert found.layout.sizes == (1, 1)
    assert found.rows.ravel().tolist() == [1.0, 5.0]
    assert found.clusters.ravel().tolist() == [0.1, 0.3]


def test_nothing_left() -> None:
    sample = Sample(ClusterLayout((2,)), ("y",), (), np.full((1, 2, 1), np.nan), np.zeros((1, 1, 0)))
    with pytest.raises(DataError, match="no row is complete"):
        listwise(sample)
