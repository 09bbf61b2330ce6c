"""`fit`: one method on one real data set, and `fit_all`: every method side by side."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from simstudy.analysis.choices import (
    check_choices,
    check_interval,
    check_no_slopes,
    in_our_words,
    intervals_of,
    lavaan_words,
    make_method,
    our_bounds,
    own_choices,
)
from simstudy.analysis.inputs import as_frame, as_model, what_is_beside
from simstudy.analysis.model_notes import bound_notes, reading_notes, with_products
from simstudy.analysis.read import check_data
from simstudy.analysis.read_checks import without_codes
from simstudy.analysis.result import PARAMETER_COLUMNS, FitRecord, SlopeFact
from simstudy.analysis.slopes import boundary_notes, flat_predictors, slope_facts
from simstudy.analysis.units import Units
from simstudy.analysis.unrestricted import (
    Comparison,
    Unrestricted,
    compare,
    intraclass_correlations,
    is_hopeless,
    unrestricted_of,
    with_intervals,
)
from simstudy.analysis.working import fit_in_units
from simstudy.data.sample import Sample, cluster_order, from_frame
from simstudy.errors import ConvergenceWarning, EstimatorError, warn_caller
from simstudy.estimation.inference import montecarlo, with_defined
from simstudy.estimation.result import FitResult, Status, failed
from simstudy.linalg.stacked import FloatArray, IntArray
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


@dataclass(frozen=True)
class Context:
    """What further questions about a fit need: the data, the method, and the engine's pieces.

    Attributes
    ----------
    sample : Sample
        One data set (R = 1), NaN where values are missing.
    cluster_ids : tuple
        Identifier of every cluster, in the sample's order.
    rows : Index (N,)
        Index in the user's data of every row of the sample.
    order : (N,)
        Row of the data that were used at each place of the sample.
    method : Estimator
    result : FitResult
        With ``:=`` parameters.
    units : Units, optional
        Working units, where data are scaled so badly that the method is fitted in others than the user's.
    working : FitResult, optional
        What was fitted: the result in working units, or in the user's without ``:=`` parameters.
    """

    sample: Sample
    cluster_ids: tuple[Any, ...]
    rows: pd.Index[Any]
    order: IntArray
    method: Estimator
    result: FitResult
    units: Units | None = None
    working: FitResult | None = None


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
    method = ask.for_model(make_method(request), model)
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
    done = _fit_in_units(method, model, sample, request, meanings)
    result, free, compared = done.result, done.free, done.compared
    if done.why:
        why = (f"{estimator} {done.why}",)
    else:
        facts = slope_facts(model, meanings)
        notes = (*unsaid, *ask.caveats(method, model))
        if int(result.status[0]) in NO_MAXIMUM:
            why = ask.failure_notes(method, model, sample)
        if model.slopes and result.measures.get("boundary", np.zeros(1))[0] == 1.0:
            notes = (*notes, *boundary_notes(model, next(iter(result.se.values()))[0]))
    result = with_defined(result, model.estimands)
    context = Context(sample, ids, checked.index[order], order, method, result, done.units, done.working)
    if result.converged[0] and (request.bounds == "variances" or model.table.bounded):
        params = result.estimate[0, : len(model.names)]
        notes = (*notes, *bound_notes(model, params, variances=request.bounds == "variances"))
    limits = _limits(context, model, request)
    report = _report(model, context, limits, asked, intraclass_correlations(model, free))
    if not report.converged:
        why = (*why, *flat_predictors(facts, report.icc))
        warn_caller(_failure(report, why, notes), ConvergenceWarning)
    return replace(
        report,
        estimator=estimator,
        n_dropped=n_dropped,
        cluster=request.cluster,
        why=why,
        notes=(*why, *notes, *(compared.notes if compared else ()), *report.notes, *about_data),
        slopes=facts,
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
    sample = from_frame(data, cluster, model.level1, model.level2, missing=True)
    order, _ = cluster_order(data[cluster])
    return sample, tuple(data[cluster].iloc[order[sample.layout.row_starts]]), order


@dataclass(frozen=True)
class _Done:
    """A fit in the user's units, what it was made of in working units, and why there is none."""

    result: FitResult
    free: Unrestricted
    compared: Comparison | None
    why: str
    units: Units | None
    working: FitResult


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

    result, units, working = fit_in_units(fit_sample, model, sample, meanings, alike=method.averages_items)
    used = model if units is None else units.model
    _, free, compared, why = next(one for one in tried if one[0] is used)
    return _Done(result, free, compared, why, units, working)


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


# ---------------------------------------------------------------------- intervals


