"""Populations with random slopes: their moments, their rows, and what must be given."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from simstudy.data.layout import ClusterLayout
from simstudy.errors import DesignError
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.calibrate import calibrate
from simstudy.population.distributions import Distribution, LevelDistribution
from simstudy.population.draw import draw_cluster_statistics, draw_sample, draw_statistics
from simstudy.population.population import Population

CONTEXTUAL = TwoLevelModel.from_syntax(
    """
    level: within
      y ~ rv("s")*x
    level: between
      y ~ bb*x + g*w
      s ~ bw*1 + d*w
      y ~~ t01*s
    """
)
MEDIATION = TwoLevelModel.from_syntax(
    """
    level: within
      m ~ rv("a")*x
      y ~ rv("b")*m + rv("c")*x
    level: between
      m ~ ab*x
      y ~ bb*m + cb*x
      a ~ aw*1
      b ~ bw*1
      c ~ cw*1
      a ~~ sab*b
    ind := aw*bw + sab
    """
)
VALUES = {"aw": 0.4, "bw": 0.5, "cw": 0.1, "ab": 0.3, "bb": 0.6, "cb": 0.2, "sab": 0.06,
          "between: a ~~ a": 0.1, "between: b ~~ b": 0.2, "between: c ~~ c": 0.05, "between: b ~~ c": -0.03,
          "within: x ~~ x": 0.7, "within: m ~~ m": 0.8, "within: y ~~ y": 0.9, "between: x ~~ x": 0.3,
          "between: m ~~ m": 0.2, "between: y ~~ y": 0.25, "between: x ~ 1": 0.5}  # fmt: skip
LAYOUT = ClusterLayout.of([1, 2, 3, 5, 5, 8])


def mediation(**changes: object) -> Population:
    population = Population(MEDIATION, calibrate(MEDIATION, VALUES), LAYOUT, "mediation")
    return dataclasses.replace(population, **changes)  # type: ignore[arg-type]


def by_definition(slopes: str, n_clusters: int, n: int) -> np.ndarray:
    """Rows (J, n, 3) of m, x, y from the structural equations, one variable after another, by numpy."""
    rng = np.random.default_rng(1)
    v = VALUES
    x_b = v["between: x ~ 1"] + np.sqrt(v["between: x ~~ x"]) * rng.normal(size=n_clusters)
    m_b = v["ab"] * x_b + np.sqrt(v["between: m ~~ m"]) * rng.normal(size=n_clusters)
    y_b = v["bb"] * m_b + v["cb"] * x_b + np.sqrt(v["between: y ~~ y"]) * rng.normal(size=n_clusters)
    cov = [[0.1, 0.06, 0.0], [0.06, 0.2, -0.03], [0.0, -0.03, 0.05]]
    a, b, c = (rng.multivariate_normal([v["aw"], v["bw"], v["cw"]], cov, size=n_clusters).T)[:, :, None]
    e = [np.sqrt(v[f"within: {name} ~~ {name}"]) * rng.normal(size=(n_clusters, n)) for name in "xmy"]
    x = x_b[:, None] + e[0]
    off_x = x - x_b[:, None] if slopes == "latent" else x
    m = m_b[:, None] + a * off_x + e[1]
    off_m = m - m_b[:, None] if slopes == "latent" else m
    return np.stack([m, x, y_b[:, None] + b * off_m + c * off_x + e[2]], axis=-1)


def squares(rows: np.ndarray) -> np.ndarray:
    """What tells a random slope from a fixed one: products of squared deviations within pairs, by cluster (J, 6)."""
    d = (rows[:, 0] - rows[:, 1]) ** 2
    return d[:, [0, 0, 0, 1, 1, 2]] * d[:, [0, 1, 2, 1, 2, 2]]


@pytest.mark.parametrize("slopes", ["latent", "observed"])
def test_moments_are_those_of_rows_made_by_the_definition(slopes) -> None:
    rows = by_definition(slopes, 40_000, 2)
    found = mediation(slopes=slopes).moments
    assert found.level1 == ("m", "x", "y")
    means = rows.mean(axis=1)
    within = (rows - means[:, None])[:, :, :, None] * (rows - means[:, None])[:, :, None, :]
    centred = means - found.mu
    for simulated, exact in (
        (means, found.mu),
        (within.sum(axis=1), found.sigma_within),  # n - 1 = 1
        (centred[:, :, None] * centred[:, None, :], found.sigma_between + found.sigma_within / 2),
    ):
        mcse = simulated.std(axis=0, ddof=1) / np.sqrt(len(rows))
        assert np.abs((simulated.mean(axis=0) - exact) / mcse).max() < 4.0  # Monte Carlo SEs


@pytest.mark.parametrize("slopes", ["latent", "observed"])
def test_drawn_rows_have_the_distribution_of_the_definition(slopes) -> None:
    layout = ClusterLayout.of([2] * 20_000)
    drawn = draw_sample(mediation(slopes=slopes, layout=layout), 1, [0]).rows.reshape(-1, 2, 3)
    made = by_definition(slopes, 20_000, 2)
    for statistic in (squares, lambda rows: rows.mean(axis=1) ** 2, lambda rows: rows.mean(axis=1) ** 3):
        ours, theirs = statistic(drawn), statistic(made)
        mcse = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / len(ours))
        assert np.abs((ours.mean(axis=0) - theirs.mean(axis=0)) / mcse).max() < 4.0  # Monte Carlo SEs


def test_statistics_are_those_of_the_rows_and_no_bit_depends_on_the_batch() -> None:
    population = mediation()
    rows = draw_sample(population, 3, range(5))
    one = draw_cluster_statistics(population, 3, range(5))
    np.testing.assert_array_equal(one.cluster_scatter, rows.statistics().cluster_scatter)
    np.testing.assert_array_equal(draw_statistics(population, 3, range(5)).scatter_within, one.scatter_within)
    for r in (0, 4):
        np.testing.assert_array_equal(draw_sample(population, 3, [r]).rows[0], rows.rows[r])


def test_distributions_shape_residuals_and_random_elements() -> None:
    distribution = Distribution(LevelDistribution.t(6.0), LevelDistribution.vale_maurelli({"a": 1.0}, {"a": 2.0}))
    population = mediation(distribution=distribution)
    assert not population.normal
    assert draw_sample(population, 1, range(2)).rows.shape == (2, LAYOUT.n_obs, 3)


def test_variances_of_the_outcome_leave_room_for_the_slope() -> None:
    """Var within = gamma^2 sigma^2 + T11 sigma^2 + sigma_e^2 (theory D2.1), with w's part in the slope."""
    values = {"bb": 0.5, "g": 0.2, "bw": 0.3, "d": 0.2, "t01": 0.05, "between: s ~~ s": 0.15, "between: w ~~ w": 1.0}
    found = calibrate(CONTEXTUAL, values, {"y": 1.0, "x": 1.0}, {"x": 0.3, "y": 0.3})
    population = Population(CONTEXTUAL, found, LAYOUT, "contextual")
    within = dict(zip(CONTEXTUAL.names, found, strict=True))["within: y ~~ y"]
    assert within == pytest.approx(0.7 - (0.3**2 + 0.15 + 0.2**2) * 0.7, abs=1e-12)  # rounding
    assert population.moments.icc()["y"] == pytest.approx(0.3, abs=1e-12)
    assert np.trace(population.moments.sigma_within) == pytest.approx(1.4, abs=1e-12)


