"""Every method, and methods from elsewhere, fed the population's moments."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import asymptotics_cases as cases
import numpy as np
import pytest
from asymptotics_cases import BALANCED, MODEL, UNEQUAL, population

from simstudy.asymptotics import approximate, approximate_all
from simstudy.data.layout import ClusterLayout
from simstudy.estimation.result import Status
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.distributions import Distribution, LevelDistribution
from simstudy.population.missing import MissingRule
from simstudy.population.population import Population

FAMILIES = tomllib.loads((Path(__file__).parents[1] / "model" / "families.toml").read_text())
SIZES = {"balanced": BALANCED, "unequal": UNEQUAL}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", registry.names())
def test_every_registered_method(name, sizes) -> None:
    """Numbers for every parameter it reports, or a reason."""
    estimator = registry.create(name)
    found = approximate(estimator, MODEL, population(sizes))
    reason = estimator.supports(MODEL, ClusterLayout.of(sizes))
    if reason is not None:
        assert found.status is Status.NOT_SUPPORTED
        assert found.notes == (reason,)
        return
    assert found.status is Status.OK
    assert found.notes == ()
    spoken = np.isfinite(found.limit)
    assert spoken[[found.index("bw"), found.index("bb")]].any()
    assert tuple(found.reported) == estimator.se_kinds
    variance = np.diag(found.covariance)
    assert np.all(variance[spoken] >= 0)
    assert np.all(np.isnan(variance[~spoken]))
    # a covariance matrix: no negative eigenvalue beyond rounding of the largest
    some = found.covariance[np.ix_(spoken, spoken)]
    assert np.linalg.eigvalsh(some)[0] > -1e-9 * variance[spoken].max()
    for cov in found.reported.values():
        assert np.isfinite(np.diag(cov)[spoken]).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "sizes"),
    [(name, [1, 2, 9] * 20) for name in FAMILIES if name != "factors"]
    + [(name, [5] * 60) for name in ("contextual", "factors_two_within_one_between", "latent_means")],
)
def test_information_equality(family, sizes) -> None:
    """ML of a true model: delta-method covariance = inverse information = sandwich, for any model (White 1982).

    The covariance comes from derivatives of estimates, the others from derivatives of the likelihood.
    """
    model = TwoLevelModel.from_syntax(FAMILIES[family]["syntax"])
    values = tuple(float(FAMILIES[family]["values"][name]) for name in model.names)
    estimator = registry.create("msem", {"se": ["expected", "observed", "robust"]})
    found = approximate(estimator, model, Population(model, values, ClusterLayout.of(sizes), "key"))
    assert found.notes == ()
    np.testing.assert_allclose(found.bias, 0.0, atol=1e-8)
    scale = np.sqrt(np.outer(np.diag(found.covariance), np.diag(found.covariance)))
    for kind, cov in found.reported.items():
        # 1e-6 is asked for; finite differences and J = 10^7 leave 1e-8
        np.testing.assert_allclose(cov / scale, found.covariance / scale, atol=1e-7, err_msg=kind)


# -------------------------------------------------------------------------------------------------- methods elsewhere


@pytest.mark.slow
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("plugin", [cases.AsksForSizes, cases.AsksForSizesLate, cases.NeedsClusters, cases.NeedsRows])
def test_other_ways_to_the_same_limit(plugin, sizes) -> None:
    one = approximate(registry.create("mlm_centered", {"likelihood": "ml"}), MODEL, population(sizes))
    other = approximate(plugin(), MODEL, population(sizes))
    assert other.notes == ()
    np.testing.assert_allclose(other.limit, one.limit, atol=1e-8)
    # finite sets of clusters: extrapolation leaves an error of order 1 / J^2, differences a coarser step's
    np.testing.assert_allclose(other.covariance, one.covariance, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(other.reported["expected"], one.reported["expected"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(other.second_order, one.second_order, rtol=1e-2, atol=1e-3)


def test_readme_plugin() -> None:
    """The method of the README: the limit and variance of theory B3's within slope."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    code = text.split("```python\n# fixed_effects.py\n")[1].split("```")[0]
    space: dict[str, object] = {"__name__": "fixed_effects"}
    exec(compile(code, "fixed_effects.py", "exec", dont_inherit=True), space)  # the README's own code
    found = approximate(cases.completed(space["FixedEffects"])(), MODEL, population(UNEQUAL))
    i, spare = found.index("bw"), np.mean(UNEQUAL) - 1
    assert found.limit[i] == pytest.approx(0.2, abs=1e-8)
    assert found.covariance[i, i] == pytest.approx(0.8 / (0.8 * spare), rel=1e-6)
    assert found.se_ratio()[i] == pytest.approx(1.0, rel=1e-6)


