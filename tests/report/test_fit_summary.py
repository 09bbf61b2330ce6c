"""The printed summary of a fit, and methods side by side."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from simstudy import __version__
from simstudy.analysis.result import PARAMETER_COLUMNS, FitRecord
from simstudy.errors import SimstudyError
from simstudy.estimation.result import Status
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel
from simstudy.report.tables.fit_summary import (
    fit_summary_lines,
    print_fit,
    print_side_by_side,
    residual_lines,
    side_by_side_lines,
)

MEDIATION = "level: within\n y ~ bw*m\nlevel: between\n m ~ a*x\n y ~ bb*m + c*x\nind := a*bb"
CFA = "level: within\n fw =~ y1 + y2 + y3\n fw ~ x\nlevel: between\n fb =~ y1 + y2 + y3\n y1 ~~ y2\n y3 ~~ 0*y3"
ROBUST = {
    "loglik": -10951.9642, "unrestricted_loglik": -10942.0098, "npar": 31.0, "chisq": 19.9091, "df": 17.0,
    "pvalue": 0.2789, "scaling": 1.0444, "chisq_scaled": 19.0623, "pvalue_scaled": 0.3250, "baseline_chisq": 1772.0672,
    "baseline_df": 30.0, "cfi": 0.99833, "tli": 0.99705, "cfi_scaled": 0.9988, "tli_scaled": 0.9979, "rmsea": 0.011386,
    "rmsea_ci_lower": 0.0, "rmsea_ci_upper": 0.0285, "rmsea_scaled": 0.009587, "srmr_within": 0.01528,
    "srmr_between": 0.02578, "aic": 21965.9284, "bic": 22126.6754,
}  # fmt: skip


def fit_by_hand(text: str, **changes: object) -> FitRecord:
    """A fit with made-up estimates: 0.51, 0.52, ... with standard errors 0.1."""
    model = TwoLevelModel.from_syntax(text)
    rows = []
    for k, row in enumerate(model.table.rows):
        est, se = (0.51 + k / 100, 0.1) if row.free >= 0 else (row.value, np.nan)
        numbers = (est, se, est / se, 0.0 * se, est - 1.96 * se, est + 1.96 * se)
        rows.append((row.lhs, row.op, row.rhs, row.level, row.label, *numbers, row.free >= 0))
    for name, expression in model.estimands.definitions:
        rows.append((name, ":=", expression.text, "", name, 0.3, 0.15, 2.0, 0.0455, 0.006, 0.594, True))
    q = model.table.n_free
    values: dict[str, object] = {
        "model": model,
        "estimator": "msem",
        "options": {"se": "expected", "ci": "wald", "ci_level": 0.95, "draws": 1000, "seed": 1},
        "n_obs": 1320,
        "n_clusters": 120,
        "sizes": (3, *[11] * 118, 20),
        "n_patterns": 1,
        "n_dropped": 0,
        "status": Status.OK,
        "admissible": True,
        "improper": (),
        "n_iter": 17,
        "parameters": pd.DataFrame(rows, columns=list(PARAMETER_COLUMNS)),
        "measures": {"npar": float(q), "loglik": -100.0},
        "icc": {"y": 0.2215},
        "params": np.zeros(q),
        "covariance": np.eye(q),
        **changes,
    }
    return FitRecord(**values)  # type: ignore[arg-type]


def failed(fit: FitRecord, **changes: object) -> FitRecord:
    """The same fit without a number in it."""
    table = fit.parameters.copy()
    table.loc[table["free"], ["est", "se", "z", "pvalue", "ci_lower", "ci_upper"]] = np.nan
    return replace(fit, parameters=table, **changes)  # type: ignore[arg-type]


def summary(fit: FitRecord, **options: object) -> str:
    return "\n".join(line.text for line in fit_summary_lines(fit, **options))  # type: ignore[arg-type]


def row_of(text: str, start: str) -> list[str]:
    """Cells of the first line that begins so."""
    return next(line for line in text.splitlines() if line.startswith(start)).split()


# ---------------------------------------------------------------------- one fit


def in_units(fit: FitRecord, **factors: float) -> FitRecord:
    """The same fit with everything about a parameter multiplied, by the name of its row's left side."""
    table = fit.parameters.copy()
    for name, factor in factors.items():
        mine = table["lhs"] == name
        table.loc[mine, ["est", "se", "ci_lower", "ci_upper"]] *= factor
    return replace(fit, parameters=table)


