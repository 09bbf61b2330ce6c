"""Random slopes of a fit: what they multiply, what that estimates, and each cluster's own (empirical Bayes)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from simstudy.analysis.rescaled import in_rescaled_units
from simstudy.analysis.result import FitRecord, SlopeFact
from simstudy.data.products import ClusterProducts, PatternProducts, Products
from simstudy.errors import EstimatorError
from simstudy.likelihood.slopes.integrals import integrated
from simstudy.linalg.stacked import BoolArray, FloatArray
from simstudy.methods import ask
from simstudy.methods.protocol import PreparedSlopes
from simstudy.methods.wall import MethodError
from simstudy.model.carriers import lacking_slopes
from simstudy.model.implied import LevelImplied
from simstudy.model.representation import fill, level_matrices
from simstudy.model.slopes import RandomSlope
from simstudy.model.twolevel import TwoLevelModel

MEANING = {
    "within": (
        "{x} stands in the within block only and is taken as observed. {s} is the slope of {y} on {x} in a cluster. If "
        "cluster means of {x} differ, center {x} within clusters, or put it into the between block too: else the mean "
        "of {s} mixes within and between effects."
    ),
    "observed": (
        "{s} multiplies {x} as observed. Its mean is the within effect; a path from {x} in the between block is a "
        "contextual effect (what the cluster's level adds beyond the within effect)."
    ),
    "uncentred": (
        "{s} multiplies {x} as observed, cluster means included, and there is no other path from {x}: its mean is a "
        "mixture of the effects within and between clusters."
    ),
    "contextual": (
        "{s} multiplies {x} as observed, beside the observed cluster means of {x}. Its mean is the effect within "
        "clusters; the path from {x} in the between block is that mean plus the contextual effect."
    ),
    "centred": (
        "{s} multiplies the deviation of {x} from its observed cluster mean. Its mean and variance are those of the "
        "effect within clusters."
    ),
    "latent": (
        "{s} multiplies the deviation of {x} from its cluster's latent mean. Its mean and variance are those of the "
        "effect within clusters, and a path from {x} in the between block is the effect between clusters."
    ),
    "hybrid": (
        "The mean of {s} is the effect of {x} within clusters, and a path from {x} in the between block the effect "
        "between clusters; but what a cluster's slope departs from the mean by multiplies {x} as observed (Mplus with "
        "ML). If slopes vary on the latent within part, the variance of {s} is too small (Asparouhov & Muthén 2019)."
    ),
    "factor": (
        "{s} multiplies the factor {x} within clusters, which has no part between them: its mean and variance are "
        "those of the effect within clusters."
    ),
    "fixed": (
        "{s} does not vary in the model that was fitted: the path of {y} on {x} within clusters stands for its mean. "
        "Where slopes do vary, its SE from the information is too small; and indirect effects leave out the covariance "
        "of slopes."
    ),
}


OTHERWISE = {
    "both": {
        "observed": "{s} would multiply {x} as it is: the same mean, but {y} ~ {x} between would be contextual",
        "latent": "{s} would multiply {x} minus its latent cluster mean: mean and variance of the within effect",
        "hybrid": "the same means as latent, in closed form (Mplus with ML); the variance of {s} comes out too small",
    },
    "exogenous": {
        "observed": "with {x} in the within block only: the mean of {s} would mix effects within and between clusters",
        "latent": "{s} would multiply {x} minus its latent cluster mean: mean and variance of the within effect",
        "hybrid": "the same means as latent, in closed form (Mplus with ML); the variance of {s} comes out too small",
    },
    "within": {
        "latent": "with {x} in the between block, too: the effect within clusters, {y} ~ {x} there that between them",
        "hybrid": "with {x} in the between block, too: the same effects in closed form, the variance of {s} too small",
    },
}
"""What a choice of ``slopes`` would estimate that was not made, in a line each: for a predictor in both blocks that is
an outcome (a mediator) or is none, and for one of the within block only."""


def slope_facts(model: TwoLevelModel, meanings: Mapping[str, str], *, choice: bool = False) -> tuple[SlopeFact, ...]:
    """What a method does with every random slope of a model, given what it says each one multiplies.

    With ``choice`` it has the option ``slopes``, and facts tell what the other choices would estimate.
    """
    return tuple(_fact(slope, model, meanings[slope.name], choice) for slope in model.slopes)


def _fact(slope: RandomSlope, model: TwoLevelModel, meaning: str, choice: bool) -> SlopeFact:
    words = {"s": slope.name, "x": slope.predictor, "y": slope.outcome}
    place = "within"
    if slope.predictor in model.both:
        place = "both" if slope.predictor in model.outcomes("within") else "exogenous"
    key = "within" if meaning == "observed" and place == "within" else meaning
    choice = choice and meaning != "factor"
    others = {name: text.format(**words) for name, text in OTHERWISE[place].items() if choice and name != meaning}
    text = MEANING.get(key, "").format(**words)
    return SlopeFact(slope.name, slope.outcome, slope.predictor, meaning, text, others)


def integrated_slopes(fit: FitRecord) -> tuple[str, ...]:
    """Slopes over which the likelihood of a fit by `msem` is an integral: of factors, or with missing predictors."""
    sample = fit.context.sample.arrange(fit.model.level1, fit.model.level2)
    lacking = lacking_slopes(fit.model, ~np.isnan(sample.rows))[0]
    names = [slope.name for slope, one in zip(fit.model.slopes, lacking, strict=True) if one]
    latent = any(slope.meaning == "latent" for slope in fit.slopes)
    return integrated(fit.model, "latent" if latent else "observed", names)


ALMOST = 1e-5
"""Least eigenvalue of a correlation matrix that is not called singular."""
FLAT = 0.005
"""Up to this ICC a predictor is said to have no between part."""


def flat_predictors(facts: Sequence[SlopeFact], icc: Mapping[str, float]) -> tuple[str, ...]:
    """What may be wrong with a fit that failed: slopes of deviations from cluster means that do not vary."""
    return tuple(
        f"the slope '{fact.name}' multiplies the deviation of '{fact.predictor}' from its cluster's mean, but "
        f"'{fact.predictor}' has no between variance in these data (ICC {icc[fact.predictor]:.3f}): take "
        f"'{fact.predictor}' out of the between block"
        for fact in facts
        if fact.predictor in icc and not icc[fact.predictor] > FLAT
    )


def boundary_notes(
    model: TwoLevelModel, params: FloatArray, se: FloatArray, *, bounded: bool = False
) -> tuple[str, ...]:
    """What a singular covariance matrix of random elements means, given estimates and SEs (q,).

    With ``bounded``, what is on the boundary may be at a bound and no more; `model_notes.bound_notes` tells of that.
    """
    table = model.table
    at_bound = (params == table.lower) | (params == table.upper)
    flat = [
        row.lhs
        for row in table.at("between")
        if row.op == "~~" and row.lhs == row.rhs and row.free >= 0 and np.isnan(se[row.free]) and not at_bound[row.free]
    ]
    if flat:
        names = ", ".join(f"'{name}'" for name in flat)
        return (
            f"on the boundary: the variance of {names} is 0 at the maximum, so it has no SE, and the SEs of the other "
            "parameters take it as 0. This is common with few or small clusters and is no failure: the data do not "
            "show variation beyond chance. --lrt-slope tests a slope's variance with the right reference.",
            *(
                f"paths from '{name}' in the between block multiply a part that does not vary at the maximum: they are "
                "not identified there, and their estimates mean nothing, however small or large their SEs"
                for name in flat
                if any(row.op == "~" and row.rhs == name and row.free >= 0 for row in table.at("between"))
            ),
        )
    if bounded and not _singular(model, params):
        return ()
    return (
        "on the boundary: the covariance matrix of the random elements is singular at the maximum (a correlation of "
        "1 or -1, or a variance of 0), and SEs are those along the boundary. This is common with few or small "
        "clusters and is no failure.",
    )


def _singular(model: TwoLevelModel, params: FloatArray) -> bool:
    """Whether the between level's (residual) covariance matrix is."""
    maps = level_matrices(model, "between")
    moving = np.unique(maps.covariances.row[maps.covariances.row == maps.covariances.column])
    cov = fill(maps, params).covariances[np.ix_(moving, moving)]
    scale = np.sqrt(np.maximum(np.diagonal(cov), 1e-300))
    return bool(np.linalg.eigvalsh(cov / scale[:, None] / scale)[0] < ALMOST)


