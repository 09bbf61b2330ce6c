"""Missing values that `msem` cannot use in models with random slopes: what is said of them, once."""

from __future__ import annotations

import numpy as np

from simstudy.data.sample import Sample
from simstudy.errors import EstimatorError
from simstudy.linalg.stacked import BoolArray, FloatArray
from simstudy.model.exogenous import GivenVariables
from simstudy.model.twolevel import TwoLevelModel


def has_gaps(sample: Sample) -> BoolArray:
    """Which of R data sets have missing values (R,)."""
    return np.asarray(np.isnan(sample.rows).any(axis=(1, 2)) | np.isnan(sample.clusters).any(axis=(1, 2)))


def refuse_gaps(model: TwoLevelModel, given: GivenVariables, sample: Sample) -> None:
    """Raise an `EstimatorError` with all that is wrong with the missing values of data sets.

    Parameters
    ----------
    given : GivenVariables
        Variables that the likelihood is conditional on.
    sample : Sample
        In the model's order.
    """
    problems = []
    empty = [*_incomplete(sample.level1, sample.rows), *_incomplete(sample.level2, sample.clusters)]
    problems += [
        f"missing='fiml': '{name}' has missing values, and fixed_x takes it as given: leave fixed_x out, so that it is "
        "a variable of the model, or use missing='listwise'"
        for name in given.names
        if name in empty
    ]
    if problems:
        raise EstimatorError(list(dict.fromkeys(problems)))


def _incomplete(names: tuple[str, ...], values: FloatArray) -> list[str]:
    """Variables (R, n, p) with missing values."""
    return [name for k, name in enumerate(names) if np.isnan(values[..., k]).any()]
