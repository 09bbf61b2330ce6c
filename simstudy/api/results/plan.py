"""`Plan`: the smallest design that reaches a target."""

from __future__ import annotations

import pandas as pd

from simstudy.api.results.charts import Charts
from simstudy.api.results.speech import content, text_of
from simstudy.errors import SimstudyError, did_you_mean
from simstudy.planning.result import PlanRecord
from simstudy.report import plan_lines, plot_plan, plot_plan_map
from simstudy.report.figures import Chart
from simstudy.report.tables.fragment import html_fragment
from simstudy.report.tables.plan_text import plan_blocks

DRAWN = {"curve": (plot_plan, "curve"), "map": (plot_plan_map, "grid")}
"""Kind of figure -> what draws it, and the table that it needs."""


class Plan(PlanRecord):
    """What a plan came to; from `simstudy.plan`.

    Facts are attributes (see `PlanRecord`): ``answer``, ``status``, ``evaluations``, ``curve``, ...

    Examples
    --------
    >>> import simstudy
    >>> plan = simstudy.plan("contextual", "contextual", power=0.8, analytic=True, progress=False)
    >>> plan.answer.n_clusters > 10
    True
    >>> plan.plot("curve")
    <Charts: 1 figure (curve)>
    """

    @classmethod
    def of(cls, record: PlanRecord) -> Plan:
        """A record with methods."""
        return cls(**content(record))

    def __repr__(self) -> str:
        request = self.request
        wanted = f"{request['measure']} {request['target']:g} of {request['parameter']}"
        if (self.answer is None and self.analytic is None) or not self.found:
            return f"<Plan {wanted}: {self.status}>"
        answer = self.answer or self.analytic
        assert answer is not None
        return f"<Plan {wanted}: {answer.n_clusters:,} clusters of {answer.cluster_size}, {self.status}>"

    def _repr_html_(self) -> str:
        return html_fragment(plan_blocks(self))

    def summary(self) -> str:
        """What ``simstudy plan`` prints."""
        return text_of(plan_lines(self))

    def to_frame(self) -> pd.DataFrame:
        """Simulated sizes: n_clusters, cluster_size, role, value, mcse, n, attempted, converged."""
        return self.evaluations

    def plot(self, kind: str = "curve") -> Charts:
        """Draw the measure against what was searched (``curve``), or over numbers and sizes of clusters (``map``).

        Raises
        ------
        SimstudyError
            Another kind, or a plan without what is to be drawn.
        """
        if kind not in DRAWN:
            raise SimstudyError(f"kind: there is no '{kind}'{did_you_mean(kind, DRAWN)}; allowed: {', '.join(DRAWN)}")
        draw, needed = DRAWN[kind]
        if not len(getattr(self, needed)):
            more = "; plan with grid=True" if kind == "map" else ""
            raise SimstudyError(f"kind: this plan has no {kind} to draw{more}")
        figure, data = draw(self)
        title = f"{self.request['measure']} of {self.request['parameter']}, {kind}"
        return Charts((Chart(f"plan-{kind}", kind, title, text_of(plan_lines(self)[:1]) + f" {self!r}", data, figure),))
