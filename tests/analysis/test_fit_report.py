"""`fit`: its report (table, measures, notes, JSON), what it makes of any order of rows, its errors, and `fit_all`."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from simstudy.analysis.as_dict import fit_as_dict
from simstudy.analysis.fit import fit, fit_all
from simstudy.analysis.result import PARAMETER_COLUMNS, FitRecord
from simstudy.errors import DataError, EstimatorError, ModelError
from simstudy.estimation.result import Status
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

MODEL = """
level: within
  m ~ aw*x
  y ~ bw*m
  y ~~ 0.9*y
level: between
  m ~ ab*x
  y ~ bb*m + c*z
ind_w := aw*bw
ind_b := ab*bb
"""
NEGATIVE = "level: within\n y ~ x\nlevel: between\n y ~~ y\n x ~~ x"


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(60), rng.integers(2, 9, size=60))
    u = rng.normal(size=(60, 4))
    x = u[g, 0] + rng.normal(size=len(g))
    m = 0.4 * x + 0.3 * u[g, 0] + 0.8 * u[g, 1] + rng.normal(size=len(g))
    y = 0.3 * m + 0.3 * u[g, 1] + 0.7 * u[g, 2] + 0.4 * u[g, 3] + rng.normal(size=len(g))
    return pd.DataFrame({"school": [f"s{k}" for k in g], "x": x, "m": m, "y": y, "z": u[g, 3]})


@pytest.fixture(scope="module")
def found(data) -> FitRecord:
    return fit(MODEL, data, cluster="school", se="robust")


def less_than_no_variance(n_clusters: int = 40) -> pd.DataFrame:
    """x varies less between clusters than rows alone would make it."""
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(n_clusters), 4)
    x = rng.normal(size=4 * n_clusters)
    x -= 0.5 * pd.Series(x).groupby(g).transform("mean").to_numpy()
    return pd.DataFrame({"school": g, "x": x, "y": x + rng.normal(size=len(g)) + 0.5 * rng.normal(size=n_clusters)[g]})


# ---------------------------------------------------------------------- the table


def test_a_row_for_every_parameter_and_definition(found) -> None:
    table = found.parameters
    assert tuple(table.columns) == PARAMETER_COLUMNS
    assert len(table) == len(found.model.table.rows) + 2
    assert set(table["level"]) == {"within", "between", ""}
    defined = table[table["op"] == ":="]
    assert list(defined["lhs"]) == ["ind_w", "ind_b"]
    assert list(defined["rhs"]) == ["aw*bw", "ab*bb"]
    assert (defined["level"] == "").all()
    for row, parameter in zip(table.itertuples(), found.model.table.rows, strict=False):
        assert (row.lhs, row.op, row.rhs, row.level) == (parameter.lhs, parameter.op, parameter.rhs, parameter.level)
        assert row.label == parameter.label
        if parameter.free >= 0:
            assert row.est == found.params[parameter.free]
            assert row.se == pytest.approx(np.sqrt(found.covariance[parameter.free, parameter.free]), rel=1e-15)


def test_z_p_and_limits_follow_from_estimate_and_standard_error(data, found) -> None:
    table = found.parameters[found.parameters["free"]]
    np.testing.assert_array_equal(table["z"], table["est"] / table["se"])
    np.testing.assert_allclose(table["pvalue"], 2 * stats.norm.sf(np.abs(table["z"])), rtol=1e-12)
    np.testing.assert_allclose((table["ci_lower"] + table["ci_upper"]) / 2, table["est"], rtol=0, atol=1e-14)
    for level, width in ((0.95, 3.919927969080108), (0.9, 3.289707253902944)):  # 2 z, from tables
        other = fit(MODEL, data, cluster="school", se="robust", ci_level=level).parameters
        other = other[other["free"]]
        np.testing.assert_allclose((other["ci_upper"] - other["ci_lower"]) / other["se"], width, rtol=1e-12)


def test_fixed_parameters_have_an_estimate_and_nothing_else(found) -> None:
    table = found.parameters
    row = table[(table["level"] == "within") & (table["lhs"] == "y") & (table["rhs"] == "y")].iloc[0]
    assert row["est"] == 0.9
    assert row[["se", "z", "pvalue", "ci_lower", "ci_upper"]].isna().all()
    assert not row["free"]
    # within means are 0 by convention
    assert (table[(table["op"] == "~1") & (table["level"] == "within")]["est"] == 0.0).all()


def test_standard_errors_a_method_has_of_its_own(data) -> None:
    """`croon` starts with robust ones and can correct them; `disaggregated_robust` has no choice."""
    default = fit(MODEL, data, cluster="school", estimator="croon")
    corrected = fit(MODEL, data, cluster="school", estimator="croon", se="corrected")
    assert (default.options["se"], corrected.options["se"]) == ("robust", "corrected")
    assert not np.array_equal(default.covariance, corrected.covariance, equal_nan=True)
    np.testing.assert_array_equal(default.params, corrected.params)
    rows = fit(MODEL, data, cluster="school", estimator="disaggregated_robust", se="robust")
    naive = fit(MODEL, data, cluster="school", estimator="disaggregated", se="robust")
    np.testing.assert_array_equal(rows.covariance, naive.covariance)
    with pytest.raises(
        EstimatorError, match=r"has cluster-robust \('robust'\) standard errors only; found se 'observed'"
    ):
        fit(MODEL, data, cluster="school", estimator="disaggregated_robust", se="observed")
    with pytest.raises(EstimatorError, match=r"'croon': option 'se.0': .*\(found 'observed'\)"):
        fit(MODEL, data, cluster="school", estimator="croon", se="observed")
    with pytest.raises(EstimatorError, match=r"'msem': option 'se.0': .*\(found 'corrected'\)"):
        fit(MODEL, data, cluster="school", se="corrected")


def test_caveats_of_a_method_are_notes(data) -> None:
    notes = fit(MODEL, data, cluster="school", estimator="croon").notes
    assert sum("is not consistent" in note for note in notes) == 2  # ab and bb
    assert not any("consistent" in note for note in fit(MODEL, data, cluster="school").notes)


def test_kinds_of_standard_errors(data) -> None:
    fits = {se: fit(MODEL, data, cluster="school", se=se) for se in ("expected", "observed", "robust")}
    default = fit(MODEL, data, cluster="school")
    np.testing.assert_array_equal(default.covariance, fits["expected"].covariance)
    assert default.options["se"] == "expected"
    first, *others = (found.covariance for found in fits.values())
    for other in others:
        assert not np.array_equal(first, other)
        np.testing.assert_allclose(np.sqrt(np.diag(other)), np.sqrt(np.diag(first)), rtol=0.6)
    for found in fits.values():
        np.testing.assert_array_equal(found.params, default.params)


# ---------------------------------------------------------------------- measures, ICC, JSON


def test_measures_are_consistent(data, found) -> None:
    m = found.measures
    free = int((found.parameters["free"] & (found.parameters["op"] != ":=")).sum())
    assert m["npar"] == free
    # left out: y on x at either level, z with m and x, and the fixed residual variance
    assert m["df"] == 4
    assert m["chisq"] == pytest.approx(2 * (m["unrestricted_loglik"] - m["loglik"]), rel=1e-13)
    assert m["rmsea_ci_lower"] <= m["rmsea"] <= m["rmsea_ci_upper"]
    assert found.n_obs == len(data)
    assert found.n_clusters == 60
    assert found.sizes == tuple(sorted(data.groupby("school").size()))
    assert (found.n_patterns, found.n_dropped) == (1, 0)
    assert found.seconds > 0
    plain = fit(MODEL, data, cluster="school").measures
    assert math.isnan(plain["chisq_scaled"])
    assert plain["chisq"] == m["chisq"]


def test_intraclass_correlations_are_those_of_the_unrestricted_model(data, found) -> None:
    free = fit(
        "level: within\n x ~~ m + y\n m ~~ y\nlevel: between\n x ~~ m + y + z\n m ~~ y + z\n y ~~ z",
        data,
        cluster="school",
    ).parameters
    assert set(found.icc) == {"x", "m", "y"}
    for name, value in found.icc.items():
        own = free[(free["lhs"] == name) & (free["rhs"] == name) & (free["op"] == "~~")].set_index("level")["est"]
        assert value == pytest.approx(own["between"] / own.sum(), abs=1e-7)  # both at one maximum


def test_json_has_the_documented_fields_and_no_nan(found) -> None:
    content = fit_as_dict(found)
    text = json.dumps(content, allow_nan=False)  # numpy types and NaN would raise
    assert json.loads(text) == content
    documented = {"estimator", "converged", "admissible", "status", "n_obs", "n_clusters", "loglik", "npar", "chisq"}
    documented |= {
        "df",
        "pvalue",
        "cfi",
        "tli",
        "rmsea",
        "srmr_within",
        "srmr_between",
        "aic",
        "bic",
        "icc",
        "parameters",
    }
    assert documented | {"parameters"} <= set(content)
    fields = {"lhs", "op", "rhs", "level", "label", "est", "se", "z", "pvalue", "ci_lower", "ci_upper"}
    for row, own in zip(content["parameters"], found.parameters.itertuples(), strict=True):
        assert set(row) == fields
        assert row["est"] == own.est
        assert (row["se"] is None) == (not own.free)
    assert content["status"] == "OK"
    assert content["message"] == "converged"
    assert isinstance(content["df"], int)
    assert isinstance(content["converged"], bool)
    assert content["options"]["se"] == "robust"
    assert content["chisq"] == found.measures["chisq"]


@pytest.mark.parametrize("estimator", registry.names())
def test_json_of_every_method(data, estimator) -> None:
    content = fit_as_dict(fit(MODEL.replace("  y ~~ 0.9*y\n", ""), data, cluster="school", estimator=estimator))
    json.dumps(content, allow_nan=False)
    assert content["estimator"] == estimator
    assert content["converged"] == (content["status"] == "OK")
    if not content["converged"]:
        assert content["notes"]


def test_json_of_a_fit_that_failed_has_nulls() -> None:
    data = less_than_no_variance()
    content = fit_as_dict(
        fit("level: within\n y ~ x\nlevel: between\n y ~ x", data, cluster="school", bounds="variances")
    )
    json.dumps(content, allow_nan=False)
    if not content["converged"]:
        assert content["loglik"] is None
        assert all(row["se"] is None for row in content["parameters"])


# ---------------------------------------------------------------------- order and types


def numbers(found: FitRecord) -> np.ndarray:
    return found.parameters[["est", "se"]].to_numpy(dtype=float)


@pytest.mark.parametrize("missing", ["listwise", "fiml"])
def test_any_order_of_rows_and_any_type_of_cluster(data, missing) -> None:
    if missing == "fiml":
        data = data.copy()
        data.loc[data.index[::5], "m"] = np.nan
        data.loc[data["school"] == "s3", "z"] = np.nan
    first = fit(MODEL, data, cluster="school", missing=missing)
    shuffled = data.sample(frac=1.0, random_state=3).reset_index(drop=True)
    codes = pd.factorize(shuffled["school"])[0]
    for cluster in (shuffled["school"], codes, codes * 1.5 - 7, pd.Categorical(shuffled["school"])):
        other = fit(MODEL, shuffled.assign(school=cluster), cluster="school", missing=missing)
        # sums in another order, and starts that round differently: within the optimiser's 1e-6 SE
        np.testing.assert_allclose(numbers(other), numbers(first), rtol=0, atol=1e-7)
        assert other.measures["loglik"] == pytest.approx(first.measures["loglik"], rel=1e-13)
    columns = data[list(reversed(data.columns))].assign(unused="text")
    np.testing.assert_array_equal(
        numbers(fit(MODEL, columns, cluster="school", missing=missing)), numbers(first)
    )  # to the bit


def test_a_model_may_be_given_as_an_object(data, found) -> None:
    model = TwoLevelModel.from_syntax(MODEL)
    np.testing.assert_array_equal(fit(model, data, cluster="school").params, fit(MODEL, data, cluster="school").params)
    factors = "level: within\n f =~ x + m + y\nlevel: between\n g =~ x + m + y"
    scaled = fit(factors, data, cluster="school", std_lv=True)
    marker = fit(factors, data, cluster="school")
    assert scaled.measures["loglik"] == pytest.approx(marker.measures["loglik"], rel=1e-12)
    variances = scaled.parameters[(scaled.parameters["lhs"].isin(["f", "g"])) & (scaled.parameters["op"] == "~~")]
    assert (variances["est"] == 1.0).all()


def test_listwise_deletion_is_deletion(data) -> None:
    gaps = data.copy()
    gaps.loc[gaps.index[::7], "y"] = np.nan
    found = fit(MODEL, gaps, cluster="school")
    assert found.n_dropped == gaps["y"].isna().sum()
    assert found.n_obs == len(data) - found.n_dropped
    assert any(str(found.n_dropped) in note for note in found.notes)
    np.testing.assert_array_equal(numbers(found), numbers(fit(MODEL, gaps.dropna(), cluster="school")))


def test_full_information_reports_patterns_and_observed_standard_errors(data) -> None:
    gaps = data.copy()
    gaps.loc[gaps.index[::7], "y"] = np.nan
    gaps.loc[gaps.index[::11], ["x", "m"]] = np.nan
    found = fit(MODEL, gaps, cluster="school", missing="fiml")
    assert found.n_dropped == 0
    # rows without any level-1 value say nothing
    assert found.n_obs == gaps[["x", "m", "y"]].notna().any(axis=1).sum()
    # seen, y missing, x and m missing, and rows 0, 77, ... with none
    assert found.n_patterns == 4
    assert found.options["se"] == "observed"
    observed = fit(MODEL, gaps, cluster="school", missing="fiml", se="observed")
    np.testing.assert_array_equal(found.covariance, observed.covariance)


def test_rmsea_and_its_interval_count_the_same_rows(data) -> None:
    gaps = data.copy()
    gaps.loc[gaps.index[::3], ["x", "m", "y"]] = np.nan
    gaps["y"] += gaps.groupby("school")["x"].transform("mean")  # c' is left out, so that the model misfits
    found = fit(MODEL, gaps, cluster="school", missing="fiml").measures
    used = int(gaps[["x", "m", "y"]].notna().any(axis=1).sum())
    assert found["chisq"] > found["df"]
    assert found["rmsea"] == pytest.approx(np.sqrt((found["chisq"] - found["df"]) / (found["df"] * used)), rel=1e-12)
    # at the upper limit's noncentrality, chi-square has probability .05 below the observed one
    noncentrality = found["rmsea_ci_upper"] ** 2 * found["df"] * used
    assert stats.ncx2.cdf(found["chisq"], found["df"], noncentrality) == pytest.approx(0.05, abs=1e-6)


# ---------------------------------------------------------------------- notes and inadmissible solutions


def test_negative_variances_are_named() -> None:
    data = less_than_no_variance()
    found = fit(NEGATIVE, data, cluster="school")
    assert found.converged
    assert not found.admissible
    value = found.params[found.model.names.index("between: x ~~ x")]
    assert value < 0
    assert found.improper == (f"between: x ~~ x = {value:.4f}",)
    bounded = fit(NEGATIVE, data, cluster="school", bounds="variances")
    lavaans = fit(NEGATIVE, data, cluster="school", bounds="pos.var")
    assert lavaans.options["bounds"] == "variances"
    np.testing.assert_array_equal(lavaans.params, bounded.params)
    assert bounded.admissible
    assert bounded.improper == ()
    assert "between: x ~~ x is at its bound, 0" in bounded.notes


def test_an_indefinite_level_is_named() -> None:
    """Positive variances, but more covariance between than they allow: y minus 1.5 x varies less than its rows say."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(80), 4)
    x = 0.5 * rng.normal(size=80)[g] + rng.normal(size=320)
    e = rng.normal(size=320)
    e -= 0.9 * pd.Series(e).groupby(g).transform("mean").to_numpy()
    data = pd.DataFrame({"school": g, "x": x, "y": 1.5 * x + 0.5 * e})
    found = fit("level: within\n x ~~ y\nlevel: between\n x ~~ y", data, cluster="school")
    assert found.converged
    between = found.parameters[(found.parameters["level"] == "between") & (found.parameters["op"] == "~~")]
    values = between.set_index(["lhs", "rhs"])["est"]
    assert min(values["x", "x"], values["y", "y"]) > 0
    assert values["x", "y"] ** 2 > values["x", "x"] * values["y", "y"]
    assert found.improper == ("the between covariance matrix is not positive semidefinite",)
    assert not found.admissible


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "msme"}, "did you mean 'msem'"),
        ({"estimator": "nothing"}, "msem"),
        (
            {"se": "robustt"},
            "se: found 'robustt'; allowed: expected, observed, robust, corrected (did you mean 'robust'?)",
        ),
        ({"ci": "boostrap"}, "(did you mean 'bootstrap'?)"),
        ({"missing": "fimml"}, "(did you mean 'fiml'?)"),
        ({"bounds": "variance"}, "(did you mean 'variances'?)"),
        ({"bounds": "standard"}, "y ~~ lower(0.1)*y or upper(2)*y"),
        ({"bounds": {"y~~y": 0}}, "y ~~ lower(0.1)*y or upper(2)*y"),
        ({"ci_level": 95}, "ci_level: found 95; allowed: between 0 and 1"),
        ({"draws": 10, "ci": "montecarlo"}, "draws: found 10; allowed: 100 or more"),
        ({"estimator": "mlm", "se": "robust"}, "method 'mlm' has model-based ('expected') standard errors only"),
        ({"estimator": "mlm", "missing": "fiml"}, "method 'mlm' has no choice of 'missing'"),
        ({"estimator": "aggregated", "fixed_x": True}, "method 'aggregated' has no choice of 'fixed_x'"),
        ({"estimator": "two_step", "bounds": "variances"}, "method 'two_step' has no choice of 'bounds'"),
        ({"options": {"speed": 1}}, "speed"),
    ],
)
def test_choices_that_do_not_exist(data, options, message) -> None:
    with pytest.raises(EstimatorError) as caught:
        fit(MODEL, data, cluster="school", **options)
    assert message in str(caught.value)


