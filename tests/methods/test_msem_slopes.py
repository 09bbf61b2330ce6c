"""`msem` with random slopes: options, boundary, statuses, maxima; methods that take slopes as fixed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import optimize, stats

from simstudy.data.layout import ClusterLayout
from simstudy.data.products import ClusterProducts
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.errors import EstimatorError
from simstudy.estimation.inference import with_defined
from simstudy.estimation.result import FitResult, Status
from simstudy.estimation.slope_search import CholeskyLikelihood
from simstudy.likelihood.slopes.integrals import treatment
from simstudy.methods import ask, registry
from simstudy.methods.fixed_slopes import WithFixedSlopes
from simstudy.methods.msem_slopes import SlopeMsem
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.calibrate import calibrate
from simstudy.population.draw import draw_cluster_statistics
from simstudy.population.population import Population

OBSERVED = TwoLevelModel.from_syntax("level: 1\n y ~ rv('s')*x\nlevel: 2\n y + s ~ w\n s ~ bw*1\n y ~~ t01*s\n")
LATENT = TwoLevelModel.from_syntax(
    "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ bb*x\n s ~ bw*1\n y ~~ t01*s\ncontextual := bb - bw\n"
)
MEDIATION = TwoLevelModel.from_syntax(
    "level: 1\n m ~ rv('a')*x\n y ~ rv('b')*m + cw*x\nlevel: 2\n m ~ ab*x\n y ~ bb*m + cb*x\n a ~ aw*1\n b ~ bw*1\n"
    " a ~~ sab*b\nind := aw*bw + sab\n"
)
BALANCED = ClusterLayout.of([5] * 50)
BALANCED_6 = ClusterLayout.of([6] * 50)
UNBALANCED = ClusterLayout.of([2, 3, 5, 8, 12] * 12)


@cache
def population(name: str, layout: ClusterLayout, variance: float = 0.15) -> Population:
    cov = 0.1 if variance > 0.1 else 0.0
    common = {"bw": 0.4, "t01": cov, "between: s ~~ s": variance, "between: y ~~ y": 0.3, "within: y ~~ y": 1.0}
    if name == "observed":
        model, values = OBSERVED, common | {
            "between: y ~ w": 0.3, "between: s ~ w": 0.2, "within: x ~~ x": 1.0, "between: w ~~ w": 1.0
        }  # fmt: skip
    elif name == "latent":
        model, values = LATENT, common | {"bb": 0.8, "within: x ~~ x": 0.7, "between: x ~~ x": 0.3}
    else:
        model, values = MEDIATION, {
            "aw": 0.4, "bw": 0.4, "cw": 0.1, "ab": 0.3, "bb": 0.5, "cb": 0.1, "sab": 0.05, "between: a ~~ a": 0.1,
            "between: b ~~ b": 0.1, "within: x ~~ x": 0.7, "within: m ~~ m": 0.7, "within: y ~~ y": 0.7,
            "between: x ~~ x": 0.3, "between: m ~~ m": 0.3, "between: y ~~ y": 0.3,
        }  # fmt: skip
    return Population(model, calibrate(model, values), layout, f"slopes {name} {variance} {layout.sizes}")


@cache
def drawn(name: str, layout: ClusterLayout, n: int, variance: float = 0.15) -> TwoLevelStatistics:
    return draw_cluster_statistics(population(name, layout, variance), 7, range(n))


def fit(name: str, layout: ClusterLayout, n: int, variance: float = 0.15, **options: object) -> FitResult:
    model = population(name, layout, variance).model
    return SlopeMsem(**options).prepare(model, layout).fit(drawn(name, layout, n, variance))  # type: ignore[arg-type]


def test_the_method_of_a_model_with_slopes() -> None:
    method = registry.create("msem", {"se": ["expected", "robust"], "slopes": "hybrid"})
    chosen = ask.for_model(method, LATENT)
    assert chosen == SlopeMsem(("observed", "robust"), "hybrid")
    assert (chosen.needs, chosen.se_kinds) == ("clusters", ("observed", "robust"))
    plain = TwoLevelModel.from_syntax("level: 1\n y ~ x\nlevel: 2\n y ~ x")
    assert ask.for_model(method, plain) is method
    schmidt = registry.create("schmidt")
    assert ask.for_model(schmidt, LATENT) == WithFixedSlopes(schmidt)
    assert ask.for_model(WithFixedSlopes(schmidt), plain) is schmidt
    with pytest.raises(EstimatorError, match="slopes"):
        registry.create("msem", {"slopes": "raw"})


@pytest.mark.parametrize(
    ("model", "choice", "expected"),
    [
        (OBSERVED, "auto", "observed"), (OBSERVED, "latent", "observed"), (LATENT, "auto", "latent"),
        (LATENT, "hybrid", "hybrid"), (MEDIATION, "auto", "latent"), (MEDIATION, "observed", "observed"),
    ],
)  # fmt: skip
def test_what_a_slope_multiplies(model, choice, expected) -> None:
    assert treatment(model, choice) == expected


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        (LATENT, {"slopes": "observed"}, "'x' stands in both blocks and is no outcome; choose latent or hybrid"),
        (
            TwoLevelModel.from_syntax("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~~ s\n s ~~ upper(-.1)*s"),
            {},
            "the upper bound -0.1 of 'between: s ~~ s' lets no variance be",
        ),
        (
            TwoLevelModel.from_syntax("level: 1\n y ~ rv('s')*x\n y ~~ upper(0)*y\nlevel: 2\n y ~~ s"),
            {},
            "lets no variance be",
        ),
    ],
)
def test_what_is_declined(model, options, reason) -> None:
    method = ask.for_model(registry.create("msem", options), model)
    assert reason in str(method.supports(model, BALANCED))


def test_too_few_clusters_are_declined() -> None:
    assert "no more clusters" in str(SlopeMsem().supports(OBSERVED, ClusterLayout.of([5] * 3)))


@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED])
@pytest.mark.parametrize("name", ["observed", "latent"])
def test_estimates_are_maxima(name, layout) -> None:
    """No score left in working parameters, and scipy's search from elsewhere finds nothing higher."""
    model = population(name, layout).model
    prepared = SlopeMsem().prepare(model, layout)
    found = fit(name, layout, 4)
    assert found.converged.all()
    data = ClusterProducts.of(drawn(name, layout, 4).arrange(model.level1, model.level2))
    xi = prepared.search.cholesky.of_natural(found.estimate)
    problem = CholeskyLikelihood(prepared.fine or prepared.likelihood, prepared.search.cholesky)
    assert np.abs(problem.evaluate(xi, data).score).max() < 1e-4  # of some 1e2 a unit
    one = data.select(np.array([1]))
    away = xi[1] + 0.2 * np.random.default_rng(1).normal(size=xi.shape[1])

    def minus(point: np.ndarray) -> tuple[float, np.ndarray]:
        value = problem.evaluate(point[None], one)
        return (-value.loglik[0], -value.score[0]) if value.ok[0] else (1e10, np.zeros_like(point))

    search = optimize.minimize(minus, away, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-14})
    best = problem.evaluate(xi[[1]], one).loglik[0]
    assert best > -search.fun - 1e-8
    assert best < -search.fun + 1e-4


