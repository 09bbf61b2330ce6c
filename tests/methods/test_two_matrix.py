"""`schmidt`, `haernqvist`, `goldstein`, `muml`: the matrices they analyse, twins, ties of levels, what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from estimator_data import BALANCED, CONTEXTUAL, MEDIATION, OUTCOME_2, UNBALANCED, draw, fit, se, value

from simstudy.analysis.fit import fit as fit_frame
from simstudy.analysis.level_fit import level_fit
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.errors import EstimatorError
from simstudy.estimation.result import Status
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

FOUR = ("schmidt", "haernqvist", "goldstein", "muml")
CFA = TwoLevelModel.from_syntax(
    "level: within\n fw =~ y1 + l2*y2 + y3 + y4\nlevel: between\n fb =~ y1 + k2*y2 + y3 + y4\nratio := k2 / l2"
)
WITHIN_ONLY = TwoLevelModel.from_syntax("level: within\n y ~ bw*x + d*w\nlevel: between\n y ~ bb*x + g*z")
LARGE = ClusterLayout.of([3, 4, 6, 8] * 30)
MATRIX = 1e-12  # sums of some hundred numbers of order 1, in another order: rounding
FITTED = 1e-7  # fits stop within 1e-6 SE, and SEs are about .1


def spread(sample: Sample, model: TwoLevelModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (N, p) with level-2 variables repeated, their group means, and the cluster of each row."""
    sample = sample.arrange(model.level1, model.level2)
    codes = np.repeat(np.arange(sample.layout.n_clusters), sample.layout.sizes)
    rows = np.column_stack([sample.rows[0], sample.clusters[0][codes]])
    means = pd.DataFrame(rows).groupby(codes).transform("mean").to_numpy()
    return rows, means, codes


# ---------------------------------------------------------------------- the matrices


@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
@pytest.mark.parametrize("model", [MEDIATION, OUTCOME_2], ids=["level 1", "level 2"])
def test_haernqvists_parts_are_orthogonal_and_add_up_to_the_total_matrix(model, layout) -> None:
    sample = draw(model, layout, 1, seed=3)
    rows, means, _ = spread(sample, model)
    p1, p = len(model.level1), rows.shape[1]
    between_scores, within_scores = means - rows.mean(axis=0), rows - means
    # cross-products of group means and deviations vanish
    np.testing.assert_allclose(between_scores.T @ within_scores / len(rows), 0, atol=MATRIX)
    for metric, total in (("units", np.cov(rows, rowvar=False, bias=True)), ("total_sd", np.corrcoef(rows.T))):
        prepared = registry.create("haernqvist", {"metric": metric}).prepare(model, layout)
        found = prepared.matrices(sample.statistics())
        within = np.zeros((p, p))
        within[:p1, :p1] = found.within[0]
        np.testing.assert_allclose(found.between[0] + within, total, atol=MATRIX)
        scale = rows.std(axis=0) if metric == "total_sd" else np.ones(p)
        parts = between_scores / scale, within_scores / scale
        for ours, scores in zip((found.between[0], within), parts, strict=True):
            np.testing.assert_allclose(ours, scores.T @ scores / len(rows), atol=MATRIX)
    # Robinson's identity: r = eta eta r_b + sqrt(1 - eta^2) sqrt(1 - eta^2) r_w, of level-1 variables
    eta2 = np.diag(found.between[0])[:p1]
    r_b, r_w = np.corrcoef(means[:, :p1].T), np.corrcoef(within_scores[:, :p1].T)
    eta, rest = np.sqrt(eta2), np.sqrt(1 - eta2)
    mixed = np.outer(eta, eta) * r_b + np.outer(rest, rest) * r_w
    np.testing.assert_allclose(mixed, total[:p1, :p1], atol=MATRIX)


