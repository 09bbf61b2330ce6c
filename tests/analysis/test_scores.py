"""Factor scores against means and variances of the joint normal distribution, written out cluster by cluster."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from simstudy.analysis.fit import fit
from simstudy.analysis.result import FitRecord
from simstudy.analysis.scores import factor_scores
from simstudy.errors import EstimatorError
from simstudy.model.implied import TwoLevelStructure

FACTORS = """
level: within
  fw =~ y1 + y2 + y3
  fw ~ x
level: between
  fb =~ y1 + y2 + y3
  fb ~ z
"""
PATHS = """
level: within
  y ~ bw*x
level: between
  y ~ bb*x + c*z
"""
# Conditional means and variances along another route: rounding of inverses of matrices of order 1.
EXACT = 1e-10


def draw(seed: int = 1) -> pd.DataFrame:
    """30 unequal clusters in mixed order, named by text; x and z at one level each in FACTORS."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 8, size=30)
    g = np.repeat(np.arange(30), sizes)
    z = rng.normal(size=30)
    fb = 0.5 * z + 0.6 * rng.normal(size=30)
    x = rng.normal(size=len(g)) + 0.9 * rng.normal(size=30)[g]
    fw = 0.4 * x + rng.normal(size=len(g))
    columns = {"school": np.array([f"s{k:02d}" for k in g]), "x": x, "z": z[g]}
    for k in (1, 2, 3):
        u, e = 0.3 * rng.normal(size=30), 0.7 * rng.normal(size=len(g))
        columns[f"y{k}"] = 2.0 + (1 + 0.1 * k) * (fb[g] + fw) + u[g] + e
    columns["y"] = columns["y1"]
    return pd.DataFrame(columns).sample(frac=1.0, random_state=seed, ignore_index=True)


def with_gaps(data: pd.DataFrame, seed: int = 2) -> pd.DataFrame:
    """Values missing at both levels, a cluster without level-1 values, one without any, and an empty row."""
    rng = np.random.default_rng(seed)
    data = data.copy()
    for name in ("x", "y", "y1", "y2", "y3"):
        data.loc[rng.uniform(size=len(data)) < 0.2, name] = np.nan
    schools = sorted(data["school"].unique())
    data.loc[data["school"].isin(schools[3:7]), "z"] = np.nan
    level1 = ["x", "y", "y1", "y2", "y3"]
    data.loc[data["school"].isin([schools[3], schools[10]]), level1] = np.nan
    data.loc[data.index[5], level1] = np.nan
    return data


def fitted(text: str, data: pd.DataFrame) -> FitRecord:
    missing = "fiml" if data.isna().any(axis=None) else "listwise"
    found = fit(text, data, cluster="school", missing=missing)
    assert found.converged
    return found


