"""Reliability of composites by level: by hand, by simulated composites, intervals, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from simstudy.analysis.fit import fit
from simstudy.analysis.reliability import composites, reliability
from simstudy.analysis.result import FitRecord
from simstudy.errors import EstimatorError
from simstudy.model.twolevel import TwoLevelModel

CONFIGURAL = "level: within\n f =~ y1 + b*y2 + c*y3\nlevel: between\n f =~ y1 + b*y2 + c*y3\n f ~ z"
WITHIN, BETWEEN = np.array([1.0, 0.8, 1.2]), np.array([1.0, 0.8, 1.2])
SIZES = [4] * 40 + [10] * 40


def draw(sizes: list[int], seed: int) -> pd.DataFrame:
    """One factor at both levels with equal loadings; residual variances .6 and .1; z explains some of the cluster's."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    z = rng.normal(size=len(sizes))
    between = 0.4 * z + 0.5 * rng.normal(size=len(sizes))
    items = between[:, None] * BETWEEN + np.sqrt(0.1) * rng.normal(size=(len(sizes), 3))
    within = rng.normal(size=len(clusters))
    rows = items[clusters] + within[:, None] * WITHIN + np.sqrt(0.6) * rng.normal(size=(len(clusters), 3))
    return pd.DataFrame(rows, columns=["y1", "y2", "y3"]).assign(g=clusters, z=z[clusters])


@pytest.fixture(scope="module")
def fitted() -> FitRecord:
    found = fit(CONFIGURAL, draw(SIZES, 1), cluster="g")
    assert found.converged
    return found


def test_coefficients_by_hand(fitted) -> None:
    """From the printed estimates alone."""
    values = {
        (row.level, row.lhs, row.op, row.rhs): row.est for row in fitted.parameters.itertuples() if row.op != ":="
    }
    items = ("y1", "y2", "y3")
    of_z = values["between", "z", "~~", "z"]
    psi = {
        "within": values["within", "f", "~~", "f"],
        "between": values["between", "f", "~~", "f"] + values["between", "f", "~", "z"] ** 2 * of_z,
    }
    true, total = {}, {}
    for level, variance in psi.items():
        true[level] = sum(values[level, "f", "=~", name] for name in items) ** 2 * variance
        total[level] = true[level] + sum(values[level, name, "~~", name] for name in items)
    n = len(SIZES) / sum(1 / size for size in SIZES)
    mean = total["between"] + total["within"] / n
    expected = {
        ("omega", "within"): true["within"] / total["within"],
        ("omega", "between"): true["between"] / total["between"],
        ("omega_b", "between"): true["between"] / mean,
        ("irr", "between"): total["between"] / mean,
        ("omega_2l", "both"): sum(true.values()) / sum(total.values()),
    }
    table = reliability(fitted)
    assert set(table["indicators"]) == {"y1 y2 y3"}
    found = {(row.coefficient, row.level): row.est for row in table.itertuples()}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-12), key  # the same sums


def test_coefficients_are_squared_correlations_of_composites_with_what_they_measure() -> None:
    """20,000 clusters of 5: the true composites are there, and reliability is a squared correlation with the factor."""
    rng = np.random.default_rng(7)
    n, clusters = 5, 20_000
    lam, psi_w, psi_b, theta_w, theta_b = np.array([1.0, 0.7, 0.9]), 1.0, 0.5, 0.6, 0.15
    factor_b = np.sqrt(psi_b) * rng.normal(size=clusters)
    factor_w = np.sqrt(psi_w) * rng.normal(size=(clusters, n))
    part_b = factor_b[:, None] * lam + np.sqrt(theta_b) * rng.normal(size=(clusters, 3))
    part_w = factor_w[..., None] * lam + np.sqrt(theta_w) * rng.normal(size=(clusters, n, 3))
    raw = (part_b[:, None] + part_w).sum(axis=-1)
    model = TwoLevelModel.from_syntax("level: within\n f =~ y1 + y2 + y3\nlevel: between\n f =~ y1 + y2 + y3")
    truth = dict.fromkeys(model.names, 0.0)
    for level, psi, theta in (("within", psi_w, theta_w), ("between", psi_b, theta_b)):
        truth |= {f"{level}: f ~~ f": psi, f"{level}: f =~ y2": 0.7, f"{level}: f =~ y3": 0.9}
        truth |= {f"{level}: {name} ~~ {name}": theta for name in ("y1", "y2", "y3")}
    frame = pd.DataFrame(rng.normal(size=(100, 3)), columns=["y1", "y2", "y3"]).assign(g=np.repeat(np.arange(20), n))
    any_fit = fit(model, frame, cluster="g")
    params = np.array([truth[name] for name in model.names])
    table = reliability(replace(any_fit, status=type(any_fit.status).OK, params=params, sizes=(n,) * clusters))
    found = {(row.coefficient, row.level): row.est for row in table.itertuples()}

    def share(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.corrcoef(x.ravel(), y.ravel())[0, 1] ** 2)

    simulated = {
        ("omega", "within"): share(part_w.sum(axis=-1), factor_w),
        ("omega", "between"): share(part_b.sum(axis=-1), factor_b),
        ("omega_b", "between"): share(raw.mean(axis=1), factor_b),
        ("irr", "between"): share(raw.mean(axis=1), part_b.sum(axis=-1)),
        ("omega_2l", "both"): share(raw, factor_w + factor_b[:, None]),
    }
    for key, value in simulated.items():
        assert found[key] == pytest.approx(value, abs=0.02), key  # SE of a squared correlation of 20,000: below .005