def test_finite_divisors_are_extrapolated_away_and_reported() -> None:
    plain, shrunk = (approximate(plugin, MODEL, population()) for plugin in (cases.Plugin(), cases.Shrinks()))
    np.testing.assert_allclose(shrunk.limit, plain.limit, atol=1e-8)
    np.testing.assert_allclose(shrunk.second_order, plain.second_order - plain.limit, atol=1e-4)  # (1 - 1/J) limit


def test_estimates_that_are_no_function_of_sums_are_refused() -> None:
    found = approximate(cases.UsesMedians(), MODEL, population())
    assert np.isnan(found.limit).all()
    assert "more than the sufficient statistics" in found.notes[0]


@pytest.mark.parametrize(
    ("plugin", "status", "said"),
    [
        (cases.Raises, Status.EXCEPTION, "ValueError: no good"),
        (cases.RaisesInSupports, Status.EXCEPTION, "ValueError: no idea"),
        (cases.NeverConverges, Status.MAX_ITER, "no convergence"),
    ],
)
def test_failures_are_data(plugin, status, said) -> None:
    found = approximate(plugin(), MODEL, population())
    assert found.status is status
    assert said in found.notes[0]
    for array in (found.limit, found.se(), found.reported_se(), found.coverage(0.95), found.mean()):
        assert np.isnan(array).all()
    np.testing.assert_array_equal(found.truth[:2], [0.2, 0.8])


def test_methods_with_robust_errors_have_a_variant_on_sums() -> None:
    assert registry.create("msem", {"se": ["expected", "robust"]}).on_sums().se == ("expected",)
    assert registry.create("aggregated", {"se": ["robust"]}).on_sums().se == ("expected",)
    assert registry.create("mlm").on_sums().name == "mlm"
    assert registry.create("msem", {"missing": "fiml"}).on_sums() is None
    assert cases.NeedsClusters().on_sums() is None
    fixed = cases.OnlyRobust().on_sums()
    assert (fixed.se, fixed.needs, cases.OnlyRobust().se) == (("expected",), "statistics", ("robust",))


@pytest.mark.slow
def test_rows_and_sums_agree_for_msem() -> None:
    """Full information on complete rows is the same method."""
    sums, rows = (
        approximate(
            registry.create("msem", {"se": ["observed", "robust"], "missing": how}), MODEL, population([3] * 20)
        )
        for how in ("listwise", "fiml")
    )
    np.testing.assert_allclose(rows.limit, sums.limit, atol=1e-8)
    np.testing.assert_allclose(rows.covariance, sums.covariance, rtol=1e-6, atol=1e-6)
    for kind in ("observed", "robust"):
        np.testing.assert_allclose(rows.reported[kind], sums.reported[kind], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["em", "fiml_wide"])
def test_other_algorithms_for_the_same_maximum(name) -> None:
    """`em` takes sums, `fiml_wide` rows: both are `msem` by other means."""
    options = {"se": ["expected", "robust"]}
    one, other = (approximate(registry.create(n, options), MODEL, population([2, 3] * 9)) for n in ("msem", name))
    np.testing.assert_allclose(other.limit, one.limit, atol=1e-8)
    scale = np.abs(one.covariance).max()
    np.testing.assert_allclose(other.covariance / scale, one.covariance / scale, atol=1e-7)
    for kind, cov in one.reported.items():
        np.testing.assert_allclose(other.reported[kind] / scale, cov / scale, atol=1e-7, err_msg=kind)


