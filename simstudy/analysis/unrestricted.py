"""The unrestricted model of a data set: its maximum with and without a semidefinite Sigma_between, and what follows.

Chi-square, CFI and RMSEA compare a model with it. Which of its two maxima they compare with (`Msem.h1`) makes a
difference where the unrestricted Sigma_between is indefinite: a note then tells both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from simstudy.data.sample import Sample
from simstudy.estimation.engine import Engine, complete_engine, incomplete_engine
from simstudy.estimation.fit_indices import rmsea_interval, upper_tail
from simstudy.estimation.fit_measures import Solved
from simstudy.estimation.result import FitResult, Status
from simstudy.estimation.semidefinite import between_eigenvalues, is_semidefinite, scored_once, semidefinite
from simstudy.estimation.unrestricted import unrestricted_model
from simstudy.linalg.stacked import FloatArray
from simstudy.methods import ask
from simstudy.methods.protocol import Estimator
from simstudy.methods.registry import values_of
from simstudy.methods.wall import fit_walled, fitter
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import data_kind
from simstudy.population.streams import FitStreams

SHOWN = 3
"""Eigenvalues that a note tells, the smallest first."""


@dataclass(frozen=True)
class Unrestricted:
    """The maximum of one data set over all moments (R = 1).

    Attributes
    ----------
    solved : Solved
    ok : bool
        Whether there is a maximum.
    """

    solved: Solved
    ok: bool

    @property
    def eigenvalues(self) -> FloatArray:
        """Eigenvalues (p_b,) of its Sigma_between, ascending."""
        values: FloatArray = between_eigenvalues(self.solved.structure, self.solved.best.params)[0]
        return values

    @property
    def semidefinite(self) -> bool:
        """Whether its Sigma_between is positive semidefinite."""
        return self.ok and bool(is_semidefinite(self.solved.structure, self.solved.best.params)[0])

    @cached_property
    def over_cone(self) -> Solved:
        """The maximum over positive semidefinite Sigma_between, computed when first asked for."""
        return semidefinite(self.solved)


def engine_for(sample: Sample, structure: TwoLevelStructure, *, cluster_wise: bool = True) -> Engine:
    """Likelihood of a model on one data set, complete or not, whose variables stand in the model's order."""
    if np.isnan(sample.rows).any() or np.isnan(sample.clusters).any():
        return incomplete_engine(structure, sample.incomplete())
    return complete_engine(structure, sample.statistics(cluster_wise=cluster_wise))


def unrestricted_of(model: TwoLevelModel, sample: Sample, *, hopeless: bool = False) -> Unrestricted:
    """Fit the unrestricted model of a model's variables; ``hopeless`` if it is known to have no maximum."""
    structure = TwoLevelStructure.of(unrestricted_model(model))
    engine = engine_for(sample.arrange(model.level1, model.level2), structure, cluster_wise=False)
    with np.errstate(all="ignore"):
        if hopeless:
            return Unrestricted(scored_once(structure, engine), ok=False)
        best = engine.solve()
    return Unrestricted(Solved(structure, engine, best, structure.q), bool(best.status[0] == int(Status.OK)))


def is_hopeless(method: Estimator, result: FitResult) -> bool:
    """Whether a fit has found out that the unrestricted likelihood has no maximum."""
    if not result.converged[0] or values_of(method).get("h1") != "unrestricted":
        return False
    return bool(np.isnan(result.measures.get("unrestricted_loglik", np.zeros(1))[0]))


def intraclass_correlations(model: TwoLevelModel, found: Unrestricted) -> dict[str, float]:
    """Between share of the variance of every variable on both levels.

    From the unrestricted maximum; where there is none, from that with a positive semidefinite Sigma_between.
    """
    solved = found.solved if found.ok else found.over_cone
    if solved.best.status[0] != int(Status.OK):
        return dict.fromkeys(model.both, np.nan)
    _, within, between = solved.structure.moments(solved.best.params)
    shares: dict[str, float] = {}
    for name in model.both:
        k = model.level1.index(name)
        shares[name] = float(between[0, k, k] / (between[0, k, k] + within[0, k, k]))
    return shares


# ---------------------------------------------------------------------- which of the two a fit compares with


