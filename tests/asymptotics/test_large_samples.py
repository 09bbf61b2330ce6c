"""Large samples against the moments' exact numbers where both exist, and against closed forms where slopes vary."""

from __future__ import annotations

from dataclasses import replace

import asymptotics_cases as cases
import numpy as np
import pytest
from asymptotics_cases import MODEL, UNEQUAL, population

import simstudy
from simstudy.asymptotics import Asymptotics, approximate, approximate_all, by_large_samples
from simstudy.asymptotics import large_samples as module
from simstudy.data.layout import ClusterLayout
from simstudy.errors import SimstudyError
from simstudy.estimation.result import Status
from simstudy.methods import ask, registry
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.calibrate import calibrate
from simstudy.population.distributions import Distribution, LevelDistribution
from simstudy.population.missing import MissingRule
from simstudy.population.population import Population

SLOPES = TwoLevelModel.from_syntax(
    "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ bb*x\n s ~ bw*1\n y ~~ t01*s\n s ~~ t11*s\n"
)
OBSERVED = TwoLevelModel.from_syntax("level: 1\n y ~ rv('s')*x\nlevel: 2\n s ~ bw*1\n y ~~ t01*s\n s ~~ t11*s\n")
# Theory D2, case A
T00, T01, T11, ERROR, TAU2, SIGMA2, GAMMA, BETA, N = 0.3, 0.1, 0.15, 1.0, 0.3, 0.7, 0.4, 0.8, 5
Z = 4.0
"""Monte Carlo errors allowed."""


def with_slopes(model: TwoLevelModel = SLOPES, t11: float = T11) -> Population:
    values = {"bw": GAMMA, "t01": T01 if t11 else 0.0, "t11": t11, "between: y ~~ y": T00, "within: y ~~ y": ERROR,
              "within: x ~~ x": SIGMA2}  # fmt: skip
    if model is SLOPES:
        values |= {"bb": BETA, "between: x ~~ x": TAU2}
    return Population(model, calibrate(model, values), ClusterLayout.of([N] * 100), "slopes")


def method(name: str, model: TwoLevelModel = SLOPES, **options: object):
    return ask.for_model(registry.create(name, options), model)


def near(found: Asymptotics, measure, exact, kind: str | None = None, slack: float = 0.0) -> None:
    value, error = measure(found), found.mcse(measure, kind)
    exact = np.broadcast_to(exact, value.shape)
    known = np.isfinite(value) & np.isfinite(exact)
    assert known.any()
    off = np.abs(value - exact)[known]
    assert (off <= Z * error[known] + slack * np.abs(exact[known])).all(), (value, exact, error)


@pytest.fixture
def small(monkeypatch) -> None:
    """Samples of 100 clusters."""
    monkeypatch.setattr(module, "CLUSTERS", 100)
    monkeypatch.setattr(module, "FEWEST", 100)


# ------------------------------------------------------------------------------------------------ what is known exactly


@pytest.mark.parametrize("sizes", [[5] * 40, UNEQUAL])
@pytest.mark.parametrize(
    ("name", "options"), [("msem", {"se": ["expected", "robust"]}), ("mlm", {}), ("aggregated", {"se": ["expected"]})]
)
def test_normal_data_agree_with_the_moments(name, options, sizes) -> None:
    estimator = registry.create(name, options)
    exact = approximate(estimator, MODEL, population(sizes))
    found = by_large_samples(estimator, MODEL, population(sizes))
    j = found.errors.n_clusters
    assert (exact.errors, found.errors.n_failed, j >= 2000) == (None, 0, True)
    near(found, lambda a: a.limit, exact.mean(j))
    near(found, lambda a: a.se(), exact.se(), slack=5 / j)  # order 1/J
    for kind in found.kinds:
        near(found, lambda a, kind=kind: a.reported_se(kind), exact.reported_se(kind), kind, slack=5 / j)
        near(found, lambda a, kind=kind: a.coverage(0.95, kind), exact.coverage(0.95, kind), kind, slack=5 / j)


def test_monte_carlo_errors_are_the_spread_over_repetitions(monkeypatch, small) -> None:
    estimator = registry.create("aggregated", {"se": ["expected"]})

    def measure(a: Asymptotics):
        return np.stack([a.limit, a.se(), a.reported_se(), a.se_ratio(), a.coverage(0.95), a.rejection(0.95)])

    values, errors = [], []
    for seed in range(60):
        monkeypatch.setattr(module, "SEED", seed)
        found = by_large_samples(estimator, MODEL, population(), 50)
        at = found.index("bb")
        values.append(measure(found)[:, at])
        errors.append(found.mcse(measure)[:, at])
    ratio = np.mean(errors, axis=0) / np.std(values, axis=0, ddof=1)
    np.testing.assert_allclose(ratio, 1.0, atol=Z / np.sqrt(2 * 60))  # error of a standard deviation of 60 values


