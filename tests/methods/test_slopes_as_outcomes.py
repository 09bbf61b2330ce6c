"""`slopes_as_outcomes`: closed forms, clusters left out, SEs by influence, and what is declined (theory B7, D3.1)."""

from __future__ import annotations

import numpy as np
import pytest

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.estimation.result import FitResult
from simstudy.methods import ask, registry
from simstudy.methods.by_cluster.slopes_as_outcomes import SlopesAsOutcomes
from simstudy.model.twolevel import TwoLevelModel

# y and z given s and w are left uncorrelated by the truth; the model is saturated
TEXT = "level: 1\n y ~ rv('s')*x\nlevel: 2\n s ~ g*w\n z ~ b*s\n y ~~ s\n y ~ w\n y ~~ z\n s ~~ t11*s\n"
MODEL = TwoLevelModel.from_syntax(TEXT)
SIMPLE = TwoLevelModel.from_syntax("level: 1\n y ~ rv('s')*x\nlevel: 2\n y + s ~ w\n s ~~ t11*s\n y ~~ t01*s")
UNBALANCED = ClusterLayout.of([2, 3, 5, 8, 12] * 8)


def sample(layout: ClusterLayout, n: int, seed: int = 1) -> Sample:
    """T = (.3, .05; .05, .15), slope on w .3, z on slope .6, sigma^2 = 1."""
    rng, j = np.random.default_rng(seed), layout.n_clusters
    of = np.repeat(np.arange(j), layout.sizes)
    w = rng.normal(size=(n, j))
    u = rng.multivariate_normal([0, 0], [[0.3, 0.05], [0.05, 0.15]], size=(n, j))
    s = 0.4 + 0.3 * w + u[..., 1]
    z = 0.6 * s + 0.5 * rng.normal(size=(n, j))
    x = rng.normal(size=(n, len(of)))
    y = u[..., 0][:, of] + s[:, of] * x + rng.normal(size=x.shape)
    return Sample(layout, ("y", "x"), ("w", "z"), np.stack([y, x], axis=-1), np.stack([w, z], axis=-1))


def fit(model: TwoLevelModel, data: Sample, **options: object) -> FitResult:
    method = SlopesAsOutcomes(**options)  # type: ignore[arg-type]
    assert method.supports(model, data.layout) is None
    return method.prepare(model, data.layout).fit(data)


def by_hand(data: Sample, k: int) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Coefficients (J', 2), their (X'X)^-1, pooled residual variance, and the clusters' w, from rows by lstsq."""
    first, found, blocks, rss, df, kept = 0, [], [], 0.0, 0, []
    for j, n in enumerate(data.layout.sizes):
        y, x = data.rows[k, first : first + n].T
        first += n
        if n <= 2:
            continue
        design = np.column_stack([np.ones(n), x])
        b, left, *_ = np.linalg.lstsq(design, y, rcond=None)
        found.append(b)
        blocks.append(np.linalg.inv(design.T @ design))
        rss, df = rss + float(left[0]), df + n - 2
        kept.append(j)
    return np.array(found), np.array(blocks), rss / df, data.clusters[k, kept, 0]


@pytest.mark.parametrize("correction", ["none", "sampling"])
def test_against_regressions_by_hand(correction) -> None:
    """Slope on w: least squares on clusters' slopes; variances: residual ones (J' - 1), less the mean noise."""
    data = sample(UNBALANCED, 2)
    found = fit(SIMPLE, data, correction=correction)
    for k in range(2):
        b, blocks, sigma2, w = by_hand(data, k)
        design = np.column_stack([np.ones(len(w)), w])
        gamma, *_ = np.linalg.lstsq(design, b, rcond=None)
        left = b - design @ gamma
        cov = left.T @ left / (len(w) - 1)
        if correction == "sampling":
            cov = cov - sigma2 * blocks.mean(axis=0)
        value = dict(zip(found.labels, found.estimate[k], strict=True))
        np.testing.assert_allclose([value["between: y ~ w"], value["between: s ~ w"]], gamma[1], atol=1e-8)
        np.testing.assert_allclose([value["between: y ~ 1"], value["between: s ~ 1"]], gamma[0], atol=1e-8)
        ours = [value["between: y ~~ y"], value["t01"], value["t11"], value["within: y ~~ y"]]
        np.testing.assert_allclose(ours, [cov[0, 0], cov[0, 1], cov[1, 1], sigma2], atol=1e-8)


