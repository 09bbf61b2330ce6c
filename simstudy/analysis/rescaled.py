"""Fitting badly scaled data in rescaled units (see `units`), and whatever follows from such a fit.

Not every method reads a model as its mean structure says (some take a predictor's deviation from cluster means where
others take it as it is). So a second fit, in units that differ moderately from the first, must tell the same: if it
does not, fewer variables are shifted, and in the end none (`fit_in_units`). The second fit also tells what becomes of
log-likelihoods. They are densities and differ by sum_v n_v log s_v, with n_v the number of values of v whose density a
method's likelihood is; so they are linear in log s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from simstudy.analysis.result import FitRecord
from simstudy.analysis.units import Units
from simstudy.data.sample import Sample
from simstudy.estimation.result import FitResult
from simstudy.linalg.stacked import FloatArray
from simstudy.model.twolevel import TwoLevelModel

SCALE, SHIFT = 2.0**10, 2.0**10
"""Standard deviations within 1 / SCALE and SCALE, and means within SHIFT of them, are left as they are: the information
matrix of intercepts and paths has a condition number of about the square, and 10 digits remain."""
AGREE, AGREE_SE = 1e-5, 1e-3
"""Shares of a standard error by which estimates and standard errors of the two may differ: above rounding, the
optimisers' stop, and what information matrices lose in shifted data; other readings of means are far beyond."""


def location_and_spread(sample: Sample) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation of every observed variable, of rows or of clusters."""
    mean, sd = {}, {}
    for names, values in ((sample.level1, sample.rows[0]), (sample.level2, sample.clusters[0])):
        for k, name in enumerate(names):
            column = values[:, k]
            column = column[~np.isnan(column)]
            center = float(column[0] + (column - column[0]).mean())
            mean[name], sd[name] = center, float(np.sqrt(((column - center) ** 2).mean())) or 1.0
    return mean, sd


Fitter = Callable[[TwoLevelModel, Sample], FitResult]


def fit_in_units(
    fit: Fitter, model: TwoLevelModel, sample: Sample, meanings: Mapping[str, str], *, alike: bool = False
) -> tuple[FitResult, Units | None, FitResult]:
    """Fit one data set in units that arithmetic bears.

    Parameters
    ----------
    fit : callable
        Fits a model to a sample.
    meanings, alike
        See `Units`.

    Returns
    -------
    result : FitResult
        In the user's units.
    units : Units or None
        None where data are fitted as they are.
    rescaled : FitResult
        In rescaled units.
    """
    mean, sd = location_and_spread(sample)
    wide = not all(1.0 / SCALE <= value <= SCALE for value in sd.values())
    far = {name: mean[name] for name in sd if abs(mean[name]) > SHIFT * sd[name]}
    scale = {name: float(np.log2(sd[name])) if wide else 0.0 for name in sd}
    slopes = {slope.predictor for slope in model.slopes}
    fewer = {name: c for name, c in far.items() if name not in slopes and name in (*model.both, *model.level2)}
    attempts = [far, fewer, {}] if wide or far else []
    for shift in (a for i, a in enumerate(attempts) if a not in attempts[:i]):
        units = Units.of(model, scale, shift, meanings, alike=alike)
        rescaled = fit(units.model, units.sample(sample))
        if not rescaled.converged[0]:
            continue
        other, share = units.nearby()
        again = fit(other.model, other.sample(units.sample(sample)))
        if again.converged[0] and not _agree(rescaled, other.outward(again)):
            continue
        return units.outward(_likelihoods(rescaled, again, share)), units, rescaled
    result = fit(model, sample)
    return result, None, result


def _agree(first: FitResult, second: FitResult) -> bool:
    """Whether two results for one data set (R = 1) are the same, as far as rounding lets them."""
    kind = next(iter(first.se))
    size = np.where(first.se[kind] > 0.0, first.se[kind], np.maximum(np.abs(first.estimate), 1.0))
    pairs = ((first.estimate, second.estimate, AGREE), (first.se[kind], second.se[kind], AGREE_SE))
    same = [np.isnan(a) == np.isnan(b) for a, b, _ in pairs]
    near = [~(np.abs(a - b) > limit * size) for a, b, limit in pairs]
    return bool(np.all(same) and np.all(near))


def _likelihoods(rescaled: FitResult, again: FitResult, share: float) -> FitResult:
    """Log-likelihoods, and measures made of them, in the user's scales, from those in two rescaled ones."""
    if not share:
        return rescaled

    def extrapolated(here: FloatArray, there: FloatArray) -> FloatArray:
        change = there - here
        return np.where(np.abs(change) > 1e-6 * np.maximum(1.0, np.abs(here)), here + change / share, here)

    return replace(
        rescaled,
        loglik=extrapolated(rescaled.loglik, again.loglik),
        measures={
            name: extrapolated(value, again.measures[name]) if name in again.measures else value
            for name, value in rescaled.measures.items()
        },
    )


def in_rescaled_units(fit: FitRecord) -> FitRecord:
    """A fit as it was made in rescaled units, without ``:=`` parameters; itself where there are none."""
    context = fit.context
    if context.units is None:
        return fit
    result = context.rescaled
    return replace(
        fit,
        model=context.units.model,
        params=result.estimate[0],
        covariance=result.covariance[next(iter(result.se))][0],
        measures={
            **fit.measures,
            "loglik": float(result.loglik[0]),
            **{k: float(v[0]) for k, v in result.measures.items()},
        },
        context=replace(context, sample=context.units.sample(context.sample), result=result, units=None, rescaled=None),
    )