def refuse_slopes(fit: FitRecord, what: str) -> None:
    """Raise an `EstimatorError` for what needs one covariance matrix of all rows."""
    if fit.model.slopes:
        raise EstimatorError(
            f"models with random slopes have no {what}: variances and covariances within clusters depend on the "
            "predictors"
        )


def prepared_slopes(fit: FitRecord, what: str) -> PreparedSlopes:
    """The prepared maximum-likelihood method of a fit with random slopes.

    Raises
    ------
    EstimatorError
        If the model has none, or the method did not let them vary.
    """
    if not fit.model.slopes:
        raise EstimatorError(f'{what}: the model has no random slope; write one as y ~ rv("s")*x')
    if not fit.converged:
        raise EstimatorError(f"{what}: {fit.estimator} did not converge ({fit.status.message})")
    try:
        prepared = ask.prepare_slopes(fit.context.method, fit.model, fit.context.sample.layout)
    except MethodError as error:
        raise EstimatorError(f"{what}: {fit.estimator} stopped with an error: {error.text}") from None
    if prepared is None:
        raise EstimatorError(
            f"{what}: slopes do not vary by full-information maximum likelihood in this fit of '{fit.estimator}'; use "
            "msem with slopes = auto, observed, latent or hybrid"
        )
    return prepared


