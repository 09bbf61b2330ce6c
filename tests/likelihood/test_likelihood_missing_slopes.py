"""Likelihood of random slopes with missing values: brute force, derivatives, bits, complete data as a special case."""

from __future__ import annotations

import numpy as np
import pytest
from slope_cases import CASES, brute_force, gentle, products, sample, values

from simstudy.data.layout import ClusterLayout
from simstudy.data.products import PatternProducts
from simstudy.data.sample import Sample
from simstudy.likelihood.slopes.latent import LatentSlopes
from simstudy.likelihood.slopes.observed import ObservedSlopes
from simstudy.model.carriers import carriers
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.twolevel import TwoLevelModel

LAYOUT = ClusterLayout.of([1, 2, 3, 3, 4, 6, 7])
CLOSED = [name for name, case in CASES.items() if case.treatment != "latent"]
LATENT = [name for name, case in CASES.items() if case.treatment == "latent"]
every = pytest.mark.parametrize("name", list(CASES))


def likelihood(name: str, nodes: int = 9) -> ObservedSlopes | LatentSlopes:
    case = CASES[name]
    structure = SlopeStructure(case.model)
    latent = case.treatment == "latent"
    return LatentSlopes(structure, nodes) if latent else ObservedSlopes(structure, case.treatment)


def with_holes(model: TwoLevelModel, replicates: int = 1, layout: ClusterLayout = LAYOUT) -> Sample:
    """Level-1 variables that carry no slope, and level-2 variables, are missing; so is all of some rows and clusters.

    Some rows lack a carrier and everything that its slope moves: no random element multiplies what is missing.
    """
    data = sample(model, layout, replicates)
    rng = np.random.default_rng(17)
    rows, clusters = data.rows.copy(), data.clusters.copy()
    names = {slope.predictor for slope in model.slopes}
    for k, name in enumerate(model.level1):
        if name not in names:
            rows[..., k][rng.random(rows.shape[:2]) < 0.35] = np.nan
    for row, carrier in enumerate(carriers(model), 12):
        rows[:, row : row + 2, carrier.place] = np.nan
        rows[:, row : row + 2, carrier.moved] = np.nan
    rows[:, 3:6] = np.nan  # a cluster without rows
    clusters[rng.random(clusters.shape) < 0.35] = np.nan
    return Sample(data.layout, data.level1, data.level2, rows, clusters)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (len(case.model.slopes) > 1)) for n, case in CASES.items()]
)
def test_loglikelihood_is_the_normal_density_of_what_is_seen(name) -> None:
    case = CASES[name]
    model, data = case.model, with_holes(case.model)
    target, params = likelihood(name, 21), gentle(model)[None]
    held = PatternProducts.of(data)
    if isinstance(target, LatentSlopes):
        found = target.cluster_logliks(params, held)[0]
    else:
        found = target.integral(params, held)[1].loglik[0]
    exact = brute_force(model, params[0], data, case.treatment, case.nodes)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-10)  # the rules' error


@every
def test_score_and_information_are_derivatives(name) -> None:
    target, model, latent = likelihood(name, 21), CASES[name].model, name in LATENT
    at = gentle(model) if latent else values(model)
    data, q, h = PatternProducts.of(with_holes(model)), len(model.names), 1e-5
    points = np.repeat(at[None], 2 * q, axis=0)
    points[np.arange(2 * q), np.tile(np.arange(q), 2)] += np.repeat([h, -h], q)
    moved = target.evaluate(points, data.select(np.zeros(2 * q, dtype=np.int64)))
    found = target.evaluate(at[None], data)
    assert found.ok.all()
    assert np.abs(found.score).max() > 1.0  # far from a maximum
    slope = (moved.loglik[:q] - moved.loglik[q:]) / (2 * h)
    bend = -(moved.score[:q] - moved.score[q:]) / (2 * h)
    rule = 10.0 if latent else 1.0  # nodes move with the parameters: the rule's error
    np.testing.assert_allclose(found.score[0], slope, rtol=rule * 1e-7, atol=rule * 1e-7)  # h^2 and rounding / h
    np.testing.assert_allclose(found.information[0], bend, rtol=rule * 1e-6, atol=rule**2 * 1e-6)


@every
def test_cluster_scores_add_up(name) -> None:
    target, model = likelihood(name, 5), CASES[name].model
    at, data = values(model)[None], PatternProducts.of(with_holes(model))
    scores = target.cluster_scores(at, data)
    np.testing.assert_allclose(scores.sum(axis=1), target.evaluate(at, data).score, atol=1e-11)  # rounding


@every
def test_no_bit_depends_on_the_batch(name) -> None:
    """Neither on the patterns of others: a data set alone has fewer of them, at either level."""
    target, model = likelihood(name, 3), CASES[name].model
    rows = with_holes(model, replicates=5, layout=ClusterLayout.of([2, 3, 5, 7, 9, 9, 30]))
    rows.rows[0] = np.nan_to_num(rows.rows[0])  # one without missing outcomes, one without missing level-2 values
    rows.clusters[1] = np.nan_to_num(rows.clusters[1])
    points = values(model) * np.linspace(0.9, 1.1, 5)[:, None]
    whole, data = target.evaluate(points, PatternProducts.of(rows)), PatternProducts.of(rows)
    scores, (mean, cov) = target.cluster_scores(points, data), target.elements(points, data)
    for part in ([0], [1], [3, 4], [4, 1, 2]):
        some = PatternProducts.of(rows.select(np.array(part)))
        found = target.evaluate(points[part], some)
        np.testing.assert_array_equal(found.loglik, whole.loglik[part])
        np.testing.assert_array_equal(found.score, whole.score[part])
        np.testing.assert_array_equal(found.information, whole.information[part])
        np.testing.assert_array_equal(target.cluster_scores(points[part], some), scores[part])
        alone = target.elements(points[part], some)
        np.testing.assert_array_equal(alone[0], mean[part])
        np.testing.assert_array_equal(alone[1], cov[part])


def test_a_within_level_without_free_parameters() -> None:
    """There is no direction then in which rows' moments move."""
    fixed = " x ~~ 1*x\n x ~ 0.1*1\n y ~~ 0.8*y\n"
    model = TwoLevelModel.from_syntax(f"level: 1\n y ~ rv('s')*x\n{fixed}level: 2\n y + s ~ w\n y ~~ s\n")
    assert all(row.free < 0 for row in model.table.at("within"))
    rows, at, target = sample(model, LAYOUT), values(model)[None], ObservedSlopes(SlopeStructure(model))
    one, other = target.evaluate(at, products(rows)), target.evaluate(at, PatternProducts.of(rows))
    np.testing.assert_allclose(other.information, one.information, rtol=1e-9, atol=1e-9)  # rounding


@every
def test_complete_data_are_the_case_of_one_pattern(name) -> None:
    """Two ways to the second derivatives, by coordinates and by directions, agree."""
    target, model = likelihood(name, 5), CASES[name].model
    rows, at = sample(model, LAYOUT), values(model)[None]
    one, other = target.evaluate(at, products(rows)), target.evaluate(at, PatternProducts.of(rows))
    np.testing.assert_allclose(other.loglik, one.loglik, rtol=1e-12)  # rounding
    np.testing.assert_allclose(other.score, one.score, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(other.information, one.information, rtol=1e-9, atol=1e-9)