def test_delta_and_monte_carlo_intervals_agree(fitted) -> None:
    """To first order: with a hundred times the data."""
    more = replace(fitted, covariance=fitted.covariance / 100.0)
    delta, drawn = reliability(more), reliability(more, ci="montecarlo", draws=4000)
    np.testing.assert_array_equal(delta["est"], drawn["est"])
    np.testing.assert_array_equal(delta["se"], drawn["se"])
    for name in ("ci_lower", "ci_upper"):
        # second order is a tenth of that of the fit itself; a limit of 4,000 draws has an SE of .05 SE
        assert (np.abs(delta[name] - drawn[name]) < 0.2 * delta["se"]).all()
    pd.testing.assert_frame_equal(drawn, reliability(more, ci="montecarlo", draws=4000))  # seeded
    wide, narrow = reliability(fitted, ci_level=0.99), reliability(fitted, ci_level=0.5)
    assert (wide["ci_lower"] < narrow["ci_lower"]).all()
    assert (wide["ci_upper"] > narrow["ci_upper"]).all()


TRUE_WITHIN, TRUE_BETWEEN = 3.0**2, 3.0**2 * (0.4**2 + 0.5**2)
ALL_WITHIN, ALL_BETWEEN = TRUE_WITHIN + 3 * 0.6, TRUE_BETWEEN + 3 * 0.1
MEAN = ALL_BETWEEN + ALL_WITHIN * (1 / 4 + 1 / 10) / 2
TRUTH = np.array(
    [
        TRUE_WITHIN / ALL_WITHIN, TRUE_BETWEEN / ALL_BETWEEN, TRUE_BETWEEN / MEAN, ALL_BETWEEN / MEAN,
        (TRUE_WITHIN + TRUE_BETWEEN) / (ALL_WITHIN + ALL_BETWEEN),
    ]
)  # fmt: skip


@pytest.mark.slow
def test_ses_and_intervals_over_data_sets() -> None:
    fits = [fit(CONFIGURAL, draw(SIZES, 100 + k), cluster="g") for k in range(200)]
    tables = [reliability(one) for one in fits]
    estimates, ses = (np.stack([table[name] for table in tables]) for name in ("est", "se"))
    ratio = np.sqrt((ses**2).mean(axis=0)) / estimates.std(axis=0, ddof=1)
    # 5 % is the SE of an SD of 200; 80 clusters add some 5 % of bias
    assert (np.abs(ratio - 1.0) < 0.25).all(), ratio
    for ci in ("delta", "montecarlo"):
        found = tables if ci == "delta" else [reliability(one, ci="montecarlo", draws=1000) for one in fits]
        lower, upper = (np.stack([table[name] for table in found]) for name in ("ci_lower", "ci_upper"))
        coverage = ((lower <= TRUTH) & (upper >= TRUTH)).mean(axis=0)
        print(ci, coverage)
        # 4 Monte Carlo SEs of 200; intervals are of large samples, and there are 80 clusters
        assert (coverage > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 200)).all(), (ci, coverage)


def test_which_factors_have_composites() -> None:
    model = TwoLevelModel.from_syntax(
        "level: within\n f =~ y1 + y2 + y3\n g =~ y4 + y5 + y6\nlevel: between\n h =~ y1 + y2 + y3 + w\n y4 ~~ y5"
    )
    assert [(c.factor, c.level) for c in composites(model)] == [
        ("f", "within"), ("g", "within"), ("h", "between"),
    ]  # fmt: skip


def test_a_between_factor_with_a_level_2_indicator_has_no_cluster_mean_of_rows() -> None:
    data = draw(SIZES, 3)
    data["w"] = data.groupby("g")["y1"].transform("mean") + np.random.default_rng(2).normal(size=80)[data["g"]]
    found = fit("level: within\n f =~ y1 + y2 + y3\nlevel: between\n h =~ y1 + y2 + y3 + w", data, cluster="g")
    assert found.converged
    assert list(reliability(found)["coefficient"]) == ["omega", "omega"]


def test_what_is_refused(fitted) -> None:
    with pytest.raises(EstimatorError, match="allowed: delta, montecarlo"):
        reliability(fitted, ci="wald")  # type: ignore[arg-type]
    with pytest.raises(EstimatorError, match="between 0 and 1"):
        reliability(fitted, ci_level=95)
    paths = fit("level: within\n y1 ~ y2\nlevel: between\n y1 ~ y2", draw(SIZES, 1), cluster="g")
    with pytest.raises(EstimatorError, match="no factor with two observed indicators"):
        reliability(paths)