@pytest.mark.parametrize("variance", [0.15, 0.02, 0.0])
def test_boundary_is_a_fact_of_its_own(variance) -> None:
    """All fits converge; on the boundary the covariance matrix of intercept and slope is singular."""
    found = fit("observed", BALANCED, 150, variance)
    assert found.converged.all()
    assert found.admissible.all()
    named = {row.path: found.estimate[:, row.free] for row in OBSERVED.table.rows if row.free >= 0}
    t00, t11, t01 = named["between: y ~~ y"], named["between: s ~~ s"], named["between: y ~~ s"]
    boundary = found.measures["boundary"] == 1.0
    gap = (t00 * t11 - t01**2) / (t00 * np.maximum(t11, 1e-300))
    assert (gap[boundary & (t11 > 1e-6)] < 1e-5).all()
    assert (gap[~boundary] > 1e-5).all()
    share = boundary.mean()
    low, high = {0.15: (0.05, 0.30), 0.02: (0.43, 0.71), 0.0: (0.51, 0.79)}[variance]  # .147, .57, .65 +- 4 MCSE
    assert low < share < high
    fixed = [OBSERVED.names.index(name) for name in ("bw", "between: y ~ 1")]
    assert np.isfinite(found.se["observed"][:, fixed]).all()


def test_the_boundary_probability_of_a_slope_alone_is_the_f_distributions() -> None:
    """Balanced x and no random intercept: P(T11 = 0) (theory D1.3), in 400 samples of J = 12 clusters."""
    model = TwoLevelModel.from_syntax("level: 1\n y ~ rv('s')*x\nlevel: 2\n s ~ 1\n w ~~ w\n s ~~ 0*w\n")
    j, n, t11, rng = 12, 4, 0.03, np.random.default_rng(2)
    x = np.array([-1.5, -0.5, 0.5, 1.5])
    replicates = 400
    slopes = 0.4 + np.sqrt(t11) * rng.normal(size=(replicates, j, 1))
    y = slopes * x + rng.normal(size=(replicates, j, n))
    rows = np.stack([y, np.broadcast_to(x, y.shape)], axis=-1).reshape(replicates, j * n, 2)
    layout = ClusterLayout.of([n] * j)
    sample = Sample(layout, ("y", "x"), ("w",), rows, rng.normal(size=(replicates, j, 1)))
    found = SlopeMsem().prepare(model, layout).fit(sample)
    assert found.converged.all()
    # y has no intercept that varies: the residual degrees of freedom are J (n - 1) - 1, the fixed intercept's taken off
    spread = 1.0 / (x @ x)
    exact = stats.f.cdf(j / (j - 1) * spread / (t11 + spread), j - 1, j * (n - 1) - 1)
    share = found.measures["boundary"].mean()
    assert abs(share - exact) < 4 * np.sqrt(exact * (1 - exact) / replicates) + 0.02  # the fixed intercept: small terms


