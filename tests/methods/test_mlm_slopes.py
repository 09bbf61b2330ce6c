"""The `mlm` methods with random slopes: against `msem`, across centrings, on the boundary; what they decline."""

from __future__ import annotations

import numpy as np
import pytest

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.estimation.result import FitResult
from simstudy.methods import ask, registry
from simstudy.methods.msem_slopes import SlopeMsem
from simstudy.model.twolevel import TwoLevelModel

LAYOUT = ClusterLayout.of([2, 3, 5, 8, 12] * 8)
INTERACTION = "level: 1\n y ~ rv('s')*x + v\nlevel: 2\n y + s ~ w\n y ~~ s\n"
BOTH = "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ x + w\n s ~ w\n y ~~ s\n"


def sample(n: int = 3, slope_sd: float = 0.4, shift: float = 0.0) -> Sample:
    rng = np.random.default_rng(5)
    of, j = np.repeat(np.arange(40), LAYOUT.sizes), 40
    w = rng.normal(size=(n, j))
    x = rng.normal(size=(n, len(of))) + 0.6 * rng.normal(size=(n, j))[:, of]
    v = rng.normal(size=(n, len(of)))
    s = 0.4 + 0.3 * w + slope_sd * rng.normal(size=(n, j))
    y = (0.5 * w + 0.6 * rng.normal(size=(n, j)))[:, of] + s[:, of] * x + 0.2 * v + rng.normal(size=x.shape)
    return Sample(LAYOUT, ("y", "x", "v"), ("w",), np.stack([y, x + shift, v], axis=-1), w[..., None])


def fit(name: str, text: str, data: Sample, **options: object) -> tuple[TwoLevelModel, FitResult]:
    model = TwoLevelModel.from_syntax(text)
    method = ask.for_model(registry.create(name, options), model)
    assert method.supports(model, LAYOUT) is None
    return model, method.prepare(model, LAYOUT).fit(data)


def test_maximum_likelihood_is_msems_where_x_is_within_only() -> None:
    """Given x and w the models are the same, with a cross-level interaction and a fixed slope beside it."""
    model, found = fit("mlm", INTERACTION, sample(), likelihood="ml")
    full = SlopeMsem().prepare(model, LAYOUT).fit(sample())
    spoken = np.isfinite(found.estimate).all(axis=0)
    assert {model.names[i] for i in np.flatnonzero(spoken)} == {
        "within: y ~ v", "within: y ~~ y", "between: y ~ w", "between: s ~ w", "between: y ~~ s", "between: y ~ 1",
        "between: s ~ 1", "between: y ~~ y", "between: s ~~ s",
    }  # fmt: skip
    np.testing.assert_allclose(found.estimate[:, spoken], full.estimate[:, spoken], atol=1e-5)  # both stops


def test_cross_level_interactions_with_a_cluster_mean() -> None:
    """`s ~ x` moderates by the cluster mean: the same as a level-2 variable that holds it."""
    data = sample()
    means = np.stack([np.add.reduceat(r, np.cumsum((0, *LAYOUT.sizes))[:-1]) for r in data.rows[:, :, 1]])
    means = means / np.array(LAYOUT.sizes)
    other = Sample(LAYOUT, data.level1, ("w", "m"), data.rows, np.stack([data.clusters[:, :, 0], means], axis=-1))
    model, found = fit("mlm_centered", "level: 1\n y ~ rv('s')*x\nlevel: 2\n y + s ~ x\n", data)
    same, plain = fit("mlm_centered", "level: 1\n y ~ rv('s')*x\nlevel: 2\n y + s ~ m\n", other)
    for ours, theirs in (("y ~ x", "y ~ m"), ("s ~ x", "s ~ m"), ("s ~ 1", "s ~ 1"), ("s ~~ s", "s ~~ s")):
        a = found.estimate[:, model.names.index(f"between: {ours}")]
        np.testing.assert_allclose(a, plain.estimate[:, same.names.index(f"between: {theirs}")], atol=1e-8)
    assert "cluster means are no predictors" in str(
        ask.for_model(registry.create("mlm"), model).supports(model, LAYOUT)
    )


def test_where_the_zero_of_a_predictor_lies_makes_no_difference() -> None:
    """Moving x by c turns (intercept, slope) into (intercept - c slope, slope); likelihood and slope stay."""
    model, near = fit("mlm", INTERACTION, sample())
    _, far = fit("mlm", INTERACTION, sample(shift=100.0))
    np.testing.assert_allclose(far.loglik, near.loglik, atol=1e-7)  # x is 100 times its SD away from zero
    at = [model.names.index(f"between: {path}") for path in ("s ~ 1", "s ~ w", "s ~~ s")]
    np.testing.assert_allclose(far.estimate[:, at], near.estimate[:, at], rtol=1e-5)
    t00, t01, t11 = (near.estimate[:, model.names.index(f"between: {p}")] for p in ("y ~~ y", "y ~~ s", "s ~~ s"))
    moved = far.estimate[:, model.names.index("between: y ~~ y")]
    np.testing.assert_allclose(moved, t00 - 200 * t01 + 1e4 * t11, rtol=1e-5)


def test_centrings_with_random_slopes() -> None:
    """Centred and contextual models differ in what the slope multiplies; `mlm_rescaled` says nothing between."""
    results = {name: fit(name, BOTH, sample()) for name in ("mlm_centered", "mlm_contextual", "mlm_rescaled")}
    model = results["mlm_centered"][0]
    at = model.names.index("between: y ~ x")
    assert np.isnan(results["mlm_rescaled"][1].estimate[:, at]).all()
    centred, contextual = (results[name][1] for name in ("mlm_centered", "mlm_contextual"))
    assert (np.abs(centred.loglik - contextual.loglik) > 1e-3).all()
    uncentred, mixed = fit("mlm", BOTH, sample())
    same = mixed.estimate[:, [uncentred.names.index("between: y ~ x"), uncentred.names.index("between: s ~ 1")]]
    np.testing.assert_array_equal(same[:, 0], same[:, 1])  # one conflated slope for both


def test_the_boundary_is_a_fact() -> None:
    model, found = fit("mlm", "level: 1\n y ~ rv('s')*x\nlevel: 2\n y + s ~ w\n y ~~ 0*s", sample(40, slope_sd=0.0))
    assert found.converged.all()
    at = model.names.index("between: s ~~ s")
    low = found.measures["boundary"] == 1.0
    assert 0.3 < low.mean() < 0.7  # one half in the limit; 40 samples
    assert (found.estimate[low, at] < 1e-6).all()
    assert np.isnan(found.se["expected"][low, at]).all()
    assert np.isfinite(found.se["expected"][:, model.names.index("between: s ~ 1")]).all()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("level: 1\n y ~ rv('s')*x + rv('t')*v\nlevel: 2\n y ~~ s\n s ~~ 0*t\n y ~~ t", "in blocks"),
        ("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ s", "a random slope as predictor"),
        ("level: 1\n y ~ rv('s')*x + rv('t')*v\nlevel: 2\n s ~ t", "another random coefficient"),
        ("level: 1\n y ~ rv('s')*x\nlevel: 2\n s ~~ 0.2*s", "is fixed at 0.2"),
        ("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~~ t*y\n s ~~ t*s", "ties variances"),
        ("level: 1\n y ~ rv('s')*x\nlevel: 2\n s ~ 0.3*w", "not supported for a cross-level interaction"),
    ],
)
def test_what_is_declined(text, reason) -> None:
    model = TwoLevelModel.from_syntax(text)
    assert reason in str(ask.for_model(registry.create("mlm"), model).supports(model, LAYOUT))
