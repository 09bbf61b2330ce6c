"""The analytic measure over numbers and sizes of clusters: the data of a map."""

from __future__ import annotations

import numpy as np
import pandas as pd

from simstudy.errors import DesignError
from simstudy.planning.axis import Axis, lowest
from simstudy.planning.question import Question
from simstudy.planning.simulate import SampleSize
from simstudy.planning.uncertain import Draws

ACROSS, UP = 25, 18
"""Numbers of clusters and cluster sizes on the map."""


def value_grid(question: Question, draws: Draws, n_clusters: int, cluster_size: int) -> pd.DataFrame:
    """Analytic values around a design: n_clusters, cluster_size, value, cost (NaN without one); by size, then number.

    The question's scenario must have an open cluster size. Empty where theory has no curve.
    """
    clusters = np.unique(np.rint(np.geomspace(max(10, 0.35 * n_clusters), 2.6 * n_clusters, ACROSS)).astype(int))
    sizes = np.unique(np.rint(np.geomspace(max(2, cluster_size / 4), 4 * cluster_size, UP)).astype(int))
    tables = []
    for size in sizes.tolist():
        try:
            axis = Axis(question, draws, "n_clusters", size, lowest(question, draws, size, None), question.high)
        except DesignError:
            continue
        if not axis.analytic:
            continue
        table = pd.DataFrame(
            {"n_clusters": clusters, "cluster_size": size, "value": axis.value(clusters.astype(float))}
        )
        priced = question.cost is not None
        table["cost"] = [question.price(SampleSize(int(j), size)) if priced else np.nan for j in clusters]
        tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