def test_truth_of_products_of_slopes_and_of_fixed_ones() -> None:
    truth = dict(zip(MEDIATION.reported, mediation().truth(MEDIATION), strict=True))
    assert truth["ind"] == pytest.approx(0.4 * 0.5 + 0.06)
    plain = TwoLevelModel.from_syntax("level: 1\n m ~ x\n y ~ m + x\nlevel: 2\n m ~ x\n y ~ m + x")
    fixed = dict(zip(plain.names, mediation().truth(plain), strict=True))
    assert (fixed["within: m ~ x"], fixed["within: y ~ m"], fixed["between: y ~ m"]) == (0.4, 0.5, 0.6)
    values = calibrate(plain, {"within: m ~ x": 0.4, "within: y ~ m": 0.5, "within: y ~ x": 0.0, "between: m ~ x": 0.1,
                               "between: y ~ m": 0.2, "between: y ~ x": 0.0}, 1.0, 0.3)  # fmt: skip
    turned = dict(zip(MEDIATION.names, Population(plain, values, LAYOUT, "plain").truth(MEDIATION), strict=False))
    assert (turned["aw"], turned["sab"], turned["between: a ~~ a"]) == (0.4, 0.0, 0.0)
    moved = Population(CONTEXTUAL, calibrate(CONTEXTUAL, {
        "bb": 0.5, "g": 0.2, "bw": 0.3, "d": 0.2, "between: s ~~ s": 0.1, "between: w ~~ w": 1.0, "between: w ~ 1": 2.0,
    }, 1.0, 0.3), LAYOUT, "moved")  # fmt: skip
    one = TwoLevelModel.from_syntax("level: 1\n y ~ x\nlevel: 2\n y ~ x + w")
    mean = dict(zip(one.names, moved.truth(one), strict=True))["within: y ~ x"]
    assert mean == pytest.approx(0.3 + 0.2 * 2.0)  # the mean of the slope, not its intercept