def test_all_wrong_choices_come_at_once(data) -> None:
    with pytest.raises(EstimatorError) as caught:
        fit(MODEL, data, cluster="school", se="x", ci="y", missing="z", bounds="u", ci_level=2.0, draws=1)
    assert len(caught.value.problems) == 6


def test_wrong_models_and_data(data) -> None:
    with pytest.raises(ModelError, match="line 2"):
        fit("level: within\n y x\nlevel: between\n y ~~ y", data, cluster="school")
    with pytest.raises(DataError, match="did you mean 'school'"):
        fit(MODEL, data, cluster="shcool")
    with pytest.raises(DataError, match="every value of 'z' is missing"):
        fit(MODEL, data.assign(z=np.nan), cluster="school", missing="fiml")


def test_a_model_that_a_method_cannot_fit_is_a_status_with_a_reason(data) -> None:
    found = fit(MODEL + "aw + ab == 1", data, cluster="school", estimator="mlm")
    assert found.status is Status.NOT_SUPPORTED
    assert not found.converged
    assert any(note.startswith("mlm cannot fit this model: ") for note in found.notes)
    assert found.parameters[["est", "se"]][found.parameters["free"]].isna().all(axis=None)
    few = data[data["school"].isin(["s1", "s2", "s3", "s4"])]
    with pytest.raises(DataError, match="4 clusters are too few for 4 between variables"):
        fit(MODEL, few, cluster="school")


