"""Monte Carlo studies of multilevel structural equation modelling (MSEM).

Every command is one call: `run`, `analyse`, `status`, `validate`, `simulate`, `replay`, `merge`, `plot`, `bias`, `fit`,
`fit_all`. They are loaded on first use, so that importing the package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from simstudy.analysis.fit import fit, fit_all
    from simstudy.analysis.level_fit import level_fit
    from simstudy.analysis.reliability import reliability
    from simstudy.api import (
        analyse,
        bias,
        charts,
        describe_estimator,
        export_siman,
        factor_effects,
        format_performance,
        init,
        list_estimators,
        merge,
        methods_table,
        performance_of,
        plan,
        plot,
        plot_bias,
        plot_bland_altman,
        plot_caterpillar,
        plot_convergence,
        plot_coverage,
        plot_factors,
        plot_heatmap,
        plot_lines,
        plot_lollipop,
        plot_methods,
        plot_nested_loop,
        plot_power,
        plot_scatter,
        plot_zip,
        preregister,
        random_effects,
        replay,
        replicates,
        run,
        simulate,
        slope_variance_test,
        status,
        templates,
        theory_curve,
        validate,
        write_report,
    )
    from simstudy.design import load_design, parse_design
    from simstudy.methods.registry import register
    from simstudy.model.twolevel import TwoLevelModel

_HOMES = {
    "simstudy.api": (
        "analyse",
        "export_siman",
        "factor_effects",
        "format_performance",
        "bias",
        "describe_estimator",
        "init",
        "list_estimators",
        "merge",
        "charts",
        "performance_of",
        "methods_table",
        "plan",
        "plot",
        "plot_bias",
        "plot_bland_altman",
        "plot_convergence",
        "plot_caterpillar",
        "plot_coverage",
        "preregister",
        "plot_factors",
        "plot_heatmap",
        "plot_lines",
        "plot_lollipop",
        "plot_nested_loop",
        "plot_power",
        "plot_scatter",
        "plot_zip",
        "replicates",
        "plot_methods",
        "random_effects",
        "replay",
        "run",
        "simulate",
        "slope_variance_test",
        "status",
        "templates",
        "theory_curve",
        "validate",
        "write_report",
    ),
    "simstudy.analysis.fit": ("fit", "fit_all"),
    "simstudy.analysis.level_fit": ("level_fit",),
    "simstudy.analysis.reliability": ("reliability",),
    "simstudy.design": ("load_design", "parse_design"),
    "simstudy.methods.registry": ("register",),
    "simstudy.model.twolevel": ("TwoLevelModel",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "TwoLevelModel",
    "analyse",
    "bias",
    "charts",
    "describe_estimator",
    "export_siman",
    "factor_effects",
    "fit",
    "fit_all",
    "format_performance",
    "init",
    "level_fit",
    "list_estimators",
    "load_design",
    "merge",
    "methods_table",
    "parse_design",
    "performance_of",
    "plan",
    "plot",
    "plot_bias",
    "plot_bland_altman",
    "plot_caterpillar",
    "plot_convergence",
    "plot_coverage",
    "plot_factors",
    "plot_heatmap",
    "plot_lines",
    "plot_lollipop",
    "plot_methods",
    "plot_nested_loop",
    "plot_power",
    "plot_scatter",
    "plot_zip",
    "preregister",
    "random_effects",
    "register",
    "reliability",
    "replay",
    "replicates",
    "run",
    "simulate",
    "slope_variance_test",
    "status",
    "templates",
    "theory_curve",
    "validate",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'simstudy' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
