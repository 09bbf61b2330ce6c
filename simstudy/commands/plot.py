"""`simstudy plot`: figures of a results folder."""

from __future__ import annotations

from simstudy.commands.build import options_of
from simstudy.requests.figures import PlotRequest


@options_of(PlotRequest)
def plot(request: PlotRequest) -> None:
    """Draw figures of a study, each with its data as CSV.

    Bias and coverage of each method by default.
    """
    from simstudy import api

    for path in api.write_figures(**vars(request)):
        print(path)
