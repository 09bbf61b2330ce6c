"""`msem` for models with random slopes: maximum likelihood by Newton's method (Muthen & Asparouhov 2008; theory D1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.incomplete import distinct_patterns
from simstudy.data.layout import ClusterLayout
from simstudy.data.products import ClusterProducts, PatternProducts, Products
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.cholesky import CholeskyParameters
from simstudy.estimation.completed import completed
from simstudy.estimation.optimum import Optimum
from simstudy.estimation.reduction import AnchoredData, ReducedLikelihood, Reduction
from simstudy.estimation.result import FitResult
from simstudy.estimation.scoring import with_fallback
from simstudy.estimation.slope_starts import slope_starts
from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.likelihood.slopes.chain import Treatment
from simstudy.likelihood.slopes.exogenous import ExogenousPart
from simstudy.likelihood.slopes.latent import LatentSlopes
from simstudy.likelihood.slopes.observed import ObservedSlopes
from simstudy.linalg.stacked import BoolArray, FloatArray, columns, matvec, transpose
from simstudy.methods.checks import check_kinds, judge_data, refuse_constraints
from simstudy.methods.likelihood_of import LikelihoodOf, given_x
from simstudy.methods.protocol import Estimator
from simstudy.methods.slope_gaps import has_gaps, refuse_gaps
from simstudy.model.constraints import ConstraintSet
from simstudy.model.exogenous import GivenVariables, refuse_given
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.slopes import RandomSlope
from simstudy.model.twolevel import TwoLevelModel

SeKind = Literal["observed", "robust"]
Choice = Literal["auto", "observed", "latent", "hybrid"]

AT_ONCE = 10_000
"""Clusters (times nodes) that are worked on together: more leave the cache, fewer pay for calls."""
NODES, REPORT_NODES = 7, 15
"""A latent predictor: to fit (estimates then move by some 1e-6), and for the log-likelihood that is reported."""
MOST_LATENT = 3
TOLERANCE = 1e-10
RIDGE = 1e-10
"""Added to the information, relative to its diagonal: for directions that leave a singular matrix as it is."""
ZERO = 1e-7
"""A random element's standard deviation below sqrt(ZERO) times its start is on the boundary."""