def test_same_bits_whatever_is_computed_beside(monkeypatch, small) -> None:
    heavy = Distribution(LevelDistribution("t", df=8.0), LevelDistribution("t", df=8.0))
    first, other = (replace(population(sizes), distribution=heavy) for sizes in ([5] * 40, [5] * 60))
    estimator = registry.create("msem", {"se": ["expected", "robust"]})
    alone = approximate(estimator, MODEL, other, large_samples=20)
    monkeypatch.setattr(module, "WORKING_SET", 1)
    both = approximate_all(estimator, MODEL, [first, other], large_samples=20)
    assert (both[0].n_clusters, both[1].n_clusters) == (40, 60)
    for found in both:
        np.testing.assert_array_equal(found.limit, alone.limit)
        np.testing.assert_array_equal(found.covariance, alone.covariance)
        np.testing.assert_array_equal(found.errors.joint["robust"], alone.errors.joint["robust"])
    assert (alone.errors.limit, alone.errors.kinds) == (False, ("robust",))
    np.testing.assert_array_equal(alone.limit, approximate(estimator, MODEL, population()).limit)


# ------------------------------------------------------------------------------------------------------ hard situations


class Picky(cases.Plugin):
    """Stops with an error at data sets it does not like, and never converges for others."""

    def prepare(self, model, layout):
        class Inner(cases.Prepared):
            def fit(self, data):
                result = super().fit(data)
                slope = result.estimate[:, list(result.labels).index("bw")]
                if (slope > 0.25).any():
                    raise ValueError("no good")
                return replace(result, status=np.where(slope < 0.16, int(Status.MAX_ITER), result.status))

        return Inner(super().prepare(model, layout).inner, layout)


def test_failures_are_counted(small) -> None:
    plain = by_large_samples(cases.Plugin(), MODEL, population(), 100)
    found = by_large_samples(Picky(), MODEL, population(), 100)
    assert plain.errors.n_failed == 0
    assert 0 < found.errors.n_failed < 50
    assert f"{found.errors.n_failed} of 100 large samples failed" in found.notes[0]
    assert Status.EXCEPTION.message in found.notes[0]
    assert Status.MAX_ITER.message in found.notes[0]
    at = found.index("bw")
    assert 0 < found.se()[at] < plain.se()[at]  # the extremes are gone
    for plugin, said in ((cases.Raises(), "no good"), (cases.NeverConverges(), "100 of 100")):
        nothing = by_large_samples(plugin, MODEL, population(), 100)
        assert np.isnan(nothing.limit).all()
        assert said in nothing.notes[0]


def test_a_boundary_has_no_spread(small) -> None:
    found = by_large_samples(method("mlm_centered"), SLOPES, with_slopes(t11=0.0), 40)
    at = found.index("t11")
    assert np.isnan(found.se()[at])
    assert any("boundary" in note and "t11" in note for note in found.notes)
    assert np.isfinite(found.se()[found.index("bw")])


def test_limits_of_slope_methods_never_come_from_normal_clusters() -> None:
    """There the slopes do not vary, and their variance would be 0."""
    for name, options in (("msem", {}), ("mlm", {}), ("slopes_as_outcomes", {})):
        found = approximate(method(name, **options), SLOPES, with_slopes(), large_samples=0)
        assert np.isnan(found.limit).all()
        assert "large samples" in found.notes[0]


def test_missing_values_are_listwise_deleted_or_used(small) -> None:
    holes = replace(population(), missing=(MissingRule("y", 0.3),))
    whole = approximate(registry.create("msem"), MODEL, population())
    for options in ({}, {"missing": "fiml"}):
        found = approximate(registry.create("msem", options), MODEL, holes, large_samples=12)
        assert found.errors.limit
        assert not found.notes or "failed" in found.notes[0]
        at = found.index("bw")
        assert abs(found.limit[at] - whole.limit[at]) < Z * found.mcse(lambda a: a.limit)[at]  # completely at random
        assert found.se()[at] > 0.8 * whole.se()[at]


DESIGN = """
[study]
name = "slopes"
replications = 10
seed = 1
[model]
syntax = '''
level: within
  y ~ rv("s")*x
level: between
  y ~ bb*x
  s ~ bw*1
prod := bb*bw
'''
[population]
bw = 0.4
bb = 0.8
"between: s ~~ s" = 0.15
variance = 1.0
icc = 0.3
cluster_size = 5
[factors]
n_clusters = [50, 200]
[estimators]
use = ["msem"]
msem = { slopes = "fixed", se = ["expected", "robust"] }
"""


