"""Theory's curves in line panels are the numbers given, on the axis of the simulated points."""

from __future__ import annotations

import numpy as np
import pandas as pd

from simstudy.performance import COLUMNS
from simstudy.report.figures import lines_chart


def made_up(clusters: list[int], value: list[float], basis: str) -> pd.DataFrame:
    """Bias of one method over J, in the columns of a performance table."""
    rows = pd.DataFrame({name: [np.nan] * len(clusters) for name in COLUMNS})
    return rows.assign(
        n_clusters=clusters, cell=range(len(clusters)), basis=basis, estimator="msem", se_kind="expected",
        parameter="bb", level="between", truth=0.7, measure="bias", value=value, mcse=0.01, n=100, n_attempted=100,
        reference="",
    )  # fmt: skip


SIMULATED = made_up([30, 60, 240], [0.05, 0.02, 0.01], "casewise")
THEORY = made_up([20, 30, 120, 240, 500], [0.09, 0.06, 0.015, 0.0075, 0.003], "theory")


def test_curves_are_the_theory_within_the_axis() -> None:
    chart = lines_chart(SIMULATED, "bb", theory=THEORY)
    lines = [line for line in chart.figure.axes[0].lines if line.get_marker() in ("None", None, "")]
    found = next(line for line in lines if len(line.get_xdata()) == 3)  # 20 and 500 lie beyond the axis
    assert np.allclose(np.exp(np.asarray(found.get_xdata(), dtype=float)), [30, 120, 240])
    assert np.allclose(np.asarray(found.get_ydata(), dtype=float), [0.06, 0.015, 0.0075])
    points = [line for line in chart.figure.axes[0].lines if line.get_label() == "msem"]
    assert [line.get_linestyle() for line in points] == ["None"]
    assert "theory" in " ".join(text.get_text() for text in chart.figure.texts)


def test_other_axes_and_methods_have_no_curves() -> None:
    other = SIMULATED.rename(columns={"n_clusters": "cluster_size"})
    chart = lines_chart(other, "bb", theory=THEORY)
    assert "theory" not in " ".join(text.get_text() for text in chart.figure.texts)
    assert chart.data["value"].tolist() == SIMULATED["value"].tolist()
    stranger = lines_chart(SIMULATED, "bb", theory=THEORY.assign(estimator="mlm"))
    assert "theory" not in " ".join(text.get_text() for text in stranger.figure.texts)
