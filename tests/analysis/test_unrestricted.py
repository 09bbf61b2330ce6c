"""Which unrestricted model chi-square is against, the notes that say so, and why a measure is missing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from simstudy.analysis.as_dict import fit_as_dict
from simstudy.analysis.derived import residuals
from simstudy.analysis.fit import fit, fit_all
from simstudy.analysis.level_fit import level_fit
from simstudy.analysis.result import FitRecord
from simstudy.analysis.unrestricted import compare, unrestricted_of, with_intervals
from simstudy.errors import EstimatorError
from simstudy.estimation.fit_measures import Solved, srmr
from simstudy.estimation.result import Status
from simstudy.model.implied import TwoLevelStructure

# no between residuals, as in the data: the unrestricted Sigma_between has eigenvalues around 0
FACTORS = """
level: within
  f =~ y1 + y2 + y3 + y4
level: between
  g =~ y1 + y2 + y3 + y4
  y1 ~~ 0*y1
  y2 ~~ 0*y2
  y3 ~~ 0*y3
  y4 ~~ 0*y4
"""
ITEMS = ["y1", "y2", "y3", "y4"]


@cache
def data(residual: float = 0.0, gaps: float = 0.0) -> pd.DataFrame:
    """One factor at both levels, 60 unequal clusters."""
    rng = np.random.default_rng(12)
    sizes = np.resize([4, 6, 9], 60)
    clusters = np.repeat(np.arange(60), sizes)
    between = 0.6 * rng.normal(size=(60, 1)) + np.sqrt(residual) * rng.normal(size=(60, 4))
    rows = between[clusters] + rng.normal(size=(len(clusters), 1)) + 0.8 * rng.normal(size=(len(clusters), 4))
    rows[rng.uniform(size=rows.shape) < gaps] = np.nan
    return pd.DataFrame(rows, columns=ITEMS).assign(g=clusters)


@cache
def fitted(h1: str | None = None, residual: float = 0.0, **options) -> FitRecord:
    text = FACTORS if not residual else FACTORS.replace("0*", "")
    found = fit(text, data(residual), cluster="g", h1=h1, **options)
    assert found.converged
    return found


def about_eigenvalues(found: FitRecord) -> list[str]:
    return [note for note in found.notes if "eigenvalue" in note]


def test_both_chi_squares_are_told_where_they_differ() -> None:
    free, psd = fitted(), fitted("psd")
    assert (free.h1, psd.h1) == ("unrestricted", "psd")
    assert psd.measures["chisq"] < free.measures["chisq"] - 0.1
    assert psd.measures["loglik"] == free.measures["loglik"]
    np.testing.assert_array_equal(psd.params, free.params)
    assert fit_as_dict(psd)["h1"] == "psd"
    for one, other in ((free, psd), (psd, free)):
        (note,) = about_eigenvalues(one)
        assert f"{other.measures['chisq']:.3f}" in note
        assert "docs/fit.md" in note
    lowest = unrestricted_of(free.model, free.context.sample).eigenvalues[0]
    assert lowest < 0
    assert f"{lowest:.4g}" in about_eigenvalues(free)[0]


def test_each_of_the_two_statistics_has_its_p_value() -> None:
    free, psd = fitted(se="robust"), fitted("psd", se="robust")
    (note,) = about_eigenvalues(free)
    one = psd.measures
    assert f"{one['chisq']:.3f} (p {one['pvalue']:.3f}), scaled {one['chisq_scaled']:.3f}" in note
    assert f"(p {one['pvalue_scaled']:.3f}), df {one['df']:.0f}" in note
    assert "too small on average" in note


def test_without_degrees_of_freedom_nothing_is_said_of_the_size_of_chi_square() -> None:
    """A bound costs likelihood without df."""
    text = "level: within\n y1 ~~ y2 + y3 + y4\n y2 ~~ y3 + y4\n y3 ~~ y4\n"
    text += text.replace("within", "between") + " y1 ~~ lower(5)*y1\n"
    (note,) = about_eigenvalues(fit(text, data(), cluster="g"))
    assert "df 0" in note
    assert "too small on average" not in note
    assert "(p " not in note


def test_nothing_is_told_where_they_are_the_same() -> None:
    free, psd = fitted(residual=0.5), fitted("psd", residual=0.5)
    assert not about_eigenvalues(free)
    assert not about_eigenvalues(psd)
    for name, value in free.measures.items():
        np.testing.assert_array_equal(psd.measures[name], value, err_msg=name)


def test_a_saturated_model_has_nothing_to_compare() -> None:
    found = fit("level: within\n y1 ~ y2\nlevel: between\n y1 ~ y2", data(), cluster="g")
    assert not about_eigenvalues(found)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"missing": "fiml"}, {"estimator": "fiml_wide"}], ids=["fiml", "wide"])
def test_other_likelihoods_have_both_models(options) -> None:
    few = data(gaps=0.05 if "missing" in options else 0.0)
    few = few[few["g"] < 40]
    free, psd = (fit(FACTORS, few, cluster="g", h1=h1, **options) for h1 in (None, "psd"))
    assert psd.h1 == "psd"
    assert psd.measures["unrestricted_loglik"] < free.measures["unrestricted_loglik"]
    assert about_eigenvalues(free)


def test_wide_form_and_two_level_likelihood_agree_on_the_semidefinite_maximum() -> None:
    few = data()[data()["g"] < 20]
    ours, wide = (fit(FACTORS, few, cluster="g", h1="psd", estimator=name).measures for name in ("msem", "fiml_wide"))
    # sums of 1e3 terms in another order
    assert wide["unrestricted_loglik"] == pytest.approx(ours["unrestricted_loglik"], rel=1e-11)


def test_residuals_and_level_fit_are_against_the_model_that_was_chosen() -> None:
    psd = fitted("psd", residual=0.0)
    table = residuals(psd)
    between = table[(table["level"] == "between") & (table["rhs"] != "")]
    observed = np.zeros((4, 4))
    for row in between.itertuples():
        i, j = ITEMS.index(row.lhs), ITEMS.index(row.rhs)
        observed[i, j] = observed[j, i] = row.observed
    assert np.linalg.eigvalsh(observed)[0] > -1e-10
    free_levels, psd_levels = (level_fit(fitted(h1)).set_index("level") for h1 in (None, "psd"))
    assert psd_levels.loc["between", "chisq"] < free_levels.loc["between", "chisq"]
    assert (psd_levels["chisq"] >= 0).all()


@pytest.mark.parametrize("without", [0, 1])
def test_no_srmr_where_one_of_its_models_has_no_maximum(without) -> None:
    """The other data sets of the batch keep theirs, to the last bit."""
    found = fitted(None, residual=0.5)
    free = unrestricted_of(found.model, found.context.sample).solved
    structure = TwoLevelStructure(found.model)
    own = Solved(structure, free.engine, replace(free.best, params=found.params[None]), structure.q)
    pair = [_twice(own), _twice(free)]
    status = np.array([int(Status.OK), int(Status.MAX_ITER)])
    pair[without] = replace(pair[without], best=replace(pair[without].best, status=status))
    for values, name in zip(srmr(*pair), ("srmr_within", "srmr_between"), strict=True):
        assert values[0] == pytest.approx(found.measures[name], rel=1e-6)  # two searches of one maximum
        assert np.isnan(values[1])


def _twice(solved: Solved) -> Solved:
    best = solved.best
    params, loglik, status = (np.repeat(part, 2, axis=0) for part in (best.params, best.loglik, best.status))
    return replace(solved, best=replace(best, params=params, loglik=loglik, status=status))


def test_intervals_of_every_rmsea() -> None:
    robust = fitted(None, se="robust").measures
    for suffix in ("", "_scaled", "_robust"):
        low, high = robust[f"rmsea_ci_lower{suffix}"], robust[f"rmsea_ci_upper{suffix}"]
        assert low <= robust[f"rmsea{suffix}"] <= high
    assert "rmsea_ci_lower_robust" not in fitted().measures
    assert with_intervals({"loglik": 1.0}, 10) == {"loglik": 1.0}


def test_an_h1_that_does_not_exist_is_refused() -> None:
    with pytest.raises(EstimatorError, match="h1: found 'pds'; allowed: unrestricted, psd"):
        fit(FACTORS, data(), cluster="g", h1="pds")
    with pytest.raises(EstimatorError, match="'muml' has no choice of 'h1'; it goes with fiml_wide and msem"):
        fit(FACTORS, data(), cluster="g", h1="psd", estimator="muml")


@pytest.mark.slow
def test_methods_without_the_choice_are_fitted_without() -> None:
    found = fit_all(FACTORS, data()[data()["g"] < 30], cluster="g", h1="psd")
    assert found["msem"].h1 == "psd"
    assert any("no choice of 'h1'" in note for note in found["muml"].notes)


# ---------------------------------------------------------------------- why a measure is missing


def reasons(changes: dict[str, float], h1: str | None = "unrestricted", estimator: str = "msem") -> tuple[str, ...]:
    """What `compare` says of a robust fit whose measures are changed."""
    found = fitted(None, residual=0.5, se="robust") if estimator == "msem" else fitted(None, 0.5, estimator=estimator)
    context = found.context
    measures = dict(context.result.measures)
    measures |= {name: np.array([value]) for name, value in changes.items()}
    result = replace(context.result, measures=measures)
    free = unrestricted_of(found.model, context.sample)
    return compare(context.method, found.model, context.sample, result, free, h1).notes


def test_a_complete_fit_needs_no_reason() -> None:
    assert reasons({}) == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scaling": -0.3, "chisq_scaled": np.nan}, "the scaling factor is -0.3000; it must be positive"),
        ({"scaling": np.nan, "chisq_scaled": np.nan}, "the scaling factor cannot be computed"),
        ({"baseline_scaling": -0.1}, "the baseline model's scaling factor is not positive"),
        ({"baseline_chisq": np.nan}, "the baseline model has no maximum"),
        ({"chisq": np.nan}, "no chi-square, CFI, RMSEA"),
    ],
)
def test_reasons(changes, says) -> None:
    (note,) = reasons(changes)
    assert says in note


def test_a_model_above_the_semidefinite_one_is_not_nested_in_it() -> None:
    (note,) = reasons({"unrestricted_loglik": -1e9}, "psd")
    assert "not nested" in note


def test_a_method_that_cannot_reach_the_unrestricted_maximum_says_so() -> None:
    (note,) = reasons({"chisq": np.nan}, None, "muml")
    assert "no chi-square" in note
