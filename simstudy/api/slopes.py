"""Random slopes of a fit: each cluster's own, their plot, and the test of their variance."""

from __future__ import annotations

from simstudy.analysis.nested import SlopeTest, slope_variance_test
from simstudy.analysis.slopes import random_effects
from simstudy.report.figures.kinds.caterpillar import caterpillar_data, plot_caterpillar, save_caterpillar

__all__ = [
    "SlopeTest",
    "caterpillar_data",
    "plot_caterpillar",
    "random_effects",
    "save_caterpillar",
    "slope_variance_test",
]
