"""`Replay`: one fit of a study, stored and made again."""

from __future__ import annotations

from typing import Any

import pandas as pd

from simstudy.api.results.speech import content, text_of
from simstudy.report.tables.fragment import html_fragment
from simstudy.report.tables.replay import replay_blocks, replay_lines, verdict
from simstudy.runner.replay import ReplayRecord


class Replay(ReplayRecord):
    """One fit, stored and made again; from `simstudy.replay`.

    Facts are attributes (see `ReplayRecord`): ``identical``, ``table``, ``facts``, ``error``, ...

    Examples
    --------
    >>> import simstudy
    >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
    >>> simstudy.replay(study.folder, cell=2, rep=7, estimator="msem")
    <Replay cell 2, replicate 7, msem: identical, bit for bit>
    """

    @classmethod
    def of(cls, record: ReplayRecord) -> Replay:
        """A record with methods."""
        return cls(**content(record))

    def __repr__(self) -> str:
        return f"<Replay cell {self.cell}, replicate {self.replicate}, {self.estimator}: {verdict(self)}>"

    def _repr_html_(self) -> str:
        return html_fragment(replay_blocks(self))

    def summary(self) -> str:
        """What ``simstudy replay`` prints."""
        return text_of(replay_lines(self))

    def to_frame(self) -> pd.DataFrame:
        """se_kind, param, and each number as stored and as made again."""
        return self.table

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return content(self) | {"table": self.table.to_dict("records"), "facts": self.facts.to_dict()}
