"""Eta squared of design factors: against statsmodels, what noise alone gives, and what cannot be said."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from simstudy.errors import SimstudyError
from simstudy.performance import EFFECT_COLUMNS, factor_effects
from simstudy.performance.cell import COLUMNS

J, SIZES, ICCS = (30, 50, 100), ("5", "10"), (0.05, 0.1, 0.3)


def table(
    values: np.ndarray | None = None, *, measure: str = "bias", mcse: float = 0.01, n: int = 100, seed: int = 1
) -> pd.DataFrame:
    """One method's numbers in a design of J x size x icc."""
    cells = list(itertools.product(J, SIZES, ICCS))
    y = np.random.default_rng(seed).normal(size=len(cells)) if values is None else values
    rows = [
        (*cell, k, "casewise", "m", "expected", "b", "between", 0.5, measure, y[k], mcse, n, n, "", np.nan)
        for k, cell in enumerate(cells)
    ]
    return pd.DataFrame(rows, columns=["n_clusters", "cluster_size", "icc", *COLUMNS])


def test_sums_of_squares_are_those_of_statsmodels() -> None:
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    data = table(seed=3).iloc[[*range(7), *range(8, 18)]]  # a cell is missing
    found = factor_effects(data, measures=["bias"]).set_index("term")
    assert tuple(factor_effects(data, measures=["bias"]).columns) == EFFECT_COLUMNS
    model = ols("value ~ (C(n_clusters) + C(cluster_size) + C(icc))**2", data).fit()
    expected = anova_lm(model, typ=2)
    for term in expected.index:
        name = "Residual" if term == "Residual" else ":".join(part[2:-1] for part in term.split(":"))
        assert found.at[name, "df"] == expected.at[term, "df"]
        # two decompositions of the same least squares
        assert found.at[name, "sum_of_squares"] == pytest.approx(expected.at[term, "sum_sq"], rel=1e-9)


def test_balanced_shares_add_up_and_factors_explain_what_they_made() -> None:
    cells = pd.DataFrame(list(itertools.product(J, SIZES, ICCS)), columns=["J", "size", "icc"])
    y = (1.0 / cells["J"] + 0.5 * (cells["size"] == "5") * (cells["icc"] == 0.3)).to_numpy()
    found = factor_effects(table(y), measures=["bias"]).set_index("term")
    assert found["eta_squared"].sum() == pytest.approx(1.0)  # balanced: orthogonal
    assert found.at["n_clusters:icc", "eta_squared"] == pytest.approx(0.0, abs=1e-12)
    assert found.at["cluster_size:icc", "eta_squared"] > 0.2
    assert found["order"].to_dict() == {
        "n_clusters": 1,
        "cluster_size": 1,
        "icc": 1,
        "n_clusters:cluster_size": 2,
        "n_clusters:icc": 2,
        "cluster_size:icc": 2,
        "Residual": 0,
    }


def test_noise_share_is_the_eta_squared_of_noise() -> None:
    """Cells that differ by Monte Carlo error alone: df sigma^2 is the expected sum of squares of every term."""
    rng = np.random.default_rng(5)
    parts = [table(0.02 * rng.normal(size=18), mcse=0.02).assign(parameter=f"b{k}") for k in range(300)]
    found = factor_effects(pd.concat(parts), measures=["bias"])
    one = found[found["parameter"] == "b0"]
    ss = found.groupby("term", sort=False)["sum_of_squares"].mean().to_numpy()
    df = one["df"].to_numpy()
    # a mean of 300 chi-squares of df degrees of freedom has relative error sqrt(2/(300 df)), 6 % at df = 2; 4 of them
    np.testing.assert_allclose(ss, df * 0.02**2, rtol=0.24)
    total = one["sum_of_squares"].sum()
    np.testing.assert_allclose(one["noise_share"], df * 0.02**2 / total, rtol=1e-9)  # rounding of sums


def test_rates_at_the_ends_have_no_noise() -> None:
    y = np.array([0.9, *[1.0] * 17])
    found = factor_effects(table(y, measure="coverage", mcse=0.05), measures=["coverage"]).set_index("term")
    expected = 2 * (0.9 * 0.1 / 100 / 18) / np.sum((y - y.mean()) ** 2)
    assert found.at["n_clusters", "noise_share"] == pytest.approx(expected)


