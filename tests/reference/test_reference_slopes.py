"""Random slopes against lavaan, lme4, nlme, OpenMx and MixedLM (versions in ``data/README.md``)."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from outside_cases import data as outside_data
from outside_cases import model_text
from reference_cases import DATA, LEVELS, content
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "likelihood"))
from slope_cases import brute_force

from simstudy.analysis.fit import fit
from simstudy.analysis.nested import likelihood_ratio_test
from simstudy.data.products import ClusterProducts
from simstudy.data.sample import Sample, from_frame
from simstudy.estimation.result import FitResult
from simstudy.likelihood.slopes.latent import LatentSlopes
from simstudy.methods.msem_slopes import SlopeMsem
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.twolevel import TwoLevelModel

RANDOM_SLOPE = "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~~ s\n"
CENTRED = "level: 1\n y ~ rv('s')*x_w\nlevel: 2\n y ~ x_mean\n y ~~ s\n"


@cache
def data(case: str, text: str) -> tuple[TwoLevelModel, Sample]:
    model = TwoLevelModel.from_syntax(text)
    owner = case if (DATA / case / "data.csv").exists() else content(case)["data"]
    frame = pd.read_csv(DATA / owner / "data.csv")
    frame["x_mean"] = frame.groupby("g")["x"].transform("mean")
    frame["x_w"] = frame["x"] - frame["x_mean"]
    return model, from_frame(frame, "g", model.level1, model.level2)


@cache
def fitted(case: str, text: str) -> tuple[TwoLevelModel, Sample, FitResult]:
    model, sample = data(case, text)
    return model, sample, SlopeMsem(("observed", "robust")).prepare(model, sample.layout).fit(sample)


def text_of(case: str) -> str:
    return (DATA / case / "model.lav").read_text()


def exogenous(sample: Sample, level1: str, level2: str | None) -> float:
    """Maximum of the log-likelihood of variables that the other software conditions upon."""

    def normal(x: np.ndarray) -> float:
        return float(-0.5 * len(x) * (np.log(2 * np.pi * x.var()) + 1))

    value = normal(sample.rows[0, :, sample.level1.index(level1)])
    return value if level2 is None else value + normal(sample.clusters[0, :, sample.level2.index(level2)])


def test_a_cross_level_interaction_is_lavaans(differences) -> None:
    """Log-likelihood, estimates, and SEs from the observed information and by cluster."""
    case = "xiv_rs_observed"
    model, sample, fit = fitted(case, text_of(case))
    assert fit.converged.all()
    fits = content(case, "result_slopes.json")["fits"]
    differences(case, "loglik", fit.loglik[0] - exogenous(sample, "x", "w"), fits["observed"]["logl"], 1e-8, "lavaan")
    for kind, name in (("observed", "observed"), ("robust", "mlr")):
        for row in fits[name]["par"]:
            if not row["free"]:
                continue
            found = model.table.find(LEVELS[row["level"]], row["lhs"], row["op"], row["rhs"])
            differences(case, "estimate", fit.estimate[0, found.free], row["est"], 2e-6, found.path)  # its stop
            differences(case, f"{kind} se", fit.se[kind][0, found.free], row["se"], 1e-6, found.path)


@pytest.mark.parametrize("case", ["xiv_rs_observed", "ii_m111_bal", "iii_m111_unb"])
@pytest.mark.parametrize("kind", ["rs", "rs_w"])
def test_random_slope_models_are_those_of_lme4_and_openmx(case, kind, differences) -> None:
    """Without predictors of the slope; ``rs_w``: of centred x, with cluster means beside it."""
    model, sample, fit = fitted(case, RANDOM_SLOPE if kind == "rs" else CENTRED)
    x, mean = ("x", None) if kind == "rs" else ("x_w", "x_mean")
    software = content(case, "mixed_slopes.json")
    found = dict(zip(model.names, fit.estimate[0], strict=True))
    se = dict(zip(model.names, fit.se["observed"][0], strict=True))
    loglik = fit.loglik[0] - exogenous(sample, x, mean)
    lme4 = software["lme4/nlme"]["fits"][f"lme4_{kind}_ML"]
    label = f"{case} {kind}"
    differences(label, "loglik", loglik, lme4["logLik"], 1e-8, "lme4")
    assert loglik > lme4["logLik"] - 1e-8  # at least theirs
    fixed = {"(Intercept)": "between: y ~ 1", x: "between: s ~ 1"} | ({mean: "between: y ~ x_mean"} if mean else {})
    for name, path in fixed.items():
        differences(label, "lme4 estimate", found[path], lme4["fixed"][name], 1e-6, path)
    sd = {(row["var1"], row["var2"]): row["sdcor"] for row in lme4["varcomp"]}
    t00, t11 = sd["(Intercept)", None], sd[x, None]
    boundary = bool(fit.measures["boundary"][0])
    limit = 1e-5 if not boundary else 1e-3  # lme4 stops at its tolerance where the likelihood is flat
    differences(label, "lme4 variances", found["within: y ~~ y"], sd[None, None] ** 2, limit, "residual")
    differences(label, "lme4 variances", found["between: y ~~ y"], t00**2, limit, "intercept")
    differences(label, "lme4 variances", found["between: s ~~ s"], t11**2, limit, "slope")
    differences(
        label, "lme4 variances", found["between: y ~~ s"], sd["(Intercept)", x] * t00 * t11, limit, "covariance"
    )
    if "OpenMx" in software and not boundary:
        openmx = software["OpenMx"]["fits"][kind]
        names = {"s2": "within: y ~~ y", "b0": "between: y ~ 1", f"b_{x}": "between: s ~ 1", "t00": "between: y ~~ y",
                 "t01": "between: y ~~ s", "t11": "between: s ~~ s"}  # fmt: skip
        differences(label, "loglik", loglik, openmx["logLik"], 1e-8, "OpenMx")
        for name, path in names.items():
            differences(label, "OpenMx estimate", found[path], openmx["params"][name], 1e-5, path)
            differences(label, "OpenMx se", se[path], openmx["se"][name], 1e-3, path)  # its Hessian is differenced


def test_lavaans_rule_over_the_slope_gives_lavaans_value() -> None:
    """Slope on the latent within part: 21 nodes over the slope, as lavaan; the exact value is 2.4e-5 higher."""
    case = "xiv_rs_latentcov"
    model, sample = data(case, text_of(case))
    theirs = content(case, "result_slopes.json")["fits"]["observed"]
    params = np.zeros(len(model.names))
    for row in theirs["par"]:
        found = model.table.find(LEVELS[row["level"]], row["lhs"], row["op"], row["rhs"])
        if found.free >= 0:
            params[found.free] = row["est"]
    assert brute_force(model, params, sample, "latent", 21).sum() == pytest.approx(theirs["logl"], abs=1e-9)
    exact = LatentSlopes(SlopeStructure(model), 15).loglik(params[None], ClusterProducts.of(sample.statistics()))
    assert exact[0] == pytest.approx(-3267.6895074, abs=1e-7)  # Theory D1.4


def test_slope_on_a_latent_within_part(differences) -> None:
    """The maximum with x's moments estimated too, which lavaan takes as known; its estimates are near."""
    case = "xiv_rs_latentcov"
    model, _, fit = fitted(case, text_of(case))
    assert fit.loglik[0] == pytest.approx(-3267.6831563, abs=1e-7)  # Theory D1.4
    found = dict(zip(model.names, fit.estimate[0], strict=True))
    assert found["between: y ~ x"] == pytest.approx(0.645710, abs=1e-6)
    for row in content(case, "result_slopes.json")["fits"]["observed"]["par"]:
        if row["free"]:
            place = model.table.find(LEVELS[row["level"]], row["lhs"], row["op"], row["rhs"]).free
            differences(case, "estimate", fit.estimate[0, place], row["est"], 1e-3, model.names[place])
            differences(case, "observed se", fit.se["observed"][0, place], row["se"], 1e-3, model.names[place])