@dataclass(frozen=True)
class Comparison:
    """A fit and what its chi-square is against.

    Attributes
    ----------
    result : FitResult
    h1 : str
        ``unrestricted``, ``psd``, or empty where there is no chi-square.
    notes : tuple of str
    """

    result: FitResult
    h1: str
    notes: tuple[str, ...] = ()


def compare(
    method: Estimator, model: TwoLevelModel, sample: Sample, result: FitResult, found: Unrestricted, chosen: str | None
) -> Comparison:
    """Settle which unrestricted model a fit's chi-square is against, and say what a user must know of it.

    Where nothing was chosen and the unrestricted model has no maximum, the fit compares with the positive semidefinite
    one, and a note says so. Where the two differ, a note tells the eigenvalues and the other chi-square.

    Parameters
    ----------
    chosen : str or None
        The user's choice of ``h1``.
    """
    if not result.converged[0] or "chisq" not in result.measures:
        return Comparison(result, "")
    h1 = chosen or "unrestricted"
    if "h1" not in values_of(method):
        return Comparison(result, _present(result, h1), tuple(_missing(result, found, None)))
    if h1 == "unrestricted" and chosen is None and not found.ok:
        other = _refit(method, model, sample, "psd")
        if other.converged[0] and np.isfinite(other.measures["chisq"][0]):
            note = (
                "the likelihood of the unrestricted model has no maximum for these data: it rises without bound where "
                "the between covariance matrix is far from positive semidefinite. Chi-square, CFI and RMSEA compare "
                "with the maximum over positive semidefinite ones instead (h1 = 'psd'), and are too favourable"
            )
            return Comparison(other, "psd", (note, *_missing(other, found, "psd")))
    notes = tuple(_missing(result, found, h1))
    counts = result.measures["df"][0] > 0 or result.measures["chisq"][0] > 0  # a bound can cost likelihood without df
    if counts and found.ok and not found.semidefinite:
        notes = (_differ(method, model, sample, result, found, h1), *notes)
    return Comparison(result, _present(result, h1), notes)


def _present(result: FitResult, h1: str) -> str:
    return h1 if np.isfinite(result.measures["chisq"][0]) else ""


def _refit(method: Estimator, model: TwoLevelModel, sample: Sample, h1: str) -> FitResult:
    """The same fit, compared with the other unrestricted model."""
    chosen: Estimator = replace(method, h1=h1)  # type: ignore[type-var]
    data = ask.of_sample(data_kind(method.needs), sample)
    fit = fitter(chosen, ask.prepare(chosen, model, sample.layout))
    return fit_walled(chosen, model, fit, data, FitStreams.of(0, method.name, "fit", [0]))[0]


def _differ(
    method: Estimator, model: TwoLevelModel, sample: Sample, result: FitResult, found: Unrestricted, h1: str
) -> str:
    """Both chi-squares, and why they differ."""
    negative = [value for value in found.eigenvalues if value < 0][:SHOWN]
    values = ", ".join(f"{value:.4g}" for value in negative)
    many = f"{len(negative)} negative eigenvalue{'s' * (len(negative) != 1)} ({values})"
    theirs = _statistic(_against_the_other(method, model, sample, result, found, h1))
    small = "too small on average for its degrees of freedom where the model's between residuals are near 0"
    tested = result.measures["df"][0] > 0
    head = f"the between covariance matrix of the unrestricted model has {many}"
    if h1 == "unrestricted":
        return (
            f"{head}. Chi-square is against that maximum; against the one that is positive semidefinite, as lavaan and "
            f"Mplus fit it by EM, it is {theirs} (h1 = 'psd'){f', which is {small}' if tested else ''} (docs/fit.md)"
        )
    return (
        f"{head}. Chi-square is against the maximum over positive semidefinite ones (h1 = 'psd')"
        f"{f', and {small}' if tested else ''}; against the unrestricted maximum it is {theirs} (docs/fit.md)"
    )


