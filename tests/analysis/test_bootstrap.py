"""Bootstrap and Monte Carlo intervals of one data set."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from simstudy.analysis import bootstrap as module
from simstudy.analysis.bootstrap import bootstrap
from simstudy.analysis.fit import fit
from simstudy.analysis.result import FitRecord
from simstudy.errors import EstimatorError

MODEL = """
level: within
  m ~ aw*x
  y ~ bw*m + cw*x
level: between
  m ~ ab*x
  y ~ bb*m + cb*x
ind_w := aw*bw
ind_b := ab*bb
"""


def draw(n_clusters: int = 80, seed: int = 3, sizes: tuple[int, int] = (4, 9)) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_clusters), rng.integers(*sizes, size=n_clusters))
    u = rng.normal(size=(n_clusters, 3))
    x = u[g, 0] + rng.normal(size=len(g))
    m = 0.4 * x + 0.3 * u[g, 0] + 0.8 * u[g, 1] + rng.normal(size=len(g))
    y = 0.3 * m + 0.2 * x + 0.3 * u[g, 1] + 0.7 * u[g, 2] + rng.normal(size=len(g))
    return pd.DataFrame({"g": g, "x": x, "m": m, "y": y})


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return draw()


@pytest.fixture(scope="module")
def plain(data) -> FitRecord:
    return fit(MODEL, data, cluster="g", se="expected")


def refits(found: FitRecord, draws: int, *, parametric: bool = True, seed: int = 1, progress=None) -> np.ndarray:
    return bootstrap(found.context, found.model, parametric=parametric, draws=draws, seed=seed, progress=progress)


# ---------------------------------------------------------------------- parametric


def test_parametric_draws_follow_from_the_seed(plain, monkeypatch) -> None:
    first = refits(plain, 250)
    assert first.shape == (250, len(plain.model.reported))
    np.testing.assert_array_equal(refits(plain, 250), first)
    np.testing.assert_array_equal(refits(plain, 100), first[:100])  # draws are addressed, not streamed
    assert (refits(plain, 100, seed=2) != first[:100]).any(axis=1).all()
    monkeypatch.setattr(module, "BATCH", 37)
    np.testing.assert_array_equal(refits(plain, 250), first)


def test_parametric_draws_spread_as_the_standard_errors_say(plain) -> None:
    """Data drawn from the fitted model: means near the estimates, SDs near the model-based SEs."""
    found = refits(plain, 600)
    assert not np.isnan(found).any()
    rows = plain.parameters[plain.parameters["free"]]
    estimates, ses = rows["est"].to_numpy(), rows["se"].to_numpy()
    assert len(rows) == found.shape[1]
    ratio = found.std(axis=0, ddof=1) / ses
    # SD of 600 draws: 3 % (12 % at 4 standard errors); finite-sample spread above the asymptotic SE: up to 8 %
    assert ratio.min() > 0.85
    assert ratio.max() < 1.2
    # bias of order 1 / J, a tenth of an SE; the mean's own error is SE / sqrt(600)
    assert np.abs((found.mean(axis=0) - estimates) / ses).max() < 0.35


def test_limits_are_percentiles(data, plain) -> None:
    found = fit(MODEL, data, cluster="g", se="expected", ci="bootstrap", draws=300, seed=4, ci_level=0.9)
    draws = refits(plain, 300, seed=4)
    free = found.parameters["free"].to_numpy()
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(found.parameters.loc[free, "ci_lower"], low, rtol=1e-13)  # tail probabilities rounded
    np.testing.assert_allclose(found.parameters.loc[free, "ci_upper"], high, rtol=1e-13)
    assert found.parameters.loc[~free, ["ci_lower", "ci_upper"]].isna().all(axis=None)
    assert any("300 bootstrap fits" in note for note in found.notes)
    # estimates, SEs and z do not depend on the kind of interval
    pd.testing.assert_frame_equal(
        found.parameters.drop(columns=["ci_lower", "ci_upper"]), plain.parameters.drop(columns=["ci_lower", "ci_upper"])
    )


def test_refits_keep_the_options_of_the_method(data) -> None:
    held = fit(MODEL, data, cluster="g", fixed_x=True)
    names = list(held.model.names)
    draws = refits(held, 100)
    # x is drawn anew with its moments, and held at those of each draw
    assert draws[:, names.index("within: x ~~ x")].std() > 0
    single = fit(MODEL, data, cluster="g", estimator="aggregated", ci="cluster_bootstrap", draws=100)
    between = single.parameters[single.parameters["label"] == "ab"].iloc[0]
    assert between["ci_lower"] < between["est"] < between["ci_upper"]


@pytest.mark.slow
def test_missing_values_are_blanked_again(data) -> None:
    gaps = data.copy()
    rng = np.random.default_rng(2)
    for name in ("m", "y"):
        gaps.loc[rng.uniform(size=len(gaps)) < 0.25, name] = np.nan
    found = fit(MODEL, gaps, cluster="g", missing="fiml", se="expected")
    names = list(found.model.names)
    draws = refits(found, 100)
    assert not np.isnan(draws).any()
    ratio = draws.std(axis=0, ddof=1)[: len(names)] / np.sqrt(np.diag(found.covariance))
    assert np.median(ratio) == pytest.approx(1.0, abs=0.15)  # SD of 100 draws: 7 % each, the median of 15 less
    # with nothing blanked the within slope of y on m would be known better by a fifth and more
    complete = fit(MODEL, data, cluster="g", se="expected")
    k = names.index("bw")
    assert draws[:, k].std(ddof=1) > 1.05 * np.sqrt(complete.covariance[k, k])


@pytest.mark.slow
def test_refits_that_fail_are_counted_and_left_out() -> None:
    text = "level: within\n f =~ y1 + y2 + y3\nlevel: between\n f_b =~ y1 + y2 + y3"
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(30), 5)
    u, f = 0.6 * rng.normal(size=30)[g], rng.normal(size=150)
    data = pd.DataFrame({"g": g})
    for k in (1, 2, 3):
        data[f"y{k}"] = u + f + 0.5 * rng.normal(size=30)[g] + rng.normal(size=150)
    found = fit(text, data, cluster="g", ci="bootstrap", draws=100)
    assert found.admissible
    draws = refits(fit(text, data, cluster="g"), 100)
    failed = int(np.isnan(draws).all(axis=1).sum())
    assert 0 < failed < 100
    assert f"{failed} of 100 bootstrap fits failed and are left out of the intervals" in found.notes
    assert f"intervals are percentile intervals of {100 - failed} bootstrap fits" in found.notes
    free = found.parameters["free"]
    expected = np.nanquantile(draws, 0.025, axis=0)  # NaN rows left out
    np.testing.assert_allclose(found.parameters.loc[free, "ci_lower"], expected, rtol=1e-13)  # rounding
    assert np.isfinite(found.parameters.loc[free, "ci_upper"]).all()


@pytest.mark.slow
def test_inadmissible_solutions_cannot_be_drawn_from() -> None:
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(40), 4)
    x = rng.normal(size=160)
    x -= 0.5 * pd.Series(x).groupby(g).transform("mean").to_numpy()  # less than no variance between
    data = pd.DataFrame({"g": g, "x": x, "y": x + rng.normal(size=160)})
    text = "level: within\n y ~ x\nlevel: between\n y ~~ y\n x ~~ x"
    found = fit(text, data, cluster="g")
    assert found.converged
    assert not found.admissible
    with pytest.raises(EstimatorError, match="inadmissible"):
        fit(text, data, cluster="g", ci="bootstrap", draws=100)
    by_clusters = fit(text, data, cluster="g", ci="cluster_bootstrap", draws=100)
    assert any("bootstrap fits" in note for note in by_clusters.notes)


def test_methods_that_leave_parameters_out_cannot_be_drawn_from(data) -> None:
    with pytest.raises(EstimatorError, match="cluster_bootstrap"):
        fit(MODEL, data, cluster="g", estimator="aggregated", ci="bootstrap", draws=100)


def test_progress_is_told(plain) -> None:
    told: list[tuple[str, int, int]] = []
    refits(plain, 450, progress=lambda *step: told.append(step))
    assert told == [("bootstrap", 200, 450), ("bootstrap", 400, 450), ("bootstrap", 450, 450)]


# ---------------------------------------------------------------------- clusters


def test_cluster_draws_follow_from_the_seed(plain) -> None:
    first = refits(plain, 20, parametric=False)
    np.testing.assert_array_equal(refits(plain, 20, parametric=False), first)
    np.testing.assert_array_equal(refits(plain, 10, parametric=False), first[:10])
    assert (refits(plain, 10, parametric=False, seed=9) != first[:10]).any(axis=1).all()
    assert len(np.unique(first[:, 0])) == 20


@pytest.mark.slow
def test_cluster_draws_spread_as_robust_standard_errors_say(data) -> None:
    robust = fit(MODEL, data, cluster="g", se="robust")
    draws = refits(robust, 200, parametric=False)
    ratio = draws.std(axis=0, ddof=1)[: len(robust.params)] / np.sqrt(np.diag(robust.covariance))
    # SD of 200 draws 5 %; resampling 80 clusters spreads more than the sandwich by up to 15 %
    assert ratio.min() > 0.85
    assert ratio.max() < 1.35
    assert np.median(ratio) == pytest.approx(1.05, abs=0.1)


def test_cluster_draws_take_whole_clusters(monkeypatch) -> None:
    """Each drawn sample consists of clusters of the data, rows and level-2 values together."""
    data = draw(12, seed=8).assign(z=lambda d: d["g"] * 10.0)
    found = fit("level: within\n y ~ x\nlevel: between\n y ~ z\n x ~~ x", data, cluster="g")
    seen = []
    method = found.context.method
    original = type(method).prepare

    class Recorder:
        def __init__(self, inner):
            self.inner = inner

        def fit(self, sample):
            seen.append(sample)
            return self.inner.fit(sample)

    monkeypatch.setattr(type(method), "prepare", lambda self, *args: Recorder(original(self, *args)))
    monkeypatch.setattr(type(method), "needs", property(lambda self: "sample"))
    refits(found, 3, parametric=False)
    assert len(seen) == 3
    known = dict(list(data.groupby("z")))
    for sample in seen:
        frame = sample.to_frame()
        assert frame["cluster"].nunique() == 12
        for _, group in frame.groupby("cluster"):
            source = known[group["z"].iloc[0]]
            np.testing.assert_array_equal(np.sort(group["y"]), np.sort(source["y"]))
            assert set(zip(group["x"], group["y"], strict=True)) == set(zip(source["x"], source["y"], strict=True))
    assert any(sample.to_frame()["z"].nunique() < 12 for sample in seen)  # with replacement


# ---------------------------------------------------------------------- Monte Carlo intervals (theory C12)


def test_montecarlo_limits_are_quantiles_of_the_product_of_normals(data) -> None:
    draws, level = 40_000, 0.9
    found = fit(MODEL, data, cluster="g", se="observed", ci="montecarlo", draws=draws, ci_level=level)
    names = list(found.model.names)
    rng = np.random.default_rng(1)
    for label, (a, b) in {"ind_w": ("aw", "bw"), "ind_b": ("ab", "bb")}.items():
        at = [names.index(a), names.index(b)]
        points = rng.multivariate_normal(found.params[at], found.covariance[np.ix_(at, at)], size=1_000_000)
        product = points[:, 0] * points[:, 1]
        own = found.parameters.set_index("label").loc[label]
        for tail, limit in ((0.05, own["ci_lower"]), (0.95, own["ci_upper"])):
            exact = np.quantile(product, tail)
            width = np.quantile(product, tail + 0.01) - np.quantile(product, tail - 0.01)
            density = 0.02 / width
            mcse = np.sqrt(tail * (1 - tail) * (1 / draws + 1 / 1_000_000)) / density
            assert abs(limit - exact) < 4 * mcse
        skewness = stats.skew(product)
        middle = (own["ci_lower"] + own["ci_upper"]) / 2
        assert np.sign(middle - own["est"]) == np.sign(skewness)  # not symmetric about the estimate


def test_montecarlo_limits_of_other_parameters_are_walds(data) -> None:
    found = fit(MODEL, data, cluster="g", se="robust", ci="montecarlo", draws=500)
    wald = fit(MODEL, data, cluster="g", se="robust")
    free = (found.parameters["op"] != ":=").to_numpy()
    columns = ["ci_lower", "ci_upper"]
    pd.testing.assert_frame_equal(found.parameters.loc[free, columns], wald.parameters.loc[free, columns])
    assert (found.parameters.loc[~free, columns] != wald.parameters.loc[~free, columns]).all(axis=None)
    assert any("Monte Carlo intervals" in note for note in found.notes)
    again = fit(MODEL, data, cluster="g", se="robust", ci="montecarlo", draws=500)
    other = fit(MODEL, data, cluster="g", se="robust", ci="montecarlo", draws=500, seed=2)
    pd.testing.assert_frame_equal(again.parameters, found.parameters)
    assert (other.parameters.loc[~free, columns] != found.parameters.loc[~free, columns]).all(axis=None)
