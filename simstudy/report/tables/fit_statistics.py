"""A fit's test statistics and indices, the fit of each level, and reliabilities, laid out for reading."""

from __future__ import annotations

import math

import pandas as pd

from simstudy.analysis.result import FitRecord
from simstudy.linalg.tails import chi_square_tail
from simstudy.report.tables.fit_tables import LABEL, VALUE, fact, number
from simstudy.report.tables.text import NOT_AVAILABLE, Line, TextTable, wrapped

NO_CHISQ = (
    "There is no chi-square, CFI, RMSEA or SRMR with random slopes: covariances",
    "within clusters depend on the predictors, so there is no unrestricted",
    "covariance matrix to compare with. Use likelihood ratios, AIC or BIC.",
)
NOTE_WIDTH = 80
LEVEL_WORDS = {"both": "target model", "within": "within", "between": "between"}
COEFFICIENTS = {
    "omega": "omega (of the level's latent composite; Geldhof et al. 2014)",
    "omega_2l": "omega of the raw composite, configural construct (Lai 2021)",
    "omega_b": "omega of the cluster mean, shared construct (Lai 2021)",
    "irr": "agreement of raters: share of the cluster mean that is not raters' (Lai 2021)",
}


class _Measures:
    """Fit measures by name, with lines made of those that are known."""

    def __init__(self, found: dict[str, float]) -> None:
        self.found = found
        self.scaled = self.known("chisq_scaled") or self.known("scaling")
        self.lines: list[Line] = []

    def get(self, name: str) -> float:
        return self.found.get(name, math.nan)

    def known(self, name: str) -> bool:
        return not math.isnan(self.get(name))

    def title(self, text: str) -> None:
        self.lines += [Line(""), Line(text, "bold"), Line("")]

    def note(self, text: str) -> None:
        self.lines.append(Line(f"    {text}", "dim"))

    def row(self, label: str, *names: str, decimals: int = 3) -> None:
        if self.known(names[0]):
            self.lines.append(fact(label, *(number(self.get(name), decimals) for name in names)))

    def both(self, label: str, name: str) -> None:
        """A measure, and its scaled version beside it where the fit is robust."""
        self.row(label, *((name, f"{name}_scaled") if self.scaled else (name,)))

    def alone(self, label: str, name: str, decimals: int = 3) -> None:
        """A measure that exists with robust fits only, in their column."""
        if self.known(name):
            self.lines.append(fact(label, "", number(self.get(name), decimals)))


def statistic_lines(fit: FitRecord, width: int) -> list[Line]:
    """Test statistics, fit indices, log-likelihood, information criteria."""
    found = _Measures({name: float(value) for name, value in fit.measures.items()})
    if found.known("chisq"):
        _chisquares(found, fit)
    if found.known("loglik"):
        found.title("Loglikelihood and Information Criteria:")
        found.row("Loglikelihood user model (H0)", "loglik")
        for text in filter(None, (fit.likelihood.sentence, fit.likelihood.hint)):
            found.lines += [Line(line, "dim") for line in wrapped(f"    {text}", min(width, NOTE_WIDTH), "    ")]
        found.alone("Scaling correction factor (MLR)", "scaling_h0", 4)
        found.row("Loglikelihood unrestricted model (H1)", "unrestricted_loglik")
        found.row("Akaike (AIC)", "aic")
        found.row("Bayesian (BIC)", "bic")
        if fit.slopes and not found.known("chisq"):
            found.lines += [Line(f"    {line}", "dim") for line in NO_CHISQ]
    if found.known("rmsea"):
        found.title("Root Mean Square Error of Approximation:")
        found.both("RMSEA", "rmsea")
        found.both("90 Percent confidence interval - lower", "rmsea_ci_lower")
        found.both("90 Percent confidence interval - upper", "rmsea_ci_upper")
        found.alone("Robust RMSEA", "rmsea_robust")
        found.alone("90 Percent confidence interval - lower", "rmsea_ci_lower_robust")
        found.alone("90 Percent confidence interval - upper", "rmsea_ci_upper_robust")
    if found.known("srmr_within") or found.known("srmr_between"):
        found.title("Standardized Root Mean Square Residual:")
        found.row("SRMR (within covariance matrix)", "srmr_within")
        found.row("SRMR (between covariance matrix)", "srmr_between")
        found.note("of correlations, unrestricted minus implied (Bollen 1989)")
    return found.lines


