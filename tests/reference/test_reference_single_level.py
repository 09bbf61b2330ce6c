"""`disaggregated` and `aggregated` against lavaan's single-level fits: naive, by cluster, and of cluster means."""

from __future__ import annotations

import pytest
from reference_cases import content, fit, frame
from scipy import stats

PATHS = {"sat": ("m ~ {a}*x", "y ~ {b}*m + {c}*x"), "full": ("m ~ {a}*x", "y ~ {b}*m")}
CASES = ("ii_m111_bal", "iii_m111_unb")

# Least squares is exact on both sides; SEs take sums of 1e3 terms: rounding.
ESTIMATE = 1e-10
# lavaan's Hessian is a difference of analytic gradients.
SE = 1e-8
LOGLIK = 1e-12  # sums of 1e3 terms: rounding


def text(kind: str) -> str:
    within = "\n".join(PATHS[kind]).format(a="aw", b="bw", c="cw")
    between = "\n".join(PATHS[kind]).format(a="ab", b="bb", c="cb")
    return f"level: within\n{within}\nlevel: between\n{between}\nind_w := aw*bw\nind_b := ab*bb"


def compare(found, theirs, kind, row, level, differences) -> None:
    for entry in theirs["par"]:
        what = f"{entry['lhs']} {entry['op']} {entry['rhs']}"
        if entry["op"] == ":=":
            name = f"ind_{level[0]}"
        else:
            # a mean is reported at the between level
            at = "between" if entry["op"] == "~1" else level
            parameter = found.model.table.find(at, entry["lhs"], entry["op"], entry["rhs"])
            name = found.model.names[parameter.free]
        differences(row, "estimate", found.value(name), entry["est"], ESTIMATE, what)
        if entry["se"]:  # lavaan takes the moments of x as fixed here
            differences(row, f"se {kind}", found.se(name, kind), entry["se"], SE, what)
    assert "x" not in {entry["lhs"] for entry in theirs["par"] if entry["se"]}


@pytest.mark.parametrize("model", ["sat", "full"])
@pytest.mark.parametrize("case", CASES)
def test_disaggregated_is_lavaans_single_level_sem(case, model, differences) -> None:
    data = frame(case)
    found = fit("disaggregated", text(model), data, se=["expected", "observed", "robust"])
    stored = content(case, "result_single_level.json")["fits"]
    for kind, name in (("expected", "naive"), ("observed", "naive_observed"), ("robust", "cluster_robust")):
        for level in ("within", "between"):  # the same numbers for both levels: that is conflation
            row = f"{case} rows {model}"
            compare(found, stored[f"{model}_{name}"], kind, row, level, differences)
    x = data["x"].to_numpy()
    covariate = stats.norm.logpdf(x, x.mean(), x.std()).sum()  # lavaan's logl leaves x out
    differences(f"{case} rows {model}", "loglik", found.loglik, stored[f"{model}_naive"]["logl"] + covariate, LOGLIK)


@pytest.mark.parametrize("model", ["sat", "full"])
@pytest.mark.parametrize("case", CASES)
def test_aggregated_is_lavaans_sem_of_cluster_means(case, model, differences) -> None:
    found = fit("aggregated", text(model), frame(case), se=["expected", "robust"])
    stored = content(case, "result_single_level.json")["fits"]
    for kind, name in (("expected", "aggregated_means"), ("robust", "aggregated_means_mlr")):
        row = f"{case} means {model}"
        compare(found, stored[f"{model}_{name}"], kind, row, "between", differences)
    x = frame(case).groupby("g")["x"].mean().to_numpy()
    covariate = stats.norm.logpdf(x, x.mean(), x.std()).sum()
    theirs = stored[f"{model}_aggregated_means"]["logl"] + covariate
    differences(f"{case} means {model}", "loglik", found.loglik, theirs, LOGLIK)
