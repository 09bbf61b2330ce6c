"""What follows from a fit: standardised solution, R-squared, residuals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from simstudy.analysis.rescaled import in_rescaled_units
from simstudy.analysis.result import FitRecord
from simstudy.analysis.slopes import refuse_slopes
from simstudy.analysis.unrestricted import engine_for
from simstudy.errors import EstimatorError
from simstudy.estimation.engine import Engine
from simstudy.estimation.fit_measures import Solved
from simstudy.estimation.result import Status
from simstudy.estimation.semidefinite import scored_once, semidefinite
from simstudy.estimation.starts import starts_from_moments
from simstudy.estimation.unrestricted import unrestricted_model
from simstudy.linalg.stacked import FloatArray
from simstudy.linalg.tails import normal_tail
from simstudy.model.carriers import reached_by_slopes
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.parameters import LEVEL_NAMES
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.twolevel import TwoLevelModel

STEP = 1e-5


def require_solution(fit: FitRecord) -> None:
    """Raise an `EstimatorError` where there is no converged fit of the two-level model."""
    if not fit.converged:
        raise EstimatorError(f"{fit.estimator} did not converge ({fit.status.message}); nothing follows from the fit")
    if np.isnan(fit.params).any():
        raise EstimatorError(f"method '{fit.estimator}' does not estimate the whole two-level model; use msem")


def standardized(fit: FitRecord) -> pd.DataFrame:
    """Standardised solution (lavaan's ``std.all``) with delta-method SEs.

    Slopes and loadings are multiplied by sd(predictor) / sd(outcome), with the model-implied standard deviations of
    their own level; variances become shares, residual covariances correlations, intercepts multiples of the standard
    deviation; ``:=`` parameters are computed from standardised ones.

    With random slopes, variances of what these act on within clusters depend on the predictors: standardised values of
    the within level that need them are NaN, and so are ``:=`` parameters of a slope's mean.

    Returns
    -------
    DataFrame
        lhs, op, rhs, level, label, est, se, z, pvalue.
    """
    require_solution(fit)
    structure = _structure(fit.model)
    center = _standardize(structure, fit.params)
    jacobian = np.empty((len(center), len(fit.params)))
    for k in range(len(fit.params)):
        step = np.zeros(len(fit.params))
        spread = np.sqrt(np.nan_to_num(fit.covariance[k, k])) or 0.1  # so that units do not matter
        step[k] = STEP * max(abs(float(fit.params[k])), float(spread))
        difference = _standardize(structure, fit.params + step) - _standardize(structure, fit.params - step)
        jacobian[:, k] = difference / (2.0 * step[k])
    variance = ((jacobian @ np.nan_to_num(fit.covariance)) * jacobian).sum(axis=1)
    se = np.sqrt(np.maximum(variance, 0.0))
    se = np.where(se > 1e-10, se, np.nan)
    table = fit.parameters[["lhs", "op", "rhs", "level", "label"]].copy()
    table["est"], table["se"] = center, se
    table["z"] = center / se
    table["pvalue"] = 2.0 * normal_tail(np.abs(table["z"]))
    return table


def _structure(model: TwoLevelModel) -> TwoLevelStructure | SlopeStructure:
    return SlopeStructure(model) if model.slopes else TwoLevelStructure(model)


def _standardize(structure: TwoLevelStructure | SlopeStructure, params: FloatArray) -> FloatArray:
    """Standardised values of every row of the table, then of ``:=`` parameters."""
    model = structure.model
    unclear, slopes = reached_by_slopes(model), {slope.name for slope in model.slopes}
    values: list[float] = []
    labelled: dict[str, float] = {}
    sds: dict[str, dict[str, float]] = {}
    for name, level in zip(LEVEL_NAMES, (structure.within, structure.between), strict=True):
        variance = np.diagonal(level.implied(params).cov)
        with np.errstate(invalid="ignore"):
            sds[name] = dict(zip(level.maps.variables, np.sqrt(variance).tolist(), strict=True))
    sds["within"] |= dict.fromkeys(unclear, np.nan)
    own = {
        (row.level, row.lhs): float(params[row.free]) if row.free >= 0 else row.value
        for row in model.table.rows
        if row.op == "~~" and row.lhs == row.rhs
    }
    for row in model.table.rows:
        value = float(params[row.free]) if row.free >= 0 else row.value
        sd = sds[row.level]
        with np.errstate(all="ignore"):
            if row.op == "=~":
                value = value * sd[row.lhs] / np.float64(sd[row.rhs])
            elif row.op == "~":
                value = value * sd[row.rhs] / np.float64(sd[row.lhs])
            elif row.op == "~1":
                value = value / np.float64(sd[row.lhs])
            elif row.lhs == row.rhs:
                value = value / np.float64(sd[row.lhs] ** 2)
            else:
                value = value / np.sqrt(np.float64(own[row.level, row.lhs] * own[row.level, row.rhs]))
        values.append(float(value))
        if row.label:
            mean = row.op == "~1" and row.lhs in slopes  # no effect in units of standard deviations
            labelled.setdefault(row.label, np.nan if mean else float(value))
    env: dict[str, Any] = {**model.table.constants, **labelled}
    for name, expression in model.estimands.definitions:
        env[name] = float(expression.evaluate(env))
        values.append(env[name])
    return np.array(values)


def r_squared(fit: FitRecord) -> pd.DataFrame:
    """Explained share of every outcome's and indicator's variance at its level: variable, level, r2.

    With random slopes that of what they act on within clusters depends on the predictors, and is NaN.
    """
    require_solution(fit)
    structure = _structure(fit.model)
    unclear = reached_by_slopes(fit.model)
    rows = []
    for name, level in zip(LEVEL_NAMES, (structure.within, structure.between), strict=True):
        variance = dict(zip(level.maps.variables, np.diagonal(level.implied(fit.params).cov), strict=True))
        table = fit.model.table.at(name)
        explained = {row.lhs for row in table if row.op == "~"} | {row.rhs for row in table if row.op == "=~"}
        for variable in level.maps.variables:
            if variable in explained:
                row = fit.model.table.find(name, variable, "~~", variable)
                assert row is not None
                residual = fit.params[row.free] if row.free >= 0 else row.value
                share = 1.0 - float(residual) / float(variance[variable])
                rows.append((variable, name, np.nan if name == "within" and variable in unclear else share))
    return pd.DataFrame(rows, columns=["variable", "level", "r2"])


def engine_of(fit: FitRecord, structure: TwoLevelStructure) -> Engine:
    """Likelihood of a model of the same variables on the data of a fit."""
    return engine_for(fit.context.sample.arrange(fit.model.level1, fit.model.level2), structure)


def solve_on(fit: FitRecord, model: TwoLevelModel, start: Solved | None = None) -> Solved:
    """Another model of the same variables, fitted to the data of a fit; from the moments of ``start`` first."""
    structure = TwoLevelStructure(model)
    engine = engine_of(fit, structure)
    more: tuple[FloatArray, ...] = ()
    if start is not None:
        more = (starts_from_moments(structure, *start.structure.moments(start.best.params)),)
    return Solved(structure, engine, engine.solve(*more), structure.q)


def saturated_of(fit: FitRecord) -> Solved:
    """The unrestricted model on the data of a fit: the one that the fit compares with."""
    if fit.h1 == "psd":
        structure = TwoLevelStructure(unrestricted_model(fit.model))
        return semidefinite(scored_once(structure, engine_of(fit, structure)))
    return solve_on(fit, unrestricted_model(fit.model))


def residuals(fit: FitRecord) -> pd.DataFrame:
    """Observed (unrestricted maximum-likelihood) minus implied means and covariances of each level.

    Returns
    -------
    DataFrame
        level, lhs, rhs (empty for means), observed, implied, residual.
    """
    refuse_slopes(fit, "residuals")
    require_solution(fit)
    units = fit.context.units
    fit = in_rescaled_units(fit)
    saturated = saturated_of(fit)
    if saturated.best.status[0] != int(Status.OK):
        raise EstimatorError("the unrestricted model has no maximum for these data, so there are no residuals")
    structure = TwoLevelStructure(fit.model)
    mu0, w0, b0 = structure.moments(fit.params[None])
    mu1, w1, b1 = saturated.structure.moments(saturated.best.params)
    rows: list[tuple[str, str, str, float, float]] = []
    if units is not None:
        (mu0, w0, b0), (mu1, w1, b1) = units.moments(mu0, w0, b0), units.moments(mu1, w1, b1)
    names = fit.model.variables
    between = fit.model.observed("between")
    for level, own, observed, implied in (("within", fit.model.level1, w1, w0), ("between", between, b1, b0)):
        at = [names.index(name) for name in names if name in own]
        for k, i in enumerate(at):
            rows += [
                (level, names[j], names[i], float(observed[0, j, i]), float(implied[0, j, i])) for j in at[: k + 1]
            ]
        means = at if level == "between" else [i for i in at if names[i] not in between]
        rows += [(level, names[i], "", float(mu1[0, i]), float(mu0[0, i])) for i in means]
    table = pd.DataFrame(rows, columns=["level", "lhs", "rhs", "observed", "implied"])
    table["residual"] = table["observed"] - table["implied"]
    return table
