"""`StudyStatus`: what is done in a results folder, what failed and why."""

from __future__ import annotations

from typing import Any

import pandas as pd

from simstudy.api.results.speech import content, text_of
from simstudy.report.tables.fragment import html_fragment
from simstudy.report.tables.status import status_blocks, status_lines
from simstudy.runner.status import StatusRecord


class StudyStatus(StatusRecord):
    """State of a results folder; from `simstudy.status`.

    Facts are attributes (see `StatusRecord`): ``progress``, ``problems``, ``complete``, ...

    Examples
    --------
    >>> import simstudy
    >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
    >>> study.status()
    <StudyStatus contextual: complete, 360 fits>
    """

    @classmethod
    def of(cls, record: StatusRecord) -> StudyStatus:
        """A record with methods."""
        return cls(**content(record))

    def __repr__(self) -> str:
        missing, there = int(self.progress["missing"].sum()), int(self.progress["done"].sum())
        done = "complete" if self.complete else f"{missing:,} fits are missing"
        return f"<StudyStatus {self.name}: {done}, {there:,} fits>"

    def _repr_html_(self) -> str:
        return html_fragment(status_blocks(self))

    def summary(self) -> str:
        """What ``simstudy status`` prints."""
        return text_of(status_lines(self))

    def to_frame(self) -> pd.DataFrame:
        """A row a cell and method: cell, the factors, estimator, done, missing, and fits by status."""
        return self.progress

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            **{name: getattr(self, name) for name in ("name", "replications", "complete", "versions", "until")},
            "folder": str(self.folder),
            "damaged": list(self.damaged),
            "progress": self.progress.to_dict("records"),
            "problems": self.problems.to_dict("records"),
        }