def test_units_of_any_size_survive_printing():
    """Every number that is not 0 can be read back to three digits, and columns never run together."""
    fit = fit_by_hand(MEDIATION)
    odd = in_units(fit, m=1e-9, y=1e9)
    both = fit_by_hand(MEDIATION, parameters=odd.parameters)
    lines = [line.split() for line in summary(both).splitlines() if line.startswith("   ")]
    within, between = (
        [row for row in odd.parameters.itertuples() if row.level == level and row.op == "~~" and row.free]
        for level in ("within", "between")
    )
    shown = [cells for cells in lines if len(cells) == 7]  # name, estimate, SE, z, p, limits
    for row in within + between:
        match = [c for c in shown if np.allclose([float(c[k]) for k in (1, 2, 5, 6)],
                 [row.est, row.se, row.ci_lower, row.ci_upper], rtol=5e-3, atol=0)]  # fmt: skip
        assert match, row  # three significant digits


def test_a_large_mean_keeps_the_decimals_of_its_error():
    fit = fit_by_hand(MEDIATION)
    table = fit.parameters.copy()
    at = table.index[(table["op"] == "~1") & table["free"]][0]
    table.loc[at, ["est", "se", "z", "ci_lower", "ci_upper"]] = (
        -9999999.987,
        0.0198,
        -5.04e8,
        -10000000.026,
        -9999999.948,
    )
    text = summary(replace(fit, parameters=table))
    shown = next(line.split() for line in text.splitlines() if "-9999999.987" in line)
    assert shown[1:] == ["-9999999.987", "0.020", "-5.04e+08", "0.000", "-10000000.026", "-9999999.948"]
    heads = [line for line in text.splitlines() if line.split()[:1] == ["Estimate"]]
    assert len({len(line) for line in heads}) == 1  # every table has the widened columns
    assert len(heads[0]) == len(next(line for line in text.splitlines() if "-9999999.987" in line))


def test_rounding_errors_of_0_are_printed_as_0():
    fit = fit_by_hand(MEDIATION)
    table = fit.parameters.copy()
    at = table.index[(table["op"] == "~1") & table["free"]][0]
    table.loc[at, ["est", "se"]] = -3.1e-17, 0.05
    shown = summary(replace(fit, parameters=table))
    assert "e-17" not in shown
    moments = pd.DataFrame(
        [("y", "y", 4e-12, 5e-12, -1e-12), ("y", "", 1e-7, 1e-7, 2e-20)],
        columns=["lhs", "rhs", "observed", "implied", "residual"],
    ).assign(level="within")
    text = "\n".join(line.text for line in residual_lines(moments))
    assert row_of(text, "  y    y") == ["y", "y", "4.00e-12", "5.00e-12", "-1.00e-12"]
    assert row_of(text, "  y    (mean)")[2:] == ["1.00e-07", "1.00e-07", "0.000"]


def test_head_and_data():
    text = summary(fit_by_hand(MEDIATION, n_dropped=7, cluster="school"))
    assert text.startswith(f"simstudy {__version__} ended normally after 17 iterations\n")
    assert row_of(text, "  Estimator") == ["Estimator", "msem"]
    assert "multilevel SEM, full-information maximum likelihood" in text
    assert row_of(text, "  Number of model parameters")[-1] == str(TwoLevelModel.from_syntax(MEDIATION).table.n_free)
    assert row_of(text, "  Number of observations")[-1] == "1320"
    assert row_of(text, "  Rows left out")[-1] == "7"
    assert row_of(text, "  Number of clusters [school]")[-1] == "120"
    assert row_of(text, "  Cluster size")[-3:] == ["3", "to", "20"]
    assert "missing patterns" not in text
    assert "equality constraints" not in text


def test_what_was_asked_for_is_said():
    options = {"se": "observed", "ci": "bootstrap", "ci_level": 0.9, "draws": 500, "seed": 3, "missing": "fiml"}
    tied = MEDIATION.replace("bw*m", "b*m").replace("bb*m", "b*m").replace("a*bb", "a*b")
    fit = fit_by_hand(tied, n_patterns=4, sizes=(8,) * 10, options={**options, "fixed_x": True, "bounds": "variances"})
    text = summary(fit)
    assert row_of(text, "  Missing data")[-1] == "fiml"
    assert row_of(text, "  Number of missing patterns")[-1] == "4"
    assert row_of(text, "  Number of equality constraints")[-1] == "1"
    assert row_of(text, "  Moments of exogenous variables")[-2:] == ["fixed", "(fixed.x)"]
    assert row_of(text, "  Bounds")[-1] == "variances"
    assert row_of(text, "  Cluster size")[-1] == "8"
    assert "90% Parametric bootstrap, 500 draws, seed 3" in text


