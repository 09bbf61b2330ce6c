"""Tests of restrictions: Wald tests of equations, likelihood-ratio tests of nested models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simstudy.analysis.derived import require_solution
from simstudy.analysis.rescaled import in_rescaled_units
from simstudy.analysis.result import FitRecord
from simstudy.analysis.slopes import prepared_slopes
from simstudy.errors import EstimatorError, ModelError, did_you_mean
from simstudy.estimation.result import Status
from simstudy.linalg.stacked import FloatArray
from simstudy.linalg.tails import chi_square_tail
from simstudy.methods import ask
from simstudy.methods.wall import MethodError, fit_walled, fitter
from simstudy.model.constraints import Constraint
from simstudy.model.expressions import Expression, parse_expression
from simstudy.model.inequalities import Inequality
from simstudy.model.parameters import number_rows
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import data_kind
from simstudy.population.streams import FitStreams

NO_GAIN = 1e-10
"""Relative to the log-likelihood: what a maximum's last step may leave."""


@dataclass(frozen=True)
class Test:
    """A chi-square test.

    Attributes
    ----------
    statistic : float
    df : int
    pvalue : float
    scaling : float
        Factor the statistic was divided by (NaN where none).
    """

    statistic: float
    df: int
    pvalue: float
    scaling: float = np.nan


def parse_restrictions(model: TwoLevelModel, restrictions: str) -> list[tuple[Expression, Expression]]:
    """Both sides of every equation of a Wald test.

    Raises
    ------
    ModelError
        Without ``==``, with what is no expression, or with an unknown parameter: every problem.
    """
    known = {*model.table.constants, *model.reported}
    found, problems = [], []
    for text in filter(None, (part.strip() for line in restrictions.splitlines() for part in line.split(";"))):
        left, equals, right = text.partition("==")
        if not equals:
            hint = f"; write '{text.replace('=', '==')}'" if text.count("=") == 1 else "; write it as 'a == b'"
            problems.append(f"restriction '{text}' has no '=='{hint}")
            continue
        try:
            sides = tuple(parse_expression(side, f"restriction '{text}'") for side in (left, right))
        except ModelError as error:
            problems += error.problems
            continue
        problems += [
            f"restriction '{text}': unknown parameter '{name}'{did_you_mean(name, known)}"
            for side in sides
            for name in side.names
            if name not in known
        ]
        found.append((sides[0], sides[1]))
    if not found and not problems:
        problems.append("there is no restriction to test")
    if problems:
        raise ModelError(problems)
    return found


def wald_test(fit: FitRecord, restrictions: str) -> Test:
    """Wald test of equations among parameters, with the fit's own covariance matrix.

    Parameters
    ----------
    restrictions : str
        ``a == b``, ``ind == 0``, several separated by ``;`` or line ends; labels and ``:=`` parameters.

    Raises
    ------
    ModelError
        Unknown labels, or restrictions that repeat each other.
    """
    require_solution(fit)
    model = fit.model
    defined = model.estimands.jacobian(fit.params[None])[0]
    values = np.concatenate([fit.params, model.estimands.evaluate(fit.params[None])[0]])
    jacobian = np.concatenate([np.eye(len(fit.params)), defined])
    names = model.reported
    env: dict[str, Any] = {**model.table.constants, **dict(zip(names, values.tolist(), strict=True))}
    gaps, rows = [], []
    for sides in parse_restrictions(model, restrictions):
        gaps.append(float(sides[0].evaluate(env)) - float(sides[1].evaluate(env)))
        row = np.zeros(len(fit.params))
        for side, sign in zip(sides, (1.0, -1.0), strict=True):
            for name, slope in side.gradient(env).items():
                if name in names:
                    row += sign * float(slope) * jacobian[names.index(name)]
        rows.append(row)
    r = np.array(rows)
    middle = r @ fit.covariance @ r.T
    if np.linalg.matrix_rank(middle) < len(r):
        raise ModelError("the restrictions repeat each other, or hold by construction")
    gap = np.array(gaps)
    statistic = float(gap @ np.linalg.solve(middle, gap))
    return Test(statistic, len(r), float(chi_square_tail(statistic, len(r))))


@dataclass(frozen=True)
class SlopeTest:
    """Likelihood-ratio test of the variance of a random slope.

    Attributes
    ----------
    slope : str
    statistic : float
    df : tuple of int
        Of the two chi-squares that the reference mixes half and half; 0 stands for a point mass at 0.
    pvalue : float
    loglik_fixed, loglik_random : float
        Without and with the variance (and the covariances) of the slope.
    notes : tuple of str
        What makes the reference an approximation.
    """

    slope: str
    statistic: float
    df: tuple[int, int]
    pvalue: float
    loglik_fixed: float
    loglik_random: float
    notes: tuple[str, ...] = ()