def test_estimates_from_r_are_those_from_units_in_total_standard_deviations() -> None:
    sample = draw(CFA, LARGE, 1, seed=5)
    units, standard = (fit("haernqvist", CFA, sample, metric=metric) for metric in ("units", "total_sd"))
    rows, _, _ = spread(sample, CFA)
    sd = dict(zip(CFA.level1, rows.std(axis=0), strict=True))
    for level, factor in (("within", "fw"), ("between", "fb")):
        # a loading is in units of its item over the marker; a factor variance in those of the marker, squared
        label = "l2" if level == "within" else "k2"
        assert value(standard, label) == pytest.approx(value(units, label) * sd["y1"] / sd["y2"], rel=1e-6)
        name = f"{level}: {factor} ~~ {factor}"
        assert value(standard, name) == pytest.approx(value(units, name) / sd["y1"] ** 2, rel=1e-6)
        name = f"{level}: y3 ~~ y3"
        assert value(standard, name) == pytest.approx(value(units, name) / sd["y3"] ** 2, rel=1e-6)


@pytest.mark.parametrize(("divisor", "less"), [("J", 0), ("J-1", 1)])
@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
def test_schmidts_matrices_are_the_analysis_of_variance(layout, divisor, less) -> None:
    sample = draw(OUTCOME_2, layout, 1, seed=3)
    rows, means, _ = spread(sample, OUTCOME_2)
    n, clusters, p1 = len(rows), layout.n_clusters, len(OUTCOME_2.level1)
    pooled = (rows - means).T @ (rows - means) / (n - clusters)  # no within part of level-2 variables
    s_b = (means - rows.mean(axis=0)).T @ (means - rows.mean(axis=0)) / (clusters - less)
    sizes = np.asarray(layout.sizes)
    c = (n**2 - (sizes**2).sum()) / (n * (clusters - 1))
    for between, expected in (("adjusted", (s_b - pooled) / c), ("raw", s_b)):
        method = registry.create("schmidt", {"between": between, "divisor": divisor})
        found = method.prepare(OUTCOME_2, layout).matrices(sample.statistics())
        np.testing.assert_allclose(found.within[0], pooled[:p1, :p1], atol=MATRIX)
        np.testing.assert_allclose(found.between[0], expected, atol=MATRIX)


# ---------------------------------------------------------------------- twins


def test_twins_where_all_clusters_have_one_size() -> None:
    """Saturated: Schmidt's and Goldstein's estimates are maximum likelihood; restricted: they remain each other's."""
    sample = draw(OUTCOME_2, BALANCED, 4, seed=2, icc=0.4)
    saturated = TwoLevelModel.from_syntax("level: 1\n m ~ a*x\nlevel: 2\n m ~ b*x\n z ~ c*m + d*x")
    full = fit("msem", saturated, sample)
    for method in FOUR[::2]:
        found = fit(method, saturated, sample)
        assert found.converged.all()
        np.testing.assert_allclose(found.estimate, full.estimate, atol=1e-9)  # closed forms of one matrix
    restricted = TwoLevelModel.from_syntax("level: 1\n m ~ a*x\nlevel: 2\n m ~ b*x\n z ~ c*m")
    options = {"se": ["expected", "observed"], "measures": True}
    schmidt, goldstein = (fit(method, restricted, sample, **options) for method in ("schmidt", "goldstein"))
    np.testing.assert_allclose(schmidt.estimate, goldstein.estimate, atol=FITTED)
    np.testing.assert_allclose(schmidt.measures["chisq"], goldstein.measures["chisq"], rtol=1e-9)
    assert (schmidt.measures["df"] == 1).all()
    for kind in options["se"]:
        np.testing.assert_allclose(schmidt.se[kind], goldstein.se[kind], rtol=1e-7)
    full = fit("msem", restricted, sample, measures=True)
    assert (np.abs(schmidt.measures["chisq"] - full.measures["chisq"]) > 1e-3).all()  # not maximum likelihood's


def test_goldsteins_estimates_of_saturated_models_are_full_information_whatever_the_sizes() -> None:
    sample = draw(MEDIATION, UNBALANCED, 4, seed=2, icc=0.4)
    full, found = fit("msem", MEDIATION, sample), fit("goldstein", MEDIATION, sample)
    both = full.converged & found.converged
    assert both.sum() >= 3
    np.testing.assert_allclose(found.estimate[both], full.estimate[both], atol=FITTED)
    assert np.isnan(found.loglik).all()  # two matrices are no likelihood of the rows


# ---------------------------------------------------------------------- models