# ------------------------------------------------------------------------------------------------------ hard situations


def test_unidentified_limit_says_so() -> None:
    found = approximate(registry.create("msem"), MODEL, population(**{"between:_x_~~_x": 0.0, "bb": 0.0}))
    assert found.status is Status.SINGULAR_INFORMATION
    assert "not identified" in found.notes[0]


def test_a_variance_at_its_boundary_has_no_derivative() -> None:
    at_zero = population(**{"between:_y_~~_y": 0.0, "bb": 0.2})
    found = approximate(registry.create("mlm"), MODEL, at_zero)
    i = found.index("between: y ~~ y")
    assert found.limit[i] == pytest.approx(0.0, abs=1e-8)
    assert np.isnan(found.se()[i])
    assert "boundary" in found.notes[0]
    assert np.isfinite(found.se()[found.index("bw")])  # the slope does not care
    near = approximate(registry.create("mlm"), MODEL, population(**{"between:_y_~~_y": 1e-4, "bb": 0.2}))
    assert near.notes == ()


def test_other_distributions_have_the_same_limits_but_no_true_errors() -> None:
    heavy = replace(
        population(), distribution=Distribution(LevelDistribution("t", df=6.0), LevelDistribution("t", df=6.0))
    )
    normal = approximate(registry.create("msem", {"se": ["expected", "robust"]}), MODEL, population())
    found = approximate(registry.create("msem", {"se": ["expected", "robust"]}), MODEL, heavy, large_samples=0)
    np.testing.assert_array_equal(found.limit, normal.limit)
    np.testing.assert_array_equal(found.reported["expected"], normal.reported["expected"])
    assert np.isnan(found.covariance).all()
    assert np.isnan(found.reported["robust"]).all()
    assert "fourth moments" in found.notes[0]


def test_missing_values_are_refused() -> None:
    holes = replace(population(), missing=(MissingRule("y", 0.2),))
    found = approximate(registry.create("mlm"), MODEL, holes, large_samples=0)
    assert np.isnan(found.limit).all()
    assert "missing" in found.notes[0]


@pytest.mark.slow
def test_many_populations_at_once_are_what_they_are_alone() -> None:
    several = [
        population([5] * 30),
        population([5] * 90),
        population([5] * 30, bb=0.4),
        population(UNEQUAL),
        population([7] * 9),
    ]
    for name in ("mlm", "msem"):
        together = approximate_all(registry.create(name), MODEL, several)
        for one, alone in zip(together, [approximate(registry.create(name), MODEL, p) for p in several], strict=True):
            np.testing.assert_array_equal(one.limit, alone.limit)
            np.testing.assert_array_equal(one.covariance, alone.covariance)
            np.testing.assert_array_equal(one.reported["expected"], alone.reported["expected"])
        assert [one.n_clusters for one in together] == [30, 90, 30, 40, 9]
        assert together[0].se(90) == pytest.approx(together[1].se(), nan_ok=True)


def test_intervals_for_any_number_of_clusters() -> None:
    """Power at truth 0 is the level; coverage of an unbiased method with right SEs is nominal; both at any J."""
    found = approximate(registry.create("msem"), MODEL, population(bb=0.0))
    i = found.index("bb")
    for j in (20, 200, 20_000):
        assert found.rejection(0.95, n_clusters=j)[i] == pytest.approx(0.05, abs=1e-7)  # SE ratio is 1 to 1e-8
        assert found.coverage(0.95, n_clusters=j)[i] == pytest.approx(0.95, abs=1e-7)
        assert found.width(0.95, n_clusters=j)[i] == pytest.approx(2 * 1.959964 * found.se(j)[i], rel=1e-6)