def test_test_statistics_are_laid_out_as_by_lavaan():
    fit = fit_by_hand(CFA, measures=ROBUST, options={"se": "robust", "ci": "wald"})
    text = summary(fit)
    order = [
        "Model Test User Model:", "Test Statistic", "Degrees of freedom", "P-value (Chi-square)",
        "Scaling correction factor", "Model Test Baseline Model:", "User Model versus Baseline Model:",
        "Comparative Fit Index (CFI)", "Tucker-Lewis Index (TLI)", "Loglikelihood and Information Criteria:",
        "Loglikelihood user model (H0)", "Loglikelihood unrestricted model (H1)", "Akaike (AIC)", "Bayesian (BIC)",
        "Root Mean Square Error of Approximation:", "90 Percent confidence interval - upper",
        "SRMR (within covariance matrix)", "SRMR (between covariance matrix)", "Parameter Estimates:",
        "Level 1 [within]:", "Level 2 [cluster]:",
    ]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert row_of(text, "  Test Statistic")[-2:] == ["19.909", "19.062"]
    assert row_of(text, "  Degrees of freedom")[-2:] == ["17", "17"]
    assert row_of(text, "  P-value (Chi-square)")[-2:] == ["0.279", "0.325"]
    assert row_of(text, "  Scaling correction")[-1] == "1.044"
    assert row_of(text, "  Comparative")[-2:] == ["0.998", "0.999"]
    assert row_of(text, "  Loglikelihood user")[-1] == "-10951.964"
    assert row_of(text, "  RMSEA")[-2:] == ["0.011", "0.010"]
    assert row_of(text, "  Standard errors")[-1] == "Robust.cluster"
    assert row_of(text, "  Information")[-1] == "Observed"
    baseline = text[text.index("Baseline Model:") :]
    assert row_of(baseline, "  P-value")[-1] == "0.000"  # of chi-square 1772 with 30 degrees of freedom


def test_the_baseline_model_has_its_scaled_chi_square_beside_it():
    text = summary(fit_by_hand(CFA, measures={**ROBUST, "baseline_scaling": 1.25, "baseline_chisq": 50.0}))
    baseline = text[text.index("Baseline Model:") :]
    assert row_of(baseline, "  Test statistic")[-2:] == ["50.000", "40.000"]
    assert row_of(baseline, "  Degrees of freedom")[-2:] == ["30", "30"]
    assert row_of(baseline, "  P-value")[-2:] == ["0.012", "0.105"]  # R: pchisq(c(50, 40), 30, lower.tail = FALSE)
    assert row_of(baseline, "  Scaling correction")[-1] == "1.250"
    without = summary(fit_by_hand(CFA, measures={**ROBUST, "baseline_scaling": -0.1}))
    assert row_of(without[without.index("Baseline Model:") :], "  Test statistic")[-2:] == ["statistic", "1772.067"]


def test_robust_indices_have_rows_of_their_own():
    more = {"scaling_h0": 1.1234, "cfi_robust": 0.9871, "tli_robust": 0.9762, "rmsea_robust": 0.0123}
    more |= {"rmsea_ci_lower_scaled": 0.0021, "rmsea_ci_upper_scaled": 0.0311}
    more |= {"rmsea_ci_lower_robust": 0.0042, "rmsea_ci_upper_robust": 0.0353}
    text = summary(fit_by_hand(CFA, measures={**ROBUST, **more}, options={"se": "robust", "ci": "wald"}, h1="psd"))
    assert row_of(text, "  Robust Comparative")[-1] == "0.987"
    assert row_of(text, "  Robust Tucker")[-1] == "0.976"
    assert row_of(text, "  Compared with (H1)")[-1] == "psd"
    assert row_of(text, "  Scaling correction factor (MLR)")[-1] == "1.1234"
    upper = [line.split()[-1] for line in text.splitlines() if "interval - upper" in line]
    assert upper == ["0.031", "0.035"]
    assert "(Bollen 1989)" in text