def test_mediation_with_two_latent_slopes() -> None:
    """1-1-1 with random a and b: the maximum, and lavaan's fit with 7 nodes a slope .15 below it."""
    case = "xiv_rs_m111"
    model, _, fit = fitted(case, text_of(case))
    assert fit.loglik[0] == pytest.approx(-4544.24667, abs=1e-5)  # Theory D1.4
    found = {row.path: fit.estimate[0, row.free] for row in model.table.rows if row.free >= 0}
    known = {"between: a ~ 1": 0.304853, "between: b ~ 1": 0.333906, "within: y ~ x": 0.113262,
             "between: m ~ x": 0.371570, "between: y ~ m": 0.456364, "between: y ~ x": 0.008966,
             "between: a ~~ a": 0.076927, "between: a ~~ b": -0.010870, "between: b ~~ b": 0.062076}  # fmt: skip
    for name, value in known.items():
        assert found[name] == pytest.approx(value, abs=3e-5), name  # they have 5 nodes a dimension
    theirs = content(case, "result_slopes.json")["fits"]["ngh7"]
    assert fit.loglik[0] > theirs["logl"]
    for row in theirs["par"]:
        place = model.table.find(LEVELS[row["level"]], row["lhs"], row["op"], row["rhs"]).free
        if place >= 0:
            assert fit.estimate[0, place] == pytest.approx(row["est"], abs=6e-3)  # its rule, and x's moments known


