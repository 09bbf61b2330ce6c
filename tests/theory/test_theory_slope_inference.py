"""Simulations of inference about random slopes: the test of a variance (mixture), and E[a_j b_j] (theory D1.5)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from simstudy.analysis.nested import mixture_pvalue, without_variance
from simstudy.data.layout import ClusterLayout
from simstudy.estimation.inference import montecarlo, with_defined
from simstudy.methods.msem_slopes import SlopeMsem
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.calibrate import calibrate
from simstudy.population.draw import draw_cluster_statistics
from simstudy.population.population import Population

ONE = "level: within\n y ~ rv('s')*x\nlevel: between\n y ~~ {}s\n"
MEDIATION = """
level: within
  m ~ rv("a_j")*x
  y ~ rv("b_j")*m + rv("c_j")*x
level: between
  a_j ~ a*1
  b_j ~ b*1
  c_j ~ c*1
  a_j ~~ sab*b_j
  y ~~ m
ind := a*b + sab
"""


@pytest.mark.slow
@pytest.mark.parametrize(("covariance", "q"), [("", 1), ("0*", 0)])
def test_a_variance_of_zero_is_rejected_as_often_as_alpha_says(covariance: str, q: int) -> None:
    """The mixture holds alpha; chi-square with q + 1 degrees of freedom is conservative."""
    replicates, model = 2_000, TwoLevelModel.from_syntax(ONE.format(covariance))
    layout = ClusterLayout.of([10] * 200)
    values = {"between: s ~ 1": 0.4, "between: s ~~ s": 0.0, "within: y ~~ y": 1.0, "between: y ~~ y": 0.3}
    population = Population(model, calibrate(model, {**values, "within: x ~~ x": 1.0}), layout, "variance of 0")
    data = draw_cluster_statistics(population, 7, range(replicates))
    null, covariances = without_variance(model, "s")
    assert covariances == q
    full, fixed = (SlopeMsem().prepare(one, layout).fit(data) for one in (model, null))
    assert full.converged.all()
    assert fixed.converged.all()
    statistic = np.maximum(2.0 * (full.loglik - fixed.loglik), 0.0)
    p = mixture_pvalue(statistic, q)
    for alpha in (0.01, 0.05, 0.1):
        mcse = np.sqrt(alpha * (1.0 - alpha) / replicates)
        # 3 MCSE, and a tenth for what 200 clusters leave of asymptotics
        assert abs((p <= alpha).mean() - alpha) < 3.0 * mcse + 0.1 * alpha
        assert (chi2.sf(statistic, q + 1) <= alpha).mean() < 0.8 * alpha


@pytest.mark.slow
def test_the_mean_indirect_effect_and_its_intervals() -> None:
    """a = .4, b = .5, sigma_ab = .06: .26; 1,000 fits of D1.5 gave SE/SD 1.002 and coverage .937 and .942."""
    replicates, model = 600, TwoLevelModel.from_syntax(MEDIATION)
    values = {
        "a": 0.4, "b": 0.5, "c": 0.1, "sab": 0.06, "between: a_j ~~ a_j": 0.12, "between: b_j ~~ b_j": 0.15,
        "between: c_j ~~ c_j": 0.05, "within: x ~~ x": 1.0, "within: m ~~ m": 0.7, "within: y ~~ y": 0.6,
        "between: m ~~ m": 0.3, "between: y ~~ y": 0.3,
    }  # fmt: skip
    layout = ClusterLayout.of([12] * 100)
    population = Population(model, calibrate(model, values, slopes="observed"), layout, "D1.5", slopes="observed")
    truth = population.truth(model)[-1]
    np.testing.assert_allclose(truth, 0.26, rtol=1e-12)
    data = draw_cluster_statistics(population, 15, range(replicates))
    result = with_defined(SlopeMsem(slopes="observed").prepare(model, layout).fit(data), model.estimands)
    assert result.converged.all()
    estimate, se = result.estimate[:, -1], result.se["observed"][:, -1]
    assert abs(estimate.mean() - truth) < 4.0 * estimate.std() / np.sqrt(replicates)
    assert abs(se.mean() / estimate.std() - 1.0) < 4.0 / np.sqrt(2.0 * replicates)
    low, high = montecarlo(result, model.estimands, 1, "D1.5", range(replicates), 1000, 0.95).intervals["montecarlo"]
    for covered in (np.abs(estimate - truth) < 1.959964 * se, (low[:, -1] < truth) & (truth < high[:, -1])):
        # 4 MCSE around the value of J = 100
        assert abs(covered.mean() - 0.94) < 4.0 * np.sqrt(0.94 * 0.06 / replicates)