@pytest.mark.parametrize("method", FOUR)
def test_factors_at_both_levels(method) -> None:
    sample = draw(CFA, LARGE, 3, seed=4)
    found = fit(method, CFA, sample, measures=True)
    assert found.converged.all()
    assert (found.measures["df"] == 4).all()
    assert np.isfinite(found.measures["chisq"]).all()
    assert np.isfinite(se(found, "ratio"))
    assert np.isfinite(found.measures["loglik"]).all() == (method == "muml")


@pytest.mark.parametrize("method", FOUR)
def test_variables_that_live_within_only(method) -> None:
    """Slopes on them, their means, and the intercepts of what they predict are close to full information's."""
    sample = draw(WITHIN_ONLY, LARGE, 3, seed=4, icc=0.4)
    w = sample.level1.index("w")
    codes = np.repeat(np.arange(LARGE.n_clusters), LARGE.sizes)
    noise = np.random.default_rng(2).normal(size=sample.rows.shape[:2])
    sample.rows[:, :, w] = 2.0 + noise + 0.3 * (sample.rows[:, :, 1] - sample.rows[:, :, 1].mean())
    sample.rows[:, :, w] -= [pd.Series(r).groupby(codes).transform("mean") - 2.0 for r in sample.rows[:, :, w]]
    found, full = fit(method, WITHIN_ONLY, sample), fit("msem", WITHIN_ONLY, sample)
    assert found.converged.all()
    for name in ("bw", "d", "within: w ~ 1", "between: y ~ 1", "between: x ~ 1"):
        at = found.labels.index(name)
        # two consistent estimators of one data set differ by less than a standard error
        assert (np.abs(found.estimate[:, at] - full.estimate[:, at]) < full.se["expected"][:, at]).all(), name
    grand = sample.rows[:, :, w].mean(axis=1)
    np.testing.assert_allclose(found.estimate[:, found.labels.index("within: w ~ 1")], grand, atol=1e-9)


@pytest.mark.parametrize("method", ["goldstein", "muml"])
def test_a_path_of_both_levels_is_imposed_by_label_or_by_constraint(method) -> None:
    sample = draw(CONTEXTUAL, LARGE, 3, seed=6)
    label = TwoLevelModel.from_syntax("level: within\n y ~ b*x\nlevel: between\n y ~ b*x")
    tied = TwoLevelModel.from_syntax("level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x\nbw - bb == 0")
    first, second = fit(method, label, sample, measures=True), fit(method, tied, sample, measures=True)
    for name in ("bw", "bb"):
        at, there = first.labels.index("b"), second.labels.index(name)
        np.testing.assert_allclose(second.estimate[:, there], first.estimate[:, at], atol=FITTED)
        np.testing.assert_allclose(second.se["expected"][:, there], first.se["expected"][:, at], rtol=1e-6)
    np.testing.assert_allclose(first.measures["chisq"], second.measures["chisq"], rtol=1e-7)
    assert (first.measures["df"] == 1).all()


@pytest.mark.parametrize("method", ["schmidt", "haernqvist"])
def test_separate_analyses_decline_what_ties_the_levels_and_impose_what_does_not(method) -> None:
    estimator = registry.create(method)
    label = TwoLevelModel.from_syntax("level: within\n y ~ b*x\nlevel: between\n y ~ b*x")
    assert "'b' is one parameter of both levels" in estimator.supports(label, BALANCED)
    tied = TwoLevelModel.from_syntax("level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x\nbw - bb == 0")
    assert "the constraint 'bw - bb == 0' ties them" in estimator.supports(tied, BALANCED)
    own = TwoLevelModel.from_syntax("level: within\n y ~ a*x + b*w\nlevel: between\n y ~ x + w\na + b == 0.5")
    assert estimator.supports(own, BALANCED) is None
    found = fit(method, own, draw(own, LARGE, 2, seed=1))
    assert value(found, "a") + value(found, "b") == pytest.approx(0.5, abs=1e-12)  # by substitution: rounding


# ---------------------------------------------------------------------- data that cannot be analysed