def _chisquares(found: _Measures, fit: FitRecord) -> None:
    """Chi-squares of the model and the baseline model, CFI and TLI."""
    found.title("Model Test User Model:")
    if found.scaled:
        found.lines.append(Line(" " * LABEL + f"{'Standard':>{VALUE}}{'Scaled':>{VALUE}}", "bold"))
    found.both("Test Statistic", "chisq")
    found.lines.append(fact("Degrees of freedom", *(number(found.get("df"), 0),) * (1 + found.scaled)))
    if found.get("df") > 0:
        found.both("P-value (Chi-square)", "pvalue")
    if found.scaled:
        found.lines.append(fact("Scaling correction factor", "", number(found.get("scaling"))))
        found.note("Yuan-Bentler correction (Mplus variant)")
    if fit.h1 == "psd":
        found.lines.append(fact("Compared with (H1)", fit.h1))
        found.note("unrestricted, but with a positive semidefinite between covariance matrix")
    if found.known("baseline_chisq"):
        _baseline(found)
        found.title("User Model versus Baseline Model:")
        found.both("Comparative Fit Index (CFI)", "cfi")
        found.both("Tucker-Lewis Index (TLI)", "tli")
        found.alone("Robust Comparative Fit Index (CFI)", "cfi_robust")
        found.alone("Robust Tucker-Lewis Index (TLI)", "tli_robust")


def _baseline(found: _Measures) -> None:
    """Chi-square of the baseline model, and its scaled version beside it where there is one."""
    factor = found.get("baseline_scaling")
    scaled = found.scaled and factor > 0
    found.title("Model Test Baseline Model:")
    chisq = found.get("baseline_chisq")
    found.found |= {"baseline_chisq_scaled": chisq / factor if scaled else math.nan}
    for name in ("", "_scaled"):
        found.found[f"baseline_pvalue{name}"] = float(
            chi_square_tail(found.get(f"baseline_chisq{name}"), found.get("baseline_df"))
        )
    pair = ("", "_scaled") if scaled else ("",)
    found.row("Test statistic", *(f"baseline_chisq{name}" for name in pair))
    found.row("Degrees of freedom", *("baseline_df" for _ in pair), decimals=0)
    found.row("P-value", *(f"baseline_pvalue{name}" for name in pair))
    if scaled:
        found.alone("Scaling correction factor", "baseline_scaling")


# ---------------------------------------------------------------------- on request


def level_fit_lines(table: pd.DataFrame) -> list[Line]:
    """Fit of the target model and of each level's structure, from `analysis.level_fit.level_fit`."""
    names = [name for name in table.columns if name != "level"]
    measures = [name for name in names if not table[name].isna().all()]
    cells = tuple(
        (f"  {name}", *(_cell(value, 0 if name == "df" else 3) for value in table[name])) for name in measures
    )
    header = ("", *(LEVEL_WORDS[level] for level in table["level"]))
    lines = [Line(""), Line(""), Line("Fit of one level, the other unrestricted:", "bold"), Line("")]
    lines += TextTable(header, cells, left=1).lines()
    return [*lines, Line("  RMSEA counts clusters at the between level, rows elsewhere (Ryu & West 2009)", "dim")]


def reliability_lines(table: pd.DataFrame) -> list[Line]:
    """Reliabilities of composites, from `analysis.reliability.reliability`."""
    shown = ("factor", "level", "coefficient", "est", "se", "ci_lower", "ci_upper")
    header = ("  factor", "level", "coefficient", "est", "se", "ci.lower", "ci.upper")
    cells = tuple(
        (f"  {factor}", str(level), str(coefficient), *(_cell(float(value)) for value in numbers))
        for factor, level, coefficient, *numbers in table[list(shown)].itertuples(index=False)
    )
    lines = [Line(""), Line(""), Line("Reliability of Composites:", "bold"), Line("")]
    lines += TextTable(header, cells, left=3).lines()
    present = [name for name in COEFFICIENTS if name in set(table["coefficient"])]
    return lines + [Line(f"  {name}: {COEFFICIENTS[name]}", "dim") for name in present]


def _cell(value: float, decimals: int = 3) -> str:
    return NOT_AVAILABLE if math.isnan(value) else number(value, decimals)