def products_of(fit: FitRecord) -> Products:
    """Cross-products of every cluster of a fit's data."""
    sample = fit.context.sample.arrange(fit.model.level1, fit.model.level2)
    if np.isnan(sample.rows).any() or np.isnan(sample.clusters).any():
        return PatternProducts.of(sample)
    return ClusterProducts.of(sample.statistics())


@dataclass(frozen=True)
class Elements:
    """Random elements (intercepts, slopes) and level-2 variables of every cluster, given its data.

    Attributes
    ----------
    names : tuple of str, length k
    mean : (J, k)
    cov : (J, k, k)
        Posterior covariances; 0 for what is observed.
    """

    names: tuple[str, ...]
    mean: FloatArray
    cov: FloatArray


def random_elements(fit: FitRecord) -> Elements:
    """Empirical Bayes means and posterior covariances; parameters count as known."""
    prepared = prepared_slopes(fit, "cluster-specific slopes")
    data = products_of(fit)
    mean, cov = prepared.elements(fit.params[None], data)
    structure = prepared.structure
    z, seen = data.clusters[0].T, data.z_patterns[data.z_pattern[0]]
    k, r = structure.r + structure.p2, structure.r
    full = np.zeros((len(z), k, k))
    full[:, :r, :r] = cov[0]
    found = Elements(structure.elements, np.concatenate([mean[0], z], axis=1), full)
    return (
        found
        if seen.all()
        else _with_unseen(
            found, np.concatenate([np.ones((len(z), r), dtype=bool), seen], 1), structure.between.implied(fit.params)
        )
    )


def _with_unseen(found: Elements, known: BoolArray, implied: LevelImplied) -> Elements:
    """Level-2 variables that a cluster lacks, given its random elements and the level-2 variables that it has.

    Rows tell nothing of them beyond that.

    Parameters
    ----------
    known : (J, k)
    implied : LevelImplied
        Moments of the between level.
    """
    k = known.shape[1]
    mean, cov, sigma = found.mean.copy(), found.cov.copy(), implied.cov[:k, :k]
    for pattern in np.unique(known, axis=0):
        here, at, gone = (known == pattern).all(axis=1), np.flatnonzero(pattern), np.flatnonzero(~pattern)
        inverse = np.linalg.pinv(sigma[np.ix_(at, at)], rcond=1e-10, hermitian=True)  # slope variances may be 0
        regression = sigma[np.ix_(gone, at)] @ inverse
        whole = np.zeros((k, len(at)))
        whole[at, np.arange(len(at))], whole[gone] = 1.0, regression
        mean[np.ix_(here, gone)] = implied.mean[gone] + (mean[np.ix_(here, at)] - implied.mean[at]) @ regression.T
        inner = cov[here][:, at[:, None], at]
        left = np.zeros((k, k))
        left[np.ix_(gone, gone)] = sigma[np.ix_(gone, gone)] - regression @ sigma[np.ix_(at, gone)]
        cov[here] = whole @ inner @ whole.T + left
    return Elements(found.names, mean, cov)