def conditional(found: FitRecord, rows: np.ndarray, z: np.ndarray) -> tuple[dict, dict, list[dict], list[dict]]:
    """Of one cluster: means and SDs of the between variables, and of each row's within variables, given the data."""
    structure = TwoLevelStructure(found.model)
    within, between = structure.within.implied(found.params), structure.between.implied(found.params)
    mu, _, _ = structure.moments(found.params)
    names_w, names_b = structure.within.maps.variables, structure.between.maps.variables
    level1, level2 = found.model.level1, found.model.level2
    n, k = len(rows), len(names_b)
    # all latent quantities of the cluster: between variables, then the within variables of every row
    cov = np.zeros((k + n * len(names_w),) * 2)
    cov[:k, :k] = between.cov
    for i in range(n):
        at = slice(k + i * len(names_w), k + (i + 1) * len(names_w))
        cov[at, at] = within.cov
    # each observed value is a sum of latent quantities
    loadings, values, means = [], [], []
    for i in range(n):
        for v, name in enumerate(level1):
            row = np.zeros(len(cov))
            row[k + i * len(names_w) + names_w.index(name)] = 1.0
            if name in names_b:
                row[names_b.index(name)] = 1.0
            loadings.append(row)
            values.append(rows[i, v])
            means.append(mu[v])
    for v, name in enumerate(level2):
        row = np.zeros(len(cov))
        row[names_b.index(name)] = 1.0
        loadings.append(row)
        values.append(z[v])
        means.append(mu[len(level1) + v])
    seen = ~np.isnan(values)
    load = np.array(loadings)[seen]
    deviation = (np.array(values) - np.array(means))[seen]
    joint = load @ cov @ load.T
    weights = np.linalg.solve(joint, load @ cov).T if seen.any() else np.zeros((len(cov), 0))
    mean, spread = weights @ deviation, cov - weights @ load @ cov
    sd = np.sqrt(np.maximum(np.diag(spread), 0.0))
    mean[:k] += between.mean
    blocks = [slice(k + i * len(names_w), k + (i + 1) * len(names_w)) for i in range(n)]
    return (
        dict(zip(names_b, mean[:k], strict=True)),
        dict(zip(names_b, sd[:k], strict=True)),
        [dict(zip(names_w, mean[b], strict=True)) for b in blocks],
        [dict(zip(names_w, sd[b], strict=True)) for b in blocks],
    )


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "missing values"])
@pytest.mark.parametrize("text", [FACTORS, PATHS], ids=["factors", "paths"])
def test_scores_are_conditional_means_and_standard_deviations(text, gaps) -> None:
    data = with_gaps(draw()) if gaps else draw()
    found = fitted(text, data)
    scores = factor_scores(found)
    between_names = ["fb", "y1", "y2", "y3"] if text is FACTORS else ["y", "x"]
    within_names = ["fw", "y1", "y2", "y3", "x"] if text is FACTORS else ["y", "x"]
    # level-2 variables are observed as they are: no scores
    assert set(scores.between.columns) == {*between_names, *(f"{name}_se" for name in between_names)}
    assert set(scores.within.columns) == {"cluster", *within_names, *(f"{name}_se" for name in within_names)}
    # the rows that were used: without fiml all, with it those with any value too
    assert scores.between.index.tolist() == data["school"].unique().tolist()
    assert len(scores.within) == len(data)
    for cluster, given in data.groupby("school"):
        rows = given[list(found.model.level1)].to_numpy()
        z = given[list(found.model.level2)].bfill().iloc[0].to_numpy()
        mean_b, sd_b, mean_w, sd_w = conditional(found, rows, z)
        ours = scores.between.loc[cluster]
        for name in between_names:
            assert ours[name] == pytest.approx(mean_b[name], abs=EXACT)
            assert ours[f"{name}_se"] == pytest.approx(sd_b[name], abs=1e-8)  # a root of a difference near 0
        own = scores.within[scores.within["cluster"] == cluster]
        assert len(own) == len(given)
        for i, (_, row) in enumerate(own.iterrows()):  # the data's order within clusters
            for name in within_names:
                assert row[name] == pytest.approx(mean_w[i][name], abs=EXACT), name
                assert row[f"{name}_se"] == pytest.approx(sd_w[i][name], abs=1e-7), name


def test_scores_of_clusters_without_values_are_means() -> None:
    data = with_gaps(draw())
    found = fitted(PATHS, data)
    structure = TwoLevelStructure(found.model)
    implied = structure.between.implied(found.params)
    names = structure.between.maps.variables
    used = data.groupby("school")[["x", "y", "z"]].apply(lambda frame: frame.notna().any(axis=None))
    empty = list(used.index[~used])
    assert empty
    scores = factor_scores(found).between
    for name in ("x", "y"):
        k = names.index(name)
        assert scores.loc[empty[0], name] == pytest.approx(implied.mean[k], abs=1e-14)  # nothing is added
        assert scores.loc[empty[0], f"{name}_se"] == pytest.approx(np.sqrt(implied.cov[k, k]), rel=1e-14)


