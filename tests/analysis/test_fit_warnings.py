"""What `fit` must not pass over: it did not converge, a slope has nothing to multiply, weights are not used."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import simstudy
from simstudy.analysis import fit as fit_module
from simstudy.analysis.fit import fit, fit_all
from simstudy.analysis.result import SlopeFact
from simstudy.analysis.slopes import flat_predictors
from simstudy.errors import ConvergenceWarning, EstimatorError, SimstudyWarning
from simstudy.estimation.result import Status

SLOPE = 'level: within\n y ~ rv("s")*x\nlevel: between\n y ~ x\n y ~~ s'
PATH = "level: within\n y ~ x\nlevel: between\n y ~ x"


def centred(n_clusters: int = 40) -> pd.DataFrame:
    """A predictor that was centred within clusters and then rounded: its means are nearly 0."""
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(n_clusters), 8)
    x = rng.normal(size=len(g))
    x = np.round(x - pd.Series(x).groupby(g).transform("mean").to_numpy(), 2)
    y = 0.5 * rng.normal(size=n_clusters)[g] + (0.4 + 0.3 * rng.normal(size=n_clusters)[g]) * x
    return pd.DataFrame({"g": g, "x": x, "y": y + rng.normal(size=len(g))})


def test_a_slope_without_between_variance_to_multiply() -> None:
    latent, observed = (SlopeFact("s", "y", x, "latent", "") for x in ("x", "z"))
    assert flat_predictors((latent,), {"x": 0.2}) == ()
    for icc in (-0.1, 0.0, np.nan):
        assert "'x' has no between variance" in flat_predictors((latent, observed), {"x": icc})[0]


@pytest.mark.slow
def test_a_slope_of_a_predictor_without_between_variance_is_named() -> None:
    found = fit(SLOPE, centred(), cluster="g")
    assert found.converged
    assert found.measures["boundary"] == 1.0
    notes = "\n".join(found.notes)
    assert "the slope 's' multiplies the deviation of 'x'" in notes
    assert "'x' has no between variance in these data" in notes
    assert "paths from 'x' in the between block" in notes  # of which the estimate is anything


def test_what_cannot_be_fitted_warns_and_what_converged_does_not() -> None:
    data = centred().assign(x=lambda frame: frame["x"] + np.repeat(np.random.default_rng(1).normal(size=40), 8))
    for call in (fit, simstudy.fit):
        with pytest.warns(ConvergenceWarning, match="raudenbush_measurement cannot fit this model") as caught:
            call(PATH, data, cluster="g", estimator="raudenbush_measurement")
        assert caught[0].filename == __file__  # the line that called
        assert str(caught[0].message).count("cannot fit this model") == 1
        assert "did not converge" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(PATH, data, cluster="g")
        fit_all(PATH, data, cluster="g")  # methods that cannot fit the model say so in their notes


def test_all_methods_warn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods that cannot fit the model are no failures."""
    status = {"msem": Status.MAX_ITER, "mlm": Status.OK, "em": Status.NON_PD, "croon": Status.NOT_SUPPORTED}
    one = fit(PATH, centred(), cluster="g", estimator="mlm")
    monkeypatch.setattr(fit_module.registry, "names", lambda: tuple(status))
    monkeypatch.setattr(fit_module, "fit", lambda *_, estimator, **__: replace(one, status=status[estimator]))
    assert issubclass(ConvergenceWarning, SimstudyWarning)
    with pytest.warns(ConvergenceWarning, match="^did not converge: msem, em$") as caught:
        fit_all(PATH, centred(), cluster="g")
    assert len(caught) == 1


def test_weights_are_refused_with_the_reason() -> None:
    with pytest.raises(EstimatorError, match=r"weights: sampling weights \('w'\) are not supported.*predictors"):
        fit(PATH, centred(), cluster="g", weights="w")