def test_what_must_be_given_of_a_slope() -> None:
    with pytest.raises(DesignError) as error:
        calibrate(MEDIATION, {name: value for name, value in VALUES.items() if name not in ("aw", "between: b ~~ b")})
    text = " ".join(error.value.problems)
    assert "no value is given for 'aw' (the mean of a random slope)" in text
    assert "'between: b ~~ b' (the variance of a random slope" in text
    with pytest.raises(DesignError, match="this slope is random; give its mean as 'between: a ~ 1'"):
        calibrate(MEDIATION, VALUES | {"within: m ~ x": 0.3})


@pytest.mark.parametrize("slopes", ["latent", "observed"])
def test_slopes_of_factors_have_their_moments(slopes) -> None:
    """A factor that carries one slope and is the outcome of another; with an observed predictor in both blocks, too."""
    model = TwoLevelModel.from_syntax(
        "level: 1\n f =~ x1 + x2\n h =~ y1 + y2\n h ~ rv('s')*f + rv('u')*w\n v ~ rv('t')*h\n"
        "level: 2\n v ~~ t\n s ~~ t\n w ~~ v\n"
    )
    rng = np.random.default_rng(3)
    values = rng.uniform(0.1, 0.3, size=len(model.names))
    values[model.table.variance_indices] += 0.4
    values[[k for k, name in enumerate(model.names) if "~~" in name and k not in model.table.variance_indices]] *= 0.3
    layout = ClusterLayout.of([5] * 3000)
    population = Population(model, tuple(values.tolist()), layout, "factor slopes", slopes=slopes)
    sample = draw_sample(population, 1, range(4))
    rows = sample.rows.reshape(-1, 5, len(model.level1))
    means = rows.mean(axis=1)
    inside = (rows - means[:, None]).reshape(-1, len(model.level1))
    within, between = inside.T @ inside / (len(rows) * 4), np.cov(means.T)
    moments = population.moments
    limit = (
        4.0 * 3.0 / np.sqrt(len(rows))
    )  # 4 SEs of covariances of 12,000 clusters, of variables with variances of 1-3
    np.testing.assert_allclose(means.mean(axis=0), moments.mu, atol=limit / 2)
    np.testing.assert_allclose(within, moments.sigma_within, atol=limit)
    np.testing.assert_allclose(between, moments.sigma_between + moments.sigma_within / 5, atol=limit)