def test_the_table_has_samples_and_their_errors(tmp_path, small) -> None:
    path = tmp_path / "design.toml"
    path.write_text(DESIGN)
    table = simstudy.bias(path, large_samples=20).to_frame()
    rows = table[table["parameter"] == "bw"].set_index(["cell", "se_kind", "measure"])
    assert rows.loc[(0, "expected", "bias"), "method_of_calculation"] == "asymptotic"
    assert rows.loc[(0, "expected", "mean_se"), "method_of_calculation"] == "asymptotic"
    for kind, measure in (("robust", "mean_se"), ("expected", "se_ratio"), ("robust", "coverage")):
        row = rows.loc[(0, kind, measure)]
        assert (row["method_of_calculation"], row["n"], row["n_attempted"]) == ("large_samples", 20, 20)
        assert 0 < row["mcse"] < row["value"]
    halves = rows.loc[(0, "robust", "empirical_se"), "mcse"] / rows.loc[(1, "robust", "empirical_se"), "mcse"]
    assert halves == pytest.approx(2.0)  # SE and its error fall with sqrt J
    none = simstudy.bias(path, large_samples=0).to_frame()
    assert none.loc[none["measure"] == "empirical_se", "value"].isna().all()
    assert not (none["method_of_calculation"] == "large_samples").any()
    with pytest.raises(SimstudyError, match="large_samples: found -1"):
        simstudy.bias(path, large_samples=-1).to_frame()


# -------------------------------------------------------------------------------------------------------- closed forms


def test_slopes_taken_as_fixed_have_the_exact_spread() -> None:
    """Theory D2.6: the pooled within slope's variance at this J, and deff 1 + n rho_s of its SE."""
    found = approximate(method("msem", slopes="fixed", se=["expected", "robust"]), SLOPES, with_slopes())
    at, j = found.index("bw"), found.errors.n_clusters
    df = j * (N - 1)
    exact = ERROR / (SIGMA2 * (df - 2)) + T11 * (N + 1) / (df + 2)
    deff = 1 + N * T11 * SIGMA2 / (ERROR + T11 * SIGMA2)
    near(found, lambda a: np.where(np.arange(10) == at, a.se(j), np.nan), np.sqrt(exact))
    for kind, ratio in (("expected", deff**-0.5), ("robust", 1.0)):
        near(
            found,
            lambda a, kind=kind: np.where(np.arange(10) == at, a.se_ratio(kind), np.nan),
            ratio,
            kind,
            slack=5 / j,  # order 1/J
        )


@pytest.mark.slow
def test_aggregated_slope_where_slopes_vary() -> None:
    """Theory D2.6: exact variance at this J; the limit of J times the OLS variance."""
    found = approximate(method("aggregated", se=["expected"]), SLOPES, with_slopes())
    at, j, share = found.index("bb"), found.errors.n_clusters, TAU2 / (TAU2 + SIGMA2 / N)
    omega = TAU2 + SIGMA2 / N
    v0 = T00 + ERROR / N + ((BETA - GAMMA) ** 2 + T11) * TAU2 * (1 - share)
    extra = T11 * (1 - share) ** 2
    exact = v0 / (omega * (j - 3)) + extra * (1 / (j * (j - 3)) + 3 * (j - 1) / (j * (j + 1)))
    near(found, lambda a: np.where(np.arange(10) == at, a.se(j), np.nan), np.sqrt(exact))
    assert found.reported_se("expected", 1)[at] ** 2 == pytest.approx(v0 / omega + extra, rel=1e-6)
    assert found.limit[at] == pytest.approx(share * BETA + (1 - share) * GAMMA, abs=1e-8)


@pytest.mark.slow
def test_centred_random_slope_model() -> None:
    """Theory D2.2: everything exact but the between slope and T00."""
    found = approximate(method("mlm_centered"), SLOPES, with_slopes())
    exact = np.full(10, np.nan)
    for label, value in (("bw", GAMMA), ("bb", 0.672727), ("t01", T01), ("t11", T11), ("within: y ~~ y", ERROR),
                         ("between: y ~~ y", 0.336273)):  # fmt: skip
        exact[found.index(label)] = value
    assert found.errors.limit
    near(found, lambda a: a.limit, exact, slack=2 / found.errors.n_clusters)  # order 1/J


@pytest.mark.slow
def test_maximum_likelihood_of_the_true_model_reports_its_spread() -> None:
    found = approximate(
        method("msem", OBSERVED, slopes="observed", se=["observed", "robust"]), OBSERVED, with_slopes(OBSERVED)
    )
    near(found, lambda a: a.limit, found.truth, slack=2 / found.errors.n_clusters)  # order 1/J
    for kind in found.kinds:
        near(found, lambda a, kind=kind: a.se_ratio(kind), 1.0, kind, slack=5 / found.errors.n_clusters)


@pytest.mark.slow
def test_heavy_tails_need_robust_errors() -> None:
    tails = Distribution(LevelDistribution("t", df=8.0), LevelDistribution("t", df=8.0))
    found = approximate(
        registry.create("msem", {"se": ["expected", "robust"]}), MODEL, replace(population(), distribution=tails)
    )
    near(
        found, lambda a: a.se_ratio("robust"), 1.0, "robust", slack=10 / found.errors.n_clusters
    )  # kurtosis: order 1/J
    for label in ("bw", "within: y ~~ y", "within: x ~~ x"):
        at = found.index(label)
        error = found.mcse(lambda a: a.se_ratio("expected"), "expected")[at]
        assert found.se_ratio("expected")[at] < 1 - 2 * error
