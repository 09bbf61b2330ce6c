"""What the public calls return: the records of the layers below, with a voice.

A record (`FitRecord`, `PlanRecord`, ...) is frozen data and knows nothing of tables and figures. The class here that
bears its name adds methods and no data: `summary()` is what the command prints, `_repr_html_` what a notebook shows,
`to_frame()` and `to_dict()` the numbers, `plot()` the figures.
"""

from simstudy.api.results.charts import Charts
from simstudy.api.results.comparison import FitComparison
from simstudy.api.results.fit import Fit
from simstudy.api.results.plan import Plan
from simstudy.api.results.replay import Replay
from simstudy.api.results.replicate import Replicate
from simstudy.api.results.status import StudyStatus
from simstudy.api.results.study import Study
from simstudy.api.results.theory import Theory

__all__ = ["Charts", "Fit", "FitComparison", "Plan", "Replay", "Replicate", "Study", "StudyStatus", "Theory"]