@pytest.mark.parametrize("name", ["observed", "latent", "mediation"])
def test_no_bit_depends_on_the_batch(name) -> None:
    model = population(name, UNBALANCED).model
    data = drawn(name, UNBALANCED, 6)
    prepared = SlopeMsem(("observed", "robust")).prepare(model, UNBALANCED)
    whole = prepared.fit(data)
    for part in ([0], [5, 2], [1, 3, 4]):
        some = prepared.fit(data.select(np.array(part)))
        np.testing.assert_array_equal(some.estimate, whole.estimate[part])
        np.testing.assert_array_equal(some.loglik, whole.loglik[part])
        for kind in ("observed", "robust"):
            np.testing.assert_array_equal(some.covariance[kind], whole.covariance[kind][part])


def test_products_of_slopes_have_delta_method_standard_errors() -> None:
    """a b + sigma_ab (theory D1.5): the gradient (b, a, 1) with the full covariance."""
    found = with_defined(fit("mediation", UNBALANCED, 2), MEDIATION.estimands)
    at = [found.labels.index(name) for name in ("aw", "bw", "sab")]
    a, b, s = (found.estimate[0, i] for i in at)
    gradient = np.array([b, a, 1.0])
    cov = found.covariance["observed"][0][np.ix_(at, at)]
    assert found.estimate[0, -1] == pytest.approx(a * b + s)
    assert found.se["observed"][0, -1] == pytest.approx(np.sqrt(gradient @ cov @ gradient))


def test_more_nodes_move_estimates_by_little() -> None:
    seven, fifteen = fit("latent", UNBALANCED, 5), fit("latent", UNBALANCED, 5, nodes=15)
    scale = seven.se["observed"]
    assert np.abs((seven.estimate - fifteen.estimate) / scale).max() < 1e-4  # Theory D1.4: 1.4e-6 in estimates
    np.testing.assert_allclose(seven.loglik, fifteen.loglik, atol=1e-7)


def test_measures() -> None:
    found = fit("latent", BALANCED, 3, measures=True)
    q = len(LATENT.names)
    np.testing.assert_allclose(found.measures["aic"], -2 * found.loglik + 2 * q)
    np.testing.assert_allclose(found.measures["bic"], -2 * found.loglik + np.log(250) * q)
    assert set(found.measures) == {"boundary", "npar", "aic", "bic", "nodes", "loglik_error"}


def test_data_without_variance_are_a_status() -> None:
    data = drawn("observed", BALANCED, 3)
    spoiled = data.select(np.arange(3))
    for array in (spoiled.scatter_within, spoiled.cluster_scatter):
        array[1] = 0.0
    found = SlopeMsem().prepare(OBSERVED, BALANCED).fit(spoiled)
    assert found.status[1] != int(Status.OK)
    assert np.isnan(found.estimate[1]).all()
    assert found.converged[[0, 2]].all()