def test_a_scaling_factor_that_is_not_positive_leaves_its_column_empty():
    negative = {**ROBUST, "scaling": -0.2, **dict.fromkeys((n for n in ROBUST if n.endswith("_scaled")), np.nan)}
    text = summary(fit_by_hand(CFA, measures=negative, options={"se": "robust", "ci": "wald"}))
    assert row_of(text, "  Test Statistic")[-2:] == ["19.909", "n/a"]
    assert row_of(text, "  Scaling correction factor")[-1] == "-0.200"


def test_one_column_without_scaling_and_no_p_value_without_degrees_of_freedom():
    plain = {name: value for name, value in ROBUST.items() if "scal" not in name}
    text = summary(fit_by_hand(CFA, measures={**plain, "chisq_scaled": np.nan, "df": 0.0, "pvalue": np.nan}))
    assert "Scaled" not in text
    assert row_of(text, "  Test Statistic") == ["Test", "Statistic", "19.909"]
    assert "P-value (Chi-square)" not in text
    assert "nan" not in text.lower().replace("covariance", "")


def test_a_method_without_likelihood_has_no_tests():
    text = summary(fit_by_hand(MEDIATION, estimator="mlm", measures={"loglik": np.nan, "npar": 9.0}))
    for absent in ("Model Test", "Loglikelihood", "RMSEA", "SRMR", "Information"):
        assert absent not in text


def test_parameter_tables_of_both_levels():
    text = summary(fit_by_hand(CFA))
    within, between = text.split("Level 2 [cluster]:")
    assert between.index("Latent Variables:") < between.index("Covariances:") < between.index("Intercepts:")
    assert between.index("Intercepts:") < between.index("Variances:")
    heading = ["Estimate", "Std.Err", "z-value", "P(>|z|)", "ci.lower", "ci.upper"]
    assert row_of(within, " " * 17 + " Estimate") == heading
    assert row_of(within, "  fw =~") == ["fw", "=~"]
    assert row_of(within, "    y1") == ["y1", "1.000"]  # the marker: no SE
    assert row_of(within, "    y2")[:4] == ["y2", "0.520", "0.100", "5.200"]
    assert row_of(within, "  fw ~") == ["fw", "~"]
    assert row_of(within, "   .y1")[0] == ".y1"
    assert row_of(within, "   .fw")[0] == ".fw"  # it has an equation
    assert row_of(within, "    x ")[0] == "x"
    assert " .y1 ~~\n   .y2" in between
    assert row_of(between, "   .y3  ")[0] == ".y3"
    assert row_of(between.split("Variances:")[1], "   .y3") == [".y3", "0.000"]  # fixed at 0: no SE
    assert row_of(between, "    fb ")[0] == "fb"
    assert "Intercepts:" in within  # of x, which lives within
    assert row_of(within.split("Intercepts:")[1], "    x")[0] == "x"
    assert "fw " not in within.split("Intercepts:")[1].split("Variances:")[0]  # zero by definition: not printed
    assert "Defined" not in text


def test_labels_and_defined_parameters():
    text = summary(fit_by_hand(MEDIATION))
    assert row_of(text, "    m            (bw)")[:3] == ["m", "(bw)", "0.510"]
    assert row_of(text.split("Level 2")[1], "    m            (bb)")[:2] == ["m", "(bb)"]
    defined = text.split("Defined Parameters:")[1]
    assert row_of(defined, "    ind") == ["ind", "0.300", "0.150", "2.000", "0.045", "0.006", "0.594"]
    assert text.index("Level 2") < text.index("Defined Parameters:")


