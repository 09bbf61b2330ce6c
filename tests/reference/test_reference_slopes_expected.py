"""Standard errors from the expected information with random slopes against lme4's vcov(fixef)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from reference_cases import DATA, content

from simstudy.analysis.fit import fit

FORMS = {
    "rs": ("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ a*1\n s ~ b*1\n y ~~ s\n", {"(Intercept)": "a", "x": "b"}),
    "rs_w": (
        "level: 1\n y ~ rv('s')*x_w\nlevel: 2\n y ~ a*1 + c*x_mean\n s ~ b*1\n y ~~ s\n",
        {"(Intercept)": "a", "x_w": "b", "x_mean": "c"},
    ),
}


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("case", ["xiv_rs_observed", "ii_m111_bal", "iii_m111_unb"])
def test_fixed_effects_have_the_covariances_of_lme4(case, kind, differences) -> None:
    text, labels = FORMS[kind]
    frame = pd.read_csv(DATA / (case if (DATA / case / "data.csv").exists() else content(case)["data"]) / "data.csv")
    frame["x_mean"] = frame.groupby("g")["x"].transform("mean")
    frame["x_w"] = frame["x"] - frame["x_mean"]
    found = fit(text, frame, cluster="g", se="expected")
    theirs = content(case, "mixed_slopes.json")["lme4/nlme"]["fits"][f"lme4_{kind}_ML"]
    names = list(theirs["fixed"])
    at = [found.model.names.index(labels[name]) for name in names]
    cov, known = found.covariance[np.ix_(at, at)], np.array(theirs["vcov_fixed"])
    scale = np.sqrt(np.outer(np.diagonal(known), np.diagonal(known)))
    # lme4's variances are those where it stops
    differences(f"{case} {kind}", "lme4 vcov", np.abs((cov - known) / scale).max(), 0.0, 1e-6, "fixed effects")
    other = fit(text, frame, cluster="g", se="observed")
    assert np.abs(other.covariance[np.ix_(at, at)] / known - 1.0).max() > 1e-3  # another matrix


def test_a_cross_level_interaction_has_the_errors_of_lme4(differences) -> None:
    """y ~ x*w + (x | g), ML: sqrt of the diagonal of lme4's vcov(fixef), theory D1.2."""
    text = (DATA / "xiv_rs_observed" / "model.lav").read_text()
    found = fit(text, pd.read_csv(DATA / "xiv_rs_observed" / "data.csv"), cluster="g", se="expected")
    se = found.parameters.query("level == 'between'").set_index(["lhs", "op", "rhs"])["se"]
    known = {
        ("y", "~1", ""): 0.0569437,
        ("s", "~1", ""): 0.0430557,
        ("y", "~", "w"): 0.0594233,
        ("s", "~", "w"): 0.0438650,
    }
    for key, value in known.items():
        differences("xiv_rs_observed", "lme4 se", se[key], value, 1e-6, " ".join(key))
