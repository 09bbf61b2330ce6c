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
from simstudy.errors import EstimatorError
from simstudy.estimation.completed import completed
from simstudy.estimation.given_starts import given_starts
from simstudy.estimation.refined import refined
from simstudy.estimation.result import FitResult
from simstudy.estimation.slope_search import Found, SlopeSearch, refuse_bounds_of_variances
from simstudy.estimation.slope_starts import slope_starts
from simstudy.likelihood.slopes.exogenous import ExogenousPart
from simstudy.likelihood.slopes.expected import ExpectedInformation, refuse_expected
from simstudy.likelihood.slopes.given import GivenSlopes
from simstudy.likelihood.slopes.integrals import MOST_LATENT, Choice, integrated, too_many, treatment
from simstudy.likelihood.slopes.latent import LatentSlopes
from simstudy.likelihood.slopes.observed import ObservedSlopes
from simstudy.likelihood.slopes.scores import within_scores
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, transpose
from simstudy.methods.checks import check_kinds, judge_data
from simstudy.methods.likelihood_of import LikelihoodOf, given_x
from simstudy.methods.protocol import Estimator
from simstudy.methods.slope_gaps import has_gaps, refuse_gaps
from simstudy.model.carriers import lacking_slopes
from simstudy.model.exogenous import GivenVariables, refuse_given
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.slopes import RandomSlope
from simstudy.model.twolevel import TwoLevelModel

SeKind = Literal["expected", "observed", "robust"]

AT_ONCE = 10_000
"""Clusters (times nodes of slopes) that are worked on together: more leave the cache, fewer pay for calls."""
NODES = 5
"""A latent predictor, to begin with."""
TYPICAL = 50
"""Nodes of a slope that is integrated over, about: for what is worked on together."""

WITH_GAPS = "the expected information needs complete data: with missing = 'fiml', se = observed and robust work"


@dataclass(frozen=True)
class SlopeMsem(Estimator):
    """Multilevel SEM with random slopes; what `Msem.for_model` gives for a model that has any.

    Attributes
    ----------
    se : tuple of str
        ``observed`` (inverse observed information), ``robust`` (Huber-White by cluster), and ``expected`` (information
        expected given the predictors of slopes and exogenous level-2 variables, as lme4 has it) where that has a
        closed form: slopes of variables that no random element touches.
    slopes : str
        What a random slope multiplies: ``observed``, the predictor as it is; ``latent``, its deviation from the
        cluster's latent mean; ``hybrid``, as Mplus does with maximum likelihood; ``auto``, latent where a predictor
        stands in both blocks, mediators included, else observed.
    nodes : int or None
        Quadrature nodes: a latent predictor, 5 by default, to begin with (where their error asks for it there are more,
        theory D1.4); a slope that is integrated over, by default as many as the error of the log-likelihood asks for.
    measures : bool
        Compute number of parameters, AIC and BIC.
    fixed_x : bool
        The likelihood is conditional on exogenous observed variables (see `model.exogenous.GivenVariables`), whose
        moments are then no parameters: log-likelihood, AIC, BIC and scaling factor of lme4 and Mplus.
    missing : str
        ``listwise``, or ``fiml``: every observed value is used. Where predictors of random slopes are missing, the
        likelihood is an integral over these.
    bounds : str
        ``variances``: no variance may be negative, as none between clusters can in any case.
    refused : tuple of str
        Options of `Msem` that are asked for and not there for models with random slopes.
    """

    name: ClassVar[str] = "msem"
    title: ClassVar[str] = "multilevel SEM with random slopes, full-information maximum likelihood"
    reference: ClassVar[str] = "Muthén & Asparouhov (2008)"
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    random_slopes: ClassVar[bool] = True
    imposes_constraints: ClassVar[bool] = True
    imposes_bounds: ClassVar[bool] = True
    likelihood_of_model: ClassVar[bool] = True
    can: ClassVar[str] = "slopes that vary over clusters, with predictors and outcomes of their own"
    cannot: ClassVar[str] = "random loadings"

    se: tuple[SeKind, ...] = ("observed",)
    slopes: Choice = "auto"
    nodes: int | None = None
    measures: bool = False
    fixed_x: bool = False
    missing: Literal["listwise", "fiml"] = "listwise"
    bounds: Literal["none", "variances"] = "none"
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
        reason = refuse_bounds_of_variances(model) or (refuse_given(model) if self.fixed_x else None)
        if reason is None and "expected" in self.se:
            reason = refuse_expected(model) if self.missing == "listwise" else WITH_GAPS
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
        given = integrated(model, self.slopes)
        reason = too_many(given)
        if reason is not None:
            return reason
        if not given and treatment(model, self.slopes) == "latent" and len(set(both)) > MOST_LATENT:
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
        if slope.predictor in model.factors("within"):
            return "factor"
        return treatment(model, self.slopes) if slope.predictor in model.both else "observed"


