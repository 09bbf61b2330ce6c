"""What follows from a fit: residuals, R-squared, standardised solution, fit of one level."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from simstudy.analysis.derived import r_squared, residuals, standardized
from simstudy.analysis.fit import fit
from simstudy.analysis.level_fit import level_fit
from simstudy.analysis.result import FitRecord
from simstudy.errors import EstimatorError
from simstudy.model.implied import TwoLevelStructure

FULL = """
level: within
  m ~ aw*x
  y ~ bw*m + w
level: between
  m ~ ab*x
  y ~ bb*m + z
ind_w := aw*bw
ind_b := ab*bb
"""
FACTORS = "level: within\n f =~ x + m + y\n f ~ w\nlevel: between\n g =~ x + m + y\n g ~ z"


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    """x, m, y on both levels; w within and z between only; 80 unequal clusters."""
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(80), rng.integers(3, 9, size=80))
    u = rng.normal(size=(80, 4))
    w = rng.normal(size=len(g)) + 1.0
    x = 0.8 * u[g, 0] + rng.normal(size=len(g)) + 0.3 * w
    m = 0.5 * x + 0.3 * u[g, 0] + 0.6 * u[g, 1] + rng.normal(size=len(g))
    y = 0.4 * m + 0.2 * x + 0.3 * w + 0.3 * u[g, 1] + 0.6 * u[g, 2] + 0.4 * u[g, 3] + rng.normal(size=len(g))
    return pd.DataFrame({"g": g, "x": x, "m": m, "y": y, "w": w, "z": u[g, 3]})


def with_gaps(data: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(12)
    gaps = data.copy()
    for name in ("x", "m", "y", "w"):
        gaps.loc[rng.uniform(size=len(gaps)) < 0.1, name] = np.nan
    gaps.loc[gaps["g"] < 5, "z"] = np.nan
    return gaps


@pytest.fixture(scope="module")
def fits(data) -> dict[str, FitRecord]:
    return {
        "paths": fit(FULL, data, cluster="g", se="observed"),
        "factors": fit(FACTORS, data, cluster="g", se="observed"),
        "missing": fit(FULL, with_gaps(data), cluster="g", se="observed", missing="fiml"),
    }


# ---------------------------------------------------------------------- residuals


@pytest.mark.parametrize("name", ["paths", "factors", "missing"])
def test_residuals_are_unrestricted_minus_implied_moments(fits, name) -> None:
    found = fits[name]
    table = residuals(found)
    assert list(table.columns) == ["level", "lhs", "rhs", "observed", "implied", "residual"]
    np.testing.assert_array_equal(table["residual"], table["observed"] - table["implied"])
    mu, within, between = TwoLevelStructure(found.model).moments(found.params)
    names = found.model.variables
    for level, sigma in (("within", within), ("between", between)):
        own = table[(table["level"] == level) & (table["rhs"] != "")]
        p = len(found.model.observed(level))
        assert len(own) == p * (p + 1) // 2
        for row in own.itertuples():
            assert row.implied == sigma[names.index(row.lhs), names.index(row.rhs)]
    means = table[table["rhs"] == ""].set_index("lhs")
    assert sorted(means.index) == sorted(names)  # once each
    # w lives within alone, so its mean stands there
    assert means.loc["w", "level"] == "within"
    assert (means.drop("w")["level"] == "between").all()
    for variable in names:
        assert means.loc[variable, "implied"] == mu[names.index(variable)]


def test_observed_moments_are_those_of_a_saturated_model(data, fits) -> None:
    """All covariances free, written by hand."""
    saturated = fit(
        "level: within\n x ~~ m + y + w\n m ~~ y + w\n y ~~ w\nlevel: between\n x ~~ m + y + z\n m ~~ y + z\n y ~~ z",
        data,
        cluster="g",
    )
    assert saturated.measures["df"] == 0
    table = residuals(fits["paths"])
    rows = {(r.level, *sorted((r.lhs, r.rhs))): r.est for r in saturated.parameters.itertuples()}
    for row in table.itertuples():
        # both fits stop within 1e-6 SE, SEs of .1
        assert row.observed == pytest.approx(rows[row.level, *sorted((row.lhs, row.rhs))], abs=1e-6)
    assert residuals(saturated)["residual"].abs().max() < 1e-6


def test_what_a_model_does_not_restrict_has_no_residual(data) -> None:
    """A chain x -> m -> y saturates (x, m) and (m, y) at either level; x with y is what it leaves out."""
    found = fit("level: within\n m ~ x\n y ~ m\nlevel: between\n m ~ x\n y ~ m", data, cluster="g")
    table = residuals(found)
    size = table.set_index(["level", "lhs", "rhs"])["residual"].abs()
    for level in ("within", "between"):
        cross = size.get((level, "x", "y"), size.get((level, "y", "x")))
        assert cross > 0.02
        # the levels share information, so that the other residuals are near 0, not 0
        assert (size[level].drop([("x", "y"), ("y", "x")], errors="ignore") < 0.3 * cross).all()


# ---------------------------------------------------------------------- R-squared


@pytest.mark.parametrize("name", ["paths", "factors", "missing"])
def test_r_squared_is_the_explained_share_of_the_implied_variance(fits, name) -> None:
    found = fits[name]
    table = r_squared(found)
    expected = {
        "paths": {("m", "within"), ("y", "within"), ("m", "between"), ("y", "between")},
        "factors": {(v, level) for v in ("x", "m", "y") for level in ("within", "between")}
        | {("f", "within"), ("g", "between")},
    }
    assert set(zip(table["variable"], table["level"], strict=True)) == expected.get(name, expected["paths"])
    structure = TwoLevelStructure(found.model)
    for row in table.itertuples():
        level = structure.within if row.level == "within" else structure.between
        variances = dict(zip(level.maps.variables, np.diag(level.implied(found.params).cov), strict=True))
        at = found.parameters[(found.parameters["op"] == "~~") & (found.parameters["level"] == row.level)]
        residual = at[(at["lhs"] == row.variable) & (at["rhs"] == row.variable)]["est"].iloc[0]
        assert row.r2 == pytest.approx(1.0 - residual / variances[row.variable], rel=1e-12)  # rounding


def test_r_squared_of_a_slope_alone_is_a_squared_correlation(data) -> None:
    found = fit("level: within\n y ~ x\nlevel: between\n y ~ x", data, cluster="g")
    moments = residuals(found).set_index(["level", "lhs", "rhs"])["observed"]
    table = r_squared(found).set_index(["variable", "level"])["r2"]
    for level in ("within", "between"):
        cov = moments[level]
        cross = cov.get(("x", "y"), cov.get(("y", "x")))
        expected = cross**2 / (cov["x", "x"] * cov["y", "y"])
        assert table["y", level] == pytest.approx(expected, abs=1e-7)  # a saturated model: both at one maximum


# ---------------------------------------------------------------------- standardised solution


@pytest.mark.parametrize("name", ["paths", "factors", "missing"])
def test_standardised_solution_is_that_of_standardised_variables(fits, name) -> None:
    """Implied correlations follow from standardised parameters as covariances do from raw ones."""
    found = fits[name]
    table = standardized(found)
    assert list(table["lhs"]) == list(found.parameters["lhs"])
    structure = TwoLevelStructure(found.model)
    params = np.full(len(found.params), np.nan)
    for row, value in zip(found.model.table.rows, table["est"], strict=False):
        if row.free >= 0:
            params[row.free] = value
    if name == "factors":
        rows = {(r.level, r.lhs, r.op, r.rhs): r.est for r in table.itertuples()}
        for level, factor in (("within", "f"), ("between", "g")):
            for indicator in ("x", "m", "y"):
                loading = rows[level, factor, "=~", indicator]
                unique = rows[level, indicator, "~~", indicator]
                assert loading**2 + unique == pytest.approx(1.0, abs=1e-12)  # rounding
        return
    own = structure.within.implied(params).cov, structure.between.implied(params).cov
    raw = structure.within.implied(found.params).cov, structure.between.implied(found.params).cov
    for scaled, cov in zip(own, raw, strict=True):
        # the model's exogenous covariances (none here but w ~~ x) are correlations already
        sd = np.sqrt(np.diag(cov))
        np.testing.assert_allclose(scaled, cov / np.outer(sd, sd), rtol=0, atol=1e-12)  # rounding


def test_standardised_defined_parameters_use_standardised_values(fits) -> None:
    rows = standardized(fits["paths"]).set_index("label")["est"]
    assert rows["ind_w"] == pytest.approx(rows["aw"] * rows["bw"], rel=1e-13)
    assert rows["ind_b"] == pytest.approx(rows["ab"] * rows["bb"], rel=1e-13)


def test_standardised_standard_errors_follow_from_another_parametrisation(data) -> None:
    """x and y scaled to unit implied variance: a correlation, whose SE lavaan and Fisher know."""
    found = fit("level: within\n y ~ w\nlevel: between\n y ~~ y", data.drop(columns=["x"]), cluster="g", se="expected")
    row = standardized(found).set_index(["lhs", "op", "rhs", "level"]).loc["y", "~", "w", "within"]
    # by the delta method from slope, residual variance and variance of w, all within
    names = ["within: y ~ w", "within: y ~~ y", "within: w ~~ w"]
    at = [found.model.names.index(name) for name in names]
    b, residual, variance = found.params[at]
    total = b * b * variance + residual

    def correlation(point: np.ndarray) -> float:
        return float(point[0] * np.sqrt(point[2] / (point[0] ** 2 * point[2] + point[1])))

    gradient = np.array(
        [
            np.sqrt(variance / total) * (1 - b * b * variance / total),
            -0.5 * b * np.sqrt(variance) / total**1.5,
            0.5 * b / np.sqrt(variance * total) * (1 - b * b * variance / total),
        ]
    )
    assert row["est"] == pytest.approx(correlation(found.params[at]), rel=1e-12)
    cov = found.covariance[np.ix_(at, at)]
    # the Jacobian is differenced with step 1e-5: 1e-10
    assert row["se"] == pytest.approx(np.sqrt(gradient @ cov @ gradient), rel=1e-7)
    assert row["z"] == pytest.approx(row["est"] / row["se"], rel=1e-12)


def test_standardised_solution_does_not_depend_on_units(data, fits) -> None:
    scaled = data.assign(x=data["x"] * 10 + 3, y=data["y"] / 7, z=-data["z"])
    found = standardized(fit(FULL, scaled, cluster="g", se="observed"))
    table = standardized(fits["paths"])
    sign = np.where((table["rhs"] == "z") & (table["op"] == "~"), -1.0, 1.0)
    slopes = (table["op"] == "~").to_numpy()
    np.testing.assert_allclose(found["est"][slopes], (sign * table["est"])[slopes], rtol=0, atol=1e-6)  # 1e-6 SE
    np.testing.assert_allclose(found["se"][slopes], table["se"][slopes], rtol=1e-4)  # differenced at another scale


# ---------------------------------------------------------------------- fit of one level


def test_fit_of_one_level_is_a_model_with_the_other_saturated(data, fits) -> None:
    table = level_fit(fits["paths"]).set_index("level")
    saturated_between = "x ~~ m + y + z\n m ~~ y + z\n y ~~ z"
    saturated_within = "x ~~ m + y + w\n m ~~ y + w\n y ~~ w"
    own_within = "m ~ aw*x\n y ~ bw*m + w"
    own_between = "m ~ ab*x\n y ~ bb*m + z"
    texts = {
        "within": f"level: within\n {own_within}\nlevel: between\n {saturated_between}",
        "between": f"level: within\n {saturated_within}\nlevel: between\n {own_between}",
    }
    for level, text in texts.items():
        expected = fit(text, data, cluster="g").measures
        for name in ("chisq", "df", "pvalue"):
            assert table.loc[level, name] == pytest.approx(expected[name], abs=1e-6), name  # both at one maximum
        shrink = np.sqrt(data["g"].nunique() / len(data)) if level == "between" else 1.0  # clusters are its units
        for name in ("rmsea", "rmsea_ci_lower", "rmsea_ci_upper"):
            assert table.loc[level, name] * shrink == pytest.approx(expected[name], abs=1e-6), name
        assert table.loc[level, "srmr"] == pytest.approx(expected[f"srmr_{level}"], abs=1e-6)
        # CFI against independence at this level, the other saturated
        names = ["x", "m", "y", "w" if level == "within" else "z"]
        own = {"x", names[-1]}  # the exogenous variables, whose covariance is free in the baseline model
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        base = "\n".join(f" {a} ~~ {'' if {a, b} == own else '0*'}{b}" for a, b in pairs)
        other = f" {saturated_between}" if level == "within" else f" {saturated_within}"
        within, between = (base, other) if level == "within" else (other, base)
        independence = fit(f"level: within\n{within}\nlevel: between\n{between}", data, cluster="g").measures
        excess = max(expected["chisq"] - expected["df"], 0.0)
        of_base = independence["chisq"] - independence["df"]
        assert table.loc[level, "cfi"] == pytest.approx(1.0 - excess / of_base, abs=1e-7)
        ratio = independence["chisq"] / independence["df"]
        tli = (ratio - expected["chisq"] / expected["df"]) / (ratio - 1.0)
        assert table.loc[level, "tli"] == pytest.approx(tli, abs=1e-7)


def test_levels_tied_by_labels_or_constraints_have_no_fit_of_their_own(data) -> None:
    for text in ("level: within\n m ~ a*x\nlevel: between\n m ~ a*x", FULL + "aw + ab == 1"):
        table = level_fit(fit(text, data, cluster="g"))
        assert list(table["level"]) == ["within", "between"]
        assert table.drop(columns="level").isna().all(axis=None)


def test_fit_of_one_level_with_missing_values(fits) -> None:
    table = level_fit(fits["missing"]).set_index("level")
    # the levels add up but for their share of information
    assert table["chisq"].sum() == pytest.approx(fits["missing"].measures["chisq"], rel=0.1)
    assert (table["df"] > 0).all()


# ---------------------------------------------------------------------- without a solution


@pytest.mark.parametrize("function", [residuals, r_squared, standardized, level_fit])
def test_nothing_follows_from_a_fit_without_a_solution(data, function) -> None:
    partial = fit("level: within\n m ~ x\nlevel: between\n m ~ x", data, cluster="g", estimator="aggregated")
    with pytest.raises(EstimatorError, match="does not estimate the whole two-level model; use msem"):
        function(partial)
    declined = fit(FACTORS + "\n x ~~ c*x\n c + c == 1", data, cluster="g", estimator="mlm")
    assert not declined.converged
    with pytest.raises(EstimatorError, match="did not converge"):
        function(declined)
