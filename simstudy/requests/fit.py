"""What a fit of one data set is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from simstudy.requests.option import Argument, Keyword, Option, placeholder

if TYPE_CHECKING:
    from pandas import DataFrame

    from simstudy.model.twolevel import TwoLevelModel
else:
    DataFrame = placeholder("DataFrame", "pandas")
    TwoLevelModel = placeholder("TwoLevelModel")

Progress = Callable[[str, int, int], None]
INTERVALS = ("wald", "montecarlo", "bootstrap", "cluster_bootstrap")
"""Kinds of intervals that every method has."""


@dataclass(frozen=True)
class FitRequest:
    """Options of `simstudy.fit`, of `simstudy.fit_all` and of ``simstudy fit``."""

    model: Annotated[
        str | Path | TwoLevelModel,
        Argument("File with the model, or the text itself (with 'level:' blocks).", metavar="MODEL", type=str),
    ]
    data: Annotated[
        DataFrame | str | Path | Mapping[str, Sequence[Any]],
        Argument(
            "CSV (also .gz), .tsv, Parquet, Excel, Stata .dta, SPSS .sav.",
            metavar="DATA",
            type=Path,
            more="Or a DataFrame, or columns by name.",
        ),
    ]
    _: KW_ONLY
    cluster: Annotated[str, Option("Column of clusters.", metavar="COLUMN")]
    estimator: Annotated[
        str,
        Option(
            "Method, or 'all' for all side by side; ML and MLR mean msem.",
            metavar="NAME",
            more="MLR with robust standard errors.",
        ),
    ] = "msem"
    se: Annotated[
        str | None,
        Option(
            "Standard errors: expected, observed, robust, corrected; the method's first by default.",
            metavar="KIND",
            allowed=("expected", "observed", "robust", "corrected"),
            more="With fiml observed.",
        ),
    ] = None
    ci: Annotated[
        str,
        Option(
            "Intervals: wald, montecarlo, bootstrap, cluster_bootstrap.",
            metavar="KIND",
            more="wald: those of the method itself, where it has any under the name of the kind of SE; montecarlo: "
            "draws from the estimates' normal distribution, for := parameters; bootstrap: parametric, data drawn from "
            "the fitted model and refitted, percentile intervals; cluster_bootstrap: clusters drawn with replacement "
            "and refitted; or a kind of the method's own (its interval_kinds).",
        ),
    ] = "wald"
    ci_level: Annotated[float, Option("Level of the intervals.", inside=(0, 1))] = 0.95
    missing: Annotated[
        str,
        Option(
            "Missing values: listwise or fiml.",
            metavar="HOW",
            allowed=("listwise", "fiml"),
            more="fiml with msem, fiml_wide and goldstein.",
        ),
    ] = "listwise"
    na: Annotated[
        str | float | Sequence[str | float] | None,
        Option(
            "Codes for missing values, such as '-99,.'.",
            metavar="CODES",
            type=str,
            more="A number, text with commas, or a sequence; in the variables of the model.",
        ),
    ] = None
    weights: Annotated[str | None, Option("Sampling weights: refused, with what is known.", metavar="COLUMN")] = None
    fixed_x: Annotated[
        bool,
        Option(
            "Take exogenous variables as given (slopes vary: likelihood, AIC, BIC of lme4, Mplus).",
            more="Their moments are held at those of the unrestricted model. With random slopes the likelihood is "
            "conditional on them; else it stays the joint one at these moments. Every summary says which.",
        ),
    ] = False
    bounds: Annotated[
        str | None,
        Option(
            "'variances' keeps variances from falling below 0.",
            metavar="WHAT",
            allowed=("none", "variances"),
            more="lavaan's 'pos.var' is the same.",
            hint="; 'pos.var' of lavaan means variances; bounds of single parameters stand in the model text, such as "
            "y ~~ lower(0.1)*y or upper(2)*y",
        ),
    ] = None
    std_lv: Annotated[bool, Option("Fix factor variances instead of first loadings.")] = False
    auto: Annotated[
        str,
        Option(
            "Automatic covariances of exogenous variables: simstudy keeps all, lavaan follows lavaan.",
            metavar="RULE",
            allowed=("simstudy", "lavaan"),
            more="lavaan drops those of variables about whose moments the model says something. For models given as "
            "text.",
        ),
    ] = "simstudy"
    draws: Annotated[int, Option("Draws of simulated intervals.", least=100)] = 1000
    seed: Annotated[int, Option("Seed of simulated intervals, and of methods that draw random numbers.")] = 1
    options: Annotated[Mapping[str, Any] | None, Keyword("Further options of the method.")] = None
    slopes: Annotated[
        str | None,
        Option(
            "What random slopes multiply: auto (latent where x is in both blocks, mediators too, else observed), "
            "observed, latent, hybrid; or fixed.",
            metavar="HOW",
            allowed=("auto", "observed", "latent", "hybrid", "fixed"),
            more="x is the slope's predictor; fixed: slopes do not vary.",
        ),
    ] = None
    nodes: Annotated[
        int | None,
        Option("Quadrature nodes per latent predictor to begin with (5), or slope of a factor (by error).", least=1),
    ] = None
    h1: Annotated[
        str | None,
        Option(
            "What chi-square is against: unrestricted, or psd (Sigma_between positive semidefinite, as by EM).",
            metavar="WHAT",
            allowed=("unrestricted", "psd"),
            more="By default unrestricted, and psd where the unrestricted model has no maximum; a note says so.",
        ),
    ] = None
    progress: Annotated[Progress | None, Keyword("Called with (what, done, total) by whatever takes long.")] = None
