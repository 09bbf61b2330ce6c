"""Rejection rates of a true model against both unrestricted models: docs/fit.md quotes what is printed here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.methods.msem import Msem
from simstudy.model.twolevel import TwoLevelModel

LOADINGS = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
LAYOUT = ClusterLayout.of([5] * 40 + [10] * 50 + [15] * 20)
WITHIN, BETWEEN = np.array([[1.0, 0.0], [0.0, 0.5]]), np.array([[0.5, 0.1], [0.1, 0.2]])
REPLICATES = 1000


def model(residual: float) -> TwoLevelModel:
    """Linear growth at both levels; between residuals fixed at what they are."""
    text = """
    level: within
      iw =~ 1*y1 + 1*y2 + 1*y3 + 1*y4
      sw =~ 0*y1 + 1*y2 + 2*y3 + 3*y4
      iw ~~ sw
    level: between
      ib =~ 1*y1 + 1*y2 + 1*y3 + 1*y4
      sb =~ 0*y1 + 1*y2 + 2*y3 + 3*y4
      ib ~~ sb
      ib ~ 1
      sb ~ 1
    """
    for name in ("y1", "y2", "y3", "y4"):
        text += f"\n  {name} ~~ {residual}*{name}\n  {name} ~ 0*1"
    return TwoLevelModel.from_syntax(text)


def draw(residual: float, n: int, seed: int) -> Sample:
    """Data sets of the true model."""
    rng = np.random.default_rng(seed)
    sizes = np.repeat(LAYOUT.distinct, LAYOUT.counts)

    def factors(cov: np.ndarray, many: int) -> np.ndarray:
        return rng.standard_normal((n, many, 2)) @ np.linalg.cholesky(cov).T @ LOADINGS.T

    between = factors(BETWEEN, len(sizes)) + np.sqrt(residual) * rng.standard_normal((n, len(sizes), 4))
    within = factors(WITHIN, int(sizes.sum())) + np.sqrt(0.5) * rng.standard_normal((n, int(sizes.sum()), 4))
    rows = np.repeat(between, sizes, axis=1) + within
    return Sample(LAYOUT, ("y1", "y2", "y3", "y4"), (), rows, np.zeros((n, len(sizes), 0)))


@pytest.mark.slow
@pytest.mark.parametrize("residual", [0.0, 0.2])
def test_chi_square_against_the_unrestricted_model_holds_its_level(residual) -> None:
    """Residuals of 0 put the truth on the border of the semidefinite cone: there the psd statistic is too small."""
    found = {}
    data = draw(residual, REPLICATES, seed=2009).statistics(cluster_wise=False)
    for h1 in ("unrestricted", "psd"):
        result = Msem(measures=True, h1=h1).prepare(model(residual), LAYOUT).fit(data)
        assert result.converged.all()
        found[h1] = result.measures["chisq"]
        assert np.isfinite(found[h1]).all()
        assert (result.measures["df"] == 12).all()
    right, small = found["unrestricted"], found["psd"]
    for name, chisq in found.items():
        rate = (stats.chi2.sf(chisq, 12) < 0.05).mean()
        print(f"residual {residual}: {name}: mean {chisq.mean():.2f} (sd {chisq.std():.2f}), rejected {rate:.3f}")
    assert (small <= right + 1e-6).all()  # a larger unrestricted model is never below a smaller one
    se = right.std() / np.sqrt(REPLICATES)
    # second order of the chi-square approximation at 110 clusters: half a degree of freedom
    assert abs(right.mean() - 12.0) < 4 * se + 0.5
    rates = {name: (stats.chi2.sf(chisq, 12) < 0.05).mean() for name, chisq in found.items()}
    mcse = np.sqrt(0.05 * 0.95 / REPLICATES)
    assert abs(rates["unrestricted"] - 0.05) < 4 * mcse
    if residual:
        np.testing.assert_allclose(small, right, rtol=0, atol=1e-6)  # the same maximum: both are inside of the cone
    else:
        assert small.mean() < 12.0 - 1.5
        assert rates["psd"] < 0.05 - 2 * mcse