class PreparedSlopeMsem:
    """`SlopeMsem` for one model and layout, and data in which slopes ``lacking`` lack predictors (`model.carriers`)."""

    def __init__(
        self, options: SlopeMsem, model: TwoLevelModel, layout: ClusterLayout, lacking: tuple[str, ...] = ()
    ) -> None:
        self.options, self.model, self.layout, self.lacking = options, model, layout, lacking
        self._others: dict[tuple[str, ...], PreparedSlopeMsem] = {}
        self.structure = SlopeStructure(model)
        self.treatment = treatment(model, options.slopes)
        self.likelihood: ObservedSlopes | LatentSlopes | GivenSlopes
        self.fine: LatentSlopes | GivenSlopes | None = None
        finer: tuple[LatentSlopes, ...] = ()
        self.points = layout.n_clusters
        given, nodes = integrated(model, options.slopes, lacking), options.nodes
        if given:
            self.likelihood = GivenSlopes(model, given, self.treatment, nodes)
            self.fine = self.likelihood.finer(1)
            self.points *= (nodes or TYPICAL) ** len(given)
        elif self.treatment == "latent":
            self.likelihood = LatentSlopes(self.structure, nodes or NODES)
            finer = self.likelihood.finer()
            self.fine = finer[0]
        else:
            self.likelihood = ObservedSlopes(self.structure, self.treatment)
        self.variances = model.table.variance_indices
        self.given = GivenVariables.of(model) if options.fixed_x else GivenVariables((), (), ())
        self.counted = [k for k, name in enumerate(model.level1) if name not in self.given.level1]
        """Places of the level-1 variables of which a row must have one to count (BIC)."""
        held = np.array(self.given.held, dtype=np.int64)
        self.search = SlopeSearch(model, self.likelihood, held, finer=finer, variances=options.bounds == "variances")

    def _beside(self, lacking: BoolArray) -> PreparedSlopeMsem:
        """The same for data in which predictors of some slopes (K,) are lacking.

        Raises
        ------
        EstimatorError
            If there are too many of them.
        """
        names = tuple(slope.name for slope, one in zip(self.model.slopes, lacking, strict=True) if one)
        if names == self.lacking:
            return self
        reason = too_many(integrated(self.model, self.options.slopes, names))
        if reason is not None:
            raise EstimatorError(f"missing='fiml': with missing predictors of slopes the likelihood is {reason}")
        if names not in self._others:
            self._others[names] = PreparedSlopeMsem(self.options, self.model, self.layout, names)
        return self._others[names]

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
        lacking = lacking_slopes(self.model, ~np.isnan(sample.rows))
        parts, places = [], []
        for kind in np.unique(lacking[gaps], axis=0):
            places.append(np.flatnonzero(gaps & (lacking == kind).all(axis=1)))
            parts.append(self._beside(kind)._fit_incomplete(sample.select(places[-1])))
        if not gaps.all():
            places.append(np.flatnonzero(~gaps))
            parts.append(self._fit_complete(sample.select(places[-1]).statistics()))
        return FitResult.concat(parts).select(np.argsort(np.concatenate(places)))

    def _fit_complete(self, statistics: TwoLevelStatistics) -> FitResult:
        """Fit data sets without missing values."""
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        size = 1 if self.search.one_by_one else max(1, AT_ONCE // self.points)
        parts = []
        for first in range(0, statistics.n_replicates, size):
            some = statistics.select(slice(first, first + size))
            parts.append(self._fit(ClusterProducts.of(some), some, self.layout.n_obs))
        return judge_data(FitResult.concat(parts), statistics, within=True)

    def _fit_incomplete(self, sample: Sample) -> FitResult:
        """Fit data sets with missing values; data made complete give starting values."""
        patterns, _ = distinct_patterns(~np.isnan(sample.rows))
        size = 1 if self.search.one_by_one else max(1, AT_ONCE // (self.points * len(patterns)))
        parts = []
        for first in range(0, sample.n_replicates, size):
            some = sample.select(slice(first, first + size))
            data, filled = PatternProducts.of(some), completed(some).statistics()
            counted = (~np.isnan(some.rows[..., self.counted])).any(axis=-1).sum(axis=-1)
            parts.append(judge_data(self._fit(data, filled, counted), filled, within=True))
        return FitResult.concat(parts)

    def _fit(self, data: Products, statistics: TwoLevelStatistics, n_obs: float | FloatArray) -> FitResult:
        """Fit some data sets together."""
        starts = self.starts(statistics, data)
        exogenous = ExogenousPart(self.structure, self.given, statistics)
        anchor = exogenous.anchor(starts[0])
        found = self.search.solve(data, starts, anchor)
        loglik, extra = found.best.loglik, found.quadrature
        if isinstance(self.likelihood, GivenSlopes):
            by_error = refined(self.search, self.likelihood, found, data, anchor)
            found, loglik, extra = by_error.found, by_error.loglik, by_error.measures
        loglik = loglik - exogenous.loglik(found.params)
        meat: FloatArray | None = None
        if "robust" in self.options.se:
            scores = found.of_free((self.fine or self.likelihood).cluster_scores(found.params, data))
            meat = np.matmul(transpose(scores), scores)
        covariances = self._covariances(found, meat, data)
        result = FitResult(
            labels=self.model.names,
            estimate=found.params,
            covariance=covariances,
            se=self._errors(covariances, found),
            status=found.best.status,
            admissible=self._admissible(found.params),
            n_iter=found.best.n_iter,
            loglik=loglik,
            measures=self._measures(loglik, found, meat, n_obs) | extra,
        )
        return result.blank_failures()

    def elements(self, params: FloatArray, data: Products) -> tuple[FloatArray, FloatArray]:
        """Posterior means (R, J, r) and covariances (R, J, r, r) of random elements at parameters (R, q)."""
        method = self._for(data)
        return (method.fine or method.likelihood).elements(params, data)

    def _for(self, data: Products) -> PreparedSlopeMsem:
        """The same for some data."""
        there = np.stack([one[:, 0, 0].sum(axis=(0, -1)) > 0.0 for one in data.by_pattern])
        return self._beside(lacking_slopes(self.model, data.patterns[there]))

    def within_scores(
        self, params: FloatArray, data: Products, rows: FloatArray, wanted: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Posterior means and variances (N, m) of variables ``wanted`` (m,) of the within level, for one data set."""
        method = self._for(data)
        likelihood = method.fine or method.likelihood
        codes = np.repeat(np.arange(self.layout.n_clusters), np.asarray(self.layout.sizes))
        if isinstance(likelihood, GivenSlopes):
            return likelihood.within_scores(params[None], data, rows, codes, wanted)
        pieces, posterior = likelihood.chain.reduce(params[None]), likelihood.by_node(params[None], data)
        return within_scores(likelihood.chain, pieces, posterior, rows, codes, wanted)

    def starts(self, statistics: TwoLevelStatistics, data: Products) -> tuple[FloatArray, ...]:
        """Parameters to start from: moment estimates, and the same with larger variances of slopes."""
        integral = self.likelihood
        if isinstance(integral, GivenSlopes):
            return given_starts(self.structure, statistics, lambda params: integral.loglik(params, data))
        first = slope_starts(self.structure, statistics, raw=self.treatment == "observed")
        second = first.copy()
        names = {slope.name for slope in self.model.slopes}
        for row in self.model.table.at("between"):
            if row.op == "~~" and row.free >= 0 and names & {row.lhs, row.rhs}:
                second[:, row.free] *= 4.0 if row.lhs == row.rhs else 0.0
        return first, second

    def _covariances(self, found: Found, meat: FloatArray | None, data: Products) -> dict[str, FloatArray]:
        """Covariance matrices by kind; ``meat`` is in the free Cholesky parameters, too; 0 for held parameters."""
        result: dict[str, FloatArray] = {}
        for kind in self.options.se:
            inner = found.best.inverse
            if kind == "expected":
                assert isinstance(self.likelihood, ObservedSlopes)
                assert isinstance(data, ClusterProducts)  # all else is refused
                score = self.likelihood.evaluate(found.params, data).score
                information = ExpectedInformation(self.likelihood).information(found.params, data)
                inner = found.inverse(score, information)
            elif kind == "robust":
                assert meat is not None
                inner = np.matmul(np.matmul(inner, meat), inner)
            result[kind] = found.covariance(inner)
        return result

    def _errors(self, covariances: dict[str, FloatArray], found: Found) -> dict[str, FloatArray]:
        """SEs, of which a parameter at its bound has none; empty, to be made of the covariances, without bounds."""
        if not self.search.holding.boundary.asked:
            return {}
        variances = {kind: np.diagonal(cov, axis1=-2, axis2=-1) for kind, cov in covariances.items()}
        return {kind: np.where(found.at_bound, np.nan, np.sqrt(v)) for kind, v in variances.items()}

    def _measures(
        self, loglik: FloatArray, found: Found, meat: FloatArray | None, n_obs: float | FloatArray
    ) -> dict[str, FloatArray]:
        """Boundary, number of parameters, AIC, BIC, and tr(H^-1 meat) / q, which no choice of parameters changes.

        All are those of the likelihood that ``loglik`` is of: the joint one, or that given exogenous variables.
        """
        boundary = found.singular | found.at_bound.any(axis=-1) | found.tight
        measures = {"boundary": boundary.astype(np.float64)}
        if self.options.measures:
            npar = float(self.search.n_free)
            measures["npar"] = np.full(len(boundary), npar)
            measures["aic"] = -2.0 * loglik + 2.0 * npar
            measures["bic"] = -2.0 * loglik + np.log(n_obs) * npar
            if meat is not None:
                measures["scaling_h0"] = np.trace(np.matmul(found.best.inverse, meat), axis1=-2, axis2=-1) / npar
        return measures

    def _admissible(self, theta: FloatArray) -> BoolArray:
        """No negative variance (R,); covariance matrices of random elements are positive semidefinite throughout."""
        finite = np.isfinite(theta).all(axis=-1)
        return np.asarray(finite & (theta[:, self.variances] >= 0.0).all(axis=-1))
