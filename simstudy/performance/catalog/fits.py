"""Measures of a fit, which belong to no parameter."""

from __future__ import annotations

from simstudy.performance import rates
from simstudy.performance.measure import Measure, register_measure

for _measure in (
    Measure(
        "convergence",
        "Convergence",
        "p = share of status OK among the replicates the method supports; MCSE as coverage",
        "Share of fits that found a solution.",
        "fit",
        lambda x: rates.convergence(x.ok, x.supported, x.unrecorded),
        replicate="rate",
        is_share=True,
        decimals=3,
        axis="share",
        axis_label="Converged (share of replicates)",
        title="Convergence",
    ),
    Measure(
        "admissibility",
        "Admissibility",
        "p = share of admissible solutions among status OK; MCSE as coverage",
        "Share of solutions without a negative variance.",
        "fit",
        lambda x: rates.admissibility(x.ok, x.admissible),
        replicate="rate",
        is_share=True,
        decimals=3,
        axis="share",
        axis_label="Admissible (share of converged)",
        title="Admissibility",
    ),
):
    register_measure(_measure)