def test_within_and_between_scores_of_a_decomposed_variable_add_up_to_it() -> None:
    data = draw()
    scores = factor_scores(fitted(PATHS, data))
    within = scores.within.join(scores.between.add_suffix("_between"), on="cluster")
    for name in ("x", "y"):  # row by row; rounding
        np.testing.assert_allclose(within[name] + within[f"{name}_between"], data[name], rtol=0, atol=1e-12)


def test_scores_recover_the_truth_as_far_as_their_standard_errors_say() -> None:
    """Large clusters: the between factor is known well, and standardised errors have variance 1."""
    rng = np.random.default_rng(5)
    n_clusters, n = 150, 20
    g = np.repeat(np.arange(n_clusters), n)
    fb, fw = 0.7 * rng.normal(size=n_clusters), rng.normal(size=len(g))
    data = pd.DataFrame({"school": g})
    for k in (1, 2, 3):
        u, e = 0.3 * rng.normal(size=n_clusters), 0.7 * rng.normal(size=len(g))
        data[f"y{k}"] = fb[g] + fw + u[g] + e
    text = "level: within\n fw =~ y1 + 1*y2 + 1*y3\nlevel: between\n fb =~ y1 + 1*y2 + 1*y3"
    scores = factor_scores(fitted(text, data))
    z = (scores.between["fb"] - fb) / scores.between["fb_se"]
    # 150 values, and the estimated grand mean: SD within 4 / sqrt(300), mean within 4 of its SE
    assert z.std() == pytest.approx(1.0, abs=0.24)
    assert abs((scores.between["fb"] - fb).mean()) < 4 * np.sqrt((0.49 + 0.03) / n_clusters)
    z = (scores.within["fw"] - fw) / scores.within["fw_se"]
    assert z.std() == pytest.approx(1.0, abs=0.06)  # 3,000 values, 4 / sqrt(6000)
    # a third way to the same: squared correlation with the truth is 1 - posterior / prior variance
    reliability = 1.0 - (scores.between["fb_se"] ** 2).mean() / fb.var()
    found = np.corrcoef(scores.between["fb"], fb)[0, 1] ** 2
    assert found == pytest.approx(reliability, abs=4 * 2 * (1 - reliability) / np.sqrt(n_clusters))  # 4 SEs


@pytest.mark.parametrize("missing", ["listwise", "fiml"])
@pytest.mark.parametrize("text", [FACTORS, PATHS], ids=["factors", "paths"])
def test_scores_line_up_with_the_data(text: str, missing: str) -> None:
    """Index and order of the data, rows that were left out absent; clusters by their identifiers, as they appear."""
    data = draw().set_index(pd.Index([f"person {k}" for k in range(len(draw()))]))
    rng = np.random.default_rng(3)
    data.loc[rng.uniform(size=len(data)) < 0.1, "x"] = np.nan
    scores = factor_scores(fit(text, data, cluster="school", missing=missing))
    used = data.dropna() if missing == "listwise" else data
    assert scores.within.index.tolist() == used.index.tolist()
    assert scores.within["cluster"].tolist() == used["school"].tolist()
    assert scores.between.index.tolist() == used["school"].unique().tolist()
    # within and between parts add up to the row's own value: exact up to rounding where it is observed
    beside = used.join(scores.within.add_suffix("_w")).join(scores.between.add_suffix("_b"), on="school").dropna()
    if text is PATHS:
        np.testing.assert_allclose(beside["x_w"] + beside["x_b"], beside["x"], rtol=0, atol=1e-12)
    else:  # x lives within only: its score is its deviation from the mean
        deviation = beside["x"] - beside["x_w"]
        np.testing.assert_allclose(deviation, deviation.iloc[0], rtol=0, atol=1e-12)


def test_there_are_no_scores_without_a_solution() -> None:
    data = draw()
    with pytest.raises(EstimatorError, match="does not estimate the whole two-level model"):
        factor_scores(fit(PATHS, data, cluster="school", estimator="aggregated"))
