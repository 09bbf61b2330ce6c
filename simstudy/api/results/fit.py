"""`Fit`: one method fitted to one data set, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

from simstudy.analysis import derived, nested, scores
from simstudy.analysis.as_dict import fit_as_dict
from simstudy.analysis.estimates import covariance, estimates, wald_limits
from simstudy.analysis.level_fit import level_fit
from simstudy.analysis.reliability import reliability
from simstudy.analysis.result import FitRecord
from simstudy.analysis.slopes import random_effects
from simstudy.api.results.charts import Charts
from simstudy.api.results.speech import content, text_of
from simstudy.errors import SimstudyError, did_you_mean
from simstudy.estimation.result import Status
from simstudy.report.figures import Chart
from simstudy.report.figures.diagram.draw import path_diagram
from simstudy.report.figures.kinds.caterpillar import caterpillar_data, plot_caterpillar
from simstudy.report.tables.fit_blocks import fit_blocks
from simstudy.report.tables.fit_summary import FILE_WIDTH, fit_summary_lines
from simstudy.report.tables.fragment import html_fragment

KINDS = ("diagram", "caterpillar")


class Fit(FitRecord):
    r"""One method fitted to one data set; from `simstudy.fit`.

    The facts of the fit are attributes (see `FitRecord`): ``parameters``, ``measures``, ``status``, ``notes``, ... What
    follows from them is a method. Names are those of statsmodels where it has them.

    Examples
    --------
    >>> import simstudy
    >>> data = simstudy.simulate(simstudy.init("contextual"), cell=0, rep=0)
    >>> fit = simstudy.fit("level: 1\n y ~ bw*x\nlevel: 2\n y ~ bb*x\ncontext := bb - bw", data, cluster="cluster")
    >>> fit
    <Fit msem: 500 observations in 50 clusters, converged, log-likelihood -1335.70>
    >>> fit.coef[["bw", "bb", "context"]].round(3).to_dict()
    {'bw': 0.182, 'bb': 0.573, 'context': 0.39}
    >>> fit.wald("bb == bw").df
    1
    """

    @classmethod
    def of(cls, record: FitRecord) -> Fit:
        """A record with methods."""
        return cls(**content(record))

    def __repr__(self) -> str:
        facts = f"{self.n_obs:,} observations in {self.n_clusters:,} clusters"
        if self.status == Status.NOT_SUPPORTED:
            return f"<Fit {self.estimator}: {facts}, not fitted>"
        ended = "converged" if self.converged else f"DID NOT CONVERGE ({self.status.name})"
        bad = "" if self.admissible or not self.converged else ", NOT ADMISSIBLE"
        brief = f" ({self.likelihood.brief})" if self.likelihood.brief else ""
        likelihood = f", log-likelihood {self.loglik:.2f}{brief}" if self.loglik == self.loglik else ""
        return f"<Fit {self.estimator}: {facts}, {ended}{bad}{likelihood}>"

    def _repr_html_(self) -> str:
        return html_fragment(fit_blocks(self))

    def summary(
        self,
        *,
        standardized: bool = False,
        r_squared: bool = False,
        residuals: bool = False,
        level_fit: bool = False,
        reliability: bool = False,
        width: int = FILE_WIDTH,
    ) -> str:
        """What ``simstudy fit`` prints.

        Parameters
        ----------
        standardized, r_squared, residuals, level_fit, reliability : bool
            Add the column or the table that the methods of these names give.
        width : int
            Characters a line.
        """
        lines = fit_summary_lines(
            self,
            width=width,
            standardized=self.standardized() if standardized else None,
            r_squared=self.r_squared() if r_squared else None,
            residuals=self.residuals() if residuals else None,
            level_fit=self.level_fit(target=True) if level_fit else None,
            reliability=self.reliability() if reliability else None,
        )
        return text_of(lines)

    def to_frame(self) -> pd.DataFrame:
        """Every parameter in lavaan's terms: lhs, op, rhs, level, label, est, se, z, pvalue, ci_lower, ci_upper."""
        return self.parameters.drop(columns="free")

    def to_dict(self) -> dict[str, Any]:
        """What ``simstudy fit --json`` writes; numbers that do not exist are None."""
        return fit_as_dict(self)

    # ------------------------------------------------------------------ estimates, by label or path

    @property
    def coef(self) -> pd.Series:
        """Estimates of the free and the ``:=`` parameters."""
        return estimates(self)["est"].rename("coef")

    @property
    def bse(self) -> pd.Series:
        """Their standard errors."""
        return estimates(self)["se"].rename("bse")

    @property
    def zvalues(self) -> pd.Series:
        """Estimates divided by their standard errors."""
        return estimates(self)["z"].rename("zvalues")

    @property
    def pvalues(self) -> pd.Series:
        """Two-sided p values of the hypotheses that parameters are 0."""
        return estimates(self)["pvalue"].rename("pvalues")

    @property
    def cov(self) -> pd.DataFrame:
        """Covariance matrix of the estimates; that of ``:=`` parameters by the delta method."""
        return covariance(self)

    def conf_int(self, level: float | None = None) -> pd.DataFrame:
        r"""Confidence limits ``lower`` and ``upper``: those of the fit, or Wald limits of another level.

        Examples
        --------
        >>> import simstudy
        >>> data = simstudy.simulate(simstudy.init("contextual"), cell=0, rep=0)
        >>> fit = simstudy.fit("level: 1\n y ~ bw*x\nlevel: 2\n y ~ bb*x", data, cluster="cluster")
        >>> fit.conf_int(0.9).loc["bb"].round(2).tolist()
        [0.21, 0.94]
        """
        table = estimates(self)[["ci_lower", "ci_upper"]].set_axis(["lower", "upper"], axis=1)
        if level is None or level == self.options.get("ci_level"):
            return table
        return pd.DataFrame(wald_limits(self, level), index=table.index, columns=table.columns)

    @property
    def loglik(self) -> float:
        """Log-likelihood at the maximum; NaN where the method has none. ``likelihood.sentence`` tells of what."""
        return float(self.measures.get("loglik", float("nan")))

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return float(self.measures.get("aic", float("nan")))

    @property
    def bic(self) -> float:
        """Bayesian information criterion, with the number of rows."""
        return float(self.measures.get("bic", float("nan")))

    @property
    def nobs(self) -> int:
        """Number of rows used."""
        return self.n_obs

    # ------------------------------------------------------------------ what follows

    def standardized(self) -> pd.DataFrame:
        r"""Standardised solution (lavaan's ``std.all``) with delta-method SEs.

        Examples
        --------
        >>> import simstudy
        >>> data = simstudy.simulate(simstudy.init("contextual"), cell=0, rep=0)
        >>> fit = simstudy.fit("level: 1\n y ~ bw*x\nlevel: 2\n y ~ bb*x", data, cluster="cluster")
        >>> table = fit.standardized().set_index("label")
        >>> table.loc["bb", ["est", "se"]].astype(float).round(2).tolist()
        [0.57, 0.18]
        """
        return derived.standardized(self)

    def r_squared(self) -> pd.DataFrame:
        """Explained share of the variance of every outcome and indicator at its level: variable, level, r2."""
        return derived.r_squared(self)

    def residuals(self) -> pd.DataFrame:
        """Observed minus implied means and covariances: level, lhs, rhs, observed, implied, residual."""
        return derived.residuals(self)

    def level_fit(self, *, target: bool = False) -> pd.DataFrame:
        """Fit of each level's structure on its own, the other unrestricted; ``target`` adds the whole model's."""
        return level_fit(self, target=target)

    def reliability(self, *, ci: Literal["delta", "montecarlo"] = "delta", ci_level: float = 0.95) -> pd.DataFrame:
        """Reliability (omega) of the composites of the factors, by level, with intervals."""
        return reliability(self, ci=ci, ci_level=ci_level)

    def scores(self, level: str = "between") -> pd.DataFrame:
        """Factor scores with their SEs: a row a cluster (``between``) or an individual (``within``)."""
        if level not in ("between", "within"):
            raise SimstudyError(f"level: found '{level}'; allowed: between, within")
        found = scores.factor_scores(self)
        return found.between if level == "between" else found.within

    def random_effects(self) -> pd.DataFrame:
        """Each cluster's own slopes and intercepts with their SEs, of a model with random slopes."""
        return random_effects(self)

    def wald(self, restrictions: str) -> nested.Test:
        r"""Wald test of equations among parameters, such as ``bb == bw`` or ``ind == 0; a == b``.

        Examples
        --------
        >>> import simstudy
        >>> data = simstudy.simulate(simstudy.init("contextual"), cell=0, rep=0)
        >>> fit = simstudy.fit("level: 1\n y ~ bw*x\nlevel: 2\n y ~ bb*x", data, cluster="cluster")
        >>> test = fit.wald("bb == bw")
        >>> round(test.statistic, 2), test.df, round(test.pvalue, 3)
        (2.8, 1, 0.094)
        """
        return nested.wald_test(self, restrictions)

    def lr_test(self, other: FitRecord) -> nested.Test:
        r"""Likelihood-ratio test against a fit of a nested model to the same data, whichever of both is the larger.

        Examples
        --------
        >>> import simstudy
        >>> data = simstudy.simulate(simstudy.init("contextual"), cell=0, rep=0)
        >>> fit = simstudy.fit("level: 1\n y ~ bw*x\nlevel: 2\n y ~ bb*x", data, cluster="cluster")
        >>> equal = simstudy.fit("level: 1\n y ~ b*x\nlevel: 2\n y ~ b*x", data, cluster="cluster")
        >>> test = fit.lr_test(equal)
        >>> round(test.statistic, 2), test.df
        (2.91, 1)
        """
        return nested.likelihood_ratio_test(self, other)

    def slope_test(self, slope: str) -> nested.SlopeTest:
        """Likelihood-ratio test that a random slope does not vary, with the reference for a boundary."""
        return nested.slope_variance_test(self, slope)

    def plot(
        self,
        kind: str = "diagram",
        *,
        labels: Literal["estimates", "names"] = "estimates",
        names: str | Sequence[str] | None = None,
        level: float = 0.95,
    ) -> Charts:
        """Draw the path diagram, or each cluster's own slopes.

        Parameters
        ----------
        kind : str
            ``diagram``, or ``caterpillar`` for a model with random slopes.
        labels : str
            Of a diagram: ``estimates`` or ``names``.
        names, level
            Of a caterpillar plot: random elements (all slopes by default), and the level of the intervals.
        """
        if kind == "diagram":
            return Charts((self._diagram(labels),))
        if kind == "caterpillar":
            return Charts((self._caterpillar(names, level),))
        raise SimstudyError(f"kind: there is no '{kind}'{did_you_mean(kind, KINDS)}; allowed: {', '.join(KINDS)}")

    def _caterpillar(self, names: str | Sequence[str] | None, level: float) -> Chart:
        figure, data = plot_caterpillar(self, names, level), caterpillar_data(self, names, level)
        drawn = ", ".join(dict.fromkeys(data["name"]))
        title = f"{drawn} of {self.n_clusters:,} clusters, {100 * level:g}% intervals"
        told = f"{title}; {int(data['apart'].sum())} intervals leave the mean out"
        return Chart("caterpillar", "caterpillar", title, told, data, figure)

    def _diagram(self, labels: Literal["estimates", "names"]) -> Chart:
        data = self.to_frame()
        told = "; ".join(f"{name} {value:.2f}" for name, value in self.coef.items() if value == value)
        title = f"Path diagram, {self.estimator}"
        return Chart("diagram", "diagram", title, f"{title}: {told}", data, path_diagram(self, labels=labels))
