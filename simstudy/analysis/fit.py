"""`fit`: one method on one real data set, and `fit_all`: every method side by side."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from simstudy.analysis.choices import (
    check_choices,
    check_interval,
    check_no_slopes,
    chooses_slopes,
    in_our_words,
    intervals_of,
    lavaan_words,
    make_method,
    our_bounds,
    own_choices,
)
from simstudy.analysis.context import Context
from simstudy.analysis.inputs import as_frame, as_model, what_is_beside
from simstudy.analysis.intervals import limits
from simstudy.analysis.model_notes import bound_notes, reading_notes, silent_rows, with_products
from simstudy.analysis.read import check_data
from simstudy.analysis.read_checks import without_codes
from simstudy.analysis.record import record_of
from simstudy.analysis.rescaled import fit_in_units
from simstudy.analysis.result import FitRecord, SlopeFact
from simstudy.analysis.slopes import boundary_notes, flat_predictors, slope_facts
from simstudy.analysis.units import Units
from simstudy.analysis.unrestricted import (
    Comparison,
    Unrestricted,
    compare,
    intraclass_correlations,
    is_hopeless,
    unrestricted_of,
)
from simstudy.data.sample import Sample, arranged
from simstudy.errors import ConvergenceWarning, EstimatorError, warn_caller
from simstudy.estimation.inference import with_defined
from simstudy.estimation.result import FitResult, Status, failed
from simstudy.linalg.stacked import IntArray
from simstudy.linalg.threads import on_one_thread
from simstudy.methods import ask, registry
from simstudy.methods.checks import refuse_bounds, refuse_constraints
from simstudy.methods.protocol import Estimator
from simstudy.methods.wall import MethodError, fit_walled, fitter
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import data_kind
from simstudy.population.streams import FitStreams
from simstudy.requests.fit import FitRequest
from simstudy.requests.option import takes

ASKED = (
    "se", "ci", "ci_level", "missing", "na", "fixed_x", "bounds", "std_lv", "auto", "draws", "seed", "slopes", "nodes",
    "h1",
)  # fmt: skip
"""Choices that a fit remembers."""


NO_MAXIMUM = {int(Status.MAX_ITER), int(Status.SINGULAR_INFORMATION), int(Status.NON_PD)}


@takes(FitRequest)
@on_one_thread
def fit(request: FitRequest) -> FitRecord:
    """Fit one method to one data set.

    Warns with a `ConvergenceWarning` where the method did not converge.

    Returns
    -------
    FitRecord

    Raises
    ------
    ModelError, DataError, EstimatorError
        With one clear message a problem.

    Examples
    --------
    >>> import simstudy
    >>> data = simstudy.simulate(simstudy.init("contextual"), cell=0, rep=0)
    >>> model = '''
    ... level: within
    ...   y ~ bw*x
    ... level: between
    ...   y ~ bb*x
    ... contextual := bb - bw
    ... '''
    >>> fit = simstudy.fit(model, data, cluster="cluster", se="robust")
    >>> fit.conf_int().loc["contextual"].round(2).tolist()
    [-0.06, 0.84]
    """
    began = time.perf_counter()
    request = in_our_words(request)
    if request.estimator == "all":
        raise EstimatorError("estimator: 'all' is no method; simstudy.fit_all fits every method side by side")
    check_choices(request)
    estimator, beside = request.estimator, lambda: what_is_beside(request.data, request.cluster)
    model = as_model(request.model, std_lv=request.std_lv, auto=request.auto, beside=beside)
    if not model.slopes:
        check_no_slopes(request.slopes, request.nodes)
    method = ask.for_model(make_method(request, slopes=bool(model.slopes)), model)
    data = as_frame(request.data)
    data, coded = without_codes(data, model.variables, request.na)
    checked, found = check_data(with_products(data, model), model, request.cluster, request.missing)
    about_data = (*reading_notes(model, data), *coded, *found)
    notes: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    n_dropped = len(data) - len(checked)
    sample, ids, order = _sample(checked, model, request.cluster)
    asked = {name: getattr(request, name) for name in ASKED}
    asked |= {"se": method.se_kinds[0], "bounds": request.bounds or "none"}
    asked["na"] = list(request.na) if isinstance(request.na, (list, tuple)) else request.na
    if isinstance(request.model, TwoLevelModel):
        asked["auto"] = None  # it was read beforehand, by a rule that only its reader knows
    if model.slopes:
        values = registry.values_of(method.asked_for) | registry.values_of(method)
        asked |= {key: values[key] for key in ("slopes", "nodes") if key in values}
    facts: tuple[SlopeFact, ...] = ()
    meanings, unsaid = ask.slope_meanings(method, model)
    bounded = request.bounds == "variances" or model.table.bounded
    of, unclear = ask.likelihood_of(method, model)
    done = _fit_in_units(method, model, sample, request, meanings)
    result, free, compared = done.result, done.free, done.compared
    if done.why:
        why = (f"{estimator} {done.why}",)
    else:
        facts = slope_facts(model, meanings, choice=chooses_slopes(estimator))
        notes = (*unsaid, *unclear, *ask.caveats(method, model))
        if int(result.status[0]) in NO_MAXIMUM:
            why = ask.failure_notes(method, model, sample)
        if model.slopes and result.measures.get("boundary", np.zeros(1))[0] == 1.0:
            errors = next(iter(result.se.values()))[0]
            notes = (*notes, *boundary_notes(model, result.estimate[0], errors, bounded=bounded))
    result = with_defined(result, model.estimands)
    context = Context(sample, ids, checked.index[order], order, method, result, done.units, done.rescaled)
    if result.converged[0] and bounded:
        params = result.estimate[0, : len(model.names)]
        notes = (*notes, *bound_notes(model, params, variances=request.bounds == "variances"))
    intervals = limits(context, model, request)
    given = of.given if of.kind == "given_x" else ()
    report = record_of(model, context, intervals, asked, intraclass_correlations(model, free), given)
    if report.n_dropped:
        notes = (*notes, silent_rows(model, report.n_dropped, report.n_obs, of))
    if not report.converged:
        why = (*why, *flat_predictors(facts, report.icc))
        warn_caller(_failure(report, why, notes), ConvergenceWarning)
    elif report.measures.get("boundary", 0.0) == 1.0:
        notes = (*notes, *flat_predictors(facts, report.icc))
    return replace(
        report,
        estimator=estimator,
        n_dropped=n_dropped + report.n_dropped,
        cluster=request.cluster,
        why=why,
        notes=(*why, *notes, *(compared.notes if compared else ()), *report.notes, *about_data),
        slopes=facts,
        likelihood=of,
        h1=compared.h1 if compared else "",
        icc_h1="unrestricted" if free.ok else "psd",
        seconds=time.perf_counter() - began,
    )


def _failure(fit: FitRecord, why: tuple[str, ...], notes: tuple[str, ...]) -> str:
    """Why there is no result, in a sentence."""
    if fit.status == Status.NOT_SUPPORTED:
        return f"not fitted: {'; '.join(why)}"
    return f"{fit.estimator} did not converge: {'; '.join((fit.status.message, *why, *notes))}"


@takes(FitRequest)
def fit_all(request: FitRequest) -> dict[str, FitRecord]:
    r"""Fit every registered method; what a method cannot do is in its notes, with status NOT_SUPPORTED.

    ``estimator`` is of no account. Choices that only some methods have (``missing = "fiml"``, a kind of SE) are left at
    their default for the others, which a note says.

    Returns
    -------
    dict[str, FitRecord]

    Examples
    --------
    >>> import simstudy
    >>> data = simstudy.simulate(simstudy.init("contextual"), cell=0, rep=0)
    >>> fits = simstudy.fit_all("level: 1\n y ~ bw*x\nlevel: 2\n y ~ bb*x", data, cluster="cluster")
    >>> bool(fits["aggregated"].coef["bb"] == fits["msem"].coef["bb"])
    False
    """
    request = replace(request, se=lavaan_words("msem", request.se)[1], bounds=our_bounds(request.bounds))
    names = registry.names()
    check_interval(request.ci, intervals_of(None))
    request = replace(request, data=as_frame(request.data))
    found: dict[str, FitRecord] = {}
    for done, name in enumerate(names):
        if request.progress is not None:
            request.progress(f"fitting {name}", done, len(names))
        own, dropped = own_choices(name, request)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            one = fit(**vars(own))
        notes = tuple(f"{name} has no choice of '{key}'; it is fitted without" for key in dropped)
        found[name] = replace(one, notes=(*one.why, *notes, *one.notes[len(one.why) :]))
    if request.progress is not None:
        request.progress("done", len(names), len(names))
    failed_ones = [name for name, one in found.items() if one.status not in (Status.OK, Status.NOT_SUPPORTED)]
    if failed_ones:
        warn_caller(f"did not converge: {', '.join(failed_ones)}", ConvergenceWarning)
    return found


def _sample(data: pd.DataFrame, model: TwoLevelModel, cluster: str) -> tuple[Sample, tuple[Any, ...], IntArray]:
    """One data set, its cluster identifiers, and the row of the data at each place, smallest clusters first."""
    sample, order = arranged(data, cluster, model.level1, model.level2, missing=True)
    return sample, tuple(data[cluster].iloc[order[sample.layout.row_starts]]), order


@dataclass(frozen=True)
class _Done:
    """A fit in the user's units, what it was made of in rescaled units, and why there is none."""

    result: FitResult
    free: Unrestricted
    compared: Comparison | None
    why: str
    units: Units | None
    rescaled: FitResult