# ---------------------------------------------------------------------- every method side by side


@pytest.mark.slow
def test_all_is_no_method(data) -> None:
    with pytest.raises(EstimatorError, match=r"simstudy\.fit_all"):
        fit("level: 1\n y ~ x\nlevel: 2\n y ~ x", data, cluster="g", estimator="all")


def test_fit_all_fits_every_method_as_fit_does(data) -> None:
    text = MODEL.replace("  y ~~ 0.9*y\n", "")
    told: list[tuple[str, int, int]] = []
    fits = fit_all(text, data, cluster="school", progress=lambda *step: told.append(step))
    assert tuple(fits) == registry.names()
    for name, found in fits.items():
        alone = fit(text, data, cluster="school", estimator=name)
        assert found.estimator == name
        assert found.status == alone.status
        pd.testing.assert_frame_equal(found.parameters, alone.parameters)
        assert found.measures.keys() == alone.measures.keys()
    assert [done for what, done, _ in told if what.startswith("fitting")] == list(range(len(fits)))
    assert told[-1] == ("done", len(fits), len(fits))
    # the conflation lesson: one slope for both levels without decomposition, two with it
    slopes = {
        name: found.parameters.set_index("label").loc[["bw", "bb"], "est"].to_numpy() for name, found in fits.items()
    }
    assert slopes["disaggregated"][0] == slopes["disaggregated"][1]
    assert slopes["msem"][0] != slopes["msem"][1]
    assert np.isnan(slopes["aggregated"][0])


