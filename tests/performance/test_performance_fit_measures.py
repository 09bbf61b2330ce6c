"""Distribution of fit measures over replicates: converged fits only, chi-square's rejection rate, the table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from simstudy.performance import SUMMARY_COLUMNS, expected_percentiles, summarise_fit_measures
from simstudy.report import fit_measure_blocks
from simstudy.report.tables.render import to_html, to_lines

R, DF = 400, 8


def fits() -> pd.DataFrame:
    """`msem` has chi-square and CFI, and fails in some replicates; `mlm` has a log-likelihood alone."""
    rng = np.random.default_rng(3)
    chisq = rng.chisquare(DF, R)
    ok = rng.random(R) > 0.1
    msem = pd.DataFrame(
        {
            "cell": 2,
            "rep": np.arange(R),
            "estimator": "msem",
            "status": np.where(ok, "OK", "NON_PD"),
            "admissible": ok,
            "loglik": -30_000.0 - rng.random(R),
            "chisq": chisq,
            "pvalue": stats.chi2.sf(chisq, DF),
            "df": float(DF),
            "cfi": np.where(np.arange(R) % 50 == 0, np.nan, 1 - chisq / 1000),
        }
    )
    return pd.concat([msem, msem.assign(estimator="mlm", chisq=np.nan, pvalue=np.nan, df=np.nan, cfi=np.nan)])


def test_numbers_are_those_of_the_converged_fits() -> None:
    table = summarise_fit_measures(fits(), ["mlm", "msem"])
    assert tuple(table.columns) == SUMMARY_COLUMNS
    assert set(table["estimator"]) == {"msem"}  # a log-likelihood alone is no fit measure
    mine = fits().query("estimator == 'msem' and status == 'OK'")
    row = table.set_index("measure").loc["chisq"]
    assert row["n"] == len(mine) < R
    assert row["mean"] == pytest.approx(mine["chisq"].mean(), rel=1e-12)  # order of a sum
    assert row["mean_mcse"] == pytest.approx(mine["chisq"].std() / np.sqrt(len(mine)), rel=1e-12)
    assert [row[key] for key in ("p05", "p50", "p95")] == mine["chisq"].quantile([0.05, 0.5, 0.95]).tolist()
    share = (mine["pvalue"] < 0.05).mean()
    assert (row["rejection"], row["df"]) == (share, DF)
    assert row["rejection_mcse"] == pytest.approx(np.sqrt(share * (1 - share) / len(mine)))
    cfi = table.set_index("measure").loc["cfi"]
    assert cfi["n"] == mine["cfi"].notna().sum()
    assert np.isnan(cfi["rejection"])


def test_expected_percentiles_are_those_of_chi_square() -> None:
    drawn = np.random.default_rng(1).chisquare(DF, 200_000)
    # the density at the 95 % point is .017: its MCSE is sqrt(.05 .95/200000)/.017 = .03
    np.testing.assert_allclose(expected_percentiles(DF), np.quantile(drawn, [0.05, 0.5, 0.95]), atol=0.12)


def test_table_shows_what_a_true_model_would_give() -> None:
    table = summarise_fit_measures(fits(), ["msem"])
    lines = [line.text for line in to_lines(fit_measure_blocks(table), 160)]
    assert "Fit measures. Cell 2, msem" in lines
    at = next(place for place, line in enumerate(lines) if line.startswith("chi-square"))
    assert lines[at + 1].split()[:5] == ["expected,", "df", "=", "8", "8.000"]
    loglik = next(line for line in lines if line.startswith("log-likelihood"))
    assert "-30000." in loglik  # readable, not 3e+04
    assert "<caption>Fit measures. Cell 2, msem</caption>" in to_html(fit_measure_blocks(table))
    assert fit_measure_blocks(summarise_fit_measures(fits().query("estimator == 'mlm'"), ["mlm"])) == []