def random_effects(fit: FitRecord) -> pd.DataFrame:
    """Each cluster's own slopes and intercepts, and factors of the between level, with SEs.

    Empirical Bayes (posterior means and standard deviations given the cluster's data): in closed form for slopes of
    observed predictors, by quadrature over latent means for slopes of latent ones. Parameters count as known. Given
    intercepts, slopes and level-2 variables u, factors are normal with the mean mu + Cov(eta, u) Cov(u)^-1 (u - E u).

    Returns
    -------
    DataFrame
        A row a cluster, in the order of their appearance in the data, with the cluster's identifier as index: ``name``
        and ``name_se`` of every random slope, random intercept and latent variable.

    Raises
    ------
    EstimatorError
        If the fit has none.
    """
    inner = in_rescaled_units(fit)
    found = random_elements(inner)
    level = prepared_slopes(inner, "cluster-specific slopes").structure.between
    implied = level.implied(inner.params)
    k = level.n_observed
    inverse = np.linalg.pinv(implied.cov[:k, :k], rcond=1e-10, hermitian=True)  # slope variances may be 0
    regression = implied.cov[k:, :k] @ inverse
    left = implied.cov[k:, k:] - regression @ implied.cov[:k, k:]
    mean = np.concatenate([found.mean, implied.mean[k:] + (found.mean - implied.mean[:k]) @ regression.T], axis=1)
    whole = np.concatenate([np.eye(k), regression])
    cov = np.einsum("vp,jpq,wq->jvw", whole, found.cov, whole)
    cov[:, k:, k:] += left
    names = level.maps.variables
    units = fit.context.units
    if units is not None:
        turn = units.turn_of(names)
        mean = mean @ turn.T + units.spread(names) * units.deltas_of(inner.params, names)
        cov = np.einsum("vp,jpq,wq->jvw", turn, cov, turn)
    slopes = [slope.name for slope in fit.model.slopes]
    wanted = [*slopes, *(name for name in names if name not in slopes and name not in fit.model.level2)]
    at = [names.index(name) for name in wanted]
    return by_cluster(fit, columns_of(wanted, mean[:, at], np.diagonal(cov, axis1=1, axis2=2)[:, at]))


def columns_of(names: Sequence[str], values: FloatArray, variances: FloatArray) -> dict[str, FloatArray]:
    """Columns ``name`` and ``name_se`` of values and variances (n, k)."""
    errors = np.sqrt(np.maximum(variances, 0.0))
    return {
        key: column
        for k, name in enumerate(names)
        for key, column in ((name, values[:, k]), (f"{name}_se", errors[:, k]))
    }


def by_cluster(fit: FitRecord, columns: Mapping[str, FloatArray]) -> pd.DataFrame:
    """Columns (J,) in the sample's order as a table in that of the data, with the clusters' identifiers as index."""
    context = fit.context
    table = pd.DataFrame(columns, index=pd.Index(context.cluster_ids, name="cluster"))
    return table.iloc[np.argsort(context.order[context.sample.layout.row_starts])]


def random_means(fit: FitRecord) -> dict[str, float]:
    """Estimated means, in the population of clusters, of what `random_effects` gives."""
    level = prepared_slopes(fit, "cluster-specific slopes").structure.between
    implied = level.implied(fit.params)
    slopes = [slope.name for slope in fit.model.slopes]
    names = [name for name in level.maps.variables if name not in fit.model.level2]
    order = [*slopes, *(name for name in names if name not in slopes)]
    return {name: float(implied.mean[level.maps.variables.index(name)]) for name in order}