def test_clusters_too_small_are_counted_and_make_no_difference() -> None:
    data = sample(UNBALANCED, 2)
    found = fit(MODEL, data)
    np.testing.assert_array_equal(found.measures["clusters_dropped"], 8)  # the eight of size 2
    rows = data.rows.copy()
    rows[:, :16] += 7.0  # sizes are sorted: their rows come first
    other = fit(MODEL, Sample(data.layout, data.level1, data.level2, rows, data.clusters))
    np.testing.assert_array_equal(found.estimate, other.estimate)


def test_a_cluster_whose_predictor_does_not_vary_is_left_out() -> None:
    data = sample(ClusterLayout.of([6] * 30), 2)
    rows = data.rows.copy()
    rows[0, -6:, 1] = 0.5
    found = fit(MODEL, Sample(data.layout, data.level1, data.level2, rows, data.clusters))
    assert found.converged.all()
    np.testing.assert_array_equal(found.measures["clusters_dropped"], [1.0, 0.0])


def test_negative_variances_are_inadmissible_estimates_not_failures() -> None:
    layout = ClusterLayout.of([4] * 20)
    found = fit(SIMPLE, sample(layout, 60))
    low = found.estimate[:, found.labels.index("t11")] < 0
    assert found.converged.all()
    assert low.any()
    assert not found.admissible[low].any()


def test_weights_give_nearly_maximum_likelihood() -> None:
    """The residual variance is that of the first step and not re-estimated: a small part of a standard error."""
    layout = ClusterLayout.of([4, 5, 8, 12] * 15)
    data = sample(layout, 20)
    found = fit(SIMPLE, data, correction="weighted", se=("robust", "expected"))
    best = ask.for_model(registry.create("mlm", {"likelihood": "ml"}), SIMPLE).prepare(SIMPLE, layout).fit(data)
    inside = found.converged & (best.measures["boundary"] == 0.0)
    assert inside.sum() >= 15
    at = [SIMPLE.names.index(name) for name in ("between: s ~ w", "between: s ~ 1", "between: y ~ w", "t11", "t01")]
    gap = np.abs(found.estimate - best.estimate)[inside][:, at] / best.se["expected"][inside][:, at]
    assert np.median(gap) < 0.05
    ratio = found.se["expected"][inside][:, at] / best.se["expected"][inside][:, at]
    assert np.abs(np.median(ratio, axis=0) - 1.0).max() < 0.05


@pytest.mark.parametrize("correction", ["none", "sampling", "weighted"])
def test_robust_variances_are_sums_of_squared_influences(correction) -> None:
    """Estimates with a cluster doubled move by its influence, up to terms of order 1/J."""
    n, j = 6, 150
    data = sample(ClusterLayout.of([n] * j), 1)
    rows = np.concatenate([np.broadcast_to(data.rows, (j, n * j, 2)), data.rows[0].reshape(j, n, 2)], axis=1)
    clusters = np.concatenate([np.broadcast_to(data.clusters, (j, j, 2)), data.clusters[0][:, None]], axis=1)
    doubled = Sample(ClusterLayout.of([n] * (j + 1)), data.level1, data.level2, rows, clusters)
    whole = fit(MODEL, data, correction=correction)
    moves = fit(MODEL, doubled, correction=correction).estimate - whole.estimate
    spoken = np.isfinite(whole.estimate[0])
    ratio = whole.se["robust"][0, spoken] / np.sqrt((moves[:, spoken] ** 2).sum(axis=0))
    assert np.abs(ratio - 1.0).max() < 0.05


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("level: 1\n y ~ x\nlevel: 2\n y ~ x", "no random slope"),
        ("level: 1\n y ~ rv('s')*x + 0.3*v\nlevel: 2\n y ~~ s", "is fixed at 0.3"),
        ("level: 1\n f =~ y1 + y2 + y3\n f ~ rv('s')*x\nlevel: 2\n y1 ~~ s", "factors"),
        ("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ a*w\n s ~ b*w\n a == b^2", "=="),
    ],
)
def test_what_is_declined(text, reason) -> None:
    model = TwoLevelModel.from_syntax(text)
    assert reason in str(SlopesAsOutcomes().supports(model, UNBALANCED))


def test_too_few_clusters_are_declined() -> None:
    assert "more rows than coefficients: 4" in str(
        SlopesAsOutcomes().supports(MODEL, ClusterLayout.of([2] * 30 + [9] * 4))
    )
