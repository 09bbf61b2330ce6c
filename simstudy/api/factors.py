"""Which design factors matter."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from simstudy import performance as measuring
from simstudy.api.study import up_to_date
from simstudy.performance.choose import choose_parameters, in_order
from simstudy.report.tables.view import choose_measures
from simstudy.requests.effects import EffectsRequest
from simstudy.requests.option import takes

__all__ = ["factor_effects"]


@takes(EffectsRequest)
def factor_effects(request: EffectsRequest) -> pd.DataFrame:
    """Eta squared of every design factor and interaction on each measure, per method, kind of SE and parameter.

    Returns
    -------
    DataFrame
        estimator, se_kind, parameter, level, measure, term, order, df, sum_of_squares, eta_squared,
        partial_eta_squared, omega_squared, noise_share, n_cells, note.

    Examples
    --------
    >>> import simstudy
    >>> from simstudy import api
    >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
    >>> table = api.factor_effects(study.folder, parameters=["contextual"], measures=["bias"], estimators=["msem"])
    >>> table["term"].unique().tolist()
    ['n_clusters']
    """
    table = request.source
    if not isinstance(table, pd.DataFrame):
        found = up_to_date(table)
        table = found.performance
        if request.factors is None:
            request = replace(request, factors=found.manifest.factors)
    known = in_order(table["parameter"].unique())
    request = replace(
        request,
        parameters=choose_parameters(request.parameters, known) if request.parameters else request.parameters,
        measures=choose_measures(request.measures) if request.measures else request.measures,
    )
    options = {name: value for name, value in vars(request).items() if name != "source"}
    return measuring.factor_effects(table, **options)
