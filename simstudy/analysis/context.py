"""What further questions about a fit need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from simstudy.analysis.units import Units
from simstudy.data.sample import Sample
from simstudy.estimation.result import FitResult
from simstudy.linalg.stacked import IntArray
from simstudy.methods.protocol import Estimator


@dataclass(frozen=True)
class Context:
    """What further questions about a fit need: the data, the method, and the engine's pieces.

    Attributes
    ----------
    sample : Sample
        One data set (R = 1), NaN where values are missing.
    cluster_ids : tuple
        Identifier of every cluster, in the sample's order.
    rows : Index (N,)
        Index in the user's data of every row of the sample.
    order : (N,)
        Row of the data that were used at each place of the sample.
    method : Estimator
    result : FitResult
        With ``:=`` parameters.
    units : Units, optional
        rescaled units, where data are scaled so badly that the method is fitted in others than the user's.
    rescaled : FitResult, optional
        What was fitted: the result in rescaled units, or in the user's without ``:=`` parameters.
    """

    sample: Sample
    cluster_ids: tuple[Any, ...]
    rows: pd.Index[Any]
    order: IntArray
    method: Estimator
    result: FitResult
    units: Units | None = None
    rescaled: FitResult | None = None
