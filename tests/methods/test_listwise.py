"""What listwise deletion leaves of many data sets, fitted at once, is what is fitted to each alone."""

from __future__ import annotations

import numpy as np
import pytest

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.estimation.result import FitResult, Status
from simstudy.methods import registry
from simstudy.methods.listwise import fit_listwise
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.streams import FitStreams

TEXT = """
level: within
  m ~ aw*x
  y ~ bw*m + cw*x
level: between
  m ~ ab*x + z
  y ~ bb*m + z
"""
MODEL = TwoLevelModel.from_syntax(TEXT)
LAYOUT = ClusterLayout.of([4] * 30 + [6] * 30)
# Two engines stop within 1e-6 standard errors of the maximum, where SEs are .02 to .3.
SAME = 1e-6


def draw() -> Sample:
    """Eight data sets: usual, complete, with a constant, an infinite value, of few clusters, without a complete row."""
    rng = np.random.default_rng(11)
    n, codes = 8, np.repeat(np.arange(60), LAYOUT.sizes)
    between, z = rng.normal(size=(n, 60, 3)), rng.normal(size=(n, 60, 1))
    rows = rng.normal(size=(n, len(codes), 3)) + 0.6 * between[:, codes] + 0.4 * z[:, codes]
    rows[rng.uniform(size=rows.shape) < 0.15] = np.nan
    z[rng.uniform(size=z.shape) < 0.05] = np.nan
    rows[2], z[2] = np.nan_to_num(rows[2]), np.nan_to_num(z[2])
    rows[3, :, 1] = 1.0
    rows[4, 0, 0] = np.inf
    rows[5, codes > 2] = np.nan
    rows[6, :, 0] = np.nan
    return Sample(LAYOUT, MODEL.level1, MODEL.level2, rows, z)


def fit(sample: Sample, which: np.ndarray, **options: object) -> FitResult:
    streams = FitStreams.of(1, "msem", "key", range(8)).select(which)
    with np.errstate(all="ignore"):
        return fit_listwise(registry.create("msem", options), MODEL, sample.select(which), streams)


@pytest.fixture(scope="module")
def options() -> dict[str, object]:
    return {"se": ["expected", "observed", "robust"], "measures": True}


@pytest.fixture(scope="module")
def together(options) -> FitResult:
    return fit(draw(), np.arange(8), **options)


@pytest.fixture(scope="module")
def alone(options) -> FitResult:
    """Each data set by the likelihood of complete data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simstudy.methods.msem.Msem.on_rows_left", lambda self, model: None)
        return fit(draw(), np.arange(8), **options)


def test_the_same_numbers(together, alone) -> None:
    assert alone.converged.tolist() == [True] * 3 + [False] * 4 + [True]
    assert alone.status[4:7].tolist() == [int(Status.NONFINITE)] + 2 * [int(Status.NOT_SUPPORTED)]
    np.testing.assert_array_equal(together.status, alone.status)
    np.testing.assert_array_equal(together.admissible, alone.admissible)
    for ours, theirs in [
        (together.estimate, alone.estimate),
        (together.loglik, alone.loglik),
        *((together.se[kind], alone.se[kind]) for kind in alone.se),
    ]:
        np.testing.assert_allclose(ours, theirs, rtol=SAME, atol=SAME)
    assert set(together.measures) == set(alone.measures)
    for name, theirs in alone.measures.items():
        np.testing.assert_allclose(together.measures[name], theirs, rtol=1e-5, atol=1e-5, err_msg=name)


def test_bits_do_not_depend_on_the_batch(together, options) -> None:
    for some in ([7], [1, 3], [6, 0, 4, 2, 5]):
        which = np.array(some)
        again, expected = fit(draw(), which, **options), together.select(which)
        np.testing.assert_array_equal(again.status, expected.status)
        np.testing.assert_array_equal(again.estimate, expected.estimate)
        for kind, se in expected.se.items():
            np.testing.assert_array_equal(again.se[kind], se)