def _limits(
    context: Context, model: TwoLevelModel, request: FitRequest
) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
    """Lower and upper limits (q + d,), and notes."""
    ci, level, draws, seed = request.ci, request.ci_level, request.draws, request.seed
    result = context.result
    kind = next(iter(result.se))
    z = float(stats.norm.ppf(0.5 + level / 2.0))
    lower, upper = result.estimate[0] - z * result.se[kind][0], result.estimate[0] + z * result.se[kind][0]
    own: tuple[str, ...] = ()
    if kind in result.intervals:
        lower, upper, own = _with_own(context.method.name, result.intervals[kind], lower, upper)
    if ci == "wald" or not result.converged[0]:
        return lower, upper, own if result.converged[0] else ()
    if ci in context.method.interval_kinds:
        nothing = np.full_like(result.estimate, np.nan)
        low, high = (limit[0] for limit in result.intervals.get(ci, (nothing, nothing)))
        return low, high, (f"intervals are {ci} intervals of {context.method.name}",)
    if ci == "montecarlo":
        found = montecarlo(result, model.estimands, seed, "fit", range(1), draws, level)
        if "montecarlo" in found.intervals:
            low, high = (limit[0] for limit in found.intervals["montecarlo"])
            lower, upper = np.where(np.isnan(low), lower, low), np.where(np.isnan(high), upper, high)
        return lower, upper, ("intervals of := parameters are Monte Carlo intervals; the others are Wald intervals",)
    from simstudy.analysis.bootstrap import bootstrap

    boot = bootstrap(context, model, parametric=ci == "bootstrap", draws=draws, seed=seed, progress=request.progress)
    good = ~np.isnan(boot).all(axis=1)
    failures = int((~good).sum())
    tail = (1.0 - level) / 2.0
    with np.errstate(all="ignore"):
        low, high = np.quantile(boot[good], [tail, 1.0 - tail], axis=0)
    notes = [f"intervals are percentile intervals of {int(good.sum())} bootstrap fits"]
    if failures:
        notes.append(f"{failures} of {draws} bootstrap fits failed and are left out of the intervals")
    return low, high, tuple(notes)


def _with_own(
    name: str, own: tuple[FloatArray, FloatArray], lower: FloatArray, upper: FloatArray
) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
    """A method's own limits, Wald limits for ``:=`` parameters of which it gave none, and a note."""
    low, high = (limit[0] for limit in own)
    gone = np.isnan(low) | np.isnan(high)
    others = "; those of := parameters are Wald intervals" if (gone & ~np.isnan(lower)).any() else ""
    note = f"intervals are those of {name} itself{others}"
    return np.where(gone, lower, low), np.where(gone, upper, high), (note,)


# ---------------------------------------------------------------------- report


def _report(
    model: TwoLevelModel,
    context: Context,
    limits: tuple[FloatArray, FloatArray, tuple[str, ...]],
    asked: dict[str, Any],
    icc: dict[str, float],
) -> FitRecord:
    result, sample = context.result, context.sample
    kind = next(iter(result.se))
    estimate, se = result.estimate[0], result.se[kind][0]
    lower, upper, notes = limits
    q = len(model.names)
    free = ~(np.diagonal(result.covariance[kind][0, :q, :q]) == 0)  # held: by a bound, or as a moment of fixed x
    rows = []
    for row in model.table.rows:
        i = row.free
        values = (
            (estimate[i], se[i], lower[i], upper[i], bool(free[i])) if i >= 0 else (row.value, *[np.nan] * 3, False)
        )
        if row.slope:  # the path is another number in every cluster
            values = (np.nan, *values[1:])
        rows.append(_parameter_row(row.lhs, row.op, row.rhs, row.level, row.label, *values))
    for k, (name, expression) in enumerate(model.estimands.definitions):
        i = q + k
        rows.append(_parameter_row(name, ":=", expression.text, "", name, estimate[i], se[i], lower[i], upper[i], True))
    measures = {name: float(value[0]) for name, value in result.measures.items()}
    measures.setdefault("loglik", float(result.loglik[0]))
    measures.setdefault("npar", float(np.sum(~np.isnan(estimate[:q]) & free)))
    n_obs = int((~np.isnan(sample.rows[0])).any(axis=1).sum())  # rows with any level-1 value count
    patterns = {tuple(row) for row in np.unique(~np.isnan(sample.rows[0]), axis=0).tolist()}
    return FitRecord(
        model=model,
        estimator=context.method.name,
        options=asked,
        n_obs=n_obs,
        n_clusters=sample.layout.n_clusters,
        sizes=sample.layout.sizes,
        n_patterns=len(patterns),
        n_dropped=0,
        status=Status(int(result.status[0])),
        admissible=bool(result.admissible[0]),
        improper=_improper(model, estimate[:q], context.units, bool(result.admissible[0]), bool(result.converged[0])),
        n_iter=int(result.n_iter[0]),
        parameters=pd.DataFrame(rows, columns=list(PARAMETER_COLUMNS)),
        measures=with_intervals(measures, n_obs),
        icc=icc,
        params=estimate[:q],
        covariance=result.covariance[kind][0, :q, :q],
        notes=notes,
        context=context,
    )


def _parameter_row(
    lhs: str, op: str, rhs: str, level: str, label: str, est: float, se: float, lower: float, upper: float, free: bool
) -> tuple[Any, ...]:
    with np.errstate(all="ignore"):
        z = est / se if se > 0 else np.nan
    pvalue = 2.0 * float(stats.norm.sf(abs(z))) if np.isfinite(z) else np.nan
    return lhs, op, rhs, level, label, est, se if free else np.nan, z, pvalue, lower, upper, free


def _improper(
    model: TwoLevelModel, params: FloatArray, units: Units | None, admissible: bool, converged: bool
) -> tuple[str, ...]:
    """What is inadmissible about the solution."""
    if admissible or not converged:
        return ()
    moderate = params if units is None else params * units.factors
    found = [
        f"{row.path} = {params[row.free]:.4g}"
        for row in model.table.rows
        if row.op == "~~" and row.lhs == row.rhs and row.free >= 0 and moderate[row.free] < -1e-10
    ]
    return tuple(found) or ("the between covariance matrix is not positive semidefinite",)