@pytest.mark.parametrize("method", ["schmidt", "goldstein"])
def test_indefinite_between_matrices_are_a_status_and_leave_neighbours_alone(method) -> None:
    sample = draw(CONTEXTUAL, ClusterLayout.of([5] * 20), 60, seed=5, icc=0.05)
    found = fit(method, CONTEXTUAL, sample, measures=True)
    full = fit("msem", CONTEXTUAL, sample)
    # balanced and saturated: full information has the same Sigma_between, and reports it as not admissible
    np.testing.assert_array_equal(found.status == Status.NON_PD, ~full.admissible)
    np.testing.assert_array_equal(found.status == Status.OK, full.admissible)
    assert 0.1 < full.admissible.mean() < 0.9
    np.testing.assert_allclose(found.estimate[full.admissible], full.estimate[full.admissible], atol=1e-9)
    assert "not positive definite" in Status.NON_PD.message
    for other, options in (("schmidt", {"between": "raw"}), ("haernqvist", {}), ("muml", {})):
        assert fit(other, CONTEXTUAL, sample, **options).converged.all()


def test_over_identified_models_are_not_fitted_to_indefinite_matrices_either() -> None:
    """The discrepancy function may have a minimum there; software does not look for it."""
    sample = draw(CFA, ClusterLayout.of([4] * 25), 20, seed=4, icc=0.05)
    assert (fit("schmidt", CFA, sample).status == Status.NON_PD).sum() >= 5


# ---------------------------------------------------------------------- missing values


def test_goldstein_without_missing_values_is_the_complete_fit() -> None:
    sample = draw(OUTCOME_2, UNBALANCED, 2, seed=8, icc=0.5)
    complete, full = (fit("goldstein", OUTCOME_2, sample, measures=True, missing=m) for m in ("listwise", "fiml"))
    assert complete.converged.all()
    np.testing.assert_allclose(full.estimate, complete.estimate, atol=FITTED)
    np.testing.assert_allclose(full.se["expected"], complete.se["expected"], rtol=1e-6)
    np.testing.assert_allclose(full.measures["chisq"], complete.measures["chisq"], atol=1e-6)


def test_goldstein_uses_every_observed_value() -> None:
    """Saturated: the estimates of full-information maximum likelihood, level-2 gaps and empty rows included."""
    sample = draw(OUTCOME_2, LARGE, 2, seed=8, icc=0.5)
    rng = np.random.default_rng(1)
    sample.rows[rng.uniform(size=sample.rows.shape) < 0.15] = np.nan
    sample.rows[0, :3] = np.nan
    sample.clusters[0, ::7] = np.nan
    options = {"missing": "fiml", "se": ["robust"]}
    found, full = (fit(method, OUTCOME_2, sample, **options) for method in ("goldstein", "msem"))
    assert found.converged.all()
    np.testing.assert_allclose(found.estimate, full.estimate, atol=FITTED)
    # the second step is a change of parameters, which the sandwich follows; informations are differences of scores
    np.testing.assert_allclose(found.se["robust"], full.se["robust"], rtol=1e-5)
    assert registry.create("goldstein", {"missing": "fiml"}).needs == "sample"
    assert registry.create("goldstein", {"se": ["robust"]}).needs == "clusters"


def test_goldstein_reports_data_sets_with_nothing_to_see() -> None:
    sample = draw(CONTEXTUAL, BALANCED, 3, seed=8)
    sample.rows[0, :, 0] = np.nan
    sample.rows[1, 3, 1] = np.inf
    found = fit("goldstein", CONTEXTUAL, sample, missing="fiml")
    assert found.status.tolist() == [Status.NONFINITE, Status.NONFINITE, Status.OK]
    assert np.isnan(found.estimate[:2]).all()


# ---------------------------------------------------------------------- one data set


def test_one_data_set_from_a_frame() -> None:
    sample = draw(CONTEXTUAL, LARGE, 1, seed=6)
    data, text = sample.to_frame(), "level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x"
    muml = fit_frame(text.replace("bb", "bw"), data, cluster="cluster", estimator="muml", se="robust")
    assert muml.converged
    assert muml.measures["df"] == 1
    assert muml.measures["chisq_scaled"] == pytest.approx(muml.measures["chisq"] / muml.measures["scaling"])
    with pytest.raises(EstimatorError, match="not of muml"):
        level_fit(muml)
    with pytest.raises(EstimatorError, match="it goes with goldstein, fiml_wide and msem"):
        fit_frame(text, data, cluster="cluster", estimator="muml", missing="fiml")
    goldstein = fit_frame(text, data, cluster="cluster", estimator="goldstein", missing="fiml")
    assert goldstein.options["missing"] == "fiml"
    assert goldstein.converged
