"""`msem` finds the maximum that scipy's trust-region Newton method finds from a naive start."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_data import UNBALANCED, draw, fit
from scipy import optimize

from simstudy.data.layout import ClusterLayout
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

RESTRICTED = TwoLevelModel.from_syntax("level: within\n m ~ aw*x\n y ~ bw*m\nlevel: between\n m ~ ab*x\n y ~ bb*m")


def scipys(model: TwoLevelModel, statistics: TwoLevelStatistics, start: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Parameters, log-likelihood and smallest eigenvalue of the observed information of one data set."""
    layout = statistics.layout
    likelihood = TwoLevelLikelihood(TwoLevelStructure(model), layout.distinct, layout.counts)
    data = Data.of(statistics)

    def value(t: np.ndarray) -> float:
        found, ok = likelihood.loglik(t[None], data)
        return -float(found[0]) if ok[0] else 1e6

    def gradient(t: np.ndarray) -> np.ndarray:
        return np.nan_to_num(-likelihood.evaluate(t[None], data).score[0])

    def hessian(t: np.ndarray) -> np.ndarray:
        found = likelihood.observed_information(t[None], data)[0]
        return found if np.isfinite(found).all() else np.eye(len(t))  # outside the domain

    found = optimize.minimize(
        value, start, jac=gradient, hess=hessian, method="trust-exact",
        options={"gtol": 1e-5, "maxiter": 300, "max_trust_radius": 5.0},
    )  # fmt: skip
    return found.x, -found.fun, float(np.linalg.eigvalsh(hessian(found.x))[0])


def naive(model: TwoLevelModel) -> np.ndarray:
    return np.array([1.0 if "~~" in n and "within" in n else 0.1 if "~~" in n else 0.5 for n in model.names])


@pytest.mark.parametrize("layout", [ClusterLayout.of([8] * 40), UNBALANCED], ids=["balanced", "unbalanced"])
def test_restricted_model(layout) -> None:
    sample = draw(RESTRICTED, layout, 4, seed=21)
    found = fit("msem", RESTRICTED, sample)
    for r in range(4):
        params, loglik, curvature = scipys(RESTRICTED, sample.select(np.array([r])).statistics(), naive(RESTRICTED))
        assert curvature > 0
        assert found.loglik[r] == pytest.approx(loglik, abs=1e-8)  # scipy stops at a score of 1e-5
        np.testing.assert_allclose(found.estimate[r], params, atol=1e-5)


FLAT = pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="known limit: at a slope of 27 the valley is too flat"
)


@pytest.mark.parametrize("replicate", [9, 11, pytest.param(21, marks=FLAT)])
def test_maxima_at_the_end_of_flat_valleys_are_found(replicate) -> None:
    """60 clusters of 10, ICC .05: a proper maximum with a positive definite information exists (slope up to 27)."""
    sample = draw(RESTRICTED, ClusterLayout.of([10] * 60), 64, seed=3, icc=0.05).select(np.array([replicate]))
    _, loglik, curvature = scipys(RESTRICTED, sample.statistics(), naive(RESTRICTED))
    if curvature <= 0:
        pytest.fail("scipy found no maximum")
    found = fit("msem", RESTRICTED, sample)
    assert found.converged.all()
    assert found.loglik[0] >= loglik - 1e-6
