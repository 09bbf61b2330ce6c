"""Rescaled units: what ties scales, which shifts a model allows, and what follows from a fit in them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from simstudy.analysis.derived import residuals, standardized
from simstudy.analysis.fit import fit
from simstudy.analysis.level_fit import level_fit
from simstudy.analysis.nested import slope_variance_test
from simstudy.analysis.result import FitRecord
from simstudy.analysis.scores import factor_scores
from simstudy.analysis.unit_rules import own_intercepts, scales_of, shifts_of
from simstudy.errors import DataError
from simstudy.model.twolevel import TwoLevelModel

# Values are rounded at 1e-8 of their SD where they were shifted by 1e8 SDs.
ROUNDED = 1e-6
# Changes of scale alone: two optimisers' stops.
STOP = 1e-6


def two_levels(text: str, within: str = "") -> TwoLevelModel:
    return TwoLevelModel.from_syntax(f"level: within\n{within}\nlevel: between\n{text}")


def scales(within: str, between: str, **logs: float) -> dict[str, float]:
    return scales_of(two_levels(between, within), logs)


def test_scales_follow_each_variable_where_nothing_ties_them() -> None:
    found = scales("y ~ x", "y ~ x + w", y=20.2, x=-7.4, w=3.0)
    assert found == {"y": 20.0, "x": -7.0, "w": 3.0}


def test_markers_keep_their_loading_and_other_items_their_own_scale() -> None:
    found = scales("f =~ y1 + y2 + 1*y3", "g =~ y1 + y2", y1=10.0, y2=-5.0, y3=20.0)
    assert found == {"f": 15.0, "g": 15.0, "y1": 15.0, "y2": -5.0, "y3": 15.0}  # y1, y3: loadings of 1, so one scale
    alike = scales_of(two_levels("g =~ y1 + y2", "f =~ y1 + y2"), {"y1": 10.0, "y2": 0.0}, alike=True)
    assert alike == {"f": 5.0, "g": 5.0, "y1": 5.0, "y2": 5.0}


def test_one_label_is_one_number() -> None:
    assert scales("y ~ b*x + b*z", "y ~~ y", y=9.0, x=4.0, z=8.0) == {"y": 9.0, "x": 6.0, "z": 6.0}
    assert scales("y ~ b*x", "y ~ b*x", y=9.0, x=4.0) == {"y": 9.0, "x": 4.0}  # of both levels: the same change
    residuals = scales("y ~ x\nm ~ x\ny ~~ v*y\nm ~~ v*m", "y ~~ m", y=8.0, m=2.0, x=1.0)
    assert residuals == {"y": 5.0, "m": 5.0, "x": 1.0}
    assert scales("y ~ v*x\ny ~~ v*y", "y ~~ y", y=8.0, x=4.0) == {"y": 0.0, "x": 0.0}  # a path that is a variance


def test_slopes_have_the_scale_of_outcome_over_predictor() -> None:
    assert scales('y ~ rv("s")*x', "y ~~ s", y=9.0, x=4.0) == {"y": 9.0, "x": 4.0, "s": 5.0}


def shifted(within: str, between: str) -> set[str]:
    model = two_levels(between, within)
    found = shifts_of(model, own_intercepts(model), dict.fromkeys(model.variables, 1.0))
    return {name for name, shift in found.items() if shift}


def test_shifts_go_where_an_intercept_takes_them_up() -> None:
    assert shifted("y ~ m + x", "y ~ m + w") == {"y", "m", "x", "w"}
    assert shifted("y ~ m", "y ~ m + w\n y ~ 0*1") == set()  # they would pass through y
    assert shifted("y ~ m", "y ~ m\n z ~ w\n z ~ 0*1") == {"y", "m"}
    assert shifted("y ~ m + x\n m ~ v", "y ~~ m\n m ~ 0*1") == {"y", "x"}
    assert shifted("f =~ y1 + y2\n f ~ x", "g =~ y1 + y2\n g ~ w") == {"y1", "y2", "x", "w"}  # through the factors
    assert shifted("f =~ y1 + y2\n f ~ x", "g =~ y1 + y2\n y1 ~ 0*1\n g ~ w") == {"y2"}
    assert shifted("y ~ x", "y ~ x\n y ~ i*1\n x ~ i*1") == set()  # one intercept of two variables


# ---------------------------------------------------------------------- models that constrain


def items(seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(60), 6)
    x, w = rng.normal(size=len(g)), rng.normal(size=60)
    within = 0.5 * x + rng.normal(size=len(g))
    between = (0.5 * w + 0.7 * rng.normal(size=60))[g]
    noise = rng.normal(size=(len(g), 3))
    columns = {f"y{k + 1}": within + between + 0.3 * rng.normal(size=60)[g] + 0.7 * noise[:, k] for k in range(3)}
    return pd.DataFrame({"g": g, "x": x, "w": w[g], **columns})


CONSTRAINED = {
    "equal loadings": "level: within\n f =~ y1 + a*y2 + a*y3\nlevel: between\n g =~ y1 + a*y2 + a*y3",
    "fixed loadings": "level: within\n f =~ y1 + 0.9*y2 + 1.1*y3\nlevel: between\n g =~ y1 + 0.9*y2 + 1.1*y3",
    "equal residuals": "level: within\n f =~ y1 + y2 + y3\n y1 ~~ v*y1\n y2 ~~ v*y2\nlevel: between\n g =~ y1+y2+y3",
    "no intercept": "level: within\n y1 ~ x\nlevel: between\n y1 ~ w\n y1 ~ 0*1",
    "a fixed path": "level: within\n y1 ~ x\nlevel: between\n y1 ~ 0.5*w",
    "constraint": "level: within\n y1 ~ a*x\n y2 ~ b*x\nlevel: between\n y1 ~ c*w\n y2 ~ d*w\na*d == b*c",
    "sum": "level: within\n y1 ~ a*y2 + b*y3\nlevel: between\n y1 ~ y2 + w\na + b == 1",
    "a start": "level: within\n y1 ~ start(0.4)*x\nlevel: between\n y1 ~ start(0.3)*w\n y1 ~ start(0.1)*1",
    "a bound": "level: within\n y1 ~ lower(0.6)*x\nlevel: between\n y1 ~ w",
    "an inequality": "level: within\n y1 ~ a*x\n y2 ~ b*x\nlevel: between\n y1 ~ w\n y2 ~ w\na + b < 0.9",
    "unit variances": "level: within\n f =~ NA*y1 + y2 + y3\n f ~~ 1*f\nlevel: between\n y1 ~~ y2\n y3 ~~ y1 + y2",
    "bounds": "level: within\n y1 ~ x\nlevel: between\n y1 ~ w",
}


QUICK = ("equal loadings", "no intercept", "constraint")


@pytest.mark.parametrize("unit", [1e-8, 1e8])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in CONSTRAINED]
)
def test_a_constrained_model_stays_the_same_model(name: str, unit: float) -> None:
    """All variables times one number: fixed and equal paths are free of units, variances are in their square."""
    data = items()
    names = [column for column in data if column != "g"]
    bounds = "variances" if name == "bounds" else None
    text = CONSTRAINED[name]
    factor = {"~1": unit, "~~": unit**2, "~": 1.0, "=~": 1.0}
    if name == "unit variances":  # loadings carry the unit
        factor |= {"=~": unit}
    plain = fit(text, data, cluster="g", bounds=bounds)
    found = fit(text, data.assign(**{v: unit * data[v] for v in names}), cluster="g", bounds=bounds)
    assert found.converged
    assert plain.converged
    for ours, theirs in zip(found.parameters.itertuples(), plain.parameters.itertuples(), strict=True):
        k = 1.0 if ours.lhs == ours.rhs == "f" and name == "unit variances" else factor[ours.op]
        size = k * (theirs.se if theirs.se > 0 else 1.0)
        assert abs(ours.est - k * theirs.est) < STOP * size, ours
        assert np.isnan(ours.se) == np.isnan(theirs.se)
        assert np.isnan(ours.se) or abs(ours.se - k * theirs.se) < STOP * size, ours
    assert found.measures["chisq"] == pytest.approx(plain.measures["chisq"], abs=1e-6)  # a difference of 1000s
    count = len(data) * sum(v != "w" for v in plain.model.variables) + 60 * ("w" in plain.model.variables)
    jacobian = count * np.log(unit)  # of a density in these units
    assert found.measures["loglik"] == pytest.approx(plain.measures["loglik"] - jacobian, rel=1e-9)
    assert found.measures["aic"] == pytest.approx(plain.measures["aic"] + 2 * jacobian, rel=1e-9)


# ---------------------------------------------------------------------- what follows from a fit


FACTORS = "level: within\n f =~ y1 + y2 + y3\n f ~ x\nlevel: between\n g =~ y1 + y2 + y3\n g ~ w"
CHANGE = {"y1": (1e8, 0.0), "y2": (1e-5, 7.0), "y3": (1.0, 1e5), "x": (1e-3, 0.0), "w": (1.0, 0.0)}


@pytest.fixture(scope="module")
def pair() -> tuple[FitRecord, FitRecord]:
    data = items()
    other = data.assign(**{v: a * data[v] + c for v, (a, c) in CHANGE.items()})
    return fit(FACTORS, data, cluster="g"), fit(FACTORS, other, cluster="g")


def test_scores_in_the_users_units(pair: tuple[FitRecord, FitRecord]) -> None:
    plain, other = (factor_scores(one) for one in pair)
    for level in ("within", "between"):
        ours, theirs = getattr(other, level), getattr(plain, level)
        for name in ("y1", "y2", "y3", "f" if level == "within" else "g"):
            a, c = CHANGE.get(name, CHANGE["y1"] if name in "fg" else (1.0, 0.0))
            moved = ours[name] - (c if level == "between" else 0.0)
            np.testing.assert_allclose(moved / a, theirs[name], rtol=0, atol=ROUNDED)
            np.testing.assert_allclose(ours[f"{name}_se"] / a, theirs[f"{name}_se"], rtol=0, atol=ROUNDED)


def test_residuals_level_fit_and_standardised_estimates(pair: tuple[FitRecord, FitRecord]) -> None:
    plain, other = pair
    ours, theirs = residuals(other), residuals(plain)
    scale = ours["lhs"].map(lambda v: CHANGE[v][0]) * ours["rhs"].map(lambda v: CHANGE[v][0] if v else 1.0)
    np.testing.assert_allclose(ours["residual"] / scale, theirs["residual"], rtol=0, atol=ROUNDED)
    numbers = ["chisq", "cfi", "tli", "rmsea", "srmr"]
    np.testing.assert_allclose(level_fit(other)[numbers], level_fit(plain)[numbers], rtol=0, atol=1e-5)
    free = plain.parameters["op"] != "~1"
    for column in ("est", "se"):
        np.testing.assert_allclose(
            standardized(other)[column][free], standardized(plain)[column][free], rtol=0, atol=ROUNDED
        )


def test_slopes_intervals_and_tests_of_slopes() -> None:
    """y = u + s x: with x = x0 + c the intercept is that at x = 0, c units away."""
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(50), 8)
    x = rng.normal(size=400)
    y = (0.5 * rng.normal(size=50))[g] + (0.5 + 0.6 * rng.normal(size=50))[g] * x + rng.normal(size=400)
    data = pd.DataFrame({"g": g, "x": x, "y": y})
    text = 'level: within\n y ~ rv("s")*x\nlevel: between\n y ~~ s'
    plain = fit(text, data, cluster="g")
    other = fit(text, data.assign(x=x + 1e6, y=1e6 * y), cluster="g")
    ours, theirs = factor_scores(other).between, factor_scores(plain).between
    np.testing.assert_allclose(ours["s"] / 1e6, theirs["s"], rtol=0, atol=ROUNDED)
    np.testing.assert_allclose(ours["s_se"] / 1e6, theirs["s_se"], rtol=0, atol=ROUNDED)
    np.testing.assert_allclose((ours["y"] + 1e6 * ours["s"]) / 1e6, theirs["y"], rtol=0, atol=ROUNDED)
    test, expected = slope_variance_test(other, "s"), slope_variance_test(plain, "s")
    assert test.statistic == pytest.approx(expected.statistic, abs=1e-5)
    assert test.loglik_random == other.measures["loglik"]
    assert test.loglik_random == pytest.approx(expected.loglik_random - 400 * np.log(1e6), rel=1e-9)


@pytest.mark.parametrize("ci", ["bootstrap", pytest.param("cluster_bootstrap", marks=pytest.mark.slow), "montecarlo"])
def test_intervals_in_the_users_units(ci: str) -> None:
    data = items()
    text = "level: within\n y1 ~ b*x\nlevel: between\n y1 ~ c*w\nproduct := b*c"
    other = data.assign(y1=1e8 * data["y1"], x=1e-8 * data["x"])
    plain, moved = (fit(text, frame, cluster="g", ci=ci, draws=100) for frame in (data, other))
    for column in ("ci_lower", "ci_upper"):
        for label, unit in (("b", 1e16), ("c", 1e8), ("product", 1e24)):
            ours, theirs = (one.parameters.set_index("label")[column][label] for one in (moved, plain))
            assert ours == pytest.approx(unit * theirs, rel=1e-6)  # the same draws; optimisers' stops


@pytest.mark.parametrize(("power", "message"), [(200, "has -?[0-9.e+]+ in row 1"), (-170, "differ by .* less than")])
def test_numbers_that_no_computer_can_square_are_refused(power: int, message: str) -> None:
    data = items()
    data["x"] = data["x"] * 10.0**power
    with pytest.raises(DataError, match=message):
        fit("level: within\n y1 ~ x\nlevel: between\n y1 ~ w", data, cluster="g")


def test_moderate_data_are_fitted_as_they_are() -> None:
    assert fit(FACTORS, items(), cluster="g").context.units is None
