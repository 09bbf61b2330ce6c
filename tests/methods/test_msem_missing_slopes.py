"""`msem` with random slopes and missing values: complete data, bits, robust SEs, what is refused, statuses."""

from __future__ import annotations

import numpy as np
import pytest

from simstudy.data.layout import ClusterLayout
from simstudy.data.products import PatternProducts
from simstudy.data.sample import Sample
from simstudy.errors import EstimatorError
from simstudy.estimation.result import FitResult, Status
from simstudy.methods import ask, registry
from simstudy.methods.msem_slopes import SlopeMsem
from simstudy.model.carriers import carriers
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.draw import draw_sample
from simstudy.population.population import Population

LAYOUT = ClusterLayout.of([3, 5, 8, 12] * 12)
MODELS = {
    "observed": "level: 1\n m ~ rv('s')*x\n y ~ m + x\nlevel: 2\n y + s ~ w\n m ~~ s\n m ~~ y\n",
    "hybrid": "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ x + w\n s ~ w\n y ~~ s\n",
    "latent": "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ x + w\n s ~ w\n y ~~ s\n",
}
every = pytest.mark.parametrize("name", list(MODELS))


def drawn(name: str, n: int) -> tuple[TwoLevelModel, Sample]:
    """Complete data with a slope variance of .2."""
    model = TwoLevelModel.from_syntax(MODELS[name])
    values = np.zeros(len(model.names))
    for row in model.table.rows:
        if row.free >= 0 and row.op == "~~" and row.lhs == row.rhs:
            values[row.free] = 0.2 if row.lhs == "s" else 0.8 if row.level == "within" else 0.4
        elif row.free >= 0 and (row.op == "~" or row.lhs == "s"):
            values[row.free] = 0.3
    kind = "observed" if name == "observed" else "latent"
    return model, draw_sample(
        Population(model, tuple(values.tolist()), LAYOUT, f"gaps {name}", slopes=kind), 3, range(n)
    )


def with_gaps(sample: Sample, rate: float = 0.3) -> Sample:
    """Outcomes and level-2 values missing; x, which carries the slope, is there."""
    rng = np.random.default_rng(11)
    rows, clusters = sample.rows.copy(), sample.clusters.copy()
    for k, name in enumerate(sample.level1):
        if name != "x":
            rows[..., k][rng.random(rows.shape[:2]) < rate] = np.nan
    clusters[rng.random(clusters.shape) < rate] = np.nan
    return Sample(sample.layout, sample.level1, sample.level2, rows, clusters)


def fit(name: str, model: TwoLevelModel, sample: Sample, missing: str = "fiml", **options: object) -> FitResult:
    slopes = "auto" if name == "observed" else name
    chosen = {"slopes": slopes, "missing": missing, "se": ["observed", "robust"], "measures": True} | options
    method = ask.for_model(registry.create("msem", chosen), model)
    return method.prepare(model, sample.layout).fit(sample)


def same(one: FitResult, other: FitResult) -> None:
    np.testing.assert_array_equal(one.estimate, other.estimate)
    np.testing.assert_array_equal(one.loglik, other.loglik)
    np.testing.assert_array_equal(one.status, other.status)
    for kind, value in one.covariance.items():
        np.testing.assert_array_equal(value, other.covariance[kind])
    for key, measure in one.measures.items():
        np.testing.assert_array_equal(measure, other.measures[key])


def test_the_option_of_models_without_slopes() -> None:
    model = TwoLevelModel.from_syntax(MODELS["latent"])
    method = registry.create("msem", {"missing": "fiml"})
    chosen = ask.for_model(method, model)
    assert chosen == SlopeMsem(missing="fiml")
    assert (chosen.needs, chosen.takes_missing) == ("sample", True)
    other = ask.for_model(registry.create("msem"), model)
    assert (other.needs, other.takes_missing) == ("clusters", False)


@every
def test_complete_data_are_fitted_as_ever(name) -> None:
    model, sample = drawn(name, 2)
    same(fit(name, model, sample), fit(name, model, sample, "listwise"))


@every
def test_no_bit_depends_on_the_batch(name) -> None:
    """Nor on whether others have missing values, or other patterns of them."""
    model, sample = drawn(name, 5)
    gaps = with_gaps(sample)
    gaps.rows[0], gaps.clusters[0] = sample.rows[0], sample.clusters[0]
    gaps.clusters[1] = sample.clusters[1]
    gaps.rows[2] = sample.rows[2]
    whole = fit(name, model, gaps)
    assert whole.converged.all()
    assert (whole.measures["bic"][1:] != whole.measures["bic"][0]).all()
    for part in ([0], [1], [2], [4, 3], [2, 0, 4]):
        same(fit(name, model, gaps.select(np.array(part))), whole.select(np.array(part)))


