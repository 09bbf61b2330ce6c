"""Slopes in every role of the between block against brute force over the slopes, without and with missing values."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from slope_cases import Case, brute_force, gentle, products, sample

from simstudy.data.products import PatternProducts
from simstudy.data.sample import Sample
from simstudy.likelihood.slopes.latent import LatentSlopes
from simstudy.likelihood.slopes.observed import ObservedSlopes
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.twolevel import TwoLevelModel

ONE = "level: 1\n y ~ rv('s')*x\nlevel: 2\n"
TWO = "level: 1\n y ~ rv('s')*x + rv('t')*v\nlevel: 2\n"
CASES = {
    "alone": Case(ONE + " s ~ 1\n", "observed"),
    "alone, predicted": Case(ONE + " s ~ w\n", "observed"),
    "alone, predictor": Case(ONE + " z ~ s\n", "observed"),
    "alone, two": Case(TWO + " s ~~ t\n", "observed", 13),
    "not mentioned": Case(ONE + " y ~ w\n", "observed"),
    "two not mentioned": Case(TWO + " y ~ w\n", "observed", 13),
    "not mentioned, latent": Case(ONE + " y ~ x\n", "latent"),
    "not mentioned, hybrid": Case(ONE + " y ~ x\n", "hybrid"),
    "full covariance": Case(TWO + " y ~ w\n y ~~ s + t\n s ~~ t\n", "observed", 13),
    "full covariance, latent": Case(TWO + " y ~ x + v\n y ~~ s + t\n s ~~ t\n", "latent", 13),
    "full covariance, hybrid": Case(TWO + " y ~ x + v\n y ~~ s + t\n s ~~ t\n", "hybrid", 13),
    "mediator": Case(ONE + " y ~ w\n s ~ w\n z ~ s + w\n y ~~ s\n y ~~ z\n", "observed"),
    "mediator, latent": Case(ONE + " y ~ x\n s ~ x\n z ~ s + x\n y ~~ s\n y ~~ z\n", "latent"),
    "mediator, hybrid": Case(ONE + " y ~ x\n s ~ x\n z ~ s + x\n y ~~ s\n y ~~ z\n", "hybrid"),
    "predictor of the intercept": Case(ONE + " y ~ s + x\n", "latent"),
    "slope on slope": Case(TWO + " t ~ s\n y ~ s + t\n", "observed", 13),
    "moderated": Case(ONE + " y + s ~ w1 + w2 + w1:w2\n y ~~ s\n", "observed", 120),
    "moderated, latent": Case(ONE + " y ~ x + w1\n s ~ w1 + w2 + w1:w2\n y ~~ s\n", "latent", 120),
    "factor on slope": Case(ONE + " f =~ q1 + q2 + q3\n f ~ s\n y ~~ s\n", "observed"),
    "slope on factor": Case(ONE + " f =~ q1 + q2 + q3\n s ~ f\n y ~ f\n", "observed"),
    "2-1-1, latent": Case("level: 1\n y ~ rv('b')*m\nlevel: 2\n m ~ w\n y ~ m + w\n y ~~ b\n", "latent"),
    "2-1-1, hybrid": Case("level: 1\n y ~ rv('b')*m\nlevel: 2\n m ~ w\n y ~ m + w\n b ~ w\n y ~~ b\n", "hybrid"),
    "2-1-1, covariate": Case(
        "level: 1\n y ~ rv('b')*m + x\n m ~ x\nlevel: 2\n m ~ w\n y ~ w\n y ~~ m + b\n m ~~ b\n", "observed"
    ),
}  # fmt: skip


def mediation(random: str, kind: str) -> Case:
    """1-1-1 with some of a, b, c at random; their covariance matrix is full."""
    a, b, c = (f"rv('{name}')*" if name in random else "" for name in "abc")
    covariances = "".join(f" {one} ~~ {two}\n" for one, two in combinations(random, 2))
    between = " m ~~ y\n m ~~ a\n" if kind == "observed" else " m ~ x\n y ~ m + x\n"
    if kind == "observed" and "a" not in random:
        between = " m ~~ y\n"
    text = f"level: 1\n m ~ {a}x\n y ~ {b}m + {c}x\nlevel: 2\n{between}{covariances}"
    return Case(text, kind, (24, 13, 11)[len(random) - 1])


MEDIATION = {
    f"1-1-1 {random}, {kind}": mediation(random, kind)
    for random in ("a", "b", "c", "ab", "ac", "bc", "abc")
    for kind in ("observed", "latent", "hybrid")
}


def with_holes(model: TwoLevelModel) -> Sample:
    """A third of the level-1 values that carry no slope, and of the level-2 values, is missing."""
    data, rng = sample(model), np.random.default_rng(23)
    rows, clusters = data.rows.copy(), data.clusters.copy()
    carry = {slope.predictor for slope in model.slopes}
    for k, name in enumerate(model.level1):
        if name not in carry:
            rows[..., k][rng.random(rows.shape[:2]) < 0.33] = np.nan
    clusters[rng.random(clusters.shape) < 0.33] = np.nan
    assert np.isnan(rows).any()
    return Sample(data.layout, data.level1, data.level2, rows, clusters)


def clusterwise(case: Case, params: np.ndarray, model: TwoLevelModel, data: Sample) -> np.ndarray:
    """Log-likelihood of every cluster by the code."""
    held = PatternProducts.of(data) if np.isnan(data.rows).any() else products(data)
    if case.treatment == "latent":
        nodes = 25 if len(model.slopes) < 3 else 15
        return LatentSlopes(SlopeStructure(model), nodes).cluster_logliks(params[None], held)[0]
    _, found = ObservedSlopes(SlopeStructure(model), case.treatment).integral(params[None], held)  # type: ignore[arg-type]
    assert found.ok.all()
    return np.asarray(found.loglik[0])


def check(case: Case, data: Sample) -> None:
    """Several slopes have small (co)variances, so that few nodes a slope are enough for the brute force."""
    model = case.model
    params = gentle(model)
    names = {slope.name for slope in model.slopes}
    shrink = 1.0 if len(names) == 1 else 0.2
    params[[r.free for r in model.table.at("between") if r.op == "~~" and {r.lhs, r.rhs} <= names]] *= shrink
    exact = brute_force(model, params, data, case.treatment, case.nodes)
    np.testing.assert_allclose(clusterwise(case, params, model, data), exact, rtol=0, atol=1e-9)  # the rules


def marked(cases: dict[str, Case]) -> list[object]:
    """Products of rules take half a second and more: the slow suite has them."""
    return [pytest.param(n, marks=pytest.mark.slow) if len(c.model.slopes) > 1 else n for n, c in cases.items()]


ALL = CASES | MEDIATION


@pytest.mark.parametrize("name", marked(ALL))
def test_a_slope_in_every_role_has_the_brute_force_likelihood(name) -> None:
    check(ALL[name], sample(ALL[name].model))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_with_missing_outcomes_and_level_2_variables(name) -> None:
    check(ALL[name], with_holes(ALL[name].model))