@dataclass(frozen=True)
class SlopeMsem(Estimator):
    """Multilevel SEM with random slopes; what `Msem.for_model` gives for a model that has any.

    Attributes
    ----------
    se : tuple of str
        ``observed`` (inverse observed information) and ``robust`` (Huber-White by cluster).
    slopes : str
        What a random slope multiplies: ``observed``, the predictor as it is; ``latent``, its deviation from the
        cluster's latent mean; ``hybrid``, as Mplus does with maximum likelihood; ``auto``, latent where a predictor
        stands in both blocks, mediators included, else observed.
    nodes : int
        Quadrature nodes a latent predictor; below 5 they may fail (theory D1.4).
    measures : bool
        Compute number of parameters, AIC and BIC.
    fixed_x : bool
        The likelihood is conditional on exogenous observed variables (see `model.exogenous.GivenVariables`), whose
        moments are then no parameters: log-likelihood, AIC, BIC and scaling factor of lme4 and Mplus.
    missing : str
        ``listwise``, or ``fiml``: every observed value is used. Predictors of random slopes must be there wherever
        what depends on them is.
    refused : tuple of str
        Options of `Msem` that are asked for and not there for models with random slopes.
    """

    name: ClassVar[str] = "msem"
    title: ClassVar[str] = "multilevel SEM with random slopes, full-information maximum likelihood"
    reference: ClassVar[str] = "Muthén & Asparouhov (2008)"
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    random_slopes: ClassVar[bool] = True
    likelihood_of_model: ClassVar[bool] = True
    can: ClassVar[str] = "slopes that vary over clusters, with predictors and outcomes of their own"
    cannot: ClassVar[str] = "random loadings; slopes of latent predictors, or of predictors with missing values"

    se: tuple[SeKind, ...] = ("observed",)
    slopes: Choice = "auto"
    nodes: int = NODES
    measures: bool = False
    fixed_x: bool = False
    missing: Literal["listwise", "fiml"] = "listwise"
    refused: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_kinds(self.name, self.se)

    @property
    def needs(self) -> str:
        """Cross-products of every cluster; missing values need the rows."""
        return "sample" if self.missing == "fiml" else "clusters"

    @property
    def takes_missing(self) -> bool:
        """With full information."""
        return self.missing == "fiml"

    @property
    def se_kinds(self) -> tuple[str, ...]:
        """As asked for."""
        return self.se

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """The model's parts must be within reach, and there must be enough clusters."""
        if self.refused:
            return f"the option '{self.refused[0]}' is not there for models with random slopes"
        reason = refuse_constraints(model) or (refuse_given(model) if self.fixed_x else None)
        if reason is not None:
            return reason
        if layout.n_obs - layout.n_clusters < len(model.level1) + len(model.slopes):
            return "fewer within-cluster degrees of freedom than level-1 variables and slopes"
        if layout.n_clusters <= len(model.observed("between")) + len(model.slopes):
            return "no more clusters than between variables and slopes"
        both = [s.predictor for s in model.slopes if s.predictor in model.both]
        if self.slopes == "observed":
            caused = set(model.outcomes("within"))
            for name in both:
                if name not in caused:
                    return (
                        f"slopes = 'observed' takes '{name}' as it is, but '{name}' stands in both blocks and is no "
                        "outcome; choose latent or hybrid, or keep it to the within block"
                    )
        if treatment(model, self.slopes) == "latent" and len(set(both)) > MOST_LATENT:
            return f"slopes on the latent within parts of more than {MOST_LATENT} predictors: each is an integral"
        return None

    def likelihood_of(self, model: TwoLevelModel) -> LikelihoodOf:
        """The joint one, or that given exogenous variables."""
        names = GivenVariables.of(model).names
        if self.fixed_x:
            return given_x(model, names)
        return LikelihoodOf("joint", model.variables, separate=names if refuse_given(model) is None else ())

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedSlopeMsem:
        """Build index maps and constants."""
        return PreparedSlopeMsem(self, model, layout)

    def prepare_slopes(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedSlopeMsem:
        """The same: slopes vary."""
        return self.prepare(model, layout)

    def slope_meaning(self, model: TwoLevelModel, slope: RandomSlope) -> str:
        """As chosen, where there is a choice."""
        return treatment(model, self.slopes) if slope.predictor in model.both else "observed"


def treatment(model: TwoLevelModel, choice: Choice) -> Treatment:
    """What becomes of the predictors of slopes; it makes no difference to those that live within clusters only.

    ``auto`` follows the syntax: a variable in both blocks is decomposed into latent parts, be it exogenous or a
    mediator, and its slope is that of the within part; a variable in the within block only is what it is.
    """
    if not any(slope.predictor in model.both for slope in model.slopes):
        return "observed"
    return "latent" if choice == "auto" else choice


class CholeskyLikelihood(Likelihood[Products]):
    """A log-likelihood of random slopes in Cholesky parameters, as the optimiser takes it."""

    verify_maximum: ClassVar[bool] = False  # evaluations return the observed information: what they accept is a maximum

    def __init__(self, likelihood: ObservedSlopes | LatentSlopes, cholesky: CholeskyParameters) -> None:
        self.likelihood, self.cholesky = likelihood, cholesky

    def evaluate(self, params: FloatArray, data: Products) -> Evaluation:
        """Log-likelihood, score and observed information at Cholesky parameters (R, q)."""
        with np.errstate(all="ignore"):
            found = self.likelihood.evaluate(self.cholesky.natural(params), data)
            jacobian = self.cholesky.jacobian(params)
            turned = transpose(jacobian)
            information = np.matmul(np.matmul(turned, found.information), jacobian)
            information -= self.cholesky.curvature(params, found.score)
            diagonal = np.abs(np.diagonal(information, axis1=-2, axis2=-1))
            least = 1e-8 * diagonal.max(axis=-1, keepdims=True)
            place = np.arange(information.shape[-1])
            information[:, place, place] += RIDGE * np.maximum(diagonal, least)
            return Evaluation(found.loglik, matvec(turned, found.score), information, found.ok)

    def observed_information(self, params: FloatArray, data: Products) -> FloatArray:
        """Observed information (R, q, q) in Cholesky parameters."""
        return self.evaluate(params, data).information


class HeldSlopes(ReducedLikelihood):
    """The same as a function of some of the parameters, the others held."""

    verify_maximum: ClassVar[bool] = False


class PreparedSlopeMsem:
    """`SlopeMsem` for one model and layout."""

    def __init__(self, options: SlopeMsem, model: TwoLevelModel, layout: ClusterLayout) -> None:
        self.options, self.model, self.layout = options, model, layout
        self.structure = SlopeStructure(model)
        self.treatment = treatment(model, options.slopes)
        self.likelihood: ObservedSlopes | LatentSlopes
        self.fine: LatentSlopes | None = None
        self.points = layout.n_clusters
        if self.treatment == "latent":
            self.likelihood = LatentSlopes(self.structure, options.nodes)
            self.fine = LatentSlopes(self.structure, max(REPORT_NODES, options.nodes))
            self.points *= self.likelihood.n_nodes
        else:
            self.likelihood = ObservedSlopes(self.structure, self.treatment)
        self.cholesky = CholeskyParameters(model)
        self.problem = CholeskyLikelihood(self.likelihood, self.cholesky)
        self.variances = model.table.variance_indices
        self.given = GivenVariables.of(model) if options.fixed_x else GivenVariables((), (), ())
        table = model.table
        unbound = ConstraintSet(table.names, table.constants, ())
        free = np.setdiff1d(np.arange(self.structure.q), np.array(self.given.held, dtype=np.int64))
        self.reduction = Reduction(free.astype(np.int64), unbound)

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets; with full information those without missing values are fitted as complete ones."""
        if self.options.missing == "listwise" or not isinstance(data, Sample):
            return self._fit_complete(data.statistics() if isinstance(data, Sample) else data)
        sample = data.arrange(self.model.level1, self.model.level2)
        gaps = has_gaps(sample)
        if not gaps.any():
            return self._fit_complete(sample.statistics())
        refuse_gaps(self.model, self.given, sample)
        whole, holed = np.flatnonzero(~gaps), np.flatnonzero(gaps)
        parts = [self._fit_incomplete(sample.select(holed))]
        if len(whole):
            parts.append(self._fit_complete(sample.select(whole).statistics()))
        return FitResult.concat(parts).select(np.argsort(np.concatenate([holed, whole])))

    def _fit_complete(self, statistics: TwoLevelStatistics) -> FitResult:
        """Fit data sets without missing values."""
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        size = max(1, AT_ONCE // self.points)
        parts = []
        for first in range(0, statistics.n_replicates, size):
            some = statistics.select(slice(first, first + size))
            parts.append(self._fit(ClusterProducts.of(some), some, self.layout.n_obs))
        return judge_data(FitResult.concat(parts), statistics, within=True)

    def _fit_incomplete(self, sample: Sample) -> FitResult:
        """Fit data sets with missing values; data made complete give starting values."""
        patterns, _ = distinct_patterns(~np.isnan(sample.rows))
        size = max(1, AT_ONCE // (self.points * len(patterns)))
        parts = []
        for first in range(0, sample.n_replicates, size):
            some = sample.select(slice(first, first + size))
            data, filled = PatternProducts.of(some), completed(some).statistics()
            parts.append(judge_data(self._fit(data, filled, data.n_rows), filled, within=True))
        return FitResult.concat(parts)

    def _fit(self, data: Products, statistics: TwoLevelStatistics, n_obs: float | FloatArray) -> FitResult:
        """Fit some data sets together."""
        starts = self.starts(statistics)
        exogenous = ExogenousPart(self.structure, self.given, statistics)
        best, xi = self._maximise(data, starts, exogenous)
        theta = self.cholesky.natural(xi)
        jacobian = self.cholesky.jacobian(xi)
        boundary = self.cholesky.boundary(xi, ZERO * starts[0] ** 2)
        loglik = best.loglik if self.fine is None else self.fine.loglik(theta, data)
        loglik = loglik - exogenous.loglik(theta)
        meat: FloatArray | None = None
        if "robust" in self.options.se:
            scores = columns(np.matmul(self.likelihood.cluster_scores(theta, data), jacobian), self.reduction.free)
            meat = np.matmul(transpose(scores), scores)
        result = FitResult(
            labels=self.model.names,
            estimate=theta,
            covariance=self._covariances(best, theta, jacobian, boundary, meat),
            status=best.status,
            admissible=self._admissible(theta),
            n_iter=best.n_iter,
            loglik=loglik,
            measures=self._measures(loglik, boundary, best, meat, n_obs),
        )
        return result.blank_failures()

    def _maximise(
        self, data: Products, starts: tuple[FloatArray, ...], exogenous: ExogenousPart
    ) -> tuple[Optimum, FloatArray]:
        """The maximum over the free Cholesky parameters, and all of these (R, q)."""
        if not self.given.held:
            best = with_fallback(self.problem, data, starts, tolerance=TOLERANCE)
            return best, best.params
        anchor = self.cholesky.of_natural(exogenous.anchor(self.cholesky.natural(starts[0])))
        problem = HeldSlopes(self.problem, self.reduction)
        begin = tuple(columns(start, self.reduction.free) for start in starts)
        best = with_fallback(problem, AnchoredData(data, anchor), begin, tolerance=TOLERANCE)
        return best, self.reduction.expand(best.params, anchor)

    def elements(self, params: FloatArray, data: Products) -> tuple[FloatArray, FloatArray]:
        """Posterior means (R, J, r) and covariances (R, J, r, r) of random elements at parameters (R, q)."""
        return (self.fine or self.likelihood).elements(params, data)

    def starts(self, statistics: TwoLevelStatistics) -> tuple[FloatArray, ...]:
        """Cholesky parameters to start from: moment estimates, and the same with larger variances of slopes."""
        first = slope_starts(self.structure, statistics, raw=self.treatment == "observed")
        second = first.copy()
        names = {slope.name for slope in self.model.slopes}
        for row in self.model.table.at("between"):
            if row.op == "~~" and row.free >= 0 and names & {row.lhs, row.rhs}:
                second[:, row.free] *= 4.0 if row.lhs == row.rhs else 0.0
        return self.cholesky.of_natural(first), self.cholesky.of_natural(second)

    def _covariances(
        self, best: Optimum, theta: FloatArray, jacobian: FloatArray, boundary: BoolArray, meat: FloatArray | None
    ) -> dict[str, FloatArray]:
        """Covariance matrices by kind: those of the free Cholesky parameters, carried over; 0 for held parameters.

        ``meat`` is in Cholesky parameters, too. On the boundary this is the covariance on the face that the estimate
        lies on, and a variance that is 0 has none.
        """
        flat = boundary[:, None] & (np.abs(jacobian).max(axis=-1) < np.sqrt(ZERO) * np.abs(theta).max(axis=-1)[:, None])
        free = columns(jacobian, self.reduction.free)
        found: dict[str, FloatArray] = {}
        for kind in self.options.se:
            inner = best.inverse
            if kind == "robust":
                assert meat is not None
                inner = np.matmul(np.matmul(inner, meat), inner)
            cov = np.matmul(np.matmul(free, inner), transpose(free))
            found[kind] = np.where(flat[:, :, None] | flat[:, None, :], np.nan, cov)
        return found

    def _measures(
        self,
        loglik: FloatArray,
        boundary: BoolArray,
        best: Optimum,
        meat: FloatArray | None,
        n_obs: float | FloatArray,
    ) -> dict[str, FloatArray]:
        """Boundary, number of parameters, AIC, BIC, and tr(H^-1 meat) / q, which no choice of parameters changes.

        All are those of the likelihood that ``loglik`` is of: the joint one, or that given exogenous variables.
        """
        found = {"boundary": boundary.astype(np.float64)}
        if self.options.measures:
            npar = float(len(self.reduction.free))
            found["npar"] = np.full(len(boundary), npar)
            found["aic"] = -2.0 * loglik + 2.0 * npar
            found["bic"] = -2.0 * loglik + np.log(n_obs) * npar
            if meat is not None:
                found["scaling_h0"] = np.trace(np.matmul(best.inverse, meat), axis1=-2, axis2=-1) / npar
        return found

    def _admissible(self, theta: FloatArray) -> BoolArray:
        """No negative variance (R,); covariance matrices of random elements are positive semidefinite throughout."""
        finite = np.isfinite(theta).all(axis=-1)
        return np.asarray(finite & (theta[:, self.variances] >= 0.0).all(axis=-1))
