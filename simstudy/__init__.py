"""Monte Carlo studies of multilevel structural equation modelling (MSEM).

Every command is one call: `run`, `analyse`, `status`, `validate`, `simulate`, `replay`, `merge`, `plot`, `fit`,
`fit_all`. They are loaded on first use, so that importing the package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from simstudy.analysis.fit import fit, fit_all
    from simstudy.api import (
        analyse,
        describe_estimator,
        list_estimators,
        merge,
        methods_table,
        plot,
        plot_bias,
        plot_caterpillar,
        plot_coverage,
        plot_methods,
        random_effects,
        replay,
        run,
        simulate,
        slope_variance_test,
        status,
        validate,
    )
    from simstudy.design import load_design, parse_design
    from simstudy.estimators.registry import register
    from simstudy.model.twolevel import TwoLevelModel

_HOMES = {
    "simstudy.api": (
        "analyse",
        "describe_estimator",
        "list_estimators",
        "merge",
        "methods_table",
        "plot",
        "plot_bias",
        "plot_caterpillar",
        "plot_coverage",
        "plot_methods",
        "random_effects",
        "replay",
        "run",
        "simulate",
        "slope_variance_test",
        "status",
        "validate",
    ),
    "simstudy.analysis.fit": ("fit", "fit_all"),
    "simstudy.design": ("load_design", "parse_design"),
    "simstudy.estimators.registry": ("register",),
    "simstudy.model.twolevel": ("TwoLevelModel",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "TwoLevelModel",
    "analyse",
    "describe_estimator",
    "fit",
    "fit_all",
    "list_estimators",
    "load_design",
    "merge",
    "methods_table",
    "parse_design",
    "plot",
    "plot_bias",
    "plot_caterpillar",
    "plot_coverage",
    "plot_methods",
    "random_effects",
    "register",
    "replay",
    "run",
    "simulate",
    "slope_variance_test",
    "status",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'simstudy' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
