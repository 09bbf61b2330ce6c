"""`mlm` and `mlm_centered` with random slopes against lme4, nlme and MixedLM (versions in ``data/README.md``)."""

from __future__ import annotations

import pandas as pd
import pytest
from reference_cases import DATA, content

from simstudy.data.sample import from_frame
from simstudy.methods import ask, registry
from simstudy.model.twolevel import TwoLevelModel

MODELS = {
    "mlm": ("rs", "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~~ s\n"),
    "mlm_centered": ("rs_w", "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ x\n y ~~ s\n"),
}
PATHS = {"(Intercept)": "between: y ~ 1", "x": "between: s ~ 1", "x_w": "between: s ~ 1", "x_mean": "between: y ~ x"}


@pytest.mark.parametrize("likelihood", ["ml", "reml"])
@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("case", ["xiv_rs_observed", "ii_m111_bal", "iii_m111_unb"])
def test_random_slope_models(case, name, likelihood, differences) -> None:
    kind, text = MODELS[name]
    model = TwoLevelModel.from_syntax(text)
    owner = case if (DATA / case / "data.csv").exists() else content(case)["data"]
    sample = from_frame(pd.read_csv(DATA / owner / "data.csv"), "g", model.level1, model.level2)
    method = ask.for_model(registry.create(name, {"likelihood": likelihood}), model)
    fit = method.prepare(model, sample.layout).fit(sample)
    assert fit.converged.all()
    found = dict(zip(fit.labels, fit.estimate[0], strict=True))
    se = dict(zip(fit.labels, fit.se["expected"][0], strict=True))
    software, label = content(case, "mixed_slopes.json"), f"{case} {name} {likelihood}"
    fits = software["lme4/nlme"]["fits"]
    lme4, nlme = (fits[f"{program}_{kind}_{likelihood.upper()}"] for program in ("lme4", "nlme"))
    differences(label, "loglik", fit.loglik[0], lme4["logLik"], 1e-8, "lme4")
    assert fit.loglik[0] > max(lme4["logLik"], nlme["logLik"]) - 1e-8  # at least theirs
    for term, value in lme4["fixed"].items():
        differences(label, "lme4 estimate", found[PATHS[term]], value, 1e-6, term)
        differences(label, "lme4 se", se[PATHS[term]], lme4["se"][term], 1e-6, term)
    sd = {(row["var1"], row["var2"]): row["sdcor"] for row in lme4["varcomp"]}
    x = "x" if name == "mlm" else "x_w"
    t00, t11 = sd["(Intercept)", None], sd[x, None]
    assert bool(fit.measures["boundary"][0]) == lme4["singular"]
    limit = 1e-5 if not lme4["singular"] else 1e-3  # lme4 stops at its tolerance where the likelihood is flat
    differences(label, "lme4 variances", found["within: y ~~ y"], sd[None, None] ** 2, limit, "residual")
    differences(label, "lme4 variances", found["between: y ~~ y"], t00**2, limit, "intercept")
    differences(label, "lme4 variances", found["between: s ~~ s"], t11**2, limit, "slope")
    cov = sd["(Intercept)", x] * t00 * t11
    differences(label, "lme4 variances", found["between: y ~~ s"], cov, limit, "covariance")
    statsmodels = software["statsmodels MixedLM"]["fits"][f"{kind}_{likelihood.upper()}"]
    if statsmodels["converged"] and not lme4["singular"]:  # on the boundary MixedLM stops short
        differences(label, "MixedLM loglik", fit.loglik[0], statsmodels["llf"], 1e-8, "loglik")
