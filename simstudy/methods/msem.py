"""`msem`: full-information maximum likelihood of the two-level model (Muthen & Asparouhov 2008; theory C1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.incomplete import IncompleteData
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.errors import EstimatorError
from simstudy.estimation.constrained import Expander, Holding, exogenous_moments, hold, solve_model
from simstudy.estimation.engine import Engine, complete_engine, incomplete_engine
from simstudy.estimation.exact_laws import ExactNumber
from simstudy.estimation.fit_measures import Solved, baseline_model, fit_measures
from simstudy.estimation.result import FitResult, Status
from simstudy.estimation.semidefinite import scored_once, semidefinite
from simstudy.estimation.starts import Starts, starts_from_moments
from simstudy.estimation.stopped import stopping_notes
from simstudy.estimation.unrestricted import unrestricted_model
from simstudy.linalg.stacked import FloatArray
from simstudy.methods.checks import admissible, check_kinds, judge_data, refuse_few
from simstudy.methods.chosen_errors import ChosenErrors
from simstudy.methods.closed_forms import negative_variances
from simstudy.methods.fixed_slopes import WithFixedSlopes
from simstudy.methods.likelihood_of import LikelihoodOf, joint
from simstudy.methods.look import BLACK, SOLID, Look
from simstudy.methods.msem_slopes import SlopeMsem
from simstudy.methods.protocol import LATER, Estimator, PreparedEstimator, PreparedSlopes
from simstudy.methods.registry import register
from simstudy.model.exogenous import exogenous_variables
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population

SeKind = Literal["expected", "observed", "robust"]
Build = Callable[[TwoLevelStructure], Engine]


@register
@dataclass(frozen=True)
class Msem(ChosenErrors):
    """Multilevel SEM by maximum likelihood.

    Attributes
    ----------
    se : tuple of str
        Kinds of standard errors: ``expected`` and ``observed`` information, ``robust`` (Huber-White by cluster). With
        random slopes ``expected`` is the observed information unless ``observed`` is asked for, too: then it is what
        its name says, or refused (see `SlopeMsem`).
    missing : str
        ``listwise``, or ``fiml`` (every observed value is used; SEs then come from the observed information, and
        ``expected`` means the information given the pattern of missing values).
    fixed_x : bool
        Take the moments of exogenous observed variables as known, as lavaan's default does. SEs of between slopes are
        then too small where within and between slopes differ (theory F1). With random slopes the log-likelihood is
        conditional on these variables, which must then live on one level (theory D1.6).
    bounds : str
        ``none``, or ``variances``: no variance may be negative. Bounds and inequalities of the model text hold in any
        case; a parameter at its bound has a covariance of 0 with all others.
    measures : bool
        Compute fit measures too (chi-square, CFI, ...); MLR-scaled ones where ``robust`` is among ``se``.
    slopes : str
        What random slopes multiply (see `SlopeMsem`): ``auto`` (latent where the predictor stands in both blocks,
        mediators included, else observed), ``observed``, ``latent``, ``hybrid``; or
        ``fixed``: slopes do not vary in the model that is fitted, and the path stands for the mean.
    nodes : int
        Quadrature nodes a latent predictor of random slopes to begin with (5), or a slope that is integrated over (as
        many as the error of the log-likelihood asks for).
    h1 : str
        What chi-square, CFI and RMSEA compare with: ``unrestricted``, the maximum over all moments, or ``psd``, that
        over positive semidefinite between covariance matrices, as software that fits the unrestricted model by EM
        does (lavaan, Mplus). Where the former is indefinite, the latter chi-square is smaller, and too small for its
        degrees of freedom (docs/fit.md).
    """

    name: ClassVar[str] = "msem"
    title: ClassVar[str] = "multilevel SEM, full-information maximum likelihood"
    reference: ClassVar[str] = "Muthén & Asparouhov (2008); Preacher, Zyphur & Zhang (2010)"
    theory: ClassVar[tuple[str, ...]] = (
        "docs/theory/between-slope.md#b8",
        "docs/theory/likelihood.md#c1",
        "docs/theory/random-slopes.md#d1",
    )
    year: ClassVar[int] = 2008
    look: ClassVar[Look] = Look(BLACK, "o", False, SOLID)
    idea: ClassVar[str] = "split every level-1 variable into latent within and between parts, with a model for each"
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    imposes_constraints: ClassVar[bool] = True
    imposes_bounds: ClassVar[bool] = True
    likelihood_of_model: ClassVar[bool] = True
    can: ClassVar[str] = "separates latent within and between effects; outcomes and predictors at either level"
    cannot: ClassVar[str] = "do without many clusters: between estimates are variable, and biased in small samples"

    se: tuple[SeKind, ...] = ("expected",)
    missing: Literal["listwise", "fiml"] = "listwise"
    fixed_x: bool = False
    bounds: Literal["none", "variances"] = "none"
    measures: bool = False
    slopes: Literal["auto", "observed", "latent", "hybrid", "fixed"] = field(default="auto", metadata=LATER)
    nodes: int | None = field(default=None, metadata=LATER)
    h1: Literal["unrestricted", "psd"] = field(default="unrestricted", metadata=LATER)

    def __post_init__(self) -> None:
        check_kinds(self.name, self.se)
        if self.nodes is not None and self.nodes < 1:
            raise EstimatorError(f"method 'msem': option 'nodes': found {self.nodes}; at least 1 is needed")

    @property
    def needs(self) -> str:
        """Robust SEs need cluster-wise scores, missing values need the rows; the rest only sums."""
        if self.missing == "fiml":
            return "sample"
        return "clusters" if "robust" in self.se else "statistics"

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """The model's unrestricted moments must be estimable."""
        return self.for_model(model).supports(model, layout) if model.slopes else refuse_few(model, layout)

    def for_model(self, model: TwoLevelModel) -> Estimator:
        """The method itself, or the one for models with random slopes.

        That has expected information for few models. So ``expected`` alone, the default, stands for what the model
        implies and becomes ``observed``; where ``observed`` stands beside it, it is asked for by name.
        """
        if not model.slopes:
            return self
        if self.slopes == "fixed":
            return WithFixedSlopes(self)
        named = "observed" in self.se
        kinds = dict.fromkeys(kind if named or kind != "expected" else "observed" for kind in self.se)
        asked = {
            "h1": self.h1 != "unrestricted",
        }
        refused = [name for name, on in asked.items() if on]
        return SlopeMsem(
            tuple(kinds),
            self.slopes,
            self.nodes,
            self.measures,
            self.fixed_x,
            self.missing,
            self.bounds,
            tuple(refused),
        )

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedEstimator:
        """Build index maps and constants."""
        chosen = self.for_model(model)
        return PreparedMsem(self, model, layout) if isinstance(chosen, Msem) else chosen.prepare(model, layout)

    def on_rows_left(self, model: TwoLevelModel) -> Estimator | None:
        """Full information of what is left: one pattern, clusters of any size, and none of those that lost all rows."""
        return None if model.slopes or self.missing == "fiml" else replace(self, missing="fiml")

    def prepare_slopes(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedSlopes | None:
        """Of the method for models with random slopes, where there are any."""
        return self.for_model(model).prepare_slopes(model, layout) if model.slopes else None

    def likelihood_of(self, model: TwoLevelModel) -> LikelihoodOf:
        """The joint one; with `fixed_x` at held moments of exogenous variables, or given them where slopes vary."""
        if model.slopes and self.slopes != "fixed":
            return self.for_model(model).likelihood_of(model)
        exogenous = frozenset().union(*exogenous_variables(model).values()) if self.fixed_x else frozenset()
        held = tuple(v for v in model.variables if v in exogenous)
        return LikelihoodOf("joint_fixed_x", model.variables, held) if held else joint(model)

    def exact_numbers(self, model: TwoLevelModel, population: Population, level: float) -> tuple[ExactNumber, ...]:
        """P(negative between variance), balanced and saturated (theory F6)."""
        return () if self.bounds == "variances" or model.table.bounded else negative_variances(model, population)

    def failure_notes(self, model: TwoLevelModel, sample: Sample) -> tuple[str, ...]:
        """What the likelihood does where the optimiser stops, for complete data and models without restrictions."""
        structure = TwoLevelStructure.of(model)
        fixed = exogenous_variables(model) if self.fixed_x else {}
        holding = Holding.of(model, fixed, variances=self.bounds == "variances")
        if self.missing == "fiml" or not holding.plain or holding.box(np.arange(structure.q)) is not None:
            return ()
        statistics = sample.arrange(model.level1, model.level2).statistics(cluster_wise=False)
        return stopping_notes(structure, complete_engine(structure, statistics))

    @property
    def takes_missing(self) -> bool:
        """With full information."""
        return self.missing == "fiml"


class PreparedMsem:
    """`Msem` for one model and layout.

    Parameters
    ----------
    closed_form : bool, optional
        Whether starting values are the maximum of saturated path models; by default where the layout is balanced.
    """

    def __init__(
        self, options: Msem, model: TwoLevelModel, layout: ClusterLayout, *, closed_form: bool | None = None
    ) -> None:
        self.options, self.model, self.layout = options, model, layout
        self.structure = TwoLevelStructure.of(model)
        self.unrestricted = TwoLevelStructure.of(unrestricted_model(model))
        self.fixed = exogenous_variables(model) if options.fixed_x else {}
        self.baseline = TwoLevelStructure.of(baseline_model(model)) if options.measures else None
        self.holding = Holding.of(model, self.fixed, variances=options.bounds == "variances")
        if closed_form is None:
            closed_form = layout.balanced and options.missing == "listwise"
        self.closed_form = closed_form
        # where the model says something of the moments, or values are missing, crude moments are as good a start as
        # the unrestricted maximum
        restricted = self.structure.q < self.unrestricted.q
        self.restricted = not closed_form and (restricted or options.missing == "fiml")

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        if self.holding.boundary.general and data.n_replicates > 1:  # active sets differ between data sets
            index = np.arange(data.n_replicates)
            return FitResult.concat([self.fit(data.select(index[r : r + 1])) for r in index])
        if self.options.missing == "fiml":
            assert isinstance(data, Sample), "full-information estimation with missing values needs rows"
            return self.fit_incomplete(data.arrange(self.model.level1, self.model.level2).incomplete())
        statistics = data.statistics() if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        result = self.fit_with(lambda structure: complete_engine(structure, statistics), self.layout.n_obs)
        return judge_data(result, statistics, within=True)

    def fit_incomplete(self, data: IncompleteData) -> FitResult:
        """Fit data sets with missing values, reduced to patterns."""
        return self.fit_with(lambda structure: incomplete_engine(structure, data), data.n_rows)

    def fit_with(self, build: Build, n_obs: float | FloatArray) -> FitResult:
        """Fit by the likelihood that ``build`` makes of a model's structure, on ``n_obs`` rows."""
        engine: Engine = build(self.structure)
        first, saturated = None, None
        starts: tuple[FloatArray, ...] = ()
        if self.options.measures or self.options.fixed_x or not (self.closed_form or self.restricted):
            first, saturated = self._unrestricted(build)
        if self.restricted:
            plain = engine.starts
            better = Starts(lambda: self._better_start(first or self._unrestricted(build)[0], plain[0]))
            engine = replace(engine, quick=plain[0], starts=better.before(plain[1:]))
        elif first is not None and not (self.closed_form and self.holding.plain):
            starts = (self._better_start(first, engine.starts[0]),)
        anchor = exogenous_moments(self.holding, self.structure, saturated) if self.options.fixed_x else None
        solved, expand = solve_model(self.structure, engine, self.holding, anchor, starts)
        best = solved.best
        if first is not None and not (self.closed_form or self.restricted):
            best = replace(best, n_iter=best.n_iter + first.best.n_iter)
        covariances = self._covariances(solved, expand)
        result = FitResult(
            labels=self.model.names,
            estimate=solved.params,
            covariance=covariances,
            se=self._errors(covariances, solved.params),
            status=best.status,
            admissible=admissible(self.structure, solved.params),
            n_iter=best.n_iter,
            loglik=best.loglik,
            measures=self._measures(solved, saturated, build, n_obs) | self._boundary(solved),
        )
        return result.blank_failures()

    def _errors(self, covariances: dict[str, FloatArray], params: FloatArray) -> dict[str, FloatArray]:
        """SEs, of which a parameter at its bound has none; empty, to be made of the covariances, without bounds."""
        boundary = self.holding.boundary
        if not boundary.asked:
            return {}
        at_bound = (params == boundary.lower) | (params == boundary.upper)
        variances = {kind: np.diagonal(cov, axis1=-2, axis2=-1) for kind, cov in covariances.items()}
        return {kind: np.where(at_bound & (v == 0.0), np.nan, np.sqrt(v)) for kind, v in variances.items()}

    def _boundary(self, solved: Solved) -> dict[str, FloatArray]:
        """Whether a bound or an inequality holds with equality, where there are any."""
        return {"boundary": solved.at_boundary.astype(np.float64)} if self.holding.boundary.asked else {}

    def _unrestricted(self, build: Build) -> tuple[Solved, Solved]:
        """The unrestricted model, as it is climbed and as chi-square compares with it."""
        engine = build(self.unrestricted)
        if self.options.h1 == "psd":
            first = scored_once(self.unrestricted, engine)
            return first, semidefinite(first)
        first = Solved(self.unrestricted, engine, engine.solve(), self.unrestricted.q)
        return first, first

    def _better_start(self, saturated: Solved, otherwise: FloatArray) -> FloatArray:
        """Start from the unrestricted maximum where there is one."""
        ok = saturated.best.status == int(Status.OK)
        better = starts_from_moments(self.structure, *self.unrestricted.moments(saturated.best.params))
        return np.where(ok[:, None], better, otherwise)

    def _covariances(self, solved: Solved, expand: Expander) -> dict[str, FloatArray]:
        found: dict[str, FloatArray] = {}
        for kind in self.options.se:
            if kind == "expected":
                cov = solved.best.inverse
            else:
                cov = solved.inverse_observed if kind == "observed" else solved.robust[0]
            found[kind] = expand(cov)
        return found

    def _measures(
        self, solved: Solved, saturated: Solved | None, build: Build, n_obs: float | FloatArray
    ) -> dict[str, FloatArray]:
        if self.baseline is None or saturated is None:
            return {}
        engine = build(self.baseline)
        holding = Holding.of(self.baseline.model, self.fixed)
        anchor = exogenous_moments(holding, self.baseline, saturated) if self.fixed else None
        baseline, _ = solve_model(self.baseline, engine, holding, anchor, ())
        if self.fixed:
            saturated = hold(saturated, Holding.of(self.unrestricted.model, self.fixed))
        return fit_measures(solved, saturated, baseline, n_obs=n_obs, scaled="robust" in self.options.se)