@every
def test_estimates_are_maxima_and_robust_errors_are_those_of_differenced_scores(name) -> None:
    model, sample = drawn(name, 1)
    gaps = with_gaps(sample)
    method = SlopeMsem(("robust",), "auto" if name == "observed" else name, 15, missing="fiml")  # type: ignore[arg-type]
    prepared = method.prepare(model, LAYOUT)
    found, data = prepared.fit(gaps), PatternProducts.of(gaps.arrange(model.level1, model.level2))
    assert found.measures["boundary"][0] == 0.0
    theta, target = found.estimate, prepared.likelihood
    at = target.evaluate(theta, data)
    assert np.abs(at.score).max() < 1e-3  # of some 1e2 a unit
    q, h = theta.shape[1], 1e-5
    points = np.repeat(theta, 2 * q, axis=0)
    points[np.arange(2 * q), np.tile(np.arange(q), 2)] += np.repeat([h, -h], q)
    moved = target.evaluate(points, data.select(np.zeros(2 * q, dtype=np.int64))).score
    bread = np.linalg.inv(-(moved[:q] - moved[q:]) / (2 * h))
    scores = target.cluster_scores(theta, data)[0]
    exact = bread @ (scores.T @ scores) @ bread.T
    se = np.sqrt(np.diagonal(exact))
    np.testing.assert_allclose(found.se["robust"][0], se, rtol=1e-4)  # the ridge, differences, and the rule


def test_a_carrier_that_is_missing_where_something_that_it_moves_is_seen_makes_an_integral() -> None:
    model, sample = drawn("observed", 1)
    x, m, y = (sample.level1.index(name) for name in ("x", "m", "y"))
    gaps = with_gaps(sample)
    gaps.rows[0, 5, [x, m, y]] = np.nan  # nothing is left of the row
    closed = fit("observed", model, gaps)
    assert closed.converged.all()
    assert "nodes" not in closed.measures
    gaps.rows[0, 9, [x, m]], gaps.rows[0, 9, y] = np.nan, 0.3  # y depends on m, which the slope moves
    over = fit("observed", model, gaps)
    assert over.converged.all()
    assert over.measures["nodes"][0] > 10
    np.testing.assert_allclose(over.estimate, closed.estimate, atol=0.05)  # one row less
    (carrier,) = carriers(model)
    named = dict(zip(model.level1, carrier.moved.tolist(), strict=True))
    assert named == {"x": False, "m": True, "y": True}


def test_given_variables_must_be_there() -> None:
    text = "level: 1\n y ~ rv('s')*x\nlevel: 2\n y + s ~ w\n y ~~ s\n"
    model, rng = TwoLevelModel.from_syntax(text), np.random.default_rng(1)
    rows, clusters = rng.normal(size=(1, LAYOUT.n_obs, 2)), rng.normal(size=(1, LAYOUT.n_clusters, 1))
    sample = Sample(LAYOUT, model.level1, model.level2, rows, clusters)
    rows[0, ::3, model.level1.index("y")] = np.nan
    given = fit("observed", model, sample, fixed_x=True)
    joint = fit("observed", model, sample)
    at = [k for k, name in enumerate(model.names) if name.startswith(("between: s ~", "between: y ~"))]
    np.testing.assert_allclose(given.estimate[:, at], joint.estimate[:, at], atol=1e-6)  # two searches
    x, w = rows[0, :, model.level1.index("x")], clusters[0, :, 0]
    density = sum(-0.5 * len(v) * (np.log(2 * np.pi * v.var()) + 1) for v in (x, w))
    np.testing.assert_allclose(joint.loglik - given.loglik, density, rtol=1e-9)  # x of all rows, y seen or not
    clusters[0, 4] = np.nan
    with pytest.raises(EstimatorError, match="'w' has missing values, and fixed_x takes it as given"):
        fit("observed", model, sample, fixed_x=True)


def test_a_variable_without_any_value_is_a_status() -> None:
    model, sample = drawn("observed", 3)
    gaps = with_gaps(sample)
    gaps.rows[1, :, sample.level1.index("y")] = np.nan
    gaps.rows[2, :, sample.level1.index("y")] = np.where(np.isnan(gaps.rows[2, :, 0]), np.nan, 2.5)  # no variance
    found = fit("observed", model, gaps)
    assert found.status[0] == Status.OK
    assert (found.status[1:] != Status.OK).all()
    assert np.isnan(found.estimate[1:]).all()
    alone = fit("observed", model, gaps.select(np.array([0])))
    np.testing.assert_array_equal(alone.estimate[0], found.estimate[0])