def test_fit_all_leaves_choices_out_where_they_do_not_exist_and_says_so(data) -> None:
    gaps = data.copy()
    gaps.loc[gaps.index[::6], "y"] = np.nan
    fits = fit_all(MODEL.replace("  y ~~ 0.9*y\n", ""), gaps, cluster="school", missing="fiml", fixed_x=True)
    for name in ("goldstein", "fiml_wide", "msem"):
        assert fits[name].options["missing"] == "fiml"
        assert fits[name].n_obs == len(data)
        assert not any("no choice of 'missing'" in note for note in fits[name].notes)
    assert not any("no choice" in note for note in fits["msem"].notes)
    for name in set(fits) - {"goldstein", "msem", "fiml_wide"}:
        assert fits[name].options["missing"] == "listwise"
        assert fits[name].n_dropped == gaps["y"].isna().sum()
        for key in ("missing", "fixed_x"):
            assert f"{name} has no choice of '{key}'; it is fitted without" in fits[name].notes


def test_fit_all_carries_on_where_a_method_cannot(data) -> None:
    fits = fit_all(MODEL + "aw + ab == 1", data, cluster="school", se="robust")
    imposing = {"goldstein", "muml", "fiml_wide", "msem"}
    for name in imposing:
        assert fits[name].converged
        labelled = fits[name].parameters.set_index("label")["est"]
        assert labelled["aw"] + labelled["ab"] == pytest.approx(1.0, abs=1e-12)  # rounding
        assert fits[name].options["se"] == "robust"
    assert "schmidt has no choice of 'se = robust'; it is fitted without" in fits["schmidt"].notes
    for name in set(fits) - imposing:
        assert fits[name].status is Status.NOT_SUPPORTED
        assert any("constraint" in note for note in fits[name].notes)