def test_standardized_r_square_and_residuals():
    fit = fit_by_hand(MEDIATION)
    standardized = fit.parameters[["lhs", "op", "rhs", "level", "label", "est", "se"]].copy()
    standardized["est"] = 0.777
    standardized.loc[standardized["op"] == "~1", "est"] = np.nan
    r_squared = pd.DataFrame(
        {"variable": ["y", "y", "m"], "level": ["within", "between", "between"], "r2": [0.1, 0.6, 0.4]}
    )
    residuals = pd.DataFrame(
        {"level": ["within", "between"], "lhs": ["y", "x"], "rhs": ["m", ""], "observed": [0.5, 0.1],
         "implied": [0.4, 0.1], "residual": [0.1, -0.00001]}
    )  # fmt: skip
    text = summary(fit, standardized=standardized, r_squared=r_squared, residuals=residuals)
    assert row_of(text, "    m            (bw)")[-1] == "0.777"
    assert row_of(text, " " * 23 + "Estimate")[-1] == "Std.all"
    within, between = text.split("Level 2")
    assert row_of(within.split("R-Square:")[1], "    y")[-1] == "0.100"
    assert row_of(between.split("R-Square:")[1], "    m")[-1] == "0.400"
    assert row_of(text.split("Residuals [within]")[1], "  y ") == ["y", "m", "0.500", "0.400", "0.100"]
    assert row_of(text.split("Residuals [between]")[1], "  x ")[1:] == ["(mean)", "0.100", "0.100", "0.000"]
    assert len(residual_lines(residuals)) > 6


def test_intraclass_correlations_and_notes():
    text = summary(fit_by_hand(MEDIATION, icc={"m": 0.25, "y": np.nan}, notes=("37 of 1,357 rows are left out",)))
    table = text.split("Intraclass Correlations")[1]
    assert row_of(table, "    m ") == ["m", "0.250"]
    assert row_of(table, "    y ") == ["y", "n/a"]
    assert text.endswith("Notes:\n  - 37 of 1,357 rows are left out")


def test_no_convergence_stands_first():
    fit = failed(fit_by_hand(MEDIATION), status=Status.SINGULAR_INFORMATION, n_iter=200, admissible=False, icc={})
    lines = fit_summary_lines(fit)
    assert lines[0].text == f"simstudy {__version__} DID NOT CONVERGE (SINGULAR_INFORMATION, 200 iterations)"
    assert "not identified" in lines[1].text
    assert "red" in lines[0].style
    text = "\n".join(line.text for line in lines)
    assert row_of(text, "    m            (bw)") == ["m", "(bw)", *["n/a"] * 6]
    assert "nan" not in text.lower().replace("covariance", "")


def test_inadmissible_solution_names_the_variable():
    fit = fit_by_hand(MEDIATION, admissible=False, improper=("between: m ~~ m = -0.0028",))
    row = (fit.parameters["lhs"] == "m") & (fit.parameters["op"] == "~~") & (fit.parameters["level"] == "between")
    fit.parameters.loc[row, "est"] = -0.0028
    lines = fit_summary_lines(fit)
    text = "\n".join(line.text for line in lines)
    assert text.index("NOT ADMISSIBLE") < text.index("between: m ~~ m = -0.0028") < text.index("Estimator")
    assert "--bounds variances" in text
    (marked,) = [line for line in lines if line.text.startswith("   .m") and "-0.003" in line.text]
    assert "red" in marked.style


def test_a_method_that_cannot_fit_says_why_and_nothing_else():
    note = "mlm cannot fit this model: latent variables cannot be expressed in a regression"
    text = summary(failed(fit_by_hand(CFA), estimator="mlm", status=Status.NOT_SUPPORTED, notes=(note,), why=(note,)))
    assert "NOT FITTED" in text.splitlines()[0]
    assert text.count(note) == 1
    assert "Level 1" not in text


def test_parameters_that_a_method_does_not_estimate():
    fit = fit_by_hand(MEDIATION, estimator="aggregated")
    fit.parameters.loc[fit.parameters["level"] == "within", ["est", "se"]] = np.nan
    text = summary(fit)
    assert row_of(text, "    m            (bw)")[2:4] == ["n/a", "n/a"]
    assert text.endswith("n/a: aggregated does not estimate these parameters")


def test_on_a_narrow_terminal_limits_are_left_out_unless_they_were_simulated():
    fit = fit_by_hand(MEDIATION)
    lines = fit_summary_lines(fit, width=70)
    text = "\n".join(line.text for line in lines)
    assert "ci.lower" not in text
    assert "do not fit into 70 characters" in text
    assert max(len(line.text) for line in lines) <= 80
    boot = replace(fit, options={**fit.options, "ci": "cluster_bootstrap"})
    assert "ci.lower" in summary(boot, width=70)
    assert "ci.lower" in summary(fit, width=80)  # as wide as an ordinary terminal