def test_replicates_of_a_rate_are_zeros_and_ones() -> None:
    rng = np.random.default_rng(6)
    counts = rng.integers(30, 60, size=18)
    hits = rng.binomial(counts, 0.8)
    rows = table(hits / counts, measure="coverage").assign(n=counts)
    found = factor_effects(rows, measures=["coverage"], outcome="replicates").set_index("term")
    each = np.repeat(np.arange(18), counts)
    y = np.concatenate([[1.0] * h + [0.0] * (c - h) for h, c in zip(hits, counts, strict=True)])
    assert found.at["Within cells", "df"] == counts.sum() - 18
    within = sum(((y[each == k] - y[each == k].mean()) ** 2).sum() for k in range(18))
    assert found.at["Within cells", "sum_of_squares"] == pytest.approx(within)
    share = found.at["Within cells", "eta_squared"]
    assert share == pytest.approx(within / ((y - y.mean()) ** 2).sum())


def test_a_saturated_design_says_what_it_cannot_tell() -> None:
    found = factor_effects(table(), measures=["bias"], order=3)
    assert "Residual" not in set(found["term"])
    assert np.isfinite(found["eta_squared"]).all()
    assert found["partial_eta_squared"].isna().all()
    assert found["omega_squared"].isna().all()
    assert found["note"].str.contains("no degrees of freedom are left for error").all()


def test_a_factor_with_one_level_has_no_effect_to_show() -> None:
    found = factor_effects(table().assign(method_seed=7), measures=["bias"]).set_index("term")
    assert np.isnan(found.at["method_seed", "eta_squared"])
    assert found.at["method_seed", "note"] == "one level only (7): its effect is unknown"
    with pytest.raises(SimstudyError, match="no design factor has two levels"):
        factor_effects(table()[lambda rows: rows["cell"] == 0], measures=["bias"])


def test_terms_whose_cells_are_missing_are_confounded() -> None:
    rows = table()
    only = rows[(rows["n_clusters"] == 30) | (rows["cluster_size"] == "5")]
    found = factor_effects(only, measures=["bias"]).set_index("term")
    assert found.at["n_clusters:cluster_size", "df"] == 0
    assert np.isnan(found.at["n_clusters:cluster_size", "eta_squared"])
    assert "confounded" in found.at["n_clusters:cluster_size", "note"]
    assert np.isfinite(found.at["n_clusters", "eta_squared"])


def test_a_method_without_numbers_in_some_cells_is_analysed_on_the_others() -> None:
    rows = table()
    rows.loc[rows["cell"].isin([3, 4]), ["value", "n"]] = [np.nan, 0]
    found = factor_effects(rows, measures=["bias"])
    assert set(found["n_cells"]) == {16}
    assert found["note"].str.contains("2 of 18 cells have no number").all()
    assert factor_effects(rows.assign(n=0, value=np.nan), measures=["bias"]).empty


def test_a_measure_that_never_varies_has_nothing_to_explain() -> None:
    found = factor_effects(table(np.full(18, 0.1 + 0.2)), measures=["bias"])
    assert found["note"].tolist() == ["the same in every cell"]
    assert found["sum_of_squares"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measures": ["bais"]}, r"measures: there is no 'bais' \(did you mean 'bias'\?\)"),
        ({"measures": ["rmse"], "outcome": "replicates"}, "rmse is no mean over replicates"),
        ({"outcome": "cell"}, r"outcome: there is no 'cell' \(did you mean 'cells'\?\); allowed: cells, replicates"),
        ({"factors": ["iccs"]}, r"factors: there is no 'iccs' \(did you mean 'icc'\?\)"),
        ({"parameters": ["slope"]}, "parameter: there is no 'slope'; allowed: b"),
        ({"estimators": ["n"]}, "estimator: there is no 'n'"),
        ({"order": 4}, "order: found 4; allowed: 1 to 3"),
        ({"basis": "comon"}, "did you mean 'common'"),
    ],
)
def test_unknown_names_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SimstudyError, match=message):
        factor_effects(table(), **options)  # type: ignore[arg-type]
