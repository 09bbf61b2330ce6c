"""`fiml_wide`: the same maximum as `msem` with and without missing values; what it declines; statuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from estimator_data import BALANCED, CONTEXTUAL, MEDIATION, OUTCOME_2, UNBALANCED, draw, fit

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.errors import EstimatorError
from simstudy.estimation.result import FitResult, Status
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

KINDS = ["expected", "observed", "robust"]
# Both stop within 1e-6 SE of the same point, after the same steps from the same starts: rounding.
SAME = 1e-9


def with_gaps(sample: Sample, share: float = 0.15) -> Sample:
    rng = np.random.default_rng(7)
    rows = np.where(rng.random(sample.rows.shape) < share, np.nan, sample.rows)
    clusters = np.where(rng.random(sample.clusters.shape) < share, np.nan, sample.clusters)
    return Sample(sample.layout, sample.level1, sample.level2, rows, clusters)


def agree(ours: FitResult, theirs: FitResult, limit: float, se_limit: float) -> None:
    assert ours.converged.all()
    assert theirs.converged.all()
    np.testing.assert_allclose(ours.estimate, theirs.estimate, rtol=limit, atol=limit)
    np.testing.assert_allclose(ours.loglik, theirs.loglik, rtol=1e-12)  # sums of 1e3 terms in another order
    for kind in theirs.se:
        np.testing.assert_allclose(ours.se[kind], theirs.se[kind], rtol=se_limit)
    np.testing.assert_array_equal(ours.admissible, theirs.admissible)


@pytest.mark.parametrize("layout", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
@pytest.mark.parametrize("model", [CONTEXTUAL, OUTCOME_2], ids=["contextual", "level-2 outcome"])
def test_it_is_msem(model, layout) -> None:
    sample = draw(model, layout, 3, seed=1)
    ours = fit("fiml_wide", model, sample, se=KINDS, measures=True)
    theirs = fit("msem", model, sample, se=KINDS, measures=True)
    # unequal sizes: the two come to the maximum by different steps, each within 1e-6 SE
    agree(ours, theirs, *((SAME, SAME) if layout.balanced else (1e-7, 1e-5)))
    near = 1e-8 if layout.balanced else 1e-6  # of ratios of small numbers
    for name, value in theirs.measures.items():
        np.testing.assert_allclose(ours.measures[name], value, rtol=near, atol=near, err_msg=name)


def test_it_is_msem_from_a_start_of_its_own(monkeypatch) -> None:
    """The same maximum is no echo of the same start."""
    import simstudy.methods.fiml_wide as module

    def naive(structure, statistics) -> tuple[np.ndarray]:
        start = [1.0 if "~~" in n and "within" in n else 0.3 if "~~" in n else 0.0 for n in structure.model.names]
        return (np.tile(start, (statistics.n_replicates, 1)),)

    sample = draw(MEDIATION, BALANCED, 2, seed=5)
    theirs = fit("msem", MEDIATION, sample, se=KINDS)
    monkeypatch.setattr(module, "two_level_starts", naive)
    ours = fit("fiml_wide", MEDIATION, sample, se=KINDS)
    assert (ours.n_iter > 3).all()
    agree(ours, theirs, 1e-7, 1e-5)  # each within 1e-6 SE; expected information is that of the last but one point


def test_constraints_and_equal_labels_are_imposed() -> None:
    model = TwoLevelModel.from_syntax("level: 1\n m ~ a*x\n y ~ b*m\nlevel: 2\n m ~ a*x\n y ~ c*m\na == 2*b")
    sample = draw(model, UNBALANCED, 2, seed=6)
    agree(fit("fiml_wide", model, sample, se=KINDS), fit("msem", model, sample, se=KINDS), 1e-7, 1e-5)


def test_missing_values_shorten_the_vector() -> None:
    sample = with_gaps(draw(OUTCOME_2, UNBALANCED, 2, seed=3))
    ours = fit("fiml_wide", OUTCOME_2, sample, se=KINDS, measures=True)
    theirs = fit("msem", OUTCOME_2, sample, se=KINDS, measures=True, missing="fiml")
    # that one's observed information is a difference of scores, step 1e-4: 1e-8 and more where curvature varies
    agree(ours, theirs, 1e-7, 1e-5)
    np.testing.assert_allclose(ours.measures["bic"], theirs.measures["bic"], rtol=1e-10)
    np.testing.assert_allclose(ours.measures["chisq"], theirs.measures["chisq"], atol=1e-6)


def test_replicates_with_and_without_gaps_are_fitted_as_if_alone() -> None:
    sample = draw(CONTEXTUAL, UNBALANCED, 3, seed=4)
    sample.rows[1, 3, 0] = np.nan
    whole = fit("fiml_wide", CONTEXTUAL, sample, se=KINDS)
    assert whole.converged.all()
    for r in range(3):
        alone = fit("fiml_wide", CONTEXTUAL, sample.select(np.array([r])), se=KINDS)
        assert np.array_equal(whole.estimate[r], alone.estimate[0])
        assert all(np.array_equal(whole.covariance[k][r], alone.covariance[k][0]) for k in KINDS)
    listwise = fit("fiml_wide", CONTEXTUAL, sample, missing="listwise")
    assert listwise.status.tolist() == [Status.OK, Status.NONFINITE, Status.OK]
    assert np.array_equal(listwise.estimate[0], whole.estimate[0])


def test_data_that_cannot_be_fitted_have_a_status() -> None:
    sample = draw(OUTCOME_2, UNBALANCED, 5, seed=4)
    sample.rows[1, 5, 0] = np.inf
    sample.rows[2] = 0.0
    sample.rows[3, :, 1] = np.nan
    sample.clusters[4] = np.nan
    found = fit("fiml_wide", OUTCOME_2, sample)
    assert found.status.tolist() == [
        Status.OK,
        Status.NONFINITE,
        Status.NON_PD,  # no variance
        Status.SINGULAR_INFORMATION,  # a variable of which nothing is observed
        Status.SINGULAR_INFORMATION,
    ]
    assert np.isnan(found.estimate[1:]).all()


def test_negative_variances_are_found_too() -> None:
    sample = draw(CONTEXTUAL, ClusterLayout.of([4] * 25), 20, seed=2, icc=0.05)
    ours, theirs = fit("fiml_wide", CONTEXTUAL, sample), fit("msem", CONTEXTUAL, sample)
    assert 3 < theirs.admissible.sum() < 17
    np.testing.assert_array_equal(ours.status, theirs.status)
    np.testing.assert_array_equal(ours.admissible, theirs.admissible)
    # slopes on a variance near 0 amplify rounding: relative
    np.testing.assert_allclose(ours.estimate, theirs.estimate, rtol=1e-6, atol=1e-8)


def test_long_vectors_are_declined_by_name() -> None:
    layout = ClusterLayout.of([5, 200])
    many = ClusterLayout.of([5] * 30 + [200])
    method = registry.create("fiml_wide")
    reason = method.supports(MEDIATION, many)
    assert reason is not None
    assert "200 rows" in reason
    assert "600 numbers" in reason
    assert "'max_length' is 400" in reason
    assert replace(method, max_length=600).supports(MEDIATION, many) is None
    assert "no more clusters" in str(replace(method, max_length=600).supports(MEDIATION, layout))  # as msem
    with pytest.raises(EstimatorError, match="'max_length' must be positive; found 0"):
        registry.create("fiml_wide", {"max_length": 0})


def test_chunks_change_no_bits(monkeypatch) -> None:
    sample = draw(CONTEXTUAL, UNBALANCED, 6, seed=8)
    whole = fit("fiml_wide", CONTEXTUAL, sample, se=KINDS)
    monkeypatch.setattr("simstudy.likelihood.normal.wide.CHUNK", 1)
    small = fit("fiml_wide", CONTEXTUAL, sample, se=KINDS)
    assert np.array_equal(whole.estimate, small.estimate)
    assert np.array_equal(whole.covariance["robust"], small.covariance["robust"])
