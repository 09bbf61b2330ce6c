"""Scores of both levels with random slopes against conditional moments of the dense normal distribution.

Given the latent mean t of the slope's predictor (where there is one), latent variables, random elements and all rows
of a cluster are jointly normal; t is integrated over a fine grid.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import simstudy
from simstudy.analysis.result import FitRecord
from simstudy.analysis.scores import factor_scores
from simstudy.model.representation import fill, level_matrices

FACTOR = "level: 1\n f =~ y1 + y2 + y3\n f ~ rv('s')*x\nlevel: 2\n g =~ y1 + y2 + y3\n"
CASES = {
    "observed": FACTOR + " g ~ w\n s ~ w\n g ~~ s\n",
    "latent": FACTOR + " g ~ x + w\n s ~ x\n g ~~ s\n",
    "hybrid": FACTOR + " g ~ x + w\n s ~ x\n g ~~ s\n",
}


def frame(seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 9, size=60)
    g = np.repeat(np.arange(60), sizes)
    w, level, s = rng.normal(size=60), 0.7 * rng.normal(size=60), 0.5 + 0.4 * rng.normal(size=60)
    x = level[g] + rng.normal(size=len(g))
    f = s[g] * (x - level[g]) + 0.8 * rng.normal(size=len(g))
    b = 0.4 * w + 0.3 * level + 0.5 * rng.normal(size=60)
    columns = {"g": [f"c{k:02d}" for k in g], "x": x, "w": w[g]}
    for k in (1, 2, 3):
        columns[f"y{k}"] = 0.2 * k + (1 - 0.1 * k) * f + (b + 0.3 * rng.normal(size=60))[g] + rng.normal(size=len(g))
    return pd.DataFrame(columns).sample(frac=1.0, random_state=seed, ignore_index=True)


def conditional(fit: FitRecord, rows: pd.DataFrame, treatment: str, t: float | None) -> tuple[np.ndarray, ...]:
    """Mean and variances of (g, s, f_1, ..., f_n) given a cluster's rows and t, and the log-density of rows and t."""
    model, x, n = fit.model, rows["x"].to_numpy(), len(rows)
    within, between = level_matrices(model, "within"), level_matrices(model, "between")
    a, b = fill(within, fit.params), fill(between, fit.params)
    e_w, e_b = np.linalg.inv(np.eye(len(a.paths)) - a.paths), np.linalg.inv(np.eye(len(b.paths)) - b.paths)
    at = {name: i for i, name in enumerate(between.variables)}
    place = {name: i for i, name in enumerate(within.variables)}
    mean, cov = e_b @ b.means, e_b @ b.covariances @ e_b.T
    known = {"w": rows["w"].iloc[0]} | ({} if t is None else {"x": t})
    given = [at[name] for name in known]
    value = np.array(list(known.values()))
    total = stats.multivariate_normal.logpdf(value, mean[given], cov[np.ix_(given, given)])
    names = ["g", "s", "y1", "y2", "y3"]
    free = [at[name] for name in names]
    carry = cov[np.ix_(free, given)] @ np.linalg.inv(cov[np.ix_(given, given)])
    mean_u = mean[free] + carry @ (value - mean[given])
    cov_u = cov[np.ix_(free, free)] - carry @ cov[np.ix_(given, free)]
    slope_mean = mean[at["s"]]
    centred = x if t is None else x - t
    sigma = (e_w @ a.covariances @ e_w.T)[place["x"], place["x"]]
    total += stats.norm.logpdf(centred, a.means[place["x"]], np.sqrt(sigma)).sum()
    times = x if treatment == "observed" else centred if treatment == "latent" else x
    shift = 0.0 if treatment != "hybrid" or t is None else -slope_mean * t
    load = np.array([e_w[place[y], place["f"]] for y in ("y1", "y2", "y3")])
    zeta, theta = a.covariances[place["f"], place["f"]], np.diagonal(a.covariances)[[place[y] for y in names[2:]]]
    # f_i = s times_i + shift + zeta_i; y_ki = y_Bk + load_k f_i + e_ki
    tall_f, tall_y = np.zeros((n, 5)), np.zeros((3 * n, 5))
    tall_f[:, 1] = times
    tall_y[:, 1] = np.kron(times, load)
    for k in range(3):
        tall_y[k::3, 2 + k] = 1.0
    whole = np.vstack([np.eye(5)[:2], tall_f, tall_y])
    joint = whole @ cov_u @ whole.T
    joint[2 : 2 + n, 2 : 2 + n] += zeta * np.eye(n)
    joint[2 + n :, 2 + n :] += np.kron(np.eye(n), zeta * np.outer(load, load) + np.diag(theta))
    joint[2 : 2 + n, 2 + n :] += np.kron(np.eye(n), zeta * load[None])
    joint[2 + n :, 2 : 2 + n] = joint[2 : 2 + n, 2 + n :].T
    centre = whole @ mean_u
    centre[2 : 2 + n] += shift
    centre[2 + n :] += shift * np.tile(load, n)
    y = rows[["y1", "y2", "y3"]].to_numpy().ravel()
    seen, wanted = 2 + n + np.flatnonzero(~np.isnan(y)), np.arange(2 + n)
    y, inner, link = y[~np.isnan(y)], joint[np.ix_(seen, seen)], joint[np.ix_(wanted, seen)]
    total += stats.multivariate_normal.logpdf(y, centre[seen], inner)
    gain = link @ np.linalg.inv(inner)
    found = centre[wanted] + gain @ (y - centre[seen])
    return found, np.diagonal(joint)[wanted] - (gain * link).sum(axis=1), total


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(
    "treatment", ["observed", *(pytest.param(name, marks=pytest.mark.slow) for name in ("latent", "hybrid"))]
)
def test_scores_are_conditional_moments(treatment, gaps) -> None:
    data = frame()
    if gaps:
        data["y1"] = data["y1"].where(np.arange(len(data)) % 3 > 0)
        data.loc[data.index % 5 == 0, ["y2", "y3"]] = np.nan  # some rows have x alone
    missing = "fiml" if gaps else "listwise"
    fit = simstudy.fit(CASES[treatment], data, cluster="g", slopes=treatment, nodes=15, missing=missing)
    assert fit.converged
    scores = factor_scores(fit)
    assert list(scores.within.index) == list(data.index)
    for name in ("c00", "c42"):
        rows = data[data["g"] == name]
        if treatment == "observed":
            mean, variance, _ = conditional(fit, rows, treatment, None)
        else:
            centre = rows["x"].mean()
            grid = np.linspace(centre - 6, centre + 6, 161)  # the trapezium rule: exact to rounding for smooth tails
            parts = [conditional(fit, rows, treatment, t) for t in grid]
            log = np.array([part[2] for part in parts])
            share = np.exp(log - log.max())
            share /= share.sum()
            mean = sum(p * part[0] for p, part in zip(share, parts, strict=True))
            square = sum(p * (part[1] + part[0] ** 2) for p, part in zip(share, parts, strict=True))
            variance = square - mean**2
        between, within = scores.between.loc[name], scores.within.loc[rows.index]
        ours = np.concatenate([[between["g"], between["s"]], within["f"]])
        errors = np.concatenate([[between["g_se"], between["s_se"]], within["f_se"]])
        np.testing.assert_allclose(ours, mean, atol=1e-7)  # 15 nodes
        np.testing.assert_allclose(errors, np.sqrt(variance), atol=1e-7)
