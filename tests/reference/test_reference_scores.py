"""Scores of lavaan's Demo.twolevel stand in the rows whose scores they are; the data are not ours to carry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simstudy.analysis.fit import fit
from simstudy.analysis.scores import factor_scores

CASE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "outside" / "within_scores_order"


def test_scores_come_in_the_order_of_the_rows() -> None:
    if not CASE.is_dir():
        pytest.skip(f"{CASE} is not there")
    data = pd.read_csv(CASE / "data.csv")
    found = factor_scores(fit((CASE / "model.lav").read_text(), data, cluster="cluster"))
    assert found.within.index.equals(data.index)
    # x1 stands in the within block only: its score is the row's own deviation from the mean
    assert np.corrcoef(found.within["x1"], data["x1"])[0, 1] == pytest.approx(1.0, abs=1e-12)
    assert found.between.index.tolist() == data["cluster"].unique().tolist()