METHODS = [
    ("disaggregated", {}), ("disaggregated_robust", {}), ("mlm", {"slopes": "fixed"}), ("two_step", {}),
    ("croon", {}), ("schmidt", {}), ("haernqvist", {}), ("goldstein", {}), ("muml", {}), ("msem", {"slopes": "fixed"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), [*METHODS, ("aggregated", {})])
def test_methods_without_slopes_fit_the_model_with_fixed_ones(name, options) -> None:
    """The same numbers as on the fixed-slope model; the path is reported for the mean of the slope."""
    fixed = TwoLevelModel.from_syntax("level: 1\n y ~ bw*x\nlevel: 2\n y ~ bb*x\n")
    plain_method = registry.create(name, options)
    method = ask.for_model(plain_method, LATENT)
    data = drawn("latent", UNBALANCED, 3)
    assert method.supports(LATENT, UNBALANCED) is None
    found = method.prepare(LATENT, UNBALANCED).fit(data)
    plain = plain_method.prepare(fixed, UNBALANCED).fit(data)
    assert found.labels == LATENT.names
    kind = method.se_kinds[0]
    for k, label in enumerate(LATENT.names):
        if label in ("t01", "between: s ~~ s"):
            assert np.isnan(found.estimate[:, k]).all()
            assert np.isnan(found.se[kind][:, k]).all()
        else:
            np.testing.assert_array_equal(found.estimate[:, k], plain.estimate[:, fixed.names.index(label)])
            np.testing.assert_array_equal(found.se[kind][:, k], plain.se[kind][:, fixed.names.index(label)])


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_methods_without_slopes_decline_what_a_mean_cannot_express(name, options) -> None:
    assert "has paths of its own" in str(
        ask.for_model(registry.create(name, options), OBSERVED).supports(OBSERVED, BALANCED)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variance"), [("observed", 0.15), ("latent", 0.15), ("latent", 0.5)])
def test_bias_and_standard_errors(name, variance) -> None:
    """J = 200, n = 10: no bias beyond 4 MCSE plus the order 1/J, SE over SD within 10 %."""
    layout = ClusterLayout.of([10] * 200)
    found = fit(name, layout, 400, variance, se=("observed", "robust"))
    model = population(name, layout, variance).model
    truth = population(name, layout, variance).truth(model)[: len(model.names)]
    assert found.converged.all()
    sd = found.estimate.std(axis=0, ddof=1)
    z = (found.estimate.mean(axis=0) - truth) / (sd / np.sqrt(400))
    assert np.abs(z).max() < 4.0 + 20 * np.sqrt(400) / 200 / 10  # the bias of variances is 1/J of them
    for kind in ("observed", "robust"):
        ratio = np.sqrt((found.se[kind] ** 2).mean(axis=0)) / sd
        assert np.abs(ratio - 1.0).max() < 0.15


@pytest.mark.parametrize(
    "between", ["s ~ w\n w ~ s", "s ~ y\n y ~ s", "f =~ s\n y ~~ s", "s ~ w + v\n f =~ w\n f ~~ s"]
)
def test_what_the_data_leave_open_is_not_identified(between) -> None:
    """The ridge of the search must not pass for information."""
    model = TwoLevelModel.from_syntax(f"level: 1\n y ~ rv('s')*x\nlevel: 2\n {between}\n")
    rng = np.random.default_rng(6)
    x, g = rng.normal(size=300), np.repeat(np.arange(50), 6)
    w, v = rng.normal(size=(2, 50))
    y = (0.3 + 0.4 * w + 0.5 * rng.normal(size=50))[g] * x + 0.5 * rng.normal(size=50)[g] + rng.normal(size=300)
    level2 = np.stack([{"w": w, "v": v}[name] for name in model.level2] or [np.zeros((50, 0))], axis=-1)
    data = Sample(BALANCED_6, model.level1, model.level2, np.stack([y, x], axis=-1)[None], level2.reshape(1, 50, -1))
    found = SlopeMsem().prepare(model, BALANCED_6).fit(data)
    assert found.status[0] == int(Status.SINGULAR_INFORMATION)
    assert np.isnan(found.estimate[0]).all()


def test_a_predictor_far_from_zero_is_identified() -> None:
    """Years: intercept and slope are correlated to six digits, which is no lack of identification."""
    model = TwoLevelModel.from_syntax("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~~ s\n")
    rng = np.random.default_rng(6)
    years, g = rng.uniform(0.0, 10.0, size=300), np.repeat(np.arange(50), 6)
    y = (0.3 + 0.2 * rng.normal(size=50))[g] * years + 2.0 * rng.normal(size=50)[g] + rng.normal(size=300)
    fits = []
    for shift in (0.0, 2000.0):
        rows = np.stack([y, years + shift], axis=-1)[None]
        data = Sample(BALANCED_6, model.level1, (), rows, np.zeros((1, 50, 0)))
        fits.append(SlopeMsem().prepare(model, BALANCED_6).fit(data))
    assert all(found.converged.all() for found in fits)
    assert fits[0].loglik[0] == pytest.approx(fits[1].loglik[0], abs=1e-6)  # two searches; T turned, the same maximum
