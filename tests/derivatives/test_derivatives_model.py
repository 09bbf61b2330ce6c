"""Derivatives of implied moments, and of defined parameters."""

from __future__ import annotations

import numpy as np
import pytest
from derivative_cases import NAMES, close, differences, family, perturbed

from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

WITH_DEFINITIONS = tuple(name for name in NAMES if family(name)[0].estimands.definitions)


@pytest.mark.parametrize("level", ["within", "between"])
@pytest.mark.parametrize("name", NAMES)
def test_tangents_are_the_derivatives_of_the_moments(name, level) -> None:
    structure = TwoLevelStructure(family(name)[0])
    part, at, q = getattr(structure, level), perturbed(name), structure.q
    implied = part.implied(at)
    pairs = part.moment_derivatives(implied)
    sigma = np.zeros((q, part.n_observed, part.n_observed))
    for column, free in enumerate(part.cov_free):
        left, right = pairs.left[0, :, column], pairs.right[0, :, column]
        sigma[free] += np.outer(left, right) + np.outer(right, left)
    close(sigma, differences(lambda p: part.implied(p).sigma, at), 1e-10)  # moments of order 1: rounding / step
    mu = np.zeros((q, part.n_observed))
    for column, free in enumerate(part.mean_free):
        mu[free] += part.mean_derivatives(implied)[0, :, column]
    close(mu, differences(lambda p: part.implied(p).mu, at), 1e-10)


@pytest.mark.parametrize("level", ["within", "between"])
@pytest.mark.parametrize("name", NAMES)
def test_curvature_is_the_second_derivative_of_the_moments(name, level) -> None:
    structure = TwoLevelStructure(family(name)[0])
    part, at, q = getattr(structure, level), perturbed(name), structure.q
    rng = np.random.default_rng(23)
    m = rng.normal(size=(part.n_observed, part.n_observed))
    m, c = m + m.T, rng.normal(size=part.n_observed)

    def gradient(params: np.ndarray) -> np.ndarray:
        """Derivatives (R, q) of tr(M Sigma) + c'mu."""
        implied = part.implied(params)
        pairs, result = part.moment_derivatives(implied), np.zeros((len(params), q))
        for column, free in enumerate(part.cov_free):
            left, right = pairs.left[..., column], pairs.right[..., column]
            result[:, free] += 2.0 * np.einsum("ri,ij,rj->r", left, m, right)
        for column, free in enumerate(part.mean_free):
            result[:, free] += part.mean_derivatives(implied)[..., column] @ c
        return result

    analytic = part.curvature(part.implied(at), m[None], c[None], q)[0]
    close(analytic, differences(gradient, at), 1e-10)  # of order 1: rounding / step


@pytest.mark.parametrize("name", WITH_DEFINITIONS)
def test_jacobian_of_defined_parameters(name) -> None:
    model, _ = family(name)
    at = perturbed(name)
    numeric = differences(model.estimands.evaluate, at)  # (q, d)
    close(model.estimands.jacobian(at)[0], numeric.T, 1e-9)  # rounding / step


def test_jacobian_of_every_operation_and_of_definitions_that_use_others() -> None:
    model = TwoLevelModel.from_syntax(
        """
        level: within
          y ~ a*x + b*w
        level: between
          y ~ c*x + 0.5*k*z
        d1 := exp(a) * log(c) - sqrt(b) / abs(-c)
        d2 := -d1^2 + k*a^b - 2^(a - b)
        d3 := (d1 + d2) / (1 - d2) * pi
        d4 := a
        d5 := 3
        """
    )
    rng = np.random.default_rng(2)
    at = rng.uniform(0.5, 1.5, size=(1, len(model.names)))
    close(model.estimands.jacobian(at)[0], differences(model.estimands.evaluate, at).T, 1e-9)  # rounding / step
    np.testing.assert_array_equal(model.estimands.jacobian(at)[0, -1], 0.0)  # a number has no gradient
    batch = rng.uniform(0.5, 1.5, size=(4, 3, len(model.names)))
    one_by_one = [[model.estimands.jacobian(v) for v in row] for row in batch]
    np.testing.assert_array_equal(model.estimands.jacobian(batch), one_by_one)
