"""The single-level likelihood is the normal density of the units, summed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from simstudy.likelihood.normal.single_level import Data, SingleLevelLikelihood
from simstudy.model.collapse import between_model
from simstudy.model.twolevel import TwoLevelModel

FAMILIES = tomllib.loads((Path(__file__).parents[1] / "model" / "families.toml").read_text())


@pytest.mark.parametrize("name", FAMILIES)
def test_loglik_is_the_sum_of_normal_densities(name) -> None:
    model = TwoLevelModel.from_syntax(FAMILIES[name]["syntax"])
    single = between_model(model)
    values = np.empty((1, single.n_free))
    for key, place in zip(model.names, single.index, strict=True):
        if place >= 0:
            values[0, place] = FAMILIES[name]["values"][key]
    units = np.random.default_rng(4).normal(0.3, 1.1, size=(23, len(single.variables)))
    centred = units - units.mean(axis=0)
    likelihood = SingleLevelLikelihood(single.level, len(units), single.n_free)
    found = likelihood.evaluate(values, Data(units.mean(axis=0)[None], (centred.T @ centred)[None]))
    implied = single.level.implied(values)
    density = stats.multivariate_normal.logpdf(units, implied.mu[0], implied.sigma[0]).sum()
    assert found.loglik[0] == pytest.approx(density, rel=1e-12)  # the same sum: rounding


def test_points_without_a_positive_definite_matrix_are_not_ok() -> None:
    model = TwoLevelModel.from_syntax(FAMILIES["contextual"]["syntax"])
    single = between_model(model)
    values = np.ones((3, single.n_free))
    values[1, single.variances[0]] = -5.0
    values[2, 0] = np.nan
    likelihood = SingleLevelLikelihood(single.level, 10, single.n_free)
    data = Data(np.zeros((3, 2)), np.tile(10 * np.eye(2), (3, 1, 1)))
    found = likelihood.evaluate(values, data)
    np.testing.assert_array_equal(found.ok, [True, False, False])