def mixture_pvalue(statistic: FloatArray, q: int) -> FloatArray:
    """P-values under the mixture of chi-squares with q and q + 1 degrees of freedom, half each.

    A variance that is 0 lies on the boundary of what it may be, and the q covariances that vanish with it do not: the
    parameters' tangent cone is a half-space (Self & Liang 1987, case 6; Stram & Lee 1994, case 3).
    """
    x = np.asarray(statistic, dtype=np.float64)
    first = chi_square_tail(x, q) if q else (x <= 0.0).astype(np.float64)
    return np.asarray(0.5 * first + 0.5 * chi_square_tail(x, q + 1))


def without_variance(model: TwoLevelModel, slope: str) -> tuple[TwoLevelModel, int]:
    """The model with the (residual) variance of a random slope and its covariances at 0, and the number of the latter.

    Raises
    ------
    EstimatorError
        No such slope, or its variance is no free parameter of its own (a label, constraint or bound says more of it),
        or it has outcomes (whose paths nothing identifies where it does not vary).
    """
    names = [s.name for s in model.slopes]
    if slope not in names:
        raise EstimatorError(
            f"test of a slope's variance: no random slope '{slope}'{did_you_mean(slope, names)}; the model has "
            f"{', '.join(names)}"
        )
    rows, covariances = [], 0
    uses = [row.free for row in model.table.rows if row.free >= 0]
    said: list[Constraint | Inequality] = [*model.table.constraints, *model.table.inequalities]
    for row in model.table.rows:
        mine = row.level == "between" and slope in (row.lhs, row.rhs)
        if mine and (row.op == "=~" or (row.op == "~" and row.rhs == slope)):
            raise EstimatorError(
                f"test of a slope's variance: '{slope}' has outcomes ('{row.path}'), whose paths nothing would "
                "identify without its variance"
            )
        if not mine or row.op != "~~":
            rows.append(row)
            continue
        if (row.lhs == row.rhs and row.free < 0) or (row.free >= 0 and uses.count(row.free) > 1):
            raise EstimatorError(f"test of a slope's variance: '{row.path}' is no free parameter of its own")
        about = [one.text for one in said if row.label and row.label in one.names]
        if about or row.lower > 0.0 or row.upper < np.inf or (row.lhs != row.rhs and row.lower > -np.inf):
            text = f"'{about[0]}'" if about else "a bound"
            raise EstimatorError(f"test of a slope's variance: {text} says more of '{row.path}' than that it is free")
        covariances += row.lhs != row.rhs and row.free >= 0
        if row.lhs == row.rhs:
            rows.append(replace(row, free=-1, value=0.0, label="", user=True))
    table = number_rows(rows)
    kept = tuple(replace(one, index=table.names.index(one.dependent)) for one in model.table.constraints)
    return TwoLevelModel(
        model.syntax, replace(table, constraints=kept, inequalities=model.table.inequalities)
    ), covariances


def slope_variance_test(fit: FitRecord, slope: str) -> SlopeTest:
    """Likelihood-ratio test that a slope does not vary over clusters (beyond what predictors of it explain).

    The model is fitted again without the slope's variance and covariances; see `mixture_pvalue` for the reference. The
    slope keeps its mean, its predictors, and what it multiplies.

    Raises
    ------
    EstimatorError
        If the fit is not one of `msem` with that slope random, the test has no meaning, or the second fit fails.
    """
    own = fit.measures["loglik"]
    fit = in_rescaled_units(fit)
    prepared_slopes(fit, "test of a slope's variance")
    model, q = without_variance(fit.model, slope)
    sample = fit.context.sample.arrange(model.level1, model.level2)
    method, layout, streams = fit.context.method, fit.context.sample.layout, FitStreams.of(0, fit.estimator, "fit", [0])
    try:
        again = fitter(method, ask.prepare(method, model, layout))
        data = ask.of_sample(data_kind(method.needs), sample)
        without, _ = fit_walled(method, model, again, data, streams)
    except MethodError as error:
        why = f"{fit.estimator} stopped with an error: {error.text}"
        raise EstimatorError(f"test of a slope's variance: {why}") from None
    if not without.converged[0]:
        why = Status(int(without.status[0])).message
        raise EstimatorError(f"test of a slope's variance: the model without it did not converge ({why})")
    low, high = float(without.loglik[0]), fit.measures["loglik"]
    statistic = max(2.0 * (high - low), 0.0)
    if statistic < NO_GAIN * (1.0 + abs(high)):
        statistic = 0.0
    low, high = own - (high - low), own
    notes = []
    if without.measures["boundary"][0]:
        notes.append(
            "without this variance, another one is on its boundary: the reference is then an approximation, as it "
            "takes the others to be inside"
        )
    return SlopeTest(
        slope, statistic, (q, q + 1), float(mixture_pvalue(np.array(statistic), q)), low, high, tuple(notes)
    )