@pytest.mark.parametrize("written", ["s ~ 1\n  s ~~ s", "s ~ 1", "s ~~ s"])
def test_a_slope_without_a_random_intercept_is_lme4s(written, both_sides) -> None:
    """lme4: ``y ~ x + (0 + x | id)``, REML = FALSE, which conditions on x."""
    case = "crash_slopes_only_between"
    text, frame = model_text(case).split("  s ~ 1")[0] + f"  {written}\n", outside_data(case)
    found = fit(text, frame, cluster="id")
    assert found.converged
    x = frame["x"]
    given_x = found.measures["loglik"] - stats.norm.logpdf(x, x.mean(), x.std(ddof=0)).sum()
    both_sides(case, "loglik", given_x, -3665.366, 5.1e-4)  # three digits are known
    if "1" in written and "~~" in written:
        zero = fit(text + "  y ~~ 0*y\n", frame, cluster="id")
        # the same model: its intercept stands on the other level; two maxima found to 1e-10
        assert zero.measures["loglik"] == pytest.approx(found.measures["loglik"], rel=1e-10)


def test_scaling_factor_with_a_random_slope_is_that_of_mplus(both_sides) -> None:
    """Mplus 7 conditions on the predictors: 9 parameters, whose block of H^-1 meat gives its factor.

    Ours is that of the joint likelihood, tr(H^-1 meat) / 16. In a difference test the predictors' part cancels.
    """
    case = "mplus_popular_rs3"
    text, frame = model_text(case), outside_data(case)
    own, factors = ("popular", "between: s "), []
    for one in (text, text.replace("s~texp", "s~0*texp")):
        observed, robust = (fit(one, frame, cluster="class", se=se) for se in ("observed", "robust"))
        a, b = observed.context.result.covariance["observed"][0], robust.context.result.covariance["robust"][0]
        q = len(robust.model.names)
        # the same product by way of two inverses
        assert robust.measures["scaling_h0"] == pytest.approx(np.trace(np.linalg.solve(a, b)) / q, rel=1e-9)
        given_x = [k for k, name in enumerate(robust.model.names) if any(word in name for word in own)]
        block = np.ix_(given_x, given_x)
        factors.append((robust, len(given_x), np.trace(np.linalg.solve(a[block], b[block])) / len(given_x)))
    (full, q1, c1), (restricted, q0, c0) = factors
    assert (q1, q0) == (9, 8)
    both_sides(case, "scaling factor H0, given x", c1, 1.0704, 5.1e-5)  # four digits are printed
    both_sides(case, "scaling factor H0", full.measures["scaling_h0"], 1.0704, 1.0, "ours is of the joint likelihood")
    test = likelihood_ratio_test(restricted, full)
    assert test.scaling == pytest.approx(q1 * c1 - q0 * c0, rel=1e-6)  # df 1; searches to 1e-10
