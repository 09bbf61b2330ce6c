"""`muml`: Muthén's limited-information estimator, unequal clusters taken for equal ones (theory C3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.engine import pseudo_balanced_engine
from simstudy.estimation.exact_laws import ExactNumber
from simstudy.estimation.result import FitResult
from simstudy.likelihood.normal.pseudo_balanced import PseudoBalanced
from simstudy.methods.checks import check_kinds, judge_data, refuse_bounds, refuse_few
from simstudy.methods.chosen_errors import ChosenErrors
from simstudy.methods.closed_forms import negative_variances
from simstudy.methods.likelihood_of import LikelihoodOf
from simstudy.methods.look import SKY, SOLID, Look
from simstudy.methods.registry import register
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population


@register
@dataclass(frozen=True)
class Muml(ChosenErrors):
    """Multilevel SEM by Muthén's quasi-likelihood: two groups, S_PW for Sigma_W and S_B for Sigma_W + c Sigma_B.

    It is maximum likelihood where all clusters have one size. Otherwise estimates are consistent, but SEs and
    chi-square pretend that all clusters were of size c, and ``loglik`` is a quasi-log-likelihood, not to be compared
    with that of other methods. ``robust`` corrects for that: SEs by the sandwich over clusters, and the chi-square
    divided by (q1 c1 - q0 c0) / (q1 - q0), where q_k c_k is the trace of H^-1 (sum of s_j s_j') of the restricted (0)
    and the unrestricted (1) model: the mean correction of Muthén & Satorra (1995) in the form of `msem`'s (MLR), whose
    value it has where all clusters have one size. It takes the sizes for drawn, not fixed: robust SEs of between
    variances are a little too large where they are fixed. It needs many clusters (a hundred or two), as MLR does.

    Attributes
    ----------
    se : tuple of str
        ``expected`` and ``observed`` information of the quasi-likelihood, ``robust`` (sandwich by cluster).
    divisor : str
        Of S_B: ``J``, which makes the method maximum likelihood with clusters of one size (software that turns input
        matrices into those of divisor J does the same), or ``J-1``, the unbiased S_B that Muthén defines.
    measures : bool
        Compute fit measures too (chi-square, CFI, ...); mean-corrected ones where ``robust`` is among ``se``.
    """

    name: ClassVar[str] = "muml"
    title: ClassVar[str] = "multilevel SEM by Muthén's limited-information maximum likelihood"
    reference: ClassVar[str] = "Muthén (1989, 1994); Muthén & Satorra (1995); Hox & Maas (2001) on its chi-square"
    theory: ClassVar[tuple[str, ...]] = ("docs/theory/two-matrices.md#c3",)
    year: ClassVar[int] = 1989
    look: ClassVar[Look] = Look(SKY, "v", False, SOLID)
    idea: ClassVar[str] = (
        "pretend that all clusters have one size: the two-level model is then a two-group model of the pooled within "
        "and the between matrix, with equality constraints, which any SEM software fits"
    )
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    can: ClassVar[str] = "all models of msem, consistently, from two matrices; with equal sizes it is msem"
    cannot: ClassVar[str] = (
        "with unequal sizes, give right SEs (too small) and chi-squares (too large) unless robust; use incomplete rows"
    )
    imposes_constraints: ClassVar[bool] = True

    se: tuple[Literal["expected", "observed", "robust"], ...] = ("expected",)
    divisor: Literal["J", "J-1"] = "J"
    measures: bool = False

    def __post_init__(self) -> None:
        check_kinds(self.name, self.se)

    @property
    def needs(self) -> str:
        """Robust SEs need cluster-wise scores; the rest only sums."""
        return "clusters" if "robust" in self.se else "statistics"

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        """Both matrices must be estimable."""
        return refuse_bounds(model) or refuse_few(model, layout)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedMuml:
        """Build index maps and constants."""
        return PreparedMuml(self, model, layout)

    def likelihood_of(self, model: TwoLevelModel) -> LikelihoodOf:
        """A quasi-likelihood."""
        return LikelihoodOf("quasi", model.variables)

    def exact_numbers(self, model: TwoLevelModel, population: Population, level: float) -> tuple[ExactNumber, ...]:
        """P(negative between variance), balanced and saturated (theory F6)."""
        return negative_variances(model, population, unbiased=self.divisor == "J-1")


class PreparedMuml:
    """`Muml` for one model and layout: the machinery of `msem` with another likelihood."""

    def __init__(self, options: Muml, model: TwoLevelModel, layout: ClusterLayout) -> None:
        self.model, self.layout = model, layout
        clusters = float(layout.n_clusters)
        self.pseudo = PseudoBalanced(layout, clusters / (clusters - 1.0) if options.divisor == "J-1" else 1.0)
        from simstudy.methods.msem import Msem, PreparedMsem  # not above: methods register in teaching order

        self.inner = PreparedMsem(Msem(se=options.se, measures=options.measures), model, layout, closed_form=True)

    @np.errstate(all="ignore")  # failures are statuses, not warnings
    def fit(self, data: TwoLevelStatistics | Sample) -> FitResult:
        """Fit R data sets."""
        statistics = data.statistics() if isinstance(data, Sample) else data
        statistics = statistics.arrange(self.model.level1, self.model.level2)
        result = self.inner.fit_with(
            lambda structure: pseudo_balanced_engine(structure, statistics, self.pseudo), self.layout.n_obs
        )
        return judge_data(result, statistics, within=True)
