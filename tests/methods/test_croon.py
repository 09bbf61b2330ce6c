"""`croon`: its influence functions by moving weights of clusters, its equations by differences, `msem` as a twin."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from estimator_data import BALANCED, CONTEXTUAL, UNBALANCED, draw, fit, se, value

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.methods import registry
from simstudy.methods.croon.adjusted_means import MeanAdjuster, PredictorMoments
from simstudy.methods.croon.croon import Croon, PreparedCroon
from simstudy.methods.croon.second_step import ClusterRows, Mixing, OnClusters, OnRows
from simstudy.methods.mixed.equations import equation_moments
from simstudy.model.twolevel import TwoLevelModel

OUTCOME = TwoLevelModel.from_syntax(
    "level: within\n x ~~ x\n v ~~ v\n x ~~ v\nlevel: between\n y ~ b1*x + b2*v + b3*z\n sum := b1 + b2"
)
CHAIN = TwoLevelModel.from_syntax(
    "level: within\n m ~ w*x\nlevel: between\n m ~ a*x + d*z\n y ~ b*m + c*z\n ind := a*b"
)
KINDS = ["expected", "robust", "corrected"]


def test_balanced_it_is_msem() -> None:
    """Level-2 outcomes, ML: the same equations solved in two steps; corrected SEs are the sandwich of the whole."""
    data = draw(OUTCOME, BALANCED, 3, seed=4)
    ours = fit("croon", OUTCOME, data, first_step="ml", se=KINDS)
    whole = fit("msem", OUTCOME, data, se=["robust"])
    for name in ("b1", "b2", "b3", "between: y ~~ y", "between: y ~ 1", "sum"):
        for r in range(3):
            # msem stops within 1e-6 SE and makes one more step
            assert value(ours, name, r) == pytest.approx(value(whole, name, r), abs=1e-9)
            assert se(ours, name, "corrected", r) == pytest.approx(se(whole, name, "robust", r), rel=1e-8)
    np.testing.assert_array_equal(ours.admissible, whole.admissible)


def test_balanced_mean_squares_are_ml_but_for_divisors() -> None:
    """On means that are spread wider by J / (J - 1) the slopes are equal; s^2 is over J - k instead of J."""
    data = draw(OUTCOME, BALANCED, 2, seed=5).statistics()
    n_clusters = BALANCED.n_clusters
    wider = dataclasses.replace(data, size_scatter=data.size_scatter * n_clusters / (n_clusters - 1))
    anova = fit("croon", OUTCOME, data, se=["expected"])
    ml = fit("croon", OUTCOME, wider, se=["expected"], first_step="ml")
    for name in ("b1", "b2", "b3"):
        for r in range(2):
            assert value(anova, name, r) == pytest.approx(value(ml, name, r), abs=1e-9)


def test_without_level_1_predictors_it_is_least_squares() -> None:
    model = TwoLevelModel.from_syntax("level: within\n x ~~ x\nlevel: between\n x ~~ x\n y ~ b*z + c*w")
    data = draw(model, UNBALANCED, 2, seed=1)
    ours, plain = fit("croon", model, data, se=KINDS), fit("two_step", model, data)
    np.testing.assert_allclose(ours.estimate, plain.estimate, atol=1e-12)  # rounding
    np.testing.assert_allclose(ours.se["expected"], plain.se["expected"], atol=1e-12)
    np.testing.assert_array_equal(ours.se["robust"], ours.se["corrected"])  # there is no first step


# ---------------------------------------------------------------------------------------------------------- influence


def copies(data: Sample, times: int, extra: int, change: int) -> Sample:
    """Every cluster ``times`` times, cluster ``extra`` ``change`` times more or less."""
    layout = data.layout
    clusters = sorted([*range(layout.n_clusters)] * times + [extra] * max(change, 0))
    for _ in range(-change):
        clusters.remove(extra)
    starts = layout.row_starts
    rows = np.concatenate([data.rows[:, starts[j] : starts[j] + layout.sizes[j]] for j in clusters], axis=1)
    sizes = ClusterLayout.of([layout.sizes[j] for j in clusters])
    return Sample(sizes, data.level1, data.level2, rows, data.clusters[:, clusters])


@pytest.mark.slow
@pytest.mark.parametrize("first_step", ["ml", "anova"])
@pytest.mark.parametrize("model", [OUTCOME, CONTEXTUAL, CHAIN], ids=["level 2", "level 1", "both"])
def test_influence_is_the_effect_of_a_clusters_weight(model, first_step) -> None:
    """Brute force: clusters counted `times` times, one of them once more or once less, and the estimates' change.

    With K copies of the data the covariance is that of one copy over K, so that K^2 times the changes' products add up
    to it; central differences leave an error of order 1 / K^2, divisors J - 1 one of order 1 / (K J).
    """
    times = 40
    layout = ClusterLayout.of([3, 3, 4, 4, 6, 6, 6, 9, 9, 12, 12, 14])
    data = draw(model, layout, 1, seed=13, icc=0.6)
    whole = copies(data, times, 0, 0)
    method = registry.create("croon", {"se": ["corrected"], "first_step": first_step})
    found = method.prepare(model, whole.layout).fit(whole)
    assert found.admissible.all()
    spoken = np.flatnonzero(~np.isnan(found.estimate[0]))
    changes = []
    for j in range(layout.n_clusters):
        up, down = (copies(data, times, j, step) for step in (1, -1))
        ends = [method.prepare(model, part.layout).fit(part).estimate[0, spoken] for part in (up, down)]
        changes.append((ends[0] - ends[1]) / 2.0)
    brute = times * np.einsum("ja,jb->ab", np.array(changes), np.array(changes))
    ours = found.covariance["corrected"][0][np.ix_(spoken, spoken)]
    scale = np.sqrt(np.outer(np.diag(brute), np.diag(brute)))
    # measured: ml 3e-4; anova 1.5e-2, where leverages (k / J), REML and divisors less J count as well
    np.testing.assert_allclose(ours / scale, brute / scale, atol=1e-3 if first_step == "ml" else 3e-2)


# ---------------------------------------------------------------------------------------------------------- equations


def adjuster_case() -> tuple[MeanAdjuster, object, PredictorMoments]:
    data = draw(OUTCOME, UNBALANCED, 2, seed=3).statistics()
    data = data.arrange(OUTCOME.level1, OUTCOME.level2)
    at = np.array([OUTCOME.variables.index(name) for name in ("x", "v", "z")])
    adjuster = MeanAdjuster(OUTCOME, UNBALANCED, at)
    return adjuster, data, adjuster.moments(data, "anova", influence=False)


def moved(m: PredictorMoments, place: int, step: float) -> PredictorMoments:
    """First-step moments with one of (mu, vech within, vech between) moved."""
    mu, within, between = m.mu.copy(), m.within.copy(), m.between.copy()
    k, a = mu.shape[-1], within.shape[-1]
    pairs = [(within, i, j) for i in range(a) for j in range(i, a)] + [
        (between, i, j) for i in range(k) for j in range(i, k)
    ]
    if place < k:
        mu[:, place] += step
    else:
        matrix, i, j = pairs[place - k]
        matrix[:, i, j] += step
        if i != j:
            matrix[:, j, i] += step
    return dataclasses.replace(m, mu=mu, within=within, between=between)


def test_adjusted_means_follow_the_moments() -> None:
    adjuster, data, m = adjuster_case()
    moment_derivatives = adjuster.moment_derivatives(data, m, adjuster.adjustment(m))
    assert len(moment_derivatives) == 3 + 3 + 6

    def at(place: int, step: float) -> tuple[np.ndarray, ...]:
        there = moved(m, place, step)
        adjustment = adjuster.adjustment(there)
        return (*adjuster.apply(data, there, adjustment), adjustment.unknown)

    h = 1e-5
    for place, exact in enumerate(moment_derivatives):
        for ours, up, down in zip(exact, at(place, h), at(place, -h), strict=True):
            # differences: h^2 and rounding over h
            np.testing.assert_allclose(ours, (up - down) / (2 * h), atol=2e-8)


def second_step(level1: bool) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray, OnClusters | OnRows]:
    """Summed equations as a function of (slopes, variances), the solution, and the step."""
    model = CONTEXTUAL if level1 else OUTCOME
    data = draw(model, UNBALANCED, 1, seed=9, icc=0.5)
    prepared = Croon(first_step="ml").prepare(model, UNBALANCED)
    assert isinstance(prepared, PreparedCroon)
    step = prepared.steps[0]
    statistics = data.statistics().arrange(model.level1, model.level2)
    first = step._first_step(statistics)
    moments, shift = equation_moments(step.equation, statistics, first.means, first.scatter)
    mixing = Mixing(step._unknown(first), step.loading)
    rows: ClusterRows = step._rows(statistics, first, shift)
    if level1:
        solved: OnClusters | OnRows = OnRows.solve(moments, UNBALANCED, step.equation, reml=False)
    else:
        solved = OnClusters.solve(moments, UNBALANCED, mixing, unbiased=False)
    k = solved.contrast.shape[-1] - 1

    def total(theta: np.ndarray) -> np.ndarray:
        contrast = np.concatenate([-theta[:k], [1.0]])[None]
        change: dict[str, object] = {"contrast": contrast, "variances": theta[k:][None]}
        if isinstance(solved, OnClusters):
            change["unknown"] = mixing(contrast)[0]
        return dataclasses.replace(solved, **change).equations(rows).sum(axis=1)[0]

    return total, np.concatenate([-solved.contrast[0, :-1], solved.variances[0]]), solved


@pytest.mark.parametrize("level1", [False, True])
def test_equations_are_solved_and_their_jacobian_is_exact(level1) -> None:
    total, theta, solved = second_step(level1)
    scale = np.abs(np.diag(solved.jacobian()[0])).max()
    np.testing.assert_allclose(total(theta) / scale, 0.0, atol=1e-9)  # Newton's 1e-10 SE; least squares: rounding
    h = 1e-5
    differences = np.stack(
        [(total(theta + h * unit) - total(theta - h * unit)) / (2 * h) for unit in np.eye(len(theta))], axis=1
    )
    np.testing.assert_allclose(-solved.jacobian()[0] / scale, differences / scale, atol=1e-8)  # h^2


# ------------------------------------------------------------------------------------------------- statuses and words


def test_negative_between_variance_of_a_predictor_is_inadmissible_not_a_failure() -> None:
    data = draw(OUTCOME, BALANCED, 200, seed=2, icc=0.0)
    found = fit("croon", OUTCOME, data.statistics(cluster_wise=False), se=["expected"])
    assert found.converged.all()
    share = 1 - found.admissible.mean()
    whole = fit("msem", OUTCOME, data.statistics(cluster_wise=False))
    assert share > 0.5  # two between variances of 0
    # divisors J - 1 and J: some more for ML
    assert abs(share - (1 - whole.admissible[whole.converged].mean())) < 0.1


def test_it_needs_clusters_for_all_but_ordinary_ses() -> None:
    assert registry.create("croon").needs == "clusters"
    assert registry.create("croon", {"se": ["expected"]}).needs == "statistics"
    assert registry.create("croon", {"se": ["corrected", "robust"]}).se_kinds == ("corrected", "robust")


def test_caveats_name_the_slopes_that_overshoot() -> None:
    method = Croon()
    assert method.caveats(OUTCOME) == ()
    (text,) = method.caveats(CHAIN)
    assert text.startswith("'a' is not consistent: the outcome 'm' is measured at level 1")
    assert [text.split("'")[1] for text in method.caveats(CONTEXTUAL)] == ["bb"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("level: within\n x ~~ x\nlevel: between\n x ~~ x", "the model has no outcome"),
        ("level: within\n f =~ x + v + u\nlevel: between\n y ~ z\n x ~~ x\n v ~~ v\n u ~~ u", "latent variables"),
        ("level: within\n m ~ x\nlevel: between\n m ~ b*x\n y ~ b*m", "ties coefficients of different equations"),
        ("level: within\n x ~~ x\nlevel: between\n y ~ a*x + b*z\n a == 2*b", "'==' constraints"),
    ],
)
def test_it_declines_with_a_reason(text, reason) -> None:
    assert reason in Croon().supports(TwoLevelModel.from_syntax(text), BALANCED)
    few = ClusterLayout.of([6] * 4)
    assert "no more clusters than regressors" in Croon().supports(OUTCOME, few)