def test_long_names_keep_the_columns_apart():
    text = summary(fit_by_hand("level: within\n mathematics_achievement ~ self_efficacy_in_math\nlevel: between\n"
                               " mathematics_achievement ~ self_efficacy_in_math"))  # fmt: skip
    assert row_of(text, "    self_efficacy_in_math")[:2] == ["self_efficacy_in_math", "0.510"]


def test_print_fit_has_no_markup_in_a_file():
    stream = io.StringIO()
    fit = fit_by_hand(MEDIATION, improper=("between: m ~~ m = -0.0028",))
    print_fit(Console(file=stream), replace(fit, cluster="[bold]g[/bold]"))
    assert "Number of clusters [[bold]g[/bold]]" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


# ---------------------------------------------------------------------- side by side


def test_why_there_is_no_maximum_stands_in_the_head_and_only_there():
    why = "the likelihood rises without bound: the variance of 'y1' runs off"
    fit = failed(fit_by_hand(CFA), status=Status.MAX_ITER, why=(why,), notes=(why, "1 of 20 clusters has a single row"))
    text = " ".join(summary(fit).split())
    assert text.count(why) == 1
    assert text.index("DID NOT CONVERGE") < text.index(why) < text.index("Estimator msem")
    assert text.endswith("Notes: - 1 of 20 clusters has a single row")


def test_which_unrestricted_model_the_intraclass_correlations_are_of():
    assert "Intraclass Correlations (unrestricted model):" in summary(fit_by_hand(CFA))
    assert "Correlations (unrestricted model with a positive semid" in summary(fit_by_hand(CFA, icc_h1="psd"))


def test_methods_share_a_reason():
    fits = {}
    for name in ("mlm", "croon", "muml"):
        why = f"{name} cannot fit this model: {'it has no bounds' if name != 'croon' else 'something else'}"
        fits[name] = failed(fit_by_hand(CFA), estimator=name, status=Status.NOT_SUPPORTED, why=(why,), notes=(why,))
    text = " ".join(compared(fits).split())
    assert "mlm, muml cannot fit this model: it has no bounds" in text
    assert "croon cannot fit this model: something else" in text
    assert text.count("it has no bounds") == 1


def conflated(fit: FitRecord, name: str) -> FitRecord:
    """A method with one slope for both levels."""
    table = fit.parameters.copy()
    table.loc[(table["lhs"] == "y") & (table["op"] == "~") & (table["rhs"] == "m"), "est"] = 0.4321
    return replace(fit, estimator=name, parameters=table)


def side_by_side() -> dict[str, FitRecord]:
    msem = fit_by_hand(MEDIATION)
    between_only = fit_by_hand(MEDIATION, estimator="aggregated")
    between_only.parameters.loc[between_only.parameters["level"] == "within", ["est", "se"]] = np.nan
    reason = "mlm_centered cannot fit this model: a reason of its own"
    return {
        "disaggregated": conflated(msem, "disaggregated"),
        "aggregated": between_only,
        "mlm": conflated(msem, "mlm"),
        "mlm_centered": failed(
            fit_by_hand(MEDIATION, estimator="mlm_centered"),
            status=Status.NOT_SUPPORTED,
            notes=(reason,),
            why=(reason,),
        ),
        "two_step": failed(fit_by_hand(MEDIATION, estimator="two_step"), status=Status.MAX_ITER),
        "msem": msem,
    }


def compared(fits: dict[str, FitRecord], **options: object) -> str:
    return "\n".join(line.text for line in side_by_side_lines(fits, **options))  # type: ignore[arg-type]


def test_methods_are_columns_and_parameters_are_rows():
    text = compared(side_by_side())
    lines = text.splitlines()
    header = next(line for line in lines if "disaggregated" in line)
    assert header.split() == ["disaggregated", "aggregated", "mlm", "mlm_centered", "two_step", "msem"]
    within = next(line for line in lines if line.startswith("  bw: y ~ m"))
    assert within.split() == [
        "bw:", "y", "~", "m", "0.432", "(0.100)=", "n/a", "0.432", "(0.100)=", "n/a", "n/a", "0.510", "(0.100)",
    ]  # fmt: skip
    titles = [line for line in lines if line in ("Within", "Between", "Defined")]
    assert titles == ["Within", "Between", "Defined"]
    assert any(line.startswith("  ind := a*bb") for line in lines)
    assert not any("~~" in line for line in lines)  # only what has a label, and what is defined
    verdicts = next(line for line in lines if line.startswith("Converged")).split()
    assert verdicts == ["Converged", "yes", "yes", "yes", "not", "fitted", "no", "yes"]


