"""`raudenbush_measurement`: the same numbers as `msem` on the restricted model, pseudo-true values, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.methods import registry
from simstudy.methods.raudenbush.raudenbush_measurement import RaudenbushMeasurement
from simstudy.model.twolevel import TwoLevelModel

LAYOUT = ClusterLayout.of([3, 5, 7] * 20)
ITEMS = {"f": ("a1", "a2", "a3"), "g": ("b1", "b2")}
STRUCTURE = {"within": "g ~ pw*f + x", "between": "g ~ pb*f + w"}
FREE = "\n".join(
    f"level: {level}\n f =~ a1 + a2 + a3\n g =~ b1 + b2\n {text}\n" for level, text in STRUCTURE.items()
)  # fmt: skip


def restricted(labels: dict[str, str]) -> TwoLevelModel:
    """The same model with loadings of 1, tied uniquenesses and no residuals of items between clusters."""
    text = ""
    for level, structure in STRUCTURE.items():
        text += f"level: {level}\n {structure}\n"
        for factor, items in ITEMS.items():
            text += f" {factor} =~ " + " + ".join(f"1*{item}" for item in items) + "\n"
            for item in items:
                text += f" {item} ~~ {labels[factor] if level == 'within' else '0'}*{item}\n"
    return TwoLevelModel.from_syntax(text)


def sample(n: int = 2) -> Sample:
    rng, of = np.random.default_rng(1), np.repeat(np.arange(60), LAYOUT.sizes)
    w = rng.normal(size=(n, 60))
    x = rng.normal(size=(n, len(of)))
    f = rng.normal(size=x.shape) + 0.6 * rng.normal(size=(n, 60))[:, of]
    g = 0.5 * f + 0.3 * x + 0.4 * w[:, of] + rng.normal(size=x.shape) + 0.5 * rng.normal(size=(n, 60))[:, of]
    items = [f + 0.7 * rng.normal(size=x.shape) + i for i in range(3)]
    items += [(1 + 0.2 * i) * g + 0.9 * rng.normal(size=x.shape) for i in range(2)]
    level1 = ("a1", "a2", "a3", "b1", "b2", "x")
    return Sample(LAYOUT, level1, ("w",), np.stack([*items, x], axis=-1), w[..., None])


@pytest.mark.parametrize(
    ("uniquenesses", "labels"), [("factor", {"f": "u", "g": "v"}), ("common", {"f": "u", "g": "u"})]
)
def test_msem_on_the_restricted_model(uniquenesses, labels) -> None:
    """Unbalanced; log-likelihood of the items, estimates, SEs of both kinds, intercepts of items and covariances."""
    same, model, data = restricted(labels), TwoLevelModel.from_syntax(FREE), sample()
    method = RaudenbushMeasurement(uniquenesses, ("expected", "observed"))
    assert method.supports(model, LAYOUT) is None
    found = method.prepare(model, LAYOUT).fit(data)
    kinds = {"se": ["expected", "observed"]}
    full = registry.create("msem", kinds).prepare(same, LAYOUT).fit(data)
    assert found.converged.all()
    np.testing.assert_allclose(found.loglik, full.loglik, rtol=1e-11)
    other = {name: i for i, name in enumerate(same.names)}
    other |= {f"within: {item} ~~ {item}": other[labels[f]] for f, items in ITEMS.items() for item in items}
    spoken = np.flatnonzero(np.isfinite(found.estimate).all(axis=0))
    silent = {model.names[i] for i in range(len(model.names))} - {model.names[i] for i in spoken}
    assert all("=~" in name or name in {f"between: {i} ~~ {i}" for f in ITEMS.values() for i in f} for name in silent)
    theirs = np.array([other[model.names[i]] for i in spoken])
    np.testing.assert_allclose(found.estimate[:, spoken], full.estimate[:, theirs], atol=1e-6)  # both stops
    for kind in ("expected", "observed"):
        ours = found.covariance[kind][:, spoken[:, None], spoken]
        np.testing.assert_allclose(ours, full.covariance[kind][:, theirs[:, None], theirs], atol=1e-6)


def test_pseudo_true_values() -> None:
    """Unequal loadings, uniquenesses, residuals between: theory D3.2's limits, from exact population moments."""
    model = TwoLevelModel.from_syntax("level: 1\n f =~ y1 + y2 + y3 + y4\nlevel: 2\n f =~ y1 + y2 + y3 + y4\n")
    k, n, j = 4, 6, 50
    load_w, load_b = np.array([1.0, 0.8, 1.3, 0.6]), np.array([1.0, 1.1, 0.7, 0.9])
    within = 0.8 * np.outer(load_w, load_w) + np.diag([0.5, 0.9, 0.4, 0.7])
    between = 0.3 * np.outer(load_b, load_b) + np.diag([0.1, 0.0, 0.05, 0.2])
    layout = ClusterLayout.of([n] * j)
    of_means = j * (between + within / n)
    statistics = TwoLevelStatistics(
        layout,
        model.level1,
        (),
        j * (n - 1) * within[None],
        np.arange(4.0)[None, None],
        of_means[None, None],
    )
    found = RaudenbushMeasurement().prepare(model, layout).fit(statistics)
    value = dict(zip(found.labels, found.estimate[0], strict=True))
    total, one = within + between, np.ones(k)
    sigma2 = (np.trace(total) - one @ total @ one / k) / (k - 1)
    assert value["within: y1 ~~ y1"] == pytest.approx(sigma2, abs=1e-8)
    assert value["within: f ~~ f"] == pytest.approx(one @ within @ one / k**2 - sigma2 / k, abs=1e-8)
    assert value["between: f ~~ f"] == pytest.approx(one @ between @ one / k**2, abs=1e-8)
    np.testing.assert_allclose([value[f"between: y{i} ~ 1"] for i in range(1, 5)], np.arange(4.0), atol=1e-8)


BOTH = "level: 1\n f =~ {0}\n{1}\nlevel: 2\n f =~ {2}\n{3}\n"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (("a + b + c", "", "a + b", ""), "the same items"),
        (("a + b + c", "a ~~ b", "a + b + c", ""), "covariance of an item's residual"),
        (("a + 0.5*b + c", "", "a + b + c", ""), "is fixed at 0.5"),
        (("a + b + c", "a ~~ 0.3*a", "a + b + c", ""), "uniquenesses are estimated"),
        (("a + b + c", "b ~ x", "a + b + c", ""), "an item in a regression"),
        (("a + b + c", "", "a + b + c", "a ~ 0*1"), "is fixed: every item"),
        (("NA*a + b + c", "f ~~ 1*f", "a + b + c", ""), "give factors their scale"),
        (("a + b + c", "", "a + b + c", "a ~ i*1\n b ~ i*1"), "ties intercepts"),
    ],
)
def test_what_is_declined(parts, reason) -> None:
    model = TwoLevelModel.from_syntax(BOTH.format(*parts))
    assert reason in str(RaudenbushMeasurement().supports(model, LAYOUT))


def test_models_without_factors_are_declined() -> None:
    model = TwoLevelModel.from_syntax("level: 1\n y ~ x\nlevel: 2\n y ~ x")
    assert "no factor" in str(RaudenbushMeasurement().supports(model, LAYOUT))