def _against_the_other(
    method: Estimator, model: TwoLevelModel, sample: Sample, result: FitResult, found: Unrestricted, h1: str
) -> dict[str, float]:
    """Chi-square, scaled where there is a scaling factor, and df against the other unrestricted model.

    Fixed x takes its moments from the unrestricted model: the model itself is then another one, and is fitted again.
    """
    if values_of(method).get("fixed_x"):
        again = _refit(method, model, sample, "psd" if h1 == "unrestricted" else "unrestricted")
        return {name: float(again.measures[name][0]) for name in ("chisq", "df", "chisq_scaled")}
    other = found.over_cone if h1 == "unrestricted" else found.solved
    one = {name: float(value[0]) for name, value in result.measures.items()}
    chisq = max(2.0 * (float(other.loglik[0]) - one["loglik"]), 0.0)
    scaled = np.nan
    if one["df"] > 0 and not np.isnan(one["scaling_h0"]):
        engine = engine_for(sample.arrange(model.level1, model.level2), other.structure)
        _, scaling = engine.robust(other.best, engine.inverse_observed(other.best))
        factor = (other.npar * float(scaling[0]) - one["npar"] * one["scaling_h0"]) / one["df"]
        scaled = chisq / factor if factor > 0 else np.nan
    return {"chisq": chisq, "df": one["df"], "chisq_scaled": scaled}


def _statistic(found: dict[str, float]) -> str:
    if np.isnan(found["chisq"]):
        return "not to be had"
    df = int(found["df"])
    shown = []
    for word, chisq in (("", found["chisq"]), ("scaled ", found["chisq_scaled"])):
        if np.isfinite(chisq):
            pvalue = f" (p {upper_tail(np.array([chisq]), df)[0]:.3f})" if df > 0 else ""
            shown.append(f"{word}{chisq:.3f}{pvalue}")
    return f"{', '.join(shown)}, df {df}"


def _missing(result: FitResult, found: Unrestricted, h1: str | None) -> list[str]:
    """Why a fit measure is missing."""
    one = {name: float(value[0]) for name, value in result.measures.items()}
    notes: list[str] = []
    if np.isnan(one["chisq"]):
        if h1 == "psd":
            notes.append("no maximum of the positive semidefinite unrestricted model was found: no chi-square")
        elif h1 is None or found.ok:
            outside = found.ok and not found.semidefinite
            why = " (its maximum has an indefinite between covariance matrix)" if outside else ""
            notes.append(f"this method could not fit the unrestricted model{why}: no chi-square, CFI, RMSEA")
        else:
            notes.append(
                "the likelihood of the unrestricted model has no maximum for these data: no chi-square, CFI, RMSEA"
                " (h1 = 'psd' compares with the positive semidefinite one)"
            )
        return notes
    if np.isnan(one.get("baseline_chisq", 0.0)):
        notes.append("the baseline model has no maximum for these data: no CFI, no TLI")
    scaling, asked = one.get("scaling", np.nan), not np.isnan(one.get("scaling_h0", np.nan))
    if asked and one["df"] > 0:
        if np.isnan(scaling):
            notes.append(
                "the scaling factor cannot be computed (an information matrix is not positive definite): no scaled "
                "chi-square, and no scaled or robust CFI, TLI, RMSEA"
            )
        elif scaling <= 0:
            notes.append(
                f"the scaling factor is {scaling:.4f}; it must be positive: no scaled chi-square, and no scaled or "
                "robust CFI, TLI, RMSEA. It is a difference of two estimates, which can do this in small samples"
            )
        elif not one.get("baseline_scaling", np.nan) > 0:
            notes.append("the baseline model's scaling factor is not positive: no scaled or robust CFI, TLI")
    if h1 == "psd" and one["df"] > 0 and one["loglik"] > one["unrestricted_loglik"]:
        notes.append(
            "the model's own between covariance matrix is not positive semidefinite, and the model fits better than "
            "the unrestricted one that is (h1 = 'psd'), in which it is not nested: chi-square is 0"
        )
    return notes


def with_intervals(measures: dict[str, float], n_units: int) -> dict[str, float]:
    """Fit measures with the 90 % limits of every RMSEA that they hold."""
    found = dict(measures)
    if "chisq" not in found:
        return found
    df = int(np.nan_to_num(found["df"]))
    scaling = found.get("scaling", np.nan) if df > 0 else 1.0
    for suffix, chisq, factor in (
        ("", found["chisq"], 1.0),
        ("_scaled", found.get("chisq_scaled", np.nan), 1.0),
        ("_robust", found["chisq"] if "chisq_scaled" in found else np.nan, scaling),
    ):
        if not suffix or np.isfinite(found.get(f"rmsea{suffix}", np.nan)):
            limits = rmsea_interval(chisq, df, n_units, scaling=factor)
            found[f"rmsea_ci_lower{suffix}"], found[f"rmsea_ci_upper{suffix}"] = limits
    return found