def test_side_by_side_explains_itself():
    text = compared(side_by_side())
    flat = " ".join(text.split())
    assert "= one number for both levels: the method cannot tell within from between effects" in flat
    assert "aggregated: no numbers but of the between level" in flat
    assert "mlm_centered cannot fit this model: a reason of its own" in flat
    assert "two_step: no convergence within the allowed iterations" in flat
    for name in side_by_side():
        assert f"{name}: " in flat
    assert "Cannot: separate within from between effects" in flat


def test_many_methods_are_introduced_by_their_titles():
    one = fit_by_hand(MEDIATION)
    names = ("disaggregated", "disaggregated_robust", "aggregated", "mlm", "mlm_centered", "two_step", "croon", "msem")
    lines = [line.text for line in side_by_side_lines({name: replace(one, estimator=name) for name in names})]
    told = lines[lines.index("What the methods are") :]
    assert not any("Cannot:" in text for text in told)
    assert "  msem: multilevel SEM, full-information maximum likelihood" in told
    assert "cluster-robust SEs (the same as disaggregated with se = ['robust'])" in " ".join(" ".join(told).split())
    assert "  `simstudy estimators NAME` tells what a method can and cannot do." in told
    assert max(map(len, told)) <= 110


@pytest.mark.parametrize("width", [60, 80, 100, 160, 400])
def test_blocks_of_columns_fit_the_terminal(width):
    """Every method once, in order; every block has all rows, and no line is longer than the terminal is wide."""
    one = fit_by_hand(MEDIATION)
    names = list(registry.names())
    lines = [
        line.text for line in side_by_side_lines({name: replace(one, estimator=name) for name in names}, width=width)
    ]
    table = lines[: lines.index("What the methods are")]
    assert max(map(len, table)) <= width
    heads = [line.split() for line in table if set(line.split()) <= set(names) and line]
    assert [name for head in heads for name in head] == names
    assert len(heads) == sum("bw: y ~ m" in line for line in table) == sum(line.startswith("SE") for line in table)


def test_no_mark_where_the_model_itself_ties_the_levels():
    tied = fit_by_hand("level: within\n y ~ b*m\nlevel: between\n y ~ b*m")
    tied.parameters.loc[tied.parameters["label"] == "b", "est"] = 0.4
    text = compared({"msem": tied})
    assert "=" not in text.split("What the methods are")[0]


def test_all_parameters_patterns_and_unknown_names():
    fits = side_by_side()
    everything = compared(fits, parameters=["*"])
    assert "m ~~ m" in everything
    assert "y ~ 1" in everything
    chosen = compared(fits, parameters=["b*", "between: y ~~ y"])
    assert "  y ~~ y" in chosen
    assert "ind :=" not in chosen
    with pytest.raises(SimstudyError, match=r"no parameter 'bbb' \(did you mean 'bb'\?\); it has bw"):
        side_by_side_lines(fits, parameters=["bbb"])


def test_without_labels_regressions_and_loadings_are_shown():
    text = compared({"msem": fit_by_hand(CFA)})
    assert "fw =~ y2" in text
    assert "fw ~ x" in text
    assert "~~" not in text
    assert "y1 ~ 1" not in text
    assert "fw =~ y1" not in text  # fixed


def test_on_a_narrow_terminal_methods_follow_below():
    lines = side_by_side_lines(side_by_side(), width=60)
    assert max(len(line.text) for line in lines) <= 60
    assert sum(line.text.startswith("  bw: y ~ m") for line in lines) > 1


def test_notes_that_all_share_are_printed_once():
    shared = "37 of 1,357 rows are left out"
    fits = {
        name: replace(fit, notes=(shared, *fit.notes, *(("own",) if name == "msem" else ())))
        for name, fit in side_by_side().items()
    }
    text = compared(fits)
    assert text.count(shared) == 1
    assert "msem: own" in text


def test_print_side_by_side_and_nothing_to_show():
    stream = io.StringIO()
    print_side_by_side(Console(file=stream), side_by_side())
    assert stream.getvalue().startswith("Side by side: estimate (standard error)\n1,320 observations in 120 clusters")
    with pytest.raises(SimstudyError, match="no fit to show"):
        side_by_side_lines({})