def _fit_in_units(
    method: Estimator, model: TwoLevelModel, sample: Sample, request: FitRequest, meanings: Mapping[str, str]
) -> _Done:
    """Fit a method and compare it with the unrestricted model, in units that the data can be fitted in."""
    tried: list[tuple[TwoLevelModel, Unrestricted, Comparison | None, str]] = []

    def fit_sample(model: TwoLevelModel, sample: Sample) -> FitResult:
        result, why = _fitted(method, model, sample, request)
        free = unrestricted_of(model, sample, hopeless=not why and is_hopeless(method, result))
        compared = None if why else compare(method, model, sample, result, free, request.h1)
        tried.append((model, free, compared, why))
        return result if compared is None else compared.result

    result, units, rescaled = fit_in_units(fit_sample, model, sample, meanings, alike=method.averages_items)
    used = model if units is None else units.model
    _, free, compared, why = next(one for one in tried if one[0] is used)
    return _Done(result, free, compared, why, units, rescaled)


def _fitted(method: Estimator, model: TwoLevelModel, sample: Sample, request: FitRequest) -> tuple[FitResult, str]:
    """The fit, and why there is none; what a method refuses in words meant for the user is raised."""
    streams = FitStreams.of(request.seed, method.name, "fit", [0])
    try:
        reason = _unsupported(method, model, sample)
        if reason is not None:
            nothing = failed(model.names, (method.se_kinds[0],), 1, Status.NOT_SUPPORTED)
            return nothing, f"cannot fit this model: {reason}"
        fit = fitter(method, ask.prepare(method, model, sample.layout))
        data = ask.of_sample(data_kind(method.needs), sample)
        result, wrong = fit_walled(method, model, fit, data, streams, request.ci_level)
        return result, "".join(wrong.values())
    except MethodError as error:
        if error.own is not None:
            raise error.own from None
        nothing = failed(model.names, (method.se_kinds[0],), 1, Status.EXCEPTION)
        return nothing, f"stopped with an error: {error.text}"


def _unsupported(method: Estimator, model: TwoLevelModel, sample: Sample) -> str | None:
    if not method.imposes_constraints:
        reason = refuse_constraints(model)
        if reason is not None:
            return reason
    if not method.imposes_bounds:
        reason = refuse_bounds(model)
        if reason is not None:
            return reason
    return ask.supports(method, model, sample.layout)