def _same_likelihood(first: FitRecord, second: FitRecord) -> None:
    """Raise an `EstimatorError` unless both log-likelihoods are of the same kind, variables and treatment of slopes.

    What they are conditional on may differ: a predictor that the restricted model leaves out has no effect there.
    """
    one, other = first.likelihood, second.likelihood
    if one.kind != other.kind:
        raise EstimatorError(
            "likelihood-ratio test: the two log-likelihoods are of different kinds, so that their difference means "
            f"nothing. One is {one.sentence}; the other {other.sentence}. Fit both models with the same fixed_x"
        )
    if set(one.variables) != set(other.variables):
        only = sorted(set(one.variables) ^ set(other.variables))
        word = "variable" if len(only) == 1 else "variables"
        raise EstimatorError(
            "likelihood-ratio test: the models were fitted to different data, as the log-likelihood of one of them has "
            f"the {word} {', '.join(only)} and the other's has not. Name every variable in both, such as y ~ 0*x"
        )
    meanings = {fact.name: fact.meaning for fact in first.slopes}
    for fact in second.slopes:
        mine = meanings.get(fact.name, fact.meaning)
        if mine != fact.meaning and "fixed" not in (mine, fact.meaning):
            raise EstimatorError(
                f"likelihood-ratio test: the models are not nested, as the slope '{fact.name}' multiplies "
                f"'{fact.predictor}' in another way in each ({mine}, {fact.meaning}). Fit both with the same slopes"
            )


def likelihood_ratio_test(first: FitRecord, second: FitRecord) -> Test:
    """Likelihood-ratio test of nested models fitted to the same data; scaled where both have robust SEs.

    The restricted model is the one with fewer free parameters, whichever is given first. The scaled difference divides
    by (q0 c0 - q1 c1) / (q0 - q1), with q and c the numbers of parameters and the MLR scaling factors of the models
    (Satorra & Bentler 2001; theory C11).

    Raises
    ------
    EstimatorError
        Different data, likelihoods of different kinds (joint, given x), as many parameters, or a fit without a
        likelihood of the two-level model.
    """
    for fit in (first, second):
        if not fit.converged:
            raise EstimatorError(
                f"likelihood-ratio test: {fit.estimator} did not converge ({fit.status.message}); both models must"
            )
        if not fit.context.method.likelihood_of_model:
            raise EstimatorError(
                f"likelihood-ratio test: '{fit.estimator}' does not maximise the likelihood of the two-level model; "
                "msem does"
            )
    _same_likelihood(first, second)
    if (first.n_obs, first.sizes) != (second.n_obs, second.sizes):
        raise EstimatorError("the models were fitted to different data")
    h0, h1 = first.measures.get("unrestricted_loglik", np.nan), second.measures.get("unrestricted_loglik", np.nan)
    if np.isfinite([h0, h1]).all() and abs(h0 - h1) > 1e-6 * (1.0 + abs(h1)):
        raise EstimatorError("the models were fitted to different data: their unrestricted log-likelihoods differ")
    restricted, full = sorted((first, second), key=lambda fit: fit.measures["npar"])
    q0, q1 = restricted.measures["npar"], full.measures["npar"]
    df = int(q1 - q0)
    if df == 0:
        raise EstimatorError(
            f"likelihood-ratio test: the two models have the same number of free parameters ({q0:.0f}); one must be a "
            "restriction of the other"
        )
    statistic = 2.0 * (full.measures["loglik"] - restricted.measures["loglik"])
    c0, c1 = restricted.measures.get("scaling_h0", np.nan), full.measures.get("scaling_h0", np.nan)
    scaling = (q1 * c1 - q0 * c0) / df
    if np.isfinite(scaling):  # a negative factor has no chi-square: as `chisq_scaled` of a model, there is no number
        statistic = statistic / scaling if scaling > 0 else np.nan
    return Test(statistic, df, float(chi_square_tail(statistic, df)), scaling)
